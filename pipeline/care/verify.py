"""Whether a store is what its manifest says, and how to make it so again."""

import math
import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, ParamSpec, TypeVar

from pipeline.care.shard_checks import check_shard, check_size
from stores.atomic import leftovers, locked, remove_leftovers
from stores.catalog import STORES, StoreName
from stores.errors import DamagedFileError, StoreError
from stores.image_index import INDEX_NAME, read_index
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    describe_shard,
    read_manifest,
    require_store,
    write_manifest,
)
from stores.plan import PLAN_NAME, SHARD_PREFIX, Plan, read_plan
from stores.seal import is_intact

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


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found in a store."""

    damages: tuple[Damage, ...]
    num_shards: int
    """Shards that are made."""
    num_read: int
    """Shards whose bytes were read; of the others only the sizes were compared."""
    num_planned: int | None
    """Shards that the store is to have; None where nobody knows, as of sentences."""
    is_finished: bool | None
    """Whether nothing is left to make; None of sentences of an older version, which did not record it."""
    command: str
    """Which command makes its shards."""

    @property
    def state(self) -> Literal["whole", "unfinished", "damaged"]:
        if self.damages:
            return "damaged"
        return "unfinished" if self.is_finished is False else "whole"


def verify(folder: Path, *, share: float = 1.0) -> Verdict:
    """Return what is in the store and all that is not as written, having read every byte.

    Changes nothing. A shard still to do is no damage. While a run writes to the store, its temporary files and newest
    shard are reported too.

    Args:
        share: of the shards whose bytes are read, others each time; of all others the sizes are compared, and
            manifest, plan and index are read whole.

    Raises:
        StoreError: a newer version of this program wrote the store, or it is none.
    """
    plan, manifest = _read_both(folder)
    if isinstance(manifest, DamagedFileError):
        return _verdict_without_manifest(folder, plan, manifest)
    chosen = {entry.name for entry in random.sample(manifest.shards, num_sampled(manifest, share))}
    damages = [_damage(plan)] if isinstance(plan, DamagedFileError) else []
    damages += _leftover_damages(folder)
    damages += _shard_damages(folder, manifest, plan, chosen)
    damages += _index_damages(folder, manifest, plan)
    damages += [
        Damage(subject=path.name, found="a shard that the manifest does not name", expected="none")
        for path in _strangers(folder, manifest)
    ]
    num_planned = len(plan) if isinstance(plan, Plan) else None
    return Verdict(
        damages=tuple(damages),
        num_shards=len(manifest.shards),
        num_read=len(chosen),
        num_planned=num_planned,
        is_finished=manifest.is_finished if num_planned is None else len(manifest.shards) >= num_planned,
        command=_command(manifest),
    )


def _verdict_without_manifest(
    folder: Path, plan: Plan | DamagedFileError | None, manifest: DamagedFileError
) -> Verdict:
    """Return what is in a store whose manifest is lost, or was never written."""
    shards = _shard_files(folder)
    is_new = isinstance(plan, Plan) and not shards and not (folder / MANIFEST_NAME).exists()
    lost = [_damage(each) for each in (plan, manifest) if isinstance(each, DamagedFileError)]
    broken = [
        Damage(subject=path.name, found=_CHANGED, expected="an intact shard") for path in shards if not is_intact(path)
    ]
    return Verdict(
        damages=(*([] if is_new else lost), *_leftover_damages(folder), *broken),
        num_shards=len(shards),
        num_read=len(shards),
        num_planned=len(plan) if isinstance(plan, Plan) else None,
        is_finished=False,
        command="extract",
    )


def _leftover_damages(folder: Path) -> list[Damage]:
    return [
        Damage(subject=path.name, found="a killed writer's temporary file", expected="none")
        for path in leftovers(folder)
    ]


def num_sampled(manifest: Manifest, share: float) -> int:
    """Return how many shards are a share of the store, at least one where there are any."""
    return math.ceil(share * len(manifest.shards))


def repair(folder: Path) -> list[Repair]:
    """All that is left in the store is sound, the rest is to do again; returns what became of each file.

    Raises:
        StoreError: another run owns the store, or nothing in it can be trusted any more.
    """
    require_store(folder)
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
    for damage in _index_damages(folder, manifest, plan):
        (folder / INDEX_NAME).unlink()
        repairs.append(
            Repair(subject=INDEX_NAME, outcome=f"{damage.found}; vinculum {_command(manifest)} makes it again")
        )
    reasons = {damage.subject: damage.found for damage in _shard_damages(folder, manifest, plan)}
    if reasons:
        # The manifest first: killed in between, a file that it no longer names is a stranger to the next repair.
        sound = tuple(entry for entry in manifest.shards if entry.name not in reasons)
        left = replace(manifest, shards=sound)
        write_manifest(folder, left.noting_finished(False) if manifest.content == "sentences" else left)
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
        number = plan.number_of(path.stem)
        if number is not None and image_ids == plan.images_of(number).image_ids():
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


def _shard_damages(
    folder: Path, manifest: Manifest, plan: Plan | DamagedFileError | None, chosen: Collection[str] | None = None
) -> list[Damage]:
    """Return what is wrong with the shards; of those that are not chosen, if some are, only the size is looked at."""
    known = plan if isinstance(plan, Plan) else None
    checked = [
        _try(check_shard, folder, manifest, entry, known)
        if chosen is None or entry.name in chosen
        else _try(check_size, folder, entry)
        for entry in manifest.shards
    ]
    return [_damage(each) for each in checked if isinstance(each, DamagedFileError)]


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
    plan = read_plan(folder)
    if plan.images.num_distinct() < len(plan.images):
        ((image_id, times),) = Counter(plan.images.image_ids()).most_common(1)
        raise DamagedFileError(
            folder / PLAN_NAME, found=f"image {image_id!r} {times} times", expected="each image once"
        )
    return plan


def _index_damages(folder: Path, manifest: Manifest, plan: Plan | DamagedFileError | None) -> list[Damage]:
    """Return what is wrong with the index of the manifest's images; none may be there, or one of an older manifest."""
    index = _try(read_index, folder, manifest)
    if isinstance(index, DamagedFileError):
        return [_damage(index)]
    if index is None or not isinstance(plan, Plan) or index.is_of(plan, manifest):
        return []
    return [Damage(subject=INDEX_NAME, found="other images than are planned", expected="those of the shards")]


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
