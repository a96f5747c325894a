"""The manifest of a sentence store that a run goes on with, or begins."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from annotations.datasets.catalog import DATA_SETS
from annotations.vectors.files import arrays_beside
from pipeline.alignment.given import Given
from pipeline.alignment.grown_regions import Growth
from pipeline.alignment.job import AlignmentJob
from pipeline.cluster.notices import Notice
from pipeline.inputs.identity import BY_NAMES, as_recorded, identity_of
from stores.catalog import STORES
from stores.errors import StoreError
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    require_same_configuration,
    without_lost_shards,
    without_replaced_shards,
)
from stores.places import FolderPlace
from stores.plan import SHARD_PREFIX


def configuration_of(job: AlignmentJob, given: Given) -> dict[str, Any]:
    """Return all that decides the store's bytes; inputs are known by their content, wherever they lie."""
    recorded = read_manifest(job.out).configuration if (job.out / MANIFEST_NAME).exists() else {}
    before: list[dict[str, Any]] = recorded.get("annotations", [])
    annotations = []
    for source, known in zip(job.annotations, chain(before, repeat({})), strict=False):
        found = identity_of(source.path, beside=DATA_SETS[source.name].beside)
        annotations.append({"name": source.name} | as_recorded(found, known, source.path))
    vectors = None
    if job.vectors:
        found = identity_of(job.vectors, beside=arrays_beside(job.vectors))
        vectors = as_recorded(found, recorded.get("vectors") or {}, job.vectors)
    return {
        **_identity_as_recorded(given.identity, recorded),
        "annotations": annotations,
        "vectors": vectors,
        "held_out": [identity_of(path) for path in job.held_out],
        "minival": identity_of(job.minival) if job.minival else None,
        "merging": asdict(job.merging),
        "semantic_unit": job.unit,
        "class_weight": job.class_weight,
        "aliases": job.aliases,
        # A store that an older version began goes on as that did, with a weight for names that are not there.
        **({"absent_names": "other"} if not recorded or "absent_names" in recorded else {}),
        **({"function_words": job.function_words} if job.function_words != "compared" else {}),
        "bake": asdict(job.bake) if job.bake else None,
        "shard_size": job.shard_size,
    }


def notices_of(manifest: Manifest) -> Iterator[Notice]:
    """Yield what a person should know of a store that an older version began."""
    for each in manifest.configuration["annotations"]:
        if each.get("of") == BY_NAMES:
            yield Notice(
                text=f"{each['name']}: this store, begun by an older version, knows its {each['files']} files by names "
                "and sizes; whether one was edited at equal size is not known, a new --out would know"
            )


def _identity_as_recorded(identity: dict[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of regions or files without the files' content where an older version recorded none."""
    if "content" in recorded.get("images", {"content": None}):
        return identity
    return {name: {key: each[key] for key in each if key != "content"} for name, each in identity.items()}


def open_manifest(out: Path, wanted: Manifest, growth: Growth | None) -> Manifest:
    """Return the store's manifest if this run may continue it, without shards that are no longer there.

    Where the regions have grown, it is as it was before they had, with the shards that `carry_over` may look at.
    """
    if not (out / MANIFEST_NAME).exists():
        if any(out.glob(f"{SHARD_PREFIX}*{STORES[wanted.store].suffix}")):
            raise StoreError(f"{out} has shards and no {MANIFEST_NAME}; run vinculum repair {out}")
        return wanted
    manifest = read_manifest(out)
    if not manifest.shards:
        return wanted  # a run with other options ended before it made anything
    if growth is not None:
        regions = {"regions": wanted.configuration["regions"]}
        require_same_configuration(replace(manifest, configuration=manifest.configuration | regions), wanted, out)
        return without_lost_shards(manifest, FolderPlace(out).sizes())
    require_same_configuration(manifest, wanted, out)
    return without_replaced_shards(without_lost_shards(manifest, FolderPlace(out).sizes()), out)
