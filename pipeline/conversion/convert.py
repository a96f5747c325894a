"""`vinculum convert`: published features to region shards, and region shards to formats that others read."""

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from annotations.image_ids import Ids
from detectors.records import RegionFeatures
from detectors.vocabulary import read_vocabulary
from pipeline.cluster.crew_size import CrewSize
from pipeline.conversion.foreign_rows import ShardRows, distinct_rows, ids_of, plan_rows, read_row
from pipeline.extraction.manifest import open_manifest
from pipeline.extraction.outlook import Outlook, outlook_of
from pipeline.extraction.progress import RunLog
from pipeline.extraction.remaining import Remaining
from pipeline.extraction.shard_task import ShardReport
from pipeline.inputs.identity import as_recorded, identity_of
from stores.atomic import leftovers, locked, remove_leftovers
from stores.catalog import STORES, StoreName
from stores.errors import StoreError
from stores.fresh_store import owned_store
from stores.growing_manifest import GrowingManifest
from stores.image_index import require_index
from stores.images.listing import IdRule, list_images
from stores.images.sources import ImageSource
from stores.interchange.catalog import FORMATS, WRITERS, ForeignFormat, recognise
from stores.interchange.rows import Row, RowError, Supplement
from stores.interchange.sizes import read_sizes
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    describe_shard,
    read_manifest,
)
from stores.numbering import note_of, remarks_on
from stores.places import FolderPlace
from stores.plan import PLAN_NAME, Plan, PlannedShard, read_plan, write_plan
from stores.programs.volume import shows_bar
from stores.reading import open_store

if TYPE_CHECKING:
    SourceFormat = str
    TargetFormat = str
else:
    SourceFormat = Literal["auto", *FORMATS]
    TargetFormat = Literal[*STORES, *WRITERS]
BoxRegression = Literal["unknown", "raw", "regressed"]

OUR_STORE = "vinculum"
"""What a folder of shards with their manifest is called among the formats."""

BYTES_OF_A_BOX = 40
"""In a store, beside its features: the box, the class, the attribute, their scores and the checksum's share."""


@dataclass(frozen=True, kw_only=True)
class ConversionJob:
    """Everything a run was asked for."""

    source: Path
    out: Path
    source_format: SourceFormat = "auto"
    target_format: TargetFormat = "arrow"
    vocabulary: Path | None = None
    sizes: Path | None = None
    box_regression: BoxRegression = "unknown"
    images: tuple[str, ...] = ()
    image_id: IdRule = "stem"
    ids: Ids | None = None
    """Whose the numbers among the source's ids are; None: what the store notes, or the source or their range tells."""
    shard_size: int = 512


@dataclass(frozen=True, kw_only=True)
class ConversionSummary:
    """What was found and what became of it."""

    source: str
    source_format: str
    """As its content tells; `vinculum` for a store."""
    out: str
    num_images: int
    """In `out`."""
    num_quarantined: int = 0
    num_shards: int = 0
    num_shards_made: int = 0
    """By this run."""
    num_pictures: int = 0
    """Images whose file is known."""
    remarks: tuple[str, ...] = ()
    """What people should know of its ids, a clause each."""
    max_rounding_error: float = 0.0
    """The largest difference between a feature and its float16."""


def convert(job: ConversionJob) -> ConversionSummary:
    """`job.out` holds what `job.source` does, in the format asked for.

    Raises:
        DataError: the source is of no known format.
        StoreError: `job.out` holds something else, or the source store is not as it was written.
        ValueError: options that do not fit what the source is.
    """
    found = _found(job)
    return _export(job) if found == OUR_STORE else _import(job, found, _store_of(job, found))


def _found(job: ConversionJob) -> str:
    """Return what the source is."""
    return OUR_STORE if (job.source / MANIFEST_NAME).is_file() else _foreign_format(job)


def _store_of(job: ConversionJob, found: str) -> StoreName:
    """Return the kind of store that is to be made of published features."""
    if job.target_format not in STORES:
        raise ValueError(
            f"{job.source} is {found}, --to {job.target_format} needs a store; convert --to arrow first, then that"
        )
    return job.target_format


def _foreign_format(job: ConversionJob) -> str:
    if job.source_format == "auto":
        return recognise(job.source)
    others = [name for name, foreign in FORMATS.items() if name != job.source_format and foreign.looks_like(job.source)]
    if others or not job.source.exists():
        found = f"looks like {others[0]}" if others else "no such file or folder"
        raise ValueError(f"{job.source}: {found}, expected {FORMATS[job.source_format].place}; see --from")
    return job.source_format


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Published features as they were found."""

    foreign: ForeignFormat
    supplement: Supplement
    rows: Mapping[str, Row]
    pictures: Mapping[str, ImageSource]
    wanted: Manifest
    """Manifest of a store of them that has no shard yet."""
    bytes_an_image: float
    """About as many as one takes in a store."""


def _open_source(job: ConversionJob, name: str, store: StoreName) -> _Source:
    foreign = FORMATS[name]
    supplement = _supplement(job, name, foreign)
    rows = distinct_rows(foreign.list_rows(job.source))
    first = _first_regions(job, foreign, rows.values(), supplement)
    supplement = replace(supplement, feature_dim=first.feature_dim)
    return _Source(
        foreign=foreign,
        supplement=supplement,
        rows=rows,
        pictures={each.image_id: each for each in list_images(job.images, job.image_id).images} if job.images else {},
        wanted=Manifest(content="regions", store=store, configuration=_configuration(job, name, foreign, supplement)),
        bytes_an_image=len(first.boxes_xyxy) * (2 * first.feature_dim + BYTES_OF_A_BOX),
    )


def _begun(job: ConversionJob, source: _Source) -> tuple[Plan, Manifest, Remaining]:
    """Return what is planned, what the store has of it, and what is left; nothing is written."""
    manifest = open_manifest(job.out, source.wanted, FolderPlace(job.out).sizes())
    existing = read_plan(job.out) if (job.out / PLAN_NAME).exists() else None
    said = job.ids or ids_of(source.rows.values())
    plan = plan_rows(source.rows, source.pictures, job.shard_size, existing, said or "own")
    manifest = replace(manifest, notes=note_of(manifest.notes, plan.images.table["image_id"], said))
    return plan, manifest, Remaining.of(plan, manifest)


def look_ahead(job: ConversionJob) -> Outlook:
    """Return what `convert` would do; nothing is written. Raises what `convert` would."""
    found = _found(job)
    if found == OUR_STORE:
        num_images = _exported(job)
        return Outlook(
            out=str(job.out),
            num_images=num_images,
            num_shards=1,
            num_images_left=num_images,
            num_shards_left=1,
            num_bytes_left=None,
        )
    source = _open_source(job, found, _store_of(job, found))
    plan, manifest, left = _begun(job, source)
    return outlook_of(str(job.out), plan, manifest, left, bytes_an_image=source.bytes_an_image)


def _import(job: ConversionJob, name: str, store: StoreName) -> ConversionSummary:
    """Make every shard that is missing; after any interruption the same command does only what is left."""
    source = _open_source(job, name, store)
    with owned_store(job.out):
        plan, manifest, left = _begun(job, source)
        write_plan(job.out, plan)
        ids = plan.images.table["image_id"]
        with RunLog(job.out, num_shards=len(left), num_images=left.num_images, num_ignored=0) as log:
            with GrowingManifest(job.out, manifest) as growing:
                if left:
                    log.start(CrewSize(workers=1, cpus_per_worker=1))
                for task in left.tasks():
                    records = ShardRows(job.source, source.foreign, source.supplement, source.rows, task.shard)
                    report = _make_shard(job, manifest, task.shard, records)
                    log.tell(report)
                    growing.add(report.entry)
                    growing.write_if_due()
            manifest = growing.manifest
            require_index(job.out, plan, manifest)
            summary = ConversionSummary(
                source=str(job.source),
                source_format=name,
                out=str(job.out),
                num_images=sum(entry.rows for entry in manifest.shards),
                num_quarantined=sum(len(entry.failures) for entry in manifest.shards),
                num_shards=len(manifest.shards),
                num_shards_made=log.num_shards,
                remarks=remarks_on(manifest.notes, ids),
                num_pictures=sum(bool(image.url) for image in plan.images),
                max_rounding_error=max((entry.max_rounding_error for entry in manifest.shards), default=0.0),
            )
            log.finish(summary)
    return summary


def _exported(job: ConversionJob) -> int:
    """Return how many images an export has; raises where there can be none."""
    if job.target_format not in WRITERS:
        raise ValueError(f"{job.source} is a store already, expected --to {' or '.join(WRITERS)}")
    manifest = read_manifest(job.source)
    if manifest.content != "regions":
        raise StoreError(f"{job.source} is a store of {manifest.content}, expected one of regions")
    if (job.out / MANIFEST_NAME).exists():
        raise StoreError(f"{job.out} is a store, expected a place for {job.target_format}; use a new --out")
    return sum(entry.rows for entry in manifest.shards)


def _export(job: ConversionJob) -> ConversionSummary:
    """Write every record of the store; an interrupted export starts again, its files are whole or not there."""
    _exported(job)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    if job.target_format == "milvlg-npz":
        job.out.mkdir(exist_ok=True)
    with locked(job.out) if job.out.is_dir() else nullcontext(), open_store(job.source) as store:
        _remove_killed_exports(job.out)
        regions = (record for record in store if isinstance(record, RegionFeatures))
        num_images = WRITERS[job.target_format](
            job.out, tqdm(regions, total=len(store), unit="image", disable=not shows_bar(sys.stderr))
        )
    return ConversionSummary(source=str(job.source), source_format=OUR_STORE, out=str(job.out), num_images=num_images)


def _remove_killed_exports(out: Path) -> None:
    """No part of a file that a killed export was writing is left: in the folder `out`, or beside the file `out`."""
    if out.is_dir():
        remove_leftovers(out)
        return
    for path in leftovers(out.parent):
        if path.name.startswith(f".{out.name}."):
            path.unlink(missing_ok=True)


def _supplement(job: ConversionJob, name: str, foreign: ForeignFormat) -> Supplement:
    if foreign.needs_sizes and job.sizes is None:
        raise ValueError(
            f"{job.source}: {name} tells no image sizes, which boxes need; expected --sizes FILE with lines of "
            "id, width, height between tabs, or VinVL's .hw.tsv"
        )
    if not foreign.needs_sizes and job.sizes is not None:
        raise ValueError(f"{job.source}: {name} has image sizes of its own, expected no --sizes")
    return Supplement(
        vocabulary=read_vocabulary(job.vocabulary) if job.vocabulary else foreign.own_vocabulary(job.source),
        sizes=read_sizes(job.sizes) if job.sizes else {},
    )


def _first_regions(
    job: ConversionJob, foreign: ForeignFormat, rows: Iterable[Row], supplement: Supplement
) -> RegionFeatures:
    """Return the first row that can be read."""
    first_fault = "it has no rows"
    for number, row in enumerate(rows):
        try:
            return read_row(job.source, foreign, row, supplement).regions
        except RowError as error:
            if number == 0:
                first_fault = f"{row.place}: {error}"
    raise StoreError(f"{job.source}: not one row can be read, expected {foreign.place}; {first_fault}")


def _configuration(job: ConversionJob, name: str, foreign: ForeignFormat, supplement: Supplement) -> dict[str, Any]:
    return {
        "detector": {
            "name": f"import from {name}",
            "vocabulary": asdict(supplement.vocabulary),
            "feature_dim": supplement.feature_dim,
            "conventions": foreign.conventions | {"box_regression": job.box_regression},
        },
        "imported": {
            "format": name,
            "source": _source_identity(job),
            "sizes": identity_of(job.sizes) if job.sizes else None,
            "vocabulary": "given" if job.vocabulary else "the file's own, or numbers",
            "shard_size": job.shard_size,
        },
    }


def _source_identity(job: ConversionJob) -> dict[str, Any]:
    # Whoever reads an LMDB may write to the lock file beside it.
    content = job.source / "data.mdb" if (job.source / "data.mdb").is_file() else job.source
    is_begun = (job.out / MANIFEST_NAME).exists()
    recorded = read_manifest(job.out).configuration.get("imported", {}).get("source", {}) if is_begun else {}
    return as_recorded(identity_of(content), recorded, content)


def _make_shard(job: ConversionJob, manifest: Manifest, shard: PlannedShard, records: ShardRows) -> ShardReport:
    started = time.perf_counter()
    store = STORES[manifest.store]
    path = job.out / f"{shard.name}{store.suffix}"
    num_rows = store.write_shard(path, records, content="regions", configuration=manifest.configuration)
    entry = describe_shard(path, num_rows, records.failures)
    seconds = time.perf_counter() - started
    return ShardReport(
        entry=replace(entry, max_rounding_error=records.max_rounding_error),
        num_images=len(shard.images),
        seconds=seconds,
        stage_seconds={"read": records.seconds, "wait": records.seconds, "write": seconds - records.seconds},
    )
