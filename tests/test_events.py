"""Live events: what is told of a stream folds to what the stream folds to."""

import asyncio
import pickle
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given

import tests.gemini.streams as gemini
import tests.messages.strategies as messages
import tests.responses.streams as responses
import tests.test_text as text
import unstream
from tests.strategies import cut, limits, sizes, streams
from unstream import Accumulator, Call, Event, Limits, Outcome, Record
from unstream._detect import NAMES, load
from unstream._json import read_object
from unstream._protocol import Protocol

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

    def take(self, event: Event) -> None:  # noqa: C901, PLR0912 - a case for each
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
    """Return calls without their positions, which tell in which order they began."""
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


@given(gemini.bodies, gemini.sizes, gemini.limits)
def test_the_events_of_gemini_fold_to_the_record(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    hold(body, into, "gemini", bounds)


def protocol_of(path: Path) -> Protocol[Any]:
    answer = msgspec.json.decode(path.with_suffix(".json").read_bytes())
    folder = path.relative_to(HERE).parts[0]
    apart = ("messages", "responses", "gemini")
    return load(answer.get("protocol", folder if folder in apart else "chat"))


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: str(p.relative_to(HERE)))
def test_the_conformance_set(path: Path) -> None:
    hold(path.read_bytes(), [1, 7], protocol_of(path).name, Limits())


# --- In time --------------------------------------------------------------------------


@given(messages.whole_messages.flatmap(messages.streamed))
def test_nothing_of_messages_has_to_be_taken_back(sent: list[Any]) -> None:
    events, outcome = tell([messages.stream(*sent)], "messages")
    check(events, outcome)
    revised = [e for e in events if isinstance(e, unstream.CallRevised)]
    # A model that was stopped: until then, the calls before the last were whole.
    assert not revised or outcome.record.finish_reasons == ("max_tokens",)
    replaced = [e for e in events if isinstance(e, unstream.Replaced)]
    assert not replaced


@given(responses.answers)
def test_nothing_of_responses_has_to_be_taken_back(
    answer: tuple[Any, list[Any]],
) -> None:
    events, outcome = tell([responses.frame(answer[1])], "responses")
    check(events, outcome)
    assert not any(isinstance(e, unstream.CallRevised) for e in events)
    kinds = [e["type"] for e in answer[1]]
    if not any(isinstance(e, unstream.Replaced) for e in events):
        return
    if any(note.code == "lone_surrogate" for note in outcome.notes):
        return  # half of a character waited for the other, while another part began
    # Where items are interleaved, their parts may begin in another order.
    added = [at for at, kind in enumerate(kinds) if kind.endswith("item.added")]
    done = [at for at, kind in enumerate(kinds) if kind.endswith("item.done")]
    assert any(a < d for a, d in zip(added[1:], done, strict=False))


# Streams of the conformance set of which something is taken back, and why.
TAKEN_BACK: Final = {
    "messages/blocks/index-out-of-order": "a block stands before one that began first",
    "messages/envelope/started-over": "a gateway asked again",
    "messages/tool_input/blank": "an input of blanks is the empty object",
    "responses/delta-doubled": "the whole text is another than that of the deltas",
    "responses/parts-sparse": "a part stands before one that began first",
    "responses/replayed": "another response in one stream",
    "responses/retried-after-error": "another response in one stream",
    "responses/second-cut-off": "another response in one stream",
    "responses/steered": "another response in one stream",
    "responses/terminal-fewer-items": "the last word has fewer calls",
}


@pytest.mark.parametrize("path", STREAMS, ids=lambda p: str(p.relative_to(HERE)))
def test_what_comes_is_told_at_once(path: Path) -> None:
    """At the end nothing is left to tell, but of calls that never finished."""
    accumulator = Accumulator(protocol=protocol_of(path), events=True)
    told = list(accumulator.feed(path.read_bytes() + b"\n\n"))
    outcome = accumulator.finish()
    late = accumulator.events()
    odd = unstream.Replaced | unstream.CallRevised | unstream.StartedOver
    name = str(path.relative_to(HERE).with_suffix(""))
    assert any(isinstance(e, odd) for e in told + late) == (name in TAKEN_BACK)
    if told and name not in TAKEN_BACK:
        kinds = {type(event).__name__ for event in late}
        allowed = {"Ended", "CallFinished", "ArgumentsDelta"}
        assert kinds <= ({"Ended"} if outcome.ending == "complete" else allowed)


# --- When a call is over --------------------------------------------------------------


def piece(arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments}
    if "name" in more:
        function["name"] = more.pop("name")
    call = {"index": index, "function": function, **more}
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def finish(reason: str = "tool_calls") -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


def told_of(*chunks: dict[str, Any], protocol: str = "chat") -> list[list[Event]]:
    """Return what was told of each chunk, and at the end."""
    accumulator = Accumulator(protocol=load(protocol), events=True)
    told = [list(accumulator.add(chunk)) for chunk in chunks]
    accumulator.finish()
    return [*told, accumulator.events()]


def finished(events: list[Event]) -> list[Call]:
    return [e.call for e in events if isinstance(e, unstream.CallFinished)]


def test_a_call_is_not_over_because_its_arguments_parse() -> None:
    chunks = piece('{"path":"/"}', id="c1", name="rm"), piece(" ")
    first, second, last = told_of(*chunks)
    assert not finished(first + second)
    [call] = finished(last)
    assert call.arguments == "whole"
    assert not call.runnable
    *_, after, _ = told_of(*chunks, finish())
    [call] = finished(after)
    assert call.runnable
    *_, after, _ = told_of(*chunks, finish("length"))
    [call] = finished(after)
    assert not call.runnable


def test_calls_that_take_turns() -> None:
    told = told_of(
        piece("", 0, id="a", name="f"),
        piece("", 1, id="b", name="g"),
        piece('{"x":', 0),
        piece('{"y":', 1),
        piece("1}", 0),
        piece("2}", 1),
        finish(),
    )
    assert [e.text for [e] in told[2:6] if isinstance(e, unstream.ArgumentsDelta)] == [
        *('{"x":', '{"y":', "1}", "2}")
    ]
    assert [e.position for [e] in told[2:6] if hasattr(e, "position")] == [0, 1, 0, 1]
    a, b = finished(told[6])
    assert (a.id, a.value, b.id, b.value) == ("a", {"x": 1}, "b", {"y": 2})
    assert [type(e).__name__ for e in told[6]][-1] == "ChoiceFinished"
    assert finished(told[7]) == []


def test_a_placeholder_is_not_told() -> None:
    first, second, after, last = told_of(
        piece("{}", id="c1", name="f"), piece('{"a":1}'), finish()
    )
    assert len(first) == 1
    assert [e.text for e in second if isinstance(e, unstream.ArgumentsDelta)] == [
        '{"a":1}'
    ]
    [call] = finished(after)
    assert call.value == {"a": 1}
    assert len(last) == 1
    _, after, _ = told_of(piece("{}", id="c1", name="f"), finish())
    assert [type(e).__name__ for e in after] == [
        *("ArgumentsDelta", "CallFinished", "ChoiceFinished")
    ]


def test_what_is_known_late_is_told_again() -> None:
    told = told_of(piece("", name="fi"), piece("", name="nd"), piece("{", id="c1"))
    [first], second, third, _ = told
    assert isinstance(first, unstream.CallStarted)
    assert (first.id, first.name) == ("", "fi")
    assert second == []  # more of it may follow
    started, delta = third
    assert isinstance(started, unstream.CallStarted)
    assert (started.id, started.name, started.position) == ("c1", "find", 0)
    assert isinstance(delta, unstream.ArgumentsDelta)


def test_a_choice_that_was_not_over() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    told = told_of(said, finish("stop"), said, finish("stop"))
    names = [[type(e).__name__ for e in events] for events in told]
    assert names == [
        ["TextDelta"],
        ["ChoiceFinished"],
        ["TextDelta", "ChoiceReopened"],
        ["ChoiceFinished"],
        ["Ended"],
    ]


def test_a_call_that_went_on_after_it_was_over() -> None:
    told = told_of(piece('{"a":1}', id="c", name="f"), finish(), piece("}"), finish())
    [call] = finished(told[1])
    assert call.runnable
    [revised] = [e for e in told[-1] if isinstance(e, unstream.CallRevised)]
    assert revised.call is not None
    assert not revised.call.runnable
    assert revised.call.text == '{"a":1}}'


def test_the_halves_of_a_character_are_told_together() -> None:
    accumulator = Accumulator(events=True)
    told = []
    for half in (r"a\ud83d", r"\ude00b", r"\ud83d", "c", r"\ud83d"):
        data = b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}' % half.encode()
        told.append([*accumulator.feed(b"data: %b\n\n" % data)])
    texts = [[e.text for e in events if hasattr(e, "text")] for events in told]
    assert texts == [["a"], ["😀b"], [], ["\ufffdc"], []]
    accumulator.finish()
    last, ended = accumulator.events()
    assert last == unstream.TextDelta(choice=0, position=0, text="\ufffd")
    assert isinstance(ended, unstream.Ended)


def test_halves_that_come_whole_again_are_the_same() -> None:
    address = {"item_id": "m", "output_index": 0, "content_index": 0}
    name = "output_text.delta"
    halves = [
        responses.ev(name, **address, delta=half) for half in ("\ud83d", "\ude00")
    ]
    done = responses.ev("output_text.done", **address, text="\U0001f600!")
    told = told_of(*halves, done, protocol="responses")
    assert [[e.text for e in events if hasattr(e, "text")] for events in told] == [
        *([], ["\U0001f600"], ["!"], [])
    ]


def block(index: int, *inputs: str) -> list[dict[str, Any]]:
    call = {**messages.CALL, "id": f"t{index}"}
    deltas = [messages.input_json(index, text) for text in inputs]
    return [messages.begin(index, call), *deltas, messages.end(index)]


def test_a_block_that_stopped_is_over_when_another_begins() -> None:
    sent = [messages.start(), *block(0, '{"a":', "1}"), *block(1, "")]
    *told, last = told_of(*sent, protocol="messages")
    over = [at for at, events in enumerate(told) if finished(events)]
    assert over == [sent.index(messages.begin(1, {**messages.CALL, "id": "t1"}))]
    [call] = finished(told[over[0]])
    assert (call.id, call.value, call.runnable) == ("t0", {"a": 1}, True)
    # The second stopped, and its input is an object: it was cut off all the same.
    [call] = finished(last)
    assert (call.id, call.runnable) == ("t1", False)
    [revised] = [e for e in last if isinstance(e, unstream.CallRevised)]
    assert revised.call is not None
    assert not revised.call.runnable

    *_, after, _, last = told_of(
        *sent, messages.change("tool_use"), messages.STOP, protocol="messages"
    )
    assert [call.id for call in finished(after)] == ["t1"]
    assert len(last) == 1


def test_a_block_that_had_not_stopped_is_not_over_when_another_begins() -> None:
    first, second = block(0, "{}"), block(1, "{}")
    sent = [messages.start(), *first[:-1], second[0], first[-1], *second[1:]]
    *told, _ = told_of(*sent, protocol="messages")
    assert not any(map(finished, told))
    *_, after, _ = told_of(*sent, messages.change("tool_use"), protocol="messages")
    assert [call.id for call in finished(after)] == ["t0", "t1"]


def item(index: int, status: str = "completed", arguments: str = "{}") -> list[Any]:
    call = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{index}"}
    call |= {"name": "f", "arguments": "", "status": "in_progress"}
    done = {**call, "arguments": arguments, "status": status}
    return [
        responses.ev("output_item.added", output_index=index, item=call),
        responses.ev("output_item.done", output_index=index, item=done),
    ]


def test_an_item_that_is_done_is_over_when_another_begins() -> None:
    sent = [*item(0), *item(1, "incomplete"), *item(2)]
    told = told_of(*sent, protocol="responses")
    over = {at: finished(events) for at, events in enumerate(told) if finished(events)}
    assert {at: [call.id for call in calls] for at, calls in over.items()} == {
        2: ["call_0"],
        4: ["call_1"],
        6: ["call_2"],
    }
    assert over[2][0].runnable
    assert not over[4][0].runnable


def test_items_that_are_open_together_are_over_with_the_response() -> None:
    (first, done), (second, last) = item(0), item(1)
    over = responses.ev("completed", response=responses.response("completed"))
    told = told_of(first, second, done, last, over, protocol="responses")
    assert [len(finished(events)) for events in told] == [0, 0, 0, 0, 2, 0]


def test_arguments_that_differ_in_the_last_word_are_replaced() -> None:
    added, done = item(0, arguments='{"b":2}')
    address = {"item_id": "fc_0", "output_index": 0}
    name = "function_call_arguments.delta"
    delta = responses.ev(name, **address, delta='{"a":1}')
    _, _, [replaced], _ = told_of(added, delta, done, protocol="responses")
    assert replaced == unstream.Replaced(
        kind="arguments", choice=0, position=0, text='{"b":2}'
    )


def test_a_text_that_differs_in_its_done_is_replaced() -> None:
    address = {"item_id": "m", "output_index": 0, "content_index": 0}
    delta = responses.ev("output_text.delta", **address, delta="Hello")
    for whole, expected in (
        ("Hello you", unstream.TextDelta(choice=0, position=0, text=" you")),
        ("Help", unstream.Replaced(kind="text", choice=0, position=0, text="Help")),
    ):
        done = responses.ev("output_text.done", **address, text=whole)
        _, told, _ = told_of(delta, done, protocol="responses")
        assert told == [expected]


def candidate(*parts: Any, reason: str | None = None) -> dict[str, Any]:
    ended = {} if reason is None else {"finishReason": reason}
    return {"candidates": [{"index": 0, "content": {"parts": [*parts]}, **ended}]}


def test_a_thought_of_gemini_is_one_that_says_so() -> None:
    odd = {"text": "a", "thought": "yes"}
    told, _ = told_of(candidate(odd), protocol="gemini")
    assert told == [unstream.TextDelta(choice=0, position=0, text="a")]


def test_a_call_of_gemini_is_over_when_another_part_comes() -> None:
    calls = [{"functionCall": {"name": n, "args": {"a": 1}}} for n in "fg"]
    told = told_of(candidate(*calls), candidate(reason="MAX_TOKENS"), protocol="gemini")
    assert [(c.name, c.value, c.runnable) for c in finished(told[0])] == [
        ("f", {"a": 1}, True)
    ]
    assert [(c.name, c.runnable) for c in finished(told[1])] == [("g", False)]
    [revised] = [e for e in told[1] if isinstance(e, unstream.CallRevised)]
    assert revised.position == 0


def test_a_call_of_gemini_in_pieces_is_told_when_it_was_closed() -> None:
    def path(text: str, **more: Any) -> dict[str, Any]:
        args = [{"jsonPath": "$.a", "stringValue": text}]
        return {"functionCall": {"partialArgs": args, **more}}

    told = told_of(
        candidate(path("x", name="f", willContinue=True)),
        candidate({"text": "meanwhile"}),
        candidate(path("y", willContinue=True)),
        candidate({"functionCall": {}}),
        candidate(reason="STOP"),
        protocol="gemini",
    )
    assert [len(finished(events)) for events in told] == [0, 0, 0, 1, 0, 0]
    [call] = finished(told[3])
    # That is how the fold judges what came by paths: it is not to be run.
    assert (call.arguments, call.text) == ("whole", '{"a":"xy"}')


# --- The calls ------------------------------------------------------------------------

BODY: Final = (HERE / "text/plain.sse").read_bytes()


def test_events_are_handed_out_once() -> None:
    accumulator = Accumulator(events=True)
    assert accumulator.feed(b"data: ") == []
    chunk = b'{"choices":[{"delta":{"content":"a"}}]}\n\n'
    assert accumulator.feed(chunk) == [
        unstream.TextDelta(choice=0, position=0, text="a")
    ]
    assert accumulator.events() == []
    assert accumulator.finish() is accumulator.finish()
    [ended] = accumulator.events()
    assert isinstance(ended, unstream.Ended)
    assert ended.outcome is accumulator.finish()
    assert accumulator.events() == []


def test_events_that_were_not_asked_for() -> None:
    accumulator = Accumulator()
    chunk = {"choices": [{"delta": {"content": "a"}}]}
    assert not accumulator.feed(b"data: {}\n\n")
    assert not accumulator.feed(b"data: {}\n\n" * 4000)
    assert not accumulator.add(chunk)
    with pytest.raises(TypeError, match="events=True"):
        accumulator.events()


def test_a_protocol_that_tells_none() -> None:
    silent = msgspec.structs.replace(unstream.chat.PROTOCOL, live="")
    with pytest.raises(TypeError, match="chat tells no events"):
        Accumulator(protocol=silent, events=True)


def test_a_source_may_be_bytes_or_any_iterable() -> None:
    whole = list(unstream.events(BODY))
    assert list(unstream.events([BODY[:100], BODY[100:]])) == whole
    assert list(unstream.events(BODY, protocol=unstream.ANY)) == whole
    assert isinstance(whole[-1], unstream.Ended)
    for wrong in ("text", 5, {"a": 1}):
        with pytest.raises(TypeError):
            unstream.events(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_the_protocol_may_be_found_out(name: str) -> None:
    file = {"chat": "hello"}.get(name, name)
    body = (HERE.parents[1] / f"examples/{file}.sse").read_bytes()
    accumulator = Accumulator(protocol=unstream.ANY, events=True)
    told = [event for data in cut(body, [9]) for event in accumulator.feed(data)]
    outcome = accumulator.finish()
    assert outcome.protocol == name
    assert told + accumulator.events() == tell([body], name)[0]
    assert any(isinstance(event, unstream.TextDelta) for event in told)


def test_a_body_with_two_answers_of_one_index() -> None:
    one = {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}
    two = {"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}
    body = msgspec.json.encode({"candidates": [one, two]})
    hold(body, [9], "gemini", Limits())
    choices = [{"index": 0, "message": {"content": text}} for text in "ab"]
    hold(msgspec.json.encode({"choices": choices}), [9], "chat", Limits())


def test_an_async_source() -> None:
    async def source() -> Any:
        for data in cut(BODY, [50]):
            yield data

    async def run() -> list[Event]:
        return [event async for event in unstream.aevents(source())]

    assert asyncio.run(run()) == list(unstream.events(BODY))
    with pytest.raises(TypeError, match="use aevents"):
        unstream.events(source())
    with pytest.raises(TypeError, match="events"):
        unstream.aevents([BODY])  # type: ignore[arg-type]


def test_what_came_is_told_before_a_source_breaks() -> None:
    def source() -> Any:
        yield BODY[:300]
        raise ConnectionError

    async def asource() -> Any:
        yield BODY[:300]
        raise ConnectionError

    told: list[Event] = []
    with pytest.raises(ConnectionError):
        told.extend(unstream.events(source()))
    assert isinstance(told[-1], unstream.Ended)
    assert told[-1].outcome.ending == "truncated"

    again: list[Event] = []

    async def run() -> None:
        async for event in unstream.aevents(asource()):
            again.append(event)  # noqa: PERF401 - up to the error

    with pytest.raises(ConnectionError):
        asyncio.run(run())
    assert again == told


def test_an_end_that_was_sent_on() -> None:
    *_, ended = unstream.events(BODY)
    assert isinstance(ended, unstream.Ended)
    again = pickle.loads(pickle.dumps(ended))  # noqa: S301 - our own
    assert again == ended
    assert again.outcome == ended.outcome
    read = msgspec.json.decode(msgspec.json.encode(ended), type=Event)
    assert read == ended
    assert not hasattr(read, "outcome")


PAGE: Final = (HERE.parents[1] / "docs/events.md").read_text()
BLOCKS: Final = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_what_the_page_shows_is_what_happens(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "partial_json" in code:
        pytest.importorskip("jiter")
    monkeypatch.chdir(HERE.parents[1])
    exec(compile(code, "events.md", "exec"), {})  # noqa: S102 - our own page


def test_each_event_has_a_name_on_the_wire() -> None:
    kinds = get_args(Event)
    tags = {kind.__struct_config__.tag for kind in kinds}
    assert len(tags) == len(kinds) == 14
    assert {"text_delta", "call_finished", "ended"} <= tags
    for kind in kinds:
        assert f"`{kind.__name__}`" in PAGE
        assert f"`{kind.__struct_config__.tag}`" in PAGE


# --- Cost -----------------------------------------------------------------------------


def calls_of_chat(n: int) -> list[dict[str, Any]]:
    opened = [piece('{"a":', i, id=f"c{i}", name="f") for i in range(n)]
    return [*opened, *(piece("1", i) for i in range(n)), finish()]


def pieces_of_a_name(n: int) -> list[dict[str, Any]]:
    return [piece("", id="c", name="f"), *[piece("", name="name " * 999)] * n, finish()]


def calls_of_messages(n: int) -> list[dict[str, Any]]:
    return [messages.start(), *(e for i in range(n) for e in block(i, "{", "}"))]


def calls_of_responses(n: int) -> list[dict[str, Any]]:
    return [event for i in range(n) for event in item(i)]


def open_items(n: int) -> list[dict[str, Any]]:
    return [event for i in range(n) for event in item(i)[:1]]


def calls_of_gemini(n: int) -> list[dict[str, Any]]:
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    return [candidate(call) for _ in range(n)]


def reopened(n: int) -> list[dict[str, Any]]:
    said = piece("1", id="c", name="f")
    return [event for _ in range(n) for event in (said, finish())]


def usages(n: int) -> list[dict[str, Any]]:
    said = {"index": 0, "delta": {"content": "a"}}
    return [{"choices": [said], "usage": {f"n{i}": i}} for i in range(n)]


@pytest.mark.parametrize(
    ("make", "protocol"),
    [
        (calls_of_chat, "chat"),
        (pieces_of_a_name, "chat"),
        (reopened, "chat"),
        (usages, "chat"),
        (calls_of_messages, "messages"),
        (calls_of_responses, "responses"),
        (open_items, "responses"),
        (calls_of_gemini, "gemini"),
    ],
)
def test_a_stream_costs_what_it_is_long(make: Any, protocol: str) -> None:
    def cost(n: int) -> float:
        body = b"".join(b"data: %b\n\n" % msgspec.json.encode(e) for e in make(n))
        accumulator = Accumulator(protocol=load(protocol), events=True)
        start = time.process_time()
        accumulator.feed(body)
        accumulator.finish()
        return time.process_time() - start

    small = min(cost(125) for _ in range(5))
    assert min(cost(1000) for _ in range(3)) < 24 * small  # 8 times the events


def test_nobody_pays_who_did_not_ask() -> None:
    code = (
        "import sys, unstream; unstream.Accumulator().feed(b'data: {}'); "
        "print(*(name for name in sys.modules if name.endswith(('_live', '_events'))))"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
