"""`vinculum align`: annotations and region shards, or files of images, to sentence shards; the main path."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Literal

from annotations.alignment.criteria import FunctionWords, SemanticUnit
from annotations.alignment.region_names import RegionNames
from annotations.alignment.targets import CLASS_WEIGHT
from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.text_files import read_lines
from annotations.guards.drops import Drops
from annotations.image_ids import Ids, shown_ids
from annotations.repeats import SeenIds
from annotations.splits import SplitRules, make_split_rules, numbers_in, read_minival
from annotations.vectors.files import arrays_beside
from annotations.vectors.lookup import Aliases, WordVectors, read_word_vectors
from pipeline.alignment.annotation_sources import AnnotationSource, check_sources
from pipeline.alignment.grown_regions import Growth, carry_over, growth_since, require_same_numbers
from pipeline.alignment.log import AlignLog
from pipeline.alignment.numbering import said_ids, settle_numbering, tell_numbering
from pipeline.alignment.worker import (
    AlignReport,
    AlignSettings,
    AlignTask,
    AlignWorker,
    BakeOptions,
    MergeOptions,
    drop_counts,
)
from pipeline.cluster.connect import connected
from pipeline.cluster.crew import Crew
from pipeline.cluster.notices import Notice
from pipeline.inputs.identity import BY_NAMES, as_recorded, identity_of, identity_of_files, identity_of_store
from stores.catalog import STORES, StoreName
from stores.errors import StoreError
from stores.fresh_store import owned_store
from stores.growing_manifest import GrowingManifest
from stores.images.layouts import PictureLayouts
from stores.images.listing import list_images
from stores.images.sources import ImageSources
from stores.layouts import RegionLayouts
from stores.manifest import (
    MANIFEST_NAME,
    Manifest,
    read_manifest,
    require_same_configuration,
    without_lost_shards,
    without_replaced_shards,
)
from stores.numbering import Numbering
from stores.places import FolderPlace
from stores.plan import SHARD_PREFIX
from stores.sentence_reading import SentenceStore, open_sentences

Nameless = Literal["refuse", "allow"]
"""Whether a combination of both criteria may be baked of regions without names."""


@dataclass(frozen=True, kw_only=True)
class AlignmentJob:
    """Everything a run was asked for."""

    annotations: tuple[AnnotationSource, ...]
    regions: Path | None = None
    """A store, which wants vectors; or instead:"""
    images: tuple[str, ...] = ()
    """Places of files. Their sentences point at boxes, and at no region."""
    ids: Ids | None = None
    """Whose the numbers are among the images' ids; None: it is told otherwise, see `pipeline.alignment.numbering`."""
    vectors: Path | None = None
    out: Path
    store: StoreName = "arrow"
    shard_size: int = 8192
    """Sentences, about."""
    unit: SemanticUnit = "word"
    function_words: FunctionWords = "compared"
    class_weight: float = CLASS_WEIGHT
    aliases: Aliases = "first"
    merging: MergeOptions = field(default_factory=MergeOptions)
    bake: BakeOptions | None = None
    nameless: Nameless = "refuse"
    held_out: tuple[Path, ...] = ()
    minival: Path | None = None
    strict: bool = False
    address: str | None = None
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """What came of one source."""

    name: str
    counts: dict[str, int]
    """Sentences, images, pointers, pointed words ...; `objects` are counted in each shard for itself."""
    drops: dict[str, int]
    """Annotations left out, by reason."""
    joins: dict[str, int]
    """Images of its sentences, by the rule by which they were found."""
    unnamed: dict[str, int]
    """Regions of its images that lack which names, counted in each shard for itself; empty where none does."""


@dataclass(frozen=True, kw_only=True)
class AlignmentSummary:
    """What the store holds when the run ends, and what the run did."""

    out: str
    num_sentences: int
    num_shards: int
    num_shards_made: int
    """By this run."""
    sentences_per_second: float
    """Rate of this run, from the first shard asked for to the last one written."""
    sources: tuple[SourceSummary, ...]
    vector_drops: dict[str, int]
    """Lines of the vectors' file left out, by reason."""
    numbering: str
    """Whose the numbers among the images' ids are, for people; empty where there is nothing to say."""


def align(job: AlignmentJob) -> AlignmentSummary:
    """Make every sentence shard that is missing; run again after any interruption, it does only what is left."""
    check_sources(job.annotations)
    vector_drops = Drops(strict=job.strict)
    given = _list_files(job) if job.images else _open_regions(job, vector_drops)
    existing = read_manifest(job.out) if (job.out / MANIFEST_NAME).exists() else None
    numbering, notes = _settle_numbering(job, given, existing, job.ids)
    splits = _split_rules(job, Drops(), numbering)
    wanted = Manifest(content="sentences", store=job.store, configuration=_configuration(job, given), notes=notes)
    with owned_store(job.out):
        growth = _find_growth(job, given, existing)
        manifest = _open_manifest(job.out, wanted, growth)
        settings = AlignSettings(
            images=given.images,
            vectors=given.vectors,
            classes=given.classes,
            attributes=given.attributes,
            inputs=given.identity,
            configuration=manifest.configuration if growth is None else wanted.configuration,
            store=job.store,
            out=job.out.absolute(),
            splits=splits,
            numbering=numbering,
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
            for notice in _notices(manifest):
                log.tell(notice)
            if growth is not None:
                manifest = carry_over(job.out, manifest, wanted).noting_finished(False)
                log.tell(Notice(text=_tell_growth(growth, manifest)))
            begun = manifest if manifest.shards else manifest.noting_finished(False)
            with GrowingManifest(job.out, begun) as growing:
                _make_shards(job, settings, growing, log)
            manifest = growing.manifest
            summary = _summary(job, manifest, log, dict(vector_drops.counts))
            log.finish(summary)
    return summary


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What sentences are aligned with."""

    images: Path | ImageSources
    """A store of regions, or files."""
    vectors: WordVectors
    classes: Sequence[str] = ()
    attributes: Sequence[str] = ()
    identity: dict[str, Any]
    """What tells it from other regions or files."""
    regions: Manifest | None = None
    """Manifest of the region store."""


def _open_regions(job: AlignmentJob, drops: Drops) -> _Given:
    """Return the region store with the names behind its class and attribute ids."""
    if job.regions is None or job.vectors is None:
        raise ValueError(
            "expected --regions with --vectors, or --images alone, whose words then point at boxes and at no region"
        )
    layouts = RegionLayouts(job.regions)
    manifest = layouts.manifest
    vocabulary = manifest.configuration.get("detector", {}).get("vocabulary")
    if not vocabulary:
        raise StoreError(
            f"{job.regions}: its manifest has no vocabulary, expected the detector's; words need its names"
        )
    _require_names(job, layouts, RegionNames(vocabulary["classes"], vocabulary["attributes"]))
    return _Given(
        images=job.regions.absolute(),
        vectors=read_word_vectors(job.vectors, drops=drops),
        classes=vocabulary["classes"],
        attributes=vocabulary["attributes"],
        identity={"regions": identity_of_store(manifest)},
        regions=manifest,
    )


def _settle_numbering(
    job: AlignmentJob, given: _Given, existing: Manifest | None, said: Ids | None
) -> tuple[Numbering, dict[str, Any]]:
    return settle_numbering(
        RegionLayouts(given.images) if isinstance(given.images, Path) else PictureLayouts(given.images),
        str(job.regions or "--images"),
        said,
        [(DATA_SETS[source.name], source.path) for source in job.annotations],
        existing,
    )


def _find_growth(job: AlignmentJob, given: _Given, existing: Manifest | None) -> Growth | None:
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


def _require_names(job: AlignmentJob, layouts: RegionLayouts, names: RegionNames) -> None:
    """Raise ValueError where a combination is baked that compares words with names, and the regions have none."""
    found = names.count(layouts.beginning())
    is_nameless = bool(found) and found["regions"] == found["regions_without_names"]
    if is_nameless and job.bake and job.bake.combination != "position-only" and job.nameless == "refuse":
        raise ValueError(
            f"{job.regions}: none of the {found['regions']} regions of its first shard has a name, and --bake "
            f"{job.bake.combination} compares words with names; expected --bake position-only, or --nameless allow, "
            "with which the semantic criterion is 0"
        )


def _list_files(job: AlignmentJob) -> _Given:
    """Return the files, which have no regions that words could be compared with."""
    if job.regions is not None or job.vectors is not None or job.bake is not None:
        raise ValueError(
            "--images goes without --regions, --vectors and --bake, which are about regions: files have none"
        )
    images = list_images(job.images).images
    return _Given(images=images, vectors=WordVectors.none(), identity={"images": identity_of_files(images)})


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


def align_tasks(job: AlignmentJob, finished: Collection[str]) -> Iterator[AlignTask]:
    """Yield the shards to make; a source is read from its beginning even if its first shards are finished.

    Of sentences with one id the first stays, of all sources of a data set, whatever shard it is in.
    """
    seen = defaultdict[str, SeenIds](SeenIds)
    for number, source in enumerate(job.annotations):
        data_set, drops = DATA_SETS[source.name], Drops(strict=job.strict)
        size = max(1, job.shard_size // data_set.sentences_per_record)
        for shard, records in enumerate(_grouped(data_set.read_records(source.path, drops=drops), size)):
            repeated = seen[source.name].repeated([list(data_set.sentence_ids(record)) for record in records])
            task = AlignTask(
                name=f"{SHARD_PREFIX}{number:02d}-{source.name}-{shard:05d}",
                data_set=source.name,
                records=records,
                drops=drop_counts(drops),
                repeated={number: ids for number, ids in enumerate(repeated) if ids},
            )
            drops.clear()
            if task.name not in finished:
                yield task


def _grouped(records: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Yield the records in lists of `size`, and what is left; at least one list, which may be empty.

    A list is yielded when the record after it has been read, so that what is dropped at the end is known by then.
    """
    group: list[Any] = []
    for record in records:
        if len(group) == size:
            yield group
            group = []
        group.append(record)
    yield group


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


def _configuration(job: AlignmentJob, given: _Given) -> dict[str, Any]:
    """Return all that decides the store's bytes; inputs are known by their content, wherever they lie."""
    recorded = read_manifest(job.out).configuration if (job.out / MANIFEST_NAME).exists() else {}
    before: list[dict[str, Any]] = recorded.get("annotations", [])
    annotations = []
    for source, known in zip(job.annotations, chain(before, repeat({})), strict=False):
        found = identity_of(source.path, beside=DATA_SETS[source.name].beside)
        annotations.append({"name": source.name} | as_recorded(found, known, source.path))
    vectors = None
    if job.vectors:
        found = identity_of(job.vectors, beside=arrays_beside(job.vectors))
        vectors = as_recorded(found, recorded.get("vectors") or {}, job.vectors)
    return {
        **_identity_as_recorded(given.identity, recorded),
        "annotations": annotations,
        "vectors": vectors,
        "held_out": [identity_of(path) for path in job.held_out],
        "minival": identity_of(job.minival) if job.minival else None,
        "merging": asdict(job.merging),
        "semantic_unit": job.unit,
        "class_weight": job.class_weight,
        "aliases": job.aliases,
        # A store that an older version began goes on as that did, with a weight for names that are not there.
        **({"absent_names": "other"} if not recorded or "absent_names" in recorded else {}),
        **({"function_words": job.function_words} if job.function_words != "compared" else {}),
        "bake": asdict(job.bake) if job.bake else None,
        "shard_size": job.shard_size,
    }


def _notices(manifest: Manifest) -> Iterator[Notice]:
    """Yield what a person should know of a store that an older version began."""
    for each in manifest.configuration["annotations"]:
        if each.get("of") == BY_NAMES:
            yield Notice(
                text=f"{each['name']}: this store, begun by an older version, knows its {each['files']} files by names "
                "and sizes; whether one was edited at equal size is not known, a new --out would know"
            )


def _identity_as_recorded(identity: dict[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the identity of regions or files without the files' content where an older version recorded none."""
    if "content" in recorded.get("images", {"content": None}):
        return identity
    return {name: {key: each[key] for key in each if key != "content"} for name, each in identity.items()}


def _places(job: AlignmentJob) -> dict[str, Any]:
    """Return where the inputs lie, for the log."""
    annotations = {f"annotations {number} {each.name}": str(each.path) for number, each in enumerate(job.annotations)}
    if job.regions is None:
        return {"images": list(job.images), **annotations}
    return {"regions": str(job.regions.absolute()), "vectors": str(job.vectors), **annotations}


def _open_manifest(out: Path, wanted: Manifest, growth: Growth | None) -> Manifest:
    """Return the store's manifest if this run may continue it, without shards that are no longer there.

    Where the regions have grown, it is as it was before they had, with the shards that `carry_over` may look at.
    """
    if not (out / MANIFEST_NAME).exists():
        if any(out.glob(f"{SHARD_PREFIX}*{STORES[wanted.store].suffix}")):
            raise StoreError(f"{out} has shards and no {MANIFEST_NAME}; run vinculum repair {out}")
        return wanted
    manifest = read_manifest(out)
    if not manifest.shards:
        return wanted  # a run with other options ended before it made anything
    if growth is not None:
        regions = {"regions": wanted.configuration["regions"]}
        require_same_configuration(replace(manifest, configuration=manifest.configuration | regions), wanted, out)
        return without_lost_shards(manifest, FolderPlace(out).sizes())
    require_same_configuration(manifest, wanted, out)
    return without_replaced_shards(without_lost_shards(manifest, FolderPlace(out).sizes()), out)


def _summary(job: AlignmentJob, manifest: Manifest, log: AlignLog, vector_drops: dict[str, int]) -> AlignmentSummary:
    with open_sentences(job.out) as sentences:
        sources = tuple(
            _source_summary(number, source.name, sentences) for number, source in enumerate(job.annotations)
        )
    return AlignmentSummary(
        out=str(job.out),
        num_sentences=sum(entry.rows for entry in manifest.shards),
        num_shards=len(manifest.shards),
        num_shards_made=log.num_shards,
        vector_drops=vector_drops,
        sentences_per_second=round(log.sentences_per_second, 1),
        sources=sources,
        numbering=tell_numbering(manifest.notes),
    )


def _source_summary(number: int, name: str, sentences: SentenceStore) -> SourceSummary:
    """Return what came of the source that was given as number `number`, counted from 0."""
    entries = sentences.manifest.shards
    shards = [shard for shard, entry in enumerate(entries) if entry.name.startswith(f"{SHARD_PREFIX}{number:02d}-")]
    drops = Counter[str]()
    for shard in shards:
        drops.update({drop.reason: drop.count for drop in entries[shard].drops})
    return SourceSummary(
        name=name,
        counts=sentences.counts(shards),
        drops=dict(drops),
        joins=sentences.joins(shards),
        unnamed=sentences.unnamed(shards),
    )
