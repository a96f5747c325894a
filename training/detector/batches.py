"""Batches of images with their gold boxes, made by a loader's processes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from detectors.conventions import Conventions
from detectors.gold_boxes import GoldBoxes
from detectors.inputs.model import scaled_sides
from detectors.training import Target, TrainingOptions, to_example
from training.batch import OnDevice
from training.data.order import TrainingOrder
from training.detector.gold_images import read_image


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorBatch(OnDevice):
    """Images as the network takes them; the gold boxes of all one after another."""

    image_ids: tuple[str, ...]
    """[B]."""
    inputs: Tensor
    """float32 [B, 3, H, W]; zeros right and below of images that are smaller."""
    sizes: tuple[tuple[int, int], ...]
    """[B]; height and width without these zeros."""
    num_boxes: tuple[int, ...]
    """[B]."""
    boxes: Tensor
    """float32 [G, 4]; pixels of the inputs."""
    labels: Tensor
    """int64 [G]; class_id + 1."""
    attributes: Tensor
    """float32 [G, A]; 1 for attribute_id + 1 of each box."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def names(self) -> list[str]:
        """Return what a person knows the images by."""
        return [f"image {image_id}" for image_id in self.image_ids]

    def broken(self) -> list[str]:
        """Return nothing: pixels are numbers from 0 to 255."""
        return []

    def skipped(self) -> list[str]:
        """Return nothing: an image that gives no picture ends the run."""
        return []

    def targets(self) -> list[Target]:
        """Return the gold boxes of each image."""
        parts = (each.split(self.num_boxes) for each in (self.boxes, self.labels, self.attributes))
        return [
            {"boxes": boxes, "labels": labels, "attributes": attributes}
            for boxes, labels, attributes in zip(*parts, strict=True)
        ]


class DetectorBatchMaker:
    """Makes the batch of any images; may be carried over a fork."""

    def __init__(
        self,
        gold: GoldBoxes,
        files: Mapping[str, str],
        conventions: Conventions,
        options: TrainingOptions,
        *,
        num_attributes: int,
        seed: int,
    ) -> None:
        self._gold = gold
        self._files = files
        self._conventions = conventions
        self._options = options
        self._num_attributes = num_attributes
        self._seed = seed

    def make(self, numbers: NDArray[np.int64], *, step: int, positions: NDArray[np.int64]) -> DetectorBatch:
        """Return the images at `positions` of a step's `numbers`; which are mirrored depends on seed, step and place.

        Raises:
            DataError: an image cannot be read.
        """
        flips = np.random.default_rng([self._seed, step]).random(len(numbers)) < self._options.flip
        image_ids, inputs, targets = list[str](), list[Tensor](), list[Target]()
        for position in positions:
            image = self._gold.image(int(numbers[position]))
            pixels, target = to_example(
                image,
                read_image(image, self._files),
                self._conventions,
                flip=bool(flips[position]),
                num_attributes=self._num_attributes,
            )
            image_ids.append(image.image_id)
            inputs.append(pixels)
            targets.append(target)
        sizes = tuple((int(each.shape[1]), int(each.shape[2])) for each in inputs)
        height, width = (max(sides) for sides in zip(*sizes, strict=True))
        return DetectorBatch(
            image_ids=tuple(image_ids),
            inputs=torch.stack([F.pad(each, (0, width - each.shape[2], 0, height - each.shape[1])) for each in inputs]),
            sizes=sizes,
            num_boxes=tuple(len(target["labels"]) for target in targets),
            boxes=torch.cat([target["boxes"] for target in targets]),
            labels=torch.cat([target["labels"] for target in targets]),
            attributes=torch.cat([target["attributes"] for target in targets]),
        )


def image_order(gold: GoldBoxes, conventions: Conventions, *, batch_size: int, seed: int) -> TrainingOrder:
    """Return the order in which the training images come: in batches of like shapes, so that little is padded."""
    numbers = np.flatnonzero(~gold.is_val)
    shapes = [scaled_sides(int(height), int(width), conventions) for width, height in gold.sides[numbers]]
    return TrainingOrder(
        sentences=numbers,
        # Wide images after tall ones; a thousandth of a side's ratio tells shapes apart.
        lengths=np.array([round(1000 * np.log2(width / height)) for height, width in shapes], np.int32),
        batch_size=batch_size,
        seed=seed,
        noun="images",
    )
