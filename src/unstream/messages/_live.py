"""Where the live texts and calls of messages stand.

A call is over where its block had stopped when another began: the model went on. The
stop alone does not say so, since it comes, too, for a block that was cut off.
"""

from typing import Any

from unstream._live import Answer, Live, only_answer
from unstream._outcome import Completion
from unstream._rules import State
from unstream.messages._blocks import _Block
from unstream.messages._fold import MessagesFold
from unstream.messages._schema import Message

__all__ = ["LiveMessages"]


class LiveMessages(Live[Message], MessagesFold):
    """The fold of messages, telling."""

    def _begin(self) -> None:
        super()._begin()
        self._n = 0  # blocks that were seen
        self._newest: _Block | None = None
        self.log.start_over()

    def touched(self, sent: State) -> Any:
        """Return the index of the block."""
        return sent.get("index")

    def report(self, touched: Any) -> None:
        """Show the block, and those that began."""
        blocks = self._blocks
        known = blocks._blocks  # noqa: SLF001 - of this protocol, as below
        before = self._newest
        if self._n < len(known):
            self._newest = known[-1]
            for fresh in known[self._n :]:
                self._report(fresh)
            self._n = len(known)
            if before is not None and before.is_stopped:
                # As if nothing were to stop the model.
                plain = {"content": [before.result()], "stop_reason": "tool_use"}
                for call in self.judged(plain):
                    self.log.finish_call(0, before, call)
        index = touched if type(touched) is int and touched >= 0 else blocks.index
        block = blocks._by_index.get(index)  # noqa: SLF001
        if block is not None:
            self._report(block)
        if self._ended and not self.log.is_settled(0) and (whole := self.result()):
            self.settle(whole, self.unfinished())

    def _report(self, block: _Block) -> None:
        log, state = self.log, block.state
        kind = state.get("type")
        if kind == "text":
            log.text("text", 0, block, state.get("text"))
        elif kind == "thinking":
            log.text("reasoning", 0, block, state.get("thinking"))
        elif kind == "tool_use":
            text = state.get("partial_json")
            log.call(0, block, state.get("id"), state.get("name"), text)

    def answers(self, whole: Completion, unfinished: tuple[int, ...]) -> list[Answer]:
        """Return what is left of the message."""
        return only_answer(whole, is_over=not unfinished)

    def spent(self) -> State | None:
        """Return the usage so far."""
        return self._usage
