"""What annotation readers give: images with their annotated objects, and sentences whose words point at boxes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from annotations.image_ids import Ids

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the annotated image; width is x2 - x1."""

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedObject:
    """One object that annotators outlined."""

    object_id: str
    """The source's id, as it writes it."""
    box_xyxy: Box
    names: tuple[str, ...]
    """Lower-case names, the source's first choice first; never empty."""
    attributes: tuple[str, ...] = ()
    """Lower-case attributes; often empty."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AnnotatedImage:
    """One image's objects; the pixels are elsewhere."""

    image_id: str
    image_width: int
    image_height: int
    objects: tuple[AnnotatedObject, ...]

    def boxes_xyxy(self) -> NDArray[np.float32]:
        """Return float32 [num_objects, 4] in the order of `objects`; pixels."""
        return np.array([each.box_xyxy for each in self.objects], np.float32).reshape(-1, 4)


class SentenceError(ValueError):
    """A sentence was built from parts that do not fit together; the message names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SentenceImage:
    """An image that a sentence is about, as its source knows it."""

    image_id: str
    """As the source writes it; where the source has only a number, as its image files are named."""
    width: int = 0
    """Pixels of the copy that was annotated; 0 where the source does not say."""
    height: int = 0
    coco_id: str = ""
    """COCO's number of the same photograph, `458752`; empty where there is none, or where nothing says that it is."""
    ids: Ids = "own"
    """Who gave the image its id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointer:
    """Words of a text and the gold boxes that they refer to."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    boxes_xyxy: tuple[Box, ...]
    """Several are legal (`two men`); none where the words name something that has no box (a scene)."""
    object_id: str = ""
    """The source's id of what is meant; pointers of one image with one id mean the same."""
    category: str = ""
    """The source's kind of phrase, such as `people`."""
    image: int = 0
    """Which of the sentence's images the boxes are in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One accepted answer, or the label of a statement."""

    text: str
    weight: float = 1.0
    """Soft score from 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sentence:
    """A caption, question, statement or description with what its words point at."""

    sentence_id: str
    """Unique within its source; 1 to 511 UTF-8 bytes."""
    images: tuple[SentenceImage, ...]
    """One, or two for NLVR2 and Winoground."""
    text: str
    """As the source writes it, without space around it."""
    source: str
    """The data set's name in `annotations.datasets.catalog`."""
    split: Split
    pointers: tuple[Pointer, ...] = ()
    """Into `text`, as the source orders them; they may nest and overlap."""
    answers: tuple[Answer, ...] = ()
    """Best first."""
    answer_pointers: tuple[Pointer, ...] = ()
    """Into the text of the first answer."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the task's official metric needs besides: JSON values by name."""

    def __post_init__(self) -> None:
        self._check(self.text, self.pointers)
        if self.answer_pointers:
            self._check(self.answers[0].text if self.answers else "", self.answer_pointers)

    @property
    def image_ids(self) -> tuple[str, ...]:
        return tuple(image.image_id for image in self.images)

    def _check(self, text: str, pointers: tuple[Pointer, ...]) -> None:
        for pointer in pointers:
            if not (0 <= pointer.start < pointer.end <= len(text) and 0 <= pointer.image < len(self.images)):
                raise SentenceError(
                    f"sentence {self.sentence_id!r}: pointer to characters {pointer.start}:{pointer.end}, image "
                    f"{pointer.image}; expected a span of {text!r} and one of {len(self.images)} images"
                )
