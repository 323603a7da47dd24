"""The public API as a type checker sees it; checked by mypy, never run."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterator,
    Sequence,
)
from typing import Any, assert_type

import httpx
import httpx2
from starlette.applications import Starlette

import unstream
import unstream.asgi
import unstream.gemini
import unstream.httpx
import unstream.messages
import unstream.responses
import unstream.text
from unstream import chat, sse, usage


def bytes_in(reads: Iterator[bytes], views: list[memoryview]) -> None:
    assert_type(unstream.fold(b""), unstream.ChatCompletion)
    assert_type(unstream.fold(bytearray()), unstream.ChatCompletion)
    assert_type(unstream.fold(memoryview(b"")), unstream.ChatCompletion)
    assert_type(unstream.fold(reads), unstream.ChatCompletion)
    assert_type(unstream.fold(views), unstream.ChatCompletion)
    assert_type(
        unstream.fold(reads, limits=unstream.Limits(choices=1)), unstream.ChatCompletion
    )
    unstream.fold("text")  # type: ignore[arg-type]
    unstream.fold(b"", unstream.Limits())  # type: ignore[call-overload]


async def bytes_in_later(reads: AsyncIterator[bytes]) -> None:
    assert_type(await unstream.afold(reads), unstream.ChatCompletion)
    await unstream.afold(b"")  # type: ignore[call-overload]


def chunks_in(chunks: list[dict[str, Any]]) -> None:
    assert_type(unstream.fold_chunks(chunks), unstream.ChatCompletion)
    assert_type(unstream.fold_chunks(iter([object()])), unstream.ChatCompletion)
    assert_type(unstream.fold_chunks(chunks, incomplete=True), unstream.ChatCompletion)


async def chunks_in_later(chunks: AsyncIterator[dict[str, Any]]) -> None:
    assert_type(await unstream.afold_chunks(chunks), unstream.ChatCompletion)
    assert_type(
        await unstream.afold_chunks(chunks, incomplete=True), unstream.ChatCompletion
    )


def other_protocols(reads: Iterator[bytes], chunks: list[dict[str, Any]]) -> None:
    """What comes out is of the protocol that is asked for."""
    assert_type(unstream.fold(reads, protocol=chat.PROTOCOL), unstream.ChatCompletion)
    assert_type(
        unstream.fold(reads, protocol=unstream.text.PROTOCOL),
        unstream.text.TextCompletion,
    )
    assert_type(
        unstream.fold_chunks(chunks, protocol=unstream.text.PROTOCOL),
        unstream.text.TextCompletion,
    )
    assert_type(unstream.text.fold(reads), unstream.text.TextCompletion)
    assert_type(unstream.messages.fold(reads), unstream.messages.Message)
    assert_type(unstream.responses.fold(reads), unstream.responses.Response)
    assert_type(unstream.gemini.fold(reads), unstream.gemini.GenerateContentResponse)
    accumulator = unstream.Accumulator(protocol=unstream.text.PROTOCOL)
    assert_type(accumulator, unstream.Accumulator[unstream.text.TextCompletion])
    assert_type(accumulator.finish().unwrap(), unstream.text.TextCompletion)
    unstream.Accumulator(protocol="text")  # type: ignore[call-overload]


def live(reads: Iterator[bytes], accumulator: unstream.Accumulator[Any]) -> str:
    assert_type(accumulator.feed(b""), Sequence[unstream.Event])
    assert_type(accumulator.add({}), Sequence[unstream.Event])
    assert_type(accumulator.events(), list[unstream.Event])
    unstream.Accumulator(protocol=unstream.text.PROTOCOL, events=True)
    assert_type(unstream.events(b""), Generator[unstream.Event, None, None])
    unstream.events(reads, protocol=unstream.ANY, limits=unstream.Limits())
    unstream.events("text")  # type: ignore[arg-type]
    for event in unstream.events(reads):
        match event:
            case unstream.TextDelta(choice=choice, position=position, text=text):
                assert_type((choice, position, text), tuple[int, int, str])
            case unstream.CallFinished(call=call):
                assert_type(call, unstream.Call)
            case unstream.CallRevised(call=revised):
                assert_type(revised, unstream.Call | None)
            case unstream.Ended(record=record):
                assert_type(record, unstream.Record)
                assert_type(event.outcome, unstream.Outcome[Any])
    return str(unstream.partial_json("{", strings="drop"))


async def live_later(reads: AsyncIterator[bytes]) -> None:
    assert_type(unstream.aevents(reads), AsyncGenerator[unstream.Event, None])
    async for event in unstream.aevents(reads, protocol=unstream.messages.PROTOCOL):
        assert_type(event, unstream.Event)
    unstream.aevents(b"")  # type: ignore[arg-type]


def step_by_step() -> None:
    accumulator = unstream.Accumulator(limits=unstream.Limits(), fast=False)
    accumulator.feed(b"")
    accumulator.add({"choices": []})
    accumulator.feed("text")  # type: ignore[arg-type]
    assert_type(accumulator.snapshot(), unstream.ChatCompletion | None)
    outcome = accumulator.finish()
    assert_type(outcome, unstream.Outcome[unstream.ChatCompletion])
    assert_type(outcome.protocol, str)
    assert_type(outcome.foreign, str | None)
    assert_type(outcome.unfinished, tuple[int, ...])
    assert_type(outcome.notes, tuple[unstream.Note, ...])
    assert_type(outcome.calls, tuple[unstream.Call, ...])
    assert_type(outcome.ending, unstream.Ending)
    assert_type(outcome.completion, unstream.ChatCompletion | None)
    assert_type(outcome.error, Any)
    assert_type(outcome.done, bool)
    assert_type(outcome.usage_source, str | None)
    assert_type(outcome.limit, str | None)
    assert_type(outcome.n_bytes, int)
    assert_type(outcome.n_events, int)
    assert_type(outcome.n_malformed, int)
    assert_type(outcome.unwrap(), unstream.ChatCompletion)
    assert_type(outcome.to_dict(), dict[str, Any])
    assert_type(outcome.to_json(), bytes)
    assert_type(unstream.Outcome.from_json(b""), unstream.Outcome[Any])
    for call in outcome.calls:
        assert_type(call.arguments, unstream.Arguments)
        assert_type(call.runnable, bool)
        assert_type(call.value, Any)
    outcome.done = True  # type: ignore[misc]


def the_completion(completion: unstream.ChatCompletion) -> None:
    assert_type(completion.id, str)
    assert_type(completion.created, int)
    assert_type(completion.usage, unstream.Usage | None)
    assert_type(completion.extra, dict[str, Any])
    assert_type(completion.to_dict(), dict[str, Any])
    assert_type(completion.to_json(), bytes)
    assert_type(unstream.ChatCompletion.from_json(b""), unstream.ChatCompletion)
    assert_type(unstream.ChatCompletion.from_dict({}), unstream.ChatCompletion)
    assert_type(completion.calls(), tuple[unstream.Call, ...])
    [choice] = completion.choices
    assert_type(choice, unstream.Choice)
    assert_type(choice.index, int)
    assert_type(choice.finish_reason, str | None)
    assert_type(choice.logprobs, unstream.Logprobs | None)
    message = choice.message
    assert_type(message, unstream.Message)
    assert_type(message.content, str | list[Any] | None)
    assert_type(message.text(), str)
    assert_type(message.tool_calls, list[unstream.ToolCall] | None)
    assert_type(message.audio, unstream.Audio | None)
    assert_type(message.annotations, list[unstream.Annotation] | None)
    for call in message.tool_calls or ():
        assert_type(call.id, str)
        assert_type(call.function, unstream.Function | None)
        assert_type(call.custom, unstream.Custom | None)


def log_probabilities(logprobs: unstream.Logprobs) -> None:
    assert_type(logprobs.content, list[unstream.TokenLogprob] | None)
    for token in logprobs.content or ():
        assert_type(token.logprob, float)
        assert_type(token.bytes, list[int] | None)
        assert_type(token.top_logprobs, list[unstream.TopLogprob] | None)


def errors() -> None:
    try:
        unstream.fold(b"")
    except (
        *(unstream.TruncatedStream, unstream.ProviderError, unstream.EmptyStream),
        *(unstream.ForeignStream, unstream.LimitExceeded),
    ):
        pass
    except unstream.StreamError as error:
        assert_type(error.outcome, unstream.Outcome[Any])


def events() -> None:
    decoder = sse.Decoder(limit=sse.DEFAULT_LIMIT, error_field=True)
    assert_type(decoder.feed(b""), list[sse.Event])
    assert_type(decoder.close(rest=True), list[sse.Event])
    assert_type(decoder.last_event_id, str)
    assert_type(decoder.retry, int | None)
    assert_type(decoder.n_skipped, int)
    assert_type(decoder.n_unknown, int)
    for event in decoder.feed(bytearray()):
        assert_type(event.event, str)
        assert_type(event.data, bytes)
        assert_type(event.id, str)
        assert_type(event.retry, int | None)
    decoder.feed("text")  # type: ignore[arg-type]
    sse.Decoder(5)  # type: ignore[call-arg]


def watching(reads: Iterator[bytes], views: list[memoryview]) -> None:
    def note(outcome: unstream.Outcome[Any]) -> None:
        assert_type(outcome.undecoded, str | None)
        assert_type(outcome.timing, unstream.Timing | None)
        if outcome.timing is not None:
            assert_type(outcome.timing.first_byte, float | None)
            assert_type(outcome.timing.first_content, float | None)
            assert_type(outcome.timing.total, float)
            assert_type(outcome.timing.gaps, unstream.Gaps | None)

    async def anote(outcome: unstream.Outcome[Any]) -> None: ...

    assert_type(unstream.tee(reads, note), Generator[bytes, None, None])
    assert_type(unstream.tee(views, note), Generator[memoryview, None, None])
    unstream.tee(reads, note, limits=unstream.Limits(), content_encoding="gzip")
    unstream.tee(reads, anote)  # type: ignore[arg-type]
    unstream.tee(reads)  # type: ignore[call-arg]


async def watching_later(reads: AsyncIterator[bytes]) -> None:
    async def anote(outcome: unstream.Outcome[Any]) -> None: ...

    def note(outcome: unstream.Outcome[Any]) -> None: ...

    assert_type(unstream.atee(reads, note), AsyncGenerator[bytes, None])
    assert_type(unstream.atee(reads, anote), AsyncGenerator[bytes, None])


def clients(client: httpx.Client, later: httpx2.AsyncClient) -> None:
    async def note(
        outcome: unstream.Outcome[Any], exchange: unstream.Exchange
    ) -> None: ...

    observed = unstream.httpx.observe(client, lambda *_: None)
    assert_type(observed, httpx.Client)
    assert_type(unstream.httpx.observe(later, note), httpx2.AsyncClient)


def applications() -> None:
    app = Starlette()
    app.add_middleware(unstream.asgi.Middleware, on_finish=lambda *_: None)
    unstream.asgi.Middleware(app, lambda *_: None)


def gateway(reads: Iterator[bytes], later: AsyncIterator[memoryview]) -> None:
    assert_type(usage.ask(b"{}"), tuple[bytes, usage.Asked])
    usage.ask("{}")  # type: ignore[arg-type]
    keep = usage.Filter()
    assert_type(keep.feed(memoryview(b"")), bytes)
    assert_type(keep.close(), bytes)
    assert_type(usage.withhold(reads), Generator[bytes, None, None])
    assert_type(usage.awithhold(later), AsyncGenerator[bytes, None])
    usage.awithhold(reads)  # type: ignore[arg-type]
