"""How each key of a chat completion folds: one row a key, one table a level.

This module is where a new habit goes. A key that wants a rule of its own: one row. A
key that nobody listed needs nothing: the default rule of its level keeps it. A field of
a chunk's Struct without a row fails at import. The rows name a provider as the source
of a habit; nothing here asks who is upstream.

What has the rule `ignore` is structure, which `_fold` walks, or the same in every
completion.
"""

from typing import Final

from unstream._json import Json
from unstream._rules import (
    CHANGED,
    Did,
    State,
    append,
    drop,
    extend,
    first_count,
    first_id,
    first_text,
    ignore,
    last,
    last_text,
    merge,
    table,
)
from unstream.chat._calls import CALL, FUNCTION
from unstream.chat._parts import (
    audio,
    content,
    details,
    executed_tools,
    function_call,
    items,
    provider_fields,
    reasoning,
    thinking_blocks,
)
from unstream.chat._schema import (
    Chunk,
    ChunkChoice,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)

__all__ = ["CHOICE", "DELTA", "TOP"]


def usage(state: State, key: str, value: Json) -> Did:
    """Merge a usage field by field; one that is no object, or empty, is none."""
    if type(value) is not dict or not value:
        return None
    if key not in state:
        state[key] = value
        return CHANGED  # as every stream does, once
    return merge(state, key, value)


def finish_reason(state: State, key: str, value: Json) -> Did:
    """Keep the last, but for a `stop` after calls (Gemini, some gateways)."""
    if value == "stop" and state.get(key) in ("tool_calls", "function_call"):
        return None
    return last_text(state, key, value)


# Keys beside `choices`; any other: the last value that is not empty.
TOP: Final = table(
    Chunk,
    {
        "id": first_id,
        "object": ignore,
        "created": first_count,
        "model": first_text,
        "service_tier": last_text,
        "system_fingerprint": last_text,
        "choices": ignore,
        "usage": usage,
        "provider": last,  # OpenRouter
        "obfuscation": drop,  # OpenAI, Azure: padding
        "p": drop,  # Mistral: the same
        "stream_options": drop,  # LiteLLM: an echo of the request
        "error": ignore,
        "x_groq": merge,  # Groq: id and seed first, usage later
        "sglext": merge,  # SGLang
    },
)

# Keys beside `delta`; any other: the last value that is not empty.
CHOICE: Final = table(
    ChunkChoice,
    {
        "index": ignore,
        "delta": ignore,
        "logprobs": ignore,
        "finish_reason": finish_reason,
        "native_finish_reason": last,  # OpenRouter
        "stop_reason": last,  # vLLM
        "content_filter_results": merge,  # Azure: {} in the first and last chunk
        "obfuscation": drop,
        "token_ids": extend,  # vLLM
        "usage": usage,  # Moonshot
        "message": drop,  # Perplexity, Writer: a cumulative twin of the delta
        "text": drop,  # Together: a twin of the delta's content
    },
)

# Keys of a delta; any other: `unknown`.
DELTA: Final = table(
    Delta,
    {
        "role": first_text,
        "content": content,
        "reasoning_content": reasoning,  # DeepSeek, Qwen, Kimi, z.ai, xAI, SGLang
        "reasoning": reasoning,  # Groq, OpenRouter, Ollama, vLLM
        "refusal": append,  # Snowflake: "" in every chunk is none
        "tool_calls": ignore,
        "function_call": function_call,  # OpenAI, deprecated
        "reasoning_details": details,  # OpenRouter
        "audio": audio,  # OpenAI
        "annotations": items,  # OpenAI, OpenRouter: one a chunk, without an index
        "images": items,  # OpenRouter
        "executed_tools": executed_tools,  # Groq: repeated whole, the output added
        "thinking_blocks": thinking_blocks,  # LiteLLM
        "provider_specific_fields": provider_fields,  # LiteLLM
        "obfuscation": drop,
        "token_id": drop,  # Together
    },
)

table(ToolCallDelta, CALL)
table(FunctionDelta, FUNCTION)
