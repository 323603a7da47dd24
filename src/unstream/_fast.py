"""The fast path: runs of events that differ in their texts alone, many at a time.

Deleting this file, and its call in `_accumulator`, changes nothing but the speed. It
knows neither chunks nor protocols: it sees payloads, and what the fold says that one of
them did.

*Operations wanted.* Learn from a payload that was folded in the ordinary way; take
payloads after it, as long as they are like it, by appending their texts.

*Goals.* Half the cost of a bare decode, since the text is cut out of many payloads by
methods of bytes and decoded once. Nothing is ever written before all of it was checked.

*Plan.* Of a payload that did nothing but append one text (and forget some padding) a
template is made: the bytes before, between and behind. A later payload that is the same
but for these strings would do the same, as long as nothing of another kind came in
between: `fold.revision` tells. What lies between prefix and suffix is cut out of many
payloads, joined, and decoded as one JSON string.

*Warning.* What could make the sum of the strings differ from the strings is looked for
in `_decode`; where anything is found the payloads go the ordinary way, so that a fault
is counted where it is.
"""

import re
from collections.abc import Sequence
from io import StringIO
from typing import Final, Protocol

import msgspec

__all__ = ["FastPath"]

# The marks of an event where payloads were not cut out: a feed that is an event.
_HEAD: Final = b"data: "
_TAIL: Final = b"\n\n"

_MOST: Final = 8  # templates at a time: interleaved choices, each tried in turn
# A template costs about 5 microseconds, and spares about half of one a payload.
_WORTH: Final = 12
# Templates in a row that may bring nothing; after that one is only made where so many
# payloads in a row were like each other.
_CREDIT: Final = 8
_MANY: Final = 64
# As many payloads are tried as one; the number grows while that succeeds.
_WINDOW: Final = 64
_WIDE: Final = 1024
_ENDING: Final = 4  # finish_reason, usage, what a provider adds

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_CUT_ESCAPE: Final = re.compile(
    rb"\\(?:u(?![0-9a-fA-F]{4})|u[dD][89abAB]..(?:\n|$)|\n|$)"
)
_decode_text: Final = msgspec.json.Decoder(str).decode

# A string of a payload: where it starts and ends, and the text that it was appended to,
# or None where it was forgotten.
_Hole = tuple[int, int, StringIO | None]


class _Fold(Protocol):
    """What is asked of a fold: see `_protocol.Fold`."""

    n_events: int
    revision: int
    record: list[tuple[str, object, object]] | None


class _Template:
    """A payload with one hole or two: `prefix`, text, `middle`, text, `suffix`."""

    __slots__ = ("framed", "middle", "plain", "sinks")

    def __init__(self, payload: bytes, holes: list[_Hole]) -> None:
        start, end, _ = holes[0]
        next_start, last_end, _ = holes[-1]
        prefix, suffix = payload[:start], payload[last_end:]
        self.middle = payload[end:next_start]
        self.sinks = [sink for _, _, sink in holes]
        self.plain = prefix, suffix, len(prefix) + len(suffix)
        prefix, suffix = _HEAD + prefix, suffix + _TAIL
        self.framed = prefix, suffix, len(prefix) + len(suffix)

    def read(self, bodies: list[bytes], size: int) -> list[str]:
        """Decode what stood between prefix and suffix, `size` bytes in all.

        Raises ValueError where one of them is not of this template.
        """
        middle = self.middle
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
        joined = [b"".join(column) for column in columns]
        # Only if each had its prefix, its middle and its suffix are the sizes equal:
        # one that lacks any of them is left longer.
        if sum(map(len, joined)) != size - len(bodies) * len(self.middle):
            raise ValueError("not of this template")
        if len(joined) == 2 and self.sinks[1] is None and joined[1].isalnum():  # noqa: PLR2004
            return [_decode(columns[0], joined[0]), ""]  # padding needs no decoding
        return [*map(_decode, columns, joined)]

    def part(self, body: bytes) -> tuple[bytes, ...]:
        """Part what stood between prefix and suffix; () where that does not fit."""
        middle = self.middle
        if not middle:
            return (body,)
        if self.sinks[-1] is not None:
            text, found, other = body.partition(middle)
            return (text, other) if found else ()
        body, _, padding = body.rpartition(b'"')
        text = body.removesuffix(middle[:-1])
        return (text, padding) if len(text) != len(body) else ()

    def write(self, texts: list[str]) -> None:
        """Append texts where they belong."""
        for sink, text in zip(self.sinks, texts, strict=True):
            if sink is not None:
                sink.write(text)


class FastPath:
    """The templates of one stream."""

    __slots__ = ("_credit", "_revision", "_templates", "_window")

    def __init__(self) -> None:
        self._templates: list[_Template] = []
        self._revision = 0
        self._credit = _CREDIT
        self._window = _WINDOW

    def wait(self, n_left: int) -> int:
        """Say how many like payloads in a row are to be folded before one is learned.

        More than are left, where that is not worth it.
        """
        if n_left <= _WORTH:
            return n_left + 1
        return 1 if self._credit > 0 else _MANY

    def run(
        self,
        lines: Sequence[bytes],
        at: int,
        fold: _Fold,
        *,
        size: int = 0,
        framed: bool = False,
    ) -> int:
        """Take payloads from `at` on while they are like; return where that ends.

        `size` is what all lines are long, 0 where that is not known; `framed` says that
        each of them still has its `data: ` and its blank line.
        """
        if self._revision != fold.revision:
            self._revision = fold.revision
            self._templates = []
        if fold.record and at and not framed:
            self._learn(lines[at - 1], fold.record)
            fold.record = None
        templates = self._templates
        start, n, window = at, len(lines), self._window
        while at < n and templates:
            some = lines if not at and n <= window else lines[at : at + window]
            taken = self._take_all(some, size if some is lines else 0, framed=framed)
            if not taken:
                taken = self._take_each(some, framed=framed)
                if not taken:
                    window = min(window, _WINDOW)
                    break
            at += taken
            # So that what is tried in vain is in proportion to what is not.
            window = min(2 * (window if taken == len(some) else taken), _WIDE)
        self._window = window
        if at > start:
            self._credit = _CREDIT
            fold.n_events += at - start
        return at

    def _learn(self, payload: bytes, record: list[tuple[str, object, object]]) -> None:
        """Make a template of a payload that did what the record says."""
        self._credit -= 1
        if _BACKSLASH in payload or len(record) > 2:  # noqa: PLR2004
            return
        # Without a backslash every quote begins or ends a string, so that a key that
        # stands there once is the key that the text came under.
        holes: list[_Hole] = []
        for key, text, did in record:
            if type(text) is not str:
                return
            start = _find_key(payload, f'"{key}"'.encode())
            if start < 0:
                return
            # As compact JSON, and as Python's `json.dumps` writes it.
            start += 3 if payload[start : start + 3] == b': "' else 2
            end = payload.find(b'"', start)
            if payload[start - 1 : end] != b'"' + text.encode():
                return
            holes.append((start, end, did if isinstance(did, StringIO) else None))
        holes.sort(key=lambda hole: hole[0])
        if not any(sink for _, _, sink in holes):
            return
        if len(holes) == 2 and holes[0][1] >= holes[1][0]:  # noqa: PLR2004
            return
        new = _Template(payload, holes)
        like = new.plain, new.middle
        others = [t for t in self._templates if (t.plain, t.middle) != like]
        self._templates = [new, *others[: _MOST - 1]]

    def _take_all(self, lines: Sequence[bytes], size: int, *, framed: bool) -> int:
        """Take lines, if all of them are of the newest template; return how many.

        But for some at the end: a run of events ends with two or three of other kinds.
        """
        template = self._templates[0]
        prefix, suffix, around = template.framed if framed else template.plain
        stop = len(lines)
        if not (lines[0].startswith(prefix) and lines[stop // 2].startswith(prefix)):
            return 0
        while not lines[stop - 1].startswith(prefix):
            stop -= 1
            if not stop or stop < len(lines) - _ENDING:
                return 0
        if stop < len(lines):
            lines, size = lines[:stop], 0
        bodies = [line.removeprefix(prefix).removesuffix(suffix) for line in lines]
        try:
            texts = template.read(
                bodies, (size or sum(map(len, lines))) - stop * around
            )
        except ValueError:
            return 0
        template.write(texts)
        return stop

    def _take_each(self, lines: Sequence[bytes], *, framed: bool) -> int:
        """Take lines while each is of one of the templates; return how many."""
        templates = self._templates
        # Strings by the text that they are appended to, so that they stay in order.
        columns: dict[int, tuple[StringIO | None, list[bytes]]] = {
            id(sink): (sink, []) for t in templates for sink in t.sinks
        }
        shapes = [
            (
                *(t.framed if framed else t.plain),
                t,
                *(columns[id(x)][1] for x in t.sinks),
            )
            for t in templates
        ]
        # Interleaved choices follow each other in the same order again and again.
        follow = [*range(-1, len(shapes) - 1)]
        taken, which, before = 0, 0, -1
        for line in lines:
            if which != before:
                prefix, suffix, around, template, first, *second = shapes[which]
            body = line.removeprefix(prefix).removesuffix(suffix)
            parts = len(line) - len(body) == around and template.part(body)
            if not parts:
                for which, shape in enumerate(shapes):
                    prefix, suffix, around, template, first, *second = shape
                    body = line.removeprefix(prefix).removesuffix(suffix)
                    parts = len(line) - len(body) == around and template.part(body)
                    if parts:
                        break
                else:
                    break
                follow[before] = which
            first.append(parts[0])
            if second:
                second[0].append(parts[1])
            taken += 1
            before = which
            which = follow[which]
        try:
            texts = [
                (sink, _decode(bodies, b"".join(bodies)))
                for sink, bodies in columns.values()
            ]
        except ValueError:  # nothing was written: the half, to come near to the fault
            half = lines[: taken // 2]
            if half:
                return self._take_each(half, framed=framed)
            self._templates = []  # so that it is not tried again at each fault
            self._credit = 0
            return 0
        for sink, text in texts:
            if sink is not None:
                sink.write(text)
        return taken


def _find_key(payload: bytes, name: bytes) -> int:
    """Return where a key ends that stands once in a payload; -1 where it does not."""
    found = -1
    at = payload.find(name)
    while at >= 0:
        at += len(name)
        # A string that is no key is followed by one of these.
        if payload[at : at + 1] not in (b",", b"}", b"]"):
            if found >= 0:
                return -1
            found = at
        at = payload.find(name, at)
    return found


def _decode(bodies: list[bytes], joined: bytes) -> str:
    """Decode the bodies of JSON strings, and the sum of them, as one.

    Raises ValueError where one of them is no body by itself: it has a quote that is not
    escaped, or an escape, a surrogate pair or a character that is cut by its end.
    """
    if _BACKSLASH in joined or _QUOTE in joined:
        clean = b"\n".join(bodies).replace(b"\\\\", b"")
        if clean.count(b'"') != clean.count(b'\\"') or _CUT_ESCAPE.search(clean):
            raise ValueError("not the body of a string")
    if not joined.isascii():
        b"\n".join(bodies).decode()
    return _decode_text(b'"' + joined + b'"')
