"""Chat completions, as OpenAI and some forty others stream them."""

from collections.abc import Mapping
from typing import Final

from unstream._json import Json
from unstream._protocol import Protocol
from unstream.chat._fold import ChatFold
from unstream.chat._schema import (
    Annotation,
    Audio,
    ChatCompletion,
    Choice,
    CompletionTokensDetails,
    Custom,
    Function,
    Logprobs,
    Message,
    PromptTokensDetails,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    UrlCitation,
    Usage,
)

__all__ = [
    "PROTOCOL",
    "Annotation",
    "Audio",
    "ChatCompletion",
    "Choice",
    "CompletionTokensDetails",
    "Custom",
    "Function",
    "Logprobs",
    "Message",
    "PromptTokensDetails",
    "TokenLogprob",
    "ToolCall",
    "TopLogprob",
    "UrlCitation",
    "Usage",
]


def _claims(sent: Mapping[str, Json], _name: str) -> bool:
    kind = sent.get("object")
    if type(kind) is str and kind.startswith("chat.completion"):
        return True
    choices = sent.get("choices")
    return type(choices) is list and any(
        type(choice) is dict and ("delta" in choice or "message" in choice)
        for choice in choices
    )


PROTOCOL: Final[Protocol[ChatCompletion]] = Protocol(
    "chat", ChatFold, _claims, live="unstream.chat._live:LiveChat"
)
