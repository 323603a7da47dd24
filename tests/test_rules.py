"""How values of one key become one value."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import values
from unstream._rules import Parts as _Parts
from unstream._rules import (
    Rule,
    State,
    audio,
    details,
    drop,
    extend,
    first,
    function_call,
    join_base64,
    keyed,
    last,
    latest,
    merge,
    settle,
    stranger,
    text,
)
from unstream._schema import FunctionDelta

RULES = (
    audio,
    details,
    drop,
    extend,
    first,
    keyed,
    last,
    latest,
    merge,
    stranger,
    text,
)


def run(rule: Rule, *sent: Any, key: str = "k") -> Any:
    """Fold values by a rule; "nothing" where the key stays away."""
    state: State = {}
    for value in sent:
        rule(state, key, value)
    return settle(state).get(key, "nothing")


# --- Laws -----------------------------------------------------------------------------


@given(st.sampled_from(RULES), st.lists(values, max_size=4))
def test_no_value_breaks_a_rule(rule: Rule, sent: list[Any]) -> None:
    before = json.dumps(sent)
    state: State = {}
    for value in sent:
        rule(state, "k", value)
        seen = settle(state)
        assert repr(settle(state)) == repr(seen)
        json.dumps(seen)
    assert json.dumps(sent) == before


@given(st.sampled_from(RULES), values)
def test_a_null_erases_nothing(rule: Rule, value: Any) -> None:
    assert repr(run(rule, value, None)) == repr(run(rule, value))
    assert repr(run(rule, None, value)) == repr(run(rule, value))


@given(st.sampled_from(RULES), st.lists(values, min_size=1, max_size=3))
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


# --- Rows -----------------------------------------------------------------------------

NOTHING = "nothing"


@pytest.mark.parametrize(
    ("rule", "sent", "expected"),
    [
        (drop, ["x"], NOTHING),
        (first, [None, "", "a", "b"], "a"),
        (first, [0, 1], 0),
        (last, ["a", "b", "", None], "b"),
        (last, ["", None], NOTHING),
        (last, ["a", 0, False], False),
        (latest, ["a", "", None], ""),
        (latest, [1, {"a": 1}, None], {"a": 1}),
        (latest, [{"a": 1}, {"b": 2}], {"b": 2}),
        (text, ["a", None, "", "b"], "ab"),
        (text, [""], ""),
        (text, ["a", 5], 5),
        (text, [5, "a", "b"], "ab"),
        (text, ["a", {"x": 1}, "b"], "b"),
        (extend, [[1], None, [], [2, [3]]], [1, 2, [3]]),
        (extend, [5, 6], [5, 6]),
        (extend, [[]], []),
        (merge, [{"a": 1}, {"b": 2}], {"a": 1, "b": 2}),
        (merge, [{"a": 1}, {"a": 2}, {"a": None}, {}], {"a": 2}),
        (merge, [{"a": None}], {"a": None}),
        (merge, [{"a": None}, {"a": 1}], {"a": 1}),
        (merge, [{"a": {"x": 1, "y": 2}}, {"a": {"x": 3}}], {"a": {"x": 3, "y": 2}}),
        (merge, [{"a": {"x": 1}}, {"a": 5}], {"a": 5}),
        (merge, [{"a": 5}, {"a": {"x": None}}], {"a": {"x": None}}),
        (merge, [{"a": [1]}, {"a": [2]}], {"a": [2]}),
        (merge, [{}], {}),
        (merge, ["x", {"a": 1}], {"a": 1}),
        (stranger, ["a", "b"], "ab"),
        (stranger, [[1], [2]], [1, 2]),
        (stranger, [1, 2], 2),
        (stranger, [{"a": 1}, {"b": 1}], {"b": 1}),
        (stranger, [True, None], True),
    ],
)
def test_a_rule_folds_values(rule: Rule, sent: list[Any], expected: Any) -> None:
    assert repr(run(rule, *sent)) == repr(expected)


@pytest.mark.parametrize(
    "key",
    [
        *("id", "type", "index", "role", "name", "model", "object", "format"),
        *("signature", "status", "channel", "phase"),
    ],
)
def test_strings_that_name_something_are_not_glued(key: str) -> None:
    assert run(stranger, "a", "b", "", key=key) == "b"
    assert run(stranger, [1], [2], key=key) == [1, 2]


def test_merged_objects_are_copies() -> None:
    sent: dict[str, Any] = {"a": {"b": 1}}
    state: State = {}
    merge(state, "k", sent)
    merge(state, "k", {"a": {"b": 2}})
    assert sent == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([[{"index": 0, "a": 1}], [{"index": 0, "b": 2}]], [{"index": 0, "b": 2}]),
        ([[{"index": 1}, {"index": 0}]], [{"index": 1}, {"index": 0}]),
        (
            [[{"index": 1}], [{"index": 0}], [{"index": 1, "x": 1}]],
            [{"index": 1, "x": 1}, {"index": 0}],
        ),
        ([[{"a": 1}], [{"a": 2}]], [{"a": 1}, {"a": 2}]),
        ([[{"index": None}], [{"index": None}]], [{"index": None}, {"index": None}]),
        ([[5, None], [{"index": 0}]], [5, None, {"index": 0}]),
        ([[{"index": [0]}], [{"index": [0], "x": 1}]], [{"index": [0], "x": 1}]),
        ([[]], []),
    ],
)
def test_entries_are_replaced_by_index(sent: list[Any], expected: Any) -> None:
    assert run(keyed, *sent) == expected


# --- Parts ----------------------------------------------------------------------------


def parts(*sent: Any) -> list[Any]:
    content = _Parts()
    for part in sent:
        content.add(part)
    return content.settle()


def say(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def think(*texts: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [say(text) for text in texts]}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([say("a"), say("b")], [say("ab")]),
        (["a", "", "b"], [say("ab")]),
        ([""], []),
        ([say("")], [say("")]),
        ([say("a"), "b", say("c")], [say("abc")]),
        ([think("a"), think("b"), say("c"), "d"], [think("ab"), say("cd")]),
        ([think("a"), say("b"), think("c")], [think("a"), say("b"), think("c")]),
        ([think("a", "b")], [think("ab")]),
        (
            [
                {
                    "type": "reasoning",
                    "summary": [{"type": "summary_text", "text": "a"}],
                },
                {
                    "type": "reasoning",
                    "summary": [
                        {"type": "summary_text", "text": "b", "signature": "s"}
                    ],
                },
            ],
            [
                {
                    "type": "reasoning",
                    "summary": [
                        {"type": "summary_text", "text": "ab", "signature": "s"}
                    ],
                }
            ],
        ),
        (
            [{"type": "image_url", "image_url": {"url": "a"}}] * 2,
            [{"type": "image_url", "image_url": {"url": "a"}}] * 2,
        ),
        ([{"type": "text", "text": None}, say("a")], [say("a")]),
        (
            [{"type": "text", "x": None, "text": "a"}],
            [{"type": "text", "x": None, "text": "a"}],
        ),
        (
            [{**say("a"), "index": 0}, {**say("b"), "index": 1}],
            [{**say("a"), "index": 0}, {**say("b"), "index": 1}],
        ),
        (
            [{**say("a"), "refs": [1]}, {**say("b"), "refs": [2]}],
            [{**say("ab"), "refs": [1, 2]}],
        ),
        (
            [{**say("a"), "sig": "s"}, {**say("b"), "sig": ""}],
            [{**say("ab"), "sig": "s"}],
        ),
        ([say("a"), 5, None, say("b")], [say("a"), 5, None, say("b")]),
        (
            [
                {"type": "thinking", "thinking": "a"},
                {"type": "thinking", "thinking": "b"},
            ],
            [{"type": "thinking", "thinking": "ab"}],
        ),
        ([{"text": "a"}, {"text": "b"}], [{"text": "ab"}]),
    ],
)
def test_parts_join_where_they_are_text(sent: list[Any], expected: list[Any]) -> None:
    assert parts(*sent) == expected


# --- Reasoning details ----------------------------------------------------------------


def detail(kind: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if text is None else {"text": text}), **more}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            [[detail("t", "a", index=0)], [detail("t", "b", index=0)]],
            [detail("t", "ab", index=0)],
        ),
        (
            [[detail("t", "a", index=0)], [detail("t", "b", index=1)]],
            [detail("t", "a", index=0), detail("t", "b", index=1)],
        ),
        (
            [
                [detail("t", "a", index=0)],
                [detail("e", index=0, data="x")],
                [detail("t", "b", index=0)],
            ],
            [detail("t", "ab", index=0), detail("e", index=0, data="x")],
        ),
        (
            [
                [detail("t", "a", id="1")],
                [detail("t", "b", id="2")],
                [detail("t", "c", id="1")],
            ],
            [detail("t", "ac", id="1"), detail("t", "b", id="2")],
        ),
        (
            [
                [detail("t", "a", id="1")],
                [detail("t", "b", id="2")],
                [detail("t", "c")],
            ],
            [detail("t", "a", id="1"), detail("t", "bc", id="2")],
        ),
        (
            [
                [detail("t", "a", id="1")],
                [detail("t", "b", id="")],
                [detail("t", "c", id=None)],
            ],
            [detail("t", "abc", id="1")],
        ),
        (
            [
                [detail("t", "a", signature=None)],
                [detail("t", signature="s", text=None)],
            ],
            [detail("t", "a", signature="s")],
        ),
        (
            [[detail("t", summary="a")], [detail("t", summary="b")]],
            [detail("t", summary="ab")],
        ),
        ([[detail("t", data="a")], [detail("t", data="b")]], [detail("t", data="ab")]),
        (
            [
                [detail("t", format="a")],
                [detail("t", format="b")],
                [detail("t", format="")],
            ],
            [detail("t", format="b")],
        ),
        ([[5, None, "x"], [detail("t", "a")]], [5, None, "x", detail("t", "a")]),
        (
            [[{"type": {"a": 1}, "text": "a"}], [{"type": {"a": 1}, "text": "b"}]],
            [{"type": {"a": 1}, "text": "ab"}],
        ),
    ],
)
def test_details_are_keyed_by_type_index_and_id(
    sent: list[Any], expected: list[Any]
) -> None:
    assert run(details, *sent) == expected


def test_one_id_under_two_types_is_two_details() -> None:
    sent = [[detail("t", "a", id="1")], [detail("e", id="1", data="x")]]
    expected = [detail("t", "ab", id="1"), detail("e", id="1", data="x")]
    assert run(details, *sent, [detail("t", "b", id="1")]) == expected


def test_an_empty_list_of_details_is_nothing() -> None:
    assert run(details, []) == NOTHING


# --- Audio ----------------------------------------------------------------------------


def test_audio_folds_by_key() -> None:
    assert run(
        audio,
        {"id": "a1", "transcript": "Hel"},
        {"id": "a2", "data": "QQ=="},
        {"transcript": "lo", "data": "Qg==", "x": [1]},
        {"expires_at": 5, "x": None},
        {},
    ) == {"id": "a1", "transcript": "Hello", "data": "QUI=", "x": [1], "expires_at": 5}


def test_audio_of_nulls_is_nothing() -> None:
    assert run(audio, {"id": None}, {}) == NOTHING


@given(st.lists(st.binary(max_size=7), max_size=5))
def test_base64_padded_piece_by_piece_decodes_to_the_joined_bytes(
    sent: list[bytes],
) -> None:
    joined = join_base64("".join(base64.b64encode(piece).decode() for piece in sent))
    assert base64.b64decode(joined) == b"".join(sent)


@given(st.binary(max_size=30), st.integers(1, 9))
def test_base64_that_was_cut_anywhere_stays_as_it_is(whole: bytes, step: int) -> None:
    data = base64.b64encode(whole).decode()
    sent = [{"data": data[i : i + step]} for i in range(0, len(data), step)]
    assert run(audio, *sent) == ({"data": data} if data else NOTHING)


@pytest.mark.parametrize(
    "data", ["é=x", "Q=Q=", "A=B", "===A", "Q Q=x", "\ud83d=a", "="]
)
def test_what_is_no_base64_stays_as_it_is(data: str) -> None:
    assert join_base64(data) == data


# --- Function call --------------------------------------------------------------------


def test_a_function_call_folds_by_key() -> None:
    assert run(
        function_call,
        FunctionDelta(name=""),
        FunctionDelta(name="find", arguments='{"a'),
        FunctionDelta(name="other", arguments='":1}'),
    ) == {"name": "find", "arguments": '{"a":1}'}


def test_a_function_call_in_which_nothing_is_set_is_none() -> None:
    assert run(function_call, FunctionDelta()) == NOTHING
