"""`unstream --follow`, as people see it: in a terminal, in a pipe, interrupted."""

import fcntl
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from unstream import ANY, Limits
from unstream._cli._follow import follow

ROOT: Final = Path(__file__).parents[1]
COMMAND: Final = (sys.executable, "-m", "unstream", "--follow")
HELLO: Final = ROOT / "examples/hello.sse"
WAIT: Final = 30.0


def chunk(reason: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    sent = {"id": "c1", "model": "m-1", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(sent).encode()


def piece(index: int, arguments: str, **more: Any) -> bytes:
    function = {"arguments": arguments, **more}
    named = {"id": f"call_{index}"} if more else {}
    call = {"index": index, **named, "function": function}
    return chunk(tool_calls=[call])


class Screen(io.StringIO):
    """A text stream that goes to no terminal."""

    encoding = "utf-8"


class OldScreen(Screen):
    encoding = "ascii"


def seen(*sent: bytes, screen: io.StringIO | None = None) -> str:
    """Return what a stream looks like, but for its last line."""
    screen = screen or Screen()
    follow(sent, ANY, Limits(), screen)
    shown, _, last = screen.getvalue().removesuffix("\n").rpartition("\n")
    assert " events" in last
    return shown


# --- As text --------------------------------------------------------------------------


def test_in_a_pipe() -> None:
    with HELLO.open("rb") as stream:
        done = subprocess.run(COMMAND, stdin=stream, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.decode() == (
        "Let me look that up.\n"
        "\n"
        "╭─ weather call_1\n"
        '│ {"city":"Oslo"}\n'
        "╰─ whole, may run\n"
        "\n"
        "complete · tool_calls · 61 in, 24 out tokens · 9 events, 1,822 bytes · "
        "demo-1 · chat\n"
    )


@pytest.mark.parametrize(
    ("sent", "code", "last"),
    [
        (chunk(content="Hi"), 3, "truncated"),
        (b'data: {"error":{"message":"too\\nlate \\u001b[2J"}}\n\n', 4, "error"),
        (b"", 3, "empty"),
    ],
)
def test_an_ending_has_its_exit_code(sent: bytes, code: int, last: str) -> None:
    done = subprocess.run(COMMAND, input=sent, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == code
    *lines, summary = done.stdout.decode().splitlines()
    assert summary.startswith(f"{last} · ")
    if code == 4:
        assert lines == ["error: too late \\x1b[2J", ""]


def test_nothing_of_it_goes_with_pretty() -> None:
    wrong = [*COMMAND, "--pretty", str(HELLO)]
    done = subprocess.run(wrong, capture_output=True, check=False)  # noqa: S603
    assert done.returncode == 2
    assert b"--pretty: not allowed with argument --follow" in done.stderr


def test_a_reader_that_leaves() -> None:
    line = f"{' '.join(COMMAND)} {HELLO} | head -n 1"
    done = subprocess.run(  # noqa: S602 - a pipe is what it is about
        line, shell=True, capture_output=True, check=False
    )
    assert (done.stdout, done.stderr) == (b"Let me look that up.\n", b"")


def test_what_controls_a_terminal_is_shown_as_it_is() -> None:
    bad = "a\x1b[31mb\x9b2Jc\rd\u202ee\x07"
    shown = seen(
        chunk(content=bad),
        piece(0, '{"\x1b]0;x\x07', name="f\x1b[1m\ng"),
        chunk(reasoning=bad),
        chunk(reason="\x1b[2J"),
    )
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert r"a\x1b[31mb\x9b2Jc\rd\u202ee\x07" in shown
    assert r"╭─ f\x1b[1m g call_0" in shown


def test_calls_that_take_turns_each_have_their_frame() -> None:
    shown = seen(
        chunk(content="Wait"),
        piece(0, '{"a":', name="f"),
        piece(1, '{\n "b": 2', name="g"),
        piece(0, "1}"),
        chunk(reason="tool_calls"),
    )
    assert shown == (
        'Wait\n\n╭─ f call_0\n│ {"a":\n╰─ ...\n\n╭─ g call_1\n│ {\n│  "b": 2\n╰─ ...'
        "\n\n╭─ f call_0\n│ 1}\n╰─ whole, may run\n\n"
        "╰─ g call_1: cut, must not run\n"
    )


def test_what_is_taken_back() -> None:
    def event(kind: str, **more: Any) -> bytes:
        return b"data: %b\n\n" % json.dumps({"type": kind, **more}).encode()

    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    shown = seen(
        event("response.created", response={"id": "r1", "status": "in_progress"}),
        event("response.output_text.delta", **place, delta="Hello"),
        event("response.output_text.done", **place, text="Help"),
        event("response.created", response={"id": "r2", "status": "in_progress"}),
        event("response.refusal.delta", **place, delta="No"),
    )
    assert shown == (
        "Hello\n\nthe text so far was replaced:\n\nHelp\n\n"
        "the server began another answer:\n\nNo\n"
    )


def test_a_call_that_was_taken_back() -> None:
    shown = seen(
        piece(0, "{}", name="f"),
        chunk(reason="tool_calls"),
        piece(0, "x"),
        piece(0, "{}"),
    )
    assert shown.endswith("f call_0 is now: malformed, must not run\n")


def test_several_choices_are_numbered() -> None:
    def said(index: int, text: str) -> bytes:
        choice = {"index": index, "delta": {"content": text}}
        return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()

    shown = seen(said(0, "a"), said(1, "b"), said(1, "c"), said(0, "d"))
    assert shown == "a\n\n[1] bc\n\nd\n"


def test_arguments_that_are_replaced_are_shown_anew() -> None:
    def event(kind: str, **more: Any) -> bytes:
        return b"data: %b\n\n" % json.dumps({"type": kind, **more}).encode()

    call = {"type": "function_call", "call_id": "c", "name": "f", "id": "i"}
    place = {"item_id": "i", "output_index": 0}
    kind = "response.function_call_arguments"
    shown = seen(
        event("response.output_item.added", output_index=0, item=call),
        event(f"{kind}.delta", **place, delta='{"a'),
        event(f"{kind}.done", **place, arguments='{"b":1}'),
    )
    assert shown == ('╭─ f c\n│ {"a\n╭─ f c\n│ {"b":1}\n╰─ whole, must not run\n')


def test_a_screen_that_knows_no_frames() -> None:
    shown = seen(chunk(content="é"), piece(0, '{"é"', name="f"), screen=OldScreen())
    assert shown == '\\xe9\n\n+- f call_0\n| {"\\xe9"\n+- cut, must not run\n'


def test_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = (chunk(reasoning="天 hm"), piece(0, "{", name="f"), chunk(content="a"))
    plain = seen(*sent)
    for name in ("rich.console", "rich.text", "rich.cells"):
        monkeypatch.setitem(sys.modules, name, None)
    assert seen(*sent) == plain


# --- In a terminal --------------------------------------------------------------------


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, command: Sequence[str], width: int = 40, **env: str) -> None:
        self.fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            env.setdefault(name, "")
        kept = {**os.environ, "TERM": "xterm-256color", **env}
        kept = {name: value for name, value in kept.items() if value}
        self.process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=other,
            stderr=other,
            env=kept,
            start_new_session=True,
        )
        os.close(other)
        self.shown = ""

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self, until: str | None = None) -> str:
        """Read until a text comes, or to the end."""
        deadline = time.monotonic() + WAIT
        while until is None or until not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, self.shown
            if not select.select([self.fd], [], [], left)[0]:
                continue
            try:
                data = os.read(self.fd, 65536)
            except OSError:  # the other side is closed
                data = b""
            if not data:
                break
            self.shown += data.decode()
        return self.shown

    def close(self) -> int:
        """Close the input; return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.read()
        os.close(self.fd)
        return self.process.wait(WAIT)


SENT: Final = (
    chunk(reasoning="Hm."),
    chunk(content="Sure."),
    piece(0, '{"a": "' + "天気" * 20, name="look"),
    piece(0, "x" * 50 + '"}'),
    chunk(reason="tool_calls"),
    b"data: [DONE]\n\n",
)


def test_each_piece_is_seen_at_once() -> None:
    terminal = Terminal(COMMAND)
    for sent, text in zip(
        SENT, ("Hm.", "Sure.", "look", "xxx", "may run"), strict=False
    ):
        terminal.send(sent)
        terminal.read(text)
    assert terminal.close() == 0
    assert "complete" in terminal.shown


def test_a_terminal_has_styles_and_an_edge() -> None:
    pytest.importorskip("rich")
    terminal = Terminal(COMMAND)
    terminal.send(b"".join(SENT))
    assert terminal.close() == 0
    assert "\x1b[2;3mHm." in terminal.shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.shown)
    assert "\x1b" not in plain
    framed = [line for line in plain.splitlines() if line.startswith("│ ")]
    wide = [sum(2 if c > "\u2e80" else 1 for c in line) for line in framed]
    assert len(framed) == 4
    assert max(wide) == 40
    written = f'{{"a": "{"天気" * 20}{"x" * 50}"}}'
    assert "".join(line[2:] for line in framed) == written


def test_a_terminal_that_wants_no_styles() -> None:
    terminal = Terminal(COMMAND, TERM="dumb")
    terminal.send(b"".join(SENT))
    assert terminal.close() == 0
    assert "\x1b" not in terminal.shown
    terminal = Terminal(COMMAND, NO_COLOR="1")
    terminal.send(b"".join(SENT))
    assert terminal.close() == 0
    assert not re.search(r"\x1b\[[0-9;]*\b[34][0-9]\b", terminal.shown)


def test_an_interrupt_shows_what_came() -> None:
    terminal = Terminal(COMMAND)
    terminal.send(b"".join(SENT[:3]))
    terminal.read("天気")
    os.killpg(terminal.process.pid, 2)
    assert terminal.process.wait(WAIT) == 130
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.read())
    assert "cut, must not run" in plain
    assert "interrupted · truncated" in plain
    assert "Traceback" not in plain
    terminal.close()
