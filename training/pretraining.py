"""The model of pre-training: one encoder, and a head for each objective."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from training.models.heads import AnswerHead
from training.models.two_stream import TwoStreamEncoder, TwoStreamShape, initialize
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import WordObjectAlignment
from training.records import Batch, EncoderOutputs


class PretrainingModel(nn.Module):
    """Maps a batch to the loss terms of all objectives."""

    def __init__(self, shape: TwoStreamShape, objectives: Objectives, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = TwoStreamEncoder(shape)
        self.objectives = build_objectives(objectives, sizes)
        self.options = objectives
        self.sizes = sizes
        initialize(self.objectives)

    @property
    def answer_head(self) -> AnswerHead | None:
        """The head that chooses answers, where the run has one."""
        if "question_answering" not in self.objectives:
            return None
        head: AnswerHead = self.objectives["question_answering"].head  # type: ignore[assignment]
        return head

    @property
    def alignment(self) -> WordObjectAlignment | None:
        """The decoder of word-object alignments, where the run has one."""
        if "word_object_alignment" not in self.objectives:
            return None
        head: WordObjectAlignment = self.objectives["word_object_alignment"]  # type: ignore[assignment]
        return head

    def encode(self, batch: Batch, taps: Collection[str] = ()) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for."""
        outputs: EncoderOutputs = self.encoder(batch, taps)
        return outputs

    def weights(self, epoch: int) -> dict[str, float]:
        """Return the weight of every term in an epoch, counted from 0."""
        weights: dict[str, float] = {}
        for name, head in self.objectives.items():
            options = getattr(self.options, name)
            terms: tuple[str, ...] = head.terms  # type: ignore[assignment]
            is_on = epoch >= getattr(options, "from_epoch", 0)
            weights |= dict.fromkeys(terms, options.weight if is_on else 0.0)
        return weights

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every objective's terms by name, not weighted."""
        outputs = self.encode(batch)
        return {name: term for head in self.objectives.values() for name, term in head(outputs, batch).items()}


def build_pretraining_model(
    shape: TwoStreamShape, objectives: Objectives, sizes: Sizes, *, seed: int
) -> PretrainingModel:
    """Return a new model; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the GPUs' generators alone
        return PretrainingModel(shape, objectives, sizes)


def num_parameters(module: nn.Module) -> int:
    """Return the number of a module's weights."""
    return sum(each.numel() for each in module.parameters())
