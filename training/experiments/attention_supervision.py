"""Which attention supervision helps, and is "indirect" the worst? Source: Samaran et al., ACL-IJCNLP SRW 2021.

Every seed has one run that has learnt which captions match, and all its arms fine-tune it on pairs of captions.
Attention points better where it is supervised, by construction, and a classifier's states are easier to probe; what is
tested are tasks that no arm was supervised for: referring expressions after few steps, and questions. The permuted arm
has the same loss with a sentence's regions permuted: what it gains too is not owed to grounding. Arms learn equally
long, and `caption_match` tells whether they have learnt the main task as well as each other.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from training.data.batches import BatchMaker, BatchOptions
from training.execution.evaluation import evaluate
from training.execution.finetune import FinetuneOptions
from training.experiments.experiment import Experiment
from training.experiments.pretrained import matching_of, prepare_base, train_matching
from training.experiments.trial import RESULT, Trial, read_result
from training.probes.alignment import measure_alignment
from training.weights.ours import load_model

ARMS: dict[str, str | None] = {
    "none": None,
    "indirect": "indirect",
    "indirect-shifted": "indirect-shifted",
    "direct": "direct",
    "semi-direct": "semi-direct",
    "direct-permuted": "direct-permuted",
}
"""Variants of the task `vgp`, by the arm's name."""

TRANSFERS: dict[str, FinetuneOptions] = {
    "refcoco": FinetuneOptions(num_steps=60, learning_rate=1e-3),
    "gqa": FinetuneOptions(num_steps=600, batch_size=64, learning_rate=1e-3),
}
"""What is learnt after, from each arm's weights alike."""

POINTING = ("attention", "rollout")


def run_trial(trial: Trial) -> dict[str, float]:
    """Train and measure one arm with one seed, as far as that is not done; return its figures."""
    trial.finetune(
        "vgp",
        matching_of(trial),
        trial.folder,
        FinetuneOptions(
            variant=ARMS[trial.arm], num_steps=trial.num_steps, learning_rate=1e-3, seed=trial.seed, batch_size=32
        ),
    )
    if (trial.folder / RESULT).exists():
        return read_result(trial.folder)
    figures = _measured(trial, trial.folder, "vgp")
    pointing = figures.pop("pointing")
    figures |= {
        f"pointing {name}": each["recall"]["1"]
        for name, each in pointing.items()
        if name.startswith(POINTING) or name in ("grounding", "chance", "first_region", "best")
    }
    figures["linear_probe"] = _probed(trial)
    for task, options in TRANSFERS.items():
        folder = trial.folder / task
        trial.finetune(task, trial.folder, folder, replace(options, seed=trial.seed))
        found = _measured(trial, folder, task)
        figures |= {f"{task} {part}": accuracy for part, accuracy in _accuracies(found).items()}
    return trial.write(figures)


def _accuracies(scores: dict[str, Any]) -> dict[str, Any]:
    """Return a task's accuracy, or that of each of its parts."""
    if "accuracy" in scores:
        return {"accuracy": scores["accuracy"]}
    return {part: figures["accuracy"] for part, figures in scores.items()}


def _measured(trial: Trial, folder: Path, task: str) -> dict[str, Any]:
    run, model = load_model(folder)
    with trial.shards(run) as shards:
        return evaluate(run, model, shards, task_name=task, split="val", out=folder)


def _probed(trial: Trial) -> dict[str, Any]:
    """Return how well a probe, trained identically on every arm's frozen states, finds the words' regions."""
    run, model = load_model(trial.folder)
    with trial.shards(run) as shards:
        maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
        numbers = {split: shards.select(splits=(split,), sources=("flickr30k-entities",)) for split in ("train", "val")}
        found = measure_alignment(model, maker, train=numbers["train"], test=numbers["val"], options=trial.probe)
    return asdict(found.linear_probe)


EXPERIMENT = Experiment(
    arms=ARMS,
    num_steps=1500,
    prepare=prepare_base,
    run_trial=run_trial,
    train_base=train_matching,
)
