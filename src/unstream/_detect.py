"""Which protocol a stream is of, by the shape of what comes first.

This module knows the names of the protocols and asks each whether a payload is its own
(`Protocol.claims`); it knows none of their shapes.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from unstream._json import Json, Malformed, parse
from unstream._outcome import LOADERS, Limits
from unstream._protocol import Fold, Protocol
from unstream.sse import BytesLike, Decoder, Event

if TYPE_CHECKING:
    from typing import TypeAlias

    from unstream.chat import ChatCompletion
    from unstream.gemini import GenerateContentResponse
    from unstream.messages import Message
    from unstream.responses import Response
    from unstream.text import TextCompletion

    Any_: TypeAlias = (
        ChatCompletion | TextCompletion | Message | Response | GenerateContentResponse
    )

__all__ = ["ANY", "NAMES", "Detector", "claim", "detect", "load"]

# A new protocol is registered here, and nowhere else. In this order they are asked: the
# first two are loaded already where anything is folded.
NAMES: Final = ("chat", "text", "messages", "responses", "gemini")

# The first event of a stream tells; an echo of the request in it (Responses) may be
# long. What has told nothing after that is taken for the default.
_MOST: Final = 256 * 1024
_EVENTS: Final = 64
# A body that is JSON is tried again when it is twice as long.
_FIRST_TRY: Final = 64


@cache
def load(name: str) -> Protocol[Any]:
    """Return the protocol of a name; raise ValueError for a name that is none."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is no protocol: there are {', '.join(NAMES)}")
    protocol: Protocol[Any] = import_module(f"unstream.{name}").PROTOCOL
    return protocol


LOADERS.append(load)


def claim(sent: Mapping[str, Json], name: str = "") -> Protocol[Any] | None:
    """Return the protocol of a payload, a parsed object that came under an event name.

    None where it is of none that we know.
    """
    for each in NAMES:
        protocol = load(each)
        if protocol.claims(sent, name):
            return protocol
    return None


def detect(data: BytesLike) -> Protocol[Any] | None:
    """Return the protocol of a stream, or of a whole body, by its first bytes.

    None where they do not tell. The `name` of a protocol is that of its module.
    """
    detector = Detector()
    return detector.feed(memoryview(data).tobytes()[:_MOST]) or detector.close()


def _no_fold(_: Limits) -> Fold[Any]:
    raise TypeError("ANY is for an Accumulator, which finds out")


def _no_claim(_: Mapping[str, Json], __: str) -> bool:
    return False


ANY: "Final[Protocol[Any_]]" = Protocol("any", _no_fold, _no_claim)
"""Find out which protocol a stream is of; one that cannot be told is taken for chat."""


class Detector:
    """Look at the first bytes of a stream until they tell its protocol.

    `data` is all that was fed.
    """

    __slots__ = ("_at", "_decoder", "_n_events", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._decoder = Decoder(error_field=True)
        self._n_events = 0
        self._at = _FIRST_TRY

    @property
    def is_over(self) -> bool:
        """Say whether so much came that no more will tell."""
        return len(self.data) > _MOST or self._n_events > _EVENTS

    def feed(self, data: bytes) -> Protocol[Any] | None:
        """Take the next bytes; return the protocol if they tell."""
        self.data += data
        if found := self._ask(self._decoder.feed(data)):
            return found
        if self._decoder.is_stream or len(self.data) < self._at:
            return None
        self._at = 2 * len(self.data)
        return self._ask_body()

    def close(self) -> Protocol[Any] | None:
        """Return the protocol if what came tells it now that it is all."""
        found = self._ask(self._decoder.close(rest=True))
        return found or self._ask_body()

    def _ask(self, events: list[Event]) -> Protocol[Any] | None:
        for event in events:
            self._n_events += 1
            for line in (event.data, *event.data.split(b"\n")):
                name = "" if event.event == "message" else event.event
                try:
                    sent = parse(line)
                except Malformed:
                    continue
                if type(sent) is dict and (found := claim(sent, name)):
                    return found
        return None

    def _ask_body(self) -> Protocol[Any] | None:
        """Ask about the first object of a body that is JSON, or a list of it."""
        text = self.data.decode("utf-8", "replace").lstrip("\ufeff \t\r\n[")
        if not text.startswith("{"):
            return None
        try:
            import json  # noqa: PLC0415 - as rarely needed

            sent, _ = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return None
        return claim(sent)
