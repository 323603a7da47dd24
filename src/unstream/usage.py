"""Usage for a gateway: ask for it where the client did not, and keep it back.

A server sends the usage of a stream, in a last chunk without choices, only where
`stream_options.include_usage` asks for it. This module knows that option and that chunk
(OpenAI's API description, `ChatCompletionStreamOptions`), and nothing of how anything
folds.

Strategy: the bytes of clients and servers are cut and spliced, never written anew. What
is neither the option nor the chunk stays as it was sent, down to the white space.
"""

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from contextlib import suppress
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from unstream._generators import abegin, aclose, begin, close, is_in_loop
from unstream._json import Json, Malformed, parse
from unstream._protocol import error_in
from unstream.sse import BOM, BytesLike, Decoder, Event

__all__ = ["Asked", "Filter", "ask", "awithhold", "withhold"]

# --- The request ----------------------------------------------------------------------


class Asked(StrEnum):
    """Say what became of a request by `ask`."""

    ASKED = "asked"
    """It now asks in the client's place: withhold the usage chunk from the client."""
    NOT_NEEDED = "not needed"
    """The client asked, or wants no stream."""
    CANNOT_TELL = "cannot tell"
    """It is no JSON object that we can read: for the gateway to refuse, or to bill."""


def ask(body: bytes) -> tuple[bytes, Asked]:
    """Ask for the usage of a stream in the body of a request that does not.

    Returns the body to send to the server, and what became of it. The same object comes
    back where nothing was changed. Servers read leniently (pydantic takes `1`, "on" and
    "true" for true), and a bill depends on it: `stream` is taken for true unless it is
    false, null or absent, and `include_usage` for false unless it is true. Where what
    was sent is no JSON object, or nested too deeply, or has options that are no object,
    nobody can tell. Nothing that the body contains raises; TypeError is raised where it
    is not bytes.

    A changed body has another length: `content-length` is the caller's to set. A few
    old servers refuse `stream_options` altogether.
    """
    if not isinstance(body, bytes):
        raise TypeError(f"a body is bytes, not {type(body).__name__}")
    # In Latin-1 each byte is a character, so that places in the text are places in the
    # body; and the grammar of JSON is ASCII.
    text = body.decode("latin-1")
    start = len(_MARK) if text.startswith(_MARK) else 0
    try:
        members, end = _members(text, start)
        if end < len(text):
            return body, Asked.CANNOT_TELL
        stream = members.get("stream")
        if stream is None or stream.value is None or stream.value is False:
            return body, Asked.NOT_NEEDED
        splice = _splice(text, members)
    except (ValueError, RecursionError):
        return body, Asked.CANNOT_TELL
    if splice is None:
        return body, Asked.NOT_NEEDED
    at, end, new = splice
    return body[:at] + new + body[end:], Asked.ASKED


_MARK: Final = "\xef\xbb\xbf"  # a byte order mark, in Latin-1


class _Member(NamedTuple):
    value: Json
    start: int
    end: int


def _splice(text: str, members: dict[str, _Member]) -> tuple[int, int, bytes] | None:
    """Say what to put where, if anything, so that a request asks for usage."""
    options = members.get("stream_options")
    if options is None:
        end = members["stream"].end
        return end, end, b',"stream_options":{"include_usage":true}'
    if options.value is None:
        return options.start, options.end, b'{"include_usage":true}'
    inner, _ = _members(text, options.start)
    include = inner.get("include_usage")
    if include is None:
        start = options.start + 1
        return start, start, b'"include_usage":true' + (b"," if inner else b"")
    if include.value is True:
        return None
    return include.start, include.end, b"true"


# Numbers stay text: nobody looks at them, and Python refuses to read 4,300 digits.
_scan: Final = json.JSONDecoder(parse_int=str, parse_float=str).raw_decode
_SPACE: Final = r"[ \t\r\n]*"
_OPEN: Final = re.compile(rf"{_SPACE}\{{{_SPACE}")
_COLON: Final = re.compile(rf"{_SPACE}:{_SPACE}")
_COMMA: Final = re.compile(rf"{_SPACE},{_SPACE}(?=\")")
_CLOSE: Final = re.compile(rf"{_SPACE}\}}{_SPACE}")


def _members(text: str, at: int) -> tuple[dict[str, _Member], int]:
    """Read the object that begins at `at`; return its members and where it ends.

    Of a key that was sent twice the last one counts, as it does for most servers.
    Raises ValueError where there is no object.
    """
    members: dict[str, _Member] = {}
    at = _expect(_OPEN, text, at)
    while text.startswith('"', at):
        key, at = _scan(text, at)
        start = _expect(_COLON, text, at)
        value, end = _scan(text, start)
        members[key] = _Member(value, start, end)
        comma = _COMMA.match(text, end)
        if comma is None:
            at = end
            break
        at = comma.end()
    return members, _expect(_CLOSE, text, at)


def _expect(what: re.Pattern[str], text: str, at: int) -> int:
    found = what.match(text, at)
    if found is None:
        raise ValueError(f"no object: {what.pattern} is missing at {at}")
    return found.end()


# --- The response ---------------------------------------------------------------------

# The largest usage chunk in 163 recorded streams has 711 bytes; 64 KiB is ninety times
# as much, and what most transports hand out at once.
_LIMIT: Final = 64 * 1024


class Filter:
    """Withhold the usage chunk from a stream, incrementally.

    Withheld is an event, from its first field to its blank line, whose payload is a
    chunk with an empty list of choices and an object for its usage, and no error beside
    them. All other bytes pass as they are and in order, and the result depends only on
    the concatenation of what was fed.

    An event is held until its data is a chunk and no usage chunk, or until its blank
    line, or until it is longer than any usage chunk (64 KiB). Comments between events
    are never held: they keep connections alive.
    Bytes that are still encoded (`content-encoding`) pass without being understood: ask
    the server for `identity`.
    """

    __slots__ = (
        "_decoder",
        "_goes",
        "_head",
        "_held",
        "_in_line",
        "_passes",
        "_size",
    )

    def __init__(self) -> None:
        self._decoder = Decoder(error_field=True)  # says what each line is
        self._held: list[bytes] = []  # of the event so far
        self._size = 0
        self._head: bytes | None = b""  # what may yet be a byte order mark
        self._passes = False  # the event is none that is withheld
        self._in_line = False
        self._goes = _Way.ON  # where the newest line goes

    def feed(self, data: BytesLike) -> bytes:
        """Take the next bytes and return those that may pass.

        Raises TypeError where `data` is not bytes-like; nothing that the bytes contain
        raises.
        """
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        mark = b""
        if self._head is not None:
            data = self._head + data
            if len(data) < len(BOM) and BOM.startswith(data):
                self._head = data
                return b""
            self._head = None
            if data.startswith(BOM):
                mark, data = BOM, data[len(BOM) :]
                self._decoder.feed(mark)
        taken = [self._take(line) for line in data.splitlines(keepends=True)]
        return b"".join([mark, *taken])

    def close(self) -> bytes:
        """End the input and return what was held and may pass.

        A usage chunk whose blank line never came is withheld as well: the standard
        drops it, readers that are lenient do not.
        """
        head, self._head = self._head or b"", None
        is_usage = _are_usage(self._decoder.close(rest=True))
        return head + (self._drop() if is_usage else self._release())

    def rest(self) -> bytes:
        """Return what is held: for where the input broke off, and nobody can tell."""
        head, self._head = self._head or b"", None
        return head + self._release()

    def _take(self, line: bytes) -> bytes:
        """Take a line, or the part of one that a feed holds; return what may pass."""
        decoder = self._decoder
        # The LF of a CRLF that was cut in two goes where the CR went.
        if not (decoder.awaits_lf and line == b"\n"):
            is_blank = not self._in_line and line in _LINE_ENDS
            if not self._in_line:
                is_comment = decoder.is_between and line[:1] == b":"
                passes = is_comment or self._passes
                self._goes = _Way.ON if passes else _Way.HELD
            self._in_line = not line.endswith((b"\n", b"\r"))
            events = decoder.feed(line)
            self._held.append(line)
            self._size += len(line)
            if is_blank:
                is_usage = self._goes is _Way.HELD and _are_usage(events)
                self._goes = _Way.NOWHERE if is_usage else _Way.ON
                self._passes = False
            elif self._goes is _Way.HELD and self._is_known(events):
                self._goes, self._passes = _Way.ON, True
        else:
            decoder.feed(line)
            self._held.append(line)
        if self._goes is _Way.HELD:
            return b""
        return self._release() if self._goes is _Way.ON else self._drop()

    def _is_known(self, events: list[Event]) -> bool:
        """Say whether the event so far can be no usage chunk."""
        if events or self._size > _LIMIT:  # an error, in a field of its own
            return True
        return not (self._in_line or _may_be_usage(self._decoder.pending))

    def _release(self) -> bytes:
        """Return what is held, and hold nothing."""
        held = b"".join(self._held)
        self._held.clear()
        self._size = 0
        return held

    def _drop(self) -> bytes:
        """Hold nothing; return nothing."""
        self._release()
        return b""


class _Way(Enum):
    """Where a line goes."""

    ON = "on"
    HELD = "held"
    NOWHERE = "nowhere"


_LINE_ENDS: Final = (b"\n", b"\r", b"\r\n")


def _may_be_usage(data: bytes) -> bool:
    """Say whether the data of an event, as far as it came, may be a usage chunk."""
    if b"choices" not in data:
        return True
    try:
        return _is_usage(parse(data))
    except Malformed:
        return True  # with other lines it may be whole


def _are_usage(events: list[Event]) -> bool:
    # Two events in one block are an error, in a field of its own, and what it is about.
    if len(events) != 1 or events[0].event == "error":
        return False
    try:
        return _is_usage(parse(events[0].data))
    except Malformed:
        return False


def _is_usage(sent: Json) -> bool:
    return (
        isinstance(sent, dict)
        and sent.get("choices") == []
        and isinstance(sent.get("usage"), dict)
        and error_in(sent) is None
    )


def withhold(source: Iterable[BytesLike]) -> Generator[bytes, None, None]:
    """Pass a stream on, piece by piece, without its usage chunk; see `Filter`.

    Each ending closes `source`, if it has a `close`.
    """
    return begin(_pieces(source))


def _pieces(source: Iterable[BytesLike]) -> Generator[bytes, None, None]:
    usage = Filter()
    failed = False
    try:
        yield b""  # taken by `begin`
        pieces = iter(source)
        while True:
            try:
                data = next(pieces)
            except StopIteration:
                break
            except Exception:
                failed = True
                if rest := usage.rest():
                    yield rest
                raise
            if passed := usage.feed(data):
                yield passed
        if rest := usage.close():
            yield rest
    finally:
        # What the source raised is what is raised, whatever its `close` raises.
        with suppress(*(Exception,) * failed):
            close(source)


def awithhold(source: AsyncIterable[BytesLike]) -> AsyncGenerator[bytes, None]:
    """Do what `withhold` does for an async iterable, closed by its `aclose`."""
    begins = is_in_loop()
    pieces = _apieces(source, begins=begins)
    return abegin(pieces) if begins else pieces


async def _apieces(
    source: AsyncIterable[BytesLike], *, begins: bool
) -> AsyncGenerator[bytes, None]:
    usage = Filter()
    failed = False
    try:
        if begins:
            yield b""  # taken by `abegin`
        pieces = aiter(source)
        while True:
            try:
                data = await anext(pieces)
            except StopAsyncIteration:
                break
            except Exception:
                failed = True
                if rest := usage.rest():
                    yield rest
                raise
            if passed := usage.feed(data):
                yield passed
        if rest := usage.close():
            yield rest
    finally:
        with suppress(*(Exception,) * failed):
            await aclose(source)
