"""Arithmetic and drawing of validation curves, for time_to_quality.py and against_ngrams.py."""

import statistics
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = list[tuple[float, float]]  # (seconds, bits per character), seconds rising


def first_reached(curve: Curve, level: float) -> float | None:
    """Seconds when the curve, straight between its points, first is at `level` or below; None if it never is."""
    for i, (seconds, bits) in enumerate(curve):
        if bits <= level:
            if i == 0:
                return seconds
            before, above = curve[i - 1]
            return before + (seconds - before) * (above - level) / (above - bits)
    return None


def value_at(curve: Curve, seconds: float) -> float:
    """The curve at `seconds`, straight between its points, flat beyond its ends."""
    if seconds <= curve[0][0]:
        return curve[0][1]
    for (before, above), (after, below) in pairwise(curve):
        if seconds <= after:
            return above + (below - above) * (seconds - before) / (after - before)
    return curve[-1][1]


def lowest(curve: Curve) -> float:
    return min(bits for _, bits in curve)


def start_of_rows(rows: list[dict[str, float]]) -> float:
    """When the first step began: the first row's steps, at its speed, before its time.

    How many tokens a step has follows from rows with nothing but a training step between them: speed x time / steps.
    """
    tokens = [
        row["train/tokens_per_second"] * (row["time"] - last["time"]) / (row["step"] - last["step"])
        for last, row in pairwise(rows)
        if "train/loss" in last and "train/loss" in row
    ]
    first = next(row for row in rows if "train/loss" in row)
    return first["time"] - statistics.median(tokens) * first["step"] / first["train/tokens_per_second"]


def curve_of_rows(rows: list[dict[str, float]]) -> Curve:
    """The curve of a run of train.py from its metrics.jsonl, without the time that validation took."""
    start, paused, curve = start_of_rows(rows), 0.0, []
    for row in rows:
        if "val/bits_per_character" in row:
            paused += row.get("val/seconds", 0.0)
            curve.append((row["time"] - start - paused, row["val/bits_per_character"]))
    return curve


def median_ratio(ours: list[float], others: list[float]) -> float:
    """Median over the rounds of ours / other, both of the same round: the machine's drift cancels."""
    return statistics.median(one / other for one, other in zip(ours, others))


def median_and_spread(values: Iterable[float]) -> str:
    values = sorted(values)
    return f"{statistics.median(values):.3f} ({values[0]:.3f} - {values[-1]:.3f})"


def minutes_and_seconds(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def reached(curves: list[Curve], level: float) -> str:
    """When the curves first reach `level`: median (least - most), or how many do."""
    times = [first_reached(curve, level) for curve in curves]
    found = [seconds for seconds in times if seconds is not None]
    if len(found) < len(times):
        return f"{len(found)} of {len(times)} seeds"
    least, middle, most = (minutes_and_seconds(f(found)) for f in (min, statistics.median, max))
    return f"{middle} ({least} - {most})"


def steps_that_fit(rows: list[dict[str, float]], seconds: float) -> int:
    """Steps in `seconds`, from the rows of a short run: its own time, and more steps at the speed of its last two thirds."""
    rows = [row for row in rows if "train/loss" in row]
    settled, last = rows[len(rows) // 3], rows[-1]
    step = (last["time"] - settled["time"]) / (last["step"] - settled["step"])
    return last["step"] + int((seconds - (last["time"] - start_of_rows(rows))) / step)


def draw(curves: dict[str, list[Curve]], levels: list[float], ngrams: dict[str, float], title: str, path: Path) -> None:
    """Curves by label, dotted lines at `levels`, and a flat line for each n-gram, as a picture."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    plot(axes, curves, title)
    for level in levels:
        axes.axhline(level, color="grey", linestyle=":", linewidth=1)
    plot_ngrams(axes, ngrams)
    save(figure, path)


def plot(axes: "Axes", curves: dict[str, list[Curve]], title: str) -> None:
    """Curves by label: the median of the seeds as a line, their range as a band."""
    from matplotlib.ticker import LogLocator

    for colour, (label, several) in enumerate(curves.items()):
        first, last = max(curve[0][0] for curve in several), min(curve[-1][0] for curve in several)
        grid = [first * (last / first) ** (i / 100) for i in range(101)]
        values = [sorted(value_at(curve, seconds) for curve in several) for seconds in grid]
        times = [seconds / 60 for seconds in grid]
        axes.plot(times, [statistics.median(column) for column in values], color=f"C{colour}", label=label)
        least, most = zip(*((column[0], column[-1]) for column in values))
        axes.fill_between(times, least, most, color=f"C{colour}", alpha=0.25, linewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set(xlabel="minutes of training", ylabel="bits per character, held-out text", title=title)
    axes.grid(alpha=0.3)
    axes.legend()


def plot_ngrams(axes: "Axes", ngrams: dict[str, float]) -> None:
    """A flat line for each n-gram but the unigram, with its name."""
    shown = {name: level for name, level in ngrams.items() if name != "unigram"}
    for place, (name, level) in enumerate(shown.items()):  # side by side, as the longer ones lie close together
        axes.axhline(level, color="black", linestyle="--", linewidth=0.8)
        at = 0.01 + 0.15 * place
        side = "top" if level == min(shown.values()) else "bottom"
        axes.annotate(f"{name}, counted", (at, level), xycoords=("axes fraction", "data"), fontsize=8, va=side)


def save(figure: "Figure", path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
