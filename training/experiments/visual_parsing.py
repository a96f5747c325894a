"""Does hiding what a cell attends to make a visual parser look at words? Source: Xue et al., NeurIPS 2021, section 4.3.

Hypothesis, metrics, seeds and the stopping rule are fixed before anything runs. What is tested is answers to questions,
after few steps of fine-tuning from every arm's weights alike, and how much worse hidden cells are guessed without the
text. What a cell attends to is what lies around it: the arm that hides blocks tells the one from the other. Flow
between words and cells is measured on the same pairs for all arms, and correlated with answers over all models, given
how well they learnt the words.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.batch import Batch
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import evaluation_batches
from training.execution.evaluation import evaluate
from training.execution.finetune import FinetuneOptions
from training.execution.pretrain import Overrides, prepare
from training.execution.progress import read_metrics
from training.experiments.comparison import compare, table
from training.experiments.correlation import spearman
from training.experiments.experiment import Experiment
from training.experiments.toy_trunk import train_trunk, trunk_of
from training.experiments.trial import RESULT, Results, Trial, read_result
from training.models.visual_parser import VisualParserShape
from training.probes.modalities import BATCH_SIZE, EvaluationPairs, measure_modalities
from training.probes.reliance import reliance_on_text
from training.runs.folder import Run
from training.runs.presets import find_preset
from training.weights.ours import load_model

PRESET = "toy-visual-parsing"

ARMS: dict[str, str | None] = {"none": "no-mask", "random": "random", "attention": "attention", "block": "block"}
"""Ablations of the preset, by the arm's name."""

HIDING = ("random", "attention", "block")
"""The arms that guess what was hidden; the first is what the others are compared with."""

QUESTIONS = FinetuneOptions(num_steps=2000, batch_size=32, learning_rate=2e-3)
"""With half of these steps, answers are nearly those that are given without a picture."""

CAPTIONS = "flickr30k-entities"
"""Data set whose pairs in val are measured."""

MAX_PAIRS = 512
LAST_LINES = 5
"""Lines at the end of the training's log over which its loss is the mean."""


def prepare_trial(trial: Trial) -> Run:
    """The trial's folder is that of its run, new or begun before; nothing is trained. Errors are those of `prepare`."""
    return prepare(
        find_preset(PRESET, ARMS[trial.arm]),
        regions=trial.regions,
        images=trial.images,
        sentences=trial.sentences,
        out=trial.folder,
        overrides=Overrides(num_steps=trial.num_steps, seed=trial.seed),
    )


def train_base(trial: Trial) -> None:
    """What all arms of the trial's seed begin with is there: a trunk; of stored grids there is none."""
    shape = find_preset(PRESET).encoder
    if trial.images and isinstance(shape, VisualParserShape) and shape.trunk is not None:
        train_trunk(trial, shape.trunk)


def run_trial(trial: Trial) -> dict[str, float]:
    """Train and measure one arm with one seed, as far as that is not done; return its figures.

    Raises:
        StoreError: the folder has a trial with other data or another number of steps.
    """
    prepare_trial(trial)
    if (trial.folder / RESULT).exists():
        return read_result(trial.folder)
    trial.train(trial.folder, trunk=trunk_of(trial) if trial.images else None)
    figures = {"masked words": _last_loss(trial, "masked_words"), **_looked_at(trial)}
    folder = trial.folder / "gqa"
    trial.finetune("gqa", trial.folder, folder, replace(QUESTIONS, seed=trial.seed))
    run, model = load_model(folder)
    with trial.shards(run) as shards:
        found = evaluate(run, model, shards, task_name="gqa", split="val", out=folder)
    return trial.write(figures | {"gqa accuracy": found["accuracy"]})


def conclude(results: Results) -> str:
    """Return what is told below the table: arms that hide beside each other, flow beside answers over all models."""
    arms = [arm for arm in HIDING if any(arm == each for each, _ in results)]
    of_arms = {key: figures for key, figures in results.items() if key[0] in arms}
    seeds = {seed for _, seed in results}
    lines = [table(compare(of_arms, arms), arms, len(seeds))] if len(arms) > 1 else []
    if len(results) >= 5:
        lines += [f"Over {len(results)} models, Spearman's rank correlation of `gqa accuracy` with\n"]
        lines += [_correlations(results, name) for name in ("flow within", "flow from input")]
    return "\n".join(lines)


def _correlations(results: Results, name: str) -> str:
    flow, answers, loss = (
        [figures[key] for figures in results.values()] for key in (name, "gqa accuracy", "masked words")
    )
    return f"- {name}: {_told(flow, answers)}; given the loss of masked words {_told(flow, answers, given=loss)}"


def _told(one: Sequence[float], other: Sequence[float], given: Sequence[float] | None = None) -> str:
    try:
        found = spearman(one, other, given=given)
    except ValueError as error:  # such as answers that are equally good in all models
        return f"none ({error})"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _last_loss(trial: Trial, term: str) -> float:
    lines = read_metrics(trial.folder)[-LAST_LINES:]
    return float(np.mean([line["terms"][term] for line in lines]))


def _looked_at(trial: Trial) -> Mapping[str, float]:
    """Return what flows between words and cells, and what the text is good for where cells were hidden."""
    run, model = load_model(trial.folder)
    batches = run.recipe.batches
    with trial.shards(run) as shards:
        numbers = shards.select(splits=("val",), sources=(CAPTIONS,))
        seen = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=batches.max_pieces), seed=0)
        flows = measure_modalities(model, EvaluationPairs(seen, numbers, MAX_PAIRS)).summary
        figures = {
            "flow within": flows["flow_within"],
            "flow within over uniform": flows["flow_within_over_uniform"],
            "flow from input": flows["flow_from_input"],
            "flow from input over uniform": flows["flow_from_input_over_uniform"],
            "nmi": flows["nmi"],
        }
        if trial.arm in HIDING and isinstance(batches, BatchOptions):
            hiding = replace(seen.options, mask_tokens="random", token_share=batches.token_share)
            maker = BatchMaker(shards, run.tokenizer, hiding, seed=0)
            relied = reliance_on_text(model, _hidden(maker, numbers[:MAX_PAIRS]), term="masked_tokens")
            figures |= {"hidden cells": relied.with_text, "hidden cells, worse without text": relied.difference}
    return figures


def _hidden(maker: BatchMaker, numbers: NDArray[np.int64]) -> Iterator[Batch]:
    """Yield batches of these pairs, in which other cells are hidden in each; the same for every model."""
    for step, part in enumerate(evaluation_batches(numbers, maker.shards.lengths[numbers], BATCH_SIZE)):
        yield maker.make(part, step=step)


EXPERIMENT = Experiment(
    arms=ARMS,
    num_steps=800,
    prepare=prepare_trial,
    run_trial=run_trial,
    train_base=train_base,
    conclude=conclude,
)
