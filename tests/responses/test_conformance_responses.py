"""Every stream of the set of responses folds to its answer, at any cut."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from unstream import Accumulator, Ending, Outcome
from unstream.responses import PROTOCOL, Response

HERE: Final = Path(__file__).parents[1] / "conformance" / "responses"
STREAMS: Final = list(HERE.glob("*.sse"))
NAMES: Final = sorted(path.stem for path in STREAMS)

# What OpenAI's own type does not admit of a response that is whole.
NOT_OPENAI: Final = [
    r"usage\.\w+",  # a counter that is missing
    r"output\.\d+\..+",  # an item of a type that nobody knows
]


def fold(data: bytes, step: int, *, fast: bool = True) -> Outcome[Response]:
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


def shown(outcome: Outcome[Response]) -> dict[str, Any]:
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
    for step in (len(data), 1, 7):
        for fast in (True, False):
            outcome = fold(data, step, fast=fast)
            assert strict(shown(outcome)) == want
            if outcome.completion is not None:
                text = json.loads(outcome.completion.to_json())
                assert strict(text) == strict(outcome.completion.to_dict())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_is_loaded_again(name: str) -> None:
    data = (HERE / f"{name}.sse").read_bytes()
    outcome = fold(data, len(data))
    assert Outcome.from_json(outcome.to_json()) == outcome
    if outcome.completion is not None:
        assert Response.from_json(outcome.completion.to_json()) == outcome.completion


def refused(name: str) -> list[str]:
    """Return the places where OpenAI's type does not admit a response that is whole."""
    official = pytest.importorskip("openai.types.responses")
    pydantic = pytest.importorskip("pydantic")
    data = (HERE / f"{name}.sse").read_bytes()
    outcome = fold(data, len(data))
    try:
        if outcome.ending is Ending.COMPLETE and outcome.completion is not None:
            official.Response.model_validate(outcome.completion.to_dict())
    except pydantic.ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_the_official_type_accepts_it(name: str) -> None:
    allowed = "|".join(NOT_OPENAI)
    assert [place for place in refused(name) if not re.fullmatch(allowed, place)] == []


def test_each_exception_is_needed() -> None:
    places = [place for name in NAMES for place in refused(name)]
    for pattern in NOT_OPENAI:
        assert any(re.fullmatch(pattern, place) for place in places)


def test_the_readme_lists_what_is_there() -> None:
    listed = re.findall(
        r"^\| `([\w-]+)` \|", (HERE / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == NAMES
    assert sorted(path.stem for path in HERE.glob("*.json")) == NAMES
