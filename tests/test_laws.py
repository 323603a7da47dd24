"""What holds of every stream: the promises of the README, as laws."""

import json
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import (
    Json,
    check_looks,
    check_saved,
    chunk,
    chunk_lists,
    cost,
    cut,
    fold_plainly,
    fold_reads,
    frame,
    limits,
    pieces,
    sizes,
    stream,
    streams,
    strict,
    usages,
    values,
    vandalise,
)
from unstream import (
    Accumulator,
    Call,
    ChatCompletion,
    EmptyStream,
    Ending,
    ForeignStream,
    LimitExceeded,
    Limits,
    Outcome,
    ProviderError,
    StreamError,
    TruncatedStream,
)


def mended(value: Json) -> Json:
    """Rejoin the halves of surrogate pairs, by way of the text of the value."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


# --- Cuts -----------------------------------------------------------------------------


@given(streams, sizes, limits)
def test_cuts_do_not_matter(body: bytes, into: list[int], bounds: Limits) -> None:
    whole = fold_reads([body], limits=bounds)
    parts = fold_reads(cut(body, into), limits=bounds)
    assert parts == whole
    # Equality takes 1 for True and 1.0.
    assert repr(parts) == repr(whole)


@given(streams, sizes, limits)
def test_no_road_changes_anything(body: bytes, into: list[int], bounds: Limits) -> None:
    plain = repr(fold_plainly(body, limits=bounds))
    for fast in (True, False):
        assert repr(fold_reads([body], limits=bounds, fast=fast)) == plain
        reads = cut(body, into)
        assert repr(fold_reads(reads, limits=bounds, fast=fast)) == plain
        assert repr(fold_reads(reads, limits=bounds, fast=fast, look=True)) == plain


# --- Looking --------------------------------------------------------------------------


@given(streams, sizes, limits)
def test_looking_does_not_disturb(body: bytes, into: list[int], bounds: Limits) -> None:
    unseen = fold_reads([body], limits=bounds)
    check_looks(cut(body, into), unseen, limits=bounds)


@given(streams, sizes)
def test_a_snapshot_between_events_is_what_finish_would_return(
    body: bytes, into: list[int]
) -> None:
    accumulator = Accumulator()
    for data in cut(body + b"\n\n", into):
        accumulator.feed(data)
    seen = accumulator.snapshot()
    outcome = accumulator.finish()
    if outcome.n_events:  # else the body may be one JSON object, known at its end
        assert repr(seen) == repr(outcome.completion)


@given(streams)
def test_a_dict_that_was_handed_out_is_the_callers_own(body: bytes) -> None:
    completion = fold_reads([body]).completion
    if completion is not None:
        before = repr(completion)
        vandalise(completion.to_dict())
        assert repr(completion) == before


# --- Verdicts -------------------------------------------------------------------------

ERRORS: Final = {
    Ending.TRUNCATED: TruncatedStream,
    Ending.ERROR: ProviderError,
    Ending.EMPTY: EmptyStream,
    Ending.FOREIGN: ForeignStream,
    Ending.LIMIT: LimitExceeded,
}


def check_verdict(outcome: Outcome[ChatCompletion], body: bytes) -> None:
    completion = outcome.completion
    sent = [] if completion is None else completion.choices
    whole = not outcome.n_events  # a body that was no stream
    assert (outcome.ending is Ending.ERROR) == (outcome.error is not None)
    if outcome.error is None:
        assert (outcome.ending is Ending.LIMIT) == (outcome.limit is not None)
    if outcome.ending is Ending.COMPLETE:
        assert sent
        assert outcome.done or whole or not outcome.unfinished
    if outcome.ending is Ending.TRUNCATED:
        assert sent or completion is None  # no choice: JSON that was cut off
        assert not outcome.done
    if outcome.ending is Ending.EMPTY:
        assert not sent
    if outcome.ending is Ending.FOREIGN:
        assert completion is None
    if outcome.done and sent:
        assert outcome.ending is not Ending.TRUNCATED
    check_counts(outcome, body)
    if outcome.ending is Ending.COMPLETE:
        assert outcome.unwrap() is completion
    else:
        with pytest.raises(ERRORS[outcome.ending]) as raised:
            outcome.unwrap()
        assert type(raised.value) is ERRORS[outcome.ending]
        assert isinstance(raised.value, StreamError)
        assert raised.value.outcome is outcome
        assert len(str(raised.value).encode()) < 250
    if completion is not None:
        plain = completion.to_dict()
        assert json.loads(completion.to_json()) == plain


def check_counts(outcome: Outcome[ChatCompletion], body: bytes) -> None:
    completion = outcome.completion
    sent = [] if completion is None else completion.choices
    assert (outcome.usage_source is not None) == (
        completion is not None and completion.usage is not None
    )
    assert outcome.n_bytes == len(body)
    assert 0 <= outcome.n_malformed <= outcome.n_events
    for index in outcome.unfinished:
        assert [choice.index for choice in sent].count(index) == 1
    for choice in sent if outcome.n_events else ():
        if choice.finish_reason is None:
            assert choice.index in outcome.unfinished
    assert len({note.code for note in outcome.notes}) == len(outcome.notes)
    for note in outcome.notes:
        assert 0 <= note.event <= outcome.n_events
        assert note.count > 0


@given(streams, limits)
def test_whatever_comes_gets_a_verdict(body: bytes, bounds: Limits) -> None:
    accumulator = Accumulator(limits=bounds)
    accumulator.feed(body)
    outcome = accumulator.finish()
    check_verdict(outcome, body)
    assert accumulator.finish() is outcome
    assert accumulator.snapshot() == outcome.completion


@given(st.binary(max_size=200), sizes)
def test_noise_gets_a_verdict(body: bytes, into: list[int]) -> None:
    check_verdict(fold_reads(cut(body, into)), body)


@given(chunk_lists)
def test_nothing_is_invented(sent: list[Json]) -> None:
    completion = fold_reads([stream(*sent)]).completion
    if completion is None:
        return
    objects = list(objects_in(sent))
    assert completion.id in {"", *texts_of("id", sent)}
    assert completion.model in {"", *texts_of("model", sent)}
    times = [one["created"] for one in sent if "created" in one]
    numbers = [time for time in times if isinstance(time, int | float)]
    assert completion.created in {0, *map(int, numbers)}
    reasons = texts_of("finish_reason", objects)
    for choice in completion.choices:
        assert choice.finish_reason in {None, *reasons}
        for call in choice.message.tool_calls or ():
            assert call.id in {"", *texts_of("id", objects)}
    for made in completion.calls():
        assert made.name in {"", *texts_of("name", objects)} or pieced(made, objects)
    if completion.usage is not None:
        # x_groq and choices hold one as well, anywhere a server may put it.
        assert any(isinstance(one.get("usage"), dict) for one in objects)


def pieced(call: Call, objects: list[Json]) -> bool:
    """Say whether a name is the sum of fragments that were sent."""
    held = {""}
    pieces = texts_of("name", objects) - {""}
    while held:
        held = {at + piece for at in held for piece in pieces}
        held = {at for at in held if call.name.startswith(at)}
        if call.name in held:
            return True
    return False


def objects_in(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from objects_in(inner)


def texts_of(key: str, objects: list[Json]) -> set[str]:
    """Return the values of a key, as the fold writes them: an id may be a number."""
    found = [one[key] for one in objects if key in one]
    return {mended(str(value)) for value in found if isinstance(value, str | int)}


@given(chunk_lists)
def test_every_finish_reason_that_was_sent_decides(sent: list[Json]) -> None:
    """The last one does, but `stop` after `tool_calls` or `function_call`."""
    outcome = fold_reads([stream(*sent)])
    for choice in outcome.completion.choices if outcome.completion else ():
        reasons = [
            piece["finish_reason"]
            for piece in pieces_of(sent, choice.index)
            if isinstance(piece.get("finish_reason"), str)
        ]
        expected = None
        for reason in filter(None, reasons):
            if reason != "stop" or expected not in ("tool_calls", "function_call"):
                expected = reason
        assert choice.finish_reason == mended(expected)


def pieces_of(sent: list[Json], index: int) -> Iterator[dict[str, Json]]:
    """Give the pieces of one choice, as the contract reads an odd list or index."""
    for one in sent:
        if "type" in one and not {"choices", "id", "object"} & one.keys():
            continue
        found = one.get("choices")
        for piece in found if isinstance(found, list) else [found]:
            if isinstance(piece, dict) and index_of(piece.get("index")) == index:
                yield piece


def index_of(value: Json) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if value == int(value) else 0


# --- Texts and usage, against models of their own -------------------------------------

_said: Final = st.lists(
    st.tuples(
        st.sampled_from((0, 1, None)),
        st.sampled_from(("content", "refusal", "reasoning", "reasoning_content")),
        st.none() | pieces,
    ),
    max_size=20,
)


@given(_said, sizes)
def test_texts_are_the_sum_of_their_pieces(
    said: list[tuple[int | None, str, str | None]], into: list[int]
) -> None:
    model: dict[int, dict[str, str]] = defaultdict(dict)
    for index, key, piece in said:
        texts = model[index or 0]
        if piece is not None and (piece or key == "content"):
            texts[key] = texts.get(key, "") + piece
    body = stream(*(chunk({key: piece}, index=i) for i, key, piece in said))
    completion = fold_reads(cut(body, into)).completion
    found = completion.choices if completion else []
    assert [choice.index for choice in found] == sorted(model)
    for choice in found:
        for key in ("content", "refusal", "reasoning", "reasoning_content"):
            expected = model[choice.index].get(key)
            assert getattr(choice.message, key) == mended(expected)


@given(st.lists(usages, max_size=6), st.sampled_from(("usage", "choice", "x_groq")))
def test_usage_is_merged_in_order_and_never_summed(
    sent: list[dict[str, Json]], place: str
) -> None:
    def is_empty(value: Json) -> bool:
        return value in ("", [], {})

    def merged(held: Json, value: Json) -> Json:
        if value is None:
            return held
        if is_empty(value) and held is not None and not is_empty(held):
            return held
        if not isinstance(value, dict):
            return value
        held = held if isinstance(held, dict) else {}
        return {**held, **{k: merged(held.get(k), v) for k, v in value.items()}}

    expected: Json = None
    objects: list[Json] = []
    for usage in sent:
        expected = merged(expected, usage)
        objects.append(
            {"usage": usage, "choices": [{}]}
            if place == "usage"
            else chunk({}, usage=usage)
            if place == "choice"
            else {"x_groq": {"usage": usage}, **chunk({})}
        )
    outcome = fold_reads([stream(*objects)])
    plain = outcome.completion.to_dict() if outcome.completion else {}
    said = any(v is not None for v in (expected or {}).values())
    if said or (expected and place == "usage"):
        assert outcome.usage_source == place
        assert strict(plain.get("usage")) == strict(mended(expected))
    else:  # an empty one is none, and one of nulls is not worth a promotion
        assert outcome.usage_source is None
        assert "usage" not in plain


# --- Strangers ------------------------------------------------------------------------

# The names that no level knows, with two that a Struct of ours might trip over.
_names: Final = st.sampled_from(
    ("x_new", "extra", "*extra", "*absent", "_absent", "", "é", "status", "N", 'a"b')
) | st.text(st.sampled_from("qzé_9"), min_size=1)
_whole_values: Final = values.filter(lambda value: "\\ud83d" not in json.dumps(value))
_kinds: Final = st.one_of(
    st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=4),
    st.lists(st.none() | st.lists(_whole_values, max_size=2), min_size=1, max_size=4),
    st.lists(st.none() | st.booleans() | st.integers(), min_size=1, max_size=4),
    st.lists(
        st.none() | st.dictionaries(_names, st.none() | st.integers(1)),
        min_size=1,
        max_size=4,
    ),
)
# How a stranger is put at its level, and where it should stand in the result.
_LEVELS: Final[dict[str, tuple[Callable[[Json], Json], str]]] = {
    "top": (lambda one: {**one, **chunk({"content": "a"})}, ""),
    "choice": (lambda one: chunk({"content": "a"}, **one), "choices.0"),
    "delta": (lambda one: chunk({**one, "content": "a"}), "choices.0.message"),
    "call": (
        lambda one: chunk({"tool_calls": [{"index": 0, "id": "c", **one}]}),
        "choices.0.message.tool_calls.0",
    ),
    **{
        key: (
            lambda one, key=key, text=text: chunk(  # type: ignore[misc]
                {"tool_calls": [{"index": 0, key: {"name": "f", text: "", **one}}]}
            ),
            f"choices.0.message.tool_calls.0.{key}",
        )
        for key, text in (("function", "arguments"), ("custom", "input"))
    },
    **{
        key: (
            lambda one, key=key: chunk({key: {"id": "a", **one}}),  # type: ignore[misc]
            f"choices.0.message.{key}",
        )
        for key in ("function_call", "audio")
    },
    "usage": (
        lambda one: {**chunk({"content": "a"}), "usage": {"total_tokens": 1, **one}},
        "usage",
    ),
}


def kept(level: str, name: str, there: list[Json]) -> Json:
    """Return what becomes of the values of one key, by the contract."""
    if level == "delta":
        if isinstance(there[0], str) and name != "status":  # what names something
            return "".join(there)
        if isinstance(there[0], list):
            return [item for value in there for item in value]
    if level in ("delta", "usage") and isinstance(there[0], dict):
        merged: dict[str, Json] = {}
        for value in there:
            for key, inner in value.items():
                merged[key] = merged.get(key) if inner is None else inner
        return merged
    return ([value for value in there if value not in ("", [], {})] or there)[-1]


@given(st.sampled_from([*_LEVELS]), _names, _kinds, sizes)
def test_unknown_keys_survive_at_their_level(
    level: str, name: str, sent: list[Json], into: list[int]
) -> None:
    there = [value for value in sent if value is not None]
    put, path = _LEVELS[level]
    body = stream(*(put({name: value}) for value in sent), "[DONE]")
    outcome = fold_reads(cut(body, into))
    assert outcome.ending is Ending.COMPLETE
    found: Json = outcome.unwrap().to_dict()
    for step in filter(None, path.split(".")):
        found = found[int(step) if step.isdigit() else step]
    if not there:
        assert found.get(name) is None
        assert (name in found) == (level == "usage")  # where nulls are kept
        return
    assert repr(found[name]) == repr(kept(level, name, there))


@given(chunk_lists)
def test_every_unknown_key_of_the_top_is_in_the_result(sent: list[Json]) -> None:
    completion = fold_reads([stream(*sent, chunk({}))]).completion
    assert completion is not None
    result = completion.to_dict()
    for one in sent:
        if "choices" not in one and ("type" in one or one.get("error")):
            continue
        for key, value in one.items():
            if value is not None and key not in _KNOWN_OR_PADDING:
                assert mended(key) in result


# A known key in a type that means nothing is nothing.
_KNOWN_OR_PADDING: Final = frozenset(
    (
        *("id", "object", "created", "model", "choices", "usage", "service_tier"),
        *("system_fingerprint", "error", "obfuscation", "p"),
    )
)


# --- What is saved --------------------------------------------------------------------


@given(streams, limits)
def test_what_is_saved_can_be_loaded(body: bytes, bounds: Limits) -> None:
    check_saved(fold_reads([body], limits=bounds))


@given(chunk_lists)
def test_what_was_parsed_and_is_saved_can_be_loaded(sent: list[Json]) -> None:
    accumulator = Accumulator()
    for one in sent:
        accumulator.add(one)
    seen = accumulator.snapshot()
    if seen is not None:
        assert ChatCompletion.from_json(seen.to_json()) == seen
    check_saved(accumulator.finish())


# --- Chunks that were parsed already --------------------------------------------------


@given(chunk_lists)
def test_parsed_chunks_fold_as_their_bytes_do(sent: list[Json]) -> None:
    before = json.dumps(sent)
    accumulator = Accumulator()
    for one in sent:
        accumulator.add(one)
        seen = accumulator.snapshot()
        if seen is not None:
            vandalise(seen)
    parsed = accumulator.finish()
    written = fold_reads([stream(*sent)])
    assert json.dumps(sent) == before
    # Token log probabilities are kept as they were written, so their texts differ.
    assert repr(plain_of(parsed)) == repr(plain_of(written))


def plain_of(outcome: Outcome[ChatCompletion]) -> dict[str, Json]:
    plain: dict[str, Json] = msgspec.structs.asdict(outcome)
    if outcome.completion is not None:
        plain["completion"] = outcome.completion.to_dict()
    return {**plain, "n_bytes": 0}


# --- Cost -----------------------------------------------------------------------------
#
# A ratio of two sizes of the same work, because a stopwatch against a constant tells
# more about the machine. Ten times the work may cost sixteen times the time, which
# leaves room for caches and growing lists; what is quadratic costs a hundred times.


def growth(work: Callable[[list[bytes]], object], reads: list[bytes]) -> float:
    """Return how much more ten times the reads cost."""
    ten = reads * 10
    return min(cost(lambda: work(ten)) / cost(lambda: work(reads)) for _ in range(2))


_TOP5: Final = [{"token": "a", "logprob": -0.5, "bytes": [97]}] * 5
_TOKEN: Final = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": _TOP5}
_LOOK_ALIKES: Final[dict[str, Json]] = {
    "text": chunk({"content": "tok"}),
    "text of parts": chunk({"content": [{"type": "text", "text": "tok"}]}),
    "parts apart": chunk({"content": [{"type": "image_url", "image_url": {}}]}),
    "tool arguments": chunk(
        {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}
    ),
    "name fragments": chunk({"tool_calls": [{"index": 0, "function": {"name": "ab"}}]}),
    "calls without index": chunk({"tool_calls": [{"function": {"arguments": "x"}}]}),
    "logprobs": chunk({"content": "a"}, logprobs={"content": [_TOKEN]}),
    "unknown text": chunk({"x_thought": "hm "}),
    "unknown list": chunk({"x_list": [1]}),
    "unknown key of the top": {**chunk({}), "x_top": {"a": [1, 2]}},
    "reasoning details": chunk(
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "hm"}]}
    ),
    "annotations": chunk({"annotations": [{"type": "url_citation"}]}),
    "audio": chunk({"audio": {"data": "QQ==", "transcript": "a"}}),
    "function call": chunk({"function_call": {"arguments": "x"}}),
    "text beside a list": chunk({"content": "a"}, token_ids=[*range(20)]),
    "text beside an unknown list": chunk({"content": "a", "x_list": [*range(20)]}),
    "usage": {"choices": [], "usage": {"total_tokens": 1, "x": {"y": 2}}},
    "filters": chunk({}, content_filter_results={"hate": {"filtered": False}}),
}


@pytest.mark.parametrize("name", _LOOK_ALIKES)
def test_time_is_linear_in_the_chunks(name: str) -> None:
    event = stream(_LOOK_ALIKES[name])
    assert growth(lambda reads: fold_reads(reads).n_events, [event] * 100) < 16


@pytest.mark.parametrize("event", [b":\n\n", b"data: {}\n\n", b"data: 1\n\n", b"\n"])
def test_time_is_linear_in_events_of_nothing(event: bytes) -> None:
    # Many fit into one block, and none into a run.
    head = stream(chunk({"content": "a"})) * 3

    def work(n: int) -> object:
        return fold_reads([head, event * n]).n_events

    assert min(cost(lambda: work(10000)) / cost(lambda: work(1000)) for _ in "12") < 16


def numbered(name: str, n: int) -> list[bytes]:
    """Write chunks each of which starts something new."""
    return [stream(_NUMBERED[name](i)) for i in range(n)]


_NUMBERED: Final[dict[str, Callable[[int], Json]]] = {
    "choices": lambda i: chunk({"content": "a"}, index=i % 1024),
    "calls": lambda i: chunk(
        {"tool_calls": [{"index": i % 1024, "id": f"c{i % 1024}"}]}
    ),
    "details": lambda i: chunk(
        {"reasoning_details": [{"type": "t", "index": i, "text": "hm"}]}
    ),
    "executed tools": lambda i: chunk({"executed_tools": [{"index": i}]}),
    "unknown keys": lambda i: {**chunk({f"d{i}": 1}, **{f"c{i}": 1}), f"t{i}": 1},
    "usage keys": lambda i: {"choices": [], "usage": {f"u{i}": 1}},
}


@pytest.mark.parametrize("name", _NUMBERED)
def test_time_is_linear_in_what_the_chunks_start(name: str) -> None:
    few, many = numbered(name, 200), numbered(name, 2000)
    ratio = min(
        cost(lambda: fold_reads(many)) / cost(lambda: fold_reads(few)) for _ in range(2)
    )
    assert ratio < 16


@pytest.mark.parametrize("size", [1, 16])
@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b'data: {"choices":[{"delta":{"content":"', b"x"),
        (b"data: x\n", b"data: x\n"),
        (b"", b"\r"),
        (b"", b"\n"),
        (b"", b" "),
        (b"{", b" "),
        (b": ", b"x"),
    ],
    ids=["one line", "one event", "CR", "LF", "spaces", "body", "comment"],
)
def test_time_is_linear_in_the_bytes_however_small_the_reads(
    head: bytes, unit: bytes, size: int
) -> None:
    def work(reads: list[bytes]) -> object:
        return fold_reads([head, *reads]).n_bytes

    small = cut(unit * (size * 1500 // len(unit)), [size])
    assert growth(work, small) < 16


def test_time_is_linear_after_half_a_byte_order_mark() -> None:
    def work(reads: list[bytes]) -> object:
        return fold_reads([b"\xef\n\n", *reads]).n_bytes

    assert growth(work, [b": " + b"x" * 5000 + b"\n\n"] * 60) < 16


def test_a_hundred_thousand_chunks_fold() -> None:
    event = stream(chunk({"content": "tok"}))
    outcome = fold_reads([event * 1000] * 100 + [stream("[DONE]")])
    assert outcome.n_events == 100_001
    assert outcome.unwrap().choices[0].message.content == "tok" * 100_000


def test_looking_costs_the_completion_and_not_the_chunks() -> None:
    def look(n: int) -> float:
        accumulator = Accumulator()
        for _ in range(n):
            accumulator.feed(
                stream({**chunk({"role": "assistant"}), "usage": {"a": 1}})
            )
        accumulator.snapshot()
        return cost(lambda: [accumulator.snapshot() for _ in range(50)])

    assert min(look(10_000) / look(10) for _ in range(2)) < 3


# --- Memory ---------------------------------------------------------------------------


def peak(work: Callable[[], object]) -> int:
    """Return the most that was held at once, in bytes, beyond what was there."""
    work()  # what is built once, at the first use, is not the stream's
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_completion_and_not_by_the_chunks() -> None:
    event = frame([b'{"choices":[{"index":0,"delta":{"role":"assistant"}}]}'])

    def work(n: int) -> Callable[[], object]:
        def feed() -> None:
            accumulator = Accumulator()
            for _ in range(n):
                accumulator.feed(event)
            accumulator.finish()

        return feed

    assert peak(work(5000)) < 2 * peak(work(500)) + 100_000


def test_a_line_over_the_limit_is_not_held() -> None:
    def feed() -> None:
        accumulator = Accumulator(limits=Limits(event_bytes=10_000))
        accumulator.feed(b"data: ")
        for _ in range(500):
            accumulator.feed(b"x" * 4096)
        outcome = accumulator.finish()
        assert outcome.limit == "event_bytes"

    assert peak(feed) < 400_000


def test_a_capture_fed_at_once_is_not_split_into_lines_at_once() -> None:
    body = stream(chunk({"content": "tok"})) * 20_000

    def feed() -> None:
        Accumulator().feed(body)

    assert peak(feed) < len(body) // 2
