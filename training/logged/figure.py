"""What a logged figure is measured from, and how people are shown it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from training.execution.loop import StepReport


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps since the last line of the log, at least one."""

    reports: Sequence[StepReport]
    waited: float
    """Seconds for which the first rank waited for data."""
    num_ranks: int
    device: torch.device
    model: nn.Module
    """As it is after the last of the steps."""

    @property
    def seconds(self) -> float:
        """Duration of all steps."""
        return sum(report.seconds for report in self.reports)


@dataclass(frozen=True, kw_only=True)
class LoggedFigure:
    """One figure of every line of `metrics.jsonl`."""

    measure: Callable[[Steps], float]
    """Returns the value; TensorBoard draws those that are no whole numbers."""
    told: Callable[[float], str] = lambda value: ""
    """Returns how a terminal shows the value; empty where it does not."""
