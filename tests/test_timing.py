"""When things came: with a clock that is given, held against reading feed by feed."""

import json
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unstream
from tests.strategies import chunk, cut, sizes, stream, streams
from unstream import Accumulator, Gaps, Outcome, Timing
from unstream._detect import load
from unstream._protocol import Protocol
from unstream._timing import Sketch

HERE: Final = Path(__file__).parent / "conformance"
STREAMS: Final = sorted(HERE.rglob("*.sse"))
NAMES: Final = [str(path.relative_to(HERE).with_suffix("")) for path in STREAMS]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def timed(
    feeds: list[bytes], times: Iterator[float] | None = None, **options: Any
) -> Timing:
    """Fold feeds that come at given times, by default at 1, 2, 3, and so on."""
    clock = Clock()
    accumulator = Accumulator(clock=clock, **options)
    for feed, at in zip(feeds, times or count(1), strict=False):
        clock.now = 100.0 + at
        accumulator.feed(feed)
    timing = accumulator.finish().timing
    assert timing is not None
    return timing


# --- What came when -------------------------------------------------------------------


def texts(whole: Any) -> tuple[str, str]:
    """Return the texts and the reasoning of all choices."""
    if whole is None:
        return "", ""
    if whole.__class__.__name__ == "ChatCompletion":
        messages = [choice.message for choice in whole.choices]
        return (
            "".join(message.text() for message in messages),
            "".join(message.thoughts() for message in messages),
        )
    if whole.__class__.__name__ == "TextCompletion":
        return "".join(choice.text or "" for choice in whole.choices), ""
    if hasattr(whole, "candidates"):
        contents = [c.content for c in whole.candidates or () if c.content]
        parts = [part for content in contents for part in content.parts or ()]
        return (
            "".join(part.text or "" for part in parts if not part.thought),
            "".join(part.text or "" for part in parts if part.thought),
        )
    return whole.output_text, whole.summary().reasoning


def reference(feeds: list[bytes], protocol: Protocol[Any]) -> dict[str, Any]:
    """Say what came when, by a look at the whole after each feed."""
    accumulator = Accumulator(protocol=protocol)
    firsts: dict[str, float] = {}
    ends: list[float] = []
    n = at = 0
    for at, feed in enumerate(feeds, 1):
        accumulator.feed(feed)
        whole = accumulator.snapshot()
        text, reasoning = texts(whole)
        for name, is_there in (
            ("first_byte", feed),
            ("first_content", accumulator.has_content),
            ("first_text", text),
            ("first_reasoning", reasoning),
        ):
            if is_there:
                firsts.setdefault(name, float(at))
        if accumulator._fold.n_events > n:
            n = accumulator._fold.n_events
            ends.append(float(at))
    outcome = accumulator.finish()
    text, reasoning = texts(outcome.completion)
    for name, is_there in (
        # Of a body, the protocols do not all say whether it has content.
        ("first_content", accumulator._fold.has_content or text or reasoning),
        ("first_text", text),
        ("first_reasoning", reasoning),
    ):
        if is_there:
            firsts.setdefault(name, float(at))
    if accumulator._fold.n_events > n and at not in ends:
        ends.append(float(at))
    gaps = [after - before for before, after in pairwise(ends)]
    return {
        "first_byte": None,
        "first_content": None,
        "first_text": None,
        "first_reasoning": None,
        **firsts,
        "feeds": len(ends),
        "largest": max(gaps, default=None),
        "last_event": ends[-1] if ends else None,
    }


def said_by(timing: Timing) -> dict[str, Any]:
    return {
        "first_byte": timing.first_byte,
        "first_content": timing.first_content,
        "first_text": timing.first_text,
        "first_reasoning": timing.first_reasoning,
        "feeds": timing.feeds,
        "largest": None if timing.gaps is None else timing.gaps.largest,
        "last_event": timing.last_event,
    }


@given(streams, sizes, st.booleans())
def test_it_is_known_in_which_feed_each_came(
    body: bytes,
    into: list[int],
    fast: bool,  # noqa: FBT001
) -> None:
    feeds = cut(body, into)
    timing = timed(feeds, fast=fast)
    assert said_by(timing) == reference(feeds, unstream.chat.PROTOCOL)


def events(body: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


@pytest.mark.parametrize("path", STREAMS, ids=NAMES)
def test_it_is_known_for_every_protocol(path: Path) -> None:
    answer = json.loads(path.with_suffix(".json").read_bytes())
    folder = path.relative_to(HERE).parts[0]
    name = answer.get("protocol", "chat")
    if folder in ("messages", "responses", "gemini"):
        name = folder
    protocol = load(name)
    body = path.read_bytes()
    for feeds in (events(body), cut(body, [7]), cut(body, [300]), [body]):
        if feeds == [body] and "second" in path.stem:
            continue  # what the first of two said is gone from the whole
        expected = reference(feeds, protocol)
        for fast in (True, False):
            assert said_by(timed(feeds, protocol=protocol, fast=fast)) == expected


def test_what_came_before_the_protocol_was_known_has_its_times() -> None:
    filtered = b'data: {"choices":[],"prompt_filter_results":[]}\n\n'  # as of Azure
    feeds = [filtered, b": waits\n\n", said("", "content"), said("a"), said("b")]
    timing = timed(feeds, protocol=unstream.ANY)
    assert (timing.first_byte, timing.first_event, timing.first_text) == (1, 1, 4)
    assert timing == timed(feeds, protocol=unstream.chat.PROTOCOL)
    for step in (1, 7):
        pieces = cut(b"".join(feeds), [step])
        timing = timed(pieces, protocol=unstream.ANY)
        assert timing.first_event == -(-len(filtered) // step)
        assert timing == timed(pieces, protocol=unstream.chat.PROTOCOL)
    timing = timed(feeds[:2], protocol=unstream.ANY)
    assert (timing.first_event, timing.last_event, timing.feeds) == (1, 1, 1)
    many = cut(b":" * 3000 + b"\n\n" + filtered, [1])
    accumulator = Accumulator(protocol=unstream.ANY, clock=time.monotonic)
    for feed in many:
        accumulator.feed(feed)
    watch: Any = accumulator._watch
    assert len(watch.early) <= 1024
    assert timed(many, protocol=unstream.ANY).first_event == len(many)


@pytest.mark.parametrize("step", [1, 3, 50])
def test_an_element_of_an_array_ends_before_its_line_does(step: int) -> None:
    element = b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}'
    feeds = cut(b"[" + b" , \n".join([element] * 9) + b"]", [step])
    expected = reference(feeds, unstream.gemini.PROTOCOL)
    assert said_by(timed(feeds, protocol=unstream.gemini.PROTOCOL)) == expected


def said(text: str, key: str = "content") -> bytes:
    return stream(chunk({key: text})).removesuffix(b"data: [DONE]\n\n")


def test_a_long_reasoning_comes_before_the_answer() -> None:
    feeds = [said("", "content"), *[said("hm", "reasoning")] * 500, said("yes")]
    for protocol in (unstream.chat.PROTOCOL, unstream.ANY):
        timing = timed(feeds, protocol=protocol)
        assert (timing.first_byte, timing.first_content) == (1, 2)
        assert (timing.first_reasoning, timing.first_text) == (2, 502)
        assert (timing.feeds, timing.last_event, timing.total) == (502, 502, 502)


def test_a_feed_of_several_events_is_one_time() -> None:
    both = said("", "reasoning") + said("hm", "reasoning")
    timing = timed([said(""), both, said("a") + said("b"), said("c") + said("d")] * 40)
    assert (timing.first_reasoning, timing.first_text, timing.feeds) == (2, 3, 160)
    assert timing.gaps is not None
    assert timing.gaps.count == 159


def test_what_is_no_event_has_no_time() -> None:
    ping, half = b": ping\n\n", said("b")
    feeds = [said("a"), ping, ping, half[:20], half[20:], b"", said("c"), ping]
    timing = timed(feeds)
    assert (timing.feeds, timing.last_event, timing.total) == (3, 7, 8)
    assert timing.gaps is not None
    assert (timing.gaps.largest, timing.gaps.stalls) == (4, 2)


def test_what_was_silent_at_the_end_is_told() -> None:
    timing = timed([said("a"), b": ping\n\n"], iter([1, 60]))
    assert (timing.last_event, timing.total, timing.gaps) == (1, 60, None)


def test_chunks_have_times_as_well() -> None:
    clock = Clock()
    accumulator = Accumulator(clock=clock)
    for delta in ({"role": "assistant"}, {"reasoning": "hm"}, {"content": "a"}):
        clock.now += 1
        accumulator.add(chunk(delta))
    timing = accumulator.finish().timing
    assert timing is not None
    assert (timing.first_byte, timing.first_content) == (1, 2)
    assert (timing.first_reasoning, timing.first_text, timing.feeds) == (2, 3, 3)


def test_events_and_times_go_together() -> None:
    clock = Clock()
    accumulator = Accumulator(clock=clock, events=True)
    told: list[object] = []
    for text in ("", "a", "b"):
        clock.now += 1
        told += accumulator.feed(said(text))
    assert len(told) >= 2
    timing = accumulator.finish().timing
    assert timing is not None
    assert (timing.first_text, timing.feeds, timing.last_event) == (2, 3, 3)


def test_a_rate_is_of_the_usage_that_was_sent_and_never_a_guess() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 30, "total_tokens": 31}
    last = stream(chunk({}, usage=usage))
    assert timed([said("a"), said("b"), last]).output_rate == 10
    assert timed([said("a"), said("b")]).output_rate is None
    assert timed([last], iter([0.0])).output_rate is None  # in no time


def test_without_a_clock_there_are_no_times() -> None:
    accumulator = Accumulator()
    accumulator.feed(stream(chunk({"content": "a"})))
    assert accumulator.finish().timing is None
    with pytest.raises(TypeError, match="clock is a function such as"):
        Accumulator(clock=time.monotonic())  # type: ignore[call-overload]


def test_times_are_saved_and_loaded() -> None:
    accumulator = Accumulator(clock=time.monotonic)
    for _ in range(5):
        accumulator.feed(said("a"))
    outcome = accumulator.finish()
    assert outcome.timing is not None
    assert outcome.timing.gaps is not None
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert Outcome.from_dict(outcome.to_dict()) == outcome


# --- The sketch -----------------------------------------------------------------------


def sketch(gaps: list[float]) -> Gaps:
    made = Sketch()
    made.add(gaps[:7])
    made.add(gaps[7:])
    result = made.result()
    assert result is not None
    return result


def near(found: float, exact: float) -> bool:
    """Say whether a gap is within 2 %, or both are less than a microsecond."""
    return abs(found - exact) <= 0.02 * exact or max(found, exact) < 1.0001e-6


@given(st.lists(st.floats(0, 86_400), min_size=1, max_size=300))
def test_quantiles_are_within_two_percent(gaps: list[float]) -> None:
    found, ranked = sketch(gaps), sorted(gaps)
    for percent, quantile in ((50, found.p50), (95, found.p95), (99, found.p99)):
        exact = ranked[math.ceil(percent * len(gaps) / 100) - 1]
        assert near(quantile, exact)
    assert found.p50 <= found.p95 <= found.p99 <= found.largest == ranked[-1]
    assert found.count == len(gaps) == sum(n for _, n in found.histogram)
    assert found.stalls == sum(gap >= 1 for gap in gaps)
    assert [gap for gap, _ in found.histogram] == sorted(
        {g for g, _ in found.histogram}
    )
    assert all(map(near, found.sample(len(gaps)), ranked))
    middle = found.sample(1)
    assert near(middle[0], ranked[len(gaps) // 2])


def test_a_sketch_does_not_grow_with_the_gaps() -> None:
    gaps = [1.01**i * 1e-7 for i in range(3000)]  # from below a microsecond to a week
    assert len(sketch(gaps).histogram) <= 648
    assert sketch(gaps * 50).histogram == tuple(
        (gap, n * 50) for gap, n in sketch(gaps).histogram
    )
    assert len(sketch(gaps).sample(100)) == 100


# --- What it costs --------------------------------------------------------------------


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def fold(feeds: list[bytes], clock: Callable[[], float] | None) -> None:
    accumulator = Accumulator(clock=clock)
    for feed in feeds:
        accumulator.feed(feed)
    accumulator.finish()


def best_ratio(one: Callable[[], object], other: Callable[[], object]) -> float:
    return min(seconds(one) / seconds(other) for _ in range(5))


@pytest.mark.parametrize("step", [0, 40], ids=["whole", "cut"])
def test_a_clock_costs_about_a_microsecond_a_feed(step: int) -> None:
    """Less than six times the fold of events that are alike, the cheapest there is."""
    feeds = [said(f" token {i % 10}") for i in range(10_000)]
    if step:
        feeds = [piece for feed in feeds for piece in cut(feed, [step])]
    ratio = best_ratio(partial(fold, feeds, time.monotonic), partial(fold, feeds, None))
    assert ratio < 6


@pytest.mark.parametrize("key", ["reasoning", "content"])
def test_time_is_linear_in_the_feeds_however_long_one_thing_is_waited_for(
    key: str,
) -> None:
    short = [said("hm", key)] * 4_000
    ratio = best_ratio(
        partial(fold, short * 8, time.monotonic), partial(fold, short, time.monotonic)
    )
    assert ratio < 16
