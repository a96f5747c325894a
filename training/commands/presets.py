"""`vinculum-train presets`."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from stores.programs.terminal import printable_lines
from training.model import Model, num_parameters
from training.objectives.sizes import Sizes
from training.report.tables import markdown_table
from training.runs.presets import PRESETS, Preset, find_preset


@dataclass(frozen=True, kw_only=True)
class PresetsCommand:
    """List the presets of pre-training: what each learns, what it costs, and its ablations.

    vinculum-train presets
    """

    preset: str | None = None
    """Preset to describe in full; by default a table lists all."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Print the table of all, and return what is known of each, or of the one that is asked for."""
        if self.preset is not None:
            return {"preset": self.preset, **_described(find_preset(self.preset))}
        described = {name: _described(preset) for name, preset in PRESETS.items()}
        if self.json:
            return {"presets": described}
        head = ["preset", "weights", "a step", "length", "what it learns"]
        rows = [
            [name, f"{each['weights'] / 1e6:.1f} M", each["step"], each["length"], each["about"]]
            for name, each in described.items()
        ]
        print(printable_lines(markdown_table([head, *rows])))
        return {"more": "vinculum-train presets --preset NAME, also its ablations, hardware and command"}


def _described(preset: Preset) -> dict[str, Any]:
    length = f"{preset.epochs:g} epochs" if preset.num_steps is None else f"{preset.num_steps} steps"
    what = "images" if preset.batches.in_groups else "sentences"
    return {
        "about": preset.about,
        "weights": _num_weights(preset),
        "step": f"{preset.batch_size} {what}",
        "length": length,
        "precision": preset.precision,
        "hardware": preset.hardware,
        "expected": preset.expected,
        "objectives": list(preset.objectives.asked()),
        "sources": None if preset.sources is None else list(preset.sources),
        "ablations": list(preset.ablations),
        "command": preset.command,
    }


def _num_weights(preset: Preset) -> int:
    """Return how many numbers the model learns of data with Visual Genome's names."""
    shape = preset.encoder
    if preset.tokenizer is None:  # a tokenizer is trained
        shape = replace(shape, vocab_size=preset.vocab_size)
    sizes = Sizes(
        hidden_size=shape.hidden_size,
        vocab_size=shape.vocab_size,
        feature_dim=shape.feature_dim,
        num_classes=1600,
        num_attributes=400,
        num_answers=preset.num_answers,
    )
    with torch.device("meta"):
        return num_parameters(Model(shape, preset.objectives, sizes))
