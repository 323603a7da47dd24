"""Many files, by one process or several: in order, whatever is broken, and stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.terminal import drain
from unstream._cli._work import each

GOOD: Final = (
    b'data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hi"},'
    b'"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
COMMAND: Final = [sys.executable, "-m", "unstream"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of streams, one of them cut off, one missing."""
    for n in range(12):
        (tmp_path / f"{n:02}.sse").write_bytes(GOOD.replace(b"hi", b"%d" % n))
    (tmp_path / "03.sse").write_bytes(GOOD[:40])
    (tmp_path / "05.sse").unlink()
    (tmp_path / "05.sse").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize("kind", [[], ["--text"], ["--outcome"], ["--check"]])
def test_processes_give_what_one_gives(folder: Path, kind: list[str]) -> None:
    one, two = (
        subprocess.run(  # noqa: S603
            [*COMMAND, *jobs, *kind, folder, "-"],
            input=GOOD,
            capture_output=True,
            check=False,
        )
        for jobs in ([], ["-j2"])
    )
    assert (one.returncode, two.returncode) == (3, 3)
    assert one.stdout == two.stdout
    assert one.stderr == two.stderr
    assert one.stderr.count(b"\n") == 2


def test_a_process_that_dies_takes_but_its_own_file_along() -> None:
    die = "__import__('os')._exit(9)"
    names = ["[1]", "[2]", die, "[3]", "[4]", die, *(f"[{n}]" for n in range(5, 30))]

    def died(name: str) -> str:
        return f"died: {name}"

    found = [[*some] for some in each(names, eval, died, 2)]
    want = [[died(name)] if name is die else [int(name[1:-1])] for name in names]
    assert found == want


def test_no_more_is_held_than_a_few_files_for_each_process() -> None:
    n_taken = 0

    def names() -> Iterator[str]:
        nonlocal n_taken
        while True:
            n_taken += 1
            yield "[1]"

    found = each(names(), eval, str, 2)
    for _ in range(3):
        next(found)
    assert n_taken < 20
    found.close()  # type: ignore[attr-defined] # it is a generator


@pytest.mark.parametrize("jobs", [[], ["-j2"]], ids=["one", "two"])
@pytest.mark.parametrize("everybody", [True, False], ids=["terminal", "kill"])
def test_an_interrupt_ends_all_processes(
    tmp_path: Path, jobs: list[str], *, everybody: bool
) -> None:
    # Each takes longer to read than the test.
    for n in range(4):
        os.mkfifo(tmp_path / f"{n}")
    names = [str(tmp_path / f"{n}") for n in range(4)]
    with subprocess.Popen(  # noqa: S603
        [*COMMAND, *jobs, *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        # When these are open, both processes are reading.
        writers = [os.open(name, os.O_WRONLY) for name in names[: len(jobs) + 1]]
        for writer in writers:
            os.write(writer, GOOD[:50])
        time.sleep(0.2)
        start = time.monotonic()
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (130, b"", b"")
        assert time.monotonic() - start < 5
        for writer in writers:  # nobody reads any more
            with pytest.raises(BrokenPipeError):
                os.write(writer, GOOD)
            os.close(writer)


def test_a_reader_that_leaves_ends_all(folder: Path) -> None:
    script = '"$@" | head -n 1'
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script, "sh", *COMMAND, "-j2", folder],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert json.loads(done.stdout)["file"].endswith("00.sse")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("jobs", ["-1", "x", "1.5"])
def test_jobs_is_a_number(jobs: str) -> None:
    done = subprocess.run([*COMMAND, f"-j{jobs}"], capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert b"it is a number of processes" in done.stderr


# --- Progress -------------------------------------------------------------------------


def watched(arguments: list[str], output: Path, **environment: str) -> str:
    """Run with standard error at a terminal; return what that got."""
    ours, theirs = os.openpty()
    with output.open("wb") as into:
        process = subprocess.Popen(  # noqa: S603
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
        )
        os.close(theirs)
        shown = drain(ours)
        process.wait()
    return shown


def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    pytest.importorskip("rich")
    output = folder.parent / f"{folder.name}.out"
    shown = watched([str(folder)], output)
    assert "12/12" in shown
    # In one piece, however wide the terminal is.
    assert (
        f"{folder}/03.sse: empty: the stream held no choice (after 1 event, " in shown
    )
    assert shown.endswith("\x1b[2K")  # the bar is gone
    assert len(output.read_bytes().splitlines()) == 12


@pytest.mark.parametrize("term", ["dumb", ""])
def test_no_progress_is_drawn_on_a_dumb_terminal(folder: Path, term: str) -> None:
    shown = watched([str(folder)], folder.parent / f"{folder.name}.out", TERM=term)
    assert "\x1b" not in shown
    assert shown.count("\n") == 2


def test_one_file_has_no_progress(folder: Path) -> None:
    shown = watched([str(folder / "00.sse")], folder.parent / f"{folder.name}.out")
    assert shown == ""


def test_what_is_not_needed_is_not_imported(folder: Path) -> None:
    script = (
        "import sys; from unstream.__main__ import main; main(sys.argv[1:]); "
        "print({each.partition('.')[0] for each in sys.modules} "
        "& {'rich', 'yaml', 'matplotlib', 'multiprocessing', 'subprocess', 'openai'})"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script, "--text", folder / "00.sse"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"0\nset()\n"


# --- Follow ---------------------------------------------------------------------------


def test_each_stream_that_is_followed_has_its_name(folder: Path) -> None:
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "--follow", "-j2", folder / "00.sse", folder / "05.sse"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.startswith(f"==> {folder}/00.sse <==\n0\n".encode())
    assert done.stderr == (
        f"unstream: {folder}/05.sse: No such file or directory\n".encode()
    )
    one = subprocess.run(  # noqa: S603
        [*COMMAND, "--follow"], input=GOOD, capture_output=True, check=True
    )
    assert one.stdout.startswith(b"hi\n")


def test_who_leaves_what_is_followed_is_told_nothing(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: S603
        [*COMMAND, "--follow", folder],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""
