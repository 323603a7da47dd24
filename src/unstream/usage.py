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
from typing import Final, NamedTuple

from unstream._protocol import error_in
from unstream._json import Json, Malformed, parse
from unstream._generators import abegin, aclose, begin, close, is_in_loop
from unstream.sse import BytesLike, Decoder, Event

__all__ = ["Filter", "ask", "awithhold", "withhold"]

# --- The request ----------------------------------------------------------------------


def ask(body: bytes) -> tuple[bytes, bool]:
    """Ask for the usage of a stream in the body of a request that does not.

    Returns the body to send to the server, and whether it now asks in the client's
    place, so that the usage chunk is to be withheld. The same object comes back where
    there is nothing to change: the client asked, or wants no stream, or what it sent is
    for the server to refuse (no JSON object, one that is nested too deeply, options
    that are no object). Nothing that the body contains raises; TypeError is raised
    where it is not bytes.

    A changed body has another length: `content-length` is the caller's to set. A few
    old servers refuse `stream_options` altogether.
    """
    if not isinstance(body, bytes):
        raise TypeError(f"a body is bytes, not {type(body).__name__}")
    # In Latin-1 each byte is a character, so that places in the text are places in the
    # body; and the grammar of JSON is ASCII.
    text = body.decode("latin-1")
    try:
        members, end = _members(text, 0)
        if end < len(text) or members["stream"].value is not True:
            return body, False
        splice = _splice(text, members)
    except (KeyError, ValueError, RecursionError):
        return body, False
    if splice is None:
        return body, False
    start, end, new = splice
    return body[:start] + new + body[end:], True


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
    if include.value is None or include.value is False:
        return include.start, include.end, b"true"
    return None


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

_BOM: Final = b"\xef\xbb\xbf"
_LINE_ENDS: Final = (b"\n", b"\r", b"\r\n")
_COLON_BYTE: Final = ord(":")


class Filter:
    """Withhold the usage chunk from a stream, incrementally.

    Withheld is an event, from its first field to its blank line, whose payload is a
    chunk with an empty list of choices and an object for its usage, and no error beside
    them. All other bytes pass as they are and in order, and the result depends only on
    the concatenation of what was fed.

    An event is held until a line of it is a chunk and no usage chunk, or until its
    blank line, or until it is longer than any usage chunk (64 KiB). Comments between
    events are never held: they keep connections alive.
    Bytes that are still encoded (`content-encoding`) pass without being understood: ask
    the server for `identity`.
    """

    __slots__ = (
        "_after_cr",
        "_decoder",
        "_head",
        "_held",
        "_in_line",
        "_line",
        "_passed",
        "_passes",
        "_place",
        "_size",
    )

    def __init__(self) -> None:
        self._head: bytes | None = b""  # what may yet be a byte order mark
        self._passed: list[bytes] = []
        self._held: list[bytes] = []  # the event so far
        self._size = 0
        self._line = 0  # where in it the newest line begins
        self._passes = False  # it is none that is withheld
        self._place = self._passed  # where the line goes that was read last
        self._in_line = False
        self._after_cr = False
        self._decoder = Decoder(error_field=True)
        self._decoder.feed(b"\n")  # past the byte order mark, which passes by itself

    def feed(self, data: BytesLike) -> bytes:
        """Take the next bytes and return those that may pass.

        Raises TypeError where `data` is not bytes-like; nothing that the bytes contain
        raises.
        """
        piece = data if type(data) is bytes else bytes(memoryview(data))
        if self._head is not None:
            piece = self._pass_bom(piece)
        for line in piece.splitlines(keepends=True):
            self._take(line)
        passed = b"".join(self._passed)
        self._passed.clear()
        return passed

    def close(self) -> bytes:
        """End the input and return what was held and may pass.

        A usage chunk whose blank line never came is withheld as well: the standard
        drops it, readers that are lenient do not.
        """
        rest = (self._head or b"") + b"".join(self._held)
        self._held.clear()
        self._head = None
        events = self._decoder.feed(rest) + self._decoder.close(rest=True)
        return b"" if _are_usage(events) else rest

    def _pass_bom(self, piece: bytes) -> bytes:
        piece = (self._head or b"") + piece
        if len(piece) < len(_BOM) and _BOM.startswith(piece):
            self._head = piece
            return b""
        self._head = None
        if piece.startswith(_BOM):
            self._passed.append(_BOM)
        return piece.removeprefix(_BOM)

    def _take(self, line: bytes) -> None:
        """Take a line, or the part of one that a feed holds."""
        is_new, self._in_line = not self._in_line, not line.endswith((b"\n", b"\r"))
        # The LF of a CRLF that was cut in two: it goes where the CR went.
        is_half, self._after_cr = self._after_cr and line == b"\n", line[-1:] == b"\r"
        if is_new and not is_half:
            if line in _LINE_ENDS:
                self._end(line)
                return
            is_comment = line[0] == _COLON_BYTE and not self._held
            passes = self._passes or is_comment
            self._place = self._passed if passes else self._held
            self._line = len(self._held)
        self._place.append(line)
        if self._place is self._held:
            self._size += len(line)
            if self._size > _LIMIT or not (self._in_line or self._may_be_usage()):
                self._passes = True
                self._release()

    def _may_be_usage(self) -> bool:
        """Say whether the event may be a usage chunk after the line that ended."""
        name, _, payload = b"".join(self._held[self._line :]).partition(b":")
        if name != b"data" or b"choices" not in payload:
            return True
        try:
            return _is_usage(parse(payload))
        except Malformed:
            return True  # with other lines it may be whole

    def _end(self, blank: bytes) -> None:
        """Take the blank line that ends an event."""
        self._held.append(blank)
        if _are_usage(self._decoder.feed(b"".join(self._held))):
            self._held.clear()
            self._release()
            self._place = []
        else:
            self._release()
        self._passes = False

    def _release(self) -> None:
        """Let pass what is held, and what comes next of the same line."""
        self._passed += self._held
        self._held.clear()
        self._size = 0
        self._place = self._passed


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
    try:
        yield b""  # taken by `begin`
        for data in source:
            if passed := usage.feed(data):
                yield passed
        if rest := usage.close():
            yield rest
    finally:
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
    try:
        if begins:
            yield b""  # taken by `abegin`
        async for data in source:
            if passed := usage.feed(data):
                yield passed
        if rest := usage.close():
            yield rest
    finally:
        await aclose(source)
