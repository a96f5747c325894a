"""Feeds a loop: the batches of one rank, step by step, made ahead by processes of their own."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from stores.errors import StoreError
from training.batches import Maker
from training.order import TrainingOrder
from training.records import Batch


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """What kept a process from making a batch: an error itself would come out of it as a traceback."""

    message: str


class StepBatches(Dataset[list[Batch] | _Failure]):
    """What one rank takes of any step: a pure function of the step."""

    def __init__(self, maker: Maker, order: TrainingOrder, parts: Sequence[NDArray[np.int64]]) -> None:
        self._maker = maker
        self._order = order
        self._parts = parts

    def __getitem__(self, step: int) -> list[Batch] | _Failure:
        numbers = self._order.batch(step)
        try:
            return [self._maker.make(numbers, step=step, positions=part) for part in self._parts]
        except StoreError as error:
            return _Failure(message=f"step {step + 1}: {error}")


class Feed:
    """Yields the parts of one step after another, and knows how long it was waited for."""

    def __init__(self, batches: StepBatches, steps: Sequence[int], *, num_workers: int, device: torch.device) -> None:
        """Batches of `steps` come in their order, made by `num_workers` processes; 0 makes them in this one."""
        self._loader: DataLoader[list[Batch] | _Failure] = DataLoader(
            batches,
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            prefetch_factor=4 if num_workers else None,
            pin_memory=device.type == "cuda",
        )
        self._waited = 0.0

    def __iter__(self) -> Iterator[list[Batch]]:
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
