"""The bounds, and what they may be."""

import json
from typing import Any

import pytest

from tests.strategies import Json, chunk, fold_reads, folded, outcome_of, stream
from unstream import Accumulator, Limits, fold, sse

FIELDS = ("event_bytes", "stream_bytes", "held_bytes", "choices", "tool_calls")


def test_the_defaults_are_far_beyond_what_is_sold() -> None:
    limits = Limits()
    assert limits.event_bytes == sse.DEFAULT_LIMIT == 64 * 1024 * 1024
    assert limits.stream_bytes == 512 * 1024 * 1024
    assert limits.held_bytes == 1024 * 1024 * 1024
    assert (limits.choices, limits.tool_calls) == (1024, 4096)
    assert set(Limits.__struct_fields__) == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "bound",
    [0, -1, -(10**30), 1.0, 5.5, float("inf"), float("nan"), True, "5", None],
    ids=repr,
)
def test_a_bound_that_is_none_is_a_value_error(field: str, bound: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be an integer of at least 1"):
        Limits(**{field: bound})


@pytest.mark.parametrize("field", FIELDS)
def test_a_bound_of_1_holds(field: str) -> None:
    limits = Limits(**{field: 1})
    calls = [{"index": 0, "id": "a", "x": [1]}, {"index": 1, "id": "b"}]
    body = stream(chunk({"tool_calls": calls}), chunk({}, index=1), "[DONE]")
    assert fold_reads([body], limits=limits).limit == field


def test_limits_are_named_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Limits().choices = 5  # type: ignore[misc]
    assert Limits(choices=5) == Limits(choices=5) != Limits()


@pytest.mark.parametrize("limits", [5, {"choices": 1}, Limits, "x"])
def test_limits_of_another_type_are_a_type_error(limits: Any) -> None:
    for call in (Accumulator, lambda limits: fold(b"", limits=limits)):
        with pytest.raises(TypeError, match=r"limits is a Limits\(\.\.\.\)"):
            call(limits=limits)


# --- What may be held -----------------------------------------------------------------

BIG = {"annotations": [{"type": "x"}] * 100}


def test_values_over_the_limit_are_left_out_and_the_rest_counts() -> None:
    sent = [chunk({"content": "a"}), chunk(BIG), {"usage": {"a": 1}}, "[DONE]"]
    outcome = outcome_of(*sent, limits=Limits(held_bytes=20_000))
    assert (outcome.ending, outcome.limit) == ("limit", "held_bytes")
    assert (outcome.n_events, outcome.n_malformed, outcome.done) == (4, 0, True)
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == folded(sent[0], sent[2])
    assert outcome_of(*sent, limits=Limits(held_bytes=200_000)).limit is None


@pytest.mark.parametrize(
    "sent",
    [
        [chunk({"content": "x" * 500})] * 100,
        [chunk({"reasoning": "x" * 500, "x": "y" * 500})] * 100,
        [chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 400}}]})]
        * 100,
        [
            {**chunk({}), "usage": {"total_tokens": n, "x": {"y": n}}}
            for n in range(500)
        ],
        [{**chunk({}), "x": {"a": [n]}, "y": [n]} for n in range(500)],
        [chunk({}, stop_reason={"a": n}) for n in range(500)],
    ],
    ids=["text", "texts", "arguments", "usage", "top", "choice"],
)
def test_text_is_not_counted_nor_is_what_takes_the_place_of_another(
    sent: list[Json],
) -> None:
    late = {"choices": [], "usage": {"x": "y" * 600}}
    outcome = outcome_of(*sent, late, limits=Limits(held_bytes=10_000))
    assert outcome.limit is None
    assert outcome.completion is not None
    assert outcome.completion.to_dict()["usage"]["x"] == "y" * 600


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(
            {"object": "chat.completion", "choices": [{"message": BIG}]}
        ).encode(),
        json.dumps({"error": BIG}).encode(),
        json.dumps({"id": "x", **chunk(BIG)}).encode(),
    ],
    ids=["a completion", "an error", "a lone chunk"],
)
def test_a_body_over_the_limit_is_not_read(body: bytes) -> None:
    outcome = fold_reads([body], limits=Limits(held_bytes=20_000))
    assert (outcome.ending, outcome.limit) == ("limit", "held_bytes")
    assert outcome.completion is None
    assert fold_reads([body], limits=Limits(held_bytes=200_000)).limit is None


def test_choices_and_calls_of_a_body_are_bounded() -> None:
    call = {"id": "c", "function": {"name": "f"}}
    message = {"role": "assistant", "tool_calls": [call] * 3}
    choices = [{"index": n, "message": message} for n in range(4)]
    body = json.dumps({"object": "chat.completion", "choices": choices}).encode()
    outcome = fold_reads([body], limits=Limits(choices=2, tool_calls=4))
    assert (outcome.ending, outcome.limit) == ("limit", "choices")
    assert [place.position for place in outcome.calls] == [0, 1, 2, 0]
    outcome = fold_reads([body], limits=Limits(tool_calls=4))
    assert outcome.limit == "tool_calls"
    assert len(outcome.calls) == 4


def test_code_inside_a_text_is_not_weighed_as_values() -> None:
    code = json.dumps([[n, [n]] for n in range(30_000)])
    piece = {"function": {"name": "f", "arguments": code}, "type": "function"}
    chunks = [
        {"choices": [{"delta": {"tool_calls": [{"index": n, "id": f"c{n}", **piece}]}}]}
        for n in range(12)
    ]
    rare = {"choices": [{"delta": {"content": code, "rare": [1]}}]}
    outcome = outcome_of(rare, *chunks)
    assert outcome.limit is None
    assert len(outcome.calls) == 12


def test_events_that_were_not_told_apart_yet_are_not_weighed_as_one() -> None:
    one = stream(chunk({"content": "{}"}))
    body = one + b"event: x\n" + one + one
    outcome = fold_reads([body], limits=Limits(held_bytes=3000))
    assert (outcome.limit, outcome.n_events) == (None, 3)
