"""The accumulator: what may be fed, what is a payload, how the ending is told."""

import json
from array import array
from typing import Any

import pytest

from tests.strategies import (
    Json,
    chunk,
    cut,
    fold_plainly,
    fold_reads,
    outcome_of,
    stream,
)
from unstream import (
    Accumulator,
    ChatCompletion,
    Ending,
    Limits,
    Outcome,
    StreamFinished,
)
from unstream.sse import BytesLike

GOOD = stream({"id": "c1", **chunk({"content": "hi"})}, chunk({}, finish_reason="stop"))
CUT = GOOD[: GOOD.index(b"\n\n") + 2]


def outcome_at_any_cut(
    body: bytes, limits: Limits | None = None
) -> Outcome[ChatCompletion]:
    """Fold a body at once, by single bytes and so that each is read by itself."""
    whole = fold_reads([body], limits=limits)
    assert fold_plainly(body, limits=limits) == whole
    assert fold_reads(cut(body, [1]), limits=limits) == whole
    assert fold_reads(cut(body, [1]), limits=limits, look=True) == whole
    return whole


def content_of(outcome: Outcome[ChatCompletion]) -> Json:
    assert outcome.completion is not None
    return outcome.completion.choices[0].message.content


# --- Feeding --------------------------------------------------------------------------


@pytest.mark.parametrize("data", [GOOD.decode(), "", 5, None, 1.5, [GOOD], object()])
def test_what_is_not_bytes_like_is_a_type_error(data: Any) -> None:
    accumulator = Accumulator()
    with pytest.raises(TypeError):
        accumulator.feed(data)
    accumulator.feed(GOOD)
    assert accumulator.finish().ending is Ending.COMPLETE


@pytest.mark.parametrize(
    "data",
    [
        bytearray(GOOD),
        memoryview(GOOD),
        memoryview(b"x" + GOOD + b"x")[1:-1],
        memoryview(
            bytes(byte for pair in zip(GOOD, GOOD, strict=True) for byte in pair)
        )[::2],
        memoryview(array("H", GOOD if len(GOOD) % 2 == 0 else GOOD + b"\n")),
        memoryview(GOOD).cast("B", (1, len(GOOD))),
    ],
    ids=["bytearray", "memoryview", "slice", "stride", "format", "shape"],
)
def test_anything_bytes_like_may_be_fed(data: BytesLike) -> None:
    accumulator = Accumulator()
    accumulator.feed(data)
    outcome = accumulator.finish()
    assert outcome.ending is Ending.COMPLETE
    assert outcome.n_bytes - len(GOOD) in (0, 1)


@pytest.mark.parametrize("size", [10, 5000])
def test_a_bytearray_may_change_after_it_was_fed(size: int) -> None:
    body = bytearray(b": " + b"x" * size + b"\n\n" + GOOD)
    accumulator = Accumulator()
    for view in (body[:size], memoryview(body)[size:]):
        accumulator.feed(view)
    body[:] = b"\0" * len(body)
    assert content_of(accumulator.finish()) == "hi"


def test_a_feed_after_finish_is_the_callers_fault() -> None:
    accumulator = Accumulator()
    accumulator.feed(GOOD)
    outcome = accumulator.finish()
    for late in (b"", GOOD):
        with pytest.raises(StreamFinished, match="fed after finish"):
            accumulator.feed(late)
    with pytest.raises(StreamFinished, match="added after finish"):
        accumulator.add(chunk({}))
    assert accumulator.finish() is outcome


def test_finish_of_nothing_is_empty() -> None:
    assert Accumulator().finish() == Outcome(ending=Ending.EMPTY, completion=None)
    assert Accumulator().snapshot() is None


def test_a_snapshot_stays_put() -> None:
    accumulator = Accumulator()
    accumulator.feed(CUT)
    seen = accumulator.snapshot()
    accumulator.feed(GOOD)
    assert seen is not None
    assert seen.choices[0].message.content == "hi"
    assert accumulator.finish().unwrap().choices[0].message.content == "hihi"


def test_a_snapshot_shows_each_event_with_its_blank_line() -> None:
    accumulator = Accumulator()
    accumulator.feed(GOOD[: GOOD.index(b"\n\n") + 1])
    assert accumulator.snapshot() is None
    accumulator.feed(b"\n")
    seen = accumulator.snapshot()
    assert seen is not None
    assert seen.id == "c1"


def test_a_blank_line_that_is_a_cr_is_seen_at_once() -> None:
    accumulator = Accumulator()
    accumulator.feed(stream(chunk({"content": "a"})) * 2)
    accumulator.feed(stream(*[chunk({"content": "b"})] * 2)[:-1] + b"\r")
    for _ in range(2):
        seen = accumulator.snapshot()
        assert seen is not None
        assert seen.choices[0].message.content == "aabb"


def test_a_cr_among_line_feeds_ends_a_line() -> None:
    same = stream(*[chunk({"content": "a"})] * 3)
    torn = b'data: {"choices":\rdata: [{"delta":{"content":"b"}}]}\n\n'
    assert content_of(outcome_at_any_cut(same + torn + same)) == "aaabaaa"


# --- Payloads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ending", "n_events", "n_malformed"),
    [
        (b"", "empty", 0, 0),
        (b"\n\n", "empty", 0, 0),
        (b": ping\n\n", "empty", 0, 0),
        (b"retry: 5\nid: 7\n\n", "empty", 0, 0),
        (b": ping\nunknown: x\n\n", "empty", 0, 0),
        (b"\xef\xbb\xbf", "empty", 0, 0),
        (b"\xef\xbb", "foreign", 0, 0),
        (b"data: [DONE]\n\n", "empty", 1, 0),
        (b"data: {}\n\n", "foreign", 1, 0),
        (b'data: {"choices":[]}\n\n', "empty", 1, 0),
        (b'data: {"object":"x"}\n\n', "empty", 1, 0),
        (b"data: \n\n", "empty", 0, 0),
        (b"data:\n\ndata\n\ndata: \t\ndata:\n\n", "empty", 0, 0),
        (b"data: null\n\n", "empty", 1, 1),
        (b"data: [1]\n\n", "empty", 1, 1),
        (b'data: "x"\n\n', "empty", 1, 1),
        (b"data: Internal Server Error\n\n", "empty", 1, 1),
        (b'data: {"type":"ping"}\n\n', "foreign", 1, 0),
        (b'data: {"x":1}\n\n', "foreign", 1, 0),
        (b"<html>\n<body>502</body>\n\n</html>\n", "foreign", 0, 0),
        (b"plain text", "foreign", 0, 0),
        (b"[1,2]", "foreign", 0, 0),
        (b"{}", "foreign", 0, 0),
        (b"{}\n{}\n", "foreign", 0, 0),
        (b"{", "truncated", 0, 0),
        (b'\n {"choices":', "truncated", 0, 0),
        (b'{"choices":[{"delta":{"content":"\\u00e9', "truncated", 0, 0),
        (b'{"choices":]', "foreign", 0, 0),
        (b"[{", "truncated", 0, 0),
        (b"\x00\xff\xfe", "foreign", 0, 0),
        (b"\r" * 99, "empty", 0, 0),
        (CUT, "truncated", 1, 0),
        (GOOD, "complete", 2, 0),
        (CUT + b"data: [DONE]\n\n", "complete", 2, 0),
        (CUT + b"data:  [DONE] \n\n", "complete", 2, 0),
        (CUT + b"data: [DONE]", "complete", 2, 0),
        (CUT + b"data: [DON", "truncated", 2, 1),
        (CUT + b"data: {broken\n\ndata: [DONE]\n\n", "complete", 3, 1),
        (GOOD + b"data: {broken\n\n", "complete", 3, 1),
        (GOOD + b'data: {"choices":[{"del', "truncated", 3, 1),
        (GOOD + b"data: [DONE]\n\ndata: {bro", "complete", 4, 1),
        (GOOD + b'data: {"usage":{"a":1}}', "complete", 3, 0),
        (GOOD + b"event: x", "complete", 2, 0),
        (GOOD[:-2], "complete", 2, 0),
        (GOOD + stream(chunk({}, index=1)), "truncated", 3, 0),
        (GOOD + stream(chunk({}, index=1, finish_reason="length")), "complete", 3, 0),
        (GOOD.replace(b"\n", b"\r"), "complete", 2, 0),
        (GOOD.replace(b"\n", b"\r\n"), "complete", 2, 0),
        (b"\xef\xbb\xbf" + GOOD, "complete", 2, 0),
        (b"<html>\n\n" + GOOD, "complete", 2, 0),
        (b"{\n\n" + GOOD, "complete", 2, 0),
    ],
)
def test_how_it_ended_and_what_was_counted(
    body: bytes, ending: str, n_events: int, n_malformed: int
) -> None:
    outcome = outcome_at_any_cut(body)
    found = (outcome.ending.value, outcome.n_events, outcome.n_malformed)
    assert found == (ending, n_events, n_malformed)
    assert outcome.done is (b"[DONE]" in body)
    assert outcome.n_bytes == len(body)


def test_events_that_were_run_together_are_told_apart() -> None:
    lines = GOOD.replace(b"\n\n", b"\n")
    outcome = outcome_at_any_cut(lines + b"data: [DONE]\n\n")
    assert (outcome.ending, outcome.n_events) == (Ending.COMPLETE, 3)
    assert content_of(outcome) == "hi"
    broken = outcome_at_any_cut(lines + b"data: nonsense\ndata: [DONE]\n\n")
    assert (broken.n_events, broken.n_malformed, broken.done) == (4, 1, True)


def test_json_over_several_lines_of_data_is_one_payload() -> None:
    body = b'data: {"choices":\ndata: [{"delta":\ndata: {"content":"a"}}]}\n\n'
    assert content_of(outcome_at_any_cut(body)) == "a"


def test_lines_of_data_that_are_no_json_are_one_malformed_payload() -> None:
    outcome = outcome_at_any_cut(b"data: {\ndata: x\ndata: 5\n\n")
    assert (outcome.n_events, outcome.n_malformed) == (1, 1)


@pytest.mark.parametrize("key", [b"x", b"usage", b"choices", b"moderation", b"error"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_deep_nesting_is_malformed_wherever_it_stands(
    key: bytes, opening: bytes
) -> None:
    closing = {b"[": b"]"}.get(opening, b"}")
    for depth in (200, 100_000):
        deep = opening * depth + b"1" + closing * depth
        body = GOOD + b'data: {"%b":%b}\n\n' % (key, deep)
        for late in (b"", b"data: [DONE]\n\n"):
            outcome = fold_reads([body + late])
            # What is so deep weighs too much to be looked at.
            told = (outcome.ending, outcome.limit, outcome.n_malformed)
            malformed = (Ending.COMPLETE, None, 1)
            assert told == malformed or (
                told == (Ending.LIMIT, "held_bytes", 0) and depth == 100_000
            )
            assert content_of(outcome) == "hi"
            assert outcome.completion is not None
            outcome.completion.to_json()


@pytest.mark.parametrize(
    "template",
    [
        b'{"choices":[{"delta":{"content":[%b]}}]}',
        b'{"choices":[{"delta":{"x":%b}}]}',
        b'{"choices":[{"delta":{"audio":{"x":%b}}}]}',
        b'{"choices":[{"logprobs":{"content":%b}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"extra_content":{"x":%b}}]}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":%b}}]}}]}',
        b'{"choices":[{"content_filter_results":{"x":%b}}]}',
        b"%b",
    ],
)
def test_deep_nesting_below_known_keys_never_raises(template: bytes) -> None:
    for deep in (b"[" * 100_000, b"[" * 1000 + b"]" * 1000, b"[" * 145 + b"]" * 145):
        outcome = fold_reads([GOOD + b"data: " + template % deep + b"\n\n"])
        assert outcome.completion is not None
        assert json.loads(outcome.completion.to_json()) == outcome.completion.to_dict()


def test_duplicate_keys_are_the_last() -> None:
    body = b'{"choices":[{"delta":{"content":"a","content":"b"},"x":1,"x":2}]}'
    outcome = outcome_of(body)
    assert content_of(outcome) == "b"
    assert outcome.completion is not None
    assert outcome.completion.choices[0].extra == {"x": 2}


@pytest.mark.parametrize(
    "number",
    ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9" * 5000],
    ids=lambda number: f"{number[:9]} ({len(number)})",
)
@pytest.mark.parametrize("strange", ["", ',"x":1'], ids=["known", "strange"])
def test_numbers_that_json_has_not_cost_no_text(number: str, strange: str) -> None:
    for key in ("created", "usage", "y", "p", "provider"):
        for value in (number, f'{{"n":{number}}}', f"[{number}]"):
            choices = '"choices":[{"delta":{"content":"a"}}]'
            outcome = outcome_of(f'{{{choices},"{key}":{value}{strange}}}')
            assert (outcome.n_malformed, content_of(outcome)) == (0, "a")
            assert {note.code for note in outcome.notes} >= {"number_out_of_range"}
            json.loads(outcome.to_json())


@pytest.mark.parametrize("strange", ["", ',"x":1'], ids=["known", "strange"])
def test_integers_of_any_length_are_integers(strange: str) -> None:
    """They are JSON, and Python reads up to 4,300 digits."""
    digits = "9" * 400
    for key in ("created", "usage", "y", "p", "provider"):
        for value in (digits, f'{{"n":{digits}}}', f"[{digits}]"):
            choices = '"choices":[{"delta":{"content":"a"}}]'
            outcome = outcome_of(f'{{{choices},"{key}":{value}{strange}}}')
            assert (outcome.n_malformed, content_of(outcome)) == (0, "a")
            assert Outcome.from_json(outcome.to_json()) == outcome


# --- Errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'data: {"error":{"message":"m"}}\n\n', {"message": "m"}),
        (b'event: error\ndata: {"error":{"message":"m"}}\n\n', {"message": "m"}),
        (
            b'event: error\ndata: {"message":"m","code":1}\n\n',
            {"message": "m", "code": 1},
        ),
        (b'event: error\ndata: "m"\n\n', "m"),
        (b"event: error\ndata: boom\n\n", "boom"),
        (b"event: error\ndata: bo\xffom\n\n", "bo\ufffdom"),
        (b"event: error\ndata: null\n\n", ""),
        (b'event: error\ndata: "\\ud83d"\n\n', "\ufffd"),
        (b'event: error\ndata: ["\\ud83d",NaN]\n\n', ["\ufffd", None]),
        (b"event: error\ndata: 5\n\n", 5),
        (b'error: {"detail":"m"}\n\n', {"detail": "m"}),
        (b'error: {"error":{"message":"m"}}\n', {"message": "m"}),
        (b'error: {"detail":"m"}', {"detail": "m"}),
        (b'error: "\\ud83d"\n\n', "\ufffd"),
        (b'data: {"error":"\\ud83d"}\n\n', "\ufffd"),
        (b'data: {"error":"first"}\n\ndata: {"error":"second"}\n\n', "first"),
        (b'{"error":{"message":"m"}}', {"message": "m"}),
        (b'\n {"error":\n"m"}\n', "m"),
        (b'\xef\xbb\xbf{"error":"m"}', "m"),
    ],
)
def test_an_error_of_any_shape_is_reported(body: bytes, error: Json) -> None:
    prefix = b"" if body.lstrip(b"\xef\xbb\xbf \n").startswith(b"{") else CUT
    outcome = outcome_at_any_cut(prefix + body)
    assert outcome.ending is Ending.ERROR
    assert outcome.error == error
    assert outcome.n_malformed == 0
    assert Outcome.from_json(outcome.to_json()) == outcome
    if prefix:
        assert content_of(outcome) == "hi"


@pytest.mark.parametrize(
    "body", [b"event: error\ndata\n\n", b"error:\n\n", b"error: \n", b"error\n\n"]
)
def test_an_error_that_is_blank_is_none(body: bytes) -> None:
    outcome = outcome_at_any_cut(GOOD + body)
    assert (outcome.ending, outcome.error) == (Ending.COMPLETE, None)


def test_done_in_an_error_event_is_done() -> None:
    outcome = outcome_at_any_cut(CUT + b"event: error\ndata: [DONE]\n\n")
    assert (outcome.ending, outcome.done) == (Ending.COMPLETE, True)


def test_choices_beside_an_error_count() -> None:
    for start in (b"data: ", b"event: error\ndata: "):
        both = b'{"error":{"code":1},"choices":[{"delta":{"content":"!"}}]}\n\n'
        outcome = outcome_at_any_cut(CUT + start + both)
        assert outcome.error == {"code": 1}
        assert content_of(outcome) == "hi!"


def test_what_follows_an_error_still_counts() -> None:
    outcome = outcome_of(
        chunk({"content": "a"}), {"error": "x"}, chunk({"content": "b"}), "[DONE]"
    )
    assert (outcome.ending, outcome.done) == (Ending.ERROR, True)
    assert content_of(outcome) == "ab"


# --- Bodies that are no stream --------------------------------------------------------

WHOLE = {
    "id": "w",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "all", "x": [None], "extra": 1},
            "logprobs": {"content": [{"token": "a", "logprob": -1.5, "n": None}]},
        }
    ],
    "usage": {"total_tokens": 3, "prompt_tokens_details": None},
    "sent": {"a": 1},
    "unsent": None,
    "stats": None,
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n \t\n"])
def test_a_whole_completion_is_passed_through(
    indent: int | None, before: bytes
) -> None:
    body = before + json.dumps(WHOLE, indent=indent).encode()
    outcome = outcome_at_any_cut(body)
    assert (outcome.ending, outcome.n_events, outcome.n_malformed) == ("complete", 0, 0)
    assert (outcome.done, outcome.usage_source) == (False, "usage")
    completion = outcome.unwrap()
    assert completion.to_dict() == WHOLE
    assert json.loads(completion.to_json()) == WHOLE
    assert completion.choices[0].message.content == "all"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 3


def test_a_whole_completion_with_halves_is_mended() -> None:
    sent = {**WHOLE, "id": "\ud83d"}
    plain = outcome_at_any_cut(json.dumps(sent).encode()).unwrap().to_dict()
    assert plain == {**WHOLE, "id": "\ufffd"}


def test_a_whole_completion_with_an_error_is_an_error() -> None:
    outcome = outcome_at_any_cut(json.dumps({**WHOLE, "error": "x"}).encode())
    assert (outcome.ending, outcome.error) == (Ending.ERROR, "x")
    assert content_of(outcome) == "all"


def test_a_whole_completion_without_choices_is_empty() -> None:
    body = b'{"object":"chat.completion","id":"w","choices":[]}'
    outcome = outcome_at_any_cut(body)
    assert outcome.ending is Ending.EMPTY
    assert outcome.completion is not None
    assert outcome.completion.to_dict() == json.loads(body)


def test_a_lone_chunk_is_folded() -> None:
    body = json.dumps(chunk({"content": "a"}, finish_reason="stop")).encode()
    outcome = outcome_at_any_cut(body)
    assert outcome.ending is Ending.COMPLETE
    assert outcome.n_events == 0
    assert content_of(outcome) == "a"


def test_a_body_with_a_line_that_starts_with_a_colon_is_read_alike_at_any_cut() -> None:
    outcome_at_any_cut(b'{"error"\n:"x"\n' + b" " * 100 + b"}")


# --- Limits ---------------------------------------------------------------------------


def test_an_event_over_the_limit_is_left_out_and_the_rest_counts() -> None:
    long = stream(chunk({"content": "x" * 500}))
    body = CUT + long + GOOD + b"data: [DONE]\n\n"
    outcome = outcome_at_any_cut(body, Limits(event_bytes=200))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "event_bytes")
    assert (outcome.done, outcome.n_events) == (True, 4)
    assert content_of(outcome) == "hihi"


@pytest.mark.parametrize("stream_bytes", [len(CUT), len(CUT) + 1, len(GOOD) - 1])
def test_after_the_limit_of_the_stream_nothing_is_read(stream_bytes: int) -> None:
    outcome = outcome_at_any_cut(GOOD * 3, Limits(stream_bytes=stream_bytes))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "stream_bytes")
    assert outcome.n_bytes == len(GOOD) * 3
    assert outcome.n_events == 1
    assert content_of(outcome) == "hi"


def test_a_stream_as_long_as_its_limit_fits() -> None:
    assert outcome_at_any_cut(GOOD, Limits(stream_bytes=len(GOOD))).limit is None


def test_a_stream_of_many_events_is_longer_than_the_limit_of_one() -> None:
    outcome = outcome_at_any_cut(GOOD * 20, Limits(event_bytes=150))
    assert outcome.limit is None
    assert content_of(outcome) == "hi" * 20


def test_a_body_over_the_limit_of_an_event_is_over_the_limit() -> None:
    body = json.dumps(WHOLE, indent=1).encode()
    assert outcome_at_any_cut(body, Limits(event_bytes=len(body))).ending == "complete"
    outcome = outcome_at_any_cut(body, Limits(event_bytes=len(body) - 1))
    assert (outcome.ending, outcome.limit) == (Ending.LIMIT, "event_bytes")


def test_an_error_is_told_before_a_limit() -> None:
    body = b'data: {"error":"x"}\n\n' + GOOD
    outcome = outcome_at_any_cut(body, Limits(stream_bytes=30))
    assert (outcome.ending, outcome.limit) == (Ending.ERROR, "stream_bytes")
