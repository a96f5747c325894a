"""Arms side by side: means over seeds, and paired differences from the first arm with their bootstrap intervals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one arm over all seeds."""

    arm: str
    metric: str
    mean: float
    deviation: float
    """Standard deviation over seeds."""
    difference: float
    """Mean of the paired differences from the first arm."""
    low: float
    """Lower end of their 95 % bootstrap interval over seeds."""
    high: float


def compare(results: Mapping[tuple[str, int], Mapping[str, float]], arms: Sequence[str]) -> list[Comparison]:
    """Return every metric of every arm, with its paired differences from the first arm.

    Args:
        results: figures by arm and seed; every arm has every seed.
    """
    seeds = sorted({seed for _, seed in results})
    metrics = [name for name in results[arms[0], seeds[0]] if all(name in figures for figures in results.values())]
    return [_compared(results, arms[0], arm, metric, seeds) for metric in metrics for arm in arms]


def table(comparisons: Iterable[Comparison], arms: Sequence[str], num_seeds: int) -> str:
    """Return the comparisons as a Markdown table; a difference whose interval does not hold 0 is marked."""
    rows = [
        f"| metric, mean of {num_seeds} seeds | {' | '.join(arms)} |",
        f"|---|{'---|' * len(arms)}",
    ]
    by_metric: dict[str, list[Comparison]] = {}
    for each in comparisons:
        by_metric.setdefault(each.metric, []).append(each)
    rows += [f"| {metric} | {' | '.join(map(_cell, found))} |" for metric, found in by_metric.items()]
    return "\n".join(rows) + "\n"


def _compared(
    results: Mapping[tuple[str, int], Mapping[str, float]], first: str, arm: str, metric: str, seeds: Sequence[int]
) -> Comparison:
    values = np.array([results[arm, seed][metric] for seed in seeds])
    differences = values - np.array([results[first, seed][metric] for seed in seeds])
    rng = np.random.default_rng(0)
    means = rng.choice(differences, (RESAMPLES, len(seeds))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Comparison(
        arm=arm,
        metric=metric,
        mean=float(values.mean()),
        deviation=float(values.std(ddof=1)) if len(seeds) > 1 else 0.0,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
    )


def _cell(each: Comparison) -> str:
    told = f"{each.mean:.3f} ± {each.deviation:.3f}"
    if each.difference == each.low == each.high == 0:
        return told
    mark = "" if each.low <= 0 <= each.high else " *"
    return f"{told}; {each.difference:+.3f} [{each.low:+.3f}, {each.high:+.3f}]{mark}"
