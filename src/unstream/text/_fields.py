"""How each key of a text completion folds: one row a key, one table a level.

`ignore` is for structure, which `_fold` walks, and for what is the same in every
completion. Any other key: the last value that is not empty.
"""

from typing import Final

from unstream._json import Json
from unstream._lists import GrownLists
from unstream._rules import (
    Did,
    Rules,
    State,
    append,
    drop,
    extend,
    first_count,
    first_id,
    first_text,
    ignore,
    last_text,
    merge,
)
from unstream.text._schema import Logprobs

__all__ = ["CHOICE", "TOP"]


def usage(state: State, key: str, value: Json) -> Did:
    """Merge a usage field by field; one that is no object, or empty, is none."""
    return merge(state, key, value) if type(value) is dict and value else None


def logprobs(state: State, key: str, value: Json) -> Did:
    """Extend each list."""
    if type(value) is not dict or not value:
        return None
    if key not in state:
        state[key] = GrownLists(Logprobs)
    did: Did = state[key].add(value)
    return did


TOP: Final[Rules] = {
    "id": first_id,
    "object": ignore,
    "created": first_count,
    "model": first_text,
    "choices": ignore,
    "usage": usage,
    "service_tier": last_text,
    "system_fingerprint": last_text,
    "obfuscation": drop,
    "p": drop,
    "error": ignore,
}

CHOICE: Final[Rules] = {
    "index": ignore,
    "text": append,
    "logprobs": logprobs,
    "finish_reason": last_text,
    "content_filter_results": merge,
    "token_ids": extend,  # vLLM
    "delta": drop,  # twins of the text
    "message": drop,
    "obfuscation": drop,
    "p": drop,
}
