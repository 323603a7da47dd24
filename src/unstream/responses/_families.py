"""Where the text of a family of events stands: one row a family.

A kind of event is read by its shape, `response.FAMILY.delta|done|added`, with the dots
inside FAMILY read as `_`. This module is where a new habit goes: a family that wants a
place of its own is one row; a family that nobody listed needs nothing, the shape of its
event says where its text stands. Nothing here asks who is upstream.
"""

from typing import Final

from msgspec import Struct

from unstream._json import Json
from unstream._rules import State

__all__ = ["FAMILIES", "PARTS", "WORDS", "Family", "family_of", "split", "to_index"]

WORDS: Final = frozenset(("added", "delta", "done"))
_PREFIX: Final = len("response.")


class Family(Struct, frozen=True):
    """The place of a text: in the item, in an object of it, or in a list of it.

    `item` is the type of the items that the family builds, "" where that is as found.
    `field` is the key of the text, in its deltas' place and in its `done`. `inside` is
    the object of the item in which it stands, `among` the list there, in which the
    events count by `index`. The entries of that list are parts of the type `part`; where
    that is "", they are texts, or with `keyed`, objects of texts.
    """

    item: str = ""
    field: str = ""
    inside: str = ""
    among: str = ""
    index: str = ""
    part: str = ""
    keyed: bool = False


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


def split(kind: str) -> tuple[str, str]:
    """Split a kind of event into its family, or its item, and its last word."""
    head, _, word = kind.rpartition(".")
    return head[_PREFIX:].replace(".", "_"), word


def family_of(name: str, sent: State) -> Family | None:
    """Return a family by its name, or by the shape of its event.

    An event without an address has no place in a response: None.
    """
    known = FAMILIES.get(name)
    if known is not None:
        return known
    if not name or (to_index(sent.get("output_index")) is None and not _id_in(sent)):
        return None
    word = name.rpartition("_")[2]
    if to_index(sent.get("content_index")) is not None:
        return _content("", name, word)
    if to_index(sent.get("summary_index")) is not None:
        return _summary("", name, word)
    return Family(field=name)


def _id_in(sent: State) -> bool:
    item_id = sent.get("item_id")
    return type(item_id) is str and item_id != ""


def to_index(value: Json) -> int | None:
    """Read an index: an integer of at least 0; anything else is missing."""
    return value if type(value) is int and value >= 0 else None
