"""What is particular to the tees, and to the tap behind every adapter."""

import asyncio
import contextvars
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.adapters.upstream import choice, event, events
from unstream import Accumulator, EmptyStream, Ending, Limits, Outcome, atee, tee
from unstream._tap import Tap, guard, is_inference, is_watched

HELLO = events("Hel", "lo")
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="")


class Source:
    """An iterable that can be closed, and fails after its pieces if told to."""

    def __init__(self, pieces: list[Any], error: Exception | None = None) -> None:
        self.pieces = pieces
        self.error = error
        self.closed = 0

    def __iter__(self) -> Iterator[Any]:
        yield from self.pieces
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed += 1

    async def __aiter__(self) -> AsyncIterator[Any]:
        for piece in self:
            await asyncio.sleep(0)
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


# --- Tee ------------------------------------------------------------------------------


def test_the_pieces_are_the_very_same() -> None:
    pieces = [*HELLO, bytearray(b": x\n\n"), memoryview(b": y\n\n"), b""]
    calls: list[Outcome] = []
    out = list(tee(pieces, calls.append))
    assert [id(piece) for piece in out] == [id(piece) for piece in pieces]
    assert calls[0].ending is Ending.COMPLETE
    assert calls[0].n_bytes == sum(map(len, pieces))


def test_the_outcome_is_that_of_an_accumulator() -> None:
    calls: list[Outcome] = []
    for _ in tee(HELLO, calls.append):
        pass
    accumulator = Accumulator()
    for piece in HELLO:
        accumulator.feed(piece)
    [outcome] = calls
    assert msgspec.structs.replace(outcome, timing=None) == accumulator.finish()


def test_a_piece_is_handed_on_before_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    feed = Accumulator.feed

    def noted(self: Accumulator, data: bytes) -> None:
        order.append("read")
        feed(self, data)

    monkeypatch.setattr(Accumulator, "feed", noted)
    for _ in tee(HELLO, lambda _: None):
        order += ["had"]

    async def go() -> None:
        async for _ in atee(Source(HELLO), lambda _: None):
            order.extend(["had"])

    asyncio.run(go())
    assert order == ["had", "read"] * 2 * len(HELLO)


def test_the_source_is_closed_before_the_call() -> None:
    source = Source(HELLO)
    closed: list[int] = []
    for _ in tee(source, lambda _: closed.append(source.closed)):
        pass
    assert closed == [1]


def test_a_tee_that_is_closed_before_it_started() -> None:
    source = Source(HELLO)
    calls: list[Outcome] = []
    tee(source, calls.append).close()
    assert [outcome.ending for outcome in calls] == [Ending.EMPTY]
    assert source.closed == 1


def test_a_tee_that_is_dropped() -> None:
    source = Source(HELLO)
    calls: list[Outcome] = []
    pieces = tee(source, calls.append)
    assert next(pieces) is HELLO[0]
    assert next(pieces) is HELLO[1]
    del pieces
    gc.collect()
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]
    assert calls[0].n_bytes == len(HELLO[0] + HELLO[1])
    assert source.closed == 1


def test_a_source_that_raises() -> None:
    error = OSError("gone")
    calls: list[Outcome] = []
    pieces = tee(Source(HELLO[:2], error), calls.append)
    with pytest.raises(OSError, match="gone") as raised:
        list(pieces)
    assert raised.value is error
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]


def test_a_source_that_cannot_be_closed_does_not_cost_the_call() -> None:
    class Stuck(Source):
        def close(self) -> None:
            raise OSError("stuck")

    calls: list[Outcome] = []
    with pytest.raises(OSError, match="stuck"):
        list(tee(Stuck(HELLO), calls.append))
    assert len(calls) == 1


def test_the_callback_sees_the_context_of_the_call() -> None:
    names: list[str] = []
    token = NAME.set("request 1")
    pieces = tee(HELLO, lambda _: names.append(NAME.get()))
    NAME.reset(token)
    list(pieces)
    assert names == ["request 1"]


def test_chunks_that_were_parsed_already() -> None:
    chunks = [msgspec.json.decode(piece[6:]) for piece in HELLO[:-1]]
    calls: list[Outcome] = []
    assert list(tee(chunks, calls.append)) == chunks
    [outcome] = calls
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().choices[0].message.text() == "Hello"
    assert outcome.timing is not None
    assert outcome.timing.first_content is not None


def test_what_is_no_bytes_passes_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Outcome] = []
    out = list(tee([*HELLO[:2], "text", *HELLO[2:]], calls.append))
    assert len(out) == len(HELLO) + 1
    [outcome] = calls
    assert (outcome.ending, outcome.completion) == (Ending.EMPTY, None)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_async_callback_where_nothing_awaits_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def on_finish(_: Outcome) -> None:
        raise AssertionError

    with pytest.raises(TypeError, match="async"):
        tee(HELLO, on_finish)  # type: ignore[arg-type]
    # That it is async is not always to be seen.
    assert list(tee(HELLO, partial(on_finish))) == HELLO  # type: ignore[arg-type]
    assert "async" in caplog.text


def test_a_callback_that_starts_a_task_is_none_that_is_async(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[Outcome] = []

    async def save(outcome: Outcome) -> None:
        done.append(outcome)

    def start(outcome: Outcome) -> Any:
        return asyncio.create_task(save(outcome))

    async def go() -> None:
        list(tee(HELLO, start))
        await asyncio.sleep(0)

    asyncio.run(go())
    assert len(done) == 1
    assert not caplog.text


def test_a_cancellation_that_a_callback_raises_stays_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def on_finish(_: Outcome) -> None:
        raise asyncio.CancelledError

    assert list(tee(HELLO, on_finish)) == HELLO
    assert "on_finish raised" in caplog.text


def test_nothing_is_left_of_a_stream() -> None:
    pieces = tee(HELLO, lambda _: None)
    list(pieces)
    gone = weakref.ref(pieces)
    del pieces
    assert gone() is None


# --- Atee -----------------------------------------------------------------------------


def test_the_async_pieces_are_the_very_same() -> None:
    calls: list[Outcome] = []

    async def go() -> list[Any]:
        return [piece async for piece in atee(Source(HELLO), calls.append)]

    out = asyncio.run(go())
    assert [id(piece) for piece in out] == [id(piece) for piece in HELLO]
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE]


def test_an_async_callback_is_done_when_the_iteration_ends() -> None:
    calls: list[str] = []

    async def on_finish(outcome: Outcome) -> None:
        await asyncio.sleep(0)
        calls.append(f"{outcome.ending} {NAME.get()}")

    async def go() -> None:
        NAME.set("request 2")
        async for _ in atee(Source(HELLO), on_finish):
            assert not calls
        assert calls == ["complete request 2"]

    asyncio.run(go())


@pytest.mark.parametrize("n_read", [0, 2])
def test_an_async_tee_that_is_closed(n_read: int) -> None:
    source = Source(HELLO)
    calls: list[Outcome] = []

    async def go() -> None:
        pieces = atee(source, calls.append)
        for _ in range(n_read):
            await anext(pieces)
        await pieces.aclose()
        await pieces.aclose()

    asyncio.run(go())
    assert len(calls) == 1
    assert calls[0].n_bytes == len(b"".join(HELLO[:n_read]))
    assert source.closed == 1


@pytest.mark.parametrize("n_read", [0, 2])
def test_an_async_tee_that_is_dropped(n_read: int) -> None:
    source = Source(HELLO)
    finished = asyncio.Event()

    async def on_finish(_: Outcome) -> None:
        finished.set()

    async def go() -> None:
        pieces = atee(source, on_finish)
        for _ in range(n_read):
            await anext(pieces)
        del pieces
        gc.collect()
        async with asyncio.timeout(5):
            await finished.wait()

    asyncio.run(go())
    assert source.closed == 1


def test_an_async_callback_outlives_a_cancelled_reader() -> None:
    released, running, done = asyncio.Event(), asyncio.Event(), asyncio.Event()
    calls: list[Outcome] = []

    async def forever() -> AsyncIterator[bytes]:
        for piece in HELLO[:2]:
            yield piece
        running.set()
        await asyncio.Event().wait()

    async def on_finish(outcome: Outcome) -> None:
        await released.wait()
        calls.append(outcome)
        done.set()

    async def read() -> None:
        async for _ in atee(forever(), on_finish):
            pass

    async def go() -> None:
        reader = asyncio.create_task(read())
        await running.wait()
        reader.cancel()
        async with asyncio.timeout(5):  # a time limit is not to wait for the callback
            with pytest.raises(asyncio.CancelledError):
                await reader
        assert not calls
        gc.collect()
        released.set()
        async with asyncio.timeout(5):
            await done.wait()

    asyncio.run(go())
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]


def test_a_tee_that_is_made_outside_of_the_loop_is_closed_in_it() -> None:
    calls: list[Outcome] = []
    called = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for piece in HELLO:
            yield piece

    async def on_finish(outcome: Outcome) -> None:
        calls.append(outcome)
        called.set()

    async def go() -> None:
        pieces = await asyncio.to_thread(lambda: atee(source(), on_finish))
        assert await anext(pieces) == HELLO[0]
        del pieces
        gc.collect()
        async with asyncio.timeout(5):
            await called.wait()

    asyncio.run(go())
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]


def test_an_async_callback_that_raises_or_is_cancelled_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def boom(_: Outcome) -> None:
        raise RuntimeError("boom")

    async def cancelled(_: Outcome) -> None:
        raise asyncio.CancelledError

    async def go() -> None:
        for on_finish in (boom, cancelled):
            assert [p async for p in atee(Source(HELLO), on_finish)] == HELLO

    asyncio.run(go())
    said = [record.message for record in caplog.records]
    assert said == ["on_finish raised", "on_finish was cancelled"]


def test_no_event_loop_of_asyncio_is_needed() -> None:
    # As under trio: what drives the coroutine is not asyncio.
    done: list[Outcome] = []

    class Plain:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in HELLO:
                yield piece

    async def on_finish(outcome: Outcome) -> None:
        done.append(outcome)

    async def go() -> None:
        async for _ in atee(Plain(), on_finish):
            pass

    with pytest.raises(StopIteration):
        go().send(None)
    assert len(done) == 1


# --- The tap --------------------------------------------------------------------------


def test_finish_calls_once() -> None:
    calls: list[Outcome] = []
    tap = Tap(calls.append)
    tap.hold(HELLO[0])
    tap.finish()
    tap.hold(HELLO[1])
    tap.read()
    tap.finish()
    asyncio.run(tap.afinish())
    assert len(calls) == 1
    assert calls[0].n_bytes == len(HELLO[0])


def test_an_error_of_the_fold_itself_goes_no_further(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Accumulator.feed

    def broken(self: Accumulator, data: bytes) -> None:
        if b"lo" in data:
            raise MemoryError
        feed(self, data)

    monkeypatch.setattr(Accumulator, "feed", broken)
    calls: list[Outcome] = []
    assert list(tee(HELLO, calls.append)) == HELLO
    # Half a fold is no completion.
    assert [(one.ending, one.completion) for one in calls] == [(Ending.EMPTY, None)]
    assert isinstance(caplog.records[0].exc_info, tuple)


def test_content_is_not_a_role_nor_a_usage() -> None:
    blank = [
        event(choices=[choice({"role": "assistant", "content": ""})]),
        event(choices=[choice({}, "stop")]),
        event(choices=[], usage={"total_tokens": 1}),
        b": keep-alive\n\n",
    ]
    accumulator = Accumulator()
    for piece in blank:
        accumulator.feed(piece)
        assert not accumulator.has_content
    calls: list[Outcome] = []
    list(tee(blank, calls.append))
    assert calls[0].timing is not None
    assert calls[0].timing.first_byte is not None
    assert calls[0].timing.first_content is None
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    for said in (
        {"content": "a"},
        {"content": [{"type": "text", "text": "a"}]},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"tool_calls": [call]},
        {"audio": {"data": "QQ=="}},
        {"x": "a"},
    ):
        accumulator = Accumulator()
        accumulator.feed(blank[0] + event(choices=[choice(said)]))
        assert accumulator.has_content, said
        assert accumulator.finish().completion is not None
        assert accumulator.has_content


def test_a_message_in_place_of_a_delta_is_content() -> None:
    accumulator = Accumulator()
    message = {"role": "assistant", "content": "a"}
    accumulator.feed(event(choices=[{"index": 0, "message": message}]))
    assert accumulator.has_content


def test_no_bytes_have_no_times() -> None:
    calls: list[Outcome] = []
    list(tee([b"", b""], calls.append))
    assert calls[0].timing is not None
    assert calls[0].timing.first_byte is None
    assert calls[0].timing.total > 0


def test_times_are_those_of_the_arrival_and_not_of_a_slow_reader() -> None:
    calls: list[Outcome] = []
    tap = Tap(calls.append, start=0.0)
    tap.hold(HELLO[1])
    arrived = tap._arrival
    tap.read()
    tap.hold(b": x\n\n")
    tap.finish()
    assert calls[0].timing is not None
    assert calls[0].timing.first_content == arrived > 0


def test_an_undecoded_body_says_so_when_it_is_unwrapped() -> None:
    calls: list[Outcome] = []
    assert list(tee(HELLO, calls.append, content_encoding="x")) == HELLO
    with pytest.raises(EmptyStream, match="x was not decoded"):
        calls[0].unwrap()


def test_a_body_that_breaks_after_its_finish_reason_is_not_complete() -> None:
    from tests.adapters.upstream import encoded

    pieces = encoded(HELLO, "gzip")
    pieces[-2] = b"\xff" * 30
    calls: list[Outcome] = []
    list(tee(pieces, calls.append, content_encoding="gzip"))
    assert calls[0].completion is not None
    assert calls[0].completion.choices[0].finish_reason == "stop"
    assert calls[0].ending is Ending.TRUNCATED


def test_limits_reach_the_fold() -> None:
    calls: list[Outcome] = []
    list(tee(HELLO, calls.append, limits=Limits(stream_bytes=10)))
    assert calls[0].ending is Ending.LIMIT


def test_what_is_watched() -> None:
    assert is_watched(200, "text/event-stream")
    assert is_watched(200, "Text/Event-Stream ; charset=utf-8")
    assert is_watched(200, "application/json")
    assert not is_watched(200, "")
    assert not is_watched(200, "application/x-ndjson")
    assert not is_watched(429, "application/json")
    assert is_inference("POST", "/v1/chat/completions")
    assert is_inference("POST", "/openai/deployments/gpt/chat/completions/")
    assert not is_inference("GET", "/v1/chat/completions")
    assert not is_inference("POST", "/v1/chat/completions/123")
    assert not is_inference("POST", "/v1/embeddings")


def test_a_guard_lets_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    def boom(_: int) -> bool:
        raise ValueError

    assert guard(boom)(1) is None
    assert caplog.records[0].exc_info is not None
    assert guard(len)("ab") == 2
