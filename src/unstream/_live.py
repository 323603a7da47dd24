"""What was told of a stream, and a fold that tells what is new.

This module knows how much of each text and call was told, and tells the rest; not where
a protocol keeps them. That is known in `_live` of each, which shows the log what an
event touched. At the end the log is held against the result, so that what was told
folds to that, whatever the stream did.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from io import StringIO
from itertools import zip_longest
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

from unstream._events import (
    ArgumentsDelta,
    CallFinished,
    CallRevised,
    CallStarted,
    ChoiceFinished,
    ChoiceReopened,
    ErrorReported,
    Event,
    Kind,
    ReasoningDelta,
    RefusalDelta,
    Replaced,
    StartedOver,
    TextDelta,
    UsageReported,
    end,
)
from unstream._json import Json, Malformed, dump, mend, read_object
from unstream._outcome import Call, Completion, Limits, Outcome, Tokens
from unstream._protocol import Fold
from unstream._rules import State, settle
from unstream._structs import structure
from unstream.sse import Run

__all__ = ["Answer", "Live", "Log", "filled", "objects", "only_answer"]

T = TypeVar("T", bound=Completion)

_DELTAS: Final[dict[Kind, Any]] = {
    "text": TextDelta,
    "reasoning": ReasoningDelta,
    "refusal": RefusalDelta,
    "arguments": ArgumentsDelta,
}

# --- What was told --------------------------------------------------------------------

# A text as a fold holds it: while it grows, and whole.
Source: TypeAlias = StringIO | str


def filled(value: Any) -> Source | None:
    """Return a value that is a text with anything in it, else None."""
    if type(value) is StringIO:
        return value if value.tell() else None
    return value if type(value) is str and value else None


def objects(value: Json) -> list[State]:
    """Return the objects of a list; none of what is no list."""
    items = value if type(value) is list else ()
    return [item for item in items if type(item) is dict]


def _whole(source: Source) -> str:
    return source.getvalue() if isinstance(source, StringIO) else source


class _Part:
    """A text, and how much of it was told."""

    __slots__ = ("n", "position", "seen", "source")

    def __init__(self, position: int, source: Source = "") -> None:
        self.position = position
        self.seen = source  # what the fold holds
        self.source = source  # that, or what it is mended
        self.n = 0

    def told(self) -> str:
        """Return what was told, before it was mended."""
        return _whole(self.source)[: self.n]

    def take(self, *, mends: bool) -> str:
        """Return what was not told yet, in the time that takes."""
        source, n = self.source, self.n
        if isinstance(source, StringIO):
            if source.tell() == n:
                return ""
            source.seek(n)
            new = source.read()  # which leaves it where it appends
        else:
            new = source[n:]
        # The other half of a character may follow.
        if mends and new and "\ud800" <= new[-1] <= "\udbff":
            new = new[:-1]
        self.n = n + len(new)
        return mend(new) if mends else new

    def move(self, source: Source) -> bool:
        """Go on with another source; say whether that begins with what was told."""
        told, self.source, self.seen = self.told(), source, source
        if _whole(source).startswith(told):
            return True
        # The halves of a character may have been joined where it came whole.
        told, text = mend(told), mend(_whole(source))
        if text.startswith(told):
            self.source, self.n = text, len(told)
            return True
        self.n = 0
        return False

    def set(self, text: str) -> None:
        """Take note that a whole text was told."""
        self.source, self.n = text, len(text)


class _ToolCall:
    """A call, and what was told of it."""

    __slots__ = ("arguments", "call", "id", "is_dropped", "is_told", "name")

    def __init__(self, position: int) -> None:
        self.arguments = _Part(position)
        self.id = ""
        self.name = ""
        self.is_told = False  # under that id and name
        self.call: Call | None = None  # as it was finished
        self.is_dropped = False  # the result does not have it


# Arguments that some servers send before the real ones, see `chat._calls`.
_PLACEHOLDER: Final = "{}"


class Answer(Struct, frozen=True):
    """What is left of one choice in the result; `reason` is None if it is open."""

    choice: int
    text: str
    reasoning: str
    refusal: str
    reason: str | None


def only_answer(whole: Completion, *, is_over: bool) -> list[Answer]:
    """Return what is left of a result that is one answer."""
    said = whole.summary()
    [reason] = said.finish_reasons
    reason = reason if is_over else None
    return [Answer(0, said.text, said.reasoning, said.refusal, reason)]


class Log:
    """What was told of one stream, and what is to be handed out next."""

    __slots__ = (
        "_calls",
        "_error",
        "_new",
        "_parts",
        "_reasons",
        "_reopened",
        "_settled",
        "_usage",
        "_void",
        "mends",
    )

    def __init__(self) -> None:
        self.mends = False  # there may be lone surrogates
        self._new: list[Event] = []
        self._forget()

    def _forget(self) -> None:
        self._parts: dict[tuple[int, Kind], dict[Hashable, _Part]] = {}
        self._calls: dict[int, dict[Hashable, _ToolCall]] = {}
        self._reasons: dict[int, str] = {}
        self._reopened: set[int] = set()
        self._settled: set[int] = set()
        self._void: set[tuple[int, Kind]] = set()  # whose parts are known no more
        self._usage: tuple[Tokens | None, dict[str, Json] | None] = None, None
        self._error: Json = None

    def take(self) -> list[Event]:
        """Hand out what is new."""
        new, self._new = self._new, []
        return new

    def start_over(self) -> None:
        """Take back what was told."""
        usage, raw = self._usage
        known = self._parts or self._calls or self._reasons
        if known or usage is not None or raw is not None or self._error is not None:
            self._forget()
            self._new.append(StartedOver())

    # --- While it comes ---------------------------------------------------------------

    def text(self, kind: Kind, choice: int, key: Hashable, source: Any) -> None:
        """Tell what is new of a text, which `key` knows among those of its kind."""
        parts = self._parts.get((choice, kind))
        part = None if parts is None else parts.get(key)
        if part is None:
            if filled(source) is None or (choice, kind) in self._void:
                return
            if parts is None:
                parts = self._parts[choice, kind] = {}
            part = parts[key] = _Part(len(parts), source)
        elif type(source) is not StringIO and type(source) is not str:
            return
        self._tell(kind, choice, part, source)

    def call(
        self, choice: int, key: Hashable, identity: Json, name: Json, source: Any
    ) -> None:
        """Tell what is new of a call, which `key` knows among those of its choice."""
        identity = identity if type(identity) is str else ""
        name = name if type(name) is str else ""
        calls = self._calls.get(choice)
        if calls is None:
            calls = self._calls[choice] = {}
        held = calls.get(key)
        if held is None:
            held = calls[key] = _ToolCall(len(calls))
            self._name(choice, held, identity, name)
        elif held.call is not None:
            return  # what changed is told when the choice or the stream is over
        elif held.id != identity or held.name != name:
            held.id, held.name, held.is_told = identity, name, False
        if (source := filled(source)) is None:
            return
        part = held.arguments
        if not part.n and _is_placeholder(source):
            return
        if not held.is_told:
            self._name(choice, held, held.id, held.name)
        self._tell("arguments", choice, part, source)

    def _name(self, choice: int, held: _ToolCall, identity: str, name: str) -> None:
        held.id, held.name, held.is_told = identity, name, True
        if self.mends:
            identity, name = mend(identity), mend(name)
        self._new.append(
            CallStarted(
                choice=choice, position=held.arguments.position, id=identity, name=name
            )
        )

    def _tell(self, kind: Kind, choice: int, part: _Part, source: Source) -> None:
        if source is not part.seen and not part.move(source):
            self._new.append(
                Replaced(
                    kind=kind,
                    choice=choice,
                    position=part.position,
                    text=part.take(mends=self.mends),
                )
            )
        elif new := part.take(mends=self.mends):
            self._delta(kind, choice, part, new)

    def _delta(self, kind: Kind, choice: int, part: _Part, text: str) -> None:
        delta = _DELTAS[kind](choice=choice, position=part.position, text=text)
        self._new.append(delta)

    def finish_call(self, choice: int, key: Hashable, call: Call) -> None:
        """Tell that a call is over, unless that was told."""
        held = self._calls.get(choice, {}).get(key)
        if held is not None and held.call is None:
            self._conclude(choice, held, call)

    def _conclude(self, choice: int, held: _ToolCall, call: Call) -> None:
        part, before = held.arguments, held.call
        call = msgspec.structs.replace(call, choice=choice, position=part.position)
        if call == before and not held.is_dropped:
            return
        if (call.id, call.name) != (mend(held.id), mend(held.name)) or not held.is_told:
            self._name(choice, held, call.id, call.name)
        told = mend(part.told())
        if not _is_same(told, call.text):
            if call.text.startswith(told):
                self._delta("arguments", choice, part, call.text[len(told) :])
            else:
                self._new.append(
                    Replaced(
                        kind="arguments",
                        choice=choice,
                        position=part.position,
                        text=call.text,
                    )
                )
            part.set(call.text)
        kind = CallFinished if before is None else CallRevised
        self._new.append(kind(choice=choice, position=part.position, call=call))
        held.call, held.is_dropped = call, False

    def is_settled(self, choice: int) -> bool:
        """Say whether a choice finished once, and its calls were told."""
        return choice in self._settled

    def note_end(self, choice: int, reason: str | None) -> bool:
        """Take note whether a choice finished; say whether what is left is to be told.

        `reason` is None for one that is open.
        """
        if reason is None:
            self.reopen(choice)
        elif self.is_settled(choice):
            self.finish(choice, mend(reason) if self.mends else reason)
        else:
            return True
        return False

    def finish(self, choice: int, reason: str) -> None:
        """Tell that a choice finished, unless that was told."""
        self._settled.add(choice)
        if choice in self._reopened or self._reasons.get(choice) != reason:
            self._reopened.discard(choice)
            self._reasons[choice] = reason
            self._new.append(ChoiceFinished(choice=choice, finish_reason=reason))

    def reopen(self, choice: int) -> None:
        """Tell that a choice that finished did not."""
        if choice in self._reasons and choice not in self._reopened:
            self._reopened.add(choice)
            self._new.append(ChoiceReopened(choice=choice))

    def usage(self, usage: Tokens | None, raw: dict[str, Json] | None) -> None:
        """Tell a usage that is new."""
        if (usage, raw) != self._usage:
            self._usage = usage, raw
            self._new.append(UsageReported(usage=usage, raw_usage=raw))

    def error(self, error: Json) -> None:
        """Tell an error that is new."""
        if error is not None and (error := mend(error)) != self._error:
            self._error = error
            self._new.append(ErrorReported(error=error))

    # --- At the end -------------------------------------------------------------------

    def settle(self, answers: Iterable[Answer], calls: Sequence[Call]) -> None:
        """Tell what is left of choices, now that it is known what they are."""
        by_choice: dict[int, list[Call]] = defaultdict(list)
        for call in calls:
            by_choice[call.choice].append(call)
        first: dict[int, Answer] = {}  # a body may have two of one index
        for answer in answers:
            first.setdefault(answer.choice, answer)
        for choice, answer in first.items():
            self._settle_text("reasoning", choice, answer.reasoning)
            self._settle_text("text", choice, answer.text)
            self._settle_text("refusal", choice, answer.refusal)
            self._settle_calls(choice, by_choice[choice])
            if answer.reason:
                self.finish(choice, answer.reason)

    def _settle_text(self, kind: Kind, choice: int, text: str) -> None:
        parts = self._parts.setdefault((choice, kind), {})
        told = "".join(mend(part.told()) for part in parts.values())
        if told == text:
            return
        if text.startswith(told):
            *_, part = parts.values() or (_Part(0),)
            new = text[len(told) :]
            part.set(part.told() + new)
            self._delta(kind, choice, part, new)
        else:
            self._new.append(
                Replaced(kind=kind, choice=choice, position=None, text=text)
            )
            self._void.add((choice, kind))
            parts.clear()
            part = _Part(0)
            part.set(text)
        if not parts:
            parts[None] = part

    def _settle_calls(self, choice: int, calls: list[Call]) -> None:
        held = self._calls.setdefault(choice, {})
        for ours, call in _pair([*held.values()], calls):
            if call is not None:
                if ours is None:
                    ours = _ToolCall(len(held))  # noqa: PLW2901
                    held[object()] = ours
                self._conclude(choice, ours, call)
            elif ours is not None and not ours.is_dropped:
                ours.is_dropped = True
                position = ours.arguments.position
                self._new.append(
                    CallRevised(choice=choice, position=position, call=None)
                )

    def end(self, outcome: Outcome[Any], answers: Iterable[Answer]) -> None:
        """Tell what is left of a stream that ended, and that it did."""
        record = outcome.record
        self.settle(answers, record.calls)
        self.usage(record.usage, record.raw_usage)
        self.error(record.error)
        self._new.append(end(record, outcome))


def _is_placeholder(source: Source) -> bool:
    size = source.tell() if isinstance(source, StringIO) else len(source)
    return size == len(_PLACEHOLDER) and _whole(source) == _PLACEHOLDER


def _is_same(told: str, text: str) -> bool:
    """Say whether arguments are the same, but for white space perhaps."""
    if told == text:
        return True
    try:
        return bool(told) and dump(read_object(told)) == dump(read_object(text))
    except Malformed:
        return False


def _pair(
    ours: list[_ToolCall], theirs: list[Call]
) -> list[tuple[_ToolCall | None, Call | None]]:
    """Find out which call of the result is which of those that were told.

    Those alike in all, then those of one id and name, then what is left, in order.
    """
    pairs: list[tuple[_ToolCall | None, Call | None]] = []
    for by_text in (True, False):
        waiting: dict[tuple[str, ...], list[_ToolCall]] = defaultdict(list)
        for held in reversed(ours):
            text = held.arguments.told() if by_text else ""
            waiting[held.id, held.name, text].append(held)
        left: list[Call] = []
        for call in theirs:
            if found := waiting.get((call.id, call.name, call.text if by_text else "")):
                pairs.append((found.pop(), call))
            else:
                left.append(call)
        theirs = left
        ours = [held for alike in waiting.values() for held in alike]
        ours.sort(key=lambda held: held.arguments.position)
    return sorted([*pairs, *zip_longest(ours, theirs)], key=_place)


def _place(pair: tuple[_ToolCall | None, Call | None]) -> float:
    return float("inf") if pair[0] is None else pair[0].arguments.position


# --- A fold that tells ----------------------------------------------------------------

# What an event did to the usage is told under one of these keys.
_USAGE: Final = frozenset(("usage", "usageMetadata", "x_groq", "message", "response"))
# A usage of more values than that is told at the end alone: to look whether it changed
# costs as much as it is long.
_MOST_COUNTS: Final = 256


class Live(Fold[T]):
    """What a protocol's fold is mixed with where events are asked for.

    It takes events one by one, by the road that all others are held against, so that a
    fold that nobody asks pays nothing.
    """

    usage_key: ClassVar[str] = "usage"

    def __init__(self, limits: Limits, log: Log) -> None:
        self.log = log
        super().__init__(limits)

    # --- What a protocol says ---------------------------------------------------------

    def touched(self, sent: State) -> Any:
        """Return what is to be known of a payload, before it is taken apart."""
        raise NotImplementedError

    def report(self, touched: Any) -> None:
        """Show the log what a payload touched, in the time that takes."""
        raise NotImplementedError

    def answers(self, whole: T, unfinished: tuple[int, ...]) -> list[Answer]:
        """Return what is left of the choices in a result."""
        raise NotImplementedError

    def spent(self) -> State | None:
        """Return the usage so far."""
        raise NotImplementedError

    # --- What all have in common ------------------------------------------------------

    def take(self, payloads: Run, at: int, like: int) -> int:
        """Fold payloads, one by one; see `Fold.take`."""
        return Fold.take(self, payloads, at, like)

    def add(
        self, sent: State, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        """Fold a payload, and tell what is new; see `Fold.add`."""
        touched = self.touched(sent)
        super().add(sent, data, name, exact=exact)
        self.log.mends = self.has_halves
        self.report(touched)
        if not _USAGE.isdisjoint([key for key, _, _ in self.effects]):
            spent = self.spent()
            if spent is not None and _count(spent, _MOST_COUNTS):
                summary = self.made({self.usage_key: settle(spent)}).summary()
                self.log.usage(summary.usage, summary.raw_usage)

    def fail(self, error: Json) -> None:
        """Take note of an error, and tell it; see `Fold.fail`."""
        super().fail(error)
        self.log.error(self.error)

    def made(self, plain: State) -> Any:
        """Return a part of the result, of its plain value."""
        return structure(self.kind, mend(plain) if self.has_halves else plain)

    def judged(
        self, plain: State, unfinished: tuple[int, ...] = ()
    ) -> tuple[Call, ...]:
        """Return the verdicts on the calls of a part of the result."""
        calls: tuple[Call, ...] = self.made(plain).calls(unfinished)
        return calls

    def settle(self, whole: Any, unfinished: tuple[int, ...] = ()) -> None:
        """Tell what is left of choices that finished."""
        self.log.settle(self.answers(whole, unfinished), whole.calls(unfinished))

    def end(self, outcome: Outcome[Any]) -> None:
        """Tell what is left of a stream that ended."""
        whole = outcome.completion
        answers = [] if whole is None else self.answers(whole, outcome.unfinished)
        self.log.end(outcome, answers)


def _count(value: Json, room: int) -> int:
    """Return what is left of the room for values; 0 where there was not enough."""
    if type(value) is dict or type(value) is list:
        for inner in value.values() if type(value) is dict else value:
            if not (room := _count(inner, room - 1)):
                return 0
    return max(room, 0)
