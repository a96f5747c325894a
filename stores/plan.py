"""The store's `plan.jsonl`: which image goes into which shard, decided once and before any work.

One line per shard, `{"shard": "shard-00000", "images": [[image_id, url], ...]}`; images inside an archive have three
more fields, `[image_id, url, offset, size, member]`. The last line counts the shards and seals the lines above it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.manifest import canonical_json

PLAN_NAME = "plan.jsonl"
SHARD_PREFIX = "shard-"
"""Every shard's name starts so; `repair` touches no other file but manifest, plan and temporaries."""

_ADVICE = "run vinculum extract again with the same inputs to plan anew"


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Where one image's bytes are."""

    image_id: str
    url: str
    """A path or URL; for images inside an archive the archive's."""
    offset: int | None = None
    """Bytes from the archive's start; None: the whole file is the image."""
    size: int | None = None
    """Bytes from `offset` on."""
    member: str | None = None
    """The image's name inside the archive."""

    @property
    def location(self) -> str:
        """Return what a person looks for: the url, or `archive.tar::member`."""
        return self.url if self.member is None else f"{self.url}::{self.member}"


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard before it is made."""

    name: str
    """File name without suffix, `shard-00000`."""
    images: tuple[ImageSource, ...]
    """Ascending by the UTF-8 bytes of their ids; the shard's rows have this order."""


def write_plan(folder: Path, shards: Iterable[PlannedShard]) -> None:
    """`folder` has this plan, whole and on disk; `shards` may be a generator."""
    digest, count = hashlib.sha256(), 0
    with replacing(folder / PLAN_NAME) as temporary, temporary.open("wb") as file:
        for count, shard in enumerate(shards, start=1):  # noqa: B007  the last count is the number of shards
            line = canonical_json({"shard": shard.name, "images": [_fields(image) for image in shard.images]}) + b"\n"
            digest.update(line)
            file.write(line)
        file.write(canonical_json({"shards": count, "sha256": digest.hexdigest()}) + b"\n")


def read_plan(folder: Path) -> tuple[PlannedShard, ...]:
    """Return the plan of the store in `folder`, as it was written.

    Raises:
        DamagedFileError: it is missing, unreadable, cut short or was edited.
    """
    path = folder / PLAN_NAME
    try:
        *lines, last = path.read_bytes().splitlines(keepends=True) or [b""]
    except FileNotFoundError as error:
        raise DamagedFileError(path, found="missing", expected="the plan of a store", advice=_ADVICE) from error
    seal = {"shards": len(lines), "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
    if last != canonical_json(seal) + b"\n":
        raise DamagedFileError(
            path,
            found=f"cut short or edited (its last line is {_shown(last)})",
            expected=canonical_json(seal).decode(),
        )
    try:
        return tuple(_shard(json.loads(line)) for line in lines)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(path, found=f"a line that is no shard ({error})", expected="shards only") from error


def _fields(image: ImageSource) -> list[Any]:
    fields = list(astuple(image))
    while fields[-1] is None:
        fields.pop()
    return fields


def _shard(line: dict[str, Any]) -> PlannedShard:
    return PlannedShard(line["shard"], tuple(ImageSource(*fields) for fields in line["images"]))


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return text if len(text) <= 100 else f"{text[:100]}..."
