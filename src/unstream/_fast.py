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
_ENDING: Final = 4  # finish_reason, usage, what a provider adds

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_CUT: Final = re.compile(rb"\\(?:u(?![0-9a-fA-F]{4})|u[dD][89abAB]..(?:\n|$)|\n|$)")
_decode_text: Final = msgspec.json.Decoder(str).decode

# A string of a payload: where it starts and ends, and the text that it was appended to,
# or None where it was forgotten.
_Hole = tuple[int, int, StringIO | None]
_Lines = Sequence[bytes]


class _Fold(Protocol):
    """What is asked of a fold: see `_protocol.Fold`."""

    n_events: int
    revision: int
    record: list[tuple[str, Any, Any]] | None


class _Template:
    """A payload with one hole or two: `prefix`, text, `middle`, text, `suffix`."""

    __slots__ = ("framed", "middle", "plain", "sinks")

    def __init__(self, payload: bytes, holes: list[_Hole]) -> None:
        start, end, _ = holes[0]
        next_start, last_end, _ = holes[-1]
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
        prefix, suffix = self.ends(framed=framed)
        return line.startswith(prefix) and line.endswith(suffix) and self.middle in line

    def read(self, lines: _Lines, size: int, *, framed: bool) -> list[str]:
        """Decode the texts of lines, `size` bytes in all.

        Raises ValueError where one of them is not of this template.
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
        if len(joined) == 2 and self.sinks[1] is None and joined[1].isalnum():  # noqa: PLR2004
            return [_decode(columns[0], joined[0]), ""]  # padding needs no decoding
        return [*map(_decode, columns, joined)]

    def write(self, texts: list[str]) -> None:
        """Append texts where they belong."""
        for sink, text in zip(self.sinks, texts, strict=True):
            if sink is not None:
                sink.write(text)


class FastPath:
    """The templates of one stream, the newest first."""

    __slots__ = ("_credit", "_revision", "_window", "templates")

    def __init__(self) -> None:
        self.templates: list[_Template] = []
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
        sinks = [sink for _, _, sink in holes if sink is not None]
        if sinks:
            # A text has one template, so that its pieces stay in order.
            kept = [t for t in self.templates if not any(x in t.sinks for x in sinks)]
            self.templates = [_Template(payload, holes), *kept[: _MOST - 1]]

    def _take_all(self, lines: _Lines, size: int, *, framed: bool) -> int:
        """Take lines of the newest template, but for some of other kinds at the end."""
        template = self.templates[0]
        prefix, _ = template.ends(framed=framed)
        stop = len(lines)
        if not (lines[0].startswith(prefix) and lines[stop // 2].startswith(prefix)):
            return 0
        while not lines[stop - 1].startswith(prefix):
            stop -= 1
            if not stop or stop < len(lines) - _ENDING:
                return 0
        if stop < len(lines):
            lines, size = lines[:stop], 0
        try:
            texts = template.read(lines, size or sum(map(len, lines)), framed=framed)
        except ValueError:
            return 0
        template.write(texts)
        return stop

    def _take_each(self, lines: _Lines, *, framed: bool) -> int:
        """Take lines up to one that is of none of the templates; return how many."""
        found = {t.ends(framed=framed): t for t in reversed(self.templates)}
        # What tells the templates apart is nearly always one byte: the index.
        low, high = min(found)[0], max(found)[0]
        start, stop = 0, min(len(prefix) for prefix, _ in found)
        differ = int.from_bytes(low[:stop], "big") ^ int.from_bytes(high[:stop], "big")
        if differ:
            start = stop - (differ.bit_length() + 7) // 8
            if len({prefix[start] for prefix, _ in found}) == len(found):
                stop = start + 1
        by_key = {prefix[start:stop]: t for (prefix, _), t in found.items()}
        groups: dict[bytes, list[bytes]] = {key: [] for key in by_key}
        try:
            for line in lines:
                groups[line[start:stop]].append(line)
        except KeyError:
            pass  # as far as that, then
        try:
            read = [
                (t, t.read(some, sum(map(len, some)), framed=framed))
                for t, some in zip(by_key.values(), groups.values(), strict=True)
                if some
            ]
        except ValueError:
            lines = lines[: sum(map(len, groups.values()))]
            n = 0
            for line in lines:
                if not by_key[line[start:stop]].fits(line, framed=framed):
                    break
                n += 1
            else:  # a fault in a text: the half, to come near to it
                n = len(lines) // 2
                if not n:
                    self.templates = []  # so that it is not tried again at each fault
                    self._credit = 0
            return self._take_each(lines[:n], framed=framed) if n else 0
        for template, texts in read:
            template.write(texts)
        return sum(map(len, groups.values()))


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
