"""How values of one key become one value, and what each rule says that it did."""

import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import check_deed, strict, values
from unstream._rules import (
    CHANGED,
    DROPPED,
    HELD,
    Did,
    Effects,
    Grown,
    Rule,
    State,
    append,
    concat,
    drop,
    extend,
    first_count,
    first_id,
    first_text,
    fold,
    ignore,
    is_empty,
    is_exact,
    last,
    last_non_null,
    last_text,
    merge,
    settle,
)

RULES = (
    *(append, concat, drop, extend, first_count, first_id, first_text, ignore),
    *(last, last_non_null, last_text, merge),
)
NOTHING = "nothing"


def run(rule: Rule, *sent: Any) -> Any:
    """Fold values by a rule; "nothing" where the key stays away."""
    state: State = {}
    for value in sent:
        if value is not None:
            rule(state, "k", value)
    return settle(state).get("k", NOTHING)


# --- Laws -----------------------------------------------------------------------------

there = values.filter(lambda value: value is not None)


@given(st.sampled_from(RULES), st.lists(there, max_size=4))
def test_a_rule_says_what_it_did(rule: Rule, sent: list[Any]) -> None:
    state: State = {}
    for value in sent:
        check_deed(rule, state, "k", value)
        json.dumps(settle(state))


@given(st.sampled_from(RULES), st.lists(there, min_size=1, max_size=3))
def test_what_settles_is_a_copy(rule: Rule, sent: list[Any]) -> None:
    state: State = {}
    for value in sent:
        rule(state, "k", value)
    before = repr(settle(state))
    settled = settle(state)
    for inner in [settled, *settled.values()]:
        if isinstance(inner, dict | list):
            inner.clear()
    assert repr(settle(state)) == before


@given(there, there)
def test_an_empty_value_erases_nothing(held: Any, value: Any) -> None:
    for rule in (last, merge):
        if not is_empty(held) and is_empty(value):
            assert repr(run(rule, held, value)) == repr(run(rule, held))


def turned(value: Any) -> Any:
    """Put numbers for booleans and booleans for numbers, at every depth."""
    if isinstance(value, dict):
        return {key: turned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [turned(inner) for inner in value]
    if isinstance(value, bool):
        return int(value)
    return bool(value) if value in (0, 1) else value


@given(st.dictionaries(st.sampled_from("abc"), there))
def test_what_is_exact_equals_nothing_else_and_does_nothing_twice(
    sent: dict[str, Any],
) -> None:
    if not is_exact(sent):
        return
    other = turned(sent)
    assert other == sent
    assert strict(other) == strict(sent)
    for rest in (last, merge):
        state: State = {}
        effects: Effects = []
        for _ in range(2):
            effects.clear()
            fold(state, json.loads(json.dumps(sent)), {}, rest, effects)
        assert effects == []


# --- Rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "sent", "expected"),
    [
        (drop, ["x"], NOTHING),
        (ignore, ["x"], NOTHING),
        (first_text, ["", "a", "b"], "a"),
        (first_text, [0, 1, {}, ["x"], True], NOTHING),
        (first_id, ["", 7, "a"], "7"),
        (first_id, [True, 7.5, {}], NOTHING),
        (first_count, [0, 5, 6], 5),
        (first_count, [1.9], 1),
        (first_count, [-1.0, 5], -1),
        (first_count, [True, "5", float("inf"), float("nan"), 0.0], NOTHING),
        (last_text, ["a", "b", ""], "b"),
        (last_text, ["", 5, True], NOTHING),
        (last, ["a", "b", "", [], {}], "b"),
        (last, ["", []], []),
        (last, [{"a": 1}, {"b": 2}], {"b": 2}),
        (last, ["a", 0, False], False),
        (last, [1, True], True),
        (last, [1, 1.0], 1.0),
        (last, [0.0, -0.0], -0.0),
        (last, [[1], [True]], [True]),
        (last, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], {"b": 2, "a": 1}),
        (last_non_null, ["a", ""], ""),
        (last_non_null, [1, {"a": 1}, []], []),
        (append, ["a", "", "b"], "ab"),
        (append, [""], NOTHING),
        (append, ["a", 5, {"x": 1}, "b"], "ab"),
        (concat, ["a", "", "b"], "ab"),
        (concat, [""], ""),
        (extend, [[1], [], [2, [3]]], [1, 2, [3]]),
        (extend, [5, 6], [5, 6]),
        (extend, [[]], []),
        (merge, [{"a": 1}, {"b": 2}], {"a": 1, "b": 2}),
        (merge, [{"a": 1}, {"a": 2}, {"a": None}, {}], {"a": 2}),
        (merge, [{"a": None}], {"a": None}),
        (merge, [{"a": None}, {"a": 1}], {"a": 1}),
        (merge, [{"a": None}, {"a": {"b": 1}}], {"a": {"b": 1}}),
        (merge, [{"a": {"x": 1, "y": 2}}, {"a": {"x": 3}}], {"a": {"x": 3, "y": 2}}),
        (merge, [{"a": {"x": 1}}, {"a": 5}], {"a": 5}),
        (merge, [{"a": {"x": 1}}, {"a": ""}, {"a": []}], {"a": {"x": 1}}),
        (merge, [{"a": 5}, {"a": {}}], {"a": 5}),
        (merge, [{"a": 5}, {"a": {"x": None}}], {"a": {"x": None}}),
        (merge, [{"a": [1]}, {"a": [2]}], {"a": [2]}),
        (merge, [{}], {}),
        (merge, ["x", {}], "x"),
        (merge, ["x", {"a": 1}], {"a": 1}),
    ],
)
def test_a_rule_folds_values(rule: Rule, sent: list[Any], expected: Any) -> None:
    assert repr(run(rule, *sent)) == repr(expected)


@pytest.mark.parametrize(
    ("rule", "sent", "did"),
    [
        (drop, ["x"], DROPPED),
        (drop, [5], None),
        (first_text, ["a", "b"], None),
        (last_text, ["a", "a"], None),
        (last_text, ["a", "b"], CHANGED),
        (last, ["a"], HELD),
        (last, ["a", "a"], None),
        (last, ["a", "b"], CHANGED),
        (last, [1, True], CHANGED),
        (last, [[1], [1]], None),
        (extend, [[1]], HELD),
        (extend, [[1], [2]], HELD),
        (extend, [[1], []], None),
        (merge, [{"a": 1}], HELD),
        (merge, [{"a": 1}, {"a": 2}], CHANGED),
        (merge, [{"a": 1}, {"b": 2}], HELD),
        (merge, [{"a": 1}, {"a": 1}], None),
        (merge, [{"a": 1}, {"b": None}], HELD),
        (concat, ["a"], CHANGED),
        (concat, ["a", ""], None),
    ],
)
def test_what_a_rule_says_of_the_last_value(
    rule: Rule, sent: list[Any], did: Did
) -> None:
    state: State = {}
    said = [rule(state, "k", value) for value in sent]
    assert said[-1] is did


def test_a_text_that_grows_is_handed_out() -> None:
    for rule in (append, concat):
        state: State = {}
        rule(state, "k", "a")
        did = rule(state, "k", "b")
        assert isinstance(did, StringIO)
        did.write("c")
        assert settle(state) == {"k": "abc"}


def test_folding_finds_the_rule_by_its_key_and_passes_over_nulls() -> None:
    state: State = {}
    effects: Effects = []
    sent = {"a": "x", "b": "y", "c": None, "d": ""}
    for _ in range(2):
        effects.clear()
        fold(state, sent, {"a": concat, "b": drop, "d": last_text}, last, effects)
    assert settle(state) == {"a": "xx"}
    assert effects == [("a", "x", state["a"]), ("b", "y", DROPPED)]


def test_a_rule_may_tell_of_a_text_that_stands_deeper() -> None:
    text = StringIO()
    effects: Effects = []
    fold({}, {"a": {"b": "x"}}, {"a": lambda *_: ("b", "x", text)}, last, effects)
    assert effects == [("b", "x", text)]


def test_what_grows_by_a_rule_of_its_own_settles_by_it() -> None:
    class Count(Grown):
        def result(self) -> int:
            return 5

    assert settle({"a": [Count(), {"b": Count()}]}) == {"a": [5, {"b": 5}]}
    with pytest.raises(NotImplementedError):
        Grown().result()
