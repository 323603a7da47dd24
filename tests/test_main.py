"""The command line, run as a user runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import unstream
from tests.terminal import drain
from unstream import Outcome
from unstream.__main__ import main
from unstream._cli._records import as_events
from unstream._detect import ANY, NAMES
from unstream._notes import NOTES
from unstream._protocol import Protocol
from unstream.chat import PROTOCOL

GOOD = b"""data: {"id":"c1","choices":[{"index":0,"delta":{"content":"h\xc3\xa9"}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

"""
CUT = GOOD[: GOOD.index(b"\n\n") + 2]
# Of which there is nothing to note.
FINE = (
    GOOD.replace(b'"content"', b'"role":"assistant","content"')
    + b'data: {"choices":[],"usage":{"total_tokens":3}}\n\n'
    + b"data: [DONE]\n\n"
)
TEXT = b"""data: {"id":"t1","object":"text_completion","choices":[{"text":"H"}]}

data: {"id":"t1","choices":[{"text":"i","finish_reason":"stop"}]}

"""
BODY = (
    b'{"id":"b1","object":"chat.completion","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
)
FAILED = CUT + b'data: {"error":{"message":"out of memory","code":500}}\n\n'


def lines_of(stream: bytes) -> bytes:
    """Write the chunks of a stream as JSON lines."""
    lines = stream.splitlines()
    return b"".join(line[6:] + b"\n" for line in lines if line[:7] == b"data: {")


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
        (b"<html>no</html>", 3, b"foreign"),
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
    missing = str(tmp_path / "none.sse")
    done = run([missing, good])
    assert done.returncode == 1
    assert done.stderr == f"unstream: {missing}: No such file or directory\n".encode()
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"file": missing, "error": "No such file or directory"}
    assert second["file"] == good


def test_several_files_give_a_line_each_whatever_is_in_them(
    good: str, tmp_path: Path
) -> None:
    empty, page = tmp_path / "empty", tmp_path / "page"
    empty.write_bytes(b"")
    page.write_bytes(b"<html>no</html>")
    done = run([str(empty), good, str(page)])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(empty), good, str(page)]
    assert rows[0]["error"].startswith("the stream held no choice")
    assert rows[2]["error"].startswith("this is no stream of a known protocol")


def test_no_server_says_which_file_it_is(good: str, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.write_bytes(GOOD.replace(b'{"id"', b'{"file":"/etc/passwd","id"'))
    rows = [json.loads(line) for line in run([str(odd), good]).stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(odd), good]


def test_the_text_of_several_files_is_set_apart(good: str, failed: str) -> None:
    done = run(["--text", good, failed])
    head = "==> {} <==\nhé\n"
    assert done.stdout.decode() == f"{head.format(good)}\n{head.format(failed)}"


def test_a_folder_stands_for_what_is_in_it(tmp_path: Path) -> None:
    inner = tmp_path / "b" / "inner.log"
    inner.parent.mkdir()
    (tmp_path / ".hidden").mkdir()
    paths = [tmp_path / "a.sse", tmp_path / "z", inner]
    for path in (*paths, tmp_path / ".x.sse", tmp_path / ".hidden" / "x.sse"):
        path.write_bytes(GOOD)
    os.mkfifo(tmp_path / "c")  # would block
    (tmp_path / "d").symlink_to("nowhere")
    done = run([str(tmp_path)])
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    want = [paths[0], tmp_path / "d", paths[1], inner]
    assert [row["file"] for row in rows] == [str(path) for path in want]
    assert rows[1]["error"] == "No such file or directory"
    assert done.returncode == 1


def test_a_folder_of_one_file_gives_its_name(good: str) -> None:
    [row] = run([str(Path(good).parent)]).stdout.splitlines()
    assert json.loads(row)["file"] == good


def test_an_empty_folder_is_told(tmp_path: Path) -> None:
    done = run([str(tmp_path)])
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.endswith(b": there are no files in this folder\n")


def test_outcome_is_all_that_is_known(good: str, failed: str) -> None:
    plain = json.loads(run(["--outcome", good]).stdout)
    assert plain["ending"] == "complete"
    assert plain["n_bytes"] == len(GOOD)
    assert plain["notes"][0]["code"] == "no_done"
    assert Outcome.from_dict(plain).unwrap().output_text == "hé"
    rows = [
        json.loads(line)
        for line in run(["--outcome", good, failed]).stdout.splitlines()
    ]
    assert rows[0] == {"file": good, **plain}
    assert rows[1]["error"] == {"message": "out of memory", "code": 500}
    assert json.loads(run(["--outcome"]).stdout)["ending"] == "empty"


def test_check_tells_what_was_odd_in_words(good: str, failed: str) -> None:
    done = run(["--check", good, failed])
    lines = done.stdout.decode().splitlines()
    assert f"{good}:3: event 2: no_done: {NOTES['no_done']}" in lines
    places = [line.partition(": ")[0].rpartition(":") for line in lines]
    names = [name for name, _, _ in places]
    assert names == sorted(names, reverse=True)  # the good one was the first
    assert {*names} == {good, failed}
    assert "hé" not in done.stdout.decode()
    assert done.returncode == 4
    assert run(["--check", good]).returncode == 3


def test_check_says_how_many_times() -> None:
    done = run(["--check"], b"data: x\n\n" * 3 + FINE)
    want = f"-:1: event 1: malformed (3 times): {NOTES['malformed']}\n"
    assert (done.returncode, done.stdout.decode()) == (3, want)


def test_check_has_nothing_to_say_of_what_is_fine() -> None:
    done = run(["--check"], FINE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_limit_bounds_what_is_read() -> None:
    done = run(["--text", "--limit", str(len(CUT))], GOOD)
    assert (done.returncode, done.stdout) == (3, "hé\n".encode())
    assert b"over the limit stream_bytes" in done.stderr
    # An input without an end is left.
    endless = shell('yes "data: {}" | "$@"', ["--limit", "99999"])
    assert endless.returncode == 3


def test_the_version_is_that_of_the_package() -> None:
    done = run(["--version"])
    assert done.stdout.decode() == f"unstream {unstream.__version__}\n"


def test_options_may_stand_among_the_files(good: str) -> None:
    assert run([good, "--text", good]).stdout == run(["--text", good, good]).stdout
    done = run([good, "--text", "--", good, "--check"])
    assert done.stdout == run(["--text", good, good]).stdout
    assert done.stderr.startswith(b"unstream: --check: No such file")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--text", "--pretty"],
        ["--check", "--pretty"],
        ["--text", "--outcome"],
        ["--limit", "0"],
        ["--limit", "1k"],
        ["--protocol", "bedrock"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_told_in_a_line(arguments: list[str]) -> None:
    done = run(arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"unstream: ")
    assert done.stderr.endswith(b"; --help tells more\n")
    assert done.stderr.count(b"\n") == 1


# --- Protocols ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_protocol_is_loaded_by_its_name(name: str) -> None:
    done = run(["--protocol", name, "--outcome"])
    assert json.loads(done.stdout)["protocol"] == name


MESSAGE = b"""event: message_start
data: {"type":"message_start","message":{"id":"m1","type":"message",\
"role":"assistant","model":"m","content":[]}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text",\
"text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",\
"text":"Hi"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},\
"usage":{"output_tokens":3}}

event: message_stop
data: {"type":"message_stop"}

"""
RESPONSE = b"""event: response.output_text.delta
data: {"type":"response.output_text.delta","item_id":"i","output_index":0,\
"content_index":0,"delta":"Hi"}

event: response.completed
data: {"type":"response.completed","response":{"id":"r1","object":"response",\
"status":"completed","output":[{"id":"i","type":"message","role":"assistant",\
"status":"completed","content":[{"type":"output_text","text":"Hi",\
"annotations":[]}]}]}}

"""
GEMINI = b"""data: {"responseId":"g1","candidates":[{"content":{"role":"model",\
"parts":[{"text":"H"}]}}]}

data: {"responseId":"g1","candidates":[{"content":{"role":"model",\
"parts":[{"text":"i"}]},"finishReason":"STOP"}]}

"""
GREETINGS = {
    "chat": GOOD.replace("hé".encode(), b"Hi"),
    "text": TEXT,
    "messages": MESSAGE,
    "responses": RESPONSE,
    "gemini": GEMINI,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_greeting_of_every_protocol_is_read(name: str) -> None:
    stream = GREETINGS[name]
    for protocol in (["--protocol", name], ["--protocol", "any"], []):
        for data in (stream, lines_of(stream)):
            done = run([*protocol, "--text"], data)
            assert (done.returncode, done.stdout) == (0, b"Hi\n")


@pytest.mark.parametrize("name", ["messages", "responses", "gemini"])
def test_a_stream_that_is_no_chat_completion_says_what_it_is(name: str) -> None:
    for data in (GREETINGS[name], lines_of(GREETINGS[name])):
        done = run(["--protocol", "chat"], data)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.decode() == (
            "unstream: foreign: this is a stream of another protocol: "
            f"--protocol {name} reads it\n"
        )


def test_a_text_completion_is_read_as_one() -> None:
    done = run(["--protocol", "text"], TEXT)
    assert done.returncode == 0
    assert json.loads(done.stdout)["object"] == "text_completion"
    assert run(["--protocol", "text", "--text"], TEXT).stdout == b"Hi\n"


@pytest.mark.parametrize(
    "stream",
    [GOOD, BODY, lines_of(GOOD)],
    ids=["events", "a body", "lines"],
)
def test_a_stream_of_another_protocol_says_which(stream: bytes) -> None:
    done = run(["--protocol", "text"], stream)
    assert done.returncode == 3
    assert done.stderr == (
        b"unstream: foreign: this is a stream of another protocol: "
        b"--protocol chat reads it\n"
    )


# --- What is in a file ----------------------------------------------------------------


def test_a_whole_answer_passes_as_it_is() -> None:
    for text in (BODY, json.dumps(json.loads(BODY), indent=2).encode()):
        done = run([], text)
        assert done.returncode == 0
        assert json.loads(done.stdout) == json.loads(BODY)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"], ids=repr)
@pytest.mark.parametrize("head", [b"", b"\xef\xbb\xbf", b"\n  "], ids=repr)
def test_lines_of_chunks_are_a_stream(head: bytes, end: bytes) -> None:
    stream = head + lines_of(FINE).replace(b"\n", end) + b"[DONE]"
    plain = json.loads(run(["--outcome"], stream).stdout)
    assert plain["completion"] == json.loads(run([], FINE).stdout)
    assert (plain["done"], plain["n_malformed"]) == (True, 0)
    assert plain["n_bytes"] == len(stream)


def test_a_line_that_is_broken_is_one_payload() -> None:
    first, *others = lines_of(FINE).splitlines(keepends=True)
    stream = b"".join([first, others[0], b"oops\n", *others[1:]])
    plain = json.loads(run(["--outcome"], stream).stdout)
    assert plain["n_malformed"] == 1
    assert plain["completion"] == json.loads(run([], FINE).stdout)


def test_lines_of_text_completions_are_a_stream() -> None:
    done = run(["--protocol", "text"], lines_of(TEXT))
    assert done.stdout == run(["--protocol", "text"], TEXT).stdout
    assert done.returncode == 0


def test_lines_of_whole_answers_are_not_made_one() -> None:
    other = BODY.replace(b'"b1"', b'"b2"')
    for text in (b"%b\n%b\n" % (BODY, other), b"[%b,\n %b]" % (BODY, other)):
        done = run([], text)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(row["file"], row["id"]) for row in rows] == [
            ("-:1", "b1"),
            ("-:2", "b2"),
        ]
        assert (done.returncode, done.stderr) == (0, b"")


@given(
    st.sampled_from([FINE, lines_of(FINE), BODY, b"{\n" + BODY[1:], b"", b"\n\n{"]),
    st.integers(1, 40),
    st.sampled_from([PROTOCOL, ANY]),
)
def test_what_is_in_a_file_does_not_depend_on_cuts(
    data: bytes, step: int, protocol: Protocol[Any]
) -> None:
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    whole = b"".join(as_events(iter([data]), protocol).pieces)
    assert b"".join(as_events(pieces, protocol).pieces) == whole


# --- Terminals and broken pipes -------------------------------------------------------

EVIL: Final = "\x1b[2J\x9b2J\x07\r\x7f\u202e\u200f\u061cbad\ttab\nline 👩\u200d🚀"


def evil() -> bytes:
    choice = {"delta": {"content": EVIL}, "finish_reason": "stop"}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def on_terminal(arguments: Sequence[str], given: bytes = b"") -> str:
    """Run with standard output at a terminal; return what that got."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "unstream", *arguments],
        stdin=subprocess.PIPE,
        stdout=theirs,
    )
    os.close(theirs)
    process.communicate(given)
    return drain(ours).replace("\r\n", "\n")


def test_a_pipe_gets_the_text_exactly() -> None:
    assert run(["--text"], evil()).stdout.decode() == EVIL + "\n"


def test_a_terminal_gets_no_control_characters() -> None:
    shown = on_terminal(["--text"], evil())
    assert shown == (
        r"\x1b[2J\x9b2J\x07\r\x7f\u202e\u200f\u061cbad" + "\ttab\nline 👩\u200d🚀\n"
    )
    for arguments in ([], ["--pretty"], ["--outcome"]):
        shown = on_terminal(arguments, evil())
        assert not {*"\x1b\x9b\x07\r\x7f\u202e"} & {*shown}
        assert json.loads(shown) == json.loads(run(arguments, evil()).stdout)


def test_names_and_messages_are_one_line_without_control_characters(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a\n\x1b[31m.sse"
    said = json.dumps({"error": {"message": EVIL}}).encode()
    path.write_bytes(b"data: " + said + b"\n\n")
    name = str(path)
    for arguments in ([name], ["--check", name], ["--text", name, name]):
        done = run(arguments)
        told = (done.stderr + done.stdout).decode().replace("\n", "")
        assert done.stderr.count(b"\n") == arguments.count(name)
        assert r"a\n\x1b[31m.sse" in told
        assert not {*"\x1b\x9b\x07\r\x7f\u202e\t"} & {*told}


def test_a_terminal_is_told_that_input_is_waited_for() -> None:
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "unstream", "--text"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        assert b"reading a stream from the terminal" in process.stderr.readline()
        # A line each, as somebody types them; one Ctrl-D is the end.
        os.write(ours, GOOD + b"\x04")
        try:
            output, rest = process.communicate(timeout=20)
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)
    assert (output, rest, process.returncode) == ("hé\n".encode(), b"", 0)


def shell(
    script: str, arguments: Sequence[str] = (), **beside: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which "$@" is the command."""
    command = [sys.executable, "-m", "unstream", *arguments]
    return subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", script, "sh", *command],
        input=GOOD,
        capture_output=True,
        check=False,
        env={**os.environ, **beside},
        timeout=60,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ('"$@" <&-', b"standard input: it is closed"),
        ('"$@" >&-', b"standard output: it is closed"),
        ('"$@" --version >&-', b"standard output: it is closed"),
        ('"$@" >/dev/full', b"standard output: No space left on device"),
        ('"$@" --help >/dev/full', b"standard output: No space left on device"),
        # Room for a part of it.
        (
            """printf '{"choices":[{"delta":{"content":"%3000s"}}]}' x |
            { ulimit -f 1; "$@" --text >big; }""",
            b"standard output: File too large",
        ),
    ],
)
def test_what_cannot_be_read_or_written_is_told_in_a_line(
    script: str, told: bytes, unbuffered: str, tmp_path: Path
) -> None:
    script = script.replace(">big", f">{tmp_path}/big")
    done = shell(script, PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, b"unstream: " + told + b"\n")


@pytest.mark.parametrize("script", ['"$@" none 2>&-', '"$@" none 2>/dev/full'])
def test_nobody_need_read_the_errors(script: str) -> None:
    done = shell(script)
    assert (done.returncode, done.stdout) == (1, b"")


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
