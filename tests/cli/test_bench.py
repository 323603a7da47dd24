"""The measure of one's own captures: what is measured, and that it is the same work."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.test_inputs import BODY, GOOD, MESSAGES
from unstream import Accumulator
from unstream.__main__ import main
from unstream._cli import _bench, _peers
from unstream._cli._bench import measure
from unstream._cli._peers import Peer, facts
from unstream.chat import PROTOCOL

STREAM: Final = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},'
    b'"finish_reason":null}]}\n\n'
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}'
    b"\n\ndata: [DONE]\n\n"
)
Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the table of peers, which is empty, and measure in no time."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(_peers, "_LOADERS", found)
    monkeypatch.setattr(_bench, "_SECONDS", 0.02)
    monkeypatch.setattr(_bench, "_LEAST", 0.001)
    monkeypatch.setattr(_bench, "_ROUNDS", (2, 4))
    return found


@pytest.fixture
def bench(
    tmp_path: Path, peers: dict[str, Any], capfdbinary: pytest.CaptureFixture[bytes]
) -> Bench:
    assert peers == {}

    def bench(*files: bytes) -> tuple[int, str, str]:
        names = []
        for n, data in enumerate(files):
            (tmp_path / f"{n}").write_bytes(data)
            names.append(str(tmp_path / f"{n}"))
        status = main(["--bench", *(names or [str(tmp_path / "none")])])
        got = capfdbinary.readouterr()
        return status, got.out.decode(), got.err.decode()

    return bench


def lines_of(shown: str) -> list[list[str]]:
    """Return the cells of the measured ways."""
    table = shown.rsplit("\n\n", maxsplit=1)[-1].splitlines()[1:]
    return [re.split(r"  +", line) for line in table]


def test_framing_decode_and_fold_are_measured(bench: Bench) -> None:
    status, shown, told = bench(STREAM, STREAM)
    assert (status, told) == (0, "")
    assert f"streams   2, 8 events, {2 * len(STREAM)} bytes\n" in shown
    lines = lines_of(shown)
    assert [line[:2] for line in lines] == [
        ["framing alone", "64 KiB"],
        ["framing alone", "event"],
        ["bare typed decode", "none"],
        ["the whole fold", "64 KiB"],
        ["the whole fold", "event"],
    ]
    for _, _, speed, events, each, spread, ratio in lines:
        per_second = float(events.replace(",", ""))
        assert per_second * float(each) == pytest.approx(1e6, rel=0.02)
        least, most = map(float, spread.split(" to "))
        assert least <= float(each) <= most
        assert float(speed) > 0
        assert float(ratio.replace(",", "")) > 0
    assert lines[2][-1] == "1.00"


def test_each_protocol_is_measured_by_itself(bench: Bench) -> None:
    status, shown, _ = bench(STREAM, MESSAGES)
    assert status == 0
    assert re.findall(r"^protocol  (\w+)$", shown, re.MULTILINE) == ["chat", "messages"]


def test_what_is_no_stream_is_left_out(bench: Bench) -> None:
    status, _, told = bench(b"<html>", str(BODY).encode())
    assert (status, told) == (3, "unstream: there is no stream to measure\n")
    status, shown, told = bench(STREAM, b"<html>")
    assert (status, told) == (0, "")
    assert "streams   1, " in shown
    status, _, told = bench()
    assert status == 3
    assert told.startswith("unstream: ")
    assert "No such file" in told


def test_only_so_much_is_held(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bench, "_MOST", len(STREAM))
    status, shown, told = bench(STREAM, STREAM)
    assert status == 0
    assert "streams   1, " in shown
    assert told.startswith("unstream: measured are the first ")


# --- Peers ----------------------------------------------------------------------------


def _ours(feeds: Any) -> dict[str, Any]:
    accumulator = Accumulator()
    for data in feeds:
        accumulator.feed(data)
    whole = accumulator.finish().completion
    return whole.to_dict() if whole else {}


def _wrong(feeds: Any) -> dict[str, Any]:
    return {**_ours(feeds), "choices": []}


def _raises(_: Any) -> dict[str, Any]:
    raise ValueError


@pytest.mark.parametrize(
    ("fold", "answers"), [(_ours, "2 of 2"), (_wrong, "0 of 2"), (_raises, "0 of 2")]
)
def test_it_is_said_who_got_the_same_answer(
    bench: Bench, peers: dict[str, Any], fold: Any, answers: str
) -> None:
    peers["msgspec"] = lambda version: Peer(f"peer {version[:1]}", fold, dict)
    peers["is-not-installed"] = None
    _, shown, _ = bench(STREAM, GOOD.encode())
    [line] = [line for line in lines_of(shown) if line[0].startswith("peer")]
    assert line[0] == "peer 0"
    assert line[-1] == answers


def test_openai_gets_the_same_answer_where_it_is_installed() -> None:
    pytest.importorskip("openai")
    peer = _peers._openai("3")
    assert facts(peer.read(peer.fold([STREAM[:99], STREAM[99:]]))) == facts(
        _ours([STREAM])
    )


def test_answers_are_compared_by_what_they_say() -> None:
    whole = _ours([STREAM])
    assert facts(whole) == [[(0, "Hello", "stop", [])], [1, 2]]
    assert facts({**whole, "id": "other"}) == facts(whole)
    assert facts({}) == [[], [None, None]]
    call = {"function": {"name": "f", "arguments": "{}"}}
    message = {"content": None, "tool_calls": [call, {"custom": {}}]}
    assert facts({"choices": [{"index": 1, "message": message}]})[0] == [
        (1, "", None, [("f", "{}")])
    ]


def test_a_terminal_gets_what_it_has_room_for(peers: dict[str, Any]) -> None:
    pytest.importorskip("rich")
    assert peers == {}
    captures = [*_bench._capture(STREAM, PROTOCOL)]
    shown = measure(captures, 60)
    assert "us/event" in shown
    assert "bare decodes" not in shown
    assert max(map(len, shown.splitlines())) <= 60
