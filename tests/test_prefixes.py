"""Law: what was cut off is never `complete`, unless all was said by then.

Where a prefix ends as `complete`, the whole stream says nothing more: text, reasoning,
refusal, calls and finish reasons are the same. (A usage and other extras may follow.)
A stream that goes on after its last word is named here, with the rule that allows it.
"""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from tests import protocol_shapes, shapes
from tests.handwritten import STREAMS, Stream
from unstream import Accumulator, Ending, Outcome
from unstream._detect import load

SHARED: Final = Path(__file__).parents[2] / "shared"
_EVENT_END: Final = re.compile(rb"(?:\r\n|\n|\r){2}")
_SMALL: Final = 700  # bytes of a stream that is cut everywhere
_CUTS: Final = 40  # of a larger one, inside of events
_EDITED: Final = "handmade-or-edited-upstream"
_ENDS: Final = 40  # as many of its events from either end


def fold(protocol: str, data: bytes) -> Outcome[Any]:
    accumulator = Accumulator(protocol=load(protocol))
    accumulator.feed(data)
    return accumulator.finish()


def said(outcome: Outcome[Any]) -> tuple[Any, ...]:
    record = outcome.record
    texts = record.text, record.reasoning, record.refusal
    return outcome.ending, *texts, record.finish_reasons, record.calls


def places(data: bytes) -> Iterable[int]:
    """Choose where a stream is cut: at the ends of its events, and within them."""
    if len(data) <= _SMALL:
        return range(len(data))
    rng = random.Random(len(data))  # noqa: S311 - the same cuts in every run
    ends = [match.end() for match in _EVENT_END.finditer(data)]
    near = {*ends[:_ENDS], *ends[-_ENDS:]}
    near |= {len(data) - 1, *(end - 3 for end in ends[-3:])}
    return sorted({*near, *rng.sample(range(len(data)), _CUTS)} - {len(data)})


def too_early(protocol: str, data: bytes) -> int | None:
    """Return where a stream can be cut so that it breaks the law."""
    whole = said(fold(protocol, data))
    for at in places(data):
        outcome = fold(protocol, data[:at])
        if outcome.ending is Ending.COMPLETE and said(outcome) != whole:
            return at
    return None


# --- Hand-written streams -------------------------------------------------------------

# Those that go on after they were complete.
ALLOWED: Final = {
    "text after a finish_reason opens a choice again, and another one replaces it": (
        "endings/content-after-finish",
        "endings/finish-reasons-differ",
        "endings/finished-again",
        "endings/reasoning-after-finish",
        "endings/reopened-then-done",
        "endings/tool-call-after-finish",
        "endings/tool-calls-after-stop",
        "gemini/candidates-goes-on",
        "gemini/events-finish-in-each",
        "text_completions/text-after-finish",
    ),
    "complete is what has a finish_reason in every choice seen": (
        "endings/one-choice-reopened",
        "text_completions/one-choice-unfinished",
        "usage/once-per-choice",
    ),
    "an error counts after the end, too": (
        "errors/after-a-good-ending",
        "errors/after-done",
        "messages/errors/after-message-stop",
        "responses/error-after-terminal",
    ),
    "the second of two responses is the answer": (
        "responses/second-cut-off",
        "responses/steered",
    ),
    "one object alone is the body of an answer that was not streamed": (
        "gemini/objects-cut",
        "gemini/objects-lines",
        "gemini/objects-pretty",
        "gemini/objects-then-events",
    ),
    "a chat that ends inside a payload is truncated, whatever came before": (
        "endings/cut-after-finish",
    ),
}
_NAMES: Final = {name for names in ALLOWED.values() for name in names}


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_a_prefix_is_complete_only_if_all_was_said(stream: Stream) -> None:
    at = too_early(stream.protocol, stream.data)
    assert (at is not None) == (stream.name in _NAMES), at


@pytest.mark.parametrize("name", ["text", "tools, padded", "n=4, padded"])
def test_a_prefix_of_a_long_chat_is_complete_only_if_all_was_said(name: str) -> None:
    assert too_early("chat", shapes.build(name, 100).stream) is None


@pytest.mark.parametrize("name", protocol_shapes.SHAPES)
def test_a_prefix_of_a_long_stream_is_complete_only_if_all_was_said(name: str) -> None:
    shape = protocol_shapes.build(name, 100)
    assert too_early(shape.protocol, shape.stream) is None


# --- Recordings -----------------------------------------------------------------------

# Two whole responses in one file; and a quotation mark behind the last event.
ODD: Final = {
    "streams/responses-azure-azure-reasoning-encrypted-content-1-chunks.sse",
    "cerebras/huggingface-js-test-tapes.sse",
}
_OF_EACH: Final = {"chat": 1, "text": 4, "messages": 8, "responses": 3, "gemini": 8}


def recordings() -> list[tuple[str, Path]]:
    """Choose some of each protocol and service, the first by name."""
    chosen: dict[tuple[str, str], list[Path]] = {}
    for folder in ("corpus", "protocols/openai", "protocols/anthropic_google"):
        manifest = SHARED / folder / "manifest.jsonl"
        lines = manifest.read_text().splitlines() if manifest.exists() else ()
        for row in sorted(map(json.loads, lines), key=lambda row: str(row["file"])):
            protocol = row.get("api") or row.get("kind") or row["cls"]
            path = SHARED / folder / row["file"]
            if "streams" in path.parts and row.get("origin") != _EDITED:
                some = chosen.setdefault((protocol, row["provider"]), [])
                if len(some) < _OF_EACH[protocol]:
                    some.append(path)
    return [(protocol, path) for (protocol, _), some in chosen.items() for path in some]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.skipif(
    not SHARED.exists(), reason="the recordings are not beside the repository"
)
def test_fifty_recordings_are_chosen() -> None:
    chosen = recordings()
    assert len(chosen) >= 50
    assert {protocol for protocol, _ in chosen} == _OF_EACH.keys()


@pytest.mark.parametrize(
    ("protocol", "path"), [pytest.param(*one, id=name(one[1])) for one in recordings()]
)
def test_a_prefix_of_a_recording_is_complete_only_if_all_was_said(
    protocol: str, path: Path
) -> None:
    at = too_early(protocol, path.read_bytes())
    assert (at is not None) == (name(path) in ODD), at
