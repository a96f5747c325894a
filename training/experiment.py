"""Does alignment supervision help? Arms that differ in one thing, the same seeds, equal steps, paired differences.

Hypothesis, metrics, seeds and the stopping rule are fixed before anything runs. Alignment read from attention or from
the probe goes up by construction where it is supervised; what is tested is answers and their consistency. The permuted
arm has the same loss with every sentence's targets on other regions: what it gains too is not owed to alignment.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stores.atomic import write_json
from training.batches import BatchMaker, BatchOptions
from training.checkpoints import OPTIMIZER, list_checkpoints
from training.evaluation import evaluate
from training.presets import find_preset
from training.pretrain import Overrides, prepare
from training.probes.alignment import measure_alignment
from training.probes.linear_probe import ProbeOptions
from training.runs import Run
from training.shards import JoinedShards
from training.weights import load_model
from training.worker import Place, TrainTask, train_run

PRESET = "toy-questions"

ARMS: dict[str, str | None] = {
    "none": "no-alignment",
    "code": None,
    "paper": "paper-target",
    "position-only": "position-only",
    "semantic-only": "semantic-only",
    "permuted": "permuted",
}
"""Ablations of the preset, by the arm's name; the first is what all others are compared with."""

RESULT = "result.json"
RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm with one seed."""

    arm: str
    seed: int
    regions: Path
    sentences: Path
    out: Path
    """Folder of its run."""
    num_steps: int
    probe: ProbeOptions = field(default_factory=ProbeOptions)


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


def prepare_trial(trial: Trial) -> Run:
    """The trial's folder is that of its run, new or begun before; nothing is trained. Errors are those of `prepare`."""
    return prepare(
        find_preset(PRESET, ARMS[trial.arm]),
        regions=trial.regions,
        sentences=trial.sentences,
        out=trial.out,
        overrides=Overrides(num_steps=trial.num_steps, seed=trial.seed),
    )


def run_trial(trial: Trial) -> dict[str, float]:
    """Train and measure one arm with one seed, as far as that is not done; return its figures.

    One thread: trials run beside each other, and their numbers do not depend on how many do.

    Raises:
        StoreError: the folder has a trial with other data or another number of steps.
    """
    torch.set_num_threads(1)
    prepare_trial(trial)
    if not (trial.out / RESULT).exists():
        task = TrainTask(
            run=trial.out, regions=trial.regions, sentences=trial.sentences, loader_workers=0, keep=1, log_every=50
        )
        train_run(task, Place())
        write_json(trial.out / RESULT, measure_trial(trial))
    for checkpoint in list_checkpoints(trial.out):  # a trial that is done goes on no more
        (checkpoint.folder / OPTIMIZER).unlink(missing_ok=True)
    return read_result(trial.out)


def measure_trial(trial: Trial) -> dict[str, float]:
    """Return the figures of a trained trial: GQA's on its validation questions, and where their words were found."""
    run, model = load_model(trial.out)
    with JoinedShards(trial.regions, trial.sentences) as shards:
        answered = evaluate(run, model, shards, task_name="gqa", split="val", out=trial.out)
        aligned = measure_alignment(
            model,
            BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces)),
            train=shards.select(splits=("train",), sources=("gqa",)),
            test=shards.select(splits=("val",), sources=("gqa",)),
            options=trial.probe,
        )
    return _flat(answered | asdict(aligned))


def read_result(folder: Path) -> dict[str, float]:
    """Return the figures of a trial that is done."""
    figures: dict[str, float] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return figures


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


def _flat(figures: Mapping[str, Any], name: str = "") -> dict[str, float]:
    """Return the figures that have a value, by their path; of the many finer types of questions none."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        path = f"{name} {key}".strip()
        if isinstance(value, dict) and "value" in value:
            found |= {path: value["value"]} if value["value"] is not None else {}
        elif isinstance(value, dict) and key not in ("per_detailed_type", "per_semantic_type"):
            found |= _flat(value, path)
    return found
