"""The model of every run: one encoder, and a head for each objective. What a run learns is which objectives it has."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from training.models.blocks import LayerChoice, chosen_layers
from training.models.catalog import EncoderShape, build_encoder
from training.models.heads import AnswerHead
from training.models.initialization import initialize
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.question_answering import QuestionAnsweringObjective
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import WordObjectAlignment
from training.records import Batch, EncoderOutputs


class Model(nn.Module):
    """Maps a batch to the loss terms of all objectives."""

    def __init__(self, shape: EncoderShape, objectives: Objectives, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = build_encoder(shape)
        self.objectives = build_objectives(objectives, sizes)
        self.options = objectives
        self.sizes = sizes
        initialize(self.objectives)
        self._taps = tuple(
            tap
            for choice in self._looked_at()
            for layer in chosen_layers(self.encoder.meeting_layers, choice)
            for tap in self.encoder.taps_of(layer)
        )

    @property
    def question_answering(self) -> QuestionAnsweringObjective | None:
        """The objective whose head chooses answers, where the run has one."""
        head = dict(self.objectives.items()).get("question_answering")
        return head if isinstance(head, QuestionAnsweringObjective) else None

    @property
    def answer_head(self) -> AnswerHead | None:
        """The head that chooses answers, where the run has one."""
        return None if self.question_answering is None else self.question_answering.head

    @property
    def alignment(self) -> WordObjectAlignment | None:
        """The decoder of word-object alignments, where the run has one."""
        head = dict(self.objectives.items()).get("word_object_alignment")
        return head if isinstance(head, WordObjectAlignment) else None

    def encode(self, batch: Batch, taps: Collection[str] = ()) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for."""
        outputs: EncoderOutputs = self.encoder(batch, taps)
        return outputs

    def weights(self, step: int, *, num_steps: int, epoch: int) -> dict[str, float]:
        """Return the weight of every term at a step, counted from 0 as epochs are."""
        weights: dict[str, float] = {}
        for name, head in self.objectives.items():
            options = getattr(self.options, name)
            terms: tuple[str, ...] = head.terms  # type: ignore[assignment]
            is_on = epoch >= getattr(options, "from_epoch", 0)
            weight = options.weight_at(step / num_steps) if hasattr(options, "weight_at") else options.weight
            weights |= dict.fromkeys(terms, weight if is_on else 0.0)
        return weights

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return every objective's terms by name, not weighted."""
        outputs = self.encode(batch, self._taps)
        return {name: term for head in self.objectives.values() for name, term in head(outputs, batch).items()}

    def _looked_at(self) -> list[LayerChoice]:
        """Return which layers' attention objectives have a say in."""
        return [head.layers for head in self.objectives.values() if hasattr(head, "layers")]  # type: ignore[misc]


def build_new(shape: EncoderShape, objectives: Objectives, sizes: Sizes, *, seed: int) -> Model:
    """Return a new model; the same seed gives the same weights, whatever was drawn before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # leaves the GPUs' generators alone
        return Model(shape, objectives, sizes)


def num_parameters(module: nn.Module) -> int:
    """Return the number of a module's weights."""
    return sum(each.numel() for each in module.parameters())
