"""Files that hold many HTTP exchanges: HAR and VCR cassettes, which are read whole.

This module knows these formats, and which exchanges asked a model; nothing of what a
body means. Of mitmproxy's flows it knows how they begin: `_flows` reads them.
"""

import binascii
import re
import sys
from base64 import b64decode
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any, Final, TypeGuard
from urllib.parse import unquote, urlsplit

import msgspec

from unstream._coding import Body, Undecodable
from unstream._detect import detect
from unstream._json import Json, Malformed, parse
from unstream._tap import is_inference
from unstream._timing import Timing

__all__ = ["Exchange", "cassette", "har", "is_time", "kind", "path_of", "unbase"]

# Each of them by how it begins; a flow is a tnetstring of a dict.
_OPENING: Final = 4096
_KINDS: Final = {
    "har": re.compile(rb'\s*+\{\s*+"log"\s*+:\s*+\{'),
    "cassette": re.compile(
        rb'\s*+\{[^{\[]*"(?:http_)?interactions"\s*+:\s*+\[|'
        # Lines of YAML before it: comments, marks, and the version.
        rb"(?:(?!(?:http_)?interactions:)(?:[#%-][^\n]*+|\w++: [^\n]*+|\r?+)\n)*+"
        rb"(?:http_)?interactions:\s"
    ),
    "flows": re.compile(rb"[0-9]{1,12}:[0-9]{1,3}:[a-z_]+;"),
}
_MAY_BEGIN: Final = b"{-#%ihrv0123456789"
# Milliseconds or seconds: no time of a request, and no date of one, is greater.
_EVER: Final = 1e12
_FIELD: Final = re.compile(rb"(?:id|retry)[:\r\n]")  # of an event stream


class Exchange(msgspec.Struct, kw_only=True):
    """Hold a response of a file that holds many, with the times that it has.

    `body` is None where the file has none, and the error where it cannot be read.
    `started` is in seconds of the epoch, `arrivals`, one of each event, since then.
    """

    number: int
    method: str
    path: str
    body: bytes | OSError | None
    started: float | None = None
    timing: Timing | None = None
    arrivals: tuple[float, ...] = ()

    @property
    def is_answer(self) -> bool:
        """Say whether it is an answer of a model, by its body, or by what was asked."""
        if is_inference(self.method, self.path):
            return bool(self.body)
        return isinstance(self.body, bytes) and detect(self.body) is not None


def kind(pieces: Iterator[bytes]) -> tuple[str | None, list[bytes]]:
    """Return which kind of file this is, by its first bytes; and those."""
    kept: list[bytes] = []
    head = b""
    for piece in pieces:
        kept.append(piece)
        head += piece.removeprefix(b"\xef\xbb\xbf") if not head else piece
        bare = head.lstrip()
        if len(bare) >= _OPENING or (bare and bare[:1] not in _MAY_BEGIN):
            break
        if _FIELD.match(bare):
            break
        # Lines of JSON may come slowly; none of these formats has them.
        if (
            bare[:1] == b"{"
            and b"\n" in bare[2:]
            and bare[1:].lstrip(b" ")[:1] != b"\n"
        ):
            break
    head = head[:_OPENING]
    return next((k for k, begins in _KINDS.items() if begins.match(head)), None), kept


# --- HAR ------------------------------------------------------------------------------


class _Log(msgspec.Struct):
    entries: list[msgspec.Raw] = []


class _Har(msgspec.Struct):
    log: _Log


def har(data: bytes) -> Iterator[Exchange]:
    """Yield the exchanges of an HTTP archive; raise OSError where it is none."""
    try:
        entries = msgspec.json.decode(data, type=_Har).log.entries
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OSError(f"this HAR cannot be read: {error}") from None
    for number, raw in enumerate(entries, 1):
        try:
            entry = parse(bytes(raw))
        except Malformed:
            entry = None
        yield _entry(number, _dict(entry))


def _entry(number: int, entry: dict[str, Any]) -> Exchange:
    request, response = _dict(entry.get("request")), _dict(entry.get("response"))
    content = _dict(response.get("content"))
    started = _epoch(entry.get("startedDateTime"))
    body: bytes | OSError | None = None
    text, messages = content.get("text"), entry.get("_eventSourceMessages")
    if type(text) is str and text:
        body = text.encode("utf-8", "replace")
        if content.get("encoding") == "base64":
            body = unbase(text)
    elif type(messages) is list:  # Chrome keeps events in place of their text
        body = b"".join(map(_written, map(_dict, messages)))
    return Exchange(
        number=number,
        method=_text(request.get("method")),
        path=path_of(_text(request.get("url"))),
        body=body,
        started=started,
        timing=_timing(_dict(entry.get("timings")), entry.get("time")),
        arrivals=_arrivals(messages, started),
    )


def _timing(timings: dict[str, Any], total: Any) -> Timing | None:
    if not is_time(total):
        return None
    # What does not apply is -1; `ssl` is part of `connect` (HAR 1.2, timings).
    before = [timings.get(k) for k in ("blocked", "dns", "connect", "send", "wait")]
    first = sum(filter(is_time, before)) / 1000
    known = is_time(timings.get("wait"))
    return Timing(first_byte=first if known else None, total=total / 1000)


def is_time(value: Any) -> TypeGuard[float]:
    """Say whether a value can be a time, which is any number in a file."""
    return type(value) in (int, float) and 0 <= value < _EVER


def _arrivals(messages: Any, started: float | None) -> tuple[float, ...]:
    if type(messages) is not list or started is None:
        return ()
    times = [*filter(is_time, (_dict(each).get("time") for each in messages))]
    return (
        tuple(time - started for time in times) if len(times) == len(messages) else ()
    )


def _written(message: dict[str, Any]) -> bytes:
    name, data = _text(message.get("eventName")), _text(message.get("data"))
    lines = [f"event: {name}"] if name not in ("", "message") else []
    lines += [f"data: {line}" for line in data.split("\n")]
    return "".join(f"{line}\n" for line in (*lines, "")).encode("utf-8", "replace")


# --- Cassettes ------------------------------------------------------------------------


def cassette(data: bytes) -> Iterator[Exchange]:
    """Yield the exchanges of a cassette of VCR, in YAML or JSON, of Python or Ruby."""
    sent = _dict(_load_cassette(data))
    found = sent.get("interactions") or sent.get("http_interactions")
    for number, each in enumerate(found if type(found) is list else (), 1):
        request = _dict(_dict(each).get("request"))
        response = _dict(_dict(each).get("response"))
        yield Exchange(
            number=number,
            method=_text(request.get("method")).upper(),
            path=path_of(_text(request.get("uri") or request.get("url"))),
            body=_body(response),
        )


def _load_cassette(data: bytes) -> Json:
    if data.lstrip()[:1] == b"{":
        try:
            return parse(data)
        except Malformed as error:
            raise OSError(f"this cassette cannot be read: {error}") from None
    try:
        yaml: Any = import_module("yaml")
    except ImportError:
        raise OSError(
            "a cassette in YAML needs PyYAML: pip install 'unstream[yaml]'"
        ) from None
    # Both are safe; the one that is written in C takes a tenth of the time.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Merged keys (`<<`) are refused: of 25 lines of them older versions of PyYAML make
    # 2 ** 25 pairs (6.0.1 does, 6.0.4 does not). No recorder writes any.
    loader = type("_Loader", (loader,), {"flatten_mapping": lambda *_: None})
    try:
        return yaml.load(data, Loader=loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise OSError(f"this cassette cannot be read: {why}") from None


def _body(response: dict[str, Any]) -> bytes | OSError | None:
    # `body: {string: ...}`, of Ruby `base64_string`, too; old ones have the string.
    body = response.get("body")
    held = _dict(body)
    found = held.get("string") if held else body
    if type(held.get("base64_string")) is str:
        found = unbase(held["base64_string"])
    if type(found) is str:
        return found.encode("utf-8", "replace")
    if type(found) is not bytes:
        return found if isinstance(found, OSError) else None
    coding = _coding(response.get("headers"))
    try:
        decoder = Body(coding, limit=sys.maxsize, ratio=sys.maxsize)
        return b"".join(decoder.decode(found))
    except Undecodable as error:
        # The header may be that of what was decoded before it was saved.
        return found if detect(found) else OSError(str(error))


def _coding(headers: Any) -> str:
    for name, value in _dict(headers).items():
        if str(name).lower() == "content-encoding":
            return ",".join(map(str, value)) if type(value) is list else str(value)
    return ""


# --- What they have in common ---------------------------------------------------------


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def path_of(url: str) -> str:
    """Return the path of a URL, percent-decoded."""
    try:
        return unquote(urlsplit(url).path)
    except ValueError:
        return ""


def unbase(text: str) -> bytes | OSError:
    """Return what base64 stands for, or why that cannot be said."""
    try:
        return b64decode(text)
    except (binascii.Error, ValueError) as error:
        return OSError(f"base64: {error}")


def _epoch(value: Any) -> float | None:
    try:
        return datetime.fromisoformat(_text(value)).timestamp()
    except (ValueError, OverflowError):
        return None
