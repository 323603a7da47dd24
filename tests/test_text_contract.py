"""The contract of text completions, row by row: a small stream, and what is in it.

As in `test_contract`: each row is written from the contract, and holds at any cut.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import pytest

import unstream
import unstream.text
from tests.strategies import strict
from unstream import Accumulator, Outcome

Json: TypeAlias = Any
Row: TypeAlias = dict[str, Json]

ENVELOPE: Final = {
    "id": "c1",
    "object": "text_completion",
    "created": 1795000000,
    "model": "m-1",
}
USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
OOPS: Final = {"message": "m", "code": 500}
DONE: Final = b"data: [DONE]\n\n"
MISSING: Final = object()


def raw(text: str) -> bytes:
    """Write JSON text, or what is none, as the data of an event."""
    return f"data: {text}\n\n".encode()


def sent(payload: Json = None, /, **keys: Json) -> bytes:
    """Write any payload."""
    return raw(json.dumps(keys if payload is None else payload))


def say(text: Json, finish: Json = None, /, index: Json = 0, **beside: Json) -> bytes:
    """Write a chunk of one choice."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    return sent({**ENVELOPE, "choices": [{**choice, **beside}]})


def top(**keys: Json) -> bytes:
    """Write a chunk without a choice."""
    return sent({**ENVELOPE, "choices": [], **keys})


def columns(*rows: tuple[str, Json, Json, int]) -> Row:
    """Write log probabilities as four parallel lists."""
    keys = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
    return {key: [row[n] for row in rows] for n, key in enumerate(keys)}


HELLO: Final = say("Hel") + say("lo", "stop")
NO_USAGES: Final[list[Any]] = [None, {}, "n/a", 8, []]
NO_TEXTS: Final[list[Any]] = [None, "", True, [], {}]
WHOLE: Final = {"ending": "complete", "text": "Hello", "n_malformed": 0}


def outcomes(*stream: bytes) -> Iterator[Outcome[Any]]:
    """Fold a stream whole, in pieces of seven bytes, and byte by byte."""
    data = b"".join(stream)
    for step in (len(data) or 1, 7, 1):
        accumulator = Accumulator(protocol=unstream.text.PROTOCOL)
        for start in range(0, len(data), step):
            accumulator.feed(data[start : start + step])
        yield accumulator.finish()


def shown(outcome: Outcome[Any]) -> Row:
    """Lay out an outcome so that a row can name a part of it."""
    whole = outcome.completion
    completion = None if whole is None else whole.to_dict()
    choices = (completion or {}).get("choices", [])
    choice = choices[0] if choices else {}
    return {
        "completion": completion,
        "choices": choices,
        "choice": choice,
        "text": choice.get("text"),
        "top": completion or {},
        "ending": outcome.ending.value,
        "done": outcome.done,
        "error": outcome.error,
        "n_malformed": outcome.n_malformed,
        "usage_source": outcome.usage_source,
    }


def check(stream: list[bytes], expected: Row) -> None:
    for outcome in outcomes(*stream):
        found = shown(outcome)
        for key, want in expected.items():
            if key not in {"choice", "top"}:  # of these a row names some keys
                assert (key, strict(found[key])) == (key, strict(want))
                continue
            for name, value in want.items():
                got = found[key].get(name, MISSING)
                assert (name, strict(got)) == (name, strict(value))


# --- The completion -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            [HELLO, DONE],
            {
                "completion": {
                    "id": "c1",
                    "object": "text_completion",
                    "created": 1795000000,
                    "model": "m-1",
                    "choices": [
                        {
                            "index": 0,
                            "text": "Hello",
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                },
                "ending": "complete",
                "done": True,
                "error": None,
                "n_malformed": 0,
                "usage_source": None,
            },
            id="all of it",
        ),
        pytest.param(
            [
                sent(id="", created=0, model="", choices=[]),
                HELLO,
                sent(id="c2", created=9, model="m-2", object="x", choices=[]),
            ],
            {**WHOLE, "top": ENVELOPE},
            id="the first that is set",
        ),
        pytest.param(
            [sent(choices=[{"text": "Hello", "finish_reason": "stop"}])],
            {**WHOLE, "top": {"id": "", "created": 0, "model": ""}},
            id="nothing in the envelope",
        ),
        pytest.param(
            [top(), top(choices=None), sent(object="text_completion")],
            {"choices": [], "ending": "empty"},
            id="an empty list is no choice",
        ),
        pytest.param(
            [top(usage=None), HELLO, top(usage=USAGE), DONE],
            {**WHOLE, "usage_source": "usage", "top": {"usage": USAGE}},
            id="a usage chunk",
        ),
        pytest.param(
            [
                top(usage={"a": 1, "b": {"c": 2, "d": None}, "e": None}),
                top(usage={"a": 3, "b": {"c": None, "d": 4}}),
                top(usage={}),
                HELLO,
            ],
            {"top": {"usage": {"a": 3, "b": {"c": 2, "d": 4}, "e": None}}},
            id="a usage is merged and never summed",
        ),
        *(
            pytest.param(
                [HELLO, top(usage=usage)],
                {**WHOLE, "usage_source": None, "top": {"usage": MISSING}},
                id=f"no usage: {json.dumps(usage)}",
            )
            for usage in NO_USAGES
        ),
        pytest.param(
            [
                top(system_fingerprint="a", prompt_filter_results=[1], note={"a": 1}),
                top(system_fingerprint="b", service_tier="flex", note={"b": 2}),
                top(system_fingerprint="", service_tier=None, note={}, p="abcd"),
                top(prompt_filter_results=[], obfuscation="x7Gq"),
                HELLO,
            ],
            {
                **WHOLE,
                "top": {
                    "system_fingerprint": "b",
                    "service_tier": "flex",
                    "prompt_filter_results": [1],
                    "note": {"b": 2},
                    "p": MISSING,
                    "obfuscation": MISSING,
                },
            },
            id="the last that is not empty; padding is dropped",
        ),
        pytest.param(
            [sent(object="text_completion", choices=[], note="n"), DONE],
            {"completion": None, "ending": "empty", "done": True},
            id="neither choice nor id, created, model, usage: nothing came",
        ),
    ],
)
def test_the_completion(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


# --- A choice -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            [say("b", index=1), say("a"), say("c", "stop", index=1), DONE],
            {
                "choices": [
                    {"index": 0, "text": "a", "logprobs": None, "finish_reason": None},
                    {
                        "index": 1,
                        "text": "bc",
                        "logprobs": None,
                        "finish_reason": "stop",
                    },
                ]
            },
            id="choices stand by index",
        ),
        *(
            pytest.param(
                [say("a"), say("b", index=index)],
                {"text": "ab", "choice": {"index": 0}},
                id=f"the index {json.dumps(index)} is 0",
            )
            for index in (None, -1, 0.5, True, "x", [1])
        ),
        *(
            pytest.param(
                [say(text), say("Hello", "stop")], WHOLE, id=f"no text: {text!r}"
            )
            for text in NO_TEXTS
        ),
        pytest.param(
            [sent({**ENVELOPE, "choices": [{"finish_reason": "stop"}]})],
            {"text": "", "ending": "complete"},
            id="a text that never came is empty",
        ),
        pytest.param(
            [
                say("Hel", delta={"content": "Hel"}, message={"content": "Hel"}),
                say("lo", "stop", delta={"content": "lo"}),
            ],
            {**WHOLE, "choice": {"delta": MISSING, "message": MISSING}},
            id="delta and message are twins",
        ),
        pytest.param(
            [say("a", ""), say("b", "length"), say("", ""), say("", None)],
            {"text": "ab", "choice": {"finish_reason": "length"}},
            id="the last finish_reason that is set",
        ),
        pytest.param(
            [say("Hello"), DONE],
            {**WHOLE, "choice": {"finish_reason": None}},
            id="a finish_reason is never invented",
        ),
        pytest.param(
            [
                say("a", token_ids=[1, 2], stop_reason=None, prompt_logprobs=None),
                say("b", token_ids=[3], stop_reason=7, seed=1, raw={"a": 1}),
                say("", "stop", token_ids=None, stop_reason=None, seed=0, raw={}),
            ],
            {
                "choice": {
                    "token_ids": [1, 2, 3],
                    "stop_reason": 7,
                    "prompt_logprobs": MISSING,
                    "seed": 0,
                    "raw": {"a": 1},
                }
            },
            id="extras",
        ),
        pytest.param(
            [
                say("a", content_filter_results={}),
                say("b", content_filter_results={"hate": {"filtered": False}}),
                say("", content_filter_results={"hate": {"severity": "safe"}}),
                say("", "stop", content_filter_results={}),
            ],
            {
                "choice": {
                    "content_filter_results": {
                        "hate": {"filtered": False, "severity": "safe"}
                    }
                }
            },
            id="filter results are merged",
        ),
        pytest.param(
            [say("Hello", "stop", obfuscation="x7Gq")],
            {**WHOLE, "choice": {"obfuscation": MISSING}},
            id="padding is dropped",
        ),
        pytest.param(
            [say("a\ud83d"), say("\ude00b"), say("\ud83d")],
            {"text": "a😀b\ufffd"},
            id="halves of a surrogate pair",
        ),
        pytest.param(
            [say("a?b").replace(b"?", b"\xff")], {"text": "a\ufffdb"}, id="no UTF-8"
        ),
    ],
)
def test_a_choice(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


@pytest.mark.parametrize(
    ("pieces", "logprobs"),
    [
        pytest.param(
            [
                columns(("a", -0.5, {"a": -0.5}, 3)),
                None,
                columns(("b", -1, {"b": -1}, 4), ("c", -2, {}, 4)),
                columns(),
            ],
            columns(
                ("a", -0.5, {"a": -0.5}, 3), ("b", -1, {"b": -1}, 4), ("c", -2, {}, 4)
            ),
            id="four parallel lists, offsets as sent",
        ),
        pytest.param(
            [columns(("Say", None, None, 0), ("x", -1, {}, 3))],
            columns(("Say", None, None, 0), ("x", -1, {}, 3)),
            id="nulls inside the lists stay",
        ),
        pytest.param(
            [
                {"tokens": ["a"], "top_logprobs": None},
                {"tokens": ["b"], "top_logprobs": None},
            ],
            {"tokens": ["a", "b"], "top_logprobs": None},
            id="a list that is null in every piece is null",
        ),
        pytest.param(
            [
                {"tokens": ["a"], "top_logprobs": None},
                {"tokens": ["b"], "top_logprobs": [{"b": -1}]},
            ],
            {"tokens": ["a", "b"], "top_logprobs": [{"b": -1}]},
            id="a list that is null at first",
        ),
        pytest.param(
            [{"content": [{"token": "a"}]}, {"content": [{"token": "b"}], "more": [1]}],
            {"content": [{"token": "a"}, {"token": "b"}], "more": [1]},
            id="any other list is extended",
        ),
        pytest.param(
            [{"tokens": ["a"], "kind": "x"}, {"tokens": ["b"], "kind": None}],
            {"tokens": ["a", "b"], "kind": "x"},
            id="any other value is the last that is not null",
        ),
        pytest.param([None, {"tokens": None}], None, id="no list ever came"),
    ],
)
def test_logprobs(pieces: list[Json], logprobs: Json) -> None:
    stream = [say("x", None, logprobs=each) for each in pieces]
    check(stream, {"choice": {"logprobs": logprobs}, "n_malformed": 0})


def test_logprobs_that_json_has_not_are_null() -> None:
    infinite = say("Hello", "stop", logprobs=columns(("a", "?", {"a": "?"}, 0)))
    check(
        [infinite.replace(b'"?"', b"-Infinity")],
        {**WHOLE, "choice": {"logprobs": columns(("a", None, {"a": None}, 0))}},
    )


# --- How it ended ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param([b""], {"completion": None, "ending": "empty"}, id="nothing"),
        pytest.param(
            [DONE], {"completion": None, "ending": "empty"}, id="[DONE] alone"
        ),
        pytest.param(
            [say("Hello")], {"text": "Hello", "ending": "truncated"}, id="cut"
        ),
        pytest.param(
            [say("Hello"), say("!", "stop")[:40]],
            {"text": "Hello", "ending": "truncated", "n_malformed": 1},
            id="cut inside a payload",
        ),
        pytest.param([HELLO], {**WHOLE, "done": False}, id="finished"),
        pytest.param(
            [say("a", "stop"), say("b", index=1)],
            {"ending": "truncated"},
            id="one of two is not",
        ),
        pytest.param(
            [say("Hel", "stop"), say("lo")], {"ending": "truncated"}, id="reopened"
        ),
        pytest.param(
            [HELLO, say(""), say("", None, stop_reason=7)], WHOLE, id="not by nothing"
        ),
        pytest.param(
            [HELLO, DONE, say("late", top=1), top(usage=USAGE, note="n")],
            {**WHOLE, "top": {"usage": USAGE, "note": "n"}, "done": True},
            id="after [DONE] usage and extras count, choices do not",
        ),
        pytest.param(
            [raw("nope"), b"data:\n\n", raw("3"), HELLO],
            {**WHOLE, "n_malformed": 2},
            id="what is malformed",
        ),
        pytest.param(
            [sent(type="ping"), HELLO, sent(type="status", load=7)],
            {**WHOLE, "top": {"type": MISSING, "load": MISSING}},
            id="another protocol is ignored",
        ),
        pytest.param(
            [b"<html></html>"],
            {"completion": None, "ending": "foreign", "n_malformed": 0},
            id="a page",
        ),
        pytest.param(
            [b'{"object":"text_completion","choices":[{"te'],
            {"completion": None, "ending": "truncated", "n_malformed": 0},
            id="a body that is cut",
        ),
    ],
)
def test_how_it_ended(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param(sent(error=OOPS), OOPS, id="an object"),
        pytest.param(sent(error="overloaded"), "overloaded", id="a string"),
        pytest.param(b"event: error\n" + sent(OOPS), OOPS, id="named, bare"),
        pytest.param(b"event: error\ndata: died\n\n", "died", id="named, text"),
        pytest.param(b'error: {"error":"x"}\n\n', "x", id="a field"),
        pytest.param(
            sent(type="error", message="m"),
            {"type": "error", "message": "m"},
            id="type",
        ),
        pytest.param(sent(type="error", error=OOPS), OOPS, id="type, with an error"),
    ],
)
def test_errors(said: bytes, error: Json) -> None:
    expected = {"ending": "error", "error": error, "n_malformed": 0}
    check([said], {**expected, "completion": None})
    check([say("Hel"), said], {**expected, "text": "Hel"})
    check([HELLO, said, sent(error="later"), DONE], expected)


def test_an_error_beside_the_choices_is_not_part_of_the_completion() -> None:
    choices = [{"index": 0, "text": "Hel", "finish_reason": "error"}]
    check(
        [sent(choices=choices, error=OOPS)],
        {"ending": "error", "error": OOPS, "text": "Hel", "top": {"error": MISSING}},
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {**ENVELOPE, "choices": [{"index": 0, "text": "Hello", "logprobs": None}]},
            {"ending": "complete", "text": "Hello"},
            id="a completion",
        ),
        pytest.param(
            {**ENVELOPE, "choices": [], "usage": USAGE, "note": None},
            {"top": {"usage": USAGE, "note": None}, "usage_source": "usage"},
            id="as it is",
        ),
        pytest.param(
            {"error": OOPS},
            {"ending": "error", "error": OOPS, "completion": None},
            id="an error",
        ),
        pytest.param(
            {"detail": "Not Found"},
            {"ending": "foreign", "completion": None},
            id="neither",
        ),
    ],
)
def test_a_body_that_was_never_streamed(body: Json, expected: Row) -> None:
    for text in (json.dumps(body), json.dumps(body, indent=2) + "\n"):
        check([text.encode()], {**expected, "done": False, "n_malformed": 0})


def test_the_completion_is_one_of_ours() -> None:
    for outcome in outcomes(HELLO, DONE):
        assert outcome.unwrap().choices[0].text == "Hello"
        assert outcome.protocol == "text"
