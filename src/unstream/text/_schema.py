"""The shapes of text completions: typed where OpenAI's API describes a key.

The source is OpenAI's API description (`CreateCompletionResponse`, August 2026). A
chunk has the shape of the whole answer. Enumerations are open.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import field
from msgspec.json import Decoder

from unstream._json import Json
from unstream._lists import Lists
from unstream._outcome import Call, Completion, Summary, Tokens
from unstream._structs import Object

__all__ = ["Choice", "Logprobs", "TextCompletion", "Usage"]

_Numbers = list[float | None] | None
_TopLogprobs = list[dict[str, float | None] | None] | None


class Logprobs(Lists):
    """The log probabilities of a choice: parallel lists, an item for each token.

    They stay the JSON text that was sent, and are decoded when they are first looked
    at. `lists` holds that text by key, of these four and of any other that came. A
    property is None where none came, or only in a shape of its own.
    """

    __slots__ = ()

    decoders: ClassVar[Mapping[str, Decoder[Any]]] = {
        "tokens": Decoder(list[str] | None),
        "token_logprobs": Decoder(_Numbers),
        "top_logprobs": Decoder(_TopLogprobs),
        "text_offset": Decoder(list[int] | None),
    }

    @property
    def tokens(self) -> list[str] | None:
        """The tokens."""
        found: list[str] | None = self._typed("tokens")
        return found

    @property
    def token_logprobs(self) -> list[float | None] | None:
        """The log probability of each; None for the first of an echoed prompt."""
        found: _Numbers = self._typed("token_logprobs")
        return found

    @property
    def top_logprobs(self) -> list[dict[str, float | None] | None] | None:
        """The likeliest tokens at each position, and their log probabilities."""
        found: _TopLogprobs = self._typed("top_logprobs")
        return found

    @property
    def text_offset(self) -> list[int] | None:
        """Where in the text each begins, as it was sent."""
        found: list[int] | None = self._typed("text_offset")
        return found


class Choice(Object):
    """One of the answers; `finish_reason` is None where none was sent."""

    required: ClassVar[tuple[str, ...]] = ("index", "text", "logprobs", "finish_reason")

    index: int = 0
    text: str = ""
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    content_filter_results: dict[str, Json] | None = None


class Usage(Object):
    """The tokens that were counted, and billed, by the server."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: dict[str, Json] | None = None
    completion_tokens_details: dict[str, Json] | None = None


class TextCompletion(Completion):
    """A whole text completion, as the same request without `stream` returns it."""

    required: ClassVar[tuple[str, ...]] = (
        "id",
        "object",
        "created",
        "model",
        "choices",
    )

    id: str = ""
    object: str = "text_completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None

    @property
    def output_text(self) -> str:
        """The text of the first choice; "" without one."""
        return self.choices[0].text if self.choices else ""

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        usage = self.usage
        return Summary(
            id=self.id,
            model=self.model,
            finish_reasons=tuple(choice.finish_reason for choice in self.choices),
            text=self.output_text,
            usage=None
            if usage is None
            else Tokens(input=usage.prompt_tokens, output=usage.completion_tokens),
            raw_usage=None if usage is None else usage.to_dict(),
        )

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:  # noqa: ARG002
        """Return nothing: there are no tool calls in this API."""
        return ()
