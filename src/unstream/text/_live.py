"""Where the live texts of text completions stand."""

from typing import Any

from unstream._live import Answer, Live, objects
from unstream._rules import State
from unstream.text._fold import TextFold, to_index
from unstream.text._schema import TextCompletion

__all__ = ["LiveText"]


class LiveText(Live[TextCompletion], TextFold):
    """The fold of text completions, telling."""

    def touched(self, sent: State) -> list[int]:
        """Return the indexes of the choices."""
        choices = objects(sent.get("choices"))
        return [to_index(choice.get("index")) for choice in choices]

    def report(self, touched: Any) -> None:
        """Show the choices."""
        log = self.log
        for index in touched:
            choice = self._choices.get(index)
            if choice is None:
                continue
            log.text("text", index, None, choice.state.get("text"))
            reason = choice.state["finish_reason"] if choice.finished else None
            if log.note_end(index, reason):
                self.settle(self.made({"choices": [choice.plain(index)]}))

    def answers(
        self, whole: TextCompletion, unfinished: tuple[int, ...]
    ) -> list[Answer]:
        """Return what is left of the choices."""
        return [
            Answer(
                choice.index,
                choice.text,
                "",
                "",
                None if choice.index in unfinished else choice.finish_reason,
            )
            for choice in whole.choices
        ]

    def spent(self) -> State | None:
        """Return the usage so far."""
        usage = self._top.get("usage")
        return usage if type(usage) is dict else None
