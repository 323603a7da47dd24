"""Count how many of the hand-written conformance streams a peer gets right.

Compared is what `_ESSENCES` take; the usage only where one was sent, as a peer may
estimate it. Left out is where raising is an answer too: what reports an error, holds
nothing or has a payload that is no object of the protocol; and what no peer aims at:
bodies that are no event streams, and values of types that no server sends.
"""

import logging
import re
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.peers.peers import Completion, Loaded
from tests.handwritten import STREAMS

__all__ = ["Score", "cases", "faults", "score"]

_ROOM: Final = 2**30
_ENDINGS: Final = {"complete", "truncated"}
_LEFT_OUT: Final = re.compile(
    r"(^|/)(bodies|types)/|^gemini/objects|^responses/(body|wrong-types)"
)


class Score(NamedTuple):
    """The names of the streams that a peer folds right, folds wrong, and raises for."""

    right: list[str]
    wrong: list[str]
    raised: list[str]


def cases(protocol: str = "chat") -> dict[str, tuple[bytes, Any]]:
    """Return the streams of a protocol and their answers, by name."""
    found = {}
    for stream in STREAMS:
        answer = stream.answer
        if (
            stream.protocol == protocol
            and answer["completion"]
            and answer["ending"] in _ENDINGS
            and not answer["n_malformed"]
            and not _LEFT_OUT.search(stream.name)
            and b"data:" in stream.data
        ):
            found[stream.name] = stream.data, answer["completion"]
    return found


@contextmanager
def _bounded() -> Iterator[None]:
    """Bound the memory: where an index is a billion, some fill a list up to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux
        yield
        return
    held = int(status.split("VmSize:")[1].split()[0]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (held + _ROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def score(
    peer: Loaded, streams: dict[str, tuple[bytes, Any]], protocol: str = "chat"
) -> Score:
    """Run a peer over the streams, each in one feed."""
    result = Score([], [], [])
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), _bounded():
        warnings.simplefilter("ignore")
        for name, (stream, answer) in streams.items():
            try:
                with redirect_stdout(None):  # litellm prints where it knows no model
                    wrong = faults(peer.read(peer.fold([stream])), answer, protocol)
            except Exception:  # noqa: BLE001 - a peer may raise what it likes
                result.raised.append(name)
                continue
            (result.wrong if wrong else result.right).append(name)
    logging.disable(logging.NOTSET)
    return result


def faults(completion: Completion, answer: Completion, protocol: str) -> list[str]:
    """Name the parts of the answer that a completion has wrong, of those compared.

    What is absent is an empty text, and absent calls are none.
    """
    (got, used), (want, tokens) = map(_ESSENCES[protocol], (completion, answer))
    wrong = [part for part in want if (got[part] or None) != (want[part] or None)]
    return wrong + ["usage"] * (tokens is not None and used != tokens)


def _chat(completion: Completion) -> tuple[dict[str, Any], Any]:
    """Take of each choice index, content, finish_reason and calls; all tokens."""
    choices = []
    for choice in completion.get("choices") or ():
        message = choice.get("message") or {}
        calls = [tuple(part or "" for part in call) for call in _calls(message)]
        content, reason = message.get("content") or "", choice.get("finish_reason")
        choices.append((choice.get("index") or 0, content, reason or None, calls))
    total = (completion.get("usage") or {}).get("total_tokens")
    return {"choices": sorted(choices, key=lambda choice: choice[0])}, total


def _calls(message: Completion) -> list[tuple[Any, Any, Any]]:
    calls = []
    for call in message.get("tool_calls") or ():
        if call.get("custom"):
            body = call["custom"]
            calls.append((call.get("id"), body.get("name"), body.get("input")))
        else:
            body = call.get("function") or {}
            calls.append((call.get("id"), body.get("name"), body.get("arguments")))
    return calls


def _messages(message: Completion) -> tuple[dict[str, Any], Any]:
    """Take of each block its type, texts, signature, id, name, input; output tokens."""
    keys = ("text", "thinking", "signature", "data", "id", "name", "input")
    blocks = [
        (block.get("type"), *(block.get(key) or None for key in keys))
        for block in message.get("content") or ()
    ]
    said = {"content": blocks, "stop_reason": message.get("stop_reason")}
    return said, (message.get("usage") or {}).get("output_tokens")


def _responses(response: Completion) -> tuple[dict[str, Any], Any]:
    """Take the status, and of each item its type, texts, name, input; all tokens."""
    output = []
    for item in response.get("output") or ():
        parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
        texts = [part.get("text") or part.get("refusal") for part in parts]
        keys = ("call_id", "name", "arguments", "input", "code", "encrypted_content")
        values = [item.get(key) or None for key in keys]
        output.append((item.get("type"), [text or "" for text in texts], *values))
    said = {"output": output, "status": response.get("status")}
    return said, (response.get("usage") or {}).get("total_tokens")


def _gemini(response: Completion) -> tuple[dict[str, Any], Any]:
    """Take of each candidate its texts, thoughts, calls, finishReason; all tokens."""
    candidates = []
    for candidate in response.get("candidates") or ():
        parts = (candidate.get("content") or {}).get("parts") or ()
        texts = ["", ""]
        for part in parts:
            texts[bool(part.get("thought"))] += part.get("text") or ""
        calls = [part["functionCall"] for part in parts if part.get("functionCall")]
        made = [(call.get("name"), call.get("args") or {}) for call in calls]
        reason = candidate.get("finishReason")
        candidates.append((candidate.get("index") or 0, *texts, made, reason))
    total = (response.get("usageMetadata") or {}).get("totalTokenCount")
    return {"candidates": candidates}, total


_ESSENCES: Final = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
    "gemini": _gemini,
}
