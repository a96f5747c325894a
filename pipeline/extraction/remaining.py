"""What a run has left to do: the shards that the manifest lacks, those with images that could not be read and, on
request, those with others in quarantine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from pipeline.extraction.shard_task import ShardTask
from stores.manifest import FailedImage, Manifest, ShardEntry
from stores.plan import Plan, shard_name


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """Shards of a plan, by number; their images become objects when their turn comes."""

    plan: Plan
    missing: Sequence[int]
    """Never made, or lost."""
    retried: Mapping[int, ShardEntry]
    """Made, with images in quarantine or other files that are tried again."""
    retry_quarantine: bool
    """Whether all in quarantine are tried again, and not only those that could not be read."""
    changed: Mapping[int, frozenset[str]]
    """By shard, images that are other files now."""

    @classmethod
    def of(cls, plan: Plan, manifest: Manifest, *, retry_quarantine: bool = False, changed: Sequence[int] = ()) -> Self:
        """Return what the manifest lacks of the plan; what could not be read is tried again without being asked for.

        So are the images in the rows `changed` of the plan, which are other files now.
        """
        finished = {Path(entry.name).stem: entry for entry in manifest.shards}
        retried = {
            number: entry
            for name, entry in finished.items()
            if any(retry_quarantine or each.stage == "read" for each in entry.failures)
            and (number := plan.number_of(name)) is not None
        }
        others: dict[int, frozenset[str]] = {}
        for row, number in zip(changed, plan.shards_of(np.asarray(changed, np.int64)).tolist(), strict=True):
            if shard_name(number) in finished:
                others[number] = others.get(number, frozenset()) | {plan.images[row].image_id}
                retried[number] = finished[shard_name(number)]
        missing = [number for number in range(len(plan)) if shard_name(number) not in finished]
        return cls(plan=plan, missing=missing, retried=retried, retry_quarantine=retry_quarantine, changed=others)

    def __len__(self) -> int:
        return len(self.missing) + len(self.retried)

    @property
    def num_images(self) -> int:
        """How many images are tried."""
        retried = sum(len(self._retried(number)) for number in self.retried)
        return int(self.plan.sizes[self.missing].sum()) + retried

    def tasks(self) -> Iterator[ShardTask]:
        """Yield the shards to make."""
        for number in self.missing:
            yield ShardTask(shard=self.plan[number])
        for number, entry in self.retried.items():
            retried = self._retried(number)
            put_aside = tuple(each for each in entry.failures if each.image_id not in retried)
            yield ShardTask(shard=self.plan[number], retry=retried, put_aside=put_aside, made=entry)

    def _retried(self, number: int) -> frozenset[str]:
        failed = (each.image_id for each in self.retried[number].failures if self._is_retried(each))
        return frozenset(failed) | self.changed.get(number, frozenset())

    def _is_retried(self, failure: FailedImage) -> bool:
        return self.retry_quarantine or failure.stage == "read"
