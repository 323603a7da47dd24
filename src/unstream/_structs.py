"""Structs that lose nothing: typed fields, and `extra` for what has no field.

This module knows how an object is put into a Struct and taken out again, at every
level; not which Structs there are. The types are read from their annotations, the only
list of them that there is.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    Final,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import msgspec
from msgspec import UNSET, Struct, field

from unstream._json import Json, parse_whole

__all__ = ["Object", "Text", "structure"]

Kind = TypeVar("Kind", bound="Object")


class Text:
    """A value that is held as JSON text and decoded when it is looked at."""

    __slots__ = ()

    def to_dict(self) -> Json:
        """Return plain dicts and lists."""
        raise NotImplementedError

    def to_raw(self) -> Json:
        """Return what msgspec encodes as the text that was sent."""
        raise NotImplementedError

    @classmethod
    def from_plain(cls, value: Json) -> Any:
        """Return one of a parsed value, or UNSET where that does not fit."""
        raise NotImplementedError


# `msgspec.convert` takes keys by the names of fields: nobody can send what nobody can
# guess.
_SECRET: Final = os.urandom(8).hex()


class Object(Struct, kw_only=True, repr_omit_defaults=True, forbid_unknown_fields=True):
    """A JSON object with typed fields.

    A field that is None is left out of the JSON, but for those that the class lists in
    `required`. `extra` holds the keys that have no field, and values of a type that
    their field cannot hold, nulls among them.
    """

    required: ClassVar[tuple[str, ...]] = ()

    extra: dict[str, Json] = field(default_factory=dict, name=f"extra {_SECRET}")
    # Fields of `required` that a whole body did not have: it passes as it was sent.
    _absent: tuple[str, ...] = field(default=(), name=f"absent {_SECRET}")

    def to_dict(self) -> dict[str, Json]:
        """Return plain dicts and lists, shaped as the JSON."""
        return _plain(self, as_text=False)

    def to_json(self) -> bytes:
        """Return compact JSON."""
        return msgspec.json.encode(_plain(self, as_text=True))

    @classmethod
    def choose(cls, sent: Mapping[str, Json]) -> type[Self]:  # noqa: ARG003
        """Return the class that takes such an object: this, or one derived from it."""
        return cls

    @classmethod
    def from_dict(cls, sent: Mapping[str, Json]) -> Self:
        """Return the object that `to_dict` was called on, or any of its shape.

        What does not fit is kept in `extra`. Raises TypeError where `sent` is no
        mapping.
        """
        if not isinstance(sent, Mapping):
            raise TypeError(f"from_dict takes a mapping, not {type(sent).__name__}")
        return structure(cls, sent)

    @classmethod
    def from_json(cls, data: bytes | str) -> Self:
        """Return the object that `to_json` was called on, or any of its shape.

        Raises ValueError where `data` is not the JSON of an object.
        """
        sent = parse_whole(data)
        if type(sent) is not dict:
            raise ValueError(f"the JSON is no object, but {type(sent).__name__}")
        return structure(cls, sent)

    def __iter__(self) -> Iterator[tuple[str, Json]]:
        """Give keys and values, so that `dict(...)` is `to_dict()`, as FastAPI asks."""
        return iter(self.to_dict().items())

    @classmethod
    def __get_pydantic_json_schema__(cls, _: Any, __: Any) -> dict[str, Json]:
        """Describe it as an object, in which any key may stand."""
        return {"type": "object", "title": cls.__name__}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic take and give this as the plain object that it stands for."""
        from pydantic_core import core_schema  # noqa: PLC0415 - only pydantic calls

        def read(value: Any) -> Any:
            if isinstance(value, cls):
                return value
            if isinstance(value, str | bytes):
                return cls.from_json(value)
            if isinstance(value, Mapping):
                return cls.from_dict(value)
            raise ValueError(f"a {cls.__name__} or its JSON object is wanted")

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value.to_dict(), return_schema=core_schema.dict_schema()
            ),
        )


_CHOOSE: Final = Object.choose.__func__  # type: ignore[attr-defined]


def _plain(whole: Object, *, as_text: bool) -> dict[str, Json]:
    """Turn a Struct into a dict, with its `extra` among the keys."""
    plain: dict[str, Json] = {}
    for name in _names(type(whole)):
        value = getattr(whole, name)
        if value is not None or (name in whole.required and name not in whole._absent):  # noqa: SLF001
            plain[name] = _plain_value(value, as_text=as_text)
    for name in whole._absent:  # noqa: SLF001
        if name in plain and getattr(whole, name) == getattr(type(whole)(), name):
            del plain[name]
    for key, value in whole.extra.items():
        plain.setdefault(key, _plain_value(value, as_text=as_text))
    return plain


def _plain_value(value: Json, *, as_text: bool) -> Json:
    if isinstance(value, Object):
        return _plain(value, as_text=as_text)
    if type(value) is list:
        return [_plain_value(item, as_text=as_text) for item in value]
    if type(value) is dict:
        return {k: _plain_value(item, as_text=as_text) for k, item in value.items()}
    if isinstance(value, Text):
        return value.to_raw() if as_text else value.to_dict()
    return value


# --- Objects into Structs -------------------------------------------------------------

# A value as a field holds it, or UNSET where it does not fit.
_Fit: TypeAlias = Callable[[Json], Any]


def structure(
    kind: type[Kind], sent: Mapping[str, Json], known: dict[str, Any] | None = None
) -> Kind:
    """Put a parsed object into its Struct; what does not fit becomes `extra`.

    Nothing raises and nothing is lost. `known` are fields that are typed already, which
    is changed; they hold where `sent` has nothing under their name.
    """
    known = {} if known is None else known
    extra: dict[str, Json] = {}
    plain, fits, required, chooses = _plan(kind)
    if chooses and (chosen := kind.choose(sent)) is not kind:
        kind = chosen
        plain, fits, required, _ = _plan(kind)
    for key, value in sent.items():
        if plain.get(key) is type(value):  # most are: a look instead of a call
            known[key] = value
        elif (fit := fits.get(key)) is None or (fitted := fit(value)) is UNSET:
            extra[key] = value
            known.pop(key, None)
        else:
            known[key] = fitted
    if extra:
        known["extra"] = extra
    if not known.keys() >= required:
        gone = [name for name in kind.required if name not in known]
        known["_absent"] = tuple(gone)
    return kind(**known)


@cache
def _names(kind: type[Object]) -> tuple[str, ...]:
    return tuple(n for n in kind.__struct_fields__ if n not in ("extra", "_absent"))


@cache
def _plan(
    kind: type[Object],
) -> tuple[Mapping[str, type], Mapping[str, _Fit], frozenset[str], bool]:
    """Return what `structure` is to know of a Struct.

    By field, the one type that is taken as it is, and how others fit; the fields that
    are required; whether another Struct may be chosen.
    """
    plain: dict[str, type] = {}
    fits: dict[str, _Fit] = {}
    for item in msgspec.structs.fields(kind):
        if item.name in ("extra", "_absent"):
            continue
        options = [item.type]
        if get_origin(item.type) in (Union, UnionType):
            options = [o for o in get_args(item.type) if o is not NoneType]
        fits[item.name] = _fit_for(options)
        if item.name in kind.required and item.default is None:
            fits[item.name] = _or_null(fits[item.name])
        if options in ([str], [int]):
            plain[item.name] = options[0]
    chooses = getattr(kind.choose, "__func__", None) is not _CHOOSE
    return plain, fits, frozenset(kind.required), chooses


def _fit_for(options: list[Any]) -> _Fit:
    """Choose how values fit a field by its annotation."""
    if Any in options:
        return lambda value: UNSET if value is None else value
    if len(options) > 1:
        return _of(*(get_origin(option) or option for option in options))
    [option] = options
    if get_origin(option) is list:
        [item] = get_args(option)
        return _of(list) if item is Any else _list_of(item)
    if get_origin(option) is dict:
        return _of(dict)
    if option is int:
        return _integer
    if option is float:
        return _number
    if isinstance(option, type) and issubclass(option, Text):
        return option.from_plain
    if isinstance(option, type) and issubclass(option, Object):
        return lambda value: structure(option, value) if type(value) is dict else UNSET
    return _of(option)


def _or_null(fit: _Fit) -> _Fit:
    return lambda value: None if value is None else fit(value)


def _of(*types: type) -> _Fit:
    return lambda value: value if type(value) in types else UNSET


def _integer(value: Json) -> Any:
    if type(value) is int:
        return value
    # JSON has one kind of number: 1.0 is an integer that a float passed through.
    return int(value) if type(value) is float and value.is_integer() else UNSET


def _number(value: Json) -> Any:
    return value if type(value) in (int, float) else UNSET


def _list_of(kind: Any) -> _Fit:
    fit = _fit_for([kind])

    def fit_all(value: Json) -> Any:
        if type(value) is not list:
            return UNSET
        fitted = [fit(item) for item in value]
        return UNSET if any(item is UNSET for item in fitted) else fitted

    return fit_all
