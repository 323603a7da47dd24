"""Every Gemini stream of the conformance set folds to its answer, at any cut."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from unstream import Accumulator, Outcome
from unstream.gemini import PROTOCOL, GenerateContentResponse

HERE: Final = Path(__file__).parent.parent / "conformance" / "gemini"
NAMES: Final = sorted(path.stem for path in HERE.glob("*.sse"))

# What Google's own type does not admit.
NOT_GOOGLE: Final = {
    # The number of an enumeration: the type wants its name.
    "candidates-reason-by-number": r"AttributeError",
    # Unknown keys: it forbids them all.
    "envelope": r"shard|note",
    "events-wrapped": r"traceId",
    "objects-one": r"candidates\.0\.score",
    "parts-unknown": r"candidates\.0\.content\.parts\.\d\.(hologram|mood)",
}


def fold(data: bytes, step: int, *, fast: bool = True) -> Outcome[Any]:
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


def shown(outcome: Outcome[Any]) -> dict[str, Any]:
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
    whole = outcome.completion
    if whole is not None:
        assert strict(json.loads(whole.to_json())) == strict(whole.to_dict())
        again = GenerateContentResponse.from_json(whole.to_json())
        assert again == whole
        assert repr(again) == repr(whole)
    assert repr(Outcome.from_json(outcome.to_json())) == repr(outcome)


def refused(name: str) -> list[str]:
    """Return the places where Google's type does not admit what a stream folds to."""
    types = pytest.importorskip("google.genai.types")
    pydantic = pytest.importorskip("pydantic")
    completion = fold((HERE / f"{name}.sse").read_bytes(), 1 << 20).completion
    try:
        if completion is not None:
            types.GenerateContentResponse.model_validate(completion.to_dict())
    except pydantic.ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    except AttributeError as error:  # of the type's own enumerations
        return [type(error).__name__]
    return []


@pytest.mark.parametrize("name", NAMES)
def test_the_official_type_accepts_it(name: str) -> None:
    places = refused(name)
    if pattern := NOT_GOOGLE.get(name):
        assert places
        assert [place for place in places if not re.fullmatch(pattern, place)] == []
    else:
        assert places == []


def test_the_readme_lists_what_is_there() -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `gemini/([\w-]+)` \|", readme, re.MULTILINE)
    assert sorted(listed) == NAMES
    assert sorted(path.stem for path in HERE.glob("*.json")) == NAMES
