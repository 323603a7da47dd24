"""Draw the chart that the README shows."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

__all__ = ["draw"]

# Read on white and on GitHub's dark grey alike: contrast of 4 to either.
_INK: Final = "#77808a"
_OURS: Final = "#1f9d55"
_THEIRS: Final = {"text": "#5b8bd0", "tool arguments": "#c98a3b"}
_FADED: Final = {"text": 1.0, "tool arguments": 0.6}


def draw(path: Path, rows: Sequence[tuple[str, dict[str, float]]], note: str) -> None:
    """Draw a bar for each peer and shape: how many bare decodes a chunk costs."""
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    plt = import_module("matplotlib.pyplot")
    settings = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "unstream",  # the same ids in every run
        "font.family": "sans-serif",
        "font.size": 11,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with plt.rc_context(settings):
        figure, axes = plt.subplots(figsize=(8.6, 0.62 * len(rows) + 1.3))
        _bars(axes, rows)
        _frame(axes, rows)
        figure.text(0.01, 0.01, note, fontsize=9)
        figure.tight_layout(rect=(0, 0.04, 1, 1))
        figure.savefig(path, transparent=True, metadata={"Date": None})
        plt.close(figure)
    # The library leaves blanks at the ends of lines, which git complains of.
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rstrip() for line in lines) + "\n")


def _bars(axes: Any, rows: Sequence[tuple[str, dict[str, float]]]) -> None:
    for place, (name, ratios) in enumerate(rows):
        ours = name == "unstream"
        for turn, (shape, ratio) in enumerate(ratios.items()):
            colour = _OURS if ours else _THEIRS[shape]
            height = 0.36
            where = place + (turn - (len(ratios) - 1) / 2) * height
            alpha = _FADED[shape] if ours else 1.0
            axes.barh(where, ratio, height * 0.92, color=colour, alpha=alpha, left=0)
            shown = f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"
            weight = "bold" if ours else "normal"
            label = f" {shown}" + (f"  {shape}" if place == 0 else "")
            axes.text(ratio, where, label, va="center", fontsize=10, weight=weight)


def _frame(axes: Any, rows: Sequence[tuple[str, dict[str, float]]]) -> None:
    most = max(ratio for _, ratios in rows for ratio in ratios.values())
    axes.set_xscale("log")
    axes.set_xlim(0.1, most * 4)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.get_yticklabels()[0].set_weight("bold")
    axes.get_yticklabels()[0].set_color(_OURS)
    axes.invert_yaxis()
    axes.axvline(1, color=_INK, linewidth=1, linestyle="--")
    axes.set_xlabel("CPU time per chunk, in bare msgspec decodes of it (log scale)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
