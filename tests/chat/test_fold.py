"""Chunks to completion: what happens to every stream."""

import json
from io import StringIO
from typing import Any, Final

import pytest
from hypothesis import given

from tests.strategies import (
    Json,
    chunk,
    chunk_lists,
    fold_reads,
    folded,
    message_of,
    outcome_of,
    stream,
)
from unstream import Ending, Limits, fold
from unstream._json import parse
from unstream._lists import JsonArray
from unstream._rules import DROPPED, Effects
from unstream.chat._fold import ChatFold

PLAIN: dict[str, Json] = {
    "id": "",
    "object": "chat.completion",
    "created": 0,
    "model": "",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ],
}


def test_a_stream_folds_to_the_completion() -> None:
    top = {"id": "c1", "created": 5, "model": "m", "object": "chat.completion.chunk"}
    sent = [
        {**top, **chunk({"role": "assistant", "content": "", "refusal": None})},
        {**top, **chunk({"content": "Hel"}, logprobs=None, finish_reason=None)},
        {**top, **chunk({"content": "lo"})},
        {**top, **chunk({}, finish_reason="stop")},
        {**top, "choices": [], "usage": {"total_tokens": 3}, "service_tier": "flex"},
        "[DONE]",
    ]
    assert fold(stream(*sent)).to_dict() == {
        **top,
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"total_tokens": 3},
        "service_tier": "flex",
    }


def test_the_least_there_can_be() -> None:
    assert folded({"choices": [{}]}) == PLAIN


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [
        ("id", ["", None, "a", "b"], "a"),
        ("id", [7, "a"], "7"),
        ("model", ["", "m", "n"], "m"),
        ("created", [0, 5, 6], 5),
        ("service_tier", ["a", "b", None, ""], "b"),
        ("system_fingerprint", ["a", None, "b", ""], "b"),
        ("object", ["chat.completion.chunk", "x"], "chat.completion"),
    ],
)
def test_fields_of_the_top(key: str, sent: list[Json], expected: Json) -> None:
    assert folded(*({key: value} for value in sent), chunk({}))[key] == expected


def test_what_never_came_is_no_key() -> None:
    assert folded(chunk({}), {"service_tier": "", "system_fingerprint": None}) == PLAIN


# --- Choices --------------------------------------------------------------------------


def test_choices_are_sorted_however_they_come() -> None:
    sent = [
        chunk({"content": "c"}, index=7),
        chunk({"content": "a"}),
        {
            "choices": [
                {"index": 1, "delta": {"content": "b"}},
                {"index": 7, "delta": {}},
            ]
        },
        chunk({"content": "z"}, index=-1),
    ]
    found = folded(*sent)["choices"]
    texts = [(choice["index"], choice["message"]["content"]) for choice in found]
    assert texts == [(-1, "z"), (0, "a"), (1, "b"), (7, "c")]


def test_huge_indexes_are_indexes() -> None:
    found = folded(chunk({}, index=10**30), chunk({}, index=10**9))["choices"]
    assert [choice["index"] for choice in found] == [10**9, 10**30]


def test_chunks_of_another_id_are_folded_all_the_same() -> None:
    sent = [
        {"id": "a", **chunk({"content": "x"})},
        {"id": "b", **chunk({"content": "y"})},
    ]
    assert folded(*sent)["choices"][0]["message"]["content"] == "xy"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([None, "stop", None, ""], "stop"),
        (["length", "stop"], "stop"),
        (["stop", "length"], "length"),
        (["tool_calls", "stop"], "tool_calls"),
        (["function_call", "stop"], "function_call"),
        (["tool_calls", "length"], "length"),
        (["tool_calls", "length", "stop"], "stop"),
        (["stop", "tool_calls"], "tool_calls"),
        (["eos"], "eos"),
        ([5, True, {}], None),
        ([5, "stop", 5], "stop"),
    ],
)
def test_the_finish_reason(sent: list[Json], expected: str | None) -> None:
    found = folded(*(chunk({}, finish_reason=reason) for reason in sent))
    assert found["choices"][0]["finish_reason"] == expected


# --- Messages -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "sent", "expected"),
    [
        ("content", [None], None),
        ("content", [None, ""], ""),
        ("content", ["a", None, "b"], "ab"),
        ("refusal", ["", None], None),
        ("refusal", ["no", "", " way"], "no way"),
        ("role", [None, "", "tool", "user"], "tool"),
        ("role", [None], "assistant"),
        ("reasoning", ["a", "b"], "ab"),
        ("reasoning_content", ["a", None, "", "b"], "ab"),
        ("content", ["a", ["b"], "c"], [{"type": "text", "text": "abc"}]),
        ("content", [[]], []),
        ("content", ["", []], []),
    ],
)
def test_fields_of_a_message(key: str, sent: list[Json], expected: Json) -> None:
    assert message_of(*({key: value} for value in sent))[key] == expected


HALVES = [
    (["\ud83d", "\ude00"], "😀"),
    (["a\ud83d", "\ude00b"], "a😀b"),
    (["\ud83d", "x"], "\ufffdx"),
    (["\ude00", "\ud83d"], "\ufffd\ufffd"),
    (["\ud83d\ud83d", "\ude00"], "\ufffd😀"),
    (["\ud83d", "", "\ude00"], "😀"),
]


@pytest.mark.parametrize(("sent", "expected"), HALVES)
@pytest.mark.parametrize("key", ["content", "refusal", "reasoning", "thought"])
def test_halves_of_a_character_are_rejoined(
    key: str, sent: list[str], expected: str
) -> None:
    assert message_of(*({key: piece} for piece in sent))[key] == expected


@pytest.mark.parametrize(("sent", "expected"), HALVES)
def test_halves_are_rejoined_in_arguments_and_parts(
    sent: list[str], expected: str
) -> None:
    message = message_of(
        *(
            {
                "content": [{"type": "text", "text": piece}],
                "tool_calls": [{"index": 0, "function": {"arguments": piece}}],
                "audio": {"transcript": piece},
                "reasoning_details": [{"type": "t", "text": piece}],
            }
            for piece in sent
        )
    )
    assert message["content"] == [{"type": "text", "text": expected}]
    assert message["tool_calls"][0]["function"]["arguments"] == expected
    assert message["audio"] == {"transcript": expected}
    assert message["reasoning_details"] == [{"type": "t", "text": expected}]


def test_halves_in_keys_ids_and_names_are_replaced() -> None:
    found = folded({"id": "\ud83d", "\ud83d": "\ud83d", **chunk({"\ude00": 1})})
    assert found["id"] == found["\ufffd"] == "\ufffd"
    assert found["choices"][0]["message"]["\ufffd"] == 1


# --- Logprobs -------------------------------------------------------------------------


def token(text: str, **more: Json) -> Json:
    return {"token": text, "logprob": -0.1, "bytes": None, "top_logprobs": [], **more}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([None], None),
        ([{"content": None, "refusal": None}], None),
        ([{}], None),
        ([-0.5, "x", [1]], None),
        ([{"content": [token("a")]}, None, {"content": [token("b")]}],
         {"content": [token("a"), token("b")]}),
        ([{"content": [token("a")], "refusal": None}, {"content": None}],
         {"content": [token("a")], "refusal": None}),
        ([{"refusal": [token("a")]}, {"content": [token("b")]}],
         {"refusal": [token("a")], "content": [token("b")]}),
        ([{"reasoning_content": [token("a")]}, {"reasoning_content": [token("b")]}],
         {"reasoning_content": [token("a"), token("b")]}),
        ([{"tokens": ["a"], "token_logprobs": [-1]}, {"tokens": ["b"]}],
         {"tokens": ["a", "b"], "token_logprobs": [-1]}),
        ([{"content": []}], {"content": []}),
        ([{"content": []}, {"content": [token("a")]}], {"content": [token("a")]}),
        ([{"content": [token("a", x={"y": [None]})]}],
         {"content": [token("a", x={"y": [None]})]}),
        ([{"content": [{"token": "a", "logprob": 0, "x": "\ud83d"}, 5, None]}],
         {"content": [{"token": "a", "logprob": 0, "x": "\ufffd"}, 5, None]}),
    ],
)  # fmt: skip
def test_logprobs_are_extended_list_by_list(sent: list[Json], expected: Json) -> None:
    found = folded(*(chunk({}, logprobs=one) for one in sent))["choices"][0]
    assert found["logprobs"] == expected


@pytest.mark.parametrize("odd", [5, "x", {"a": 1}, True])
def test_a_list_of_logprobs_stands_against_what_is_none(odd: Json) -> None:
    tokens = {"content": [token("a")]}
    sent = (chunk({}, logprobs=one) for one in ({"content": odd}, tokens))
    assert folded(*sent)["choices"][0]["logprobs"] == tokens


def test_a_list_of_logprobs_is_not_lost_to_what_comes_after() -> None:
    tokens = {"content": [token("a")]}
    sent = (chunk({}, logprobs=one) for one in (tokens, {"content": 5}))
    assert folded(*sent)["choices"][0]["logprobs"] == tokens


def test_invalid_utf8_in_logprobs_is_replaced() -> None:
    sent = b'{"choices":[{"logprobs":{"content":[ {"token":"\xff"} ]}}]}'
    found = folded(sent, sent)["choices"][0]["logprobs"]
    assert found == {"content": [{"token": "\ufffd"}, {"token": "\ufffd"}]}


@pytest.mark.parametrize(
    "number",
    [b"1e400", b"-1e400", b"9" * 5000, b"9" * 299 + b"e99", b"NaN"],
    ids=["1e400", "-1e400", "5000 digits", "digits and e99", "NaN"],
)
@pytest.mark.parametrize("alike", [0, 9])
def test_numbers_that_json_has_not_are_null_in_logprobs(
    number: bytes, alike: int
) -> None:
    template = b'{"choices":[{"logprobs":{"content":[{"logprob":%b}]}}]}'
    outcome = outcome_of(*[template % b"-1"] * alike, template % number)
    assert outcome.n_malformed == 0
    assert outcome.completion is not None
    [choice] = outcome.completion.to_dict()["choices"]
    assert choice["logprobs"]["content"][-1]["logprob"] is None


@pytest.mark.parametrize("key", ["\ud83d", "x", "content"])
def test_keys_of_logprobs_are_mended(key: str) -> None:
    outcome = outcome_of(chunk({}, logprobs={key: ["\ud83d"], "y": 5}))
    assert outcome.completion is not None
    [choice] = json.loads(outcome.completion.to_json())["choices"]
    assert choice["logprobs"] == {key.replace("\ud83d", "\ufffd"): ["\ufffd"], "y": 5}


# --- Usage ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "usage", "source"),
    [
        ([], None, None),
        ([{"usage": None}], None, None),
        ([{"usage": {"a": 1}}, {"usage": {"a": 2, "b": 3}}], {"a": 2, "b": 3}, "usage"),
        ([{"usage": {"a": 2}}, {"usage": None}], {"a": 2}, "usage"),
        ([{"usage": {"a": 2}}, {"usage": {"a": None, "b": None}}],
         {"a": 2, "b": None}, "usage"),
        ([{"usage": {"d": {"x": 1}}}, {"usage": {"d": {"y": 2}}}],
         {"d": {"x": 1, "y": 2}}, "usage"),
        ([chunk({}, usage={"a": 1})], {"a": 1}, "choice"),
        ([chunk({}, usage={"a": 1}), {"usage": {"a": 5}}], {"a": 5}, "usage"),
        ([chunk({}, usage={"a": 1}), chunk({}, index=1, usage={"b": 2})],
         {"a": 1, "b": 2}, "choice"),
        ([{"x_groq": {"usage": {"a": 1}}}], {"a": 1}, "x_groq"),
        ([{"x_groq": {"usage": {"a": 1}}}, chunk({}, usage={"a": 2})],
         {"a": 2}, "choice"),
        ([{"x_groq": {"usage": {"a": 1}}}, {"usage": {"a": 3}}], {"a": 3}, "usage"),
        ([{"usage": {}}, {"x_groq": {"usage": {"a": 1}}}], {"a": 1}, "x_groq"),
        ([{"usage": {"a": None}}, chunk({}, usage={"a": 2})], {"a": 2}, "choice"),
        ([{"usage": {}}], None, None),
        ([{"usage": {"a": None}}], {"a": None}, "usage"),
        ([{"usage": {"d": {"x": None, "y": 1}}}], {"d": {"x": None, "y": 1}}, "usage"),
        ([{"usage": {"prompt_tokens_details": {"audio_tokens": None, "x": 1}}}],
         {"prompt_tokens_details": {"audio_tokens": None, "x": 1}}, "usage"),
        ([{"usage": {"a": 1, "b": {"c": 1}}}, {"usage": {"a": "", "b": {}}}],
         {"a": 1, "b": {"c": 1}}, "usage"),
        ([chunk({}, usage={"a": 5}), chunk({}, index=1, usage={"a": 6}),
          chunk({}, usage={"a": 5})], {"a": 5}, "choice"),
        ([{"x_groq": {"usage": {"a": None}}}], None, None),
        ([{"usage": {"extra": 1, "unsent": 2}}], {"extra": 1, "unsent": 2}, "usage"),
    ],
)  # fmt: skip
def test_the_usage_and_where_it_came_from(
    sent: list[Json], usage: Json, source: str | None
) -> None:
    outcome = outcome_of(chunk({}), *sent)
    assert outcome.usage_source == source
    assert outcome.completion is not None
    assert outcome.completion.to_dict().get("usage") == usage


def test_promoted_usage_stays_where_it_was() -> None:
    usage = {"total_tokens": 1}
    found = folded(chunk({}, usage=usage), {"x_groq": {"id": "r", "usage": usage}})
    assert found["choices"][0]["usage"] == found["usage"] == usage
    assert found["x_groq"]["usage"] == usage


# --- After [DONE], limits -------------------------------------------------------------


def test_after_done_all_counts_but_choices() -> None:
    found = folded(
        chunk({"content": "a"}),
        "[DONE]",
        {**chunk({"content": "b"}), "usage": {"a": 1}, "late": 1},
        chunk({"content": "c"}, index=1),
    )
    assert found["usage"] == {"a": 1}
    assert found["late"] == 1
    [choice] = found["choices"]
    assert choice["message"]["content"] == "a"


def test_look_alikes_after_done_do_not_count() -> None:
    same = [chunk({"content": "a"})] * 9
    [choice] = folded(*same, "[DONE]", *same)["choices"]
    assert choice["message"]["content"] == "a" * 9


def test_choices_over_the_limit_are_left_out_and_the_rest_counts() -> None:
    sent = [chunk({"content": "a"}), chunk({"content": "b"}, index=1)]
    late = {**chunk({"content": "c"}), "usage": {"a": 1}}
    outcome = outcome_of(*sent, late, "[DONE]", limits=Limits(choices=1))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "choices")
    assert outcome.completion is not None
    plain = outcome.completion.to_dict()
    assert [c["message"]["content"] for c in plain["choices"]] == ["ac"]
    assert plain["usage"] == {"a": 1}


def test_the_limits_themselves_still_fit() -> None:
    sent = [chunk({}, index=i) for i in range(2)]
    assert outcome_of(*sent, "[DONE]", limits=Limits(choices=2)).limit is None
    call = {"tool_calls": [{"index": 0, "id": "a"}, {"index": 1, "id": "b"}]}
    assert outcome_of(chunk(call), limits=Limits(tool_calls=2)).limit is None


def test_the_limit_of_calls_is_for_all_choices_together() -> None:
    call = {"tool_calls": [{"index": 0, "id": "a"}]}
    sent = [chunk(call, index=i) for i in range(3)]
    assert outcome_of(*sent, limits=Limits(tool_calls=3)).limit is None
    outcome = outcome_of(*sent, limits=Limits(tool_calls=2))
    assert outcome.limit == "tool_calls"
    assert len(outcome.calls) == 2


def test_many_choices_in_one_chunk_hit_the_limit() -> None:
    outcome = outcome_of(b'{"choices":[' + b'{"index":1},' * 5000 + b"{}]}")
    assert outcome.limit is None
    many = b",".join(b'{"index":%d}' % i for i in range(5000))
    outcome = outcome_of(b'{"choices":[' + many + b"]}")
    assert outcome.limit == "choices"
    assert outcome.completion is not None
    assert [c.index for c in outcome.completion.choices] == [*range(1024)]


def test_a_hundred_thousand_choices_in_one_chunk_are_not_held() -> None:
    many = b",".join(b'{"index":%d}' % i for i in range(100_000))
    outcome = outcome_of(chunk({"content": "a"}), b'{"choices":[' + many + b"]}")
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "held_bytes")
    assert outcome.completion is not None
    assert [c.index for c in outcome.completion.choices] == [0]


# What is over a limit is left out, and what stands beside it is read all the same.
_LOST: Final = {"index": 5, "delta": {"content": "lost"}}


def test_a_choice_beside_one_that_is_over_the_limit_counts() -> None:
    sent = [
        {"choices": [_LOST, {"index": 0, "delta": {"content": f"{n},"}}]}
        for n in range(30)
    ]
    for fast in (True, False):
        outcome = fold_reads(
            [stream(chunk({"content": "a"}), *sent)],
            limits=Limits(choices=1),
            fast=fast,
        )
        assert outcome.completion is not None
        [choice] = outcome.completion.choices
        assert choice.message.content == "a" + "".join(f"{n}," for n in range(30))


def test_a_call_beside_one_that_is_over_the_limit_counts() -> None:
    def pieces(n: int) -> Json:
        lost = {"index": 5, "function": {"arguments": "lost"}}
        return [lost, {"index": 0, "function": {"arguments": f"{n},"}}]

    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "[..."}}
    sent = [chunk({"tool_calls": pieces(n)}) for n in range(30)]
    body = stream(chunk({"tool_calls": [call]}), *sent)
    for fast in (True, False):
        [only] = fold_reads([body], limits=Limits(tool_calls=1), fast=fast).calls
        assert only.text == "[..." + "".join(f"{n}," for n in range(30))


# --- Strangers ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["extra", "sent", "unsent", "", "_always", "é", "__"])
@pytest.mark.parametrize("value", [1, {"a": [None]}, "x", [1], True, "null", 10**30])
def test_any_name_is_kept_at_every_level(name: str, value: Any) -> None:
    one = {name: value}
    call = {"index": 0, "id": "c", **one}
    found = folded(
        {
            **one,
            **chunk({**one, "tool_calls": [{**call, "function": one}]}, **one),
            "usage": one,
        },
        chunk({"audio": one, "function_call": {"name": "f", **one}}),
        chunk({"reasoning_details": [one], "annotations": [one]}),
    )
    choice = found["choices"][0]
    message = choice["message"]
    for level in (
        *(found, choice, message, message["tool_calls"][0], found["usage"]),
        *(message["tool_calls"][0]["function"], message["audio"]),
        *(message["function_call"], message["reasoning_details"][0]),
        message["annotations"][0],
    ):
        assert level[name] == value


def test_nulls_of_strangers_never_appear() -> None:
    call = {"index": 0, "id": "c", "x": None, "function": {"x": None}}
    sent = {"x": None, **chunk({"x": None, "tool_calls": [call]}, x=None)}
    assert "'x'" not in str(folded(sent))


def test_nulls_inside_usage_logprobs_details_and_parts_are_kept() -> None:
    found = folded(
        {
            **chunk(
                {
                    "content": [{"type": "text", "text": "a", "x": None}],
                    "reasoning_details": [{"type": "t", "x": None}],
                },
                logprobs={"content": [{"token": "a", "logprob": 0, "bytes": None}]},
            ),
            "usage": {"total_tokens": None, "x": {"y": None}},
        }
    )
    choice = found["choices"][0]
    assert found["usage"] == {"total_tokens": None, "x": {"y": None}}
    assert choice["message"]["content"] == [{"type": "text", "text": "a", "x": None}]
    assert choice["message"]["reasoning_details"] == [{"type": "t", "x": None}]
    assert choice["logprobs"]["content"][0]["bytes"] is None


# --- What the fast roads rest on ------------------------------------------------------


@given(chunk_lists)
def test_an_event_that_only_appended_does_the_same_again(sent: list[Json]) -> None:
    """The record tells all that an event did: not even a note is left out."""
    state = ChatFold(Limits())

    def add(one: Json) -> Effects | None:
        data = json.dumps(one).encode()
        state.n_events += 1
        state.add(parse(data), data, exact=False)
        return None if state.record is None else list(state.record)

    for one in sent:
        before = repr(state.plain()), repr(state.notes()), state.revision
        record = add(one)
        if record is None:
            assert state.revision > before[2]
            continue
        assert (repr(state.notes()), state.revision) == before[1:]
        for _ in "ab":
            again = add(one)
            assert again is not None
            # What was forgotten once need not be looked at again.
            assert [(key, id(did)) for key, _, did in again if did is not DROPPED] == [
                (key, id(did)) for key, _, did in record if did is not DROPPED
            ]
        assert (repr(state.notes()), state.revision) == before[1:]
        if any(isinstance(did, JsonArray) for _, _, did in record):
            continue
        for _, text, did in record:
            if isinstance(did, StringIO):  # take it back, all three times
                size = len(text if isinstance(text, str) else json.dumps(text))
                whole = did.getvalue()
                did.seek(0)
                did.truncate()
                did.write(whole[: len(whole) - 3 * size])
        assert repr(state.plain()) == before[0]
