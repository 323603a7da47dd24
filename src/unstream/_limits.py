"""The bounds of what one stream may make a process hold."""

import msgspec

from unstream.sse import DEFAULT_LIMIT

__all__ = ["Limits"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bound what one stream may make the fold hold; beyond it the ending is `limit`.

    What fits is folded all the same: an event over `event_bytes`, a choice or a tool
    call over its number is left out and the rest, the usage above all, still counts.
    After `stream_bytes` nothing is read any more. Raises ValueError for a bound below
    1.
    """

    # See `sse.DEFAULT_LIMIT`.
    event_bytes: int = DEFAULT_LIMIT
    # 128,000 tokens with 20 top_logprobs each make about 320 MB; nothing longer is
    # sold.
    stream_bytes: int = 512 * 1024 * 1024
    # OpenAI allows n=128; each choice costs about 1 KiB of state.
    choices: int = 1024
    # OpenAI allows 128 tools; agents call the same one several times.
    tool_calls: int = 1024

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
