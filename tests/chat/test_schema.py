"""The completion as it leaves: typed fields, and the JSON of them."""

import json
import time
from typing import Any

import pytest

from tests.strategies import Json, chunk, fold_reads, folded, stream
from unstream import (
    Accumulator,
    Annotation,
    ChatCompletion,
    Choice,
    Custom,
    Function,
    Message,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
    fold,
)


def completion_of(*sent: Json) -> ChatCompletion:
    return fold(stream(*sent, "[DONE]"))


RICH: list[Json] = [
    {"id": "c1", "created": 5, "model": "m", **chunk({"role": "assistant"})},
    chunk({"content": "a", "reasoning": "r", "x": 1}, stop_reason=7),
    chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}),
    chunk({"tool_calls": [{"index": 1, "custom": {"name": "g", "input": "x"}}]}),
    chunk({"function_call": {"name": "h", "arguments": "{}"}}),
    chunk({"audio": {"id": "a", "data": "QQ==", "expires_at": 1}}),
    chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": "u"}}]}),
    {
        "choices": [],
        "usage": {
            "total_tokens": 3,
            "prompt_tokens": None,
            "completion_tokens_details": {"reasoning_tokens": 2, "x": 1},
        },
        "provider": "P",
    },
]


def test_the_typed_fields_hold_what_was_sent() -> None:
    completion = completion_of(*RICH)
    [choice] = completion.choices
    message = choice.message
    assert isinstance(choice, Choice)
    assert isinstance(message, Message)
    assert (completion.id, completion.created, completion.model) == ("c1", 5, "m")
    assert completion.extra == {"provider": "P"}
    assert choice.extra == {"stop_reason": 7}
    assert (message.content, message.reasoning, message.extra) == ("a", "r", {"x": 1})
    assert message.tool_calls == [
        ToolCall(id="c", function=Function(name="f")),
        ToolCall(type="custom", custom=Custom(name="g", input="x")),
    ]
    assert message.function_call == Function(name="h", arguments="{}")
    assert message.audio is not None
    assert message.audio.expires_at == 1
    assert isinstance(completion.usage, Usage)
    assert completion.usage.total_tokens == 3
    assert completion.usage.prompt_tokens is None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 2
    assert message.annotations is not None
    [annotation] = message.annotations
    assert isinstance(annotation, Annotation)
    assert annotation.url_citation is not None
    assert annotation.url_citation.url == "u"


def test_the_json_is_the_dict_in_compact_form() -> None:
    completion = completion_of(*RICH)
    plain = completion.to_dict()
    assert json.loads(completion.to_json()) == plain
    assert completion.to_json() == json.dumps(plain, separators=(",", ":")).encode()


def test_keys_stand_in_the_order_of_the_contract() -> None:
    plain = completion_of(
        *RICH, {"service_tier": "x", "system_fingerprint": "y"}
    ).to_dict()
    assert list(plain) == [
        *("id", "object", "created", "model", "choices"),
        *("usage", "service_tier", "system_fingerprint", "provider"),
    ]
    assert list(plain["choices"][0]) == [
        *("index", "message", "logprobs", "finish_reason", "stop_reason")
    ]
    call = plain["choices"][0]["message"]["tool_calls"][0]
    assert list(call) == ["id", "type", "function"]
    assert list(call["function"]) == ["name", "arguments"]


def test_an_empty_completion_has_the_keys_that_are_always_there() -> None:
    assert ChatCompletion().to_dict() == {
        "id": "",
        "object": "chat.completion",
        "created": 0,
        "model": "",
        "choices": [],
    }
    assert Choice().to_dict() == {
        "index": 0,
        "message": {"role": "assistant", "content": None, "refusal": None},
        "logprobs": None,
        "finish_reason": None,
    }


def test_a_field_stands_before_a_stranger_of_the_same_name() -> None:
    completion = ChatCompletion(id="x", extra={"id": "y", "z": 1})
    assert completion.to_dict()["id"] == "x"
    assert completion.to_dict()["z"] == 1


def test_two_completions_share_nothing() -> None:
    ChatCompletion().extra["x"] = 1
    ChatCompletion().choices.append(Choice())
    assert ChatCompletion().to_dict()["choices"] == []
    assert "x" not in ChatCompletion().to_dict()


def test_every_level_makes_a_dict_of_its_own() -> None:
    completion = completion_of(*RICH)
    [choice] = completion.choices
    assert completion.to_dict()["choices"] == [choice.to_dict()]
    assert choice.to_dict()["message"] == choice.message.to_dict()
    assert completion.usage is not None
    assert completion.to_dict()["usage"] == completion.usage.to_dict()


def test_what_was_changed_is_written() -> None:
    completion = completion_of(*RICH)
    completion.choices[0].message.content = "b"
    completion.extra["new"] = [1]
    assert completion.to_dict()["choices"][0]["message"]["content"] == "b"
    assert json.loads(completion.to_json())["new"] == [1]


# --- Text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "thinking", "thinking": []}, {"type": "text", "text": "b"}], "b"),
        ([5, None, {"text": "a"}, {"type": "text"}, {"type": "text", "text": 5}], ""),
    ],
)
def test_text_is_the_content_as_plain_text(content: Any, text: str) -> None:
    assert Message(content=content).text() == text


@pytest.mark.parametrize(
    ("part", "thoughts"),
    [
        ({"thinking": [{"text": "a"}, {"text": "b"}]}, "ab"),  # Mistral
        ({"summary": [{"text": "a"}]}, "a"),  # Databricks
        *(({"thinking": odd}, "") for odd in (5, True, "a", {"text": "a"}, [5])),
    ],
    ids=repr,
)
def test_parts_have_thoughts_whatever_stands_there(
    part: dict[str, Any], thoughts: str
) -> None:
    body = stream(chunk({"content": [{"type": "x", **part}]}))
    accumulator = Accumulator(clock=time.monotonic, events=True)
    accumulator.feed(body)
    outcome = accumulator.finish()
    assert outcome.record.reasoning == thoughts
    assert outcome.timing is not None
    assert (outcome.timing.first_reasoning is not None) == bool(thoughts)


# --- Logprobs -------------------------------------------------------------------------

TOP = {"token": "b", "logprob": -2, "bytes": [98]}
TOKEN = {"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": [TOP], "x": 1}


def test_logprobs_are_typed() -> None:
    sent = {"content": [TOKEN], "refusal": None}
    completion = completion_of(chunk({}, logprobs=sent), chunk({}, logprobs=sent))
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content == 2 * [
        TokenLogprob("a", -0.1, None, [TopLogprob("b", -2.0, [98])])
    ]
    assert logprobs.content is logprobs.content
    assert logprobs.refusal is None
    assert logprobs.reasoning_content is None
    assert logprobs.to_dict() == {"content": [TOKEN, TOKEN], "refusal": None}


@pytest.mark.parametrize("odd", [[5], ["a"], [{"token": "a"}], [{"logprob": 1}]])
def test_logprobs_in_a_shape_of_their_own_are_in_the_dict_alone(odd: Json) -> None:
    completion = completion_of(chunk({}, logprobs={"content": odd, "x": [1]}))
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is None
    assert completion.to_dict()["choices"][0]["logprobs"] == {"content": odd, "x": [1]}


def test_logprobs_are_equal_by_what_they_hold() -> None:
    one, other = (completion_of(chunk({}, logprobs={"content": [TOKEN]})) for _ in "ab")
    assert one.choices[0].logprobs == other.choices[0].logprobs
    changed = completion_of(chunk({}, logprobs={"content": []})).choices[0].logprobs
    assert one.choices[0].logprobs != changed
    assert one.choices[0].logprobs != 5
    assert "logprob" in repr(one.choices[0].logprobs)


def test_doubles_are_kept_to_the_last_digit() -> None:
    sent = (
        b'{"choices":[{"logprobs":{"content":[{"logprob":-0.0031577229499816895}]}}]}'
    )
    assert b"-0.0031577229499816895" in fold_reads([stream(sent)]).completion.to_json()  # type: ignore[union-attr]


# --- Strangers ------------------------------------------------------------------------


def test_extra_shows_the_strangers_of_each_level() -> None:
    call = {"index": 0, "id": "c", "a": 1, "function": {"name": "f", "b": 2}}
    completion = completion_of(
        {"c": 3, **chunk({"d": 4, "tool_calls": [call]}, e=5), "usage": {"f": None}}
    )
    [choice] = completion.choices
    assert choice.message.tool_calls is not None
    [found] = choice.message.tool_calls
    assert completion.extra == {"c": 3}
    assert choice.extra == {"e": 5}
    assert choice.message.extra == {"d": 4}
    assert found.extra == {"a": 1}
    assert found.function is not None
    assert found.function.extra == {"b": 2}
    assert completion.usage is not None
    assert completion.usage.extra == {"f": None}


def test_a_value_that_its_field_cannot_hold_is_kept() -> None:
    sent = chunk({"annotations": [{"type": 5}, "x"]}, native_finish_reason=5)
    found = folded({**sent, "usage": {"total_tokens": "9"}})
    choice = found["choices"][0]
    assert choice["native_finish_reason"] == 5
    assert choice["message"]["annotations"] == [{"type": 5}, "x"]
    assert found["usage"] == {"total_tokens": "9"}
