"""The command line, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from unstream.__main__ import main

GOOD = b"""data: {"id":"c1","choices":[{"index":0,"delta":{"content":"h\xc3\xa9"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

"""
CUT = GOOD[: GOOD.index(b"\n\n") + 2]
FAILED = CUT + b'data: {"error":{"message":"out of memory","code":500}}\n\n'


def run(
    arguments: Sequence[str], given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "unstream", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.sse"
    path.write_bytes(GOOD)
    return str(path)


@pytest.fixture
def failed(tmp_path: Path) -> str:
    path = tmp_path / "failed.sse"
    path.write_bytes(FAILED)
    return str(path)


@pytest.mark.parametrize("arguments", [[], ["-"]], ids=["none", "dash"])
def test_standard_input_becomes_one_line_of_json(arguments: list[str]) -> None:
    done = run(arguments, GOOD)
    assert done.returncode == 0
    assert done.stderr == b""
    [line] = done.stdout.splitlines()
    assert json.loads(line)["choices"][0]["message"]["content"] == "hé"
    assert "file" not in json.loads(line)


def test_a_file_becomes_one_line_of_json(good: str) -> None:
    assert run([good]).stdout == run([], GOOD).stdout


def test_text_is_the_content_alone(good: str) -> None:
    assert run(["--text", good]).stdout == "hé\n".encode()


def test_text_of_parts_is_their_text() -> None:
    part = b'[{"type":"thinking","thinking":[]},{"type":"text","text":"yes"}]'
    stream = CUT.replace(b'"h\xc3\xa9"', part)
    assert run(["--text"], stream).stdout == b"yes\n"


def test_pretty_is_the_same_json_indented(good: str) -> None:
    plain, pretty = run([good]).stdout, run(["--pretty", good]).stdout
    assert json.loads(pretty) == json.loads(plain)
    assert pretty.startswith(b'{\n  "id": "c1",\n')


def test_several_files_give_a_line_each_with_the_name(good: str, failed: str) -> None:
    done = run([good, failed])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [good, failed]
    assert rows[1]["choices"][0]["message"]["content"] == "hé"
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("stream", "code", "word"),
    [
        (CUT, 3, b"truncated"),
        (b"", 3, b"empty"),
        (b"<html>no</html>", 3, b"empty"),
        (FAILED, 4, b"out of memory"),
    ],
    ids=["truncated", "empty", "html", "error"],
)
def test_the_exit_code_and_standard_error_tell_the_ending(
    stream: bytes, code: int, word: bytes
) -> None:
    done = run([], stream)
    assert done.returncode == code
    assert word in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


def test_what_came_is_printed_whatever_the_ending(failed: str) -> None:
    assert b'"content":"h\xc3\xa9"' in run([failed]).stdout


def test_an_unreadable_file_does_not_stop_the_others(good: str, tmp_path: Path) -> None:
    done = run([str(tmp_path / "none.sse"), str(tmp_path), good])
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 2
    assert b"No such file" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_wrong_arguments_are_a_usage_error() -> None:
    assert run(["--nonsense"]).returncode == 2
    assert run(["--text", "--pretty"]).returncode == 2


def test_help_tells_the_exit_codes() -> None:
    done = run(["--help"])
    assert done.returncode == 0
    for code in (b"0 ", b"1 ", b"2 ", b"3 ", b"4 ", b"130 "):
        assert b"\n  " + code in done.stdout


def test_a_closed_pipe_is_quiet(good: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "unstream", good],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""


def test_an_interrupt_exits_130() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "unstream"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # More than a pipe holds: when the write returns, the program is reading.
        process.stdin.write(b": filler\n" * 50_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
        assert process.wait() == 130


def test_main_takes_arguments_and_returns_the_code(
    good: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["--text", good]) == 0
    assert capfdbinary.readouterr().out == "hé\n".encode()
