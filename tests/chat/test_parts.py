"""Values of a message that are made of parts, and what each rule says that it did."""

import base64
import json
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import check_deed, delta_fields, values
from unstream._rules import CHANGED, HELD, Rule, State, settle
from unstream.chat._fields import DELTA
from unstream.chat._parts import (
    audio,
    content,
    details,
    executed_tools,
    function_call,
    items,
    join_base64,
    provider_fields,
    reasoning,
    thinking_blocks,
    unknown,
)

RULES = (
    *(audio, content, details, executed_tools, function_call, items, provider_fields),
    *(reasoning, thinking_blocks, unknown),
)
NOTHING = "nothing"
there = values.filter(lambda value: value is not None)


def run(rule: Rule, *sent: Any, key: str = "k") -> Any:
    """Fold values by a rule; "nothing" where the key stays away."""
    state: State = {}
    for value in sent:
        if value is not None:
            rule(state, key, value)
    return settle(state).get(key, NOTHING)


# --- Laws -----------------------------------------------------------------------------


@given(st.sampled_from(RULES), st.lists(there, max_size=4))
def test_a_rule_says_what_it_did_to_values_of_any_kind(
    rule: Rule, sent: list[Any]
) -> None:
    state: State = {}
    for value in sent:
        check_deed(rule, state, "k", value)
        json.dumps(settle(state))


@given(st.lists(st.one_of(*delta_fields), max_size=8))
def test_a_rule_says_what_it_did_to_what_servers_send(
    sent: list[tuple[str, Any]],
) -> None:
    state: State = {}
    for key, value in sent:
        if value is not None:
            check_deed(DELTA.get(key, unknown), state, key, value)
            json.dumps(settle(state))


# --- Keys that nobody knows -----------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["a", "", "b"], "ab"),
        ([""], ""),
        (["", "a"], "a"),
        ([[1], [], [2]], [1, 2]),
        ([1, 2], 2),
        ([True], True),
        ([{"a": 1}, {"b": 1}], {"a": 1, "b": 1}),
        ([{"a": {"x": 1}}, {"a": {"y": ""}}, {"a": {"x": ""}}, {}],
         {"a": {"x": 1, "y": ""}}),
        (["a", {"x": 1}], {"x": 1}),
        (["a", {}], "a"),
        (["a", 5, "b"], "b"),
        ([{"x": 1}, "b"], "b"),
    ],
)  # fmt: skip
def test_an_unknown_key_folds_by_the_type_of_its_value(
    sent: list[Any], expected: Any
) -> None:
    assert repr(run(unknown, *sent)) == repr(expected)


@pytest.mark.parametrize(
    "key",
    [
        *("id", "type", "index", "role", "name", "model", "object", "format"),
        *("signature", "status", "channel", "phase"),
    ],
)
def test_strings_that_name_something_are_not_glued(key: str) -> None:
    assert run(unknown, "a", "b", "", key=key) == "b"
    assert run(unknown, [1], [2], key=key) == [1, 2]


def test_a_text_that_comes_again_grows() -> None:
    state: State = {}
    said = [unknown(state, "k", piece) for piece in "abc"]
    assert said[0] in (CHANGED, HELD)
    assert isinstance(said[2], StringIO)
    assert settle(state) == {"k": "abc"}


@pytest.mark.parametrize(
    ("rule", "sent", "expected"),
    [
        (items, [[], {}], [{}]),
        (items, [[], "x", 5, True], NOTHING),
        (items, [[1], {"a": 1}, [], [2]], [1, {"a": 1}, 2]),
        (reasoning, ["a", "", 5, [1], "b"], "ab"),
        (reasoning, [""], NOTHING),
        (reasoning, [{"a": 1}, {"b": 1}], {"a": 1, "b": 1}),
        (reasoning, [{"a": 1}, "b"], "b"),
        (reasoning, ["b", {"a": 1}], "b"),
    ],
)
def test_rules_of_one_key(rule: Rule, sent: list[Any], expected: Any) -> None:
    assert run(rule, *sent) == expected


# --- Content --------------------------------------------------------------------------


def say(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def think(*texts: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": [say(text) for text in texts]}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (["a", "", "b"], "ab"),
        ([""], ""),
        ([5, "a", 1.5], "5a1.5"),
        ([0], "0"),
        ([True], NOTHING),
        ([[]], []),
        (["", []], []),
        (["a", [], "b"], [say("ab")]),
        (["a", ["b"], "c"], [say("abc")]),
        ([[say("a")], 5], [say("a5")]),
        ([say("a"), "b"], [say("ab")]),
        ([["a"], True, [say("b")]], [say("ab")]),
    ],
)
def test_content_is_text_until_a_list_comes(sent: list[Any], expected: Any) -> None:
    assert run(content, *sent) == expected


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
        ([think("a", ""), think("", "b")], [think("ab")]),
        (
            [
                {"type": "r", "summary": [{"type": "s", "text": "a"}]},
                {
                    "type": "r",
                    "summary": [{"type": "s", "text": "b", "signature": "s"}],
                },
            ],
            [{"type": "r", "summary": [{"type": "s", "text": "ab", "signature": "s"}]}],
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
            [{"type": "t", "thinking": "a"}, {"type": "t", "thinking": "b"}],
            [{"type": "t", "thinking": "ab"}],
        ),
        ([{"text": "a"}, {"text": "b"}], [{"text": "ab"}]),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_parts_join_where_they_are_text(
    sent: list[Any],
    expected: list[Any],
    at_once: bool,  # noqa: FBT001 - a row
) -> None:
    lists = [sent] if at_once else [[part] for part in sent]
    assert run(content, *lists) == expected


# --- Lists of objects that grow -------------------------------------------------------


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
        ([[5, None], [{"index": 0}]], [{"index": 0}]),
        ([{"index": 0}], [{"index": 0}]),
        ([[{"index": [0]}], [{"index": [0], "x": 1}]], [{"index": [0], "x": 1}]),
        ([[{"index": 1}], [{"index": True}]], [{"index": 1}, {"index": True}]),
        ([[]], NOTHING),
        (["x", 5], NOTHING),
    ],
)
def test_executed_tools_are_replaced_by_index(sent: list[Any], expected: Any) -> None:
    assert repr(run(executed_tools, *sent)) == repr(expected)


def detail(kind: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if text is None else {"text": text}), **more}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (
            [detail("t", "a", index=0), detail("t", "b", index=0)],
            [detail("t", "ab", index=0)],
        ),
        (
            [detail("t", "a", index=0), detail("t", "b", index=1)],
            [detail("t", "a", index=0), detail("t", "b", index=1)],
        ),
        (
            [detail("t", "a", index=1), detail("t", "b", index=True)],
            [detail("t", "a", index=1), detail("t", "b", index=True)],
        ),
        (
            [
                detail("t", "a", index=0),
                detail("e", index=0, data="x"),
                detail("t", "b", index=0),
            ],
            [detail("t", "ab", index=0), detail("e", index=0, data="x")],
        ),
        (
            [
                detail("t", "a", id="1"),
                detail("t", "b", id="2"),
                detail("t", "c", id="1"),
            ],
            [detail("t", "ac", id="1"), detail("t", "b", id="2")],
        ),
        (
            [detail("t", "a", id="1"), detail("t", "b", id="2"), detail("t", "c")],
            [detail("t", "a", id="1"), detail("t", "bc", id="2")],
        ),
        (
            [
                *(detail("t", "a", id="1"), detail("t", "b", id="2")),
                *(detail("t", "c", id="1"), detail("t", "d")),
            ],
            [detail("t", "acd", id="1"), detail("t", "b", id="2")],
        ),
        (
            [
                detail("t", "a", id="1"),
                detail("t", "b", id=""),
                detail("t", "c", id=None),
            ],
            [detail("t", "abc", id="1")],
        ),
        (
            [detail("t", "a", signature=None), detail("t", signature="s", text=None)],
            [detail("t", "a", signature="s")],
        ),
        (
            [detail("t", summary="a"), detail("t", summary="b")],
            [detail("t", summary="ab")],
        ),
        ([detail("t", data="a"), detail("t", data="b")], [detail("t", data="ab")]),
        (
            [detail("t", format="a"), detail("t", format="b"), detail("t", format="")],
            [detail("t", format="b")],
        ),
        ([5, None, "x", detail("t", "a")], [detail("t", "a")]),
        (
            [{"type": {"a": 1}, "text": "a"}, {"type": {"a": 1}, "text": "b"}],
            [{"type": {"a": 1}, "text": "ab"}],
        ),
        (
            [
                *(detail("t", "a", id="1"), detail("e", id="1", data="x")),
                detail("t", "b", id="1"),
            ],
            [detail("t", "ab", id="1"), detail("e", id="1", data="x")],
        ),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_details_are_keyed_by_type_index_and_id(
    sent: list[Any],
    expected: list[Any],
    at_once: bool,  # noqa: FBT001 - a row
) -> None:
    lists = [sent] if at_once else [[piece] for piece in sent]
    assert repr(run(details, *lists)) == repr(expected)


@pytest.mark.parametrize("nothing", [[], {}, "x", 5, [5, None]])
def test_an_empty_list_of_details_is_nothing(nothing: Any) -> None:
    expected = [{}] if nothing == {} else NOTHING
    assert run(details, nothing) == expected


def thought(text: str | None = None, **more: Any) -> dict[str, Any]:
    return detail("thinking", **({} if text is None else {"thinking": text}), **more)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([thought("a"), thought("b")], [thought("ab")]),
        ([thought("a"), thought(signature="s")], [thought("a", signature="s")]),
        (
            [thought("a", signature="s"), thought("b")],
            [thought("a", signature="s"), thought("b")],
        ),
        (
            [thought("a", index=0), thought("b", index=1), thought("c", index=0)],
            [thought("ac"), thought("b")],
        ),
        (
            [thought("a", index=0, signature="s"), thought("b", index=0)],
            [thought("ab", signature="s")],
        ),
        (
            [thought("a"), detail("redacted_thinking", data="x"), thought("b")],
            [thought("a"), detail("redacted_thinking", data="x"), thought("b")],
        ),
        (
            [
                detail("redacted_thinking", data="x"),
                detail("redacted_thinking", data="y"),
            ],
            [
                detail("redacted_thinking", data="x"),
                detail("redacted_thinking", data="y"),
            ],
        ),
        ([thought("a", x=None), thought("b", x=1)], [thought("ab", x=1)]),
        ([5, None], NOTHING),
    ],
)
def test_thinking_blocks_end_with_their_signature(
    sent: list[Any], expected: Any
) -> None:
    for lists in ([sent], [[piece] for piece in sent]):
        assert run(thinking_blocks, *lists) == expected


def test_provider_fields_are_what_a_whole_answer_carries() -> None:
    assert run(
        provider_fields,
        {"citation": {"n": 1}, "x": [1], "y": {"a": 1}, "z": 1, "w": None},
        {"citation": {"n": 2}, "x": [2], "y": {"b": {}}, "z": "", "w": "v"},
        {"thinking_blocks": [thought("a")], "y": {"a": ""}},
        {"thinking_blocks": [thought("b", signature="s")]},
        5,
    ) == {
        "citations": [{"n": 1}, {"n": 2}],
        "x": [1, 2],
        "y": {"a": 1, "b": {}},
        "z": 1,
        "w": "v",
        "thinking_blocks": [thought("ab", signature="s")],
    }


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
    assert run(audio, {"id": None}, {}, "x", [1]) == NOTHING


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
        {"name": ""},
        {"name": "find", "arguments": '{"a', "x": 1},
        {"name": "other", "arguments": '":1}', "x": ""},
        {"arguments": {"b": 1}},
    ) == {"name": "find", "arguments": '{"a":1}{"b":1}', "x": 1}


def test_a_function_call_in_which_nothing_is_set_is_none() -> None:
    assert run(function_call, {}, {"name": None}, "x") == NOTHING
