"""The accumulator: bytes in, a verdict and a completion out.

This module joins framing, protocol and verdict: it knows what may come instead of a
payload (a blank, `[DONE]`, an announced error, what is no JSON, a body that is no
stream) and how the ending is told; not what any payload means.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from unstream._detect import ANY, Detector, claim, detect
from unstream._fast import FastPath
from unstream._json import Json, Malformed, dump, encode, is_prefix, mend, parse
from unstream._outcome import Completion, Ending, Limits, Outcome, StreamFinished
from unstream._protocol import Fold, Protocol
from unstream._timing import Timing, Watch
from unstream.chat import PROTOCOL, ChatCompletion
from unstream.sse import BytesLike, Event, Run

if TYPE_CHECKING:
    from unstream._events import Event as LiveEvent
    from unstream._live import Log

__all__ = ["Accumulator"]

T = TypeVar("T", bound=Completion)

# A feed is read in blocks, so that the payloads of one block, not of a whole capture,
# are held beside it: 64 KiB is what most transports hand out at once.
_BLOCK: Final = 64 * 1024
# Feeds below _SMALL bytes are held, to be read together: _HELD of them at most, and of
# larger ones as many as make up _ROOM bytes. That is 96 events of 340 bytes, which are
# read in some 40 microseconds.
_SMALL: Final = 4096
_HELD: Final = 96
_ROOM: Final = 32 * 1024

# Of what the first bytes are kept, to say what a foreign stream is.
_FIRST: Final = 4096

_SPACE: Final = b" \t\r\n"
_LF: Final = ord("\n")
_CR: Final = ord("\r")
_OPEN: Final = ord("{")
_CLOSE: Final = ord("}")
_AFTER_OPEN: Final = b'"} \t'  # of an object
# Half a pair, for certain; to find one that stands otherwise takes five times as long.
_HALF: Final = re.compile(rb"(?<!\\)\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])")
_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"[\r\n]")
_DONE: Final = b"[DONE]"


class Accumulator(Generic[T]):
    """Fold one stream, fed as bytes at any cut.

    The result depends on the concatenation of what was fed, not on the cuts. Keywords:
    `protocol`, what the stream is of (chat completions by default); `limits`, the
    bounds of what is held; `fast=False` leaves out the fast path, which changes the
    speed and nothing else; `events=True` lets `feed` and `add` return what is new, as
    events, see `events`; `clock`, a function that returns seconds such as
    `time.monotonic`, sets `Outcome.timing`. It is called once for each feed, at the
    beginning and at the end. Raises TypeError for arguments of other types.
    """

    __slots__ = (
        "_body",
        "_cut_off",
        "_decoder",
        "_detector",
        "_fast",
        "_first",
        "_fold",
        "_held",
        "_limits",
        "_log",
        "_most",
        "_n_bytes",
        "_n_malformed",
        "_outcome",
        "_protocol",
        "_watch",
    )

    @overload
    def __init__(
        self: "Accumulator[ChatCompletion]",
        *,
        limits: Limits | None = None,
        fast: bool = True,
        events: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        protocol: Protocol[T],
        limits: Limits | None = None,
        fast: bool = True,
        events: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None: ...
    def __init__(
        self,
        *,
        protocol: Protocol[Any] = PROTOCOL,
        limits: Limits | None = None,
        fast: bool = True,
        events: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """Begin a stream of a protocol."""
        if limits is None:
            limits = _LIMITS
        elif not isinstance(limits, Limits):
            kind = type(limits).__name__
            raise TypeError(f"limits is a Limits(...), such as Limits(), not {kind}")
        if not isinstance(protocol, Protocol):
            kind = type(protocol).__name__
            raise TypeError(f"protocol is one such as chat.PROTOCOL, not {kind}")
        if clock is not None and not callable(clock):
            kind = type(clock).__name__
            raise TypeError(f"clock is a function such as time.monotonic, not {kind}")
        self._limits = limits
        self._watch = None if clock is None else Watch(clock)
        # What is told of each event is told when it came, not of many at once.
        self._log: Log | None = _begin_log() if events else None
        self._fast = FastPath() if fast and not events else None
        # What finds out the protocol, until it is found.
        self._detector: Detector | None = None
        if protocol is ANY:
            self._detector, protocol = Detector(), PROTOCOL
        self._begin(protocol)
        self._held: list[bytes] = []
        self._most = 1 if events else _HELD  # as many as are held at a time
        # The input so far, while it may be one JSON object instead of events.
        self._body: bytearray | None = bytearray()
        self._first = b""  # what the stream began with
        self._n_bytes = 0
        self._n_malformed = 0
        self._cut_off = False  # the input ended inside a payload
        self._outcome: Outcome[T] | None = None

    def _begin(self, protocol: Protocol[Any]) -> None:
        self._protocol = protocol
        limits, log = self._limits, self._log
        self._fold: Fold[T] = (
            protocol.fold(limits) if log is None else _begin_live(protocol, limits, log)
        )
        if self._watch is not None:
            self._fold.listens = True
        self._decoder = protocol.framing(limit=limits.event_bytes, error_field=True)

    def __repr__(self) -> str:
        n_bytes = self._n_bytes + sum(map(len, self._held))
        state = "open" if self._outcome is None else self._outcome.ending
        return f"<Accumulator {self._protocol.name}: {state}, {n_bytes} bytes>"

    def feed(self, data: BytesLike) -> Sequence["LiveEvent"]:
        """Take the next bytes of the stream, bytes-like, cut anywhere.

        Return the events that this brought; none unless they were asked for. Nothing
        that the stream contains raises; `finish` tells. Raises TypeError where `data`
        is not bytes-like, StreamFinished after `finish`.
        """
        if self._outcome is not None:
            raise StreamFinished("fed after finish: a stream has an accumulator")
        if type(data) is not bytes:
            data = _copy(data)  # what is mutable may change before long
        # Small feeds are held and read together: what is done once for a block then
        # costs an event next to nothing.
        held = self._held
        held.append(data)
        if (watch := self._watch) is not None:
            watch.stamps.append(watch.clock())
        if len(held) >= self._most or len(data) >= _SMALL:
            self._read()
            if self._log is not None:
                return self._log.take()
        return ()

    def add(self, chunk: Any) -> Sequence["LiveEvent"]:
        """Take a chunk that was parsed already, in place of its bytes.

        A mapping, or an object that makes one by `model_dump()` (pydantic, as in
        `openai`, `anthropic` and `google.genai`) or `to_dict()`; or a message of a
        WebSocket, parsed. Return what `feed` does. Raises TypeError for anything else,
        StreamFinished after `finish`.
        """
        if self._outcome is not None:
            raise StreamFinished("added after finish: a stream has an accumulator")
        self._read()
        sent = _mapping(chunk)
        if self._detector is not None:
            self._decide(claim(sent))
        try:
            data = encode(sent)
        except RecursionError:
            data = b"{"  # too deep to be read as bytes, too
        self._body = None
        if not self._first and len(data) < _FIRST:
            self._first = b"data: " + data + b"\n\n"
        if (watch := self._watch) is not None:
            watch.stamps.append(watch.clock())
        before = self._fold.n_events
        self._take(Event("message", data))
        if watch is not None:
            times = watch.take()
            watch.meet("first_byte", times[0])
            self._note_times(watch, times, [1], before)
        return () if self._log is None else self._log.take()

    def events(self) -> list["LiveEvent"]:
        """Return the events that no call returned yet.

        After `finish` these are the last of the stream, `Ended` the very last. Raises
        TypeError for an accumulator that was made without `events=True`.
        """
        if self._log is None:
            raise TypeError("no events were asked for: Accumulator(events=True) does")
        return self._log.take()

    @property
    def has_content(self) -> bool:
        """Whether any choice said anything yet: text, reasoning, a tool call, audio.

        It is what the time to the first token is about: a role, a usage or an empty
        text is nothing said. Reads what the feeds left; changes nothing.
        """
        self._read()
        return self._fold.has_content

    def snapshot(self) -> T | None:
        """Return the completion so far; None where nothing came yet.

        Changes nothing, and costs no more than the size of the completion.
        """
        if self._outcome is not None:
            return self._outcome.completion
        self._read()
        return self._fold.result()

    def finish(self) -> Outcome[T]:
        """End the input and return the verdict; again, the same one."""
        if self._outcome is None:
            self._read()
            if self._detector is not None:
                self._decide(self._detector.close())
            before = self._fold.n_events
            # Most streams end between two events, with nothing left to take.
            if not self._is_over() and (
                self._body is not None or not self._decoder.idle
            ):
                self._end()
            if self._watch is not None:
                self._note_times(self._watch, [self._watch.now], [1], before)
            self._outcome = self._judge()
            if self._log is not None:
                live: Any = self._fold
                live.end(self._outcome)
        return self._outcome

    # --- Blocks -----------------------------------------------------------------------

    def _read(self) -> None:
        """Read what the feeds left."""
        if self._watch is not None and self._held:
            self._read_timed(self._watch)
        else:
            self._read_held()

    def _read_timed(self, watch: Watch) -> None:
        """Read what the feeds left, so that it is known what came in which.

        Feeds of which it is plain how many events they are go together, as without a
        clock; any other goes by itself, as each does until something was said.
        """
        held, times = self._held, watch.take()
        for feed, time in zip(held, times, strict=True):
            if feed:
                watch.meet("first_byte", time)
                break
        decoder = self._decoder
        is_stream = decoder.is_stream and decoder.by_lines
        if is_stream and not all(_LF in feed for feed in held):
            held, times = _join(held, times)
        at, n = 0, len(held)
        while at < n:
            start, counts = at, [1]
            if self._fold.has_content and self._decoder.idle:
                counts = [*takewhile(bool, map(_count_events, islice(held, at, None)))]
                counts = counts or [1]
            at += len(counts)
            before, is_early = self._fold.n_events, self._detector is not None
            if is_early:
                watch.wait(times[start], len(held[start]))
            self._held = held[start:at]
            self._read_held()
            if not is_early:  # else `_decide` does
                self._note_times(watch, times[start:at], counts, before)

    def _note_times(
        self, watch: Watch, times: list[float], counts: list[int], before: int
    ) -> None:
        """Take note of the events since `before`: so many came at each time."""
        fold = self._fold
        if fold.n_events == before:
            return
        watch.end_events(times)
        if fold.has_content:
            watch.meet("first_content", times[0])
        for name, event in (
            ("first_reasoning", fold.first_reasoning),
            ("first_text", fold.first_text),
        ):
            if event > before:
                last = accumulate(counts, initial=before)
                place = sum(event > n for n in islice(last, 1, len(counts)))
                watch.meet(name, times[place])

    def _read_held(self) -> None:
        held = self._held
        if not held:
            return
        if len(held) > 1:
            size = sum(map(len, held))
            self._most = min(_HELD, _ROOM * len(held) // (size + 1) + 1)
            # Each feed may be an event, as most servers send them.
            if (
                self._body is None
                and self._decoder.idle
                and not self._is_over(size)
                and (n := self._skim(held, 0, size, framed=True))
            ):
                self._n_bytes += sum(map(len, held[:n]))
                del held[:n]
        data = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        if self._detector is None:
            self._read_data(data)
        elif (found := self._detector.feed(data)) or self._detector.is_over:
            self._decide(found)

    def _decide(self, found: Protocol[Any] | None) -> None:
        """Begin with the protocol that was found; read what came before that."""
        detector, self._detector = self._detector, None
        if found is not None and found is not self._protocol:
            self._begin(found)
        if detector is None or not detector.data:
            return
        data, watch = bytes(detector.data), self._watch
        if watch is None:
            self._read_data(data)
            return
        start = 0
        for time, size in watch.early:
            before = self._fold.n_events
            self._read_data(data[start : start + size])
            self._note_times(watch, [time], [1], before)
            start += size
        watch.early.clear()

    def _read_data(self, data: bytes) -> None:
        """Read the next bytes, but for an event that has just begun."""
        if len(self._first) < _FIRST:
            self._first += data[: _FIRST - len(self._first)]
        self._n_bytes += len(data)
        if self._is_over():
            data = data[: max(self._limits.stream_bytes - self._n_bytes + len(data), 0)]
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK] if len(data) > _BLOCK else data
            if (run := self._decoder.cut(block)) is not None:
                self._body = None
                self._take_run(run)
                continue
            for found in self._decoder.read(block):
                self._body = None
                if isinstance(found, Event):
                    self._take(found)
                else:
                    self._take_run(found)
        if self._body is not None:
            if (
                self._decoder.is_stream
                or len(self._body) + len(data) > self._limits.event_bytes
            ):
                self._body = None
            else:
                self._body += data

    def _is_over(self, more: int = 0) -> bool:
        return self._n_bytes + more > self._limits.stream_bytes

    def _skim(
        self, lines: list[bytes], at: int, size: int, *, framed: bool = False
    ) -> int:
        """Take payloads by the fast path, from `at` on; return where that ends."""
        fast, fold = self._fast, self._fold
        if fast is None or fold.is_tight or not (fast.templates or fold.record):
            return at
        return fast.run(lines, at, fold, size=size, framed=framed)

    def _take_run(self, payloads: Run) -> None:
        """Take a run of payloads."""
        fold, fast = self._fold, self._fast
        at, n = 0, len(payloads)
        done = payloads[-1] == _DONE  # no JSON, which takes a microsecond to find out
        if done:
            del payloads[-1]
            payloads.size = max(0, payloads.size - len(_DONE))
            n -= 1
        while at < n:
            at = self._skim(payloads, at, payloads.size)
            if at == n:
                break
            at = fold.take(payloads, at, fast.wait(n - at) if fast else n)
            if fold.record or at == n:
                continue
            data = payloads[at]
            at += 1
            if _LF in data:
                for event in self._decoder.reread(data):
                    self._take(event)
            else:
                self._take_odd(data, payloads.name(at - 1) if payloads.names else "")
            fold.record = None
        if done:
            fold.n_events += 1
            fold.stop()

    # --- Payloads ---------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        """Take an event by itself."""
        data, name = event.data, event.event
        if name == "message":
            if not data:
                return
            if _LF not in data:
                run = Run((data,))
                run.size = len(data)
                self._take_run(run)
                return
            name = ""
        sent = self._fold.read(data)
        if sent is None:
            self._take_odd(data, name)
        else:
            self._fold.n_events += 1
            self._fold.add(sent, data, name)

    def _take_odd(self, data: bytes, name: str = "") -> None:
        """Take a payload that is no plain JSON object."""
        fold = self._fold
        bare = data.strip(_SPACE)
        if not bare:
            return
        if bare == _DONE:
            fold.n_events += 1
            fold.stop()
            return
        # Nothing but an object is folded; and an error may be anything.
        if name != "error" and (bare[0] != _OPEN or bare[-1] != _CLOSE):
            self._pass_over(data, bare, name)
            return
        if not fold.has_room(bare):
            fold.n_events += 1
            return
        try:
            sent = parse(bare)
        except Malformed:
            self._pass_over(data, bare, name)
            return
        fold.n_events += 1
        fold.has_halves = True
        if name == "error" and type(sent) is not dict:
            fold.fail("" if sent is None else sent)
        elif type(sent) is not dict:
            self._n_malformed += 1
        else:
            self._note_characters(bare, sent)
            fold.add(sent, bare, name, exact=False)

    def _pass_over(self, data: bytes, bare: bytes, name: str) -> None:
        """Take a payload that is no JSON, or no object."""
        if _LF in bare and self._split(bare, name):
            return
        self._fold.n_events += 1
        if name == "error":
            self._fold.fail(data.decode("utf-8", "replace"))
        else:
            self._n_malformed += 1
            self._fold.note("malformed")

    def _note_characters(self, data: bytes, sent: Json) -> None:
        """Note why an object was not read by the strict decoder."""
        try:
            data.decode()
            if _HALF.search(data) is None:
                dump(sent).encode()
                self._fold.note("number_out_of_range")
            else:
                self._fold.meet_half()
        except UnicodeDecodeError:
            self._fold.note("invalid_utf8")
        except UnicodeEncodeError:
            self._fold.meet_half()

    def _split(self, data: bytes, name: str) -> bool:
        """Take each line as a payload, if one of them stands for itself.

        Some servers leave out the blank line between events. A name that stood among
        them is not of the lines that carry choices.
        """
        lines = data.split(b"\n")
        if not any(map(_stands_alone, lines)):
            return False
        self._fold.note("run_together")
        for line in lines:
            named = name if b'"choices"' not in line else ""
            self._take(Event(named or "message", line))
        return True

    # --- The end ----------------------------------------------------------------------

    def _end(self) -> None:
        if self._is_over():
            return
        so_far = self._n_malformed
        body = self._body
        for event in self._decoder.close(rest=True):
            self._take(event)
            body = None if event.data.strip(_SPACE) else body
        self._cut_off = self._n_malformed > so_far
        if self._cut_off and self._body and not _LINE_END.search(self._body):
            # Bytes as they come from `iter_lines()`, say, which are no stream any more.
            self._fold.note("no_line_ends")
        if body is None:
            self._body = None  # it was an event that was cut off, no body
        elif not self._decoder.is_stream:
            self._read_body(bytes(body).removeprefix(_BOM).strip(_SPACE))
        else:
            self._body = None

    def _read_body(self, body: bytes) -> None:
        """Read a body that is no event stream."""
        fold = self._fold
        if not body or not fold.has_room(body):
            return
        try:
            sent = parse(body)
        except Malformed:
            begins = body[:1] in (b"{", b"[")
            self._cut_off = begins and is_prefix(body.decode("utf-8", "replace"))
            fold.foreign = not self._cut_off
            return
        if type(sent) is not dict:
            fold.foreign = True
            return
        fold.has_halves = True
        if not fold.read_body(sent):
            fold.foreign = True
            fold.add(sent, body, exact=False)

    def _judge(self) -> Outcome[T]:
        fold, watch = self._fold, self._watch
        fold.close()
        limit = fold.limit
        if self._is_over():
            limit = "stream_bytes"
        elif self._decoder.n_skipped or (
            # A body that is no event stream is held whole.
            not fold.n_events
            and self._n_bytes > self._limits.event_bytes
            and not self._decoder.is_stream
        ):
            limit = "event_bytes"
        completion = fold.result()
        if fold.error is not None:
            ending = Ending.ERROR
        elif limit:
            ending = Ending.LIMIT
        else:
            ending = fold.judge(cut_off=self._cut_off)
            if ending is Ending.COMPLETE and self._decoder.is_open:
                ending = Ending.TRUNCATED
            if ending is Ending.EMPTY and completion is None:
                if self._cut_off and self._body:
                    ending = Ending.TRUNCATED  # it began like JSON
                elif fold.foreign:
                    ending = Ending.FOREIGN
        foreign = None
        if ending is Ending.FOREIGN and (found := detect(self._first)) is not None:
            foreign = None if found is self._protocol else found.name
        return Outcome(
            ending=ending,
            completion=completion,
            protocol=fold.name,
            error=mend(fold.error) if fold.has_halves else fold.error,
            done=fold.done,
            usage_source=fold.usage_source(),
            limit=limit,
            foreign=foreign,
            unfinished=fold.unfinished(),
            notes=fold.notes(),
            n_bytes=self._n_bytes,
            n_events=fold.n_events,
            n_malformed=self._n_malformed,
            timing=None if watch is None else self._time(watch, completion),
        )

    def _time(self, watch: Watch, completion: T | None) -> Timing:
        """Return the times of the stream; what came in a body came at its end."""
        if completion is None:
            return watch.result(None)
        said = completion.summary()
        if not self._decoder.is_stream and self._body is not None:
            if said.text:
                watch.meet("first_text", watch.now)
            if said.reasoning:
                watch.meet("first_reasoning", watch.now)
            said_any = said.text or said.reasoning or said.refusal
            if self._fold.has_content or said_any or completion.calls():
                watch.meet("first_content", watch.now)
        return watch.result(None if said.usage is None else said.usage.output)


_LIMITS: Final = Limits()


def _begin_log() -> "Log":
    from unstream._live import Log  # noqa: PLC0415 - most ask for no events

    return Log()


def _begin_live(protocol: Protocol[Any], limits: Limits, log: "Log") -> Fold[Any]:
    """Return the fold that tells its events to a log."""
    module, _, name = protocol.live.partition(":")
    if not name:
        raise TypeError(f"the protocol {protocol.name} tells no events: see `live`")
    fold: Fold[Any] = getattr(import_module(module), name)(limits, log)
    return fold


def _join(feeds: list[bytes], times: list[float]) -> tuple[list[bytes], list[float]]:
    """Join feeds without a line end, in which no event ended, to the one behind."""
    joined, ends, start = [], [], 0
    for at, feed in enumerate(feeds, 1):
        if _LF in feed or _CR in feed or at == len(feeds):
            joined.append(b"".join(feeds[start:at]))
            ends.append(times[at - 1])
            start = at
    return joined, ends


def _count_events(feed: bytes) -> int:
    """Count the events of a feed where that is plain, else return 0.

    It is where each is an object on one line, as a whole, with a name or without.
    """
    if feed[-3:] != b"}\n\n" or _CR in feed:
        return 0
    n_lines = feed.count(_LF)
    if feed[:7] == b"data: {":
        n = n_lines // 2
        if n_lines == 2 or feed.count(b"\n\ndata: {") == n - 1:  # noqa: PLR2004
            return 0 if n_lines % 2 else n
    elif feed[:7] == b"event: " and feed.count(b"\ndata: {") * 3 == n_lines:
        n = n_lines // 3
        return n if feed.count(b"\n\nevent: ") == n - 1 else 0
    return 0


def _stands_alone(line: bytes) -> bool:
    if line.strip(_SPACE) == _DONE:
        return True
    # Before it is read.
    if line[:1] != b"{" or line[-1:] != b"}" or line[1] not in _AFTER_OPEN:
        return False
    try:
        return type(parse(line)) is dict
    except Malformed:
        return False


def _copy(data: BytesLike) -> bytes:
    if isinstance(data, str):
        raise TypeError("a stream is bytes, not str: feed(text.encode())")
    try:
        return memoryview(data).tobytes()
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"a stream is fed as bytes, not {kind}") from None


def _mapping(chunk: Any) -> Mapping[str, Json]:
    sent = chunk
    if not isinstance(chunk, Mapping):
        if callable(dump := getattr(chunk, "model_dump", None)):
            # The names of the wire are the aliases, where a model has any (Google's).
            # Clients put into a field what its type does not say, which it warns of.
            sent = dump(mode="json", exclude_unset=True, by_alias=True, warnings=False)
        elif callable(dump := getattr(chunk, "to_dict", None)):
            sent = dump()
    if not isinstance(sent, Mapping):
        raise TypeError(
            "a chunk is a mapping, or has model_dump() or to_dict(), not "
            f"{type(chunk).__name__}"
        )
    return sent
