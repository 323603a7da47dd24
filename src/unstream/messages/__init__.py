"""Messages, as Anthropic and those who speak its API stream them."""

from typing import Final

from unstream import _folding
from unstream._folding import AsyncSource, Source
from unstream._outcome import Limits
from unstream._protocol import Protocol
from unstream.messages._fold import MessagesFold, claims
from unstream.messages._schema import (
    CacheCreation,
    CompactionBlock,
    Container,
    ContentBlock,
    Message,
    OutputTokensDetails,
    RedactedThinkingBlock,
    ServerToolUsage,
    ServerToolUseBlock,
    StopDetails,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    Usage,
)

__all__ = [
    "PROTOCOL",
    "CacheCreation",
    "CompactionBlock",
    "Container",
    "ContentBlock",
    "Message",
    "OutputTokensDetails",
    "RedactedThinkingBlock",
    "ServerToolUsage",
    "ServerToolUseBlock",
    "StopDetails",
    "TextBlock",
    "ThinkingBlock",
    "ToolResultBlock",
    "ToolUseBlock",
    "Usage",
    "afold",
    "fold",
]


PROTOCOL: Final[Protocol[Message]] = Protocol(
    "messages", MessagesFold, claims, live="unstream.messages._live:LiveMessages"
)


def fold(source: Source, *, limits: Limits | None = None) -> Message:
    """Fold a stream of Messages events; takes and raises as `unstream.fold`."""
    return _folding.fold(source, protocol=PROTOCOL, limits=limits)


async def afold(source: AsyncSource, *, limits: Limits | None = None) -> Message:
    """Do the same for an async iterable of bytes-likes; raises as `unstream.afold`."""
    return await _folding.afold(source, protocol=PROTOCOL, limits=limits)
