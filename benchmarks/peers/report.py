"""Write RESULTS.md and chart.svg: what is claimed about speed, beside the peers.

`python -m benchmarks.peers.report [--quick] [--into FOLDER]`; a full run takes half an
hour. `--protocols` prints what concerns the protocols beside chat completions, which
takes minutes, and writes nothing. A peer that is not installed is named and left out.
"""

import argparse
import datetime as dt
import gc
import os
import platform
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks import bare, bars, scale
from benchmarks.measure import FEEDS, Figure, Spread, build, cpu, feeds, pair
from benchmarks.peers import chart, conformance
from benchmarks.peers.peers import PEERS, Loaded, Peer, load, versions
from benchmarks.peers.protocols import PROTOCOLS
from tests import protocol_shapes
from tests.shapes import SHAPES

__all__ = ["main"]

HERE: Final = Path(__file__).parents[1]
# All peers fold streams of this length, a long answer's, so that they can be compared;
# the fewer where one fold would take more than _SECONDS.
_CHUNKS: Final = 2_000
_FEWER: Final = 400
_SECONDS: Final = 1.5
# And what is fast enough, longer ones.
_MORE: Final = 20_000
_FAST: Final = 3
_DOUBLINGS: Final = (400, 800, 1_600, 3_200)
_GROWING: Final = ("text, padded", "tools, padded", "call, padded", "logprobs, padded")
_PATIENCE: Final = 6.0  # seconds of one fold after which a peer's growth is left
_CHARTED: Final = {"text, padded": "text", "tools, padded": "tool arguments"}

Peers = dict[str, Loaded]


def main() -> None:
    """Measure, then write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--protocols", action="store_true", help="print those alone")
    parser.add_argument("--into", type=Path, default=HERE, help="where to write")
    arguments = parser.parse_args()
    quick = arguments.quick
    rounds = 3 if quick else 9
    peers = _loaded(PEERS)
    others = {protocol: _loaded(known) for protocol, known in PROTOCOLS.items()}
    # What the peers' imports left is no part of any fold, but every full collection
    # would walk it.
    gc.collect()
    gc.freeze()
    if arguments.protocols:
        print(_protocols(others, rounds))
        return
    speed, charted = _speed(peers, rounds)
    sections = [
        _heading(rounds),
        speed,
        _correctness(peers),
        _growth(peers, quick=quick),
        _feeds(peers, rounds),
        _memory(peers, quick=quick),
        _protocols(others, rounds),
        _ours(rounds, quick=quick),
    ]
    arguments.into.mkdir(parents=True, exist_ok=True)
    (arguments.into / "RESULTS.md").write_text("\n\n".join(sections) + "\n")
    note = f"{_CHUNKS:,} chunks, feeds of 64 KiB, median of {rounds} paired rounds."
    chart.draw(arguments.into / "chart.svg", charted, note)


def _loaded(known: Iterable[Peer]) -> Peers:
    found = ((peer.name, load(peer)) for peer in known)
    return {name: loaded for name, loaded in found if loaded is not None}


def _heading(rounds: int) -> str:
    found: dict[str, str] = {}
    missing = {}
    for peer in (*PEERS, *chain(*PROTOCOLS.values())):
        try:
            found |= versions(peer)
        except metadata.PackageNotFoundError:
            missing[peer.name] = peer
    payloads = bare.payloads(build("text, padded", _MORE).stream)
    once = Spread.of(cpu(lambda: bare.decode(payloads)) for _ in range(rounds)).median
    nanoseconds = once / len(payloads) * 1e9
    lines = [
        f"- {dt.datetime.now(dt.UTC).date()}",
        f"- {_cpu_model()}, {os.cpu_count()} cores, {platform.system()}",
        f"- {platform.python_implementation()} {platform.python_version()}",
        "- " + ", ".join(f"{name} {version}" for name, version in found.items()),
        f"- the bare decode of a padded text chunk took {nanoseconds:.0f} ns here",
    ]
    if missing:
        lines.append("- not installed, so not measured: " + ", ".join(missing))
    return (
        "# Results\n\n"
        "Written by `python -m benchmarks.peers.report`; do not edit. All times are CPU"
        " times, given as multiples of the *bare decode* of the same chunks in the same"
        " process: a loop that calls a minimal typed msgspec decoder on payloads that"
        " were split beforehand, and keeps nothing. A ratio of 1 means that the whole"
        " fold, from bytes to completion, costs what decoding alone would.\n\n"
        "![How many bare decodes a chunk costs](chart.svg)\n\n" + "\n".join(lines)
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _say(*what: str) -> None:
    print(*what, file=sys.stderr, flush=True)


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _range(found: Spread) -> str:
    median, least, most = map(_shown, found)
    return f"{median} ({least}–{most})"  # noqa: RUF001 - a range


# --- Speed ----------------------------------------------------------------------------


def _speed(peers: Peers, rounds: int) -> tuple[str, list[tuple[str, dict[str, float]]]]:
    """Time every peer on every shape that it folds right."""
    rows, charted, longer = [], [], []
    for name, peer in peers.items():
        row, drawn = [name], {}
        for shape in SHAPES:
            shown, median = _time(peer, shape, _affordable(shape, peer), rounds)
            row.append(shown)
            if shape in _CHARTED and median is not None:
                drawn[_CHARTED[shape]] = median
            _say(f"{name}, {shape}: {shown}")
        rows.append(row)
        charted.append((name, drawn))
    for name, peer in [*peers.items()][:_FAST]:
        shown_ = [_time(peer, shape, _MORE, rounds)[0] for shape in SHAPES]
        longer.append([name, *shown_])
        _say(*longer[-1])
    text = (
        "## Speed, where the answer is right\n\n"
        f"The median of {rounds} paired rounds, the least and the most in brackets, in"
        " feeds of 64 KiB. A peer's result is checked against the shape's known answer"
        " before it is timed; where it lacks a part or has it wrong, the part is named"
        f" instead of a time. Streams of {_CHUNKS:,} chunks; ⁴ of {_FEWER} where a peer"
        f" would take too long.\n\n{_turned(rows)}\n\n"
        f"The fastest of them on streams of {_MORE:,} chunks:\n\n{_turned(longer)}\n\n"
        "The shapes are seeded; each stresses one thing. *Padded* is OpenAI's default:"
        " a random `obfuscation` in every chunk.\n\n"
        + "\n".join(f"- `{name}`: {what}" for name, what in SHAPES.items())
    )
    return text, charted


def _affordable(shape: str, peer: Loaded) -> int:
    """Choose how many chunks of a shape a peer can fold in a short time."""
    pieces = feeds(build(shape, _FEWER), "64 KiB")
    peer.fold(pieces)
    a_chunk = cpu(lambda: peer.fold(pieces)) / _FEWER
    return _CHUNKS if _CHUNKS * a_chunk <= _SECONDS else _FEWER


def _time(
    peer: Loaded, name: str, chunks: int, rounds: int, way: str = "64 KiB"
) -> tuple[str, float | None]:
    """Time a peer on a shape; where the answer is wrong, say what is."""
    shape = build(name, chunks)
    work = partial(peer.fold, feeds(shape, way))
    completion = peer.read(work())
    if isinstance(shape, protocol_shapes.Shape):  # a peer has keys of its own
        wrong = conformance.faults(completion, shape.answer, shape.protocol)
    else:
        wrong = shape.faults(completion)
    if wrong:
        return "wrong: " + ", ".join(f"`{part}`" for part in wrong), None
    found = pair(work, [shape.stream], rounds, shape.protocol)
    return _range(found) + " ⁴" * (chunks == _FEWER), found.median


def _turned(rows: list[list[str]]) -> str:
    """Make a table with the shapes as its lines."""
    head, *lines = zip(["", *SHAPES], *rows, strict=True)
    return _table(head, lines)


# --- Right or wrong -------------------------------------------------------------------


def _correctness(peers: Peers) -> str:
    streams = conformance.cases()
    rows, missed = [], []
    for name, peer in peers.items():
        found = conformance.score(peer, streams)
        share = len(found.right) / len(streams)
        rows.append([name, *(f"{len(part)}" for part in found), f"{share:.0%}"])
        if names := sorted([*found.wrong, *found.raised]):
            missed.append(f"- {name}: " + ", ".join(f"`{each}`" for each in names))
        _say(*rows[-1])
    return (
        f"## Correctness\n\n{len(streams)} streams of the"
        " [conformance set](../tests/conformance/README.md). Compared are, of each"
        " choice, the index, `content`, `finish_reason` and the id, name and arguments"
        " of the tool calls, and the total of the `usage` where one was sent; nothing"
        " else. What is absent counts as empty. Left out is where raising is an answer"
        " too (errors, empty streams, payloads that are no JSON object), whole bodies,"
        " and values of types that no server sends.\n\n"
        "How to read it: the set is ours. It collects the habits at which clients"
        " break, so its shares are no rates of failure in the wild, and a few of its"
        " answers are decisions. Not every peer aims at all of it: langchain makes one"
        " message, not choices; the naive folds were written for OpenAI's own streams."
        " openai-python is asked for its snapshot, which does not raise for `length`;"
        " it frames the bytes for openinference and langchain, too, and what it raises"
        " counts against them.\n\n"
        + _table(["", "right", "wrong", "raised", "share"], rows)
        + "\n\n<details><summary>Not right</summary>\n\n"
        + "\n".join(missed)
        + "\n\n</details>"
    )


# --- The other protocols --------------------------------------------------------------


def _protocols(peers: dict[str, Peers], rounds: int) -> str:
    """Time the peers of each protocol on its shapes, and count where they are right."""
    parts = []
    for protocol, known in peers.items():
        shapes = [name for name in protocol_shapes.SHAPES if name.startswith(protocol)]
        streams = conformance.cases(protocol)
        rows, missed = [], []
        for name, peer in known.items():
            found = conformance.score(peer, streams, protocol)
            times = [_time(peer, shape, _CHUNKS, rounds)[0] for shape in shapes]
            rows.append([name, *times, *(f"{len(part)}" for part in found)])
            if names := sorted([*found.wrong, *found.raised]):
                missed.append(f"- {name}: " + ", ".join(f"`{each}`" for each in names))
            _say(*rows[-1])
        parts.append(
            f"### {protocol}: {len(streams)} streams\n\n"
            + _table(["", *shapes, "right", "wrong", "raised"], rows)
            + "\n\n<details><summary>Not right</summary>\n\n"
            + "\n".join(missed)
            + "\n\n</details>"
        )
    return (
        "## Other protocols\n\n"
        f"As above: bare decodes an event, {_CHUNKS:,} events in feeds of 64 KiB, and"
        " how many streams of the conformance set are right. Compared are texts, calls,"
        " signatures, how it ended, and the total of the usage (Messages: the tokens of"
        " the output). openai-python is asked for its snapshot where no"
        " `response.completed` came; Google's client has nothing that folds a stream,"
        " and of the old text completions we know no peer.\n\n"
        + "\n\n".join(parts)
        + "\n\nThe shapes:\n\n"
        + "\n".join(
            f"- `{name}`: {what}" for name, what in protocol_shapes.SHAPES.items()
        )
    )


# --- Growth, feeds, memory ------------------------------------------------------------


def _growth(peers: Peers, *, quick: bool) -> str:
    sizes = _DOUBLINGS[:2] if quick else _DOUBLINGS
    rows = []
    for name, peer in peers.items():
        for shape in _GROWING:
            row = [f"{name}, `{shape}`"]
            costs: list[float] = []
            for n in sizes:
                sample = build(shape, n)
                work = partial(peer.fold, feeds(sample, "64 KiB"))
                first = cpu(work)
                rounds = 5 if first < _SECONDS else 1
                costs.append(pair(work, [sample.stream], rounds).median)
                row.append(_shown(costs[-1]))
                if first > _PATIENCE:
                    break
            row += ["–"] * (len(sizes) - len(costs))  # noqa: RUF001
            row.append(f"{costs[-1] / costs[-2]:.2f}" if len(costs) > 1 else "")
            rows.append(row)
            _say(*row)
    head = ["chunks", *(f"{n:,}" for n in sizes), "last doubling"]
    return (
        "## Growth\n\n"
        "The cost of one chunk, in bare decodes, as the stream gets longer. The last"
        " column is the step of the last doubling: 1 where the whole is linear, 2 where"
        " it is quadratic and nothing else counts. `tools` has a tenth as many calls as"
        " chunks, 100 at most; `call` is one call.\n\n" + _table(head, rows)
    )


def _feeds(peers: Peers, rounds: int) -> str:
    rows = []
    for name, peer in peers.items():
        found = [_time(peer, "text, padded", _FEWER, rounds, way)[0] for way in FEEDS]
        rows.append([name, *(shown.removesuffix(" ⁴") for shown in found)])
        _say(*rows[-1])
    return (
        "## Feeds\n\n"
        "The same bytes, cut differently; *event* is one event a feed, as a live proxy"
        f" sees them. `text, padded`, {_FEWER} chunks.\n\n" + _table(["", *FEEDS], rows)
    )


def _memory(peers: Peers, *, quick: bool) -> str:
    chunks = _CHUNKS if quick else _MORE
    shapes = ("text, padded", "logprobs, padded")
    sizes = []
    rows = {name: [name] for name in peers}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stream")
        for shape in shapes:
            sizes.append(path.write_bytes(build(shape, chunks).stream))
            sample = build(shape, 200)
            for name, peer in peers.items():
                if shape.startswith("logprobs") and name.startswith("openai Chat"):
                    rows[name].append("not run")  # a quarter of an hour: see its growth
                    continue
                wrong = sample.faults(peer.read(peer.fold(feeds(sample, "64 KiB"))))
                lost = " (loses " + ", ".join(wrong) + ")" if wrong else ""
                shown = f"{scale.fresh(_peak, name, path) / 2**20:,.1f} MiB{lost}"
                rows[name].append(shown)
                _say(f"memory: {name}, {shape}: {shown}")
    titles = [
        f"`{shape}`, {size / 2**20:,.1f} MiB"
        for shape, size in zip(shapes, sizes, strict=True)
    ]
    return (
        "## Memory\n\n"
        "What a fold adds, at its highest, to a fresh process that has imported the"
        f" peer and folded something small; {chunks:,} chunks, in reads of 64 KiB."
        " Resident memory: below 1 MiB it says little.\n\n"
        + _table(["", *titles], rows.values())
    )


def _peak(name: str, path: Path) -> int:
    [peer] = [load(peer) for peer in PEERS if peer.name == name]
    assert peer is not None
    return scale.peak(peer.fold, path)[0]


# --- Ours -----------------------------------------------------------------------------


def _ours(rounds: int, *, quick: bool) -> str:
    chunks = _CHUNKS if quick else _MORE
    return (
        "## unstream and its bars\n\n"
        "What `python -m benchmarks.bars` prints: bare decodes, and the most that they"
        f" may be.\n\n{_figures(bars.figures([''], chunks, rounds))}"
        "\n\nAnd `python -m benchmarks.scale`: the cost of a chunk in a long stream"
        " against that in one of 2,000; what folding a long stream adds to the memory,"
        " against twice the completion's JSON and 4 MiB; what an accumulator holds, new"
        " and in the middle of a stream; the CPU time of the import.\n\n"
        f"{_figures(scale.figures([''], rounds, quick=quick))}"
    )


def _figures(figures: Iterable[Figure]) -> str:
    rows = []
    for name, way, found, bar in figures:
        rows.append([name, way, _range(found), "" if bar is None else f"{bar:.2f}"])
        _say(*rows[-1])
    return _table(["", "", "median (least–most)", "bar"], rows)  # noqa: RUF001


if __name__ == "__main__":
    main()
