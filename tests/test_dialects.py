"""What servers do: one row a habit."""

from typing import Any

import pytest

from tests.strategies import Json, chunk, folded, message_of, outcome_of
from unstream import Ending, fold_chunks
from unstream._dialects import error_in, is_error, is_noise, is_whole


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
        ([{"token_id": 5}, {"token_id": 6}], "token_id", 6),
        ([{"token_id": "5"}, {"token_id": "6"}], "token_id", "6"),
        ([{"channel": "analysis"}, {"channel": "final"}], "channel", "final"),
        ([{"thought": "a"}, {"thought": None}, {"thought": "b"}], "thought", "ab"),
        ([{"tokens": [1]}, {"tokens": [2]}], "tokens", [1, 2]),
        ([{"flag": True}, {"flag": False}], "flag", False),
        ([{"meta": {"a": 1}}, {"meta": {"b": 1}}], "meta", {"b": 1}),
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
        {"x": None},
    ],
)
def test_what_is_empty_or_null_makes_no_key(delta: Json) -> None:
    assert message_of(delta) == {"role": "assistant", "content": None, "refusal": None}


def test_padding_is_dropped_wherever_it_stands() -> None:
    one = {**chunk({"obfuscation": "a", "content": "x"}, obfuscation="b"), "p": "ab"}
    assert "obfuscation" not in str(folded({**one, "obfuscation": "c"}))
    assert "p" not in folded(one)


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
    assert (
        folded_chunks({"created": created}, {"created": 9}, chunk({}))["created"] == 9
    )


def folded_chunks(*sent: Json) -> dict[str, Json]:
    return fold_chunks(sent).to_dict()


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
        ("content", 5, "a"),
        ("content", True, "a"),
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
    ("sent", "expected"),
    [
        ({"type": "ping"}, True),
        ({"type": "content_block_delta", "delta": {"text": "x"}}, True),
        ({"type": "ping", "id": ""}, False),
        ({"type": "x", "choices": []}, False),
        ({"type": "x", "object": "y"}, False),
        ({"detail": "x"}, False),
        ({}, False),
    ],
)
def test_noise_is_told_from_chunks(sent: Json, expected: bool) -> None:  # noqa: FBT001
    assert is_noise(sent) is expected
    found = folded(chunk({"content": "a"}), {**sent, "note": 1})
    assert ("note" in found) is not expected
    assert outcome_of(chunk({}), sent).n_malformed == 0


@pytest.mark.parametrize(
    ("sent", "expected"),
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
    expected: bool,  # noqa: FBT001
) -> None:
    assert is_whole(sent) is expected
