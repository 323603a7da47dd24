"""The summary: a list of one stream, a table of several, on terminals and in pipes."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.cli.test_inputs import entry, har
from tests.terminal import drain
from unstream._cli._stats import Row, draw, row
from unstream._notes import NOTES
from unstream._outcome import Arguments, Ending, Note, Tokens
from unstream._timing import Timing

STREAM: Final = (
    b'data: {"id":"chatcmpl-1","model":"demo","choices":[{"index":0,"delta":'
    b'{"role":"assistant","tool_calls":[{"index":0,"id":"t1","function":'
    b'{"name":"look","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1200,"completion_tokens":50,'
    b'"total_tokens":1250,"prompt_tokens_details":{"cached_tokens":64}}}\n\n'
)
COMMAND: Final = [sys.executable, "-m", "unstream", "--stats"]


def piped(arguments: Sequence[str], given: bytes = b"") -> tuple[int, str, str]:
    done = subprocess.run(  # noqa: S603
        [*COMMAND, *arguments], input=given, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_one_stream_is_a_list() -> None:
    status, shown, told = piped([], STREAM)
    assert (status, told) == (0, "")
    assert shown == (
        "ending    complete\n"
        "protocol  chat\n"
        "id        chatcmpl-1\n"
        "model     demo\n"
        "finish    tool_calls\n"
        "usage     1,200 in, 64 of it cached, 50 out (from usage)\n"
        "call      look, arguments whole, may run\n"
        f"size      2 events, {len(STREAM):,} bytes\n"
        f"note      no_done (event 2): {NOTES['no_done']}\n"
    )


def test_several_streams_are_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.sse").write_bytes(STREAM)
    (tmp_path / "b.sse").write_bytes(STREAM[:200])
    (tmp_path / "c.sse").symlink_to("nowhere")
    status, shown, told = piped([str(tmp_path)])
    assert status == 3
    assert told.count("\n") == 2
    table, totals, habits = shown.split("\n\n")
    heads, *lines = table.split("\n")
    want = "file ending protocol model id finish in cached out calls events notes"
    assert " ".join(heads.split()) == want
    want = "a.sse complete chat demo chatcmpl-1 tool_calls 1,200 64 50 1 2 no_done"
    assert " ".join(lines[0].split()) == want
    assert lines[1].split()[:2] == ["b.sse", "empty"]
    assert lines[2].split() == ["c.sse", "unread"]
    assert totals.split("\n") == [
        f"folder   {tmp_path}",
        "streams  3",
        "endings  1 complete, 1 empty, 1 unread",
        "tokens   1,200 in, 50 out, of the 1 that said",
    ]
    assert habits.split("\n")[0].split() == ["note", "streams", "what", "it", "means"]
    assert f"  {NOTES['no_done']}\n" in habits


def test_times_are_shown_where_the_file_has_them(tmp_path: Path) -> None:
    file = tmp_path / "it.har"
    two = [entry(STREAM), entry(STREAM, time=4000)]
    file.write_text(json.dumps(har(*two)))
    _, shown, _ = piped([str(file)])
    heads, first, second = (line.split() for line in shown.split("\n")[:3])
    start = heads.index("first")
    assert heads[start : start + 5] == ["first", "s", "total", "s", "tokens/s"]
    assert first[-4:-1] == ["0.500", "2.000", "33.3"]
    assert second[-4:-1] == ["0.500", "4.000", "14.3"]
    assert "total time  3.000 s in the median, 2.000 to 4.000\n" in shown
    file.write_text(json.dumps(har(two[0])))
    _, shown, _ = piped([str(file)])
    assert "it.har:1" in shown


def test_processes_sum_up_what_one_does(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}").write_bytes(STREAM)
    assert piped([str(tmp_path), "-j2"]) == piped([str(tmp_path)])


def test_a_summary_has_no_indent() -> None:
    assert piped(["--pretty"])[0] == 2


# --- Terminals ------------------------------------------------------------------------


def on_terminal(arguments: Sequence[str], **environment: str) -> str:
    ours, theirs = os.openpty()
    inherited = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    beside = {**inherited, "TERM": "xterm", "COLUMNS": "100", **environment}
    process = subprocess.Popen(  # noqa: S603
        [*COMMAND, *arguments], stdout=theirs, stderr=subprocess.DEVNULL, env=beside
    )
    os.close(theirs)
    shown = drain(ours)
    process.wait()
    return shown.replace("\r\n", "\n")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "a.sse").write_bytes(STREAM)
    (tmp_path / "b.sse").write_bytes(STREAM[:220] + b"\n\n")
    return [str(tmp_path)]


def test_a_terminal_gets_colours_unless_it_wants_none(files: list[str]) -> None:
    pytest.importorskip("rich")
    assert "\x1b[32mcomplete" in on_terminal(files)
    plain = on_terminal(files, NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "complete" in plain


def test_a_dumb_terminal_gets_what_a_pipe_gets(files: list[str]) -> None:
    assert on_terminal(files, TERM="dumb") == piped(files)[1]


def test_a_narrow_terminal_gets_what_it_has_room_for(files: list[str]) -> None:
    pytest.importorskip("rich")
    shown = on_terminal(files, COLUMNS="50")
    heads = shown.split("\n", 1)[0]
    assert [each.strip() for each in heads.split()][:2] == ["file", "ending"] or (
        "file" in heads and "ending" in heads
    )
    assert "left out" in shown
    assert "model" not in heads


def test_control_characters_stay_out(tmp_path: Path) -> None:
    bad = STREAM.replace(b'"demo"', b'"\\u001b[2J\\u202e"')
    (tmp_path / "a\x1b[31m").write_bytes(bad)
    (tmp_path / "b").write_bytes(bad)
    for shown in (piped([str(tmp_path)])[1], on_terminal([str(tmp_path)])):
        assert r"\x1b[2J\u202e" in shown
        assert "\x1b[2J" not in shown
        assert "\u202e" not in shown
        assert "\x1b[31m" not in shown


# --- Without rich ---------------------------------------------------------------------

ROW: Final = Row(
    name="x",
    ending=Ending.COMPLETE,
    finish_reasons=("stop", None),
    usage=Tokens(output=10),
    calls=(("", Arguments.CUT, False),),
    notes=(Note("malformed", 1, 1000),),
    timing=Timing(total=0.5),
)


def test_a_terminal_without_rich_gets_the_plain_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    want = draw([ROW], several=True, width=None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert draw([ROW], several=True, width=80) == want


def test_what_is_not_known_is_left_out() -> None:
    shown = draw([ROW], several=False, width=None)
    assert shown == (
        "file    x\n"
        "ending  complete\n"
        "finish  stop, none\n"
        "usage   10 out\n"
        "call    ?, arguments cut, may not run\n"
        "size    0 events, 0 bytes\n"
        "time    0.500 s in all, 20.0 tokens a second\n"
        f"note    malformed (event 1, 1,000 times): {NOTES['malformed']}\n"
    )
    table = draw([ROW, Row(name="y", ending="unread")], several=True, width=None)
    assert "1, 0 may run" in table
    assert "folder" not in table


def test_a_row_is_made_of_an_outcome() -> None:
    from unstream import Accumulator  # noqa: PLC0415 - for this test alone

    accumulator = Accumulator()
    accumulator.feed(STREAM)
    made = row("x", accumulator.finish())
    assert made.calls == (("look", Arguments.WHOLE, True),)
    assert made.usage is not None
    assert made.usage.cached_read == 64
