"""What servers send: how each key folds, and the odd shapes that are put right.

This module is where a new habit goes. A key that wants a rule of its own: one row in
the table of its level. A known thing in an odd shape: one function, and one row in
`SHAPES`. A key that nobody listed needs nothing: the default rule of its level keeps
it. The rows name a provider as the source of a habit; nothing here asks who is
upstream.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final

from msgspec import Struct

from unstream._json import Json, dump
from unstream._rules import (
    Rule,
    audio,
    details,
    drop,
    extend,
    function_call,
    keyed,
    latest,
    merge,
)
from unstream._schema import (
    Chunk,
    ChunkChoice,
    CustomDelta,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)

__all__ = [
    "CHOICE",
    "DELTA",
    "SHAPES",
    "TOP",
    "error_in",
    "is_error",
    "is_noise",
    "is_whole",
]

# --- How keys fold --------------------------------------------------------------------
#
# What the Structs of `_schema` have as fields before these tables apply is folded by
# `_fold` in code, because nearly every chunk carries it.

# Keys beside `choices`; any other: the last value that is not null.
TOP: Final[Mapping[str, Rule]] = {
    "obfuscation": drop,  # OpenAI, Azure: padding
    "p": drop,  # Mistral: the same
    "x_groq": merge,  # Groq: id and seed first, usage later
    "sglext": merge,  # SGLang
}

# Keys beside `delta`; any other: the last value that is not null.
CHOICE: Final[Mapping[str, Rule]] = {
    "obfuscation": drop,
    "content_filter_results": merge,  # Azure: {} in the first and last chunk
    "token_ids": extend,  # vLLM
    "usage": merge,  # Moonshot
    "message": drop,  # Perplexity, Writer: a cumulative twin of the delta
    "text": drop,  # Together: a twin of the delta's content
}

# Keys of a delta; any other: `stranger`. Text that nearly every chunk carries (content,
# reasoning_content, reasoning, refusal) and tool_calls are folded by `_fold`.
DELTA: Final[Mapping[str, Rule]] = {
    "obfuscation": drop,
    "reasoning_details": details,  # OpenRouter
    "function_call": function_call,  # OpenAI, deprecated
    "audio": audio,  # OpenAI
    "annotations": extend,  # OpenAI, OpenRouter: one a chunk, without an index
    "images": extend,  # OpenRouter
    "executed_tools": keyed,  # Groq compound: repeated whole, with the output added
    "token_id": latest,  # Together
}


# --- Odd shapes -----------------------------------------------------------------------


def listed(value: Json) -> Json:
    """Put a lone object into a list (TGI: `tool_calls` as an object)."""
    return [value] if isinstance(value, dict) else value


def objects(value: Json) -> Json:
    """Leave out of a list of objects what is none, nulls above all."""
    value = listed(value)
    if isinstance(value, list):
        return [item for item in value if isinstance(item, dict)]
    return value


def written(value: Json) -> Json:
    """Write arguments that came as an object as JSON text (Mistral, Ollama)."""
    return value if value is None or isinstance(value, str) else dump(value)


def counted(value: Json) -> Json:
    """Read an index that came as digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value) if len(value) <= 18 else value  # noqa: PLR2004
    return value


def whole_seconds(value: Json) -> Json:
    """Cut a `created` that is a float (Python's `time.time()`) to whole seconds."""
    return int(value) if isinstance(value, float) and isfinite(value) else value


def named(value: Json) -> Json:
    """Write an id that came as a number as text."""
    return str(value) if type(value) is int else value


SHAPES: Final[Mapping[tuple[type[Struct], str], Callable[[Json], Json]]] = {
    (Chunk, "id"): named,
    (Chunk, "choices"): objects,
    (Chunk, "created"): whole_seconds,
    (ChunkChoice, "index"): counted,
    (Delta, "content"): listed,
    (Delta, "tool_calls"): objects,
    (Delta, "reasoning_details"): listed,
    (Delta, "annotations"): listed,
    (Delta, "images"): listed,
    (Delta, "executed_tools"): listed,
    (ToolCallDelta, "id"): named,
    (ToolCallDelta, "index"): counted,
    (FunctionDelta, "arguments"): written,
    (CustomDelta, "input"): written,
}


# --- Payloads that are no chunk -------------------------------------------------------


def error_in(sent: Mapping[str, Json]) -> Json:
    """Return what a payload says of an error, or None.

    `{"error": ...}` alone or beside anything else (all servers); `x_groq.error` (Groq);
    an object whose `object` is "error" is the error itself (vLLM).
    """
    if is_error(error := sent.get("error")):
        return error
    if isinstance(groq := sent.get("x_groq"), dict) and is_error(groq.get("error")):
        return groq["error"]
    return sent if sent.get("object") == "error" else None


def is_error(value: Json) -> bool:
    """Say whether the value of an `error` key reports anything."""
    return value not in (None, "", False, {}, [])


def is_noise(sent: Mapping[str, Json]) -> bool:
    """Say whether a payload belongs to another protocol: a ping, a keepalive."""
    return "type" in sent and not any(k in sent for k in ("choices", "id", "object"))


def is_whole(sent: Mapping[str, Json]) -> bool:
    """Say whether an object is a completion that was never streamed."""
    if sent.get("object") == "chat.completion":
        return True
    choices = sent.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and "message" in choice and "delta" not in choice
        for choice in choices
    )
