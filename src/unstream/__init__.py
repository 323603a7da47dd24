"""Fold a streamed answer of a language model back into the complete one."""

from typing import TYPE_CHECKING, Any

from unstream._accumulator import Accumulator
from unstream._detect import ANY, detect
from unstream._folding import (
    aevents,
    afold,
    afold_chunks,
    events,
    fold,
    fold_chunks,
)
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

if TYPE_CHECKING:
    from unstream._events import (
        ArgumentsDelta,
        CallFinished,
        CallRevised,
        CallStarted,
        ChoiceFinished,
        ChoiceReopened,
        Ended,
        ErrorReported,
        Event,
        ReasoningDelta,
        RefusalDelta,
        Replaced,
        StartedOver,
        TextDelta,
        UsageReported,
    )
    from unstream._exchange import Exchange
    from unstream._partial import partial_json
    from unstream._tee import atee, tee

__all__ = [
    "ANY",
    "Accumulator",
    "Annotation",
    "Arguments",
    "ArgumentsDelta",
    "Audio",
    "Call",
    "CallFinished",
    "CallRevised",
    "CallStarted",
    "ChatCompletion",
    "Choice",
    "ChoiceFinished",
    "ChoiceReopened",
    "Custom",
    "EmptyStream",
    "Ended",
    "Ending",
    "ErrorReported",
    "Event",
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
    "ReasoningDelta",
    "Record",
    "RefusalDelta",
    "Replaced",
    "StartedOver",
    "StreamError",
    "StreamFinished",
    "TextDelta",
    "Timing",
    "TokenLogprob",
    "Tokens",
    "ToolCall",
    "TopLogprob",
    "TruncatedStream",
    "Usage",
    "UsageReported",
    "aevents",
    "afold",
    "afold_chunks",
    "atee",
    "detect",
    "events",
    "fold",
    "fold_chunks",
    "partial_json",
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
# Where names are from that are no Struct of `_events`.
_HOMES = {
    "Exchange": "_exchange",
    "atee": "_tee",
    "partial_json": "_partial",
    "tee": "_tee",
}


def __getattr__(name: str) -> Any:
    # What not everybody needs is imported when it is first asked for: a fifth of it.
    if name in _LATER or name in __all__:
        from importlib import import_module  # noqa: PLC0415 - as rarely needed

        if name in _LATER:
            return import_module(f"unstream.{name}")
        home = _HOMES.get(name, "_events")
        globals()[name] = found = getattr(import_module(f"unstream.{home}"), name)
        return found
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - takes 10 ms

        return version("unstream")
    raise AttributeError(f"module 'unstream' has no attribute {name!r}")
