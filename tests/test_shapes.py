"""The long streams are the same every time, and know what is wrong with an answer."""

import pytest

from tests import protocol_shapes
from tests.shapes import SHAPES, build
from unstream import Accumulator, Ending
from unstream._detect import load


def test_a_shape_is_the_same_every_time() -> None:
    for name in SHAPES:
        assert build(name, 30) == build(name, 30)


def test_faults_are_named() -> None:
    shape = build("tools, padded", 60)
    wrong = {"choices": [{"index": 0, "message": {"content": "x"}}]}
    assert shape.faults(wrong) == ["content", "tool_calls", "usage"]
    assert shape.faults({}) == ["choices", "tool_calls", "usage"]


@pytest.mark.parametrize("name", protocol_shapes.SHAPES)
def test_a_shape_of_another_protocol_folds_to_its_answer(name: str) -> None:
    shape = protocol_shapes.build(name, 60)
    assert shape == protocol_shapes.build(name, 60)
    for fast in (True, False):
        accumulator = Accumulator(protocol=load(shape.protocol), fast=fast)
        accumulator.feed(shape.stream)
        outcome = accumulator.finish()
        assert outcome.ending is Ending.COMPLETE
        assert outcome.notes == ()
        assert shape.faults(outcome.unwrap().to_dict()) == []
    said = [key for key, value in shape.answer.items() if value is not None]
    assert shape.faults({}) == sorted(said)
