"""The model of pre-training: one encoder, and a head for each objective."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from training.models.two_stream import TwoStreamEncoder, TwoStreamShape, initialize
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.sizes import Sizes
from training.records import Batch, EncoderOutputs


class PretrainingModel(nn.Module):
    """Maps a batch to the loss terms of all objectives."""

    def __init__(self, shape: TwoStreamShape, objectives: Objectives, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = TwoStreamEncoder(shape)
        self.objectives = build_objectives(objectives, sizes)
        initialize(self.objectives)

    def encode(self, batch: Batch, taps: Collection[str] = ()) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for."""
        outputs: EncoderOutputs = self.encoder(batch, taps)
        return outputs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every objective's terms by name, not weighted."""
        outputs = self.encode(batch)
        return {name: term for head in self.objectives.values() for name, term in head(outputs, batch).items()}


def build_pretraining_model(
    shape: TwoStreamShape, objectives: Objectives, sizes: Sizes, *, seed: int
) -> PretrainingModel:
    """Return a new model; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PretrainingModel(shape, objectives, sizes)


def num_parameters(module: nn.Module) -> int:
    """Return the number of a module's weights."""
    return sum(each.numel() for each in module.parameters())


def term_weights(objectives: Objectives) -> dict[str, float]:
    """Return the weight of each objective, by the objective's name."""
    asked: dict[str, Any] = vars(objectives)
    return {name: options.weight for name, options in asked.items() if options is not None}
