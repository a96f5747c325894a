"""What an experiment's arms start from: of each seed one pre-trained run.

Models of this size do not learn from nothing, in a few thousand steps, whether a caption matches its image. So words
learn to find their regions first, by word-object alignment. Which thing is left of which takes longer still; it comes
sooner where some heads are told which regions words mean, but not with every seed.
"""

from dataclasses import replace
from pathlib import Path

from training.execution.finetune import FinetuneOptions
from training.execution.pretrain import Overrides, prepare
from training.experiments.trial import Trial
from training.runs.presets import find_preset

PRESETS = {"attention-supervision": "toy-grounded", "congruence": "toy-relations"}
"""By experiment."""

RANKING = FinetuneOptions(num_steps=1500, learning_rate=1e-3, warmup=0.1, batch_size=16, candidates=3)
"""How a caption's image is told from three others drawn at random, and an image's caption."""


def base_of(trial: Trial) -> Path:
    """Return the folder of the run of the trial's seed whose words find their regions."""
    return trial.out / f"base-{trial.seed}"


def matching_of(trial: Trial) -> Path:
    """Return the folder of the run of the trial's seed that has learnt, after that, which captions match."""
    return trial.out / f"matching-{trial.seed}"


def prepare_base(trial: Trial) -> None:
    """That first run is begun, or was before; errors are those of `prepare`."""
    prepare(
        find_preset(PRESETS[trial.experiment]),
        regions=trial.regions,
        sentences=trial.sentences,
        out=base_of(trial),
        overrides=Overrides(seed=trial.seed),
    )


def train_base(trial: Trial) -> None:
    """It is finished."""
    prepare_base(trial)
    trial.train(base_of(trial))


def train_matching(trial: Trial) -> None:
    """Both are finished."""
    train_base(trial)
    trial.finetune("retrieval", base_of(trial), matching_of(trial), replace(RANKING, seed=trial.seed))
