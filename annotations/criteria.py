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
from annotations.words import word_spans

SemanticUnit = Literal["word", "span"]
"""What is compared with a region's names: the word alone, or the whole phrase that points."""


def fit_to_regions(sentence: Sentence, regions: Sequence[ImageRegions]) -> Sentence:
    """Return the sentence with ids, sizes and gold boxes of the images that the regions are of.

    Args:
        regions: those of each of its images, in order.
    """
    fitting = all(
        image.image_id == there.image_id and image.width == there.width and image.height == there.height
        for image, there in zip(sentence.images, regions, strict=True)
    )
    if fitting:
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
    found = _find_words(sentences, {image_id: row for row, image_id in enumerate(images)}, unit)
    of_pointers = _highest_of_each(_iou_of_gold(found, boxes), found.pointer_firsts)
    position = _highest_of_each(of_pointers[np.array(found.pairs, np.int64)], found.word_firsts)
    semantic, oov = table.semantic(
        found.phrases, np.array(found.image_rows, np.int64), class_ids, attribute_ids, class_weight=class_weight
    )
    return AlignedSentences(
        sentences=sentences,
        num_boxes=[tuple(num_boxes[image.image_id] for image in sentence.images) for sentence in sentences],
        words=PointedWords(
            starts=np.array(found.starts, np.int32),
            ends=np.array(found.ends, np.int32),
            images=np.array(found.images, np.int32),
            in_answer=np.array(found.in_answer, np.bool_),
            oov=oov,
            position=position.astype(np.float16),
            semantic=semantic.astype(np.float16),
        ),
        word_offsets=np.array(found.offsets, np.int64),
    )


class _FoundWords:
    """What the texts say, as columns: words in their order, and the pointers and gold boxes behind them."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.images: list[int] = []
        self.in_answer: list[bool] = []
        self.phrases: list[str] = []
        self.image_rows: list[int] = []
        """[W]; row among the stacked images."""
        self.offsets: list[int] = [0]
        """[S + 1]; words before each sentence."""
        self.pairs: list[int] = []
        """Pointers of the first word, then those of the second ..."""
        self.word_firsts: list[int] = []
        """[W]; where a word's pairs begin."""
        self.gold_boxes: list[Box] = []
        self.gold_rows: list[int] = []
        """[G]; row among the stacked images."""
        self.pointer_firsts: list[int] = []
        """[P]; where a pointer's gold boxes begin."""


def _find_words(sentences: Sequence[Sentence], image_rows: Mapping[str, int], unit: SemanticUnit) -> _FoundWords:
    found = _FoundWords()
    for sentence in sentences:
        rows = [image_rows[image.image_id] for image in sentence.images]
        if sentence.pointers:
            _add_words(found, sentence.text, sentence.pointers, rows, unit, in_answer=False)
        if sentence.answer_pointers:
            _add_words(found, sentence.answers[0].text, sentence.answer_pointers, rows, unit, in_answer=True)
        found.offsets.append(len(found.starts))
    return found


def _add_words(
    found: _FoundWords,
    text: str,
    pointers: Sequence[Pointer],
    rows: Sequence[int],
    unit: SemanticUnit,
    *,
    in_answer: bool,
) -> None:
    words: list[tuple[int, int, int, int, str]] = []  # start, end, image, pointer and what is compared with names
    for pointer in pointers:
        boxes, start, image = pointer.boxes_xyxy, pointer.start, pointer.image
        if not boxes:
            continue
        phrase = text[start : pointer.end]
        lower = phrase.lower()
        number = len(found.pointer_firsts)
        found.pointer_firsts.append(len(found.gold_boxes))
        found.gold_boxes += boxes
        found.gold_rows += [rows[image]] * len(boxes)
        for first, last in word_spans(phrase):
            compared = lower if unit == "span" else phrase[first:last].lower()
            words.append((start + first, start + last, image, number, compared))
    words.sort()  # nearly free where the source lists its pointers in the order of the text
    last_word = None
    for first, last, image, number, compared in words:
        if (first, last, image) != last_word:  # else one word in nested phrases: its row has the boxes of all of them
            last_word = (first, last, image)
            found.starts.append(first)
            found.ends.append(last)
            found.images.append(image)
            found.in_answer.append(in_answer)
            found.phrases.append(compared)
            found.image_rows.append(rows[image])
            found.word_firsts.append(len(found.pairs))
        found.pairs.append(number)


def _iou_of_gold(found: _FoundWords, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return float32 [G, R]."""
    gold = np.array(found.gold_boxes, np.float32).reshape(-1, 1, 4)
    return iou(gold, boxes[np.array(found.gold_rows, np.int64)])


def _highest_of_each(values: NDArray[np.float32], firsts: Sequence[int]) -> NDArray[np.float32]:
    """Return the largest of each run of rows; the runs begin at `firsts` and none is empty."""
    if len(firsts) == len(values):
        return values
    return np.maximum.reduceat(values, firsts, axis=0)


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
