"""What a row of a sentence shard is: one sentence, its gold boxes, and the criteria of its pointed words.

Arrow columns; W pointed words, P pointers, F pointers that have boxes, R regions (of the image that has most), every
array flat and row-major:

    sentence_id         string                   word_starts         int32   [W]; characters of text or first answer
    source, split       string                   word_ends           int32   [W]
    text                string                   word_images         int32   [W]; which image of the sentence
    image_ids           string  [images]         word_in_answer      bool    [W]
    image_widths        int32   [images]         word_oov            bool    [W]; the vectors do not know it
    image_heights       int32   [images]         num_regions         int32   R
    coco_ids            string  [images]         position            float16 [W * R]; IoU
    num_boxes           int32   [images]         semantic            float16 [W * R]; similarity
    pointer_starts      int32   [P]              targets             float16 [W * R], or null unless baked
    pointer_ends        int32   [P]              supervised          bool    [W], or null unless baked
    pointer_images      int32   [P]              answers             string  [answers], best first
    pointer_in_answer   bool    [P]              answer_weights      float32 [answers]
    pointer_object_ids  string  [P]              details             string; a JSON object
    pointer_categories  string  [P]
    pointer_num_boxes   int32   [P]              pointer_position    float16 [F * R]; IoU, or null where not known
    gold_boxes_xyxy     float32 [sum of pointer_num_boxes * 4]; pixels of the image that the regions are of
    checksum            uint64; of the row, see `stores/formats/row_checksums.py`

Criteria are 0 beyond the regions of the image that a word or pointer is about. A phrase is a pointer with boxes: its
words are those between its start and end. `pointer_position` has rows for phrases alone, in their order, whatever words
they share or lack, and is rounded down, so that it is a half only where the IoU is; `position` is rounded to the
nearest float16. Shards of schema versions 1 and 2 do not have `pointer_position`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence, AlignedSentences, PointedWords
from annotations.guards.plain_json import parse_json
from annotations.records import Answer, Pointer, Sentence, SentenceImage
from stores.errors import StoreError
from stores.formats.row_checksums import CHECKSUM, with_checksums

MAX_ID_BYTES = 511
"""What an LMDB key holds; the same for every store, so that one can be converted into another."""

POINTER_POSITION = "pointer_position"

_STRINGS, _INTEGERS, _FLAGS = pa.list_(pa.string()), pa.list_(pa.int32()), pa.list_(pa.bool_())

SENTENCE_COLUMNS = pa.schema(
    {
        "sentence_id": pa.string(),
        "source": pa.string(),
        "split": pa.string(),
        "text": pa.string(),
        "image_ids": _STRINGS,
        "image_widths": _INTEGERS,
        "image_heights": _INTEGERS,
        "coco_ids": _STRINGS,
        "num_boxes": _INTEGERS,
        "pointer_starts": _INTEGERS,
        "pointer_ends": _INTEGERS,
        "pointer_images": _INTEGERS,
        "pointer_in_answer": _FLAGS,
        "pointer_object_ids": _STRINGS,
        "pointer_categories": _STRINGS,
        "pointer_num_boxes": _INTEGERS,
        "gold_boxes_xyxy": pa.list_(pa.float32()),
        "answers": _STRINGS,
        "answer_weights": pa.list_(pa.float32()),
        "details": pa.string(),
        "word_starts": _INTEGERS,
        "word_ends": _INTEGERS,
        "word_images": _INTEGERS,
        "word_in_answer": _FLAGS,
        "word_oov": _FLAGS,
        "num_regions": pa.int32(),
        "position": pa.list_(pa.float16()),
        "semantic": pa.list_(pa.float16()),
        POINTER_POSITION: pa.list_(pa.float16()),
        "targets": pa.list_(pa.float16()),
        "supervised": _FLAGS,
        CHECKSUM: pa.uint64(),
    }
)

BATCH_SENTENCES = 512
"""In each batch that a writer is given but the last; the bytes of a shard depend on it."""

FIELDS = SENTENCE_COLUMNS.names[: SENTENCE_COLUMNS.get_field_index("word_starts")]
"""The columns before those of the words."""


def to_sentence_columns(aligned: AlignedSentences, schema: pa.Schema) -> pa.RecordBatch:
    """Return all sentences as rows of `schema`, in their order."""
    sentences, words = aligned.sentences, aligned.words
    images = [sentence.images for sentence in sentences]
    pointers = [(*sentence.pointers, *sentence.answer_pointers) for sentence in sentences]
    answers = [sentence.answers for sentence in sentences]
    num_regions = np.array([max(num_boxes, default=0) for num_boxes in aligned.num_boxes], np.int32)
    each_image, of_images = list(chain.from_iterable(images)), _offsets(map(len, images))
    each_pointer, of_pointers = list(chain.from_iterable(pointers)), _offsets(map(len, pointers))
    each_answer, of_answers = list(chain.from_iterable(answers)), _offsets(map(len, answers))
    of_boxes = _offsets(sum(len(pointer.boxes_xyxy) * 4 for pointer in group) for group in pointers)
    of_words = aligned.word_offsets.astype(np.int32)
    of_phrases = np.array(aligned.pointer_offsets, np.int32)
    columns: dict[str, pa.Array] = {
        "sentence_id": pa.array([sentence.sentence_id for sentence in sentences], pa.string()),
        "source": pa.array([sentence.source for sentence in sentences], pa.string()),
        "split": pa.array([sentence.split for sentence in sentences], pa.string()),
        "text": pa.array([sentence.text for sentence in sentences], pa.string()),
        "image_ids": _lists(of_images, [image.image_id for image in each_image], pa.string()),
        "image_widths": _lists(of_images, [image.width for image in each_image], pa.int32()),
        "image_heights": _lists(of_images, [image.height for image in each_image], pa.int32()),
        "coco_ids": _lists(of_images, [image.coco_id for image in each_image], pa.string()),
        "num_boxes": _lists(of_images, list(chain.from_iterable(aligned.num_boxes)), pa.int32()),
        "pointer_starts": _lists(of_pointers, [pointer.start for pointer in each_pointer], pa.int32()),
        "pointer_ends": _lists(of_pointers, [pointer.end for pointer in each_pointer], pa.int32()),
        "pointer_images": _lists(of_pointers, [pointer.image for pointer in each_pointer], pa.int32()),
        "pointer_in_answer": _lists(of_pointers, _in_answer(sentences), pa.bool_()),
        "pointer_object_ids": _lists(of_pointers, [pointer.object_id for pointer in each_pointer], pa.string()),
        "pointer_categories": _lists(of_pointers, [pointer.category for pointer in each_pointer], pa.string()),
        "pointer_num_boxes": _lists(of_pointers, [len(pointer.boxes_xyxy) for pointer in each_pointer], pa.int32()),
        "gold_boxes_xyxy": _lists(of_boxes, _gold_boxes(each_pointer), pa.float32()),
        "answers": _lists(of_answers, [answer.text for answer in each_answer], pa.string()),
        "answer_weights": _lists(of_answers, [answer.weight for answer in each_answer], pa.float32()),
        "details": pa.array([_details(sentence) for sentence in sentences], pa.string()),
        "word_starts": _lists(of_words, words.starts, pa.int32()),
        "word_ends": _lists(of_words, words.ends, pa.int32()),
        "word_images": _lists(of_words, words.images, pa.int32()),
        "word_in_answer": _lists(of_words, words.in_answer, pa.bool_()),
        "word_oov": _lists(of_words, words.oov, pa.bool_()),
        "num_regions": pa.array(num_regions),
    }
    for name, rows, of_rows in (
        ("position", words.position, of_words),
        ("semantic", words.semantic, of_words),
        (POINTER_POSITION, aligned.pointer_position, of_phrases),
        ("targets", words.targets, of_words),
    ):
        columns[name] = _nulls(len(sentences), schema, name)
        if rows is not None:
            values = _unpadded(rows, np.diff(of_rows), num_regions)
            columns[name] = _lists(_offsets(np.diff(of_rows) * num_regions), values, pa.float16())
    columns["supervised"] = _nulls(len(sentences), schema, "supervised")
    if words.supervised is not None:
        columns["supervised"] = _lists(of_words, words.supervised, pa.bool_())
    return with_checksums((columns[name] for name in schema.names if name != CHECKSUM), schema)


def from_sentence_columns(batch: pa.RecordBatch, row: int) -> AlignedSentence:
    """Return the sentence in `row`; its criteria are read-only views of the batch's memory."""
    num_words, num_regions = len(batch.column("word_starts")[row]), batch.column("num_regions")[row].as_py()

    def numbers(name: str, *shape: int) -> Any:
        values = batch.column(name)[row].values if name in batch.schema.names else None
        return None if values is None else values.to_numpy(zero_copy_only=False).reshape(shape)

    return sentence_from_fields(
        {name: batch.column(name)[row].as_py() for name in FIELDS},
        PointedWords(
            starts=numbers("word_starts", num_words),
            ends=numbers("word_ends", num_words),
            images=numbers("word_images", num_words),
            in_answer=numbers("word_in_answer", num_words),
            oov=numbers("word_oov", num_words),
            position=numbers("position", num_words, num_regions),
            semantic=numbers("semantic", num_words, num_regions),
            targets=numbers("targets", num_words, num_regions),
            supervised=numbers("supervised", num_words),
        ),
        numbers(POINTER_POSITION, int(np.count_nonzero(numbers("pointer_num_boxes", -1))), num_regions),
    )


def sentence_fields(aligned: AlignedSentence) -> dict[str, Any]:
    """Return all but the words and their criteria, by column, as JSON values."""
    sentence = aligned.sentence
    pointers = (*sentence.pointers, *sentence.answer_pointers)
    return {
        "sentence_id": sentence.sentence_id,
        "source": sentence.source,
        "split": sentence.split,
        "text": sentence.text,
        "image_ids": [image.image_id for image in sentence.images],
        "image_widths": [image.width for image in sentence.images],
        "image_heights": [image.height for image in sentence.images],
        "coco_ids": [image.coco_id for image in sentence.images],
        "num_boxes": list(aligned.num_boxes),
        "pointer_starts": [pointer.start for pointer in pointers],
        "pointer_ends": [pointer.end for pointer in pointers],
        "pointer_images": [pointer.image for pointer in pointers],
        "pointer_in_answer": _in_answer([sentence]),
        "pointer_object_ids": [pointer.object_id for pointer in pointers],
        "pointer_categories": [pointer.category for pointer in pointers],
        "pointer_num_boxes": [len(pointer.boxes_xyxy) for pointer in pointers],
        "gold_boxes_xyxy": _float32(_gold_boxes(pointers)),
        "answers": [answer.text for answer in sentence.answers],
        "answer_weights": _float32([answer.weight for answer in sentence.answers]),
        "details": _details(sentence),
    }


def sentence_from_fields(
    fields: Mapping[str, Any], words: PointedWords, pointer_position: NDArray[np.float16] | None
) -> AlignedSentence:
    """Return what `sentence_fields` took apart, with its words and its pointers' IoU."""
    boxes = iter(zip(*[iter(fields["gold_boxes_xyxy"])] * 4, strict=True))
    pointers = [
        (
            in_answer,
            Pointer(
                start=start,
                end=end,
                boxes_xyxy=tuple(islice(boxes, num_boxes)),
                object_id=object_id,
                category=category,
                image=image,
            ),
        )
        for start, end, image, in_answer, object_id, category, num_boxes in zip(
            *(fields[name] for name in FIELDS if name.startswith("pointer_")), strict=True
        )
    ]
    return AlignedSentence(
        sentence=Sentence(
            sentence_id=fields["sentence_id"],
            images=tuple(
                SentenceImage(image_id=image_id, width=width, height=height, coco_id=coco_id)
                for image_id, width, height, coco_id in zip(
                    *(fields[name] for name in ("image_ids", "image_widths", "image_heights", "coco_ids")), strict=True
                )
            ),
            text=fields["text"],
            source=fields["source"],
            split=fields["split"],
            pointers=tuple(pointer for in_answer, pointer in pointers if not in_answer),
            answers=tuple(map(_answer, fields["answers"], fields["answer_weights"])),
            answer_pointers=tuple(pointer for in_answer, pointer in pointers if in_answer),
            details=parse_json(fields["details"]),
        ),
        num_boxes=tuple(fields["num_boxes"]),
        words=words,
        pointer_position=pointer_position,
    )


def is_row_id(text: str) -> bool:
    """Return whether every store can hold a row of this name."""
    if text.isascii():
        return 1 <= len(text) <= MAX_ID_BYTES and text[0] != "\0"
    try:
        return len(text.encode()) <= MAX_ID_BYTES and text[0] != "\0"
    except UnicodeEncodeError:
        return False


def in_order(batches: Iterable[AlignedSentences]) -> Iterator[AlignedSentences]:
    """Yield the batches, having checked that one shard of any store may hold them.

    Raises:
        StoreError: ids that do not ascend by their UTF-8 bytes, or one that no store can hold.
    """
    last = ""
    for aligned in batches:
        for sentence in aligned.sentences:
            if not (last < sentence.sentence_id and is_row_id(sentence.sentence_id)):  # code points order as UTF-8
                raise StoreError(
                    f"sentence {sentence.sentence_id!r} came after {last!r}, expected ids of 1 to {MAX_ID_BYTES} UTF-8 "
                    "bytes that ascend by them and do not start with NUL"
                )
            last = sentence.sentence_id
        yield aligned


def _answer(text: str, weight: float) -> Answer:
    return Answer(text=text, weight=weight)


def _details(sentence: Sentence) -> str:
    return json.dumps(sentence.details, ensure_ascii=False, sort_keys=True) if sentence.details else "{}"


def _in_answer(sentences: Sequence[Sentence]) -> list[bool]:
    return [
        flag
        for sentence in sentences
        for flag in [False] * len(sentence.pointers) + [True] * len(sentence.answer_pointers)
    ]


def _gold_boxes(pointers: Iterable[Pointer]) -> list[float]:
    return [value for pointer in pointers for box in pointer.boxes_xyxy for value in box]


def _float32(values: list[float]) -> list[float]:
    return np.array(values, np.float32).tolist()


def _offsets(lengths: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(accumulate(lengths, initial=0), np.int32)


def _lists(offsets: NDArray[np.int32], values: Sequence[Any] | NDArray[Any], value_type: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(offsets, pa.array(values, value_type))


def _nulls(count: int, schema: pa.Schema, name: str) -> pa.Array:
    return pa.nulls(count, schema.field(name).type)


def _unpadded(
    rows: NDArray[np.float16], words_per_sentence: NDArray[np.int32], num_regions: NDArray[np.int32]
) -> NDArray[np.float16]:
    """Return the rows one after another, each as long as its sentence has regions."""
    lengths = np.repeat(num_regions, words_per_sentence)
    if len(lengths) == 0 or lengths.min() == rows.shape[1]:
        return rows.reshape(-1)
    return rows[np.arange(rows.shape[1]) < lengths[:, None]]
