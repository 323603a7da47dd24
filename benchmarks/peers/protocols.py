"""Peers that fold streams of the other protocols: the official clients, and claude-tap.

Google's client has nothing that folds a stream, and nobody folds the old text
completions. Else as in `peers`.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from benchmarks import measure
from benchmarks.peers.peers import CLAUDE_TAP, Bytes, Completion, Loaded, Peer
from unstream import Outcome

__all__ = ["PROTOCOLS"]


def _unstream(protocol: str) -> Peer:
    def read(outcome: Outcome[Any]) -> Completion:
        return outcome.completion.to_dict() if outcome.completion else {}

    def fold(feeds: Iterable[bytes]) -> Outcome[Any]:
        return measure.fold(feeds, protocol)

    return Peer("unstream", ("unstream", "msgspec"), lambda: Loaded(fold, read))


def _anthropic() -> Loaded:
    anthropic = import_module("anthropic")
    collector = import_module("anthropic.lib.streaming").MessageStream
    event = import_module("anthropic.types").RawMessageStreamEvent
    client = anthropic.Anthropic(api_key="none")

    def fold(feeds: Iterable[bytes]) -> Any:
        raw = anthropic.Stream(cast_to=event, response=Bytes(feeds), client=client)
        return collector(raw, anthropic.NOT_GIVEN).get_final_message()

    return Loaded(fold, lambda message: message.to_dict(mode="json", warnings=False))


def _openai() -> Loaded:
    openai = import_module("openai")
    state_type = import_module("openai.lib.streaming.responses").ResponseStreamState
    event = import_module("openai.types.responses").ResponseStreamEvent
    client = openai.OpenAI(api_key="none")
    left_out = {"text_format": openai.omit, "input_tools": openai.omit}

    def fold(feeds: Iterable[bytes]) -> Any:
        raw = openai.Stream(cast_to=event, response=Bytes(feeds), client=client)
        state = state_type(**left_out)
        for each in raw:
            state.handle_event(each)
        # As its stream does; but that raises where there is only the snapshot.
        snapshot = state._ResponseStreamState__current_snapshot  # noqa: SLF001
        return state._completed_response or snapshot  # noqa: SLF001

    return Loaded(fold, lambda response: response.to_dict(mode="json", warnings=False))


PROTOCOLS: Final = {
    "messages": (
        _unstream("messages"),
        Peer("anthropic MessageStream", ("anthropic",), _anthropic),
        CLAUDE_TAP,
    ),
    "responses": (
        _unstream("responses"),
        Peer("openai ResponseStreamState", ("openai",), _openai),
        CLAUDE_TAP,
    ),
    "gemini": (_unstream("gemini"), CLAUDE_TAP),
}
