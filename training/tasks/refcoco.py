"""RefCOCO, RefCOCO+ and RefCOCOg: of how many expressions does the chosen region overlap the object by half?

Regions of the store are chosen from: gold boxes where features of gold boxes were extracted, else detected ones. Gold
boxes are all annotated objects of the image, as `vinculum boxes` writes them, referred to or not.
Source: Yu et al., ECCV 2016, and https://github.com/lichengunc/refer.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.boxes import pairwise_iou
from annotations.guards.drops import DataError
from stores.atomic import write_json
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import evaluation_batches
from training.figures import Figure, mean_of, needed_detail
from training.objectives.referring import ReferringObjective
from training.tasks.measure import Subject

BATCH_SIZE = 256
RIGHT_IOU = 0.5


@dataclass(frozen=True, kw_only=True)
class ReferringScores:
    """Scores of one data set's part, such as `refcoco+ testA`; from 0 to 1, higher is better."""

    accuracy: Figure
    """Over expressions; those that no region overlaps by half are missed."""
    best: Figure
    """The most that these regions allow."""
    chance: Figure
    """What a region drawn at random would have; near 1 where none but the objects asked for are among the regions."""


def measure(subject: Subject, **options: Any) -> dict[str, Any]:
    """Write the chosen boxes, and return the scores of every data set's official part by its name.

    Raises:
        DataError: the run has not learnt to choose regions.
    """
    found = list(_choices(subject))
    write_json(
        subject.out / f"predictions-{subject.task_name}-{subject.split}.json",
        {each.sentence_id: each.box_xyxy for each in found},
    )
    parts = sorted({each.part for each in found})
    return {part: asdict(_score([each for each in found if each.part == part])) for part in parts}


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """Which region an expression was taken to mean."""

    sentence_id: str
    part: str
    """Data set and official split, `refcoco+ testA`."""
    box_xyxy: list[float]
    """Pixels of the image that the regions are of."""
    iou: float
    """IoU of the chosen region with the object."""
    best_iou: float
    """Largest IoU of any region with the object."""
    share_right: float
    """Share of the image's regions that overlap the object by half."""


def _choices(subject: Subject) -> Iterator[_Choice]:
    head = subject.model.head(ReferringObjective)
    if head is None:
        raise DataError(f"{subject.run.folder} has not learnt to choose regions, expected a run of the task refcoco")
    shards, numbers = subject.shards, subject.numbers
    maker = BatchMaker(shards, subject.run.tokenizer, BatchOptions(max_pieces=subject.run.recipe.batches.max_pieces))
    for part in evaluation_batches(numbers, shards.lengths[numbers], BATCH_SIZE):
        batch = maker.make(part).to(torch.device(subject.device))
        with torch.inference_mode():
            chosen = head.scores(subject.model.encode(batch), batch).argmax(1).tolist()
        for number, region in zip(part.tolist(), chosen, strict=True):
            yield _choice(subject, number, region)


def _choice(subject: Subject, number: int, region: int) -> _Choice:
    shards = subject.shards
    sentence = shards.sentences.read(*shards.place(number)).sentence
    boxes: NDArray[np.float32] = shards.side.regions(int(shards.images_of(number)[0])).boxes_xyxy
    gold = [box for pointer in sentence.pointers for box in pointer.boxes_xyxy]
    overlaps = pairwise_iou(boxes, np.array(gold, np.float64).reshape(-1, 4)).max(1, initial=0.0)
    there = len(boxes) > 0
    return _Choice(
        sentence_id=sentence.sentence_id,
        part=f"{needed_detail(sentence, 'dataset')} {needed_detail(sentence, 'official_split')}",
        box_xyxy=boxes[region].tolist() if there else [],
        iou=float(overlaps[region]) if there else 0.0,
        best_iou=float(overlaps.max(initial=0.0)),
        share_right=float((overlaps >= RIGHT_IOU).mean()) if there else 0.0,
    )


def _score(choices: list[_Choice]) -> ReferringScores:
    return ReferringScores(
        accuracy=mean_of([each.iou >= RIGHT_IOU for each in choices]),
        best=mean_of([each.best_iou >= RIGHT_IOU for each in choices]),
        chance=mean_of([each.share_right for each in choices]),
    )
