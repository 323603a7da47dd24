"""What is in a file is told by its content: each format, written by hand."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstream.__main__ import main
from unstream._cli import _flows, _fold, _records
from unstream._cli._exchanges import kind
from unstream._cli._records import pick, records, suggest
from unstream._cli._streams import Ask, Fault, Passed, Stream, streams

GOOD: Final = """data: {"id":"c1","choices":[{"index":0,"delta":{"content":"hé"}}]}

data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

"""
CUT: Final = GOOD[: GOOD.index("\n\n") + 2]
BODY: Final[dict[str, Any]] = {
    "id": "b1",
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "whole"},
            "finish_reason": "stop",
        }
    ],
}
MESSAGES: Final = (
    b"event: message_start\n"
    b'data: {"type":"message_start","message":{"id":"m1","type":"message",'
    b'"role":"assistant","model":"m","content":[]}}\n\n'
    b"event: message_stop\n"
    b'data: {"type":"message_stop"}\n\n'
)
URL: Final = "https://llm.test/v1/chat/completions?key=secret"


class Done(NamedTuple):
    status: int
    rows: list[dict[str, Any]]
    told: list[str]


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return what runs the command line on a file in the current folder."""

    def run(data: bytes | str | dict[str, Any], *arguments: str) -> Done:
        if isinstance(data, dict):
            data = json.dumps(data)
        data = data.encode() if isinstance(data, str) else data
        (tmp_path / "it").write_bytes(data)
        status = main(["--outcome", *arguments, str(tmp_path / "it")])
        got = capfdbinary.readouterr()
        out = got.out.decode().replace(f"{tmp_path}/", "")
        told = got.err.decode().replace(f"{tmp_path}/", "").splitlines()
        return Done(status, [json.loads(line) for line in out.splitlines()], told)

    return run


def texts(done: Done) -> dict[str, str]:
    """Return the text of each stream, by its name."""
    return {
        row.get("file", ""): row["completion"]["choices"][0]["message"]["content"]
        for row in done.rows
    }


# --- Codings --------------------------------------------------------------------------


def test_gzip_is_undone(run: Run) -> None:
    done = run(gzip.compress(GOOD.encode()))
    assert (done.status, texts(done)) == (0, {"": "hé"})
    assert done.rows[0]["n_bytes"] == len(GOOD.encode())
    assert texts(run(gzip.compress(gzip.compress(GOOD.encode())))) == {"": "hé"}


def test_zstd_is_undone(run: Run) -> None:
    zstd = pytest.importorskip("backports.zstd")
    assert texts(run(zstd.compress(GOOD.encode()))) == {"": "hé"}


def test_a_file_may_stand_for_more_than_a_body_of_the_network(run: Run) -> None:
    filler = ": nothing\n" * 500_000
    packed = gzip.compress((filler + GOOD).encode())
    assert len(filler) > 200 * len(packed)
    assert texts(run(packed)) == {"": "hé"}


def test_what_is_no_gzip_after_all_is_told(run: Run) -> None:
    done = run(b"\x1f\x8b" + GOOD.encode())
    assert (done.status, done.rows) == (1, [])
    assert done.told[0].startswith("unstream: it: gzip: ")


def test_what_came_before_a_file_breaks_off_is_folded_and_the_break_told(
    run: Run,
) -> None:
    filler = b"".join(b": %d\n" % n for n in range(99_999))
    packed = gzip.compress(GOOD.encode() + filler)
    for cut in (packed[: len(packed) // 2], packed[:-6] + b"!" + packed[-5:]):
        done = run(cut)
        assert (done.status, texts(done)) == (1, {"": "hé"})
        assert done.told[0].startswith("unstream: it: gzip: ")
        assert len(done.told) == 1
    done = run(gzip.compress(CUT.encode())[:-8])
    assert (done.status, done.rows[0]["ending"]) == (3, "truncated")
    assert done.told[0].endswith("; gzip: it breaks off")


def test_a_log_that_breaks_off_between_two_lines_is_told(run: Run) -> None:
    line = json.dumps({"b": GOOD}) + "\n"
    done = run(gzip.compress(line.encode())[:-8], "--field", "b")
    assert (done.status, texts(done)["it:1"]) == (1, "hé")
    assert done.told == ["unstream: it: gzip: it breaks off"]


# --- Chunks ---------------------------------------------------------------------------

CHUNKS: Final = [json.loads(line[6:]) for line in GOOD.splitlines() if "{" in line]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_chunks_is_a_stream(run: Run, indent: int | None) -> None:
    done = run(json.dumps(CHUNKS, indent=indent))
    assert (done.status, texts(done)) == (0, {"": "hé"})
    assert done.rows[0]["n_malformed"] == 0
    one = run(json.dumps(CHUNKS[:1]))
    assert one.rows[0]["ending"] == "truncated"


def test_an_array_that_breaks_off_is_truncated(run: Run) -> None:
    text = json.dumps(CHUNKS)
    done = run(text[: text.index("finish_reason")])
    assert (done.status, texts(done)) == (3, {"": "hé"})
    assert done.rows[0]["ending"] == "truncated"


def test_an_array_of_pieces_is_the_stream_that_they_make(run: Run) -> None:
    pieces = [GOOD[at : at + 7] for at in range(0, len(GOOD), 7)]
    assert texts(run(json.dumps(pieces))) == {"": "hé"}
    payloads = [*map(json.dumps, CHUNKS), "[DONE]"]
    assert texts(run(json.dumps(payloads))) == {"": "hé"}


def test_an_array_of_gemini_stays_what_it_is(run: Run) -> None:
    candidate = {"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    sent = [{"responseId": "g", "candidates": [candidate]}]
    done = run(json.dumps(sent))
    assert (done.status, done.rows[0]["protocol"]) == (0, "gemini")
    assert done.rows[0]["done"]
    assert not run(json.dumps(sent)[:-1]).rows[0]["done"]


# --- Logs -----------------------------------------------------------------------------


def test_a_field_holds_a_stream_a_body_or_its_chunks(run: Run) -> None:
    events = [{"event": "message", "data": chunk} for chunk in CHUNKS]
    bodies = [GOOD, BODY, json.dumps(BODY), CHUNKS, events, [GOOD[:9], GOOD[9:]]]
    records = [{"at": 1, "response": {"body": body}} for body in bodies]
    lines = "\n".join(map(json.dumps, records))
    done = run(lines, "--field", "response.body")
    want = ["hé", "whole", "whole", "hé", "hé", "hé"]
    assert texts(done) == {f"it:{n}": text for n, text in enumerate(want, 1)}
    assert (done.status, done.told) == (0, [])
    assert run(json.dumps(records), "--field", "response.body") == done
    assert texts(run(records[1], "--field", "response.body")) == {"it:1": "whole"}
    pretty = json.dumps(records[1], indent=1)
    assert texts(run(pretty, "--field", "response.body")) == {"it:1": "whole"}


def test_records_are_named_by_their_line(run: Run) -> None:
    lines = ["", json.dumps({"b": GOOD}), "", "{oops", json.dumps({"b": CUT}), "{}"]
    done = run("\n".join(lines), "--field", "b")
    assert [row["file"] for row in done.rows] == ["it:2", "it:4", "it:5"]
    assert done.status == 3
    assert done.told[0] == "unstream: it:4: this record is no JSON"
    assert done.told[1].startswith("unstream: it:5: truncated: ")
    assert done.told[2:] == ["unstream: 1 entry passed over: no answer of a model"]


def test_a_field_that_is_nowhere_is_told(run: Run) -> None:
    done = run('{"a":1}\n{"a":2}\n', "--field", "b.c")
    assert (done.status, done.rows) == (1, [])
    assert done.told[0] == "unstream: it: none of its records has a field b.c"
    done = run(GOOD, "--field", "b")
    assert done.told == [
        "unstream: it: this is no JSON; --field is for records of that"
    ]


def test_a_log_without_a_field_says_which_would_do(run: Run) -> None:
    lines = [json.dumps({"at": 1, "response": {"n": 1, "body": GOOD}})] * 2
    done = run("\n".join(lines))
    assert done.status == 3
    assert done.told[0].endswith("; --field response.body seems to hold one")
    assert run('{"a":1}\n{"a":2}\n').told[0].endswith(" bytes)")


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("a.b", 1),
        ("x.y", 2),
        ("c.1.d", 3),
        ("t.u", 4),
    ],
)
def test_a_path_leads_through_dots_lists_and_text(path: str, want: int) -> None:
    sent = {"a": {"b": 1}, "x.y": 2, "c": [0, {"d": 3}], "t": '{"u":4}'}
    assert pick(sent, path) == want
    for wrong in ("a.c", "c.2", "c.x", "t.u.v", "z", "a.b.c"):
        with pytest.raises(LookupError):
            pick(sent, wrong)


def test_what_is_suggested_is_found() -> None:
    for value in (GOOD, BODY, CHUNKS, json.dumps(BODY)):
        record = {"id": 1, "in": {"x": "text"}, "out": {"it": value}}
        text = json.dumps(record).encode()
        assert suggest(text) == "out.it"
    assert suggest(b'{"a":"b"}') is None
    assert suggest(b"{") is None


# --- HAR ------------------------------------------------------------------------------


def entry(body: str | bytes | None, url: str = URL, **beside: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"size": 1, "mimeType": "text/event-stream"}
    if isinstance(body, bytes):
        content |= {"text": b64encode(body).decode(), "encoding": "base64"}
    elif body is not None:
        content["text"] = body
    return {
        "startedDateTime": "2026-11-24T12:00:00.000Z",
        "time": 2000,
        "request": {"method": "POST", "url": url},
        "response": {"status": 200, "content": content},
        "timings": {"blocked": -1, "send": 0.5, "wait": 499.5, "receive": 1500},
        **beside,
    }


def har(*entries: Any) -> dict[str, Any]:
    return {"log": {"version": "1.2", "creator": {}, "entries": entries}}


def test_the_answers_of_a_har_are_folded(run: Run) -> None:
    page = entry("<html>", "https://llm.test/")
    odd = entry(GOOD, "https://llm.test/api/ask")  # its body tells
    data = har(page, entry(GOOD), entry(GOOD.encode()), None, entry(None), odd)
    done = run(data)
    assert texts(done) == {"it:2": "hé", "it:3": "hé", "it:6": "hé"}
    assert done.rows[0]["timing"]["first_byte"] == 0.5
    assert done.rows[0]["timing"]["total"] == 2
    assert (done.status, done.told) == (
        0,
        ["unstream: 3 entries passed over: no answers of a model"],
    )
    assert run("\ufeff" + json.dumps(data, indent=4)).rows == done.rows


def test_what_was_asked_of_a_model_and_failed_is_an_answer(run: Run) -> None:
    failed = '{"error":{"message":"quota"}}'
    done = run(har(entry(failed), entry(CUT), entry(b"\x1f\x8b" + b"!" * 9)))
    assert [row.get("ending") for row in done.rows] == ["error", "truncated", None]
    assert done.status == 4
    assert done.told[2].startswith("unstream: it:3: gzip: ")


def test_an_entry_that_breaks_off_leaves_the_others(run: Run) -> None:
    packed = bytearray(gzip.compress(b": \n" * 99_999 + GOOD.encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 9] = b"!" * 9
    done = run(har(entry(bytes(packed)), entry(GOOD)))
    assert [row.get("ending") for row in done.rows] == ["empty", "complete"]
    assert done.rows[0]["file"] == "it:1"
    assert done.told[0].startswith("unstream: it:1: empty: ")
    assert "; gzip: " in done.told[0]
    assert done.status == 3


def test_a_fault_of_ours_leaves_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _fold.fold

    def broken(stream: Stream, ask: Ask, *, lines: bool) -> _fold.Folded:
        if stream.name.endswith(":1"):
            raise KeyError("x")
        return real(stream, ask, lines=lines)

    monkeypatch.setattr(_fold, "fold", broken)
    done = run(har(entry(GOOD), entry(GOOD)))
    assert done.told == ["unstream: it:1: this is a fault of unstream: KeyError: 'x'"]
    assert (done.status, len(done.rows)) == (1, 2)


def test_events_of_chrome_stand_in_for_a_text_that_is_not_there(run: Run) -> None:
    started = 1795521600.0  # of the entries above
    messages = [
        {"time": started + at, "eventName": "message", "eventId": "", "data": data}
        for at, data in ((0.5, json.dumps(CHUNKS[0])), (0.75, json.dumps(CHUNKS[1])))
    ]
    data = har(entry(None, "https://llm.test/x", _eventSourceMessages=messages))
    assert texts(run(data)) == {"it:1": "hé"}
    [found] = [
        each
        for each in streams("it", iter([json.dumps(data).encode()]), Ask())
        if isinstance(each, Stream)
    ]
    assert found.exchange is not None
    assert found.exchange.arrivals == (0.5, 0.75)


def test_a_har_without_answers_is_told(run: Run) -> None:
    done = run(har(entry("x", "https://llm.test/")))
    assert (done.status, done.rows) == (1, [])
    assert done.told == ["unstream: it: none of its entries is the answer of a model"]
    assert run(har()).told == done.told


def test_a_har_that_breaks_off_is_told(run: Run) -> None:
    done = run(json.dumps(har(entry(GOOD)))[:-9])
    assert (done.status, done.rows) == (1, [])
    assert done.told[0].startswith("unstream: it: this HAR cannot be read: ")


def test_a_har_as_deep_as_no_parser_goes_is_told(run: Run) -> None:
    deep = "[" * 99_999
    done = run(f'{{"log": {{"entries": [{deep}')
    assert (done.status, done.rows) == (1, [])
    assert done.told[0].startswith("unstream: it: this HAR cannot be read: ")


@pytest.mark.parametrize("time", ["1" + "0" * 400, "1e400", "1e308", "-1", '"x"'])
def test_a_time_that_cannot_be_leaves_its_entry_without_one(
    run: Run, time: str
) -> None:
    data = json.dumps(har(entry(GOOD, time="?"), entry(GOOD)))
    done = run(data.replace('"?"', time))
    assert (done.status, [*texts(done)]) == (0, ["it:1", "it:2"])
    assert done.rows[0]["timing"] is None
    assert done.rows[1]["timing"]["total"] == 2


def test_what_is_read_whole_has_a_limit(run: Run) -> None:
    done = run(har(entry(GOOD)), "--limit", "100")
    assert done.status == 1
    assert done.told == [
        "unstream: it: it is read whole, and has more than --limit 100 bytes"
    ]


# --- Cassettes ------------------------------------------------------------------------

HEAD: Final = """interactions:
- request:
    body: null
    headers: {}
    method: GET
    uri: https://llm.test/
  response:
    body:
      string: <html>
    status: {code: 200, message: OK}
- request:
    body: '{}'
    headers: {}
    method: POST
    uri: https://llm.test/v1/chat/completions
  response:
    body:
      string: """


@pytest.mark.parametrize("begin", ["", "---\n", "# made by hand\nversion: 1\n"])
def test_a_cassette_of_python_is_read(run: Run, begin: str) -> None:
    pytest.importorskip("yaml")
    packed = b64encode(gzip.compress(GOOD.encode())).decode()
    for written in (json.dumps(GOOD), f"!!binary {packed}"):
        done = run(f"{begin}{HEAD}{written}\nversion: 1\n")
        assert texts(done) == {"it:2": "hé"}
        assert done.told == ["unstream: 1 entry passed over: no answer of a model"]


def test_a_cassette_of_ruby_or_betamax_is_read(run: Run) -> None:
    def interaction(body: dict[str, str], **headers: list[str]) -> dict[str, Any]:
        request = {"method": "post", "uri": URL, "body": {"string": "{}"}}
        coded = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"request": request, "response": {"body": body, "headers": coded}}

    packed = b64encode(gzip.compress(GOOD.encode())).decode()
    sent = {
        "http_interactions": [
            interaction({"encoding": "UTF-8", "string": GOOD}),
            interaction({"base64_string": packed}, Content_Encoding=["gzip"]),
            # Decoded by the library, with the header as it came.
            interaction(
                {"base64_string": b64encode(GOOD.encode()).decode()},
                Content_Encoding=["gzip"],
            ),
            interaction({"base64_string": packed}, Content_Encoding=["lzw"]),
        ],
        "recorded_with": "by hand",
    }
    data = json.dumps(sent, indent=1)
    done = run(data)
    want = {f"it:{n}": "hé" for n in (1, 2, 3)}
    assert done.rows.pop() == {"file": "it:4", "error": "lzw: is unknown"}
    assert texts(done) == want
    assert done.told == ["unstream: it:4: lzw: is unknown"]
    yaml = pytest.importorskip("yaml")
    assert run("---\n" + yaml.safe_dump(sent)).told == done.told


def test_a_cassette_that_is_no_yaml_is_told(run: Run) -> None:
    pytest.importorskip("yaml")
    for broken in ("'", "!!python/object/apply:os.getcwd []"):
        done = run(f"{HEAD}{broken}\n")
        assert (done.status, done.rows, len(done.told)) == (1, [], 1)
        assert done.told[0].startswith("unstream: it: this cassette cannot be read: ")


def test_a_cassette_that_grows_by_merging_is_refused(run: Run) -> None:
    merged = "".join(f"- &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 25))
    done = run(f"interactions:\n- &a0 {{k: v}}\n{merged}")
    assert (done.status, done.rows) == (1, [])
    assert done.told[0].startswith("unstream: it: this cassette cannot be read: ")
    assert "merge" in done.told[0]


def test_a_cassette_needs_yaml(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    done = run(f"{HEAD}x\n")
    assert done.told == [
        "unstream: it: a cassette in YAML needs PyYAML: pip install 'unstream[yaml]'"
    ]
    assert done.status == 1


# --- Flows ----------------------------------------------------------------------------

FLOW: Final = b"2839:9:websocket;0:~8:response;"


def test_flows_need_mitmdump(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run(FLOW)
    assert (done.status, done.told) == (
        1,
        ["unstream: it: mitmproxy's flows need mitmdump, which is not installed"],
    )


def test_a_flow_with_times_that_cannot_be_leaves_the_others() -> None:
    sent = {"method": "POST", "path": "/x", "body": None, "started": 1}
    times = [(0.5, 3), (0.5, float("inf")), (float("nan"), 3), (1e300, 3), (0.5, -1)]
    lines = [
        f"unstream {json.dumps({**sent, 'first_byte': first, 'total': total})}\n"
        for first, total in times
    ]
    logged = deque[str](maxlen=1)
    written = [b"a line of its own\n", *map(str.encode, lines), b"\n"]
    read = [*_flows._read_flows(written, logged)]
    assert [*logged] == ["a line of its own"]
    timings = [
        each.timing and (each.timing.first_byte, each.timing.total) for each in read
    ]
    assert timings == [(0.5, 3), None, (None, 3), (None, 3), None]


MITMDUMP: Final = os.environ.get("UNSTREAM_MITMDUMP") or shutil.which("mitmdump")
_MAKE: Final = """
import sys
from mitmproxy import io, http
from mitmproxy.test import tflow, tutils
with open(sys.argv[1], "wb") as file:
    writer = io.FlowWriter(file)
    for path, body in ((b"/", b"<html>"), (b"/v1/chat/completions", GOOD.encode())):
        flow = tflow.tflow(resp=True)
        flow.request.path, flow.request.method = path.decode(), "POST"
        flow.response.content = body
        flow.response.timestamp_start = flow.request.timestamp_start + 1
        flow.response.timestamp_end = flow.request.timestamp_start + 3
        writer.add(flow)
"""


@pytest.mark.skipif(not MITMDUMP, reason="mitmdump is not installed")
def test_flows_are_read_by_mitmdump(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MITMDUMP
    folder = Path(MITMDUMP).resolve().parent
    made = tmp_path / "flows"
    script = f"GOOD = {GOOD!r}\n{_MAKE}"
    subprocess.run([folder / "python", "-c", script, made], check=True)  # noqa: S603
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for data in (made.read_bytes(), gzip.compress(made.read_bytes())):
        done = run(data)
        assert texts(done) == {"it:2": "hé"}
        assert done.rows[0]["timing"]["first_byte"] == 1
        assert done.rows[0]["timing"]["total"] == 3
        assert done.told == ["unstream: 1 entry passed over: no answer of a model"]
    done = run(FLOW)
    assert (done.status, done.rows) == (1, [])
    [told] = done.told
    assert told.startswith("unstream: it: mitmdump cannot read these flows: ")
    assert told.endswith("Invalid data format.")


# --- Laws -----------------------------------------------------------------------------

FILES: Final = [
    GOOD.encode(),
    MESSAGES,
    json.dumps(BODY).encode(),
    json.dumps(BODY, indent=1).encode(),
    json.dumps(CHUNKS).encode(),
    "\n".join(map(json.dumps, CHUNKS)).encode(),
    "\n".join(map(json.dumps, [BODY, {**BODY, "id": "b2"}])).encode(),
    json.dumps([BODY, {**BODY, "id": "b2"}], indent=1).encode(),
    json.dumps(har(entry(GOOD), entry(None))).encode(),
    json.dumps(har(entry(GOOD), entry(None)), indent=4).encode(),
    json.dumps({"http_interactions": []}).encode(),
    gzip.compress(GOOD.encode()),
    FLOW,
    HEAD.encode(),
    b"id: 1\n" + GOOD.encode(),
    b"",
    b"\xef\xbb\xbf\n",
]


def cut(data: bytes, step: int) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


@given(st.sampled_from(FILES[:11] + FILES[14:]), st.integers(1, 90))
def test_what_is_in_a_file_does_not_depend_on_cuts(data: bytes, step: int) -> None:
    def read(pieces: Iterator[bytes]) -> list[object]:
        found: list[object] = []
        try:
            for each in streams("it", pieces, Ask()):
                if isinstance(each, Stream):
                    found.append((each.name, b"".join(each.events.pieces)))
                else:
                    assert isinstance(each, Fault | Passed)
                    found.append(each)
        except OSError as error:
            found.append(str(error))
        return found

    assert read(cut(data, step)) == read(iter([data]))


@given(st.sampled_from(FILES), st.integers(1, 90))
def test_the_kind_of_a_file_does_not_depend_on_cuts(data: bytes, step: int) -> None:
    found, kept = kind(cut(data, step))
    assert found == kind(iter([data]))[0]
    assert data.startswith(b"".join(kept))


@pytest.mark.parametrize("line", [b"- x\r\n", b"# x\r\n", b"a: x\r\n", b"\r\n", b"-"])
def test_to_tell_what_a_file_is_takes_no_time(line: bytes) -> None:
    assert kind(iter([line * 4096]))[0] is None
    cassette = line * 99 + b"\ninteractions: []\n"
    assert kind(iter([cassette]))[0] == "cassette"


@pytest.mark.parametrize("begin", ["", "id: 1\n", "retry: 9\n\n", ": hello\n\n"])
def test_a_stream_that_comes_slowly_is_not_waited_for(begin: str) -> None:
    def slow() -> Iterator[bytes]:
        yield (begin + GOOD).encode()[:20]
        raise AssertionError("more was read than it takes to tell")

    [found] = streams("-", slow(), Ask())
    assert isinstance(found, Stream)
    assert next(found.events.pieces)


def test_records_are_read_one_at_a_time() -> None:
    line = json.dumps({"b": GOOD}).encode() + b"\n"
    n_read = 0

    def pieces() -> Iterator[bytes]:
        nonlocal n_read
        for _ in range(1000):
            n_read += 1
            yield line

    found = streams("log", pieces(), Ask(field="b"))
    for _ in range(3):
        next(found)
    assert n_read < 10
    assert len([*records(iter([b"[", *[b"{},"] * 5]), 99)]) == 5


def test_a_line_without_an_end_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (_records, _fold):
        monkeypatch.setattr(room, "DEFAULT_LIMIT", 1_000_000)
    peaks = []
    chunks = b"".join(json.dumps(each).encode() + b"\n" for each in CHUNKS)
    for begin in (b"{", b"[{", b"data: ", chunks + b"{"):
        for lines in (False, True):
            blanks = (b" " * (65_536 + n) for n in range(300))  # each anew
            pieces = chain([begin], blanks)
            tracemalloc.start()
            [stream] = streams("it", pieces, Ask())
            assert isinstance(stream, Stream)
            if lines:
                for _ in _fold._split(stream.events.pieces):
                    pass
            for _ in stream.events.pieces:
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < 6_000_000


def test_what_is_folded_as_it_comes_is_not_held() -> None:
    chunk = json.dumps({**CHUNKS[0], "pad": "x" * 900}).encode()
    forms = {
        "events": (b"", b"data: %b\n\n" % chunk),
        "lines": (b"", chunk + b"\n"),
        "array": (b"[", chunk + b","),
    }
    peaks = {}
    for form, (begin, each) in forms.items():
        block = each * 64
        for n in (20, 200):
            pieces = chain([begin], (block + b" " for _ in range(n)))  # each anew
            tracemalloc.start()
            [stream] = streams("it", pieces, Ask())
            assert isinstance(stream, Stream)
            for _ in stream.events.pieces:
                pass
            peaks[form, n] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert stream.bytes.size == len(begin) + n * len(block + b" ")
        assert peaks[form, 200] < 1.5 * peaks[form, 20], form
