"""Whether one shard is what manifest and plan say."""

import errno
from collections import Counter
from pathlib import Path

from stores.catalog import find_store
from stores.errors import DamagedFileError
from stores.manifest import Manifest, ShardEntry, describe_shard, fingerprint
from stores.plan import PLAN_NAME, Plan


def check_size(folder: Path, entry: ShardEntry) -> None:
    """The shard is there, and as large as in the manifest.

    Raises:
        DamagedFileError: it is not.
    """
    path = folder / entry.name
    found = f"{path.stat().st_size} bytes" if path.exists() else "missing"
    if found != f"{entry.bytes} bytes":
        raise DamagedFileError(path, found=found, expected=f"{entry.bytes} bytes")


def check_shard(folder: Path, manifest: Manifest, entry: ShardEntry, plan: Plan | None) -> None:
    """The shard's bytes are those in the manifest, were made as it says, and hold the planned images.

    Raises:
        DamagedFileError: they are not; with what was found first.
    """
    path = folder / entry.name
    try:
        found = describe_shard(path, entry.rows)
    except FileNotFoundError as error:
        raise DamagedFileError(path, found="missing", expected=f"{entry.bytes} bytes") from error
    except OSError as error:
        if error.errno != errno.EIO:  # anything else, such as missing permission, says nothing about the bytes
            raise
        raise DamagedFileError(
            path, found="unreadable (Input/output error)", expected=f"{entry.bytes} bytes"
        ) from error
    if found.bytes != entry.bytes:
        raise DamagedFileError(path, found=f"{found.bytes} bytes", expected=f"{entry.bytes} bytes")
    if found.sha256 != entry.sha256:
        raise DamagedFileError(path, found=f"SHA-256 {found.sha256}", expected=entry.sha256)
    with find_store(manifest, folder).open_shard(path) as shard:
        made, image_ids = shard.description, list(shard.row_ids)
    if made.content != manifest.content:
        raise DamagedFileError(path, found=f"a shard of {made.content}", expected=f"one of {manifest.content}")
    if made.fingerprint != fingerprint(manifest.configuration):
        expected = f"{fingerprint(manifest.configuration)} as in the manifest"
        raise DamagedFileError(path, found=f"fingerprint {made.fingerprint}", expected=expected)
    if len(image_ids) != entry.rows:
        raise DamagedFileError(path, found=f"{len(image_ids)} rows", expected=f"{entry.rows} rows")
    if plan is not None:
        _check_images(path, image_ids, entry, plan)


def _check_images(path: Path, image_ids: list[str], entry: ShardEntry, plan: Plan) -> None:
    number = plan.number_of(path.stem)
    if number is None:
        raise DamagedFileError(
            path, found="a shard that is not planned", expected=f"one of the {len(plan)} in {PLAN_NAME}"
        )
    planned = plan.images_of(number).image_ids()
    failed = [failure.image_id for failure in entry.failures]
    for image_id, times in (Counter(image_ids + failed) - Counter(planned)).items():
        here = "not planned for it" if image_id not in planned else f"{times + 1} times, in rows or quarantine"
        raise DamagedFileError(path, found=f"image {image_id!r} {here}", expected="each planned image once")
    for image_id in Counter(planned) - Counter(image_ids + failed):
        found = f"image {image_id!r} neither in a row nor in quarantine"
        raise DamagedFileError(path, found=found, expected="each planned image once")
    quarantine = set(failed)
    if image_ids != [image_id for image_id in planned if image_id not in quarantine]:
        raise DamagedFileError(path, found="rows in another order", expected="the order of the plan")
