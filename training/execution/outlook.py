"""What a run would do, of which nothing is done: steps that are left, and bytes of its checkpoints."""

from typing import Any

import torch

from training.execution.launch import steps_done
from training.model import Model, num_parameters
from training.runs.folder import Run, is_begun

BYTES_OF_A_WEIGHT = 4 * 3
"""Bytes of a checkpoint for each weight: itself and the optimizer's two moments, float32."""


def outlook(run: Run, *, keep: int) -> dict[str, Any]:
    """Return the steps of a run, new or begun, and about the bytes of the checkpoints that stay."""
    recipe = run.recipe
    done = steps_done(run.folder) if is_begun(run.folder) else 0
    with torch.device("meta"):
        weights = num_parameters(Model(recipe.encoder, recipe.objectives, recipe.sizes))
    left = max(0, recipe.num_steps - done)
    averages = 4 if recipe.optimization.ema else 0
    return {
        "out": str(run.folder),
        "sources": list(recipe.sources),
        "batch_size": recipe.batch_size,
        "steps": recipe.num_steps,
        "steps_done": done,
        "steps_left": left,
        "weights": weights,
        "bytes": weights * (BYTES_OF_A_WEIGHT + averages) * keep if left else 0,
        "written": "nothing, with --dry-run",
    }
