"""Fold a streamed chat completion back into the complete one."""

from unstream._accumulator import Accumulator, afold, fold, fold_chunks
from unstream._exchange import Exchange
from unstream._limits import Limits
from unstream._outcome import (
    EmptyStream,
    Ending,
    LimitExceeded,
    Outcome,
    ProviderError,
    StreamError,
    StreamFinished,
    Timing,
    TruncatedStream,
)
from unstream._schema import (
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
from unstream._tee import atee, tee

__all__ = [
    "Accumulator",
    "Annotation",
    "Audio",
    "ChatCompletion",
    "Choice",
    "Custom",
    "EmptyStream",
    "Ending",
    "Exchange",
    "Function",
    "LimitExceeded",
    "Limits",
    "Logprobs",
    "Message",
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
    "atee",
    "fold",
    "fold_chunks",
    "tee",
]
