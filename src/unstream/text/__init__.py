"""Text completions, the old `/v1/completions`, as OpenAI and others stream them."""

from typing import Final

from unstream import _folding
from unstream._folding import AsyncSource, Source
from unstream._outcome import Limits
from unstream._protocol import Protocol
from unstream.text._fold import TextFold, claims
from unstream.text._schema import Choice, Logprobs, TextCompletion, Usage

__all__ = [
    "PROTOCOL",
    "Choice",
    "Logprobs",
    "TextCompletion",
    "Usage",
    "afold",
    "fold",
]


PROTOCOL: Final[Protocol[TextCompletion]] = Protocol(
    "text", TextFold, claims, live="unstream.text._live:LiveText"
)


def fold(source: Source, *, limits: Limits | None = None) -> TextCompletion:
    """Fold a stream of text completion chunks; takes and raises as `unstream.fold`."""
    return _folding.fold(source, protocol=PROTOCOL, limits=limits)


async def afold(source: AsyncSource, *, limits: Limits | None = None) -> TextCompletion:
    """Do the same for an async iterable of bytes-likes."""
    return await _folding.afold(source, protocol=PROTOCOL, limits=limits)
