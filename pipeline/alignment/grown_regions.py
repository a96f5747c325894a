"""What stays of a store of sentences when the regions that it was aligned with have grown since.

A shard stays if more images can change none of its rows, drops and counts. Its description says which regions it was
aligned with, so it is written anew, rows as they were: then it has the bytes that aligning it again would give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.alignment.drop_reasons import ANOTHERS_NUMBER, BAD_ID, NO_REGIONS, OTHER_PROPORTIONS, OTHER_SIZE, REPEATED
from pipeline.inputs.identity import identity_of_store
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.manifest import SCHEMA_VERSIONS, Manifest, ShardEntry, describe_shard
from stores.numbering import JOIN_RULES, NOTE, joined_by
from stores.seal import require_intact
from stores.store_content import shards_since

_MAY_CHANGE = frozenset({NO_REGIONS, ANOTHERS_NUMBER, OTHER_SIZE, OTHER_PROPORTIONS, REPEATED, BAD_ID})
"""Why sentences are dropped that more images may bring back, or drop for another reason."""

_FIRST = frozenset({joined_by("id"), joined_by("size")})
"""Rules by the id that is looked for before all others; another rule may find another image once there are more."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What a store of regions has now, beside all that it had."""

    num_shards: int
    num_images: int

    def __str__(self) -> str:
        return f"{self.num_shards} shard{'s' if self.num_shards > 1 else ''} since ({self.num_images} images)"


def growth_since(regions: Manifest, recorded: Mapping[str, Any]) -> Growth | None:
    """Return by how much the store has grown since it had this identity.

    None: it has not grown, or it is another one. See `pipeline.inputs.identity.identity_of_store`.
    """
    if recorded.get("fingerprint") != regions.fingerprint or not isinstance(recorded.get("sha256"), str):
        return None
    num_shards = shards_since(regions, recorded["sha256"])
    if not num_shards:
        return None
    newest = sorted(regions.shards, key=lambda each: each.name)[-num_shards:]
    return Growth(num_shards=num_shards, num_images=sum(entry.rows for entry in newest))


def is_another_store(regions: Manifest, recorded: Mapping[str, Any]) -> bool:
    """Return whether these are other regions than those of this identity; what it lacks is not compared."""
    found = identity_of_store(regions)
    is_same = all(recorded[name] == value for name, value in found.items() if name in recorded)
    return not is_same and growth_since(regions, recorded) is None


def require_aligned_with(place: Path, regions: Manifest, sentences: Path, recorded: Mapping[str, Any]) -> None:
    """`sentences` were aligned with the regions at `place`, or with those that they had before they grew.

    Raises:
        StoreError: they were aligned with others, whose targets mean nothing for these.
    """
    if is_another_store(regions, recorded):
        raise StoreError(
            f"{place}: {identity_of_store(regions)}; {sentences} was aligned with regions of {dict(recorded)}, "
            "expected the same ones. Give the ones of that time, or align again, into a new folder"
        )


def require_same_numbers(out: Path, existing: Mapping[str, Any], settled: Mapping[str, Any]) -> None:
    """Aligning anew would take the images' numbers for those of the same people.

    Args:
        existing: notes of the store of sentences.
        settled: notes that a new one would have.

    Raises:
        StoreError: it would not.
    """
    before, now = existing.get(NOTE), settled.get(NOTE)
    if before != now:
        raise StoreError(
            f"{out}: the region store grew since, and whose the numbers among its images' ids are was {before}, now it "
            f"is {now}, expected the same; use a new --out"
        )


def carry_over(folder: Path, existing: Manifest, wanted: Manifest) -> Manifest:
    """Return `wanted` with the shards that stay, whose files are now those of its regions; others are as they were.

    A run that is killed in here leaves the manifest of before. The next one takes what this one has written.

    Args:
        existing: the manifest of the store, aligned with fewer regions.
        wanted: the manifest of a new store, aligned with those that are there now.
    """
    carried = (_carried(folder, existing, wanted, entry) for entry in existing.shards if _stays(entry))
    return replace(wanted, shards=tuple(entry for entry in carried if entry is not None))


def _stays(entry: ShardEntry) -> bool:
    """Return whether the images of all sentences are known to be the ones that are found first, and none is missing."""
    rules = {name for name in map(joined_by, JOIN_RULES) if entry.counts.get(name)}
    is_told = bool(rules) or entry.rows == 0
    return is_told and rules <= _FIRST and not any(drop.reason in _MAY_CHANGE for drop in entry.drops)


def _carried(folder: Path, existing: Manifest, wanted: Manifest, entry: ShardEntry) -> ShardEntry | None:
    """Return the entry of the shard, written anew; None where it has to be made anew."""
    path = folder / entry.name
    try:
        require_intact(path)
        with STORES[existing.store].open_shard(path) as shard:
            made = shard.description
            is_current = made.content == "sentences" and made.schema_version == SCHEMA_VERSIONS["sentences"]
            if not is_current or len(shard) != entry.rows:
                return None
            if made.fingerprint == existing.fingerprint and entry.seal in ("", shard.seal):
                shard.copy_sentences(path, configuration=wanted.configuration)
            elif made.fingerprint != wanted.fingerprint:  # else a run that was killed has written it
                return None
    except DamagedFileError:
        return None
    return replace(describe_shard(path, entry.rows), drops=entry.drops, counts=entry.counts)
