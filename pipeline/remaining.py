"""What a run has left to do: the shards that the manifest lacks and, on request, those with images in quarantine."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.worker import ShardTask
from stores.manifest import Manifest
from stores.plan import Plan, shard_name


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """Shards of a plan, by number; their images become objects when their turn comes."""

    plan: Plan
    missing: Sequence[int]
    """Never made, or lost."""
    retried: Mapping[int, frozenset[str]]
    """Made, with the ids of their images in quarantine."""

    @classmethod
    def of(cls, plan: Plan, manifest: Manifest, *, retry_quarantine: bool = False) -> Self:
        """Return what the manifest lacks of the plan."""
        finished = {Path(entry.name).stem: entry for entry in manifest.shards}
        failed = {
            number: frozenset(each.image_id for each in entry.failures)
            for name, entry in finished.items()
            if retry_quarantine and entry.failures and (number := plan.number_of(name)) is not None
        }
        missing = [number for number in range(len(plan)) if shard_name(number) not in finished]
        return cls(plan=plan, missing=missing, retried=failed)

    def __len__(self) -> int:
        return len(self.missing) + len(self.retried)

    @property
    def num_images(self) -> int:
        """How many images are tried."""
        return int(self.plan.sizes[self.missing].sum()) + sum(map(len, self.retried.values()))

    def tasks(self) -> Iterator[ShardTask]:
        """Yield the shards to make."""
        for number in self.missing:
            yield ShardTask(shard=self.plan[number])
        for number, failed in self.retried.items():
            yield ShardTask(shard=self.plan[number], retry=failed)
