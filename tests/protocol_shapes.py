"""Long streams of the other protocols, seeded, each with the answer it folds to.

They are to these what `shapes` are to chat completions. A name is that of the protocol
and of what it stresses; ", padded" is again OpenAI's `obfuscation`.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from tests.shapes import PADDED, padding, words

__all__ = ["SHAPES", "Shape", "build"]

Object: TypeAlias = dict[str, Any]
Events: TypeAlias = Iterator[Object]

_MOST: Final = 100  # calls


@dataclass(frozen=True)
class Shape:
    """A stream to fold: its events, and all that they fold to."""

    name: str
    protocol: str
    events: list[bytes]
    answer: Object

    @property
    def stream(self) -> bytes:
        """The whole stream."""
        return b"".join(self.events)

    def faults(self, completion: Object) -> list[str]:
        """Name the keys that a completion lacks or has wrong."""
        keys = self.answer.keys() | completion.keys()
        return sorted(
            key for key in keys if self.answer.get(key) != completion.get(key)
        )


def _calls(rng: random.Random, n: int) -> list[list[str]]:
    """Make the arguments of calls, in `n` pieces altogether."""
    n_calls = min(_MOST, max(1, n // 10))
    return [
        ['{"', "q", '":"', *words(rng, n // n_calls - 5), '"}'] for _ in range(n_calls)
    ]


# --- Messages -------------------------------------------------------------------------


def _message(content: list[Object], reason: str | None, tokens: int) -> Object:
    return {
        "id": "msg_01Xk7Qd2mZ8sVbN4tR6yWcLp",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-5-20251101",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 412, "output_tokens": tokens},
    }


def _block(index: int, begun: Object, deltas: list[Object]) -> Events:
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def _messages(blocks: list[tuple[Object, list[Object]]], answer: Object) -> Events:
    yield {"type": "message_start", "message": _message([], None, 1)}
    for index, (begun, deltas) in enumerate(blocks):
        yield from _block(index, begun, deltas)
    delta = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": answer["usage"]["output_tokens"]}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _messages_text(rng: random.Random, n: int) -> tuple[Events, Object]:
    pieces = words(rng, n)
    deltas: list[Object] = [{"type": "text_delta", "text": text} for text in pieces]
    block = {"type": "text", "text": "".join(pieces)}
    answer = _message([block], "end_turn", n)
    return _messages([({"type": "text", "text": ""}, deltas)], answer), answer


def _messages_tools(rng: random.Random, n: int) -> tuple[Events, Object]:
    blocks, content = [], []
    for index, pieces in enumerate(_calls(rng, n)):
        begun = {"type": "tool_use", "id": f"toolu_{index}", "name": f"tool_{index}"}
        deltas: list[Object] = [
            {"type": "input_json_delta", "partial_json": piece} for piece in pieces
        ]
        blocks.append(({**begun, "input": {}}, deltas))
        content.append({**begun, "input": json.loads("".join(pieces))})
    answer = _message(content, "tool_use", n)
    return _messages(blocks, answer), answer


# --- Responses ------------------------------------------------------------------------


def _response(output: list[Object], status: str, usage: Object | None) -> Object:
    return {
        "id": "resp_0ca3f598125653cf01693c1f28ad3481",
        "object": "response",
        "created_at": 1795000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "gpt-5.2-2025-12-11",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage,
        "metadata": {},
    }


def _responses(items: list[Events], answer: Object) -> Events:
    begun = _response([], "in_progress", None)
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, events in enumerate(items):
        for event in events:
            yield {**event, "output_index": index}
    yield {"type": "response.completed", "response": answer}


def _answered(output: list[Object], n: int) -> Object:
    usage = {"input_tokens": 10, "output_tokens": n, "total_tokens": 10 + n}
    return _response(output, "completed", usage)


def _responses_text(rng: random.Random, n: int) -> tuple[Events, Object]:
    pieces = words(rng, n)
    text = "".join(pieces)
    part: Object = {"type": "output_text", "text": text, "annotations": []}
    item: Object = {"id": "msg_0ca3f598125653cf01693c1f29", "type": "message"}
    item |= {"role": "assistant", "status": "completed", "content": [part]}

    def events() -> Events:
        begun = {**item, "status": "in_progress", "content": []}
        yield {"type": "response.output_item.added", "item": begun}
        at = {"item_id": item["id"], "content_index": 0}
        yield {"type": "response.content_part.added", **at, "part": part | {"text": ""}}
        kind = "response.output_text.delta"
        for piece in pieces:
            yield {"type": kind, **at, "delta": piece, "logprobs": []}
        yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
        yield {"type": "response.output_item.done", "item": item}

    answer = _answered([item], n)
    return _responses([events()], answer), answer


def _responses_tools(rng: random.Random, n: int) -> tuple[Events, Object]:
    def events(item: Object, pieces: list[str]) -> Events:
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", "item": begun}
        kind, at = "response.function_call_arguments", {"item_id": item["id"]}
        for piece in pieces:
            yield {"type": f"{kind}.delta", **at, "delta": piece}
        yield {"type": f"{kind}.done", **at, "arguments": item["arguments"]}
        yield {"type": "response.output_item.done", "item": item}

    items: list[Object] = []
    lists = []
    for index, pieces in enumerate(_calls(rng, n)):
        item = {"id": f"fc_{index}", "type": "function_call", "status": "completed"}
        item |= {"call_id": f"call_{index}", "name": f"tool_{index}"}
        items.append({**item, "arguments": "".join(pieces)})
        lists.append(events(items[-1], pieces))
    answer = _answered(items, n)
    return _responses(lists, answer), answer


# --- Gemini ---------------------------------------------------------------------------


def _generated(parts: list[Object], n: int, **more: Any) -> Object:
    usage = {"promptTokenCount": 10, "candidatesTokenCount": n}
    return {
        "candidates": [{"content": {"parts": parts, "role": "model"}, **more}],
        "usageMetadata": {**usage, "totalTokenCount": 10 + n},
        "modelVersion": "gemini-3-pro",
        "responseId": "r7QxaZ3mB9yKvdIP",
    }


def _gemini(sent: list[Object], parts: list[Object]) -> tuple[Events, Object]:
    last = {"finishReason": "STOP", "index": 0}

    def events() -> Events:
        for n, part in enumerate(sent[:-1], 1):
            yield _generated([part], n, index=0)
        yield _generated([sent[-1]], len(sent), **last)

    return events(), _generated(parts, len(sent), **last)


def _gemini_text(rng: random.Random, n: int) -> tuple[Events, Object]:
    pieces = words(rng, n)
    sent: list[Object] = [{"text": piece} for piece in pieces]
    return _gemini(sent, [{"text": "".join(pieces)}])


def _gemini_tools(rng: random.Random, n: int) -> tuple[Events, Object]:
    """A call between texts: Google sends its arguments whole."""
    sent: list[Object] = []
    parts: list[Object] = []
    for index, pieces in enumerate(_calls(rng, n)):
        texts = words(rng, len(pieces))
        args = json.loads("".join(pieces))
        call = {"functionCall": {"name": f"tool_{index}", "args": args}}
        sent += [*({"text": text} for text in texts), call]
        parts += [{"text": "".join(texts)}, call]
    return _gemini(sent, parts)


# --- Text completions -----------------------------------------------------------------


def _text(rng: random.Random, n: int) -> tuple[Events, Object]:
    envelope = {"id": "cmpl-CKzHhit4D82m3cp2zRTC2fpTNlJCX", "object": "text_completion"}
    envelope |= {"created": 1795000000, "model": "davinci-002"}  # type: ignore[dict-item]
    usage = {"prompt_tokens": 10, "completion_tokens": n, "total_tokens": 10 + n}
    choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": None}
    pieces = words(rng, n)

    def events() -> Events:
        for piece in pieces:
            yield {**envelope, "choices": [choice | {"text": piece}]}
        yield {**envelope, "choices": [choice | {"finish_reason": "stop"}]}
        yield {**envelope, "choices": [], "usage": usage}

    whole = choice | {"text": "".join(pieces), "finish_reason": "stop"}
    return events(), {**envelope, "choices": [whole], "usage": usage}


_BUILDERS: Final[dict[str, Callable[[random.Random, int], tuple[Events, Object]]]] = {
    "messages: text": _messages_text,
    "messages: tools": _messages_tools,
    "responses: text": _responses_text,
    "responses: tools": _responses_tools,
    "gemini: text": _gemini_text,
    "gemini: tools": _gemini_tools,
    "text: text": _text,
}

# Those that are tested and measured, and why.
SHAPES: Final = {
    "messages: text": "one text block, a delta an event",
    "messages: tools": "the input of up to 100 calls",
    "responses: text": "one text, a delta an event; whole in the last ones",
    "responses: text, padded": "OpenAI's default: random `obfuscation` in every delta",
    "responses: tools, padded": "the arguments of up to 100 calls",
    "gemini: text": "one text, and the usage so far in every event",
    "gemini: tools": "up to 100 calls between texts",
    "text: text": "the old text completions, one text after another",
}


def build(name: str, n: int, *, seed: int = 7) -> Shape:
    """Build a shape of about `n` events."""
    rng = random.Random(seed)  # noqa: S311 - the same in every run
    protocol = name.partition(":")[0]
    sent, answer = _BUILDERS[name.removesuffix(PADDED)](rng, n)
    events = []
    for number, event in enumerate(sent):
        if protocol == "responses":
            event["sequence_number"] = number
            if name.endswith(PADDED) and event["type"].endswith(".delta"):
                event["obfuscation"] = padding(rng)
            kind = event.pop("type")  # OpenAI's servers sort the keys behind it
            whole = {"type": kind, **dict(sorted(event.items()))}
        else:
            whole = event
        text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        named = f"event: {whole['type']}\n" if "type" in whole else ""
        events.append(f"{named}data: {text}\n\n".encode())
    if protocol == "text":
        events.append(b"data: [DONE]\n\n")
    return Shape(name, protocol, events, answer)
