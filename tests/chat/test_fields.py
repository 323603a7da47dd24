"""How each key folds: one row a habit, and no field without one."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest
from msgspec import Struct, defstruct

from tests.strategies import Json, chunk, fold_reads, folded, message_of, outcome_of
from unstream import Ending, fold_chunks
from unstream._protocol import error_in, is_error
from unstream._rules import Rules, append, drop, table
from unstream.chat._calls import CALL, FUNCTION
from unstream.chat._fields import CHOICE, DELTA, TOP
from unstream.chat._schema import (
    Chunk,
    ChunkChoice,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)


def choice_of(*sent: Json) -> dict[str, Json]:
    choice: dict[str, Json] = folded(*sent)["choices"][0]
    return choice


# --- Keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "key", "expected"),
    [
        ([{"x_groq": {"id": "r"}}, {"x_groq": {"usage": {"a": 1}}}], "x_groq",
         {"id": "r", "usage": {"a": 1}}),
        ([{"sglext": {"a": 1}}, {"sglext": {"b": 2}}], "sglext", {"a": 1, "b": 2}),
        ([{"citations": ["a"]}, {"citations": ["a", "b"]}], "citations", ["a", "b"]),
        ([{"citations": ["a"]}, {"citations": None}], "citations", ["a"]),
        ([{"provider": "P"}, {"provider": None}, {"provider": "Q"}], "provider", "Q"),
        ([{"timings": {"a": 1}}, {"timings": {"b": 2}}], "timings", {"b": 2}),
        ([{"moderation": {"a": 1}}, {"moderation": ""}, {"moderation": None}],
         "moderation", {"a": 1}),
        ([{"cost": 0}], "cost", 0),
        ([{"warnings": []}], "warnings", []),
        ([{"note": ""}], "note", ""),
    ],
)  # fmt: skip
def test_keys_of_the_top(sent: list[Json], key: str, expected: Json) -> None:
    assert folded(*sent, chunk({}))[key] == expected


@pytest.mark.parametrize(
    ("sent", "key", "expected"),
    [
        ([{"content_filter_results": {}},
          {"content_filter_results": {"hate": {"filtered": False}}},
          {"content_filter_results": {"hate": {"severity": "safe"}}},
          {"content_filter_results": {}}],
         "content_filter_results",
         {"hate": {"filtered": False, "severity": "safe"}}),
        ([{"content_filter_offsets": {"a": 1}}, {"content_filter_offsets": {"a": 2}}],
         "content_filter_offsets", {"a": 2}),
        ([{"token_ids": [1]}, {"token_ids": None}, {"token_ids": [2, 3]}],
         "token_ids", [1, 2, 3]),
        ([{"usage": {"a": 1, "b": 1}}, {"usage": {"a": 2}}], "usage", {"a": 2, "b": 1}),
        ([{"stop_reason": None}, {"stop_reason": 7}, {"stop_reason": None}],
         "stop_reason", 7),
        ([{"native_finish_reason": "STOP"}, {"native_finish_reason": None}],
         "native_finish_reason", "STOP"),
        ([{"seed": 2**63}], "seed", 2**63),
    ],
)  # fmt: skip
def test_keys_of_a_choice(sent: list[Json], key: str, expected: Json) -> None:
    assert choice_of(*(chunk({}, **one) for one in sent))[key] == expected


@pytest.mark.parametrize(
    ("sent", "key", "expected"),
    [
        ([{"annotations": [{"type": "a"}]}, {"annotations": [{"type": "b"}]}],
         "annotations", [{"type": "a"}, {"type": "b"}]),
        ([{"annotations": {"type": "a"}}, {"annotations": [{"type": "b"}]}],
         "annotations", [{"type": "a"}, {"type": "b"}]),
        ([{"images": [{"index": 0}]}, {"images": [{"index": 0}]}],
         "images", [{"index": 0}, {"index": 0}]),
        ([{"executed_tools": [{"index": 0, "a": 1}]},
          {"executed_tools": [{"index": 0, "b": 1}]}],
         "executed_tools", [{"index": 0, "b": 1}]),
        ([{"channel": "analysis"}, {"channel": "final"}], "channel", "final"),
        ([{"thought": "a"}, {"thought": None}, {"thought": "b"}], "thought", "ab"),
        ([{"tokens": [1]}, {"tokens": [2]}], "tokens", [1, 2]),
        ([{"flag": True}, {"flag": False}], "flag", False),
        ([{"meta": {"a": 1}}, {"meta": {"b": 1}}], "meta", {"a": 1, "b": 1}),
        ([{"meta": {"a": {"x": 1}}}, {"meta": {"a": {"x": None, "y": ""}}}],
         "meta", {"a": {"x": 1, "y": ""}}),
        ([{"function_call": {"name": "f", "arguments": ""}},
          {"function_call": {"arguments": "{}"}}],
         "function_call", {"name": "f", "arguments": "{}"}),
        ([{"audio": {"id": "a"}}, {"audio": {"expires_at": 5}}],
         "audio", {"id": "a", "expires_at": 5}),
        ([{"reasoning_details": [{"text": "a"}]}, {"reasoning_details": {"text": "b"}}],
         "reasoning_details", [{"text": "ab"}]),
        ([{"content": {"type": "text", "text": "a"}}, {"content": "b"}],
         "content", [{"type": "text", "text": "ab"}]),
    ],
)  # fmt: skip
def test_keys_of_a_delta(sent: list[Json], key: str, expected: Json) -> None:
    assert message_of(*sent)[key] == expected


@pytest.mark.parametrize(
    "delta",
    [
        {"audio": {}},
        {"audio": None},
        {"annotations": []},
        {"images": None},
        {"executed_tools": []},
        {"reasoning_details": []},
        {"function_call": None},
        {"function_call": {"name": None}},
        {"reasoning": ""},
        {"reasoning_content": None},
        {"obfuscation": "x"},
        {"token_id": 5},
        {"x": None},
    ],
)
def test_what_is_empty_or_null_makes_no_key(delta: Json) -> None:
    assert message_of(delta) == {"role": "assistant", "content": None, "refusal": None}


def test_padding_is_dropped_wherever_it_stands() -> None:
    call = {"index": 0, "id": "c", "obfuscation": "d", "function": {"obfuscation": "e"}}
    delta = {"obfuscation": "a", "content": "x", "tool_calls": [call]}
    one = {**chunk(delta, obfuscation="b"), "p": "ab", "stream_options": {"a": 1}}
    found = folded({**one, "obfuscation": "c"}, {**one, "obfuscation": 5, "p": 5})
    assert "obfuscation" not in str(found)
    assert not {"p", "stream_options"} & found.keys()


def test_twins_of_the_delta_are_ignored() -> None:
    """Perplexity repeats the message so far, Together the text."""
    sent = [
        chunk({"content": "a"}, message={"content": "a"}, text="a"),
        chunk({"content": "b"}, message={"content": "ab"}, text="b"),
    ]
    assert choice_of(*sent) == {
        "index": 0,
        "message": {"role": "assistant", "content": "ab", "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }


def test_text_without_a_delta_is_content() -> None:
    assert choice_of(chunk(text="a"), chunk(text="b"))["message"]["content"] == "ab"


def test_a_message_without_a_delta_is_the_message() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}
    message = {"role": "assistant", "content": "all", "tool_calls": [call], "x": 1}
    found = choice_of(chunk({"role": "assistant"}), chunk(message=message))
    assert found["message"] == {**message, "refusal": None}


def test_a_late_message_does_not_replace_what_was_streamed() -> None:
    sent = [chunk({"content": "a"}), chunk(message={"content": "all", "x": 1})]
    assert choice_of(*sent)["message"]["content"] == "a"


# --- Shapes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("created", "expected"),
    [(1.9, 1), (1e300, int(1e300)), (0, 9), (None, 9), ("5", 9), (True, 9), (-1.0, -1)],
)
def test_created_is_the_first_that_counts(created: Any, expected: int) -> None:
    assert folded({"created": created}, {"created": 9})["created"] == expected


@pytest.mark.parametrize("created", [float("nan"), float("inf"), float("-inf")])
def test_a_created_that_is_no_number_breaks_nothing(created: float) -> None:
    sent = [{"created": created}, {"created": 9}, chunk({}, finish_reason="stop")]
    assert fold_chunks(sent).created == 9


@pytest.mark.parametrize(
    "choices", ["x", 5, True, 1.5, {}, [], [None], [5, "x", [[]]], [[{"index": 0}]]]
)
def test_odd_choices_break_nothing(choices: Any) -> None:
    found = folded({"choices": choices}, chunk({"content": "a"}))
    assert found["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize("index", [None, True, "x", "", 1.5, [], {}, -0.0, "0"])
def test_an_index_that_says_nothing_is_0(index: Any) -> None:
    found = folded(chunk({"content": "a"}, index=index), chunk({"content": "b"}))
    [choice] = found["choices"]
    assert choice["message"]["content"] == "ab"
    assert choice["index"] == 0
    assert type(choice["index"]) is int


@pytest.mark.parametrize("delta", [None, 5, "x", [], [{"content": "a"}], True, {}])
def test_odd_deltas_break_nothing(delta: Any) -> None:
    found = choice_of(chunk(delta=delta), chunk({"content": "a"}))
    assert found["message"]["content"] == "a"


@pytest.mark.parametrize(
    ("key", "odd", "good"),
    [
        ("content", True, "a"),
        ("refusal", False, "no"),
        ("refusal", {"a": 1}, "no"),
        ("reasoning", 5, "a"),
        ("reasoning_content", [1], "a"),
        ("role", 5, "tool"),
        ("audio", "x", {"id": "a"}),
        ("audio", [1], {"id": "a"}),
        ("images", "x", [1]),
        ("annotations", 5, [{"type": "a"}]),
        ("executed_tools", "x", [{"index": 0}]),
        ("reasoning_details", "x", [{"text": "a"}]),
        ("function_call", "x", {"name": "f", "arguments": ""}),
        ("function_call", [5], {"name": "f", "arguments": ""}),
        ("tool_calls", "x", [{"id": "c", "type": "function",
                              "function": {"name": "", "arguments": ""}}]),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_does_not_spoil_the_right_one(
    key: str, odd: Json, good: Json
) -> None:
    for sent in ([odd, good], [good, odd], [odd, good, odd]):
        assert message_of(*({key: value} for value in sent))[key] == good


@pytest.mark.parametrize("odd", [5, {}, [1], True])
def test_odd_parts_of_a_function_call_break_nothing(odd: Any) -> None:
    calls = [{"name": odd}, {"name": "f", "arguments": ""}, {"name": odd}]
    message = message_of(*({"function_call": call} for call in calls))
    assert message["function_call"] == {"name": "f", "arguments": ""}


def test_arguments_of_a_function_call_may_be_an_object() -> None:
    calls = [{"name": "f"}, {"arguments": {"a": 1}}, {"arguments": " "}]
    message = message_of(*({"function_call": call} for call in calls))
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1} '}


@pytest.mark.parametrize("usage", ["x", 5, [1], True, 1.5])
def test_an_odd_usage_is_no_usage(usage: Any) -> None:
    outcome = outcome_of({**chunk({}), "usage": usage})
    assert outcome.usage_source is None
    good = {"total_tokens": 1}
    assert folded({"usage": usage}, {"usage": good}, {"usage": usage})["usage"] == good


# --- Errors and noise -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"error": {"message": "a"}}, {"message": "a"}),
        ({"error": "a", "error_type": "b"}, "a"),
        ({"error": True}, True),
        ({"error": {"a": 1}, "choices": []}, {"a": 1}),
        ({"x_groq": {"error": "a"}}, "a"),
        ({"x_groq": {"error": None}}, None),
        ({"x_groq": "error"}, None),
        ({"object": "error", "message": "a"}, {"object": "error", "message": "a"}),
        ({"error": None}, None),
        ({"error": ""}, None),
        ({"error": {}}, None),
        ({"error": []}, None),
        ({"error": False}, None),
        ({"message": "a"}, None),
        ({}, None),
    ],
)
def test_an_error_is_found_in_any_shape(sent: Json, expected: Json) -> None:
    assert error_in(sent) == expected
    outcome = outcome_of(chunk({"content": "a"}, finish_reason="stop"), sent)
    assert outcome.error == expected
    assert outcome.ending is (Ending.COMPLETE if expected is None else Ending.ERROR)
    assert outcome.completion is not None
    assert outcome.completion.choices[0].message.content == "a"


def test_an_error_object_without_a_message_is_an_error_too() -> None:
    assert outcome_of({"object": "error", "id": "x"}).ending is Ending.ERROR


def test_an_error_report_is_told_from_a_default() -> None:
    assert is_error("x")
    assert is_error({"code": None})
    assert is_error(1)
    assert not is_error(0)


@pytest.mark.parametrize(
    ("sent", "foreign"),
    [
        ({"type": "ping"}, True),
        ({"type": "content_block_delta", "delta": {"text": "x"}}, True),
        ({"type": "message_delta", "usage": {"output_tokens": 1}}, True),
        ({"type": "ping", "id": "x", "model": "m", "created": 1}, True),
        ({"type": "x", "choices": []}, False),
        ({"type": "x", "object": "y"}, False),
        ({"detail": "x"}, False),
        ({}, False),
    ],
)
def test_events_of_another_protocol_are_told_from_chunks(
    sent: Json,
    foreign: bool,  # noqa: FBT001 - a row
) -> None:
    alone = outcome_of({**sent, "note": 1}, sent)
    if foreign:
        assert (alone.ending, alone.completion) == (Ending.FOREIGN, None)
    outcome = outcome_of(chunk({"content": "a"}), {**sent, "note": 1}, {**sent})
    assert outcome.n_malformed == 0
    assert outcome.completion is not None
    found = outcome.completion.to_dict()
    assert ("note" in found) is not foreign
    if foreign:
        assert found == folded(chunk({"content": "a"}))


@pytest.mark.parametrize(
    ("sent", "whole"),
    [
        ({"object": "chat.completion"}, True),
        ({"choices": [{"message": {}}]}, True),
        ({"choices": [5, {"message": {}}]}, True),
        ({"choices": [{"message": {}, "delta": {}}]}, False),
        ({"choices": [{"delta": {}}]}, False),
        ({"choices": "x"}, False),
        ({"choices": []}, False),
        ({"object": "chat.completion.chunk"}, False),
        ({}, False),
    ],
)
def test_a_whole_completion_is_told_from_a_chunk(
    sent: Json,
    whole: bool,  # noqa: FBT001 - a row
) -> None:
    """What is whole is passed through as it is, nulls and all."""
    body = {**sent, "obfuscation": None}
    outcome = fold_reads([json.dumps(body).encode()])
    passed = outcome.completion is not None and outcome.completion.to_dict() == body
    assert passed is whole


# --- One list of fields ---------------------------------------------------------------

# Each level of a chunk: its Struct, its rows, how a key is put there, and where the
# result has it.
LEVELS: Final[dict[type[Struct], tuple[Rules, Callable[[Json], Json], str]]] = {
    Chunk: (TOP, lambda one: {**chunk({}), **one}, ""),
    ChunkChoice: (
        CHOICE,
        lambda one: {"choices": [{"index": 0, "delta": {}, **one}]},
        "choices.0",
    ),
    Delta: (DELTA, chunk, "choices.0.message"),
    ToolCallDelta: (
        CALL,
        lambda one: chunk({"tool_calls": [{"index": 0, "x": 1, **one}]}),
        "choices.0.message.tool_calls.0",
    ),
    FunctionDelta: (
        FUNCTION,
        lambda one: chunk({"tool_calls": [{"index": 0, "id": "c", "function": one}]}),
        "choices.0.message.tool_calls.0.function",
    ),
}
# Values of every kind; which of them fit a field is for its rule to say.
FITTING: Final[Sequence[Json]] = (
    *("v", 7, {"a": 1}, [{"a": 1}], [{"index": 0, "id": "b", "a": 1}]),
    *({"content": [1]}, [{"index": 0, "delta": {"a": 1}}]),
)
# What has another name in the result, or none: by the contract.
ELSEWHERE: Final = {
    (Chunk, "object"),  # the same in every completion
    (ChunkChoice, "delta"),  # it is the message
    (ToolCallDelta, "index"),  # it is the order of the calls
}


def at(found: Json, path: str) -> Json:
    for step in filter(None, path.split(".")):
        found = found[int(step) if step.isdigit() else step]
    return found


def holds(found: Json, sent: Json) -> bool:
    """Say whether all of a value is in the result, which may have more."""
    if isinstance(sent, dict) and isinstance(found, dict):
        return all(
            key == "delta" or (key in found and holds(found[key], value))
            for key, value in sent.items()
            if key != "index"
        )
    if isinstance(sent, list) and isinstance(found, list):
        return len(sent) <= len(found) and all(map(holds, found, sent))
    return bool(found == sent)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in LEVELS for name in kind.__struct_encode_fields__],
)
@pytest.mark.parametrize("alike", [0, 30], ids=["alone", "among others"])
def test_every_field_is_in_the_result_unless_its_rule_drops_it(
    kind: type[Struct], name: str, alike: int
) -> None:
    rows, put, path = LEVELS[kind]
    others = [chunk({"content": "a"}, index=9)] * alike
    kept = []
    for value in FITTING:
        whole = outcome_of(*others, put({name: value}), *others).completion
        found = {} if whole is None else at(whole.to_dict(), path)
        if name in found and holds(found[name], value):
            kept.append(value)
    if rows[name] is drop:
        assert kept == []
    elif (kind, name) not in ELSEWHERE:
        assert kept, f"{kind.__name__}.{name} is lost"


@pytest.mark.parametrize("kind", LEVELS)
def test_every_field_is_typed_as_the_look_reads_it(kind: type[Struct]) -> None:
    """A key of the Struct and of the tables is one key, by one name."""
    assert kind.__struct_fields__ == kind.__struct_encode_fields__
    assert set(kind.__struct_fields__) <= LEVELS[kind][0].keys()


@pytest.mark.parametrize("kind", LEVELS)
def test_a_field_without_a_row_fails_at_import(kind: type[Struct]) -> None:
    rows = LEVELS[kind][0]
    more = defstruct(kind.__name__, [("thoughts", str | None, None)], bases=(kind,))
    with pytest.raises(KeyError, match=rf"{kind.__name__}\.thoughts has no row"):
        table(more, rows)
    assert table(more, {**rows, "thoughts": append})
    for name in kind.__struct_encode_fields__:
        less = {key: rule for key, rule in rows.items() if key != name}
        with pytest.raises(KeyError, match=name):
            table(kind, less)
