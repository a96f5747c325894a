"""Reads VQA v2 in its official layout: https://visualqa.org/download.html.

FOLDER/v2_OpenEnded_mscoco_{train2014,val2014,test2015}_questions.json    questions
FOLDER/v2_mscoco_{train2014,val2014}_annotations.json                     ten answers each; none for test

Any other name with `question` in it has its answers in the file whose name has `annotation` there instead.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.answers import soft_answers
from annotations.datasets.in_step import InStep
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_field,
    read_records,
    take_id,
    take_objects,
    take_text,
)
from annotations.datasets.text_files import split_in_name
from annotations.drops import DataError, Drops
from annotations.records import Sentence, SentenceImage, Split

SOURCE = "vqa-v2"


class VqaRecord(TypedDict):
    """One question with what was answered."""

    place: str
    """Questions file, for messages."""
    split: Split
    subtype: str
    """`train2014` ...: which of COCO's images; empty where the file does not say."""
    question: Record
    annotation: Record | None
    """None: a question of the test split."""


def read_question_records(path: Path, *, drops: Drops) -> Iterator[VqaRecord]:
    """Yield every question of a questions file, or of all of them in a folder, with its answers.

    Both official files list their questions in one order, so they are walked in step: in memory are one question, and
    those answers that come earlier than their question.

    Raises:
        DataError: no such file, or not the layout.
    """
    for questions in _question_files(path):
        answered = _annotations_file(questions)
        annotations = InStep(_by_question(answered, drops)) if answered.exists() else None
        subtype = read_field(questions, "data_subtype") or ""
        split = split_in_name(questions.name, otherwise=split_in_name(str(subtype)))
        for number, question in enumerate(read_records(questions, "questions")):
            try:
                question_id = take_id(question, "question_id")
            except FieldError as error:
                drops.add(f"question: {error.reason}", f"{questions}: question {number}: found {error.found}")
                continue
            annotation = annotations.take(question_id) if annotations else None
            if annotation is None and annotations:
                drops.add("question: no annotation", f"{questions}: question {question_id!r}")
                continue
            yield VqaRecord(
                place=str(questions), split=split, subtype=str(subtype), question=question, annotation=annotation
            )


def to_sentences(record: VqaRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the question; its answers are normalised and have VQA's soft scores."""
    question, annotation = record["question"], record["annotation"]
    question_id = question["question_id"]
    where = f"{record['place']}: question {question_id!r}"
    details = {"question_id": question_id}
    answers: tuple[str, ...] = ()
    try:
        image = image_of(take_id(question, "image_id"), record["subtype"])
        text = take_text(question, "question")
        if annotation is not None:
            answers = tuple(take_text(each, "answer") for each in take_objects(annotation, "answers"))
            details |= {name: annotation[name] for name in ("question_type", "answer_type") if name in annotation}
    except FieldError as error:
        drops.add(f"question: {error.reason}", f"{where}: found {error.found}")
        return
    yield Sentence(
        sentence_id=str(question_id),
        images=(image,),
        text=text,
        source=SOURCE,
        split=record["split"],
        answers=soft_answers(answers),
        details=details,
    )


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of questions files whose names say val or test; an image as often as it has questions."""
    for questions in _question_files(path):
        subtype = str(read_field(questions, "data_subtype") or "")
        if split_in_name(questions.name, otherwise=split_in_name(subtype)) == "train":
            continue
        for question in read_records(questions, "questions"):
            try:
                yield image_of(take_id(question, "image_id"), subtype)
            except FieldError as error:
                drops.add(f"question: {error.reason}", f"{questions}: found {error.found}")


def image_of(number: str, subtype: str) -> SentenceImage:
    """Return the image under the name that COCO's release `subtype` gives its file."""
    if number.isdecimal() and subtype in ("train2014", "val2014", "test2014", "test2015"):
        return SentenceImage(image_id=f"COCO_{subtype}_{int(number):012d}", coco_id=number)
    if number.isdecimal() and subtype in ("train2017", "val2017", "test2017", ""):
        return SentenceImage(image_id=f"{int(number):012d}", coco_id=number)
    return SentenceImage(image_id=number)


def _by_question(path: Path, drops: Drops) -> Iterator[tuple[str, Record]]:
    for number, record in enumerate(read_records(path, "annotations")):
        try:
            yield take_id(record, "question_id"), record
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{path}: annotation {number}: found {error.found}")


def _question_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(each for each in path.glob("*question*") if each.is_file())
    if not found:
        raise DataError(f"{path}: no file with 'question' in its name, expected VQA's questions; check the path")
    return found


def _annotations_file(questions: Path) -> Path:
    """Return the file that should have the answers; it need not exist."""
    name = questions.name.replace("OpenEnded_", "").replace("questions", "annotations")
    spellings = (name, name.replace("annotations", "annotatons"))  # as one public subset spells it
    return next((each for each in map(questions.with_name, spellings) if each.exists()), questions.with_name(name))
