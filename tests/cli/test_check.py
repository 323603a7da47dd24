"""The linter: each note at its line, in the order of the stream, and the same fold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_inputs import entry, har
from unstream.__main__ import main
from unstream._cli import _fold
from unstream._cli._fold import Folded, fold
from unstream._cli._streams import Ask, Stream, streams
from unstream._notes import NOTES

SET: Final = Path(__file__).parents[1] / "conformance"
STREAMS: Final = sorted(SET.rglob("*.sse"))
ODD: Final = b"""\
: a comment
data: {"id":"c1","choices":[{"index":0,"delta":{"role":"assistant"}}]}

data: {"id":"c2","choices":[{"index":0,"delta":{"content":"hi"}}]}

event: ping
data:

data: oops

data: oops

data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: {"choices":[],"usage":{"total_tokens":3}}

data: [DONE]

"""
Lint = Callable[[bytes | str], tuple[int, list[str]]]


@pytest.fixture
def lint(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Lint:
    def lint(data: bytes | str) -> tuple[int, list[str]]:
        data = data.encode() if isinstance(data, str) else data
        (tmp_path / "it").write_bytes(data)
        status = main(["--check", str(tmp_path / "it")])
        out = capfdbinary.readouterr().out.decode()
        return status, out.replace(f"{tmp_path}/", "").splitlines()

    return lint


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=repr)
def test_a_note_stands_at_the_line_where_its_event_begins(
    lint: Lint, end: bytes
) -> None:
    status, lines = lint(ODD.replace(b"\n", end))
    assert status == 3
    assert lines == [
        f"it:4: event 2: id_changed: {NOTES['id_changed']}",
        f"it:9: event 3: malformed (2 times): {NOTES['malformed']}",
    ]


def test_chunks_in_lines_have_lines(lint: Lint) -> None:
    chunks = [line[6:] for line in ODD.decode().splitlines() if "{" in line]
    status, lines = lint("\n\n".join([*chunks[:2], "oops", *chunks[2:], "[DONE]"]))
    assert status == 3
    assert [line.partition(": ")[0] for line in lines] == ["it:3", "it:5"]


def test_what_has_no_lines_of_its_own_has_events(lint: Lint) -> None:
    status, lines = lint(json.dumps(har(entry(None), entry(ODD))))
    assert status == 3
    assert lines[0].startswith("it:2: event 2: id_changed: ")
    chunks = [json.loads(line[6:]) for line in ODD.splitlines() if b"{" in line]
    _, lines = lint(json.dumps(chunks))
    assert lines[0].startswith("it: event 2: id_changed: ")


def test_a_line_in_parts_is_one_line(
    lint: Lint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fold, "DEFAULT_LIMIT", 100)
    pieces = [b": ", *[b"x" * 60] * 5, b"\n"]
    assert [*_fold._split(iter(pieces))][-1].endswith(b"\n")
    _, lines = lint(f": {'x' * 200_000}\n\ndata: [1]\n\n")
    assert lines[0].startswith("it:3: event 1: malformed: ")


def test_notes_of_the_end_stand_at_the_last_event(lint: Lint) -> None:
    _, lines = lint(ODD[: ODD.index(b"event: ping")])
    assert {line.partition(": ")[0] for line in lines} == {"it:4"}
    assert len(lines) > 2


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: str(path.relative_to(SET)))
def test_a_fold_by_lines_is_the_fold(path: Path) -> None:
    data = path.read_bytes()

    def read(step: int, *, lines: bool) -> Folded:
        pieces = (data[at : at + step] for at in range(0, len(data), step))
        [stream] = streams("it", pieces, Ask())
        assert isinstance(stream, Stream)
        return fold(stream, Ask(), lines=lines)

    want = read(len(data) or 1, lines=False).outcome
    source = data.splitlines() or [b""]
    for step in (7, len(data) or 1):
        folded = read(step, lines=True)
        assert folded.outcome == want
        if folded.lines is None:  # an array
            continue
        assert len(folded.lines) == want.n_events
        assert [*folded.lines] == sorted(folded.lines)
        for place in folded.lines:
            assert source[place - 1].strip()
