"""`vinculum doctor`: what is wrong with a sentence store, or might be, told source by source."""

import heapq
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.function_words import FUNCTION_WORDS
from annotations.alignment.sentences import AlignedSentence
from annotations.records import Pointer, Sentence
from annotations.splits import names_of
from pipeline.alignment.drop_reasons import ANOTHERS_NUMBER, NO_REGIONS, OTHER_PROPORTIONS, OTHER_SIZE
from pipeline.alignment.grown_regions import growth_since, is_another_store
from pipeline.alignment.numbering import tell_numbering
from pipeline.care.health import COVERED_IOU, NUM_EXAMPLES, NUM_WORDS, Diagnosis, Leak, SourceHealth, UncoveredPointer
from pipeline.care.sentence_shards import source_of
from stores.errors import StoreError
from stores.layouts import RegionLayouts
from stores.manifest import read_manifest
from stores.sentence_reading import SentenceStore, open_sentences

MISSING = (NO_REGIONS, ANOTHERS_NUMBER, OTHER_SIZE)
"""Why sentences are left out for want of regions."""


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


def oov_words(aligned: AlignedSentence) -> Iterator[str]:
    """Yield the sentence's pointed words without a vector, in lower case."""
    words, sentence = aligned.words, aligned.sentence
    for row in np.flatnonzero(words.oov):
        text = sentence.answers[0].text if words.in_answer[row] else sentence.text
        yield text[words.starts[row] : words.ends[row]].lower()


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
