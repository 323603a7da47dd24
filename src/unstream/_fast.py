"""The fast path: runs of events that differ in their texts alone, many at a time.

Deleting this file, and its call in `_accumulator`, changes nothing but the speed. It
sees payloads, and what the fold says that one did; it knows no chunks, no protocols.

*Goals.* Half the cost of a bare decode, since the text is cut out of many payloads by
methods of bytes and decoded once. Nothing is ever written before all of it was checked.

*Plan.* Of a payload that did nothing but append one text (and forget some padding) a
template is made: the bytes before, between and behind. A later payload that is the same
but for these strings would do the same, as long as nothing of another kind came in
between: `fold.revision` tells. What lies between prefix and suffix is cut out of many
payloads, joined, and decoded as one JSON string.

*Warning.* What could make the sum of the strings differ from the strings is looked for
in `_decode`; where any is found the payloads go the ordinary way, one by one.
"""

import re
from bisect import bisect_left
from contextlib import suppress
from functools import partial
from io import StringIO
from itertools import groupby
from typing import Any, Final

import msgspec

__all__ = ["FastPath"]

_HEAD, _TAIL = b"data: ", b"\n\n"  # of a feed that is an event, around its payload

_MOST: Final = 8  # templates at a time: interleaved choices, each tried in turn
_WORTH: Final = 12  # payloads: a template takes 5 microseconds, and spares 0.5 for each
# Templates in a row that may bring nothing; then so many payloads must be alike first.
_CREDIT: Final = 8
_MANY: Final = 64
_WIDE: Final = 1024  # payloads that are tried at a time, or fewer where that fails

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_CUT: Final = re.compile(rb"\\(?:u(?![0-9a-fA-F]{4})|u[dD][89abAB]..(?:\n|$)|\n|$)")
_decode_text: Final = msgspec.json.Decoder(str).decode

# The pieces of one text, and their sum.
_Column = tuple[StringIO | None, list[bytes], bytes]


class _Template(msgspec.Struct, eq=False):
    """A payload with one hole or two; a sink is None where a string was forgotten."""

    sinks: list[Any]  # StringIO | None, which is no type of JSON
    prefix: bytes
    middle: bytes
    suffix: bytes

    def fits(self, line: bytes) -> bool:
        """Say whether a line is of this template, but for faults in its texts."""
        if not (line.startswith(self.prefix) and line.endswith(self.suffix)):
            return False
        # Where the text has no quote in it, which is found ten times as fast.
        at = line.find(_QUOTE, len(self.prefix))
        return line.startswith(self.middle, at) or self.middle in line

    def cut(self, lines: list[bytes], size: int = 0) -> list[_Column]:
        """Cut the texts out of lines, `size` bytes in all, 0 where that is not known.

        Raises ValueError where one of the lines is not of this template.
        """
        prefix, middle, suffix = self.prefix, self.middle, self.suffix
        size = size or sum(map(len, lines))
        size -= len(lines) * (len(prefix) + len(middle) + len(suffix))
        bodies = [line.removeprefix(prefix).removesuffix(suffix) for line in lines]
        if not middle:
            columns = [bodies]
        elif self.sinks[-1] is None:
            # Padding holds no quote, and one byte is found from behind in no time.
            middle = middle[:-1]
            parts = [body.rpartition(b'"') for body in bodies]
            columns = [
                [text.removesuffix(middle) for text, _, _ in parts],
                [padding for _, _, padding in parts],
            ]
        else:
            parts = [body.partition(middle) for body in bodies]
            columns = [[x for x, _, _ in parts], [x for _, _, x in parts]]
        sums = [b"".join(column) for column in columns]
        # Only if each had its prefix, its middle and its suffix are the sizes equal:
        # one that lacks any of them is left longer.
        if sum(map(len, sums)) != size:
            raise ValueError("not of this template")
        return [*zip(self.sinks, columns, sums, strict=True)]


class FastPath:
    """The templates of one stream, the newest first."""

    __slots__ = "_credit", "_differ", "_framed", "_revision", "_window", "templates"

    def __init__(self) -> None:
        self.templates: list[_Template] = []
        self._framed: list[_Template] = []  # the same, for feeds that are events
        self._differ = -1  # see `_find_difference`
        self._revision = 0
        self._credit = _CREDIT
        self._window = _WIDE

    def wait(self, n_left: int) -> int:
        """Say how many like payloads are to be folded before one is learned."""
        if n_left <= _WORTH:
            return n_left + 1
        return 1 if self._credit > 0 else _MANY

    def run(
        self, lines: list[bytes], at: int, fold: Any, *, size: int = 0, framed: bool
    ) -> int:
        """Take payloads from `at` on while they are like; return where that ends.

        `size` is what all lines are long, 0 where that is not known; `framed` says that
        each of them still has its `data: ` and its blank line.
        """
        if self._revision != fold.revision:
            self._revision = fold.revision
            self.templates = []
        if fold.record and at and not framed:
            self._learn(lines[at - 1], fold.record)
            fold.record = None
        templates, differ = self.templates, self._differ
        if framed and templates:
            if not self._framed:
                self._framed = [
                    _Template(x.sinks, _HEAD + x.prefix, x.middle, x.suffix + _TAIL)
                    for x in templates
                ]
            templates = self._framed
            differ += len(_HEAD) if differ >= 0 else 0
        start, n, window = at, len(lines), self._window
        while at < n and (template := _find(templates, lines[at])) is not None:
            some = lines if not at and n <= window else lines[at : at + window]
            taken = 0
            if len(templates) == 1 or template.fits(some[len(some) > 1]):
                taken = _take_run(template, some, size if some is lines else 0)
            if taken:
                window = min(2 * window, _WIDE)
            else:
                try:
                    taken = _take_each(templates, some, differ)
                except ValueError:  # that they are not tried again at each fault
                    self.templates = []
                    self._credit = 0
                    break
                # So that what is tried in vain is in proportion to what is not.
                window = min(2 * taken, _WIDE)
            at += taken
        self._window = window
        fold.n_events += at - start
        if at - start >= _WORTH:
            self._credit = _CREDIT
        return at

    def _learn(self, payload: bytes, record: list[tuple[str, Any, Any]]) -> None:
        """Make a template of a payload that did what the record says."""
        self._credit -= 1
        if _BACKSLASH in payload or len(record) > 2:  # noqa: PLR2004
            return
        # Without a backslash every quote begins or ends a string, so that a key that
        # stands there once is the key that the text came under.
        holes: list[tuple[int, int, StringIO | None]] = []
        for key, text, did in record:
            name = b'"%b"' % key.encode()
            n, at = payload.count(name), payload.find(name + b":")
            if n > 1:  # a string that is no key is followed by one of these
                n -= sum(payload.count(name + end) for end in (b",", b"}", b"]"))
            if n != 1 or at < 0 or type(text) is not str:
                return
            # As compact JSON, and as Python's `json.dumps` writes it.
            start = at + len(name) + 1
            start += 2 if payload[start : start + 1] == b" " else 1
            end = start + len(text.encode())
            if payload[start - 1 : end + 1] != b'"%b"' % text.encode():
                return
            holes.append((start, end, did if isinstance(did, StringIO) else None))
        holes.sort(key=lambda hole: hole[0])
        sinks = [sink for _, _, sink in holes]
        (start, end, _), (then, last, _) = holes[0], holes[-1]
        if not any(sinks) or end >= then > start:
            return
        new = _Template(sinks, payload[:start], payload[end:then], payload[last:])
        # One without padding is of those with padding, too.
        old = [
            x for x in self.templates if not new.fits(x.prefix + x.middle + x.suffix)
        ]
        self.templates = [new, *old[: _MOST - 1]]
        self._differ = _find_difference(self.templates) if old else -1
        self._framed = []


def _find(templates: list[_Template], line: bytes) -> _Template | None:
    """Return the template that a line is of."""
    for template in templates:
        if template.fits(line):
            return template
    return None


def _take_run(template: _Template, lines: list[bytes], size: int) -> int:
    """Take lines of a template from the first on, which is one; return how many.

    Where they end is found by bisection. It may be wrong: `cut` tells.
    """
    stop = len(lines)
    if not template.fits(lines[-1]):
        stop = bisect_left(lines, 1, key=lambda line: not template.fits(line))
    if stop < len(lines):
        lines, size = lines[:stop], 0
    try:
        _write(template.cut(lines, size))
    except ValueError:
        return 0
    return stop


def _take_each(templates: list[_Template], lines: list[bytes], differ: int) -> int:
    """Take lines up to one that is of none of the templates; return how many.

    They are told apart by the byte at `differ`, if it is not -1. Raises ValueError for
    a fault in a text of the first.
    """
    if differ >= 0:
        groups = {x.prefix[differ]: list[bytes]() for x in templates}
        with suppress(LookupError):  # as far as that, then
            for line in lines:
                groups[line[differ]].append(line)
        found = zip(templates, groups.values(), strict=True)
        with suppress(ValueError):  # it was not enough to tell
            _write([column for x, some in found if some for column in x.cut(some)])
            return sum(map(len, groups.values()))
    n = 0
    texts: dict[StringIO | None, list[bytes]] = {}
    try:
        for template, run in groupby(lines, partial(_find, templates)):
            if template is None:
                break
            some = [*run]
            n += len(some)
            for sink, pieces, _ in template.cut(some):
                texts.setdefault(sink, []).extend(pieces)
        _write([(sink, pieces, b"".join(pieces)) for sink, pieces in texts.items()])
    except ValueError:
        if n == 1:
            raise
        return _take_each(templates, lines[: n // 2], -1)  # to come near to the fault
    return n


def _find_difference(templates: list[_Template]) -> int:
    """Return where a byte tells the prefixes apart, as the index of choices does.

    -1 where none does, or two templates append to one text, in the order of the lines.
    """
    prefixes = sorted({template.prefix for template in templates})
    sinks = [sink for x in templates for sink in x.sinks if sink is not None]
    end = min(map(len, prefixes))
    low, high = (int.from_bytes(prefixes[at][:end], "big") for at in (0, -1))
    start = end - ((low ^ high).bit_length() + 7) // 8
    if start == end or len({*sinks}) < len(sinks):
        return -1
    return start if len({x[start] for x in prefixes}) == len(templates) else -1


def _write(columns: list[_Column]) -> None:
    """Append pieces to their texts.

    Raises ValueError, with nothing written, where one is not the body of a string.
    """
    texts = [
        # Padding needs no decoding.
        "" if sink is None and joined.isalnum() else _decode(pieces, joined)
        for sink, pieces, joined in columns
    ]
    for (sink, _, _), text in zip(columns, texts, strict=True):
        if sink is not None:
            sink.write(text)


def _decode(bodies: list[bytes], joined: bytes) -> str:
    """Decode the bodies of JSON strings, and the sum of them, as one.

    Raises ValueError where one of them is no body by itself: it has a quote that is not
    escaped, or an escape, a surrogate pair or a character that is cut by its end.
    """
    if _BACKSLASH in joined or _QUOTE in joined:
        clean = b"\n".join(bodies).replace(b"\\\\", b"")
        if clean.count(b'"') != clean.count(b'\\"') or _CUT.search(clean):
            raise ValueError("not the body of a string")
    if not joined.isascii():
        b"\n".join(bodies).decode()
    return _decode_text(b'"' + joined + b'"')
