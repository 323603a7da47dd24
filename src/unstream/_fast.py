"""The fast path: runs of events that differ in their texts alone, many at a time.

Deleting this file, and its call in `_accumulator`, changes nothing but the speed. It
knows neither chunks nor protocols: it sees payloads, and what the fold says that one of
them did.

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
from collections.abc import Sequence
from io import StringIO
from typing import Any, Final, Protocol

import msgspec

__all__ = ["FastPath"]

# The marks of an event where payloads were not cut out: a feed that is an event.
_HEAD: Final = b"data: "
_TAIL: Final = b"\n\n"

_MOST: Final = 8  # templates at a time: interleaved choices, each tried in turn
# A template costs about 5 microseconds, and spares about half of one a payload.
_WORTH: Final = 12
# Templates in a row that may bring nothing; then so many payloads must be alike first.
_CREDIT: Final = 8
_MANY: Final = 64
# As many payloads are tried as one; the number grows while that succeeds.
_WINDOW: Final = 64
_WIDE: Final = 1024

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_CUT: Final = re.compile(rb"\\(?:u(?![0-9a-fA-F]{4})|u[dD][89abAB]..(?:\n|$)|\n|$)")
_decode_text: Final = msgspec.json.Decoder(str).decode

# A string of a payload: where it starts and ends, and the text that it was appended to,
# or None where it was forgotten.
_Hole = tuple[int, int, StringIO | None]
_Lines = Sequence[bytes]
# The pieces of one text, and their sum.
_Column = tuple[StringIO | None, list[bytes], bytes]


class _Fold(Protocol):
    """What is asked of a fold: see `_protocol.Fold`."""

    n_events: int
    revision: int
    record: list[tuple[str, Any, Any]] | None


class _Template:
    """A payload with one hole or two: `prefix`, text, `middle`, text, `suffix`."""

    __slots__ = ("framed", "middle", "payload", "plain", "sinks")

    def __init__(self, payload: bytes, holes: list[_Hole]) -> None:
        start, end, _ = holes[0]
        next_start, last_end, _ = holes[-1]
        self.payload = payload
        prefix, suffix = payload[:start], payload[last_end:]
        self.middle = payload[end:next_start]
        self.sinks = [sink for _, _, sink in holes]
        self.plain = prefix, suffix
        self.framed = _HEAD + prefix, suffix + _TAIL

    def ends(self, *, framed: bool) -> tuple[bytes, bytes]:
        """Return what stands before and behind, in a payload or an event."""
        return self.framed if framed else self.plain

    def fits(self, line: bytes, *, framed: bool) -> bool:
        """Say whether a line is of this template, but for faults in its texts."""
        prefix, suffix = self.framed if framed else self.plain
        if not (line.startswith(prefix) and line.endswith(suffix)):
            return False
        # Where the text has no quote in it, which is found ten times as fast.
        at = line.find(_QUOTE, len(prefix))
        return line.startswith(self.middle, at) or self.middle in line

    def cut(self, lines: _Lines, size: int, *, framed: bool) -> list[_Column]:
        """Cut the texts out of lines, `size` bytes in all.

        Raises ValueError where one of the lines is not of this template.
        """
        prefix, suffix = self.framed if framed else self.plain
        middle = self.middle
        size -= len(lines) * (len(prefix) + len(suffix) + len(middle))
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
        joined = [b"".join(column) for column in columns]
        # Only if each had its prefix, its middle and its suffix are the sizes equal:
        # one that lacks any of them is left longer.
        if sum(map(len, joined)) != size:
            raise ValueError("not of this template")
        return [*zip(self.sinks, columns, joined, strict=True)]


class FastPath:
    """The templates of one stream, the newest first."""

    __slots__ = ("_credit", "_differ", "_revision", "_window", "templates")

    def __init__(self) -> None:
        self.templates: list[_Template] = []
        self._differ: tuple[int, int] | None = None  # see `_find_difference`
        self._revision = 0
        self._credit = _CREDIT
        self._window = _WINDOW

    def wait(self, n_left: int) -> int:
        """Say how many like payloads are to be folded before one is learned."""
        if n_left <= _WORTH:
            return n_left + 1
        return 1 if self._credit > 0 else _MANY

    def run(
        self,
        lines: _Lines,
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
            self.templates = []
        if fold.record and at and not framed:
            self._learn(lines[at - 1], fold.record)
            fold.record = None
        start, n, window = at, len(lines), self._window
        while at < n and self.templates:
            some = lines if not at and n <= window else lines[at : at + window]
            taken = self._take_run(some, size if some is lines else 0, framed=framed)
            if taken:
                window = min(2 * window, _WIDE)
            else:
                taken = self._take_each(some, framed=framed)
                if not taken:
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
        if len(holes) == 2 and holes[0][1] >= holes[1][0]:  # noqa: PLR2004
            return
        if any(sink for _, _, sink in holes):
            new = _Template(payload, holes)
            # One without padding is of those with padding, too.
            kept = [t for t in self.templates if not new.fits(t.payload, framed=False)]
            self.templates = [new, *kept[: _MOST - 1]]
            self._differ = _find_difference(self.templates)

    def _take_run(self, lines: _Lines, size: int, *, framed: bool) -> int:
        """Take lines from the first on that are of one template; return how many.

        Where they end is found by bisection. It need not be right: the sizes tell.
        """
        template = self._find(lines[0], framed=framed)
        stop = len(lines)
        if template is None or (
            len(self.templates) > 1
            and self._find(lines[stop > 1], framed=framed) is not template
        ):
            return 0
        low = stop if template.fits(lines[-1], framed=framed) else 1
        while low < stop:
            middle = (low + stop) // 2
            if template.fits(lines[middle], framed=framed):
                low = middle + 1
            else:
                stop = middle
        if stop < len(lines):
            lines, size = lines[:stop], 0
        try:
            _write(template.cut(lines, size or sum(map(len, lines)), framed=framed))
        except ValueError:
            return 0
        return stop

    def _find(self, line: bytes, *, framed: bool) -> _Template | None:
        """Return the template that a line is of."""
        for template in self.templates:
            if template.fits(line, framed=framed):
                return template
        return None

    def _take_each(self, lines: _Lines, *, framed: bool, exact: bool = False) -> int:
        """Take lines up to one that is of none of the templates; return how many.

        They are told apart by what their prefixes differ in, if that is enough and not
        an `exact` way is asked for.
        """
        groups: dict[_Template, list[bytes]] = {t: [] for t in self.templates}
        order: list[_Template] = []
        if self._differ is None or exact:
            exact = True
            for line in lines:
                if (found := self._find(line, framed=framed)) is None:
                    break
                groups[found].append(line)
                order.append(found)
        else:
            start, stop = (at + len(_HEAD) * framed for at in self._differ)
            by_key = {t.ends(framed=framed)[0][start:stop]: groups[t] for t in groups}
            try:
                for line in lines:
                    by_key[line[start:stop]].append(line)
            except KeyError:
                pass  # as far as that, then
        n = sum(map(len, groups.values()))
        try:
            _write(
                _merge(
                    {
                        template: template.cut(
                            group, sum(map(len, group)), framed=framed
                        )
                        for template, group in groups.items()
                        if group
                    },
                    order,
                )
            )
        except ValueError:
            if not exact:
                return self._take_each(lines, framed=framed, exact=True)
            if n > 1:  # a fault in a text: the half, to come near to it
                return self._take_each(lines[: n // 2], framed=framed, exact=True)
            self.templates = []  # so that it is not tried again at each fault
            self._credit = 0
            return 0
        return n


def _merge(
    found: dict[_Template, list[_Column]], order: list[_Template]
) -> list[_Column]:
    """Return the columns of several templates, each text once, its pieces in order."""
    if len(found) < 2 or not order:  # noqa: PLR2004 - then they are that
        return [column for columns in found.values() for column in columns]
    rows = {
        template: zip(*(pieces for _, pieces, _ in columns), strict=True)
        for template, columns in found.items()
    }
    texts: dict[StringIO | None, list[bytes]] = {}
    for template in order:
        for sink, piece in zip(template.sinks, next(rows[template]), strict=True):
            texts.setdefault(sink, []).append(piece)
    return [(sink, pieces, b"".join(pieces)) for sink, pieces in texts.items()]


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


def _find_difference(templates: list[_Template]) -> tuple[int, int] | None:
    """Return the range of bytes by which prefixes are told apart, if there is one.

    It is nearly always one byte, the index of interleaved choices. None, too, where two
    templates append to one text, whose pieces are to stay in order.
    """
    if len(templates) == 1:
        return None
    prefixes = {template.plain[0] for template in templates}
    sinks = [sink for t in templates for sink in t.sinks if sink is not None]
    if len(prefixes) < len(templates) or len({*sinks}) < len(sinks):
        return None
    end = min(map(len, prefixes))
    low, high = min(prefixes)[:end], max(prefixes)[:end]
    differ = int.from_bytes(low, "big") ^ int.from_bytes(high, "big")
    start = end - (differ.bit_length() + 7) // 8
    for stop in (start + 1, end):
        if differ and len({p[start:stop] for p in prefixes}) == len(prefixes):
            return start, stop
    return None


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
        if clean.count(b'"') != clean.count(b'\\"') or _CUT.search(clean):
            raise ValueError("not the body of a string")
    if not joined.isascii():
        b"\n".join(bodies).decode()
    return _decode_text(b'"' + joined + b'"')
