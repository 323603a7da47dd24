"""What holds of every stream of a response."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.responses.streams import (
    CHANGES,
    FAMILIES,
    Event,
    Json,
    answers,
    ev,
    event_lists,
    fold_reads,
    frame,
    limits,
    response,
    segments,
    streams,
)
from tests.strategies import check_looks, cost, cut, sizes
from unstream import Accumulator, Ending, Limits, Outcome
from unstream.responses import PROTOCOL, Response

# --- Cuts, looks, roads ---------------------------------------------------------------


@given(body=streams, into=sizes, bounds=limits, fast=st.booleans())
def test_cuts_do_not_matter(
    body: bytes, into: list[int], bounds: Limits, *, fast: bool
) -> None:
    whole = fold_reads([body], limits=bounds)
    parts = fold_reads(cut(body, into), limits=bounds, fast=fast)
    assert parts == whole
    # Equality takes 1 for True and 1.0.
    assert repr(parts) == repr(whole)


@given(streams, sizes, limits)
def test_looking_does_not_disturb(body: bytes, into: list[int], bounds: Limits) -> None:
    unseen = fold_reads([body], limits=bounds)
    check_looks(cut(body, into), unseen, protocol=PROTOCOL, limits=bounds)


def check_runs(events: list[Event], *, names: bool = True) -> None:
    """Hold a stream, which is read in runs, against its events one by one."""
    accumulator = Accumulator(protocol=PROTOCOL)
    for event in events:
        accumulator.add(event)
    want = shown(accumulator.finish())
    for fast in (True, False):
        assert shown(fold_reads([frame(events, names=names)], fast=fast)) == want


@given(segments=segments, names=st.booleans())
def test_events_in_runs_fold_like_each_by_itself(
    segments: list[Event], *, names: bool
) -> None:
    check_runs(segments, names=names)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change["type"])
def test_a_change_between_runs_counts(family: str, change: Event) -> None:
    address = {"item_id": "item_0", "output_index": 0}
    delta = ev(f"{family}.delta", **address, delta="a")
    for beside in ({}, {"content_index": 0}):
        run = [{**delta, **beside}] * 30
        changed = {**change, **address, **beside}
        check_runs([CHANGES[0], *run, changed, *run, changed, *run])
        check_runs([changed, *run, changed, *run])


@given(event_lists)
def test_events_that_were_parsed_fold_like_their_bytes(events: list[Event]) -> None:
    accumulator = Accumulator(protocol=PROTOCOL)
    for event in events:
        accumulator.add(event)
    added = accumulator.finish()
    fed = fold_reads([frame(events, names=False)])
    assert shown(added) == shown(fed)


def shown(outcome: Outcome[Response]) -> Json:
    plain = outcome.to_dict()
    del plain["n_bytes"]
    return plain


# --- Verdicts -------------------------------------------------------------------------


def check(outcome: Outcome[Response]) -> None:
    whole = outcome.completion
    assert (outcome.ending is Ending.ERROR) == (outcome.error is not None)
    if outcome.ending in (Ending.EMPTY, Ending.FOREIGN):
        assert whole is None
    if outcome.ending in (Ending.COMPLETE, Ending.TRUNCATED) and outcome.n_events:
        assert whole is not None or outcome.n_malformed
    plain = None if whole is None else whole.to_dict()
    if whole is not None and plain is not None:
        assert json.loads(whole.to_json()) == plain
        assert Response.from_json(whole.to_json()) == whole
        assert whole.output_text == whole.output_text
        has_usage = plain.get("usage") is not None
        assert (outcome.usage_source == "usage") == has_usage
        n_items = len(plain.get("output") or ())
        assert all(0 <= place < n_items for place in outcome.unfinished)
        for call in outcome.calls:
            assert not call.runnable or call.arguments in ("whole", "empty")
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert 0 <= outcome.n_malformed <= max(outcome.n_events, 1)


@given(streams, limits)
def test_whatever_comes_gets_a_verdict(body: bytes, bounds: Limits) -> None:
    check(fold_reads([body], limits=bounds))


@given(st.binary(max_size=200), sizes)
def test_noise_gets_a_verdict(body: bytes, into: list[int]) -> None:
    check(fold_reads(cut(body, into)))


# --- A stream brings its answer twice, in pieces and whole ----------------------------


def mended(value: Json) -> Json:
    """Rejoin the halves of surrogate pairs, by way of the text of the value."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    )


@given(answers, sizes)
def test_a_whole_stream_folds_to_its_last_word(
    answer: tuple[Json, list[Event]], into: list[int]
) -> None:
    want, events = answer
    outcome = fold_reads(cut(frame(events), into))
    assert outcome.ending is Ending.COMPLETE
    assert outcome.unwrap().to_dict() == mended(want)
    assert outcome.unfinished == ()


@given(answer=answers, fast=st.booleans())
def test_without_its_last_word_a_stream_folds_to_the_same_output(
    answer: tuple[Json, list[Event]], *, fast: bool
) -> None:
    want, events = answer
    outcome = fold_reads([frame(events[:-1])], fast=fast)
    assert outcome.ending is Ending.TRUNCATED
    assert outcome.completion is not None
    assert outcome.completion.to_dict()["output"] == mended(want["output"])


def texts_of(value: Json) -> Json:
    """Leave out what deltas do not bring."""
    if isinstance(value, dict):
        return {key: texts_of(inner) for key, inner in value.items() if key != "status"}
    return [texts_of(inner) for inner in value] if isinstance(value, list) else value


@given(answers, sizes)
def test_without_any_done_a_stream_folds_to_the_same_texts(
    answer: tuple[Json, list[Event]], into: list[int]
) -> None:
    want, events = answer
    left = [one for one in events[:-1] if not one["type"].endswith(".done")]
    outcome = fold_reads(cut(frame(left), into))
    assert outcome.completion is not None
    found = outcome.completion.to_dict()["output"]
    assert texts_of(found) == mended(texts_of(want["output"]))
    assert outcome.unfinished == tuple(range(len(found)))


@given(answers)
def test_a_terminal_event_without_output_changes_no_item(
    answer: tuple[Json, list[Event]],
) -> None:
    want, events = answer
    last = {**events[-1], "response": {**want, "output": []}}
    outcome = fold_reads([frame([*events[:-1], last])])
    assert outcome.unwrap().to_dict() == mended(want)


@given(answers, answers)
def test_of_two_responses_the_last_one_counts(
    first: tuple[Json, list[Event]], second: tuple[Json, list[Event]]
) -> None:
    outcome = fold_reads([frame([*first[1], *second[1]])])
    assert outcome.unwrap().to_dict() == mended(second[0])
    assert "several_responses" in [note.code for note in outcome.notes]


# --- Cost -----------------------------------------------------------------------------


def text(delta: str = "tok", **keys: Json) -> Event:
    address = {"item_id": "item_0", "output_index": 0, "content_index": 0}
    return ev("output_text.delta", **address, delta=delta, logprobs=[], **keys)


def item(n: int, **keys: Json) -> Event:
    whole = {"id": f"item_{n}", "type": "message", "content": [], **keys}
    return ev("output_item.added", output_index=n, item=whole)


_NUMBERED: Final[dict[str, Callable[[int], Event]]] = {
    "texts": lambda n: text(sequence_number=n, obfuscation="x" * (n % 7)),
    "texts of other ids": lambda n: {**text(), "item_id": f"item_{n}"},
    "texts without address": lambda _: ev("output_text.delta", delta="tok"),
    "items": lambda n: item(n % 900),
    "items of one index": lambda n: {**item(n % 900), "output_index": 0},
    "items of one id": lambda n: {**item(0), "output_index": n % 900},
    "items without index": lambda n: {**item(n % 900), "output_index": None},
    "items that end": lambda n: {**item(n % 900), "type": "response.output_item.done"},
    "parts": lambda n: {**text(), "content_index": n},
    "parts of a list that was given": lambda n: ev(
        "content_part.done", output_index=0, content_index=n, part={"type": "x"}
    ),
    "annotations": lambda n: ev(
        "output_text.annotation.added", output_index=0, annotation={"n": n}
    ),
    "log probabilities": lambda n: {**text(), "logprobs": [{"token": "a", "n": n}]},
    "commands": lambda n: ev(
        "shell_call_command.delta", output_index=0, command_index=n, delta="x"
    ),
    "outputs": lambda n: ev(
        "shell_call_output_content.delta", output_index=0, delta={f"k{n}": "x"}
    ),
    "unknown families": lambda n: ev(f"x{n}.delta", output_index=0, delta="x"),
    "lifecycle": lambda n: ev("in_progress", response={**response(), f"k{n}": 1}),
    "snapshots": lambda _: ev("in_progress", response=response("queued", {"a": 1})),
    "responses": lambda n: ev("created", response=response(id=f"resp_{n}")),
    "pings": lambda _: {"type": "keepalive"},
    "errors": lambda n: {"type": "error", "message": str(n)},
}


@pytest.mark.parametrize("name", _NUMBERED)
@pytest.mark.parametrize("fast", [True, False])
def test_time_is_linear_in_the_events(name: str, *, fast: bool) -> None:
    def reads(n: int) -> list[bytes]:
        return [frame([item(0)]), *(frame([_NUMBERED[name](i)]) for i in range(n))]

    few, many = reads(300), reads(3000)
    ratio = min(
        cost(lambda: fold_reads(many, fast=fast))
        / cost(lambda: fold_reads(few, fast=fast))
        for _ in range(2)
    )
    assert ratio < 16


def peak(work: Callable[[], object]) -> int:
    """Return the most that was held at once, in bytes, beyond what was there."""
    work()  # what is built once, at the first use, is not the stream's
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", _NUMBERED)
def test_memory_is_a_few_times_what_was_fed(name: str) -> None:
    body = frame(_NUMBERED[name](i) for i in range(3000))

    def feed() -> None:
        accumulator = Accumulator(protocol=PROTOCOL)
        for at in range(0, len(body), 4096):
            accumulator.feed(body[at : at + 4096])

    assert peak(feed) < 16 * len(body) + 1024 * 1024


def test_a_snapshot_costs_the_response_and_not_the_events() -> None:
    def look(n: int) -> float:
        accumulator = Accumulator(protocol=PROTOCOL)
        accumulator.feed(frame([item(0), *(text("") for _ in range(n))]))
        accumulator.snapshot()
        return cost(lambda: [accumulator.snapshot() for _ in range(200)])

    assert min(look(5000) / look(5) for _ in range(2)) < 3
