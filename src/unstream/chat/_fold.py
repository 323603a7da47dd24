"""The fold of chat completions: payloads in, in order; the completion out, any time.

This module knows the structure of a chunk (choices, their deltas, calls and log
probabilities), what ends a choice and a stream, and what else may stand in one. What
is particular to a key is a row in `_fields`, how calls are told apart is in `_calls`.
"""

from io import SEEK_END, BytesIO
from typing import Final

import msgspec
from msgspec import Raw, Struct

from unstream._json import Json, dump, mend
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import (
    CHANGED,
    DROPPED,
    State,
    fold,
    grow,
    is_empty,
    last,
    merge,
    settle,
)
from unstream.chat._calls import Calls, to_index
from unstream.chat._fields import CHOICE, DELTA, TOP
from unstream.chat._parts import unknown
from unstream.chat._repeat import Repeats
from unstream.chat._schema import ChatCompletion, Logprobs

__all__ = ["ChatFold"]

RESULTS["chat"] = ChatCompletion

# What makes a payload a chunk, or part of an answer; other keys alone make none.
_OURS: Final = frozenset(
    ("choices", "id", "object", "created", "model", "usage", "error", "x_groq")
)
_LF: Final = ord("\n")
_BESIDE_ERROR: Final = ("id", "created", "model", "usage")


class ChatFold(Fold[ChatCompletion]):
    """The state of one stream of chat completion chunks."""

    kind = ChatCompletion
    name = "chat"

    __slots__ = ("_body", "_calls_left", "_choices", "_inner", "_repeats", "_top")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._top: State = {}
        self._inner: State = {}  # the usage that stood in choices
        self._choices: dict[int, _Choice] = {}
        self._calls_left = limits.tool_calls
        self._repeats = Repeats()
        self._body: State | None = None  # a whole answer that was never streamed

    # --- Payloads ---------------------------------------------------------------------

    def take(self, payloads: list[bytes], at: int, like: int) -> int:
        """Fold payloads; see `Fold.take`."""
        repeats, n = self._repeats, len(payloads)
        self.record = None
        alike = 0
        while at < n:
            if repeats.is_ready and like > 1:
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
            self.add(sent, data)
            if self.record is None:
                alike = 0
                continue
            alike += 1
            if alike >= like:
                break
            repeats.learn(data, self.record)
        return at

    def add(
        self, sent: State, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        """Fold a payload; see `Fold.add`."""
        effects = self.effects
        effects.clear()
        if sent.get("object") != "chat.completion.chunk" or name or _is_odd(sent):
            found = self._look(sent, name)
            if found is None:
                self.record = None
                return
            sent = found
        top = self._top
        if "id" in top and sent.get("id") and sent["id"] != top["id"]:
            self.note("id_changed")
        fold(top, sent, TOP, last, effects)
        choices = sent.get("choices")
        if self.done:
            self.note("data_after_done")
        elif choices:
            self._add_choices(choices, data, exact=exact)
        self.finish_event(data)
        if self.record is None:
            self._repeats.clear()

    def _look(self, sent: State, name: str) -> State | None:
        """Look at a payload that may be an error, or no chunk; return what to fold."""
        error = error_in(sent)
        if name == "error" and error is None:
            error = sent
        if error is not None:
            self.fail(error)
            if "choices" not in sent:
                return {key: sent[key] for key in _BESIDE_ERROR if key in sent}
        elif "object" not in sent and "choices" not in sent:
            if "type" in sent:
                self.foreign = True
                self.note("foreign_events")
                return None
            if _OURS.isdisjoint(sent):
                self.foreign = True
        return sent

    def stop(self) -> None:
        """Take note of `[DONE]`: choices count no more."""
        if self.done:
            self.note("data_after_done")
        self.done = True
        self.revision += 1
        self._repeats.clear()

    def _add_choices(self, choices: Json, data: bytes, *, exact: bool) -> None:
        if type(choices) is dict:
            choices = [choices]
        elif type(choices) is not list:
            return
        for place, sent in enumerate(choices):
            if type(sent) is not dict:
                continue
            index = to_index(sent.get("index")) or 0
            choice = self._choices.get(index)
            if choice is None:
                if len(self._choices) >= self.limits.choices:
                    self.limit = self.limit or "choices"
                    continue
                choice = self._choices[index] = _Choice()
                self.effects.append(("index", index, CHANGED))
            self._add_choice(choice, sent)
            logprobs = sent.get("logprobs")
            if type(logprobs) is dict and logprobs:
                raw = _raw_logprobs(data, place) if exact else None
                choice.add_logprobs(logprobs, raw)
                self.effects.append(("logprobs", True, CHANGED))

    def _add_choice(self, choice: "_Choice", sent: State) -> None:
        effects = self.effects
        delta = sent.get("delta")
        if type(delta) is dict:
            choice.has_delta = True
            said = self._add_delta(choice, delta)
        else:
            said = self._add_alone(choice, sent)
        fold(choice.state, sent, CHOICE, last, effects)
        if type(usage := sent.get("usage")) is dict:
            merge(self._inner, "usage", usage)
        reason = sent.get("finish_reason")
        if type(reason) is str and reason:
            if not choice.finished:
                choice.finished = True
                effects.append(("finish_reason", reason, CHANGED))
        elif said and choice.finished:
            # It was not the end, whatever the reason that came.
            choice.finished = False
            self.note("reopened")
            effects.append(("finish_reason", None, CHANGED))
        if said:
            self.has_content = True

    def _add_delta(self, choice: "_Choice", delta: State) -> bool:
        """Fold a delta; say whether it said anything."""
        effects, message = self.effects, choice.message
        n = len(effects)
        fold(message, delta, DELTA, unknown, effects)
        pieces = delta.get("tool_calls")
        if pieces:
            if type(pieces) is dict:  # TGI: a lone object
                pieces = [pieces]
            calls = message.get("tool_calls") or Calls(self)
            for piece in pieces if type(pieces) is list else ():
                did = calls.add(piece) if type(piece) is dict else None
                if did is not None:
                    message["tool_calls"] = calls
                    # What was appended, or whatever else this did.
                    text = piece if did is CHANGED else calls.text_of(piece)
                    effects.append(("arguments", text, did))
        for key, value, did in effects[n:]:
            if key != "role" and did is not DROPPED and not is_empty(value):
                return True
        return False

    def _add_alone(self, choice: "_Choice", sent: State) -> bool:
        """Take what stands where no delta does: a whole message, or an old `text`."""
        message, text = sent.get("message"), sent.get("text")
        if type(message) is dict:
            choice.whole = message
            self.effects.append(("message", message, CHANGED))
            return True
        if type(text) is str and not choice.has_delta:
            did = grow(choice.message, "content", text)
            if did is not None:
                self.effects.append(("text", text, did))
            return bool(text)
        return False

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
        choices = self._choices
        return tuple(index for index in choices if not choices[index].finished)

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        choices = self._choices.values()
        if not choices or self._body is not None:
            return
        if not self.done:
            self.note("no_done")
        if missing := sum("finish_reason" not in choice.state for choice in choices):
            self.note("finish_missing", missing)
        if missing := sum("role" not in choice.message for choice in choices):
            self.note("role_missing", missing)
        if self.usage_source() is None:
            self.note("usage_missing")
        several = 0
        for choice in choices:
            if (calls := choice.message.get("tool_calls")) is not None:
                several += calls.count_several()
        if several:
            self.note("arguments_several", several)

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", "choice", "x_groq", or nowhere."""
        if self._body is not None:
            return "usage" if type(self._body.get("usage")) is dict else None
        return self._usage()[0]

    def _usage(self) -> tuple[str | None, Json]:
        groq = self._top.get("x_groq")
        found = {
            "usage": self._top.get("usage"),
            "choice": self._inner.get("usage"),
            "x_groq": groq.get("usage") if type(groq) is dict else None,
        }
        for source, usage in found.items():
            # One of nulls alone says nothing.
            if type(usage) is dict and any(v is not None for v in usage.values()):
                return source, usage
        return ("usage", found["usage"]) if found["usage"] else (None, None)

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        top, usage = self._top, self._usage()[1]
        if not self._choices and usage is None and _OURS.isdisjoint(top):
            return None
        plain: State = settle(top)
        plain.setdefault("id", "")
        plain["object"] = "chat.completion"
        plain.setdefault("created", 0)
        plain.setdefault("model", "")
        plain["choices"] = [
            self._choices[index].plain(index) for index in sorted(self._choices)
        ]
        if usage is not None and "usage" not in top:
            plain["usage"] = settle(usage)
        return plain


class _Choice:
    """The state of one choice."""

    __slots__ = ("finished", "has_delta", "logprobs", "message", "state", "whole")

    def __init__(self) -> None:
        self.state: State = {}  # what stands beside the delta
        self.message: State = {}
        self.whole: State | None = None  # a `message` where no delta stood
        self.logprobs: dict[str, JsonArray | bytes | None] = {}
        self.has_delta = False
        self.finished = False  # and nothing was said since

    def add_logprobs(self, sent: State, raw: dict[str, Raw] | None) -> None:
        """Extend lists; of anything else keep the last, until there is a list."""
        for key, value in sent.items():
            held = self.logprobs.get(key)
            if value is None:
                self.logprobs.setdefault(key, None)
                continue
            text = dump(mend(value)).encode() if raw is None else bytes(raw[key])
            if type(value) is list:
                if not isinstance(held, JsonArray):
                    held = self.logprobs[key] = JsonArray()
                held.extend(text)
            elif not isinstance(held, JsonArray):
                self.logprobs[key] = text

    def plain(self, index: int) -> State:
        """Return a copy as plain values."""
        plain: State = settle(self.state)
        plain["index"] = index
        plain["message"] = self._message()
        plain["logprobs"] = None
        if any(isinstance(held, JsonArray) for held in self.logprobs.values()):
            plain["logprobs"] = Logprobs(
                {
                    key: held.text() if isinstance(held, JsonArray) else held or b"null"
                    for key, held in self.logprobs.items()
                }
            )
        plain.setdefault("finish_reason", None)
        return plain

    def _message(self) -> State:
        state = self.message
        if self.whole is not None and not state:
            fold(state := {}, self.whole, DELTA, unknown, [])
            if type(calls := self.whole.get("tool_calls")) is list:
                state["tool_calls"] = calls
        message: State = settle(state)
        message.setdefault("role", "assistant")
        message.setdefault("content", None)
        message.setdefault("refusal", None)
        return message


class JsonArray:
    """A JSON array as text, which grows by the items of others.

    There are thousands of log probabilities, and most are stored without being looked
    at: as text they take a tenth of the memory and of the time. `text` hands out the
    one buffer without a copy.
    """

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = BytesIO()  # the array, but for its end

    def extend(self, array: bytes) -> None:
        """Append the items of an array."""
        if items := array[1:-1].strip():
            self._text.write(b"," if self._text.tell() else b"[")
            self._text.write(items)

    def text(self) -> bytes:
        """Return the array so far."""
        if not self._text.tell():
            return b"[]"
        self._text.write(b"]")
        text = self._text.getvalue()
        self._text.seek(-1, SEEK_END)  # the next item goes there
        return text


class _RawChoice(Struct, gc=False):
    logprobs: dict[str, Raw] | None = None


class _RawChunk(Struct, gc=False):
    choices: list[_RawChoice] | _RawChoice = []


_decode_raw: Final = msgspec.json.Decoder(_RawChunk).decode


def _raw_logprobs(data: bytes, place: int) -> dict[str, Raw] | None:
    """Return log probabilities as the text that was sent; None where that fails."""
    try:
        choices = _decode_raw(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # another choice is odd
    return (choices if type(choices) is list else [choices])[place].logprobs


def _is_odd(sent: State) -> bool:
    return "error" in sent or "x_groq" in sent


def _is_whole(sent: State) -> bool:
    """Say whether an object is a completion that was never streamed."""
    if sent.get("object") == "chat.completion":
        return True
    choices = sent.get("choices")
    return type(choices) is list and any(
        type(choice) is dict and "message" in choice and "delta" not in choice
        for choice in choices
    )
