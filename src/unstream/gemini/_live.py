"""Where the live texts and calls of Gemini's streams stand.

A call is over where it was closed and another part came, or the candidate finished.
Arguments that come by paths are no text that grows: they are told when it is over.
"""

from typing import Any

from unstream._events import Kind
from unstream._json import Json, dump
from unstream._live import Answer, Live, Log, objects
from unstream._outcome import Limits
from unstream._rules import State, settle
from unstream.gemini._calls import Call
from unstream.gemini._fields import to_index
from unstream.gemini._fold import GeminiFold, unwrap
from unstream.gemini._parts import Parts
from unstream.gemini._schema import GenerateContentResponse

__all__ = ["LiveGemini"]


class LiveGemini(Live[GenerateContentResponse], GeminiFold):
    """The fold of Gemini's streams, telling."""

    usage_key = "usageMetadata"

    def __init__(self, limits: Limits, log: Log) -> None:
        self._at: dict[int, int] = {}  # the newest part, by candidate
        self._pending: dict[int, dict[int, Any]] = {}  # calls that are not over
        super().__init__(limits, log)

    def touched(self, sent: State) -> list[int]:
        """Return the indexes of the candidates."""
        candidates = objects(unwrap(sent).get("candidates"))
        return [to_index(candidate.get("index")) or 0 for candidate in candidates]

    def report(self, touched: Any) -> None:
        """Show the candidates."""
        log = self.log
        for index in touched:
            candidate = self._candidates.get(index)
            if candidate is None:
                continue
            self._report_parts(index, candidate.parts)
            ended = candidate.has_ended()
            reason = str(candidate.state["finishReason"]) if ended else None
            if log.note_end(index, reason):
                plain = {**candidate.plain(), "index": index}
                self.settle(self.made({"candidates": [plain]}))

    def _report_parts(self, index: int, parts: Parts) -> None:
        known = parts._parts  # noqa: SLF001 - of this protocol
        pending = self._pending.setdefault(index, {})
        newest = len(known) - 1
        for place in range(max(self._at.get(index, 0), 0), len(known)):
            part = known[place]
            if isinstance(part, Call):
                pending[place] = part
            elif type(call := part.get("functionCall")) is dict:
                pending[place] = part
                self._report_call(index, place, call, call.get("args"))
            else:
                thought = part.get("thought") is True
                kind: Kind = "reasoning" if thought else "text"
                self.log.text(kind, index, place, part.get("text"))
        self._at[index] = newest + 1 if newest in pending else newest
        for place, part in [*pending.items()]:  # two at the most: the newest, an open
            if isinstance(part, Call):
                self._report_call(index, place, part._call, None)  # noqa: SLF001
            if place != newest and not (isinstance(part, Call) and part.is_open):
                del pending[place]
                # As if nothing were to stop the model: it went on.
                plain = {
                    "index": index,
                    "content": {"parts": [settle(part)]},
                    "finishReason": "STOP",
                }
                for call in self.judged({"candidates": [plain]}):
                    self.log.finish_call(index, place, call)

    def _report_call(self, index: int, place: int, call: State, args: Json) -> None:
        self.log.call(
            index,
            place,
            call.get("id"),
            call.get("name"),
            dump(args) if type(args) is dict else args,
        )

    def answers(
        self, whole: GenerateContentResponse, unfinished: tuple[int, ...]
    ) -> list[Answer]:
        """Return what is left of the candidates."""
        found = []
        for candidate in whole.candidates or ():
            index, reason = candidate.index or 0, candidate.finishReason
            content = candidate.content
            parts = [] if content is None else content.parts or []
            found.append(
                Answer(
                    index,
                    "" if content is None else content.text(),
                    "".join(part.text or "" for part in parts if part.thought),
                    "",
                    None if reason is None or index in unfinished else str(reason),
                )
            )
        return found

    def spent(self) -> State | None:
        """Return the usage so far."""
        usage = self._top.get("usageMetadata")
        return usage if type(usage) is dict else None
