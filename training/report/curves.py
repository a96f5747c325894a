"""Curves of the report, as points of small plots: losses by step, and what was measured by layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 300.0, 150.0
"""Plot units; x grows to the right, y downwards."""

MAX_POINTS = 150
"""Points of a curve at most; more lines of metrics are joined into means."""

MODALITY_FIGURES = {
    "flow_within": ("flow within a layer", "share"),
    "flow_from_input": ("flow from the input to a layer", "share"),
    "nmi": ("words and regions as two clusters of states", "NMI"),
    "flow_within_over_uniform": ("flow within a layer, over uniform", "ratio"),
    "flow_from_input_over_uniform": ("flow from the input, over uniform", "ratio"),
}
"""What is plotted of `training.probes.modalities.LayerModalities`: its title, and what its values are."""

Ticks = tuple[tuple[float, str], ...]
"""An axis: where its lines are, and what stands beside them."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One run's values of one term."""

    run: int
    """Its place among the runs."""
    points: str
    """Points of an SVG polyline."""
    last: float
    """Mean over the last tenth of a curve of losses; of layers, the last one's."""
    uniform: str = ""
    """Points of the same for uniform attention, where there is such a thing."""


@dataclass(frozen=True, kw_only=True)
class CurvePlot:
    """One term; runs that do not have it are not there."""

    term: str
    title: str
    axes: tuple[str, str]
    """What x and y are."""
    curves: tuple[Curve, ...]
    ticks: Ticks
    """Ticks of the x-axis: steps, or layers."""
    value_ticks: Ticks
    even: float | None = None
    """Place where a ratio is 1, for curves of ratios."""


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


def plot_layers(measured: Sequence[Mapping[str, Any]]) -> tuple[CurvePlot, ...]:
    """Return a plot for each figure of `MODALITY_FIGURES`, by layers in which words and regions meet, from 1.

    Args:
        measured: of each run, its `modalities.json`; empty where it was not measured.
    """
    layers = [list(each.get("layers", {}).values()) for each in measured]
    last_layer = max(map(len, layers), default=0)
    return tuple(_plot_of_layers(name, layers, last_layer) for name in MODALITY_FIGURES) if last_layer else ()


def _plot_of_layers(name: str, layers: Sequence[Sequence[Mapping[str, float]]], last_layer: int) -> CurvePlot:
    uniform = f"{name}_uniform"
    values = [each[key] for of_run in layers for each in of_run for key in (name, uniform) if key in each]
    title, value = MODALITY_FIGURES[name]
    is_ratio = value == "ratio"
    low, high, value_marks = _round_scale(0, max([*values, 1.0] if is_ratio else values))

    def points(of_run: Sequence[Mapping[str, float]], key: str) -> str:
        told = [(_x(number, last_layer), each[key]) for number, each in enumerate(of_run, 1) if key in each]
        return _points(told, low, high)

    marks = range(1, last_layer + 1, -(-last_layer // 12))
    return CurvePlot(
        term=name,
        title=title,
        axes=("layer", value),
        curves=tuple(
            Curve(run=run, points=points(of_run, name), last=of_run[-1][name], uniform=points(of_run, uniform))
            for run, of_run in enumerate(layers)
            if of_run
        ),
        ticks=tuple((_x(mark, last_layer), str(mark)) for mark in marks),
        value_ticks=tuple((_y(mark, low, high), f"{mark:g}") for mark in value_marks),
        even=_y(1, low, high) if is_ratio else None,
    )


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
            points=_points([(step / last_step * WIDTH, value) for step, value in points], low, high),
            last=_mean([value for _, value in points[-max(1, len(points) // 10) :]]),
        )
        for run, points in series.items()
    ]
    return CurvePlot(
        term=term,
        title=term.replace("_", " "),
        axes=("step", "loss"),
        curves=tuple(curves),
        ticks=tuple((mark / last_step * WIDTH, f"{mark:,.0f}") for mark in step_marks),
        value_ticks=tuple((_y(mark, low, high), f"{mark:g}") for mark in value_marks),
    )


def _points(told: Sequence[tuple[float, float]], low: float, high: float) -> str:
    """Return an SVG polyline's points; a single one is there twice, so that its round ends are a dot."""
    return " ".join(f"{x:.1f},{_y(value, low, high):.1f}" for x, value in (told if len(told) > 1 else [*told, *told]))


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


def _x(layer: int, last_layer: int) -> float:
    """Return where a layer is, with half a layer's width left at both ends."""
    return (layer - 0.5) / last_layer * WIDTH


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - (value - low) / (high - low) * HEIGHT


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
