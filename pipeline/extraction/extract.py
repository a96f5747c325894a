"""`vinculum extract`: images to region or grid shards; the main path, from inputs to a finished store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from annotations.image_ids import Ids
from detectors.catalog import DetectorRequest, content_of, describe_detector, settle_precision, with_absolute_paths
from detectors.inputs.images import MAX_PIXELS
from pipeline.cluster.connect import connected
from pipeline.cluster.crew import Crew
from pipeline.event_log import RUN_LOG_NAME
from pipeline.extraction.familiarity import remarks_on_pictures
from pipeline.extraction.given_boxes import read_given_boxes
from pipeline.extraction.manifest import open_manifest
from pipeline.extraction.outlook import Outlook, outlook_of
from pipeline.extraction.planning import plan_shards, remark_on_absent, remark_on_sizes
from pipeline.extraction.progress import RunLog
from pipeline.extraction.remaining import Remaining
from pipeline.extraction.shard_task import ShardReport, ShardTask
from pipeline.extraction.worker import ShardWorker, WorkerSettings
from pipeline.inputs.changed import NOTHING_CHANGED, ChangedRule, Comparison, compare_inputs, kept_in, require_unchanged
from pipeline.inputs.loaded import described_inputs
from stores.catalog import StoreName
from stores.growing_manifest import GrowingManifest
from stores.image_index import INDEX_NAME, require_index
from stores.images.listing import IdRule, Listing, list_images
from stores.images.sources import ImageSources
from stores.images.versions import with_versions
from stores.locations import local_path, shown
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
)
from stores.numbering import note_of, remarks_on
from stores.places import Place, place_of
from stores.plan import PLAN_NAME, Plan, read_plan, write_plan

KEPT = (MANIFEST_NAME, PLAN_NAME, INDEX_NAME, RUN_LOG_NAME)
"""Files of a store that a run goes on with."""


@dataclass(frozen=True, kw_only=True)
class ExtractionJob:
    """Everything a run was asked for."""

    images: tuple[str, ...]
    out: str | Path
    """A folder that all nodes see, or a URL such as s3://bucket/regions."""
    detector: DetectorRequest
    image_id: IdRule = "stem"
    ids: Ids | None = None
    """Whose the numbers among the ids are; None: what the store notes, or their range tells."""
    store: StoreName = "arrow"
    shard_size: int = 512
    batch_size: int = 1
    given_boxes: Path | None = None
    max_pixels: int = MAX_PIXELS
    retry_quarantine: bool = False
    changed: ChangedRule = "refuse"
    """What becomes of images that are other files than those the store was made from."""
    address: str | None = None
    workers: int | None = None
    cpus_per_worker: int | None = None


@dataclass(frozen=True, kw_only=True)
class ExtractionSummary:
    """What the store holds when the run ends, and what the run did."""

    out: str
    num_images: int
    """In shards."""
    num_quarantined: int
    first_quarantined: str | None
    """One of them with its reason; None where there is none."""
    num_unread: int
    """In quarantine because they could not be read; every run tries them again."""
    num_shards: int
    num_shards_made: int
    """By this run."""
    num_images_done: int
    """By this run, quarantined ones included."""
    passed_over: Mapping[str, int]
    """How many files in the folders and archives given are no images, by kind."""
    num_replaced: int
    """Archive members that a later one of their name replaces."""
    remarks: tuple[str, ...]
    """What people should know of the listing, its ids, the plan and the regions, a clause each."""
    images_per_second: float
    """From the first image asked for to the last shard written; 0 when there was nothing to do."""


def extract(job: ExtractionJob) -> ExtractionSummary:
    """Make every shard of the store that is missing; run again after any interruption, it does only what is left."""
    asked = _asked(job)
    job, place, listing = asked.job, asked.place, asked.listing
    with place.owned(KEPT) as folder:
        begun = _begun(asked, folder)
        planning, left, plan = begun.planning, begun.left, begun.planning.plan
        _keep_plan(planning.settled, begun.existing, folder, place)
        growing = GrowingManifest(folder, begun.manifest, place.publish)
        try:
            with RunLog(
                folder, num_shards=len(left), num_images=left.num_images, num_ignored=listing.num_ignored
            ) as log:
                with growing:
                    if left:
                        _make_shards(job, asked.inputs, growing, left.tasks(), log)
                # Not before all are made: a run that is killed leaves changed images to the next, as they were.
                _keep_plan(planning.redone, planning.settled, folder, place)
                if require_index(folder, plan, growing.manifest):
                    place.publish(folder / INDEX_NAME)
                summary = _summary(shown(str(job.out)), growing.manifest, listing, planning.remarks, log)
                if job.given_boxes is None:
                    unlike = remarks_on_pictures(job.detector.weights, folder, growing.manifest)
                    summary = replace(summary, remarks=(*summary.remarks, *unlike))
                log.finish(summary)
        finally:
            place.publish(folder / RUN_LOG_NAME)
    return summary


def look_ahead(job: ExtractionJob) -> Outlook:
    """Return what `extract` would do; nothing is written, and Ray is not started. Raises what `extract` would."""
    asked = _asked(job)
    with asked.place.looked_at(KEPT) as folder:
        begun = _begun(asked, folder)
    return outlook_of(
        shown(str(job.out)),
        begun.planning.plan,
        begun.manifest,
        begun.left,
        remarks=(*asked.listing.remarks, *begun.planning.remarks),
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A job that is no mistake, as far as its settings and images tell; the store was not looked at."""

    job: ExtractionJob
    inputs: Mapping[str, Any]
    wanted: Manifest
    place: Place
    listing: Listing


def _asked(job: ExtractionJob) -> _Asked:
    """A bad setting ends the run here, before anything starts; the driver may be on a node without a GPU."""
    job = replace(job, detector=settle_precision(replace(job.detector, at_given_boxes=job.given_boxes is not None)))
    boxes = read_given_boxes(job.given_boxes).sha256 if job.given_boxes else None
    inputs = described_inputs(job.detector.name, describe_detector(job.detector), boxes)
    return _Asked(
        job=job,
        inputs=inputs,
        wanted=Manifest(content=content_of(job.detector), store=job.store, configuration=inputs),
        place=place_of(job.out),
        listing=list_images(job.images, job.image_id),
    )


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """What a store has, and what it lacks."""

    existing: Plan | None
    planning: "_Planning"
    manifest: Manifest
    left: Remaining


def _begun(asked: _Asked, folder: Path) -> _Begun:
    """Return what the store whose files lie in `folder` has of what was asked for; nothing is written."""
    job = asked.job
    manifest = open_manifest(folder, asked.wanted, asked.place.sizes())
    existing = read_plan(folder) if (folder / PLAN_NAME).exists() else None
    planning = _planned(job, with_versions(asked.listing.images), existing, manifest, asked.place)
    manifest = replace(manifest, notes=note_of(manifest.notes, planning.plan.images.table["image_id"], job.ids))
    left = Remaining.of(
        planning.plan, manifest, retry_quarantine=job.retry_quarantine, changed=planning.comparison.changed.tolist()
    )
    return _Begun(existing=existing, planning=planning, manifest=manifest, left=left)


@dataclass(frozen=True, kw_only=True)
class _Planning:
    """What is planned, beside what the store's plan says of it."""

    plan: Plan
    """With whole URLs, which workers read."""
    settled: Plan
    """To keep before any work: changed images are as they were."""
    redone: Plan
    """To keep when all shards are made."""
    comparison: Comparison
    remarks: tuple[str, ...]


def _planned(
    job: ExtractionJob, images: ImageSources, existing: Plan | None, manifest: Manifest, place: Place
) -> _Planning:
    """Return the plan of a run; raises StoreError where images changed and the job does not redo them."""
    plan = plan_shards(images, job.shard_size, existing)
    if existing is None:
        return _Planning(plan=plan, settled=plan, redone=plan, comparison=NOTHING_CHANGED, remarks=())
    comparison = compare_inputs(existing, plan, manifest, place)
    if job.changed == "refuse":
        require_unchanged(comparison, existing, plan, shown(str(job.out)))
    return _Planning(
        plan=plan,
        settled=kept_in(plan, existing, comparison.changed, comparison.not_told),
        redone=kept_in(plan, existing, comparison.not_told),
        comparison=comparison,
        remarks=(
            *comparison.remarks,
            *remark_on_absent(plan, images),
            *remark_on_sizes(existing, plan, job.shard_size),
        ),
    )


def _keep_plan(plan: Plan, kept: Plan | None, folder: Path, place: Place) -> None:
    """The store has this plan, where it has another so far."""
    if kept is None or plan.as_stored() != kept.as_stored():
        write_plan(folder, plan)
        place.publish(folder / PLAN_NAME)


def _make_shards(
    job: ExtractionJob,
    inputs: Mapping[str, Any],
    growing: GrowingManifest,
    tasks: Iterable[ShardTask],
    log: RunLog,
) -> None:
    """Run the tasks on Ray; the manifest has each shard when it is finished."""
    with connected(job.address) as cluster:
        size = cluster.crew_size(job.detector.device, job.workers, job.cpus_per_worker)
        settings = WorkerSettings(
            detector=with_absolute_paths(job.detector),
            inputs=inputs,
            configuration=growing.manifest.configuration,
            store=job.store,
            out=_absolute(job.out),
            batch_size=job.batch_size,
            threads=size.cpus_per_worker,
            given_boxes=None if job.given_boxes is None else job.given_boxes.absolute(),
            max_pixels=job.max_pixels,
        )
        log.start(size)
        with Crew(ShardWorker, settings, size) as crew:
            for event in crew.run(tasks):
                log.tell(event)
                if isinstance(event, ShardReport):
                    growing.add(event.entry)
                growing.write_if_due()


def _absolute(out: str | Path) -> str:
    """Return where the store is, for workers in other folders."""
    folder = local_path(str(out))
    return str(out) if folder is None else str(folder.absolute())


def _summary(
    out: str, manifest: Manifest, listing: Listing, remarks: tuple[str, ...], log: RunLog
) -> ExtractionSummary:
    failures = [failure for entry in manifest.shards for failure in entry.failures]
    return ExtractionSummary(
        out=out,
        num_images=sum(entry.rows for entry in manifest.shards),
        num_quarantined=len(failures),
        first_quarantined=f"image {failures[0].image_id!r}: {failures[0].reason}" if failures else None,
        num_unread=sum(failure.stage == "read" for failure in failures),
        num_shards=len(manifest.shards),
        num_shards_made=log.num_shards,
        num_images_done=log.num_images,
        passed_over=dict(listing.passed_over),
        num_replaced=listing.num_replaced,
        remarks=(
            *listing.remarks,
            *remarks,
            *remarks_on(manifest.notes, listing.images.table["image_id"]),
            *_remark_on_names(manifest),
        ),
        images_per_second=round(log.images_per_second, 3),
    )


def _remark_on_names(manifest: Manifest) -> tuple[str, ...]:
    """Return a remark on regions without names, which have a grid's detector and given boxes."""
    vocabulary = manifest.configuration["detector"].get("vocabulary") or {}
    if manifest.content != "regions" or vocabulary.get("classes"):
        return ()
    return (
        "these regions have no names (class_ids are -1), so that vinculum align can compare words with them by "
        "position alone, not by meaning",
    )
