"""Measures the two criteria of alignment for many sentences at once.

Axes: W pointed words, P phrases, F pointers that have boxes, I images, R regions of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.function_words import FUNCTION_WORDS
from annotations.alignment.sentences import AlignedSentences, ImageRegions, PointedWords
from annotations.alignment.similarity_table import SimilarityTable
from annotations.alignment.targets import CLASS_WEIGHT
from annotations.alignment.words import Words, find_words
from annotations.boxes import iou, scale_box
from annotations.records import Box, Pointer, Sentence, SentenceImage

Real = TypeVar("Real", np.float32, np.bool_)

SemanticUnit = Literal["word", "span", "best"]
"""Text compared with a region's names: the word alone, the whole phrase that points, or whichever of the phrase's words
is most similar to the region."""

FunctionWords = Literal["compared", "left-out"]
"""Whether words such as `a` have a semantic row, as in the papers, or none."""


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
    function_words: FunctionWords = "compared",
    class_weight: float = CLASS_WEIGHT,
) -> AlignedSentences:
    """Return the sentences with both criteria of every word that points at a box.

    A word with several boxes has the largest IoU of them, a pointer that of its own boxes, even where it has no word
    or shares its words. A pointer without boxes makes no word a pointed one. Function words that are left out are
    compared with nothing, as if they had no vector, and are no part of what their phrase is compared by.

    Args:
        sentences: with the ids and sizes of `regions`' images, see `fit_to_regions`.
        regions: by image id.
    """
    images = list(dict.fromkeys(image.image_id for sentence in sentences for image in sentence.images))
    boxes, class_ids, attribute_ids, num_boxes = _stacked([regions[image_id] for image_id in images])
    compare = _Compared(unit, function_words)
    rows_of_images = {image_id: row for row, image_id in enumerate(images)}
    pointer_position = _best_iou(*_boxed_pointers(sentences, rows_of_images), boxes)
    phrases, phrase_offsets = _find_phrases(sentences, rows_of_images, compare)
    num_words = np.array([len(phrase.words.starts) for phrase in phrases], np.int64)
    phrase_of = np.repeat(np.arange(len(phrases)), num_words)  # [W]
    image_rows = np.array([phrase.image_row for phrase in phrases], np.int64)
    starts = np.array([phrase.start for phrase in phrases], np.int32)[phrase_of]
    pointers = _joined([phrase.pointers for phrase in phrases], np.int64)
    position = _highest_of_each(pointer_position[pointers], [len(phrase.pointers) for phrase in phrases])[phrase_of]
    num_compared = [len(phrase.compared) for phrase in phrases]
    semantic, oov = table.semantic(
        list(chain.from_iterable([phrase.compared for phrase in phrases])),
        image_rows.repeat(num_compared),
        class_ids,
        attribute_ids,
        class_weight=class_weight,
    )
    if unit == "best":
        semantic = _highest_of_each(np.where(oov[:, None], -np.inf, semantic), num_compared)[phrase_of]
        oov = ~_highest_of_each(~oov, num_compared)[phrase_of]
        semantic[oov] = 0
    return AlignedSentences(
        sentences=sentences,
        num_boxes=[tuple([num_boxes[image.image_id] for image in sentence.images]) for sentence in sentences],
        words=PointedWords(
            starts=starts + _joined([phrase.words.starts for phrase in phrases], np.int32),
            ends=starts + _joined([phrase.words.ends for phrase in phrases], np.int32),
            images=np.array([phrase.image for phrase in phrases], np.int32)[phrase_of],
            in_answer=np.array([phrase.in_answer for phrase in phrases], np.bool_)[phrase_of],
            oov=oov,
            position=position.astype(np.float16),
            semantic=semantic.astype(np.float16),
        ),
        word_offsets=np.cumsum(np.concatenate([[0], num_words]))[phrase_offsets],
        pointer_position=_rounded_down(pointer_position),
    )


class _Compared(NamedTuple):
    """What of a phrase is compared with the names of regions."""

    unit: SemanticUnit
    function_words: FunctionWords

    def __call__(self, words: Words, phrase: str) -> Sequence[str]:
        """Return it for each of the words, which stand in the phrase; of the unit `best`, for all of them together."""
        if self.unit == "word":
            return words.lower if self.function_words == "compared" else tuple(map(_content, words.lower))
        if self.unit == "best":
            lower = find_words(phrase).lower
            return lower if self.function_words == "compared" else tuple(filter(None, map(_content, lower))) or ("",)
        if self.function_words == "compared":
            return (phrase.lower(),) * len(words.lower)
        return (" ".join(filter(None, map(_content, find_words(phrase).lower))),) * len(words.lower)


def _content(word: str) -> str:
    """Return the word, or nothing, which has no vector, for a function word."""
    return "" if word in FUNCTION_WORDS else word


class _Phrase(NamedTuple):
    """Words that point at the same boxes."""

    start: int
    words: Words
    """From the phrase's start."""
    compared: Sequence[str]
    """Texts compared with names of regions: one for each word, or for the unit `best` all together; never empty."""
    pointers: Sequence[int]
    """Whose boxes they point at: numbers of pointers that have boxes, counted over all sentences; at least one."""
    image: int
    image_row: int
    """Among the stacked images."""
    in_answer: bool


def _boxed_pointers(
    sentences: Sequence[Sentence], image_rows: Mapping[str, int]
) -> tuple[list[Sequence[Box]], NDArray[np.int64]]:
    """Return the boxes of every pointer that has some, and the row of the image that they are in, int64 [F]."""
    boxes: list[Sequence[Box]] = []
    rows: list[int] = []
    for sentence in sentences:
        for pointer in (*sentence.pointers, *sentence.answer_pointers):
            if pointer.boxes_xyxy:
                boxes.append(pointer.boxes_xyxy)
                rows.append(image_rows[sentence.images[pointer.image].image_id])
    return boxes, np.array(rows, np.int64)


def _find_phrases(
    sentences: Sequence[Sentence], image_rows: Mapping[str, int], compare: "_Compared"
) -> tuple[list[_Phrase], list[int]]:
    """Return all phrases in the order of their words, and how many there are before each sentence, and in all."""
    phrases: list[_Phrase] = []
    offsets = [0]
    num_pointers = 0
    for sentence in sentences:
        rows = [image_rows[image.image_id] for image in sentence.images]
        for pointers, in_answer in ((sentence.pointers, False), (sentence.answer_pointers, True)):
            boxed = [pointer for pointer in pointers if pointer.boxes_xyxy]
            if boxed:
                text = sentence.answers[0].text if in_answer else sentence.text
                phrases += _phrases(text, boxed, num_pointers, rows, compare, in_answer=in_answer)
            num_pointers += len(boxed)
        offsets.append(len(phrases))
    return phrases, offsets


def _phrases(
    text: str, pointers: Sequence[Pointer], first: int, rows: Sequence[int], compare: "_Compared", *, in_answer: bool
) -> list[_Phrase]:
    """Return the phrases of pointers that have boxes, of which the first has this number."""
    phrases = []
    last_end = 0
    for number, pointer in enumerate(pointers, first):
        start, end, image = pointer.start, pointer.end, pointer.image
        if start < last_end:
            return _phrases_of_one_word(text, pointers, first, rows, compare, in_answer=in_answer)
        last_end = end
        phrase = text[start:end]
        words = find_words(phrase)
        if words.starts:
            compared = compare(words, phrase)
            phrases.append(_Phrase(start, words, compared, (number,), image, rows[image], in_answer))
    return phrases


def _phrases_of_one_word(
    text: str, pointers: Sequence[Pointer], first: int, rows: Sequence[int], compare: "_Compared", *, in_answer: bool
) -> list[_Phrase]:
    """Return every word of nested or unordered phrases by itself, with the boxes of all phrases that it stands in."""
    numbers_of: dict[tuple[int, int, int], list[int]] = {}
    for number, pointer in enumerate(pointers):
        words = find_words(text[pointer.start : pointer.end])
        for start, end in zip(words.starts, words.ends, strict=True):
            word = (pointer.start + start, pointer.start + end, pointer.image)
            numbers_of.setdefault(word, []).append(number)
    phrases = []
    for (start, end, image), around in sorted(numbers_of.items(), key=lambda item: item[0]):
        narrowest = min((pointers[number] for number in around), key=lambda pointer: pointer.end - pointer.start)
        itself = find_words(text[start:end])
        compared = compare(itself, text[narrowest.start : narrowest.end])
        numbers = [first + number for number in around]
        phrases.append(_Phrase(start, itself, compared, numbers, image, rows[image], in_answer))
    return phrases


def _best_iou(
    gold: Sequence[Sequence[Box]], image_rows: NDArray[np.int64], boxes: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return float32 [F, R]; for each pointer the largest IoU of a region with one of its gold boxes."""
    lengths = [len(each) for each in gold]
    gold_boxes = np.array(list(chain.from_iterable(gold)), np.float32).reshape(-1, 1, 4)
    return _highest_of_each(iou(gold_boxes, boxes[np.repeat(image_rows, lengths)]), lengths)


def _rounded_down(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return the largest float16 that is no larger: it reaches a half where the value does, as a metric asks."""
    nearest = values.astype(np.float16)
    return np.where(nearest > values, np.nextafter(nearest, np.float16(0)), nearest)


def _joined(groups: Sequence[Sequence[int]], dtype: type) -> NDArray[Any]:
    return np.fromiter(chain.from_iterable(groups), dtype)


def _highest_of_each(values: NDArray[Real], lengths: Sequence[int]) -> NDArray[Real]:
    """Return the largest of each run of rows; no run is empty."""
    if len(lengths) == len(values):
        return values
    found: NDArray[Real] = np.maximum.reduceat(values, np.cumsum([0, *lengths[:-1]]), axis=0)
    return found


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
