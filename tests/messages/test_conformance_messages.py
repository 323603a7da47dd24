"""Every stream of the conformance set of Messages folds to its answer, at any cut."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from unstream import Accumulator, Ending, Outcome
from unstream.messages import PROTOCOL, Message

HERE: Final = Path(__file__).parents[1] / "conformance" / "messages"
STREAMS: Final = sorted(HERE.rglob("*.sse"))
NAMES: Final = [str(path.relative_to(HERE).with_suffix("")) for path in STREAMS]


def fold(data: bytes, step: int, *, fast: bool = True) -> Outcome[Message]:
    accumulator = Accumulator(protocol=PROTOCOL, fast=fast)
    for at in range(0, len(data), step):
        accumulator.feed(data[at : at + step])
    return accumulator.finish()


def strict(value: Any) -> Any:
    """Tell true from 1, which Python does not."""
    if isinstance(value, dict):
        return {key: strict(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [strict(inner) for inner in value]
    return ("boolean", value) if isinstance(value, bool) else value


def shown(outcome: Outcome[Message]) -> dict[str, Any]:
    whole = outcome.completion
    return {
        "protocol": outcome.protocol,
        "completion": None if whole is None else whole.to_dict(),
        "ending": outcome.ending.value,
        "done": outcome.done,
        "error": outcome.error,
        "n_malformed": outcome.n_malformed,
        "usage_source": outcome.usage_source,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_folds_to_its_answer(name: str) -> None:
    data = (HERE / f"{name}.sse").read_bytes()
    want = strict(json.loads((HERE / f"{name}.json").read_bytes()))
    for step in (len(data) or 1, 7, 1):
        for fast in (True, False):
            outcome = fold(data, step, fast=fast)
            assert strict(shown(outcome)) == want
            whole = outcome.completion
            if whole is not None:
                text = whole.to_json()
                assert strict(json.loads(text)) == strict(whole.to_dict())
                assert Message.from_json(text) == whole
            assert Outcome.from_json(outcome.to_json()) == outcome


# What the official type does not admit: the API never sends it, or only as beta.
NOT_OFFICIAL: Final = [
    r"id|model|role",  # a body without them
    r"stop_reason",  # one that is in no list
    r"usage(\.\w+)*",  # a count, or all of it, is missing
    r"content\.\d+.*",  # a block of an unknown type
]
# Streams that hold what the API sends, and nothing else.
OFFICIAL: Final = [
    "framing/plain",
    "envelope/content-in-start",
    "usage/cache",
    "usage/nested",
    "blocks/thinking",
    "blocks/redacted-thinking",
    "blocks/citations",
    "tool_input/in-pieces",
    "tool_input/in-start",
    "tool_input/cut-by-max-tokens",
    "endings/refusal",
    "endings/pause-turn",
]


def refused(name: str) -> list[str]:
    """Return the places where the official type does not admit what came out."""
    types = pytest.importorskip("anthropic.types")
    pydantic = pytest.importorskip("pydantic")
    outcome = fold((HERE / f"{name}.sse").read_bytes(), 1 << 20)
    if outcome.completion is None or outcome.ending is not Ending.COMPLETE:
        return []
    try:
        types.Message.model_validate(outcome.completion.to_dict())
    except pydantic.ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_the_official_type_accepts_it(name: str) -> None:
    found = refused(name)
    allowed = "|".join(NOT_OFFICIAL) if name not in OFFICIAL else "nothing"
    assert [where for where in found if not re.fullmatch(allowed, where)] == []


def test_each_stream_is_listed_with_its_habit() -> None:
    listed = re.findall(
        r"^\| `([\w/-]+)` \|", (HERE / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(NAMES)
