"""Every stream of the conformance set folds to its answer, at any cut."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

import unstream.text
from unstream import Accumulator, Outcome
from unstream._protocol import Protocol

HERE: Final = Path(__file__).parent / "conformance"
# The other protocols have tests of their own.
APART: Final = ("messages", "responses", "gemini")
STREAMS: Final = sorted(
    path for path in HERE.rglob("*.sse") if path.relative_to(HERE).parts[0] not in APART
)
NAMES: Final = [str(path.relative_to(HERE).with_suffix("")) for path in STREAMS]

PROTOCOLS: Final[dict[str, Protocol[Any]]] = {
    "chat": unstream.chat.PROTOCOL,
    "text": unstream.text.PROTOCOL,
}

# What OpenAI's own types do not admit, because its servers never send it, or because it
# is missing in them.
NOT_OPENAI: Final = [
    r"choices\.\d+\.finish_reason",  # null, or one of another server's
    r"choices\.\d+\.message\.content",  # a list of parts
    r"choices\.\d+\.logprobs\.\w+\.\d+\.top_logprobs",  # none asked for, none sent
    r"usage\.\w+",  # a counter that is missing
    # The null of a first token that was echoed.
    r"choices\.\d+\.logprobs\.(token_logprobs|top_logprobs)\..*",
]


def refused(path: Path) -> list[str]:
    """Return the places where OpenAI's type does not admit what a stream folds to."""
    types = pytest.importorskip("openai.types")
    pydantic = pytest.importorskip("pydantic")
    protocol = protocol_of(path)
    official = {"chat": types.chat.ChatCompletion, "text": types.Completion}[protocol]
    completion = fold(path.read_bytes(), 1 << 20, protocol).completion
    try:
        if completion is not None:
            official.model_validate(completion.to_dict())
    except pydantic.ValidationError as error:
        return [".".join(map(str, each["loc"])) for each in error.errors()]
    return []


def protocol_of(path: Path) -> str:
    answer = json.loads(path.with_suffix(".json").read_bytes())
    return str(answer.get("protocol", "chat"))


def fold(data: bytes, step: int, protocol: str) -> Outcome[Any]:
    accumulator = Accumulator(protocol=PROTOCOLS[protocol])
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
    answer = json.loads((HERE / f"{name}.json").read_bytes())
    protocol = answer.pop("protocol", "chat")
    for step in (len(data) or 1, 1, 7):
        outcome = fold(data, step, protocol)
        assert strict(shown(outcome)) == strict(answer)
        if outcome.completion is not None:
            text = outcome.completion.to_json()
            assert strict(json.loads(text)) == strict(outcome.completion.to_dict())
            assert type(outcome.completion).from_json(text) == outcome.completion


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
    # Every answer has its stream, in the other protocols too.
    answers = {path.with_suffix("") for path in HERE.rglob("*.json")}
    assert answers == {path.with_suffix("") for path in HERE.rglob("*.sse")}
