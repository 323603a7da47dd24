"""The express lane: events that differ from one already folded only in known places.

This module is an optimisation and knows nothing of its own about how chunks fold: with
`Accumulator(express=False)` it is not used, and the results are the same.

Strategy: nearly all events of a stream are equal but for one JSON string, the next
piece of the content, say. From an event that was folded in the ordinary way a
*skeleton* is learned: the bytes around what changes, the holes. Where those are, and
what becomes of what stands in them, is said by `Fold.sinks`, anew after every event
that took the ordinary way. That the holes are those values and nothing else is not
guessed: the skeleton is filled with markers and decoded, and each must be found in its
place; all else in the event stays as it was, byte by byte.

Then, for many events at once, the holes are cut out, joined, and decoded as one JSON
string, 0.5 of the cost of decoding the chunks. What could make the sum of pieces differ
from the pieces is looked for (`_sinks.read`); where anything is found, nothing has been
folded yet and the events go the ordinary way, so that a fault is counted where it is.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from unstream._fold import Fold, is_flat
from unstream._json import Json, decode, dump
from unstream._schema import Chunk, decode_open_chunk
from unstream._sinks import (
    Lists,
    Path,
    Sink,
    Values,
    check_depth,
    place,
    read,
    read_text,
)

__all__ = ["Lane"]

_SLOTS: Final = 8  # skeletons at a time: interleaved choices; each is tried in turn
_CREDIT: Final = 16  # learnings in a row that may bring nothing before the lane rests
_REST: Final = 64  # events taken the ordinary way before it may learn once more
_MOST_LOOSE: Final = 16  # holes for values; more would cost more than they spare

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_NEAR: Final = 1024  # bytes to which the end of a run is sought
_MOST_SKIPS: Final = 32  # blocks that go by untried after others that were no good
_START: Final = len(b"data: ")

# Possessive (*+): without it the matcher remembers every escape it has passed.
_BODY: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

# What stands before a text, as compact JSON and as Python's `json.dumps` writes it.
_NEEDLES: Final[Mapping[Any, tuple[bytes, bytes]]] = {
    name: (f'"{name}":"'.encode(), f'"{name}": "'.encode())
    for name in (
        *("content", "reasoning_content", "reasoning", "refusal"),
        *("arguments", "input", "text", "summary", "data", "obfuscation", "p"),
        *("id", "model", "thinking"),
    )
}

_KEYS: Final = {name: f'"{name}"'.encode() for name in _NEEDLES}

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


# Where a hole starts and ends in the line, what stands there, and where it goes.
_Hole: TypeAlias = tuple[int, int, Path, Sink]


class _Skeleton:
    """One event with holes: `prefix`, hole, middle, hole, ..., `suffix`."""

    __slots__ = (
        "_frame",
        "bodies",
        "chunk",
        "epoch",
        "follower",
        "is_flat",
        "is_plain",
        "loose",
        "parts",
        "paths",
        "places",
        "plan",
        "prefix",
        "sinks",
        "suffix",
    )

    def __init__(
        self, chunk: Chunk, loose: frozenset[Path], holes: list[_Hole], line: bytes
    ) -> None:
        self.chunk = chunk
        self.loose = loose
        self.paths = [hole[2] for hole in holes]
        self.sinks: list[Sink] = []
        self.places: Collection[object] = ()
        self.prefix = line[: holes[0][0]]
        self.suffix = line[holes[-1][1] :]
        # Of each hole, whether it is a text and the middle that follows.
        self.plan: list[tuple[bool, bytes]] = []
        for hole, following in pairwise(holes):
            self.plan.append((_is_text(hole[3]), line[hole[1] : following[0]]))
        self.plan.append((_is_text(holes[-1][3]), b""))
        # Of a chunk that is flat and has no strangers, lists are not held to be nested.
        lists = any(isinstance(hole[3], Lists) for hole in holes)
        self.is_flat = not lists or (
            is_flat(chunk) and chunk.extra is None and not _has_strangers(chunk)
        )
        # Fit for whole blocks: texts alone, not more than two.
        self.is_plain = len(holes) <= 2 and self.plan[0][0] and self.plan[-1][0]  # noqa: PLR2004
        self.epoch = -1
        self.follower = self
        self.bodies: list[bytes] = []  # holes put aside, those of an event in a row
        self.parts = (
            self.prefix,
            self.suffix,
            len(self.prefix) + len(self.suffix),
            # None where there is nothing to part.
            None if self.is_plain and len(holes) == 1 else self.plan,
            self.bodies,
        )
        self._frame: tuple[bytes, bytes, bytes] | None = None

    def frame(self) -> tuple[bytes, bytes, bytes]:
        """Return what a block of such events is made of, between the holes.

        A short needle before the first hole, because a search for more than a few bytes
        is several times slower; what comes before it, and what comes after the last
        hole up to the next needle.
        """
        if self._frame is None:
            needle = self.prefix[self.prefix.rfind(b'"', 0, -3) :]
            head = self.prefix[: -len(needle)]
            self._frame = needle, head, self.suffix + b"\n\n" + head
        return self._frame

    def read(self) -> list[Any]:
        """Read what was put aside; raise ValueError where that is unsound."""
        step = len(self.sinks)  # the holes of one event stand next to each other
        if not self.is_flat:
            check_depth(self.bodies)
        if step == 1:
            return [read(self.sinks[0], self.bodies)]
        return [
            read(sink, self.bodies[hole::step]) for hole, sink in enumerate(self.sinks)
        ]

    def write(self, values: list[Any]) -> None:
        """Write what was read."""
        for sink, value in zip(self.sinks, values, strict=True):
            if sink is not None:
                sink.write(value)


class Lane:
    """The skeletons of one stream, and what they take of it."""

    __slots__ = (
        "_by_prefix",
        "_credit",
        "_doubted",
        "_epoch",
        "_fold",
        "_last",
        "_loose",
        "_newest",
        "_penalty",
        "_sizes",
        "_skeletons",
        "_skips",
    )

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._skeletons: list[_Skeleton] = []
        self._by_prefix: dict[bytes, list[_Skeleton]] = {}
        self._sizes: set[int] = set()  # the lengths of the prefixes
        self._newest: _Skeleton | None = None
        self._epoch = 0  # counts the events that may have changed the fold
        self._credit = _CREDIT
        self._last: Chunk | None = None
        self._doubted: set[Path] = set()  # where two chunks in a row differed, once
        self._loose: frozenset[Path] = frozenset()  # and once more
        self._skips = 0  # blocks still not to be tried as a whole
        self._penalty = 0

    # --- Learning ---------------------------------------------------------------------

    def learn(self, line: bytes, chunk: Chunk) -> None:
        """Take note of an event that has just been folded in the ordinary way.

        `line` is its one line, which starts with `data: `.
        """
        self._epoch += 1
        if self._credit == 0:
            self._credit = -_REST
        self._credit += -1 if self._credit > 0 else 1
        if self._credit < 0:
            return
        if self._last is not None:
            self._loosen(self._last, chunk)
        self._last = chunk
        loose = self._loose
        sinks = self._fold.sinks(chunk, loose)
        if not sinks:
            return
        holes = _find_holes(line, sinks)
        if not holes:
            return
        skeleton = _Skeleton(chunk, loose, holes, line)
        self._lead(skeleton, sinks)
        self._keep(skeleton)
        if self._newest is not None:
            self._newest.follower = skeleton
        self._newest = skeleton

    def _loosen(self, last: Chunk, chunk: Chunk) -> None:
        """Find what changes from chunk to chunk although it is no text."""
        if (
            last.extra is None
            and last.id == chunk.id
            and last.created == chunk.created
            and last.model == chunk.model
            and last.usage is None
            and not _has_strangers(last)
        ):
            return
        before = _changeable(last)
        differing = {
            path
            for path, value in _changeable(chunk).items()
            if value is not None and before.get(path, value) not in (None, value)
        }
        found = (differing & self._doubted) - self._loose
        if found and len(self._loose) + len(found) <= _MOST_LOOSE:
            self._loose |= found
            # What they hold to be constant may be what others now change: a place is
            # either loose for all or for none.
            for skeleton in self._skeletons[:]:
                self._drop(skeleton)
        self._doubted |= differing

    def disturb(self) -> None:
        """Take note that an event has changed the fold that was not learned.

        What the lane itself writes changes nothing that `Fold.sinks` depends on: texts
        and lists that grow, and values at places that are loose for every skeleton.
        """
        self._epoch += 1

    def _renew(self, skeleton: _Skeleton) -> bool:
        """Ask the fold again where the values go, after events of other kinds."""
        if skeleton.epoch == self._epoch:
            return True
        if skeleton not in self._skeletons:
            return False
        sinks = self._fold.sinks(skeleton.chunk, skeleton.loose)
        if sinks is None or sinks.keys() != set(skeleton.paths):
            return False
        return self._lead(skeleton, sinks)

    def _lead(self, skeleton: _Skeleton, sinks: dict[Path, Sink]) -> bool:
        """Lead the holes of a skeleton to their sinks, if that keeps the order.

        It would not where two skeletons held back values of one place.
        """
        places = set(map(place, sinks.values()))
        for other in self._skeletons[:]:
            if other is not skeleton and not places.isdisjoint(other.places):
                if other.bodies:
                    return False
                self._drop(other)
        skeleton.sinks = [sinks[path] for path in skeleton.paths]
        skeleton.places = places
        skeleton.epoch = self._epoch
        return True

    # --- Taking -----------------------------------------------------------------------

    @property
    def is_hopeful(self) -> bool:
        """Say whether the next block may be good to take whole."""
        newest = self._newest
        return newest is not None and newest.is_plain and not self._skips

    def reach(self, block: bytes, start: int) -> int:
        """Return where the run of events of one skeleton ends that begins at `start`.

        It is a guess, from the beginnings of a few events; `start` where there is none.
        """
        skeleton = self._newest
        if skeleton is None or not skeleton.is_plain:
            return start
        if self._skips:
            self._skips -= 1
            return start
        prefix = skeleton.prefix
        stop = len(block)
        if not block.startswith(prefix, start):
            self._lose()
            return start
        last = block.rfind(b"\n\n", start, -2) + 2
        if last == 1 or block.startswith(prefix, last):
            return stop
        low, high = start, last
        while high - low > _NEAR:
            middle = block.find(b"\n\n", (low + high) // 2, high) + 2
            if middle in (1, high):
                break
            if block.startswith(prefix, middle):
                low = middle
            else:
                high = middle
        if low == start:
            self._lose()
        return low

    def whole(self, block: bytes) -> int:
        """Take a block of whole events if all are of one skeleton; return how many.

        0 where they are not, and then nothing has been folded.
        """
        skeleton = self._newest
        if (
            not block
            or skeleton is None
            or not skeleton.is_plain
            or not self._renew(skeleton)
        ):
            return 0
        n = self._whole(skeleton, block)
        if n:
            self._penalty = 0
            self._credit = max(self._credit, _CREDIT)
        else:
            self._lose()
        return n

    def _lose(self) -> None:
        # The first time it costs nothing: runs do end.
        self._skips = self._penalty
        self._penalty = min(2 * self._penalty + 1, _MOST_SKIPS)

    def _whole(self, skeleton: _Skeleton, block: bytes) -> int:
        needle, head, tail = skeleton.frame()
        pieces = block.split(needle)
        n = len(pieces) - 1
        last = pieces.pop().removesuffix(b"\n\n")
        if not last.endswith(skeleton.suffix) or pieces[0] != head:
            return 0
        # The last piece is given the tail of the others, and then they are all alike.
        pieces.append(last[: len(last) - len(skeleton.suffix)] + tail)
        size = len(block) - n * (len(needle) + len(tail)) + len(tail)
        size -= len(head) + len(skeleton.suffix) + len(b"\n\n")
        del pieces[0]
        middle = skeleton.plan[0][1]
        size -= n * len(middle)
        if not middle:
            bodies = [[piece.removesuffix(tail) for piece in pieces]]
        elif skeleton.sinks[1] is None:
            # Padding holds no quote, and one byte is found from behind in no time.
            middle = middle[:-1]
            parts = [piece.removesuffix(tail).rpartition(b'"') for piece in pieces]
            bodies = [
                [body.removesuffix(middle) for body, _, _ in parts],
                [padding for _, _, padding in parts],
            ]
        else:
            parts = [piece.partition(middle) for piece in pieces]
            bodies = [
                [body for body, _, _ in parts],
                [rest.removesuffix(tail) for _, _, rest in parts],
            ]
        # Only if every piece had its middle and its tail are the sizes equal: a piece
        # that lacks one is left longer.
        joined = [b"".join(hole) for hole in bodies]
        if sum(map(len, joined)) != size:
            return 0
        try:
            texts = [*map(read_text, bodies, joined)]
        except ValueError:
            return 0
        skeleton.write(texts)
        return n

    def run(self, lines: Iterator[bytes]) -> tuple[int, bool]:
        """Take lines, each a whole event, while they fit.

        Return how many did before the first that did not, which is used up, and whether
        they were taken: if not, they are to go the ordinary way.
        """
        newest = self._newest
        if newest is None:
            next(lines)
            return 0, True
        touched: list[_Skeleton] = []
        # Interleaved choices follow each other in the same order again and again.
        skeleton = newest.follower
        prefix, suffix, around, plan, bodies = skeleton.parts
        n = 0
        for line in lines:
            # Twice as fast as startswith, endswith and a slice.
            body = line.removeprefix(prefix).removesuffix(suffix)
            if len(line) - len(body) != around:
                found = self._find(line)
                if found is None:
                    break
                newest.follower = skeleton = found
                prefix, suffix, around, plan, bodies = skeleton.parts
                body = line.removeprefix(prefix).removesuffix(suffix)
            holes = None if plan is None else _part(body, plan)
            if holes is None and (plan or (_QUOTE in body and not _is_body(body))):
                break
            if not bodies:
                if not self._renew(skeleton):
                    break
                touched.append(skeleton)
            if holes is None:
                bodies.append(body)
            else:
                bodies.extend(holes)
            n += 1
            newest = skeleton
            if newest.follower is not skeleton:
                skeleton = newest.follower
                prefix, suffix, around, plan, bodies = skeleton.parts
        self._newest = newest
        return n, n == 0 or self._flush(touched)

    def _find(self, line: bytes) -> _Skeleton | None:
        # One look for all prefixes of one length, as those of like calls or choices.
        for size in self._sizes:
            for skeleton in self._by_prefix.get(line[:size], ()):
                _, suffix, around, *_ = skeleton.parts
                if line.endswith(suffix) and len(line) >= around:
                    return skeleton
        return None

    def _keep(self, skeleton: _Skeleton) -> None:
        """Put a skeleton among the others, in the place of the oldest if need be."""
        if len(self._skeletons) == _SLOTS:
            self._drop(self._skeletons[0])
        self._skeletons.append(skeleton)
        self._by_prefix.setdefault(skeleton.prefix, []).append(skeleton)
        self._sizes.add(len(skeleton.prefix))

    def _drop(self, skeleton: _Skeleton) -> None:
        self._skeletons.remove(skeleton)
        skeleton.epoch = -1
        twins = self._by_prefix[skeleton.prefix]
        twins.remove(skeleton)
        if not twins:
            del self._by_prefix[skeleton.prefix]
            self._sizes = set(map(len, self._by_prefix))

    def _flush(self, touched: list[_Skeleton]) -> bool:
        try:
            values = [skeleton.read() for skeleton in touched]
        except ValueError:
            taken = False
        else:
            taken = True
            for skeleton, found in zip(touched, values, strict=True):
                skeleton.write(found)
            self._credit = _CREDIT
        for skeleton in touched:
            skeleton.bodies.clear()
        return taken


def _part(body: bytes, plan: list[tuple[bool, bytes]]) -> list[bytes] | None:
    """Part what lies between prefix and suffix into holes, if it fits."""
    holes = []
    for is_text, middle in plan:
        hole = body
        if middle:
            hole, separator, body = body.partition(middle)
            if not separator:
                return None
        if is_text and _QUOTE in hole and not _is_body(hole):
            return None
        holes.append(hole)
    return holes


def _is_body(raw: bytes) -> bool:
    return _BODY.fullmatch(raw) is not None


def _is_text(sink: Sink) -> bool:
    return not isinstance(sink, Values | Lists)


# --- Learning -------------------------------------------------------------------------


def _has_strangers(chunk: Chunk) -> bool:
    choice = chunk.choices[0] if chunk.choices else None
    if choice is None:
        return False
    return bool(choice.extra or (choice.delta is not None and choice.delta.extra))


def _changeable(chunk: Chunk) -> dict[Path, Json]:
    """Return what may change from chunk to chunk and be no text."""
    found: dict[Path, Json] = {
        ("id",): chunk.id,
        ("created",): chunk.created,
        ("model",): chunk.model,
        ("usage",): chunk.usage,
    }
    levels: list[tuple[Path, Any]] = [((), chunk)]
    if chunk.choices:
        choice = chunk.choices[0]
        levels.append((("choices", 0), choice))
        levels.append((("choices", 0, "delta"), choice.delta))
    for level, part in levels:
        for key, value in ((part and part.extra) or {}).items():
            found[(*level, key)] = value
    return found


def _find_holes(line: bytes, sinks: dict[Path, Sink]) -> list[_Hole] | None:
    """Find where in an event the values stand that have a sink, and prove it."""
    # A text has a sink only if the chunk has that text, so its key stands in the event.
    # Without a backslash outside the holes the key is written in one way, and a quote
    # there is never inside of a string: if those bytes stand once, they are that key.
    is_evident = True
    holes: list[_Hole] = []
    lists = any(isinstance(sink, Lists) for sink in sinks.values())
    if lists and not _is_verbatim(line):
        return None
    for path, sink in sinks.items():
        if _is_text(sink):
            span = _find_text(line, path)
            is_evident = is_evident and line.count(_KEYS[path[-1]]) == 1
        else:
            span = _find_value(line, path)
            is_evident = False
        if span is None:
            return None
        holes.append((*span, path, sink))
    if len(holes) > 1:
        holes.sort(key=itemgetter(0))
    if is_evident:
        at = 0
        for start, end, _, _ in holes:
            is_evident = is_evident and line.find(_BACKSLASH, at, start) < 0
            at = end
        is_evident = is_evident and line.find(_BACKSLASH, at) < 0
    return holes if is_evident or _is_proven(line, holes) else None


def _is_verbatim(line: bytes) -> bool:
    """Say whether the text of lists is kept as it was sent, not written anew."""
    try:
        decode_open_chunk(line[_START:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _is_proven(line: bytes, holes: list[_Hole]) -> bool:
    """Say whether markers in the holes are found at their paths."""
    # Nobody can have written this into the event beforehand: hashes of bytes are
    # seeded anew for every process.
    seed = hash(line) >> 8
    filled = b""
    at = _START
    for mark, (start, end, *_) in enumerate(holes, seed):
        if start < at:
            return False
        filled += b"%b%d" % (line[at:start], mark)
        at = end
    try:
        event = decode(filled + line[at:])
        for mark, (_, _, path, sink) in enumerate(holes, seed):
            value = event
            for step in path:
                value = value[step]
            if value != (str(mark) if _is_text(sink) else mark):
                return False
    except (ValueError, LookupError, TypeError):
        return False
    return True


def _find_text(line: bytes, path: Path) -> tuple[int, int] | None:
    # Once only: blocks are split there.
    for needle in _NEEDLES[path[-1]]:
        at = line.find(needle)
        if at >= 0:
            break
    else:
        return None
    start = at + len(needle)
    if line.find(needle, start) >= 0:
        return None
    match = _BODY.match(line, start)
    return None if match is None else (start, match.end())


def _find_value(line: bytes, path: Path) -> tuple[int, int] | None:
    raw = line[_START:]
    try:
        for step in path:
            if isinstance(step, int):
                raw = bytes(_decode_list(raw)[step])
            else:
                raw = bytes(_decode_object(raw)[step])
    except (ValueError, LookupError, RecursionError):
        return None
    key = dump(path[-1]).encode()
    for colon in (b":", b": "):
        start = line.find(key + colon + raw)
        if start >= 0:
            start += len(key + colon)
            return start, start + len(raw)
    return None
