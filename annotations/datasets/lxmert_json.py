"""Reads LXMERT's own JSON: https://github.com/airsplay/lxmert, `data/`.

lxmert/{mscoco,vgnococo}_{train,nominival,minival}.json    pre-training: one image, its sentences by source
vqa/, gqa/, nlvr2/{train,valid,nominival,minival,...}.json  fine-tuning: one question, or one pair of images

Answer tables that lie beside them, `all_ans.json` and `*2*.json`, are passed over.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    take_id,
    take_list,
    take_object,
    take_text,
)
from annotations.datasets.text_files import SPLIT_WORDS, json_files, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.image_ids import coco_number
from annotations.records import Answer, Sentence, SentenceImage, Split

SOURCE = "lxmert-json"

SPLITS: dict[str, Split] = {**SPLIT_WORDS, "nominival": "train", "minival": "val", "submit": "test"}
"""Words of file names; gqa/submit.json is GQA's whole test split."""

_NLVR2_LABELS = {0: "False", 1: "True"}
_TABLES = ("ans", "label")
_IDS = ("uid", "identifier", "question_id")
_DETAILS = ("question_id", "identifier", "question_type", "answer_type")


class LxmertRecord(TypedDict):
    """One element of a file."""

    place: str
    """File and position, for messages."""
    split: Split
    file: str
    """Path in the folder given, without suffix: `gqa/train`."""
    content: Record


class _Said(NamedTuple):
    """One sentence of a record, text and label not yet looked at."""

    sentence_id: str
    text: object
    label: object
    details: Record


def read_lxmert_records(path: Path, *, drops: Drops) -> Iterator[LxmertRecord]:
    """Yield every element of a file, or of all JSON files of a folder or, failing those, of its folders.

    `nominival` is for training, `minival` not.

    Raises:
        DataError: no such file, none but answer tables, or it holds no array of objects.
    """
    for file in _files(path):
        for number, content in enumerate(read_records(file)):
            yield LxmertRecord(
                place=f"{file}: record {number}", split=_split_of(file), file=_name(file, path), content=content
            )


def to_sentences(record: LxmertRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the sentences of a pre-training image, or the one of a fine-tuning record."""
    content, where = record["content"], record["place"]
    try:
        images = _images(content)
        said = _said(record)
    except FieldError as error:
        drops.add(f"record: {error.reason}", f"{where}: found {error.found}")
        return
    for each in said:
        try:
            text, answers = take_text({"text": each.text}, "text"), _answers(each.label)
        except FieldError as error:
            drops.add(f"sentence: {error.reason}", f"{where}: {each.sentence_id!r}: found {error.found}")
            continue
        yield Sentence(
            sentence_id=each.sentence_id,
            images=images,
            text=text,
            source=SOURCE,
            split=record["split"],
            answers=answers,
            details=each.details,
        )


def sentence_ids(record: LxmertRecord) -> Iterator[str]:
    """Yield the ids of the record's sentences; none where the record cannot be used."""
    with suppress(FieldError):
        yield from (each.sentence_id for each in _said(record))


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of files whose names say minival, valid or test."""
    for file in _files(path):
        if _split_of(file) != "train":
            for number, content in enumerate(read_records(file)):
                try:
                    yield from _images(content)
                except FieldError as error:
                    drops.add(f"record: {error.reason}", f"{file}: record {number}: found {error.found}")


def _said(record: LxmertRecord) -> list[_Said]:
    content = record["content"]
    return _pretraining(content) if "sentf" in content else [_finetuning(content, record["file"])]


def _pretraining(content: Record) -> list[_Said]:
    image_id, sentences = take_id(content, "img_id"), take_object(content, "sentf")
    labels = take_object(content, "labelf") if "labelf" in content else {}
    said = []
    for kind in sentences:
        texts = take_list(sentences, kind)
        given = take_list(labels, kind) if kind in labels else [None] * len(texts)
        if len(given) != len(texts):
            raise FieldError("labelf is not as long as sentf", f"{len(given)} and {len(texts)} in {kind}")
        said += [
            _Said(f"{image_id}_{kind}_{number:03d}", text, label, {"kind": kind})
            for number, (text, label) in enumerate(zip(texts, given, strict=True))
        ]
    return said


def _finetuning(content: Record, file: str) -> _Said:
    sentence_id = take_id(content, next((name for name in _IDS if name in content), _IDS[-1]))
    details = {name: content[name] for name in _DETAILS if name in content}
    return _Said(f"{file}/{sentence_id}", take_text(content, "sent"), content.get("label"), details)


def _images(content: Record) -> tuple[SentenceImage, ...]:
    names = ("img0", "img1") if "img0" in content else ("img_id",)
    return tuple(_image(take_id(content, name)) for name in names)


def _image(image_id: str) -> SentenceImage:
    number = coco_number(image_id)
    return SentenceImage(image_id=image_id, coco_id=number, ids="coco" if number else "visual-genome")


def _answers(label: Any) -> tuple[Answer, ...]:
    """Return the answers of a label: an object of weights, NLVR2's 0 or 1, or nothing."""
    if label is None:
        return ()
    if isinstance(label, int) and label in _NLVR2_LABELS:
        return (Answer(text=_NLVR2_LABELS[label]),)
    if not isinstance(label, dict) or not all(
        isinstance(each, int | float) and 0 <= each <= 1 for each in label.values()
    ):
        raise FieldError("label is not an object of weights from 0 to 1", shown(label))
    best_first = sorted(label.items(), key=lambda item: -item[1])
    return tuple(Answer(text=text, weight=float(weight)) for text, weight in best_first)


def _files(path: Path) -> list[Path]:
    found = [file for file in json_files(path, "*.json", "*/*.json") if not file.stem.endswith(_TABLES)]
    if not found:
        raise DataError(f"{path}: nothing but tables of answers, expected files like mscoco_train.json; check the path")
    return found


def _name(file: Path, path: Path) -> str:
    return (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()


def _split_of(file: Path) -> Split:
    return split_in_name(file.stem, SPLITS, place=file)


DATA_SET = DataSet(
    read_records=read_lxmert_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="visual-genome",
    place="one of LXMERT's JSON files, or a folder of them",
    sentences_per_record=10,
)
