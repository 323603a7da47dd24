"""Between parsed objects and Structs.

This module knows how an object that does not fit its Struct is split into what fits and
what is `extra`. It takes the types from the annotations of the Structs, the only list
of them that there is, and the odd shapes from `_dialects`.
"""

from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, Struct

from unstream import _schema
from unstream._dialects import SHAPES
from unstream._json import Json, dump, mend
from unstream._schema import (
    Chunk,
    ChunkChoice,
    Delta,
    Extra,
    Logprobs,
    decode_open_chunk,
)

__all__ = ["fit", "open_chunk"]

Kind = TypeVar("Kind", bound=Struct)

# Whether a value fits a field, and as what: returns UNSET where it does not.
_Fit: TypeAlias = Callable[[Json], Any]


def fit(kind: type[Kind], sent: Mapping[str, Json]) -> Kind:
    """Put a parsed object into its Struct; what does not fit becomes `extra`.

    A key without a field, a value of a type that its field cannot hold, and a null are
    extra, at the level where they stand. Nothing raises and nothing is lost.
    """
    known: dict[str, Any] = {}
    extra: dict[str, Json] = {}
    fits, plain = _FITS[kind], _PLAIN[kind]
    for key, value in sent.items():
        how = fits.get(key)
        if plain.get(key) is type(value):  # most are: a look instead of a call
            known[key] = value
        elif how is None or (fitted := how(value)) is UNSET:
            extra[key] = value
        else:
            known[key] = fitted
    if extra:
        known["extra"] = extra
    if absent := [name for name in _ALWAYS[kind] if name not in known]:
        known["unsent"] = tuple(absent)
    return kind(**known)


def open_chunk(data: bytes, sent: Mapping[str, Json]) -> Chunk:
    """Put a payload, and what it was parsed into, into a chunk with its strangers.

    In the usual case, strangers but known keys of known types, the decoder does the
    most of it, at a third of the cost of `fit`.
    """
    try:
        chunk: Chunk = decode_open_chunk(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return fit(Chunk, sent)
    _add_strangers(chunk, sent)
    pairs = zip(chunk.choices or (), sent.get("choices") or (), strict=True)
    for choice, sent_choice in pairs:
        _add_strangers(choice, sent_choice)
        if choice.delta is not None:
            _add_strangers(choice.delta, sent_choice["delta"])
    return chunk


def _add_strangers(part: Chunk | ChunkChoice | Delta, sent: Mapping[str, Json]) -> None:
    known = _KNOWN[type(part)]
    if not known.issuperset(sent):
        part.extra = Extra((key, sent[key]) for key in sent if key not in known)


def _of(*types: type) -> _Fit:
    def scalar(value: Json) -> Any:
        return value if type(value) in allowed else UNSET

    allowed = frozenset(types)
    return scalar


def _integer(value: Json) -> Any:
    if type(value) is int:
        return value
    # JSON has one kind of number: 1.0 is an integer that a float passed through.
    return int(value) if type(value) is float and value.is_integer() else UNSET


def _texts(value: Json) -> Any:
    """Write the values of an object as JSON text again, lone surrogates mended."""
    if not isinstance(value, dict):
        return UNSET
    return {mend(key): Raw(dump(mend(item)).encode()) for key, item in value.items()}


def _logprobs(value: Json) -> Any:
    texts = _texts(value)
    if texts is UNSET:
        return UNSET
    return Logprobs({key: bytes(text) for key, text in texts.items()})


def _nested(kind: type[Struct]) -> _Fit:
    return lambda value: fit(kind, value) if isinstance(value, dict) else UNSET


def _list_of(kind: type[Struct]) -> _Fit:
    def several(value: Json) -> Any:
        if type(value) is not list or any(type(item) is not dict for item in value):
            return UNSET
        return [fit(kind, item) for item in value]

    return several


def _fit_for(annotation: Any) -> _Fit:  # noqa: PLR0911 - one return a type
    """Choose the fit for a field by its annotation, the only list of types there is."""
    options = [annotation]
    if get_origin(annotation) in (Union, UnionType):
        options = list(get_args(annotation))
    if Any in options:
        return lambda value: value
    [first, *others] = [option for option in options if option is not NoneType]
    if others:
        return _of(*(get_origin(option) or option for option in (first, *others)))
    if get_origin(first) is list:
        [item] = get_args(first)
        return _of(list) if item is Any else _list_of(item)
    if get_origin(first) is dict:
        return _texts if Raw in get_args(first) else _of(dict)
    if first is Logprobs:
        return _logprobs
    if first is int:
        return _integer
    return _nested(first) if issubclass(first, Struct) else _of(first)


def _shaped(shape: Callable[[Json], Json], how: _Fit) -> _Fit:
    return lambda value: how(shape(value))


def _fits_of(kind: type[Struct]) -> dict[str, _Fit]:
    fits = {}
    for item in msgspec.structs.fields(kind):
        if item.name not in ("extra", "unsent"):
            how = _fit_for(item.type)
            shape = SHAPES.get((kind, item.name))
            fits[item.name] = _shaped(shape, how) if shape else how
    return fits


def _plain_fields(kind: type[Struct]) -> dict[str, type]:
    plain = {}
    for item in msgspec.structs.fields(kind):
        types = [
            option
            for option in get_args(item.type) or (item.type,)
            if option is not NoneType
        ]
        if types in ([str], [int]) and (kind, item.name) not in SHAPES:
            plain[item.name] = types[0]
    return plain


_FITS: Final[Mapping[type[Struct], Mapping[str, _Fit]]] = {
    kind: _fits_of(kind)
    for kind in vars(_schema).values()
    if isinstance(kind, type) and issubclass(kind, Struct)
}
# The fields that take a value of one type as it is.
_PLAIN: Final[Mapping[type[Struct], Mapping[str, type]]] = {
    kind: _plain_fields(kind) for kind in _FITS
}
_ALWAYS: Final[Mapping[type[Struct], tuple[str, ...]]] = {
    kind: getattr(kind, "_always", ()) for kind in _FITS
}
_KNOWN: Final[Mapping[type[Struct], frozenset[str]]] = {
    kind: frozenset(fits) for kind, fits in _FITS.items()
}
