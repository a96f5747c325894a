"""Which sentences or images come when: a function of the seed, so that a run goes on from any step, with any ranks."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

POOL_BATCHES = 64
"""Batches whose sentences are sorted by length together: more saves padding, fewer shuffles better."""


class OrderError(ValueError):
    """There is no such order; the message says why."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingOrder:
    """Endless epochs over sentences in batches of like lengths; what does not fill a batch waits for other epochs.

    Each epoch shuffles all sentences, whatever their shard, sorts pools of 64 batches by length, and shuffles the
    batches. Step n is batch n % batches_per_epoch of epoch n // batches_per_epoch.
    """

    sentences: NDArray[np.int64]
    """int64 [S]; numbers of the sentences, or of what else is learnt from."""
    lengths: NDArray[np.int32]
    """int32 [S]; what is alike in each batch."""
    batch_size: int
    """Sentences a step, of all ranks together."""
    seed: int
    noun: str = "sentences"
    """What a person calls them."""
    _epochs: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= len(self.sentences):
            raise OrderError(
                f"batch size {self.batch_size} of {len(self.sentences)} {self.noun}; expected from 1 to that number"
            )

    @property
    def batches_per_epoch(self) -> int:
        return len(self.sentences) // self.batch_size

    def batch(self, step: int) -> NDArray[np.int64]:
        """Return the sentences of one step, int64 [batch_size]; steps are counted from 0."""
        epoch, number = divmod(step, self.batches_per_epoch)
        if epoch not in self._epochs:
            self._epochs.clear()
            self._epochs[epoch] = self._shuffle(epoch)
        return self._epochs[epoch][number]

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        """Return int64 [batches_per_epoch, batch_size]."""
        rng = np.random.default_rng([self.seed, epoch])
        used = rng.permutation(len(self.sentences))[: self.batches_per_epoch * self.batch_size]
        pools = np.arange(len(used)) // (POOL_BATCHES * self.batch_size)
        by_length = used[np.lexsort((self.lengths[used], pools))]
        batches = self.sentences[by_length].reshape(self.batches_per_epoch, self.batch_size)
        return rng.permutation(batches)


def evaluation_batches(
    sentences: NDArray[np.int64], lengths: NDArray[np.int32], batch_size: int
) -> list[NDArray[np.int64]]:
    """Return every sentence once, in batches of like lengths; the last may be smaller."""
    by_length = sentences[np.argsort(lengths, kind="stable")]
    return [by_length[start : start + batch_size] for start in range(0, len(by_length), batch_size)]


def parts_of_rank(batch_size: int, *, rank: int, num_ranks: int, accumulation: int) -> list[NDArray[np.int64]]:
    """Return the positions within a step's batch that a rank takes, in `accumulation` parts of equal size.

    The parts of all ranks are the same for equally many in all: two ranks take those that one takes in two parts.

    Raises:
        OrderError: the batch cannot be divided so.
    """
    if num_ranks < 1 or accumulation < 1:
        raise OrderError(f"{num_ranks} workers in {accumulation} parts each, expected at least one of both")
    num_parts = num_ranks * accumulation
    if batch_size % num_parts:
        raise OrderError(
            f"batch size {batch_size} cannot be divided among {num_ranks} workers in {accumulation} parts each; "
            f"expected a multiple of {num_parts}"
        )
    return [np.arange(part, batch_size, num_parts) for part in range(rank, num_parts, num_ranks)]
