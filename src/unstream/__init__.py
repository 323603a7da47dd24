"""Fold a streamed answer of a language model back into the complete one."""

from typing import Any

from unstream._accumulator import Accumulator
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
    StreamError,
    StreamFinished,
    Timing,
    TruncatedStream,
)
from unstream._tee import atee, tee
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
    "LimitExceeded",
    "Limits",
    "Logprobs",
    "Message",
    "Note",
    "Outcome",
    "ProviderError",
    "StreamError",
    "StreamFinished",
    "Timing",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "TruncatedStream",
    "Usage",
    "afold",
    "afold_chunks",
    "atee",
    "fold",
    "fold_chunks",
    "tee",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - 10 ms, and rarely asked

        return version("unstream")
    raise AttributeError(f"module 'unstream' has no attribute {name!r}")
