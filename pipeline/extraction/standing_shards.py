"""What becomes of a shard's file that is there already when the shard is to be made, by a retry or after a kill."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from detectors.records import Features
from stores.catalog import STORES, ShardReader, StoreName
from stores.errors import DamagedFileError, StoreError
from stores.images.bytes import read_source
from stores.images.sources import ImageSource
from stores.manifest import Content, FailedImage, fingerprint
from stores.seal import require_intact


def open_standing(
    path: Path, *, store: StoreName, content: Content, configuration: Mapping[str, Any], planned: Collection[str]
) -> ShardReader:
    """Return the reader of a shard that is believed: its seal holds, it was made alike, and its rows are planned.

    Raises:
        DamagedFileError: it is none of these.
    """
    require_intact(path)
    reader = STORES[store].open_shard(path)
    made, wanted = reader.description, fingerprint(configuration)
    if made.content != content:
        raise DamagedFileError(path, found=f"a shard of {made.content}", expected=f"one of {content}")
    if made.fingerprint != wanted:
        raise DamagedFileError(path, found=f"fingerprint {made.fingerprint}", expected=wanted)
    for image_id in reader.row_ids:
        if image_id not in planned:
            raise DamagedFileError(path, found=f"image {image_id!r}", expected="the images that are planned for it")
    return reader


def is_outdated(record: Features, source: ImageSource) -> bool:
    """Return whether the record was made from another file than the one that is there now; False where nobody knows."""
    if record.image_sha256 is None:
        return False
    try:
        return sha256(read_source(source)).digest() != record.image_sha256
    except OSError:
        return False


def require_no_loss(path: Path, held: Collection[str], failures: Collection[FailedImage]) -> None:
    """No image whose features the shard at `path` holds is about to be replaced by a failure.

    Raises:
        StoreError: one is; the file is as it was.
    """
    for failure in failures:
        if failure.image_id in held:
            raise StoreError(
                f"{path.name}: image {failure.image_id!r} has features in it and cannot be made again "
                f"({failure.stage}: {failure.reason}), expected {failure.location} as readable as it was; put the file "
                f"back, or move {path.name} out of the store to give up its rows, and run again"
            )
