"""Every adapter in every plight: the bytes as they came, one call, its verdict."""

import json
import logging
from collections.abc import Iterator, Sequence

import pytest

from tests.adapters.roads import CONTEXT, ROADS, Seen, travel
from tests.adapters.upstream import (
    PATH,
    USAGE,
    Script,
    Upstream,
    encoded,
    event,
    events,
    packed,
    whole,
)
from unstream import Ending, Limits

HELLO = events("Hel", "lo", " ", "wörld")


@pytest.fixture(params=ROADS)
def road(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name a road, and set a context variable for the request that will be sent."""
    token = CONTEXT.set("of the request")
    yield request.param
    CONTEXT.reset(token)


def text(seen: Seen) -> str:
    completion = seen.outcome.completion
    assert completion is not None
    return str(completion.choices[0].message.text())


def check(
    seen: Seen,
    pieces: Sequence[bytes],
    ending: Ending,
    interrupted: str | None = None,
) -> None:
    assert seen.body == b"".join(pieces)
    assert seen.outcome.ending is ending
    assert seen.outcome.n_bytes == len(seen.body)
    assert seen.outcome.interrupted == interrupted
    # First the client, then the callback.
    assert seen.is_remote or seen.had == [len(seen.body)]


def test_a_stream_read_to_its_end(server: Upstream, road: str) -> None:
    script = server.serve(Script(HELLO))
    seen = travel(road, script)
    check(seen, HELLO, Ending.COMPLETE)
    assert seen.error is None
    assert text(seen) == "Hello wörld"
    assert seen.outcome.done
    completion = seen.outcome.completion
    assert completion is not None
    assert completion.usage is not None
    assert completion.to_dict()["usage"] == USAGE


def test_each_piece_is_handed_on_before_the_next_one_is_sent(
    server: Upstream, road: str
) -> None:
    # A piece that were held back would never be followed by another.
    script = server.serve(Script(HELLO, stepped=True))
    seen = travel(road, script)
    assert seen.error is None
    assert seen.pieces == HELLO
    check(seen, HELLO, Ending.COMPLETE)
    timing = seen.outcome.timing
    assert timing is not None
    assert timing.first_byte is not None
    assert timing.first_content is not None
    assert 0 < timing.first_byte < timing.first_content < timing.total


def test_bytes_by_the_piece(server: Upstream, road: str) -> None:
    body = b"".join(HELLO)
    pieces = [body[at : at + 1] for at in range(len(body))]
    seen = travel(road, server.serve(Script(pieces)))
    assert seen.error is None
    check(seen, pieces, Ending.COMPLETE)
    assert text(seen) == "Hello wörld"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate", "br", "zstd"])
def test_an_encoded_body_passes_encoded_and_is_read(
    server: Upstream, road: str, coding: str
) -> None:
    if coding in ("br", "zstd"):
        pytest.importorskip({"br": "brotli", "zstd": "backports.zstd"}[coding])
    pieces = encoded(HELLO, coding)
    name = coding.removeprefix("bare ")
    seen = travel(road, server.serve(Script(pieces, coding=name, stepped=True)))
    assert seen.error is None
    assert seen.body == b"".join(pieces)
    assert seen.outcome.ending is Ending.COMPLETE
    assert seen.outcome.n_bytes == len(b"".join(HELLO))
    assert seen.outcome.undecoded is None
    assert text(seen) == "Hello wörld"


def test_stacked_codings(server: Upstream, road: str) -> None:
    pieces = encoded(HELLO, "deflate, gzip")
    seen = travel(road, server.serve(Script(pieces, coding="deflate, gzip")))
    assert seen.body == b"".join(pieces)
    assert text(seen) == "Hello wörld"


def test_an_unknown_coding_passes_and_is_named(server: Upstream, road: str) -> None:
    seen = travel(road, server.serve(Script(HELLO, coding="x-rot13")))
    assert seen.body == b"".join(HELLO)
    assert seen.outcome.ending is Ending.EMPTY
    assert seen.outcome.undecoded == "x-rot13"


def test_a_body_that_is_not_in_its_coding(server: Upstream, road: str) -> None:
    pieces = encoded(HELLO, "gzip")
    pieces[3] = b"\xff" * len(pieces[3])
    seen = travel(road, server.serve(Script(pieces, coding="gzip", stepped=True)))
    assert seen.body == b"".join(pieces)
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.undecoded == "gzip"
    assert text(seen) == "Hello"


def test_a_reader_that_leaves_early(server: Upstream, road: str) -> None:
    script = server.serve(Script(HELLO, stepped=True))
    seen = travel(road, script, stop=3)
    assert seen.pieces == HELLO[:3]
    assert script.gone.wait(10)  # nothing of ours keeps the connection
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.interrupted == "client"
    # A proxy may have read one more than its client got.
    assert text(seen) in ("Hello", "Hello ")
    assert seen.contexts == ["of the request"] or road.startswith("asgi")


def test_a_reader_that_leaves_after_done(server: Upstream, road: str) -> None:
    # As the openai client does: it never sees the end of the body.
    script = server.serve(Script(HELLO, stepped=True, end="open"))
    seen = travel(road, script, stop=len(HELLO))
    assert script.gone.wait(10)
    check(seen, HELLO, Ending.COMPLETE)
    assert seen.outcome.done


def test_an_upstream_that_dies(server: Upstream, road: str) -> None:
    script = server.serve(Script(HELLO[:3], end="death", stepped=True))
    seen = travel(road, script)
    assert seen.error is not None  # the reader is told as without us
    assert seen.pieces == HELLO[:3]
    check(seen, HELLO[:3], Ending.TRUNCATED, "upstream")
    assert text(seen) == "Hello"


def test_an_upstream_that_ends_too_early(server: Upstream, road: str) -> None:
    # In good manners, so that nobody interrupted anything.
    seen = travel(road, server.serve(Script(HELLO[:3])))
    assert seen.error is None
    check(seen, HELLO[:3], Ending.TRUNCATED)


def test_an_upstream_that_dies_after_done(server: Upstream, road: str) -> None:
    seen = travel(road, server.serve(Script(HELLO, end="death", stepped=True)))
    assert seen.error is not None
    check(seen, HELLO, Ending.COMPLETE)


def test_an_upstream_that_dies_in_the_middle_of_a_coding(
    server: Upstream, road: str
) -> None:
    pieces = encoded(HELLO, "gzip")[:3]
    script = Script(pieces, end="death", coding="gzip", stepped=True)
    seen = travel(road, server.serve(script))
    assert seen.error is not None
    assert seen.body == b"".join(pieces)
    assert seen.outcome.ending is Ending.TRUNCATED
    assert seen.outcome.interrupted == "upstream"
    assert seen.outcome.undecoded is None
    assert text(seen) == "Hello"


def test_an_error_inside_the_stream(server: Upstream, road: str) -> None:
    pieces = [*HELLO[:3], event(error={"message": "out of memory", "code": 500})]
    seen = travel(road, server.serve(Script(pieces)))
    check(seen, pieces, Ending.ERROR)
    assert seen.outcome.error == {"message": "out of memory", "code": 500}


def test_what_is_no_stream_of_events_at_all(server: Upstream, road: str) -> None:
    pieces = [b"\xff\x00<html>", b"\r\n\r\n", b"data"]
    seen = travel(road, server.serve(Script(pieces)))
    assert seen.error is None
    check(seen, pieces, Ending.EMPTY)


def test_a_whole_completion(server: Upstream, road: str) -> None:
    body = whole("Hello")
    pieces = [body[:50], body[50:]]
    seen = travel(road, server.serve(Script(pieces, kind="application/json")))
    check(seen, pieces, Ending.COMPLETE)
    assert text(seen) == "Hello"
    assert seen.outcome.timing is not None
    assert seen.outcome.timing.first_content is not None


def test_a_whole_completion_in_gzip(server: Upstream, road: str) -> None:
    body = packed(whole("Hello"))
    script = Script([body], kind="application/json", coding="gzip")
    seen = travel(road, server.serve(script))
    assert seen.body == body
    assert text(seen) == "Hello"


@pytest.mark.parametrize("coding", ["", "gzip"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_request_that_failed_says_why(
    server: Upstream, road: str, status: int, kind: str, coding: str
) -> None:
    error = {"message": "no", "code": status}
    body = json.dumps({"error": error}).encode()
    pieces = encoded([body[:9], body[9:]], coding)
    script = Script(pieces, status=status, kind=kind, coding=coding)
    seen = travel(road, server.serve(script))
    assert seen.error is None
    assert seen.body == script.body
    outcome = seen.outcome
    assert (outcome.ending, outcome.error) == (Ending.ERROR, error)
    assert outcome.interrupted is None
    assert all(one.status == status for one in seen.exchanges)


def test_a_page_in_place_of_an_answer_is_read_so_far(
    server: Upstream, road: str
) -> None:
    pieces = [b"<!doctype html>\n<h1>Bad Gateway</h1>\n", b"x" * 200_000]
    seen = travel(road, server.serve(Script(pieces, status=502, kind="text/html")))
    assert seen.error is None
    assert seen.body == b"".join(pieces)
    assert seen.outcome.completion is None
    assert seen.outcome.ending is Ending.FOREIGN
    is_told = road.startswith(("tee", "atee"))  # by its caller what to watch
    assert seen.outcome.n_bytes == (len(seen.body) if is_told else 64 * 1024)


def test_a_request_that_failed_without_a_body(server: Upstream, road: str) -> None:
    seen = travel(road, server.serve(Script([], status=401, kind="")))
    check(seen, [], Ending.EMPTY)


def test_an_answer_with_another_status_of_success(server: Upstream, road: str) -> None:
    seen = travel(road, server.serve(Script(HELLO, status=201)))
    check(seen, HELLO, Ending.COMPLETE)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "text/plain"),
        (200, "text/html; x=text/event-stream"),
        (200, ""),
        (300, "text/event-stream"),
    ],
)
def test_other_responses_are_not_watched(
    server: Upstream, road: str, status: int, kind: str
) -> None:
    if road.startswith(("tee", "atee")):
        pytest.skip("a tee is told by its caller what to watch")
    seen = travel(road, server.serve(Script(HELLO, status=status, kind=kind)))
    assert seen.body == b"".join(HELLO)
    assert seen.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/messages",
        "/openai/v1/responses/",
        "/v1beta/models/m:streamGenerateContent",
        "/v1beta/models/m:generateContent",
    ],
)
def test_the_other_ways_to_ask(server: Upstream, road: str, path: str) -> None:
    seen = travel(road, server.serve(Script(HELLO, path=path)))
    check(seen, HELLO, Ending.COMPLETE)
    assert all(one.path.endswith(path) for one in seen.exchanges)


def test_the_exchange(server: Upstream, road: str) -> None:
    if road.startswith(("tee", "atee")):
        pytest.skip("a tee sees no exchange")
    script = server.serve(Script(HELLO))
    seen = travel(road, script)
    [exchange] = seen.exchanges
    assert (exchange.method, exchange.status) == ("POST", 200)
    assert exchange.path.endswith(PATH)
    assert exchange.url.startswith("http://")
    assert exchange.url.partition("?")[0].endswith(exchange.path)
    assert "host" in exchange.request_headers
    assert exchange.response_headers["content-type"] == script.kind
    assert exchange.request_body == b""
    assert exchange.native is not None


def test_a_callback_that_raises(
    server: Upstream, road: str, caplog: pytest.LogCaptureFixture
) -> None:
    def act() -> None:
        raise RuntimeError("boom")

    with caplog.at_level(logging.ERROR, "unstream"):
        seen = travel(road, server.serve(Script(HELLO, stepped=True)), act=act)
    assert seen.error is None
    check(seen, HELLO, Ending.COMPLETE)
    [record] = [record for record in caplog.records if record.name == "unstream"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


def test_a_stream_over_a_limit_passes_whole(server: Upstream, road: str) -> None:
    limits = Limits(stream_bytes=len(b"".join(HELLO[:3])))
    seen = travel(road, server.serve(Script(HELLO, stepped=True)), limits=limits)
    assert seen.error is None
    assert seen.pieces == HELLO
    assert seen.outcome.ending is Ending.LIMIT
    assert seen.outcome.limit == "stream_bytes"
    assert text(seen) == "Hello"


def test_a_bomb_passes_whole(server: Upstream, road: str) -> None:
    pieces = encoded([b": " + b" " * 20_000_000], "gzip")
    limits = Limits(stream_bytes=1_000_000)
    script = Script(pieces, coding="gzip")
    seen = travel(road, server.serve(script), limits=limits)
    assert seen.error is None
    assert seen.body == b"".join(pieces)
    assert seen.outcome.ending is Ending.LIMIT
    # What was decoded ends with the slice that went over the limit.
    assert 1_000_000 < seen.outcome.n_bytes <= 1_000_000 + 64 * 1024
