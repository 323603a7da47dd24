"""Text completions: laws over streams, and what their types promise."""

import copy
import json
import pickle
import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unstream.text
from unstream import Accumulator, Limits, Outcome, TruncatedStream
from unstream.text import Logprobs, TextCompletion

ENVELOPE: Final = {
    "id": "c1",
    "object": "text_completion",
    "created": 1795000000,
    "model": "m-1",
}


def say(text: Any, finish: Any = None, /, index: Any = 0, **beside: Any) -> bytes:
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return event({**ENVELOPE, "choices": [{**choice, **beside}]})


def event(payload: Any) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":")).encode() + b"\n\n"


def fold(data: bytes, step: int = 0, *, fast: bool = True) -> Outcome[TextCompletion]:
    accumulator = Accumulator(protocol=unstream.text.PROTOCOL, fast=fast)
    for at in range(0, len(data), step or len(data) or 1):
        accumulator.feed(data[at : at + (step or len(data))])
    return accumulator.finish()


# --- Laws -----------------------------------------------------------------------------

TOKENS: Final = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": None}
EVENTS: Final = [
    say("word"),
    say(" and ", index=1),
    say("\ud83d"),
    say("\ude00"),
    say('"\\\n é'),
    say(""),
    say(None, "stop"),
    say("a", logprobs=TOKENS),
    say("a", logprobs={"\ud83d": [1], "content": [{"token": "\ud83d"}]}),
    say("a", token_ids=[1], obfuscation="xy"),
    say("a", delta={"text": "a"}, message="a"),
    say("a", x={"text": "a"}, n=1),
    say("a", n=True),
    event({**ENVELOPE, "id": "c2", "choices": [{"text": "b"}]}),
    event({"choices": [{"text": "b", "index": 7}, {"text": "c"}]}),
    event({"choices": [], "usage": {"total_tokens": 3, "x": {"y": None}}}),
    event({"error": {"message": "\ud83d"}}),
    event({"type": "ping"}),
    event({"x_top": [1, {"a": None}]}),
    b"data: [DONE]\n\n",
    b"data: {x\n\n",
    b"event: error\ndata: died\n\n",
]
STREAMS: Final = st.lists(
    # One event, some of them with a number as text, many times: runs.
    st.tuples(st.sampled_from(EVENTS), st.sampled_from([1, 1, 2, 20])),
    max_size=8,
).map(lambda runs: b"".join(vary(one, i) for one, n in runs for i in range(n)))


def vary(one: bytes, number: int) -> bytes:
    return one.replace(b'"word"', b'"word %d"' % number)


@given(STREAMS, st.sampled_from([1, 7, 64, 5000]))
def test_neither_cuts_nor_the_fast_path_matter(data: bytes, step: int) -> None:
    plain = fold(data, fast=False)
    assert fold(data) == plain
    assert fold(data, step) == plain
    assert fold(data, step, fast=False) == plain


@given(STREAMS)
def test_what_is_saved_can_be_loaded(data: bytes) -> None:
    outcome = fold(data)
    assert Outcome.from_json(outcome.to_json()) == outcome
    if (whole := outcome.completion) is not None:
        assert TextCompletion.from_json(whole.to_json()) == whole
        assert TextCompletion.from_dict(whole.to_dict()) == whole
        assert json.loads(whole.to_json()) == whole.to_dict()


def test_long_runs_take_the_fast_path() -> None:
    data = b"".join(say(f" word {i}") for i in range(5000))

    def cost(*, fast: bool) -> float:
        start = time.process_time()
        fold(data, fast=fast)
        return time.process_time() - start

    # Measured: 11 times.
    assert max(cost(fast=False) / cost(fast=True) for _ in range(5)) > 3


# --- Rows -----------------------------------------------------------------------------


def test_an_id_that_changed_is_noted_for_each_event() -> None:
    # An event that notes is none that may be passed over as a like one.
    data = say("a") + b"".join(
        event({**ENVELOPE, "id": "c2", "choices": [{"text": f"b{i}"}]})
        for i in range(50)
    )
    for step in (len(data), 1):
        notes = {note.code: note.count for note in fold(data, step).notes}
        assert notes["id_changed"] == 50


def test_log_probabilities_are_typed() -> None:
    sent = {
        "tokens": ["a", "b"],
        "token_logprobs": [None, -1],
        "top_logprobs": [None, {"b": -1.0}],
        "text_offset": [0, 1],
        "x_kind": "y",
    }
    found = fold(say("ab", "stop", logprobs=sent)).unwrap().choices[0].logprobs
    assert found is not None
    assert found.tokens == ["a", "b"]
    assert found.token_logprobs == [None, -1.0]
    assert found.top_logprobs == [None, {"b": -1.0}]
    assert found.text_offset == [0, 1]
    assert found.to_dict() == sent
    for twin in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):  # noqa: S301
        assert twin == found
        assert type(twin) is Logprobs


def test_log_probabilities_of_another_shape_are_kept_and_not_typed() -> None:
    sent = {"tokens": [{"token": "a"}], "content": [{"token": "a"}]}
    found = fold(say("a", "stop", logprobs=sent)).unwrap().choices[0].logprobs
    assert found is not None
    assert found.tokens is None
    assert found.text_offset is None
    assert found.to_dict() == sent
    assert found != Logprobs({})
    assert found != sent


def test_choices_over_the_limit_are_left_out() -> None:
    data = say("a") + say("lost", index=1) + say("b", "stop")
    accumulator = Accumulator(protocol=unstream.text.PROTOCOL, limits=Limits(choices=1))
    accumulator.feed(data)
    outcome = accumulator.finish()
    assert (outcome.ending, outcome.limit) == ("limit", "choices")
    assert outcome.completion is not None
    assert outcome.completion.output_text == "ab"


@pytest.mark.parametrize(
    ("sent", "is_text"),
    [
        ({"object": "text_completion", "choices": []}, True),
        ({"choices": [{"text": "a"}]}, True),
        ({"choices": [{"text": "a", "delta": {"content": "a"}}]}, False),  # Together
        ({"object": "chat.completion.chunk", "choices": [{"text": "a"}]}, False),
        ({"choices": []}, False),
        ({"choices": None}, False),
        ({}, False),
    ],
)
def test_what_is_claimed(sent: dict[str, Any], is_text: bool) -> None:  # noqa: FBT001
    assert unstream.text.PROTOCOL.claims(sent, "") is is_text


def test_the_room_folds_by_itself() -> None:
    data = say("Hel") + say("lo", "stop")
    completion = unstream.text.fold([data[:9], data[9:]])
    assert completion.output_text == "Hello"
    assert completion.calls() == ()
    with pytest.raises(TruncatedStream):
        unstream.text.fold(say("Hel"))
