"""`vinculum doctor`: what is wrong with a sentence store, or might be, told source by source."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.aligned import AlignedSentence
from annotations.records import Pointer, Sentence
from annotations.splits import photograph
from stores.layouts import RegionLayouts
from stores.manifest import DropCount, fingerprint, read_manifest
from stores.sentence_reading import open_sentences

COVERED_IOU = 0.5
"""A word whose best region overlaps its gold box less is not covered: no region stands for it."""

NUM_EXAMPLES = 5
NUM_WORDS = 25

NO_REGIONS = "sentence: image without regions"
"""The reason under which alignment counts sentences of images that the region store lacks."""


@dataclass(frozen=True, kw_only=True)
class UncoveredPointer:
    """A phrase whose gold box no region covers."""

    iou: float
    """Of its best region."""
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
    worst: tuple[UncoveredPointer, ...]
    num_uncovered_pointers: int
    num_boxed_pointers: int


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A photograph that one source trains on and another evaluates."""

    photograph: str
    trained_by: str
    evaluated_by: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a sentence store is like."""

    sources: tuple[SourceHealth, ...]
    num_missing: int
    """Sentences left out because their images have no regions."""
    missing: tuple[DropCount, ...]
    num_unused_images: int
    """Images of the region store that no sentence is about."""
    num_leaks: int
    leaks: tuple[Leak, ...]
    oov_words: tuple[tuple[str, int], ...]
    """The most frequent, with how often they point."""
    num_repeated_ids: int
    """Sentences whose id another of the same source has."""
    regions_changed: bool
    """The region store is not the one that the sentences were aligned with."""

    @property
    def is_healthy(self) -> bool:
        return not (self.num_missing or self.num_leaks or self.num_repeated_ids or self.regions_changed)


@dataclass(kw_only=True)
class _Tally:
    """A source's figures while they are counted."""

    counts: Counter[str] = field(default_factory=Counter)
    images: set[str] = field(default_factory=set)
    ids: set[int] = field(default_factory=set)
    """Hashes: ten million ids as text would take a gigabyte."""
    worst: list[tuple[float, int, UncoveredPointer]] = field(default_factory=list)
    """A heap of the `NUM_EXAMPLES` least covered, the best of them first."""


def diagnose(regions: Path, sentences: Path) -> Diagnosis:
    """Return what is, or might be, wrong with the sentences; reads every row once.

    Memory grows with the number of images and, by 30 bytes each, of sentences.

    Raises:
        DamagedFileError: a manifest or a shard is not as it was written.
        StoreError: one of the folders is a store of something else.
    """
    layouts = RegionLayouts(regions)
    tallies: dict[str, _Tally] = defaultdict(lambda: _Tally())
    oov: Counter[str] = Counter()
    trained: dict[str, str] = {}
    evaluated: dict[str, str] = {}
    with open_sentences(sentences) as store:
        manifest = store.manifest
        for aligned in store:
            sentence = aligned.sentence
            _count(tallies[sentence.source], aligned)
            oov.update(_oov_words(aligned))
            for image in sentence.images:
                (trained if sentence.split == "train" else evaluated).setdefault(photograph(image), sentence.source)
    leaked = sorted(trained.keys() & evaluated.keys())
    used = {image_id for tally in tallies.values() for image_id in tally.images}
    missing = tuple(drop for entry in manifest.shards for drop in entry.drops if drop.reason == NO_REGIONS)
    return Diagnosis(
        sources=tuple(_health(source, tally) for source, tally in tallies.items()),
        num_missing=sum(drop.count for drop in missing),
        missing=missing[:NUM_EXAMPLES],
        num_unused_images=len(layouts) - len(used),
        num_leaks=len(leaked),
        leaks=tuple(
            Leak(photograph=each, trained_by=trained[each], evaluated_by=evaluated[each])
            for each in leaked[:NUM_EXAMPLES]
        ),
        oov_words=tuple(oov.most_common(NUM_WORDS)),
        num_repeated_ids=sum(tally.counts["repeated"] for tally in tallies.values()),
        regions_changed=_regions_identity(regions) != manifest.configuration.get("regions", {}).get("fingerprint"),
    )


def report(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the lines that a person reads: a table of the sources, then the findings, the worst kind first."""
    header = ("source", "sentences", "images", "pointing", "words", "covered", "OOV", "pointers not covered")
    rows = [_row(health) for health in diagnosis.sources]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        yield "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
    if diagnosis.regions_changed:
        yield "The region store has changed since the sentences were aligned: align again, into a new folder."
    if diagnosis.num_leaks:
        yield f"{diagnosis.num_leaks} photographs are trained on and evaluated:"
        yield from (
            f"  {each.photograph}: trained on by {each.trained_by}, evaluated by {each.evaluated_by}"
            for each in diagnosis.leaks
        )
    if diagnosis.num_repeated_ids:
        yield f"{diagnosis.num_repeated_ids} sentences have an id that another of their source has."
    if diagnosis.num_missing:
        yield f"{diagnosis.num_missing} sentences were left out, because their images have no regions:"
        yield from (f"  {drop.first}" for drop in diagnosis.missing)
    yield f"{diagnosis.num_unused_images} images of the region store have no sentence."
    if diagnosis.oov_words:
        told = ", ".join(f"{word} ({count})" for word, count in diagnosis.oov_words)
        yield f"Words without a vector that point most often: {told}"
    for health in diagnosis.sources:
        if health.worst:
            yield f"{health.source}: phrases that regions cover least:"
            yield from (
                f"  IoU {each.iou:.2f}  {each.words!r}  sentence {each.sentence_id}, image {each.image_id}, "
                f"box {', '.join(f'{value:g}' for value in each.box_xyxy)}"
                for each in health.worst
            )


def _count(tally: _Tally, aligned: AlignedSentence) -> None:
    sentence, words = aligned.sentence, aligned.words
    key = hash(sentence.sentence_id)
    best = words.position.max(axis=1, initial=0)
    tally.images.update(sentence.image_ids)
    tally.counts["repeated"] += key in tally.ids
    tally.ids.add(key)
    tally.counts["sentences"] += 1
    tally.counts["pointing"] += len(words) > 0
    tally.counts["words"] += len(words)
    tally.counts["covered"] += int((best >= COVERED_IOU).sum())
    tally.counts["oov"] += int(words.oov.sum())
    for in_answer, pointers in ((False, sentence.pointers), (True, sentence.answer_pointers)):
        for pointer in pointers:
            if pointer.boxes_xyxy:
                tally.counts["boxed"] += 1
                iou = _best_iou(pointer, in_answer, aligned, best)
                if iou < COVERED_IOU:
                    tally.counts["uncovered"] += 1
                    _keep_worst(tally, iou, pointer, in_answer, sentence)


def _best_iou(pointer: Pointer, in_answer: bool, aligned: AlignedSentence, best: NDArray[np.float16]) -> float:
    """Return the IoU of the region that covers the phrase best; words in nested phrases have that of all of them."""
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


def _oov_words(aligned: AlignedSentence) -> Iterator[str]:
    words, sentence = aligned.words, aligned.sentence
    for row in np.flatnonzero(words.oov):
        text = sentence.answers[0].text if words.in_answer[row] else sentence.text
        yield text[words.starts[row] : words.ends[row]].lower()


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
        worst=tuple(found for _, _, found in sorted(tally.worst, reverse=True)),
        num_uncovered_pointers=counts["uncovered"],
        num_boxed_pointers=counts["boxed"],
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
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _regions_identity(folder: Path) -> str:
    return fingerprint(read_manifest(folder).configuration)
