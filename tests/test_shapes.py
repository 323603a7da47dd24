"""The long streams are the same every time, and know what is wrong with an answer."""

from tests.shapes import SHAPES, build


def test_a_shape_is_the_same_every_time() -> None:
    for name in SHAPES:
        assert build(name, 30) == build(name, 30)


def test_faults_are_named() -> None:
    shape = build("tools, padded", 60)
    wrong = {"choices": [{"index": 0, "message": {"content": "x"}}]}
    assert shape.faults(wrong) == ["content", "tool_calls", "usage"]
    assert shape.faults({}) == ["choices", "tool_calls", "usage"]
