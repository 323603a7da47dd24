"""What holds of every stream of Gemini, whatever its form: the promises, as laws."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.gemini.streams import (
    FORMS,
    Json,
    as_array,
    as_compact,
    as_events,
    as_lines,
    bodies,
    encode,
    fold,
    forms,
    limits,
    payload_lists,
    sizes,
    texts_only,
)
from tests.strategies import check_looks, cut
from unstream import Ending, Limits, Note, Outcome
from unstream._json import parse
from unstream.gemini import (
    PROTOCOL,
    GenerateContentResponse,
    UsageMetadata,
)

# --- Cuts, looks, the fast path -------------------------------------------------------


@given(bodies, sizes, limits)
def test_cuts_do_not_matter(body: bytes, into: list[int], bounds: Limits) -> None:
    whole = fold([body], limits=bounds)
    parts = fold(cut(body, into), limits=bounds)
    assert parts == whole
    assert repr(parts) == repr(whole)  # equality takes 1 for True and 1.0


@given(bodies, sizes, limits)
def test_the_fast_path_changes_nothing(
    body: bytes, into: list[int], bounds: Limits
) -> None:
    plain = repr(fold([body], limits=bounds, fast=False))
    assert repr(fold([body], limits=bounds)) == plain
    assert repr(fold(cut(body, into), limits=bounds)) == plain


@given(st.lists(st.text(max_size=3), max_size=60), forms, sizes)
def test_the_fast_path_changes_nothing_of_a_long_text(
    texts: list[str], form: Callable[[Sequence[Json]], bytes], into: list[int]
) -> None:
    body = form(texts_only([(0, n % 20 < 8, text) for n, text in enumerate(texts)]))
    plain = repr(fold([body], fast=False))
    assert repr(fold([body])) == plain
    assert repr(fold(cut(body, into))) == plain


@given(payload_lists, forms, sizes, st.sampled_from((1, 2, 13, 40)), limits)
def test_the_fast_path_changes_nothing_of_what_repeats(
    payloads: list[Json],
    form: Callable[[Sequence[Json]], bytes],
    into: list[int],
    n: int,
    bounds: Limits,
) -> None:
    bounds = msgspec.structs.replace(bounds, stream_bytes=1 << 20)
    body = form([each for one in payloads for each in [one] * n] + payloads * n)
    plain = repr(fold([body], limits=bounds, fast=False))
    assert repr(fold([body], limits=bounds)) == plain
    assert repr(fold(cut(body, [max(into) * 9]), limits=bounds)) == plain
    assert repr(fold([*cut(body, [5000])], limits=bounds, fast=False)) == plain


# Events that are much alike: in each, one thing differs from what stands in most. A
# usage that is None stands for a total that is another one in each event.
_MOST: Final[dict[str, Json]] = {
    "text": "a",
    "thought": False,
    "role": "model",
    "index": None,
    "reason": None,
    "id": "r",
    "usage": None,
}
_OTHER: Final[dict[str, Sequence[Json]]] = {
    "text": ("a", "", "é", "\ud83d", '"'),
    "thought": (True,),
    "role": ("user", ""),
    "index": (0, 1),
    "reason": ("STOP", "MAX_TOKENS"),
    "id": ("s", None),
    "usage": (
        *({}, {"trafficType": "A", "n": 2}, {"trafficType": "B", "n": 2}),
        *({"totalTokenCount": True}, {"totalTokenCount": 1.0}),
        {"totalTokenCount": 5, "x": None},
    ),
}
_changes: Final = [(key, value) for key, other in _OTHER.items() for value in other]


@st.composite
def _kinds(draw: DrawFn) -> list[tuple[dict[str, Json], int]]:
    """Draw a few kinds, and how many times each comes in a row, in turns."""
    most = _MOST | dict([draw(st.sampled_from(_changes))])
    kinds = [most | dict([draw(st.sampled_from(_changes))]) for _ in range(2)]
    return [
        (draw(st.sampled_from([most, *kinds])), draw(st.sampled_from((1, 2, 20))))
        for _ in range(draw(st.integers(1, 6)))
    ]


def alike(kinds: list[tuple[dict[str, Json], int]]) -> list[Json]:
    """Return the events of some kinds, each so many times."""
    events: list[Json] = []
    for kind, n in kinds:
        for _ in range(n):
            part = {"text": kind["text"]} | (
                {"thought": True} if kind["thought"] else {}
            )
            candidate = {
                "content": {"parts": [part], "role": kind["role"]},
                "index": kind["index"],
                "finishReason": kind["reason"],
            }
            usage = kind["usage"]
            if usage is None:
                usage = {"totalTokenCount": len(events)}
            events.append(
                {
                    "candidates": [
                        {k: v for k, v in candidate.items() if v is not None}
                    ],
                    "usageMetadata": usage,
                    **({"responseId": kind["id"]} if kind["id"] else {}),
                }
            )
    return events


@given(_kinds(), forms, sizes)
def test_the_fast_roads_fold_as_the_tables_do(
    kinds: list[tuple[dict[str, Json], int]],
    form: Callable[[Sequence[Json]], bytes],
    into: list[int],
) -> None:
    sent = alike(kinds)
    tables = PROTOCOL.fold(Limits())
    for event in sent:
        tables.n_events += 1
        tables.add(parse(encode(event)), encode(event))
    tables.has_halves = True
    completion = repr(tables.result())

    def noted(notes: Sequence[Note]) -> list[Note]:
        return [note for note in notes if note.code in ("id_changed", "reopened")]

    if len(sent) < 2:
        return  # one object alone may be a body
    body = form(sent)
    for feeds in ([body], cut(body, into), cut(body, [5000])):
        for fast in (True, False):
            outcome = fold(feeds, fast=fast)
            assert repr(outcome.completion) == completion
            assert outcome.unfinished == tables.unfinished()
            assert noted(outcome.notes) == noted(tables.notes())


@pytest.mark.parametrize("usage", [None, {"totalTokenCount": 1}])
def test_the_fast_roads_see_what_finishes_and_what_goes_on(usage: Json) -> None:
    """Runs of events with and without a reason, in every order."""
    plain = _MOST | {"usage": usage}
    stop = plain | {"reason": "STOP"}
    for kinds in product((plain, stop), repeat=5):
        body = as_events(alike([(kind, 15) for kind in kinds]))
        expected = kinds[-1]["reason"] is None
        for feeds in ([body], cut(body, [97])):
            outcome = fold(feeds)
            assert bool(outcome.unfinished) is expected
            turns = sum(a is stop and b is plain for a, b in pairwise(kinds))
            reopened = [n.count for n in outcome.notes if n.code == "reopened"]
            assert sum(reopened) == turns


def test_the_look_forgets_what_came_by_another_road() -> None:
    text, thought = _MOST | {"text": "a"}, _MOST | {"text": "b", "thought": True}
    sent = alike([(text, 5), (thought, 1), (text, 1)])
    body = as_events(sent[:5]) + b"event: x\n" + as_events(sent[5:])
    for feeds in ([body], cut(body, [97])):
        whole = fold(feeds).completion
        assert whole is not None
        [candidate] = whole.to_dict()["candidates"]
        texts = [part["text"] for part in candidate["content"]["parts"]]
        assert texts == ["aaaaa", "b", "a"]


@given(bodies, sizes, limits)
def test_looking_does_not_disturb(body: bytes, into: list[int], bounds: Limits) -> None:
    unseen = fold([body], limits=bounds)
    check_looks(cut(body, into), unseen, protocol=PROTOCOL, limits=bounds)


# --- Verdicts -------------------------------------------------------------------------


def check_verdict(outcome: Outcome[Any], body: bytes) -> None:
    whole = outcome.completion
    candidates = [] if whole is None else whole.candidates or []
    assert (outcome.ending is Ending.ERROR) == (outcome.error is not None)
    if outcome.ending is Ending.COMPLETE:
        assert whole is not None
        assert not outcome.unfinished
        if outcome.n_events:
            assert all(candidate.finishReason for candidate in candidates)
        assert outcome.unwrap() is whole
    if outcome.ending in (Ending.EMPTY, Ending.FOREIGN):
        assert not candidates
    if outcome.ending is Ending.FOREIGN:
        assert whole is None
    assert 0 <= outcome.n_malformed <= outcome.n_events
    assert outcome.n_bytes == len(body)
    for call in outcome.calls:
        if call.runnable:
            assert call.choice not in outcome.unfinished
            assert call.arguments in ("whole", "empty")
    assert repr(Outcome.from_json(outcome.to_json())) == repr(outcome)
    if whole is not None:
        plain = whole.to_dict()
        assert json.loads(whole.to_json()) == plain
        assert repr(GenerateContentResponse.from_json(whole.to_json())) == repr(whole)
        assert repr(GenerateContentResponse.from_dict(plain)) == repr(whole)


@given(bodies, limits)
def test_whatever_comes_gets_a_verdict(body: bytes, bounds: Limits) -> None:
    check_verdict(fold([body], limits=bounds), body)


@given(st.binary(max_size=200), sizes)
def test_noise_gets_a_verdict(body: bytes, into: list[int]) -> None:
    check_verdict(fold(cut(body, into)), body)


@given(payload_lists)
def test_the_form_does_not_matter(payloads: list[Json]) -> None:
    """The same payloads fold to the same, however they are framed."""
    sent = [p for p in payloads if isinstance(p, dict)]
    if len(sent) < 2:
        return  # one object alone may be a body
    events = fold([as_events(sent)])
    for form in FORMS:
        outcome = fold([form(sent)])
        assert repr(outcome.completion) == repr(events.completion)
        assert outcome.error == events.error
        assert outcome.ending == events.ending
        assert outcome.n_malformed == events.n_malformed


# --- Prefixes -------------------------------------------------------------------------

_texts: Final = st.lists(
    st.tuples(
        st.sampled_from((0, 0, 1)),
        st.booleans(),
        st.sampled_from(("", "a", "é😀", '"}]', "\\", "Hello, ", "\n", "[{")),
    ),
    max_size=8,
)
_ENDS: Final = [
    {"candidates": [{"index": index, "finishReason": "STOP"} for index in (0, 1)]},
    {"usageMetadata": {"totalTokenCount": 3}},
]


def said(whole: GenerateContentResponse | None) -> dict[tuple[int, bool], str]:
    """Return the text of each candidate, thoughts apart."""
    found: dict[tuple[int, bool], str] = defaultdict(str)
    for candidate in (whole.candidates if whole else None) or ():
        for part in (candidate.content.parts if candidate.content else None) or ():
            found[candidate.index or 0, bool(part.thought)] += part.text or ""
    return found


@given(_texts, forms)
def test_the_text_of_every_prefix_is_a_prefix(
    texts: list[tuple[int, bool, str]], form: Callable[[Sequence[Json]], bytes]
) -> None:
    body = form([*texts_only(texts), *_ENDS])
    whole = fold([body])
    assert whole.ending is Ending.COMPLETE
    expected: dict[tuple[int, bool], str] = defaultdict(str)
    for index, thought, text in texts:
        expected[index, thought] += text
    assert {k: v for k, v in said(whole.completion).items() if v} == {
        k: v for k, v in expected.items() if v
    }
    for end in range(0, len(body), 3):
        for place, text in said(fold([body[:end]]).completion).items():
            assert expected[place].startswith(text)


@given(_texts, st.sampled_from((as_array, as_compact)))
def test_a_complete_prefix_of_an_array_is_the_whole(
    texts: list[tuple[int, bool, str]], form: Callable[[Sequence[Json]], bytes]
) -> None:
    # Each event has a finishReason, so that only the bracket tells.
    payloads = texts_only(texts)
    for payload in payloads:
        payload["candidates"][0]["finishReason"] = "STOP"
    body = form([*payloads, *_ENDS])
    whole = fold([body])
    assert whole.ending is Ending.COMPLETE
    for end in range(len(body)):
        outcome = fold([body[:end]])
        if outcome.ending is Ending.COMPLETE:
            assert repr(outcome.completion) == repr(whole.completion)
            assert body[end:].strip() == b""


# --- Nothing is lost, nothing grows ---------------------------------------------------


def test_every_field_that_is_sent_is_in_the_result() -> None:
    """Each field of a response and of a candidate, alone, with a value that fits."""

    def value(kind: Any) -> Json:
        names = str(kind)
        if "list" in names:
            return []
        for name, fitting in (("str", "x"), ("int", 3), ("float", 0.5), ("bool", True)):
            if f"{name} |" in names or names == f"<class '{name}'>":
                return fitting
        return {}

    def fields(kind: type[msgspec.Struct]) -> dict[str, Json]:
        found = {f.name: value(f.type) for f in msgspec.structs.fields(kind)}
        return {n: v for n, v in found.items() if n not in ("extra", "_absent")}

    for name, sent in fields(GenerateContentResponse).items():
        payload = {"responseId": "r", name: sent}
        whole = fold([as_events([payload])]).completion
        assert whole is not None
        lost = name == "candidates"  # an empty list of them is none
        assert whole.to_dict() == ({"responseId": "r"} if lost else payload)
    kind = msgspec.structs.fields(GenerateContentResponse)[0].type
    [candidate, *_] = kind.__args__[0].__args__
    for name, sent in fields(candidate).items():
        whole = fold([as_events([{"candidates": [{name: sent}]}])]).completion
        assert whole is not None
        assert whole.to_dict() == {"candidates": [{name: sent}]}
    for name, sent in fields(UsageMetadata).items():
        whole = fold([as_events([{"usageMetadata": {name: sent}}])]).completion
        assert whole is not None
        assert whole.to_dict() == {"usageMetadata": {name: sent}}


def ratio(small: Callable[[], Any], large: Callable[[], Any]) -> float:
    """Return how many times as long the large one takes; the best of several runs."""

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    best(small)
    return best(large) / best(small)


def feeder(body: bytes, step: int) -> Callable[[], Any]:
    feeds = [body[at : at + step] for at in range(0, len(body), step)]
    return lambda: fold(feeds)


LONG: Final = 8  # times as long

SHAPES: Final[dict[str, Callable[[int], bytes]]] = {
    "events": lambda n: as_events(
        [
            {**payload, "usageMetadata": {"totalTokenCount": at}}
            for at, payload in enumerate(texts_only([(0, False, "word ")] * n))
        ]
    ),
    "array": lambda n: as_array(texts_only([(0, False, "word ")] * n)),
    "lines": lambda n: as_lines(texts_only([(0, False, "word ")] * n)),
    "a huge element": lambda n: as_array(texts_only([(0, False, "[word{ " * 20 * n)])),
    "a huge list of numbers": lambda n: as_compact([{"a": [7] * 80 * n}]),
    "a huge object among events": lambda n: (
        as_events([{"responseId": "r"}])
        + as_lines(texts_only([(0, False, "word " * 40 * n)]))
    ),
    "a huge object over many lines": lambda n: (
        as_events([{"responseId": "r"}])
        + json.dumps({"modelStatus": ["word"] * 20 * n}, indent=1).encode()
        + b"\n"
    ),
    "a huge object alone": lambda n: as_lines([{"responseId": "word " * 40 * n}]),
    "a huge number": lambda n: b"[" + b"7" * 200 * n + b"]",
    "objects on one line": lambda n: (
        as_events([{"responseId": "r"}]) + b"{}" * 20 * n + b"\n"
    ),
    "white space first": lambda n: b" \n" * 100 * n + as_array([]),
    "backslashes": lambda n: b'[{"a": "' + b"\\" * 200 * n + b'"}]',
    "a broken element": lambda n: b'[{"a": ' + b"[1, 2], " * 40 * n + b"}]",
    "citations": lambda n: as_array(
        [
            {"candidates": [{"citationMetadata": {"citations": [{"startIndex": at}]}}]}
            for at in range(n)
        ]
    ),
    "an argument in pieces": lambda n: as_events(
        [
            {"candidates": [{"content": {"parts": [{"functionCall": call}]}}]}
            for call in (
                {"name": "f", "willContinue": True},
                *[
                    {
                        "partialArgs": [{"jsonPath": "$.a.b", "stringValue": "word"}],
                        "willContinue": True,
                    }
                ]
                * n,
            )
        ]
    ),
    "a list in pieces": lambda n: as_events(
        [
            {
                "candidates": [
                    {
                        "content": {
                            "parts": [
                                {
                                    "functionCall": {
                                        "name": "f",
                                        "partialArgs": [
                                            {"jsonPath": f"$.l[{at}]", "numberValue": 1}
                                            for at in range(4 * n)
                                        ],
                                    }
                                }
                            ]
                        }
                    }
                ]
            }
        ]
    ),
}


@pytest.mark.parametrize("step", [7, 4096])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_cost_is_linear(shape: str, step: int) -> None:
    make = SHAPES[shape]
    n = 60 if step == 7 else 240
    assert ratio(feeder(make(n), step), feeder(make(LONG * n), step)) < 2.5 * LONG
