"""Compare the speed of two revisions.

`python -m benchmarks.compare REV_A REV_B [SHAPE ...] [--chunks N] [--rounds N]` checks
both out beside each other and measures them in turn, each round in fresh processes,
with the shapes of this working tree. Printed is what B costs as a multiple of A: below
1, B is the faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import bare
from benchmarks.measure import check, feeds, fold, pair
from tests.shapes import SHAPES, build

__all__ = ["main", "measure"]

ROOT: Final = Path(__file__).parents[1]
_WAYS: Final = ("64 KiB", "event")
_CODE: Final = "import sys; from benchmarks.compare import measure; measure(sys.argv)"


def measure(arguments: list[str]) -> None:
    """Print, for each shape and way of feeding, the ratio to the bare decode."""
    _, source, chunks, *names = arguments
    module = sys.modules["unstream"].__file__ or ""
    assert Path(module).is_relative_to(source), "another unstream was imported"
    found = {}
    for name in names:
        shape = build(name, int(chunks))
        for way in _WAYS:
            pieces = feeds(shape, way)
            check(shape, fold(pieces))
            payloads = bare.payloads(shape.stream)
            found[f"{name}; {way}"] = pair(partial(fold, pieces), payloads, 3).median
    print(json.dumps(found))


def _run(tree: Path, chunks: int, names: list[str]) -> dict[str, float]:
    source = tree.resolve() / "src"
    command = [sys.executable, "-c", _CODE, str(source), str(chunks), *names]
    env = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _git(*arguments: str) -> None:
    command = ["git", "-C", str(ROOT), *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def main() -> None:
    """Measure two revisions in turn and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revisions", nargs=2, metavar="REV")
    parser.add_argument("shapes", nargs="*", default=list(SHAPES))
    parser.add_argument("--chunks", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    names = arguments.shapes
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, side) for side in ("a", "b")]
        try:
            for tree, revision in zip(trees, arguments.revisions, strict=True):
                _git("worktree", "add", "--detach", str(tree), revision)
            for _ in range(arguments.rounds):
                a, b = (_run(tree, arguments.chunks, names) for tree in trees)
                for key, value in a.items():
                    ratios.setdefault(key, []).append(b[key] / value)
        finally:
            for tree in trees:
                if tree.exists():
                    _git("worktree", "remove", "--force", str(tree))
    print(f"{'shape; feeds':38} {'B / A':>6} {'least':>6} {'most':>6}")
    for key, found in ratios.items():
        median = statistics.median(found)
        print(f"{key:38} {median:6.2f} {min(found):6.2f} {max(found):6.2f}")


if __name__ == "__main__":
    main()
