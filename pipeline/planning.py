"""Which image goes into which shard: decided once, kept in the store, extended by new images, never reshuffled."""

from collections.abc import Sequence
from pathlib import Path

import fsspec

from stores.image_listing import SourceError
from stores.plan import ImageSource, PlannedShard


def plan_shards(
    images: Sequence[ImageSource], shard_size: int, existing: Sequence[PlannedShard] = ()
) -> tuple[PlannedShard, ...]:
    """Return the existing shards, at the images' present places, followed by shards of the images they lack.

    Images that are no longer listed stay planned. Raises SourceError when an id that is planned for one file is now
    claimed by another while the first still exists.
    """
    listed = {image.image_id: image for image in images}
    kept = tuple(_relocated(shard, listed) for shard in existing)
    known = {image.image_id for shard in kept for image in shard.images}
    new = [image for image in images if image.image_id not in known]
    chunks = (tuple(new[first : first + shard_size]) for first in range(0, len(new), shard_size))
    return kept + tuple(PlannedShard(f"shard-{number:05d}", chunk) for number, chunk in enumerate(chunks, len(kept)))


def _relocated(shard: PlannedShard, listed: dict[str, ImageSource]) -> PlannedShard:
    images = []
    for planned in shard.images:
        now = listed.get(planned.image_id, planned)
        if now.location != planned.location and _exists(planned.url):
            raise SourceError(
                f"image id {now.image_id!r} is {planned.location!r} in this store and {now.location!r} in this run; "
                "use --image-id path and a new --out, or a .tsv list with ids of your own"
            )
        images.append(now)
    return PlannedShard(shard.name, tuple(images))


def _exists(url: str) -> bool:
    if "://" not in url:
        return Path(url).exists()
    filesystem, path = fsspec.url_to_fs(url)
    return bool(filesystem.exists(path))
