"""What is particular to the tees, and to the tap behind every adapter."""

import asyncio
import contextvars
import gc
import logging
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest

from tests.adapters.roads import MOST, Fed
from tests.adapters.upstream import BOMB, SPARSE, choice, event, events, packed
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
    calls: list[Outcome[Any]] = []
    out = list(tee(pieces, calls.append))
    assert [id(piece) for piece in out] == [id(piece) for piece in pieces]
    assert calls[0].ending is Ending.COMPLETE
    assert calls[0].n_bytes == sum(map(len, pieces))


def test_the_outcome_is_that_of_an_accumulator() -> None:
    calls: list[Outcome[Any]] = []
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

    def noted(self: Accumulator[Any], data: bytes) -> None:
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
    calls: list[Outcome[Any]] = []
    tee(source, calls.append).close()
    assert [outcome.ending for outcome in calls] == [Ending.EMPTY]
    assert calls[0].interrupted == "client"
    assert source.closed == 1


def test_a_tee_that_is_dropped() -> None:
    source = Source(HELLO)
    calls: list[Outcome[Any]] = []
    pieces = tee(source, calls.append)
    assert next(pieces) is HELLO[0]
    assert next(pieces) is HELLO[1]
    del pieces
    gc.collect()
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]
    assert calls[0].n_bytes == len(HELLO[0] + HELLO[1])
    assert calls[0].interrupted == "client"
    assert source.closed == 1


def test_a_source_that_raises() -> None:
    error = OSError("gone")
    calls: list[Outcome[Any]] = []
    pieces = tee(Source(HELLO[:2], error), calls.append)
    with pytest.raises(OSError, match="gone") as raised:
        list(pieces)
    assert raised.value is error
    assert [outcome.ending for outcome in calls] == [Ending.TRUNCATED]
    assert calls[0].interrupted == "upstream"


def test_what_a_reader_throws_is_not_of_the_upstream() -> None:
    calls: list[Outcome[Any]] = []
    pieces = tee(HELLO, calls.append)
    next(pieces)
    with pytest.raises(OSError, match="the reader's"):
        pieces.throw(OSError("the reader's"))

    async def go() -> None:
        pieces = atee(Source(HELLO), calls.append)
        await anext(pieces)
        with pytest.raises(OSError, match="the reader's"):
            await pieces.athrow(OSError("the reader's"))

    asyncio.run(go())
    assert [outcome.interrupted for outcome in calls] == ["client"] * 2


@pytest.mark.parametrize(
    ("n_read", "coding", "limits", "interrupted"),
    [
        (2, "", None, "client"),
        # The client had all that it asked for.
        (len(HELLO), "", None, None),
        # Behind what was not read may have been a [DONE].
        (2, "x-rot13", None, None),
        (2, "", Limits(stream_bytes=10), None),
    ],
)
def test_when_a_client_that_leaves_interrupts(
    n_read: int, coding: str, limits: Limits | None, interrupted: str | None
) -> None:
    calls: list[Outcome[Any]] = []
    pieces = tee(
        [*HELLO, b": more\n\n"], calls.append, limits=limits, content_encoding=coding
    )
    for _ in range(n_read):
        next(pieces)
    pieces.close()
    assert calls[0].interrupted == interrupted


def test_a_source_that_cannot_be_iterated() -> None:
    class Broken:
        def __iter__(self) -> Iterator[bytes]:
            raise OSError("broken")

        def __aiter__(self) -> AsyncIterator[bytes]:
            raise OSError("broken")

    calls: list[Outcome[Any]] = []
    with pytest.raises(OSError, match="broken"):
        list(tee(Broken(), calls.append))
    with pytest.raises(OSError, match="broken"):
        list_async(Broken(), calls.append)
    assert [outcome.interrupted for outcome in calls] == ["upstream"] * 2


class Stuck(Source):
    """A source that cannot be closed."""

    def close(self) -> None:
        raise OSError("stuck")

    async def aclose(self) -> None:
        raise OSError("stuck")


def test_a_source_that_cannot_be_closed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Outcome[Any]] = []
    assert list(tee(Stuck(HELLO), calls.append)) == HELLO
    assert list_async(Stuck(HELLO), calls.append) == HELLO
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE] * 2
    assert caplog.text.count("OSError: stuck") == 2


def test_what_a_source_raises_goes_before_what_its_close_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Outcome[Any]] = []
    for read in (lambda *args: list(tee(*args)), list_async):
        with pytest.raises(ValueError, match="the first") as raised:
            read(Stuck(HELLO[:2], ValueError("the first")), calls.append)
        assert raised.value.__context__ is None
    assert [outcome.interrupted for outcome in calls] == ["upstream"] * 2
    assert caplog.text.count("OSError: stuck") == 2


def list_async(source: Any, on_finish: Any, **options: Any) -> list[Any]:
    """Read an `atee` in an event loop."""

    async def go() -> list[Any]:
        return [data async for data in atee(source, on_finish, **options)]

    return asyncio.run(go())


def test_the_callback_sees_the_context_of_the_call() -> None:
    names: list[str] = []
    token = NAME.set("request 1")
    pieces = tee(HELLO, lambda _: names.append(NAME.get()))
    NAME.reset(token)
    list(pieces)
    assert names == ["request 1"]


def test_chunks_that_were_parsed_already() -> None:
    chunks = [msgspec.json.decode(piece[6:]) for piece in HELLO[:-1]]
    calls: list[Outcome[Any]] = []
    assert list(tee(chunks, calls.append)) == chunks
    [outcome] = calls
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().choices[0].message.text() == "Hello"
    assert outcome.timing is not None
    assert outcome.timing.first_content is not None


def test_a_chunk_may_be_changed_by_who_gets_it() -> None:
    def chunks() -> list[Any]:
        return [msgspec.json.decode(piece[6:]) for piece in HELLO[:-1]]

    calls: list[Outcome[Any]] = []
    for chunk in tee(chunks(), calls.append):
        chunk.clear()

    async def go() -> None:
        async for chunk in atee(Source(chunks()), calls.append):
            chunk.clear()

    asyncio.run(go())
    for outcome in calls:
        assert outcome.unwrap().choices[0].message.text() == "Hello"


def test_a_chunk_whose_dump_raises_passes(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(BaseException):
        pass

    class Chunk:
        def model_dump(self, **_: Any) -> Any:
            raise Bad

    calls: list[Outcome[Any]] = []
    chunks = [Chunk(), Chunk()]
    assert list(tee(chunks, calls.append)) == chunks
    assert [outcome.ending for outcome in calls] == [Ending.EMPTY]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_what_is_no_bytes_passes_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Outcome[Any]] = []
    out = list(tee([*HELLO[:2], "text", *HELLO[2:]], calls.append))
    assert len(out) == len(HELLO) + 1
    [outcome] = calls
    assert (outcome.ending, outcome.completion) == (Ending.EMPTY, None)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_async_callback_where_nothing_awaits_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def on_finish(_: Outcome[Any]) -> None:
        raise AssertionError

    def start(outcome: Outcome[Any]) -> Any:  # that it is async is not to be seen
        return on_finish(outcome)

    assert list(tee(HELLO, start)) == HELLO
    assert "async" in caplog.text


def test_a_callback_that_starts_a_task_is_none_that_is_async(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[Outcome[Any]] = []

    async def save(outcome: Outcome[Any]) -> None:
        done.append(outcome)

    def start(outcome: Outcome[Any]) -> Any:
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
    def on_finish(_: Outcome[Any]) -> None:
        raise asyncio.CancelledError

    assert list(tee(HELLO, on_finish)) == HELLO
    assert "on_finish raised" in caplog.text


def test_a_handler_of_the_log_that_raises_stays_there() -> None:
    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record)

    def on_finish(_: Outcome[Any]) -> None:
        raise ValueError

    handler = Handler()
    logging.getLogger("unstream").addHandler(handler)
    try:
        pieces = [*HELLO, "no bytes"]
        assert list(tee(pieces, on_finish)) == pieces
    finally:
        logging.getLogger("unstream").removeHandler(handler)


def test_times_count_from_where_they_are_told_to() -> None:
    calls: list[Outcome[Any]] = []
    start = time.perf_counter() - 100
    list(tee(HELLO, calls.append, start=start))
    list_async(Source(HELLO), calls.append, start=start)
    for outcome in calls:
        timing = outcome.timing
        assert timing is not None
        assert timing.first_byte is not None
        assert timing.first_content is not None
        assert 100 < timing.first_byte < timing.first_content < timing.total


def test_nothing_is_left_of_a_stream() -> None:
    pieces = tee(HELLO, lambda _: None)
    list(pieces)
    gone = weakref.ref(pieces)
    del pieces
    assert gone() is None


# --- Atee -----------------------------------------------------------------------------


def test_the_async_pieces_are_the_very_same() -> None:
    calls: list[Outcome[Any]] = []

    async def go() -> list[Any]:
        return [piece async for piece in atee(Source(HELLO), calls.append)]

    out = asyncio.run(go())
    assert [id(piece) for piece in out] == [id(piece) for piece in HELLO]
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE]


def test_an_async_callback_is_done_when_the_iteration_ends() -> None:
    calls: list[str] = []

    async def on_finish(outcome: Outcome[Any]) -> None:
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
    calls: list[Outcome[Any]] = []

    async def go() -> None:
        pieces = atee(source, calls.append)
        for _ in range(n_read):
            await anext(pieces)
        await pieces.aclose()
        await pieces.aclose()

    asyncio.run(go())
    assert len(calls) == 1
    assert calls[0].n_bytes == len(b"".join(HELLO[:n_read]))
    assert calls[0].interrupted == "client"
    assert source.closed == 1


def test_a_source_that_is_its_own_iterator_is_closed_once() -> None:
    class Own(Source):
        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            if self.pieces:
                return self.pieces.pop(0)
            raise StopAsyncIteration

    source = Own([*HELLO])
    assert list_async(source, lambda _: None) == HELLO
    assert source.closed == 1


@pytest.mark.parametrize("name", ["aclose", "close"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_source_is_closed_by_what_it_has(name: str, *, is_async: bool) -> None:
    # A generator of a framework may have an `aclose` that is no coroutine; openai's
    # AsyncStream has an async `close`.
    closed: list[str] = []

    async def aclose() -> None:
        await asyncio.sleep(0)
        closed.append(name)

    class Plain:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in HELLO:
                yield piece

    source = Plain()
    setattr(source, name, aclose if is_async else lambda: closed.append(name))
    assert list_async(source, lambda _: None) == HELLO
    assert closed == [name]


@pytest.mark.parametrize("n_read", [0, 2])
def test_an_async_tee_that_is_dropped(n_read: int) -> None:
    source = Source(HELLO)
    finished = asyncio.Event()

    async def on_finish(_: Outcome[Any]) -> None:
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
    calls: list[Outcome[Any]] = []

    async def forever() -> AsyncIterator[bytes]:
        for piece in HELLO[:2]:
            yield piece
        running.set()
        await asyncio.Event().wait()

    async def on_finish(outcome: Outcome[Any]) -> None:
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
    assert calls[0].interrupted == "client"


def test_a_tee_that_is_made_outside_of_the_loop_is_closed_in_it() -> None:
    calls: list[Outcome[Any]] = []
    called = asyncio.Event()

    async def source() -> AsyncIterator[bytes]:
        for piece in HELLO:
            yield piece

    async def on_finish(outcome: Outcome[Any]) -> None:
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
    async def boom(_: Outcome[Any]) -> None:
        raise RuntimeError("boom")

    async def cancelled(_: Outcome[Any]) -> None:
        raise asyncio.CancelledError

    async def go() -> None:
        for on_finish in (boom, cancelled):
            assert [p async for p in atee(Source(HELLO), on_finish)] == HELLO

    asyncio.run(go())
    said = [record.message for record in caplog.records]
    assert said == ["on_finish raised", "on_finish was cancelled"]


def test_no_event_loop_of_asyncio_is_needed() -> None:
    # As under trio: what drives the coroutine is not asyncio.
    done: list[Outcome[Any]] = []

    class Plain:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for piece in HELLO:
                yield piece

    async def on_finish(outcome: Outcome[Any]) -> None:
        done.append(outcome)

    async def go() -> None:
        async for _ in atee(Plain(), on_finish):
            pass

    with pytest.raises(StopIteration):
        go().send(None)
    assert len(done) == 1


# --- Calls that can never work --------------------------------------------------------


async def later(_: Outcome[Any]) -> None: ...


class Later:
    async def __call__(self, _: Outcome[Any]) -> None: ...


class Takes:
    def none(self) -> None: ...

    def one(self, outcome: Outcome[Any]) -> None: ...

    def __call__(self, outcome: Outcome[Any], more: object = None) -> None: ...


def named(outcome: Any, *, name: str) -> None: ...


NOT_TO_BE_CALLED: dict[str, Any] = {
    "nothing": None,
    "no function": "print",
    "none": lambda: None,
    "two": lambda _, __: None,
    "one by name": named,
    "a method of none": Takes().none,
    "partial of one more": partial(named, 1),
    "partial of none more": partial(lambda _, __: None, 1, 2),
    "builtin": [].reverse,
}


@pytest.mark.parametrize("make", [tee, atee])
@pytest.mark.parametrize(
    "on_finish", NOT_TO_BE_CALLED.values(), ids=NOT_TO_BE_CALLED.keys()
)
def test_what_cannot_be_called_is_refused(make: Any, on_finish: Any) -> None:
    with pytest.raises(TypeError, match=r"on_finish\(outcome\)|cannot be called"):
        make(Source(HELLO), on_finish)


@pytest.mark.parametrize(
    "on_finish", [later, Later(), partial(later), Later().__call__]
)
def test_what_nothing_would_await_is_refused(on_finish: Any) -> None:
    with pytest.raises(TypeError, match="async"):
        tee(HELLO, on_finish)
    assert list_async(Source(HELLO), on_finish) == HELLO


TO_BE_CALLED: dict[str, Any] = {
    "any": lambda *_: None,
    "one or two": lambda _, __=None: None,
    "a method": Takes().one,
    "an object": Takes(),
    "partial by name": partial(named, name="a"),
    "partial": partial(lambda _, __: None, 1),
    "builtin": [].append,
    "builtin of any": print,
    "class": str,
}


@pytest.mark.parametrize("on_finish", TO_BE_CALLED.values(), ids=TO_BE_CALLED.keys())
def test_what_can_be_called_is_taken(on_finish: Any) -> None:
    assert list(tee(HELLO, on_finish)) == HELLO


@pytest.mark.parametrize(
    ("make", "source", "fix"),
    [
        (tee, "data: x", "one by one"),
        (tee, HELLO[0], "one by one"),
        (atee, HELLO[0], "one by one"),
        (tee, {"choices": []}, "one by one"),
        (tee, aiter(Source(HELLO)), "unstream.atee"),
        (atee, HELLO, "unstream.tee"),
        (atee, iter(HELLO), "unstream.tee"),
        (tee, None, "iterable"),
        (atee, None, "iterable"),
    ],
)
def test_what_gives_no_bytes_is_refused(make: Any, source: Any, fix: str) -> None:
    with pytest.raises(TypeError, match=fix):
        make(source, lambda _: None)


@pytest.mark.parametrize("make", [tee, atee])
def test_what_are_no_limits_is_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"Limits\(\)"):
        make(Source(HELLO), lambda _: None, limits={})


def test_what_was_not_awaited_is_refused() -> None:
    coroutine: Any = Later()(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="awaited"):
        atee(coroutine, lambda _: None)
    coroutine.close()


# --- Turns of the event loop ----------------------------------------------------------


def test_a_piece_that_stands_for_much_leaves_the_loop_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed = Fed(monkeypatch)
    calls: list[Outcome[Any]] = []

    async def read() -> None:
        pieces = [BOMB, packed(b""), packed(b": last\n\n")]
        out = atee(Source(pieces), calls.append, content_encoding="gzip")
        had = [sum(fed.turns) async for _ in out]
        # Who reads waits for one turn at most.
        assert [size <= at * MOST for at, size in enumerate(had)] == [True] * 3

    fed.run(read())
    assert max(fed.turns) <= MOST
    [outcome] = calls
    assert sum(fed.turns) == outcome.n_bytes == len(SPARSE) + len(b"".join(HELLO)) + 8
    assert outcome.unwrap().choices[0].message.text() == "Hello"


@pytest.mark.parametrize("coding", ["gzip", ""])
def test_no_more_than_so_much_is_put_off(
    monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    # A megabyte a piece: more than a turn of each would pile up.
    piece = packed(SPARSE[:100_000], level=0) * 10 if coding else SPARSE[:100_000] * 10
    fed, waiting = Fed(monkeypatch), []

    async def read() -> None:
        tap = Tap(lambda _: None, coding=coding)
        for _ in range(5):
            tap.hold(piece)
            waiting.append(tap._n_waiting)
            await tap.aread()
            waiting.append(tap._n_waiting)
        await tap.afinish()

    fed.run(read())
    assert sum(fed.turns) == 5_000_000
    assert max(waiting) <= len(piece) + 1024 * 1024 + 128
    assert waiting[1::2] < [1024 * 1024] * 5
    assert max(fed.turns) <= MOST


def test_what_was_put_off_is_read_although_the_reader_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fed, calls = Fed(monkeypatch), []
    ended = asyncio.Event()

    async def forever() -> AsyncIterator[bytes]:
        yield BOMB
        await asyncio.Event().wait()

    async def on_finish(outcome: Outcome[Any]) -> None:
        calls.append(outcome)
        await asyncio.sleep(0)
        assert NAME.get() == "request 3"
        ended.set()

    async def read() -> None:
        NAME.set("request 3")
        async for _ in atee(forever(), on_finish, content_encoding="gzip"):
            pass

    async def go() -> None:
        reader = asyncio.create_task(read())
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert not calls
        async with asyncio.timeout(5):
            await ended.wait()

    fed.run(go())
    assert max(fed.turns) <= MOST
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE]


def test_what_was_put_off_is_read_although_the_loop_ends() -> None:
    calls: list[Outcome[Any]] = []

    async def go() -> None:
        tap = Tap(calls.append, coding="gzip")
        tap.hold(BOMB)
        ending = asyncio.create_task(tap.afinish())
        await asyncio.sleep(0)
        ending.cancel()

    asyncio.run(go())
    assert [outcome.ending for outcome in calls] == [Ending.COMPLETE]


def test_members_that_stand_for_nothing_take_turns_too() -> None:
    # Twenty bytes each, that give none.
    empty = packed(b"") * 10_000

    async def go() -> int:
        tap = Tap(lambda _: None, coding="gzip")
        tap.hold(empty)
        n_turns = 1
        while tap.read_some():
            n_turns += 1
        return n_turns

    assert asyncio.run(go()) >= len(empty) // (16 * 1024)


def test_trio_takes_turns_and_runs_what_outlives_a_reader(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trio = pytest.importorskip("trio")
    fed, calls, ended = Fed(monkeypatch), [], trio.Event()

    async def tick() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            fed.turns.append(0)

    async def forever() -> AsyncIterator[bytes]:
        yield BOMB
        await trio.sleep_forever()

    async def on_finish(outcome: Outcome[Any]) -> None:
        await trio.sleep(0)
        calls.append(f"{outcome.ending} {NAME.get()}")
        ended.set()
        raise asyncio.CancelledError  # of something else

    async def go() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            NAME.set("request 4")
            with trio.CancelScope() as scope:
                async for _ in atee(forever(), on_finish, content_encoding="gzip"):
                    scope.cancel()
            assert scope.cancelled_caught
            with trio.fail_after(5):
                await ended.wait()
            # And where nothing is cancelled, the end waits for it.
            async for _ in atee(plain(), on_finish):
                assert len(calls) == 1
            assert len(calls) == 2
            nursery.cancel_scope.cancel()

    async def plain() -> AsyncIterator[bytes]:
        for piece in HELLO:
            yield piece

    trio.run(go)
    assert calls == ["complete request 4"] * 2
    assert max(fed.turns) <= MOST
    assert [record.message for record in caplog.records] == ["on_finish raised"] * 2


def test_an_interruption_of_the_process_feeds_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    feed, fed = Accumulator.feed, []

    def interrupted(accumulator: Accumulator[Any], data: bytes) -> None:
        feed(accumulator, data)
        fed.append(data)
        if len(fed) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Accumulator, "feed", interrupted)
    calls: list[Outcome[Any]] = []
    with pytest.raises(KeyboardInterrupt):
        list(tee(HELLO, calls.append))
    assert fed == HELLO[:2]
    assert calls[0].n_bytes == len(b"".join(fed))


def test_trio_closes_what_is_left_open_at_its_end() -> None:
    trio = pytest.importorskip("trio")
    calls: list[Outcome[Any]] = []

    async def plain() -> AsyncIterator[bytes]:
        for piece in HELLO:
            yield piece

    async def on_finish(outcome: Outcome[Any]) -> None:
        calls.append(outcome)

    async def go() -> None:
        kept.append(atee(plain(), on_finish))
        await anext(kept[0])

    kept: list[Any] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        trio.run(go)
    assert [outcome.interrupted for outcome in calls] == ["client"]


def test_trio_tells_of_a_callback_that_its_end_cuts_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trio = pytest.importorskip("trio")

    async def forever() -> AsyncIterator[bytes]:
        yield HELLO[0]
        await trio.sleep_forever()

    async def on_finish(_: Outcome[Any]) -> None:
        await trio.sleep_forever()

    async def go() -> None:
        with trio.move_on_after(0.01):
            async for _ in atee(forever(), on_finish):
                pass

    trio.run(go)
    assert [record.message for record in caplog.records] == ["on_finish was cancelled"]


# --- The tap --------------------------------------------------------------------------


def test_finish_calls_once() -> None:
    calls: list[Outcome[Any]] = []
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

    def broken(self: Accumulator[Any], data: bytes) -> None:
        if b"lo" in data:
            raise MemoryError
        feed(self, data)

    monkeypatch.setattr(Accumulator, "feed", broken)
    calls: list[Outcome[Any]] = []
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
    calls: list[Outcome[Any]] = []
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
    calls: list[Outcome[Any]] = []
    list(tee([b"", b""], calls.append))
    assert calls[0].timing is not None
    assert calls[0].timing.first_byte is None
    assert calls[0].timing.total > 0


def test_times_are_those_of_the_arrival_and_not_of_a_slow_reader() -> None:
    calls: list[Outcome[Any]] = []
    tap = Tap(calls.append)
    tap.hold(HELLO[1])
    arrived = time.perf_counter() - tap._start
    tap.hold(b": x\n\n")
    tap.finish()
    assert calls[0].timing is not None
    first_byte = calls[0].timing.first_byte
    assert first_byte is not None
    assert calls[0].timing.first_content == first_byte < arrived


def test_an_undecoded_body_says_so_when_it_is_unwrapped() -> None:
    calls: list[Outcome[Any]] = []
    assert list(tee(HELLO, calls.append, content_encoding="x")) == HELLO
    with pytest.raises(EmptyStream, match="x was not decoded"):
        calls[0].unwrap()


def test_a_body_that_breaks_after_its_finish_reason_is_not_complete() -> None:
    from tests.adapters.upstream import encoded

    pieces = encoded(HELLO, "gzip")
    pieces[-2] = b"\xff" * 30
    calls: list[Outcome[Any]] = []
    list(tee(pieces, calls.append, content_encoding="gzip"))
    assert calls[0].completion is not None
    assert calls[0].completion.choices[0].finish_reason == "stop"
    assert calls[0].ending is Ending.TRUNCATED


def test_limits_reach_the_fold() -> None:
    calls: list[Outcome[Any]] = []
    list(tee(HELLO, calls.append, limits=Limits(stream_bytes=10)))
    assert calls[0].ending is Ending.LIMIT


def test_what_is_watched() -> None:
    assert is_watched(200, "text/event-stream")
    assert is_watched(206, "Text/Event-Stream ; charset=utf-8")
    assert is_watched(200, "application/json")
    assert not is_watched(200, "")
    assert not is_watched(200, "application/x-ndjson")
    assert not is_watched(302, "application/json")
    assert is_watched(400, "")
    assert is_watched(429, "application/json")
    assert is_watched(599, "text/html")


def test_what_is_an_inference() -> None:
    for path in (
        "/v1/chat/completions",
        "/openai/deployments/gpt/chat/completions/",
        "/v1/completions",
        "/anthropic/v1/messages",
        "/v1/responses",
        "/v1beta/models/m:generateContent",
        "/v1beta/models/m:streamGenerateContent",
    ):
        assert is_inference("POST", path)
        assert not is_inference("GET", path)
    for path in (
        "/v1/chat/completions/123",
        "/v1/messages/count_tokens",
        "/v1/responses/1/cancel",
        "/v1beta/models/m:countTokens",
        "/v1/embeddings",
    ):
        assert not is_inference("POST", path)


def test_a_guard_lets_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    def boom(_: int) -> bool:
        raise asyncio.CancelledError

    assert guard(boom)(1) is None
    assert caplog.records[0].exc_info is not None
    assert guard(len)("ab") == 2
