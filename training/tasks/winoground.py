"""Winoground: two captions of the same words and two images; which belongs to which?

Source: Thrush et al., CVPR 2022. All comparisons are strict: a model that cannot tell two pairs apart is wrong. Chance
is 1/4 for texts, 1/4 for images, 1/6 for both. Of 400 examples 5 make a difference of 1.25 points, whose standard error
is 2.4: compare models example by example, in the file of scores.

Axes: X examples, C captions, I images.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.guards.drops import DataError
from stores.atomic import write_json
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import evaluation_batches
from training.figures import Figure, detail, gold_answer, mean_of, needed_detail
from training.tasks.answers import whole_sentences
from training.tasks.measure import Subject
from training.tasks.pairing import require_finite, scorer_of

BATCH_SIZE = 128
CAPTIONS = {"0": 0, "1": 1}


@dataclass(frozen=True, kw_only=True)
class WinogroundFigures:
    """From 0 to 1; higher is better."""

    text: Figure
    """Both images score higher with their own caption than with the other."""
    image: Figure
    """Both captions score higher with their own image than with the other."""
    group: Figure
    """Both."""


@dataclass(frozen=True, kw_only=True)
class WinogroundScores(WinogroundFigures):
    """Over all examples, and over those of each tag."""

    per_tag: Mapping[str, WinogroundFigures]
    """What is exchanged between the captions, such as `Adjective-Color`."""
    per_collapsed_tag: Mapping[str, WinogroundFigures]
    """`Object`, `Relation` or `Both`."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example, without its captions and images."""

    example_id: str
    tag: str | None
    collapsed_tag: str | None


def measure(subject: Subject, **options: Any) -> dict[str, Any]:
    """Write the four scores of every example, and return the figures.

    Raises:
        DataError: the run cannot tell whether a text belongs to an image, or an example lacks a caption.
    """
    examples, scores_XCI = score_examples(subject)
    write_json(
        subject.out / f"predictions-{subject.task_name}-{subject.split}.json",
        {example.example_id: scores_CI.tolist() for example, scores_CI in zip(examples, scores_XCI, strict=True)},
    )
    scores: dict[str, Any] = json.loads(json.dumps(asdict(score(examples, scores_XCI))))
    return scores


def score(examples: list[Example], scores_XCI: NDArray[np.float32]) -> WinogroundScores:
    """Return the figures of these scores of each caption with each image, float32 [X, 2, 2]; 0 belongs to 0."""
    return WinogroundScores(
        **vars(figures_of(scores_XCI)),
        per_tag=_figures_by([each.tag for each in examples], scores_XCI),
        per_collapsed_tag=_figures_by([each.collapsed_tag for each in examples], scores_XCI),
    )


def score_examples(subject: Subject) -> tuple[list[Example], NDArray[np.float32]]:
    """Return all examples in their order, and the scores of their captions with their images, float32 [X, 2, 2]."""
    score_pairs, shards, numbers = scorer_of(subject), subject.shards, subject.numbers
    maker = BatchMaker(shards, subject.run.tokenizer, BatchOptions(max_pieces=subject.run.recipe.batches.max_pieces))
    by_sentence: dict[str, list[float]] = {}
    for part in evaluation_batches(numbers, shards.lengths[numbers], BATCH_SIZE):
        batch = maker.make(part)
        rows = score_pairs(batch).view(-1, 2).tolist()
        by_sentence |= dict(zip(batch.sentence_ids[::2], rows, strict=True))
    examples: dict[str, Example] = {}
    found: dict[str, dict[int, list[float]]] = {}
    for sentence in whole_sentences(shards, numbers)():
        example_id = needed_detail(sentence, "id")
        examples[example_id] = Example(
            example_id=example_id,
            tag=detail(sentence, "tag", str),
            collapsed_tag=detail(sentence, "collapsed_tag", str),
        )
        found.setdefault(example_id, {})[CAPTIONS[gold_answer(sentence)]] = by_sentence[sentence.sentence_id]
    if lacking := [example_id for example_id, captions in found.items() if len(captions) < 2]:
        raise DataError(f"example {lacking[0]!r}: has one caption, expected two; read the data set whole")
    scores_XCI = np.array([[captions[0], captions[1]] for captions in found.values()], np.float32)
    require_finite(subject, scores_XCI)
    return list(examples.values()), scores_XCI


def figures_of(scores_XCI: NDArray[np.float32]) -> WinogroundFigures:
    """Return text, image and group score of these scores of each caption with each image, float32 [X, 2, 2]."""
    own_XC = np.diagonal(scores_XCI, axis1=1, axis2=2)
    with_other_image_XC, other_caption_XI = scores_XCI[:, [0, 1], [1, 0]], scores_XCI[:, [1, 0], [0, 1]]
    right_2X = np.stack([(own_XC > other_caption_XI).all(axis=1), (own_XC > with_other_image_XC).all(axis=1)])
    text, image, group = map(mean_of, [*right_2X.tolist(), right_2X.all(axis=0).tolist()])
    return WinogroundFigures(text=text, image=image, group=group)


def _figures_by(tags: list[str | None], scores_XCI: NDArray[np.float32]) -> dict[str, WinogroundFigures]:
    """Return the figures of the examples of each tag; those that have none are in none of them."""
    of = np.array([tag or "" for tag in tags])
    return {tag: figures_of(scores_XCI[of == tag]) for tag in sorted({tag for tag in tags if tag})}
