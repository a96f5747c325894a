"""Curves of the report: what `metrics.jsonl` says of every loss term, as points of small plots."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 300.0, 150.0
"""Plot units; x grows to the right, y downwards."""

MAX_POINTS = 150
"""Of a curve; more lines of metrics are joined into means."""

Ticks = tuple[tuple[float, str], ...]
"""An axis: where its lines are, and what stands beside them."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run's values of one term."""

    run: int
    """Its place among the runs."""
    points: str
    """Of an SVG polyline."""
    last: float
    """Mean over the last tenth of the curve."""


@dataclass(frozen=True, kw_only=True)
class CurvePlot:
    """One term; runs that do not have it are not there."""

    term: str
    curves: tuple[Curve, ...]
    step_ticks: Ticks
    value_ticks: Ticks


def plot_terms(metrics: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[CurvePlot, ...]:
    """Return a plot for the weighted sum of the losses, and for every term that any run has.

    Args:
        metrics: of each run, the lines of its `metrics.jsonl`.
    """
    terms = dict.fromkeys(name for lines in metrics for line in lines for name in line["terms"])
    plots = [_plot("loss", [[(line["step"], line["loss"]) for line in lines] for lines in metrics])]
    for term in terms:
        told = [[(line["step"], line["terms"][term]) for line in lines if term in line["terms"]] for lines in metrics]
        plots.append(_plot(term, told))
    return tuple(plot for plot in plots if plot.curves)


def _plot(term: str, told: Sequence[Sequence[tuple[int, float]]]) -> CurvePlot:
    series = {run: _thinned(points) for run, points in enumerate(told) if points}
    together = [point for points in series.values() for point in points]
    values = [value for _, value in together]
    last_step = max((points[-1][0] for points in told if points), default=1)
    low, high, value_marks = _round_scale(min(values, default=0), max(values, default=1))
    step_marks = [mark for mark in _round_scale(0, last_step)[2] if mark <= last_step and mark.is_integer()]
    curves = [
        Curve(
            run=run,
            # One point is there twice, so that its round ends are a dot.
            points=" ".join(
                f"{step / last_step * WIDTH:.1f},{_y(value, low, high):.1f}"
                for step, value in (points if len(points) > 1 else points * 2)
            ),
            last=_mean([value for _, value in points[-max(1, len(points) // 10) :]]),
        )
        for run, points in series.items()
    ]
    return CurvePlot(
        term=term,
        curves=tuple(curves),
        step_ticks=tuple((mark / last_step * WIDTH, f"{mark:,.0f}") for mark in step_marks),
        value_ticks=tuple((_y(mark, low, high), f"{mark:g}") for mark in value_marks),
    )


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return at most `MAX_POINTS` means of neighbouring points."""
    size = -(-len(points) // MAX_POINTS)
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(_mean([step for step, _ in part]), _mean([value for _, value in part])) for part in parts]


def _round_scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """Return round numbers around `low` and `high`, and the marks from the one to the other: three to six steps."""
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span))
    step = next(magnitude * each for each in (0.2, 0.25, 0.5, 1, 2, 2.5, 5) if span / (magnitude * each) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    marks = [round(number * step, 12) for number in range(first, max(last, first + 1) + 1)]
    return marks[0], marks[-1], marks


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - (value - low) / (high - low) * HEIGHT


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
