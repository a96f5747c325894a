"""`vinculum doctor`: what is wrong with a sentence store, or might be, told source by source."""

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.function_words import FUNCTION_WORDS
from annotations.alignment.region_names import tell_unnamed
from annotations.alignment.sentences import AlignedSentence
from annotations.records import Pointer, Sentence
from annotations.splits import names_of
from pipeline.alignment.grown_regions import Growth, growth_since, is_another_store
from pipeline.alignment.numbering import tell_numbering
from pipeline.alignment.worker import ANOTHERS_NUMBER, NO_REGIONS, OTHER_PROPORTIONS, OTHER_SIZE
from pipeline.care.sentence_shards import source_of
from stores.errors import StoreError
from stores.layouts import RegionLayouts
from stores.manifest import read_manifest
from stores.sentence_reading import SentenceStore, open_sentences

MISSING = (NO_REGIONS, ANOTHERS_NUMBER, OTHER_SIZE)
"""Why sentences are left out for want of regions."""

COVERED_IOU = 0.5
"""A word whose best region overlaps its gold box less is not covered: no region stands for it."""

MIN_COVERED = 0.4
"""Share of a source's pointed words that regions must cover, or the detector is not one for these pictures.

Measured, 36 boxes an image. Right: 80 COCO classes on Flickr30k .65, on COCO .61; the toy detector on its world .99.
Wrong: 36 boxes at random on Flickr30k .39; the toy detector on photographs of Flickr30k .32, of COCO .09; boxes of
another photograph .17 and .04, of another toy picture .21 to .24. On Visual Genome's descriptions 80 classes cover .29.
How many regions are confident tells nothing: at .2 and more are .67 of the toy detector's in its world, .74 and .71 on
photographs, and .16 and .31 of the 80 classes' there.
"""

MAX_OOV = 0.3
"""Share of a source's pointed words that may have no vector, or the vectors are of other texts.

Measured: 10,000 words of GloVe on Flickr30k .10, Visual Genome .10 and .22, COCO's classes .21; the toy world's vectors
in it 0, on Flickr30k .51.
"""

MAX_OTHERS = 0.05
"""Share of a source's sentences that may be left out because their images have other proportions than where they were
annotated: more, and they are other photographs of the same ids. Half of any two photographs have other proportions."""

MIN_WORDS = 100
"""Pointed words of which a share says something."""

NUM_EXAMPLES = 5
NUM_WORDS = 10


@dataclass(frozen=True, kw_only=True)
class UncoveredPointer:
    """A phrase whose gold box no region covers."""

    iou: float
    """IoU with its best region."""
    sentence_id: str
    words: str
    image_id: str
    box_xyxy: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SourceHealth:
    """One source's figures."""

    source: str
    num_sentences: int
    num_images: int
    num_pointing: int
    """Sentences with a pointed word."""
    num_words: int
    """Pointed words."""
    num_covered: int
    """Pointed words whose best region has IoU 0.5 or more with their gold box."""
    num_oov: int
    """Pointed words without a vector."""
    oov_words: tuple[tuple[str, int], ...]
    """The most frequent of them, with how often they point."""
    num_boxed_pointers: int
    num_uncovered_pointers: int
    worst: tuple[UncoveredPointer, ...]
    """The uncovered of different boxes, the least covered first."""
    num_missing: int
    """Sentences left out because their images have no regions, or none that are known to be theirs."""
    missing: tuple[str, ...]
    """Where the first of each shard was met, and which images it lacks."""
    num_other_proportions: int
    """Sentences left out because their images have other proportions than where they were annotated."""
    num_repeated_ids: int
    """Sentences with the id of an earlier one."""
    unnamed: Mapping[str, int]
    """Regions of its images that lack which names, see `UNNAMED`; empty where none does, or the store is older."""
    joins: Mapping[str, int]
    """Images of its sentences, by the rule by which they were found; empty of sentences that older versions aligned."""

    @property
    def is_of_these_images(self) -> bool:
        """Whether its images are those of the store, as far as proportions tell."""
        return self.num_other_proportions <= MAX_OTHERS * (self.num_sentences + self.num_other_proportions)

    @property
    def is_covered(self) -> bool:
        """Whether its words have regions, as far as so many tell."""
        return self.num_words < MIN_WORDS or self.num_covered >= MIN_COVERED * self.num_words

    @property
    def is_in_vocabulary(self) -> bool:
        """Whether its words have vectors, as far as so many tell."""
        return self.num_words < MIN_WORDS or self.num_oov <= MAX_OOV * self.num_words


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A photograph that is trained on and evaluated, by two sources or by one."""

    photograph: str
    trained_by: str
    evaluated_by: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a sentence store is like."""

    sources: tuple[SourceHealth, ...]
    num_unused_images: int
    """Images of the region store that no sentence is about."""
    num_lost_images: int
    """Images of sentences that the region store lacks now."""
    num_leaks: int
    leaks: tuple[Leak, ...]
    regions_changed: bool
    """The region store has other settings, or other shards, than when the sentences were aligned."""
    growth: Growth | None
    """What the region store has now beside the shards that it had then; None where it has not grown."""
    numbering: str
    """Whose the numbers among the images' ids are, for people; empty where there is nothing to say."""

    @property
    def is_healthy(self) -> bool:
        return not (
            self.num_leaks
            or self.num_lost_images
            or self.regions_changed
            or any(
                source.num_missing
                or source.num_repeated_ids
                or not (source.is_of_these_images and source.is_covered and source.is_in_vocabulary)
                for source in self.sources
            )
        )


@dataclass(kw_only=True)
class _Tally:
    """A source's figures while they are counted."""

    counts: Counter[str] = field(default_factory=Counter)
    images: set[str] = field(default_factory=set)
    ids: "array[int]" = field(default_factory=lambda: array("q"))
    """Hashes of 64 bits: ten million ids as text would take a gigabyte."""
    oov: Counter[str] = field(default_factory=Counter)
    worst: list[tuple[float, int, UncoveredPointer]] = field(default_factory=list)
    """A heap of the `NUM_EXAMPLES` least covered, the best of them first."""
    missing: list[str] = field(default_factory=list)
    joins: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)


@dataclass(kw_only=True)
class _Photographs:
    """Who trains on which photograph and who evaluates it, under all its names."""

    trained: dict[str, str] = field(default_factory=dict)
    evaluated: dict[str, str] = field(default_factory=dict)
    known_as: dict[str, str] = field(default_factory=dict)
    """COCO's name of a photograph that a source knows by another."""

    def add(self, sentence: Sentence) -> None:
        sources = self.trained if sentence.split == "train" else self.evaluated
        for image in sentence.images:
            own, common = names_of(image)
            if own != common:
                self.known_as[own] = common
            for name in (own, common):
                sources.setdefault(name, sentence.source)

    def leaks(self) -> list[Leak]:
        """Return one for each photograph that is in both."""
        found = {
            self.known_as.get(name, name): Leak(
                photograph=self.known_as.get(name, name),
                trained_by=self.trained[name],
                evaluated_by=self.evaluated[name],
            )
            for name in self.trained.keys() & self.evaluated.keys()
        }
        return [found[name] for name in sorted(found)]


def diagnose(regions: Path, sentences: Path) -> Diagnosis:
    """Return what is, or might be, wrong with the sentences; reads every row once.

    Memory grows with the number of images and, by 8 bytes each, of sentences.

    Raises:
        DamagedFileError: a manifest or a shard is not as it was written.
        StoreError: one of the folders is a store of something else, or the sentences are of files without regions.
    """
    _require_regions(sentences)
    layouts = RegionLayouts(regions)
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally())
    photographs = _Photographs()
    with open_sentences(sentences) as store:
        _count_entries(tallies, store)
        is_left_out = store.manifest.configuration.get("function_words") == "left-out"
        for aligned in store:
            _count(tallies[aligned.sentence.source], aligned, FUNCTION_WORDS if is_left_out else frozenset())
            photographs.add(aligned.sentence)
    used = {image_id for tally in tallies.values() for image_id in tally.images}
    num_found = sum(image_id in layouts for image_id in used)
    leaks = photographs.leaks()
    recorded = store.manifest.configuration.get("regions", {})
    growth = growth_since(layouts.manifest, recorded)
    return Diagnosis(
        sources=tuple(_health(source, tally) for source, tally in tallies.items()),
        num_unused_images=len(layouts) - num_found,
        num_lost_images=len(used) - num_found,
        num_leaks=len(leaks),
        leaks=tuple(leaks[:NUM_EXAMPLES]),
        numbering=tell_numbering(store.manifest.notes),
        regions_changed=is_another_store(layouts.manifest, recorded),
        growth=growth,
    )


def _require_regions(sentences: Path) -> None:
    if "images" in read_manifest(sentences).configuration:
        raise StoreError(f"{sentences} is about files of images, expected sentences that were aligned with regions")


def report(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the lines that a person reads: a table of the sources, then the findings, the worst kind first."""
    yield from _table(
        ("source", "sentences", "images", "pointing", "words", "covered", "OOV", "pointers not covered", "missing"),
        *map(_row, diagnosis.sources),
    )
    if diagnosis.regions_changed:
        yield "The region store has changed since the sentences were aligned: align again, into a new folder."
    if diagnosis.growth is not None:
        yield f"The region store grew by {diagnosis.growth}: align again, into this folder, to have their sentences."
    if diagnosis.num_lost_images:
        yield f"{diagnosis.num_lost_images} images of sentences are not in the region store."
    if diagnosis.num_leaks:
        yield f"{diagnosis.num_leaks} photographs are trained on and evaluated:"
        yield from (
            f"  {each.photograph}: trained on by {each.trained_by}, evaluated by {each.evaluated_by}"
            for each in diagnosis.leaks
        )
    for health in diagnosis.sources:
        yield from _findings(health)
    if diagnosis.numbering:
        yield f"{diagnosis.numbering[0].upper()}{diagnosis.numbering[1:]}."
    yield f"{diagnosis.num_unused_images} images of the region store have no sentence."
    yield "Healthy." if diagnosis.is_healthy else "Not healthy: see above."


def oov_words(aligned: AlignedSentence) -> Iterator[str]:
    """Yield the sentence's pointed words without a vector, in lower case."""
    words, sentence = aligned.words, aligned.sentence
    for row in np.flatnonzero(words.oov):
        text = sentence.answers[0].text if words.in_answer[row] else sentence.text
        yield text[words.starts[row] : words.ends[row]].lower()


def _findings(health: SourceHealth) -> Iterator[str]:
    if not health.is_of_these_images:
        yield (
            f"{health.source}: {health.num_other_proportions} sentences were left out, whose images have other "
            "proportions than where they were annotated: other photographs of the same ids? See --ids of align."
        )
    if not health.is_covered:
        yield (
            f"{health.source}: regions cover {_share(health.num_covered, health.num_words)} of the pointed words, "
            f"expected {MIN_COVERED:.0%} or more: the detector does not know such pictures, or regions are of others. "
            "Where there are weights for photographs tells the README, Weights and conventions."
        )
    if not health.is_in_vocabulary:
        yield (
            f"{health.source}: {_share(health.num_oov, health.num_words)} of the pointed words have no vector, "
            f"expected {MAX_OOV:.0%} at most: the vectors are of other texts. GloVe is at "
            "https://nlp.stanford.edu/projects/glove."
        )
    if health.unnamed:
        yield f"{health.source}: {tell_unnamed(health.unnamed)}."
    if health.joins:
        yield f"{health.source}: images {', '.join(f'{told}: {count}' for told, count in health.joins.items())}"
    if health.num_repeated_ids:
        yield f"{health.source}: {health.num_repeated_ids} sentences have the id of an earlier one."
    if health.num_missing:
        yield (
            f"{health.source}: {health.num_missing} sentences were left out, because their images have no regions, or "
            "none that are known to be theirs:"
        )
        yield from (f"  {where}" for where in health.missing)
    if health.oov_words:
        told = ", ".join(f"{word} ({count})" for word, count in health.oov_words)
        yield f"{health.source}: words without a vector that point most often: {told}"
    if health.worst:
        yield f"{health.source}: phrases that regions cover least:"
        yield from (
            f"  IoU {each.iou:.2f}  {each.words!r}  sentence {each.sentence_id}, image {each.image_id}, "
            f"box {', '.join(f'{value:g}' for value in each.box_xyxy)}"
            for each in health.worst
        )


def _count_entries(tallies: dict[str, _Tally], store: SentenceStore) -> None:
    """Every source has a tally, even one of which nothing is left, and knows what it misses and what it found how."""
    for number, entry in enumerate(store.manifest.shards):
        _, source = source_of(entry.name)
        tally = tallies[source]
        tally.joins.update(store.joins([number]))
        tally.unnamed.update(store.unnamed([number]))
        for drop in entry.drops:
            tally.counts["other proportions"] += drop.count * (drop.reason == OTHER_PROPORTIONS)
            if drop.reason in MISSING:
                tally.counts["missing"] += drop.count
                tally.missing.append(drop.first)


def _count(tally: _Tally, aligned: AlignedSentence, left_out: frozenset[str]) -> None:
    """Count the sentence; words that were left out on purpose do not lack a vector."""
    sentence, words = aligned.sentence, aligned.words
    best = words.position.max(axis=1, initial=0)
    tally.images.update(sentence.image_ids)
    tally.ids.append(hash(sentence.sentence_id))
    oov = [word for word in oov_words(aligned) if word not in left_out]
    tally.oov.update(oov)
    tally.counts["sentences"] += 1
    tally.counts["pointing"] += len(words) > 0
    tally.counts["words"] += len(words)
    tally.counts["covered"] += int((best >= COVERED_IOU).sum())
    tally.counts["oov"] += len(oov)
    boxed = [(pointer, False) for pointer in sentence.pointers if pointer.boxes_xyxy]
    boxed += [(pointer, True) for pointer in sentence.answer_pointers if pointer.boxes_xyxy]
    tally.counts["boxed"] += len(boxed)
    for row, (pointer, in_answer) in enumerate(boxed):
        rows = aligned.pointer_position
        iou = _best_of_words(pointer, in_answer, aligned, best) if rows is None else float(rows[row].max(initial=0))
        if iou < COVERED_IOU:
            tally.counts["uncovered"] += 1
            _keep_worst(tally, iou, pointer, in_answer, sentence)


def _best_of_words(pointer: Pointer, in_answer: bool, aligned: AlignedSentence, best: NDArray[np.float16]) -> float:
    """Return the IoU of the region that covers the phrase best, as an older store tells: by the phrase's words.

    Words in nested phrases have that of all of them; a phrase without a word passes for covered.
    """
    words = aligned.words
    inside = (words.in_answer == in_answer) & (words.images == pointer.image)
    inside &= (words.starts >= pointer.start) & (words.ends <= pointer.end)
    return float(best[inside].min(initial=1.0)) if inside.any() else 1.0


def _keep_worst(tally: _Tally, iou: float, pointer: Pointer, in_answer: bool, sentence: Sentence) -> None:
    text = sentence.answers[0].text if in_answer else sentence.text
    found = UncoveredPointer(
        iou=round(iou, 3),
        sentence_id=sentence.sentence_id,
        words=text[pointer.start : pointer.end],
        image_id=sentence.images[pointer.image].image_id,
        box_xyxy=tuple(round(value, 1) for value in pointer.boxes_xyxy[0]),
    )
    if any((found.image_id, found.box_xyxy) == (each.image_id, each.box_xyxy) for _, _, each in tally.worst):
        return  # five sentences about one box would say one thing five times
    heapq.heappush(tally.worst, (-iou, -tally.counts["uncovered"], found))
    if len(tally.worst) > NUM_EXAMPLES:
        heapq.heappop(tally.worst)


def _health(source: str, tally: _Tally) -> SourceHealth:
    counts = tally.counts
    return SourceHealth(
        source=source,
        num_sentences=counts["sentences"],
        num_images=len(tally.images),
        num_pointing=counts["pointing"],
        num_words=counts["words"],
        num_covered=counts["covered"],
        num_oov=counts["oov"],
        oov_words=tuple(tally.oov.most_common(NUM_WORDS)),
        num_boxed_pointers=counts["boxed"],
        num_uncovered_pointers=counts["uncovered"],
        worst=tuple(found for _, _, found in sorted(tally.worst, reverse=True)),
        num_missing=counts["missing"],
        missing=tuple(tally.missing[:NUM_EXAMPLES]),
        num_other_proportions=counts["other proportions"],
        joins=dict(tally.joins),
        unnamed=dict(tally.unnamed),
        num_repeated_ids=len(tally.ids) - len(np.unique(np.frombuffer(tally.ids, np.int64))),
    )


def _row(health: SourceHealth) -> tuple[str, ...]:
    return (
        health.source,
        f"{health.num_sentences:,}",
        f"{health.num_images:,}",
        _share(health.num_pointing, health.num_sentences),
        f"{health.num_words:,}",
        _share(health.num_covered, health.num_words),
        _share(health.num_oov, health.num_words),
        f"{health.num_uncovered_pointers:,} of {health.num_boxed_pointers:,}",
        f"{health.num_missing:,}",
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  ".join(cells)
