"""What alignment takes of a region store, and what it gives: sentences with the criteria of their pointed words.

Axes: S sentences, W pointed words, F pointers that have boxes, R regions of an image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.records import Box, Sentence, SentenceError


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class ImageRegions:
    """The regions of one image, without their features."""

    image_id: str
    width: int
    """Pixels of the image that the regions are of."""
    height: int
    boxes_xyxy: NDArray[np.float32]
    """float32 [R, 4]; pixels."""
    class_ids: NDArray[np.int32]
    """int32 [R]; -1 where there is none."""
    attribute_ids: NDArray[np.int32]
    """int32 [R]; -1 where there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PointedWords:
    """Words that point at boxes, of one sentence or of many; a word with boxes in two images is there twice."""

    starts: NDArray[np.int32]
    """int32 [W]; first character in the text, or in that of the first answer."""
    ends: NDArray[np.int32]
    """int32 [W]; one past the last character."""
    images: NDArray[np.int32]
    """int32 [W]; which of the sentence's images its boxes are in."""
    in_answer: NDArray[np.bool_]
    """bool [W]; True for words of the first answer."""
    oov: NDArray[np.bool_]
    """bool [W]; True where the word vectors know none of it, so that its semantic criterion is 0."""
    position: NDArray[np.float16]
    """float16 [W, R]; the largest IoU of a region with the word's gold boxes."""
    semantic: NDArray[np.float16]
    """float16 [W, R]; similarity with the region's names, 3/4 class and 1/4 attribute; -1 to 1."""
    targets: NDArray[np.float16] | None = None
    """float16 [W, R]; one combination of the two, where alignment was asked to bake it."""
    supervised: NDArray[np.bool_] | None = None
    """bool [W]; which of the baked targets may enter a loss."""

    def __post_init__(self) -> None:
        num_words, num_regions = self.position.shape
        for name, dtype, shape in (
            ("starts", np.int32, (num_words,)),
            ("ends", np.int32, (num_words,)),
            ("images", np.int32, (num_words,)),
            ("in_answer", np.bool_, (num_words,)),
            ("oov", np.bool_, (num_words,)),
            ("position", np.float16, (num_words, num_regions)),
            ("semantic", np.float16, (num_words, num_regions)),
            ("targets", np.float16, (num_words, num_regions)),
            ("supervised", np.bool_, (num_words,)),
        ):
            array: NDArray[Any] | None = getattr(self, name)
            if array is None and name in ("targets", "supervised"):
                continue
            if array is None or array.dtype != dtype or array.shape != shape:
                raise SentenceError(
                    f"pointed words: {name} is {_shown(array)}, expected {np.dtype(dtype).name} {list(shape)}"
                )

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedSentence:
    """One sentence, its boxes in pixels of the images that the regions are of, and its pointed words."""

    sentence: Sentence
    num_boxes: tuple[int, ...]
    """Regions of each image; R is the largest, and columns beyond a word's own image's regions are 0."""
    words: PointedWords
    pointer_position: NDArray[np.float16] | None = None
    """float16 [F, R]; the largest IoU of a region with the boxes of each pointer that has some, the text's pointers
    before the answer's, rounded down; None: read from a store that does not hold it."""

    def gold_boxes(self, word: int) -> tuple[Box, ...]:
        """Return the boxes that one of the pointed words means, in its image."""
        words = self.words
        pointers = self.sentence.answer_pointers if words.in_answer[word] else self.sentence.pointers
        return tuple(
            box
            for pointer in pointers
            if pointer.image == words.images[word]
            and pointer.start < words.ends[word]
            and words.starts[word] < pointer.end
            for box in pointer.boxes_xyxy
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AlignedSentences:
    """Many sentences and all their words, as alignment makes them and a shard takes them."""

    sentences: Sequence[Sentence]
    num_boxes: Sequence[tuple[int, ...]]
    """[S]; regions of each image."""
    words: PointedWords
    """Words of all sentences, one after another; R is the largest of all."""
    word_offsets: NDArray[np.int64]
    """int64 [S + 1]; sentence s has the words word_offsets[s] to word_offsets[s + 1]."""
    pointer_position: NDArray[np.float16] | None = None
    """float16 [F, R]; the rows of all sentences' pointers that have boxes, one after another; see `AlignedSentence`."""

    def __post_init__(self) -> None:
        rows, expected = self.pointer_position, (self.pointer_offsets[-1], self.words.position.shape[1])
        if rows is not None and (rows.dtype, rows.shape) != (np.float16, expected):
            raise SentenceError(f"pointer_position is {_shown(rows)}, expected float16 {list(expected)}")

    @cached_property
    def pointer_offsets(self) -> list[int]:
        """[S + 1]; sentence s has the rows pointer_offsets[s] to pointer_offsets[s + 1] of `pointer_position`."""
        return list(accumulate(map(num_boxed_pointers, self.sentences), initial=0))

    def __len__(self) -> int:
        return len(self.sentences)

    def __iter__(self) -> Iterator[AlignedSentence]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> AlignedSentence:
        rows = slice(self.word_offsets[number], self.word_offsets[number + 1])
        regions = slice(max(self.num_boxes[number], default=0))
        return AlignedSentence(
            sentence=self.sentences[number],
            num_boxes=self.num_boxes[number],
            words=PointedWords(
                starts=self.words.starts[rows],
                ends=self.words.ends[rows],
                images=self.words.images[rows],
                in_answer=self.words.in_answer[rows],
                oov=self.words.oov[rows],
                position=self.words.position[rows, regions],
                semantic=self.words.semantic[rows, regions],
                targets=None if self.words.targets is None else self.words.targets[rows, regions],
                supervised=None if self.words.supervised is None else self.words.supervised[rows],
            ),
            pointer_position=None
            if self.pointer_position is None
            else self.pointer_position[self.pointer_offsets[number] : self.pointer_offsets[number + 1], regions],
        )


def num_boxed_pointers(sentence: Sentence) -> int:
    """Return how many pointers of the text and of the answer have boxes."""
    pointers = (*sentence.pointers, *sentence.answer_pointers)
    return len([True for pointer in pointers if pointer.boxes_xyxy])


def _shown(array: NDArray[Any] | None) -> str:
    return "None" if array is None else f"{array.dtype} {list(array.shape)}"
