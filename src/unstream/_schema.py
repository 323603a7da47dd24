"""The shapes: the chunk as it arrives, the completion as it leaves.

This module knows which keys exist and of what type they are. How an object that does
not fit its Struct is split is written in `_fit`, how values fold in `_dialects`.

The source of the shapes is OpenAI's API description
(`CreateChatCompletionStreamResponse` and `CreateChatCompletionResponse`, August 2026)
with the keys that other servers send often. Enumerations are open: a `finish_reason` or
`service_tier` is any string.
"""

from typing import ClassVar, Final, TypeAlias

import msgspec
from msgspec import Raw, Struct, field

from unstream._json import Json, read

# --- The chunk ------------------------------------------------------------------------
#
# Chunk Structs refuse a key that they do not know, so that what decodes has nothing
# else in it; `_fit` takes the rest. None stands for a key that was null or absent: the
# fold treats both alike. gc=False: these are trees that live for one fold step, and the
# collector's bookkeeping would cost a quarter of the decode.


class Extra(dict[str, Json]):
    """The keys of one object that its Struct does not know.

    A class of its own, for which msgspec has no decoder: a key on the wire that happens
    to be called `extra` therefore fails to decode and is treated as any stranger.
    """


class _Part(Struct, gc=False, forbid_unknown_fields=True, kw_only=True):
    extra: Extra | None = None


class FunctionDelta(_Part, gc=False, forbid_unknown_fields=True):
    name: str | None = None
    arguments: str | None = None


class CustomDelta(_Part, gc=False, forbid_unknown_fields=True):
    name: str | None = None
    input: str | None = None


class ToolCallDelta(_Part, gc=False, forbid_unknown_fields=True):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None
    custom: CustomDelta | None = None
    extra_content: dict[str, Json] | None = None


class Delta(_Part, gc=False, forbid_unknown_fields=True):
    # The order of OpenAI's servers first: msgspec looks for the next field first.
    role: str | None = None
    content: str | list[Json] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None
    # From here on the table DELTA of `_dialects` says how each folds.
    reasoning_details: list[Json] | None = None
    function_call: FunctionDelta | None = None
    audio: dict[str, Json] | None = None
    annotations: list[Json] | None = None
    images: list[Json] | None = None
    executed_tools: list[Json] | None = None
    obfuscation: str | None = None


class ChunkChoice(_Part, gc=False, forbid_unknown_fields=True):
    index: int | None = None
    delta: Delta | None = None
    logprobs: dict[str, Raw] | None = None
    finish_reason: str | None = None
    content_filter_results: dict[str, Json] | None = None
    native_finish_reason: str | None = None


class Chunk(_Part, gc=False, forbid_unknown_fields=True):
    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    choices: list[ChunkChoice] | None = None
    usage: dict[str, Json] | None = None
    obfuscation: str | None = None
    p: str | None = None
    moderation: Json = None
    error: Json = None
    provider: str | None = None


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode


# The same, passing over strangers where servers put them most: see `_fit.open_chunk`.


class _OpenDelta(Delta, gc=False, forbid_unknown_fields=False):
    pass


class _OpenChoice(ChunkChoice, gc=False, forbid_unknown_fields=False):
    # Narrower than in the base, which is sound: these are only ever decoded into.
    delta: _OpenDelta | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


class _OpenChunk(Chunk, gc=False, forbid_unknown_fields=False):
    choices: list[_OpenChoice] | None = None  # type: ignore[assignment]  # as above


decode_open_chunk: Final = msgspec.json.Decoder(_OpenChunk).decode


# --- The completion -------------------------------------------------------------------
#
# A field that is None is left out of the JSON, but for those in `_always`. `extra`
# holds what has no field, what came with a type that the field cannot hold, and inside
# `usage` the nulls that were sent. In `logprobs`, of which there are thousands, UNSET
# tells a key that was never sent from a null.


class _Whole(Struct, kw_only=True):
    _always: ClassVar[tuple[str, ...]] = ()

    extra: dict[str, Json] = field(default_factory=dict)
    unsent: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Json]:
        """Return plain dicts and lists, shaped as the JSON of the completion."""
        return _plain_struct(self)


class TopLogprob(Struct):
    """One of the likeliest tokens at a position."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class TokenLogprob(Struct):
    """One token and its log probability, a 64-bit float."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] | None = None


_Tokens: TypeAlias = list[TokenLogprob] | None
_decode_tokens = msgspec.json.Decoder(_Tokens).decode


class Logprobs:  # noqa: PLW1641 - not hashable, like the Structs around it
    """The log probabilities of a choice, a list for each kind of text.

    There are thousands, and most are stored without being looked at: they stay the JSON
    text that was sent, and are decoded when they are first looked at. `lists` holds
    that text by key: of `content`, `refusal` and `reasoning_content`, and of any other
    key that came. A property is None where none came, or only in a shape of its own
    (Fireworks, Together); `to_dict` shows every shape, and keys that tokens have more.
    """

    __slots__ = ("_decoded", "lists")

    def __init__(self, lists: dict[str, bytes]) -> None:
        self.lists: dict[str, bytes] = lists
        self._decoded: dict[str, _Tokens] = {}

    @property
    def content(self) -> _Tokens:
        """The tokens of the content."""
        return self._tokens("content")

    @property
    def refusal(self) -> _Tokens:
        """The tokens of the refusal."""
        return self._tokens("refusal")

    @property
    def reasoning_content(self) -> _Tokens:
        """The tokens of the reasoning (DeepSeek)."""
        return self._tokens("reasoning_content")

    def to_dict(self) -> dict[str, Json]:
        """Return plain dicts and lists, shaped as the JSON of the completion."""
        return {key: read(text) for key, text in self.lists.items()}

    def _tokens(self, key: str) -> _Tokens:
        if key not in self._decoded:
            try:
                self._decoded[key] = _decode_tokens(self.lists.get(key, b"null"))
            except (msgspec.ValidationError, RecursionError):
                self._decoded[key] = None
        return self._decoded[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Logprobs) and self.lists == other.lists

    def __repr__(self) -> str:
        return f"Logprobs({self.lists!r})"


class Function(_Whole):
    """What is called; `arguments` is the JSON text as the model wrote it."""

    _always = ("name", "arguments")

    name: str = ""
    arguments: str = ""


class Custom(_Whole):
    """What a custom tool call calls, with free text as `input`."""

    _always = ("name", "input")

    name: str = ""
    input: str = ""


class ToolCall(_Whole):
    """One tool call; `function` or `custom` is set, as `type` says."""

    _always = ("id", "type")

    id: str = ""
    type: str = "function"
    function: Function | None = None
    custom: Custom | None = None
    extra_content: dict[str, Json] | None = None


class Audio(_Whole):
    """Spoken output; `data` is base64."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class UrlCitation(_Whole):
    """Where a piece of the content comes from; indices count its characters."""

    start_index: int | None = None
    end_index: int | None = None
    url: str | None = None
    title: str | None = None


class Annotation(_Whole):
    """A remark on the content, today always a `url_citation`."""

    type: str | None = None
    url_citation: UrlCitation | None = None


class Message(_Whole):
    """What the model said.

    `content` is a list of parts where the server streamed parts. What only some servers
    send (`reasoning_content`, `reasoning`, `reasoning_details`, `images`,
    `executed_tools`) keeps the name it was sent under.
    """

    _always = ("role", "content", "refusal")

    role: str = "assistant"
    content: str | list[Json] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[Json] | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    audio: Audio | None = None
    annotations: list[Annotation] | None = None
    images: list[Json] | None = None
    executed_tools: list[Json] | None = None

    def text(self) -> str:
        """Return the content as plain text: of parts, those that are text."""
        if not isinstance(self.content, list):
            return self.content or ""
        parts = [part for part in self.content if isinstance(part, dict)]
        texts = [part.get("text") for part in parts if part.get("type") == "text"]
        return "".join(text for text in texts if isinstance(text, str))


class Choice(_Whole):
    """One of the answers; `finish_reason` is None where none was sent."""

    _always = ("index", "message", "logprobs", "finish_reason")

    index: int = 0
    message: Message = field(default_factory=Message)
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    content_filter_results: dict[str, Json] | None = None
    native_finish_reason: str | None = None


class PromptTokensDetails(_Whole):
    """The tokens of the prompt, by kind."""

    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    text_tokens: int | None = None
    image_tokens: int | None = None


class CompletionTokensDetails(_Whole):
    """The tokens of the answer, by kind."""

    accepted_prediction_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    text_tokens: int | None = None


class Usage(_Whole):
    """The tokens that were counted, and billed, by the server."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None


class ChatCompletion(_Whole):
    """A whole chat completion, as the same request without `stream` returns it."""

    _always = ("id", "object", "created", "model", "choices")

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    moderation: Json = None

    def to_json(self) -> bytes:
        """Return the completion as compact JSON."""
        return msgspec.json.encode(_plain_struct(self, as_text=True))


def _plain(value: Json, *, as_text: bool) -> Json:
    if isinstance(value, _Whole):
        return _plain_struct(value, as_text=as_text)
    if isinstance(value, list):
        return [_plain(item, as_text=as_text) for item in value]
    if isinstance(value, Logprobs):
        if as_text:
            return {key: Raw(text) for key, text in value.lists.items()}
        return value.to_dict()
    return msgspec.to_builtins(value) if isinstance(value, dict) else value


def _plain_struct(whole: _Whole, *, as_text: bool = False) -> dict[str, Json]:
    """Turn a Struct into a dict, with its `extra` among the keys."""
    plain: dict[str, Json] = {}
    for name in whole.__struct_fields__:
        value = getattr(whole, name)
        if value is not None or name in whole._always:  # noqa: SLF001
            plain[name] = _plain(value, as_text=as_text)
    del plain["unsent"]
    for name in whole.unsent:
        if plain[name] == _plain(getattr(type(whole)(), name), as_text=as_text):
            del plain[name]
    for key, value in plain.pop("extra").items():
        plain.setdefault(key, value)
    return plain
