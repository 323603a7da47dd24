"""The fold of chat completions: payloads in, in order; the completion out, any time.

This module knows the structure of a chunk (choices, their deltas, calls and log
probabilities), what ends a choice and a stream, and what else may stand in one. What
is particular to a key is a row in `_fields`, how calls are told apart is in `_calls`.
"""

from io import StringIO
from typing import Final
from weakref import proxy

from msgspec import Raw

from unstream._json import Json, dump, mend, read_strictly
from unstream._lists import JsonArray
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import (
    ATOMS,
    CHANGED,
    DROPPED,
    HELD,
    Did,
    Effect,
    Effects,
    State,
    extend,
    fold,
    grow,
    is_exact,
    last,
    merge,
    settle,
)
from unstream._structs import structure
from unstream.chat._calls import Calls, to_index
from unstream.chat._fields import CHOICE, DELTA, TOP
from unstream.chat._parts import unknown
from unstream.chat._repeat import MISFITS, Repeats
from unstream.chat._schema import (
    NULL,
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Logprobs,
    Message,
    decode_chunk,
    to_usage,
)
from unstream.chat._tokens import raw_logprobs
from unstream.sse import Run

__all__ = ["ChatFold"]

RESULTS["chat"] = ChatCompletion

# What makes a payload a chunk, or part of an answer; other keys alone make none.
_OURS: Final = frozenset(
    ("choices", "id", "object", "created", "model", "usage", "error", "x_groq")
)
_LF: Final = ord("\n")
# What changes from chunk to chunk where nothing else does.
_APART: Final = ("usage", "obfuscation", "p")
# The fields of a chunk that are folded where they change, and their rules.
_PLAIN: Final = tuple(
    (key, TOP[key])
    for key in Chunk.__struct_fields__
    if key not in ("object", "choices", *_APART)
)
# Fields that are folded by their rows and nothing else. None today, since a call costs
# more than what is written out in `_add_plain_choice`: a new field needs its row alone.
_MORE: Final = tuple(
    key
    for key in Delta.__struct_fields__
    if key
    not in (
        *("role", "content", "reasoning_content", "reasoning", "refusal"),
        *("tool_calls", "reasoning_details"),
    )
)
_MORE_BESIDE: Final = tuple(
    key
    for key in ChunkChoice.__struct_fields__
    if key
    not in (
        *("index", "delta", "logprobs", "content_filter_results"),
        *("finish_reason", "native_finish_reason"),
    )
)
# What is extended by anything, twice by the same.
_EXTENDED: Final = frozenset(key for key, rule in CHOICE.items() if rule is extend)
_NOTHING: Final = Chunk()
_EMPTY: Final = Delta()
# After so many events that were decoded in vain, so many are not.
_ODD: Final = 3
_MANY_ODD: Final = 64
_BESIDE_ERROR: Final = ("id", "created", "model")
# Where the texts of a message stand: see `Message.text` and `thoughts`.
_SAID: Final = ("content", "reasoning_content", "reasoning", "reasoning_details")


class ChatFold(Fold[ChatCompletion]):
    """The state of one stream of chat completion chunks."""

    kind = ChatCompletion
    name = "chat"

    __slots__ = (
        "_body",
        "_calls_left",
        "_choices",
        "_id",
        "_inner",
        "_n_odd",
        "_odd",
        "_plain",
        "_repeats",
        "_seen",
        "_top",
    )

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._top: State = {}
        self._plain: Chunk | None = None  # the same, decoded into a Struct
        self._odd = 0  # events that are not to be decoded into Structs
        self._n_odd = 0
        self._id = ""  # of the last chunk that had one
        self._seen: State | None = None  # what stood beside the choices, last
        self._inner: State = {}  # the usage that stood in choices
        self._choices: dict[int, _Choice] = {}
        self._calls_left = limits.tool_calls
        self._repeats = Repeats()
        self._body: State | None = None  # a whole answer that was never streamed

    # --- Payloads ---------------------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads; see `Fold.take`.

        Three roads, from the cheapest to the one that takes everything: an event that
        is like an earlier one (`_repeat`); one of keys that nearly all events have,
        decoded into Structs; and any object, by its tables.
        """
        repeats, n = self._repeats, len(payloads)
        self.record = None
        alike = 0
        while at < n:
            chunk: Chunk | None = None
            if repeats.is_ready and like > 1 and not self.is_tight:
                start = at
                at = repeats.take(payloads, at)
                self.n_events += at - start
                alike += at - start
                if at == n:
                    break
                chunk = repeats.missed
            data = payloads[at]
            if _LF in data:  # no payload, which is not to be weighed as one
                self.record = None
                break
            if chunk is None or len(data) > self._light:  # it was not weighed yet
                chunk = self._decode(data)
            if chunk is None or not self._add_chunk(chunk, data, learns=like > 1):
                sent = self.read(data)
                if sent is None:
                    self.record = None
                    break
                self.n_events += 1
                self.add(sent, data)
                if self.record and like > 1:
                    repeats.learn_from(data, self.record)
            at += 1
            if not self.record:
                alike = 0
                continue
            alike += 1
            if alike >= like:
                break
        return at

    def _decode(self, data: bytes) -> Chunk | None:
        """Decode an event of keys that nearly all have; None where it is none."""
        if len(data) > self._light and not self.admits(data):
            return None
        if self._odd:
            # To find that out by a failed decode costs as much as a decode.
            self._odd -= 1
            return None
        try:
            return decode_chunk(data)
        except MISFITS:
            self._n_odd += 1
            if self._n_odd == _ODD:
                self._n_odd, self._odd = 0, _MANY_ODD
            return None

    def _add_chunk(self, chunk: Chunk, data: bytes, *, learns: bool) -> bool:
        """Fold an event that has one choice, or none, and nothing rare in it.

        Return False, with nothing done, where it has.
        """
        choices, choice, delta = chunk.choices, None, _EMPTY
        if choices is None or type(chunk) is not Chunk:
            return False
        if self.done or chunk.object == "error":
            return False
        if choices:
            choice = choices[0]
            if (
                len(choices) > 1
                or choice.delta is None
                or choice.delta.reasoning_details is not None
                or choice.logprobs is not None
                or choice.content_filter_results != NULL
            ):
                return False
            delta = choice.delta
        usage: State | None = None
        if chunk.usage != NULL:
            usage = read_strictly(chunk.usage, data)
            if usage is None:
                return False
        self.n_events += 1
        self.effects = effects = []
        if chunk.obfuscation:
            effects.append(("obfuscation", chunk.obfuscation, DROPPED))
        if chunk.p:
            effects.append(("p", chunk.p, DROPPED))
        chunk.choices = chunk.obfuscation = chunk.p = None
        if chunk != self._plain:
            self._add_plain(chunk, usage)
        if choice is not None:
            self._add_plain_choice(choice, delta)
        self.finish_event(data)
        repeats = self._repeats
        if self.record is None:
            if repeats.is_ready:
                repeats.clear()
        elif learns and effects and choice is not None:
            repeats.learn(chunk, choice, effects)
        return True

    def _add_plain(self, top: Chunk, usage: State | None) -> None:
        """Fold what stands beside the choices, where it is not what it was before."""
        state, effects, before = self._top, self.effects, self._plain
        if usage is not None:
            top.usage = NULL
            did = TOP["usage"](state, "usage", usage)
            if did is not None:
                effects.append(("usage", usage, did))
            if top == before:
                return
        before = before or _NOTHING
        if top.id != before.id:
            self._meet_id(top.id)
        for key, rule in _PLAIN:
            value = getattr(top, key)
            if value is not None and value != getattr(before, key):
                did = rule(state, key, value)
                if did is not None:
                    effects.append((key, value, did))
        self._plain, self._seen = top, None

    def _meet_id(self, identity: Json) -> None:
        """Take note of an id as it is kept: see `first_id`."""
        if type(identity) is int:
            identity = str(identity)
        if type(identity) is str and identity and identity != self._id:
            if self._id and identity != self._top.get("id", identity):
                self.note("id_changed")
            self.effects.append(("id", identity, CHANGED))
            self._id = identity

    def _meet_delta(self, choice: "_Choice") -> None:
        """Take note that a choice has deltas, so that its `text` is a twin."""
        choice.has_delta = True
        self.effects.append(("delta", None, CHANGED))

    def _add_plain_choice(self, sent: ChunkChoice, delta: Delta) -> None:
        index = sent.index or 0
        choice = self._choices.get(index)
        if choice is None and (choice := self._open_choice(index)) is None:
            return
        message, effects = choice.message, self.effects
        if not choice.has_delta:
            self._meet_delta(choice)
        if delta.role is not None and "role" not in message:
            self._put(message, "role", delta.role)
        n = len(effects)  # a role says nothing
        if delta.content is not None:
            self._put(message, "content", delta.content)
        if delta.reasoning_content:
            self._put(message, "reasoning_content", delta.reasoning_content)
        if delta.reasoning:
            self._put(message, "reasoning", delta.reasoning)
        if delta.refusal:
            self._put(message, "refusal", delta.refusal)
        for key in _MORE:
            if (value := getattr(delta, key)) is not None:
                self._put(message, key, value)
        if delta.tool_calls:
            calls = message.get("tool_calls") or Calls(proxy(self))
            for piece in delta.tool_calls:
                self._put_call(message, calls, calls.add_plain(piece))
        said = False
        if len(effects) > n:
            for _, value, _ in effects[n:]:
                if value:
                    said = self.has_content = True
            if self.listens:
                thoughts = delta.reasoning_content or delta.reasoning
                self.hear(text=delta.content, reasoning=thoughts)
        reason = sent.finish_reason
        if reason is not None:
            self._put_beside(choice, "finish_reason", reason)
        if sent.native_finish_reason is not None:
            self._put_beside(choice, "native_finish_reason", sent.native_finish_reason)
        for key in _MORE_BESIDE:
            if (value := getattr(sent, key)) is not None:
                self._put_beside(choice, key, value)
        if reason or (said and choice.finished):
            self._finish(choice, reason)

    def _put_beside(self, choice: "_Choice", key: str, value: Json) -> None:
        """Fold a field that stands beside the delta by its rule."""
        choice.seen = None
        did = CHOICE[key](choice.state, key, value)
        if did is not None:
            self.effects.append((key, value, did))

    def _put(self, message: State, key: str, value: Json) -> None:
        """Fold a field of a delta by its rule."""
        did = DELTA[key](message, key, value)
        if did is not None:
            self.effects.append(did if type(did) is tuple else (key, value, did))

    def add(
        self, sent: State, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        """Fold a payload; see `Fold.add`."""
        self.effects = effects = []
        if "object" not in sent and "choices" not in sent and name != "error":
            if "type" in sent and error_in(sent) is None:
                # A ping, or an event of another API.
                self.foreign = True
                self.note("foreign_events")
                self.record = None
                return
            if _OURS.isdisjoint(sent):
                self.foreign = True
        choices = sent.pop("choices", None)
        for key in _APART:
            value = sent.pop(key, None)
            if value is not None:
                did = TOP[key](self._top, key, value)
                if did is not None:
                    effects.append((key, value, did))
        # Most often the rest is what it was in the last chunk, and to fold it once more
        # would change nothing.
        if name or sent != self._seen:
            self._add_top(sent, choices, name)
        if choices and not self.done:
            self._add_choices(choices, data, exact=exact)
        elif self.done:
            self.note("data_after_done")
        self.finish_event(data)
        if self.record is None:
            self._repeats.clear()

    def _add_top(self, sent: State, choices: Json, name: str) -> None:
        """Fold what stands beside choices, usage and padding."""
        top = self._top
        error = error_in(sent)
        if name == "error" and error is None:
            error = sent
        if error is not None:
            self.fail(error)
            self._seen = None
            if choices is None:
                sent = {key: sent[key] for key in _BESIDE_ERROR if key in sent}
        self._meet_id(sent.get("id"))
        fold(top, sent, TOP, last, self.effects)
        self._seen = sent if is_exact(sent, "created") else None
        self._plain = None

    def stop(self) -> None:
        """Take note of `[DONE]`: choices count no more."""
        if self.done:
            self.note("data_after_done")
        self.done = True
        self.revision += 1
        self._repeats.clear()

    def _add_choices(self, choices: Json, data: bytes, *, exact: bool) -> None:
        if type(choices) is dict:  # a lone object
            choices = [choices]
        elif type(choices) is not list:
            return
        for place, sent in enumerate(choices):
            if type(sent) is not dict:
                continue
            index = sent.pop("index", None)
            if type(index) is not int:
                index = to_index(index) or 0
            choice = self._choices.get(index)
            if choice is None and (choice := self._open_choice(index)) is None:
                continue
            if type(sent.get("logprobs")) is dict:
                logprobs = sent.pop("logprobs")
                raw = raw_logprobs(data, place) if exact else None
                self.effects += choice.add_logprobs(logprobs, raw)
            self._add_choice(choice, sent)

    def _open_choice(self, index: int) -> "_Choice | None":
        if len(self._choices) >= self.limits.choices:
            self.limit = self.limit or "choices"
            return None
        choice = self._choices[index] = _Choice()
        self.effects.append(("index", index, CHANGED))
        return choice

    def _add_choice(self, choice: "_Choice", sent: State) -> None:
        delta = sent.pop("delta", None)
        if type(delta) is not dict:
            said = self._add_alone(choice, sent)
        else:
            if not choice.has_delta:
                self._meet_delta(choice)
            said = bool(delta) and self._add_delta(choice, delta)
        reason = sent.get("finish_reason")
        usage = sent.get("usage")
        if type(usage) is dict and usage:
            usage = settle(usage)  # which the choice keeps, too
            if (did := merge(self._inner, "usage", usage)) is not None:
                self.effects.append(("usage", None, did))
        if sent != choice.seen:
            fold(choice.state, sent, CHOICE, last, self.effects)
            same = is_exact(sent) and _EXTENDED.isdisjoint(sent)
            choice.seen = sent if same else None
        if said:
            self.has_content = True
        if type(reason) is not str:
            reason = None
        if reason or (said and choice.finished):
            self._finish(choice, reason)

    def _finish(self, choice: "_Choice", reason: str | None) -> None:
        """Finish a choice, or, without a reason, take that back."""
        if reason and choice.finished:
            return
        if not reason:  # it was not the end, whatever the reason that came
            self.note("reopened")
        choice.finished = bool(reason)
        self.effects.append(("finish_reason", reason, CHANGED))

    def _add_delta(self, choice: "_Choice", delta: State) -> bool:
        """Fold a delta; say whether it said anything."""
        effects, message = self.effects, choice.message
        n = len(effects)
        if self.listens:
            self._hear(delta)
        fold(message, delta, DELTA, unknown, effects)
        if "tool_calls" in delta:
            self._add_calls(message, delta["tool_calls"])
        for key, value, did in effects[n:]:
            if did is not DROPPED and key != "role" and (value or value == 0):
                return True
        return False

    def _add_calls(self, message: State, pieces: Json) -> None:
        if type(pieces) is dict:  # TGI: a lone object
            pieces = [pieces]
        if not pieces or type(pieces) is not list:
            return
        calls = message.get("tool_calls") or Calls(proxy(self))
        for piece in pieces:
            if type(piece) is dict and piece:
                self._put_call(message, calls, calls.add(piece))

    def _put_call(self, message: State, calls: Calls, did: Did) -> None:
        if did is not None:
            message["tool_calls"] = calls
            self.effects.append(
                did if type(did) is tuple else ("tool_calls", True, did)
            )

    def _add_alone(self, choice: "_Choice", sent: State) -> bool:
        """Take what stands where no delta does: a whole message, or an old `text`."""
        message, text = sent.get("message"), sent.get("text")
        if type(text) is str and not choice.has_delta:
            del sent["text"]  # it is no twin of a delta
        if type(message) is dict:
            if self.listens:
                self._hear(message)
            choice.whole = message
            self.effects.append(("message", message, HELD))
            return True
        if type(text) is str and not choice.has_delta:
            did = grow(choice.message, "content", text)
            if did is not None:
                self.effects.append(("text", text, did))
            if self.listens:
                self.hear(text=text, reasoning=False)
            return bool(text)
        return False

    def _hear(self, sent: State) -> None:
        """Hear a delta, or a message, as a message of nothing else would be."""
        said = {key: sent[key] for key in _SAID if sent.get(key) not in (None, "")}
        text = said.get("content")
        if not said or (self.first_text and len(said) == 1 and type(text) is str):
            return  # which is most of what comes
        state: State = {}
        fold(state, said, DELTA, unknown, [])
        message = structure(Message, settle(state))
        self.hear(text=message.text(), reasoning=message.thoughts())

    # --- Tool calls -------------------------------------------------------------------

    def may_open_call(self) -> bool:
        """Say whether there is room for one more call, and count it."""
        if self._calls_left:
            self._calls_left -= 1
            return True
        self.limit = self.limit or "tool_calls"
        return False

    # --- Bodies that are no stream ----------------------------------------------------

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        if not _is_whole(sent):
            return False
        if is_error(sent.get("error")):
            self.fail(sent["error"])
        self._body = self._cut(sent)
        self.has_content = bool(self._body.get("choices"))
        return True

    def _cut(self, sent: State) -> State:
        """Leave out choices and calls that are over their limits."""
        choices = sent.get("choices")
        if type(choices) is not list:
            return sent
        if len(choices) > self.limits.choices:
            self.limit = "choices"
            del choices[self.limits.choices :]
        for choice in choices:
            message = choice.get("message") if type(choice) is dict else None
            calls = message.get("tool_calls") if type(message) is dict else None
            if type(calls) is list:
                if len(calls) > self._calls_left:
                    self.limit = self.limit or "tool_calls"
                    del calls[self._calls_left :]
                self._calls_left -= len(calls)
        return sent

    # --- The result -------------------------------------------------------------------

    def judge(self, *, cut_off: bool) -> Ending:
        """Say how the stream ended; see `Fold.judge`."""
        if self._body is not None:
            return Ending.COMPLETE if self._body.get("choices") else Ending.EMPTY
        if not self._choices:
            return Ending.EMPTY
        if self.done or not (cut_off or self.unfinished()):
            return Ending.COMPLETE
        return Ending.TRUNCATED

    def unfinished(self) -> tuple[int, ...]:
        """Return the indexes of the choices that have not finished."""
        if self._body is not None:
            return ()
        left = [i for i, choice in self._choices.items() if not choice.finished]
        return tuple(left)

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        if not self._choices or self._body is not None:
            return
        if not self.done:
            self.note("no_done")
        if self._usage()[1] is None:
            self.note("usage_missing")
        for choice in self._choices.values():
            if "finish_reason" not in choice.state:
                self.note("finish_missing")
            if "role" not in choice.message:
                self.note("role_missing")
            calls = choice.message.get("tool_calls")
            if calls and (several := calls.count_several()):
                self.note("arguments_several", several)

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", "choice", "x_groq", or nowhere."""
        if self._body is not None:
            return "usage" if type(self._body.get("usage")) is dict else None
        return self._usage()[0]

    def _usage(self) -> tuple[str | None, State | None]:
        """Return the usage and where it came from; one of nulls alone says nothing."""
        top = self._top
        usage: State | None = top.get("usage")
        if usage is not None:
            for value in usage.values():
                if value is not None:
                    return "usage", usage
        inner: State | None = self._inner.get("usage")
        if inner is not None and _says(inner):
            return "choice", inner
        groq = top.get("x_groq")
        inner = groq.get("usage") if type(groq) is dict else None
        if type(inner) is dict and _says(inner):
            return "x_groq", inner
        return (None, None) if usage is None else ("usage", usage)

    def result(self) -> ChatCompletion | None:
        """Return what was folded so far; see `Fold.result`.

        Without a plain copy in between: that would take three times as long.
        """
        if self.has_halves or self._body is not None:
            return super().result()
        top, usage = self._top, self._usage()[1]
        if not self._choices and usage is None and _OURS.isdisjoint(top):
            return None
        choices = sorted(self._choices.items())
        known: State = {"choices": [choice.typed(index) for index, choice in choices]}
        if usage is not None:
            known["usage"] = to_usage(usage)
        if top.keys() <= _TYPED:
            return ChatCompletion(**{**top, **known})
        rest = {key: settle(value) for key, value in top.items() if key != "usage"}
        return structure(ChatCompletion, rest, {**_BLANK, **known})

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        top, usage = self._top, self._usage()[1]
        if not self._choices and usage is None and _OURS.isdisjoint(top):
            return None
        plain: State = {
            **_BLANK,
            "choices": [
                choice.plain(index) for index, choice in sorted(self._choices.items())
            ],
        }
        for key, value in top.items():
            plain[key] = value if type(value) in ATOMS else settle(value)
        if usage is not None:
            plain["usage"] = settle(usage)
        return plain


class _Choice:
    """The state of one choice."""

    __slots__ = (
        "finished",
        "has_delta",
        "logprobs",
        "message",
        "seen",
        "state",
        "whole",
    )

    def __init__(self) -> None:
        self.state: State = {}  # what stands beside the delta
        self.seen: State | None = None  # what stood beside the delta, last
        self.message: State = {}
        self.whole: State | None = None  # a `message` where no delta stood
        self.logprobs: dict[str, JsonArray | bytes | None] = {}
        self.has_delta = False
        self.finished = False  # and nothing was said since

    def add_logprobs(self, sent: State, raw: dict[str, Raw] | None) -> Effects:
        """Extend lists; of anything else keep the last, until there is a list."""
        effects: Effects = []
        for key, value in sent.items():
            held = self.logprobs.get(key)
            if value is None:
                if key not in self.logprobs:
                    self.logprobs[key] = None
                    effects.append((key, None, HELD))
                continue
            if raw is None:
                key, text = mend(key), dump(mend(value)).encode()  # noqa: PLW2901
            else:
                text = bytes(raw[key])
            did: JsonArray | Effect = HELD if held is None else CHANGED
            if type(value) is not list:
                if not isinstance(held, JsonArray):
                    self.logprobs[key] = text
            elif isinstance(held, JsonArray):
                held.extend(text)
                did = held
            else:
                self.logprobs[key] = held = JsonArray()
                held.extend(text)
            effects.append((key, None, did))
        return effects

    def plain(self, index: int) -> State:
        """Return a copy as plain values."""
        plain: State = {
            "index": index,
            "message": self._message(),
            "logprobs": self._logprobs() if self.logprobs else None,
            "finish_reason": None,
        }
        for key, value in self.state.items():
            plain[key] = value if type(value) in ATOMS else settle(value)
        return plain

    def typed(self, index: int) -> Choice:
        """Return a copy as a Struct."""
        state, message = self.state, self._typed_message()
        logprobs = self._logprobs() if self.logprobs else None
        if state.keys() <= _TYPED_BESIDE:
            return Choice(index=index, message=message, logprobs=logprobs, **state)
        known = {"index": index, "message": message, "logprobs": logprobs}
        return structure(Choice, settle(state), {"finish_reason": None, **known})

    def _typed_message(self) -> Message:
        if self.whole is not None:
            return structure(Message, self._message())
        known: State = {}
        rest: State = {}
        for key, value in self.message.items():
            kind = type(value)
            if kind is StringIO and key in _TYPED_MESSAGE:
                known[key] = value.getvalue()
            elif kind is Calls:
                known[key] = value.typed()
            elif key == "role":
                known[key] = value
            else:
                rest[key] = settle(value)
        if not rest:
            return Message(**known)
        return structure(Message, rest, {**_BLANK_MESSAGE, **known})

    def _logprobs(self) -> Logprobs | None:
        lists = self.logprobs.items()
        if not any(isinstance(held, JsonArray) for _, held in lists):
            return None
        texts = {k: v.text() if isinstance(v, JsonArray) else v for k, v in lists}
        return Logprobs({key: text or b"null" for key, text in texts.items()})

    def _message(self) -> State:
        state = self.message
        if self.whole is not None and state.keys() <= _SILENT:
            fold(state := {**state}, self.whole, DELTA, unknown, [])
            if type(calls := self.whole.get("tool_calls")) is list:
                state["tool_calls"] = calls
        message: State = {**_BLANK_MESSAGE}
        for key, value in state.items():
            kind = type(value)
            if kind is StringIO:
                message[key] = value.getvalue()
            else:
                message[key] = value if kind in ATOMS else settle(value)
        return message


_SILENT: Final = frozenset(("role",))  # what says nothing
# What stands in a completion, and in a message, that was not sent.
_BLANK: Final = {"id": "", "object": "chat.completion", "created": 0, "model": ""}
_BLANK_MESSAGE: Final = {"role": "assistant", "content": None, "refusal": None}
# Keys whose rules keep nothing but values of their field's type. In a message, if they
# keep a text.
_TYPED: Final = frozenset(
    ("id", "created", "model", "service_tier", "system_fingerprint", "usage")
)
_TYPED_BESIDE: Final = frozenset(("finish_reason",))
_TYPED_MESSAGE: Final = frozenset(
    ("content", "refusal", "reasoning", "reasoning_content")
)


def _says(usage: State) -> bool:
    return any(value is not None for value in usage.values())


def _is_whole(sent: State) -> bool:
    """Say whether an object is a completion that was never streamed."""
    if sent.get("object") == "chat.completion":
        return True
    choices = sent.get("choices")
    return type(choices) is list and any(
        type(choice) is dict and "message" in choice and "delta" not in choice
        for choice in choices
    )
