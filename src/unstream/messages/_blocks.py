"""Content blocks: which block a piece belongs to, and what the block becomes.

This module knows nothing but blocks. The API sends each with an index of its own, from
0 on, start, deltas and stop one after the other; but it used an index again for the
next block until August 2026, and servers that translate leave out starts, stops or
indexes, repeat starts or skip numbers. So a block is found by these rules:

1. A delta goes to the newest block at its index, stopped or not; without an index, to
   that at the index that came last, else at 0. Where there is none, it opens one.
2. A start at an index that is free begins a block. One that comes after deltas opened
   the block gives it its type and what is absent or empty, as long as it has not been
   stopped. One that repeats the block there is ignored: both have the same id, or
   neither has one, the type is the same, and the block has not been stopped. Any other
   begins another block.
3. A start without an index takes the highest so far + 1.
4. Blocks stand by index; one whose index was taken stands behind all before it.
"""

from io import StringIO
from typing import Final, Protocol

from unstream._json import Json, Malformed, mend, read_object
from unstream._outcome import Arguments, judge
from unstream._rules import CHANGED, HELD, Effects, State, fold, is_empty, settle
from unstream.messages._fields import DELTA, by_shape

__all__ = ["Blocks", "Room", "is_call"]


class Room(Protocol):
    """What a fold grants its blocks: room for one more, and a place for notes."""

    def may_open_block(self, n_open: int, *, calls: bool) -> bool:
        """Say whether there is room for one more block."""
        ...

    def note(self, code: str) -> None:
        """Note what is odd."""


class Blocks:
    """The blocks of one message."""

    __slots__ = ("_blocks", "_by_index", "_highest", "_room", "index")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._blocks: list[_Block] = []
        self._by_index: dict[int, _Block] = {}  # the newest at each
        self._highest = -1
        self.index = 0  # that came last; 0 before any did

    def __len__(self) -> int:
        return len(self._blocks)

    def add_all(self, sent: list[Json]) -> None:
        """Take the blocks that came with the message itself."""
        for index, state in enumerate(sent):
            if type(state) is dict:
                self.index = index
                self._begin(index, state)

    @property
    def kind(self) -> Json:
        """The type of the block that the newest piece was of."""
        block = self._by_index.get(self.index)
        return None if block is None else block.state.get("type")

    def start(self, sent: State, block: State) -> bool:
        """Take the start of a block; say whether it told anything."""
        index = _to_index(sent.get("index"))
        if index is None:
            index = self._highest + 1
        changed, self.index = index != self.index, index
        held = self._by_index.get(index)
        if held is None:
            self._begin(index, block)
        elif held.is_open and not held.is_stopped:
            held.fill(block)
        elif held.is_repeated_by(block):
            self._room.note("block_start_repeated")
            return changed
        else:
            self._room.note("index_reused")
            self._begin(index, block)
        return True

    def add(self, sent: State, delta: State, effects: Effects) -> None:
        """Take the next piece of a block."""
        index = sent.get("index")
        if type(index) is not int or index < 0:
            index = self.index
        block = self._by_index.get(index)
        if index != self.index:
            self.index = index
            # Pieces without an index go elsewhere from now on.
            effects.append(("index", index, CHANGED))
        if block is None:
            state = _opened_by(delta)
            if state is None:
                return
            self._room.note("block_start_missing")
            block = self._begin(index, state)
            if block is None:
                return
            block.is_open = True
            effects.append(("type", None, HELD))
        fold(block.state, delta, DELTA, by_shape, effects)

    def stop(self, sent: State) -> bool:
        """Take the end of a block; say whether it told anything."""
        index = _to_index(sent.get("index"))
        block = self._by_index.get(self.index if index is None else index)
        if block is None or block.is_stopped:
            return False
        block.is_stopped = True
        return True

    def _begin(self, index: int, state: State) -> "_Block | None":
        is_taken = index in self._by_index
        self._highest = max(self._highest, index)
        if not self._room.may_open_block(len(self._blocks), calls=is_call(state)):
            # What follows at this index is not of the block that was there.
            self._by_index.pop(index, None)
            return None
        block = _Block(state, self._highest if is_taken else index)
        self._blocks.append(block)
        self._by_index[index] = block
        return block

    def count_several(self) -> int:
        """Count the blocks whose input was more than one JSON document."""
        texts = [block.read_input()[1] for block in self._blocks]
        return sum(
            text is not None and judge(text) is Arguments.SEVERAL for text in texts
        )

    def result(self) -> list[Json]:
        """Return the blocks so far."""
        blocks = sorted(self._blocks, key=lambda block: block.place)
        return [block.result() for block in blocks]


class _Block:
    __slots__ = ("is_open", "is_stopped", "place", "state")

    def __init__(self, state: State, place: int) -> None:
        self.state = state
        self.place = place  # among the others
        self.is_open = False  # by a delta: its start has not come
        self.is_stopped = False

    def fill(self, sent: State) -> None:
        """Take a start that came after deltas."""
        self.is_open = False
        for key, value in sent.items():
            held = self.state.get(key)
            if key == "type":
                if type(value) is str:
                    self.state[key] = value
            elif held is None or is_empty(_text(held)):
                self.state[key] = value

    def is_repeated_by(self, sent: State) -> bool:
        """Say whether a start is this block's, once more."""
        ours, theirs = _text(self.state.get("id")), sent.get("id")
        if _is_text(ours) or _is_text(theirs):
            return bool(ours == theirs)
        return not self.is_stopped and self.state.get("type") == sent.get("type")

    def read_input(self) -> tuple[State | None, str | None]:
        """Return the input that came in pieces: an object, or text that is none."""
        grown = self.state.get("partial_json")
        if type(grown) is not StringIO:
            return None, None
        text = mend(grown.getvalue())
        if not text.strip(_SPACE):
            return None, None
        try:
            value = read_object(text)
        except Malformed:
            return None, text
        return (value, None) if type(value) is dict else (None, text)

    def result(self) -> State:
        state = self.state
        plain: State = settle(state)
        if type(state.get("partial_json")) is StringIO:
            value, text = self.read_input()
            del plain["partial_json"]
            if value is not None:
                plain["input"] = value
            if text is not None:
                plain["partial_json"] = text
        if "input" not in plain and is_call(plain):
            plain["input"] = {}
        return plain


_SPACE: Final = " \t\r\n"

# What a delta opens, by its type without `_delta`; any other is a block of that name.
_OPENED: Final[dict[str, State]] = {
    "text": {"type": "text", "text": ""},
    "citations": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "signature": {"type": "thinking", "thinking": "", "signature": ""},
    "input_json": {"type": "tool_use", "id": "", "name": ""},
}
# What it is of where it does not say.
_BY_KEY: Final = {
    "text": "text",
    "citation": "citations",
    "thinking": "thinking",
    "signature": "signature",
    "partial_json": "input_json",
}


def _opened_by(delta: State) -> State | None:
    kind = delta.get("type")
    if type(kind) is str:
        kind = kind.removesuffix("_delta")
        return dict(_OPENED.get(kind) or {"type": kind})
    for key, kind in _BY_KEY.items():
        if type(delta.get(key)) in (str, dict):
            return dict(_OPENED[kind])
    return {} if any(value is not None for value in delta.values()) else None


def _to_index(value: Json) -> int | None:
    return value if type(value) is int and value >= 0 else None


def is_call(state: State) -> bool:
    """Say whether a block calls a tool, of the client's or of the server's."""
    kind = state.get("type")
    return type(kind) is str and kind.endswith("tool_use")


def _text(value: Json) -> Json:
    return value.getvalue() if type(value) is StringIO else value


def _is_text(value: Json) -> bool:
    return type(value) is str and bool(value)
