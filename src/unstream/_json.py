"""JSON text into values: strict in grammar, lenient in characters.

This module knows how to read a payload that servers broke in the ways servers do, and
nothing of what the payload means.
"""

import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NoReturn, TypeAlias

import msgspec

__all__ = [
    "MAX_DEPTH",
    "REFUSED",
    "Json",
    "Malformed",
    "count_halves",
    "decode",
    "dump",
    "encode",
    "is_object",
    "is_prefix",
    "mend",
    "parse",
    "parse_whole",
    "read",
    "read_object",
    "read_strictly",
    "too_deep",
    "weigh",
    "weigh_closely",
]

Json: TypeAlias = Any  # a value as JSON has it: the one honest Any of this package

# Deepest nesting that is folded. No provider's extras pass 10; beyond about 1,000 the
# decoders raise RecursionError, at a depth that depends on the caller's own stack.
MAX_DEPTH: Final = 150
# No shorter payload can be deeper: every level has two brackets.
SHALLOW: Final = 2 * MAX_DEPTH


def _standard() -> Any:
    """Return the standard library's `json`, which few streams need.

    To import it takes 2 milliseconds, a fifth of what all of this library takes.
    """
    import json  # noqa: PLC0415 - see above

    return json


# What the strict decoder raises for what it does not take.
REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class Malformed(ValueError):
    """A payload is not JSON, or JSON that nobody can want."""


# --- Reading --------------------------------------------------------------------------


def decode(payload: bytes) -> Json:
    """Parse one payload as strictly as can be; raise Malformed."""
    if len(payload) >= SHALLOW and too_deep(payload):
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    try:
        return _decode(payload)
    except REFUSED as error:
        raise Malformed(str(error)) from None


def read_strictly(sent: bytes | msgspec.Raw, payload: bytes) -> dict[str, Json] | None:
    """Parse an object that stands in a payload, or is all of it, as `decode` does.

    None where that fails, or it is no object.
    """
    if len(payload) >= SHALLOW and too_deep(payload):
        return None
    try:
        value = _decode(sent)
    except REFUSED:
        return None
    return value if type(value) is dict else None


# What the strict decoder refuses and servers send: a surrogate half or a number that is
# too large or a word. To look for them is a tenth of the cost of a second parser, and
# most of what is malformed has none of them.
_LENIENT: Final = re.compile(rb"\\u[dD][89a-fA-F]|NaN|Infinity|[0-9][eE]|[0-9]{300}")


def parse(payload: bytes) -> Json:
    """Parse one payload; raise Malformed where it is not JSON.

    Invalid UTF-8 becomes U+FFFD. A lone surrogate escape, sent where a server cut a
    string between two UTF-16 code units, stays in the text as it is: its other half may
    follow, see `mend`. A number that JSON has not, or that is beyond a double, is null.
    """
    if len(payload) >= SHALLOW and too_deep(payload):
        raise Malformed(f"nested deeper than {MAX_DEPTH}")
    try:
        return _decode(payload)
    except UnicodeDecodeError:
        pass
    except REFUSED as error:
        if payload.isascii() and not _LENIENT.search(payload):
            raise Malformed(str(error)) from None
    text = payload.decode("utf-8", "replace")
    try:
        return _standard().loads(
            text, parse_constant=_null, parse_float=_finite, parse_int=_integer
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None


def parse_whole(data: bytes | str) -> Json:
    """Parse JSON that was saved; raise ValueError where it is none."""
    try:
        return mend(parse(mend(data).encode() if isinstance(data, str) else data))
    except Malformed as error:
        raise ValueError(str(error)) from None


def read(text: bytes) -> Json:
    """Read JSON text whose grammar was checked when it came, as `parse` would."""
    try:
        return mend(parse(text))
    except Malformed:  # nested too deeply
        return None


def too_deep(payload: bytes) -> bool:
    """Say whether a payload is nested deeper than anything that is folded."""
    if payload.count(b"[") + payload.count(b"{") <= MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", payload).translate(None, _NO_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets)
    return max(accumulate(steps), default=0) > MAX_DEPTH


# Possessive (*+): without it the matcher remembers every escape it has passed.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))

# What CPython 3.11 needs for a container, as it is held and once more as a Struct of
# the result (an empty annotation: 400 bytes), and for a key or an item that is none.
_CONTAINER: Final = 480
_ITEM: Final = 192


def weigh(payload: bytes) -> int:
    """Return about how many bytes of memory the values of a payload take."""
    left = payload.translate(None, _WEIGHTLESS)  # in one pass, a third of three counts
    commas = left.count(b",")
    return len(payload) + _CONTAINER * (len(left) - commas) + _ITEM * commas


def weigh_closely(payload: bytes, weight: int) -> int:
    """Return a weight less what stands in long strings, which may be code; slower."""
    # Most often there is none: found out in a tenth of the time, where that is safe.
    if len(payload) < _SMALL and max(map(len, payload.split(b'"'))) <= _TEXT:
        return weight
    for found in _STRING.finditer(payload):
        start, end = found.span()
        if end - start > _TEXT:
            weight -= weigh(payload[start:end]) - (end - start)
    return weight


_TEXT: Final = 64  # a shorter one is not worth to be looked at
_SMALL: Final = 4096  # what is split takes up to fifty times its size
_WEIGHTLESS: Final = bytes(set(range(256)) - set(b"[{,"))


def _null(_: str) -> None:
    """Read a word that is no JSON (Python writes NaN and Infinity)."""


def _finite(digits: str) -> float | None:
    return None if math.isinf(value := float(digits)) else value


def _integer(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # over 4,300 digits
        return None


# --- JSON inside of JSON --------------------------------------------------------------


def is_object(text: str) -> bool:
    """Say whether a text is one JSON object, strictly."""
    if "{" not in text[:8] or "}" not in text[-8:]:  # most are not, at no cost
        return False
    try:
        return type(read_object(text)) is dict
    except Malformed:
        return False


def read_object(text: str) -> Json:
    """Parse JSON that a model wrote, strictly but for surrogates; raise Malformed."""
    data = text.encode("utf-8", "replace")
    try:
        return decode(data)
    except Malformed:
        if b"\\u" not in data or too_deep(data):
            raise
    try:
        return mend(
            _standard().loads(text, parse_constant=_refuse, parse_float=_double)
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None


# What is left of a value that was cut: of a word, of a number, of an escape.
_CUT: Final = re.compile(
    r"(?:-|-?(?:0|[1-9]\d*)(?:\.|(?:\.\d+)?[eE][+-]?)"
    r"|t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z"
)
_WORD: Final = re.compile(r"[-+.\w]*\Z", re.ASCII)
_CUT_ESCAPE: Final = re.compile(r"\\u[0-9a-fA-F]{0,4}\Z")


def is_prefix(text: str) -> bool:
    """Say whether a text that is no JSON could become so by what follows it."""
    try:
        _standard().loads(text, parse_constant=_refuse)
    except _standard().JSONDecodeError as error:
        if error.msg.startswith("Unterminated string"):
            return True
        if error.msg.startswith("Invalid \\u"):
            return _CUT_ESCAPE.match(text, error.pos - 1) is not None
        if error.pos >= len(text):
            return True
        word = _WORD.search(text)
        start = len(text) if word is None else word.start()
        return error.pos >= start and _CUT.match(text, start) is not None
    except (ValueError, RecursionError):
        return False
    return False


def _double(digits: str) -> float:
    if math.isinf(value := float(digits)):
        _refuse(digits)
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# --- Writing --------------------------------------------------------------------------


def dump(value: Json) -> str:
    """Write a value as compact JSON."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate: `mend` sees to it later
        text: str = _standard().dumps(value, ensure_ascii=False, separators=(",", ":"))
        return text


def encode(value: Json) -> bytes:
    """Write a value, in which mappings of any kind may stand, as JSON."""
    try:
        return _encode_any(value)
    except UnicodeEncodeError:  # a lone surrogate, to be read by `parse` as it is
        text: str = _standard().dumps(value, default=_as_json)
        return text.encode()


def _as_json(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode_any = msgspec.json.Encoder(enc_hook=_as_json).encode


def mend(value: Json) -> Json:
    """Rejoin surrogate halves in every string, and replace what stays alone."""
    if type(value) is str:
        if value.isascii():
            return value
        units = value.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace")
    if type(value) is list:
        return [mend(item) for item in value]
    if type(value) is dict:
        return {mend(key): mend(item) for key, item in value.items()}
    return value


def count_halves(value: Json) -> int:
    """Count the strings in which half a surrogate pair stays alone."""
    if type(value) is str:
        try:
            value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            return 1
        return 0
    if type(value) is dict:
        return count_halves([*value, *value.values()])
    return sum(map(count_halves, value)) if type(value) is list else 0
