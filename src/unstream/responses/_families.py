"""Where the text of a family of events stands: one row a family.

A kind of event is read by its shape, `response.FAMILY.delta|done|added`, with the dots
inside FAMILY read as `_`. This module is where a new habit goes: a family that wants a
place of its own is one row; a family that nobody listed needs nothing, the shape of its
event says where its text stands. Nothing here asks who is upstream.
"""

from typing import Any, Final

from msgspec import Struct

from unstream._rules import State
from unstream.responses._slots import Slots, slots, to_index

__all__ = ["FAMILIES", "PARTS", "Family", "family_of"]


class Family(Struct, frozen=True):
    """The place of a text: in the item, in an object of it, or in a list of it.

    `item` is the type of the items that the family builds, "" where that is as found.
    `field` is the key of the text, where it stands and in its `done`. `inside` is the
    object of the item in which that is, `among` the list there, in which the events
    count by `index`. The entries of that list are parts of the type `part`; where that
    is "", they are texts, or with `keyed`, objects of texts.
    """

    item: str = ""
    field: str = ""
    inside: str = ""
    among: str = ""
    index: str = ""
    part: str = ""
    keyed: bool = False

    @property
    def is_set_by_added(self) -> bool:
        """Say whether an `added` sets a text: an entry that is no part opens so."""
        return bool(self.among) and not (self.part or self.keyed)

    def place(self, state: State, sent: State) -> tuple[dict[Any, Any], Any]:
        """Return what holds the text in the state of an item, and its key; open it."""
        if self.inside:
            if type(state.get(self.inside)) is not dict:
                state[self.inside] = {}
            state = state[self.inside]
        if not self.among:
            return state, self.field if self.item else _field(self.field, state)
        entries, index = slots(state, self.among), self.index_in(sent)
        held = entries.get(index)
        if self.is_set_by_added:
            if held is None:
                entries.open(index, "")
            return entries, index
        if type(held) is not dict:
            held = {"type": self.part} if self.part else {}
            entries.open(index, held)
        return held, self.field

    def index_in(self, sent: State) -> int:
        """Return the place in the list that an event is about, else the first."""
        return to_index(sent.get(self.index)) or 0

    def is_open(self, state: State, sent: State) -> bool:
        """Say whether the part that an event is about is there."""
        held, index = state.get(self.among), self.index_in(sent)
        if type(held) is list:
            return index < len(held) and type(held[index]) is dict
        return isinstance(held, Slots) and type(held.get(index)) is dict

    def text_in(self, sent: State) -> str | None:
        """Return the whole text that a `done` has, if any."""
        text = sent.get(self.field.rpartition("_")[2])
        if type(text) is not str and not self.item:
            text = sent.get("text")
        return text if type(text) is str else None


def _content(item: str, part: str, field: str) -> Family:
    return Family(item, field, among="content", index="content_index", part=part)


def _summary(item: str, part: str, field: str) -> Family:
    return Family(item, field, among="summary", index="summary_index", part=part)


FAMILIES: Final = {
    "output_text": _content("message", "output_text", "text"),
    "refusal": _content("message", "refusal", "refusal"),
    "reasoning_text": _content("reasoning", "reasoning_text", "text"),
    "reasoning_summary_text": _summary("reasoning", "summary_text", "text"),
    "function_call_arguments": Family("function_call", "arguments"),
    "mcp_call_arguments": Family("mcp_call", "arguments"),
    "custom_tool_call_input": Family("custom_tool_call", "input"),
    "code_interpreter_call_code": Family("code_interpreter_call", "code"),
    "apply_patch_call_operation_diff": Family(
        "apply_patch_call", "diff", inside="operation"
    ),
    "shell_call_command": Family(
        *("shell_call", "command"),
        inside="action",
        among="commands",
        index="command_index",
    ),
    "shell_call_output_content": Family(
        *("shell_call_output", "output"),
        among="output",
        index="command_index",
        keyed=True,
    ),
}

# The family that builds a part, by the type of the part.
PARTS: Final = {family.part: family for family in FAMILIES.values() if family.part}


def family_of(name: str, sent: State) -> Family | None:
    """Return a family by its name, or by the shape of its event.

    An event without an address has no place in a response: None (audio).
    """
    known = FAMILIES.get(name)
    if known is not None:
        return known
    item_id = sent.get("item_id")
    is_addressed = type(item_id) is str and item_id != ""
    if not name or not (is_addressed or to_index(sent.get("output_index")) is not None):
        return None
    word = name.rpartition("_")[2]
    if to_index(sent.get("content_index")) is not None:
        return _content("", name, word)
    if to_index(sent.get("summary_index")) is not None:
        return _summary("", name, word)
    return Family(field=name)


def _field(name: str, state: State) -> str:
    """Return the key of a text: the family's name without the item's type before it."""
    return name.removeprefix(f"{state.get('type')}_")
