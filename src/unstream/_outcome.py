"""How a stream ended, what was made of it, and the errors that say so.

This module knows what is said of a stream of any protocol; not how any of it is found.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import msgspec

from unstream._json import (
    Json,
    Malformed,
    dump,
    is_object,
    is_prefix,
    parse_whole,
    read_object,
)
from unstream._structs import Object
from unstream._timing import Timing
from unstream.sse import DEFAULT_LIMIT

__all__ = [
    "LOADERS",
    "RESULTS",
    "Arguments",
    "Call",
    "Completion",
    "EmptyStream",
    "Ending",
    "ForeignStream",
    "LimitExceeded",
    "Limits",
    "Note",
    "Outcome",
    "ProviderError",
    "Record",
    "StreamError",
    "StreamFinished",
    "Summary",
    "Tokens",
    "TruncatedStream",
    "count",
    "judge",
    "may_run",
    "total",
]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what one stream may make the fold hold; beyond it the ending is `limit`.

    What fits is folded all the same: an event over `event_bytes`, a choice or a tool
    call over its number is left out and the rest, the usage above all, still counts.
    After `stream_bytes` nothing is read any more. Raises ValueError for a bound that is
    no integer of at least 1.
    """

    # See `sse.DEFAULT_LIMIT`.
    event_bytes: int = DEFAULT_LIMIT
    # 128,000 tokens with 20 top_logprobs each make about 320 MB; nothing longer is
    # sold.
    stream_bytes: int = 512 * 1024 * 1024
    # Memory that values of unknown shape may take: lists, objects, keys. Text and log
    # probabilities are not counted, they take what they are long. Besides, none takes
    # more than 16 times the bytes that were fed, after the first MiB.
    held_bytes: int = 1024 * 1024 * 1024
    # OpenAI allows n=128; each choice costs about 1 KiB of state.
    choices: int = 1024
    # Of all choices together. OpenAI allows 128 tools; agents call one several times.
    tool_calls: int = 4096

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            bound: Any = getattr(self, name)
            if type(bound) is not int or bound < 1:
                raise ValueError(f"{name} must be an integer of at least 1")


class Ending(StrEnum):
    """Say how a stream ended."""

    COMPLETE = "complete"
    """The protocol's end came: `[DONE]`, or a finish_reason in every choice."""
    TRUNCATED = "truncated"
    """The input stopped before that."""
    ERROR = "error"
    """The provider reported an error inside the stream."""
    EMPTY = "empty"
    """Nothing of an answer was ever seen."""
    FOREIGN = "foreign"
    """Nothing of an answer was seen, but something else: a page, another protocol."""
    LIMIT = "limit"
    """One of the `Limits` was hit."""


class Note(msgspec.Struct, frozen=True):
    """Say what was odd in a stream; `docs/notes.md` lists the codes."""

    code: str
    event: int
    """The number of the event where it was first seen, from 1; 0: of none."""
    count: int
    """How many times it was seen."""


# --- Tool calls -----------------------------------------------------------------------


class Arguments(StrEnum):
    """Say what the arguments of a tool call are."""

    WHOLE = "whole"
    """One JSON object; the free text of a custom tool, of a choice that finished."""
    EMPTY = "empty"
    """Nothing, or white space."""
    CUT = "cut"
    """The beginning of JSON; the free text of a custom tool that did not finish."""
    SEVERAL = "several"
    """More than one JSON document, glued together."""
    MALFORMED = "malformed"
    """No JSON, or JSON that is no object."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Say whether a tool call of a completion can be run. Nothing is repaired."""

    choice: int
    """The index of its choice."""
    position: int
    """Its place among the calls of its choice."""
    id: str
    name: str
    text: str
    """The arguments, as they came."""
    arguments: Arguments
    """What they are."""
    runnable: bool
    """Whether they are whole, and the choice finished by itself.

    Arguments that are empty will do; a `length` or `content_filter` will not.
    """

    @property
    def value(self) -> Json:
        """Parse the arguments; None where they are not `whole`, or free text."""
        if self.arguments is not Arguments.WHOLE:
            return None  # of Gemini, half of an object is one, too
        try:
            value = read_object(self.text)
        except Malformed:
            return None
        return value if type(value) is dict else None


# A model that was stopped has not said all that it would have.
_STOPPED: Final = frozenset(("length", "content_filter"))


def may_run(arguments: Arguments, *, finished: bool, reason: str | None) -> bool:
    """Say whether a call with such arguments can be run."""
    said = arguments in (Arguments.WHOLE, Arguments.EMPTY)
    return said and finished and reason not in _STOPPED


def judge(text: str) -> Arguments:
    """Say what the arguments of a call are."""
    if is_object(text):
        return Arguments.WHOLE
    bare = text.strip(" \t\r\n")
    if not bare:
        return Arguments.EMPTY
    if is_object(bare):
        return Arguments.WHOLE
    try:
        end = _scan(bare)
    except (ValueError, RecursionError):
        return Arguments.CUT if is_prefix(bare) else Arguments.MALFORMED
    rest = bare[end:].lstrip(" \t\r\n")
    if not rest:
        return Arguments.MALFORMED  # a document, and no object
    try:
        _scan(rest)
    except (ValueError, RecursionError):
        return Arguments.SEVERAL if is_prefix(rest) else Arguments.MALFORMED
    return Arguments.SEVERAL


def _scan(text: str) -> int:
    """Return where the first JSON document of a text ends; raise ValueError."""
    import json  # noqa: PLC0415 - as rarely needed

    return json.JSONDecoder().raw_decode(text)[1]


# --- The outcome ----------------------------------------------------------------------


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Count tokens in one vocabulary; None: not said. Nothing is estimated.

    Protocols divide differently. Here `input` is all that was read, what came from the
    cache or went to it included (Anthropic counts those apart), and `output` all that
    was written, reasoning included (Gemini counts thoughts apart).
    """

    input: int | None = None
    output: int | None = None
    reasoning: int | None = None
    cached_read: int | None = None
    cached_write: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what every protocol's answer has, under one name each."""

    id: str = ""
    model: str = ""
    finish_reasons: tuple[str | None, ...] = ()
    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    usage: Tokens | None = None
    raw_usage: dict[str, Json] | None = None


class Record(Summary, frozen=True, kw_only=True):
    """Hold an outcome flat, for a biller or a log that does not ask which protocol.

    `text`, `reasoning` and `refusal` are those of the first answer where there are
    several; `finish_reasons` has one for each, as the provider names it.
    """

    protocol: str
    ending: Ending
    calls: tuple[Call, ...] = ()
    usage_source: str | None = None
    error: Json = None
    interrupted: str | None = None


def count(n: int, noun: str) -> str:
    """Return a number of things, in words."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def total(*counts: int | None) -> int | None:
    """Add what was counted; None where nothing was."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


class Completion(Object):
    """Base of what a stream folds to, of any protocol."""

    @property
    def output_text(self) -> str:
        """The text of the answer, as plain text; of several, that of the first."""
        raise NotImplementedError

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        """Return the verdict on each tool call, in the order of the completion.

        `unfinished` are the choices that had not finished: see `Outcome.unfinished`.
        """
        raise NotImplementedError

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        raise NotImplementedError


T = TypeVar("T", bound=Completion, covariant=True)  # noqa: PLC0105 - T, as all call it

# What each protocol's streams fold to, by its name: each protocol adds its own. What
# imports one by its name, for those that are not imported yet, is `_detect.load`.
RESULTS: Final[dict[str, type[Completion]]] = {}
LOADERS: Final[list[Callable[[str], object]]] = []


class Outcome(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Hold the verdict on a stream, and everything that was received of it."""

    ending: Ending
    completion: T | None
    """What was folded, whole or partial; None where nothing came."""
    protocol: str = "chat"
    """The name of the protocol that was folded."""
    error: Json = None
    """What the provider reported, as parsed JSON; a string where it was no JSON."""
    done: bool = False
    """Whether the protocol's last word came: `[DONE]`, `message_stop`."""
    usage_source: str | None = None
    """The key or event that the usage came under: "usage", "choice", "x_groq"."""
    limit: str | None = None
    """The name of one of the `Limits` that was hit: one of bytes before the others."""
    foreign: str | None = None
    """What a `foreign` stream seems to be: the name of a protocol, or None."""
    unfinished: tuple[int, ...] = ()
    """The indexes of the choices that had not finished."""
    notes: tuple[Note, ...] = ()
    """What was odd, in the order of its first sight."""
    n_bytes: int = 0
    """The bytes that were fed."""
    n_events: int = 0
    """The payloads that were read, `[DONE]` included, blank ones not."""
    n_malformed: int = 0
    """The payloads that were neither a JSON object nor `[DONE]`."""
    timing: Timing | None = None
    """When things came; of adapters, and of an `Accumulator(clock=...)`."""
    undecoded: str | None = None
    """The content coding that the body, or the rest of it, could not be read in."""
    interrupted: str | None = None
    """Who ended the exchange early, as an adapter saw it: "client" or "upstream"."""

    @property
    def calls(self) -> tuple[Call, ...]:
        """The verdict on each tool call, in the order of the completion.

        It is made when it is asked for: a stream that nobody asks about pays nothing.
        """
        if self.completion is None:
            return ()
        return self.completion.calls(self.unfinished)

    @property
    def record(self) -> Record:
        """The outcome as a flat record, the same for every protocol."""
        whole = self.completion
        summary = Summary() if whole is None else whole.summary()
        return Record(
            **msgspec.structs.asdict(summary),
            protocol=self.protocol,
            ending=self.ending,
            calls=self.calls,
            usage_source=self.usage_source,
            error=self.error,
            interrupted=self.interrupted,
        )

    def unwrap(self) -> T:
        """Return the completion of a stream that ended well.

        Raises TruncatedStream, ProviderError, EmptyStream, ForeignStream or
        LimitExceeded for the other endings; each carries this outcome, the partial
        completion in it.
        """
        if self.ending is Ending.COMPLETE and self.completion is not None:
            return self.completion
        n_events, n_bytes = count(self.n_events, "event"), count(self.n_bytes, "byte")
        received = f"after {n_events}, {n_bytes}"
        if self.ending is Ending.ERROR:
            error = self.error
            if isinstance(error, dict):
                error = error.get("message", error)
            said = _cut(error if isinstance(error, str) else dump(error))
            raise ProviderError(f"the provider reported: {said} ({received})", self)
        if self.ending is Ending.LIMIT:
            raise LimitExceeded(f"over the limit {self.limit} ({received})", self)
        if self.ending is Ending.TRUNCATED:
            raise TruncatedStream(f"the stream stopped early ({received})", self)
        if self.ending is Ending.FOREIGN:
            raise ForeignStream(f"{self._describe()} ({received})", self)
        if self.undecoded is not None:
            raise EmptyStream(f"{self.undecoded} was not decoded ({received})", self)
        raise EmptyStream(f"the stream held no choice ({received})", self)

    def _describe(self) -> str:
        if self.foreign is None:
            return f"this is no stream of the protocol {self.protocol}"
        return (
            f"this is a stream of another protocol, {self.foreign}: "
            f"unstream.{self.foreign}.fold reads it"
        )

    def to_dict(self) -> dict[str, Json]:
        """Return plain dicts and lists, with the verdicts on the tool calls."""
        fields = {
            name: getattr(self, name)
            for name in self.__struct_fields__
            if name != "completion"
        }
        fields["calls"] = self.calls
        for name in ("calls", "notes", "unfinished"):  # no tuples: as JSON has it
            fields[name] = [*fields[name]]
        plain: dict[str, Json] = msgspec.to_builtins(fields)
        whole = self.completion
        plain["completion"] = None if whole is None else whole.to_dict()
        return plain

    def to_json(self) -> bytes:
        """Return what `to_dict` does as compact JSON."""
        plain = self.to_dict()
        if self.completion is not None:
            plain["completion"] = msgspec.Raw(self.completion.to_json())
        return msgspec.json.encode(plain)

    @staticmethod
    def from_dict(sent: dict[str, Json]) -> "Outcome[Any]":
        """Return the outcome that `to_dict` was called on.

        Raises ValueError where it is none.
        """
        whole = sent.get("completion")
        plain = {k: v for k, v in sent.items() if k not in ("calls", "completion")}
        try:
            outcome = msgspec.convert({**plain, "completion": None}, Outcome)
            if outcome.protocol not in RESULTS:
                for load in LOADERS:
                    load(outcome.protocol)
            kind = RESULTS[outcome.protocol]
        except (msgspec.ValidationError, KeyError, ValueError) as error:
            raise ValueError(f"this is no outcome: {error}") from None
        if whole is None:
            return outcome
        completion = kind.from_dict(whole)
        return msgspec.structs.replace(outcome, completion=completion)

    @staticmethod
    def from_json(data: bytes | str) -> "Outcome[Any]":
        """Return the outcome that `to_json` was called on.

        Raises ValueError where it is none.
        """
        sent = parse_whole(data)
        if type(sent) is not dict:
            raise ValueError("this is no outcome, but other JSON")
        return Outcome.from_dict(sent)


# --- Errors ---------------------------------------------------------------------------


class StreamError(Exception):
    """Base of the errors raised for what a stream contained.

    `outcome` is all that is known of the stream, the partial completion included.
    """

    def __init__(self, message: str, outcome: Outcome[Any]) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple["type[StreamError]", tuple[str, Outcome[Any]]]:
        return type(self), (str(self), self.outcome)


class TruncatedStream(StreamError):
    """The network's fault: the stream stopped before its end."""


class EmptyStream(StreamError):
    """The server's fault: the stream held nothing of an answer."""


class ForeignStream(StreamError):
    """The caller's or the server's fault: this is no stream of the protocol.

    `outcome.foreign` names the protocol that it seems to be of, where that is known.
    """


class ProviderError(StreamError):
    """The provider's fault, by its own word; `outcome.error` is what it said."""


class LimitExceeded(StreamError):
    """The stream went over one of the `Limits`; `outcome.limit` names it."""


class StreamFinished(RuntimeError):
    """The caller's fault: bytes were fed after `finish`."""


_SHOWN: Final = 80  # payloads are other people's prompts: enough to recognise, no more


def _cut(text: str) -> str:
    """Cut a payload for a message to 80 bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _SHOWN:
        return text
    return data[:_SHOWN].decode("utf-8", "ignore") + "..."
