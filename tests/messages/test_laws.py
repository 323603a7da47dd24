"""What holds of every stream of Messages."""

import gc
import json
import time
from collections.abc import Callable
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messages.strategies import (
    CALL,
    STOP,
    TEXT,
    Json,
    Object,
    begin,
    change,
    end,
    event_lists,
    fold_reads,
    input_json,
    limits,
    start,
    stream,
    streamed,
    streams,
    text,
    whole_messages,
    write,
)
from tests.strategies import check_looks, cut, sizes
from unstream import Accumulator, Ending, Limits, Outcome, StreamError
from unstream._protocol import Fold
from unstream.messages import PROTOCOL, Message, ToolUseBlock
from unstream.messages._fold import MessagesFold

# --- Cuts and looks -------------------------------------------------------------------


@given(streams, sizes, limits)
def test_cuts_do_not_matter(body: bytes, into: list[int], bounds: Limits) -> None:
    whole = fold_reads([body], limits=bounds)
    parts = fold_reads(cut(body, into), limits=bounds)
    # Equality takes 1 for True and 1.0.
    assert repr(parts) == repr(whole)


@given(streams, sizes, limits)
def test_the_fast_path_changes_nothing(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    plain = fold_reads([body], limits=bounds, fast=False)
    assert repr(fold_reads([body], limits=bounds)) == repr(plain)
    parts = fold_reads(cut(body, into), limits=bounds, fast=False)
    assert repr(parts) == repr(plain)


class _PlainFold(MessagesFold):
    """A fold that takes every event by the ordinary road."""

    __slots__ = ()
    take = Fold.take


_PLAINLY: Final = msgspec.structs.replace(PROTOCOL, fold=_PlainFold)


@given(streams, limits)
def test_the_look_changes_nothing(body: bytes, bounds: Limits) -> None:
    plain = Accumulator(protocol=_PLAINLY, limits=bounds, fast=False)
    plain.feed(body)
    assert repr(fold_reads([body], limits=bounds)) == repr(plain.finish())
    without = fold_reads([body], limits=bounds, fast=False)
    assert repr(without) == repr(plain.finish())


@given(streams, sizes, limits)
def test_looking_does_not_disturb(body: bytes, into: list[int], bounds: Limits) -> None:
    unseen = fold_reads([body], limits=bounds)
    check_looks(cut(body, into), unseen, protocol=PROTOCOL, limits=bounds)


# --- Verdicts -------------------------------------------------------------------------


@given(streams | st.binary(max_size=200), limits)
def test_whatever_comes_gets_a_verdict(body: bytes, bounds: Limits) -> None:
    outcome = fold_reads([body], limits=bounds)
    message = outcome.completion
    assert (outcome.ending is Ending.ERROR) == (outcome.error is not None)
    if outcome.ending is Ending.COMPLETE:
        assert outcome.unwrap() is message
    else:
        with pytest.raises(StreamError) as raised:
            outcome.unwrap()
        assert raised.value.outcome is outcome
    if outcome.ending in (Ending.EMPTY, Ending.FOREIGN):
        assert message is None
    if outcome.ending is Ending.TRUNCATED and message is not None:
        assert not outcome.done
    assert Outcome.from_json(outcome.to_json()) == outcome
    if message is not None:
        assert json.loads(message.to_json()) == message.to_dict()
        assert Message.from_json(message.to_json()) == message
        assert Message.from_dict(message.to_dict()) == message


@given(streams)
def test_a_call_with_partial_json_is_not_runnable(body: bytes) -> None:
    outcome = fold_reads([body])
    blocks = outcome.completion.content if outcome.completion else []
    calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
    assert len(outcome.calls) == len(calls)
    for call, block in zip(outcome.calls, calls, strict=True):
        if block.partial_json is not None:
            assert not call.runnable
            assert call.text == block.partial_json
        if call.runnable:
            assert outcome.completion is not None
            assert outcome.completion.stop_reason
            assert call.value == block.input


@given(event_lists)
def test_nothing_is_invented(sent: list[Json]) -> None:
    message = fold_reads([stream(*sent)]).completion
    assert message is not None
    text_of = json.dumps(sent)
    for value in (message.id, message.model, message.stop_reason):
        assert not value or json.dumps(value)[1:-1] in text_of or "�" in value
    if message.usage is not None:
        assert '"usage": {' in text_of


# --- Against the message that was streamed --------------------------------------------


@st.composite
def _streamed_messages(draw: st.DrawFn) -> tuple[Object, list[Object]]:
    message = draw(whole_messages)
    return message, draw(streamed(message))


streamed_messages: Final = _streamed_messages()


@given(streamed_messages, sizes)
def test_a_message_that_was_streamed_comes_back(
    sent: tuple[Object, list[Object]], into: list[int]
) -> None:
    message, events = sent
    outcome = fold_reads(cut(stream(*events), into))
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().to_dict() == message
    assert outcome.usage_source == "message_delta"
    assert outcome.notes == ()
    whole = fold_reads([json.dumps(message).encode()]).unwrap()
    assert whole.to_dict() == message
    assert whole == Message.from_dict(message)


def texts_of(message: Message | None) -> list[str]:
    """Return the texts that grow, in the order of the blocks."""
    keys = ("text", "thinking")
    blocks = message.to_dict()["content"] if message else []
    return [block[key] for block in blocks for key in keys if key in block]


@given(streamed_messages)
def test_a_prefix_never_says_more_than_the_whole(
    sent: tuple[Object, list[Object]],
) -> None:
    message, events = sent
    accumulator = Accumulator(protocol=PROTOCOL)
    whole = texts_of(Message.from_dict(message))
    for n, event in enumerate(events, 1):
        accumulator.feed(write(event))
        seen = texts_of(accumulator.snapshot())
        assert len(seen) <= len(whole)
        assert all(map(str.startswith, whole, seen))
        outcome = fold_reads([stream(*events[:n])])
        if outcome.ending is Ending.COMPLETE:
            assert outcome.unwrap().to_dict() == message
            assert not outcome.unfinished
        else:
            assert outcome.ending is Ending.TRUNCATED
            assert outcome.unfinished == (0,)


@given(streamed_messages, st.integers(0, 30), sizes)
def test_a_start_that_is_missing_loses_only_what_it_said(
    sent: tuple[Object, list[Object]], place: int, into: list[int]
) -> None:
    _, events = sent
    starts = [n for n, e in enumerate(events) if e["type"] == "content_block_start"]
    if not starts:
        return
    lost = starts[place % len(starts)]
    whole = fold_reads([stream(*events)]).unwrap()
    outcome = fold_reads(cut(stream(*events[:lost], *events[lost + 1 :]), into))
    assert outcome.ending is Ending.COMPLETE
    assert [text for text in texts_of(whole) if text] == [
        text for text in texts_of(outcome.unwrap()) if text
    ]


# --- Cost -----------------------------------------------------------------------------

_MANY: Final = Limits(choices=1 << 20, tool_calls=1 << 20)


def _texts(n: int) -> list[Object]:
    return [text(0, f"piece {i}") for i in range(n)]


def _inputs(n: int) -> list[Object]:
    return [begin(1, CALL), *(input_json(1, '"a') for _ in range(n))]


def _turns(n: int) -> list[Object]:
    return [begin(1, TEXT), *(text(i % 2, "piece") for i in range(n))]


def _blocks(n: int) -> list[Object]:
    return [e for i in range(n) for e in (begin(i, TEXT), text(i, "a"), end(i))]


def _reused(n: int) -> list[Object]:
    return [e for _ in range(n) for e in (begin(0, TEXT), text(0, "a"), end(0))]


def _usages(n: int) -> list[Object]:
    return [change(None, {"output_tokens": i}) for i in range(n)]


def _unknown(n: int) -> list[Object]:
    return [
        {"type": "content_block_delta", "index": 0, "delta": {"frames": ["a"], "n": i}}
        for i in range(n)
    ]


@pytest.mark.parametrize(
    "events", [_texts, _inputs, _turns, _blocks, _reused, _usages, _unknown]
)
@pytest.mark.parametrize(("step", "named"), [(64, True), (8192, True), (8192, False)])
def test_cost_is_linear(
    events: Callable[[int], list[Object]], step: int, *, named: bool
) -> None:
    def reads(n: int) -> list[bytes]:
        sent = [start(), begin(0, TEXT), *events(n), change(), STOP]
        return cut(b"".join(write(e, None if named else "") for e in sent), [step])

    def cost(reads: list[bytes]) -> float:
        gc.collect()
        before = time.process_time()
        outcome = fold_reads(reads, limits=_MANY)
        assert outcome.ending is Ending.COMPLETE
        return time.process_time() - before

    # Eight times as much in eight times the time; a quadratic cost would be 64.
    few, many = reads(250), reads(2000)
    costs = [(cost(few), cost(many)) for _ in range(5)]
    assert min(more for _, more in costs) < 20 * min(less for less, _ in costs)
