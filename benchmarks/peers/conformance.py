"""Count how many of the hand-written conformance streams a peer gets right.

Compared is what `_essence` says; the usage only where one was sent, as a peer may
estimate it. Left out is where raising is an answer too: what reports an error, holds
nothing or has a payload that is no chunk; and what no peer aims at: bodies that are no
streams, and values of types that no server sends.
"""

import json
import logging
import resource
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.peers.peers import Completion, Loaded

__all__ = ["Score", "cases", "score"]

FOLDER: Final = Path(__file__).parents[2] / "tests" / "conformance"
_ROOM: Final = 2**30
_ENDINGS: Final = {"complete", "truncated"}
_LEFT_OUT: Final = {"bodies", "types"}


class Score(NamedTuple):
    """The names of the streams that a peer folds right, folds wrong, and raises for."""

    right: list[str]
    wrong: list[str]
    raised: list[str]


def cases(folder: Path = FOLDER) -> dict[str, tuple[bytes, Any]]:
    """Return the streams of chat completions and their answers, by name."""
    found = {}
    for path in sorted(folder.rglob("*.sse")):
        answer = path.with_suffix(".json")
        if path.parent.name in _LEFT_OUT or not answer.exists():
            continue
        expected = json.loads(answer.read_bytes())
        completion = expected["completion"]
        is_sound = expected["ending"] in _ENDINGS and not expected["n_malformed"]
        if completion and is_sound and "protocol" not in expected:
            name = path.relative_to(folder).with_suffix("").as_posix()
            found[name] = path.read_bytes(), completion
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


def score(peer: Loaded, streams: dict[str, tuple[bytes, Any]]) -> Score:
    """Run a peer over the streams, each in one feed."""
    result = Score([], [], [])
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), _bounded():
        warnings.simplefilter("ignore")
        for name, (stream, completion) in streams.items():
            try:
                with redirect_stdout(None):  # litellm prints where it knows no model
                    got = _essence(peer.read(peer.fold([stream])))
            except Exception:  # noqa: BLE001 - a peer may raise what it likes
                result.raised.append(name)
                continue
            want = _essence(completion)
            same = got == want if want[1] is not None else got[0] == want[0]
            (result.right if same else result.wrong).append(name)
    logging.disable(logging.NOTSET)
    return result


def _essence(completion: Completion) -> Any:
    """Return what the correctness column compares, and nothing else.

    Of each choice its index, the content, the finish_reason and the tool calls' ids,
    names and arguments; of the usage the total. What is absent is an empty text, and
    absent tool calls are none.
    """
    choices = []
    for choice in completion.get("choices") or ():
        message = choice.get("message") or {}
        calls = [tuple(part or "" for part in call) for call in _calls(message)]
        content, reason = message.get("content") or "", choice.get("finish_reason")
        choices.append((choice.get("index") or 0, content, reason or None, calls))
    total = (completion.get("usage") or {}).get("total_tokens")
    return sorted(choices, key=lambda choice: choice[0]), total


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
