"""The shapes: the chunk as nearly all servers send it, the completion as it leaves.

This module knows which keys have a field and of what type it is; how values fold is
written in `_fields`, one row a field.

The source of the shapes is OpenAI's API description
(`CreateChatCompletionStreamResponse` and `CreateChatCompletionResponse`, August 2026)
with the keys that other servers send often. Enumerations are open: a `finish_reason` or
`service_tier` is any string.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Raw, Struct, ValidationError, convert, field

from unstream._json import Json
from unstream._lists import Lists
from unstream._outcome import (
    Arguments,
    Call,
    Completion,
    Summary,
    Tokens,
    judge,
    may_run,
)
from unstream._rules import ATOMS, settle
from unstream._structs import Object, structure

__all__ = [
    "NULL",
    "Annotation",
    "Audio",
    "ChatCompletion",
    "Choice",
    "Chunk",
    "ChunkChoice",
    "CompletionTokensDetails",
    "Custom",
    "Delta",
    "DetailDelta",
    "Function",
    "FunctionDelta",
    "Logprobs",
    "LogprobsDelta",
    "Message",
    "Opened",
    "PromptTokensDetails",
    "TokenLogprob",
    "ToolCall",
    "ToolCallDelta",
    "TopLogprob",
    "UrlCitation",
    "Usage",
    "decode_chunk",
    "open_decoder",
    "to_usage",
]

# --- The chunk ------------------------------------------------------------------------
#
# These are for the look at an event that may be like an earlier one (see `_repeat`). A
# value of another type is not decoded: such an event takes the ordinary road, which
# knows every key by its row in `_fields`. None stands for null and for absent: the fold
# treats both alike. What may be large or nested stays raw, so that it is equal only
# where its bytes are. gc=False: these are trees that live for one step, and the
# collector's bookkeeping would cost a quarter of the decode.

NULL: Final = Raw(b"null")


class _Part(Struct, gc=False, forbid_unknown_fields=True):
    pass


class FunctionDelta(_Part, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(_Part, gc=False):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: FunctionDelta | None = None


class DetailDelta(_Part, gc=False):
    type: str | None = None
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    format: str | None = None
    index: int | None = None
    id: str | None = None
    signature: str | None = None


class Delta(_Part, gc=False):
    # The order of OpenAI's servers first: msgspec looks for the next field first.
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[DetailDelta] | None = None
    tool_calls: list[ToolCallDelta] | None = None
    refusal: str | None = None


class LogprobsDelta(_Part, gc=False):
    content: Raw = NULL
    refusal: Raw = NULL
    reasoning_content: Raw = NULL


class ChunkChoice(_Part, gc=False):
    index: int | None = None
    delta: Delta | None = None
    logprobs: LogprobsDelta | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    content_filter_results: Raw = NULL


class Chunk(_Part, gc=False):
    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    choices: list[ChunkChoice] | None = None
    usage: Raw = NULL
    obfuscation: str | None = None
    p: str | None = None
    provider: str | None = None


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode


# --- Chunks with keys that have no field ----------------------------------------------
#
# Where the same unknown keys stand in every event, Structs that have them, as raw
# bytes, are made once a process: 190 microseconds, against 1.5 for each event that is
# decoded in vain. They are of keys alone; no state of a stream is in them.

# The unknown keys of each level, and those of them whose values are dropped.
_Keys = tuple[tuple[frozenset[str], ...], tuple[frozenset[str], ...]]

_MADE: Final[dict[_Keys, "Opened"]] = {}
_MET: Final[dict[_Keys, int]] = {}
_OFTEN: Final = 3  # most sets of keys come once or twice
_MOST_MET: Final = 256
_MOST_MADE: Final = 64
_MOST_KEYS: Final = 24
_NAME: Final = re.compile(r'[^"\\\x00-\x1f]{1,64}')  # what msgspec takes, and no more


class Opened(NamedTuple):
    """What decodes events of certain unknown keys.

    `dropped` are those among them whose values are dropped: the level, 0 for the chunk,
    1 for its choice, 2 for its delta; the key; the name of its field.
    """

    decode: Callable[[bytes], Any]
    dropped: tuple[tuple[int, str, str], ...]


def open_decoder(
    sent: dict[str, Json], drops: Sequence[frozenset[str]]
) -> Opened | None:
    """Return what decodes events with the unknown keys of one that has one choice.

    `drops` are the keys of each level whose values are dropped. None where that is not
    worth it yet.
    """
    try:
        choice = sent["choices"][0]
        levels = sent, choice, choice["delta"]
    except (LookupError, TypeError):
        return None
    if type(choice) is not dict or type(choice["delta"]) is not dict:
        return None
    keys = tuple(
        frozenset(level).difference(kind.__struct_encode_fields__)
        for kind, level in zip((Chunk, ChunkChoice, Delta), levels, strict=True)
    )
    # An object is not dropped unseen: something deep may be wrong in it.
    loose = tuple(
        frozenset(key for key in unknown & dropped if type(level[key]) in ATOMS)
        for level, unknown, dropped in zip(levels, keys, drops, strict=True)
    )
    if (keys, loose) in _MADE:
        return _MADE[keys, loose]
    names = frozenset[str]().union(*keys)
    if not 0 < len(names) <= _MOST_KEYS or not all(map(_NAME.fullmatch, names)):
        return None
    if len(_MET) >= _MOST_MET:
        _MET.clear()
    _MET[keys, loose] = n = _MET.get((keys, loose), 0) + 1
    if n < _OFTEN or len(_MADE) >= _MOST_MADE:
        return None
    fields = [{key: f"unknown_{n}" for n, key in enumerate(sorted(k))} for k in keys]
    delta = _extend(Delta, fields[2], loose[2])
    choice = _extend(ChunkChoice, fields[1], loose[1], ("delta", delta | None))
    chunk = _extend(Chunk, fields[0], loose[0], ("choices", list[choice] | None))  # type: ignore[valid-type]
    dropped = [
        (level, key, name)
        for level, of in enumerate(fields)
        for key, name in of.items()
        if key in loose[level]
    ]
    made = Opened(msgspec.json.Decoder(chunk).decode, tuple(dropped))
    _MADE[keys, loose] = made
    return made


def _extend(
    kind: type[Struct], names: dict[str, str], loose: frozenset[str], *more: Any
) -> Any:
    fields: list[Any] = [(name, of, None) for name, of in more]
    for key, name in names.items():
        # What is dropped is decoded, since nothing else would see a fault in it.
        atom: Any = (name, str | int | float | bool | None, None)
        fields.append(atom if key in loose else (name, Raw, NULL))
    return msgspec.defstruct(
        kind.__name__,
        fields,
        bases=(kind,),
        rename={name: key for key, name in names.items()},
        gc=False,
        forbid_unknown_fields=True,
    )


# --- Log probabilities ----------------------------------------------------------------


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


_Tokens = list[TokenLogprob] | None
_tokens: Final = msgspec.json.Decoder(_Tokens)


class Logprobs(Lists):
    """The log probabilities of a choice, a list for each kind of text.

    There are thousands, and most are stored without being looked at: they stay the JSON
    text that was sent, and are decoded when they are first looked at. `lists` holds
    that text by key: of `content`, `refusal` and `reasoning_content`, and of any other
    key that came. A property is None where none came, or only in a shape of its own
    (Fireworks, Together); `to_dict` shows every shape, and keys that tokens have more.
    """

    __slots__ = ()

    decoders: ClassVar[Mapping[str, msgspec.json.Decoder[Any]]] = dict.fromkeys(
        ("content", "refusal", "reasoning_content"), _tokens
    )

    @property
    def content(self) -> list[TokenLogprob] | None:
        """The tokens of the content."""
        found: _Tokens = self._typed("content")
        return found

    @property
    def refusal(self) -> list[TokenLogprob] | None:
        """The tokens of the refusal."""
        found: _Tokens = self._typed("refusal")
        return found

    @property
    def reasoning_content(self) -> list[TokenLogprob] | None:
        """The tokens of the reasoning (DeepSeek)."""
        found: _Tokens = self._typed("reasoning_content")
        return found


# --- The completion -------------------------------------------------------------------


class Function(Object):
    """What is called; `arguments` is the JSON text as the model wrote it."""

    required: ClassVar[tuple[str, ...]] = ("name", "arguments")

    name: str = ""
    arguments: str = ""


class Custom(Object):
    """What a custom tool call calls, with free text as `input`."""

    required: ClassVar[tuple[str, ...]] = ("name", "input")

    name: str = ""
    input: str = ""


class ToolCall(Object):
    """One tool call; `function` or `custom` is set, as `type` says."""

    required: ClassVar[tuple[str, ...]] = ("id", "type")

    id: str = ""
    type: str = "function"
    function: Function | None = None
    custom: Custom | None = None
    extra_content: dict[str, Json] | None = None


class Audio(Object):
    """Spoken output; `data` is base64."""

    id: str | None = None
    data: str | None = None
    transcript: str | None = None
    expires_at: int | None = None


class UrlCitation(Object):
    """Where a piece of the content comes from; indices count its characters."""

    start_index: int | None = None
    end_index: int | None = None
    url: str | None = None
    title: str | None = None


class Annotation(Object):
    """A remark on the content, today always a `url_citation`."""

    type: str | None = None
    url_citation: UrlCitation | None = None


class Message(Object):
    """What the model said.

    `content` is a list of parts where the server streamed parts. What only some servers
    send (`reasoning_content`, `reasoning`, `reasoning_details`, `images`,
    `executed_tools`) keeps the name it was sent under.
    """

    required: ClassVar[tuple[str, ...]] = ("role", "content", "refusal")

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

    def thoughts(self) -> str:
        """Return the reasoning as plain text, under whichever key it came."""
        if text := self.reasoning_content or self.reasoning:
            return text
        parts = self.content if isinstance(self.content, list) else []
        objects = [part for part in parts if isinstance(part, dict)]
        nested = [part.get("thinking") or part.get("summary") for part in objects]
        lists = [self.reasoning_details, *nested]
        found = [each for some in lists if isinstance(some, list) for each in some]
        texts = [
            detail.get("text") or detail.get("summary")
            for detail in found
            if isinstance(detail, dict)
        ]
        return "".join(text for text in texts if isinstance(text, str))


class Choice(Object):
    """One of the answers; `finish_reason` is None where none was sent."""

    required: ClassVar[tuple[str, ...]] = (
        "index",
        "message",
        "logprobs",
        "finish_reason",
    )

    index: int = 0
    message: Message = field(default_factory=Message)
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    content_filter_results: dict[str, Json] | None = None
    native_finish_reason: str | None = None


class PromptTokensDetails(Object):
    """The tokens of the prompt, by kind."""

    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    text_tokens: int | None = None
    image_tokens: int | None = None


class CompletionTokensDetails(Object):
    """The tokens of the answer, by kind."""

    accepted_prediction_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    reasoning_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    text_tokens: int | None = None


class Usage(Object):
    """The tokens that were counted, and billed, by the server."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    completion_tokens_details: CompletionTokensDetails | None = None

    def tokens(self) -> Tokens:
        """Return the counts in the vocabulary of all protocols."""
        read = self.prompt_tokens_details or PromptTokensDetails()
        written = self.completion_tokens_details or CompletionTokensDetails()
        return Tokens(
            input=self.prompt_tokens,
            output=self.completion_tokens,
            reasoning=written.reasoning_tokens,
            cached_read=read.cached_tokens,
            cached_write=read.cache_write_tokens,
            audio_input=read.audio_tokens,
            audio_output=written.audio_tokens,
        )


_USAGE: Final = frozenset(Usage.__struct_encode_fields__)


def to_usage(sent: dict[str, Json]) -> Usage:
    """Put a usage into its Struct: most often all that msgspec need do."""
    # A null is no value of a field, though msgspec takes it for one.
    is_plain = sent.keys() <= _USAGE and None not in sent.values()
    for value in sent.values():
        if type(value) is dict and None in value.values():
            is_plain = False
    if is_plain:
        try:
            return convert(sent, Usage)
        except ValidationError:
            pass
    return structure(Usage, settle(sent))


class ChatCompletion(Completion):
    """A whole chat completion, as the same request without `stream` returns it."""

    required: ClassVar[tuple[str, ...]] = (
        "id",
        "object",
        "created",
        "model",
        "choices",
    )

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    moderation: Json = None

    @property
    def output_text(self) -> str:
        """The content of the first choice, as plain text; "" without one."""
        return self.choices[0].message.text() if self.choices else ""

    def summary(self) -> Summary:
        """Return what every protocol's answer has, under one name each."""
        message = self.choices[0].message if self.choices else Message()
        usage = self.usage
        return Summary(
            id=self.id,
            model=self.model,
            finish_reasons=tuple(choice.finish_reason for choice in self.choices),
            text=message.text(),
            reasoning=message.thoughts(),
            refusal=message.refusal or "",
            usage=None if usage is None else usage.tokens(),
            raw_usage=None if usage is None else usage.to_dict(),
        )

    def calls(self, unfinished: tuple[int, ...] = ()) -> tuple[Call, ...]:
        """Return the verdict on each tool call, in the order of the completion."""
        return tuple(
            _judge(choice, position, call, finished=choice.index not in unfinished)
            for choice in self.choices
            for position, call in enumerate(choice.message.tool_calls or ())
        )


def _judge(choice: Choice, position: int, call: ToolCall, *, finished: bool) -> Call:
    reason = choice.finish_reason
    finished = finished and bool(reason)
    if call.custom is not None and call.function is None:
        name, text = call.custom.name, call.custom.input
        arguments = Arguments.WHOLE if finished else Arguments.CUT
    else:
        function = call.function or Function()
        name, text = function.name, function.arguments
        arguments = judge(text)
    return Call(
        choice=choice.index,
        position=position,
        id=call.id,
        name=name,
        text=text,
        arguments=arguments,
        runnable=may_run(arguments, finished=finished, reason=reason),
    )
