"""The model of every run: one encoder, and a head for each objective. What a run learns is which objectives it has."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs
from training.models.blocks import LayerChoice, chosen_layers
from training.models.catalog import EncoderShape, build_encoder
from training.models.heads import AnswerHead
from training.models.initialization import initialize
from training.objectives.attention_supervision import AttentionSupervision
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.matching import MatchingObjective
from training.objectives.phrase_grounding import PhraseGrounding
from training.objectives.question_answering import QuestionAnsweringObjective
from training.objectives.ranking import RankingObjective, hardest_rows
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import WordObjectAlignment

_SCORED_AT_ONCE = 256
"""Pairs whose scores alone are asked for."""


class Model(nn.Module):
    """Maps a batch to the loss terms of all objectives."""

    def __init__(self, shape: EncoderShape, objectives: Objectives, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = build_encoder(shape)
        self.objectives = build_objectives(objectives, sizes)
        self.options = objectives
        self.sizes = sizes
        initialize(self.objectives, shape.initial_std)
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

    @property
    def phrase_grounding(self) -> PhraseGrounding | None:
        """The classifier of phrases and regions, where the run has one."""
        head = dict(self.objectives.items()).get("attention_supervision")
        return head.phrase_grounding if isinstance(head, AttentionSupervision) else None

    @property
    def ranking(self) -> RankingObjective | None:
        """The head that ranks pairs, where the run has one."""
        head = dict(self.objectives.items()).get("ranking")
        return head if isinstance(head, RankingObjective) else None

    @property
    def matching(self) -> MatchingObjective | None:
        """The head that tells whether pairs match, where the run has one."""
        head = dict(self.objectives.items()).get("matching")
        return head if isinstance(head, MatchingObjective) else None

    @property
    def matcher(self) -> RankingObjective | MatchingObjective | None:
        """The head whose `scores` tell how well pairs match, where the run has one: that of ranking before another."""
        return self.ranking or self.matching

    def encode(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return the encoder's outputs, with the attentions that are asked for, and each layer's states if they are."""
        outputs: EncoderOutputs = self.encoder(batch, taps, keep_states=keep_states)
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
        """Return every objective's terms by name, not weighted.

        Of larger groups than ranking learns from, the pairs that it does not keep are scored, and have no other part.
        """
        if self.ranking is not None and batch.group_size > 1 + self.ranking.options.kept:
            batch = self._hardest(self.ranking, batch)
        outputs = self.encode(batch, self._taps)
        return {name: term for head in self.objectives.values() for name, term in head(outputs, batch).items()}

    def _hardest(self, ranking: RankingObjective, batch: Batch) -> Batch:
        """Return the pairs that match, and of the others the likeliest; nothing is drawn, as there is no dropout."""
        was_training = self.training
        self.eval()
        starts = range(0, len(batch), _SCORED_AT_ONCE)
        with torch.no_grad():
            parts = [batch.take(slice(start, start + _SCORED_AT_ONCE)) for start in starts]
            scores_B = torch.cat([ranking.scores(self.encode(part)) for part in parts])
        self.train(was_training)
        kept = ranking.options.kept
        rows = hardest_rows(scores_B, group_size=batch.group_size, kept=kept)
        return batch.take(rows, group_size=1 + kept)

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
