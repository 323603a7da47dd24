"""The fold of responses: events in, in order; the response out, any time.

This module knows the kinds of events by their shapes, what they do to the envelope and
to the items, and what ends a response. Which item an event is about is decided in
`_items`, where the text of a family stands is a row in `_families`.
"""

from io import StringIO
from typing import Any, Final

from unstream._json import Json
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import CHANGED, DROPPED, HELD, Effect, State, extend, settle
from unstream.responses._families import (
    FAMILIES,
    PARTS,
    WORDS,
    Family,
    family_of,
    split,
    to_index,
)
from unstream.responses._items import Item, Items, Slots
from unstream.responses._schema import Response

__all__ = ["ResponsesFold"]

RESULTS["responses"] = Response

_OURS: Final = "response."
_CREATED: Final = "response.created"
_TERMINAL: Final = frozenset(
    _OURS + word for word in ("completed", "incomplete", "failed", "cancelled", "done")
)
# Keys of every event that say nothing of the response: numbers, padding, transport.
_BESIDE: Final = frozenset(
    ("type", "sequence_number", "obfuscation", "stream_id", "event_id")
)
# What a response is known by, where the kind of its event does not tell.
_LOOKS: Final = frozenset(("object", "id", "status", "output"))
_ADDRESS: Final = _BESIDE | {"item_id", "output_index"}
# Items of these types have said nothing when they are opened; a call has.
_SILENT: Final = ("", "message", "reasoning")
_UNDER_WAY: Final = ("queued", "in_progress")


class ResponsesFold(Fold[Response]):
    """The state of one stream of response events."""

    kind = Response
    name = "responses"

    __slots__ = (
        "_beside",
        "_body",
        "_items",
        "_output",
        "_room",
        "_settled",
        "_terminal",
        "_top",
    )

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._body: State | None = None  # a whole answer that was never streamed
        self._begin()

    def _begin(self) -> None:
        self._top: State | None = None  # the lifecycle objects, laid over each other
        self._beside: State = {}  # what stood beside the response in a terminal event
        self._items = Items(self)
        self._output: list[Json] | None = None  # of a terminal event
        self._terminal = False  # such an event came
        self._settled = False  # and said that the response is completed
        self._room = _room(self.limits)

    # --- Events -----------------------------------------------------------------------

    def add(
        self, sent: State, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        """Fold an event; see `Fold.add`."""
        self.effects.clear()
        kind = sent.get("type")
        named = type(kind) is not str or not kind
        if named:
            kind = name  # some proxies strip one of the two
        if self.done:
            self.note("data_after_done")
            self.effects.append(("type", kind, CHANGED))
        if kind.startswith(_OURS):
            self._add_event(kind, sent)
        else:
            self._add_other(kind, sent, name)
        self.finish_event(data)
        if named:
            self.record = None  # an equal event by another name is another event

    def _add_event(self, kind: str, sent: State) -> None:
        if type(sent.get("response")) is dict or kind in _TERMINAL:
            self._add_lifecycle(kind, sent)
        elif self._terminal:
            self.note("data_after_done")
        else:
            name, word = split(kind)
            if word not in WORDS:
                self._add_progress(name, word, sent)
            elif word != "delta" and (name == "output_item" or "item" in sent):
                self._add_item(word, sent)
            elif word != "delta" and "part" in sent:
                self._add_part(name, word, sent)
            elif word == "added" and "annotation" in sent:
                self._add_annotation(name, sent)
            elif family := family_of(name, sent):
                if word == "delta":
                    self._add_delta(family, sent)
                elif word == "done" or family.among == "commands":
                    self._add_whole(family, sent)

    def _add_other(self, kind: str, sent: State, name: str) -> None:
        """Take what is no event of a response by its kind."""
        response = sent.get("response")
        if kind == "error":
            self._fail(sent["error"] if is_error(sent.get("error")) else sent)
        elif type(response) is dict and not _LOOKS.isdisjoint(response):
            self._add_lifecycle(kind, sent)
        elif sent.get("object") == "response":  # a whole one, where an event is expected
            done = sent.get("status") not in _UNDER_WAY
            self._add_lifecycle("response.done" if done else "", {"response": sent})
        elif (error := error_in(sent)) is not None or name == "error":
            self._fail(sent if error is None else error)
        elif not (_is_named(sent) or sent.keys() <= _BESIDE):
            self.foreign = True
            self.note("foreign_events")

    def _fail(self, error: Json) -> None:
        self.fail(error)
        self.effects.append(("error", error, HELD))

    # --- The envelope -----------------------------------------------------------------

    def _add_lifecycle(self, kind: str, sent: State) -> None:
        response = sent.get("response")
        if type(response) is not dict:
            response = {}
        elif kind == _CREATED and self._is_another(response):
            self.note("several_responses")
            self.error = None
            self._begin()
        if response:
            self._lay(response)
        self.effects.append(("response", response, HELD))
        output = response.get("output")
        if kind in _TERMINAL:
            self._end(kind, response)
            beside = {key: sent[key] for key in sent if key not in _BESIDE}
            beside.pop("response", None)
            self._beside.update(beside)
        elif output and type(output) is list and not self._terminal:
            self.has_content = True
            for index, item in enumerate(output):
                if type(item) is dict:
                    self._items.replace(index, item)

    def _is_another(self, response: State) -> bool:
        """Say whether a `created` begins another response, or this one once more."""
        top = self._top
        if top is None:
            return False
        if self._items or self._terminal or self.error is not None:
            return True
        new, old = response.get("id"), top.get("id")
        return bool(new and old) and new != old

    def _lay(self, response: State) -> None:
        """Lay an object over what the earlier ones said; `output` is apart."""
        top = self._top if self._top is not None else {}
        usage = top.get("usage")
        top.update(response)
        top.pop("output", None)
        if usage is not None and top["usage"] is None:
            top["usage"] = usage
        self._top = top

    def _end(self, kind: str, response: State) -> None:
        self._terminal = True
        status, output = response.get("status"), response.get("output")
        self._settled = status == "completed" or kind == "response.completed"
        if kind == "response.failed" or status == "failed":
            error = response.get("error")
            self.fail(error if is_error(error) else "response.failed")
        if output and type(output) is list:
            self._output = self._cut(output)
            self.has_content = True

    # --- Items ------------------------------------------------------------------------

    def _add_item(self, word: str, sent: State) -> None:
        item, index = sent.get("item"), to_index(sent.get("output_index"))
        if type(item) is not dict:
            return
        if item.get("type") not in _SILENT or item.get("content"):
            self.has_content = True
        if word == "added":
            self._items.add(item, index)
        else:
            item_id = sent.get("item_id")
            item_id = item_id if type(item_id) is str else ""
            if not self._items.close(item, index, item_id):
                return
        self.effects.append(("item", item, HELD))

    def _find(self, sent: State, kind: str, *, build: bool) -> Item | None:
        """Return the open item that an event is about; None where there is none."""
        index = to_index(sent.get("output_index"))
        item = self._items.find(sent, index, kind)
        if item is None and build:
            item = self._items.build(sent, index, kind)
            self.effects.append(("item", sent, HELD))
        return None if item is None or item.closed else item

    def _add_progress(self, name: str, word: str, sent: State) -> None:
        if not sent.keys() <= _ADDRESS:
            return
        item = self._find(sent, name, build=False)
        if item is not None and item.type == name and "status" in item.state:
            if item.state["status"] != word:
                item.state["status"] = word
                self.effects.append(("type", word, CHANGED))

    # --- Parts and texts --------------------------------------------------------------

    def _add_part(self, name: str, word: str, sent: State) -> None:
        part = sent["part"]
        if type(part) is not dict:
            return
        kind = part.get("type")
        family = PARTS.get(kind) if type(kind) is str else None
        if to_index(sent.get("summary_index")) is not None:
            among = "summary"
        elif to_index(sent.get("content_index")) is not None or family is None:
            among = "summary" if "summary" in name else "content"
        else:
            among = family.among
        item = self._find(sent, family.item if family else "", build=True)
        if item is None:
            return
        slots = _slots(item.state, among)
        index = to_index(sent.get(f"{among}_index")) or 0
        if word == "added":
            slots.give(index, part)
        else:
            slots.put(index, part)
        self.has_content = self.has_content or any(map(part.get, ("text", "refusal")))
        self.effects.append(("part", part, HELD))

    def _add_annotation(self, name: str, sent: State) -> None:
        annotation = sent["annotation"]
        if type(annotation) is not dict:
            return
        family = FAMILIES.get(name.removesuffix("_annotation"), FAMILIES["output_text"])
        item = self._find(sent, family.item, build=True)
        if item is not None:
            part, _ = _place(item, family, sent)
            annotations = _slots(part, "annotations")
            index = to_index(sent.get("annotation_index"))
            annotations.put(annotations.end if index is None else index, annotation)
            self.effects.append(("annotation", annotation, HELD))

    def _add_delta(self, family: Family, sent: State) -> None:
        delta, logprobs = sent.get("delta"), sent.get("logprobs")
        if type(delta) is not str:
            if family.keyed and type(delta) is dict:
                self._add_keyed(family, delta, sent)
            return
        has_logprobs = family.part and type(logprobs) is list and logprobs
        if not (delta or has_logprobs):
            return
        item = self._find(sent, family.item, build=bool(delta))
        if item is None or not (delta or _is_open(item, family, sent)):
            return
        holder, key = _place(item, family, sent)
        if delta:
            self.effects.append(("delta", delta, _grow(holder, key, delta)))
            self.has_content = True
        if has_logprobs:
            extend(holder, "logprobs", logprobs)
            self.effects.append(("logprobs", logprobs, HELD))
        padding = sent.get("obfuscation")
        if type(padding) is str:
            self.effects.append(("obfuscation", padding, DROPPED))

    def _add_keyed(self, family: Family, delta: State, sent: State) -> None:
        """Append an object of texts, key by key."""
        texts = {key: text for key, text in delta.items() if type(text) is str}
        if any(texts.values()):
            item = self._find(sent, family.item, build=True)
            if item is not None:
                holder, _ = _place(item, family, sent)
                for key, text in texts.items():
                    _grow(holder, key, text)
                self.has_content = True
                self.effects.append(("delta", sent, HELD))

    def _add_whole(self, family: Family, sent: State) -> None:
        """Put a whole text in the place of what its deltas built."""
        if family.keyed:
            self._add_entries(family, sent)
            return
        text = sent.get(family.field.rpartition("_")[2])
        if type(text) is not str and not family.item:
            text = sent.get("text")
        if type(text) is not str:
            return
        item = self._find(sent, family.item, build=True)
        if item is None:
            return
        holder, key = _place(item, family, sent)
        holder[key] = text
        logprobs = sent.get("logprobs")
        if family.part and type(logprobs) is list and logprobs:
            holder["logprobs"] = logprobs
        self.has_content = self.has_content or text != ""
        self.effects.append(("done", sent, HELD))

    def _add_entries(self, family: Family, sent: State) -> None:
        entries = sent.get(family.among)
        if type(entries) is not list or not entries:
            return
        item = self._find(sent, family.item, build=True)
        if item is not None:
            slots = _slots(item.state, family.among)
            start = to_index(sent.get(family.index)) or 0
            for index, entry in enumerate(entries, start):
                slots.put(index, entry)
            self.has_content = True
            self.effects.append(("done", sent, HELD))

    # --- What is held -----------------------------------------------------------------

    def may_open(self, kind: str) -> bool:
        """Say whether there is room for one more item of a type, and count it."""
        limit = "tool_calls" if kind.endswith("_call") else "choices"
        if self._room[limit]:
            self._room[limit] -= 1
            return True
        self.limit = self.limit or limit
        return False

    def _cut(self, output: list[Json]) -> list[Json]:
        """Leave out the items of a whole output that are over their limits."""
        self._room = _room(self.limits)
        return [item for item in output if self.may_open(_type_of(item))]

    # --- Bodies that are no stream ----------------------------------------------------

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        if sent.get("object") != "response":
            return False
        error = sent.get("error")
        if is_error(error) or sent.get("status") == "failed":
            self.fail(error if is_error(error) else "response.failed")
        if type(sent.get("output")) is list:
            sent["output"] = self._cut(sent["output"])
        self._body = sent
        return True

    # --- The result -------------------------------------------------------------------

    def judge(self, *, cut_off: bool) -> Ending:
        """Say how the stream ended; see `Fold.judge`."""
        if self._body is not None:
            under_way = self._body.get("status") in _UNDER_WAY
            return Ending.TRUNCATED if under_way else Ending.COMPLETE
        if self._top is None and not self._items:
            return Ending.EMPTY
        return Ending.COMPLETE if self._terminal else Ending.TRUNCATED

    def unfinished(self) -> tuple[int, ...]:
        """Return the places, in `output`, of the items that have not finished."""
        if self._body is not None:
            output = self._body.get("output")
            closed = self._body.get("status") == "completed"
        elif self._output is not None:
            output, closed = self._output, self._settled
        else:
            states = [(item.state, item.closed or self._settled) for item in self._items]
            return _unfinished(states)
        entries = output if type(output) is list else []
        return _unfinished([(entry, closed) for entry in entries])

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        if self._body is not None or (self._top is None and not self._items):
            return
        if not self._terminal:
            self.note("no_done")
        if self.usage_source() is None:
            self.note("usage_missing")

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", or nowhere."""
        whole = self._body if self._body is not None else {**self._beside, **(self._top or {})}
        return None if whole.get("usage") is None else "usage"

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        if self._top is None and not self._items:
            return None
        envelope = {"id": "", "object": "response"} if self._top is None else self._top
        plain: State = settle({**self._beside, **envelope})
        if self._output is not None:
            plain["output"] = settle(self._output)
        else:
            plain["output"] = [settle(item.state) for item in self._items]
        return plain


def _is_named(sent: State) -> bool:
    """Say whether the type of an event is like those of OpenAI: words and dots."""
    kind = sent.get("type")
    return type(kind) is str and "." in kind


def _room(limits: Limits) -> dict[str, int]:
    return {"choices": limits.choices, "tool_calls": limits.tool_calls}


def _type_of(item: Json) -> str:
    kind = item.get("type") if type(item) is dict else None
    return kind if type(kind) is str else ""


def _unfinished(items: list[tuple[Json, bool]]) -> tuple[int, ...]:
    """Return the places of items that are not closed, by their own word or ours."""
    places = []
    for place, (item, closed) in enumerate(items):
        status = item.get("status") if type(item) is dict else None
        if status == "incomplete" or not (closed or status == "completed"):
            places.append(place)
    return tuple(places)


# --- Where a text stands --------------------------------------------------------------


def _slots(level: State, key: str) -> Slots:
    """Return the list under a key, as it is written by index."""
    held = level.get(key)
    if not isinstance(held, Slots):
        level[key] = held = Slots(held)
    return held


def _place(item: Item, family: Family, sent: State) -> tuple[dict[Any, Any], Any]:
    """Return what holds the text of a family, and under which key; open it."""
    level = item.state
    if family.inside:
        if type(level.get(family.inside)) is not dict:
            level[family.inside] = {}
        level = level[family.inside]
    if not family.among:
        field = family.field
        return level, field if family.item else field.removeprefix(f"{item.type}_")
    slots = _slots(level, family.among)
    index = to_index(sent.get(family.index)) or 0
    held = slots.get(index)
    if family.part or family.keyed:
        if type(held) is not dict:
            held = {"type": family.part} if family.part else {}
            slots.open(index, held)
        return held, family.field
    if held is None:
        slots.open(index, "")
    return slots, index


def _is_open(item: Item, family: Family, sent: State) -> bool:
    """Say whether the part that an event is about is there."""
    index = to_index(sent.get(family.index)) or 0
    return type(_slots(item.state, family.among).get(index)) is dict


def _grow(holder: dict[Any, Any], key: Any, text: str) -> StringIO | Effect:
    """Append to the text under a key, which may have been given whole."""
    held = holder.get(key)
    if type(held) is StringIO:
        held.write(text)
        return held
    holder[key] = grown = StringIO()
    grown.write(held if type(held) is str else "")
    grown.write(text)
    return HELD
