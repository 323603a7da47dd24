"""Long streams, seeded, each with what it stresses and the answer that it folds to.

The law tests and the benchmarks take them. A shape's name may end in ", padded": then a
random `obfuscation` stands last in each chunk, as OpenAI sends it unless told not to.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

__all__ = ["PADDED", "SHAPES", "Shape", "build", "padding", "words"]

PADDED: Final = ", padded"
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_WORDS: Final = (  # noqa: SIM905 - shorter than the list
    " the of and to in a is that for it as was with be by on not he his but at are this"
    " have from or had an they which one you were all her she there would their we him"
    " stream token model answer server bytes chunk event choice"
).split()
_TRICKY: Final = (
    *("\n", "\n\n", "\t", '"', "\\", "a\\n", "{", "}", "</p>"),
    *("naïve", "é", "日本語", "文字", "の", "😀", "👩\u200d🚀"),
)
_ENVELOPE: Final = {
    "id": "chatcmpl-CpJ4yB1Vq0mNn0aV6f3XnTg2s7QeL",
    "object": "chat.completion.chunk",
    "created": 1795000000,
    "model": "gpt-4.1-mini-2025-04-14",
    "service_tier": "default",
    "system_fingerprint": "fp_1a2b3c4d5e",
}
_USAGE: Final = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}

# What each choice must become, by its index: the keys of its message, with the id, name
# and arguments of tool calls; and the tokens of its logprobs.
Answer = dict[int, dict[str, Any]]


@dataclass(frozen=True)
class Shape:
    """A stream to fold: its events, and what must be found in the completion."""

    protocol: ClassVar[str] = "chat"

    name: str
    events: list[bytes]
    answer: Answer
    unknown: frozenset[str]  # keys beside `choices` that nobody knows, to be kept

    @property
    def stream(self) -> bytes:
        """The whole stream."""
        return b"".join(self.events)

    def faults(self, completion: dict[str, Any]) -> list[str]:
        """Name the parts of the answer that a completion lacks or has wrong."""
        wrong = set(self.unknown - completion.keys())
        choices = {choice["index"]: choice for choice in completion.get("choices", ())}
        if list(choices) != list(self.answer):
            wrong.add("choices")
        for index, answer in self.answer.items():
            choice = choices.get(index, {"message": {}})
            for key, value in answer.items():
                got = _part(choice, key)
                if got != value and (value or got):  # what is empty may be absent
                    wrong.add(key)
        if (completion.get("usage") or {}).get("total_tokens") != 30:
            wrong.add("usage")
        return sorted(wrong)


def _part(choice: dict[str, Any], key: str) -> Any:
    if key == "logprobs":
        entries = (choice.get("logprobs") or {}).get("content") or ()
        return [entry["token"] for entry in entries]
    found = choice["message"].get(key)
    if key == "tool_calls":
        made = [(call.get("id"), call["function"]) for call in found or ()]
        return [(id_, body.get("name"), body.get("arguments")) for id_, body in made]
    return found


def words(rng: random.Random, n: int, *more: str) -> list[str]:
    """Choose `n` words, some of them out of `more`."""
    among = [*_WORDS, *more]
    return [("", " ")[rng.random() < 0.7] + rng.choice(among) for _ in range(n)]


def padding(rng: random.Random) -> str:
    """Choose letters and figures, 15 at most."""
    return "".join(rng.choices(_LETTERS, k=rng.randint(0, 15)))


class _Writer:
    """Write chunks as events."""

    def __init__(self, rng: random.Random, *, padded: bool) -> None:
        self.rng = rng
        self.events: list[bytes] = []
        self.unknown: frozenset[str] = frozenset()
        self._padded = padded

    def words(self, n: int, *more: str) -> list[str]:
        """Choose `n` words, some of them out of `more`."""
        return words(self.rng, n, *more)

    def event(self, chunk: dict[str, Any], *, ascii_: bool = False) -> None:
        if self._padded:
            chunk = {**chunk, "obfuscation": padding(self.rng)}
        text = json.dumps(chunk, ensure_ascii=ascii_, separators=(",", ":"))
        self.events.append(b"data: " + text.encode() + b"\n\n")

    def delta(
        self,
        delta: dict[str, Any],
        *,
        index: int = 0,
        logprobs: Any = None,
        reason: str | None = None,
        ascii_: bool = False,
        **more: Any,
    ) -> None:
        choice = {"index": index, "delta": delta, "logprobs": logprobs}
        choices = [{**choice, "finish_reason": reason}]
        chunk = {**_ENVELOPE, "choices": choices, "usage": None, **more}
        self.event(chunk, ascii_=ascii_)

    def open(self, choices: int = 1) -> None:
        for index in range(choices):
            delta = {"role": "assistant", "content": "", "refusal": None}
            self.delta(delta, index=index)

    def close(self, answer: Answer) -> None:
        for index, said in answer.items():
            reason = "tool_calls" if "tool_calls" in said else "stop"
            self.delta({}, index=index, reason=reason)
        self.event({**_ENVELOPE, "choices": [], "usage": _USAGE})
        self.events.append(b"data: [DONE]\n\n")


def _text(to: _Writer, n: int) -> Answer:
    to.open()
    pieces = to.words(n)
    for piece in pieces:
        to.delta({"content": piece})
    return {0: {"content": "".join(pieces)}}


def _reasoning(to: _Writer, n: int) -> Answer:
    to.open()
    thoughts, pieces = to.words(n // 2), to.words(n - n // 2)
    for thought in thoughts:
        to.delta({"content": None, "reasoning_content": thought})
    for piece in pieces:
        to.delta({"content": piece, "reasoning_content": None})
    return {0: {"content": "".join(pieces), "reasoning_content": "".join(thoughts)}}


def _tools(to: _Writer, n: int, most: int = 100) -> Answer:
    to.open()
    n_calls = min(most, max(1, n // 10))
    calls = []
    for index in range(n_calls):
        id_, name = f"call_{index}", f"tool_{index}"
        function = {"name": name, "arguments": ""}
        call = {"index": index, "id": id_, "type": "function", "function": function}
        to.delta({"tool_calls": [call]})
        pieces = ['{"', "q", '":"', *to.words(n // n_calls - 5), '"}']
        for piece in pieces:
            body = {"index": index, "function": {"arguments": piece}}
            to.delta({"tool_calls": [body]})
        calls.append((id_, name, "".join(pieces)))
    return {0: {"content": "", "tool_calls": calls}}


def _tricky(to: _Writer, n: int) -> Answer:
    to.open()
    pieces = to.words(n, *_TRICKY)
    for piece in pieces:
        to.delta({"content": piece}, ascii_=to.rng.random() < 0.2)
    return {0: {"content": "".join(pieces)}}


def _choices(to: _Writer, n: int) -> Answer:
    to.open(4)
    pieces = to.words(n)
    for turn, piece in enumerate(pieces):
        to.delta({"content": piece}, index=turn % 4)
    return {index: {"content": "".join(pieces[index::4])} for index in range(4)}


def _logprobs(to: _Writer, n: int) -> Answer:
    to.open()
    pieces = to.words(n)
    for piece in pieces:
        top: list[dict[str, Any]] = [
            {
                "token": token,
                "logprob": -to.rng.random() * 9,
                "bytes": [*token.encode()],
            }
            for token in [piece, *to.words(4)]
        ]
        logprobs = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
        to.delta({"content": piece}, logprobs=logprobs)
    return {0: {"content": "".join(pieces), "logprobs": pieces}}


def _unknown(to: _Writer, n: int, most: int) -> Answer:
    to.open()
    to.unknown = frozenset({"x_queue_ms"})
    pieces = to.words(n)
    for piece in pieces:
        to.delta({"content": piece}, x_queue_ms=to.rng.randint(1, most))
    return {0: {"content": "".join(pieces)}}


def _router(to: _Writer, n: int) -> Answer:
    envelope = {
        "id": "gen-1795000000-Zk3Lq8WvT2",
        "provider": "Somebody",
        "model": "vendor/model-large",
        "object": "chat.completion.chunk",
        "created": 1795000000,
    }
    to.unknown = frozenset({"provider"})

    def details(text: str) -> list[dict[str, Any]]:
        return [{"type": "reasoning.text", "text": text, "format": "f1", "index": 0}]

    thoughts, pieces = to.words(n // 2), to.words(n - n // 2)
    deltas: list[dict[str, Any]] = [
        {"content": "", "reasoning": text, "reasoning_details": details(text)}
        for text in thoughts
    ]
    deltas += ({"content": text} for text in pieces)
    for turn, delta in enumerate(deltas):
        if turn % 50 == 0:
            to.events.append(b": OPENROUTER PROCESSING\n\n")
        choice = {"index": 0, "delta": {"role": "assistant", **delta}}
        more = {"finish_reason": None, "native_finish_reason": None, "logprobs": None}
        to.event({**envelope, "choices": [{**choice, **more}]})
    text = "".join(thoughts)
    said = {"content": "".join(pieces), "reasoning": text}
    return {0: {**said, "reasoning_details": details(text)}}


_BUILDERS: Final[dict[str, Callable[[_Writer, int], Answer]]] = {
    "text": _text,
    "reasoning": _reasoning,
    "tools": _tools,
    "call": partial(_tools, most=1),
    "tricky": _tricky,
    "n=4": _choices,
    "logprobs": _logprobs,
    "unknown key, constant": partial(_unknown, most=1),
    "unknown key, changing": partial(_unknown, most=999),
    "router": _router,
}

# Those that are tested and measured, and why.
SHAPES: Final = {
    "text": "one text after another, and no padding: the least there is to do",
    "text, padded": "OpenAI's default: random `obfuscation` in every chunk",
    "reasoning, padded": "two texts, one after the other",
    "tools, padded": "arguments of up to 100 calls",
    "call, padded": "the arguments of one long call",
    "tricky, padded": "escapes, CJK and emoji",
    "n=4, padded": "four choices, interleaved",
    "logprobs, padded": "top 5 log probabilities in every chunk",
    "unknown key, constant": "an unknown key in every chunk, its value the same",
    "unknown key, constant, padded": "the same, padded",
    "unknown key, changing": "an unknown key in every chunk, its value another",
    "router": "OpenRouter's: comments, role, provider, reasoning, reasoning_details",
}


def build(name: str, n: int, *, seed: int = 7) -> Shape:
    """Build a shape of about `n` chunks."""
    to = _Writer(random.Random(seed), padded=name.endswith(PADDED))  # noqa: S311
    answer = _BUILDERS[name.removesuffix(PADDED)](to, n)
    to.close(answer)
    return Shape(name, to.events, answer, to.unknown)
