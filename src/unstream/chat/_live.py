"""Where the live texts and calls of chat completions stand.

A piece of a call may go to any call that came before, by its index or id, so that no
call is over before its choice is.
"""

from io import StringIO
from typing import Any, Final

from unstream._live import Answer, Live, Log, filled, objects
from unstream._outcome import Limits
from unstream._rules import State
from unstream.chat._calls import Calls, to_index
from unstream.chat._fold import ChatFold
from unstream.chat._parts import Details, Parts
from unstream.chat._schema import ChatCompletion

__all__ = ["LiveChat"]

# Of lists in which any entry may grow, as many are looked at each time. What is longer
# is told when the choice finished.
_MOST_ENTRIES: Final = 64


class LiveChat(Live[ChatCompletion], ChatFold):
    """The fold of chat completions, telling."""

    def __init__(self, limits: Limits, log: Log) -> None:
        # Of each call, and whether its arguments had begun when it was joined.
        self._names: dict[Any, tuple[str, bool]] = {}
        self._at: dict[int, int] = {}  # the newest part of each list, by choice
        super().__init__(limits, log)

    def touched(self, sent: State) -> list[tuple[int, list[State]]]:
        """Return the indexes of the choices, and the pieces of their calls."""
        choices = sent.get("choices")
        found = []
        for choice in objects([choices] if type(choices) is dict else choices):
            delta = choice.get("delta")
            pieces = delta.get("tool_calls") if type(delta) is dict else None
            if type(pieces) is not list:
                pieces = [pieces]
            found.append((to_index(choice.get("index")) or 0, objects(pieces)))
        return found

    def report(self, touched: Any) -> None:
        """Show the choices."""
        log = self.log
        for index, pieces in touched:
            choice = self._choices.get(index)
            if choice is None:
                continue
            self._report_thoughts(index, choice.message)
            self._report_text(index, choice.message.get("content"))
            log.text("refusal", index, None, choice.message.get("refusal"))
            calls = choice.message.get("tool_calls")
            if isinstance(calls, Calls):
                for piece in pieces:
                    self._report_call(index, calls, piece)
            reason = choice.state["finish_reason"] if choice.finished else None
            if log.note_end(index, reason):
                self.settle(self.made({"choices": [choice.plain(index)]}))

    def _report_text(self, index: int, content: Any) -> None:
        if type(content) is StringIO:
            self.log.text("text", index, 0, content)
        elif isinstance(content, Parts):
            parts = content._parts  # noqa: SLF001 - of this protocol, as below
            start = self._at.get(index, 0)
            self._at[index] = len(parts) - 1
            for place in range(max(start, 0), len(parts)):  # only the newest grows
                part = parts[place]
                if type(part) is not dict:
                    continue
                if part.get("type") == "text":
                    self.log.text("text", index, place, part.get("text"))
                nested = part.get("thinking") or part.get("summary")
                if isinstance(nested, Parts):
                    self._report_entries(index, place, nested._parts)  # noqa: SLF001

    def _report_thoughts(self, index: int, message: State) -> None:
        for key in ("reasoning_content", "reasoning"):
            if type(source := message.get(key)) is StringIO:
                self.log.text("reasoning", index, None, source)
                return
        details = message.get("reasoning_details")
        if isinstance(details, Details):
            self._report_entries(index, -1, details._entries)  # noqa: SLF001

    def _report_entries(self, index: int, place: int, entries: list[Any]) -> None:
        if len(entries) > _MOST_ENTRIES:
            return
        for at, entry in enumerate(entries):
            if type(entry) is dict:
                source = filled(entry.get("text")) or filled(entry.get("summary"))
                self.log.text("reasoning", index, (place, at), source)

    def _report_call(self, index: int, calls: Calls, piece: State) -> None:
        call = calls.newest_of(piece)
        if call is None:
            return
        name, had_begun = self._names.get(call, ("", False))
        has_begun = call.text.tell() > 0
        # One that grows later is told when the call is over.
        if not name or has_begun != had_begun:
            name = "".join(call.name)
            self._names[call] = name, has_begun
        self.log.call(index, call, call.id, name, call.text)

    def answers(
        self, whole: ChatCompletion, unfinished: tuple[int, ...]
    ) -> list[Answer]:
        """Return what is left of the choices."""
        return [
            Answer(
                choice.index,
                choice.message.text(),
                choice.message.thoughts(),
                choice.message.refusal or "",
                None if choice.index in unfinished else choice.finish_reason,
            )
            for choice in whole.choices
        ]

    def spent(self) -> State | None:
        """Return the usage so far."""
        return self._usage()[1]
