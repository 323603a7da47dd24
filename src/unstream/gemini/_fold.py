"""The fold of Gemini's streams: payloads in, in order; the response out, any time.

This module knows the structure of a response (candidates, their contents and parts),
what wraps one, what ends a candidate and a stream. What is particular to a key is a row
in `_fields`, what becomes of parts is in `_parts`.
"""

from typing import Final
from weakref import proxy

from unstream._json import Json
from unstream._outcome import RESULTS, Ending, Limits
from unstream._protocol import Fold, is_error
from unstream._rules import CHANGED, HELD, State, last, last_non_null, settle
from unstream.gemini._fields import (
    CANDIDATE,
    CONTENT,
    TOP,
    ends,
    fold_level,
    to_index,
)
from unstream.gemini._parts import Parts
from unstream.gemini._repeat import Look
from unstream.gemini._schema import GenerateContentResponse
from unstream.sse import Run

__all__ = ["GeminiFold", "unwrap"]

RESULTS["gemini"] = GenerateContentResponse

# What makes a payload a response; an error is one of ours besides.
_OURS: Final = (
    "candidates",
    "promptFeedback",
    "usageMetadata",
    "modelVersion",
    "responseId",
)
_BESIDE_ERROR: Final = (*_OURS, "createTime")
# Of code execution in rounds: it comes after each round. 1 is its number.
_STOP: Final = ("STOP", 1)
_LF: Final = ord("\n")


class GeminiFold(Fold[GenerateContentResponse]):
    """The state of one stream of responses."""

    kind = GenerateContentResponse
    name = "gemini"

    __slots__ = ("_body", "_calls_left", "_candidates", "_id", "_repeat", "_top")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._top: State = {}
        self._candidates: dict[int, _Candidate] = {}
        self._calls_left = limits.tool_calls
        self._repeat = Look()
        self._id: Json = None  # the newest responseId
        self._body: State | None = None  # a whole answer that was never streamed

    # --- Payloads ---------------------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads; see `Fold.take`."""
        look, alike = self._repeat, 0
        is_named = payloads.names is not None
        for place in range(at, len(payloads)):
            data = payloads[place]
            may_look = look.is_ready and not is_named and len(data) <= self._light
            if may_look and look.take(data, self._top):
                self.n_events += 1
                self.revision += 1
                self.record = None
                continue
            if _LF in data or (sent := self.read(data)) is None:
                self.record = None
                return place
            self.n_events += 1
            self.add(sent, data, payloads.name(place))
            if self.record is None:
                look.learn(data, self.effects)
                alike = 0
                continue
            alike = alike + 1 if self.record else 0
            if alike >= like:
                return place + 1
        return len(payloads)

    def add(
        self,
        sent: State,
        data: bytes,
        name: str = "",
        *,
        exact: bool = True,  # noqa: ARG002 - nothing here is kept as text
    ) -> None:
        """Fold a payload; see `Fold.add`."""
        effects = self.effects
        effects.clear()
        self._repeat.is_ready = False
        if name or "candidates" not in sent or "error" in sent:
            found = self._look(sent, name)
            if found is None:
                self.record = None
                return
            sent = found
        top = self._top
        identity = sent.get("responseId")
        if identity and identity != self._id:
            if self._id is not None:
                self.note("id_changed")
            self._id = identity
            effects.append(("responseId", identity, CHANGED))
        fold_level(top, sent, TOP, last, effects)
        candidates = sent.get("candidates")
        if type(candidates) is list:
            for candidate in candidates:
                if type(candidate) is dict:
                    self._add_candidate(candidate)
        self.finish_event(data)

    def _look(self, sent: State, name: str) -> State | None:
        """Look at a payload that may be wrapped, or no response; return that."""
        whole, sent = sent, unwrap(sent)
        error = sent.get("error")
        if is_error(error):
            self.fail(error)
        elif name == "error":
            self.fail(whole)
        elif error is None and not _is_ours(sent):
            self.foreign = True
            self.note("foreign_events")
            return None
        else:
            return sent
        if "candidates" in sent:
            return sent
        return {key: sent[key] for key in _BESIDE_ERROR if key in sent}

    def _add_candidate(self, sent: State) -> None:
        index = to_index(sent.get("index")) or 0
        candidate = self._candidates.get(index)
        effects = self.effects
        if candidate is None:
            if len(self._candidates) >= self.limits.choices:
                self.limit = self.limit or "choices"
                return
            candidate = self._candidates[index] = _Candidate(proxy(self))
            effects.append(("candidates", index, HELD))
        content = sent.get("content")
        said = type(content) is dict and self._add_content(candidate, content)
        fold_level(candidate.state, sent, CANDIDATE, last, effects)
        if ends(sent.get("finishReason")):
            if not candidate.finished:
                candidate.finished = True
                effects.append(("finishReason", True, CHANGED))
        elif said and candidate.finished:
            # It was not the end, whatever the reason that came.
            candidate.finished = False
            self.note("reopened")
            effects.append(("finishReason", False, CHANGED))

    def _add_content(self, candidate: "_Candidate", sent: State) -> bool:
        """Fold a content; say whether any of its parts said anything."""
        effects = self.effects
        if candidate.content is None:
            candidate.content = {}
            effects.append(("content", True, HELD))
        said = False
        parts = sent.get("parts")
        if type(parts) is list:
            add = candidate.parts.add
            for part in parts:
                if type(part) is dict:
                    is_blank = part.get("text") == ""
                    if self.listens:
                        self._hear(part)
                    if add(part, effects):
                        said = True
                        if not is_blank:
                            self.has_content = True
        fold_level(candidate.content, sent, CONTENT, last_non_null, effects)
        return said

    def _hear(self, part: State) -> None:
        if type(part.get("text")) is str:
            thought = part.get("thought") is True  # what else stands there is no field
            text = part["text"]
            self.hear(text=text and not thought, reasoning=text and thought)

    # --- Room -------------------------------------------------------------------------

    def may_open_call(self) -> bool:
        """Say whether there is room for one more call, and count it."""
        if self._calls_left:
            self._calls_left -= 1
            return True
        self.limit = self.limit or "tool_calls"
        return False

    def may_make(self, n: int) -> bool:
        """Say whether so many objects and lists may be made, and count them."""
        made = b"{" * n  # as if they had been sent
        if not self.has_room(made):
            return False
        self.hold(made)
        return True

    # --- Bodies that are no stream ----------------------------------------------------

    def read_body(self, sent: State) -> bool:
        """Take a body that was no stream; say whether it is a whole answer."""
        sent = unwrap(sent)
        error = sent.get("error")
        if not _is_ours(sent) or (is_error(error) and "candidates" not in sent):
            return False
        if is_error(error):
            self.fail(error)
        self._body = self._cut(sent)
        return True

    def _cut(self, sent: State) -> State:
        """Leave out candidates and calls that are over their limits."""
        candidates = sent.get("candidates")
        if type(candidates) is not list:
            return sent
        if len(candidates) > self.limits.choices:
            self.limit = "choices"
            del candidates[self.limits.choices :]
        for candidate in candidates:
            content = candidate.get("content") if type(candidate) is dict else None
            parts = content.get("parts") if type(content) is dict else None
            if type(parts) is list:
                parts[:] = [part for part in parts if self._may_keep(part)]
        return sent

    def _may_keep(self, part: Json) -> bool:
        is_call = type(part) is dict and type(part.get("functionCall")) is dict
        return not is_call or self.may_open_call()

    # --- The result -------------------------------------------------------------------

    def judge(self, *, cut_off: bool) -> Ending:  # noqa: ARG002 - see below
        """Say how the stream ended; see `Fold.judge`.

        A payload that was cut off changes nothing: what ends a candidate is its
        finishReason, and behind it comes the usage at the most.
        """
        if self._body is not None:
            whole = bool(self._body.get("candidates")) or _is_blocked(self._body)
            return Ending.COMPLETE if whole else Ending.EMPTY
        if not self._candidates:
            return Ending.COMPLETE if _is_blocked(self._top) else Ending.EMPTY
        return Ending.TRUNCATED if self.unfinished() else Ending.COMPLETE

    def unfinished(self) -> tuple[int, ...]:
        """Return the indexes of the candidates that have not finished."""
        candidates = self._candidates
        return tuple(i for i in sorted(candidates) if not candidates[i].has_ended())

    def close(self) -> None:
        """Note what is known at the end."""
        super().close()
        candidates = self._candidates.values()
        if not candidates:
            return
        missing = sum(not ends(c.state.get("finishReason")) for c in candidates)
        if missing:
            self.note("finish_missing", missing)
        if self.usage_source() is None:
            self.note("usage_missing")
        if n_open := sum(c.parts.count_open() for c in candidates):
            self.note("arguments_open", n_open)

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usageMetadata", or nowhere."""
        spent = (self._body or self._top).get("usageMetadata")
        return "usageMetadata" if type(spent) is dict and spent else None

    def plain(self) -> State | None:
        """Return a copy of what was folded so far; None where nothing came."""
        if self._body is not None:
            return self._body
        plain: State = {}
        if candidates := self._candidates:
            plain["candidates"] = [candidates[i].plain() for i in sorted(candidates)]
        plain.update(settle(self._top))
        return plain or None


class _Candidate:
    """The state of one candidate."""

    __slots__ = ("content", "finished", "parts", "state")

    def __init__(self, room: GeminiFold) -> None:
        self.state: State = {}  # what stands beside the content
        self.content: State | None = None  # what stands beside the parts
        self.parts = Parts(room)
        self.finished = False  # a finishReason came, and nothing was said since

    def has_ended(self) -> bool:
        """Say whether it has a finishReason that is the end."""
        if not self.finished:
            return False
        return not (self.state["finishReason"] in _STOP and self.parts.ends_in_code())

    def plain(self) -> State:
        """Return a copy as plain values."""
        plain: State = {}
        if self.content is not None:
            plain["content"] = content = settle(self.content)
            if parts := self.parts.result():
                content["parts"] = parts
        plain.update(settle(self.state))
        return plain


def unwrap(sent: State) -> State:
    """Return a response out of what wraps it (code assist), what was beside it beside.

    The wrapper is `{"response": {...}, "traceId": ...}`.
    """
    inner = sent.get("response")
    if type(inner) is not dict or "candidates" in sent:
        return sent
    return {**{k: v for k, v in sent.items() if k != "response"}, **inner}


def _is_ours(sent: State) -> bool:
    return any(key in sent for key in _OURS)


def _is_blocked(sent: State) -> bool:
    feedback = sent.get("promptFeedback")
    return type(feedback) is dict and bool(feedback.get("blockReason"))
