"""Tool calls: which call a piece belongs to, on whatever road it comes."""

from itertools import product
from typing import Any

import pytest

from tests.strategies import (
    Json,
    chunk,
    fold_plainly,
    fold_reads,
    folded,
    message_of,
    outcome_of,
    stream,
)
from unstream import Accumulator, Ending, Limits


def calls_of(*sent: Json) -> list[dict[str, Json]]:
    """Fold pieces, one a chunk, or a list of pieces as one chunk."""
    calls: list[dict[str, Json]] = message_of(
        *({"tool_calls": one if isinstance(one, list) else [one]} for one in sent)
    ).get("tool_calls", [])
    return calls


def piece(
    index: Json = ...,
    identity: Json = ...,
    name: Json = ...,
    arguments: Json = ...,
) -> dict[str, Json]:
    function = {"name": name, "arguments": arguments}
    function = {key: value for key, value in function.items() if value is not ...}
    sent = {"index": index, "id": identity, "function": function or ...}
    return {key: value for key, value in sent.items() if value is not ...}


def call(identity: str, name: str, arguments: str) -> dict[str, Json]:
    function = {"name": name, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


ONE = call("c1", "find", '{"a":1}')
TWO = call("c2", "weather", '{"b":2}')


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(
            [
                piece(0, "c1", "find", ""),
                piece(0, arguments='{"a"'),
                piece(0, arguments=":1}"),
            ],
            [ONE],
            id="as OpenAI does",
        ),
        pytest.param(
            [
                piece(0, "c1", "find", ""),
                piece(1, "c2", "weather", ""),
                piece(1, arguments='{"b":2}'),
                piece(0, arguments='{"a":1}'),
            ],
            [ONE, TWO],
            id="interleaved",
        ),
        pytest.param(
            [[piece(0, "c1", "find", '{"a":1}'), piece(1, "c2", "weather", '{"b":2}')]],
            [ONE, TWO],
            id="whole calls in one chunk",
        ),
        pytest.param(
            [
                piece(3, "c1", "find", '{"a"'),
                piece(1, "c2", "weather", '{"b":2}'),
                piece(3, arguments=":1}"),
            ],
            [TWO, ONE],
            id="by index where each has one",
        ),
        pytest.param(
            [
                piece(3, "c1", "find", '{"a"'),
                piece(identity="c2", name="weather", arguments='{"b":2}'),
                piece(1, "c3", "x", "5"),
                piece(3, arguments=":1}"),
            ],
            [ONE, TWO, call("c3", "x", "5")],
            id="in order of appearance where one has no index",
        ),
        pytest.param(
            [piece(-1, "c1", "find", '{"a"'), piece(-1, arguments=":1}")],
            [ONE],
            id="index -1",
        ),
        pytest.param(
            [
                piece(0, "c1", "find", '{"a"'),
                piece(0, arguments=":1}"),
                piece(0, "c2", "weather", '{"b"'),
                piece(0, arguments=":2}"),
            ],
            [ONE, TWO],
            id="an index used again with a new id and name",
        ),
        pytest.param(
            [
                piece(0, "c1", "find", '{"a"'),
                piece(0, "c2", "weather", '{"b"'),
                piece(0, "c1", "find", ":1}"),
                piece(0, "c2", arguments=":2}"),
            ],
            [ONE, TWO],
            id="calls that take turns at one index",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, "c9", arguments=":1}")],
            [ONE],
            id="a new id without a name is no new call",
        ),
        pytest.param(
            [piece(0, name="find", arguments='{"a"'), piece(0, "c1", "find", ":1}")],
            [ONE],
            id="an id that comes late",
        ),
        pytest.param(
            [
                piece(identity="c1", name="find", arguments='{"a"'),
                piece(arguments=":1}"),
                piece(identity="c2", name="weather", arguments='{"b"'),
                piece(arguments=":2}"),
            ],
            [ONE, TWO],
            id="without index, by the newest",
        ),
        pytest.param(
            [
                piece(None, "c1", "find", '{"a"'),
                piece(None, "c2", "weather", '{"b":2}'),
                piece(None, "c1", arguments=":1}"),
            ],
            [ONE, TWO],
            id="without index, by id",
        ),
        pytest.param(
            [
                piece(0, "c1", "find", '{"a"'),
                piece(1, "c2", "weather", '{"b"'),
                piece(identity="c1", arguments=":1}"),
                piece(identity="c2", arguments=":2}"),
            ],
            [ONE, TWO],
            id="an id finds a call that had an index",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, "", "", ":1}")],
            [ONE],
            id="empty id and name",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, None, None, ":1}")],
            [ONE],
            id="null id and name",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, "null", "null", ":1}")],
            [ONE],
            id="the word null for id and name",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, "c1", "find", ":1}")],
            [ONE],
            id="id and name repeated",
        ),
        pytest.param(
            [piece("0", "c1", "find", '{"a"'), piece(0.0, arguments=":1}")],
            [ONE],
            id="index as text and as a float",
        ),
        pytest.param(
            [
                piece(0, "c1", "find", {"a": 1}),
                piece(1, "c2", "weather", ""),
                piece(1, arguments={"b": 2}),
            ],
            [ONE, TWO],
            id="arguments as an object",
        ),
        pytest.param(
            [piece(0, "c1", "find", None), piece(0, arguments='{"a":1}')],
            [ONE],
            id="arguments null",
        ),
        pytest.param(
            [piece(0, "c1", "find")], [call("c1", "find", "")], id="no arguments"
        ),
        pytest.param(
            [piece(0, arguments="{}")], [call("", "", "{}")], id="arguments alone"
        ),
        pytest.param([{"index": 0}], [], id="an index alone opens no call"),
        pytest.param([{}, {"id": None}], [], id="nothing set is no call"),
        pytest.param(
            [piece(0, 7, "find", '{"a":1}')], [call("7", "find", '{"a":1}')], id="id 7"
        ),
        pytest.param(
            [
                piece(10**9, "c1", "find", '{"a"'),
                piece(10**30, "c2", "weather", '{"b":2}'),
                piece(10**9, arguments=":1}"),
            ],
            [ONE, TWO],
            id="huge indexes",
        ),
        pytest.param(
            [
                piece(0, "c1", "fi", ""),
                piece(0, name="nd", arguments=""),
                piece(0, arguments='{"a":1}'),
            ],
            [ONE],
            id="a name in fragments",
        ),
        pytest.param(
            [
                piece(0, "c1", "fi"),
                piece(0, name="nd"),
                piece(0, name="find"),
                piece(0, arguments='{"a":1}'),
            ],
            [ONE],
            id="a name in fragments, then whole",
        ),
        pytest.param(
            [piece(0, "c1", "find", '{"a"'), piece(0, name="other", arguments=":1}")],
            [ONE],
            id="a later name after the arguments began",
        ),
    ],
)
def test_pieces_find_their_call(sent: list[Json], expected: list[Json]) -> None:
    assert calls_of(*sent) == expected


def test_equal_fragments_of_a_name_are_repetitions_of_the_whole_only() -> None:
    sent = [piece(0, "c1", "a"), piece(0, name="b"), piece(0, name="a")]
    assert calls_of(*sent)[0]["function"]["name"] == "aba"


def test_a_call_is_found_by_its_first_id() -> None:
    sent = [
        piece(0, "c1", "find", '{"a"'),
        piece(0, "c9", arguments=""),
        piece(identity="c1", arguments=":1}"),
    ]
    assert calls_of(*sent) == [ONE]


def test_calls_of_two_choices_are_apart() -> None:
    def of(index: int, one: Json) -> Json:
        return chunk({"tool_calls": [one]}, index=index)

    choices = folded(
        of(0, piece(0, "c1", "find", '{"a"')),
        of(1, piece(0, "c2", "weather", '{"b"')),
        of(0, piece(0, arguments=":1}")),
        of(1, piece(0, arguments=":2}")),
    )["choices"]
    assert [choice["message"]["tool_calls"] for choice in choices] == [[ONE], [TWO]]


# --- Custom calls and the rest of a call ----------------------------------------------


def test_custom_calls_have_an_input() -> None:
    sent = [
        {
            "index": 0,
            "id": "c1",
            "type": "custom",
            "custom": {"name": "sh", "input": ""},
        },
        {"index": 0, "custom": {"input": "ls "}},
        {"index": 0, "custom": {"input": "-l"}},
    ]
    custom = {"name": "sh", "input": "ls -l"}
    assert calls_of(*sent) == [{"id": "c1", "type": "custom", "custom": custom}]


def test_the_type_follows_the_body_where_none_came() -> None:
    assert calls_of({"index": 0, "custom": {"name": "sh"}})[0]["type"] == "custom"
    assert calls_of({"index": 0, "function": {"name": "f"}})[0]["type"] == "function"
    assert calls_of({"index": 0, "id": "c", "type": "custom"}) == [
        {"id": "c", "type": "custom", "custom": {"name": "", "input": ""}}
    ]


def test_the_first_type_counts() -> None:
    sent = [
        {"index": 0, "id": "c", "type": ""},
        {"index": 0, "type": "x"},
        {"index": 0, "type": "y"},
    ]
    assert calls_of(*sent)[0]["type"] == "x"


def test_extra_content_is_merged_and_strangers_are_kept() -> None:
    sent = [
        {
            **piece(0, "c1", "find", ""),
            "extra_content": {"google": {"thought_signature": "s"}},
            "x": 1,
        },
        {"index": 0, "extra_content": {"google": {"n": 1}}, "x": 2, "y": None},
        {"index": 0, "function": {"arguments": "{}", "z": [1], "obfuscation": "pad"}},
        {"index": 0, "obfuscation": "pad"},
    ]
    assert calls_of(*sent) == [
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "find", "arguments": "{}", "z": [1]},
            "extra_content": {"google": {"thought_signature": "s", "n": 1}},
            "x": 2,
        }
    ]


def test_signature_only_pieces_belong_to_their_call() -> None:
    """Gemini sends the thought signature in a piece of its own."""
    sent = [piece(0, "c1", "find", '{"a":1}'), {"index": 0, "extra_content": {"s": 1}}]
    assert calls_of(*sent) == [{**ONE, "extra_content": {"s": 1}}]


def test_an_empty_list_of_calls_is_no_key() -> None:
    assert "tool_calls" not in message_of({"tool_calls": []}, {"tool_calls": None})


@pytest.mark.parametrize("odd", ["x", 5, True, [None, 5, "x"], {}, [[]], 1.5])
def test_odd_lists_of_calls_break_nothing(odd: Any) -> None:
    sent = [{"tool_calls": odd}, {"tool_calls": [piece(0, "c1", "find", '{"a":1}')]}]
    assert message_of(*sent)["tool_calls"] == [ONE]


@pytest.mark.parametrize(
    "odd",
    [
        {"index": 0, "function": "x"},
        {"index": 0, "function": [1]},
        {"index": 0, "custom": 5},
        {"index": 0, "type": 5},
        {"index": 0, "id": {"a": 1}},
        {"index": 0, "extra_content": "s"},
        {"index": 0, "function": {"name": 5, "arguments": None}},
    ],
)
def test_odd_values_inside_a_call_break_nothing(odd: Json) -> None:
    found = calls_of(odd, piece(0, "c1", "find", '{"a":1}'), odd)
    [only] = found
    assert {key: only[key] for key in ("id", "type", "function")} == ONE


# --- Limits ---------------------------------------------------------------------------


def test_calls_over_the_limit_are_left_out_and_the_rest_counts() -> None:
    sent = [
        chunk({"tool_calls": [one]})
        for one in (
            piece(0, "c1", "find", '{"a"'),
            piece(1, "c2", "weather", "{}"),
            piece(1, arguments="lost"),
            piece(identity="c3", name="lost", arguments="lost"),
            piece(arguments="lost"),
            piece(0, arguments=":1}"),
        )
    ]
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    outcome = outcome_of(*sent, usage, limits=Limits(tool_calls=1))
    assert outcome.ending is Ending.LIMIT
    assert outcome.limit == "tool_calls"
    assert outcome.completion is not None
    plain = outcome.completion.to_dict()
    assert plain["choices"][0]["message"]["tool_calls"] == [ONE]
    assert plain["usage"] == {"total_tokens": 3}


def test_a_hundred_thousand_calls_hit_the_limit() -> None:
    accumulator = Accumulator()
    for i in range(100):
        calls = [piece(i * 1000 + j, f"c{i * 1000 + j}", "f") for j in range(1000)]
        accumulator.feed(stream(chunk({"tool_calls": calls})))
    outcome = accumulator.finish()
    assert outcome.limit == "tool_calls"
    assert outcome.completion is not None
    assert len(outcome.completion.choices[0].message.tool_calls or ()) == 4096


@pytest.mark.parametrize("pieces", [*product(["{", "}", "{}", '{"', "a"], repeat=3)])
def test_a_placeholder_gives_way_on_every_road(pieces: tuple[str, ...]) -> None:
    """An empty object is replaced by what follows, however its braces came."""
    start = {"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}
    more = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    for last in range(3):
        sent = [start, *more[:last], *(more[last],) * 16, *more[last + 1 :]]
        body = stream(*(chunk({"tool_calls": [each]}) for each in sent))
        plain = repr(fold_plainly(body))
        assert repr(fold_reads([body])) == plain
        assert repr(fold_reads([body], fast=False)) == plain
