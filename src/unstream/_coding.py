"""Content codings: encoded slices in, what they stand for out.

This module knows the codings of HTTP (RFC 9110, section 8.4.1; br, RFC 7932; zstd, RFC
8878) and nothing about what a body holds.

Strategy: every decoder gives out a slice at a time, so that a bomb, a few bytes that
stand for gigabytes, is never held; what each coding may give out in all is limited.
"""

import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, Protocol

__all__ = ["Body", "Undecodable"]

# Who reads a slice at a time can leave off after each; what one costs to fold is an
# event loop's turn. zlib copies what it could not take in yet for each slice that it
# gives out: 4 KiB in make 256 slices of 16 KiB at most (deflate expands 1,032 times).
_IN: Final = 4 * 1024
_OUT: Final = 16 * 1024
# As urllib3 has it since CVE-2025-66418; more than one is hardly ever seen.
_STACKED: Final = 5
# Events that repeat their envelope shrink to a fiftieth or so. What stands for more
# than 128 times its size, after the first MiB, is a bomb: it would keep the fold busy.
_RATIO: Final = 128
_FREE: Final = 1024 * 1024
# RFC 9659: a decoder of the web need not provide more than 8 MiB, 2 ** 23.
_ZSTD_WINDOW: Final = 23


class Undecodable(Exception):
    """A body cannot be decoded (further); `coding` is the name of what it is in."""

    def __init__(self, coding: str, reason: str) -> None:
        super().__init__(f"{coding}: {reason}")
        self.coding = coding


class Body:
    """Undo the content codings of one body, incrementally.

    `codings` is the value of the header `Content-Encoding`; `limit`, in bytes, bounds
    what each coding may stand for in all, `ratio` how many times its size. Raises
    Undecodable for a coding that is unknown or whose library is not there.
    """

    __slots__ = ("_given", "_layers", "_limit", "_names", "_ratio", "_taken")

    def __init__(self, codings: str, *, limit: int, ratio: int = _RATIO) -> None:
        names = [name.strip().lower() for name in codings.split(",")]
        names = [name for name in names if name not in ("", "identity")]
        if len(names) > _STACKED:
            raise Undecodable(names[0], f"one of {len(names)} codings")
        names.reverse()  # the last one that was applied comes off first
        self._names = names
        self._layers = [_layer(name) for name in names]
        self._limit = limit
        self._ratio = ratio
        self._taken = 0
        self._given = [0] * len(names)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and give out what they stand for, in slices.

        A slice is empty where some were taken in that gave nothing (more). Raises
        Undecodable where they are not in their coding, and after the slice that goes
        over the limit; nothing can be decoded after that.
        """
        for start in range(0, len(data), _IN):
            piece = data[start : start + _IN]
            self._taken += len(piece)
            yield from self._undo(piece, 0)

    @property
    def is_whole(self) -> bool:
        """Whether each coding has come to its end."""
        return all(layer.is_whole for layer in self._layers)

    def _undo(self, data: bytes, depth: int) -> Iterator[bytes]:
        if depth == len(self._layers):
            yield data
            return
        name = self._names[depth]
        pieces = self._layers[depth].decode(data)
        while True:
            try:
                piece = next(pieces, None)
            except Exception as error:  # each library has errors of its own
                raise Undecodable(name, str(error)) from error
            if piece is None:
                yield b""
                return
            yield from self._undo(piece, depth + 1)
            self._given[depth] += len(piece)
            if self._given[depth] > min(self._limit, _FREE + self._ratio * self._taken):
                raise Undecodable(name, "stands for too much")


class _Layer(Protocol):
    @property
    def is_whole(self) -> bool: ...

    def decode(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip:
    """Members one after the other, with zeros for padding."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def is_whole(self) -> bool:
        return self._member.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            yield from _inflate(self._member, data)
            data = self._member.unused_data


class _Deflate:
    """The zlib format, or what some servers take for it: bare deflate."""

    def __init__(self) -> None:
        self._stream: Any = None

    @property
    def is_whole(self) -> bool:
        return self._stream is not None and bool(self._stream.eof)

    def decode(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            # RFC 1950: the low half of the first byte is 8. In bare deflate that would
            # be a stored block with its padding set, which no encoder writes.
            is_zlib = data[0] & 0x0F == 8  # noqa: PLR2004
            self._stream = zlib.decompressobj(
                zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS
            )
        if not self._stream.eof:
            yield from _inflate(self._stream, data)


def _inflate(stream: Any, data: bytes) -> Iterator[bytes]:
    while True:
        piece = stream.decompress(data, _OUT)
        if piece:
            yield piece
        data = stream.unconsumed_tail
        # A full slice may leave more behind in the decoder.
        if stream.eof or (not data and len(piece) < _OUT):
            return


class _Brotli:
    """One stream, taken in byte by byte.

    A `process` that fails, for what stands behind the end, keeps what it had before.
    To call it for each byte takes 0.6 microseconds a byte in place of 0.2.
    """

    def __init__(self, library: Any) -> None:
        self._stream = library.Decompressor()

    @property
    def is_whole(self) -> bool:
        return bool(self._stream.is_finished())

    def decode(self, data: bytes) -> Iterator[bytes]:
        process, is_ready = self._stream.process, self._stream.can_accept_more_data
        for at in range(len(data)):
            piece = process(data[at : at + 1], output_buffer_limit=_OUT)
            # Asked for more with nothing to give, it gives what it still holds.
            while piece or not is_ready():
                if piece:
                    yield piece
                piece = process(b"", output_buffer_limit=_OUT)


class _Zstd:
    """Frames one after the other."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._frame = self._begin()

    def _begin(self) -> Any:
        window = self._library.DecompressionParameter.window_log_max
        return self._library.ZstdDecompressor(options={window: _ZSTD_WINDOW})

    @property
    def is_whole(self) -> bool:
        return bool(self._frame.eof)

    def decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._frame.eof:
                if not data:
                    return
                self._frame = self._begin()
            piece = self._frame.decompress(data, _OUT)
            if piece:
                yield piece
            if self._frame.eof:
                data = self._frame.unused_data
            elif self._frame.needs_input:
                return
            else:
                data = b""


def _layer(name: str) -> _Layer:
    if name in ("gzip", "x-gzip"):
        return _Gzip()
    if name == "deflate":
        return _Deflate()
    if name == "br":
        for library in _found("brotli", "brotlicffi"):
            # From 1.2 on; before, what one call gives out has no bound (CVE-2025-6176).
            if hasattr(library.Decompressor, "can_accept_more_data"):
                return _Brotli(library)
        raise Undecodable(name, "needs brotli or brotlicffi, 1.2 or newer")
    if name == "zstd":
        for library in _found("compression.zstd", "backports.zstd"):
            return _Zstd(library)
        raise Undecodable(name, "needs Python 3.14 or backports.zstd")
    raise Undecodable(name, "is unknown")


def _found(*names: str) -> Iterator[Any]:
    for name in names:
        try:
            yield import_module(name)
        except ImportError:
            continue
