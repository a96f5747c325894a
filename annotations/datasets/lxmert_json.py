"""Reads LXMERT's own JSON: https://github.com/airsplay/lxmert, `data/`.

lxmert/{mscoco,vgnococo}_{train,nominival,minival}.json    pre-training: one image, its sentences by source
vqa/, gqa/, nlvr2/{train,valid,nominival,minival,...}.json  fine-tuning: one question, or one pair of images
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    shown,
    take_id,
    take_list,
    take_object,
    take_text,
)
from annotations.datasets.text_files import json_files, split_in_name
from annotations.drops import Drops
from annotations.records import Answer, Sentence, SentenceImage, Split
from annotations.splits import photograph

SOURCE = "lxmert-json"

_NLVR2_LABELS = {0: "False", 1: "True"}


class LxmertRecord(TypedDict):
    """One element of a file."""

    place: str
    """File and position, for messages."""
    split: Split
    file: str
    """Path in the folder given, without suffix: `gqa/train`."""
    content: Record


def read_lxmert_records(path: Path, *, drops: Drops) -> Iterator[LxmertRecord]:
    """Yield every element of a file, or of all JSON files of a folder or, failing those, of its folders.

    `nominival` is for training, `minival` not.

    Answer tables that lie in the same folder are passed over.

    Raises:
        DataError: no such file, or it holds no array of objects.
    """
    for file in _files(path):
        for number, content in enumerate(read_records(file)):
            yield LxmertRecord(
                place=f"{file}: record {number}", split=_split(file.stem), file=_name(file, path), content=content
            )


def to_sentences(record: LxmertRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the sentences of a pre-training image, or the one of a fine-tuning record."""
    content = record["content"]
    try:
        yield from _pretraining(record) if "sentf" in content else [_finetuning(record)]
    except FieldError as error:
        drops.add(f"record: {error.reason}", f"{record['place']}: found {error.found}")


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of files whose names say minival, valid or test."""
    for file in _files(path):
        if _split(file.stem) != "train":
            for number, content in enumerate(read_records(file)):
                try:
                    yield from _images(content)
                except FieldError as error:
                    drops.add(f"record: {error.reason}", f"{file}: record {number}: found {error.found}")


def _pretraining(record: LxmertRecord) -> Iterator[Sentence]:
    content = record["content"]
    image_id = take_id(content, "img_id")
    images = _images(content)
    sentences, labels = take_object(content, "sentf"), take_object(content, "labelf") if "labelf" in content else {}
    for kind in sentences:
        given = labels.get(kind, [])
        for number, text in enumerate(take_list(sentences, kind)):
            if not isinstance(text, str) or not text.strip():
                raise FieldError(f"sentf has no text in {kind}", shown(text))
            yield Sentence(
                sentence_id=f"{image_id}_{kind}_{number:03d}",
                images=images,
                text=text.strip(),
                source=SOURCE,
                split=record["split"],
                answers=_answers(given[number] if number < len(given) else None),
                details={"kind": kind},
            )


def _finetuning(record: LxmertRecord) -> Sentence:
    content = record["content"]
    name = "question_id" if "question_id" in content else "identifier"
    details: dict[str, Any] = {
        key: content[key] for key in ("question_id", "identifier", "question_type", "answer_type") if key in content
    }
    return Sentence(
        sentence_id=f"{record['file']}/{content.get('uid', take_id(content, name))}",
        images=_images(content),
        text=take_text(content, "sent"),
        source=SOURCE,
        split=record["split"],
        answers=_answers(content.get("label")),
        details=details,
    )


def _images(content: Record) -> tuple[SentenceImage, ...]:
    names = ("img0", "img1") if "img0" in content else ("img_id",)
    return tuple(_image(take_id(content, name)) for name in names)


def _image(image_id: str) -> SentenceImage:
    name = photograph(SentenceImage(image_id=image_id))
    return SentenceImage(image_id=image_id, coco_id=name.removeprefix("coco ") if name != image_id else "")


def _answers(label: Any) -> tuple[Answer, ...]:
    """Return the answers of a label: an object of weights, NLVR2's 0 or 1, or nothing."""
    if label is None:
        return ()
    if isinstance(label, int) and label in _NLVR2_LABELS:
        return (Answer(text=_NLVR2_LABELS[label]),)
    if not isinstance(label, dict) or not all(isinstance(weight, int | float) for weight in label.values()):
        raise FieldError("label is not an object of weights", shown(label))
    best_first = sorted(label.items(), key=lambda item: -item[1])
    return tuple(Answer(text=text, weight=float(weight)) for text, weight in best_first)


def _files(path: Path) -> list[Path]:
    found = json_files(path, "*.json", "*/*.json")
    return [file for file in found if not file.stem.endswith(("ans", "label"))]


def _name(file: Path, path: Path) -> str:
    return (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()


def _split(name: str) -> Split:
    return "train" if "nominival" in name else split_in_name(name)
