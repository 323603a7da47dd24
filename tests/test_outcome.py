"""The verdict, and the errors that carry it."""

import copy
import json
import pickle
from typing import Any

import pytest
from msgspec.structs import replace

from tests.strategies import Json, chunk, outcome_of, stream
from unstream import (
    Accumulator,
    ChatCompletion,
    EmptyStream,
    Ending,
    ForeignStream,
    LimitExceeded,
    Limits,
    Outcome,
    ProviderError,
    StreamError,
    StreamFinished,
    Timing,
    TruncatedStream,
    fold,
)

TOKEN = {"token": "a", "logprob": -0.5, "bytes": None, "x": 1}
RICH = [
    {
        "id": "c1",
        "x": {"a": [None]},
        **chunk({"content": "a", "y": 1}, logprobs={"content": [TOKEN]}),
    },
    chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}),
    {"usage": {"total_tokens": 3, "x": None}},
]
OUTCOMES = {
    Ending.COMPLETE: outcome_of(*RICH, "[DONE]"),
    Ending.TRUNCATED: outcome_of(*RICH),
    Ending.ERROR: outcome_of(*RICH, {"error": {"message": "m", "code": 5}}),
    Ending.EMPTY: outcome_of({"id": "c1"}),
    Ending.FOREIGN: outcome_of({"type": "ping"}, {"type": "pong"}),
    Ending.LIMIT: outcome_of(*RICH, chunk({}, index=1), limits=Limits(choices=1)),
}
ERRORS = {
    Ending.TRUNCATED: TruncatedStream,
    Ending.ERROR: ProviderError,
    Ending.EMPTY: EmptyStream,
    Ending.FOREIGN: ForeignStream,
    Ending.LIMIT: LimitExceeded,
}


def raised_for(outcome: Outcome[Any]) -> StreamError:
    with pytest.raises(StreamError) as raised:
        outcome.unwrap()
    return raised.value


# --- Endings --------------------------------------------------------------------------


@pytest.mark.parametrize("ending", OUTCOMES)
def test_each_ending_is_reached(ending: Ending) -> None:
    assert OUTCOMES[ending].ending is ending


def test_endings_are_their_words() -> None:
    words = ["complete", "truncated", "error", "empty", "foreign", "limit"]
    assert [str(ending) for ending in Ending] == words
    assert list(Ending) == words


def test_unwrap_returns_what_is_complete() -> None:
    outcome = OUTCOMES[Ending.COMPLETE]
    assert outcome.unwrap() is outcome.completion


@pytest.mark.parametrize("ending", ERRORS)
def test_unwrap_raises_the_error_of_the_ending(ending: Ending) -> None:
    error = raised_for(OUTCOMES[ending])
    assert type(error) is ERRORS[ending]
    assert error.outcome is OUTCOMES[ending]
    assert (error.outcome.completion is None) is (ending is Ending.FOREIGN)


def test_an_outcome_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        OUTCOMES[Ending.COMPLETE].done = False  # type: ignore[misc]


# --- Messages -------------------------------------------------------------------------


def test_messages_name_facts() -> None:
    messages = {ending: str(raised_for(OUTCOMES[ending])) for ending in ERRORS}
    size = OUTCOMES[Ending.TRUNCATED].n_bytes
    assert messages[Ending.TRUNCATED] == (
        f"the stream stopped early (after 3 events, {size:,} bytes)"
    )
    assert messages[Ending.EMPTY].startswith(
        "the stream held no choice (after 1 event,"
    )
    assert messages[Ending.ERROR].startswith("the provider reported: m (after 4 events")
    assert messages[Ending.LIMIT].startswith("over the limit choices (after 4 events")
    assert messages[Ending.FOREIGN].startswith(
        "this is no stream of the protocol chat (after 2 events"
    )


def test_the_message_names_the_protocol_that_it_seems_to_be() -> None:
    outcome = replace(OUTCOMES[Ending.FOREIGN], foreign="messages")
    assert "messages: unstream.messages.fold reads it" in str(raised_for(outcome))


def test_the_message_names_the_coding_that_was_not_read() -> None:
    outcome = Outcome[Any](ending=Ending.EMPTY, completion=None, undecoded="zz")
    assert str(raised_for(outcome)).startswith("zz was not decoded")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("boom", "boom"),
        ({"message": "m", "code": 5}, "m"),
        ({"message": {"a": 1}}, '{"a":1}'),
        ({"message": None, "code": 5}, "null"),
        ({"code": 5}, '{"code":5}'),
        ([1, None], "[1,null]"),
        (10**30, str(10**30)),
        (True, "true"),
    ],
)
def test_the_message_says_what_the_provider_said(error: Json, said: str) -> None:
    message = str(raised_for(outcome_of({"error": error})))
    assert message.startswith(f"the provider reported: {said} (after 1 event,")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 80 + "..."),
        ("x" * 100_000, "x" * 80 + "..."),
        ("é" * 40, "é" * 40),
        ("é" * 41, "é" * 40 + "..."),
        ("x" + "é" * 40, "x" + "é" * 39 + "..."),
        ("😀" * 20 + "x", "😀" * 20 + "..."),
        ({"message": "y" * 81}, "y" * 80 + "..."),
        ({"code": "y" * 81}, '{"code":"' + "y" * 71 + "..."),
    ],
)
def test_a_payload_is_cut_at_80_bytes_in_the_message(error: Json, said: str) -> None:
    outcome = outcome_of({"error": error})
    assert f": {said} (" in str(raised_for(outcome))
    assert outcome.error == error


def test_a_message_can_always_be_written() -> None:
    for error in ("\ud83d", "\ud83d" * 99, {"message": "\ud83d"}, ["\ud83d"]):
        str(raised_for(outcome_of({"error": error}))).encode()


# --- Copies ---------------------------------------------------------------------------


def copies(value: Any) -> list[Any]:
    pickled = [
        pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 - our own
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    ]
    return [copy.copy(value), copy.deepcopy(value), *pickled]


def as_json(outcome: Outcome[Any]) -> bytes:
    return outcome.completion.to_json() if outcome.completion else b""


@pytest.mark.parametrize("ending", OUTCOMES)
def test_an_outcome_can_be_copied_and_pickled(ending: Ending) -> None:
    for twin in copies(OUTCOMES[ending]):
        assert twin == OUTCOMES[ending]
        assert twin.ending is ending
        assert repr(twin.to_dict()) == repr(OUTCOMES[ending].to_dict())
        assert as_json(twin) == as_json(OUTCOMES[ending])


@pytest.mark.parametrize("ending", ERRORS)
def test_an_error_can_be_copied_and_pickled(ending: Ending) -> None:
    error = raised_for(OUTCOMES[ending])
    for twin in copies(error):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert twin.outcome == error.outcome


def test_stream_finished_can_be_pickled() -> None:
    accumulator = Accumulator()
    accumulator.finish()
    with pytest.raises(StreamFinished) as raised:
        accumulator.feed(b"")
    for twin in copies(raised.value):
        assert type(twin) is StreamFinished
        assert str(twin) == str(raised.value)


def test_a_whole_completion_can_be_copied_and_pickled() -> None:
    body = b'{"object":"chat.completion","choices":[{"message":{"x":null}}],"y":null}'
    completion = fold(body)
    for twin in copies(completion):
        assert twin == completion
        assert twin.to_json() == completion.to_json()


def test_a_deep_copy_is_apart() -> None:
    completion = fold(stream(*RICH, "[DONE]"))
    twin = copy.deepcopy(completion)
    twin.extra["x"]["a"].append(1)
    twin.choices[0].message.content = "changed"
    assert completion == fold(stream(*RICH, "[DONE]"))


def test_errors_have_one_base() -> None:
    for kind in ERRORS.values():
        assert issubclass(kind, StreamError)
        assert kind.__doc__
    assert not issubclass(StreamError, ValueError)
    # A mistake in a call says nothing of the stream.
    assert not issubclass(StreamFinished, StreamError)


def test_an_error_is_made_of_a_message_and_an_outcome() -> None:
    outcome = Outcome(ending=Ending.EMPTY, completion=ChatCompletion())
    error = StreamError("no", outcome)
    assert str(error) == "no"
    assert error.outcome is outcome


# --- Saved ----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", OUTCOMES)
def test_an_outcome_is_saved_and_loaded(ending: Ending) -> None:
    outcome = OUTCOMES[ending]
    saved = outcome.to_json()
    plain = outcome.to_dict()
    assert json.loads(saved) == plain
    for loaded in (
        Outcome.from_json(saved),
        Outcome.from_json(saved.decode()),
        Outcome.from_dict(plain),
    ):
        assert loaded == outcome
        assert type(loaded.ending) is Ending
        assert loaded.calls == outcome.calls


def test_the_dict_says_all_that_is_known() -> None:
    timing = Timing(first_byte=0.5, first_content=1.5, total=2.5)
    outcome = replace(
        OUTCOMES[Ending.TRUNCATED], timing=timing, interrupted="client", error=None
    )
    plain = outcome.to_dict()
    assert plain.keys() == {*Outcome.__struct_fields__, "calls"}
    times = {k: v for k, v in plain["timing"].items() if v}
    assert times == {"first_byte": 0.5, "first_content": 1.5, "total": 2.5}
    assert plain["completion"] == outcome.completion.to_dict()  # type: ignore[union-attr]
    assert plain["unfinished"] == [0]
    assert {"code": "no_done", "event": 3, "count": 1} in plain["notes"]
    [call] = plain["calls"]
    assert call["arguments"] == "empty"
    assert call["runnable"] is False
    assert Outcome.from_dict(plain) == outcome


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"ending": "done", "completion": None},
        {"ending": "empty", "completion": None, "protocol": "nobody's"},
        {"ending": "empty", "completion": None, "n_bytes": "5"},
        {"ending": "empty", "notes": [5]},
    ],
)
def test_what_is_no_outcome_is_a_value_error(sent: Json) -> None:
    with pytest.raises(ValueError, match="this is no outcome"):
        Outcome.from_dict(sent)
    with pytest.raises(ValueError, match="this is no outcome"):
        Outcome.from_json(json.dumps(sent))


@pytest.mark.parametrize("data", [b"", "{", "[]", b"5", "null"])
def test_what_is_no_json_object_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Outcome.from_json(data)
