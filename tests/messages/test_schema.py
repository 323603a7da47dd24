"""The types of a message: which class a block has, and that nothing is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.messages.strategies import Object, whole_messages
from tests.strategies import strict, values
from unstream.messages import (
    CompactionBlock,
    ContentBlock,
    Message,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

KINDS = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
    "server_tool_use": ServerToolUseBlock,
    "mcp_tool_use": ServerToolUseBlock,
    "web_search_tool_result": ToolResultBlock,
    "mcp_tool_result": ToolResultBlock,
    "some_new_tool_result": ToolResultBlock,
    "compaction": CompactionBlock,
    "fallback": ContentBlock,
    "hologram": ContentBlock,
}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_a_block_has_the_class_of_its_type(name: str, kind: type[ContentBlock]) -> None:
    block = ContentBlock.from_dict({"type": name, "x": 1})
    assert type(block) is kind
    assert block.type == name
    assert block.extra == {"x": 1}
    [inner] = Message.from_dict({"content": [{"type": name, "x": 1}]}).content
    assert inner == block
    assert ContentBlock.from_json(block.to_json()) == block


@pytest.mark.parametrize("kind", [None, 5, ["text"], {}])
def test_a_block_without_a_type_is_kept(kind: Any) -> None:
    block = ContentBlock.from_dict({"type": kind, "text": "a"})
    assert type(block) is ContentBlock
    assert block.to_dict() == {"type": kind, "text": "a"}
    assert ContentBlock.from_dict({"text": "a"}).to_dict() == {"text": "a"}


def test_a_class_that_was_asked_for_is_the_one() -> None:
    block = TextBlock.from_dict({"type": "thinking", "text": "a"})
    assert type(block) is TextBlock


def test_what_is_made_by_hand_has_what_the_api_requires() -> None:
    assert TextBlock(type="text", text="a").to_dict() == {"type": "text", "text": "a"}
    assert Message(id="m", content=[ToolUseBlock(type="tool_use")]).to_dict() == {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "",
        "content": [{"type": "tool_use", "id": "", "name": "", "input": {}}],
        "stop_reason": None,
        "stop_sequence": None,
    }


def test_the_text_is_that_of_the_text_blocks() -> None:
    content = [
        {"type": "text", "text": "a"},
        {"type": "thinking", "thinking": "b"},
        {"type": "text", "text": None},
        {"type": "text", "text": "c"},
    ]
    assert Message.from_dict({"content": content}).output_text == "ac"


_blocks = st.dictionaries(
    st.sampled_from(
        (
            *("type", "text", "citations", "thinking", "signature", "data", "id"),
            *("name", "input", "caller", "partial_json", "tool_use_id", "content"),
            *("is_error", "server_name", "extra", "_absent", "required"),
        )
    ),
    st.sampled_from(tuple(KINDS)) | values,
)


@given(st.lists(_blocks | values, max_size=3) | values, values)
def test_whatever_stands_in_a_message_is_given_back(content: Any, usage: Any) -> None:
    sent = {"type": "message", "content": content, "usage": usage, "container": usage}
    message = Message.from_dict(sent)
    assert strict(message.to_dict()) == strict(sent)
    message.calls()
    assert type(message.output_text) is str


@given(whole_messages)
def test_fields_hold_what_the_api_sends(sent: Object) -> None:
    message = Message.from_dict(sent)
    assert message.usage is not None
    assert not message.usage.extra
    assert message.extra.keys() <= {"x_new", "container", "stop_details"}
    for block in message.content:
        assert type(block) is KINDS[block.type]
        assert not block.extra
