"""The logged figures. A new one is a file like `memory.py`, and a line in `LOGGED`."""

from annotations.tables import Table
from training.logged.figure import LoggedFigure

LOGGED: Table[LoggedFigure] = Table(
    {
        "gradient_norm": "training.logged.learning:GRADIENT_NORM",
        "learning_rate": "training.logged.learning:LEARNING_RATE",
        "samples_per_second": "training.logged.speed:SAMPLES_PER_SECOND",
        "data_wait_share": "training.logged.speed:DATA_WAIT_SHARE",
        "memory_mb": "training.logged.memory:MEMORY_MB",
        "skipped_images": "training.logged.skipped:SKIPPED_IMAGES",
    }
)
"""Beside `step`, `loss`, `terms` and `time`, which every line has."""
