"""JSON texts one after the other, as lines or as an array: chunks, answers, logs.

This module knows how they are set apart, and the way to a field of one; of what they
mean only whether two may be chunks of one stream.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

import msgspec

from unstream._detect import ANY, claim, detect, load
from unstream._json import Json, Malformed, encode, parse
from unstream._outcome import Limits
from unstream._protocol import Protocol
from unstream.sse import DEFAULT_LIMIT, Event, Run

__all__ = [
    "Events",
    "are_answers",
    "as_events",
    "as_pieces",
    "begins",
    "pick",
    "read",
    "records",
    "suggest",
    "whole",
]

_READ: Final = 64 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
# Deeper than any log seen nests its bodies, and wide enough for their keys.
_DEPTH: Final = 6
_WIDTH: Final = 64


class Events(msgspec.Struct):
    """What an accumulator is fed.

    `by_line`: each piece is a line of the file; else its events have lines in it, or
    not, `has_lines`. `first` is the first of what is no event, but may be a record.
    """

    pieces: Iterator[bytes]
    by_line: bool = False
    has_lines: bool = True
    first: bytes = b""


def begins(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first byte that is neither white space nor a mark, and all pieces."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _READ or _bare(head):
            break
    return _bare(head)[:1], chain([head], pieces)


def _bare(head: bytes) -> bytes:
    return head.removeprefix(_BOM).strip(_SPACE)


def as_events(pieces: Iterator[bytes], protocol: Protocol[Any]) -> Events:
    """Pass an event stream on as it is, and chunks in lines or in an array as one.

    These are told by their first two: each is a JSON object, and they are not two whole
    answers. Anything else passes as it is: one JSON body, say.
    """
    first, pieces = begins(pieces)
    if first not in (b"{", b"["):
        return Events(pieces)
    is_array = first == b"["
    split = _elements if is_array else _lines
    two, pieces = _two(pieces, split)
    if not _are_chunks(two, protocol, array=is_array):
        return Events(pieces, first=b"".join(two[:1]))
    if is_array:
        return Events(_element_events(_elements(pieces)), has_lines=False)
    return Events(map(_line_event, _lines(pieces)), by_line=True)


def _line_event(line: bytes) -> bytes:
    bare = _bare(line)
    if not bare:
        return b""
    return b"%b%b\n\n" % (b"" if bare[:5] == b"data:" else b"data: ", bare)


def _element_events(elements: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the events of an array: of chunks, of their texts, or of its pieces."""
    are_payloads: bool | None = None
    for element in elements:
        if element[:1] == b'"':
            try:
                element = str(parse(element)).encode("utf-8", "replace")  # noqa: PLW2901
            except Malformed:
                continue  # the array breaks off inside of a piece
            if are_payloads is None:
                are_payloads = element[:1] == b"{"
            if not are_payloads:
                yield element
                continue
        # Outside of strings alone can a line end stand. What breaks off has no end.
        bare = element.replace(b"\n", b" ").replace(b"\r", b" ")
        yield b"data: %b%b" % (bare, b"\n\n" if bare[-1:] in (b"}", b"]") else b"")


def _two(
    pieces: Iterator[bytes], split: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> tuple[list[bytes], Iterator[bytes]]:
    """Return the first two texts that are not blank, and all pieces.

    Of what is longer than an event may be there are none.
    """
    kept: list[bytes] = []
    texts = filter(_bare, split(_keep(pieces, kept, DEFAULT_LIMIT)))
    two = [*islice(texts, 2)]
    if sum(map(len, kept)) > DEFAULT_LIMIT:
        two.clear()
    return two, chain(kept, pieces)


def _are_chunks(
    texts: list[bytes], protocol: Protocol[Any], *, array: bool = False
) -> bool:
    """Say whether two texts may be chunks of one stream, or the one of an array."""
    sent: list[Json] = []
    for text in texts:
        try:
            sent.append(parse(_bare(text)))
        except Malformed:
            if not array:  # one may break off
                return False
    if array and sent and all(type(each) is str for each in sent):
        return True
    if not all(type(each) is dict for each in sent) or len(sent) < 2 - array:
        return False
    of = claim(sent[0]) if protocol is ANY else protocol
    # Of Gemini's framing an array is a stream already, and its bracket an end.
    if of is None or (array and of.framing is _arrays()):
        return False
    ids = [each.get("id") or each.get("responseId") for each in sent]
    # A chunk may have the shape of a whole answer; then it has the id of the others.
    whole = all(of.fold(Limits()).read_body(each) for each in sent)
    return not whole or (ids[0] == ids[-1] is not None and len(ids) > 1)


# --- Records --------------------------------------------------------------------------


def records(pieces: Iterator[bytes], limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield the JSON texts of a file, and their numbers: from 1, of lines their own.

    They are lines, elements of an array, or one text over several lines, which is read
    whole. Raises OSError for one that has more than `limit` bytes.
    """
    first, pieces = begins(pieces)
    if first == b"[":
        yield from enumerate(_elements(pieces), 1)
        return
    two, pieces = _two(pieces, _lines)
    lines = _lines(pieces, limit)
    if not two or any(map(_is_json, two)):
        yield from ((n, line) for n, line in enumerate(lines, 1) if _bare(line))
    else:
        yield 1, whole(lines, limit)


def whole(pieces: Iterable[bytes], limit: int) -> bytes:
    """Return all that is in a file; raise OSError for more than `limit` bytes."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > limit:
            raise OSError(f"it is read whole, and has more than --limit {limit} bytes")
    return bytes(data.removeprefix(_BOM))


def are_answers(pieces: Iterator[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Say whether a file holds several whole answers; return all pieces, too."""
    first, pieces = begins(pieces)
    if first not in (b"{", b"["):
        return False, pieces
    is_array = first == b"["
    two, pieces = _two(pieces, _elements if is_array else _lines)
    try:
        sent = [parse(_bare(text)) for text in two]
    except Malformed:
        return False, pieces
    found = len(sent) >= 2 - is_array and not _are_chunks(two, ANY, array=is_array)
    return found and all(map(_is_answer, sent)), pieces


def _is_answer(sent: Json) -> bool:
    if type(sent) is not dict or (of := claim(sent)) is None:
        return False
    return of.framing is not _arrays() and of.fold(Limits()).read_body(sent)


def _is_json(line: bytes) -> bool:
    try:
        return type(parse(_bare(line))) is dict
    except Malformed:
        return False


def _lines(pieces: Iterable[bytes], limit: int | None = None) -> Iterator[bytes]:
    """Yield lines, each with its line end; raise OSError for one over the limit.

    Without a limit, one that is longer than an event may be is cut there: it is over
    that bound all the same, and nobody reads it.
    """
    rest: list[bytes] = []
    size = 0
    for piece in pieces:
        first, *others = piece.split(b"\n")
        if limit is not None or size <= DEFAULT_LIMIT:
            rest.append(first)
        size += len(first)
        for other in others:
            rest.append(b"\n")
            yield b"".join(rest)
            rest = [other]
            size = len(other)
        if limit is not None and size > limit:
            raise OSError(f"a line has more than --limit {limit} bytes")
    yield b"".join(rest)


def _arrays() -> Any:
    # The one framing that reads arrays; only where one is met it is loaded.
    return load("gemini").framing


def _elements(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the elements of a JSON array as they come; of a broken one, the rest."""
    framing = _arrays()(limit=Limits().stream_bytes)
    for piece in pieces:
        for found in framing.read(piece):
            for element in _payloads(found):
                if element != b"[DONE]":  # its bracket
                    yield element
    for event in framing.close(rest=True):
        yield event.data


def _payloads(found: Run | Event) -> list[bytes]:
    return [found.data] if isinstance(found, Event) else found


def _keep(pieces: Iterable[bytes], into: list[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        into.append(piece)
        size += len(piece)
        if size > limit:
            return
        yield piece


# --- Fields ---------------------------------------------------------------------------


def read(record: bytes) -> Json:
    """Parse a record; raise Malformed."""
    return parse(_bare(record))


def pick(sent: Json, path: str) -> Json:
    """Return the value at a dotted path; raise LookupError where there is none.

    A key may hold dots itself; a number is a place in a list; a string on the way is
    read as JSON.
    """
    if not path:
        return sent
    if type(sent) is str:
        try:
            sent = parse(sent.encode("utf-8", "replace"))
        except Malformed:
            raise LookupError(path) from None
    parts = path.split(".")
    if type(sent) is list and parts[0].isdecimal():
        return pick(sent[int(parts[0])], ".".join(parts[1:]))
    if type(sent) is dict:
        for n in range(len(parts), 0, -1):
            if (key := ".".join(parts[:n])) in sent:
                return pick(sent[key], ".".join(parts[n:]))
    raise LookupError(path)


def as_pieces(value: Json) -> Iterator[bytes]:
    """Yield a value as what it holds: text, a body, or the events of a list."""
    if type(value) is str:
        yield value.encode("utf-8", "replace")
    elif type(value) is list and value and all(map(_is_event, value)):
        for event in value:
            data = event["data"]
            text = (
                data.encode("utf-8", "replace") if type(data) is str else encode(data)
            )
            name = str(event.get("event") or "").encode("utf-8", "replace")
            lines = text.splitlines() or [b""]
            head = b"event: %b\n" % name if name and b"\n" not in name else b""
            yield head + b"".join(b"data: %b\n" % line for line in lines) + b"\n"
    else:
        yield encode(value)


def _is_event(value: Json) -> bool:
    """Say whether a log holds an event as an object: its name, its data."""
    return type(value) is dict and "data" in value and claim(value) is None


def suggest(text: bytes) -> str | None:
    """Return the path of a field of a record that seems to hold a stream."""
    try:
        return _suggest(parse(_bare(text)), _DEPTH)
    except (Malformed, RecursionError):
        return None


def _suggest(value: Json, depth: int) -> str | None:
    if type(value) is not dict or not depth:
        return None
    for key, inner in [*value.items()][:_WIDTH]:
        if _holds(inner):
            return str(key)
        if found := _suggest(inner, depth - 1):
            return f"{key}.{found}"
    return None


def _holds(value: Json) -> bool:
    if type(value) is dict:
        of = claim(value)
        return of is not None and of.fold(Limits()).read_body(value)
    if type(value) is str:
        return detect(value.encode("utf-8", "replace")) is not None
    if type(value) is list and value and type(value[0]) is dict:
        return claim(value[0]) is not None or "data" in value[0]
    return False
