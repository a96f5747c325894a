"""Visually grounded paraphrases: which captions belong, how their phrases are related, and where these point.

Source: Samaran et al., ACL-IJCNLP SRW 2021, sections 3 and 4.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from annotations.datasets.vgp import TYPES
from annotations.guards.drops import DataError
from training.batch import Batch
from training.data.grounding import GroundingOptions
from training.data.maker_options import CaptionPairOptions
from training.figures import Figure, mean_of, means_by
from training.objectives.caption_match import LABELS, CaptionMatchObjective
from training.objectives.phrase_relations import PhraseRelationsObjective
from training.probes.pointing import Pointing, measure_pointing
from training.tasks.caption_pairs import CaptionPairMaker
from training.tasks.guessed_phrases import tell_guessed_phrases
from training.tasks.measure import Subject

BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class VgpScores:
    """From 0 to 1; higher is better."""

    caption_match: Figure
    """Accuracy over pairs of captions, of which half are exchanged."""
    per_label: dict[str, Figure]
    """Figures of pairs whose captions both belong, of the first alone, and of the second alone."""
    relations: Figure
    """Accuracy over pairs of phrases whose relation is known."""
    per_relation: dict[str, Figure]
    pointing: dict[str, Pointing]
    """By the reading; see `training/probes/pointing.py`."""


def measure(subject: Subject, **options: Any) -> dict[str, Any]:
    """Return the scores of a split's pairs, exchanged as the seed 0 has it: the same for every run.

    Raises:
        DataError: the run has not learnt this task.
    """
    matched: list[tuple[str, bool]] = []
    related: list[tuple[str, bool]] = []
    names = tuple(TYPES)
    match_head, relation_head = _heads(subject)
    tell_guessed_phrases(subject)
    for batch in _batches(subject):
        on_device = batch.to(torch.device(subject.device))
        with torch.inference_mode():
            outputs = subject.model.encode(on_device)
            labels = match_head.scores(outputs).argmax(1).tolist()
            relations = relation_head.scores(outputs, on_device).argmax(1).tolist()
        gold = batch.caption_labels.tolist()  # type: ignore[union-attr]
        matched += [(LABELS[true], true == said) for true, said in zip(gold, labels, strict=True)]
        known = batch.phrase_pairs.relations.tolist()  # type: ignore[union-attr]
        related += [(names[true], true == said) for true, said in zip(known, relations, strict=True) if true >= 0]
    scores = VgpScores(
        caption_match=mean_of([right for _, right in matched]),
        per_label=means_by(matched),
        relations=mean_of([right for _, right in related]),
        per_relation=means_by(related),
        pointing=measure_pointing(subject.model, _batches(subject), subject.device),
    )
    figures: dict[str, Any] = json.loads(json.dumps(asdict(scores)))
    return figures


def _batches(subject: Subject) -> Iterator[Batch]:
    """Yield all pairs of captions of the split; an exchange depends on the pair's place alone."""
    recipe = subject.run.recipe
    options = CaptionPairOptions(
        max_pieces=recipe.batches.max_pieces,
        mismatch=0.5,
        grounding=GroundingOptions(stored_phrases=True, keep_unshown=True),
    )
    maker = CaptionPairMaker(subject.shards, subject.run.tokenizer, options)
    for start in range(0, len(subject.numbers), BATCH_SIZE):
        positions = np.arange(start, min(start + BATCH_SIZE, len(subject.numbers)))
        yield maker.make(subject.numbers, positions=positions)


def _heads(subject: Subject) -> tuple[CaptionMatchObjective, PhraseRelationsObjective]:
    match, relations = subject.model.head(CaptionMatchObjective), subject.model.head(PhraseRelationsObjective)
    if match is None or relations is None:
        raise DataError(f"{subject.run.folder} has not learnt about two captions, expected a run of the task vgp")
    return match, relations
