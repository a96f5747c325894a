"""How much memory a run takes."""

from training.execution.loop import memory_mb
from training.logged.figure import LoggedFigure

MEMORY_MB = LoggedFigure(measure=lambda steps: memory_mb(steps.device), told=lambda value: f"{value / 1000:.1f} GB")
