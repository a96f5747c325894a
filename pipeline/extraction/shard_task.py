"""What a worker is asked for and gives back: a shard to make, its report, its progress, and images that failed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from stores.images.sources import ImageSource
from stores.manifest import FailedImage, ShardEntry
from stores.plan import PlannedShard

Stage = Literal["read", "decode", "detect", "store"]


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One shard to make, or to make again with the rows it has and some of its images tried once more."""

    shard: PlannedShard
    retry: frozenset[str] = frozenset()
    """Ids of images that failed, or are other files now; none where the shard is made for the first time."""
    put_aside: tuple[FailedImage, ...] = ()
    """Images that are not tried: workers died over them, or they failed before and nobody asked for them again."""
    made: ShardEntry | None = None
    """The shard as it is, of one that is made again."""
    is_gentle: bool = False
    """Whether images are decoded one at a time, for want of memory; batches stay as they are, and so do the bytes."""

    @property
    def name(self) -> str:
        return self.shard.name

    @property
    def subject(self) -> str:
        first, last = self.shard.images[0].location, self.shard.images[-1].location
        return f"the image {first}" if first == last else f"the images {first} to {last}"

    @property
    def num_images(self) -> int:
        """How many images are tried."""
        return len(self.retry) or len(self.shard.images)

    def gently(self) -> "ShardTask":
        return replace(self, is_gentle=True)

    def parts(self) -> list["ShardTask"]:
        """Return a task for each image that is tried."""
        put_aside = {each.image_id for each in self.put_aside}
        images = [image for image in self.shard.images if image.image_id not in put_aside]
        tried = [image for image in images if not self.retry or image.image_id in self.retry]
        return [ShardTask(shard=PlannedShard(self.name, (image,)), is_gentle=True) for image in tried]

    def without(self, reasons: Mapping[int, str]) -> "ShardTask":
        tried = self.parts()
        fatal = tuple(failed(tried[part].shard.images[0], "detect", reason) for part, reason in reasons.items())
        return replace(self, put_aside=self.put_aside + fatal)


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What making one shard gave."""

    entry: ShardEntry
    num_images: int
    seconds: float
    is_new: bool = True
    """False of a shard that stays as it was: none of the images that were tried again could be read."""
    stage_seconds: Mapping[str, float]
    """`read` and `decode`, summed over threads; `wait` for them; `detect` of the model; `write` to the disk."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a worker has done since it was last asked."""

    num_images: int
    failures: tuple[FailedImage, ...]
    notices: tuple[str, ...] = ()
    """What else people should know."""


def failed(source: ImageSource, stage: Stage, reason: str) -> FailedImage:
    """Return the quarantine entry of an image."""
    return FailedImage(image_id=source.image_id, location=source.location, stage=stage, reason=reason)
