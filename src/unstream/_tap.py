"""The tap: watch the bytes of one response go by, and say in the end what they were.

This module knows which responses are watched, the clock, the event loops, and how to
keep out of the way; not where the bytes come from nor how they are handed on.
"""

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import Context, copy_context
from functools import partial, wraps
from time import perf_counter
from types import FunctionType, MethodType
from typing import Any, Final, Literal, ParamSpec, TypeAlias, TypeVar

import msgspec

from unstream._accumulator import Accumulator
from unstream._coding import Body, Undecodable
from unstream._detect import ANY
from unstream._outcome import Ending, Limits, Outcome
from unstream._protocol import Protocol
from unstream._timing import Timing

__all__ = [
    "Tap",
    "check_callable",
    "check_limits",
    "guard",
    "is_inference",
    "is_watched",
    "log",
]

# Operations we want to support:
# - note data when it came, before it is handed on (`hold`)
# - fold it after it was handed on: all of it (`read`), or as much as fits into a turn
#   of an event loop (`read_some`, and `aread` where that leaves too much)
# - call back, once, whatever becomes of the response (`finish`, `afinish`)
# Goals:
# - who reads never waits for the fold
# - who shares the event loop waits for one turn of it at most
# - nothing that was handed on is missing from the outcome
# - memory is bounded
# - nothing that goes wrong in here, or in the callback, is raised into the traffic
# Plan:
# - keep what came in a queue, each with the time of its arrival; decode and feed it a
#   slice at a time, and put off what goes beyond the turn until the next data has been
#   handed on, or the end
# - where the queue is full, read on before the next data is asked for, with a turn of
#   the loop between the slices: then this one response goes at the pace of its fold
# - at the end read what is left, with turns, then call back; what outlives a cancelled
#   reader runs in a task of its own
# WARNING:
# - what one `feed` costs has no bound in here: a byte of the worst streams known takes
#   half a microsecond, of ordinary ones 2 to 12 nanoseconds
# - parsed chunks are read before they are handed on: who gets them may change them
# - KeyboardInterrupt and SystemExit pass, even from in here: they are of the process

OnFinish: TypeAlias = Callable[[Outcome[Any]], Any]
Side: TypeAlias = Literal["client", "upstream"]
_Work: TypeAlias = Coroutine[Any, Any, None]
_Wait: TypeAlias = Callable[[], Awaitable[None]]
P = ParamSpec("P")
T = TypeVar("T")

# A turn of the loop: 8 ms of the worst stream, 0.2 ms of an ordinary one. Data that is
# larger is cut.
_TURN: Final = 16 * 1024
# What an empty slice counts of it: 4 KiB may have been taken in that gave nothing, such
# as empty members of gzip.
_LEAST: Final = 4 * 1024
# How much may wait to be read. Ordinary streams leave nothing: a turn takes more than
# a piece brings.
_WAITING: Final = 1024 * 1024
_ITEM: Final = 128  # what Python holds for each piece besides its bytes
# An error that is no JSON is a page of HTML or a line of text; what it says stands at
# its beginning.
_PAGE: Final = 64 * 1024

_ANSWERS: Final = ("text/event-stream", "application/json")
_PATHS: Final = ("/completions", "/messages", "/responses")
_METHODS: Final = (":generateContent", ":streamGenerateContent")
_OK: Final = range(200, 300)
_FAILED: Final = 400
_MUTABLE: Final = (bytearray, memoryview)
_FATAL: Final = (KeyboardInterrupt, SystemExit)
# As in `inspect`, which takes 5 ms to import.
_CO_VARARGS: Final = 0x04
_CO_COROUTINE: Final = 0x80

_RAISED: Final = "on_finish raised"

# The callbacks that are running: asyncio itself keeps but weak references to tasks.
_running: Final[set[Any]] = set()


# --- What is watched ------------------------------------------------------------------


def is_inference(method: str, path: str) -> bool:
    """Say whether a request asks a model for an answer, by the path of its URL.

    Gateways put things before this end of a path, never behind it: a POST to
    `/chat/completions` and `/completions`, `/messages`, `/responses`, or
    `/models/NAME:generateContent` and `:streamGenerateContent`. Without this, any other
    JSON that goes by would be held and reported as empty.
    """
    return method == "POST" and (
        path.rstrip("/").endswith(_PATHS) or any(name in path for name in _METHODS)
    )


def is_watched(status: int, content_type: str) -> bool:
    """Say whether a response to such a request is an answer, or says why there is none.

    An answer has a status of 2xx and is an event stream or JSON. What failed, 4xx and
    5xx, is watched whatever it is.
    """
    if status in _OK:
        return _kind(content_type) in _ANSWERS
    return status >= _FAILED


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


# --- Keeping out of the way -----------------------------------------------------------


def guard(function: Callable[P, T]) -> Callable[P, T | None]:
    """Make a function log what it raises, and return None in its place.

    For what runs in the way of the data: an exchange about which it raises is not
    watched, or without what it would have noted.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except _FATAL:
            raise
        except BaseException:  # the observer never breaks the observed
            log("an exchange is not watched, or not wholly")
            return None

    return guarded


def check_callable(call: str, function: Any, *, awaited: bool = False) -> None:
    """Raise TypeError for a callback that can never work.

    `call` is how it will be called, such as "on_finish(outcome)"; `awaited` says
    whether something awaits what it returns.
    """
    name = call.partition("(")[0]
    if not callable(function):
        raise TypeError(f"{name} is a function, called as {call}, not {function!r}")
    if not awaited and _is_async(function):
        raise TypeError(
            f"{function!r} is async, and nothing here awaits it: {name} must be sync"
        )
    n = call.count(",") + 1
    if not _takes(function, n):
        raise TypeError(f"{function!r} cannot be called as {call}")


def check_limits(limits: Any) -> None:
    """Raise TypeError for what are no limits, before there is a stream."""
    Accumulator(limits=limits)


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    if not hasattr(function, "__code__") and not isinstance(function, type):
        function = type(function).__call__
    code = getattr(function, "__code__", None)
    return code is not None and bool(code.co_flags & _CO_COROUTINE)


def _takes(function: Any, n: int) -> bool:
    """Say whether a function can be called with `n` positional arguments."""
    bound = isinstance(function, MethodType)
    plain = function.__func__ if bound else function
    if not isinstance(plain, FunctionType):
        import inspect  # noqa: PLC0415 - 5 ms, which the usual function does not need

        try:
            signature = inspect.signature(function, follow_wrapped=False)
        except (TypeError, ValueError):
            return True  # some builtins do not tell
        try:
            signature.bind(*[None] * n)
        except TypeError:
            return False
        return True
    code = plain.__code__
    most = code.co_argcount - bound
    least = most - len(plain.__defaults__ or ())
    return (
        least <= n
        and (n <= most or bool(code.co_flags & _CO_VARARGS))
        and code.co_kwonlyargcount <= len(plain.__kwdefaults__ or ())
    )


def log(message: str, error: BaseException | None = None) -> None:
    """Log an error, and what was raised or is being handled. Never raises."""
    try:
        import logging  # noqa: PLC0415 - dearer to import than all of this package

        error = error or sys.exception()
        logging.getLogger("unstream").error(message, exc_info=error)
    except _FATAL:
        raise
    except BaseException:  # noqa: S110 - a handler of the user's; there is no one to tell
        pass


# --- The tap --------------------------------------------------------------------------


class Tap:
    """Watch one response; call back with its outcome, once.

    `on_finish` runs in the context (contextvars) in which the tap was made. `coding`
    and `content_type` are the values of these headers, where they are known: of an
    error that is neither an event stream nor JSON the first 64 KiB are read. `protocol`
    goes to the accumulator, which else tells it by the shape. Times count from `start`,
    a reading of `time.perf_counter`, now by default.

    `interrupted` says who ends the exchange: the client, until the adapter sets it to
    "upstream", or to None where the body came to its end. The outcome has None, too,
    where the stream had said that it was over, or may have in what was not read.
    """

    __slots__ = (
        "_accumulator",
        "_arrival",
        "_body",
        "_context",
        "_first_byte",
        "_is_blind",
        "_is_plain",
        "_make",
        "_n_waiting",
        "_on_finish",
        "_queue",
        "_room",
        "_slices",
        "_start",
        "_undecoded",
        "_wait",
        "interrupted",
    )

    def __init__(  # noqa: PLR0913 - what an adapter knows of a response
        self,
        on_finish: OnFinish,
        *,
        limits: Limits | None = None,
        protocol: Protocol[Any] = ANY,
        coding: str = "",
        content_type: str | None = None,
        start: float | None = None,
    ) -> None:
        self._start = perf_counter() if start is None else start
        self._on_finish: OnFinish | None = on_finish
        self._context = copy_context()
        limits = Limits() if limits is None else limits
        self._make: Callable[[], Accumulator[Any]]
        self._make = partial(
            Accumulator, protocol=protocol, limits=limits, clock=self._tell
        )
        self._arrival = 0.0  # of what is read, since `start`
        self._accumulator = self._make()
        self._body: Body | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._slices: Iterator[bytes] | None = None  # what is left of its first
        self._n_waiting = 0
        self._is_blind = False  # nothing that still comes can be read
        self._undecoded: str | None = None
        self._wait: _Wait | None = None  # for the callback
        self._first_byte: float | None = None  # decoded or not
        self.interrupted: Side | None = "client"
        # How many bytes more are read, where that is bounded.
        self._room: int | None = None
        if content_type is not None and _kind(content_type) not in _ANSWERS:
            self._room = _PAGE
        self._is_plain = self._room is None and not coding
        if coding:
            try:
                self._body = Body(coding, limit=limits.stream_bytes)
            except Undecodable as error:
                self._lose(error)

    def hold(self, data: Any) -> None:
        """Note the next data, which came just now: bytes, or a parsed chunk.

        Never raises.
        """
        if self._on_finish is None:
            return
        try:
            if isinstance(data, _MUTABLE):
                data = memoryview(data).tobytes()  # it may change before it is read
            is_chunk = not isinstance(data, bytes)
            if not (is_chunk or data):
                return
            arrival = perf_counter() - self._start
            if self._first_byte is None:
                self._first_byte = arrival
            if self._is_blind:
                return
            if is_chunk:
                self.read()
                self._arrival = arrival
                self._accumulator.add(data)
            else:
                self._queue.append((arrival, data))
                self._n_waiting += len(data) + _ITEM
        except _FATAL:
            raise
        except BaseException as error:  # as above
            self._lose(error)

    def read(self) -> None:
        """Fold what is held. Never raises."""
        while self.read_some():
            pass

    def read_some(self) -> bool:
        """Fold what fits into a turn of a loop; say whether more is left.

        Where it is, an async adapter awaits `aread`. Never raises.
        """
        queue, room = self._queue, _TURN
        try:
            while queue and room > 0:
                self._arrival, data = queue[0]
                size = len(data)
                if self._is_plain and size <= _TURN:  # as nearly all that comes
                    self._drop(data)
                    self._accumulator.feed(data)
                    room -= size
                else:
                    room -= self._read_slice(data)
        except _FATAL:
            raise
        except BaseException as error:  # as above
            self._lose(error)
        return bool(queue)

    async def aread(self) -> None:
        """Go on, with turns of the loop, where too much is left to be put off.

        Raises nothing but the cancellation of what it runs in.
        """
        while self._n_waiting > _WAITING:
            await _turn()
            self.read_some()

    def finish(self) -> None:
        """End the watch and call back, the first time that it is called.

        Never raises. An `on_finish` that must be awaited is none for here; that is
        logged.
        """
        later = self._enter()
        # A task runs by itself; a coroutine was not started.
        if callable(close := getattr(later, "close", None)):
            close()
            log("on_finish is async where nothing awaits it; it did not run")

    async def afinish(self) -> None:
        """Do the same, and await what `on_finish` returns if it can be awaited.

        What takes longer than this turn runs in a task of its own, so that it comes to
        its end even where the task that calls this is cancelled: then nothing waits for
        it here. Another call, by who was not cancelled, does. Raises nothing but that
        cancellation.
        """
        if self._wait is None:
            work: _Work
            if self.read_some():
                work = self._catch_up()
            elif (later := self._enter()) is not None:
                work = _settle(later)
            else:
                return
            self._wait = _spawn(work, self._context, self._cut_off)
            if self._wait is None:
                await _stay(work, self._cut_off)
                return
        await self._wait()

    # --- Reading ----------------------------------------------------------------------

    def _read_slice(self, data: bytes) -> int:
        """Feed a slice of what came first; return what it counts of a turn."""
        if self._slices is None:
            self._slices = self._cut(data)
        piece = next(self._slices, None)
        if piece is None:
            self._slices = None
            self._drop(data)
            return 0
        if self._room is not None:
            piece = piece[: self._room]
            self._room -= len(piece)
        if piece:
            self._accumulator.feed(piece)
        if self._room == 0:
            self._give_up()
        return len(piece) or _LEAST

    def _drop(self, data: bytes) -> None:
        self._queue.popleft()
        self._n_waiting -= len(data) + _ITEM

    def _cut(self, data: bytes) -> Iterator[bytes]:
        if self._body is not None:
            return self._body.decode(data)
        starts = range(0, len(data), _TURN)
        return (data[start : start + _TURN] for start in starts)

    def _tell(self) -> float:
        """Tell the accumulator the time: when that came which is read only now."""
        return self._arrival

    def _give_up(self) -> None:
        self._is_blind = True
        self._slices = None
        self._queue.clear()
        self._n_waiting = 0

    def _lose(self, error: BaseException) -> None:
        self._give_up()
        if isinstance(error, Undecodable):
            self._undecoded = error.coding
        else:
            self._arrival = 0.0
            self._accumulator = self._make()  # half a fold may be a wrong one
            log("a response could not be watched; its outcome is empty")

    # --- The end ----------------------------------------------------------------------

    def _enter(self) -> Awaitable[Any] | None:
        if self._on_finish is None:  # the callback itself may come by here again
            return None
        try:
            return self._context.run(self._call)
        except RuntimeError:  # it is entered: `_catch_up` was cut off
            return self._call()

    async def _catch_up(self) -> None:
        """Read what is left, with turns of the loop, and call back."""
        while self._queue:
            await _turn()
            self.read_some()
        if (later := self._call()) is not None:
            await later

    def _cut_off(self) -> None:
        # The loop ends: what is left is read at once, for there is no later.
        if self._on_finish is None:
            log("on_finish was cancelled")
        else:
            self.finish()

    def _call(self) -> Awaitable[Any] | None:
        on_finish, self._on_finish = self._on_finish, None
        if on_finish is None:
            return None
        self.read()
        outcome = self._judge()
        try:
            later = on_finish(outcome)
        except _FATAL:
            raise
        except BaseException:  # a CancelledError, which is of something else
            log(_RAISED)
            return None
        return later if isinstance(later, Awaitable) else None

    def _judge(self) -> Outcome[Any]:
        total = perf_counter() - self._start
        try:
            self._arrival = total
            outcome = self._accumulator.finish()
        except _FATAL:
            raise
        except BaseException as error:  # as above
            self._lose(error)
            outcome = self._accumulator.finish()
        ending, interrupted = outcome.ending, self.interrupted
        if self._undecoded and ending is Ending.COMPLETE and not outcome.done:
            ending = Ending.TRUNCATED  # there was more, which could not be read
        if outcome.done or ending in (Ending.COMPLETE, Ending.ERROR):
            interrupted = None  # it was over
        elif interrupted == "client" and (self._is_blind or outcome.limit):
            interrupted = None  # it may have been over, where nothing was read
        timing = msgspec.structs.replace(
            outcome.timing or Timing(total=0.0),
            first_byte=self._first_byte,
            total=total,
        )
        return msgspec.structs.replace(
            outcome,
            ending=ending,
            timing=timing,
            undecoded=self._undecoded,
            interrupted=interrupted,
        )


# --- Event loops ----------------------------------------------------------------------


def _trio() -> Any:
    """Return trio where it runs what is running, else None; import nothing.

    It may be a guest in a loop of asyncio, so it is asked first.
    """
    trio: Any = sys.modules.get("trio")
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):
        return None
    return trio


def _asyncio() -> Any:
    """Return asyncio where it runs what is running, else None; import nothing."""
    asyncio: Any = sys.modules.get("asyncio")
    try:
        asyncio.get_running_loop()
    except (AttributeError, RuntimeError):
        return None
    return asyncio


async def _turn() -> None:
    """Let the others in the event loop run."""
    if (trio := _trio()) is not None:
        await trio.lowlevel.checkpoint()
    elif (asyncio := _asyncio()) is not None:
        await asyncio.sleep(0)


def _spawn(work: _Work, context: Context, cut_off: Callable[[], None]) -> _Wait | None:
    """Run something by itself, and return what waits for it.

    Return None where there is no loop, or none that takes tasks any more. `cut_off` is
    called where it is cancelled.
    """
    if (trio := _trio()) is not None:
        try:
            return _spawn_in_trio(trio, work, context, cut_off)
        except RuntimeError:  # the nursery is closed: trio is at its end
            return None
    if (asyncio := _asyncio()) is not None:
        return _spawn_in_asyncio(asyncio, work, context, cut_off)
    return None


def _spawn_in_trio(
    trio: Any, work: _Work, context: Context, cut_off: Callable[[], None]
) -> _Wait:
    done = trio.Event()

    async def run() -> None:
        try:
            await work
        except trio.Cancelled:
            cut_off()
            raise
        except _FATAL:
            raise
        except BaseException:  # which would end trio itself
            log(_RAISED)
        finally:
            done.set()

    # A system task: no scope of the request cancels it.
    trio.lowlevel.spawn_system_task(run, context=context)
    wait: _Wait = done.wait
    return wait


def _spawn_in_asyncio(
    asyncio: Any, work: _Work, context: Context, cut_off: Callable[[], None]
) -> _Wait:
    task = asyncio.get_running_loop().create_task(work, context=context)

    def end(_: Any) -> None:
        _running.discard(task)
        if task.cancelled():
            cut_off()
        elif (error := task.exception()) is not None:
            log(_RAISED, error)

    async def wait() -> None:
        current = asyncio.current_task()
        if not (task.done() or (current is not None and current.cancelling())):
            await asyncio.wait((task,))  # which, cancelled, leaves the task alone

    _running.add(task)
    task.add_done_callback(end)
    return wait


async def _stay(work: _Work, cut_off: Callable[[], None]) -> None:
    """Run something here."""
    trio = _trio()
    cancelled = (GeneratorExit,) if trio is None else (GeneratorExit, trio.Cancelled)
    try:
        await work
    except cancelled:
        cut_off()
        raise
    except _FATAL:
        raise
    except BaseException:
        log(_RAISED)


async def _settle(later: Awaitable[Any]) -> None:
    await later
