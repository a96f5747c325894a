"""Feeds a loop: the batches of one rank, step by step, made ahead by processes of their own."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from annotations.guards.drops import DataError
from stores.errors import StoreError
from training.batch import Batch
from training.data.batches import Maker
from training.data.order import TrainingOrder
from training.data.pictures import BrokenImageError

T = TypeVar("T")
Made = TypeVar("Made", covariant=True)


class PartMaker(Protocol[Made]):
    """Makes one part of a step's batch, of the sentences or images at these positions."""

    def make(self, numbers: NDArray[np.int64], *, step: int, positions: NDArray[np.int64]) -> Made: ...


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """What kept a process from making a batch: an error itself would come out of it as a traceback."""

    message: str


class StepBatches(Dataset[list[T] | _Failure]):
    """What one rank takes of any step: a pure function of the step."""

    def __init__(self, maker: PartMaker[T], order: TrainingOrder, parts: Sequence[NDArray[np.int64]]) -> None:
        self._maker = maker
        self._order = order
        self._parts = parts

    def __getitem__(self, step: int) -> list[T] | _Failure:
        numbers = self._order.batch(step)
        try:
            return self.make_parts(numbers, step)
        except (StoreError, DataError) as error:
            return _Failure(message=f"step {step + 1}: {error}")

    def make_parts(self, numbers: NDArray[np.int64], step: int) -> list[T]:
        """Return the rank's parts of a step's sentences or images."""
        return [self._maker.make(numbers, step=step, positions=part) for part in self._parts]


class PictureBatches(StepBatches[Batch]):
    """The same of sentences with pictures: whose image gives none has another of the step in its place."""

    def __init__(self, maker: Maker, order: TrainingOrder, parts: Sequence[NDArray[np.int64]]) -> None:
        super().__init__(maker, order, parts)
        self._shards = maker.shards

    def make_parts(self, numbers: NDArray[np.int64], step: int) -> list[Batch]:
        """Return the rank's parts of a step, of which the first names what was skipped."""
        skipped: dict[str, str] = {}
        while True:
            try:
                first, *others = super().make_parts(numbers, step)
            except BrokenImageError as error:
                if error.image_id in skipped:  # it is there for another sentence's sake
                    raise
                skipped[error.image_id] = error.short
                numbers = self._without(numbers, error)
            else:
                return [replace(first, skipped_images=tuple(skipped.values())), *others]

    def _without(self, numbers: NDArray[np.int64], error: BrokenImageError) -> NDArray[np.int64]:
        """Return the sentences of a step with the next one in the place of each of a broken image.

        Raises:
            BrokenImageError: all are of this image.
        """
        is_whole = ~self._shards.are_about(numbers, error.image_id)
        if not is_whole.any():
            raise error
        whole = np.flatnonzero(is_whole)
        following = whole[np.searchsorted(whole, np.arange(len(numbers))) % len(whole)]
        return numbers[following]


class Feed(Generic[T]):
    """Yields the parts of one step after another, and knows how long it was waited for."""

    def __init__(
        self, batches: StepBatches[T], steps: Sequence[int], *, num_workers: int, device: torch.device
    ) -> None:
        """Batches of `steps` come in their order, made by `num_workers` processes; 0 makes them in this one."""
        self._loader: DataLoader[list[T] | _Failure] = DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
            pin_memory=device.type == "cuda",
        )
        self._waited = 0.0

    def __iter__(self) -> Iterator[list[T]]:
        """Yield the parts of every step.

        Raises:
            StoreError: a shard is not as it should be.
        """
        batches = iter(self._loader)
        while True:
            started = time.perf_counter()
            step = next(batches, None)
            self._waited += time.perf_counter() - started
            if step is None:
                return
            if isinstance(step, _Failure):
                raise StoreError(step.message)
            yield step

    def take_waited(self) -> float:
        """Return the seconds that the loop waited for data since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited
