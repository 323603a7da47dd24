"""The express lane: events that differ from one already folded only in their texts.

This module is an optimisation and knows nothing of its own about how chunks fold: with
`Accumulator(express=False)` it is not used, and the results are the same.

Strategy: nearly all events of a stream are equal but for one JSON string, the next
piece of the content, say. From an event that was folded in the ordinary way a
*skeleton* is learned: the bytes around its texts, the holes. That the holes are those
texts and nothing else is not guessed: the skeleton is filled with markers and decoded,
and must give the same chunk but for the markers. That folding such a chunk does nothing
but append its texts is said by `Fold.sinks`, anew after every event that took the
ordinary way.

Then, for many events at once, the holes are cut out, joined, and decoded as one JSON
string, 0.5 of the cost of decoding the chunks. What could make the sum of pieces differ
from the pieces is looked for (see `_text`); where anything is found, nothing has been
folded yet and the events go the ordinary way, so that a fault is counted where it is.
"""

import re
from typing import Any, Final

import msgspec

from unstream._fit import open_chunk
from unstream._fold import Fold, Sink
from unstream._json import decode
from unstream._schema import Chunk, decode_chunk

__all__ = ["Lane"]

_SLOTS: Final = 8  # skeletons at a time: interleaved choices; each is tried in turn
_CREDIT: Final = 16  # learnings in a row that may bring nothing before the lane rests
_REST: Final = 64  # events taken the ordinary way before it may learn once more

# To look for a number in bytes is five times as fast as to look for bytes.
_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")

_NEAR: Final = 1024  # bytes to which the end of a run is sought
_MOST_LOSSES: Final = 32  # blocks that go by untried after others that were no good

# What stands before a text, as compact JSON and as Python's `json.dumps` writes it.
_NEEDLES: Final = {
    name: (f'"{name}":"'.encode(), f'"{name}": "'.encode())
    for name in (
        *("content", "reasoning_content", "reasoning", "refusal"),
        *("arguments", "input", "text", "summary", "data", "obfuscation", "p"),
    )
}

_decode_text = msgspec.json.Decoder(str).decode
# Possessive (*+): without it the matcher remembers every escape it has passed.
_BODY: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_CUT_ESCAPE: Final = re.compile(rb"\\(?:u(?![0-9a-fA-F]{4})|\n|$)")


class _Skeleton:
    """One event with holes for texts: `prefix`, hole, middle, hole, ..., `suffix`."""

    __slots__ = (
        "bodies",
        "chunk",
        "epoch",
        "follower",
        "head",
        "middles",
        "names",
        "needle",
        "parts",
        "prefix",
        "sinks",
        "suffix",
        "tail",
    )

    def __init__(self, chunk: Chunk, names: list[str], constants: list[bytes]) -> None:
        self.chunk = chunk
        self.names = names
        self.prefix = constants[0]
        self.middles = constants[1:-1]
        self.suffix = constants[-1]
        # For whole blocks: a short needle before the first hole, because a search for
        # more than a few bytes is several times slower, and what lies around it.
        self.needle = self.prefix[self.prefix.rindex(b'"', 0, -3) :]
        self.head = self.prefix[: -len(self.needle)]
        self.tail = self.suffix + b"\n\n" + self.head
        self.sinks: list[Sink | None] = []
        self.epoch = -1
        self.follower = self
        self.bodies: list[bytes] = []  # holes put aside, those of an event in a row
        self.parts = (
            self.prefix,
            self.suffix,
            len(self.prefix) + len(self.suffix),
            self.middles,
            self.bodies,
        )

    def texts(self) -> list[str]:
        """Decode what was put aside; raise ValueError where that is unsound."""
        step = len(self.names)  # the holes of one event stand next to each other
        holes = [self.bodies[hole::step] for hole in range(step)]
        return [_text(hole, b"".join(hole)) for hole in holes]


class Lane:
    """The skeletons of one stream, and what they take of it."""

    __slots__ = (
        "_credit",
        "_epoch",
        "_fold",
        "_losses",
        "_newest",
        "_penalty",
        "_skeletons",
    )

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._skeletons: list[_Skeleton] = []
        self._newest: _Skeleton | None = None
        self._epoch = 0  # counts the events that may have changed the fold
        self._credit = _CREDIT
        self._losses = 0  # blocks not to be tried as a whole
        self._penalty = 0

    # --- Learning ---------------------------------------------------------------------

    def learn(self, line: bytes, chunk: Chunk) -> None:
        """Take note of an event that has just been folded in the ordinary way.

        `line` is its one line, which starts with `data: `.
        """
        self._epoch += 1
        self._credit += 1 if self._credit < 0 else 0
        if self._credit == 0:
            self._credit = -_REST
        if self._credit < 0:
            return
        self._credit -= 1
        sinks = self._fold.sinks(chunk)
        if not sinks:
            return
        skeleton = _learn(line, chunk, list(sinks))
        if skeleton is None:
            return
        skeleton.epoch = self._epoch
        skeleton.sinks = [sinks[name] for name in skeleton.names]
        # Texts of one sink must stay in order, so it has one skeleton at a time.
        taken = {id(sink) for sink in skeleton.sinks if sink is not None}
        self._skeletons = [
            other
            for other in self._skeletons[-_SLOTS + 1 :]
            if taken.isdisjoint(map(id, other.sinks))
        ]
        self._skeletons.append(skeleton)
        for other in self._skeletons:
            if other is self._newest or other.follower not in self._skeletons:
                other.follower = skeleton
        self._newest = skeleton

    @property
    def is_ready(self) -> bool:
        """Say whether there is a skeleton to compare with."""
        return self._newest is not None

    def disturb(self) -> None:
        """Take note that the fold may have changed in some other way."""
        self._epoch += 1

    def _renew(self, skeleton: _Skeleton) -> bool:
        """Ask the fold again where the texts go, after events of other kinds."""
        if skeleton.epoch == self._epoch:
            return True
        sinks = self._fold.sinks(skeleton.chunk)
        if sinks is None or sinks.keys() != set(skeleton.names):
            skeleton.epoch = -1
            return False
        skeleton.sinks = [sinks[name] for name in skeleton.names]
        skeleton.epoch = self._epoch
        return True

    # --- Taking -----------------------------------------------------------------------

    @property
    def is_hopeful(self) -> bool:
        """Say whether blocks have lately been good to take whole."""
        return self._newest is not None and not self._losses

    def reach(self, block: bytes, start: int) -> int:
        """Return where the run of events of one skeleton ends that begins at `start`.

        It is a guess, from the beginnings of a few events; `start` where there is none.
        """
        skeleton = self._newest
        if skeleton is None or len(skeleton.middles) > 1:
            return start
        if self._losses:
            self._losses -= 1
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
        if not block or skeleton is None or not self._renew(skeleton):
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
        self._losses = self._penalty
        self._penalty = min(2 * self._penalty + 1, _MOST_LOSSES)

    def _whole(self, skeleton: _Skeleton, block: bytes) -> int:
        needle, tail = skeleton.needle, skeleton.tail
        pieces = block.split(needle)
        n = len(pieces) - 1
        last = pieces.pop().removesuffix(b"\n\n")
        if not last.endswith(skeleton.suffix) or pieces[0] != skeleton.head:
            return 0
        # The last piece is given the tail of the others, and then they are all alike.
        pieces.append(last[: len(last) - len(skeleton.suffix)] + tail)
        size = len(block) - n * (len(needle) + len(tail)) + len(tail)
        size -= len(skeleton.head) + len(skeleton.suffix) + len(b"\n\n")
        del pieces[0]
        if not skeleton.middles:
            bodies = [[piece.removesuffix(tail) for piece in pieces]]
        elif skeleton.sinks[1] is None:
            # Padding holds no quote, and one byte is found from behind in no time.
            [middle] = skeleton.middles
            size -= n * len(middle)
            middle = middle[:-1]
            parts = [piece.removesuffix(tail).rpartition(b'"') for piece in pieces]
            bodies = [
                [body.removesuffix(middle) for body, _, _ in parts],
                [padding for _, _, padding in parts],
            ]
        else:
            [middle] = skeleton.middles
            size -= n * len(middle)
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
            texts = [*map(_text, bodies, joined)]
        except ValueError:
            return 0
        for sink, text in zip(skeleton.sinks, texts, strict=True):
            if sink is not None:
                sink.write(text)
        return n

    def run(self, lines: list[bytes], start: int) -> tuple[int, bool]:
        """Take the lines from `start` on, each a whole event, while they fit.

        Return where it stopped, and whether what lies before was taken: if not, those
        lines are to go the ordinary way.
        """
        newest = self._newest
        if newest is None:
            return start, True
        touched: list[_Skeleton] = []
        # Interleaved choices follow each other in the same order again and again.
        skeleton = newest.follower
        prefix, suffix, around, middles, bodies = skeleton.parts
        at = start
        for line in lines[start:] if start else lines:
            # Twice as fast as startswith, endswith and a slice.
            body = line.removeprefix(prefix).removesuffix(suffix)
            if len(line) - len(body) != around:
                found = self._find(line)
                if found is None:
                    break
                newest.follower = skeleton = found
                prefix, suffix, around, middles, bodies = skeleton.parts
                body = line.removeprefix(prefix).removesuffix(suffix)
            holes = _part(body, middles) if middles else None
            if holes is None and (middles or (_QUOTE in body and not _is_body(body))):
                break
            if not bodies:
                if not self._renew(skeleton):
                    break
                touched.append(skeleton)
            if holes is None:
                bodies.append(body)
            else:
                bodies += holes
            at += 1
            newest = skeleton
            if newest.follower is not skeleton:
                skeleton = newest.follower
                prefix, suffix, around, middles, bodies = skeleton.parts
        self._newest = newest
        return at, at == start or self._flush(touched)

    def _find(self, line: bytes) -> _Skeleton | None:
        for skeleton in self._skeletons:
            prefix, suffix, around, *_ = skeleton.parts
            body = line.removeprefix(prefix).removesuffix(suffix)
            if len(line) - len(body) == around:
                return skeleton
        return None

    def _flush(self, touched: list[_Skeleton]) -> bool:
        try:
            texts = [skeleton.texts() for skeleton in touched]
        except ValueError:
            taken = False
        else:
            taken = True
            for skeleton, filled in zip(touched, texts, strict=True):
                for sink, text in zip(skeleton.sinks, filled, strict=True):
                    if sink is not None:
                        sink.write(text)
            self._credit = _CREDIT
        for skeleton in touched:
            skeleton.bodies.clear()
        return taken


def _part(body: bytes, middles: list[bytes]) -> list[bytes] | None:
    """Part what lies between prefix and suffix into holes, if it fits."""
    holes = []
    for middle in middles:
        hole, separator, body = body.partition(middle)
        if not separator:
            return None
        holes.append(hole)
    holes.append(body)
    for hole in holes:
        if _QUOTE in hole and not _is_body(hole):
            return None
    return holes


def _is_body(raw: bytes) -> bool:
    match = _BODY.fullmatch(raw)
    return match is not None


def _text(bodies: list[bytes], joined: bytes) -> str:
    """Decode the bodies of JSON strings as one; raise ValueError where that is unsound.

    It is where a body is none by itself (a quote that is not escaped, an escape that is
    cut by its end) although the sum may be, or holds part of a character.
    """
    if _BACKSLASH in joined or _QUOTE in joined:
        clean = b"\n".join(bodies).replace(b"\\\\", b"")
        if clean.count(b'"') != clean.count(b'\\"') or _CUT_ESCAPE.search(clean):
            raise ValueError("not the body of a string")
    if not joined.isascii():
        b"\n".join(bodies).decode()
    return _decode_text(b'"' + joined + b'"')


def _learn(  # noqa: C901 - one branch a reason not to
    line: bytes, chunk: Chunk, names: list[str]
) -> _Skeleton | None:
    """Cut the texts out of an event, and prove that it can be filled again."""
    holes = []
    for name in names:
        for needle in _NEEDLES[name]:
            at = line.find(needle)
            if at >= 0:
                break
        else:
            return None
        start = at + len(needle)
        match = _BODY.match(line, start)
        if match is None or line.find(needle, start) >= 0:
            return None
        holes.append((start, match.end(), name))
    holes.sort()
    constants = []
    at = 0
    for start, end, _ in holes:
        constants.append(line[at:start])
        at = end
    constants.append(line[at:])
    names = [name for _, _, name in holes]
    markers = [f"hole {place}" for place in range(len(names))]
    filled = constants[0]
    for marker, constant in zip(markers, constants[1:], strict=True):
        filled += marker.encode() + constant
    filled = filled[len(b"data: ") :]
    try:
        try:
            probe = decode_chunk(filled)
        except msgspec.ValidationError:  # it has strangers
            probe = open_chunk(filled, decode(filled))
        for name, marker in zip(names, markers, strict=True):
            if _swap(probe, chunk, name) != marker:
                return None
    except (ValueError, LookupError, AttributeError, TypeError):
        return None
    return _Skeleton(chunk, names, constants) if probe == chunk else None


def _swap(probe: Chunk, chunk: Chunk, name: str) -> Any:
    """Put the chunk's text in the place of the marker, which is returned."""
    here, there = _owner(probe, name), _owner(chunk, name)
    if isinstance(here, dict):
        marker, here[name] = here[name], there[name]
        return marker
    marker = getattr(here, name)
    setattr(here, name, getattr(there, name))
    return marker


def _owner(chunk: Chunk, name: str) -> Any:
    """Return what holds the text of that name in a chunk with one choice."""
    if name in ("obfuscation", "p"):
        return chunk
    delta: Any = chunk.choices and chunk.choices[0].delta
    if name == "arguments":
        return delta.tool_calls[0].function
    if name == "input":
        return delta.tool_calls[0].custom
    if name in ("text", "summary", "data"):
        return delta.reasoning_details[0]
    return delta
