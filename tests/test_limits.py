"""The bounds, and what they may be."""

import pytest

from tests.strategies import chunk, fold_reads, stream
from unstream import Limits, sse

FIELDS = ("event_bytes", "stream_bytes", "choices", "tool_calls")


def test_the_defaults_are_far_beyond_what_is_sold() -> None:
    limits = Limits()
    assert limits.event_bytes == sse.DEFAULT_LIMIT == 64 * 1024 * 1024
    assert limits.stream_bytes == 512 * 1024 * 1024
    assert (limits.choices, limits.tool_calls) == (1024, 1024)
    assert set(Limits.__struct_fields__) == set(FIELDS)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("bound", [0, -1, -(10**30)])
def test_a_bound_below_1_is_a_value_error(field: str, bound: int) -> None:
    with pytest.raises(ValueError, match=field):
        Limits(**{field: bound})


@pytest.mark.parametrize("field", FIELDS)
def test_a_bound_of_1_holds(field: str) -> None:
    limits = Limits(**{field: 1})
    calls = [{"index": 0, "id": "a"}, {"index": 1, "id": "b"}]
    body = stream(chunk({"tool_calls": calls}), chunk({}, index=1), "[DONE]")
    assert fold_reads([body], limits=limits).limit == field


def test_limits_are_named_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        Limits().choices = 5  # type: ignore[misc]
    assert Limits(choices=5) == Limits(choices=5) != Limits()
