"""Gemini: `streamGenerateContent`, as Google and Vertex AI stream it."""

from collections.abc import Mapping
from typing import Final

from unstream import _folding
from unstream._folding import AsyncSource, Source
from unstream._json import Json
from unstream._outcome import Limits
from unstream._protocol import Protocol
from unstream.gemini._fold import GeminiFold, unwrap
from unstream.gemini._framing import Framing
from unstream.gemini._schema import (
    Blob,
    Candidate,
    Citation,
    CitationMetadata,
    CodeExecutionResult,
    Content,
    ExecutableCode,
    FileData,
    FunctionCall,
    FunctionResponse,
    GenerateContentResponse,
    GroundingMetadata,
    LogprobsCandidate,
    LogprobsResult,
    ModalityTokenCount,
    Part,
    PromptFeedback,
    SafetyRating,
    ToolCall,
    ToolResponse,
    TopCandidates,
    UrlContextMetadata,
    UrlMetadata,
    UsageMetadata,
)

__all__ = [
    "PROTOCOL",
    "Blob",
    "Candidate",
    "Citation",
    "CitationMetadata",
    "CodeExecutionResult",
    "Content",
    "ExecutableCode",
    "FileData",
    "FunctionCall",
    "FunctionResponse",
    "GenerateContentResponse",
    "GroundingMetadata",
    "LogprobsCandidate",
    "LogprobsResult",
    "ModalityTokenCount",
    "Part",
    "PromptFeedback",
    "SafetyRating",
    "ToolCall",
    "ToolResponse",
    "TopCandidates",
    "UrlContextMetadata",
    "UrlMetadata",
    "UsageMetadata",
    "afold",
    "fold",
]


def _claims(payload: Mapping[str, Json], _name: str) -> bool:
    sent = unwrap(dict(payload))
    if "choices" in sent or "object" in sent or "type" in sent:
        return False  # chat completions; Responses; Messages
    error = sent.get("error")
    if type(error) is dict:
        # As Google's APIs write them (google.rpc.Status), most often in an array.
        return type(error.get("code")) is int and type(error.get("status")) is str
    candidates = sent.get("candidates")
    return (
        (type(candidates) is list and all(type(c) is dict for c in candidates))
        or type(sent.get("promptFeedback")) is dict
        or type(sent.get("usageMetadata")) is dict
        or ("modelVersion" in sent and "responseId" in sent)
    )


PROTOCOL: Final[Protocol[GenerateContentResponse]] = Protocol(
    "gemini", GeminiFold, _claims, Framing, "unstream.gemini._live:LiveGemini"
)


def fold(source: Source, *, limits: Limits | None = None) -> GenerateContentResponse:
    """Fold a stream of `streamGenerateContent`, whole or in pieces, at once.

    An event stream or a JSON array. Raises as `unstream.fold`.
    """
    return _folding.fold(source, protocol=PROTOCOL, limits=limits)


async def afold(
    source: AsyncSource, *, limits: Limits | None = None
) -> GenerateContentResponse:
    """Fold a stream, given as an async iterable of bytes-likes; raises as `fold`."""
    return await _folding.afold(source, protocol=PROTOCOL, limits=limits)
