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

__all__ = [
    "Accumulator",
    "Annotation",
    "Audio",
    "ChatCompletion",
    "Choice",
    "Custom",
    "EmptyStream",
    "Ending",
    "Function",
    "LimitExceeded",
    "Limits",
    "Logprobs",
    "Message",
    "Outcome",
    "ProviderError",
    "StreamError",
    "StreamFinished",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "TruncatedStream",
    "Usage",
    "afold",
    "fold",
    "fold_chunks",
]
