"""Image-text retrieval: all captions of a split with all of its images, and at which rank the right ones come.

Every caption is read with every image, as UNITER does: 5 million pairs for the 1000 test images of Flickr30k, 125
million for COCO's 5000. Images are read once and a few at a time; only the scores, 4 bytes a pair, are kept.

An image that scores as high as the right one counts as if it came before it, so that a model that tells nothing apart
finds nothing; so do texts. The public helper of UNITER, which IAIS and CACR inherit, counts an image that is found once
more for each of the first places of the list of captions; perfect scores of 50 give it a recall of 1.02.

Axes: T texts, I images.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stores.atomic import write_json
from training.figures import Figure, mean_of
from training.tasks.measure import Subject, part_name
from training.tasks.pairing import Texts, pair_up, parsed, read_images, read_texts, require_finite, scorer_of
from training.tasks.ranking_batches import CAPTIONS

TEXTS_AT_ONCE, IMAGES_AT_ONCE = 32, 8


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How often the right one is found among the first; ranks are counted from 1."""

    recall_at_1: Figure
    """From 0 to 1; higher is better."""
    recall_at_5: Figure
    recall_at_10: Figure
    mean_rank: Figure
    median_rank: Figure


@dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Scores of one data set."""

    image_retrieval: Recall
    """Over captions: the image that a caption is of."""
    text_retrieval: Recall
    """Over images: the first of an image's captions."""
    max_images: int | None
    """As many images as were searched at most, with their captions; None: all of the split."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """The captions and images of a split of one data set."""

    captions: NDArray[np.int64]
    """int64 [T]; numbers of the sentences."""
    image_of_text: NDArray[np.int64]
    """int64 [T]; which of the images each is of."""
    first_captions: NDArray[np.int64]
    """int64 [I]; for each image the number of a sentence about it."""


def measure(subject: Subject, *, max_images: int | None = None, **options: Any) -> dict[str, Any]:
    """Write the rank of every caption's image and of every image's captions; return the scores of every data set.

    Args:
        max_images: only the first images of the region store, and their captions, are searched.

    Raises:
        DataError: the run cannot tell whether a text belongs to an image.
        ValueError: no image is to be searched.
    """
    if max_images is not None and max_images < 1:
        raise ValueError(f"max_images is {max_images}, expected 1 or more")
    scores: dict[str, Any] = {}
    ranks: dict[str, Any] = {}
    for source in (each for each in CAPTIONS if each in subject.shards.sources):
        of_source = subject.shards.select(sources=(source,))
        numbers = subject.numbers[np.isin(subject.numbers, of_source)]
        if not len(numbers):
            continue
        gallery = open_gallery(subject, numbers, max_images)
        scores_TI = all_scores(subject, gallery)
        of_texts_T = ranks_of_images(scores_TI, gallery.image_of_text)
        of_images_I = ranks_of_texts(scores_TI, gallery.image_of_text)
        found = RetrievalScores(
            image_retrieval=recall_of(of_texts_T), text_retrieval=recall_of(of_images_I), max_images=max_images
        )
        scores[source] = json.loads(json.dumps(asdict(found)))
        ranks[source] = {
            "image_retrieval": dict(zip(_sentence_ids(subject, gallery), of_texts_T.tolist(), strict=True)),
            "text_retrieval": dict(zip(_image_ids(subject, gallery), of_images_I.tolist(), strict=True)),
        }
    write_json(subject.out / f"ranks-{subject.task_name}-{subject.split}{part_name(max_images)}.json", ranks)
    return scores


def open_gallery(subject: Subject, numbers: NDArray[np.int64], max_images: int | None = None) -> Gallery:
    """Return the captions and images of these sentences, or of the first images alone."""
    _, first, image_of_text = np.unique(subject.shards.images_of_each(numbers), return_index=True, return_inverse=True)
    is_searched = image_of_text < (len(first) if max_images is None else max_images)
    return Gallery(
        captions=numbers[is_searched],
        image_of_text=image_of_text[is_searched],
        first_captions=numbers[first][:max_images],
    )


def all_scores(subject: Subject, gallery: Gallery) -> NDArray[np.float32]:
    """Return how well every caption matches every image, float32 [T, I].

    Raises:
        DataError: the run cannot tell, or not in numbers.
    """
    score = scorer_of(subject)
    by_length = np.argsort(subject.shards.lengths[gallery.captions], kind="stable")
    texts = [
        _read_texts(subject, gallery.captions[by_length[start : start + TEXTS_AT_ONCE]])
        for start in range(0, len(by_length), TEXTS_AT_ONCE)
    ]
    scores_TI = np.empty((len(gallery.captions), len(gallery.first_captions)), np.float32)
    for start in range(0, scores_TI.shape[1], IMAGES_AT_ONCE):
        columns = np.arange(start, min(start + IMAGES_AT_ONCE, scores_TI.shape[1]))
        images = parsed(subject, read_images(subject.shards, gallery.first_captions[columns]).to(subject.device))
        found = []
        for some in texts:
            of_text, of_image = torch.meshgrid(
                torch.arange(len(some.sentence_ids)), torch.arange(len(columns)), indexing="ij"
            )
            found.append(score(pair_up(some, images, of_text.flatten(), of_image.flatten())))
        scores_TI[by_length[:, None], columns] = torch.cat(found).view(-1, len(columns)).cpu().numpy()
    require_finite(subject, scores_TI)
    return scores_TI


def ranks_of_images(scores_TI: NDArray[np.float32], image_of_text_T: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at which rank, from 1, the image of every text comes, int64 [T]."""
    own_T1 = np.take_along_axis(scores_TI, image_of_text_T[:, None], axis=1)
    ranks_T: NDArray[np.int64] = (scores_TI >= own_T1).sum(axis=1)  # it is one of those that score as high as itself
    return ranks_T


def ranks_of_texts(scores_TI: NDArray[np.float32], image_of_text_T: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at which rank, from 1, the first of every image's texts comes, int64 [I]."""
    ranks = []
    for image, scores_T in enumerate(scores_TI.T):
        is_own_T = image_of_text_T == image
        ranks.append(1 + np.count_nonzero(scores_T[~is_own_T] >= scores_T[is_own_T].max()))
    return np.array(ranks, np.int64)


def recall_of(ranks: NDArray[np.int64]) -> Recall:
    """Return the figures of these ranks."""
    at = {f"recall_at_{most}": mean_of((ranks <= most).tolist()) for most in (1, 5, 10)}
    median = Figure(value=float(np.median(ranks)), of=len(ranks))
    return Recall(**at, mean_rank=mean_of(ranks.tolist()), median_rank=median)


def _read_texts(subject: Subject, numbers: NDArray[np.int64]) -> Texts:
    max_pieces = subject.run.recipe.batches.max_pieces
    return read_texts(subject.shards, subject.run.tokenizer, numbers, max_pieces=max_pieces).to(subject.device)


def _sentence_ids(subject: Subject, gallery: Gallery) -> Sequence[str]:
    return [subject.shards.read(number).sentence_id for number in gallery.captions.tolist()]


def _image_ids(subject: Subject, gallery: Gallery) -> Sequence[str]:
    images = subject.shards.images_of_each(gallery.first_captions).tolist()
    return [subject.shards.side.image_ids[image] for image in images]
