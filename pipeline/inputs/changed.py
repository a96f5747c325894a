"""Whether the images are still those that a store was made from.

A plan keeps each file's size and version. Where they are as they were, so is the file. Where they are not, its content
is compared with the digest that the store has of the bytes it decoded: copying, checking out or touching a file changes
its time and not what it shows.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum, auto
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from stores.errors import StoreError
from stores.images.bytes import read_source
from stores.images.listing import SourceError
from stores.images.sources import ImageSource, ImageSources
from stores.locations import filesystem_of, is_whole, local_path
from stores.manifest import Manifest, ShardEntry
from stores.open_shards import open_entry
from stores.places import Place
from stores.plan import Plan, shard_name
from stores.programs.volume import shows_bar

ChangedRule = Literal["refuse", "redo"]

SHOWN = 3
"""Changed images that a message names."""

THREADS = 8
"""That read files to compare them."""


class Verdict(IntEnum):
    """What a file is beside the one that a store was made from."""

    SAME = auto()
    OTHER = auto()
    NOT_TOLD = auto()
    """As large, written at another time, and the store has no digest; or it cannot be read now."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The images of an existing plan beside those that are listed now; rows are the plan's, int64."""

    changed: NDArray[np.int64]
    """Made into features, and another file now."""
    not_told: NDArray[np.int64]
    """Made into features, and perhaps another file now."""
    num_unknown: int
    """Planned by an earlier release, which kept neither sizes nor versions."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what people should know, a clause each."""
        remarks = []
        if self.num_unknown:
            remarks.append(
                f"whether {self.num_unknown} files changed before this run is not known: an earlier release planned "
                "them; from now on it is"
            )
        if len(self.not_told):
            remarks.append(
                f"{len(self.not_told)} files were written since, are as large as they were, and cannot be compared: "
                "they are taken for the same"
            )
        return tuple(remarks)


NOTHING_CHANGED = Comparison(changed=np.empty(0, np.int64), not_told=np.empty(0, np.int64), num_unknown=0)


def kept_in(plan: Plan, existing: Plan, *rows: NDArray[np.int64]) -> Plan:
    """Return the plan with the images in these rows as the store has them, so that the next run looks at them again."""
    kept = np.unique(np.concatenate(rows))
    return plan.with_images(plan.images.replaced(kept, existing.images.take(kept))) if len(kept) else plan


def compare_inputs(existing: Plan, plan: Plan, manifest: Manifest, place: Place) -> Comparison:
    """Return which of the store's images are other files now.

    Args:
        existing: as the store has it.
        plan: the same shards with the images listed now, and perhaps more.
        manifest: which of the shards are made.
        place: where they are.

    Raises:
        SourceError: an id is claimed by another file, while the one it was planned for is still there.
    """
    was, now = existing.images, plan.images[: len(existing.images)]
    stored = now.as_stored()
    if was == stored:
        return NOTHING_CHANGED
    is_known = ~was.lacks("version") & ~now.lacks("version")
    is_rewritten = is_known & was.differs(now, "size", "version")
    moved = np.flatnonzero(was.differs(stored, "url", "member"))
    pairs = zip(was.take(moved), now.take(moved), strict=True)
    claimed = moved[np.fromiter((_is_elsewhere(*pair) for pair in pairs), bool, len(moved))]
    doubtful = np.union1d(np.flatnonzero(is_rewritten), claimed)
    verdicts = np.array(list(_verdicts(doubtful, was, now, plan, manifest, place)), np.int8)
    for row in claimed[verdicts[np.searchsorted(doubtful, claimed)] != Verdict.SAME].tolist():
        raise SourceError(
            f"image id {now[row].image_id!r} is {was[row].location!r} in this store and {now[row].location!r} in "
            "this run; use a new --out, or a .tsv list that gives it an id of its own"
        )
    return Comparison(
        changed=doubtful[verdicts == Verdict.OTHER],
        not_told=doubtful[verdicts == Verdict.NOT_TOLD],
        num_unknown=int((was.lacks("version") & ~now.lacks("version")).sum()),
    )


def require_unchanged(comparison: Comparison, existing: Plan, plan: Plan, out: str) -> None:
    """No image is another file now.

    Raises:
        StoreError: some are; with the first of them.
    """
    rows = comparison.changed
    if not len(rows):
        return
    first = zip(existing.images.take(rows[:SHOWN]), plan.images.take(rows[:SHOWN]), strict=True)
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    raise StoreError(
        f"{out}: {len(rows)} of its images are other files now: {', '.join(_change(*each) for each in first)}{more}; "
        "expected those that it was made from: put them back, use --changed redo to make their features anew, or a "
        "new --out"
    )


def _change(was: ImageSource, now: ImageSource) -> str:
    sizes = f"{now.size} bytes, was {was.size}" if was.size != now.size else f"other {now.size} bytes"
    return f"{now.image_id!r} ({now.location!r}: {sizes})"


def _verdicts(
    rows: NDArray[np.int64], was: ImageSources, now: ImageSources, plan: Plan, manifest: Manifest, place: Place
) -> Iterator[Verdict]:
    """Yield what the image in each of these rows is, by ascending row."""
    entries = {Path(entry.name).stem: entry for entry in manifest.shards}
    numbers = plan.shards_of(rows)
    told = tqdm(
        total=len(rows),
        desc="files compared with the store",
        unit="image",
        leave=False,
        disable=not shows_bar(sys.stderr),
    )
    with ThreadPoolExecutor(THREADS) as threads, told as bar:
        for part in np.split(rows, np.flatnonzero(np.diff(numbers)) + 1):
            if len(part):
                entry = entries.get(shard_name(int(plan.shards_of(part[:1])[0])))
                images = list(now.take(part))
                made = _digests(images, entry, manifest, place) if entry else {}
                yield from threads.map(_verdict, was.take(part), images, [made] * len(part))
                bar.update(len(part))


def _digests(
    images: Sequence[ImageSource], entry: ShardEntry, manifest: Manifest, place: Place
) -> dict[str, bytes | None]:
    """Return the digests of the bytes that rows of a shard were made from, as far as it has them, by image id."""
    wanted = {each.image_id for each in images}
    with place.workspace() as folder:
        place.fetch(folder / entry.name)
        with open_entry(folder, manifest, entry) as reader:
            rows = [(row, image_id) for row, image_id in enumerate(reader.row_ids) if image_id in wanted]
            return {image_id: reader.read(row).image_sha256 for row, image_id in rows}


def _verdict(was: ImageSource, now: ImageSource, made: Mapping[str, bytes | None]) -> Verdict:
    """Return what the file is; `made` are the digests of images that have features, None: not known."""
    try:
        digest = made.get(now.image_id)
        if digest is not None:
            return _same(hashlib.sha256(read_source(now)).digest() == digest)
        if _is_elsewhere(was, now):
            return _same(read_source(now) == read_source(was))
    except OSError:
        return Verdict.NOT_TOLD
    if now.image_id not in made:
        return Verdict.SAME  # nothing was made from it yet
    return Verdict.NOT_TOLD if was.size == now.size else Verdict.OTHER


def _same(is_same: bool) -> Verdict:
    return Verdict.SAME if is_same else Verdict.OTHER


def _is_elsewhere(was: ImageSource, now: ImageSource) -> bool:
    """Return whether the planned file is still there, and another than the listed one."""
    if not was.url or not is_whole(was.url) or was.is_same_file_as(now):
        return False
    if (was.url, was.member) == (now.url, now.member):
        return False  # an archive that was packed anew
    path = local_path(was.url)
    if path is not None:
        return path.exists()
    filesystem, root = filesystem_of(was.url)
    return bool(filesystem.exists(root))
