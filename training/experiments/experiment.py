"""What an experiment is: arms that are compared, over seeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from training.experiments.trial import Results, Trial


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What is compared, and how."""

    arms: Mapping[str, str | None]
    """The first is what all others are compared with."""
    num_steps: int
    """Steps of every trial, unless given; equal for all."""
    prepare: Callable[[Trial], object]
    """Begins a trial; stores and steps that no trial can have end here."""
    run_trial: Callable[[Trial], Mapping[str, float]]
    """Trains and measures one arm with one seed, as far as that is not done."""
    train_base: Callable[[Trial], None] | None = None
    """Trains what all arms of a seed start from."""
    conclude: Callable[[Results], str] | None = None
    """Returns what is told below the table."""
