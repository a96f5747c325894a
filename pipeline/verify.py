"""Whether a store is what its manifest says, and how to make it so again."""

import errno
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from stores.atomic import leftovers, locked, remove_leftovers
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    ShardEntry,
    StoreName,
    describe_shard,
    fingerprint,
    read_manifest,
    write_manifest,
)
from stores.plan import PLAN_NAME, SHARD_PREFIX, read_plan
from stores.seal import is_intact

Plan = dict[str, list[str]]
"""Shard name without suffix → the ids of its planned images, in row order. Sentences have no plan."""

P = ParamSpec("P")
T = TypeVar("T")

_CHANGED = "bytes changed after it was written"
_STORE_OF_SUFFIX: dict[str, StoreName] = {store.suffix: name for name, store in STORES.items()}


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One file of a store that is not as it was written."""

    subject: str
    """The file's name in the store's folder."""
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.found}, expected {self.expected}"


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What became of one damaged file."""

    subject: str
    """The file's name in the store's folder."""
    outcome: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.outcome}"


def verify(folder: Path) -> list[Damage]:
    """Return all that is not as written, having read every byte; a shard still to do is no damage.

    Changes nothing. While a run writes to the store, its temporary files and newest shard are reported too.

    Raises:
        StoreError: a newer version of this program wrote the store.
    """
    plan, manifest = _read_both(folder)
    damages = [_damage(each) for each in (plan, manifest) if isinstance(each, DamagedFileError)]
    damages += [
        Damage(subject=path.name, found="a killed writer's temporary file", expected="none")
        for path in leftovers(folder)
    ]
    if isinstance(manifest, DamagedFileError):
        return damages + [
            Damage(subject=path.name, found=_CHANGED, expected="an intact shard")
            for path in _shard_files(folder)
            if not is_intact(path)
        ]
    damages += _shard_damages(folder, manifest, plan)
    damages += [
        Damage(subject=path.name, found="a shard that the manifest does not name", expected="none")
        for path in _strangers(folder, manifest)
    ]
    return damages


def repair(folder: Path) -> list[Repair]:
    """All that is left in the store is sound, the rest is to do again; returns what became of each file.

    Raises:
        StoreError: another run owns the store, or nothing in it can be trusted any more.
    """
    with locked(folder):
        plan, manifest = _read_both(folder)
        if isinstance(manifest, DamagedFileError):
            repairs = _start_anew(folder, manifest) if plan is None else _rebuild(folder, plan, manifest)
        else:
            repairs = _put_back(folder, plan, manifest)
        return repairs + [
            Repair(subject=path.name, outcome="a killed writer's temporary file; deleted")
            for path in remove_leftovers(folder)
        ]


def _start_anew(folder: Path, lost: DamagedFileError) -> list[Repair]:
    """The store is empty: only its manifest knew which annotations its shards were made from, and what was dropped."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    reasons = {path.name: "what it was made from was in the lost manifest" for path in _shard_files(folder)}
    return [Repair(subject=MANIFEST_NAME, outcome=f"{lost.found}; deleted"), *_delete(folder, reasons, "align")]


def _put_back(folder: Path, plan: Plan | DamagedFileError | None, manifest: Manifest) -> list[Repair]:
    """Every shard in the manifest is sound; the others are gone, and so is a damaged plan."""
    repairs = []
    if isinstance(plan, DamagedFileError):
        (folder / PLAN_NAME).unlink(missing_ok=True)
        repairs.append(
            Repair(
                subject=PLAN_NAME,
                outcome=f"{plan.found}; vinculum {_command(manifest)} with the same inputs plans anew",
            )
        )
    reasons = {damage.subject: damage.found for damage in _shard_damages(folder, manifest, plan)}
    if reasons:
        # The manifest first: killed in between, a file that it no longer names is a stranger to the next repair.
        sound = tuple(entry for entry in manifest.shards if entry.name not in reasons)
        write_manifest(folder, replace(manifest, shards=sound))
    reasons |= {path.name: "not in the manifest" for path in _strangers(folder, manifest)}
    return repairs + _delete(folder, reasons, _command(manifest))


def _rebuild(folder: Path, plan: Plan | DamagedFileError, lost: DamagedFileError) -> list[Repair]:
    """The manifest is there again, with the shards that prove themselves: intact, made alike, and as planned.

    A shard with images in quarantine is to do again, because only the lost manifest knew their reasons.
    """
    if isinstance(plan, DamagedFileError):
        raise StoreError(
            f"{folder}: {MANIFEST_NAME} ({lost.found}) and {PLAN_NAME} ({plan.found}) are both lost, expected one of "
            "them to tell which image belongs to which shard; restore one, or start over with a new --out"
        )
    manifest: Manifest | None = None
    entries, reasons = [], {}
    for path in _shard_files(folder):
        if not is_intact(path):
            reasons[path.name] = _CHANGED
            continue
        store = _STORE_OF_SUFFIX[path.suffix]
        with STORES[store].open_shard(path) as shard:
            made, image_ids = shard.description, list(shard.row_ids)
        alike = Manifest(content=made.content, store=store, configuration=made.configuration)
        if manifest not in (None, alike):
            raise StoreError(
                f"{folder}: {MANIFEST_NAME} ({lost.found}) cannot be rebuilt: {path.name} was made with other options "
                "than the shards before it, expected one store's; move the strange shards away, then repair again"
            )
        manifest = alike
        if image_ids == plan.get(path.stem):
            entries.append(describe_shard(path, len(image_ids)))
        else:
            reasons[path.name] = "lacks planned images, and why was in the lost manifest"
    command = "extract" if manifest is None else _command(manifest)
    if manifest is None:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        outcome = "no intact shard to rebuild it from; vinculum extract starts anew"
    else:
        write_manifest(folder, replace(manifest, shards=tuple(entries)))
        outcome = f"rebuilt with {len(entries)} of {len(plan)} planned shards"
    return [Repair(subject=MANIFEST_NAME, outcome=f"{lost.found}; {outcome}"), *_delete(folder, reasons, command)]


def _command(manifest: Manifest) -> str:
    """Return which command makes the store's shards."""
    if manifest.content == "sentences":
        return "align"
    return "convert" if "imported" in manifest.configuration else "extract"


def _delete(folder: Path, reasons: dict[str, str], command: str) -> list[Repair]:
    for name in reasons:
        (folder / name).unlink(missing_ok=True)
    return [
        Repair(subject=name, outcome=f"{reason}; vinculum {command} makes it again") for name, reason in reasons.items()
    ]


def _shard_damages(folder: Path, manifest: Manifest, plan: Plan | DamagedFileError | None) -> list[Damage]:
    checked = [_try(_check_shard, folder, manifest, entry, plan) for entry in manifest.shards]
    return [_damage(each) for each in checked if isinstance(each, DamagedFileError)]


def _check_shard(folder: Path, manifest: Manifest, entry: ShardEntry, plan: Plan | DamagedFileError | None) -> None:
    """The shard's bytes are those in the manifest, were made as it says, and hold the planned images."""
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
    with STORES[manifest.store].open_shard(path) as shard:
        made, image_ids = shard.description, list(shard.row_ids)
    if made.content != manifest.content:
        raise DamagedFileError(path, found=f"a shard of {made.content}", expected=f"one of {manifest.content}")
    if made.fingerprint != fingerprint(manifest.configuration):
        expected = f"{fingerprint(manifest.configuration)} as in the manifest"
        raise DamagedFileError(path, found=f"fingerprint {made.fingerprint}", expected=expected)
    if len(image_ids) != entry.rows:
        raise DamagedFileError(path, found=f"{len(image_ids)} rows", expected=f"{entry.rows} rows")
    if isinstance(plan, dict):
        _check_images(path, image_ids, entry, plan)


def _check_images(path: Path, image_ids: list[str], entry: ShardEntry, plan: Plan) -> None:
    planned = plan.get(path.stem)
    if planned is None:
        raise DamagedFileError(
            path, found="a shard that is not planned", expected=f"one of the {len(plan)} in {PLAN_NAME}"
        )
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


def _read_both(folder: Path) -> tuple[Plan | DamagedFileError | None, Manifest | DamagedFileError]:
    manifest = _try(read_manifest, folder)
    is_sentences = (
        _holds_sentences(folder) if isinstance(manifest, DamagedFileError) else manifest.content == "sentences"
    )
    return None if is_sentences else _try(_read_plan, folder), manifest


def _holds_sentences(folder: Path) -> bool:
    """Return what the first sound shard says of a store without a manifest."""
    for path in filter(is_intact, _shard_files(folder)):
        with STORES[_STORE_OF_SUFFIX[path.suffix]].open_shard(path) as shard:
            return shard.description.content == "sentences"
    return False


def _read_plan(folder: Path) -> Plan:
    shards = read_plan(folder)
    planned = Counter(image.image_id for shard in shards for image in shard.images)
    for image_id, times in planned.most_common(1):
        if times > 1:
            found = f"image {image_id!r} {times} times"
            raise DamagedFileError(folder / PLAN_NAME, found=found, expected="each image once")
    return {shard.name: [image.image_id for image in shard.images] for shard in shards}


def _shard_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.name.startswith(SHARD_PREFIX) and path.suffix in _STORE_OF_SUFFIX
    )


def _strangers(folder: Path, manifest: Manifest) -> list[Path]:
    named = {entry.name for entry in manifest.shards}
    return [path for path in _shard_files(folder) if path.name not in named]


def _damage(error: DamagedFileError) -> Damage:
    return Damage(subject=error.path.name, found=error.found, expected=error.expected)


def _try(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | DamagedFileError:
    try:
        return function(*args, **kwargs)
    except DamagedFileError as error:
        return error
