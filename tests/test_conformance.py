"""Every stream of the conformance set folds to its answer, at any cut."""

import json
import re
from typing import Final

import pytest

from tests.handwritten import HERE, LISTS, STREAMS, Stream, shown
from tests.strategies import strict
from unstream import Outcome

each_stream: Final = pytest.mark.parametrize("stream", STREAMS, ids=lambda it: it.name)


@each_stream
def test_a_stream_folds_to_its_answer(stream: Stream) -> None:
    want = strict(stream.answer)
    for step in (len(stream.data) or 1, 7, 1):
        for fast in (True, False):
            assert strict(shown(stream.fold(step, fast=fast))) == want


@each_stream
def test_what_is_saved_is_loaded_again(stream: Stream) -> None:
    outcome = stream.fold()
    again = Outcome.from_json(outcome.to_json())
    assert again == outcome
    assert strict(again.to_dict()) == strict(outcome.to_dict())
    whole = outcome.completion
    if whole is not None:
        text = whole.to_json()
        assert strict(json.loads(text)) == strict(whole.to_dict())
        loaded = type(whole).from_json(text)
        assert loaded == whole
        assert strict(loaded.to_dict()) == strict(whole.to_dict())


# --- The types of the official clients ------------------------------------------------

OFFICIAL: Final = {
    "chat": ("openai.types.chat", "ChatCompletion"),
    "text": ("openai.types", "Completion"),
    "messages": ("anthropic.types", "Message"),
    "responses": ("openai.types.responses", "Response"),
    "gemini": ("google.genai.types", "GenerateContentResponse"),
}
# What they do not admit, by protocol: the stream and the place. The servers of the
# types' owners never send it, or it is missing in the types.
REFUSED: Final = {
    "chat": [
        r".*: choices\.\d+\.finish_reason",  # null, or one of another server's
        r".*: choices\.\d+\.message\.content",  # a list of parts
        r".*: choices\.\d+\.logprobs\.\w+\.\d+\.top_logprobs",  # none asked for
        r".*: usage\.\w+",  # a counter that is missing
    ],
    "text": [
        r".*: choices\.\d+\.finish_reason",
        # The null of a first token that was echoed.
        r".*: choices\.\d+\.logprobs\.(token_logprobs|top_logprobs)\..*",
    ],
    "messages": [
        r"messages/bodies/without-keys: .*",
        r"messages/endings/unknown-reason: stop_reason",
        r"messages/(envelope/start-missing|usage/none): usage.*",
        # Blocks of unknown types, or those that are still beta.
        r"messages/blocks/(by-shape|start-missing-unknown): content\.\d+.*",
        r"messages/blocks/(compaction|server-tools): content\.\d+.*",
        r"messages/envelope/fallback: content\.\d+.*",
    ],
    "responses": [
        r".*: usage\.\w+",  # a counter that is missing
        r".*: output\.\d+\..+",  # an item of a type that nobody knows
        r"responses/error-first-kept: error\.code",  # one that is in no list
        r"responses/no-envelope: \w+",  # no event had one
    ],
    "gemini": [
        # The number of an enumeration, whose name the type wants.
        r"gemini/candidates-reason-by-number: AttributeError",
        # Unknown keys, all of which it forbids.
        r"gemini/envelope: (shard|note)",
        r"gemini/events-wrapped: traceId",
        r"gemini/objects-one: candidates\.0\.score",
        r"gemini/parts-unknown: candidates\.0\.content\.parts\.\d\.(hologram|mood)",
    ],
}


def refused(stream: Stream) -> list[str]:
    """Return the places where the official type does not admit what came out."""
    module, name = OFFICIAL[stream.protocol]
    official = getattr(pytest.importorskip(module), name)
    pydantic = pytest.importorskip("pydantic")
    completion = stream.fold().completion
    try:
        if completion is not None:
            official.model_validate(completion.to_dict())
    except pydantic.ValidationError as error:
        places = [".".join(map(str, each["loc"])) for each in error.errors()]
    except AttributeError as error:  # of the enumerations of Google's type
        places = [type(error).__name__]
    else:
        places = []
    return [f"{stream.name}: {place}" for place in places]


@each_stream
def test_the_official_type_accepts_it(stream: Stream) -> None:
    allowed = "|".join(f"({pattern})" for pattern in REFUSED[stream.protocol])
    places = refused(stream)
    assert [place for place in places if not re.fullmatch(allowed, place)] == []


@pytest.mark.parametrize("protocol", REFUSED)
def test_each_exception_is_needed(protocol: str) -> None:
    streams = [stream for stream in STREAMS if stream.protocol == protocol]
    places = [place for stream in streams for place in refused(stream)]
    for pattern in REFUSED[protocol]:
        assert any(re.fullmatch(pattern, place) for place in places), pattern


# --- The lists ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", *LISTS])
def test_the_readme_lists_what_is_there(folder: str) -> None:
    readme = (HERE / folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w/-]+)` \|", readme, re.MULTILINE)
    if not folder:  # the keys of an answer stand there as well
        listed = [name for name in listed if "/" in name]
    there = [stream.name for stream in STREAMS if stream.list == folder]
    within = [name.removeprefix(folder).removeprefix("/") for name in there]
    assert sorted(name.removeprefix(f"{folder}/") for name in listed) == sorted(within)


def test_every_answer_has_its_stream() -> None:
    answers = {path.with_suffix("") for path in HERE.rglob("*.json")}
    assert answers == {HERE / stream.name for stream in STREAMS}
