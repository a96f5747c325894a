"""The model of every run: one encoder, and a head for each objective. What a run learns is which objectives it has."""

from collections.abc import Collection
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.catalog import EncoderShape
from training.models.initialization import initialize
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.objective import Objective
from training.objectives.sizes import Sizes

Head = TypeVar("Head", bound=Objective)


class Model(nn.Module):
    """Maps a batch to the loss terms of all objectives."""

    def __init__(self, shape: EncoderShape, objectives: Objectives, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = shape.build()
        self.objectives = build_objectives(objectives, sizes)
        self.options = objectives
        self.sizes = sizes
        initialize(self.objectives, shape.initial_std)
        self._taps = tuple(tap for head in self.heads.values() for tap in head.taps(self.encoder))

    @property
    def heads(self) -> dict[str, Objective]:
        """The objectives by name."""
        return cast(dict[str, Objective], dict(self.objectives.items()))

    def head(self, kind: type[Head]) -> Head | None:
        """Return the objective of this kind; None: the run has none."""
        return next((head for head in self.heads.values() if isinstance(head, kind)), None)

    def encode(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for, and each layer's states if they are."""
        outputs: EncoderOutputs = self.encoder(batch, taps, keep_states=keep_states)
        return outputs

    def weights(self, step: int, *, num_steps: int, epoch: int) -> dict[str, float]:
        """Return the weight of every term at a step, counted from 0 as epochs are."""
        done = step / num_steps
        return {term: head.weight_at(done, epoch) for head in self.heads.values() for term in head.terms}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every objective's terms by name, not weighted; of what the objectives leave in the batch."""
        for head in self.heads.values():
            batch = head.narrow(batch, self._encode_as_it_is)
        outputs = self.encode(batch, self._taps)
        return {name: term for head in self.heads.values() for name, term in head(outputs, batch).items()}

    def _encode_as_it_is(self, batch: Batch) -> EncoderOutputs:
        """Return the encoder's outputs without dropout and without gradients; nothing is drawn."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            outputs = self.encode(batch)
        self.train(was_training)
        return outputs


def build_new(shape: EncoderShape, objectives: Objectives, sizes: Sizes, *, seed: int) -> Model:
    """Return a new model; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the GPUs' generators alone
        return Model(shape, objectives, sizes)


def num_parameters(module: nn.Module) -> int:
    """Return the number of a module's weights."""
    return sum(each.numel() for each in module.parameters())
