"""Small region and sentence stores that belong together, with numbers that the tests know.

Axes: W pointed words, R regions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.records import Answer, Box, Pointer, Sentence, SentenceImage
from detectors.records import RegionFeatures
from stores.catalog import STORES, StoreName
from stores.manifest import Manifest, describe_shard, fingerprint, write_manifest
from stores.store_content import content_sha256
from tests.stores.builders import make_store

CONFIGURATION: dict[str, Any] = {"detector": {"name": "faster-rcnn"}, "weights": "random:0"}


@dataclass(frozen=True, kw_only=True)
class Word:
    """A pointed word and its criteria."""

    says: str
    """The word as its text has it, where it first stands there."""
    position: Sequence[float]
    semantic: Sequence[float]
    image: int = 0
    in_answer: bool = False
    gold: Sequence[Box] = ()
    """The boxes that it points at, where a test looks at them."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A phrase that annotators marked, and the overlap of its boxes."""

    says: str
    """As its text has it, where it first stands there."""
    position: Sequence[float]
    image: int = 0
    gold: Sequence[Box] = ((0.0, 0.0, 9.0, 9.0),)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A sentence as the tests write it."""

    text: str
    image_ids: Sequence[str]
    words: Sequence[Word] = ()
    phrases: Sequence[Marked] | None = None
    """What the pointers of the text are; None: each word that has gold boxes is one."""
    answers: Mapping[str, float] = field(default_factory=dict)
    """Best first."""
    source: str = "captions"
    split: str = "train"
    details: Mapping[str, Any] = field(default_factory=dict)
    """What its task's metric needs."""


def make_image(
    image_id: str, *, num_boxes: int = 4, feature_dim: int = 6, width: int = 200, height: int = 100, first: float = 0
) -> RegionFeatures:
    """Return regions whose features are first, first + 1, ... and whose boxes grow to the lower right."""
    numbers = np.arange(num_boxes * feature_dim, dtype=np.float16).reshape(num_boxes, feature_dim)
    corners = np.linspace(0, 0.5, num_boxes, dtype=np.float32)[:, None] * [width, height]
    return RegionFeatures(
        image_id=image_id,
        image_width=width,
        image_height=height,
        boxes_xyxy=np.hstack([corners, corners + np.array([width / 2, height / 2])]).astype(np.float32),
        features=numbers + np.float16(first),
        class_ids=np.arange(num_boxes, dtype=np.int32),
        class_scores=np.full(num_boxes, 0.5, np.float32),
        attribute_ids=np.arange(num_boxes, dtype=np.int32) + 10,
        attribute_scores=np.full(num_boxes, 0.25, np.float32),
        selection="confident",
    )


def random_word(says: str, num_regions: int, rng: np.random.Generator, **more: Any) -> Word:
    """Return a word with criteria as real ones are: most regions do not overlap, names are a little alike."""
    position = np.where(rng.random(num_regions) < 0.4, rng.random(num_regions), 0)
    return Word(says=says, position=position.tolist(), semantic=rng.uniform(-0.2, 1, num_regions).tolist(), **more)


def join_stores(
    folder: Path,
    images: Sequence[Sequence[RegionFeatures]],
    sentences: Sequence[Sequence[Spoken]],
    *,
    store: StoreName = "arrow",
    configuration: dict[str, Any] = CONFIGURATION,
    records_content: bool = True,
) -> tuple[Path, Path]:
    """Return the folders of a region store and of the sentence store that was aligned with it, shard by shard.

    Without `records_content` the sentences know the regions by their settings alone.
    """
    regions, aligned = folder / "regions", folder / "sentences"
    folder.mkdir(exist_ok=True)
    made = make_store(regions, images, store=store, configuration=configuration)
    known = {image.image_id: image for shard in images for image in shard}
    entries = []
    aligned.mkdir()
    content = {"sha256": content_sha256(made)} if records_content else {}
    about = {"regions": {"fingerprint": fingerprint(configuration)} | content}
    for number, shard in enumerate(sentences):
        path = aligned / f"shard-{number:05d}{STORES[store].suffix}"
        numbered = [(f"{number}-{row:05d}", each) for row, each in enumerate(shard)]
        batches = (_align(numbered[start : start + 3], known) for start in range(0, len(numbered), 3))
        entries.append(describe_shard(path, STORES[store].write_sentences(path, batches, configuration=about)))
    write_manifest(aligned, Manifest(content="sentences", store=store, configuration=about, shards=tuple(entries)))
    return regions, aligned


def _align(batch: Sequence[tuple[str, Spoken]], known: Mapping[str, RegionFeatures]) -> AlignedSentences:
    of_images = [tuple(known[name].num_boxes if name in known else 0 for name in each.image_ids) for _, each in batch]
    width = max(map(max, of_images))
    words = [(each, word) for _, each in batch for word in each.words]
    starts = [_where(each, word) for each, word in words]
    overlaps = [each.position for _, spoken in batch for each in _marked(spoken) if each.gold]
    return AlignedSentences(
        sentences=[_sentence(sentence_id, each, known) for sentence_id, each in batch],
        num_boxes=of_images,
        words=PointedWords(
            starts=np.array(starts, np.int32),
            ends=np.array([start + len(word.says) for start, (_, word) in zip(starts, words, strict=True)], np.int32),
            images=np.array([word.image for _, word in words], np.int32),
            in_answer=np.array([word.in_answer for _, word in words], bool),
            oov=np.zeros(len(words), bool),
            position=_rows([word.position for _, word in words], width),
            semantic=_rows([word.semantic for _, word in words], width),
        ),
        word_offsets=np.cumsum([0, *(len(each.words) for _, each in batch)]),
        pointer_position=_rows(overlaps, width),
    )


def _sentence(sentence_id: str, spoken: Spoken, known: Mapping[str, RegionFeatures]) -> Sentence:
    return Sentence(
        sentence_id=sentence_id,
        images=tuple(_image(image_id, known.get(image_id)) for image_id in spoken.image_ids),
        text=spoken.text,
        source=spoken.source,
        split=spoken.split,  # type: ignore[arg-type]
        pointers=tuple(_pointer(spoken, each) for each in _marked(spoken) if not _is_in_answer(each)),
        answers=tuple(Answer(text=text, weight=weight) for text, weight in spoken.answers.items()),
        answer_pointers=tuple(_pointer(spoken, each) for each in _marked(spoken) if _is_in_answer(each)),
        details=spoken.details,
    )


def _image(image_id: str, regions: RegionFeatures | None) -> SentenceImage:
    if regions is None:
        return SentenceImage(image_id=image_id)
    return SentenceImage(image_id=image_id, width=regions.image_width, height=regions.image_height)


def _marked(spoken: Spoken) -> list[Word | Marked]:
    """Return what the pointers are made from, those of the text before those of the answer."""
    pointing = [word for word in spoken.words if word.gold]
    in_text = [word for word in pointing if not word.in_answer] if spoken.phrases is None else spoken.phrases
    return [*in_text, *(word for word in pointing if word.in_answer)]


def _is_in_answer(marked: Word | Marked) -> bool:
    return isinstance(marked, Word) and marked.in_answer


def _pointer(spoken: Spoken, marked: Word | Marked) -> Pointer:
    start = _where(spoken, marked)
    return Pointer(start=start, end=start + len(marked.says), boxes_xyxy=tuple(marked.gold), image=marked.image)


def _where(spoken: Spoken, marked: Word | Marked) -> int:
    return (next(iter(spoken.answers)) if _is_in_answer(marked) else spoken.text).index(marked.says)


def _rows(rows: Sequence[Sequence[float]], width: int) -> NDArray[np.float16]:
    padded = np.zeros((len(rows), width), np.float16)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return padded
