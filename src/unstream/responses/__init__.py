"""OpenAI's Responses API, as events of a stream or messages of a WebSocket.

    response = unstream.responses.fold(body)
    response.output_text

`Accumulator(protocol=responses.PROTOCOL)` takes bytes by `feed`, and by `add` events
that were parsed already: those of a client, or the messages of a WebSocket, one event
each. The lanes of a socket (`stream_id`) are streams of their own: an accumulator each.
"""

from collections.abc import Mapping
from typing import Final

from unstream import _folding
from unstream._folding import AsyncSource, Source
from unstream._json import Json
from unstream._outcome import Limits
from unstream._protocol import Protocol
from unstream.responses._fold import ResponsesFold
from unstream.responses._schema import (
    Annotation,
    ApplyPatchCall,
    CodeInterpreterCall,
    Compaction,
    CustomToolCall,
    FileSearchCall,
    FunctionCall,
    ImageGenerationCall,
    IncompleteDetails,
    InputTokensDetails,
    LocalShellCall,
    McpCall,
    McpListTools,
    Message,
    OutputItem,
    OutputText,
    OutputTokensDetails,
    Part,
    Reasoning,
    ReasoningText,
    Refusal,
    Response,
    ResponseError,
    ShellCall,
    ShellCallOutput,
    SummaryText,
    TokenLogprob,
    TopLogprob,
    Usage,
    WebSearchCall,
)

__all__ = [
    "PROTOCOL",
    "Annotation",
    "ApplyPatchCall",
    "CodeInterpreterCall",
    "Compaction",
    "CustomToolCall",
    "FileSearchCall",
    "FunctionCall",
    "ImageGenerationCall",
    "IncompleteDetails",
    "InputTokensDetails",
    "LocalShellCall",
    "McpCall",
    "McpListTools",
    "Message",
    "OutputItem",
    "OutputText",
    "OutputTokensDetails",
    "Part",
    "Reasoning",
    "ReasoningText",
    "Refusal",
    "Response",
    "ResponseError",
    "ShellCall",
    "ShellCallOutput",
    "SummaryText",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
    "WebSearchCall",
    "afold",
    "fold",
]


def _claims(sent: Mapping[str, Json], name: str) -> bool:
    kind = sent.get("type") or name
    if type(kind) is str and kind.startswith("response."):
        return True
    inner = sent.get("response")
    return sent.get("object") == "response" or (
        type(inner) is dict and inner.get("object") == "response"
    )


PROTOCOL: Final[Protocol[Response]] = Protocol(
    "responses", ResponsesFold, _claims, live="unstream.responses._live:LiveResponses"
)


def fold(source: Source, *, limits: Limits | None = None) -> Response:
    """Fold a stream, given as bytes-like or as an iterable of bytes-likes.

    Raises TruncatedStream, ProviderError, EmptyStream, ForeignStream or LimitExceeded
    where the ending is not complete, each with the `outcome`; TypeError where `source`
    is something else. A response that is incomplete has ended: see
    `Response.incomplete_details`.
    """
    return _folding.fold(source, protocol=PROTOCOL, limits=limits)


async def afold(source: AsyncSource, *, limits: Limits | None = None) -> Response:
    """Fold a stream, given as an async iterable of bytes-likes; raises as `fold`."""
    return await _folding.afold(source, protocol=PROTOCOL, limits=limits)
