"""Seeded streams, each with the branch that it stresses and its known answer.

A shape is built from a seed, event by event, and says what its content must fold to, so
that whatever times it can check the answer first.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["SHAPES", "Shape", "build"]

_WORDS: Final = (  # noqa: SIM905 - shorter than the list
    " the of and to in a is that for it as was with be by on not he his but at are this"
    " have from or had an they which one you were all her she there would their we him"
    " stream token model answer server bytes chunk event choice"
).split()
_TRICKY: Final = (
    *(
        "\n",
        "\n\n",
        '"',
        "\\",
        "\t",
        "naïve",
        "日本語",
        "文字",
        "の",
        "😀",
        "👩‍🚀",
        "é",
    ),
    *("{", "}", "a\\n", "</p>"),
)
_ENVELOPE: Final = {
    "id": "chatcmpl-CpJ4yB1Vq0mNn0aV6f3XnTg2s7QeL",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "gpt-4.1-mini-2025-04-14",
    "service_tier": "default",
    "system_fingerprint": "fp_1a2b3c4d5e",
}


@dataclass(frozen=True)
class Shape:
    """A stream to fold: its events, and the message that each choice must become."""

    name: str
    stresses: str
    events: list[bytes]
    answer: dict[int, dict[str, Any]]

    @property
    def stream(self) -> bytes:
        """The whole stream."""
        return b"".join(self.events)


def _event(chunk: Any) -> bytes:
    text = json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"


def _chunk(delta: Any, *, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
    return {**_ENVELOPE, "choices": [choice], "usage": None, **more}


def _opening(index: int = 0, **more: Any) -> bytes:
    delta = {"role": "assistant", "content": "", "refusal": None}
    return _event(_chunk(delta, index=index, **more))


def _closing(reason: str = "stop", choices: int = 1) -> Iterator[bytes]:
    for index in range(choices):
        chunk = _chunk({}, index=index)
        chunk["choices"][0]["finish_reason"] = reason
        yield _event(chunk)
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
    yield _event({**_ENVELOPE, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _padding(rng: random.Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(rng.choices(letters, k=rng.randint(1, 16)))


def _words(rng: random.Random, n: int, words: tuple[str, ...] | list[str]) -> list[str]:
    return [(" " if rng.random() < 0.7 else "") + rng.choice(words) for _ in range(n)]


def _text(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    pieces = _words(rng, n, _WORDS)
    events = [_event(_chunk({"content": piece})) for piece in pieces]
    return [_opening(), *events, *_closing()], {0: {"content": "".join(pieces)}}


def _padded(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    pieces = _words(rng, n, _WORDS)
    events = [
        _event(_chunk({"content": piece}, obfuscation=_padding(rng)))
        for piece in pieces
    ]
    opening = _opening(obfuscation=_padding(rng))
    return [opening, *events, *_closing()], {0: {"content": "".join(pieces)}}


def _reasoning(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    thoughts = _words(rng, n // 2, _WORDS)
    pieces = _words(rng, n - n // 2, _WORDS)
    events = [
        *(_event(_chunk({"content": None, "reasoning_content": t})) for t in thoughts),
        *(_event(_chunk({"content": p, "reasoning_content": None})) for p in pieces),
    ]
    answer = {"content": "".join(pieces), "reasoning_content": "".join(thoughts)}
    return [_opening(), *events, *_closing()], {0: answer}


def _tools(rng: random.Random, n: int, most: int = 100) -> tuple[list[bytes], Any]:
    calls = min(most, max(1, n // 10))
    events: list[bytes] = []
    wanted = []
    for index in range(calls):
        name = f"tool_{index}"
        call = {"index": index, "id": f"call_{index}", "type": "function"}
        head = {**call, "function": {"name": name, "arguments": ""}}
        events.append(_event(_chunk({"tool_calls": [head]})))
        pieces = ['{"', "q", '":"', *_words(rng, n // calls - 5, _WORDS), '"}']
        for piece in pieces:
            body = {"index": index, "function": {"arguments": piece}}
            events.append(_event(_chunk({"tool_calls": [body]})))
        function = {"name": name, "arguments": "".join(pieces)}
        wanted.append({"id": call["id"], "type": "function", "function": function})
    answer = {0: {"content": "", "tool_calls": wanted}}
    return [_opening(), *events, *_closing("tool_calls")], answer


def _call(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    return _tools(rng, n, most=1)


def _tricky(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    pieces = _words(rng, n, [*_WORDS, *_TRICKY])
    events = []
    for piece in pieces:
        chunk = _chunk({"content": piece}, obfuscation=_padding(rng))
        text = json.dumps(chunk, ensure_ascii=rng.random() < 0.2, separators=(",", ":"))
        events.append(b"data: " + text.encode() + b"\n\n")
    return [_opening(), *events, *_closing()], {0: {"content": "".join(pieces)}}


def _choices(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    texts: dict[int, list[str]] = {index: [] for index in range(4)}
    events = []
    for turn, piece in enumerate(_words(rng, n, _WORDS)):
        index = turn % 4
        texts[index].append(piece)
        events.append(_event(_chunk({"content": piece}, index=index)))
    openings = [_opening(index) for index in range(4)]
    answer = {index: {"content": "".join(texts[index])} for index in range(4)}
    return [*openings, *events, *_closing(choices=4)], answer


def _logprobs(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    pieces = _words(rng, n, _WORDS)
    events = []
    for piece in pieces:
        top = []
        for token in [piece, *_words(rng, 4, _WORDS)]:
            codes = list(token.encode())
            top.append({"token": token, "logprob": -rng.random() * 9, "bytes": codes})
        chunk = _chunk({"content": piece})
        entry = {**top[0], "top_logprobs": top}
        chunk["choices"][0]["logprobs"] = {"content": [entry], "refusal": None}
        events.append(_event(chunk))
    return [_opening(), *events, *_closing()], {0: {"content": "".join(pieces)}}


def _stranger(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    pieces = _words(rng, n, _WORDS)
    events = [
        _event(_chunk({"content": piece}, x_queue_ms=rng.randint(1, 999)))
        for piece in pieces
    ]
    return [_opening(), *events, *_closing()], {0: {"content": "".join(pieces)}}


def _router(rng: random.Random, n: int) -> tuple[list[bytes], Any]:
    envelope = {
        "id": "gen-1795000000-Zk3Lq8WvT2",
        "provider": "Somebody",
        "model": "vendor/model-large",
        "object": "chat.completion.chunk",
        "created": 1795000000,
    }

    def chunk(delta: Any) -> bytes:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}}
        more = {"finish_reason": None, "native_finish_reason": None, "logprobs": None}
        return _event({**envelope, "choices": [{**choice, **more}]})

    thoughts = _words(rng, n // 2, _WORDS)
    pieces = _words(rng, n - n // 2, _WORDS)
    events = []
    for turn, thought in enumerate(thoughts):
        if turn % 50 == 0:
            events.append(b": OPENROUTER PROCESSING\n\n")
        detail = {"type": "reasoning.text", "text": thought, "format": "f1", "index": 0}
        more = {"reasoning": thought, "reasoning_details": [detail]}
        events.append(chunk({"content": "", **more}))
    for turn, piece in enumerate(pieces):
        if turn % 50 == 0:
            events.append(b": OPENROUTER PROCESSING\n\n")
        events.append(chunk({"content": piece}))
    text = "".join(thoughts)
    detail = {"type": "reasoning.text", "text": text, "format": "f1", "index": 0}
    answer = {"content": "".join(pieces), "reasoning": text}
    return [*events, *_closing()], {0: {**answer, "reasoning_details": [detail]}}


_Builder = Callable[[random.Random, int], tuple[list[bytes], Any]]

SHAPES: Final[dict[str, tuple[str, _Builder]]] = {
    "text": ("the express lane: one text after another", _text),
    "padded": ("OpenAI's default: random `obfuscation` in every chunk", _padded),
    "reasoning": ("two texts, one after the other", _reasoning),
    "tools": ("arguments of up to 100 calls", _tools),
    "call": ("the arguments of one long call", _call),
    "tricky": ("escapes, CJK and emoji, with padding", _tricky),
    "n=4": ("four choices, interleaved", _choices),
    "logprobs": ("top 5 log probabilities in every chunk", _logprobs),
    "stranger": ("an unknown key with a changing value in every chunk", _stranger),
    "router": ("comments, role, provider, reasoning and reasoning_details", _router),
}


def build(name: str, n: int, *, seed: int = 7) -> Shape:
    """Build a shape of about `n` chunks."""
    stresses, builder = SHAPES[name]
    events, answer = builder(random.Random(seed), n)  # noqa: S311 - not for secrets
    return Shape(name, stresses, events, answer)
