"""What can go wrong, and by whose fault."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unstream._outcome import Outcome

__all__ = [
    "EmptyStream",
    "LimitExceeded",
    "ProviderError",
    "StreamError",
    "StreamFinished",
    "TruncatedStream",
    "cut",
]

_SHOWN = 80  # payloads are other people's prompts: enough to recognise, no more


def cut(text: str) -> str:
    """Cut a payload for a message to 80 bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= _SHOWN:
        return text
    return data[:_SHOWN].decode("utf-8", "ignore") + "..."


class StreamError(Exception):
    """Base of the errors raised for what a stream contained.

    `outcome` is all that is known of the stream, the partial completion included.
    """

    def __init__(self, message: str, outcome: "Outcome") -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[type["StreamError"], tuple[str, "Outcome"]]:
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
