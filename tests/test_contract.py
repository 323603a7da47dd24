"""The contract of chat completions, row by row: a small stream, and what is in it.

Each row is written from the contract, not from what the fold gives. It holds at any
cut: the stream is fed whole, in pieces of seven bytes, and byte by byte.
"""

import json
import time
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import pytest

import unstream
from tests.strategies import strict
from unstream import Accumulator, Outcome

Json: TypeAlias = Any
Row: TypeAlias = dict[str, Json]

ENVELOPE: Final = {
    "id": "c1",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "m-1",
}
USAGE: Final = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
DONE: Final = b"data: [DONE]\n\n"
MISSING: Final = object()


def raw(text: str) -> bytes:
    """Write JSON text, or what is none, as the data of an event."""
    return f"data: {text}\n\n".encode()


def sent(payload: Json = None, /, **keys: Json) -> bytes:
    """Write any payload."""
    return raw(json.dumps(keys if payload is None else payload))


def say(delta: Json, finish: Json = None, /, index: Json = 0, **beside: Json) -> bytes:
    """Write a chunk of one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": finish, **beside}
    return sent({**ENVELOPE, "choices": [choice]})


def top(**keys: Json) -> bytes:
    """Write a chunk without a choice."""
    return sent({**ENVELOPE, "choices": [], **keys})


def call(*pieces: Json, finish: Json = None) -> bytes:
    """Write a chunk of pieces of tool calls."""
    return say({"tool_calls": list(pieces)}, finish)


def piece(
    index: Json = MISSING,
    identity: Json = MISSING,
    name: Json = MISSING,
    arguments: Json = MISSING,
    **more: Json,
) -> dict[str, Json]:
    function = {"name": name, "arguments": arguments}
    function = {key: value for key, value in function.items() if value is not MISSING}
    call = {"index": index, "id": identity, "function": function or MISSING, **more}
    return {key: value for key, value in call.items() if value is not MISSING}


def made(identity: str, name: str, arguments: str, **more: Json) -> dict[str, Json]:
    function = {"name": name, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function, **more}


ROLE: Final = say({"role": "assistant", "content": ""})
HELLO: Final = say({"content": "Hel"}) + say({"content": "lo"})
STOP: Final = say({}, "stop")
END: Final = say({}, "tool_calls") + DONE
WHOLE: Final = {"ending": "complete", "message": {"content": "Hello"}, "n_malformed": 0}


def outcomes(*stream: bytes) -> Iterator[Outcome[Any]]:
    """Fold a stream whole, in pieces of seven bytes, and byte by byte."""
    data = b"".join(stream)
    for step in (len(data) or 1, 7, 1):
        accumulator = Accumulator()
        for start in range(0, len(data), step):
            accumulator.feed(data[start : start + step])
        yield accumulator.finish()


def shown(outcome: Outcome[Any]) -> Row:
    """Lay out an outcome so that a row can name a part of it."""
    whole = outcome.completion
    completion = None if whole is None else whole.to_dict()
    choice = (completion or {}).get("choices", [{}])[:1] or [{}]
    return {
        "completion": completion,
        "choices": (completion or {}).get("choices"),
        "choice": choice[0],
        "message": choice[0].get("message", {}),
        "top": completion or {},
        "calls": choice[0].get("message", {}).get("tool_calls"),
        "ending": outcome.ending.value,
        "done": outcome.done,
        "error": outcome.error,
        "n_malformed": outcome.n_malformed,
        "usage_source": outcome.usage_source,
    }


PARTS: Final = ("choice", "message", "top")  # of these a row names some keys


def check(stream: list[bytes], expected: Row) -> None:
    for outcome in outcomes(*stream):
        found = shown(outcome)
        for key, want in expected.items():
            if key not in PARTS:
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
            [
                top(stream_options={"include_usage": True}),
                ROLE,
                HELLO,
                sent(stream_options={"include_usage": True}, choices=[]),
                STOP,
            ],
            {**WHOLE, "top": {"stream_options": MISSING}},
            id="stream_options is an echo of the request",
        ),
        pytest.param(
            [say({"content": "Hel", "token_id": 7}), say({"content": "lo"}, "stop")],
            {**WHOLE, "message": {"content": "Hello", "token_id": MISSING}},
            id="a delta's token_id is dropped",
        ),
        pytest.param(
            [
                say({"content": "Hello"}, "stop", token_id=7),
                top(token_id=8, stream_option="x"),
            ],
            {
                **WHOLE,
                "choice": {"token_id": 7},
                "top": {"token_id": 8, "stream_option": "x"},
            },
            id="a token_id elsewhere, and a key that only looks like an echo, is kept",
        ),
        pytest.param(
            [
                top(note="x", found=[1], meta={"a": 1}),
                top(note="", found=[], meta={}),
                say({"content": "Hello"}, "stop"),
            ],
            {**WHOLE, "top": {"note": "x", "found": [1], "meta": {"a": 1}}},
            id="empty values at the top erase nothing",
        ),
        pytest.param(
            [top(note="", found=[], meta={}), say({"content": "Hello"}, "stop")],
            {**WHOLE, "top": {"note": "", "found": [], "meta": {}}},
            id="where only empty values came, they stay",
        ),
        pytest.param(
            [top(note="x", n=3, flag=True), top(note="y", n=0, flag=False), STOP],
            {"top": {"note": "y", "n": 0, "flag": False}},
            id="zero and false are not empty",
        ),
        pytest.param(
            [top(citations=["u1"]), top(citations=["u1", "u2"]), top(citations=[])],
            {"top": {"citations": ["u1", "u2"]}},
            id="citations are the last that are not empty",
        ),
        pytest.param(
            [
                say({"content": "a"}, None, reason="x", found=[1], meta={"a": 1}),
                say({"content": "b"}, "stop", reason="", found=[], meta={}),
            ],
            {"choice": {"reason": "x", "found": [1], "meta": {"a": 1}}},
            id="empty values of a choice erase nothing",
        ),
        pytest.param(
            [sent(object="chat.completion.chunk", choices=[], note="n"), DONE],
            {"completion": None, "ending": "empty", "done": True},
            id="neither choice nor id, created, model, usage: nothing came",
        ),
        pytest.param(
            [sent(id="", created=0, model="", choices=[], usage=None), DONE],
            {"completion": None, "ending": "empty", "usage_source": None},
            id="an envelope of empty values is nothing",
        ),
        pytest.param(
            [sent(object="chat.completion.chunk", created=7, choices=[])],
            {
                "completion": {
                    "id": "",
                    "object": "chat.completion",
                    "created": 7,
                    "model": "",
                    "choices": [],
                },
                "ending": "empty",
            },
            id="a time alone is something",
        ),
        pytest.param(
            [sent(choices=[], usage=USAGE)],
            {"top": {"usage": USAGE, "id": ""}, "ending": "empty"},
            id="a usage alone is something",
        ),
        pytest.param(
            [sent(choices=[{"index": 0, "delta": {}}])],
            {"choice": {"index": 0, "finish_reason": None}, "ending": "truncated"},
            id="a choice of nothing is something",
        ),
    ],
)
def test_the_completion(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            [top(usage={}), say({"content": "Hello"}, "stop", usage={}), top(usage={})],
            {
                **WHOLE,
                "usage_source": None,
                "top": {"usage": MISSING},
                "choice": {"usage": MISSING},
            },
            id="an empty usage is nowhere",
        ),
        *(
            pytest.param(
                [top(usage=usage), say({"content": "Hello"}, "stop"), DONE],
                {**WHOLE, "usage_source": None, "top": {"usage": MISSING}},
                id=f"a usage that is {json.dumps(usage)}",
            )
            for usage in ("n/a", 8, 0, True, False, [], [5, 3, 8], "")
        ),
        pytest.param(
            [top(usage=USAGE), top(usage={}), top(usage="n/a"), STOP],
            {"usage_source": "usage", "top": {"usage": USAGE}},
            id="what is no usage erases none",
        ),
        pytest.param(
            [top(usage={}), say({"content": "a"}, "stop", usage=USAGE)],
            {"usage_source": "choice", "top": {"usage": USAGE}},
            id="an empty usage does not hide the one of a choice",
        ),
        pytest.param(
            [top(usage={}, x_groq={"id": "r1"}), top(x_groq={"usage": USAGE}), STOP],
            {
                "usage_source": "x_groq",
                "top": {"usage": USAGE, "x_groq": {"id": "r1", "usage": USAGE}},
            },
            id="nor the one of x_groq",
        ),
        pytest.param(
            [top(usage={"a": None}), STOP],
            {"usage_source": "usage", "top": {"usage": {"a": None}}},
            id="a usage of nulls is one",
        ),
        pytest.param(
            [top(usage={"a": 1, "b": {"c": 2}}), top(usage={"a": 0, "b": {}}), STOP],
            {"top": {"usage": {"a": 0, "b": {"c": 2}}}},
            id="zero replaces, an empty object does not",
        ),
    ],
)
def test_the_usage(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


# --- A message ------------------------------------------------------------------------


NO_CHOICES: Final[list[Json]] = [{}, "x", 5, True, [[]], [5, None, "x"]]


def block(kind: str = "thinking", **keys: Json) -> bytes:
    return say({"thinking_blocks": [{"type": kind, **keys}]})


def fields(**keys: Json) -> bytes:
    return say({"provider_specific_fields": keys})


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            [say({"meta": {"a": {"x": 1}}}), say({"meta": {"a": {"y": 2}, "b": 3}})],
            {"message": {"meta": {"a": {"x": 1, "y": 2}, "b": 3}}},
            id="objects are merged at every depth",
        ),
        pytest.param(
            [
                say({"meta": {"s": "one", "l": [1], "n": 1, "f": True, "o": {"x": 1}}}),
                say({"meta": {"s": "two", "l": [2], "n": 0, "f": False, "o": {}}}),
                say({"meta": {"s": "", "l": [], "n": None, "f": None, "o": None}}),
            ],
            {
                "message": {
                    "meta": {"s": "two", "l": [2], "n": 0, "f": False, "o": {"x": 1}}
                }
            },
            id="inside them the last counts that is not empty: nothing is glued",
        ),
        pytest.param(
            [say({"meta": {}, "steps": [], "plan": ""}), say({"meta": {}})],
            {"message": {"meta": {}, "steps": [], "plan": ""}},
            id="where only empty values came, they stay in a delta, too",
        ),
        pytest.param(
            [say({"phase": "one", "n": 3}), say({"phase": "", "n": 0})],
            {"message": {"phase": "one", "n": 0}},
            id="an empty name erases none, zero is a value",
        ),
        pytest.param(
            [say({}, meta={"a": 1}), say({}, meta={"b": 2})],
            {"choice": {"meta": {"b": 2}}},
            id="an object of a choice is replaced",
        ),
        pytest.param(
            [top(meta={"a": 1}), top(meta={"b": 2}), STOP],
            {"top": {"meta": {"b": 2}}},
            id="an object at the top is replaced",
        ),
        pytest.param(
            [top(x_groq={"a": {"x": 1}}), top(x_groq={"a": {"y": 2}, "b": {}}), STOP],
            {"top": {"x_groq": {"a": {"x": 1, "y": 2}, "b": {}}}},
            id="x_groq is merged",
        ),
        # thinking_blocks
        pytest.param(
            [
                block(thinking="a", index=0),
                block(thinking="b", index=0),
                block(thinking="", signature="s", index=0),
                block("redacted_thinking", data="QUJD", index=1),
                block(thinking="c", index=2),
            ],
            {
                "message": {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "ab", "signature": "s"},
                        {"type": "redacted_thinking", "data": "QUJD"},
                        {"type": "thinking", "thinking": "c"},
                    ]
                }
            },
            id="thinking_blocks by index",
        ),
        pytest.param(
            [
                block(thinking="a", signature="s1"),
                block(thinking="b"),
                block(thinking="c", signature="s2"),
            ],
            {
                "message": {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "a", "signature": "s1"},
                        {"type": "thinking", "thinking": "bc", "signature": "s2"},
                    ]
                }
            },
            id="thinking_blocks without an index: a signature ends one",
        ),
        pytest.param(
            [
                block(thinking="a"),
                block("redacted_thinking", data="QUJD"),
                block("redacted_thinking", data="REVG"),
                block(thinking="b"),
            ],
            {
                "message": {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "a"},
                        {"type": "redacted_thinking", "data": "QUJD"},
                        {"type": "redacted_thinking", "data": "REVG"},
                        {"type": "thinking", "thinking": "b"},
                    ]
                }
            },
            id="a redacted block is one by itself",
        ),
        pytest.param(
            [
                block(thinking="a", signature="s1", index=0),
                block(thinking="b", index=0),
                block(thinking="", signature="s2", index=0),
            ],
            {
                "message": {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "ab", "signature": "s2"}
                    ]
                }
            },
            id="with an index a signature ends nothing, and the last counts",
        ),
        pytest.param(
            [
                say(
                    {
                        "thinking_blocks": [
                            {"type": "thinking", "thinking": "a", "index": 0},
                            {"type": "thinking", "thinking": "x", "index": 1},
                        ]
                    }
                ),
                say(
                    {
                        "thinking_blocks": [
                            {"type": "thinking", "thinking": "y", "index": 1},
                            {"type": "thinking", "thinking": "b", "index": 0},
                        ]
                    }
                ),
            ],
            {
                "message": {
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "ab"},
                        {"type": "thinking", "thinking": "xy"},
                    ]
                }
            },
            id="several blocks in one delta",
        ),
        # provider_specific_fields
        pytest.param(
            [fields(citation={"n": 1}), fields(citation={"n": 1}), fields(other="x")],
            {
                "message": {
                    "provider_specific_fields": {
                        "citations": [{"n": 1}, {"n": 1}],
                        "other": "x",
                    }
                }
            },
            id="each citation is appended, equal ones too",
        ),
        pytest.param(
            [fields(signatures=["a"]), fields(signatures=["b", "c"]), fields()],
            {"message": {"provider_specific_fields": {"signatures": ["a", "b", "c"]}}},
            id="lists of provider_specific_fields are extended",
        ),
        pytest.param(
            [fields(meta={"a": {"x": 1}}, s="a"), fields(meta={"a": {"y": 2}}, s="b")],
            {
                "message": {
                    "provider_specific_fields": {
                        "meta": {"a": {"x": 1, "y": 2}},
                        "s": "b",
                    }
                }
            },
            id="objects of provider_specific_fields are merged, the rest is last",
        ),
        pytest.param(
            [
                fields(thinking_blocks=[{"type": "thinking", "thinking": "a"}]),
                fields(
                    thinking_blocks=[
                        {"type": "thinking", "thinking": "b", "signature": "s"}
                    ]
                ),
            ],
            {
                "message": {
                    "provider_specific_fields": {
                        "thinking_blocks": [
                            {"type": "thinking", "thinking": "ab", "signature": "s"}
                        ]
                    },
                    "thinking_blocks": MISSING,
                }
            },
            id="thinking_blocks of provider_specific_fields are joined",
        ),
        # values of other types
        pytest.param(
            [say({"content": "a"}), say({"content": 5}), say({"content": 2.5})],
            {"message": {"content": "a52.5"}},
            id="a number as content is its JSON text",
        ),
        pytest.param(
            [say({"content": 0}, "stop")],
            {"message": {"content": "0"}, "ending": "complete"},
            id="zero as content, too",
        ),
        *(
            pytest.param(
                [say({key: value}), say({"content": "Hello"}, "stop")],
                {**WHOLE, "message": {"content": "Hello", key: missing}},
                id=f"{key}: {json.dumps(value)} is nothing",
            )
            for key, missing in [
                ("refusal", None),
                ("reasoning", MISSING),
                ("reasoning_content", MISSING),
            ]
            for value in (True, False)
        ),
        pytest.param(
            [say({"content": True}), say({"content": False}, "stop")],
            {"message": {"content": None}},
            id="booleans as content are nothing",
        ),
        *(
            pytest.param(
                [say(delta), ROLE, HELLO, STOP],
                {**WHOLE, "choice": {"delta": MISSING}},
                id=f"delta: {json.dumps(delta)} is nothing",
            )
            for delta in ([], [1], "x", 5, True, 0)
        ),
        *(
            pytest.param(
                [sent({**ENVELOPE, "choices": choices}), ROLE, HELLO, STOP],
                {**WHOLE, "top": {"id": "c1"}},
                id=f"choices: {json.dumps(choices)} is nothing",
            )
            for choices in NO_CHOICES
        ),
        pytest.param(
            [
                sent(
                    {
                        **ENVELOPE,
                        "choices": {
                            "delta": {"content": "Hello"},
                            "finish_reason": "stop",
                        },
                    }
                )
            ],
            WHOLE,
            id="a lone object as choices is a list of it",
        ),
        *(
            pytest.param(
                [say({"content": "Hello", key: 5}), STOP],
                {**WHOLE, "message": {"content": "Hello", key: MISSING}},
                id=f"{key}: 5 never surfaces",
            )
            for key in ("tool_calls", "function_call", "audio")
        ),
        *(
            pytest.param(
                [say({"content": "a"}, index=index), say({"content": "b"}, index=1)],
                {"choice": {"index": 1}, "message": {"content": "ab"}},
                id=f"the index {json.dumps(index)} is 1",
            )
            for index in ("1", 1.0)
        ),
        *(
            pytest.param(
                [say({"content": "a"}, index=index), say({"content": "b"}, index=0)],
                {"choice": {"index": 0}, "message": {"content": "ab"}},
                id=f"the index {json.dumps(index)} is as if missing",
            )
            for index in ("one", "", 1.5, True, None, [1], {"a": 1})
        ),
    ],
)
def test_a_message(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


# --- Tool calls -----------------------------------------------------------------------

A: Final = '{"a":1}'
B: Final = '{"b":2}'


@pytest.mark.parametrize(
    ("stream", "calls"),
    [
        pytest.param(
            [call(piece(2, "c3", "h", A)), call(piece(0, "c1", "f", A))],
            [made("c1", "f", A), made("c3", "h", A)],
            id="by index, with a gap",
        ),
        pytest.param(
            [call(piece(1, "c2", "g", B), piece(0, "c1", "f", A))],
            [made("c1", "f", A), made("c2", "g", B)],
            id="by index in one delta",
        ),
        pytest.param(
            [call(piece(1, "c2", "g", B)), call(piece(None, "c1", "f", A))],
            [made("c2", "g", B), made("c1", "f", A)],
            id="one without an index: as they came",
        ),
        pytest.param(
            [
                call(piece(1, "c1", "f", A)),
                call(piece(0, "c2", "f", A)),
                call(piece(0, "c3", "f", A)),
            ],
            [made("c2", "f", A), made("c3", "f", A), made("c1", "f", A)],
            id="by index, stable",
        ),
        # nothing set
        *(
            pytest.param([say({"content": "Hello"}), call(ghost)], None, id=name)
            for name, ghost in [
                ("an empty piece", {}),
                ("an index alone", piece(0)),
                ("an index and a type", piece(1, type="function")),
                ("empty values", piece(1, "", "", "", type="function")),
                ("nulls", piece(None, None, None, None, type=None)),
                ("the text null", piece(0, "null", "null")),
                ("padding alone", piece(0, obfuscation="x7Gq")),
                ("an empty custom", {"index": 0, "custom": {"name": "", "input": ""}}),
            ]
        ),
        pytest.param(
            [call(piece(0, "c1", "f", A)), call(piece(7, "", type="function"))],
            [made("c1", "f", A)],
            id="an orphan sentinel",
        ),
        pytest.param(
            [call(piece(0, type="function")), call(piece(0, "c1", "f", A))],
            [made("c1", "f", A)],
            id="nothing, then the call at that index",
        ),
        pytest.param(
            [call(piece(0, arguments=" "))], [made("", "", " ")], id="arguments are set"
        ),
        pytest.param([call(piece(0, "c1"))], [made("c1", "", "")], id="an id is set"),
        pytest.param(
            [call(piece(0, caller={"a": 1}))],
            [made("", "", "", caller={"a": 1})],
            id="an unknown key is set",
        ),
        # another name
        pytest.param(
            [call(piece(0, "", "f", A)), call(piece(0, "", "g", B))],
            [made("", "f", A), made("", "g", B)],
            id="another name after a whole object",
        ),
        pytest.param(
            [
                call(piece(0, MISSING, "f", '{"a"')),
                call(piece(0, arguments=":1}")),
                call(piece(0, MISSING, "g", '{"b"')),
                call(piece(0, arguments=":2}")),
            ],
            [made("", "f", A), made("", "g", B)],
            id="the new call takes the index over",
        ),
        pytest.param(
            [
                call(piece(MISSING, "1", "f", A)),
                call(piece(MISSING, "1", "g", '{"b"')),
                call(piece(MISSING, "1", arguments=":2}")),
            ],
            [made("1", "f", A), made("1", "g", B)],
            id="and the id",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", A)), call(piece(0, "c1", "f", ""))],
            [made("c1", "f", A)],
            id="the same name again is a repetition",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", A)), call(piece(0, "c1", "null", ""))],
            [made("c1", "f", A)],
            id="the name null is none",
        ),
        pytest.param(
            [
                call(piece(0, "c1", "f", '{"a"')),
                call(piece(0, name="g")),
                call(piece(0, arguments=":1}")),
            ],
            [made("c1", "f", A)],
            id="another name inside the arguments",
        ),
        pytest.param(
            [
                call(piece(0, "c1", "f", '{"a":"}')),
                call(piece(0, name="g")),
                call(piece(0, arguments='"}')),
            ],
            [made("c1", "f", '{"a":"}"}')],
            id="a brace inside a string ends nothing",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", "[1]")), call(piece(0, name="g"))],
            [made("c1", "f", "[1]")],
            id="a list is no whole object",
        ),
        pytest.param(
            [
                call(piece(0, "c1", "get_")),
                call(piece(0, name="time")),
                call(piece(0, arguments=A)),
            ],
            [made("c1", "get_time", A)],
            id="a name in fragments before the arguments",
        ),
        # neither index nor id
        pytest.param(
            [call(piece(MISSING, MISSING, "f", A)), call(piece(None, None, "f", B))],
            [made("", "f", A), made("", "f", B)],
            id="neither index nor id, two whole calls",
        ),
        pytest.param(
            [call(piece(MISSING, MISSING, "f", A)), call(piece(arguments=B))],
            [made("", "f", A + B)],
            id="without a name it cannot be known",
        ),
        pytest.param(
            [
                call(piece(MISSING, MISSING, "f", A)),
                call(piece(MISSING, MISSING, "f", '{"b"')),
                call(piece(arguments=":2}")),
            ],
            [made("", "f", A + B)],
            id="nor in pieces",
        ),
        pytest.param(
            [
                call(piece(MISSING, MISSING, "f", '{"a":')),
                call(piece(MISSING, MISSING, "f", "{}")),
                call(piece(arguments="}")),
            ],
            [made("", "f", '{"a":{}}')],
            id="nor while the newest call is not whole",
        ),
        pytest.param(
            [call(piece(0, MISSING, "f", A)), call(piece(0, MISSING, "f", B))],
            [made("", "f", A + B)],
            id="an index tells: the same call",
        ),
        # a placeholder
        pytest.param(
            [call(piece(0, "c1", "f", "{}")), call(piece(0, arguments=A))],
            [made("c1", "f", A)],
            id="{} is a placeholder",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", "{}"))]
            + [call(piece(0, arguments=text)) for text in A],
            [made("c1", "f", A)],
            id="{} before arguments in pieces",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", "{}"), finish="tool_calls")],
            [made("c1", "f", "{}")],
            id="{} alone stays",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", "{}")), call(piece(0, arguments=""))],
            [made("c1", "f", "{}")],
            id="{} before nothing stays",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", "{}")), call(piece(0, arguments=" " + A))],
            [made("c1", "f", "{} " + A)],
            id="{} before what begins with a space stays",
        ),
        pytest.param(
            [call(piece(0, "c1", "f", A)), call(piece(0, arguments=B))],
            [made("c1", "f", A + B)],
            id="other arguments are no placeholder",
        ),
        # custom beside function
        pytest.param(
            [
                call(
                    {
                        "index": 0,
                        "id": "c1",
                        "type": "custom",
                        "function": {"name": "", "arguments": ""},
                    }
                ),
                call({"index": 0, "custom": {"name": "sql", "input": "SELECT "}}),
                call({"index": 0, "function": {}, "custom": {"input": "1"}}),
            ],
            [
                {
                    "id": "c1",
                    "type": "custom",
                    "custom": {"name": "sql", "input": "SELECT 1"},
                }
            ],
            id="an empty function beside a custom",
        ),
        pytest.param(
            [call({**piece(0, "c1", "f", A), "custom": {"name": None, "input": ""}})],
            [made("c1", "f", A)],
            id="an empty custom beside a function",
        ),
        # indices of other types
        pytest.param(
            [call(piece("0", "c1", "f", '{"a"')), call(piece(0.0, arguments=":1}"))],
            [made("c1", "f", A)],
            id="digits and 0.0 are the index 0",
        ),
        pytest.param(
            [call(piece("x", "c1", "f", '{"a"')), call(piece(0.5, arguments=":1}"))],
            [made("c1", "f", A)],
            id="any other index is as if missing, and never surfaces",
        ),
        # empty values
        pytest.param(
            [
                call(piece(0, "c1", "f", A, caller="x", extra_content={"g": {"s": 1}})),
                call(piece(0, caller="", extra_content={"g": {}})),
            ],
            [made("c1", "f", A, caller="x", extra_content={"g": {"s": 1}})],
            id="empty values of a call erase nothing",
        ),
    ],
)
def test_tool_calls(stream: list[bytes], calls: Json) -> None:
    check([*stream, END], {"calls": calls, "ending": "complete", "n_malformed": 0})


SMALL: Final = 1000
LARGE: Final = 10 * SMALL


@pytest.mark.parametrize(
    ("begun", "each"),
    [
        pytest.param('{"a":"', piece(0, arguments="{}} {}}"), id="braces in a string"),
        pytest.param(
            '{"a":"', piece(0, name="g", arguments="{}} {}}"), id="another name"
        ),
        pytest.param(
            A + "}", piece(0, name="g", arguments="}}}}}}}}"), id="braces at the end"
        ),
        pytest.param(
            '{"a":"',
            piece(name="f", arguments='{"b":1}'),
            id="neither index nor id, each whole",
        ),
        pytest.param(
            A,
            piece(name="f", arguments='{"b":1'),
            id="neither index nor id, none whole",
        ),
    ],
)
def test_telling_calls_apart_takes_time_linear_in_the_pieces(
    begun: str, each: Json
) -> None:
    # The look at whole arguments must not read them anew with each piece.
    def cost(n: int) -> float:
        data = call(piece(0, MISSING, "f", begun)) + call(each) * n
        accumulator = Accumulator()
        start = time.process_time()
        accumulator.feed(data)
        accumulator.finish()
        return time.process_time() - start

    def least(n: int) -> float:
        return min(cost(n) for _ in range(3))

    assert least(LARGE) / least(SMALL) < 30


# --- Text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(
            [ROLE, b"data:\n\n", HELLO, b"data: \n\n", b"data\n\n", STOP, b"data:"],
            WHOLE,
            id="blank payloads",
        ),
        pytest.param(
            [b"data: \t \n\n", b"data:\ndata:\n\n"],
            {"completion": None, "ending": "empty", "n_malformed": 0},
            id="blank payloads alone",
        ),
        *(
            pytest.param(
                [
                    raw(
                        f'{{"choices":[{{"delta":{{"content":"Hel"}},"n":{number}}}]}}'
                    ),
                    say({"content": "lo"}, "stop"),
                ],
                {**WHOLE, "choice": {"n": MISSING}},
                id=f"{number} is null",
            )
            for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
        ),
        pytest.param(
            [
                say({"content": "Hello"}, "stop"),
                raw('{"choices":[],"usage":{"prompt_tokens":5,"cost":NaN}}'),
            ],
            {**WHOLE, "top": {"usage": {"prompt_tokens": 5, "cost": None}}},
            id="NaN in a usage is a null that is kept",
        ),
        pytest.param(
            [
                raw(
                    '{"choices":[{"delta":{"content":"Hello"},"finish_reason":"stop",'
                    '"logprobs":{"content":[{"token":"a","logprob":-Infinity}]}}]}'
                ),
            ],
            {
                **WHOLE,
                "choice": {
                    "logprobs": {"content": [{"token": "a", "logprob": None}]},
                },
            },
            id="-Infinity in logprobs is a null that is kept",
        ),
        pytest.param(
            [say({"content": "NaN -Infinity 1e999"}, "stop")],
            {"message": {"content": "NaN -Infinity 1e999"}},
            id="in a text they are text",
        ),
        pytest.param(
            [raw('{"choices":[{"delta":{"content":"x"},"n":NaN}'), ROLE, HELLO, STOP],
            {**WHOLE, "n_malformed": 1},
            id="NaN does not mend broken JSON",
        ),
        pytest.param(
            [raw('{"choices":[],"n":nan}'), raw('{"choices":[],"n":+1}'), HELLO, STOP],
            {**WHOLE, "n_malformed": 2},
            id="what only looks like such a number is broken JSON",
        ),
    ],
)
def test_payloads(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


# --- How it ended ---------------------------------------------------------------------

THINK: Final = say({"reasoning_content": "hm"})


@pytest.mark.parametrize(
    ("after", "ending"),
    [
        pytest.param(say({"content": "!"}), "truncated", id="content"),
        pytest.param(say({"content": 5}), "truncated", id="a number as content"),
        pytest.param(say({"refusal": "No"}), "truncated", id="a refusal"),
        pytest.param(THINK, "truncated", id="reasoning"),
        pytest.param(call(piece(0, "c1", "f", "{")), "truncated", id="a tool call"),
        pytest.param(say({"audio": {"data": "QUJD"}}), "truncated", id="audio"),
        pytest.param(say({"plan": "x"}), "truncated", id="an unknown key"),
        pytest.param(THINK + STOP, "complete", id="finished again"),
        pytest.param(say({"content": "!"}, "length"), "complete", id="with another"),
        pytest.param(STOP + THINK, "truncated", id="finished twice, then reopened"),
        pytest.param(THINK + DONE, "complete", id="reopened, then [DONE]"),
        pytest.param(say({}), "complete", id="an empty delta"),
        pytest.param(say(None), "complete", id="no delta"),
        pytest.param(say({"role": "assistant"}), "complete", id="a role"),
        pytest.param(ROLE, "complete", id="a role and empty text"),
        pytest.param(say({"content": None, "refusal": None}), "complete", id="nulls"),
        pytest.param(say({"tool_calls": []}), "complete", id="no calls"),
        pytest.param(say({"obfuscation": "x7Gq"}), "complete", id="padding"),
        pytest.param(say({}, None, stop_reason="x"), "complete", id="beside the delta"),
        pytest.param(top(usage=USAGE, note="n"), "complete", id="a usage"),
        pytest.param(say({"content": "!"}, index=1), "truncated", id="another choice"),
    ],
)
def test_what_reopens_a_choice(after: bytes, ending: str) -> None:
    check([ROLE, HELLO, STOP, after], {"ending": ending, "n_malformed": 0})


NOTHING: Final = {"completion": None, "n_malformed": 0, "error": None}
OTHERS: Final = {
    "messages": sent(type="message_start", message={"id": "m1", "content": []})
    + sent(type="content_block_delta", index=0, delta={"type": "text_delta"})
    + sent(type="message_stop"),
    "responses": sent(type="response.created", response={"id": "r1", "output": []})
    + sent(type="response.output_text.delta", item_id="i1", delta="Hello"),
    "cohere, with an id": sent(type="message-start", id="r1", delta={"message": {}}),
    "no key of ours": sent(step=1) + sent(step=2, text="Hello"),
}


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        *(
            pytest.param([data], {**NOTHING, "ending": "foreign"}, id=f"events: {name}")
            for name, data in OTHERS.items()
        ),
        *(
            pytest.param([body.encode()], {**NOTHING, "ending": "foreign"}, id=name)
            for name, body in {
                "a page": "<!DOCTYPE html>\n<html><body>502</body></html>\n",
                "plain text": "no healthy upstream",
                "a line of plain text": "Service Unavailable\n",
                "JSON that is neither": '{"detail":"Not Found"}',
                "a list": '[{"id":"c1"}]',
                "JSON lines": '{"choices":[]}\n{"choices":[]}\n',
                "a number": "502\n",
            }.items()
        ),
        *(
            pytest.param([body.encode()], {**NOTHING, "ending": "truncated"}, id=name)
            for name, body in {
                "cut after a brace": "{",
                "a completion cut": '{"object":"chat.completion","choices":[{"mess',
                "an error cut": '{"error":{"message":"over',
                "a list cut": '[{"index":0},',
                "cut after blank lines": '\n\n {"id":"c1",\n',
            }.items()
        ),
        pytest.param([b""], {**NOTHING, "ending": "empty"}, id="nothing"),
        pytest.param([b"\n\n \n"], {**NOTHING, "ending": "empty"}, id="white space"),
        pytest.param([b": ping\n\n"], {**NOTHING, "ending": "empty"}, id="comments"),
        pytest.param([DONE], {**NOTHING, "ending": "empty"}, id="[DONE] alone"),
        pytest.param(
            [raw("nope")], {"ending": "empty", "n_malformed": 1}, id="a broken payload"
        ),
        pytest.param(
            [OTHERS["messages"], ROLE, HELLO, STOP, DONE],
            WHOLE,
            id="events of another API before the chunks",
        ),
        pytest.param(
            [OTHERS["responses"], sent({**ENVELOPE, "choices": []})],
            {"ending": "empty", "top": {"id": "c1"}},
            id="events of another API and an envelope of ours",
        ),
        pytest.param(
            [OTHERS["messages"], sent(error="overloaded")],
            {"ending": "error", "error": "overloaded", "completion": None},
            id="events of another API and an error",
        ),
        pytest.param(
            [ROLE, sent(queue={"n": 3}), sent(type="status", load=7), HELLO, STOP],
            {**WHOLE, "top": {"queue": {"n": 3}, "load": MISSING, "type": MISSING}},
            id="strangers among the chunks are kept, another protocol is not",
        ),
    ],
)
def test_what_is_foreign_empty_or_cut(stream: list[bytes], expected: Row) -> None:
    check(stream, expected)


def test_a_foreign_body_has_an_error_of_its_own() -> None:
    for outcome in outcomes(b"<html></html>"):
        with pytest.raises(unstream.ForeignStream) as raised:
            outcome.unwrap()
        assert isinstance(raised.value, unstream.StreamError)
        assert raised.value.outcome is outcome


# --- Errors ---------------------------------------------------------------------------

OOPS: Final = {"message": "m", "code": 500}
PART: Final = ROLE + say({"content": "Hel"})


@pytest.mark.parametrize(
    ("said", "error"),
    [
        pytest.param(sent(error=OOPS), OOPS, id="an object"),
        pytest.param(sent(error="overloaded"), "overloaded", id="a string"),
        pytest.param(b"event: error\n" + sent(error=OOPS), OOPS, id="named"),
        pytest.param(b"event: error\n" + sent(OOPS), OOPS, id="named, bare"),
        pytest.param(
            b"event: error\n" + sent(message="see", error=OOPS),
            OOPS,
            id="named, with a message beside it",
        ),
        pytest.param(b'error: {"error":"x"}\n\n', "x", id="a field"),
        pytest.param(b'error: {"detail":"x"}\n\n', {"detail": "x"}, id="a bare field"),
        pytest.param(b"error: died\n\n", "died", id="a field of text"),
        pytest.param(b"event: error\ndata: died\n\n", "died", id="named text"),
        pytest.param(b'event: error\ndata: {"a":\n\n', '{"a":', id="named, broken"),
        pytest.param(b"event: error\ndata: [1]\n\n", [1], id="named, a list"),
        pytest.param(b"event: error\ndata: null\n\n", "", id="named, null"),
        pytest.param(sent(object="error", error=OOPS), OOPS, id="object is error"),
        pytest.param(
            sent(object="error", message="m"),
            {"object": "error", "message": "m"},
            id="object is error, bare",
        ),
        pytest.param(sent(x_groq={"error": "full"}), "full", id="inside x_groq"),
    ],
)
def test_an_error_is_the_value_of_error(said: bytes, error: Json) -> None:
    expected = {"ending": "error", "error": error, "n_malformed": 0}
    check([said], {**expected, "completion": None})
    check([PART, said], {**expected, "message": {"content": "Hel"}})
    check([PART, said, sent(error="later")], expected)
    check(
        [ROLE, HELLO, STOP, DONE, said], {**expected, "message": {"content": "Hello"}}
    )


@pytest.mark.parametrize("blank", [b"error:\n\n", b"error: \n\n", b"error\n\n"])
def test_an_empty_error_field_is_none(blank: bytes) -> None:
    check([ROLE, blank, HELLO, STOP, DONE], {**WHOLE, "error": None})


def test_done_is_no_error_whatever_its_name() -> None:
    check(
        [ROLE, HELLO, b"event: error\n" + DONE],
        {"ending": "complete", "done": True, "error": None, "n_malformed": 0},
    )


@pytest.mark.parametrize(
    ("beside", "completion"),
    [
        pytest.param(
            {"status_code": 500, "note": "n", "provider": "P"}, None, id="none"
        ),
        pytest.param({"id": "c1"}, {"id": "c1", "created": 0, "model": ""}, id="id"),
        pytest.param({"model": "m-1"}, {"id": "", "model": "m-1"}, id="model"),
        pytest.param(
            {"created": 7, "x": 1}, {"created": 7, "x": MISSING}, id="created"
        ),
        pytest.param({"usage": USAGE}, {"usage": USAGE, "choices": []}, id="usage"),
        pytest.param(
            {"id": "c1", "service_tier": "flex", "system_fingerprint": "fp", "x": 1},
            {
                "id": "c1",
                "service_tier": MISSING,
                "system_fingerprint": MISSING,
                "x": MISSING,
                "error": MISSING,
            },
            id="nothing else",
        ),
    ],
)
def test_what_an_error_without_choices_adds(beside: Row, completion: Json) -> None:
    expected: Row = {"ending": "error", "error": OOPS, "n_malformed": 0}
    expected |= {"completion": None} if completion is None else {"top": completion}
    check([sent(error=OOPS, **beside)], expected)


def test_an_error_beside_choices_keeps_what_stands_beside_it() -> None:
    choices = [{"index": 0, "delta": {"content": "Hel"}, "finish_reason": "error"}]
    check(
        [sent(choices=choices, error=OOPS, provider="P", note="n")],
        {
            "ending": "error",
            "error": OOPS,
            "message": {"content": "Hel"},
            "top": {"provider": "P", "note": "n", "error": MISSING},
        },
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            [PART[:-1], b"event: error\n", sent(error=OOPS)],
            {"error": OOPS, "message": {"content": "Hel"}, "done": False},
            id="the error is unwrapped",
        ),
        pytest.param(
            [PART[:-1], b"event: error\n", sent(OOPS)[:-1], DONE],
            {
                "error": OOPS,
                "message": {"content": "Hel"},
                "top": {"message": MISSING, "code": MISSING},
                "done": True,
            },
            id="a bare one has the name",
        ),
        pytest.param(
            [b"event: error\n", sent(OOPS)[:-1], PART[:-1], DONE],
            {"error": OOPS, "message": {"content": "Hel"}, "done": True},
            id="the name comes first",
        ),
    ],
)
def test_a_name_among_events_run_together(lines: list[bytes], expected: Row) -> None:
    check(lines, {**expected, "ending": "error", "n_malformed": 0})


# --- Outcome.calls --------------------------------------------------------------------


def deep(n: int) -> str:
    """Write an object of which one value is nested n levels deep."""
    return '{"a":' + "[" * n + "]" * n + "}"


def only_call(*stream: bytes) -> Iterator[Any]:
    for outcome in outcomes(*stream):
        [one] = outcome.calls
        yield one


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        pytest.param("{}", "whole", id="an empty object"),
        pytest.param(A, "whole", id="an object"),
        pytest.param(' \t\r\n{ "a" : [1, {"b": null}] }\n ', "whole", id="white space"),
        pytest.param('{"a":1,"a":2}', "whole", id="a key twice"),
        pytest.param('{"":"}{"}', "whole", id="braces in a string"),
        pytest.param(r'{"a":"\"}\\"}', "whole", id="escapes"),
        pytest.param(r'{"a":"\ud83d\ude00"}', "whole", id="a surrogate pair"),
        pytest.param(r'{"a":"\ud83d"}', "whole", id="half a surrogate pair, escaped"),
        pytest.param('{"a":"\ud83d"}', "whole", id="half a surrogate pair"),
        pytest.param('{"é":"日本 😀"}', "whole", id="characters of many bytes"),
        pytest.param(deep(100), "whole", id="nested"),
        pytest.param("", "empty", id="nothing"),
        pytest.param(" \n\t", "empty", id="white space alone"),
        *(
            pytest.param(text, "cut", id=f"cut: {text}")
            for text in (
                "{",
                ' {"',
                '{"a',
                '{"a"',
                '{"a":',
                '{"a":1',
                '{"a":-',
                '{"a":1.',
                '{"a":1e',
                '{"a":tr',
                '{"a":"lo',
                '{"a":"\\',
                '{"a":"\\u00',
                '{"a":[1,',
                '{"a":1,',
                '{"a":{"b":1}',
                '{"a":"}"',
            )
        ),
        *(
            pytest.param(text, "several", id=f"several: {text}")
            for text in (
                A + B,
                f"{A} {B}",
                f"{A}\n{B}\n",
                A + A + A,
                "{ }{ }",
                A + "{}",
            )
        ),
        *(
            pytest.param(text, "malformed", id=f"malformed: {text}")
            for text in (
                "[1]",
                "[]",
                "5",
                "true",
                "null",
                '"x"',
                "x",
                "}",
                "{a:1}",
                "{'a':1}",
                '{"a":1,}',
                '{"a" 1}',
                '{"a":01}',
                '{"a":+1}',
                '{"a":.5}',
                '{"a":NaN}',
                '{"a":-Infinity}',
                '{"a":"\n"}',
                '{"a":"\\x"}',
                '{"a":1]',
                f"{A} x",
                f"{A},",
                f"{A}}}",
                f"x{A}",
                f"```json\n{A}\n```",
                "{}extra",
            )
        ),
        pytest.param(deep(100_000), "malformed", id="nested beyond reason"),
    ],
)
@pytest.mark.parametrize("finish", ["tool_calls", None])
def test_the_verdict_on_arguments(text: str, verdict: str, finish: Json) -> None:
    begin, rest = text[: len(text) // 2], text[len(text) // 2 :]
    stream = call(piece(0, "c1", "f", begin)) + call(piece(0, arguments=rest))
    for one in only_call(stream, say({}, finish), DONE):
        assert one.arguments == verdict
        assert one.runnable is (verdict in {"whole", "empty"} and finish is not None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (' {"a": [1, 2.5, null, true]}\n', {"a": [1, 2.5, None, True]}),
        ('{"a":1,"a":2}', {"a": 2}),
        (r'{"a":"\ud83d\ude00"}', {"a": "😀"}),
        (r'{"a":"\ud83d"}', {"a": "\ufffd"}),
    ],
)
def test_the_value_of_whole_arguments(text: str, value: Json) -> None:
    for one in only_call(call(piece(0, "c1", "f", text)), END):
        assert strict(one.value) == strict(value)


@pytest.mark.parametrize(
    ("after", "runnable"),
    [
        pytest.param(say({}, "tool_calls") + DONE, True, id="tool_calls"),
        pytest.param(say({}, "stop") + DONE, True, id="stop"),
        pytest.param(say({}, "tool_calls"), True, id="finished without [DONE]"),
        pytest.param(say({}, "length") + DONE, False, id="length"),
        pytest.param(say({}, "content_filter") + DONE, False, id="content_filter"),
        pytest.param(say({}, "") + DONE, False, id="no finish_reason"),
        pytest.param(DONE, False, id="[DONE] alone"),
        pytest.param(b"", False, id="the input stops"),
        pytest.param(STOP + say({"content": "x"}), False, id="reopened"),
        pytest.param(
            say({}, "tool_calls") + call(piece(0, arguments=" ")),
            False,
            id="reopened by itself",
        ),
        pytest.param(STOP + say({"content": "x"}, "stop"), True, id="finished again"),
        pytest.param(
            STOP + say({"content": "x"}, index=1), True, id="another choice unfinished"
        ),
        pytest.param(
            say({}, "tool_calls") + say({}, "length"),
            False,
            id="the last finish_reason",
        ),
        pytest.param(
            say({}, "tool_calls") + say({}, "stop"), True, id="stop after tool_calls"
        ),
    ],
)
@pytest.mark.parametrize("text", [A, ""])
def test_what_makes_a_call_runnable(text: str, after: bytes, runnable: bool) -> None:  # noqa: FBT001 - a row
    for one in only_call(call(piece(0, "c1", "f", text)), after):
        assert one.runnable is runnable


@pytest.mark.parametrize(
    ("after", "verdict", "runnable"),
    [
        pytest.param(say({}, "tool_calls"), "whole", True, id="finished"),
        pytest.param(say({}, "length"), "whole", False, id="length"),
        pytest.param(b"", "cut", False, id="the input stops"),
        pytest.param(DONE, "cut", False, id="no finish_reason"),
        pytest.param(STOP + say({"content": "x"}), "cut", False, id="reopened"),
    ],
)
def test_the_input_of_a_custom_tool_is_free_text(
    after: bytes,
    verdict: str,
    runnable: bool,  # noqa: FBT001 - a row
) -> None:
    custom = {"name": "sql", "input": 'SELECT "{'}
    for one in only_call(call({"index": 0, "id": "c1", "custom": custom}), after):
        assert (one.id, one.name, one.arguments) == ("c1", "sql", verdict)
        assert one.runnable is runnable


def place(one: Any) -> tuple[int, int, str, str, str, bool]:
    return one.choice, one.position, one.id, one.name, one.arguments, one.runnable


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param([ROLE, HELLO, STOP, DONE], [], id="no call"),
        pytest.param([DONE], [], id="nothing"),
        pytest.param([b"<html></html>"], [], id="a page"),
        pytest.param(
            [
                call(piece(1, "c2", "g", '{"b":')),
                call(piece(0, "c1", "f", A), finish="tool_calls"),
            ],
            [(0, 0, "c1", "f", "whole", True), (0, 1, "c2", "g", "cut", False)],
            id="in the order of the completion",
        ),
        pytest.param(
            [
                say({"tool_calls": [piece(0, "c2", "g", "")]}, "tool_calls", index=3),
                say({"tool_calls": [piece(4, "c1", "f", A)]}, None, index=1),
                DONE,
            ],
            [(1, 0, "c1", "f", "whole", False), (3, 0, "c2", "g", "empty", True)],
            id="choices by index, positions within each",
        ),
        pytest.param(
            [call(piece(0, arguments=A), finish="stop")],
            [(0, 0, "", "", "whole", True)],
            id="neither id nor name",
        ),
        pytest.param(
            [
                json.dumps(
                    {
                        "object": "chat.completion",
                        "choices": [
                            {
                                "index": 0,
                                "message": {
                                    "role": "assistant",
                                    "tool_calls": [
                                        made("c1", "f", A),
                                        made("c2", "g", "nope"),
                                    ],
                                },
                                "finish_reason": "tool_calls",
                            }
                        ],
                    }
                ).encode()
            ],
            [(0, 0, "c1", "f", "whole", True), (0, 1, "c2", "g", "malformed", False)],
            id="a body that was never streamed",
        ),
    ],
)
def test_calls_stand_as_in_the_completion(stream: list[bytes], expected: Json) -> None:
    for outcome in outcomes(*stream):
        assert [place(one) for one in outcome.calls] == expected


# --- Outcome.notes --------------------------------------------------------------------

# A stream of which there is nothing to note, in parts to be changed.
BILL: Final = top(usage=USAGE)
FINE: Final = {"begin": ROLE, "say": HELLO, "stop": STOP, "bill": BILL, "done": DONE}
ONE: Final = call(piece(0, "c1", "f", A))


def fine(**parts: bytes) -> bytes:
    return b"".join({**FINE, **parts}.values())


def renamed(event: bytes, identity: str) -> bytes:
    return event.replace(
        b'"id": "c1", "object"', b'"id": "%b", "object"' % identity.encode()
    )


NOTED: Final[dict[str, tuple[bytes, dict[str, int]]]] = {
    "nothing to note": (fine(), {}),
    "calls, nothing to note": (fine(say=ONE), {}),
    "comments and blank payloads": (fine(bill=b": ping\n\ndata:\n\n" + BILL), {}),
    "a name in fragments": (
        fine(say=call(piece(0, "c1", "get_")) + call(piece(0, name="time"))),
        {},
    ),
    "a name repeated": (fine(say=ONE + call(piece(0, name="f"))), {}),
    "a surrogate pair cut in two": (
        fine(say=say({"content": "\ud83d"}) + say({"content": "\ude00"})),
        {},
    ),
    "an empty id first": (renamed(ROLE, "") + fine(), {}),
    "another id": (fine(stop=renamed(STOP, "c2")), {"id_changed": 1}),
    "a choice after [DONE]": (
        fine() + say({"content": "late"}),
        {"data_after_done": 1},
    ),
    "a usage after [DONE]": (
        fine(bill=b"") + BILL,
        {"data_after_done": 1},
    ),
    "a broken payload": (fine(bill=raw("nope") + BILL), {"malformed": 1}),
    "broken payloads": (fine(bill=raw("{") + raw("5") + BILL), {"malformed": 2}),
    "no [DONE]": (fine(done=b""), {"no_done": 1}),
    "no finish_reason": (fine(stop=b""), {"finish_missing": 1}),
    "one of two without finish_reason": (
        fine(say=HELLO + say({"role": "assistant", "content": "x"}, index=1)),
        {"finish_missing": 1},
    ),
    "two without finish_reason": (
        fine(say=say({"role": "assistant", "content": "x"}, index=1), stop=b""),
        {"finish_missing": 2},
    ),
    "no usage": (fine(bill=b""), {"usage_missing": 1}),
    "an empty usage": (fine(bill=top(usage={})), {"usage_missing": 1}),
    "a usage in the choice": (fine(stop=say({}, "stop", usage=USAGE), bill=b""), {}),
    "a usage in x_groq": (fine(bill=top(x_groq={"usage": USAGE})), {}),
    "another name inside the arguments": (
        fine(
            say=call(piece(0, "c1", "f", '{"a"'))
            + call(piece(0, name="g", arguments=":1}"))
        ),
        {"name_changed": 1},
    ),
    "an index used again": (
        fine(say=ONE + call(piece(0, "c2", "g", B))),
        {"index_reused": 1},
    ),
    "two JSON texts in one call": (
        fine(say=ONE + call(piece(0, arguments=B))),
        {"arguments_several": 1},
    ),
    "two such calls": (
        fine(say=call(piece(0, "c1", "f", A + B), piece(1, "c2", "f", A + B))),
        {"arguments_several": 2},
    ),
    "a placeholder": (
        fine(say=call(piece(0, "c1", "f", "{}")) + call(piece(0, arguments=A))),
        {},
    ),
    "no role": (fine(begin=b""), {"role_missing": 1}),
    "one of two without a role": (
        fine(say=HELLO + say({"content": "x"}, "stop", index=1)),
        {"role_missing": 1},
    ),
    "a ping": (fine(bill=sent(type="ping") + BILL), {"foreign_events": 1}),
    "three events of another API": (
        fine(bill=OTHERS["messages"] + BILL),
        {"foreign_events": 3},
    ),
    "half a surrogate pair": (
        fine(say=say({"content": "a\ud83d"})),
        {"lone_surrogate": 1},
    ),
    "a byte that is no UTF-8": (
        fine(say=say({"content": "a?b"}).replace(b"?", b"\xff")),
        {"invalid_utf8": 1},
    ),
    "two things at once": (
        fine(begin=b"", done=b""),
        {"role_missing": 1, "no_done": 1},
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_is_noted(name: str) -> None:
    stream, expected = NOTED[name]
    for outcome in outcomes(stream):
        assert isinstance(outcome.notes, tuple)
        assert sorted((note.code, note.count) for note in outcome.notes) == sorted(
            expected.items()
        )
        for note in outcome.notes:
            assert 0 <= note.event <= outcome.n_events


def codes(outcome: Outcome[Any]) -> set[str]:
    return {note.code for note in outcome.notes}


def test_bytes_without_any_line_end_are_noted() -> None:
    # As `iter_lines()` gives them: the line ends are gone, and with them the events.
    lines = [line for line in fine().split(b"\n") if line]
    for outcome in outcomes(*lines):
        assert "no_line_ends" in codes(outcome)
        assert outcome.completion is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"object":"chat.completion","choices":[],"usage":{"a":1}}',
        b'{"error":"overloaded"}',
        fine().rstrip(b"\n"),
        fine().replace(b"\n", b"\r"),
        b"",
    ],
    ids=["a completion", "an error", "no last line end", "CR", "nothing"],
)
def test_what_has_no_line_ends_to_lose_is_not_noted(body: bytes) -> None:
    for outcome in outcomes(body):
        assert "no_line_ends" not in codes(outcome)


def test_a_whole_body_lacks_no_done() -> None:
    body = {
        "id": "c1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }
    for outcome in outcomes(json.dumps(body).encode()):
        assert outcome.notes == ()
