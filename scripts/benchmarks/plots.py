"""Plots of what was measured; matplotlib is of the extra `dev`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.folders import BenchError


def draw(measured: dict[str, Any], folder: Path) -> list[Path]:
    """Draw what was measured against tasks, slots and farmers; return the pictures.

    Raises
    ------
    BenchError
        If matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise BenchError("--plots needs matplotlib: pip install matplotlib") from error
    mpl.use("agg")
    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    if measured.get("sizes"):
        cost = [1e6 * run["seconds"] / run["tasks"] for run in measured["sizes"]]
        pictures.append(_plot(folder / "tasks.svg", "tasks", _column(measured["sizes"], "tasks"), {"a task [µs]": cost}))
    if measured.get("slots"):
        cost = [1e6 * run["seconds"] / run["tasks"] for run in measured["slots"]]
        pictures.append(_plot(folder / "slots.svg", "slots", _column(measured["slots"], "slots"), {"a task [µs]": cost}))
    if measured.get("crowds"):
        runs = measured["crowds"]
        lines = {
            "attempts at the lock a second": "tries_per_s",
            "longest wait [s]": "wait_max_s",
            "end after tasks [s]": "after_s",
        }
        columns = {label: _column(runs, name) for label, name in lines.items()}
        pictures.append(_plot(folder / "farmers.svg", "farmers", _column(runs, "farmers"), columns))
    return pictures


def _column(runs: list[dict[str, Any]], name: str) -> list[float]:
    return [run[name] for run in runs]


def _plot(path: Path, label: str, across: list[float], lines: dict[str, list[float]]) -> Path:
    """Draw one picture with a logarithmic axis, a part for each line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2.4 * len(lines)), layout="constrained")
    for number, (name, up) in enumerate(lines.items()):
        axes = figure.add_subplot(len(lines), 1, number + 1)
        axes.plot(across, up, "o-")
        axes.set(xscale="log", xlabel=label, ylabel=name, ylim=(0, None))
    figure.savefig(path)
    return path
