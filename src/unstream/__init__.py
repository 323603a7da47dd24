"""Fold a streamed answer of a language model back into the complete one."""

from typing import Any

from unstream._accumulator import Accumulator
from unstream._detect import ANY, detect
from unstream._exchange import Exchange
from unstream._folding import afold, afold_chunks, fold, fold_chunks
from unstream._outcome import (
    Arguments,
    Call,
    EmptyStream,
    Ending,
    ForeignStream,
    LimitExceeded,
    Limits,
    Note,
    Outcome,
    ProviderError,
    Record,
    StreamError,
    StreamFinished,
    Tokens,
    TruncatedStream,
)
from unstream._tee import atee, tee
from unstream._timing import Gaps, Timing
from unstream.chat import (
    Annotation,
    Audio,
    ChatCompletion,
    Choice,
    Custom,
    Function,
    Logprobs,
    Message,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)

__all__ = [
    "ANY",
    "Accumulator",
    "Annotation",
    "Arguments",
    "Audio",
    "Call",
    "ChatCompletion",
    "Choice",
    "Custom",
    "EmptyStream",
    "Ending",
    "Exchange",
    "ForeignStream",
    "Function",
    "Gaps",
    "LimitExceeded",
    "Limits",
    "Logprobs",
    "Message",
    "Note",
    "Outcome",
    "ProviderError",
    "Record",
    "StreamError",
    "StreamFinished",
    "Timing",
    "TokenLogprob",
    "Tokens",
    "ToolCall",
    "TopLogprob",
    "TruncatedStream",
    "Usage",
    "afold",
    "afold_chunks",
    "atee",
    "detect",
    "fold",
    "fold_chunks",
    "tee",
]


_LATER = (
    "asgi",
    "gemini",
    "httpx",
    "messages",
    "mitmproxy",
    "otel",
    "responses",
    "text",
    "usage",
)


def __getattr__(name: str) -> Any:
    # Modules that not everybody needs are imported when they are first asked for.
    if name in _LATER:
        from importlib import import_module  # noqa: PLC0415 - as rarely needed

        return import_module(f"unstream.{name}")
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - takes 10 ms

        return version("unstream")
    raise AttributeError(f"module 'unstream' has no attribute {name!r}")
