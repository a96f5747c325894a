"""The manifest of a store that a run goes on with, or begins."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

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
from stores.plan import PLAN_NAME, SHARD_PREFIX


def open_manifest(out: Path, wanted: Manifest, sizes: Mapping[str, int]) -> Manifest:
    """Return the store's manifest if this run may continue it, without shards that are no longer there.

    `sizes` are the bytes of every file in the store, by name.
    """
    if not (out / MANIFEST_NAME).exists():
        suffix = STORES[wanted.store].suffix
        strangers = [name for name in sizes if name.startswith(SHARD_PREFIX) and name.endswith(suffix)]
        if strangers and (out / PLAN_NAME).exists():
            raise StoreError(f"{out} has {len(strangers)} shards and no {MANIFEST_NAME}; run vinculum repair {out}")
        return wanted
    manifest = read_manifest(out)
    require_same_configuration(manifest, _as_far_as_known(wanted, manifest), out)
    return without_replaced_shards(without_lost_shards(manifest, sizes), out)


def _as_far_as_known(wanted: Manifest, existing: Manifest) -> Manifest:
    """Return the manifest without what was not yet kept of a model's files when the existing one was written."""
    detector, known = (each.configuration.get("detector", {}) for each in (wanted, existing))
    weights, known_weights = (each.get("weights", {}) for each in (detector, known))
    if "config_sha256" in known_weights or "config_sha256" not in weights:
        return wanted
    weights = {name: value for name, value in weights.items() if name != "config_sha256"}
    return replace(wanted, configuration=wanted.configuration | {"detector": detector | {"weights": weights}})
