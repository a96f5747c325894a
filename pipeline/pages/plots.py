"""Geometry of the page's plots: numbers in, rectangles and points in plot units out; the template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.run_log import STAGES, Run, merge_shards

WIDTH, HEIGHT = 1000.0, 200.0
"""Plot units; x grows to the right, y downwards."""

MAX_BARS = 150

Ticks = tuple[tuple[float, str], ...]
"""An axis: where its lines are, and what stands beside them."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    """What it stands for: a stage, or nothing."""
    title: str
    """Shown where the pointer rests."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One shard's rate."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, kw_only=True)
class RunMark:
    """Where a run begins."""

    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class ThroughputPlot:
    """Images per second over the time that runs were at work; pauses between runs take no room."""

    points: tuple[Point, ...]
    lines: tuple[str, ...]
    """One SVG polyline a run: its detected images so far by its time so far."""
    marks: tuple[RunMark, ...]
    rate_ticks: Ticks
    time_ticks: Ticks
    bars: tuple[Bar, ...]
    """Milliseconds a stage took for an image, stacked."""
    bar_ticks: Ticks
    shards_per_bar: int


def plot_throughput(runs: Sequence[Run]) -> ThroughputPlot | None:
    """Return the plot of all runs one after another, or None where no shard was finished."""
    whole = sum(run.seconds for run in runs)
    num_shards = sum(len(run.shards) for run in runs)
    if not num_shards or whole <= 0:
        return None
    limit = max(MAX_BARS // len(runs), 1)
    merged = [merge_shards(run.shards, limit) for run in runs]
    top_rate = max(max(shard.images_per_second for shards in merged for shard in shards), _fastest(runs))
    rate_top, rate_ticks = _scale(top_rate)
    per_image = [
        {stage: 1000 * shard.stage_seconds[stage] / max(shard.num_images, 1) for stage in STAGES}
        for shards in merged
        for shard in shards
    ]
    bar_top, bar_ticks = _scale(max(sum(stages.values()) for stages in per_image))
    points, lines, marks, before = [], [], [], 0.0
    for number, (run, shards) in enumerate(zip(runs, merged, strict=True), start=1):
        marks.append(RunMark(x=_x(before, whole), text=f"run {number}, {run.started:%d %b %H:%M}"))
        line, images = [], 0
        for shard in shards:
            x, images = _x(before + shard.finished_seconds, whole), images + shard.num_detected
            rate, so_far = shard.images_per_second, images / max(shard.finished_seconds, 1e-9)
            if shard.num_detected:
                title = f"{rate:.2f} images/s, {shard.num_detected} images"
                points.append(Point(x=x, y=_y(rate, rate_top), title=title))
            line.append(f"{x:.1f},{_y(so_far, rate_top):.1f}")
        lines.append(" ".join(line))
        before += run.seconds
    return ThroughputPlot(
        points=tuple(points),
        lines=tuple(lines),
        marks=tuple(marks),
        rate_ticks=rate_ticks,
        time_ticks=tuple((_x(whole * part / 4, whole), _duration(whole * part / 4)) for part in range(5)),
        bars=_stacked(per_image, bar_top),
        bar_ticks=bar_ticks,
        shards_per_bar=max(-(-len(run.shards) // limit) for run in runs),
    )


def _fastest(runs: Sequence[Run]) -> float:
    rates = [0.0]
    for run in runs:
        images = 0
        for shard in run.shards:
            images += shard.num_detected
            rates.append(images / max(shard.finished_seconds, 1e-9))
    return max(rates)


def _stacked(per_image: Sequence[dict[str, float]], top: float) -> tuple[Bar, ...]:
    room = WIDTH / len(per_image)
    gap = min(room * 0.15, 3.0)
    bars = []
    for number, stages in enumerate(per_image):
        y = HEIGHT
        for stage in STAGES:
            height = stages[stage] / top * HEIGHT
            y -= height
            title = f"{stage}: {stages[stage]:.1f} ms an image"
            bars.append(Bar(x=number * room + gap / 2, y=y, width=room - gap, height=height, kind=stage, title=title))
    return tuple(bars)


def _scale(top: float) -> tuple[float, Ticks]:
    """Return a round number not below `top`, and the ticks up to it."""
    if top <= 0:
        return 1.0, ()
    magnitude = 10.0 ** (len(str(int(top))) - 1)
    while magnitude > top:
        magnitude /= 10
    step = next(magnitude * each for each in (0.25, 0.5, 1, 2, 2.5) if magnitude * each * 5 >= top)
    count = int(-(-top // step))
    return step * count, tuple((_y(step * number, step * count), f"{step * number:g}") for number in range(count + 1))


def _x(seconds: float, whole: float) -> float:
    return seconds / whole * WIDTH


def _y(value: float, top: float) -> float:
    return HEIGHT - value / top * HEIGHT


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
