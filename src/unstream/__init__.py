"""Fold a streamed chat completion back into the complete one."""

from unstream._accumulator import Accumulator, afold, fold, fold_chunks
from unstream._limits import Limits
from unstream._outcome import (
    EmptyStream,
    Ending,
    LimitExceeded,
    Outcome,
    ProviderError,
    StreamError,
    StreamFinished,
    TruncatedStream,
)
from unstream._schema import ChatCompletion

__all__ = [
    "Accumulator",
    "ChatCompletion",
    "EmptyStream",
    "Ending",
    "LimitExceeded",
    "Limits",
    "Outcome",
    "ProviderError",
    "StreamError",
    "StreamFinished",
    "TruncatedStream",
    "afold",
    "fold",
    "fold_chunks",
]
