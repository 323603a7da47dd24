"""Objects into Structs: what fits, and what is extra."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given

from tests.strategies import chunks, objects_of
from unstream import ChatCompletion, Message, Usage
from unstream._fit import fit, open_chunk
from unstream._json import mend, parse
from unstream._schema import (
    Chunk,
    ChunkChoice,
    CustomDelta,
    Delta,
    FunctionDelta,
    ToolCallDelta,
    decode_chunk,
)

PARTS = (Chunk, ChunkChoice, Delta, ToolCallDelta, FunctionDelta, CustomDelta)


@given(chunks)
def test_what_decodes_fits_in_the_same_way(sent: dict[str, Any]) -> None:
    """The open road and the fast one lead to the same Structs."""
    try:
        decoded = decode_chunk(json.dumps(sent).encode())
    except msgspec.DecodeError:
        return
    fitted = fit(Chunk, sent)
    for part in objects_of(fitted):
        # A null that was sent stands in `extra` on the open road, and means nothing.
        part.extra = {k: v for k, v in (part.extra or {}).items() if v is not None}
        part.extra = part.extra or None
    for part in objects_of(decoded):
        if isinstance(part, ChunkChoice) and part.logprobs is not None:
            part.logprobs = fit(
                ChunkChoice, {"logprobs": parsed(part.logprobs)}
            ).logprobs
    assert fitted == decoded


def parsed(texts: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {key: json.loads(bytes(text)) for key, text in texts.items()}


@given(chunks)
def test_every_key_is_in_a_field_or_in_extra(sent: dict[str, Any]) -> None:
    before = json.dumps(sent)
    fitted = fit(Chunk, sent)
    for key, value in sent.items():
        field = getattr(fitted, key, None) if key != "extra" else None
        if value is not None and field is None:
            assert fitted.extra is not None
            assert key in fitted.extra
    assert json.dumps(sent) == before


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("created", 5, 5),
        ("created", 5.0, 5),
        ("created", 5.9, 5),
        ("created", "5", None),
        ("created", True, None),
        ("id", "x", "x"),
        ("id", 5, "5"),
        ("id", 5.5, None),
        ("id", True, None),
        ("id", {}, None),
        ("usage", {}, {}),
        ("usage", [], None),
        ("usage", "x", None),
        ("model", ["m"], None),
    ],
)
def test_a_field_takes_its_type_and_nothing_else(
    field: str, value: Any, expected: Any
) -> None:
    fitted = fit(Chunk, {field: value})
    assert repr(getattr(fitted, field)) == repr(expected)
    assert fitted.extra == ({field: value} if expected is None else None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (1.0, 1),
        (-1, -1),
        ("3", 3),
        ("003", 3),
        (10**30, 10**30),
        (1.5, None),
        (True, None),
        ("", None),
        ("-1", None),
        ("٣", None),
        ("²", None),
        ("9" * 18, 10**18 - 1),
        ("9" * 19, None),
        ("9" * 5000, None),
        (None, None),
        ([0], None),
    ],
)
def test_an_index_is_an_integer_or_digits(value: Any, expected: int | None) -> None:
    sent = {"index": value}
    for fitted in (fit(ChunkChoice, sent), fit(ToolCallDelta, sent)):
        assert repr(fitted.index) == repr(expected)
        assert fitted.extra == ({"index": value} if expected is None else None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_created_that_is_no_number_is_extra(value: float) -> None:
    fitted = fit(Chunk, {"created": value})
    assert fitted.created is None
    assert fitted.extra == {"created": value}


def test_nulls_are_extra_at_their_level() -> None:
    assert fit(Delta, {"content": None}) == Delta(extra={"content": None})  # type: ignore[arg-type]


def test_a_key_called_extra_is_a_stranger_at_every_level() -> None:
    for kind in PARTS:
        assert fit(kind, {"extra": 5}).extra == {"extra": 5}
        assert fit(kind, {"extra": {"a": 1}}).extra == {"extra": {"a": 1}}
    for whole in (ChatCompletion, Message, Usage):
        fitted = fit(whole, {"extra": 5, "unsent": ["x"]})
        assert fitted.extra == {"extra": 5, "unsent": ["x"]}


def test_a_key_called_extra_does_not_decode() -> None:
    for payload in (
        b'{"extra":{"a":1}}',
        b'{"extra":5}',
        b'{"choices":[{"extra":{}}]}',
    ):
        with pytest.raises(msgspec.ValidationError):
            decode_chunk(payload)


def test_lists_of_objects_fit_whole_or_not_at_all() -> None:
    annotations = [{"type": "x"}, 5]
    assert fit(Message, {"annotations": annotations}).extra == {
        "annotations": annotations
    }
    assert fit(Delta, {"annotations": annotations}).annotations == annotations


def test_odd_lists_are_put_right() -> None:
    call = {"id": "c"}
    one = [ToolCallDelta(id="c")]
    assert fit(Delta, {"tool_calls": call}).tool_calls == one
    assert fit(Delta, {"tool_calls": [None, call, 5, "x"]}).tool_calls == one
    assert fit(Delta, {"tool_calls": "x"}).extra == {"tool_calls": "x"}
    part = {"type": "text", "text": "a"}
    assert fit(Delta, {"content": part}).content == [part]
    assert fit(Delta, {"content": 5}).extra == {"content": 5}
    assert fit(Chunk, {"choices": {"index": 1}}).choices == [ChunkChoice(index=1)]
    assert fit(Chunk, {"choices": [None, {"index": 1}]}).choices == [
        ChunkChoice(index=1)
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("{}", "{}"),
        ({"a": [1, "é"]}, '{"a":[1,"é"]}'),
        ([1, 2], "[1,2]"),
        (5, "5"),
        (True, "true"),
        ({"a": "\ud83d"}, '{"a":"\ud83d"}'),
        ({"n": 10**30}, '{"n":1' + "0" * 30 + "}"),
    ],
)
def test_arguments_are_text_whatever_they_came_as(value: Any, text: str) -> None:
    assert fit(FunctionDelta, {"arguments": value}).arguments == text
    assert fit(CustomDelta, {"input": value}).input == text


@given(chunks)
def test_an_open_chunk_is_what_fits(sent: dict[str, Any]) -> None:
    data = json.dumps(sent).encode()
    opened, fitted = open_chunk(data, parse(data)), fit(Chunk, sent)
    assert told(opened) == told(fitted)


def told(chunk: Chunk) -> str:
    """Show a chunk without the nulls among its strangers, its raw JSON parsed."""
    for part in objects_of(chunk):
        part.extra = {k: v for k, v in (part.extra or {}).items() if v is not None}
        if isinstance(part, ChunkChoice) and part.logprobs is not None:
            part.logprobs = mend(parsed(part.logprobs))
    return repr(chunk).replace("_OpenChoice", "ChunkChoice").replace("_Open", "")


@pytest.mark.parametrize("name", ["", "extra", "x"])
def test_an_open_chunk_has_its_strangers_at_their_level(name: str) -> None:
    one = {name: 1}
    sent = {**one, "choices": [{}, {**one, "delta": {**one, "content": "a"}}]}
    opened = open_chunk(json.dumps(sent).encode(), sent)
    assert opened.choices is not None
    first, second = opened.choices
    assert second.delta is not None
    assert second.delta.content == "a"
    assert opened.extra == second.extra == second.delta.extra == one
    assert first.extra is None
