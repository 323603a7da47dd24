"""Objects into Structs and out again: typed where it fits, and nothing lost."""

import copy
import json
import pickle
from collections import UserDict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import Json, strict, values
from unstream import ChatCompletion, Logprobs, Usage, fold
from unstream._structs import Object, structure


class Inner(Object):
    """An object in an object."""

    required: ClassVar[tuple[str, ...]] = ("n",)

    n: int = 0
    word: str | None = None


class Outer(Object):
    """Fields of each kind that there is."""

    required: ClassVar[tuple[str, ...]] = ("id", "maybe", "items")

    id: str = ""
    maybe: str | None = None
    items: list[Inner] = msgspec.field(default_factory=list)
    inner: Inner | None = None
    count: int | None = None
    share: float | None = None
    flag: bool | None = None
    either: str | list[Json] | None = None
    things: list[Json] | None = None
    names: list[str] | None = None
    table: dict[str, Json] | None = None
    anything: Json = None
    logprobs: Logprobs | None = None


FIELDS = [name for name in Outer.__struct_fields__ if name not in ("extra", "_absent")]
_names = st.sampled_from(
    (*FIELDS, "x", "extra", "_absent", "*extra", "*absent", "", "n", "required", "é")
)
objects = st.dictionaries(_names, values, max_size=5) | st.dictionaries(
    st.sampled_from(("items", "inner")),
    st.lists(
        st.dictionaries(st.sampled_from(("n", "x", "word")), values, max_size=2),
        max_size=2,
    ),
)


# --- Laws -----------------------------------------------------------------------------


def whole(value: Json) -> Json:
    """Return a value without halves of characters, which no JSON can be saved with."""
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))


@given(objects)
def test_nothing_is_lost(sent: dict[str, Json]) -> None:
    before = json.dumps(sent)
    made = structure(Outer, sent)
    found = made.to_dict()
    assert found.keys() == sent.keys()
    assert strict(found) == strict(sent)
    assert json.dumps(sent) == before


@given(objects.map(whole))
def test_what_is_saved_can_be_loaded(sent: dict[str, Json]) -> None:
    made = Outer.from_dict(sent)
    for loaded in (
        Outer.from_json(made.to_json()),
        Outer.from_json(made.to_json().decode()),
        Outer.from_dict(made.to_dict()),
        pickle.loads(pickle.dumps(made)),  # noqa: S301 - our own
        copy.deepcopy(made),
    ):
        assert loaded == made
        assert repr(loaded.to_dict()) == repr(made.to_dict())
    assert json.loads(made.to_json()) == made.to_dict()


@given(objects)
def test_a_dict_that_was_handed_out_can_be_changed(sent: dict[str, Json]) -> None:
    made = structure(Outer, sent)
    before = repr(made)
    found = made.to_dict()
    for value in found.values():
        if isinstance(value, dict | list):
            value.clear()
    found.clear()
    assert repr(made) == before


# --- Rows -----------------------------------------------------------------------------

NO_TEXT: Final[Sequence[Json]] = (5, None, True, {}, ["x"])


@pytest.mark.parametrize(
    ("name", "value", "held"),
    [
        ("id", "x", "x"),
        ("maybe", None, None),
        ("count", 5, 5),
        ("count", 5.0, 5),
        ("count", 10**30, 10**30),
        ("share", 1, 1),
        ("share", 1.5, 1.5),
        ("flag", True, True),
        ("either", "x", "x"),
        ("either", [1], [1]),
        ("things", [1, None], [1, None]),
        ("names", ["a"], ["a"]),
        ("table", {"a": None}, {"a": None}),
        ("anything", {"a": [None]}, {"a": [None]}),
        ("inner", {"n": 1}, Inner(n=1)),
        ("items", [{"n": 1.0}], [Inner(n=1)]),
    ],
)
def test_what_fits_a_field_is_held_by_it(name: str, value: Json, held: Any) -> None:
    made = structure(Outer, {name: value})
    assert repr(getattr(made, name)) == repr(held)
    assert made.extra == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("id", value) for value in NO_TEXT),
        ("maybe", 5),
        *(("count", value) for value in (True, 5.5, "5", None)),
        *(("share", value) for value in (True, "5", None)),
        ("flag", 1),
        ("either", {"a": 1}),
        ("things", {"a": 1}),
        ("names", ["a", 5]),
        ("table", [1]),
        ("inner", [1]),
        ("items", {"n": 1}),
        ("items", [{"n": 1}, 5]),
        ("logprobs", [1]),
        *((name, 5) for name in ("extra", "_absent", "*extra", "*absent", "required")),
        *((name, {"id": "y"}) for name in ("extra", "*extra", "*absent")),
        ("*absent", ["id"]),
    ],
)
def test_what_does_not_fit_is_extra(name: str, value: Json) -> None:
    made = structure(Outer, {"id": "a", name: value})
    assert made.extra == {name: value}
    assert made.to_dict() == {"id": "a", name: value}


def test_a_whole_body_has_the_keys_that_it_was_sent_with() -> None:
    """Of those that are always there, what was absent stays absent."""
    assert Outer().to_dict() == {"id": "", "maybe": None, "items": []}
    assert structure(Outer, {}).to_dict() == {}
    assert structure(Outer, {"id": ""}).to_dict() == {"id": ""}
    made = structure(Outer, {"inner": {}, "items": [{}]})
    assert made.to_dict() == {"inner": {}, "items": [{}]}
    made.id = "set"
    made.items.append(Inner())
    assert made.to_dict() == {"id": "set", "inner": {}, "items": [{}, {"n": 0}]}


def test_a_field_stands_before_an_extra_of_the_same_name() -> None:
    assert Outer(id="a", extra={"id": "b", "x": 1}).to_dict()["id"] == "a"


def test_objects_share_nothing() -> None:
    Outer().extra["x"] = 1
    Outer().items.append(Inner())
    assert Outer() == Outer(id="", items=[])


@pytest.mark.parametrize("sent", [None, 5, "{}", b"x", [("id", "x")]])
def test_from_dict_of_no_mapping_is_a_type_error(sent: Any) -> None:
    with pytest.raises(TypeError, match="from_dict takes a mapping, not"):
        ChatCompletion.from_dict(sent)


def test_from_dict_takes_any_mapping() -> None:
    assert Usage.from_dict(UserDict(total_tokens=3)) == Usage(total_tokens=3)


@pytest.mark.parametrize("data", ["", b"[]", b"5", '"x"', b"{", b"[" * 5000, "{}x"])
def test_from_json_of_no_object_is_a_value_error(data: bytes | str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        ChatCompletion.from_json(data)


def test_from_json_reads_as_leniently_as_a_stream() -> None:
    loaded = ChatCompletion.from_json(b'{"id":"\\ud83d","x":"\xff","y":NaN}')
    assert loaded.to_dict() == {"id": "\ufffd", "x": "\ufffd", "y": None}


# --- Pydantic -------------------------------------------------------------------------


def test_pydantic_takes_and_gives_the_plain_object() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Record(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        """What an application keeps."""

        usage: Usage

    sent = {"total_tokens": 3, "x": {"y": None}}
    for given_ in (Usage.from_dict(sent), sent, json.dumps(sent)):
        record = Record(usage=given_)
        assert record.usage == Usage.from_dict(sent)
        assert record.model_dump() == {"usage": sent}
        assert Record.model_validate_json(record.model_dump_json()) == record
    with pytest.raises(pydantic.ValidationError):
        Record(usage=5)


def test_fastapi_writes_the_plain_object() -> None:
    encode = pytest.importorskip("fastapi.encoders").jsonable_encoder
    completion = fold(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]')
    assert dict(completion) == completion.to_dict()
    assert encode({"answers": [completion]}) == {"answers": [completion.to_dict()]}


def test_pydantic_describes_it_as_an_object() -> None:
    pydantic = pytest.importorskip("pydantic")
    schema = pydantic.TypeAdapter(ChatCompletion).json_schema()
    assert schema == {"type": "object", "title": "ChatCompletion"}
