"""Where the live texts and calls of responses stand.

A call is over where its item was done when another began, or the response is over.
"""

from collections.abc import Iterable
from typing import Any
from weakref import proxy

from unstream._json import Json
from unstream._live import Answer, Live, only_answer
from unstream._outcome import Completion
from unstream._rules import State, settle
from unstream.responses._fold import ResponsesFold
from unstream.responses._items import Item, Items
from unstream.responses._schema import Response
from unstream.responses._slots import Slots

__all__ = ["LiveResponses"]

# Any part of an item may grow: of so many, all are looked at each time. What has more
# is told when the response is over.
_MOST_PARTS = 64


class _Watched(Items):
    """The items of a response, and those that an event was about."""

    __slots__ = ("newest", "over", "touched")

    def __init__(self, room: Any) -> None:
        super().__init__(room)
        self.touched: list[Item] = []
        self.newest: Item | None = None
        self.over: list[Item] = []  # since another began

    def _find(self, item_id: str, index: int | None, kind: str) -> Item | None:
        found = super()._find(item_id, index, kind)
        if found is not None:
            self.touched.append(found)
        return found

    def _open(self, state: State, index: int | None, *, built: bool) -> Item | None:
        opened = super()._open(state, index, built=built)
        if opened is not None:
            if self.newest is not None and self.newest.closed:
                self.over.append(self.newest)
            self.newest = opened
            self.touched.append(opened)
        return opened

    def _set(self, item: Item, state: State) -> None:
        super()._set(item, state)
        self.touched.append(item)


class LiveResponses(Live[Response], ResponsesFold):
    """The fold of responses, telling."""

    def _begin(self) -> None:
        super()._begin()
        self._items: _Watched = _Watched(proxy(self))
        self.log.start_over()

    def touched(self, sent: State) -> None:
        """Return nothing: the items know."""

    def report(self, touched: None) -> None:  # noqa: ARG002
        """Show the items."""
        items = self._items
        found = dict.fromkeys(items.touched)
        items.touched.clear()
        for item in found:
            self._report(item)
        for item in items.over:
            cut = (0,) if item.state.get("status") == "incomplete" else ()
            for call in self.judged({"output": [settle(item.state)]}, cut):
                self.log.finish_call(0, item, call)
        items.over.clear()
        if self._terminal and not self.log.is_settled(0) and (whole := self.result()):
            self.settle(whole, self.unfinished())

    def _report(self, item: Item) -> None:
        log, state, kind = self.log, item.state, item.type
        if kind == "message":
            for at, part in _parts(state.get("content")):
                if part.get("type") == "output_text":
                    log.text("text", 0, (item, at), part.get("text"))
                elif part.get("type") == "refusal":
                    log.text("refusal", 0, (item, at), part.get("refusal"))
        elif kind == "reasoning":
            for among in ("content", "summary"):
                if state.get(among):
                    for at, part in _parts(state[among]):
                        log.text("reasoning", 0, (item, among, at), part.get("text"))
                    break
        elif kind in ("function_call", "custom_tool_call"):
            text = state.get("arguments" if kind == "function_call" else "input")
            log.call(0, item, state.get("call_id"), state.get("name"), text)

    def answers(self, whole: Completion, unfinished: tuple[int, ...]) -> list[Answer]:  # noqa: ARG002
        """Return what is left of the response."""
        return only_answer(whole, is_over=self._terminal)

    def spent(self) -> State | None:
        """Return the usage so far."""
        usage = self._envelope().get("usage")
        return usage if type(usage) is dict else None


def _parts(parts: Json | Slots) -> Iterable[tuple[int, State]]:
    """Return the places and parts of a list, if they are not too many."""
    if isinstance(parts, Slots):
        found = [*parts.items()] if len(parts) <= _MOST_PARTS else []
    elif type(parts) is list and len(parts) <= _MOST_PARTS:
        found = [*enumerate(parts)]
    else:
        found = []
    return [(at, part) for at, part in found if type(part) is dict]
