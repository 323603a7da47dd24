"""The conformance set: its hand-written streams, with their protocols and answers."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from unstream import Accumulator, Outcome
from unstream._detect import load

__all__ = ["HERE", "LISTS", "STREAMS", "Stream", "shown"]

HERE: Final = Path(__file__).parent / "conformance"
# Folders that list their streams by themselves; the rest stands in the README above.
LISTS: Final = ("messages", "responses", "gemini")


@dataclass(frozen=True)
class Stream:
    """A stream: `name` is its path in the set, without the ending."""

    name: str

    @cached_property
    def data(self) -> bytes:
        """The body, byte for byte."""
        return (HERE / f"{self.name}.sse").read_bytes()

    @cached_property
    def answer(self) -> dict[str, Any]:
        """What it folds to."""
        answer = json.loads((HERE / f"{self.name}.json").read_bytes())
        return {"protocol": "chat", **answer}

    @property
    def protocol(self) -> str:
        """The name of its protocol."""
        return str(self.answer["protocol"])

    @property
    def list(self) -> str:
        """The folder whose README lists it; empty for the set's own."""
        top = self.name.split("/")[0]
        return top if top in LISTS else ""

    def fold(self, step: int = 1 << 20, *, fast: bool = True) -> Outcome[Any]:
        """Fold it, in feeds of so many bytes."""
        accumulator = Accumulator(protocol=load(self.protocol), fast=fast)
        for at in range(0, len(self.data), step):
            accumulator.feed(self.data[at : at + step])
        return accumulator.finish()


STREAMS: Final = [
    Stream(path.relative_to(HERE).with_suffix("").as_posix())
    for path in sorted(HERE.rglob("*.sse"))
]


def shown(outcome: Outcome[Any]) -> dict[str, Any]:
    """Lay out an outcome as the answers are."""
    whole = outcome.completion
    return {
        "protocol": outcome.protocol,
        "completion": None if whole is None else whole.to_dict(),
        "ending": outcome.ending.value,
        "done": outcome.done,
        "error": outcome.error,
        "n_malformed": outcome.n_malformed,
        "usage_source": outcome.usage_source,
    }
