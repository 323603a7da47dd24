"""The contract of Gemini's streams, row by row, and what is said of them."""

import asyncio
import json
from typing import Any, Final

import pytest

import unstream
from tests.gemini.streams import as_array, as_events, encode, fold
from unstream import Arguments, Call, Ending, Limits, TruncatedStream, gemini
from unstream.gemini import PROTOCOL, GenerateContentResponse

Json = Any
STOP: Final = {"finishReason": "STOP"}


def response(*parts: Json, **more: Json) -> Json:
    """Return a response of one candidate."""
    return {"candidates": [{"content": {"parts": [*parts]}, **more}]}


def folded(*payloads: Json) -> Json:
    """Return what payloads fold to, in either form."""
    outcome = fold([as_events(payloads)])
    again = fold([as_array(payloads)])
    assert repr(again.completion) == repr(outcome.completion)
    assert (again.ending, again.error) == (outcome.ending, outcome.error)
    return None if outcome.completion is None else outcome.completion.to_dict()


def parts(*sent: Json) -> Json:
    """Return what parts, one an event, fold to."""
    [candidate] = folded(*map(response, sent))["candidates"]
    return candidate["content"].get("parts")


def candidate(*sent: Json) -> Json:
    """Return what candidates of one index fold to."""
    [found] = folded(*({"candidates": [each]} for each in sent))["candidates"]
    return found


# --- Parts ----------------------------------------------------------------------------


def t(text: Json, **more: Json) -> Json:
    return {"text": text, **more}


S1: Final = {"thoughtSignature": "UzE="}
S2: Final = {"thoughtSignature": "UzI="}
THOUGHT: Final = {"thought": True}
CODE: Final = {"executableCode": {"code": "1"}}

PARTS: Final[dict[str, tuple[list[Json], list[Json] | None]]] = {
    "texts": ([t("a"), t("b")], [t("ab")]),
    "nothing": ([t("")], None),
    "an empty thought": ([t("", **THOUGHT)], None),
    "nothing between": ([t("a"), t(""), t("b")], [t("ab")]),
    "thought false is absent": ([t("a"), t("b", thought=False)], [t("ab")]),
    "thought null is absent": ([t("a"), t("b", thought=None)], [t("ab")]),
    "thoughts": (
        [t("a", **THOUGHT), t("b", **THOUGHT), t("c"), t("d", **THOUGHT)],
        [t("ab", **THOUGHT), t("c"), t("d", **THOUGHT)],
    ),
    "one signature twice": ([t("a", **S1), t("b", **S1)], [t("ab", **S1)]),
    "a signature on the second": ([t("a"), t("b", **S1)], [t("ab", **S1)]),
    "two signatures, one empty text": (
        [t("a", **S1), t("", **S2), t("b")],
        [t("a", **S1), t("b", **S2)],
    ),
    "an empty signature is none": (
        [t("a", thoughtSignature=""), t("b", **S1)],
        [t("ab", **S1)],
    ),
    "a signed nothing behind a thought": (
        [t("a", **THOUGHT), t("", **S1)],
        [t("a", **THOUGHT), t("", **S1)],
    ),
    "a signed nothing first": ([t("", **S1), t("a")], [t("a", **S1)]),
    "signatures do not pass over parts": (
        [t("a"), CODE, t("", **S1)],
        [t("a"), CODE, t("", **S1)],
    ),
    "an unknown key": ([t("a", x=1), t("b"), t("c")], [t("a", x=1), t("bc")]),
    "a null is a key": ([t("a", x=None), t("b")], [t("a", x=None), t("b")]),
    "a text that is none": ([t(5), t("a"), t(None)], [t(5), t("a"), t(None)]),
    "a signature that is none": (
        [t("a", thoughtSignature=5), t("b")],
        [t("a", thoughtSignature=5), t("b")],
    ),
    "an empty part": ([{}, t("a")], [{}, t("a")]),
    "no parts": ([5, None, "a", [t("a")], t("b")], [t("b")]),
    "equal calls": (
        [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}],
        [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}],
    ),
    "a call that is none": ([{"functionCall": "f"}], [{"functionCall": "f"}]),
    "a call without a name": (
        [{"functionCall": {"args": ":"}}, {"functionCall": {"args": ":"}}],
        [{"functionCall": {"args": ":"}}, {"functionCall": {"args": ":"}}],
    ),
    "the end of nothing": ([{"functionCall": {}}, t("a")], [t("a")]),
    "the end of nothing, signed": (
        [{"functionCall": {}, **S1}],
        [{"functionCall": {}, **S1}],
    ),
    "a call that says that it is whole": (
        [{"functionCall": {"name": "f", "willContinue": False}}],
        [{"functionCall": {"name": "f", "willContinue": False}}],
    ),
}


@pytest.mark.parametrize("row", PARTS)
def test_parts(row: str) -> None:
    sent, expected = PARTS[row]
    assert parts(*sent) == expected


# --- Calls in pieces ------------------------------------------------------------------


def call(name: str = "", **more: Json) -> Json:
    return {"functionCall": {**({"name": name} if name else {}), **more}}


def piece(path: Json, **value: Json) -> Json:
    return {"jsonPath": path, **value}


GO: Final[dict[str, Json]] = {"willContinue": True}

PIECES: Final[dict[str, tuple[list[Json], Json]]] = {
    "a string": (
        [piece("$.a", stringValue="x"), piece("$.a", stringValue="y")],
        {"a": "xy"},
    ),
    "many strings": ([piece("$.a", stringValue=x) for x in "abcd"], {"a": "abcd"}),
    "an empty string": ([piece("$.a", stringValue="")], {"a": ""}),
    "others": (
        [
            piece("$.a", numberValue=1.5),
            piece("$.b", boolValue=False),
            piece("$.c", nullValue=None),
            piece("$.d", nullValue="NULL_VALUE"),
        ],
        {"a": 1.5, "b": False, "c": None, "d": None},
    ),
    "the last number": (
        [piece("$.a", numberValue=1), piece("$.a", numberValue=2)],
        {"a": 2},
    ),
    "a string over a number": (
        [piece("$.a", numberValue=1), piece("$.a", stringValue="x")],
        {"a": "x"},
    ),
    "deep": (
        [piece("$.a[0][0].b['c d'].e", numberValue=1)],
        {"a": [[{"b": {"c d": {"e": 1}}}]]},
    ),
    "quoted names": (
        [
            piece("$['a.b']", numberValue=1),
            piece('$["it\'s"]["\\"\\\\"]', numberValue=2),
        ],
        {"a.b": 1, "it's": {'"\\': 2}},
    ),
    "an escaped quote": ([piece("$['it\\'s']", numberValue=1)], {"it's": 1}),
    "a list": ([piece(f"$.a[{n}]", numberValue=n) for n in range(3)], {"a": [0, 1, 2]}),
    "a string in a list": (
        [piece("$.a[0]", stringValue="x"), piece("$.a[0]", stringValue="y")],
        {"a": ["xy"]},
    ),
}


@pytest.mark.parametrize("row", PIECES)
def test_pieces_of_a_call(row: str) -> None:
    pieces, args = PIECES[row]
    begin, end = call("f", **GO), call()
    each = [call(partialArgs=[one], **GO) for one in pieces]
    assert parts(begin, *each, end) == [call("f", args=args)]
    assert parts(begin, call(partialArgs=pieces)) == [call("f", args=args)]
    assert parts(call("f", partialArgs=pieces)) == [call("f", args=args)]


LEFT: Final[dict[str, Json]] = {
    "no object": 5,
    "no path": {"stringValue": "x"},
    "a path that is none": piece(7, stringValue="x"),
    "the root": piece("$", stringValue="x"),
    "no root": piece("a", stringValue="x"),
    "an empty step": piece("$..b", stringValue="x"),
    "any": piece("$.b[*]", stringValue="x"),
    "from behind": piece("$.b[-1]", stringValue="x"),
    "no end": piece("$['b", stringValue="x"),
    "a gap": piece("$.b[1]", stringValue="x"),
    "a gap further in": piece("$.b[0][1]", stringValue="x"),
    "many digits": piece("$.b[" + "9" * 5000 + "]", stringValue="x"),
    "a name in a list": piece("$.l.b", stringValue="x"),
    "a number in an object": piece("$[0]", stringValue="x"),
    "a step into a string": piece("$.a.b", stringValue="x"),
    "too deep": piece("$" + ".b" * 129, stringValue="x"),
    "no value": piece("$.b"),
    "a value of another type": piece("$.b", stringValue=5, numberValue=True),
}


@pytest.mark.parametrize("row", LEFT)
def test_what_cannot_be_put_stays(row: str) -> None:
    good = [piece("$.a", stringValue="x"), piece("$.l[0]", numberValue=1)]
    pieces = [*good, LEFT[row]]
    expected = call("f", args={"a": "x", "l": [1]}, partialArgs=[LEFT[row]])
    assert parts(call("f", partialArgs=pieces)) == [expected]
    outcome = fold([as_events([response(call("f", partialArgs=pieces), **STOP)])])
    assert [(note.code, note.count) for note in outcome.notes] == [
        ("arguments_left", 1),
        ("usage_missing", 1),
    ]
    [verdict] = outcome.calls
    assert verdict.arguments is Arguments.CUT
    assert not verdict.runnable
    assert verdict.value is None


TURNS: Final[dict[str, tuple[list[Json], list[Json]]]] = {
    "args are merged, other keys kept": (
        [
            call("f", args={"a": 1, "b": 1}, id="c1", **GO),
            call(args={"b": 2}, id="c2", x=3),
        ],
        [call("f", args={"a": 1, "b": 2}, id="c1", x=3)],
    ),
    "a string of args goes on": (
        [
            call("f", args={"a": "x"}, **GO),
            call(partialArgs=[piece("$.a", stringValue="y")]),
        ],
        [call("f", args={"a": "xy"})],
    ),
    "never closed": ([call("f", **GO)], [call("f", args={}, willContinue=True)]),
    "closed by another": (
        [call("f", **GO), call("g", args={})],
        [call("f", args={}), call("g", args={})],
    ),
    "an empty name is none": (
        [call("f", **GO), {"functionCall": {"name": "", "args": {"a": 1}}}],
        [call("f", args={"a": 1})],
    ),
    "nothing goes on behind the end": (
        [call("f", **GO), call(), call(args={"a": 1})],
        [call("f", args={}), call(args={"a": 1})],
    ),
    "begun without a name": (
        [call(partialArgs=[piece("$.a", numberValue=1)], **GO), call()],
        [call(args={"a": 1})],
    ),
    "a signature that comes later": (
        [call("f", **GO), {**call(), **S1}],
        [{**call("f", args={}), **S1}],
    ),
    "a second signature": (
        [{**call("f", **GO), **S1}, {**call(), **S2}],
        [{**call("f", args={}), **S1}, S2],
    ),
    "args that are none": (
        [call("f", args="x", **GO), call(args=5)],
        [call("f", args={})],
    ),
    "pieces that are none": (
        [call("f", partialArgs="x")],
        [call("f", partialArgs="x")],
    ),
}


@pytest.mark.parametrize("row", TURNS)
def test_which_call_a_piece_belongs_to(row: str) -> None:
    sent, expected = TURNS[row]
    assert parts(*sent) == expected


# --- Candidates -----------------------------------------------------------------------

CANDIDATES: Final[dict[str, tuple[list[Json], Json]]] = {
    "nothing": ([{}], {}),
    "an empty content": ([{"content": {}}], {"content": {}}),
    "contents that are none": ([{"content": 5}, {"content": [{}]}], {}),
    "the first role": (
        [
            {"content": {"role": ""}},
            {"content": {"role": "a"}},
            {"content": {"role": "b"}},
        ],
        {"content": {"role": "a"}},
    ),
    "other keys of a content": (
        [{"content": {"x": [1]}}, {"content": {"x": []}}, {"content": {"x": None}}],
        {"content": {"x": []}},
    ),
    "an index that is none": ([{"index": "0"}, {"index": True}, {"index": None}], {}),
    "an index as a float": ([{"index": 0.0}], {"index": 0}),
    "the last reason": (
        [{"finishReason": "STOP"}, {"finishReason": "MAX_TOKENS"}],
        {"finishReason": "MAX_TOKENS"},
    ),
    "no reason replaces one": (
        [
            {"finishReason": "STOP"},
            {"finishReason": "FINISH_REASON_UNSPECIFIED"},
            {"finishReason": ""},
            {"finishReason": 0},
            {"finishReason": None},
            {"finishReason": {}},
        ],
        {"finishReason": "STOP"},
    ),
    "an empty reason": ([{"finishReason": ""}], {"finishReason": ""}),
    "empty values": (
        [{"x": {"a": 1}, "y": []}, {"x": {}, "y": None}],
        {"x": {"a": 1}, "y": []},
    ),
    "zero is not empty": (
        [{"avgLogprobs": -0.5}, {"avgLogprobs": 0}],
        {"avgLogprobs": 0},
    ),
    "true is not one": ([{"x": 1}, {"x": True}], {"x": True}),
    "citations, none twice": (
        [
            {"citationMetadata": {"citations": [{"uri": "a", "n": 1}, {"uri": "b"}]}},
            {"citationMetadata": {"citations": [{"n": 1, "uri": "a"}, {"uri": "c"}]}},
        ],
        {
            "citationMetadata": {
                "citations": [{"uri": "a", "n": 1}, {"uri": "b"}, {"uri": "c"}]
            }
        },
    ),
    "other keys of citations": (
        [
            {"citationMetadata": {"x": 1, "l": ["a", "a"]}},
            {"citationMetadata": {"x": None, "l": 5}},
            {"citationMetadata": {"x": ""}},
            {"citationMetadata": []},
        ],
        {"citationMetadata": {"x": "", "l": ["a"]}},
    ),
    "log probabilities, all of them": (
        [
            {"logprobsResult": {"x": ["a"], "n": 1}},
            {"logprobsResult": {"x": ["a"], "n": 2}},
        ],
        {"logprobsResult": {"x": ["a", "a"], "n": 2}},
    ),
}


@pytest.mark.parametrize("row", CANDIDATES)
def test_candidates(row: str) -> None:
    sent, expected = CANDIDATES[row]
    found = candidate(*sent)
    assert found == expected
    assert repr(found) == repr(expected) or found.keys() != {"x"}  # true is not 1


def test_candidates_are_sorted() -> None:
    sent = [{"index": index} for index in (3, -1, 10**30, 0)]
    found = folded({"candidates": sent})["candidates"]
    assert [each["index"] for each in found] == [-1, 0, 3, 10**30]


# --- Responses ------------------------------------------------------------------------

RESPONSES: Final[dict[str, tuple[list[Json], Json]]] = {
    "the first id": (
        [
            {"responseId": ""},
            {"responseId": "a"},
            {"responseId": "b"},
            {"responseId": 5},
        ],
        {"responseId": "a"},
    ),
    "an empty version": ([{"modelVersion": ""}], {"modelVersion": ""}),
    "candidates that are none": ([{"candidates": {}}, {"candidates": [5]}], None),
    "no candidates": (
        [{"candidates": []}, {"modelVersion": "m"}],
        {"modelVersion": "m"},
    ),
    "unknown keys": (
        [
            {"responseId": "r", "x": [1], "y": "a"},
            {"responseId": "r", "x": [], "y": "b"},
        ],
        {"responseId": "r", "x": [1], "y": "b"},
    ),
    "a total replaces": (
        [
            {"usageMetadata": {"a": 1, "totalTokenCount": 1}},
            {"usageMetadata": {"totalTokenCount": 2}},
        ],
        {"usageMetadata": {"totalTokenCount": 2}},
    ),
    "a total of null is none": (
        [
            {"usageMetadata": {"a": 1, "totalTokenCount": 1}},
            {"usageMetadata": {"b": 2, "totalTokenCount": None}},
        ],
        {"usageMetadata": {"a": 1, "b": 2, "totalTokenCount": 1}},
    ),
    "usages that are none": (
        [{"usageMetadata": {"a": 1}}, {"usageMetadata": 5}, {"usageMetadata": {}}],
        {"usageMetadata": {"a": 1}},
    ),
    "an empty usage": ([{"usageMetadata": {}}], {"usageMetadata": {}}),
    "wrapped": (
        [{"response": {"modelVersion": "m"}, "traceId": "t"}, {"response": {"x": 1}}],
        {"modelVersion": "m", "traceId": "t"},
    ),
    "not wrapped": (
        [{"response": {"modelVersion": "m"}, "candidates": []}],
        {"response": {"modelVersion": "m"}},
    ),
    "beside an error": (
        [{"error": {"code": 1}, "responseId": "r", "x": 1}],
        {"responseId": "r"},
    ),
    "candidates beside an error": (
        [{"error": {"code": 1}, "candidates": [{}], "x": 1}],
        {"candidates": [{}], "x": 1},
    ),
    "an empty error": ([{"error": {}, "modelVersion": "m"}], {"modelVersion": "m"}),
    "others": ([{"type": "ping"}, {"error": None, "id": "resp_1"}, {"x": 1}], None),
}


@pytest.mark.parametrize("row", RESPONSES)
def test_responses(row: str) -> None:
    sent, expected = RESPONSES[row]
    assert folded(*sent) == expected


# --- How it ended ---------------------------------------------------------------------

DONE: Final = b"data: [DONE]\n\n"
A: Final = response(t("a"), **STOP)
ERROR: Final = {"code": 503, "status": "UNAVAILABLE"}

ENDINGS: Final[dict[str, tuple[bytes, str]]] = {
    "nothing": (b"", "empty"),
    "white space": (b" \r\n\n", "empty"),
    "only a mark": (DONE, "empty"),
    "a comment": (b": hi\n\n", "empty"),
    "finished": (as_events([A]), "complete"),
    "finished, and a cut event": (as_events([A]) + b'data: {"us', "complete"),
    "no reason": (as_events([response(t("a"))]), "truncated"),
    "no reason, and a mark": (as_events([response(t("a"))]) + DONE, "truncated"),
    "a reason that is none": (
        as_events([response(t("a"), finishReason="FINISH_REASON_UNSPECIFIED")]),
        "truncated",
    ),
    "any other reason": (
        as_events([response(t("a"), finishReason="CONTINUATION")]),
        "complete",
    ),
    "text behind": (as_events([A, response(t("b"))]), "truncated"),
    "nothing behind": (as_events([A, response(t("")), response()]), "complete"),
    "the end of no call behind": (as_events([A, response(call())]), "complete"),
    "a signature behind": (as_events([A, response(t("", **S1))]), "truncated"),
    "text and a reason behind": (as_events([A, A]), "complete"),
    "code last": (as_events([response(CODE, **STOP)]), "truncated"),
    "code last, by number": (as_events([response(CODE, finishReason=1)]), "truncated"),
    "code last, for its length": (
        as_events([response(CODE, finishReason="MAX_TOKENS")]),
        "complete",
    ),
    "one of two": (
        as_events([A, {"candidates": [{"index": 1}]}]),
        "truncated",
    ),
    "blocked": (as_events([{"promptFeedback": {"blockReason": "SAFETY"}}]), "complete"),
    "blocked, and a candidate": (
        as_events([{"promptFeedback": {"blockReason": "X"}, "candidates": [{}]}]),
        "truncated",
    ),
    "not blocked": (as_events([{"promptFeedback": {"safetyRatings": []}}]), "empty"),
    "an error": (as_events([A, {"error": ERROR}]), "error"),
    "an error that is wrapped": (as_events([{"response": {"error": ERROR}}]), "error"),
    "an error by its field": (as_events([A]) + b'error: {"a":1}\n', "error"),
    "an array": (as_array([A]), "complete"),
    "an array, not closed": (b"[" + encode(A), "truncated"),
    "an array, cut in its first element": (b"[" + encode(A)[:-9], "empty"),
    "a bracket": (b"[", "empty"),
    "an array of nothing": (b"[]", "empty"),
    "an array of others": (b'[{"id":1}]', "foreign"),
    "an array of no objects": (b"[1, 2]", "empty"),
    "a blocked array, not closed": (
        b'[{"promptFeedback":{"blockReason":"X"}}',
        "truncated",
    ),
    "a body": (encode(A), "complete"),
    "a body of a usage": (b'{"usageMetadata":{"totalTokenCount":1}}', "empty"),
    "a body that was blocked": (b'{"promptFeedback":{"blockReason":"X"}}', "complete"),
    "a body, wrapped": (encode({"response": A, "traceId": "t"}), "complete"),
    "a body, cut off": (encode(A)[:-3], "truncated"),
    "a body of another kind": (b'{"id":1}', "foreign"),
    "a body that is an error": (encode({"error": ERROR}), "error"),
    "an error and more": (encode({"error": ERROR, "responseId": "r"}), "error"),
    "a page": (b"<html>\n{\n}\n", "foreign"),
    "lines": (encode(A) + b"\n" + encode(A), "complete"),
    "a line, and a mark": (encode(A) + b"\n" + DONE, "complete"),
}


@pytest.mark.parametrize("row", ENDINGS)
def test_endings(row: str) -> None:
    body, ending = ENDINGS[row]
    for step in (len(body) or 1, 1):
        outcome = fold([body[at : at + step] for at in range(0, len(body), step)])
        assert outcome.ending == ending


ERRORS: Final[dict[str, tuple[bytes, Json]]] = {
    "its value": (as_events([{"error": ERROR}]), ERROR),
    "a text": (as_events([{"error": "no"}]), "no"),
    "the first": (as_events([{"error": 1}, {"error": 2}]), 1),
    "by name": (b'event: error\ndata: {"code":1}\n\n', {"code": 1}),
    "by name, and no JSON": (b"event: error\ndata: oops\n\n", "oops"),
    "by name, with a value": (
        b'event: error\ndata: {"error":{"code":1}}\n\n',
        {"code": 1},
    ),
    "an element": (as_array([A, {"error": ERROR}]), ERROR),
    "wrapped by name": (
        b'event: error\ndata: {"response":{"x":1}}\n\n',
        {"response": {"x": 1}},
    ),
}


@pytest.mark.parametrize("row", ERRORS)
def test_errors(row: str) -> None:
    body, error = ERRORS[row]
    outcome = fold([body])
    assert outcome.ending is Ending.ERROR
    assert outcome.error == error
    assert outcome.n_malformed == 0


def test_a_body_passes_as_it_is() -> None:
    sent = {
        "candidates": [{"content": {"parts": [t("a"), t("b"), t(""), 5]}, "x": None}],
        "modelVersion": None,
    }
    outcome = fold([json.dumps(sent, indent=2).encode()])
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == sent
    assert not outcome.unfinished


@pytest.mark.parametrize(
    "body",
    [
        b'[{"a":\n{"candidates":[{}]}\n,',
        b'[[\n{"candidates":[{}]}\n]]',
        b'[{"a": "\n{"candidates":[{}]}\n"}]',
    ],
)
def test_lines_of_an_element_are_no_payloads(body: bytes) -> None:
    outcome = fold([body])
    assert outcome.n_malformed == 1
    assert outcome.completion is None


def test_the_array_is_done_when_it_is_closed() -> None:
    assert fold([as_array([A])]).done
    assert not fold([as_array([A])[:-3]]).done
    assert fold([as_events([A]) + DONE]).done
    assert not fold([as_events([A])]).done


# --- Verdicts on calls ----------------------------------------------------------------

VERDICTS: Final[dict[str, tuple[Json, Json, tuple[str, str, bool]]]] = {
    "whole": (call("f", args={"a": 1}), STOP, ("whole", '{"a":1}', True)),
    "empty": (call("f", args={}), STOP, ("whole", "{}", True)),
    "none": (call("f"), STOP, ("empty", "", True)),
    "a text": (call("f", args='{"a":1}'), STOP, ("whole", '{"a":1}', True)),
    "half a text": (call("f", args='{"a":'), STOP, ("cut", '{"a":', False)),
    "no object": (call("f", args=[1]), STOP, ("malformed", "[1]", False)),
    "by number": (call("f", args={}), {"finishReason": 1}, ("whole", "{}", True)),
    "not finished": (call("f", args={}), {}, ("whole", "{}", False)),
    "its length": (
        call("f", args={}),
        {"finishReason": "MAX_TOKENS"},
        ("whole", "{}", False),
    ),
    "its length, by number": (
        call("f", args={}),
        {"finishReason": 2},
        ("whole", "{}", False),
    ),
    "safety": (call("f", args={}), {"finishReason": "SAFETY"}, ("whole", "{}", False)),
    "a reason nobody knows": (
        call("f", args={}),
        {"finishReason": "SOLAR_FLARE"},
        ("whole", "{}", False),
    ),
    "never closed": (call("f", args={"a": 1}, **GO), STOP, ("cut", '{"a":1}', False)),
}


@pytest.mark.parametrize("row", VERDICTS)
def test_verdicts_on_calls(row: str) -> None:
    part, rest, (arguments, text, runnable) = VERDICTS[row]
    outcome = fold([as_events([response(t("Let me see."), part, **rest)])])
    assert outcome.calls == (
        Call(
            choice=0,
            position=0,
            id="",
            name="f",
            text=text,
            arguments=Arguments(arguments),
            runnable=runnable,
        ),
    )
    [verdict] = outcome.calls
    value = json.loads(text) if arguments == "whole" else None
    assert verdict.value == value


def test_calls_of_several_candidates() -> None:
    sent = {
        "candidates": [
            {
                "index": index,
                "content": {"parts": [call("f", id="1"), t("x"), call("g", id="2")]},
                **rest,
            }
            for index, rest in ((4, STOP), (2, {}))
        ]
    }
    outcome = fold([as_events([sent])])
    found = [(c.choice, c.position, c.id, c.name, c.runnable) for c in outcome.calls]
    assert found == [
        (2, 0, "1", "f", False),
        (2, 1, "2", "g", False),
        (4, 0, "1", "f", True),
        (4, 1, "2", "g", True),
    ]
    assert outcome.unfinished == (2,)


# --- Notes ----------------------------------------------------------------------------

NOTES: Final[dict[str, tuple[list[Json], dict[str, int]]]] = {
    "nothing": ([A, {"usageMetadata": {"totalTokenCount": 1}}], {}),
    "no usage": ([A], {"usage_missing": 1}),
    "no reason": ([response(t("a"))], {"finish_missing": 1, "usage_missing": 1}),
    "it went on": ([A, response(t("b")), A], {"reopened": 1, "usage_missing": 1}),
    "another id": (
        [{"responseId": "a", **A}, {"responseId": "b"}, {"responseId": "b"}],
        {"id_changed": 1, "usage_missing": 1},
    ),
    "others": ([A, {"type": "ping"}], {"foreign_events": 1, "usage_missing": 1}),
    "an open call": (
        [response(call("f", **GO), **STOP)],
        {"arguments_open": 1, "usage_missing": 1},
    ),
    "no JSON": ([A, 5], {"usage_missing": 1}),
}


@pytest.mark.parametrize("row", NOTES)
def test_notes(row: str) -> None:
    sent, expected = NOTES[row]
    found = {note.code: note.count for note in fold([as_events(sent)]).notes}
    found.pop("malformed", None)
    assert found == expected


# --- Limits ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [as_events, as_array, lambda sent: encode(sent[0])])
def test_candidates_over_the_limit_are_left_out(form: Any) -> None:
    sent = {"candidates": [{"index": index, **STOP} for index in range(3)]}
    outcome = fold([form([sent])], limits=Limits(choices=2))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "choices")
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == {"candidates": sent["candidates"][:2]}


@pytest.mark.parametrize("form", [as_events, as_array, lambda sent: encode(sent[0])])
def test_calls_over_the_limit_are_left_out(form: Any) -> None:
    sent = response(call("f", args={}), call("g", args={}), t("x"), **STOP)
    outcome = fold([form([sent])], limits=Limits(tool_calls=1))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "tool_calls")
    assert outcome.completion is not None
    [found] = outcome.completion.to_dict()["candidates"]
    assert found["content"]["parts"] == [call("f", args={}), t("x")]


def test_pieces_of_a_call_over_the_limit_are_left_out() -> None:
    sent = [
        response(call("f", args={})),
        response(call("g", **GO)),
        response(call(partialArgs=[piece("$.a", stringValue="x")], **GO)),
        response(call()),
        response(call(args={"b": 1})),
    ]
    outcome = fold([as_events(sent)], limits=Limits(tool_calls=1))
    assert outcome.completion is not None
    [found] = outcome.completion.to_dict()["candidates"]
    assert found["content"]["parts"] == [call("f", args={})]


@pytest.mark.parametrize(("n", "limit"), [(20, None), (100, "held_bytes")])
def test_what_paths_make_is_weighed(n: int, limit: str | None) -> None:
    paths = [f"$.{at}" + ".a" * 120 for at in range(n)]
    sent = [response(call("f", **GO))]
    for path in paths:
        pieces = [piece(path, numberValue=1)]
        sent.append(response(call(partialArgs=pieces, **GO)))
    outcome = fold([as_events(sent)])
    assert outcome.limit == limit
    assert outcome.completion is not None
    assert (b"partialArgs" in outcome.completion.to_json()) is (limit is not None)


# --- Detection, and the doors ---------------------------------------------------------

CLAIMED: Final[list[tuple[Json, bool]]] = [
    ({"candidates": [{"content": {}}]}, True),
    ({"candidates": []}, True),
    ({"promptFeedback": {"blockReason": "SAFETY"}}, True),
    ({"usageMetadata": {"totalTokenCount": 1}}, True),
    ({"modelVersion": "m", "responseId": "r"}, True),
    ({"response": {"candidates": [{}]}, "traceId": "t"}, True),
    ({}, False),
    ({"modelVersion": "m"}, False),
    ({"candidates": ["Ann", "Bob"]}, False),
    ({"candidates": 5}, False),
    ({"choices": [{"delta": {}}], "usageMetadata": {}}, False),
    ({"id": "c", "object": "chat.completion.chunk", "choices": []}, False),
    ({"type": "message_start", "message": {"id": "m"}}, False),
    ({"type": "response.created", "response": {"id": "r", "error": None}}, False),
    ({"response": {"id": "r", "object": "response", "usage": {}}}, False),
    ({"error": {"message": "no", "type": "invalid_request_error"}}, False),
]


@pytest.mark.parametrize(("sent", "claimed"), CLAIMED)
def test_what_is_claimed(sent: Json, claimed: bool) -> None:  # noqa: FBT001 - a row
    assert PROTOCOL.claims(sent, "") is claimed


def test_folding_at_once() -> None:
    body = as_array([response(t("a")), A])
    whole = gemini.fold(body)
    assert type(whole) is GenerateContentResponse
    assert whole.candidates is not None
    assert whole.candidates[0].content is not None
    assert whole.candidates[0].content.text() == "aa"
    with pytest.raises(TruncatedStream):
        gemini.fold([body[:-5]])
    again = unstream.fold_chunks([response(t("a")), A], protocol=PROTOCOL)
    assert again == whole

    async def source() -> Any:
        yield body

    assert asyncio.run(gemini.afold(source())) == whole


def test_content_is_what_was_said() -> None:
    for part, said in (
        (t("a"), True),
        (t("a", **THOUGHT), True),
        (call("f"), True),
        ({"inlineData": {"data": "AA=="}}, True),
        (t(""), False),
        (t("", **S1), False),
        (call(), False),
    ):
        accumulator = unstream.Accumulator(protocol=PROTOCOL)
        accumulator.feed(as_events([{"candidates": [{"content": {"role": "model"}}]}]))
        assert not accumulator.has_content
        accumulator.feed(as_events([response(part)]))
        assert accumulator.has_content is said
