"""Every stream of the conformance set folds to its answer, at any cut."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from unstream import Accumulator, Outcome

HERE: Final = Path(__file__).parent / "conformance"
STREAMS: Final = sorted(HERE.rglob("*.sse"))
NAMES: Final = [str(path.relative_to(HERE).with_suffix("")) for path in STREAMS]

# What OpenAI's own type does not admit, because its servers never send it.
NOT_OPENAI: Final = [
    r"choices\.\d+\.finish_reason",  # null, or one of another server's
    r"choices\.\d+\.message\.content",  # a list of parts
    r"choices\.\d+\.logprobs\.\w+\.\d+\.top_logprobs",  # none asked for, none sent
    r"usage\.\w+",  # a counter that is missing
]


def refused(path: Path) -> list[str]:
    """Return the places where OpenAI's type does not admit what a stream folds to."""
    chat = pytest.importorskip("openai.types.chat")
    pydantic = pytest.importorskip("pydantic")
    completion = fold(path.read_bytes(), 1 << 20).completion
    try:
        if completion is not None:
            chat.ChatCompletion.model_validate(completion.to_dict())
    except pydantic.ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    return []


def fold(data: bytes, step: int) -> Outcome:
    accumulator = Accumulator()
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


def shown(outcome: Outcome) -> dict[str, Any]:
    whole = outcome.completion
    return {
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
    for step in (len(data) or 1, 1, 7):
        outcome = fold(data, step)
        assert strict(shown(outcome)) == want
        if outcome.completion is not None:
            text = json.loads(outcome.completion.to_json())
            assert strict(text) == strict(outcome.completion.to_dict())


@pytest.mark.parametrize("name", NAMES)
def test_the_official_type_accepts_it(name: str) -> None:
    allowed = "|".join(NOT_OPENAI)
    places = refused(HERE / f"{name}.sse")
    assert [place for place in places if not re.fullmatch(allowed, place)] == []


def test_each_exception_is_needed() -> None:
    places = [place for path in STREAMS for place in refused(path)]
    for pattern in NOT_OPENAI:
        assert any(re.fullmatch(pattern, place) for place in places)


def test_the_readme_lists_what_is_there() -> None:
    listed = re.findall(
        r"^\| `(\w+/[\w-]+)` \|", (HERE / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == sorted(NAMES)
    answers = sorted(HERE.rglob("*.json"))
    assert [path.with_suffix("") for path in answers] == [
        path.with_suffix("") for path in STREAMS
    ]
