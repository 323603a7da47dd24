"""The shapes of a message: what the API answers without `stream`, and the delta event.

This module knows which keys have a field and of what type it is; how values fold is
written in `_fields` and `_blocks`.

The source of the shapes is the `anthropic` package (`types.Message` and, for what is
beta, `types.beta.BetaMessage`; 2.13). Enumerations are open: a `stop_reason`, or the
`type` of a block, is any string.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from msgspec import field

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
]

# --- Blocks ---------------------------------------------------------------------------


class ContentBlock(Object):
    """One block of the content; of a type that has no class here, all is in `extra`."""

    required: ClassVar[tuple[str, ...]] = ("type",)

    type: str = ""

    @classmethod
    def choose(cls, sent: Mapping[str, Json]) -> Any:
        """Return the class of a block by its type."""
        if cls is not ContentBlock:
            return cls
        kind = sent.get("type")
        if type(kind) is not str:
            return cls
        if kind.endswith("_tool_result"):
            return ToolResultBlock
        return _BLOCKS.get(kind, cls)


class TextBlock(ContentBlock):
    """A piece of the answer; `citations` say what it rests on."""

    required: ClassVar[tuple[str, ...]] = ("type", "text")

    text: str = ""
    citations: list[Json] | None = None


class ThinkingBlock(ContentBlock):
    """What the model thought; the `signature` proves it, and is kept byte for byte."""

    required: ClassVar[tuple[str, ...]] = ("type", "thinking", "signature")

    thinking: str = ""
    signature: str = ""


class RedactedThinkingBlock(ContentBlock):
    """What the model thought, encrypted."""

    required: ClassVar[tuple[str, ...]] = ("type", "data")

    data: str = ""


class ToolUseBlock(ContentBlock):
    """A call of a tool that the client runs.

    `partial_json` is the text of the input where that was no JSON object: it was cut,
    say. No answer of the API has that key, and such a call must not be run: see
    `Message.calls`.
    """

    required: ClassVar[tuple[str, ...]] = ("type", "id", "name", "input")

    id: str = ""
    name: str = ""
    input: dict[str, Json] = field(default_factory=dict)
    caller: dict[str, Json] | None = None
    partial_json: str | None = None


class ServerToolUseBlock(ContentBlock):
    """A call of a tool that the server runs; `server_name` where it was MCP's."""

    required: ClassVar[tuple[str, ...]] = ("type", "id", "name", "input")

    id: str = ""
    name: str = ""
    input: dict[str, Json] = field(default_factory=dict)
    server_name: str | None = None
    caller: dict[str, Json] | None = None
    partial_json: str | None = None


class ToolResultBlock(ContentBlock):
    """What a tool of the server gave back; `content` has a shape for each tool."""

    required: ClassVar[tuple[str, ...]] = ("type", "tool_use_id", "content")

    tool_use_id: str = ""
    content: Json = None
    is_error: bool | None = None
    caller: dict[str, Json] | None = None


class CompactionBlock(ContentBlock):
    """What stands for the turns before it (beta); None where compaction failed."""

    required: ClassVar[tuple[str, ...]] = ("type", "content")

    content: str | None = None


_BLOCKS: Final[dict[str, type[ContentBlock]]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
    "server_tool_use": ServerToolUseBlock,
    "mcp_tool_use": ServerToolUseBlock,
    "compaction": CompactionBlock,
}

# --- The message ----------------------------------------------------------------------


class CacheCreation(Object):
    """The tokens written to the cache, by how long they stay there."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUsage(Object):
    """How often tools of the server were used."""

    web_search_requests: int | None = None
    web_fetch_requests: int | None = None


class OutputTokensDetails(Object):
    """The tokens of the answer, by kind."""

    thinking_tokens: int | None = None


class Usage(Object):
    """The tokens that were counted, and billed, by the server.

    `input_tokens` are those beside the cache: all that was read is their sum with
    `cache_creation_input_tokens` and `cache_read_input_tokens`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    server_tool_use: ServerToolUsage | None = None
    iterations: list[Json] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None

    def tokens(self) -> Tokens:
        """Return the counts in the vocabulary of all protocols."""
        read, written = self.cache_read_input_tokens, self.cache_creation_input_tokens
        details = self.output_tokens_details
        return Tokens(
            input=total(self.input_tokens, read, written),
            output=self.output_tokens,
            reasoning=None if details is None else details.thinking_tokens,
            cached_read=read,
            cached_write=written,
        )


class Container(Object):
    """Where code was run; `expires_at` is RFC 3339 text."""

    id: str | None = None
    expires_at: str | None = None
    skills: list[Json] | None = None


class StopDetails(Object):
    """Why the model stopped, beyond the `stop_reason`."""

    type: str | None = None
    category: str | None = None
    explanation: str | None = None


class Message(Completion):
    """A whole message, as the same request without `stream` returns it."""

    required: ClassVar[tuple[str, ...]] = (
        "id",
        "type",
        "role",
        "model",
        "content",
        "stop_reason",
        "stop_sequence",
    )

    id: str = ""
    type: str = "message"
    role: str = "assistant"
    model: str = ""
    content: list[ContentBlock] = field(default_factory=list)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: Usage | None = None
    container: Container | None = None
    context_management: dict[str, Json] | None = None

    @property
    def output_text(self) -> str:
        """The text blocks, joined."""
        blocks = self.content
        return "".join(block.text for block in blocks if isinstance(block, TextBlock))

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        thoughts = [b.thinking for b in self.content if isinstance(b, ThinkingBlock)]
        usage = self.usage
        return Summary(
            id=self.id,
            model=self.model,
            finish_reasons=(self.stop_reason,),
            text=self.output_text,
            reasoning="".join(thoughts),
            usage=None if usage is None else usage.tokens(),
            raw_usage=None if usage is None else usage.to_dict(),
        )

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        """Return the verdict on each call of the client's tools, in their order.

        These are the blocks of type `tool_use`. What the server runs by itself
        (`server_tool_use`, `mcp_tool_use`) is not the client's to run, and left out.
        `text` is the input as compact JSON, or, where it was none, as it came: such a
        call is not runnable.
        """
        reason = None if unfinished else self.stop_reason
        calls = [block for block in self.content if isinstance(block, ToolUseBlock)]
        return tuple(
            _judge(position, block, reason) for position, block in enumerate(calls)
        )


# A model that was stopped has not said all that it would have.
_STOPPED: Final = frozenset(("max_tokens", "model_context_window_exceeded", "refusal"))


def _judge(position: int, block: ToolUseBlock, reason: str | None) -> Call:
    finished = bool(reason) and reason not in _STOPPED
    text = block.partial_json
    if text is not None:
        arguments, finished = judge(text), False
    elif "input" in block.extra:  # a body whose input is no object
        text, arguments = dump(block.extra["input"]), Arguments.MALFORMED
    else:
        text, arguments = dump(block.input), Arguments.WHOLE
    return Call(
        choice=0,
        position=position,
        id=block.id,
        name=block.name,
        text=text,
        arguments=arguments,
        runnable=may_run(arguments, finished=finished, reason=reason),
    )
