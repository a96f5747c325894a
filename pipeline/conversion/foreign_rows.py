"""Rows of a foreign file as a store needs them: each under an id of its own, planned into shards, read or not."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from annotations.image_ids import Ids, is_number, photograph_name
from detectors.records import RecordError, RegionFeatures
from stores.formats.region_columns import check_image_id
from stores.images.listing import SourceError
from stores.images.sources import ImageSource, ImageSources
from stores.interchange.catalog import ForeignFormat
from stores.interchange.rows import ImportedRegions, Row, RowError, Supplement
from stores.manifest import FailedImage
from stores.plan import Plan, PlannedShard


def distinct_rows(rows: Iterable[Row]) -> dict[str, Row]:
    """Return all rows in their order, each under an id of its own; ids come from the first row that can have them.

    A row whose id is another's, or no id, has a fault, and `[line 7]` before what it calls itself.
    """
    listed = [_with_id_checked(row) for row in rows]
    usable: dict[str, Row] = {}
    for row in listed:
        if not row.fault:
            usable.setdefault(row.image_id, row)
    distinct: dict[str, Row] = {}
    for row in listed:
        first = usable.get(row.image_id)
        if row.image_id and row.image_id not in distinct and first in (row, None):
            distinct[row.image_id] = row
            continue
        fault = row.fault or f"its image id is that of {first.place if first else 'another row'} already"
        distinct[_free_id(row, distinct, usable)] = replace(row, fault=fault)
    return distinct


def plan_rows(
    rows: Mapping[str, Row],
    pictures: Mapping[str, ImageSource],
    shard_size: int,
    existing: Plan | None = None,
    ids: Ids = "own",
) -> Plan:
    """Return the existing shards or, without any, shards of rows that follow one another; with their pictures' places.

    A picture is a row's where both ids name one photograph, their numbers being those of `ids`.

    Raises:
        SourceError: the existing plan has images that the rows lack.
    """
    if existing is None:
        in_file = list(rows)
        chunks = (_in_order(in_file[first : first + shard_size]) for first in range(0, len(in_file), shard_size))
        existing = Plan.of_shards([ImageSource(each, "") for each in chunk] for chunk in chunks)
    for image_id in existing.images.image_ids():
        if image_id not in rows:
            raise SourceError(
                f"image id {image_id!r} is planned in this store, expected it in the source; use a new --out"
            )
    named = {photograph_name(image_id, ids): picture for image_id, picture in pictures.items()} | dict(pictures)
    return existing.with_images(ImageSources.of(_with_picture(image, named, ids) for image in existing.images))


def ids_of(rows: Iterable[Row]) -> Ids | None:
    """Return whose the numbers among the rows' ids are, as far as their format tells it of all of them alike."""
    told = {row.ids for row in rows if is_number(row.image_id)}
    return told.pop() if len(told) == 1 else None


def read_row(source: Path, foreign: ForeignFormat, row: Row, supplement: Supplement) -> ImportedRegions:
    """Return what the row holds; raises RowError with its fault, or with what reading it shows."""
    if row.fault:
        raise RowError(row.fault)
    return foreign.read_row(source, row, supplement)


class ShardRows:
    """One shard's records in the plan's order, and what reading them showed."""

    def __init__(
        self, source: Path, foreign: ForeignFormat, supplement: Supplement, rows: Mapping[str, Row], shard: PlannedShard
    ) -> None:
        self.failures: list[FailedImage] = []
        self.max_rounding_error = 0.0
        self.seconds = 0.0
        """Spent reading."""
        self._source = source
        self._foreign = foreign
        self._supplement = supplement
        self._rows = rows
        self._shard = shard

    def __iter__(self) -> Iterator[RegionFeatures]:
        for image in self._shard.images:
            started = time.perf_counter()
            row = self._rows[image.image_id]
            try:
                found = read_row(self._source, self._foreign, row, self._supplement)
            except RowError as error:
                location = f"{self._source}::{row.place}"
                self.failures.append(
                    FailedImage(image_id=image.image_id, location=location, stage="read", reason=str(error))
                )
                continue
            finally:
                self.seconds += time.perf_counter() - started
            self.max_rounding_error = max(self.max_rounding_error, found.rounding_error)
            yield found.regions


def _with_picture(image: ImageSource, pictures: Mapping[str, ImageSource], ids: Ids) -> ImageSource:
    picture = pictures.get(image.image_id) or pictures.get(photograph_name(image.image_id, ids))
    return image if picture is None else replace(picture, image_id=image.image_id)


def _with_id_checked(row: Row) -> Row:
    """Return the row; one whose id no store can hold has a fault, and no id."""
    try:
        if row.image_id:
            check_image_id(row.image_id)
    except RecordError as error:
        return replace(row, image_id="", fault=str(error))
    return row if row.image_id or row.fault else replace(row, fault="its image id is empty")


def _free_id(row: Row, *taken: Mapping[str, Row]) -> str:
    name = f"[{row.place}] {row.image_id}".strip()
    while any(name in each for each in taken):
        name += "'"
    return name


def _in_order(image_ids: Iterable[str]) -> list[str]:
    return sorted(image_ids, key=lambda each: each.encode(errors="surrogatepass"))
