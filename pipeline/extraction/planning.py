"""Which image goes into which shard: decided once, kept in the store, extended by new images, never reshuffled."""

import numpy as np

from stores.images.sources import ImageSources
from stores.plan import Plan


def plan_shards(images: ImageSources, shard_size: int, existing: Plan | None = None) -> Plan:
    """Return the existing shards, at the images' present places, followed by shards of the images they lack.

    Images that are no longer listed stay planned as they are, and so does the version of a file that is not there now.
    """
    if existing is None:
        return Plan.of(images, shard_size)
    if existing.images == images.as_stored():
        return existing.with_images(images)
    rows = images.rows_of(existing.images)
    found = np.flatnonzero(rows >= 0)
    was, now = existing.images.take(found), images.take(rows[found])
    is_gone = now.lacks("version") & ~was.lacks("version") & ~was.differs(now.as_stored(), "url", "member")
    kept = existing.with_images(existing.images.replaced(found, now.with_versions_of(was, is_gone)))
    is_new = np.ones(len(images), bool)
    is_new[rows[found]] = False
    return kept.followed_by(images.take(np.flatnonzero(is_new)), shard_size) if is_new.any() else kept


def remark_on_absent(plan: Plan, images: ImageSources) -> tuple[str, ...]:
    """Return how many of the plan's images are not listed any more; nothing where all are.

    The plan has every listed image, so that what it has beyond them is absent.
    """
    num_absent = len(plan.images) - len(images)
    if not num_absent:
        return ()
    return (f"{num_absent} images of the store are no longer among --images: they stay as they are",)


def remark_on_sizes(existing: Plan, plan: Plan, shard_size: int) -> tuple[str, ...]:
    """Return what holds where a run asks for shards of another size than the store has; nothing where it has that."""
    sizes, counts = np.unique(existing.sizes, return_counts=True)
    if not len(sizes):
        return ()
    is_usual = counts.max() > 1  # a store whose every shard has a size of its own shows none that was asked for
    usual = int(sizes[counts.argmax()] if is_usual else sizes.max())
    if usual == shard_size or (usual < shard_size and not is_usual):
        return ()
    num_new = len(plan) - len(existing)
    of_new = f"its {num_new} new ones have up to {shard_size}" if num_new else "there are no new ones"
    return (f"--shard-size {shard_size}: the store's shards keep their {usual} images, and {of_new}",)
