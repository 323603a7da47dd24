"""Live events: what is new in a stream, in one vocabulary for all protocols.

This module knows the words and not when they are said: that is known in `_live`.
"""

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from unstream._json import Json
from unstream._outcome import Call, Outcome, Record, Tokens

__all__ = [
    "ArgumentsDelta",
    "CallFinished",
    "CallRevised",
    "CallStarted",
    "ChoiceFinished",
    "ChoiceReopened",
    "Ended",
    "ErrorReported",
    "Event",
    "Kind",
    "ReasoningDelta",
    "RefusalDelta",
    "Replaced",
    "StartedOver",
    "TextDelta",
    "UsageReported",
    "end",
]


def _tag(name: str) -> str:
    """Write the name of a class as a tag: TextDelta, text_delta."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class _Event(Struct, frozen=True, kw_only=True, tag_field="type", tag=_tag):
    """Base of the events.

    `choice` is the index of the choice, 0 where a protocol has one answer. `position`
    counts the parts of one kind in their choice, texts, reasoning and refusals each by
    themselves, and the tool calls, in the order in which they began.
    """


class _Delta(_Event, frozen=True):
    """Base of those that bring more of a text."""

    choice: int
    position: int
    text: str


class TextDelta(_Delta, frozen=True):
    """More of the answer."""


class ReasoningDelta(_Delta, frozen=True):
    """More of what the model thought."""


class RefusalDelta(_Delta, frozen=True):
    """More of a refusal."""


class CallStarted(_Event, frozen=True):
    """A tool call began; again for a position where its id or name became known later.

    The newest counts.
    """

    choice: int
    position: int
    id: str
    name: str


class ArgumentsDelta(_Delta, frozen=True):
    """More of the arguments of a tool call, as text."""


class CallFinished(_Event, frozen=True):
    """A tool call is over, for certain, with its verdict; once for each call.

    Before its choice finished, `call.runnable` says that the call is whole and that the
    model went on after it; from there on, what it says in an outcome.
    """

    choice: int
    position: int
    call: Call

    @property
    def value(self) -> Json:
        """Parse the arguments; see `Call.value`."""
        return self.call.value


class CallRevised(_Event, frozen=True):
    """The verdict on a call that was finished is another one now.

    The model was stopped after it, say, or the last word of the server differs. `call`
    is None where that word does not have it any more.
    """

    choice: int
    position: int
    call: Call | None


Kind: TypeAlias = Literal["text", "reasoning", "refusal", "arguments"]


class Replaced(_Event, frozen=True):
    """What was told of a text is void, and this is what it is.

    `position` is None where that is said of all parts of the kind in the choice.
    """

    kind: Kind
    choice: int
    position: int | None
    text: str


class ChoiceFinished(_Event, frozen=True):
    """A choice finished; again where another reason follows. The newest counts."""

    choice: int
    finish_reason: str
    """As the provider names it."""


class ChoiceReopened(_Event, frozen=True):
    """Something was said in a choice that had finished: it has not."""

    choice: int


class StartedOver(_Event, frozen=True):
    """The server began another answer in the same stream: what was told is void."""


class UsageReported(_Event, frozen=True):
    """The tokens that were counted so far, or at all; the newest counts."""

    usage: Tokens | None
    raw_usage: dict[str, Json] | None


class ErrorReported(_Event, frozen=True):
    """The provider reported an error inside the stream."""

    error: Json


class Ended(_Event, frozen=True, dict=True):
    """The stream ended: the last event, always.

    It is encoded by its `record`; the whole outcome is here where it was made.
    """

    record: Record

    @property
    def outcome(self) -> Outcome[Any]:
        """The verdict, with all that was received.

        Raises AttributeError for an event that was sent on: that has its record alone.
        """
        found: Outcome[Any] | None = vars(self).get("outcome")
        if found is None:
            raise AttributeError("an Ended that was sent on has its record alone")
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return end, (self.record, vars(self).get("outcome"))


def end(record: Record, outcome: Outcome[Any] | None) -> Ended:
    """Return the last event of a stream."""
    event = Ended(record=record)
    if outcome is not None:
        vars(event)["outcome"] = outcome
    return event


Event: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | CallStarted
    | ArgumentsDelta
    | CallFinished
    | CallRevised
    | Replaced
    | ChoiceFinished
    | ChoiceReopened
    | StartedOver
    | UsageReported
    | ErrorReported
    | Ended
)
