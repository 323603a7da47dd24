"""The fold of responses: events in, in order; the response out, any time.

This module knows the kinds of events by their shapes, what they do to the envelope and
to the items, and what ends a response. Which item an event is about is decided in
`_items`, where the text of a family stands is a row in `_families`.
"""

from typing import Final
from weakref import proxy

from unstream._json import Json
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import CHANGED, DROPPED, HELD, State, extend, settle
from unstream.responses._families import FAMILIES, PARTS, Family, family_of
from unstream.responses._items import Item, Items, type_of
from unstream.responses._repeat import Repeats
from unstream.responses._schema import Response
from unstream.responses._slots import grow, slots, to_index
from unstream.sse import Run

__all__ = ["ResponsesFold"]

RESULTS["responses"] = Response

_OURS: Final = "response."
_CREATED: Final = "response.created"
_TERMINAL: Final = frozenset(
    _OURS + word for word in ("completed", "incomplete", "failed", "cancelled", "done")
)
_UNDER_WAY: Final = ("queued", "in_progress")
# What a response is known by, where the kind of its event does not tell.
_LOOKS: Final = frozenset(("object", "id", "status", "output"))
# Keys of any event that say nothing of the response: numbers, padding, transport.
_BESIDE: Final = frozenset(
    ("type", "sequence_number", "obfuscation", "stream_id", "event_id")
)
_ADDRESS: Final = _BESIDE | {"item_id", "output_index"}
# An item of these types says nothing by being there; a call does.
_SILENT: Final = ("", "message", "reasoning")
_LF: Final = ord("\n")


class ResponsesFold(Fold[Response]):
    """The state of one stream of events; of several responses in it, of the last."""

    kind = Response
    name = "responses"

    __slots__ = (
        "_beside",
        "_body",
        "_items",
        "_numbered",
        "_output",
        "_repeats",
        "_room",
        "_settled",
        "_terminal",
        "_top",
    )

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._numbered = False  # events carry numbers that change
        self._repeats = Repeats()
        self._body: State | None = None  # a whole answer that was never streamed
        self._begin()

    def _begin(self) -> None:
        self._top: State | None = None  # the lifecycle objects, laid over each other
        self._beside: State = {}  # what stood beside the response in a terminal event
        self._items = Items(proxy(self))
        self._output: list[Json] | None = None  # of a terminal event
        self._terminal = False  # such an event came
        self._settled = False  # and it said "completed"
        self._room = _room(self.limits)

    # --- Events -----------------------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads; see `Fold.take`."""
        repeats, n = self._repeats, len(payloads)
        self.record = None
        alike = 0
        while at < n:
            looks = like > 1 or self._numbered
            if looks and repeats.is_ready and not self.is_tight:
                start = at
                at = repeats.take(payloads, at)
                self.n_events += at - start
                alike += at - start
                if at == n:
                    break
            data = payloads[at]
            if _LF in data or (sent := self.read(data)) is None:
                self.record = None
                break
            at += 1
            self.n_events += 1
            self.add(sent, data, payloads.name(at - 1) if payloads.names else "")
            if self.record is None:
                alike = 0
                continue
            # A number that changes makes events unlike for any road but the look.
            self._numbered = "sequence_number" in sent
            alike = alike + 1 if self.record and not self._numbered else 0
            if alike >= like:
                break
            repeats.learn(data, self.record)
        return at

    def add(
        self,
        sent: State,
        data: bytes,
        name: str = "",
        *,
        exact: bool = True,  # noqa: ARG002 - nothing is kept as the text that was sent
    ) -> None:
        """Fold an event; see `Fold.add`."""
        self.effects.clear()
        kind: Json = sent.get("type")
        typed = type(kind) is str and kind != ""
        if not typed:
            kind = name  # some proxies strip one of the two
        if self.done:
            self.note("data_after_done")
            self.effects.append(("type", kind, CHANGED))
        if kind.startswith(_OURS):
            self._add_event(kind, sent)
        else:
            self._add_other(kind, sent, name)
        self.finish_event(data)
        if not typed:
            self.record = None  # an equal payload of another name is another event
        if self.record is None:
            self._repeats.clear()

    def stop(self) -> None:
        """Take note of `[DONE]`, which is no verdict here."""
        if self.done:
            self.note("data_after_done")
        self.done = True
        self.revision += 1
        self._repeats.clear()

    def _add_event(self, kind: str, sent: State) -> None:
        if type(sent.get("response")) is dict or kind in _TERMINAL:
            self._add_lifecycle(kind, sent)
        elif self._terminal:
            self.note("data_after_done")
        else:
            # `response.FAMILY.WORD`, or `response.ITEM.WORD`.
            name, _, word = kind.removeprefix(_OURS).rpartition(".")
            name = name.replace(".", "_")
            if word == "delta":
                self._add_delta(family_of(name, sent), sent)
            elif word in ("added", "done"):
                self._add_given(name, word, sent)
            else:
                self._add_progress(name, word, sent)

    def _add_other(self, kind: str, sent: State, name: str) -> None:
        """Take what is no event of a response by its kind."""
        response = sent.get("response")
        if kind == "error":
            self._fail(sent["error"] if is_error(sent.get("error")) else sent)
        elif type(response) is dict and not _LOOKS.isdisjoint(response):
            self._add_lifecycle(kind, sent)
        elif sent.get("object") == "response":  # a whole one in the place of an event
            under_way = sent.get("status") in _UNDER_WAY
            self._add_lifecycle(
                "" if under_way else "response.done", {"response": sent}
            )
        elif (error := error_in(sent)) is not None or name == "error":
            self._fail(sent if error is None else error)
        elif not (_has_dots(sent.get("type")) or sent.keys() <= _BESIDE):
            self.foreign = True
            self.note("foreign_events")

    def _fail(self, error: Json) -> None:
        self.fail(error)
        self.effects.append(("error", error, HELD))

    # --- The envelope -----------------------------------------------------------------

    def _add_lifecycle(self, kind: str, sent: State) -> None:
        response = sent.get("response")
        if type(response) is dict:
            if kind == _CREATED and self._is_another(response):
                self.note("several_responses")
                self.error = None
                self._begin()
            self._lay(response)
        else:
            response = {}
        self.effects.append(("response", response, HELD))
        output: Json = response.get("output")
        has_output = type(output) is list and output != []
        self.has_content = self.has_content or has_output
        if self.listens and has_output:
            for item in output:
                self._hear_item(item)
        if kind in _TERMINAL:
            self._end(kind, response)
            if has_output:
                self._output = self._cut(output)
            beside = sent.keys() - _BESIDE - {"response"}
            self._beside.update((key, sent[key]) for key in beside)
        elif has_output and not self._terminal:
            for index, item in enumerate(output):
                if type(item) is dict:
                    self._items.replace(index, item)

    def _is_another(self, response: State) -> bool:
        """Say whether a `created` begins another response, or this one once more."""
        if self._top is None:
            return False
        if self._items or self._terminal or self.error is not None:
            return True
        new, old = response.get("id"), self._top.get("id")
        return bool(new and old) and new != old

    def _lay(self, response: State) -> None:
        """Lay an object over what the earlier ones said; its `output` is apart."""
        top = {} if self._top is None else self._top
        usage = top.get("usage")
        top.update(response)
        top.pop("output", None)
        if usage is not None and top["usage"] is None:
            top["usage"] = usage
        self._top = top

    def _end(self, kind: str, response: State) -> None:
        self._terminal = True
        status = response.get("status")
        self._settled = status == "completed" or kind == "response.completed"
        if kind == "response.failed" or status == "failed":
            error = response.get("error")
            self.fail(error if is_error(error) else "response.failed")

    # --- Items ------------------------------------------------------------------------

    def _add_given(self, name: str, word: str, sent: State) -> None:
        """Take what an `added` or a `done` gives."""
        if name == "output_item" or type(sent.get("item")) is dict:
            self._add_item(word, sent)
        elif name.endswith("_part") or type(sent.get("part")) is dict:
            self._add_part(name, word, sent)
        elif name.endswith("_annotation") or type(sent.get("annotation")) is dict:
            self._add_annotation(name, word, sent)
        else:
            family = family_of(name, sent)
            if family is not None and (word == "done" or family.is_set_by_added):
                self._add_whole(family, sent)

    def _add_item(self, word: str, sent: State) -> None:
        item, index = sent.get("item"), to_index(sent.get("output_index"))
        if type(item) is not dict:
            return
        if word == "added":
            self._items.add(item, index)
        elif not self._items.close(item, index, sent):
            return
        said = item.get("content") or item.get("summary")
        if said or type_of(item) not in _SILENT:
            self.has_content = True
        if self.listens:
            self._hear_item(item)
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
        if name and sent.keys() <= _ADDRESS:
            item = self._find(sent, name, build=False)
            if item is not None and item.type == name and "status" in item.state:
                item.state["status"] = word
                self.effects.append(("status", word, CHANGED))

    # --- Parts and texts --------------------------------------------------------------

    def _add_part(self, name: str, word: str, sent: State) -> None:
        part = sent.get("part")
        if type(part) is not dict:
            return
        family = PARTS.get(type_of(part))
        if to_index(sent.get("summary_index")) is not None:
            among = "summary"
        elif family is None or to_index(sent.get("content_index")) is not None:
            among = "summary" if "summary" in name else "content"
        else:
            among = family.among
        item = self._find(sent, family.item if family else "", build=True)
        if item is None:
            return
        parts = slots(item.state, among)
        index = to_index(sent.get(f"{among}_index")) or 0
        if word == "added":
            parts.give(index, part)
        else:
            parts.put(index, part)
        if family and part.get(family.field):
            self.has_content = True
            if self.listens:
                self._hear(family, part[family.field])
        self.effects.append(("part", part, HELD))

    def _add_annotation(self, name: str, word: str, sent: State) -> None:
        annotation = sent.get("annotation")
        if word != "added" or type(annotation) is not dict:
            return
        family = FAMILIES.get(name.removesuffix("_annotation"))
        if family is None or not family.part:
            family = FAMILIES["output_text"]
        item = self._find(sent, family.item, build=True)
        if item is None:
            return
        part, _ = family.place(item.state, sent)
        annotations = slots(part, "annotations")
        index = to_index(sent.get("annotation_index"))
        annotations.put(annotations.end if index is None else index, annotation)
        self.effects.append(("annotation", annotation, HELD))

    def _add_delta(self, family: Family | None, sent: State) -> None:
        delta = sent.get("delta")
        if family is None:
            return
        if family.keyed:
            self._add_keyed(family, delta, sent)
            return
        logprobs = _logprobs(family, sent)
        if type(delta) is not str or not (delta or logprobs):
            return
        item = self._find(sent, family.item, build=delta != "")
        if item is None or not (delta or family.is_open(item.state, sent)):
            return
        holder, key = family.place(item.state, sent)
        if delta:
            self.effects.append(("delta", delta, grow(holder, key, delta)))
            self.has_content = True
            if self.listens:
                self._hear(family, delta)
        if logprobs:
            extend(holder, "logprobs", logprobs)
            self.effects.append(("logprobs", logprobs, HELD))
        padding = sent.get("obfuscation")
        if type(padding) is str:
            self.effects.append(("obfuscation", padding, DROPPED))

    def _add_keyed(self, family: Family, delta: Json, sent: State) -> None:
        """Append an object of texts, key by key."""
        if type(delta) is not dict:
            return
        texts = {key: text for key, text in delta.items() if type(text) is str}
        if not any(texts.values()):
            return
        item = self._find(sent, family.item, build=True)
        if item is None:
            return
        holder, _ = family.place(item.state, sent)
        for key, text in texts.items():
            grow(holder, key, text)
        self.has_content = True
        self.effects.append(("delta", delta, HELD))

    def _add_whole(self, family: Family, sent: State) -> None:
        """Put a whole text, or entries of a list, in the place of what deltas built."""
        whole = sent.get(family.among) if family.keyed else family.text_in(sent)
        if whole is None or type(whole) is not (list if family.keyed else str):
            return
        item = self._find(sent, family.item, build=True)
        if item is None:
            return
        if family.keyed:
            entries = slots(item.state, family.among)
            for index, entry in enumerate(whole, family.index_in(sent)):
                entries.put(index, entry)
        else:
            holder, key = family.place(item.state, sent)
            holder[key] = whole
            if logprobs := _logprobs(family, sent):
                holder["logprobs"] = logprobs
        self.has_content = self.has_content or bool(whole)
        if self.listens:
            self._hear(family, whole)
        self.effects.append(("done", whole, HELD))

    def _hear(self, family: Family, text: object) -> None:
        self.hear(
            text=family.part == "output_text" and text,
            reasoning=family.item == "reasoning" and text,
        )

    def _hear_item(self, item: Json) -> None:
        """Hear the parts of a whole item."""
        if type(item) is not dict:
            return
        for parts in (item.get("content"), item.get("summary")):
            for part in parts if type(parts) is list else ():
                if type(part) is dict and (family := PARTS.get(type_of(part))):
                    self._hear(family, part.get(family.field))

    # --- What is held -----------------------------------------------------------------

    def may_open(self, kind: str) -> bool:
        """Say whether there is room for one more item of a type, and count it."""
        limit = _limit_of(kind)
        if self._room[limit]:
            self._room[limit] -= 1
            return True
        self.limit = self.limit or limit
        return False

    def leave(self, kind: str) -> None:
        """Take note that an item of a type is held no more."""
        self._room[_limit_of(kind)] += 1

    def _cut(self, output: list[Json]) -> list[Json]:
        """Leave out the items of a whole output that are over their limits."""
        self._room = _room(self.limits)
        return [item for item in output if self.may_open(type_of(item))]

    # --- Bodies that are no stream ----------------------------------------------------

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        if sent.get("object") != "response":
            return False
        error = sent.get("error")
        if is_error(error) or sent.get("status") == "failed":
            self.fail(error if is_error(error) else "response.failed")
        output = sent.get("output")
        self._output = []
        if type(output) is list:
            sent["output"] = self._output = self._cut(output)
        self._terminal = sent.get("status") not in _UNDER_WAY
        self._settled = sent.get("status") == "completed"
        self._body = sent
        return True

    # --- The result -------------------------------------------------------------------

    def judge(
        self,
        *,
        cut_off: bool,  # noqa: ARG002 - what a terminal event said stands
    ) -> Ending:
        """Say how the stream ended; see `Fold.judge`."""
        if self._is_empty():
            return Ending.EMPTY
        return Ending.COMPLETE if self._terminal else Ending.TRUNCATED

    def unfinished(self) -> tuple[int, ...]:
        """Return the places, in the output, of the items that have not finished."""
        if self._output is None:
            items = [(_status(item.state), item.closed) for item in self._items]
        else:
            statuses = [_status(item) for item in self._output]
            # What stands in a last word and has no status is whole.
            items = [(s, self._terminal and s != "in_progress") for s in statuses]
        return tuple(
            place
            for place, (status, closed) in enumerate(items)
            if status == "incomplete"
            or not (closed or self._settled or status == "completed")
        )

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        if self._is_empty() or self._body is not None:
            return
        if not self._terminal:
            self.note("no_done")
        if self.usage_source() is None:
            self.note("usage_missing")

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", or nowhere."""
        whole = self._envelope() if self._body is None else self._body
        return None if whole.get("usage") is None else "usage"

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        if self._is_empty():
            return None
        plain: State = settle(self._envelope())
        output = self._output
        if output is None:
            output = [item.state for item in self._items]
        plain["output"] = settle(output)
        return plain

    def _is_empty(self) -> bool:
        return self._top is None and self._body is None and not self._items

    def _envelope(self) -> State:
        """Return what is said of the response, but its output."""
        top = {"id": "", "object": "response"} if self._top is None else self._top
        return {**self._beside, **top}


def _room(limits: Limits) -> dict[str, int]:
    return {"choices": limits.choices, "tool_calls": limits.tool_calls}


def _limit_of(kind: str) -> str:
    return "tool_calls" if kind.endswith("_call") else "choices"


def _has_dots(kind: Json) -> bool:
    """Say whether a type is like those of OpenAI's events, of which many come."""
    return type(kind) is str and "." in kind


def _status(item: Json) -> Json:
    return item.get("status") if type(item) is dict else None


def _logprobs(family: Family, sent: State) -> list[Json]:
    """Return the log probabilities that an event adds to its part."""
    logprobs = sent.get("logprobs")
    return logprobs if family.part and type(logprobs) is list else []
