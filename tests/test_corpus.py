"""Recorded streams of public services, where they are at hand."""

import base64
import importlib.util
import json
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.strategies import DAMAGE, check_saved, cut, fold_plainly, fold_reads
from unstream import ChatCompletion, Ending, Outcome, usage
from unstream.sse import Decoder, Event

SHARED = Path(__file__).parents[2] / "shared"
CORPUS = SHARED / "corpus"
MANIFEST = CORPUS / "manifest.jsonl"

pytestmark = pytest.mark.skipif(
    not MANIFEST.exists(), reason="the recorded streams are not beside the repository"
)

ROWS = [
    json.loads(line)
    for line in (MANIFEST.read_text().splitlines() if MANIFEST.exists() else ())
]
CHATS = [row["file"] for row in ROWS if row["cls"] == "chat"]
OTHERS = [row["file"] for row in ROWS if row["cls"] != "chat"]
PAIRS = sorted(str(path.relative_to(CORPUS)) for path in CORPUS.glob("pairs/*/*.json"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(outcome: Outcome[ChatCompletion]) -> dict[str, Any]:
    completion = outcome.completion
    return {
        "completion": completion.to_dict() if completion else None,
        "ending": outcome.ending.value,
        "done": outcome.done,
        "error": outcome.error,
        "n_malformed": outcome.n_malformed,
        "usage_source": outcome.usage_source,
    }


def random_cut(body: bytes, seed: str) -> list[bytes]:
    rng = random.Random(seed)  # noqa: S311 - the same cut in every run
    largest = rng.choice((3, 40, 700, 5000))
    return cut(body, [rng.randint(1, largest) for _ in range(50)])


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    return load(CORPUS / "check_golden.py")


@pytest.mark.parametrize("name", CHATS)
def test_a_recorded_stream_folds_to_the_golden_answer(
    name: str, golden: ModuleType
) -> None:
    body = (CORPUS / name).read_bytes()
    answer = CORPUS / "golden" / Path(name).relative_to("streams").with_suffix(".json")
    want = json.loads(answer.read_text())
    whole = fold_reads([body])
    found = shown(whole)
    assert list(golden.diffs(want, {key: found[key] for key in want})) == []
    assert repr(fold_plainly(body)) == repr(whole)
    assert repr(fold_reads(random_cut(body, name))) == repr(whole)
    assert repr(fold_reads(random_cut(body, name), fast=False)) == repr(whole)
    check_saved(whole)


@pytest.mark.parametrize("name", CHATS)
def test_a_recorded_stream_that_was_damaged_folds_alike_on_every_road(
    name: str,
) -> None:
    body = (CORPUS / name).read_bytes()
    rng = random.Random(name)  # noqa: S311 - the same damage in every run
    for _ in range(3):
        edit, at = rng.choice(DAMAGE), rng.randrange(len(body))
        body = edit(body, at, rng.randrange(256))
    plain = fold_plainly(body)
    assert repr(fold_reads([body])) == repr(plain)
    assert repr(fold_reads(random_cut(body, name), fast=False)) == repr(plain)
    check_saved(plain)


@pytest.mark.parametrize("name", OTHERS)
def test_streams_of_other_protocols_get_a_verdict(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    whole = fold_reads([body])
    assert repr(fold_plainly(body)) == repr(whole)
    assert repr(fold_reads(random_cut(body, name))) == repr(whole)
    assert whole.n_bytes == len(body)
    check_saved(whole)


@pytest.mark.parametrize("name", CHATS)
def test_a_recorded_stream_passes_without_its_usage_chunk(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    decoder = Decoder()
    events = decoder.feed(body) + decoder.close(rest=True)
    lasts = {event.data for event in events if is_last(event.data)}
    keep = usage.Filter()
    reads = random_cut(body, name)
    passed = b"".join(map(keep.feed, reads)) + keep.close()
    decoder = Decoder()
    left = decoder.feed(passed) + decoder.close(rest=True)
    assert [e.data for e in left] == [e.data for e in events if e.data not in lasts]
    if not lasts:
        assert passed == body


def is_last(payload: bytes) -> bool:
    try:
        sent = json.loads(payload)
    except ValueError:
        return False
    if not isinstance(sent, dict) or sent.get("error"):
        return False
    return sent.get("choices") == [] and isinstance(sent.get("usage"), dict)


@pytest.mark.parametrize("name", PAIRS)
def test_a_body_that_was_not_streamed_passes_through(name: str) -> None:
    body = (CORPUS / name).read_bytes()
    whole = fold_reads([body])
    assert fold_reads(random_cut(body, name)) == whole
    check_saved(whole)
    assert whole.ending is Ending.COMPLETE
    completion = whole.unwrap()
    assert completion.to_dict() == json.loads(body)
    assert json.loads(completion.to_json()) == json.loads(body)


# --- Server-sent events ---------------------------------------------------------------


def sse_rows(which: str) -> list[dict[str, Any]]:
    runner = load(SHARED / "sse" / "run_cases.py")
    rows = runner.read(SHARED / "sse" / "cases.jsonl")
    picked: list[dict[str, Any]] = runner.select(rows, "all", which)
    return picked


def test_every_row_of_the_standard_passes() -> None:
    runner = load(SHARED / "sse" / "run_cases.py")
    rows = sse_rows("strict")
    _, results = runner.evaluate(Decoder, rows, check_final=True, max_split=300)
    assert len(results) > 300
    assert [result["id"] for result in results if not result["ok"]] == []
    late = [result["id"] for result in results if result["prompt"] is False]
    assert late == []


def test_every_row_of_a_last_event_without_its_blank_line_passes() -> None:
    rows = sse_rows("eof-flush")
    assert rows
    for row in rows:
        body = base64.b64decode(row["input_b64"])
        for into in ([len(body)], [1], [3, 1]):
            decoder = Decoder()
            events = [event for data in cut(body, into) for event in decoder.feed(data)]
            events += decoder.close(rest=True)
            assert list(map(as_row, events)) == row["expected"], row["id"]


def as_row(event: Event) -> dict[str, Any]:
    return {
        "event": event.event,
        "data": event.data.decode("utf-8", "replace"),
        "id": event.id,
        "retry": event.retry,
    }
