"""How a stream ended, what was made of it, and the errors that say so."""

from enum import StrEnum
from typing import Final

import msgspec

from unstream._json import Json, dump
from unstream._schema import ChatCompletion

__all__ = [
    "EmptyStream",
    "Ending",
    "LimitExceeded",
    "Outcome",
    "ProviderError",
    "StreamError",
    "StreamFinished",
    "Timing",
    "TruncatedStream",
]


class Ending(StrEnum):
    """Say how a stream ended."""

    COMPLETE = "complete"
    """`[DONE]` came, or every choice has a finish_reason."""
    TRUNCATED = "truncated"
    """The input stopped before that."""
    ERROR = "error"
    """The provider reported an error inside the stream."""
    EMPTY = "empty"
    """No choice was ever seen."""
    LIMIT = "limit"
    """One of the `Limits` was hit."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold when things came, in seconds since the watch began; None: never.

    An adapter counts from the request where it sees that, else from its own making.
    """

    first_byte: float | None = None
    """When the first bytes of the body came."""
    first_content: float | None = None
    """When the first bytes came that say something: text, reasoning, a tool call."""
    total: float
    """When the watch ended."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the verdict on a stream, and everything that was received of it."""

    ending: Ending
    completion: ChatCompletion | None
    """What was folded, whole or partial; None where nothing came."""
    error: Json = None
    """What the provider reported, as parsed JSON; a string where it was no JSON."""
    done: bool = False
    """Whether `[DONE]` came."""
    usage_source: str | None = None
    """The key the usage came under: "usage", "choice", "x_groq", or None."""
    limit: str | None = None
    """The name of one of the `Limits` that was hit: one of bytes before the others."""
    n_bytes: int = 0
    """The bytes that were fed."""
    n_events: int = 0
    """The payloads that were read, `[DONE]` included."""
    n_malformed: int = 0
    """The payloads that were neither a JSON object nor `[DONE]`."""
    timing: Timing | None = None
    """When things came; the adapters set it, the fold itself has no clock."""
    undecoded: str | None = None
    """The content coding that the body, or the rest of it, could not be read in."""
    interrupted: str | None = None
    """Who ended the exchange early, as an adapter saw it: "client" or "upstream"."""

    def unwrap(self) -> ChatCompletion:
        """Return the completion of a stream that ended well.

        Raises TruncatedStream, ProviderError, EmptyStream or LimitExceeded for the
        other endings; each carries this outcome, the partial completion in it.
        """
        if self.ending is Ending.COMPLETE and self.completion is not None:
            return self.completion
        received = f"after {self.n_events} events, {self.n_bytes} bytes"
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
        if self.undecoded is not None:
            raise EmptyStream(f"{self.undecoded} was not decoded ({received})", self)
        raise EmptyStream(f"the stream held no choice ({received})", self)


# --- Errors ---------------------------------------------------------------------------


class StreamError(Exception):
    """Base of the errors raised for what a stream contained.

    `outcome` is all that is known of the stream, the partial completion included.
    """

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple["type[StreamError]", tuple[str, Outcome]]:
        return type(self), (str(self), self.outcome)


class TruncatedStream(StreamError):
    """The network's fault: the stream stopped before its end."""


class EmptyStream(StreamError):
    """The server's fault: the stream held no choice at all."""


class ProviderError(StreamError):
    """The provider's fault, by its own word; `outcome.error` is what it said."""


class LimitExceeded(StreamError):
    """The stream went over one of the `Limits`; `outcome.limit` names it."""


class StreamFinished(StreamError):
    """The caller's fault: bytes were fed after `finish`."""


_SHOWN: Final = 80  # payloads are other people's prompts: enough to recognise, no more


def _cut(text: str) -> str:
    """Cut a payload for a message to 80 bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _SHOWN:
        return text
    return data[:_SHOWN].decode("utf-8", "ignore") + "..."
