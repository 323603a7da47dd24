"""The shapes: the response as it leaves, its output items by type, their parts.

This module knows which keys have a field and of what type it is. The source of the
shapes is OpenAI's API description (`Response`, `ResponseOutputItem` and what they hold,
openai-python 3.57.0). Items, parts and annotations of a type that is not described are
kept as they came, in the base of their kind; enumerations are open strings.
"""

import builtins
from collections.abc import Mapping
from typing import ClassVar, Final, Self

from msgspec import field

from unstream._json import Json
from unstream._outcome import (
    Arguments,
    Call,
    Completion,
    Summary,
    Tokens,
    judge,
    may_run,
)
from unstream._structs import Object

__all__ = [
    "ITEMS",
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
]


class _Typed(Object):
    """An object whose `type` says which class takes it."""

    required: ClassVar[tuple[str, ...]] = ("type",)
    kinds: ClassVar[dict[str, builtins.type[Object]]] = {}

    type: str = ""

    @classmethod
    def choose(cls, sent: Mapping[str, Json]) -> builtins.type[Self]:
        """Return the class of the type, or this one where that is not described."""
        kind = sent.get("type")
        found = cls.kinds.get(kind, cls) if type(kind) is str else cls
        if issubclass(found, cls):
            return found
        return cls


# --- Parts ----------------------------------------------------------------------------


class Annotation(Object):
    """A remark on a text: which fields are set depends on its `type`.

    `url_citation`, `file_citation`, `container_file_citation` or `file_path`; indices
    count characters.
    """

    required: ClassVar[tuple[str, ...]] = ("type",)

    type: str = ""
    start_index: int | None = None
    end_index: int | None = None
    url: str | None = None
    title: str | None = None
    index: int | None = None
    file_id: str | None = None
    filename: str | None = None
    container_id: str | None = None


class TopLogprob(Object):
    """One of the likeliest tokens at a position."""

    required: ClassVar[tuple[str, ...]] = ("token", "logprob")

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None


class TokenLogprob(Object):
    """One token and its log probability, a 64-bit float."""

    required: ClassVar[tuple[str, ...]] = ("token", "logprob")

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


class Part(_Typed):
    """A piece of what an item says; of a type that is not described, in `extra`."""

    kinds: ClassVar[dict[str, type[Object]]] = {}


class OutputText(Part):
    """Text that is the answer."""

    required: ClassVar[tuple[str, ...]] = ("type", "text", "annotations")

    type: str = "output_text"
    text: str = ""
    annotations: list[Annotation] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None


class Refusal(Part):
    """Text that says why there is no answer."""

    required: ClassVar[tuple[str, ...]] = ("type", "refusal")

    type: str = "refusal"
    refusal: str = ""


class ReasoningText(Part):
    """Text that the model thought."""

    required: ClassVar[tuple[str, ...]] = ("type", "text")

    type: str = "reasoning_text"
    text: str = ""


class SummaryText(Part):
    """A summary of what the model thought."""

    required: ClassVar[tuple[str, ...]] = ("type", "text")

    type: str = "summary_text"
    text: str = ""


Part.kinds.update(
    output_text=OutputText,
    refusal=Refusal,
    reasoning_text=ReasoningText,
    summary_text=SummaryText,
)


# --- Items ----------------------------------------------------------------------------


class OutputItem(_Typed):
    """One thing that the model put out; of a type that is not described, in `extra`."""

    kinds: ClassVar[dict[str, type[Object]]] = {}

    id: str | None = None
    status: str | None = None


class Message(OutputItem):
    """What the model said: parts, most often one `OutputText`."""

    required: ClassVar[tuple[str, ...]] = ("type", "content")

    type: str = "message"
    role: str | None = None
    content: list[Part] = field(default_factory=list)
    phase: str | None = None


class Reasoning(OutputItem):
    """What the model thought, in summary, in full or encrypted."""

    required: ClassVar[tuple[str, ...]] = ("type", "summary")

    type: str = "reasoning"
    summary: list[Part] = field(default_factory=list)
    content: list[Part] | None = None
    encrypted_content: str | None = None


class FunctionCall(OutputItem):
    """A call of a function; `arguments` is the JSON text as the model wrote it."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id", "name", "arguments")

    type: str = "function_call"
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    namespace: str | None = None
    caller: dict[str, Json] | None = None


class CustomToolCall(OutputItem):
    """A call of a custom tool, with free text as `input`."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id", "name", "input")

    type: str = "custom_tool_call"
    call_id: str = ""
    name: str = ""
    input: str = ""
    namespace: str | None = None
    caller: dict[str, Json] | None = None


class McpCall(OutputItem):
    """A call of a tool of an MCP server, which the provider made."""

    required: ClassVar[tuple[str, ...]] = ("type", "name", "arguments", "server_label")

    type: str = "mcp_call"
    name: str = ""
    arguments: str = ""
    server_label: str = ""
    output: str | None = None
    error: str | dict[str, Json] | None = None
    approval_request_id: str | None = None


class McpListTools(OutputItem):
    """The tools that an MCP server has."""

    required: ClassVar[tuple[str, ...]] = ("type", "server_label", "tools")

    type: str = "mcp_list_tools"
    server_label: str = ""
    tools: list[Json] = field(default_factory=list)
    error: str | dict[str, Json] | None = None


class WebSearchCall(OutputItem):
    """A search of the web, or a page that was opened or searched."""

    type: str = "web_search_call"
    action: dict[str, Json] | None = None


class FileSearchCall(OutputItem):
    """A search of files."""

    required: ClassVar[tuple[str, ...]] = ("type", "queries")

    type: str = "file_search_call"
    queries: list[str] = field(default_factory=list)
    results: list[Json] | None = None


class CodeInterpreterCall(OutputItem):
    """Code that the provider ran."""

    required: ClassVar[tuple[str, ...]] = ("type", "code", "outputs")

    type: str = "code_interpreter_call"
    code: str | None = None
    container_id: str | None = None
    outputs: list[Json] | None = None


class ImageGenerationCall(OutputItem):
    """An image; `result` is base64."""

    required: ClassVar[tuple[str, ...]] = ("type", "result")

    type: str = "image_generation_call"
    result: str | None = None
    revised_prompt: str | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None


class ShellCall(OutputItem):
    """Commands to run in a shell, in `action`."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id")

    type: str = "shell_call"
    call_id: str = ""
    action: dict[str, Json] | None = None
    environment: dict[str, Json] | None = None


class ShellCallOutput(OutputItem):
    """What the commands of a shell call put out."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id", "output")

    type: str = "shell_call_output"
    call_id: str = ""
    output: list[Json] = field(default_factory=list)
    max_output_length: int | None = None


class LocalShellCall(OutputItem):
    """A command to run on the machine of the caller, in `action`."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id")

    type: str = "local_shell_call"
    call_id: str = ""
    action: dict[str, Json] | None = None


class ApplyPatchCall(OutputItem):
    """A change of a file, in `operation`."""

    required: ClassVar[tuple[str, ...]] = ("type", "call_id")

    type: str = "apply_patch_call"
    call_id: str = ""
    operation: dict[str, Json] | None = None


class Compaction(OutputItem):
    """What was said before, encrypted."""

    required: ClassVar[tuple[str, ...]] = ("type", "encrypted_content")

    type: str = "compaction"
    encrypted_content: str = ""


OutputItem.kinds.update(
    message=Message,
    reasoning=Reasoning,
    function_call=FunctionCall,
    custom_tool_call=CustomToolCall,
    mcp_call=McpCall,
    mcp_list_tools=McpListTools,
    web_search_call=WebSearchCall,
    file_search_call=FileSearchCall,
    code_interpreter_call=CodeInterpreterCall,
    image_generation_call=ImageGenerationCall,
    shell_call=ShellCall,
    shell_call_output=ShellCallOutput,
    local_shell_call=LocalShellCall,
    apply_patch_call=ApplyPatchCall,
    compaction=Compaction,
)

ITEMS: Final[Mapping[str, type[Object]]] = OutputItem.kinds


# --- The response ---------------------------------------------------------------------


class InputTokensDetails(Object):
    """The tokens of the input, by kind."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputTokensDetails(Object):
    """The tokens of the output, by kind."""

    reasoning_tokens: int | None = None


class Usage(Object):
    """The tokens that were counted, and billed, by the server."""

    input_tokens: int | None = None
    input_tokens_details: InputTokensDetails | None = None
    output_tokens: int | None = None
    output_tokens_details: OutputTokensDetails | None = None
    total_tokens: int | None = None

    def tokens(self) -> Tokens:
        """Return the counts in the vocabulary of all protocols."""
        read = self.input_tokens_details or InputTokensDetails()
        written = self.output_tokens_details or OutputTokensDetails()
        return Tokens(
            input=self.input_tokens,
            output=self.output_tokens,
            reasoning=written.reasoning_tokens,
            cached_read=read.cached_tokens,
            cached_write=read.cache_write_tokens,
        )


class ResponseError(Object):
    """Why a response failed."""

    code: str | None = None
    message: str | None = None


class IncompleteDetails(Object):
    """Why a response is incomplete.

    `reason` is "max_output_tokens", "content_filter", "max_messages" or "steered".
    """

    reason: str | None = None


# A model that was stopped has not said all that it would have.
_STOPPED: Final = frozenset(("max_output_tokens", "content_filter"))


class Response(Completion):
    """A whole response, as the same request without `stream` returns it.

    What the provider puts beside it in the last event is in `extra`.
    """

    required: ClassVar[tuple[str, ...]] = (
        *("id", "object", "created_at", "status", "error", "incomplete_details"),
        *("instructions", "model", "output", "parallel_tool_calls", "temperature"),
        *("tool_choice", "tools", "top_p", "usage", "metadata"),
    )

    id: str = ""
    object: str = "response"
    created_at: float | None = None
    status: str | None = None
    background: bool | None = None
    completed_at: float | None = None
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | list[Json] | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    model: str | None = None
    output: list[OutputItem] = field(default_factory=list)
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    reasoning: dict[str, Json] | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    temperature: float | None = None
    text: dict[str, Json] | None = None
    tool_choice: str | dict[str, Json] | None = None
    tools: list[Json] | None = None
    top_logprobs: int | None = None
    top_p: float | None = None
    truncation: str | None = None
    usage: Usage | None = None
    user: str | None = None
    metadata: dict[str, Json] | None = None

    @property
    def output_text(self) -> str:
        """The texts of the answer, joined: those of every `OutputText`."""
        return "".join(
            part.text
            for item in self.output
            if isinstance(item, Message)
            for part in item.content
            if isinstance(part, OutputText)
        )

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        details, usage = self.incomplete_details, self.usage
        reason = self.status if details is None else details.reason or self.status
        parts = [
            p for item in self.output if isinstance(item, Message) for p in item.content
        ]
        thoughts = [
            part.text
            for item in self.output
            if isinstance(item, Reasoning)
            for part in item.content or item.summary
            if isinstance(part, ReasoningText | SummaryText)
        ]
        return Summary(
            id=self.id,
            model=self.model or "",
            finish_reasons=(reason,),
            text=self.output_text,
            reasoning="".join(thoughts),
            refusal="".join(p.refusal for p in parts if isinstance(p, Refusal)),
            usage=None if usage is None else usage.tokens(),
            raw_usage=None if usage is None else usage.to_dict(),
        )

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        """Return the verdict on each function and custom tool call, in order.

        `unfinished` are the places, in `output`, of items that had not finished. The id
        of a call is its `call_id`, which its output is sent back under.
        """
        details = self.incomplete_details
        stopped = details is not None and details.reason in _STOPPED
        calls: list[Call] = []
        for place, item in enumerate(self.output):
            if isinstance(item, FunctionCall | CustomToolCall):
                finished = not stopped and place not in unfinished
                calls.append(_judge(item, len(calls), finished=finished))
        return tuple(calls)


def _judge(
    item: FunctionCall | CustomToolCall, position: int, *, finished: bool
) -> Call:
    if isinstance(item, CustomToolCall):
        text = item.input
        arguments = Arguments.WHOLE if finished else Arguments.CUT
    else:
        text = item.arguments
        arguments = judge(text)
    return Call(
        choice=0,
        position=position,
        id=item.call_id,
        name=item.name,
        text=text,
        arguments=arguments,
        runnable=may_run(arguments, finished=finished, reason=None),
    )
