"""`vinculum align`: annotations and region shards, or files of images, to sentence shards; the main path."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.text_files import read_lines
from annotations.guards.drops import Drops
from annotations.image_ids import Ids, shown_ids
from annotations.splits import SplitRules, make_split_rules, numbers_in, read_minival
from pipeline.alignment.annotation_sources import check_sources
from pipeline.alignment.given import Given, list_files, open_regions
from pipeline.alignment.grown_regions import Growth, carry_over, growth_since, require_same_numbers
from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.log import AlignLog
from pipeline.alignment.manifest import configuration_of, notices_of, open_manifest
from pipeline.alignment.numbering import said_ids, settle_numbering
from pipeline.alignment.shard_task import AlignReport, AlignSettings
from pipeline.alignment.summary import AlignmentSummary, summarize
from pipeline.alignment.tasks import align_tasks
from pipeline.alignment.worker import AlignWorker
from pipeline.cluster.connect import connected
from pipeline.cluster.crew import Crew
from pipeline.cluster.notices import Notice
from stores.fresh_store import owned_store
from stores.growing_manifest import GrowingManifest
from stores.images.layouts import PictureLayouts
from stores.layouts import RegionLayouts
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
)
from stores.numbering import Numbering


@dataclass(frozen=True, kw_only=True)
class AlignmentOutlook:
    """What a run would do, of which nothing is done."""

    out: str
    num_shards: int
    """In the store, when all are made."""
    num_shards_left: int
    num_bytes_left: int | None
    """About so many to be written; None where no shard is made yet that tells how large one is."""
    remarks: tuple[str, ...]
    """What people should know, a clause each."""


def align(job: AlignmentJob) -> AlignmentSummary:
    """Make every sentence shard that is missing; run again after any interruption, it does only what is left."""
    asked = _asked(job)
    given, existing, wanted = asked.given, asked.existing, asked.wanted
    with owned_store(job.out):
        growth = _find_growth(job, given, existing)
        manifest = open_manifest(job.out, wanted, growth)
        settings = AlignSettings(
            images=given.images,
            vectors=given.vectors,
            classes=given.classes,
            attributes=given.attributes,
            inputs=given.identity,
            configuration=manifest.configuration if growth is None else wanted.configuration,
            store=job.store,
            out=job.out.absolute(),
            splits=asked.splits,
            numbering=asked.numbering,
            merging=job.merging,
            unit=job.unit,
            function_words=job.function_words,
            class_weight=job.class_weight,
            aliases=job.aliases,
            absent_names=manifest.configuration.get("absent_names", "zero"),
            bake=job.bake,
            strict=job.strict,
        )
        with AlignLog(job.out) as log:
            for notice in notices_of(manifest):
                log.tell(notice)
            if growth is not None:
                manifest = carry_over(job.out, manifest, wanted).noting_finished(False)
                log.tell(Notice(text=_tell_growth(growth, manifest)))
            begun = manifest if manifest.shards else manifest.noting_finished(False)
            with GrowingManifest(job.out, begun) as growing:
                _make_shards(job, settings, growing, log)
            manifest = growing.manifest
            summary = summarize(job, manifest, log, dict(asked.vector_drops.counts))
            log.finish(summary)
    return summary


def look_ahead(job: AlignmentJob) -> AlignmentOutlook:
    """Return what `align` would do; nothing is written, and Ray is not started. Raises what `align` would.

    The annotations are read to their end, as they tell how many shards there are.
    """
    asked = _asked(job)
    growth = _find_growth(job, asked.given, asked.existing)
    manifest = open_manifest(job.out, asked.wanted, growth)
    finished = {Path(entry.name).stem for entry in manifest.shards}
    num_left = sum(1 for _ in align_tasks(job, finished))
    num_bytes = sum(entry.bytes for entry in manifest.shards)
    told = [notice.text for notice in notices_of(manifest)]
    if growth is not None:
        told.append(f"the region store grew by {growth}: shards that the new images concern are made anew as well")
    return AlignmentOutlook(
        out=str(job.out),
        num_shards=len(finished) + num_left,
        num_shards_left=num_left,
        num_bytes_left=round(num_left * num_bytes / len(finished)) if finished else None if num_left else 0,
        remarks=tuple(told),
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A job that is no mistake, as far as its settings and inputs tell."""

    given: Given
    vector_drops: Drops
    existing: Manifest | None
    numbering: Numbering
    splits: SplitRules
    wanted: Manifest


def _asked(job: AlignmentJob) -> _Asked:
    """A bad setting ends the run here, before anything starts."""
    check_sources(job.annotations)
    vector_drops = Drops(strict=job.strict)
    given = list_files(job) if job.images else open_regions(job, vector_drops)
    existing = read_manifest(job.out) if (job.out / MANIFEST_NAME).exists() else None
    numbering, notes = _settle_numbering(job, given, existing, job.ids)
    return _Asked(
        given=given,
        vector_drops=vector_drops,
        existing=existing,
        numbering=numbering,
        splits=_split_rules(job, Drops(), numbering),
        wanted=Manifest(content="sentences", store=job.store, configuration=configuration_of(job, given), notes=notes),
    )


def _settle_numbering(
    job: AlignmentJob, given: Given, existing: Manifest | None, said: Ids | None
) -> tuple[Numbering, dict[str, Any]]:
    return settle_numbering(
        RegionLayouts(given.images) if isinstance(given.images, Path) else PictureLayouts(given.images),
        str(job.regions or "--images"),
        said,
        [(DATA_SETS[source.name], source.path) for source in job.annotations],
        existing,
    )


def _find_growth(job: AlignmentJob, given: Given, existing: Manifest | None) -> Growth | None:
    """Return by how much the regions have grown since the sentences were aligned with them; None: they have not.

    Raises:
        StoreError: they have, and their images' numbers are another's now.
    """
    if given.regions is None or existing is None or not existing.shards:
        return None
    growth = growth_since(given.regions, existing.configuration.get("regions", {}))
    if growth is not None:
        _, anew = _settle_numbering(job, given, None, said_ids(existing.notes))
        require_same_numbers(job.out, existing.notes, anew)
    return growth


def _tell_growth(growth: Growth, manifest: Manifest) -> str:
    count = len(manifest.shards)
    stay = "1 shard of sentences stays" if count == 1 else f"{count} shards of sentences stay"
    return f"the region store grew by {growth}: {stay}, the others are made anew"


def _make_shards(job: AlignmentJob, settings: AlignSettings, growing: GrowingManifest, log: AlignLog) -> None:
    """Run the tasks on Ray; the manifest has each shard when it is finished."""
    tasks = align_tasks(job, {Path(entry.name).stem for entry in growing.manifest.shards})
    first = next(tasks, None)
    if first is None:
        growing.note_finished(True)
        return
    growing.note_finished(False)
    with connected(job.address) as cluster:
        size = cluster.crew_size("cpu", job.workers, 1)
        log.start(size, **_places(job))
        with Crew(AlignWorker, settings, size) as crew:
            for event in crew.run(chain([first], tasks)):
                log.tell(event)
                if isinstance(event, AlignReport):
                    growing.add(event.entry)
                growing.write_if_due()
    growing.note_finished(True)


def _split_rules(job: AlignmentJob, drops: Drops, numbering: Numbering) -> SplitRules:
    """Return the rules of all sources together; images that a source evaluates are kept from every other's training."""
    data_sets = [(DATA_SETS[source.name], source.path) for source in job.annotations]
    listed = numbering.shared or frozenset(data_set.ids for data_set, _ in data_sets) - {"own"}
    for path in job.held_out:
        number = next(numbers_in(read_lines(path)), None)
        if number is not None and len(listed) > 1 and not numbering.shared:
            raise ValueError(
                f"{path}: {number!r} may be a number of {shown_ids(listed)}; expected lines that say whose it is: "
                f"`visual-genome {number}`, or the names that COCO gives its files"
            )
    return make_split_rules(
        (image for data_set, path in data_sets for image in data_set.evaluation_images(path, drops=drops)),
        photographs=(
            image
            for data_set, path in data_sets
            if data_set.photographs is not None
            for image in data_set.photographs(path, drops=drops)
        ),
        held_out=(line for path in job.held_out for line in read_lines(path)),
        shared=numbering.shared,
        listed=listed,
        minival=read_minival(job.minival) if job.minival else None,
    )


def _places(job: AlignmentJob) -> dict[str, Any]:
    """Return where the inputs lie, for the log."""
    annotations = {f"annotations {number} {each.name}": str(each.path) for number, each in enumerate(job.annotations)}
    if job.regions is None:
        return {"images": list(job.images), **annotations}
    return {"regions": str(job.regions.absolute()), "vectors": str(job.vectors), **annotations}
