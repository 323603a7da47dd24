"""The shapes: the response of `generateContent`, as it leaves.

This module knows which keys have a field and of what type it is; how values fold is
written in `_fields`.

The source of the shapes is the discovery document of the Gemini API (v1beta) and
Vertex AI's (v1beta1), with the keys that were recorded. Enumerations are open: a
`finishReason` or a `modality` is any string. The fields have the names of the wire.
"""

from typing import Final

from unstream._json import Json, dump
from unstream._outcome import (
    Arguments,
    Call,
    Completion,
    Summary,
    Tokens,
    judge,
    may_run,
    total,
)
from unstream._structs import Object

__all__ = [
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
]


# --- Parts ----------------------------------------------------------------------------


class FunctionCall(Object):
    """A call of a function of the caller's.

    `willContinue` is true where the stream ended before the call did, `partialArgs`
    holds what could not be put into `args`: it must not be run.
    """

    id: str | None = None
    name: str | None = None
    args: dict[str, Json] | None = None
    willContinue: bool | None = None
    partialArgs: list[Json] | None = None


class FunctionResponse(Object):
    """What a function returned."""

    id: str | None = None
    name: str | None = None
    response: dict[str, Json] | None = None


class ToolCall(Object):
    """A call of one of Google's own tools."""

    id: str | None = None
    toolType: str | None = None
    args: dict[str, Json] | None = None


class ToolResponse(Object):
    """What one of Google's own tools returned."""

    id: str | None = None
    toolType: str | None = None
    response: dict[str, Json] | None = None


class Blob(Object):
    """Bytes, as base64: an image, a piece of audio."""

    mimeType: str | None = None
    data: str | None = None


class FileData(Object):
    """A file, by its URI."""

    mimeType: str | None = None
    fileUri: str | None = None


class ExecutableCode(Object):
    """Code that the model wrote to be run by Google."""

    id: str | None = None
    language: str | None = None
    code: str | None = None


class CodeExecutionResult(Object):
    """What the code returned."""

    id: str | None = None
    outcome: str | None = None
    output: str | None = None


class Part(Object):
    """One part of a content; `thought` says that the text is one of the thoughts."""

    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None
    functionCall: FunctionCall | None = None
    functionResponse: FunctionResponse | None = None
    inlineData: Blob | None = None
    fileData: FileData | None = None
    executableCode: ExecutableCode | None = None
    codeExecutionResult: CodeExecutionResult | None = None
    toolCall: ToolCall | None = None
    toolResponse: ToolResponse | None = None


class Content(Object):
    """What the model said; `parts` is None where it said nothing."""

    role: str | None = None
    parts: list[Part] | None = None

    def text(self) -> str:
        """Return the text of all parts, but for the thoughts."""
        return "".join(p.text or "" for p in self.parts or () if not p.thought)


# --- Candidates -----------------------------------------------------------------------


class SafetyRating(Object):
    """How likely, and how bad, harm of one category is."""

    category: str | None = None
    probability: str | None = None
    probabilityScore: float | None = None
    severity: str | None = None
    severityScore: float | None = None
    blocked: bool | None = None


class Citation(Object):
    """Where a piece of the text comes from; indices count bytes."""

    startIndex: int | None = None
    endIndex: int | None = None
    uri: str | None = None
    title: str | None = None
    license: str | None = None


class CitationMetadata(Object):
    """The sources of the text: `citations` on Vertex AI, else `citationSources`."""

    citations: list[Citation] | None = None
    citationSources: list[Citation] | None = None


class UrlMetadata(Object):
    """One page that was fetched."""

    retrievedUrl: str | None = None
    urlRetrievalStatus: str | None = None


class UrlContextMetadata(Object):
    """The pages that were fetched."""

    urlMetadata: list[UrlMetadata] | None = None


class GroundingMetadata(Object):
    """What the answer was grounded on: sources, and which text rests on which."""

    groundingChunks: list[Json] | None = None
    groundingSupports: list[Json] | None = None
    webSearchQueries: list[str] | None = None
    searchEntryPoint: dict[str, Json] | None = None
    retrievalMetadata: dict[str, Json] | None = None


class LogprobsCandidate(Object):
    """One token and its log probability."""

    token: str | None = None
    tokenId: int | None = None
    logProbability: float | None = None


class TopCandidates(Object):
    """The likeliest tokens at one position."""

    candidates: list[LogprobsCandidate] | None = None


class LogprobsResult(Object):
    """The log probabilities of the tokens, in the order of the text."""

    chosenCandidates: list[LogprobsCandidate] | None = None
    topCandidates: list[TopCandidates] | None = None
    logProbabilitySum: float | None = None


class Candidate(Object):
    """One of the answers; `finishReason` is None where none was sent.

    `index` is None where none was sent: the candidate is the only one. A `finishReason`
    is a number where a server writes enumerations as their numbers.
    """

    index: int | None = None
    content: Content | None = None
    finishReason: str | int | None = None
    finishMessage: str | None = None
    safetyRatings: list[SafetyRating] | None = None
    citationMetadata: CitationMetadata | None = None
    groundingMetadata: GroundingMetadata | None = None
    urlContextMetadata: UrlContextMetadata | None = None
    logprobsResult: LogprobsResult | None = None
    avgLogprobs: float | None = None
    tokenCount: int | None = None
    continuationToken: str | None = None


# --- The response ---------------------------------------------------------------------


class PromptFeedback(Object):
    """What was thought of the prompt; one with a `blockReason` was not answered."""

    blockReason: str | None = None
    blockReasonMessage: str | None = None
    safetyRatings: list[SafetyRating] | None = None


class ModalityTokenCount(Object):
    """The tokens of one modality: text, image, audio."""

    modality: str | None = None
    tokenCount: int | None = None


class UsageMetadata(Object):
    """The tokens that were counted, and billed; a count that is missing is zero."""

    promptTokenCount: int | None = None
    candidatesTokenCount: int | None = None
    totalTokenCount: int | None = None
    thoughtsTokenCount: int | None = None
    cachedContentTokenCount: int | None = None
    toolUsePromptTokenCount: int | None = None
    promptTokensDetails: list[ModalityTokenCount] | None = None
    candidatesTokensDetails: list[ModalityTokenCount] | None = None
    cacheTokensDetails: list[ModalityTokenCount] | None = None
    toolUsePromptTokensDetails: list[ModalityTokenCount] | None = None
    trafficType: str | None = None
    serviceTier: str | None = None

    def tokens(self) -> Tokens:
        """Return the counts in the vocabulary of all protocols."""
        return Tokens(
            input=total(self.promptTokenCount, self.toolUsePromptTokenCount),
            output=total(self.candidatesTokenCount, self.thoughtsTokenCount),
            reasoning=self.thoughtsTokenCount,
            cached_read=self.cachedContentTokenCount,
            audio_input=_audio(self.promptTokensDetails),
            audio_output=_audio(self.candidatesTokensDetails),
        )


def _audio(details: list[ModalityTokenCount] | None) -> int | None:
    return total(*(d.tokenCount for d in details or () if d.modality == "AUDIO"))


class GenerateContentResponse(Completion):
    """A whole response, as the same request to `generateContent` returns it."""

    candidates: list[Candidate] | None = None
    promptFeedback: PromptFeedback | None = None
    usageMetadata: UsageMetadata | None = None
    modelVersion: str | None = None
    responseId: str | None = None
    createTime: str | None = None
    modelStatus: dict[str, Json] | None = None

    @property
    def output_text(self) -> str:
        """The text of the first candidate, but for its thoughts; "" without one."""
        content = self.candidates[0].content if self.candidates else None
        return "" if content is None else content.text()

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        candidates = self.candidates or []
        parts = (
            candidates[0].content.parts if candidates and candidates[0].content else []
        )
        usage = self.usageMetadata
        reasons = [candidate.finishReason for candidate in candidates]
        return Summary(
            id=self.responseId or "",
            model=self.modelVersion or "",
            finish_reasons=tuple(None if r is None else str(r) for r in reasons),
            text=self.output_text,
            reasoning="".join(p.text or "" for p in parts or () if p.thought),
            usage=None if usage is None else usage.tokens(),
            raw_usage=None if usage is None else usage.to_dict(),
        )

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        """Return the verdict on each function call, in the order of the response."""
        return tuple(
            _judge(candidate, position, call, unfinished)
            for candidate in self.candidates or ()
            for position, call in enumerate(_calls(candidate.content or _NOTHING))
        )


_NOTHING: Final = Content()

# How a model stops by itself: any other reason (MAX_TOKENS, SAFETY, LANGUAGE,
# MALFORMED_FUNCTION_CALL and a dozen more) is that it was stopped. 1 is the number of
# STOP in `Candidate.FinishReason`.
_BY_ITSELF: Final = ("STOP", 1)


def _calls(content: Content) -> list[FunctionCall]:
    calls = [part.functionCall for part in content.parts or ()]
    return [call for call in calls if call is not None]


def _judge(
    candidate: Candidate, position: int, call: FunctionCall, unfinished: tuple[int, ...]
) -> Call:
    index = candidate.index or 0
    args = call.extra.get("args") if call.args is None else call.args
    text = args if type(args) is str else "" if args is None else dump(args)
    arguments = judge(text)
    if call.willContinue or call.partialArgs is not None:
        arguments = Arguments.CUT
    finished = index not in unfinished and candidate.finishReason in _BY_ITSELF
    return Call(
        choice=index,
        position=position,
        id=call.id or "",
        name=call.name or "",
        text=text,
        arguments=arguments,
        runnable=may_run(arguments, finished=finished, reason=None),
    )
