"""Live events: what is told of a stream folds to what the stream folds to."""

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.gemini.streams as gemini
import tests.messages.strategies as messages
import tests.responses.streams as responses
import tests.test_text as text
import unstream
from tests.strategies import cut, limits, sizes, streams
from unstream import Accumulator, Call, Event, Limits, Outcome, Record
from unstream._detect import NAMES, load
from unstream._json import Malformed, read_object

HERE: Final = Path(__file__).parent / "conformance"
STREAMS: Final = sorted(HERE.rglob("*.sse"))


def tell(
    reads: list[bytes], protocol: str, bounds: Limits | None = None
) -> tuple[list[Event], Outcome[Any]]:
    """Feed the reads; return the events, and the outcome."""
    accumulator = Accumulator(protocol=load(protocol), limits=bounds, events=True)
    told: list[Event] = []
    for data in reads:
        told += accumulator.feed(data)
    outcome = accumulator.finish()
    told += accumulator.events()
    assert accumulator.events() == []
    return told, outcome


class Folded:
    """What events fold to, by what is written in `docs/events.md`."""

    def __init__(self, events: list[Event]) -> None:
        self.clear()
        for event in events:
            self.take(event)

    def clear(self) -> None:
        self.texts: dict[tuple[int, str], dict[int, str]] = defaultdict(dict)
        self.arguments: dict[tuple[int, int], str] = {}
        self.started: dict[tuple[int, int], tuple[str, str]] = {}
        self.calls: dict[tuple[int, int], Call | None] = {}
        self.reasons: dict[int, str] = {}
        self.usage: Any = None, None
        self.error: Any = None
        self.record: Record | None = None

    def grow(self, kind: str, event: Any) -> None:
        parts = self.texts[event.choice, kind]
        parts[event.position] = parts.get(event.position, "") + event.text

    def take(self, event: Event) -> None:
        assert self.record is None, "nothing follows the last"
        match event:
            case unstream.TextDelta():
                self.grow("text", event)
            case unstream.ReasoningDelta():
                self.grow("reasoning", event)
            case unstream.RefusalDelta():
                self.grow("refusal", event)
            case unstream.ArgumentsDelta(choice=choice, position=position):
                assert (choice, position) in self.started
                before = self.arguments.get((choice, position), "")
                self.arguments[choice, position] = before + event.text
            case unstream.Replaced(kind="arguments", position=int(position)):
                self.arguments[event.choice, position] = event.text
            case unstream.Replaced(kind=kind, position=None):
                self.texts[event.choice, kind] = {0: event.text}
            case unstream.Replaced(kind=kind, position=position):
                self.texts[event.choice, kind][position or 0] = event.text
            case unstream.CallStarted(choice=choice, position=position):
                self.started[choice, position] = event.id, event.name
            case unstream.CallFinished(choice=choice, position=position):
                assert (choice, position) not in self.calls, "once for each call"
                self.calls[choice, position] = event.call
                self.check(event.call)
            case unstream.CallRevised(choice=choice, position=position):
                self.calls[choice, position] = event.call
                if event.call is not None:
                    self.check(event.call)
            case unstream.ChoiceFinished(choice=choice, finish_reason=reason):
                self.reasons[choice] = reason
            case unstream.ChoiceReopened(choice=choice):
                assert choice in self.reasons
            case unstream.UsageReported():
                self.usage = event.usage, event.raw_usage
            case unstream.ErrorReported(error=error):
                self.error = error
            case unstream.StartedOver():
                self.clear()
            case unstream.Ended(record=record):
                self.record = record

    def check(self, call: Call) -> None:
        """A call that was finished is the one that was told."""
        place = call.choice, call.position
        assert self.started[place] == (call.id, call.name)
        told = self.arguments.get(place, "")
        assert told == call.text or read_object(told) == read_object(call.text)

    def text(self, choice: int, kind: str) -> str:
        parts = self.texts.get((choice, kind), {})
        return "".join(parts[position] for position in sorted(parts))


def bare(calls: Any) -> list[Any]:
    """Return calls without their positions, which tell the order in which they began."""
    plain = [msgspec.to_builtins(call) for call in calls]
    return sorted([{**one, "position": 0} for one in plain], key=repr)


def check(events: list[Event], outcome: Outcome[Any]) -> None:
    """Hold events against the outcome."""
    folded, record = Folded(events), outcome.record
    assert folded.record == record
    last = events[-1]
    assert isinstance(last, unstream.Ended)
    assert last.outcome is outcome
    assert bare(filter(None, folded.calls.values())) == bare(record.calls)
    assert folded.usage == (record.usage, record.raw_usage)
    assert repr(folded.error) == repr(record.error)
    whole = outcome.completion
    if whole is None:
        assert not any(folded.texts.values())
        return
    answers = getattr(whole, "choices", None) or getattr(whole, "candidates", None)
    indexes = [one.index or 0 for one in answers] if answers else [0]
    first = indexes[0]
    assert folded.text(first, "text") == record.text
    assert folded.text(first, "reasoning") == record.reasoning
    assert folded.text(first, "refusal") == record.refusal
    for index, reason in zip(indexes, record.finish_reasons, strict=False):
        if outcome.protocol == "responses":
            if outcome.ending == "complete" and reason:
                assert folded.reasons[index] == reason
        elif index not in outcome.unfinished:
            assert folded.reasons.get(index) == (reason or None)


def is_told_in_time(events: list[Event]) -> bool:
    """Say whether nothing had to be taken back."""
    return not any(
        isinstance(event, unstream.Replaced | unstream.CallRevised) for event in events
    )


def hold(body: bytes, into: list[int], protocol: str, bounds: Limits) -> None:
    events, outcome = tell([body], protocol, bounds)
    check(events, outcome)
    plain = Accumulator(protocol=load(protocol), limits=bounds)
    plain.feed(body)
    assert repr(plain.finish()) == repr(outcome), "to ask changes nothing"
    in_pieces, _ = tell(cut(body, into), protocol, bounds)
    assert repr(in_pieces) == repr(events), "cuts do not matter"
    for event in events:
        sent = msgspec.json.encode(event)
        assert msgspec.json.encode(msgspec.json.decode(sent, type=Event)) == sent


@given(streams, sizes, limits)
def test_the_events_of_chat_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "chat", bounds)


@given(text.STREAMS, sizes, limits)
def test_the_events_of_text_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "text", bounds)


@given(messages.streams, sizes, limits)
def test_the_events_of_messages_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "messages", bounds)


@given(responses.streams, sizes, limits)
def test_the_events_of_responses_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "responses", bounds)


@given(gemini.bodies, sizes, limits)
def test_the_events_of_gemini_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "gemini", bounds)


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: str(p.relative_to(HERE)))
def test_the_conformance_set(path: Path) -> None:
    answer = msgspec.json.decode(path.with_suffix(".json").read_bytes())
    folder = path.relative_to(HERE).parts[0]
    protocol = answer.get("protocol", folder if folder in NAMES else "chat")
    hold(path.read_bytes(), [1, 7], protocol, Limits())
