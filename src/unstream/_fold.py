"""The fold: chunks in, in the order of the stream; the completion out, at any time.

This module knows what happens to every chunk, whatever server it came from, and keeps
one state per choice. What is particular to a key or a server is in `_dialects`, how
tool calls are told apart in `_calls`.

Strategy: fields that nearly every chunk carries are looked at in code, which costs 10
ns each; only where one of the others is set do the rows of the table run. Keys
without a field come in `extra`, at their level.
"""

from collections.abc import Collection, Mapping
from functools import partial
from io import StringIO
from typing import Final, TypeVar

from msgspec import Raw

from unstream._calls import Calls
from unstream._dialects import CHOICE, DELTA, TOP, is_error
from unstream._fit import fit
from unstream._json import Json, mend
from unstream._limits import Limits
from unstream._rules import (
    Details,
    Parts,
    Rule,
    State,
    drop,
    is_same,
    is_settled,
    latest,
    merge,
    settle,
    stranger,
)
from unstream._schema import (
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    Delta,
    Logprobs,
    Message,
    Usage,
)
from unstream._sinks import Lists, Path, Sink, Values, valid

__all__ = ["Fold", "is_flat"]

_ID: Final = ("id",)
_CREATED: Final = ("created",)
_MODEL: Final = ("model",)
_USAGE: Final = ("usage",)
_OBFUSCATION: Final = ("obfuscation",)
_P: Final = ("p",)
_CHOICE: Final = ("choices", 0)
_DELTA: Final = (*_CHOICE, "delta")
_CONTENT: Final = (*_DELTA, "content")
_CALLS: Final = (*_DELTA, "tool_calls")
_DETAILS: Final = (*_DELTA, "reasoning_details")
_TEXTS: Final = {
    key: (*_DELTA, key) for key in ("reasoning_content", "reasoning", "refusal")
}

# The fields of a delta from `reasoning_details` on fold by the table.
_FIELDS: Final = Delta.__struct_fields__
_RARE: Final = _FIELDS[_FIELDS.index("reasoning_details") : _FIELDS.index("extra")]


Kind = TypeVar("Kind", ChatCompletion, Choice, Message)


def _has_rare(delta: Delta) -> bool:
    """Say whether one of the fields that fold by the table is set."""
    # One by one: half the time that a comparison of tuples takes.
    return not (
        delta.reasoning_details is None
        and delta.function_call is None
        and delta.audio is None
        and delta.annotations is None
        and delta.images is None
        and delta.executed_tools is None
        and delta.obfuscation is None
    )


def is_flat(chunk: Chunk) -> bool:
    """Say whether a chunk has nothing in it that may be nested at will.

    `logprobs` is bulky, but kept as text.
    """
    if chunk.usage is not None or chunk.error is not None:
        return False
    for choice in chunk.choices or ():
        delta = choice.delta
        if choice.content_filter_results is not None:
            return False
        if delta is None:
            continue
        for call in delta.tool_calls or ():
            if call.extra_content is not None:
                return False
        if isinstance(delta.content, list) or _has_rare(delta):
            return False
    return chunk.moderation is None


def _stand(
    part: Chunk | ChunkChoice | Delta,
    state: State,
    rules: Mapping[str, Rule],
    default: Rule,
    at: tuple[Path, Collection[Path], dict[Path, Sink]],
) -> bool:
    """Give the strangers of one level that are loose a sink; say if the others rest."""
    level, loose, sinks = at
    for key, value in (part.extra or {}).items():
        rule = rules.get(key, default)
        path = (*level, key)
        # What is merged may be an error or a usage, which more depends on; a field of
        # another type might fit the next time; and keys stand in order of appearance.
        if (
            path in loose
            and rule is not merge
            and key not in part.__struct_fields__
            and (rule is drop or key in state)
        ):
            sinks[path] = (
                Values(None)
                if rule is drop
                else Values(partial(rule, state, key), (id(state), key))
            )
        elif not is_settled(rule, state, key, value):
            return False
    return True


class Fold:
    """The state of one stream."""

    __slots__ = (
        "choices",
        "created",
        "done",
        "error",
        "extra",
        "has_halves",
        "id",
        "inner_usage",
        "limit",
        "limits",
        "model",
        "moderation",
        "service_tier",
        "system_fingerprint",
        "usage",
    )

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.id = ""
        self.created = 0
        self.model = ""
        self.service_tier = ""
        self.system_fingerprint = ""
        self.moderation: Json = None
        self.usage: State = {}  # {"usage": ...} once some came: a state for `merge`
        self.inner_usage: State = {}  # the same for usage inside choices
        self.extra: State = {}
        self.choices: dict[int, _Choice] = {}
        self.error: Json = None
        self.done = False  # [DONE] was seen: choices after it do not count
        self.limit: str | None = None  # the first of the limits that was hit
        self.has_halves = False  # there may be lone surrogates to mend

    def add(self, chunk: Chunk) -> None:  # noqa: C901, PLR0912 - a line a field
        """Fold the next chunk."""
        if not self.id and chunk.id:
            self.id = chunk.id
        if not self.created and chunk.created:
            self.created = chunk.created
        if not self.model and chunk.model:
            self.model = chunk.model
        if chunk.choices and not self.done:
            for choice in chunk.choices:
                self._add_choice(choice)
        if chunk.system_fingerprint:
            self.system_fingerprint = chunk.system_fingerprint
        if chunk.service_tier:
            self.service_tier = chunk.service_tier
        if chunk.usage is not None:
            merge(self.usage, "usage", chunk.usage)
        if chunk.provider is not None:
            self.extra["provider"] = chunk.provider
        if chunk.moderation is not None and chunk.moderation != "":
            self.moderation = chunk.moderation
        if chunk.error is not None and is_error(chunk.error):
            self.fail(chunk.error)
        if chunk.extra:
            for key, value in chunk.extra.items():
                TOP.get(key, latest)(self.extra, key, value)

    def fail(self, error: Json) -> None:
        """Note an error that the provider reported; the first is the cause."""
        if self.error is None:
            self.error = error

    def _add_choice(self, piece: ChunkChoice) -> None:  # noqa: C901 - as above
        index = piece.index or 0
        choice = self.choices.get(index)
        if choice is None:
            if len(self.choices) >= self.limits.choices:
                self.limit = self.limit or "choices"
                return
            choice = self.choices[index] = _Choice(self.limits.tool_calls)
        if piece.delta is not None:
            choice.add(piece.delta)
        elif piece.extra:
            choice.add_alone(piece.extra)
        if piece.finish_reason:
            choice.finish(piece.finish_reason)
        if piece.logprobs is not None:
            choice.add_logprobs(piece.logprobs)
        if piece.content_filter_results is not None:
            key = "content_filter_results"
            merge(choice.extra, key, piece.content_filter_results)
        if piece.native_finish_reason is not None:
            choice.extra["native_finish_reason"] = piece.native_finish_reason
        if piece.extra:
            choice.add_extra(piece.extra)
            if isinstance(usage := piece.extra.get("usage"), dict):
                merge(self.inner_usage, "usage", usage)
        if choice.calls is not None and choice.calls.overflowed:
            self.limit = self.limit or "tool_calls"

    def sinks(  # noqa: C901, PLR0911, PLR0912 - one return a reason
        self, chunk: Chunk, loose: Collection[Path] = ()
    ) -> dict[Path, Sink] | None:
        """Say where each changing value of a chunk goes, if it would change no more.

        Texts and logprobs change, and what is at the paths in `loose`. None where
        folding the chunk would do anything else. This is what the express lane rests
        on: `add(chunk)` and writing those values to their sinks must be the same.
        """
        if self.done or chunk.choices is None or len(chunk.choices) != 1:
            return None
        if chunk.error is not None or chunk.moderation is not None:
            return None
        if chunk.service_tier and chunk.service_tier != self.service_tier:
            return None
        fingerprint = chunk.system_fingerprint
        if fingerprint and fingerprint != self.system_fingerprint:
            return None
        if chunk.provider is not None and self.extra.get("provider") != chunk.provider:
            return None
        [piece] = chunk.choices
        choice = self.choices.get(piece.index or 0)
        sinks = None if choice is None else choice.sinks(piece, loose)
        if sinks is None:
            return None
        if chunk.extra and not _stand(
            chunk, self.extra, TOP, latest, ((), loose, sinks)
        ):
            return None
        if chunk.usage is not None:
            if _USAGE not in loose:
                return None
            fold = partial(merge, self.usage, "usage")
            sinks[_USAGE] = Values(fold, id(self.usage), dict)
        if loose:
            # Of these the first counts, and that came.
            if _CREATED in loose and self.created and chunk.created is not None:
                sinks[_CREATED] = Values(None, None, int)
            if _ID in loose and self.id and chunk.id:
                sinks[_ID] = None
            if _MODEL in loose and self.model and chunk.model:
                sinks[_MODEL] = None
        if chunk.obfuscation:
            sinks[_OBFUSCATION] = None
        if chunk.p:
            sinks[_P] = None
        return sinks

    # --- The result -------------------------------------------------------------------

    @property
    def has_content(self) -> bool:
        """Say whether any choice said anything yet."""
        return any(
            choice.whole is not None or not choice.is_blank()
            for choice in self.choices.values()
        )

    def is_finished(self) -> bool:
        """Say whether there are choices and each has a finish_reason."""
        return bool(self.choices) and all(
            choice.finish_reason for choice in self.choices.values()
        )

    def usage_source(self) -> str | None:
        """Say where the usage came from: "usage", "choice", "x_groq", or nowhere."""
        return self._usage()[0]

    def _usage(self) -> tuple[str | None, Json]:
        groq = self.extra.get("x_groq")
        found = {
            "usage": self.usage.get("usage"),
            "choice": self.inner_usage.get("usage"),
            "x_groq": groq.get("usage") if isinstance(groq, dict) else None,
        }
        for source, usage in found.items():
            # An empty one, or one of nulls alone, says nothing.
            if isinstance(usage, dict) and any(v is not None for v in usage.values()):
                return source, usage
        return ("usage", found["usage"]) if self.usage else (None, None)

    def completion(self) -> ChatCompletion | None:
        """Return what has been folded so far, as a copy; None where nothing came."""
        usage = self._usage()[1]
        completion = _fit(ChatCompletion, self.extra)
        completion.id = self.id
        completion.created = self.created
        completion.model = self.model
        completion.choices = [
            self.choices[index].settle(index) for index in sorted(self.choices)
        ]
        completion.service_tier = self.service_tier or None
        completion.system_fingerprint = self.system_fingerprint or None
        completion.moderation = settle(self.moderation)
        if usage is not None:
            completion.usage = fit(Usage, settle(usage))
        if not self.choices and completion == ChatCompletion():
            return None
        return mend(completion) if self.has_halves else completion


class _Choice:
    """The state of one choice."""

    __slots__ = (
        "calls",
        "content",
        "extra",
        "finish_reason",
        "has_delta",
        "known",
        "limit",
        "logprobs",
        "parts",
        "reasoning",
        "reasoning_content",
        "refusal",
        "role",
        "strange",
        "whole",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit  # of tool calls
        self.has_delta = False
        self.role = ""
        self.content: StringIO | None = None
        self.parts: Parts | None = None  # once a piece of content was a list
        self.reasoning_content: StringIO | None = None
        self.reasoning: StringIO | None = None
        self.refusal: StringIO | None = None
        self.calls: Calls | None = None
        self.known: State = {}  # the rare fields of the delta
        self.strange: State = {}  # what has no field in the delta
        self.whole: Json = None  # a `message` where no delta stood
        self.finish_reason = ""
        # JSON text: see `Logprobs`. None where but nulls came.
        self.logprobs: dict[str, Lists | bytes | None] = {}
        self.extra: State = {}  # what has no field beside the delta

    def add(self, delta: Delta) -> None:  # noqa: C901, PLR0912 - as above
        self.has_delta = True
        content = delta.content
        if content is not None:
            self._add_content(content)
        if delta.reasoning_content:
            if self.reasoning_content is None:
                self.reasoning_content = StringIO()
            self.reasoning_content.write(delta.reasoning_content)
        if delta.reasoning:
            if self.reasoning is None:
                self.reasoning = StringIO()
            self.reasoning.write(delta.reasoning)
        if delta.tool_calls:
            if self.calls is None:
                self.calls = Calls(self.limit)
            for call in delta.tool_calls:
                self.calls.add(call)
        if delta.role and not self.role:
            self.role = delta.role
        if delta.refusal:
            if self.refusal is None:
                self.refusal = StringIO()
            self.refusal.write(delta.refusal)
        if _has_rare(delta):
            for key in _RARE:
                value = getattr(delta, key)
                if value:  # an empty list or object is as good as absent
                    DELTA[key](self.known, key, value)
        if delta.extra:
            for key, value in delta.extra.items():
                DELTA.get(key, stranger)(self.strange, key, value)

    def sinks(  # noqa: C901, PLR0911, PLR0912 - as above
        self, piece: ChunkChoice, loose: Collection[Path]
    ) -> dict[Path, Sink] | None:
        """Say where the changing values of a piece go; see `Fold.sinks`."""
        delta = piece.delta
        if delta is None or (delta.role and not self.role) or piece.finish_reason:
            return None
        sinks: dict[Path, Sink] = {}
        if piece.extra and not _stand(
            piece, self.extra, CHOICE, latest, (_CHOICE, loose, sinks)
        ):
            return None
        if delta.extra and not _stand(
            delta, self.strange, DELTA, stranger, (_DELTA, loose, sinks)
        ):
            return None
        for key in ("content_filter_results", "native_finish_reason"):
            value = getattr(piece, key)
            if value is not None and not is_same(self.extra.get(key), value):
                return None
        content = delta.content
        if isinstance(content, list):
            if self.parts is None or not self.parts.lead(content, _CONTENT, sinks):
                return None
        elif content is not None:
            if self.content is None or self.parts is not None:
                return None
            if content:
                sinks[_CONTENT] = self.content
        for key, path in _TEXTS.items():
            if getattr(delta, key):
                sink = getattr(self, key)
                if sink is None:
                    return None
                sinks[path] = sink
        if delta.tool_calls and not (
            self.calls and self.calls.lead(delta.tool_calls, _CALLS, sinks)
        ):
            return None
        if _has_rare(delta):
            if any(getattr(delta, key) for key in _RARE[1:]):
                return None
            held = self.known.get("reasoning_details")
            if delta.reasoning_details and not (
                isinstance(held, Details)
                and held.lead(delta.reasoning_details, _DETAILS, sinks)
            ):
                return None
        for key, raw in (piece.logprobs or {}).items():
            held = self.logprobs.get(key)
            if bytes(raw) == b"null":
                if key not in self.logprobs:
                    return None
            elif isinstance(held, Lists) and bytes(raw).startswith(b"["):
                sinks[(*_CHOICE, "logprobs", key)] = held
            else:
                return None
        return sinks

    def _add_content(self, content: str | list[Json]) -> None:
        if self.parts is None:
            if isinstance(content, str):
                if self.content is None:
                    self.content = StringIO()
                self.content.write(content)
                return
            self.parts = Parts()
            if self.content is not None:
                self.parts.add(self.content.getvalue())
        for part in [content] if isinstance(content, str) else content:
            self.parts.add(part)

    def add_alone(self, extra: State) -> None:
        """Take what stands where no delta does: a whole message, or an old `text`."""
        if isinstance(message := extra.get("message"), dict):
            self.whole = message
        if isinstance(piece := extra.get("text"), str) and not self.has_delta:
            self._add_content(piece)

    def add_extra(self, extra: State) -> None:
        for key, value in extra.items():
            CHOICE.get(key, latest)(self.extra, key, value)

    def finish(self, reason: str) -> None:
        # Gemini's and some gateways' last chunk says "stop" after "tool_calls".
        if reason != "stop" or self.finish_reason not in (
            "tool_calls",
            "function_call",
        ):
            self.finish_reason = reason

    def add_logprobs(self, logprobs: dict[str, Raw]) -> None:
        """Append lists; of anything else keep the last, until there is a list."""
        for key, raw in logprobs.items():
            text = bytes(raw)
            held = self.logprobs.get(key)
            if text == b"null":
                self.logprobs.setdefault(key, None)
            elif text.startswith(b"["):
                if not isinstance(held, Lists):
                    held = self.logprobs[key] = Lists()
                held.write(valid(text[1:-1].strip()))
            elif not isinstance(held, Lists):
                self.logprobs[key] = valid(text)

    # --- The result -------------------------------------------------------------------

    def settle(self, index: int) -> Choice:
        choice = _fit(Choice, self.extra)
        choice.index = index
        choice.message = self._message()
        choice.logprobs = self._logprobs()
        choice.finish_reason = self.finish_reason or None
        return choice

    def is_blank(self) -> bool:
        texts = (self.content, self.reasoning, self.reasoning_content, self.refusal)
        return not (
            any((self.parts, self.calls, self.known, self.strange))
            or any(text is not None and text.tell() for text in texts)
        )

    def _logprobs(self) -> Logprobs | None:
        held = self.logprobs
        if not any(isinstance(value, Lists) for value in held.values()):
            return None
        return Logprobs(
            {
                key: value.settle() if isinstance(value, Lists) else value or b"null"
                for key, value in held.items()
            }
        )

    def _message(self) -> Message:
        if self.whole is not None and self.is_blank():
            alone = _Choice(self.limit)
            alone.add(fit(Delta, self.whole))
            return alone._message()
        message = _fit(Message, {**self.strange, **self.known})
        message.role = self.role or "assistant"
        message.content = _text(self.content)
        if self.parts is not None:
            message.content = self.parts.settle()
        message.refusal = _text(self.refusal)
        message.reasoning_content = _text(self.reasoning_content)
        message.reasoning = _text(self.reasoning)
        message.tool_calls = self.calls.settle() if self.calls else None
        return message


def _fit(kind: type[Kind], state: State) -> Kind:
    """Make a Struct that has what a state has; the caller sets the other fields."""
    if not state:
        return kind()
    whole = fit(kind, settle(state))
    whole.unsent = ()
    return whole


def _text(grown: StringIO | None) -> str | None:
    return None if grown is None else grown.getvalue()
