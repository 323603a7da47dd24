"""Write RESULTS.md and chart.svg: everything that is claimed about speed, measured.

`python -m benchmarks.report [--quick]`; a full run takes a quarter of an hour.
"""

import argparse
import datetime as dt
import gc
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks import bare, bars, chart, conformance, scale
from benchmarks.measure import PIECES, Ratio, cpu, feeds, floor, pair
from benchmarks.peers import PEERS, Road, load, versions
from tests.shapes import SHAPES, build

__all__ = ["main"]

HERE: Final = Path(__file__).parent
# All peers fold streams of this length, a long answer's, so that they can be compared;
# the fewer where one fold would take more than _SECONDS.
_CHUNKS: Final = 2_000
_FEWER: Final = 400
_SECONDS: Final = 1.5
# And what is fast enough, longer ones.
_MORE: Final = 20_000
_FAST: Final = 3
_DOUBLINGS: Final = (400, 800, 1_600, 3_200)
_PATIENCE: Final = (
    6.0  # seconds of one fold after which a peer's growth is left at that
)
_LONG: Final = ("text", "text, padded", "tools, padded", "logprobs, padded")
_CHARTED: Final = {"text": "text", "tools, padded": "tool arguments"}

Roads = dict[str, Road]


def main() -> None:
    """Measure, then write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything")
    parser.add_argument("--into", type=Path, default=HERE, help="where to write")
    arguments = parser.parse_args()
    quick = arguments.quick
    rounds = 3 if quick else 9
    sections = [_heading()]
    roads: Roads = {}
    for peer in PEERS:
        road = load(peer)
        _say(f"{peer.name}: {'not installed' if road is None else 'loaded'}")
        if road is not None:
            roads[peer.name] = road
    # What the peers' imports left is no part of any fold, but every full collection
    # would walk it.
    gc.collect()
    gc.freeze()
    sections.append(_environment(rounds))
    text, charted = _speed(roads, rounds)
    sections += [text, _correctness(roads), _peer_growth(roads, quick=quick)]
    sections += [_pieces(roads, rounds, quick=quick), _memory(roads, quick=quick)]
    sections.append(_scale(rounds, quick=quick))
    (arguments.into / "RESULTS.md").write_text("\n\n".join(sections) + "\n")
    note = f"{_CHUNKS:,} chunks, feeds of 64 KiB, median of {rounds} paired rounds."
    chart.draw(arguments.into / "chart.svg", charted, note)


def _heading() -> str:
    return (
        "# Results\n\n"
        "Written by `python -m benchmarks.report`; do not edit. All times are CPU"
        " times, given as multiples of the *bare decode* of the same chunks in the same"
        " process: a loop that calls a minimal typed msgspec decoder on payloads that"
        " were split beforehand, and keeps nothing. A ratio of 1 means that the whole"
        " fold, from bytes to completion, costs what decoding alone would.\n\n"
        "![How many bare decodes a chunk costs](chart.svg)"
    )


def _python() -> str:
    return platform.python_version()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def _environment(rounds: int) -> str:
    found: dict[str, str] = {}
    missing = []
    for peer in PEERS:
        try:
            found |= versions(peer)
        except ModuleNotFoundError:
            missing.append(peer.name)
    payloads = bare.payloads(build("text", 20_000).stream)
    once = floor(payloads)
    nanoseconds = statistics.median(once() for _ in range(rounds)) / len(payloads) * 1e9
    lines = [
        f"- {dt.datetime.now(dt.UTC).date()}",
        f"- {_cpu_model()}, {os.cpu_count()} cores, {platform.system()}",
        f"- {platform.python_implementation()} {_python()}",
        "- " + ", ".join(f"{name} {version}" for name, version in found.items()),
        f"- the bare decode of one text chunk took {nanoseconds:.0f} ns here",
    ]
    if missing:
        lines.append("- not installed, so not measured: " + ", ".join(missing))
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _shown(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _spread(found: Ratio) -> str:
    least, most = _shown(found.least), _shown(found.most)
    return f"{_shown(found.median)} ({least}–{most})"  # noqa: RUF001 - a range


# --- Speed ----------------------------------------------------------------------------


def _affordable(name: str, road: Road) -> int:
    """Choose how many chunks of a shape a peer can fold in a short time."""
    pieces = feeds(build(name, _FEWER), "64 KiB")
    road.fold(pieces)
    a_chunk = cpu(lambda: road.fold(pieces)) / _FEWER
    return _CHUNKS if _CHUNKS * a_chunk <= _SECONDS else _FEWER


def _time(road: Road, name: str, chunks: int, rounds: int) -> tuple[str, float | None]:
    """Time a peer on a shape; where the answer is wrong, say what is."""
    shape = build(name, chunks)
    pieces = feeds(shape, "64 KiB")
    if wrong := shape.faults(road.read(road.fold(pieces))):
        return "wrong: " + ", ".join(f"`{part}`" for part in wrong), None
    found = pair(lambda: road.fold(pieces), bare.payloads(shape.stream), rounds)
    mark = " ⁴" if chunks == _FEWER else ""
    return _spread(found) + mark, found.median


def _speed(roads: Roads, rounds: int) -> tuple[str, list[tuple[str, dict[str, float]]]]:
    """Time every peer on every shape that it folds right."""
    rows = []
    charted = []
    for peer, road in roads.items():
        row = [peer]
        bars = {}
        for name in SHAPES:
            shown, median = _time(road, name, _affordable(name, road), rounds)
            row.append(shown)
            if name in _CHARTED and median is not None:
                bars[_CHARTED[name]] = median
            _say(f"{peer}, {name}: {shown}")
        rows.append(row)
        charted.append((peer, bars))
    longer = []
    for peer, road in [*roads.items()][:_FAST]:
        shown_ = [_time(road, name, _MORE, rounds)[0] for name in SHAPES]
        longer.append([peer, *shown_])
        _say(" ".join(longer[-1]))
    text = (
        "## Speed, where the answer is right\n\n"
        f"The median of {rounds} paired rounds, the least and the most in brackets, in"
        " feeds of 64 KiB. A peer's result is checked against the shape's known answer"
        " before it is timed; where it lacks a part or has it wrong, the part is named"
        f" instead of a time. Streams of {_CHUNKS:,} chunks; ⁴ of {_FEWER} where a peer"
        f" would take too long.\n\n{_turned(rows)}\n\n"
        f"The fastest of them on streams of {_MORE:,} chunks:\n\n{_turned(longer)}\n\n"
        "The shapes are seeded; each stresses one thing:\n\n"
        + "\n".join(f"- `{name}`: {what}" for name, what in SHAPES.items())
    )
    return text, charted


def _turned(rows: list[list[str]]) -> str:
    """Make a table with the shapes as its lines."""
    head, *lines = zip(["", *SHAPES], *rows, strict=True)
    return _table(head, lines)


# --- Right or wrong -------------------------------------------------------------------


def _correctness(roads: Roads) -> str:
    streams = conformance.cases()
    title = "## Correctness\n\n"
    if not streams:
        return title + "The conformance set was not there."
    rows = []
    missed = []
    for peer, road in roads.items():
        found = conformance.score(road, streams)
        share = len(found.right) / len(streams)
        counts = [len(part) for part in (found.right, found.wrong, found.raised)]
        rows.append([peer, *(f"{count}" for count in counts), f"{share:.0%}"])
        names = sorted([*found.wrong, *found.raised])
        if names:
            shown = ", ".join(f"`{name}`" for name in names)
            missed.append(f"- {peer}: {shown}")
        _say(f"{peer}: {len(found.right)} of {len(streams)} right")
    return (
        f"{title}{len(streams)} streams of the"
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


# --- Growth of the peers --------------------------------------------------------------


def _peer_growth(roads: Roads, *, quick: bool) -> str:
    sizes = _DOUBLINGS[:2] if quick else _DOUBLINGS
    rows = []
    for peer, road in roads.items():
        for name in ("text", "tools, padded", "call, padded", "logprobs, padded"):
            row = [f"{peer}, `{name}`"]
            costs: list[float] = []
            for n in sizes:
                shape = build(name, n)
                pieces = feeds(shape, "64 KiB")
                work = partial(road.fold, pieces)
                first = cpu(work)
                found = pair(
                    work, bare.payloads(shape.stream), 5 if first < _SECONDS else 1
                )
                costs.append(found.median)
                row.append(_shown(costs[-1]))
                if first > _PATIENCE:
                    break
            row += ["–"] * (len(sizes) - len(costs))  # noqa: RUF001
            row.append(f"{costs[-1] / costs[-2]:.2f}" if len(costs) > 1 else "")
            rows.append(row)
            _say(" ".join(row))
    head = ["chunks", *(f"{n:,}" for n in sizes), "last doubling"]
    return (
        "## Growth\n\n"
        "The cost of one chunk, in bare decodes, as the stream gets longer. The last"
        " column is the step of the last doubling: 1 where the whole is linear, 2 where"
        " it is quadratic and nothing else counts. `tools` has a tenth as many calls as"
        " chunks, 100 at most; `call` is one call.\n\n" + _table(head, rows)
    )


# --- Piece sizes ----------------------------------------------------------------------


def _pieces(roads: Roads, rounds: int, *, quick: bool) -> str:
    chunks = 400 if quick else 2_000
    rows = []
    ours = roads["unstream"]
    ways = [(f"unstream, `{name}`", ours, name) for name in SHAPES]
    ways += [(f"{peer}, `text`", road, "text") for peer, road in roads.items()][1:]
    for label, road, name in ways:
        slow = not label.startswith(("unstream", "naive", "httpx"))
        shape = build(name, min(chunks, 400) if slow else chunks)
        row = [label]
        for size in PIECES:
            pieces = feeds(shape, size)
            ending = road.read(road.fold(pieces))
            if shape.faults(ending):
                row.append("wrong")
                continue
            found = pair(
                partial(road.fold, pieces), bare.payloads(shape.stream), rounds
            )
            row.append(_shown(found.median))
        rows.append(row)
        _say(" ".join(row))
    return (
        "## Piece sizes\n\n"
        "The same bytes, cut differently; *event* is one event a feed, as a live proxy"
        f" sees them. {chunks:,} chunks, for the slower peers 400.\n\n"
        + _table(["", *PIECES], rows)
    )


# --- Memory ---------------------------------------------------------------------------


def _mib(size: float) -> str:
    return f"{size / 2**20:,.1f} MiB"


def _memory(roads: Roads, *, quick: bool) -> str:
    chunks = 2_000 if quick else 20_000
    whole = 4 if quick else 100
    names = ("text", "logprobs, padded")
    found: dict[str, dict[str, int]] = {peer: {} for peer in roads}
    ours = []
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "stream")
        for name in names:
            sizes[name] = path.write_bytes(build(name, chunks).stream)
            for peer in roads:
                if name == "logprobs, padded" and peer.startswith("openai Chat"):
                    continue  # a quarter of an hour: see its growth
                _say(f"memory: {peer}, {name}")
                found[peer][name] = scale.child("peak", peer, str(path))["peak"]
        for name in (
            "text",
            "text, padded",
            "tools, padded",
            "n=4, padded",
            "logprobs, padded",
        ):
            sample = build(name, 2_000)
            enough = whole * 2**20 * 2_000 // len(sample.stream)
            size = path.write_bytes(build(name, enough).stream)
            got = scale.child("peak", "unstream", str(path))
            allowed = 2 * got["json"] + 4 * 2**20
            ours.append(
                [f"`{name}`", *map(_mib, (size, got["json"], got["peak"], allowed))]
            )
            _say(" ".join(ours[-1]))
    rows = []
    for peer, peaks in found.items():
        row = [peer]
        for name in names:
            sample = build(name, 200)
            road = roads[peer]
            wrong = sample.faults(road.read(road.fold(feeds(sample, "64 KiB"))))
            lost = " (loses " + ", ".join(wrong) + ")" if wrong else ""
            row.append(_mib(peaks[name]) + lost if name in peaks else "not run")
        rows.append(row)
    titles = [f"`{name}`, {_mib(sizes[name])}" for name in names]
    return (
        "## Memory\n\n"
        "What a fold adds, at its highest, to a fresh process that has imported the"
        f" peer and folded something small; {chunks:,} chunks, in reads of 64 KiB."
        " Resident memory: below 1 MiB it says little.\n\n"
        + _table(["", *titles], rows)
        + "\n\nThe same for unstream and long streams; the completion's size is that of"
        " its JSON.\n\n"
        + _table(["", "stream", "completion", "peak", "2 × completion + 4 MiB"], ours)  # noqa: RUF001
    )


# --- Ours at scale --------------------------------------------------------------------


def _scale(rounds: int, *, quick: bool) -> str:
    many = 20_000 if quick else 200_000
    rows = []
    for name in SHAPES:
        median, least, most = scale.growth(name, 2_000, many, 3 if quick else 5)
        rows.append([f"`{name}`", _spread(Ratio(median, least, most))])
        _say(" ".join(rows[-1]))
    size = (1 if quick else 16) * 2**20
    large = scale.large_event(size, rounds)
    shared, copied = (scale.child("in-turn", way) for way in ("shared", "copied"))
    first, added = scale.importing(rounds)
    feeds_ = [_quantiles(name) for name in _LONG]
    quantiles = _table(["", "p50", "p99", "p99.9", "most"], feeds_)
    return (
        "## unstream at scale\n\n"
        f"The time per chunk in a stream of {many:,} chunks, against 2,000; the median"
        " with the least and the most; 1 is linear:\n\n"
        + _table(["", "ratio"], rows)
        + "\n\n"
        f"{_recorded(rounds)}"
        f"- One event of {size // 2**20} MiB in reads of 1 KiB costs {large:.2f} times"
        " what it costs in one piece.\n"
        f"- A new accumulator holds {scale.idle():,} bytes.\n"
        "- 10,000 accumulators, fed in turn, one event a feed, 200 chunks each:"
        f" {shared['feeds']:,} feeds in {shared['seconds']:.1f} s of CPU, the"
        f" completions included, {shared['ratio']:.2f} bare decodes a chunk. Before"
        f" `finish` each held {copied['held'] / 1024:.1f} KiB where every feed was"
        f" bytes of its own, {shared['held'] / 1024:.1f} KiB where they shared them:"
        " feeds wait to be read together.\n"
        f"- `import unstream` adds {added:.1f} ms of CPU to the {first:.1f} ms of"
        " importing msgspec, with bytecode cached.\n\n"
        "The wall-clock time of one feed, in microseconds, one event a feed, 20,000"
        " chunks; the median of five streams, on a machine that others use as well:"
        f"\n\n{quantiles}"
    )


def _recorded(rounds: int) -> str:
    """Say what short streams cost, where there are recorded ones."""
    if not bars.RECORDED.exists():
        return ""
    n = len([*bars.RECORDED.rglob("*.sse")])
    found = _spread(bars.recorded(rounds))
    _say(f"recorded streams: {found}")
    return (
        f"- {n} streams recorded from real services, some fifty chunks each, with an"
        f" accumulator each: {found} bare decodes a chunk.\n"
    )


def _quantiles(name: str) -> list[str]:
    runs = [scale.one_feed(name, 20_000) for _ in range(5)]
    medians = [statistics.median(run[key] for run in runs) for key in runs[0]]
    return [f"`{name}`", *(f"{value:.1f}" for value in medians)]


if __name__ == "__main__":
    main()
