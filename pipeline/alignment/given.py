"""What sentences are aligned with: regions with their names, or files of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.alignment.region_names import RegionNames
from annotations.guards.drops import Drops
from annotations.vectors.lookup import WordVectors, read_word_vectors
from pipeline.alignment.job import AlignmentJob
from pipeline.inputs.identity import identity_of_files, identity_of_store
from stores.errors import StoreError
from stores.images.listing import list_images
from stores.images.sources import ImageSources
from stores.layouts import RegionLayouts
from stores.manifest import (
    Manifest,
)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What sentences are aligned with."""

    images: Path | ImageSources
    """A store of regions, or files."""
    vectors: WordVectors
    classes: Sequence[str] = ()
    attributes: Sequence[str] = ()
    identity: dict[str, Any]
    """What tells it from other regions or files."""
    regions: Manifest | None = None
    """Manifest of the region store."""


def open_regions(job: AlignmentJob, drops: Drops) -> Given:
    """Return the region store with the names behind its class and attribute ids."""
    if job.regions is None or job.vectors is None:
        raise ValueError(
            "expected --regions with --vectors, or --images alone, whose words then point at boxes and at no region"
        )
    layouts = RegionLayouts(job.regions)
    manifest = layouts.manifest
    vocabulary = manifest.configuration.get("detector", {}).get("vocabulary")
    if not vocabulary:
        raise StoreError(
            f"{job.regions}: its manifest has no vocabulary, expected the detector's; words need its names"
        )
    _require_names(job, layouts, RegionNames(vocabulary["classes"], vocabulary["attributes"]))
    return Given(
        images=job.regions.absolute(),
        vectors=read_word_vectors(job.vectors, drops=drops),
        classes=vocabulary["classes"],
        attributes=vocabulary["attributes"],
        identity={"regions": identity_of_store(manifest)},
        regions=manifest,
    )


def _require_names(job: AlignmentJob, layouts: RegionLayouts, names: RegionNames) -> None:
    """Raise ValueError where a combination is baked that compares words with names, and the regions have none."""
    found = names.count(layouts.beginning())
    is_nameless = bool(found) and found["regions"] == found["regions_without_names"]
    if is_nameless and job.bake and job.bake.combination != "position-only" and job.nameless == "refuse":
        raise ValueError(
            f"{job.regions}: none of the {found['regions']} regions of its first shard has a name, and --bake "
            f"{job.bake.combination} compares words with names; expected --bake position-only, or --nameless allow, "
            "with which the semantic criterion is 0"
        )


def list_files(job: AlignmentJob) -> Given:
    """Return the files, which have no regions that words could be compared with."""
    if job.regions is not None or job.vectors is not None or job.bake is not None:
        raise ValueError(
            "--images goes without --regions, --vectors and --bake, which are about regions: files have none"
        )
    images = list_images(job.images).images
    return Given(images=images, vectors=WordVectors.none(), identity={"images": identity_of_files(images)})
