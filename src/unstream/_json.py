"""JSON text into objects: strict in grammar, lenient in characters.

This module knows how to read a payload that servers broke in the ways servers do, and
nothing of what the payload means.
"""

import json
import math
import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Final, NoReturn, TypeAlias

import msgspec

__all__ = [
    "SHALLOW",
    "Json",
    "Malformed",
    "count_brackets",
    "decode",
    "dump",
    "encode",
    "mend",
    "parse",
    "read",
    "too_deep",
]

Json: TypeAlias = Any  # a value as JSON has it: the one honest Any of this package

# Deepest nesting that is folded. No provider's extras pass 10; beyond about 1,000 the
# decoders raise RecursionError, at a depth that depends on the caller's own stack.
_MAX_DEPTH: Final = 150

_decode = msgspec.json.Decoder().decode


def _as_json(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode_any = msgspec.json.Encoder(enc_hook=_as_json).encode
_encode = msgspec.json.Encoder().encode
# No shorter payload can be deeper: every level has two brackets.
SHALLOW: Final = 2 * _MAX_DEPTH
# Possessive (*+): without it the matcher remembers every escape it has passed.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Malformed(ValueError):
    """A payload is not JSON, or JSON that nobody can want."""


class TooDeep(Malformed):
    """A payload is nested deeper than anything that is folded."""


def decode(payload: bytes) -> Json:
    """Parse one payload as strictly as can be; raise Malformed."""
    if len(payload) >= SHALLOW and too_deep(payload):
        raise TooDeep(f"nested deeper than {_MAX_DEPTH}")
    try:
        return _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def parse(payload: bytes) -> Json:
    """Parse one payload; raise Malformed where it is not JSON.

    Invalid UTF-8 becomes U+FFFD. A lone surrogate escape, sent where a server cut a
    string between two UTF-16 code units, stays in the text as it is: its other half may
    follow, see `mend`. A number beyond a double is null, which JSON can hold; the words
    NaN and Infinity are refused.
    """
    try:
        return decode(payload)
    except TooDeep:
        raise
    except Malformed:
        pass
    text = payload.decode("utf-8", "replace")
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=_finite
        )
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from None


def read(text: bytes) -> Json:
    """Read JSON text whose grammar was checked when it came.

    A number too large for Python is infinite; what is nested too deeply is None.
    """
    try:
        return _decode(text)
    except msgspec.DecodeError:
        return json.loads(text, parse_int=_large)
    except RecursionError:
        return None


def too_deep(payload: bytes) -> bool:
    """Say whether a payload is nested deeper than anything that is folded."""
    if count_brackets(payload) <= _MAX_DEPTH:
        return False
    brackets = _STRING.sub(b"", payload).translate(None, _NO_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets)
    return max(accumulate(steps), default=0) > _MAX_DEPTH


def count_brackets(payload: bytes) -> int:
    """Count what opens a level: no payload is nested deeper than that."""
    return payload.count(b"[") + payload.count(b"{")


def dump(value: Json) -> str:
    """Write a value as compact JSON."""
    try:
        return _encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate: `mend` sees to it later
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode(value: Json) -> bytes:
    """Write a value, in which mappings of any kind may stand, as JSON."""
    try:
        return _encode_any(value)
    except UnicodeEncodeError:  # a lone surrogate, to be read by `parse` as it is
        return json.dumps(value, default=_as_json).encode()


def mend(value: Json) -> Json:
    """Rejoin surrogate halves in every string, and replace what stays alone."""
    if isinstance(value, str):
        units = value.encode("utf-16-le", "surrogatepass")
        return units.decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [mend(item) for item in value]
    if isinstance(value, dict):
        return {mend(key): mend(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = value.__struct_fields__
        return type(value)(**{name: mend(getattr(value, name)) for name in fields})
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _large(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:  # beyond 4,300 digits
        return float(digits)


def _finite(digits: str) -> float | None:
    value = float(digits)
    if math.isinf(value):
        return None
    return int(digits) if digits.lstrip("-").isdigit() else value
