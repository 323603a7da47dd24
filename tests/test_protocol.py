"""What all folds have in common: records, what may be held, notes, errors."""

from collections.abc import Sequence
from io import StringIO
from typing import Any, Final

import pytest

from tests.strategies import Json
from unstream import Limits, Note
from unstream._outcome import Completion
from unstream._protocol import Fold, error_in, is_error
from unstream._rules import CHANGED, DROPPED, HELD, Effects
from unstream.sse import Run


class Plain(Fold[Any]):
    """A fold that does what it is told."""

    name = "plain"

    def __init__(self, limits: Limits | None = None) -> None:
        super().__init__(limits or Limits())
        self.said: Json = None

    def add(
        self, sent: Json, data: bytes, name: str = "", *, exact: bool = True
    ) -> None:
        del sent, name, exact
        self.effects.clear()
        self.finish_event(data)

    def plain(self) -> Json:
        return self.said


def after(effects: Effects, data: bytes = b"{}") -> Plain:
    fold = Plain()
    fold.effects += effects
    fold.finish_event(data)
    return fold


# --- Records --------------------------------------------------------------------------


def test_an_event_that_only_appended_is_a_record() -> None:
    text = StringIO()
    effects: Effects = [("a", "x", text), ("p", "pad", DROPPED)]
    fold = after(effects)
    assert fold.record == effects
    assert fold.revision == 0


@pytest.mark.parametrize("did", [CHANGED, HELD])
def test_an_event_that_did_more_is_none_and_counts(did: Any) -> None:
    text = StringIO()
    for effects in (
        [("a", "x", did)],
        [("b", "y", text), ("a", "x", did)],
        [("a", "x", did), ("b", "y", text)],
    ):
        fold = after(effects)
        assert fold.record is None
        assert fold.revision == 1


def test_taking_stops_at_what_is_no_plain_object() -> None:
    fold = Plain()
    payloads = Run((b"{}", b'{"a":1}', b"[DONE]", b"{}"))
    assert fold.take(payloads, 0, 99) == 2
    assert fold.n_events == 2
    assert fold.take(payloads, 2, 99) == 2
    assert fold.take(payloads, 3, 99) == 4
    for odd in (b"{\n}", b"[]", b"5", b"", b'{"a":"\xff"}', b'{"a":"\\ud83d"}', b"{"):
        assert Plain().take(Run((odd,)), 0, 99) == 0
    deep = b'{"a":' + b"[" * 151 + b"]" * 151 + b"}"
    assert Plain().take(Run((deep,)), 0, 99) == 0


# --- What may be held -----------------------------------------------------------------

LIST = b'{"a":[' + b"{}," * 99 + b"{}]}"


def test_what_is_held_is_weighed_until_there_is_no_room() -> None:
    fold = Plain(Limits(held_bytes=200_000))
    n = 0
    while fold.has_room(LIST):
        n += 1
        fold.hold(LIST)
    assert 1 < n < 9
    assert fold.limit == "held_bytes"
    assert fold.read(LIST) is None


def test_what_is_only_read_is_not_counted() -> None:
    fold = Plain(Limits(held_bytes=200_000))
    for _ in range(100):
        assert fold.read(LIST) is not None
    assert fold.limit is None


def test_a_byte_that_was_fed_pays_for_what_it_may_hold() -> None:
    """Beyond the first few MiB, which are free."""
    fold = Plain()
    n = 0
    while fold.has_room(LIST) and n < 100_000:
        n += 1
        fold.hold(LIST)
    assert n < 1000
    text = b'{"a":[' + b'"' + b"x" * 1000 + b'"]}'
    fold = Plain()
    for _ in range(10_000):
        assert fold.has_room(text)
        fold.hold(text)


# --- Notes and errors -----------------------------------------------------------------


def test_notes_are_counted_in_the_order_of_their_first_sight() -> None:
    fold = Plain()
    fold.n_events = 3
    fold.note("b")
    fold.note("a", 2)
    fold.n_events = 5
    fold.note("b")
    assert fold.notes() == (Note("b", 3, 2), Note("a", 3, 2))


def test_halves_that_stay_alone_are_counted_at_the_end() -> None:
    fold = Plain()
    fold.n_events = 4
    fold.meet_half()
    fold.n_events = 9
    fold.meet_half()
    fold.said = {"a": "\ud83d\ude00", "b": ["\ud83d", {"c": "x\ude00"}]}
    fold.close()
    assert fold.notes() == (Note("lone_surrogate", 4, 2),)
    fold = Plain()
    fold.said = {"a": "\ud83d"}
    fold.close()
    assert fold.notes() == ()


def test_the_first_error_is_the_cause() -> None:
    fold = Plain()
    fold.fail("a")
    fold.fail("b")
    assert fold.error == "a"


NOTHING: Final[Sequence[Json]] = (None, "", False, {}, [])


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"error": {"message": "m"}, "choices": []}, {"message": "m"}),
        ({"error": "m", "error_type": "t"}, "m"),
        ({"error": 1}, 1),
        ({"x_groq": {"error": "m"}}, "m"),
        ({"error": None, "x_groq": {"error": "m"}}, "m"),
        ({"object": "error", "message": "m"}, {"object": "error", "message": "m"}),
        *(({"error": value}, None) for value in NOTHING),
        *(({"x_groq": value}, None) for value in (*NOTHING, "error", {"error": ""})),
        ({"message": "m"}, None),
    ],
)
def test_an_error_is_found_in_any_shape(sent: Json, error: Json) -> None:
    assert error_in(sent) == error


def test_an_error_report_is_told_from_a_default() -> None:
    assert all(map(is_error, ("x", {"code": None}, 1, True, [0])))
    assert not any(map(is_error, (0, "", None, False, {}, [])))


# --- What a protocol has to say -------------------------------------------------------


def test_a_fold_that_says_nothing_is_none() -> None:
    fold: Fold[Completion] = Fold(Limits())
    for call in (
        lambda: fold.add({}, b"{}"),
        lambda: fold.read_body({}),
        lambda: fold.judge(cut_off=False),
        fold.plain,
        fold.usage_source,
    ):
        with pytest.raises(NotImplementedError):
            call()
    assert fold.unfinished() == ()
    fold.stop()
    assert fold.done
