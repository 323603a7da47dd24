"""Which protocol a stream is of is told by its shape, and by nothing else."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import unstream
from unstream import ANY, Accumulator, Ending, Outcome
from unstream._detect import NAMES, claim, load

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = {
    "chat": "hello.sse",
    "text": "text.sse",
    "messages": "messages.sse",
    "responses": "responses.sse",
    "gemini": "gemini.sse",
}


def read(name: str) -> bytes:
    return (EXAMPLES / FILES[name]).read_bytes()


def fold(data: bytes, step: int, **options: Any) -> Outcome[Any]:
    accumulator = Accumulator(**options)
    for at in range(0, len(data), step):
        accumulator.feed(data[at : at + step])
    return accumulator.finish()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_stream_is_folded_by_the_protocol_that_it_is_of(name: str, step: int) -> None:
    data = read(name)
    told = fold(data, 1 << 20, protocol=load(name))
    assert told.ending is Ending.COMPLETE
    assert told.protocol == name
    assert fold(data, step, protocol=ANY) == told
    found = unstream.detect(data)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("name", ["messages", "responses"])
def test_names_of_events_are_not_needed(name: str) -> None:
    lines = read(name).splitlines(keepends=True)
    data = b"".join(line for line in lines if not line.startswith(b"event:"))
    assert (
        fold(data, 100, protocol=ANY).completion
        == fold(read(name), 100, protocol=ANY).completion
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_no_protocol_claims_what_is_anothers(name: str, other: str) -> None:
    decoder = unstream.sse.Decoder()
    for event in decoder.feed(read(name)):
        if event.data == b"[DONE]":
            continue
        sent = unstream._json.parse(event.data)
        kind = "" if event.event == "message" else event.event
        if load(other).claims(sent, kind):
            assert other == name


@pytest.mark.parametrize("name", ["messages", "responses", "gemini"])
def test_a_stream_of_another_protocol_is_foreign_and_named(name: str) -> None:
    outcome = fold(read(name), 50)
    assert outcome.ending is Ending.FOREIGN
    assert outcome.foreign == name
    assert outcome.completion is None
    with pytest.raises(unstream.ForeignStream, match=f"unstream.{name}.fold"):
        outcome.unwrap()


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"type": "ping"},
        {"error": {"message": "no"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "no"}},
        {"usage": {"total_tokens": 3}},
    ],
)
def test_what_any_of_them_may_send_tells_nothing(sent: dict[str, Any]) -> None:
    assert claim(sent) is None


def test_what_cannot_be_told_is_taken_for_chat() -> None:
    outcome = fold(b'data: {"error":"overloaded"}\n\n', 4, protocol=ANY)
    assert outcome.protocol == "chat"
    assert outcome.ending is Ending.ERROR


def test_a_comment_that_goes_on_for_long_does_not_hold_the_stream() -> None:
    accumulator = Accumulator(protocol=ANY)
    for _ in range(3000):
        accumulator.feed(b": keep-alive " + b"x" * 100 + b"\n\n")
    accumulator.feed(read("chat"))
    assert accumulator.has_content
    assert accumulator.finish().ending is Ending.COMPLETE


def test_a_parsed_event_tells_as_well() -> None:
    accumulator = Accumulator(protocol=ANY)
    for event in unstream.sse.Decoder().feed(read("messages")):
        accumulator.add(unstream._json.parse(event.data))
    outcome = accumulator.finish()
    assert outcome.protocol == "messages"
    assert outcome.completion == fold(read("messages"), 99, protocol=ANY).completion


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="chat, text, messages"):
        load("telepathy")


# --- One record for all ---------------------------------------------------------------


def test_the_record_asks_no_protocol() -> None:
    said = {}
    for name in NAMES:
        record = fold(read(name), 1 << 20, protocol=ANY).record
        assert record.protocol == name
        assert record.ending is Ending.COMPLETE
        assert record.text.startswith("Let me look that up.")
        assert record.usage is not None
        assert record.raw_usage
        said[name] = record
    assert said["messages"].usage == unstream.Tokens(
        input=412 + 2048, output=57, cached_read=2048
    )
    assert said["messages"].reasoning == "They want the weather."
    assert [call.runnable for call in said["messages"].calls] == [True]
    assert said["gemini"].usage == unstream.Tokens(input=412, output=23, reasoning=6)
    assert said["gemini"].finish_reasons == ("STOP",)
    assert said["responses"].usage == unstream.Tokens(
        input=412, output=9, reasoning=0, cached_read=0
    )
    assert said["text"].usage == unstream.Tokens(input=412, output=7)


@pytest.mark.parametrize("name", NAMES)
def test_an_outcome_of_any_protocol_is_saved_and_loaded(name: str) -> None:
    outcome = fold(read(name), 1 << 20, protocol=ANY)
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert Outcome.from_dict(outcome.to_dict()) == outcome


def test_an_outcome_is_loaded_where_its_protocol_was_never_used() -> None:
    saved = fold(read("messages"), 99, protocol=ANY).to_json()
    code = (
        "import sys, unstream;"
        "print(unstream.Outcome.from_json(sys.stdin.read()).record.text)"
    )
    done = subprocess.run(  # noqa: S603 - the code stands above
        [sys.executable, "-c", code], input=saved, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"Let me look that up."


def test_an_outcome_of_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="telepathy"):
        Outcome.from_dict(
            {"ending": "complete", "protocol": "telepathy", "completion": {}}
        )
