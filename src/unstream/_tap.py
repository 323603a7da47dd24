"""The tap: watch the bytes of one response go by, and say in the end what they were.

This module knows which responses are watched, the clock, and how to keep out of the
way; not where the bytes come from nor how they are handed on.

Strategy: an adapter calls `hold` with a piece, hands the piece on, and then calls
`read`, so that the client never waits for the fold. Whatever goes wrong in here or in
the callback is logged and goes no further.
"""

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import wraps
from sys import exc_info
from time import perf_counter
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import msgspec

from unstream._accumulator import Accumulator
from unstream._coding import Body, Undecodable
from unstream._outcome import Limits
from unstream._outcome import Ending, Outcome, Timing

__all__ = ["Tap", "guard", "is_chat", "is_watched", "refuse_async"]

OnFinish: TypeAlias = Callable[[Outcome], Any]
P = ParamSpec("P")
T = TypeVar("T")

_WATCHED: Final = ("text/event-stream", "application/json")
_OK: Final = 200
_CO_COROUTINE: Final = 0x80  # as in `inspect`, which takes 5 ms to import

# The callbacks that are running: asyncio itself keeps but weak references to tasks.
_running: Final[set[Any]] = set()


def is_watched(status: int, content_type: str) -> bool:
    """Say whether a response may be a chat completion, streamed or whole.

    An error's body is none: other statuses than 200 are not watched.
    """
    kind = content_type.partition(";")[0].strip().lower()
    return status == _OK and kind in _WATCHED


def is_chat(method: str, path: str) -> bool:
    """Say whether a request asks for a chat completion, as every server has it.

    Azure and the gateways put things before this end of the path, never behind it.
    Without this, any other JSON that goes by would be held and reported as empty.
    """
    return method == "POST" and path.rstrip("/").endswith("/chat/completions")


def guard(function: Callable[P, T]) -> Callable[P, T | None]:
    """Make a function log what it raises, and return None in its place.

    For what runs in the way of the data: a response about which it raises is not
    watched.
    """

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except Exception:  # the observer never breaks the observed
            _log("a response is not watched")
            return None

    return guarded


def refuse_async(function: Callable[..., Any]) -> None:
    """Raise TypeError for an async function where nothing would await it."""
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & _CO_COROUTINE:
        raise TypeError(f"{function!r} is async, and nothing here awaits it")


class Tap:
    """Watch one response; call back with its outcome, once.

    `on_finish` runs in the context (contextvars) in which the tap was made. `coding` is
    the value of `Content-Encoding`. Times count from `start`, a reading of
    `time.perf_counter`, now by default.
    """

    __slots__ = (
        "_accumulator",
        "_arrival",
        "_body",
        "_context",
        "_first_byte",
        "_first_content",
        "_held",
        "_is_blind",
        "_on_finish",
        "_start",
        "_task",
        "_undecoded",
    )

    def __init__(
        self,
        on_finish: OnFinish,
        *,
        limits: Limits | None = None,
        coding: str = "",
        start: float | None = None,
    ) -> None:
        self._start = perf_counter() if start is None else start
        self._on_finish: OnFinish | None = on_finish
        self._context = copy_context()
        limits = limits or Limits()
        self._accumulator = Accumulator(limits=limits)
        self._body: Body | None = None
        self._held: Any = None
        self._is_blind = False  # nothing that still comes can be read
        self._undecoded: str | None = None
        self._task: Any = None  # the async callback
        self._arrival = 0.0
        self._first_byte: float | None = None
        self._first_content: float | None = None
        if coding:
            try:
                self._body = Body(coding, limit=limits.stream_bytes)
            except Undecodable as error:
                self._lose(error)

    def hold(self, piece: Any) -> None:
        """Note the next piece, which came just now: bytes, or a parsed chunk.

        Never raises.
        """
        if self._on_finish is None or (self._is_blind and self._first_byte is not None):
            return
        try:
            self.read()
            if isinstance(piece, bytearray | memoryview):
                piece = memoryview(piece).tobytes()  # it may change before it is read
            if isinstance(piece, bytes) and not piece:
                return
            self._held = piece
            self._arrival = perf_counter() - self._start
            if self._first_byte is None:
                self._first_byte = self._arrival
        except Exception as error:  # as above
            self._lose(error)

    def read(self) -> None:
        """Fold the piece that is held. Never raises."""
        piece, self._held = self._held, None
        if self._is_blind or piece is None:
            return
        try:
            if not isinstance(piece, bytes):
                self._accumulator.add(piece)
                self._look()
            elif self._body is None:
                self._feed(piece)
            else:
                for data in self._body.decode(piece):
                    self._feed(data)
        except Exception as error:  # as above
            self._lose(error)

    def finish(self) -> None:
        """End the watch and call back, the first time that it is called.

        Never raises. An `on_finish` that must be awaited is none for here; that is
        logged.
        """
        later = self._call()
        # A task runs by itself; a coroutine was not started.
        if callable(close := getattr(later, "close", None)):
            close()
            _log("on_finish is async where nothing awaits it; it did not run")

    async def afinish(self) -> None:
        """Do the same, and await what `on_finish` returns if it can be awaited.

        It runs in a task of its own, so that it comes to its end even where the task
        that calls this is cancelled: then nothing waits for it here. Another call, by
        who was not cancelled, does. Raises nothing but that cancellation.
        """
        later = self._call()
        if later is None and self._task is None:
            return
        import asyncio  # noqa: PLC0415 - it is there already, if anything runs in it

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio has no tasks that outlive their scope
            if later is not None:
                await _settle(later)
            return
        if later is not None:
            self._task = loop.create_task(_settle(later), context=self._context)
            _running.add(self._task)
            self._task.add_done_callback(_end)
        current = asyncio.current_task()
        if self._task.done() or (current is not None and current.cancelling()):
            return
        await asyncio.wait((self._task,))  # which, cancelled, leaves the task alone

    def _feed(self, data: bytes) -> None:
        self._accumulator.feed(data)
        self._look()

    def _look(self) -> None:
        if self._first_content is None and self._accumulator.has_content:
            self._first_content = self._arrival

    def _lose(self, error: Exception) -> None:
        self._is_blind = True
        if isinstance(error, Undecodable):
            self._undecoded = error.coding
        else:
            self._accumulator = Accumulator()  # half a fold may be a wrong one
            _log("a response could not be watched; its outcome is empty")

    def _call(self) -> Awaitable[Any] | None:
        on_finish, self._on_finish = self._on_finish, None
        if on_finish is None:
            return None
        self.read()
        outcome = self._judge()
        try:
            later = self._context.run(on_finish, outcome)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a CancelledError, which is of something else
            _log("on_finish raised")
            return None
        return later if isinstance(later, Awaitable) else None

    def _judge(self) -> Outcome:
        try:
            outcome = self._accumulator.finish()
            self._look()
        except Exception as error:  # as above
            self._lose(error)
            outcome = self._accumulator.finish()
        ending = outcome.ending
        if self._undecoded and ending is Ending.COMPLETE and not outcome.done:
            ending = Ending.TRUNCATED  # there was more, which could not be read
        timing = Timing(
            first_byte=self._first_byte,
            first_content=self._first_content,
            total=perf_counter() - self._start,
        )
        return msgspec.structs.replace(
            outcome, ending=ending, timing=timing, undecoded=self._undecoded
        )


async def _settle(later: Awaitable[Any]) -> None:
    try:
        await later
    except Exception:  # as above
        _log("on_finish raised")


def _end(task: Any) -> None:
    _running.discard(task)
    if task.cancelled():
        _log("on_finish was cancelled")


def _log(message: str) -> None:
    import logging  # noqa: PLC0415 - dearer to import than all of this package

    logging.getLogger("unstream").error(message, exc_info=exc_info()[0] is not None)
