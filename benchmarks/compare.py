"""Compare the speed of two revisions, on the rows of `benchmarks.bars`.

`python -m benchmarks.compare REV_A REV_B [WORD ...] [--chunks N] [--rounds N]` checks
both out beside each other and measures them in turn, each round in fresh processes,
with the benchmarks of this working tree. Printed is what B costs as a multiple of A:
below 1, B is the faster.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.bars import figures
from benchmarks.measure import Figure, Spread, show

__all__ = ["main", "measure"]

ROOT: Final = Path(__file__).parents[1]
_CODE: Final = "import sys; from benchmarks.compare import measure; measure(sys.argv)"


def measure(arguments: list[str]) -> None:
    """Print the figures of the unstream that is imported, as JSON."""
    _, source, chunks, *words = arguments
    module = sys.modules["unstream"].__file__ or ""
    assert Path(module).is_relative_to(source), "another unstream was imported"
    found = figures(words, int(chunks), rounds=3)
    print(json.dumps([(each.name, each.way, each.found.median) for each in found]))


def _run(tree: Path, chunks: int, words: list[str]) -> list[Any]:
    source = str(tree.resolve() / "src")
    command = [sys.executable, "-c", _CODE, source, str(chunks), *words]
    env = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True
    )
    found: list[Any] = json.loads(done.stdout)
    return found


def _git(*arguments: str) -> None:
    command = ["git", "-C", str(ROOT), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def main() -> None:
    """Measure two revisions in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs=2, metavar="REV")
    parser.add_argument("words", nargs="*", default=[""], metavar="WORD")
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    ratios: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, side) for side in ("a", "b")]
        try:
            for tree, revision in zip(trees, arguments.revisions, strict=True):
                _git("worktree", "add", "--detach", str(tree), revision)
            for _ in range(arguments.rounds):
                a, b = (_run(tree, arguments.chunks, arguments.words) for tree in trees)
                for (name, way, before), (_, _, after) in zip(a, b, strict=True):
                    ratios.setdefault((name, way), []).append(after / before)
        finally:
            for tree in trees:
                if tree.exists():
                    _git("worktree", "remove", "--force", str(tree))
    show(Figure(*key, Spread.of(found), None) for key, found in ratios.items())


if __name__ == "__main__":
    main()
