"""Any text with any image: each is read once, and the pairs are put together of what was read.

Axes: B pairs, T texts, I images, L word pieces, R regions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.guards.drops import DataError
from training.batch import Batch, SideFields
from training.data.shards import JoinedShards
from training.data.tokenizer import TextTokenizer
from training.models.visual_parser import VisualParserEncoder
from training.objectives.matching import MatchingObjective
from training.objectives.ranking import RankingObjective
from training.tasks.measure import Subject


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Texts as an encoder takes them."""

    sentence_ids: tuple[str, ...]
    """[T]."""
    input_ids: Tensor
    """int64 [T, L]; [CLS] pieces [SEP], then padding."""
    text_mask: Tensor
    """bool [T, L]; False for padding."""

    def to(self, device: str) -> "Texts":
        """Return the same on `device`."""
        return replace(self, input_ids=self.input_ids.to(device), text_mask=self.text_mask.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Images as an encoder takes them."""

    image_ids: tuple[str, ...]
    """[I]."""
    side: SideFields
    """[I, R, ...]."""

    def to(self, device: str) -> "Images":
        """Return the same on `device`."""
        return replace(self, side=self.side.to(torch.device(device)))


def read_texts(shards: JoinedShards, tokenizer: TextTokenizer, numbers: NDArray[np.int64], *, max_pieces: int) -> Texts:
    """Return the texts of these sentences, cut to `max_pieces` with [CLS] and [SEP]."""
    sentences = [shards.read(int(number)) for number in numbers]
    pieces = tokenizer.encode([each.text for each in sentences], max_pieces=max_pieces - 2)
    lengths_T = np.array([len(each.ids) + 2 for each in pieces])
    ids_TL = np.full((len(pieces), lengths_T.max()), tokenizer.padding_id, np.int64)
    for row, each in enumerate(pieces):
        ids_TL[row, : lengths_T[row]] = [tokenizer.classify_id, *each.ids, tokenizer.separate_id]
    return Texts(
        sentence_ids=tuple(each.sentence_id for each in sentences),
        input_ids=torch.from_numpy(ids_TL),
        text_mask=torch.from_numpy(np.arange(ids_TL.shape[1]) < lengths_T[:, None]),
    )


def read_images(shards: JoinedShards, numbers: NDArray[np.int64]) -> Images:
    """Return the images of these sentences, which are about one image each."""
    images = shards.images_of_each(numbers).tolist()
    num_regions = [int(shards.num_regions_of(int(number))[0]) for number in numbers]
    return Images(
        image_ids=tuple(shards.side.image_ids[image] for image in images),
        side=shards.side.fields(images, num_regions),
    )


def parsed(subject: Subject, images: Images) -> Images:
    """Return the images with the cells that the subject's encoder makes of their pixels; others stay as they are."""
    encoder, side = subject.model.encoder, images.side
    if side.pixels is None or not isinstance(encoder, VisualParserEncoder) or encoder.trunk is None:
        return images
    with torch.inference_mode():
        features_IRD, _ = encoder.trunk(side.pixels)
    return replace(images, side=replace(side, features=features_IRD[side.image_rows], pixels=None, image_rows=None))


def pair_up(texts: Texts, images: Images, of_text_B: Tensor, of_image_B: Tensor, **more: Any) -> Batch:
    """Return the pairs of these texts, int64 [B], with these images, int64 [B]; `more` are other fields of the batch.

    Without `is_matched` among them, all pairs are taken to match.
    """
    paired: dict[str, Any] = {
        "sentence_ids": _chosen(texts.sentence_ids, of_text_B),
        "image_ids": _chosen(images.image_ids, of_image_B),
        "input_ids": texts.input_ids[of_text_B],
        "text_mask": texts.text_mask[of_text_B],
        **images.side.take(of_image_B).tensors(),
        "is_matched": torch.ones(len(of_text_B), dtype=torch.bool),
        "answer_ids": torch.full((len(of_text_B),), -100),
    }
    return Batch(**paired | more)


def scorer_of(subject: Subject) -> Callable[[Batch], Tensor]:
    """Return what tells how well every pair of a batch matches, float32 [B], on the subject's device.

    Of a run that has learnt to rank it is that score, of another what its matching says.

    Raises:
        DataError: the run has learnt neither.
    """
    model = subject.model
    head = model.head(RankingObjective) or model.head(MatchingObjective)
    if head is None:
        raise DataError(
            f"{subject.run.folder} cannot tell whether a text belongs to an image, expected a run with matching, or "
            "one that is fine-tuned; see vinculum-train finetune --task retrieval"
        )

    def score(batch: Batch) -> Tensor:
        with torch.inference_mode():
            scores_B: Tensor = head.scores(model.encode(batch.to(torch.device(subject.device))))
        return scores_B

    return score


def require_finite(subject: Subject, scores: NDArray[np.float32]) -> None:
    """Every score is a number: others would compare as if they were low, or high.

    Raises:
        DataError: one is not.
    """
    if not np.isfinite(scores).all():
        raise DataError(f"{subject.run.folder}: scores are not finite, expected numbers; its weights are broken")


def _chosen(names: Sequence[str], numbers: Tensor) -> tuple[str, ...]:
    return tuple(names[number] for number in numbers.tolist())
