"""What the codes of notes mean: a sentence each.

The one list of them. `docs/notes.md` shows it, `unstream --check` prints from it, and a
test holds every code in the source against it.
"""

from typing import Final

__all__ = ["NOTES"]

NOTES: Final[dict[str, str]] = {
    "arguments_left": (
        "A piece of arguments (partialArgs) has no place; it is kept as it came."
    ),
    "arguments_open": (
        "A tool call's arguments said that more would come; none did, and what came "
        "is kept."
    ),
    "arguments_several": (
        "The arguments of a tool call are several JSON texts, glued together; they "
        "are kept as they came, and it may not run."
    ),
    "block_start_missing": (
        "A content block has pieces and no content_block_start; the first piece "
        "opens it."
    ),
    "block_start_repeated": (
        "A content_block_start came once more; the second is passed over."
    ),
    "data_after_done": (
        "Payloads came after the last word; nothing more is said by then, but a "
        "usage or an error still counts."
    ),
    "finish_missing": (
        "No finish_reason came (stop_reason, finishReason) for a choice; none is "
        "invented."
    ),
    "foreign_events": "Events that are not of this protocol were passed over.",
    "id_changed": "A payload has another id than the first; it is folded all the same.",
    "index_reused": (
        "One index stands for two tool calls, blocks or items; they are kept apart."
    ),
    "invalid_utf8": "A payload is no valid UTF-8; what is not became U+FFFD.",
    "item_not_added": (
        "An output item came without its response.output_item.added; it is made of "
        "what came."
    ),
    "lone_surrogate": "Half a surrogate pair stayed alone in a text; it became U+FFFD.",
    "malformed": "A payload is neither a JSON object nor [DONE]; it is passed over.",
    "message_start_missing": "No message_start came; the id and the model stay empty.",
    "message_start_repeated": (
        "A message_start came once more; what it repeats is passed over."
    ),
    "name_changed": (
        "A tool call was given another name after its arguments had begun; the "
        "first is kept."
    ),
    "no_done": (
        "The last word of the protocol ([DONE], message_stop, response.completed) "
        "never came; the ending is told without it."
    ),
    "no_line_ends": (
        "The input has no line ends, as if it came from iter_lines(); feed the "
        "bytes as they are."
    ),
    "number_out_of_range": (
        "A number is NaN, infinite or beyond a double; it became null."
    ),
    "reopened": (
        "A choice went on after its finish_reason; what came is folded, and it has "
        "to finish anew."
    ),
    "role_missing": "No role came; it is taken for the assistant's.",
    "run_together": (
        "Events came without a blank line between them; each line is read by itself."
    ),
    "several_responses": "A second response began; what came before is dropped.",
    "started_over": (
        "A message_start with another id came; what came before is dropped."
    ),
    "usage_missing": (
        "No usage came, and none is estimated; nothing can be billed by this stream."
    ),
}
