"""The store's `plan.arrow`: which image goes into which shard, decided once and before any work.

One row per image, an Arrow file as a shard is: `shard`, the number of the image's shard; `image_id`, `url` and, for
images inside an archive, `offset` and `member`, all texts as bytes; `size` and `version` tell a file from one that was
written in its place later. Plans of earlier releases lack `version`, and have a `size` in archives alone. A `url` is
without user information and query. Rows of one shard follow one another, ascending by the bytes of their ids. The file
is mapped, so that what nobody asks for is not read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.images.sources import COLUMNS, ImageSource, ImageSources
from stores.seal import UNSEALED, is_intact, seal

PLAN_NAME = "plan.arrow"
SHARD_PREFIX = "shard-"
"""Every shard's name starts so; `repair` touches no other file but manifest, plan, index and temporaries."""

_ADVICE = "run vinculum extract again with the same inputs to plan anew"
_SCHEMA = pa.schema([pa.field("shard", pa.int32()), *COLUMNS])
_SCHEMA_WITHOUT_VERSION = pa.schema([each for each in _SCHEMA if each.name != "version"])
_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """One shard before it is made."""

    name: str
    """File name without suffix, `shard-00000`."""
    images: tuple[ImageSource, ...]
    """Ascending by the UTF-8 bytes of their ids; the shard's rows have this order."""


class Plan(Sequence[PlannedShard]):
    """The shards of a store by number; one is made of objects when it is asked for."""

    def __init__(self, images: ImageSources, starts: NDArray[np.int64]) -> None:
        self.images = images
        """Images of all shards, one after another."""
        self._starts = starts
        """[shards + 1]; the row of each shard's first image, and one past the last."""

    @classmethod
    def of(cls, images: ImageSources, shard_size: int) -> "Plan":
        """Return a plan of these images in their order, so many a shard; the last takes the rest."""
        return cls(images, np.append(np.arange(0, len(images), shard_size), len(images)))

    @classmethod
    def of_shards(cls, shards: Iterable[Iterable[ImageSource]]) -> "Plan":
        """Return a plan of these shards, none of them empty."""
        parts = [list(shard) for shard in shards]
        images = ImageSources.of(image for shard in parts for image in shard)
        return cls(images, np.cumsum([0, *map(len, parts)]))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, number: int) -> PlannedShard: ...
    @overload
    def __getitem__(self, number: slice) -> "Plan": ...
    def __getitem__(self, number: int | slice) -> "PlannedShard | Plan":
        if isinstance(number, slice):
            start, stop, _ = number.indices(len(self))
            starts = self._starts[start : max(start, stop) + 1]
            return Plan(self.images[int(starts[0]) : int(starts[-1])], starts - starts[0])
        number = range(len(self))[number]
        return PlannedShard(shard_name(number), tuple(self.images_of(number)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and np.array_equal(self._starts, other._starts) and self.images == other.images

    __hash__ = None  # type: ignore[assignment]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Return how many images each shard has, int64 [shards]."""
        return np.diff(self._starts)

    def images_of(self, number: int) -> ImageSources:
        """Return the images of one shard."""
        return self.images[int(self._starts[number]) : int(self._starts[number + 1])]

    def rows_of(self, number: int) -> NDArray[np.int64]:
        """Return the rows of one shard's images among those of all shards."""
        return np.arange(self._starts[number], self._starts[number + 1])

    def number_of(self, name: str) -> int | None:
        """Return which shard has this name; None where none has."""
        digits = name.removeprefix(SHARD_PREFIX)
        number = int(digits) if digits.isdecimal() else -1
        return number if 0 <= number < len(self) and shard_name(number) == name else None

    def with_images(self, images: ImageSources) -> "Plan":
        """Return the plan with as many other images in the same shards."""
        return Plan(images, self._starts)

    def shards_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which shard each of these rows of all images is in."""
        return np.searchsorted(self._starts, rows, side="right") - 1

    def as_stored(self) -> "Plan":
        """Return the plan as its file has it, see `ImageSources.as_stored`."""
        return self.with_images(self.images.as_stored())

    def followed_by(self, new: ImageSources, shard_size: int) -> "Plan":
        """Return the plan with new images in shards of their own after those that there are."""
        more = Plan.of(new, shard_size)
        starts = np.concatenate([self._starts, self._starts[-1] + more._starts[1:]])
        return Plan(ImageSources.joined([self.images, new]), starts)


def shard_name(number: int) -> str:
    """Return the name of a shard without suffix."""
    return f"{SHARD_PREFIX}{number:05d}"


def write_plan(folder: Path, plan: Plan) -> None:
    """`folder` has this plan, whole and on disk, without what URLs have of secrets; equal plans give equal bytes."""
    plan = plan.as_stored()
    with replacing(folder / PLAN_NAME) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, _SCHEMA, metadata={"seal": UNSEALED}) as writer,
        ):
            for batch in _batches(plan):
                writer.write_batch(batch)
        seal(temporary)


def read_plan(folder: Path) -> Plan:
    """Return the plan of the store in `folder`, as it was written; its bytes are checked, then mapped.

    Raises:
        DamagedFileError: it is missing, unreadable, cut short or was edited.
    """
    path = folder / PLAN_NAME
    if not path.exists():
        raise DamagedFileError(path, found="missing", expected="the plan of a store", advice=_ADVICE)
    if not is_intact(path):
        raise DamagedFileError(path, found="cut short or edited", expected="the bytes that were written")
    with pa.memory_map(str(path)) as file:
        try:
            table = pa.ipc.open_file(file).read_all()
        except pa.ArrowException as error:
            raise DamagedFileError(path, found=f"unreadable ({error})", expected="a whole Arrow file") from error
    if table.schema == _SCHEMA_WITHOUT_VERSION:
        table = table.append_column(_SCHEMA.field("version"), pa.nulls(len(table), pa.int64()))
    if table.schema != _SCHEMA:
        raise DamagedFileError(path, found=f"columns {table.schema.names}", expected=f"{_SCHEMA.names}")
    shards = table["shard"].to_numpy()
    starts = np.searchsorted(shards, np.arange(shards[-1] + 2 if len(shards) else 1))
    return Plan(ImageSources(table.drop_columns("shard")), starts)


def _batches(plan: Plan) -> Iterator[pa.RecordBatch]:
    shards = pa.array(np.repeat(np.arange(len(plan), dtype=np.int32), plan.sizes))
    # Pieces that are cut anew: how the columns came together must not show in the file.
    for start in range(0, len(plan.images), _BATCH_ROWS):
        columns = [column.combine_chunks() for column in plan.images[start : start + _BATCH_ROWS].table.columns]
        yield pa.record_batch([shards[start : start + _BATCH_ROWS], *columns], _SCHEMA)
