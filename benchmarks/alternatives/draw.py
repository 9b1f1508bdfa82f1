"""Draws results.json as plots: `python draw.py RESULTS FOLDER`. It runs where matplotlib is, and Sopwith is not."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

_OURS, _OTHERS, _LINE = "#1f6f5c", "#9aa5b1", "#c0392b"
plt.rcParams.update(
    {
        "svg.hashsalt": "sopwith",
        "svg.fonttype": "none",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def main(results: Path, folder: Path) -> None:
    found = json.loads(results.read_text())
    for name, plot in {"engines": _engines, "cold-start": _cold_start, "growth": _growth}.items():
        figure, axes = plt.subplots(figsize=(7, 3.2))
        try:
            plot(found, axes)
        except KeyError as missing:
            print(f"no plot of {name}: nothing was measured for {missing}", file=sys.stderr)
            continue
        figure.tight_layout()
        figure.savefig(folder / f"performance-{name}.svg", metadata={"Date": None})


def _engines(found, axes) -> None:
    engines = {name: each for name, each in found["rivals"].items() if isinstance(each, dict)}
    rows = {name: each["ms a run"] for name, each in engines.items() if "ms a run" in each}
    rows = dict(sorted(rows.items(), key=lambda row: -row[1]))
    axes.barh(list(rows), list(rows.values()), color=[_OURS if name == "sopwith" else _OTHERS for name in rows])
    for at, value in enumerate(rows.values()):
        axes.text(value * 1.05, at, f"{value:,.0f}" if value >= 100 else f"{value:.3g}", va="center")
    axes.set_xscale("log")
    axes.set_xlim(left=1, right=max(rows.values()) * 3)
    axes.set_xlabel("milliseconds a run of four steps that do nothing, one after the other (log)")


def _cold_start(found, axes) -> None:
    rows = {name: each["ratio"] for name, each in found["coldStart"].items() if name.startswith("sop ")}
    axes.barh(list(rows)[::-1], list(rows.values())[::-1], color=_OURS)
    axes.axvline(7, color=_LINE, linestyle="--", linewidth=1)
    axes.text(7, len(rows) - 0.4, " target", color=_LINE, va="bottom")
    axes.set_xlabel("times as long as python -c pass")


def _growth(found, axes) -> None:
    """Each figure as a ratio to its first: what does not grow stays at 1."""
    for what, color in {"a whole run, ms per step": _OURS, "replay, µs per event": _LINE}.items():
        rows = found["growth"][what]
        values = [each / next(iter(rows.values())) for each in rows.values()]
        axes.plot([int(size.split()[0]) for size in rows], values, marker="o", color=color, label=what)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("steps of the procedure, events of the run (log)")
    axes.set_ylabel("times the smallest")
    axes.legend(frameon=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
