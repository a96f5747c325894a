"""Does alignment supervision help to answer? Source: Kervadec et al., ECAI 2020, section 4.

Hypothesis, metrics, seeds and the stopping rule are fixed before anything runs. Alignment read from attention or from
the probe goes up by construction where it is supervised; what is tested is answers and their consistency. The permuted
arm has the same loss with every sentence's targets on other regions: what it gains too is not owed to alignment.
"""

from dataclasses import asdict

from training.data.batches import BatchMaker, BatchOptions
from training.execution.evaluation import evaluate
from training.execution.pretrain import Overrides, prepare
from training.experiments.experiment import Experiment
from training.experiments.trial import RESULT, Trial, read_result
from training.probes.alignment import measure_alignment
from training.runs.folder import Run
from training.runs.presets import find_preset
from training.weights.ours import load_model

PRESET = "toy-questions"

ARMS: dict[str, str | None] = {
    "none": "no-alignment",
    "code": None,
    "paper": "paper-target",
    "position-only": "position-only",
    "semantic-only": "semantic-only",
    "permuted": "permuted",
}
"""Ablations of the preset, by the arm's name."""


def prepare_trial(trial: Trial) -> Run:
    """The trial's folder is that of its run, new or begun before; nothing is trained. Errors are those of `prepare`."""
    return prepare(
        find_preset(PRESET, ARMS[trial.arm]),
        regions=trial.regions,
        sentences=trial.sentences,
        out=trial.folder,
        overrides=Overrides(num_steps=trial.num_steps, seed=trial.seed),
    )


def run_trial(trial: Trial) -> dict[str, float]:
    """Train and measure one arm with one seed, as far as that is not done; return its figures.

    They are GQA's, on its validation questions, and where the words of these were found.

    Raises:
        StoreError: the folder has a trial with other data or another number of steps.
    """
    prepare_trial(trial)
    if (trial.folder / RESULT).exists():
        return read_result(trial.folder)
    trial.train(trial.folder)
    run, model = load_model(trial.folder)
    with trial.shards(run) as shards:
        answered = evaluate(run, model, shards, task_name="gqa", split="val", out=trial.folder)
        aligned = measure_alignment(
            model,
            BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces)),
            train=shards.select(splits=("train",), sources=("gqa",)),
            test=shards.select(splits=("val",), sources=("gqa",)),
            options=trial.probe,
        )
    return trial.write(answered | asdict(aligned))


EXPERIMENT = Experiment(
    arms=ARMS,
    num_steps=1500,
    prepare=prepare_trial,
    run_trial=run_trial,
)
