"""Decoding: every coding at any cut, bounded, and refused politely."""

import random
import tracemalloc
import zlib
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from tests.adapters.upstream import encoded, packed
from unstream import _coding
from unstream._coding import Body, Undecodable

_DRAW = random.Random(1)  # noqa: S311 - repeatable
TEXT = b"".join(b"data: %d\n\n" % _DRAW.randrange(10**9) for _ in range(4_000))
NEEDS = {"br": "brotli", "zstd": "backports.zstd"}
CODINGS = ["gzip", "deflate", "bare deflate", "br", "zstd", "gzip, br", "zstd, gzip"]


def encode(data: bytes, coding: str) -> bytes:
    for name in coding.split(", "):
        if needed := NEEDS.get(name):
            pytest.importorskip(needed)
    return b"".join(encoded([data], coding))


def decode(data: bytes, coding: str, size: int, limit: int = 1 << 30) -> bytes:
    body = Body(coding.removeprefix("bare "), limit=limit)
    cuts = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(piece for cut in cuts for piece in body.decode(cut))


@pytest.mark.parametrize("size", [1, 7, 1460, 1 << 20])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_comes_back_at_any_cut(coding: str, size: int) -> None:
    data = encode(TEXT, coding)
    assert decode(data, coding, size) == TEXT


@pytest.mark.parametrize("size", [1, 9, 1 << 20])
def test_gzip_of_several_members_and_padding(size: int) -> None:
    data = packed(b"one,") + packed(b"") + packed(b"two") + b"\0" * 9
    assert decode(data, "gzip", size) == b"one,two"
    assert decode(data, "X-GZip", size) == b"one,two"


@pytest.mark.parametrize("size", [1, 9, 1 << 20])
def test_zstd_of_several_frames(size: int) -> None:
    data = encode(b"one,", "zstd") + encode(b"two", "zstd")
    assert decode(data, "zstd", size) == b"one,two"


def test_what_stands_behind_the_end_is_no_part_of_the_body() -> None:
    assert decode(encode(b"one", "deflate") + b"\n\n", "deflate", 3) == b"one"


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_what_stands_behind_the_end_is_damage(coding: str, size: int) -> None:
    with pytest.raises(Undecodable):
        decode(encode(b"one", coding) + b"\n\n123456", coding, size)


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_what_stands_before_the_damage_is_given_out(coding: str) -> None:
    data = encode(TEXT, coding) + b"\n\n123456"
    given: list[bytes] = []
    body = Body(coding, limit=1 << 30).decode(data)
    with pytest.raises(Undecodable):
        given.extend(body)  # which keeps what came before
    assert b"".join(given) == TEXT


@pytest.mark.parametrize("coding", ["", "identity", " , Identity"])
def test_no_coding(coding: str) -> None:
    assert decode(b"as it is", coding, 3) == b"as it is"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_each_flush_is_given_out_at_once(coding: str) -> None:
    encode(b"", coding)  # or skip
    pieces = [b"one", b"two" * 10, b"three"]
    body = Body(coding, limit=1000)
    sent = encoded(pieces, coding)
    assert [b"".join(body.decode(piece)) for piece in sent] == pieces


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate", "br", "zstd"])
def test_what_a_decoder_still_holds_is_asked_for(coding: str) -> None:
    # A few bytes, taken in at once, that stand for a slice and a little more.
    encode(b"", coding)  # or skip
    for more in range(0, 600, 11):
        pieces = [b"x" * ((1 << 16) + more), b"y"]
        body = Body(coding.removeprefix("bare "), limit=1 << 20)
        sent = encoded(pieces, coding)
        assert [b"".join(body.decode(piece)) for piece in sent] == pieces


def test_a_body_that_is_cut_off_gives_what_it_can() -> None:
    # Cut after the 89th byte, zlib holds 256 bytes and no input.
    data = packed(b"x" * 68_536)
    for end in range(20, len(data)):
        whole = zlib.decompressobj(wbits=31).decompress(data[:end])
        assert decode(data[:end], "gzip", 1 << 20) == whole


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate", "br", "zstd"])
@pytest.mark.parametrize("limit", [300_000, 1 << 30])
def test_a_bomb_is_never_held(coding: str, limit: int) -> None:
    size = 50_000_000
    data = encode(bytes(size), coding)
    assert len(data) < size / 900
    most = min(limit, (1 << 20) + 128 * len(data))
    body = Body(coding.removeprefix("bare "), limit=limit)
    tracemalloc.start()
    seen, largest = 0, 0
    try:
        with pytest.raises(Undecodable, match="stands for too much"):  # noqa: PT012 - below
            for piece in body.decode(data):
                seen += len(piece)
                largest = max(largest, len(piece))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest <= 128 * 1024
    assert seen <= most + largest
    assert peak < 1_000_000


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_events_that_shrink_well_are_no_bomb(coding: str) -> None:
    # All but the same, as of one who waits: four megabytes at a fiftieth and less.
    text = b"".join(
        b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":"%d"}}]}\n\n' % n
        for n in range(60_000)
    )
    assert decode(encode(text, coding), coding, 5000, 1 << 30) == text


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "deflate", "br", "zstd"])
def test_who_reads_can_leave_off_after_a_little(coding: str) -> None:
    # However much one piece stands for, and where it stands for nothing.
    data = encode(bytes(200_000), coding)
    slices = list(Body(coding, limit=1 << 20).decode(data))
    assert sum(map(len, slices)) == 200_000
    assert max(map(len, slices)) <= 32 * 1024
    if coding == "gzip":
        data = packed(b"") * 10_000
        assert len(list(Body(coding, limit=1 << 20).decode(data))) >= len(data) / 4096


def test_a_bomb_in_a_bomb() -> None:
    data = encode(bytes(50_000_000), "gzip, gzip, gzip")
    body = Body("gzip, gzip, gzip", limit=1_000_000)
    with pytest.raises(Undecodable, match="stands for too much"):
        for _ in body.decode(data):
            pass


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate", "br", "zstd"])
def test_damage_is_undecodable_or_something_else_never_more(coding: str) -> None:
    good = encode(TEXT, coding)
    draw = random.Random(2)  # noqa: S311 - repeatable
    refused = 0
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(3):
            bad[draw.randrange(len(bad))] ^= 1 << draw.randrange(8)
        try:
            assert len(decode(bytes(bad), coding, 5000, 1 << 20)) < 1 << 21
        except Undecodable as error:
            assert error.coding == coding.removeprefix("bare ")  # noqa: PT017 - some
            refused += 1
    assert refused > 5


def test_what_is_unknown_is_named() -> None:
    for name, coding in {
        "x": "gzip, x",
        "compress": "compress",
        "gzip": ",".join(["gzip"] * 6),
    }.items():
        with pytest.raises(Undecodable) as raised:
            Body(coding, limit=1)
        assert raised.value.coding == name


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_a_library_that_is_missing_is_said(
    coding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(_coding, "import_module", nothing)
    with pytest.raises(Undecodable, match="needs"):
        Body(coding, limit=1)


def test_a_brotli_without_bounds_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(b"hello", "br")
    good = import_module("brotli")
    old = SimpleNamespace(Decompressor=object)
    found: dict[str, Any] = {"brotli": old, "brotlicffi": good}
    look: Callable[[str], Any] = found.__getitem__
    monkeypatch.setattr(_coding, "import_module", look)
    assert decode(data, "br", 100) == b"hello"
    found["brotlicffi"] = old
    with pytest.raises(Undecodable, match=r"1\.2"):
        Body("br", limit=1)


def test_a_window_larger_than_the_web_has_is_refused() -> None:
    zstd = pytest.importorskip("backports.zstd")
    data = zstd.compress(
        bytes(1 << 24),
        options={
            zstd.CompressionParameter.window_log: 27,
            zstd.CompressionParameter.content_size_flag: 0,
        },
    )
    with pytest.raises(Undecodable):
        decode(data, "zstd", 1 << 20)
