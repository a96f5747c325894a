"""What training reads of a sentence shard: a few columns, without an object for each pointer."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence
from stores.formats.sentence_columns import POINTER_POSITION


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class StoredPhrases:
    """The F pointers of one sentence that have boxes, as the annotators marked them; they may nest and share words."""

    starts: NDArray[np.int32]
    """int32 [F]; first character in the text, or in that of the first answer."""
    ends: NDArray[np.int32]
    """int32 [F]; one past the last character."""
    images: NDArray[np.int32]
    """int32 [F]; which of the sentence's images the boxes are in."""
    in_answer: NDArray[np.bool_]
    """bool [F]; True for pointers into the first answer."""
    position: NDArray[np.float16]
    """float16 [F, R]; the largest IoU of a region with the phrase's own boxes."""

    def __getitem__(self, rows: Any) -> "StoredPhrases":
        """Return some of them: a slice, numbers or flags, as an array takes them."""
        return StoredPhrases(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class TrainingSentence:
    """One sentence with the criteria of its W pointed words over R regions; arrays may be views of a mapped file."""

    sentence_id: str
    image_ids: tuple[str, ...]
    text: str
    answers: tuple[str, ...]
    """Best first."""
    answer_weights: tuple[float, ...]
    word_starts: NDArray[np.int32]
    """int32 [W]; first character in the text, or in that of the first answer."""
    word_ends: NDArray[np.int32]
    """int32 [W]; one past the last character."""
    word_images: NDArray[np.int32]
    """int32 [W]; which of the sentence's images a word's boxes are in."""
    word_in_answer: NDArray[np.bool_]
    """bool [W]; True for words of the first answer."""
    position: NDArray[np.float16]
    """float16 [W, R]; IoU."""
    semantic: NDArray[np.float16]
    """float16 [W, R]; similarity of names."""
    phrases: StoredPhrases | None = None
    """The phrases that the words stand in; None: the store does not hold them, as those made before did not."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceIndex:
    """What an order of reading needs to know of S rows."""

    image_ids: Sequence[str]
    """The images of all rows, one row after another."""
    num_regions: NDArray[np.int32]
    """int32; of each of these images."""
    num_images: NDArray[np.int32]
    """int32 [S]."""
    num_bytes: NDArray[np.int32]
    """int32 [S]; length of the text, by which sentences of like length find each other."""
    num_answers: NDArray[np.int32]
    """int32 [S]."""
    sources: Sequence[str]
    """[S]."""
    splits: Sequence[str]
    """[S]."""

    def __len__(self) -> int:
        return len(self.num_images)


def brief(aligned: AlignedSentence) -> TrainingSentence:
    """Return what training takes of a whole sentence."""
    sentence, words = aligned.sentence, aligned.words
    return TrainingSentence(
        sentence_id=sentence.sentence_id,
        image_ids=sentence.image_ids,
        text=sentence.text,
        answers=tuple(answer.text for answer in sentence.answers),
        answer_weights=tuple(answer.weight for answer in sentence.answers),
        word_starts=words.starts,
        word_ends=words.ends,
        word_images=words.images,
        word_in_answer=words.in_answer,
        position=words.position,
        semantic=words.semantic,
        phrases=_phrases_of(aligned),
    )


def _phrases_of(aligned: AlignedSentence) -> StoredPhrases | None:
    if aligned.pointer_position is None:
        return None
    pointers = (*aligned.sentence.pointers, *aligned.sentence.answer_pointers)
    boxed = [pointer for pointer in pointers if pointer.boxes_xyxy]
    num_in_text = sum(bool(pointer.boxes_xyxy) for pointer in aligned.sentence.pointers)
    return StoredPhrases(
        starts=np.array([pointer.start for pointer in boxed], np.int32),
        ends=np.array([pointer.end for pointer in boxed], np.int32),
        images=np.array([pointer.image for pointer in boxed], np.int32),
        in_answer=np.arange(len(boxed)) >= num_in_text,
        position=aligned.pointer_position,
    )


def index_of(sentences: Iterable[Mapping[str, Any]]) -> SentenceIndex:
    """Return the index of sentences given as `sentence_fields` takes them apart."""
    rows = list(sentences)

    def numbers(values: Iterable[int]) -> NDArray[np.int32]:
        return np.fromiter(values, np.int32)

    return SentenceIndex(
        image_ids=[image_id for row in rows for image_id in row["image_ids"]],
        num_regions=numbers(number for row in rows for number in row["num_boxes"]),
        num_images=numbers(len(row["image_ids"]) for row in rows),
        num_bytes=numbers(len(row["text"].encode()) for row in rows),
        num_answers=numbers(len(row["answers"]) for row in rows),
        sources=[row["source"] for row in rows],
        splits=[row["split"] for row in rows],
    )


_LISTS = (
    *("image_ids", "answers", "answer_weights"),
    *("word_starts", "word_ends", "word_images", "word_in_answer", "position", "semantic"),
)
_POINTERS = (
    *("pointer_starts", "pointer_ends", "pointer_images", "pointer_in_answer", "pointer_num_boxes", POINTER_POSITION),
)


class SentenceColumns:
    """Rows of one Arrow batch for training: each column is looked up once, then only sliced."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._strings = {name: batch.column(name) for name in ("sentence_id", "text")}
        self._num_regions = batch.column("num_regions").to_numpy()
        self._offsets: dict[str, NDArray[np.int32]] = {}
        self._values: dict[str, Any] = {}
        has_phrases = POINTER_POSITION in batch.schema.names and not batch.column(POINTER_POSITION).null_count
        self._pointers = _POINTERS if has_phrases else ()
        for name in (*_LISTS, *self._pointers):
            column = batch.column(name)
            self._offsets[name] = column.offsets.to_numpy()
            is_text = pa.types.is_string(column.type.value_type)
            self._values[name] = column.values if is_text else column.values.to_numpy(zero_copy_only=False)

    def read(self, row: int) -> TrainingSentence:
        """Return the row; its arrays are read-only views of the batch's memory."""
        starts = self._slice("word_starts", row)
        criteria_shape = len(starts), int(self._num_regions[row])
        return TrainingSentence(
            sentence_id=self._strings["sentence_id"][row].as_py(),
            image_ids=tuple(self._slice("image_ids", row).to_pylist()),
            text=self._strings["text"][row].as_py(),
            answers=tuple(self._slice("answers", row).to_pylist()),
            answer_weights=tuple(self._slice("answer_weights", row).tolist()),
            word_starts=starts,
            word_ends=self._slice("word_ends", row),
            word_images=self._slice("word_images", row),
            word_in_answer=self._slice("word_in_answer", row),
            position=self._slice("position", row).reshape(criteria_shape),
            semantic=self._slice("semantic", row).reshape(criteria_shape),
            phrases=self._phrases(row) if self._pointers else None,
        )

    def _phrases(self, row: int) -> StoredPhrases:
        starts, ends, images, in_answer, num_boxes, position = (self._slice(name, row) for name in self._pointers)
        boxed = np.flatnonzero(num_boxes)
        return StoredPhrases(
            starts=starts[boxed],
            ends=ends[boxed],
            images=images[boxed],
            in_answer=in_answer[boxed],
            position=position.reshape(len(boxed), int(self._num_regions[row])),
        )

    def _slice(self, name: str, row: int) -> Any:
        offsets = self._offsets[name]
        return self._values[name][offsets[row] : offsets[row + 1]]


INDEX_COLUMNS = ("image_ids", "num_boxes", "text", "answers", "source", "split")
"""What `index_of_columns` reads."""


def index_of_columns(batches: Iterable[pa.RecordBatch]) -> SentenceIndex:
    """Return the index of Arrow rows."""
    parts = list(batches)

    def lengths(name: str) -> NDArray[np.int32]:
        return _joined([np.diff(batch.column(name).offsets.to_numpy()) for batch in parts])

    def texts(name: str) -> list[str]:
        return [text for batch in parts for text in _shared_texts(batch.column(name))]

    return SentenceIndex(
        image_ids=[text for batch in parts for text in _shared_texts(batch.column("image_ids").flatten())],
        num_regions=_joined([batch.column("num_boxes").flatten().to_numpy() for batch in parts]),
        num_images=lengths("image_ids"),
        num_bytes=_joined([pc.binary_length(batch.column("text")).to_numpy() for batch in parts]),
        num_answers=lengths("answers"),
        sources=texts("source"),
        splits=texts("split"),
    )


def _shared_texts(column: pa.StringArray) -> list[str]:
    """Return the column's texts, of which equal ones are one object: they are few, and rows are many."""
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    return [texts[number] for number in encoded.indices.to_numpy().tolist()]


def _joined(parts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.empty(0, np.int32), *parts])
