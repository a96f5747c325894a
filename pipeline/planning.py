"""Which image goes into which shard: decided once, kept in the store, extended by new images, never reshuffled."""

import numpy as np
from numpy.typing import NDArray

from stores.image_listing import SourceError
from stores.image_sources import ImageSource, ImageSources
from stores.locations import filesystem_of, local_path
from stores.plan import Plan


def plan_shards(images: ImageSources, shard_size: int, existing: Plan | None = None) -> Plan:
    """Return the existing shards, at the images' present places, followed by shards of the images they lack.

    Images that are no longer listed stay planned. Raises SourceError when an id that is planned for one file is now
    claimed by another while the first still exists.
    """
    if existing is None:
        return Plan.of(images, shard_size)
    if existing.images == images:
        return existing
    rows = images.rows_of(existing.images)
    kept = existing.with_images(_relocated(existing.images, images, rows))
    is_new = np.ones(len(images), bool)
    is_new[rows[rows >= 0]] = False
    return kept.followed_by(images.take(np.flatnonzero(is_new)), shard_size) if is_new.any() else kept


def _relocated(planned: ImageSources, listed: ImageSources, rows: NDArray[np.int64]) -> ImageSources:
    """Return the planned images where they are listed now, which is in these rows, -1: nowhere."""
    found = np.flatnonzero(rows >= 0)
    changed = found[listed.take(rows[found]).differs(planned.take(found))]
    if not len(changed):
        return planned
    now = listed.take(rows[changed])
    for was, here in zip(planned.take(changed), now, strict=True):
        _require_moved(was, here)
    return planned.replaced(changed, now)


def _require_moved(planned: ImageSource, now: ImageSource) -> None:
    if now.location != planned.location and _exists(planned.url):
        raise SourceError(
            f"image id {now.image_id!r} is {planned.location!r} in this store and {now.location!r} in this run; "
            "use --image-id path and a new --out, or a .tsv list with ids of your own"
        )


def _exists(url: str) -> bool:
    path = local_path(url)
    if path is not None:
        return path.exists()
    filesystem, root = filesystem_of(url)
    return bool(filesystem.exists(root))
