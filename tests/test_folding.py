"""Folding at once: what is a source, what raises, and what a client makes of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from openai.types.chat import ChatCompletion as OpenAICompletion
from openai.types.chat import ChatCompletionChunk as OpenAIChunk

from tests.strategies import Json, chunk, cut, stream
from unstream import (
    Accumulator,
    ChatCompletion,
    EmptyStream,
    ForeignStream,
    LimitExceeded,
    Limits,
    Outcome,
    ProviderError,
    TruncatedStream,
    afold,
    afold_chunks,
    fold,
    fold_chunks,
)
from unstream._detect import load
from unstream.chat import PROTOCOL
from unstream.sse import Decoder

STOP = chunk({}, finish_reason="stop")
GOOD = stream({"id": "c1", **chunk({"content": "hi"})}, STOP)
CUT = GOOD[: GOOD.index(b"\n\n") + 2]


def content_of(outcome: Outcome[ChatCompletion]) -> Json:
    assert outcome.completion is not None
    return outcome.completion.choices[0].message.content


async def drip(body: bytes) -> AsyncIterator[bytes]:
    for data in cut(body, [5]):
        yield data


@pytest.mark.parametrize(
    "source",
    [
        GOOD,
        bytearray(GOOD),
        memoryview(GOOD),
        [GOOD],
        cut(GOOD, [7]),
        iter([GOOD, b""]),
    ],
)
def test_fold_takes_bytes_or_an_iterable_of_bytes(source: Any) -> None:
    assert fold(source).choices[0].message.content == "hi"


def test_fold_raises_for_every_other_ending() -> None:
    for body, error in (
        (CUT, TruncatedStream),
        (b"", EmptyStream),
        (b'data: {"error":"x"}\n\n', ProviderError),
        (b"<html></html>", ForeignStream),
    ):
        with pytest.raises(error):
            fold(body)
    with pytest.raises(LimitExceeded):
        fold(GOOD, limits=Limits(stream_bytes=9))


@pytest.mark.parametrize(
    "source",
    [
        GOOD.decode(),
        [GOOD.decode()],
        None,
        5,
        [5],
        "",
        {"choices": []},
        Path("hello.sse"),
        drip(GOOD),
    ],
    ids=[
        *("str", "strs", "None", "int", "ints", "empty str", "dict", "path"),
        "async iterable",
    ],
)
def test_fold_of_anything_else_is_a_type_error(source: Any) -> None:
    with pytest.raises(TypeError, match=r"a stream is|pass its read_bytes|use afold"):
        fold(source)
    if not hasattr(source, "__aiter__"):
        with pytest.raises(TypeError, match="is no async iterable: fold"):
            asyncio.run(afold(source))


def test_afold_takes_an_async_iterable() -> None:
    assert asyncio.run(afold(drip(GOOD))) == fold(GOOD)
    with pytest.raises(TruncatedStream) as raised:
        asyncio.run(afold(drip(CUT)))
    assert content_of(raised.value.outcome) == "hi"
    with pytest.raises(LimitExceeded):
        asyncio.run(afold(drip(GOOD), limits=Limits(stream_bytes=9)))


OPENAI = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 5,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
}


class Dumped:
    """A chunk as clients without pydantic have it."""

    def __init__(self, sent: Json) -> None:
        self.sent = sent

    def to_dict(self) -> Json:
        return self.sent


class Held(Mapping[str, Json]):
    """A mapping that is no dict."""

    def __getitem__(self, key: str) -> Json:
        return OPENAI[key]

    def __iter__(self) -> Iterator[str]:
        return iter(OPENAI)

    def __len__(self) -> int:
        return len(OPENAI)


@pytest.mark.parametrize(
    "one",
    [
        OPENAI,
        OpenAIChunk.model_validate(OPENAI),
        Dumped(OPENAI),
        MappingProxyType(OPENAI),
        Held(),
    ],
    ids=["dict", "pydantic", "to_dict", "proxy", "mapping"],
)
def test_fold_chunks_takes_mappings_and_what_dumps_one(one: Any) -> None:
    plain = fold_chunks([one, one, STOP]).to_dict()
    assert plain["choices"][0]["message"]["content"] == "aa"
    assert plain["id"] == "c1"
    with pytest.raises(TypeError, match=r"a stream is bytes|a chunk is a mapping"):
        fold_chunks(one)  # without the list around it


def test_a_finish_reason_is_the_end_of_chunks() -> None:
    """Clients keep `[DONE]` to themselves."""
    with pytest.raises(TruncatedStream) as raised:
        fold_chunks([chunk({"content": "a"})])
    assert content_of(raised.value.outcome) == "a"
    partial = fold_chunks([chunk({"content": "a"})], incomplete=True)
    assert partial.choices[0].finish_reason is None
    assert fold_chunks([chunk({"content": "a"}), STOP]).choices[0].finish_reason


def test_incomplete_takes_what_is_truncated_and_nothing_else() -> None:
    with pytest.raises(EmptyStream):
        fold_chunks([], incomplete=True)
    with pytest.raises(ProviderError):
        fold_chunks([chunk({}), {"error": "x"}], incomplete=True)


async def adrip(sent: list[Json]) -> AsyncIterator[Json]:
    for one in sent:
        yield one


def test_afold_chunks_does_the_same_for_an_async_iterable() -> None:
    sent = [chunk({"content": "a"}), STOP]
    assert asyncio.run(afold_chunks(adrip(sent))) == fold_chunks(sent)
    with pytest.raises(TruncatedStream):
        asyncio.run(afold_chunks(adrip(sent[:1])))
    partial = asyncio.run(afold_chunks(adrip(sent[:1]), incomplete=True))
    assert partial == fold_chunks(sent[:1], incomplete=True)
    with pytest.raises(TypeError, match="is no async iterable"):
        asyncio.run(afold_chunks(sent))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="is an async iterable: use afold"):
        fold_chunks(adrip(sent))  # type: ignore[call-overload]


def test_each_takes_the_protocol() -> None:
    sent = [chunk({"content": "a"}), STOP]
    expected = fold(stream(*sent))
    assert fold(stream(*sent), protocol=PROTOCOL) == expected
    assert asyncio.run(afold(drip(stream(*sent)), protocol=PROTOCOL)) == expected
    assert fold_chunks(sent, protocol=PROTOCOL) == expected
    assert asyncio.run(afold_chunks(adrip(sent), protocol=PROTOCOL)) == expected
    for odd in ("chat", None, ChatCompletion):
        with pytest.raises(TypeError, match=r"protocol is one such as"):
            Accumulator(protocol=odd)  # type: ignore[call-overload]


def test_chunks_of_another_protocol_are_a_mistake_in_the_call() -> None:
    with pytest.raises(TypeError, match="no chunk of the protocol chat"):
        fold_chunks([{"type": "message_start"}, {"type": "message_stop"}])


def test_fold_chunks_raises_for_the_other_endings() -> None:
    with pytest.raises(EmptyStream):
        fold_chunks([])
    with pytest.raises(ProviderError):
        fold_chunks([chunk({}), {"error": "x"}])
    with pytest.raises(LimitExceeded):
        fold_chunks([chunk({}), chunk({}, index=1)], limits=Limits(choices=1))


@pytest.mark.parametrize("odd", [None, 5, "x", b"{}", ["choices"], object()])
def test_a_chunk_that_is_no_mapping_is_a_type_error(odd: Any) -> None:
    with pytest.raises(TypeError):
        fold_chunks([odd])


def test_halves_in_parsed_chunks_are_rejoined() -> None:
    halves = [chunk({"content": "\ud83d"}), chunk({"content": "\ude00"}), STOP]
    assert fold_chunks(halves).choices[0].message.content == "😀"


def test_a_parsed_chunk_stays_the_callers() -> None:
    sent = {
        **chunk({"x": [1], "y": {"a": 1}}),
        "usage": {"a": {"b": 1}},
        "z": {"a": [1]},
    }
    before = json.dumps(sent)
    accumulator = Accumulator()
    accumulator.add(sent)
    accumulator.add(sent)
    sent["z"]["a"].append(2)
    assert fold_chunks([sent, STOP]).extra["z"] == {"a": [1, 2]}
    completion = accumulator.finish().completion
    assert completion is not None
    assert completion.extra["z"] == {"a": [1]}
    sent["z"]["a"].pop()
    assert json.dumps(sent) == before


def test_parsed_chunks_that_are_too_deep_are_malformed() -> None:
    deep: Json = 1
    for _ in range(5000):
        deep = [deep]
    accumulator = Accumulator()
    accumulator.add(chunk({"content": "a"}))
    accumulator.add({"x": deep})
    assert accumulator.finish().n_malformed == 1


def test_bytes_and_parsed_chunks_may_be_mixed() -> None:
    accumulator = Accumulator()
    accumulator.feed(stream(chunk({"content": "a"})) * 3)
    accumulator.add(chunk({"content": "b"}, finish_reason="length"))
    accumulator.feed(stream(chunk({"content": "c"})))
    accumulator.add(chunk({"content": "d"}))
    outcome = accumulator.finish()
    assert content_of(outcome) == "aaabcd"
    assert outcome.n_events == 6


# --- openai ---------------------------------------------------------------------------


def test_the_client_of_openai_accepts_the_result() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    url = {"start_index": 0, "end_index": 1, "url": "u", "title": "t"}
    body = stream(
        {"id": "c1", "created": 5, "model": "m", **chunk({"role": "assistant"})},
        chunk({"content": "a"}, logprobs={"content": [token], "refusal": None}),
        chunk({"tool_calls": [call]}, x_new=1),
        chunk({"tool_calls": [{"index": 1, "custom": {"name": "g", "input": "x"}}]}),
        chunk({"annotations": [{"type": "url_citation", "url_citation": url}]}),
        chunk(
            {"audio": {"id": "a", "data": "QQ==", "transcript": "", "expires_at": 1}}
        ),
        chunk({"function_call": {"name": "f"}}, finish_reason="tool_calls"),
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
        {"service_tier": "default", "provider": "P"},
        "[DONE]",
    )
    plain = fold(body).to_dict()
    accepted = OpenAICompletion.model_validate(plain)
    assert accepted.to_dict() == plain
    assert OpenAICompletion.model_validate(fold(GOOD).to_dict()).choices


# --- The objects of the official clients ----------------------------------------------

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("name", "file", "module", "kind"),
    [
        ("chat", "hello", "openai.types.chat", "ChatCompletionChunk"),
        ("messages", "messages", "anthropic.types", "RawMessageStreamEvent"),
        ("gemini", "gemini", "google.genai.types", "GenerateContentResponse"),
    ],
)
def test_the_objects_of_a_client_fold_like_their_bytes(
    name: str, file: str, module: str, kind: str
) -> None:
    official = pytest.importorskip(module)
    pydantic = pytest.importorskip("pydantic")
    read = pydantic.TypeAdapter(getattr(official, kind)).validate_json
    body = (EXAMPLES / f"{file}.sse").read_bytes()
    sent = [event.data for event in Decoder().feed(body)]
    chunks = [read(data) for data in sent if b"ping" not in data and data != b"[DONE]"]
    protocol = load(name)
    found = json.loads(fold_chunks(chunks, protocol=protocol).to_json())
    want = fold([body], protocol=protocol).to_json()
    if name == "gemini":  # its client writes bytes in the other alphabet of base64
        want = want.replace(b"CsUBAb4+9vtQ", b"CsUBAb4-9vtQ")
    assert found == json.loads(want)
