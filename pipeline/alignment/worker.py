"""One worker of alignment: turns the records of a data set into one shard of aligned sentences."""

import gc
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from annotations.alignment.criteria import fit_to_regions, measure_criteria
from annotations.alignment.sentences import AlignedSentences, ImageRegions, PointedWords
from annotations.alignment.similarity_table import SimilarityTable
from annotations.alignment.targets import combine
from annotations.boxes import has_other_proportions
from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops
from annotations.merging import merge_descriptions
from annotations.records import Sentence, SentenceImage
from pipeline.alignment.drop_reasons import (
    ANOTHERS_NUMBER,
    BAD_ID,
    NO_FILE,
    NO_REGIONS,
    OTHER_PROPORTIONS,
    OTHER_SIZE,
    REPEATED,
)
from pipeline.alignment.shard_task import AlignProgress, AlignReport, AlignSettings, AlignTask, BakeOptions
from pipeline.inputs.identity import identity_of_store
from pipeline.inputs.loaded import require_same_inputs
from stores.catalog import STORES
from stores.formats.sentence_columns import BATCH_SENTENCES, is_row_id
from stores.images.layouts import PictureLayouts
from stores.layouts import RegionLayouts
from stores.manifest import DropCount, describe_shard
from stores.numbering import RESIZED, Joined, join, joined_by, numbers_of

MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a record of a shape that its reader did not foresee raises."""


class AlignWorker:
    """Makes sentence shards, one at a time; a second call waits, with its records already here."""

    def __init__(self, settings: AlignSettings) -> None:
        self._settings = settings
        images = settings.images
        self._layouts = RegionLayouts(images) if isinstance(images, Path) else PictureLayouts(images)
        if isinstance(self._layouts, RegionLayouts):
            require_same_inputs(settings.inputs, {"regions": identity_of_store(self._layouts.manifest)})
        self._table = SimilarityTable(
            settings.vectors,
            classes=settings.classes,
            attributes=settings.attributes,
            aliases=settings.aliases,
            absent_names=settings.absent_names,
        )
        self._turn = threading.Lock()
        self._done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def ready(self) -> None:
        """Return once the region store is open, or the files are known."""

    def progress(self) -> AlignProgress:
        """Return what was finished since the last call."""
        return AlignProgress(num_sentences=sum(self._done.get() for _ in range(self._done.qsize())))

    def make_shard(self, task: AlignTask) -> AlignReport:
        """Write the shard's file whole, or not at all; what was dropped is in the report's manifest entry."""
        with self._turn, _without_garbage_collection():
            return self._make_shard(task)

    def try_part(self, part: AlignTask) -> None:
        """Make the sentences of one record, and write none."""
        with self._turn:
            sentences, regions, _ = self._fitted(part, Drops())
            for _ in self._aligned(sentences, regions, Counter[str]()):
                pass

    def _make_shard(self, task: AlignTask) -> AlignReport:
        started = time.perf_counter()
        drops = Drops(strict=self._settings.strict)
        for lost in task.fatal if self._settings.strict else ():
            raise DataError(f"{lost.first}: {lost.reason}; expected records that can be used, or no --strict")
        counts = Counter[str](sentences=0, pointers=0, boxed_pointers=0, pointed_words=0)
        sentences, regions, rules = self._fitted(task, drops)
        path = self._settings.out / f"{task.name}{STORES[self._settings.store].suffix}"
        rows = STORES[self._settings.store].write_sentences(
            path, self._aligned(sentences, regions, counts), configuration=self._settings.configuration
        )
        entry = replace(
            describe_shard(path, rows),
            drops=_together(task.drops, task.fatal, drop_counts(drops)),
            counts={
                **counts,
                **_distinct(sentences),
                **{name: count for name, count in sorted(rules.items()) if count},
                **self._unnamed(regions.values()),
            },
        )
        self._done.put(rows)
        return AlignReport(entry=entry, seconds=time.perf_counter() - started)

    def _unnamed(self, regions: Iterable[ImageRegions]) -> dict[str, int]:
        return self._table.names.count(regions) if isinstance(self._layouts, RegionLayouts) else {}

    def _aligned(
        self, sentences: Sequence[Sentence], regions: Mapping[str, ImageRegions], counts: Counter[str]
    ) -> Iterator[AlignedSentences]:
        """Yield the sentences with their criteria, in batches whose arrays stay in the processor's cache."""
        settings = self._settings
        for first in range(0, len(sentences), BATCH_SENTENCES):
            batch = measure_criteria(
                sentences[first : first + BATCH_SENTENCES],
                regions,
                self._table,
                unit=settings.unit,
                function_words=settings.function_words,
                class_weight=settings.class_weight,
            )
            counts.update(_counts(batch))
            yield batch if settings.bake is None else replace(batch, words=_baked(batch, settings.bake))

    def _fitted(self, task: AlignTask, drops: Drops) -> tuple[list[Sentence], dict[str, ImageRegions], Counter[str]]:
        """Return the sentences of all records whose images are there, ascending by id, the images' regions, and by
        which rule sentences found their images."""
        fitted: dict[str, Sentence] = {}
        regions: dict[str, ImageRegions] = {}
        rules = Counter[str]()
        images: tuple[SentenceImage, ...] | None = None
        found: list[Joined] = []
        obstacle: tuple[str, str] | None = None
        for sentence in self._sentences(task, drops):
            if sentence.images is not images:  # sentences of one image often share the very tuple
                images = sentence.images
                found, obstacle = self._find_regions(sentence)
            split = self._settings.splits.split_of(sentence)
            if split is None:
                drops.add("sentence: its image is evaluated elsewhere", _where(sentence))
            elif obstacle is not None:
                drops.add(obstacle[0], f"{_where(sentence)}: {obstacle[1]}")
            elif sentence.sentence_id in fitted:
                drops.add(REPEATED, _where(sentence))
            elif not is_row_id(sentence.sentence_id):
                drops.add(BAD_ID, _where(sentence))
            else:
                layouts = [each.layout for each in found]
                regions |= {layout.image_id: layout for layout in layouts}
                rules.update(joined_by(each.rule) for each in found)
                rules[RESIZED] += sum(map(_is_resized, sentence.images, found))
                in_split = sentence if split == sentence.split else replace(sentence, split=split)
                fitted[sentence.sentence_id] = fit_to_regions(in_split, layouts)
        return [fitted[sentence_id] for sentence_id in sorted(fitted)], regions, rules

    def _find_regions(self, sentence: Sentence) -> tuple[list[Joined], tuple[str, str] | None]:
        """Return the regions of the sentence's images, or the reason why they cannot be used and what was found."""
        joined = [join(image, self._layouts, self._settings.numbering) for image in sentence.images]
        found = [each for each in joined if each is not None]
        if len(found) < len(sentence.images):
            missing = [image for image, each in zip(sentence.images, joined, strict=True) if each is None]
            return found, (self._why_missing(missing), f"images {', '.join(sentence.image_ids)}")
        annotated = ", ".join(f"{image.width} x {image.height}" for image in sentence.images)
        there = ", ".join(f"{each.layout.width} x {each.layout.height}" for each in found)
        if any(
            each.rule == "size" and _is_resized(image, each) for image, each in zip(sentence.images, found, strict=True)
        ):
            return found, (OTHER_SIZE, f"annotated at {annotated}, found at {there}")
        if any(
            has_other_proportions((image.width, image.height), (each.layout.width, each.layout.height))
            for image, each in zip(sentence.images, found, strict=True)
        ):
            return found, (OTHER_PROPORTIONS, f"annotated at {annotated}, found at {there}")
        return found, None

    def _why_missing(self, missing: Sequence[SentenceImage]) -> str:
        shared = self._settings.numbering.shared
        numbers = (number for image in missing for number, ids in numbers_of(image) if ids not in shared)
        if any(number in self._layouts for number in numbers):
            return ANOTHERS_NUMBER
        return NO_REGIONS if isinstance(self._layouts, RegionLayouts) else NO_FILE

    def _sentences(self, task: AlignTask, drops: Drops) -> Iterator[Sentence]:
        data_set, merging = DATA_SETS[task.data_set], self._settings.merging
        for number, record in enumerate(task.records):
            try:
                sentences = list(data_set.to_sentences(record, drops=drops))
                if repeated := task.repeated.get(number):
                    sentences = list(_first_ones(sentences, repeated, drops))
                if data_set.has_descriptions:
                    sentences = merge_descriptions(sentences, seed=merging.seed, shares=merging.shares, drops=drops)
            except DataError:
                raise  # a strict run ends here
            except MALFORMED as error:
                # No reader foresaw it; one record of millions must not end the run, nor be lost without a word.
                drops.add(f"record: {type(error).__name__} where its sentences are made", f"{task.data_set}: {error}")
                continue
            yield from sentences


def _first_ones(sentences: Sequence[Sentence], repeated: frozenset[str], drops: Drops) -> Iterator[Sentence]:
    for sentence in sentences:
        if sentence.sentence_id in repeated:
            drops.add(REPEATED, _where(sentence))
        else:
            yield sentence


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Records are many and refer to one another in no circle: looking for circles is a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def drop_counts(drops: Drops) -> tuple[DropCount, ...]:
    """Return what was counted, by reason, as a manifest keeps it."""
    return tuple(
        DropCount(reason=reason, count=count, first=drops.first[reason])
        for reason, count in sorted(drops.counts.items())
    )


def _together(*groups: Sequence[DropCount]) -> tuple[DropCount, ...]:
    by_reason: dict[str, DropCount] = {}
    for drop in (drop for group in groups for drop in group):
        earlier = by_reason.get(drop.reason)
        by_reason[drop.reason] = replace(earlier, count=earlier.count + drop.count) if earlier else drop
    return tuple(by_reason[reason] for reason in sorted(by_reason))


def _baked(aligned: AlignedSentences, bake: BakeOptions) -> PointedWords:
    words = aligned.words
    sentence_of = np.repeat(np.arange(len(aligned)), np.diff(aligned.word_offsets))
    num_boxes = [
        aligned.num_boxes[sentence][image]
        for sentence, image in zip(sentence_of.tolist(), words.images.tolist(), strict=True)
    ]
    made = combine(
        words.position,
        words.semantic,
        combination=bake.combination,
        top_k=bake.top_k,
        require_iou=bake.require_iou,
        is_region=np.arange(words.position.shape[1]) < np.array(num_boxes, np.int64)[:, None],
    )
    return replace(words, targets=made.targets.astype(np.float16), supervised=made.supervised)


def _counts(batch: AlignedSentences) -> dict[str, int]:
    pointers = [pointer for each in batch.sentences for pointer in (*each.pointers, *each.answer_pointers)]
    return {
        "sentences": len(batch),
        "pointers": len(pointers),
        "boxed_pointers": len([True for pointer in pointers if pointer.boxes_xyxy]),
        "pointed_words": len(batch.words),
    }


def _distinct(sentences: Sequence[Sentence]) -> dict[str, int]:
    """Return how many images and objects the sentences are about; of an object several may speak."""
    objects = {
        (sentence.images[pointer.image].image_id, pointer.object_id)
        for sentence in sentences
        for pointer in (*sentence.pointers, *sentence.answer_pointers)
    }
    return {
        "images": len({image.image_id for sentence in sentences for image in sentence.images}),
        "objects": len(objects),
    }


def _is_resized(image: SentenceImage, found: Joined) -> bool:
    """Return whether the image has another size than where it was annotated, as far as that is known."""
    return bool(image.width) and (image.width, image.height) != (found.layout.width, found.layout.height)


def _where(sentence: Sentence) -> str:
    return f"{sentence.source}, sentence {sentence.sentence_id!r}"
