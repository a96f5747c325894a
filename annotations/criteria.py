"""Measures the two criteria of alignment for many sentences at once.

Axes: W pointed words, P pointers, G gold boxes, I images, R regions of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotations.aligned import AlignedSentences, ImageRegions, PointedWords
from annotations.alignment import CLASS_WEIGHT
from annotations.boxes import iou, scale_box
from annotations.records import Box, Pointer, Sentence, SentenceImage
from annotations.similarity_table import SimilarityTable
from annotations.words import Words, find_words

SemanticUnit = Literal["word", "span"]
"""What is compared with a region's names: the word alone, or the whole phrase that points."""


def fit_to_regions(sentence: Sentence, regions: Sequence[ImageRegions]) -> Sentence:
    """Return the sentence with ids, sizes and gold boxes of the images that the regions are of.

    Args:
        regions: those of each of its images, in order.
    """
    for image, there in zip(sentence.images, regions, strict=True):
        if (image.image_id, image.width, image.height) != (there.image_id, there.width, there.height):
            break
    else:
        return sentence
    return replace(
        sentence,
        images=tuple(
            replace(image, image_id=there.image_id, width=there.width, height=there.height)
            for image, there in zip(sentence.images, regions, strict=True)
        ),
        pointers=tuple(_rescaled(pointer, sentence.images, regions) for pointer in sentence.pointers),
        answer_pointers=tuple(_rescaled(pointer, sentence.images, regions) for pointer in sentence.answer_pointers),
    )


def measure_criteria(
    sentences: Sequence[Sentence],
    regions: Mapping[str, ImageRegions],
    table: SimilarityTable,
    *,
    unit: SemanticUnit = "word",
    class_weight: float = CLASS_WEIGHT,
) -> AlignedSentences:
    """Return the sentences with both criteria of every word that points at a box.

    A word with several boxes has the largest IoU of them. A pointer without boxes makes no word a pointed one.

    Args:
        sentences: with the ids and sizes of `regions`' images, see `fit_to_regions`.
        regions: by image id.
    """
    images = list(dict.fromkeys(image.image_id for sentence in sentences for image in sentence.images))
    boxes, class_ids, attribute_ids, num_boxes = _stacked([regions[image_id] for image_id in images])
    found = _find_phrases(sentences, {image_id: row for row, image_id in enumerate(images)}, unit)
    phrase_of = np.repeat(np.arange(len(found.starts)), found.num_words)  # [W]
    image_rows = np.array(found.image_rows, np.int64)
    position = _highest_of_each(_iou_of_gold(found, image_rows, boxes), found.num_boxes)[phrase_of]
    semantic, oov = table.semantic(
        found.compared, image_rows[phrase_of], class_ids, attribute_ids, class_weight=class_weight
    )
    starts = np.array(found.starts, np.int32)[phrase_of]
    return AlignedSentences(
        sentences=sentences,
        num_boxes=[tuple(num_boxes[image.image_id] for image in sentence.images) for sentence in sentences],
        words=PointedWords(
            starts=starts + np.array(found.word_starts, np.int32),
            ends=starts + np.array(found.word_ends, np.int32),
            images=np.array(found.images, np.int32)[phrase_of],
            in_answer=np.array(found.in_answer, np.bool_)[phrase_of],
            oov=oov,
            position=position.astype(np.float16),
            semantic=semantic.astype(np.float16),
        ),
        word_offsets=np.array(found.offsets, np.int64),
    )


class _Phrases:
    """What the texts point with, as columns: phrases in the order of their words, and the words and boxes of each."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.images: list[int] = []
        self.image_rows: list[int] = []
        """[P]; row among the stacked images."""
        self.in_answer: list[bool] = []
        self.num_words: list[int] = []
        self.num_boxes: list[int] = []
        """[P]; never 0."""
        self.word_starts: list[int] = []
        """[W]; from the phrase's start."""
        self.word_ends: list[int] = []
        self.compared: list[str] = []
        """[W]; what is compared with the names of regions."""
        self.gold_boxes: list[Box] = []
        self.offsets: list[int] = [0]
        """[S + 1]; words before each sentence."""

    def add(
        self,
        words: Words,
        compared: Sequence[str],
        start: int,
        boxes: Sequence[Box],
        image: int,
        row: int,
        in_answer: bool,
    ) -> None:
        self.starts.append(start)
        self.images.append(image)
        self.image_rows.append(row)
        self.in_answer.append(in_answer)
        self.num_words.append(len(compared))
        self.num_boxes.append(len(boxes))
        self.word_starts += words.starts
        self.word_ends += words.ends
        self.compared += compared
        self.gold_boxes += boxes


def _find_phrases(sentences: Sequence[Sentence], image_rows: Mapping[str, int], unit: SemanticUnit) -> _Phrases:
    found = _Phrases()
    for sentence in sentences:
        rows = [image_rows[image.image_id] for image in sentence.images]
        if sentence.pointers:
            _add_phrases(found, sentence.text, sentence.pointers, rows, unit, in_answer=False)
        if sentence.answer_pointers:
            _add_phrases(found, sentence.answers[0].text, sentence.answer_pointers, rows, unit, in_answer=True)
        found.offsets.append(len(found.compared))
    return found


def _add_phrases(
    found: _Phrases, text: str, pointers: Sequence[Pointer], rows: Sequence[int], unit: SemanticUnit, *, in_answer: bool
) -> None:
    boxed = [pointer for pointer in pointers if pointer.boxes_xyxy]
    last_end = 0
    for pointer in boxed:
        if pointer.start < last_end:
            _add_words(found, text, boxed, rows, unit, in_answer=in_answer)
            return
        last_end = pointer.end
    for pointer in boxed:
        start, image = pointer.start, pointer.image
        phrase = text[start : pointer.end]
        words = find_words(phrase)
        compared = words.lower if unit == "word" else [phrase.lower()] * len(words.lower)
        found.add(words, compared, start, pointer.boxes_xyxy, image, rows[image], in_answer)


def _add_words(
    found: _Phrases, text: str, pointers: Sequence[Pointer], rows: Sequence[int], unit: SemanticUnit, *, in_answer: bool
) -> None:
    """Add every word of nested or unordered phrases by itself, with the boxes of all phrases that it stands in."""
    pointers_of: dict[tuple[int, int, int], list[Pointer]] = {}
    for pointer in pointers:
        words = find_words(text[pointer.start : pointer.end])
        for first, last in zip(words.starts, words.ends, strict=True):
            word = (pointer.start + first, pointer.start + last, pointer.image)
            pointers_of.setdefault(word, []).append(pointer)
    for (start, end, image), around in sorted(pointers_of.items(), key=lambda item: item[0]):
        narrowest = min(around, key=lambda pointer: pointer.end - pointer.start)
        compared = text[start:end] if unit == "word" else text[narrowest.start : narrowest.end]
        found.add(
            Words(starts=(0,), ends=(end - start,), lower=(text[start:end].lower(),)),
            [compared.lower()],
            start,
            [box for pointer in around for box in pointer.boxes_xyxy],
            image,
            rows[image],
            in_answer,
        )


def _iou_of_gold(found: _Phrases, image_rows: NDArray[np.int64], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [G, R]."""
    gold = np.array(found.gold_boxes, np.float32).reshape(-1, 1, 4)
    return iou(gold, boxes[np.repeat(image_rows, found.num_boxes)])


def _highest_of_each(values: NDArray[np.float32], lengths: Sequence[int]) -> NDArray[np.float32]:
    """Return the largest of each run of rows; no run is empty."""
    if len(lengths) == len(values):
        return values
    return np.maximum.reduceat(values, np.cumsum([0, *lengths[:-1]]), axis=0)


def _stacked(
    regions: Sequence[ImageRegions],
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], dict[str, int]]:
    """Return float32 [I, R, 4], int32 [I, R] twice, padded with empty boxes and -1, and the regions of each image."""
    num_boxes = {each.image_id: len(each.boxes_xyxy) for each in regions}
    most = max(num_boxes.values(), default=0)
    boxes = np.zeros((len(regions), most, 4), np.float32)
    class_ids = np.full((len(regions), most), -1, np.int32)
    attribute_ids = np.full((len(regions), most), -1, np.int32)
    for row, each in enumerate(regions):
        there = slice(len(each.boxes_xyxy))
        boxes[row, there] = each.boxes_xyxy
        class_ids[row, there] = each.class_ids
        attribute_ids[row, there] = each.attribute_ids
    return boxes, class_ids, attribute_ids, num_boxes


def _rescaled(pointer: Pointer, images: Sequence[SentenceImage], regions: Sequence[ImageRegions]) -> Pointer:
    image, there = images[pointer.image], regions[pointer.image]
    from_size, to_size = (image.width, image.height), (there.width, there.height)
    if from_size == to_size or not all(from_size):
        return pointer
    boxes = tuple(scale_box(box, from_size=from_size, to_size=to_size) for box in pointer.boxes_xyxy)
    return replace(pointer, boxes_xyxy=boxes)
