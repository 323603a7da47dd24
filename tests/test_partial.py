"""Incomplete JSON: what is read of it is the beginning of what follows."""

import json
import sys
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unstream import partial_json

pytest.importorskip("jiter")

_texts: Final = st.text(max_size=6) | st.sampled_from(('"', "\\", "\n", "é", "😀", "{"))
_values: Final = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**6) | st.just(-1.5e3) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner),
    max_leaves=8,
)


def begins(part: Any, whole: Any) -> bool:  # noqa: PLR0911 - one for each type
    """Say whether a value is what there is so far of another."""
    if isinstance(whole, dict):
        pairs = [*whole.items()][: len(part)] if isinstance(part, dict) else None
        if pairs is None or [*part] != [key for key, _ in pairs]:
            return False
        *done, last = [*pairs] or [("", None)]
        return all(part[k] == v for k, v in done) and (
            not part or begins(part[last[0]], last[1])
        )
    if isinstance(whole, list):
        if not isinstance(part, list) or len(part) > len(whole):
            return False
        n = len(part)
        return not n or (part[:-1] == whole[: n - 1] and begins(part[-1], whole[n - 1]))
    if isinstance(whole, str):
        return isinstance(part, str) and whole.startswith(part)
    if isinstance(whole, int | float) and not isinstance(whole, bool):
        return isinstance(part, int | float)  # as far as it goes
    return part is whole


@given(_values, st.booleans(), st.data())
def test_a_beginning_is_read_as_a_beginning(
    value: Any,
    ascii_only: bool,  # noqa: FBT001 - drawn
    data: st.DataObject,
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    part = text[: data.draw(st.integers(0, len(text)))]
    read = partial_json(part)
    assert read is None or begins(read, value)
    whole = partial_json(part, strings="drop")
    assert whole is None or begins(whole, value)
    assert partial_json(text) == value
    assert partial_json(text.encode()) == value


@given(_values, st.sampled_from(("x", "]", '"', "{}", "1")))
def test_what_is_no_beginning_raises(value: Any, more: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        partial_json(json.dumps([value]) + more)


@pytest.mark.parametrize(
    ("text", "keep", "drop"),
    [
        ("", None, None),
        (" \n", None, None),
        ("{", {}, {}),
        ('{"a', {}, {}),
        ('{"a":', {}, {}),
        ('{"a":"b', {"a": "b"}, {}),
        ('{"a":"b\\', {"a": "b"}, {}),
        ('{"a":"b\\ud83d', {"a": "b"}, {}),
        ('{"a":"b"', {"a": "b"}, {"a": "b"}),
        ('{"a":1', {"a": 1}, {"a": 1}),
        ('{"a":1.', {}, {}),
        ('{"a":tru', {}, {}),
        ('[1,{"b":["c', [1, {"b": ["c"]}], [1, {"b": []}]),
        ('"a', "a", None),
        ("tru", None, None),
        ("-", None, None),
    ],
)
def test_how_an_end_is_read(text: str, keep: Any, drop: Any) -> None:
    assert partial_json(text) == keep
    assert partial_json(text, strings="keep") == keep
    assert partial_json(text, strings="drop") == drop


@pytest.mark.parametrize("text", ["x", "{x", "[1,]", "[1 2", '{"a" 1', "NaN", "[01"])
def test_no_json(text: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        partial_json(text)


def test_another_way_of_reading_strings() -> None:
    with pytest.raises(ValueError, match='"keep" or "drop", not \'fix\''):
        partial_json("{", strings="fix")  # type: ignore[arg-type]


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiter", None)
    with pytest.raises(ImportError, match=r"unstream\[partial\]"):
        partial_json("{")
