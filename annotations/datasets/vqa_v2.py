"""Reads VQA v2 in its official layout: https://visualqa.org/download.html.

FOLDER/v2_OpenEnded_mscoco_{train2014,val2014,test2015}_questions.json    questions
FOLDER/v2_mscoco_{train2014,val2014}_annotations.json                     ten answers each; none for test

Any other name with `questions` in it has its answers in the file whose name has `annotations` there instead; its split
is a word of the name, or else of the file's `data_subtype`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.answers import nothing_score, soft_answers
from annotations.datasets.data_set import DataSet
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
from annotations.datasets.text_files import split_in_name, splits_in_name
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.records import Sentence, SentenceImage, Split

SOURCE = "vqa-v2"

_SUBTYPE = re.compile(r"(?:train|val|test|test-dev)20\d\d")
_SUFFIXES = (".json", ".gz", ".gzip")


class Votes(TypedDict):
    """What was answered to one question: a fifth of what the annotations hold of it."""

    answers: list[str]
    """As people gave them."""
    details: Record
    """`question_type` and `answer_type`."""


class VqaRecord(TypedDict):
    """One question with what was answered."""

    place: str
    """Questions file, for messages."""
    split: Split
    subtype: str
    """`train2014` ...: which of COCO's images; empty where the file does not say."""
    question: Record
    votes: Votes | None
    """None: a question of the test split."""


def read_question_records(path: Path, *, drops: Drops) -> Iterator[VqaRecord]:
    """Yield every question of a questions file, or of all of them in a folder, with its answers.

    Both official files list their questions in one order, so they are walked in step: in memory are one question, those
    answers that come earlier than their question, and the ids.

    Raises:
        DataError: no such file, no answers to questions that are not of a test split, or not the layout.
    """
    seen: set[str] = set()
    for file, split, subtype in _question_files(path):
        answered = _annotations_file(file, split)
        votes_of = InStep(_votes(answered, drops)) if answered else None
        for number, question in enumerate(read_records(file, "questions")):
            where = f"{file}: question {number}"
            try:
                question_id = take_id(question, "question_id")
            except FieldError as error:
                drops.add(f"question: {error.reason}", f"{where}: found {error.found}")
                continue
            if question_id in seen:
                drops.add("question: id is there twice", f"{where}: found question_id {question_id!r}")
                continue
            seen.add(question_id)
            votes = votes_of.take(question_id) if votes_of else None
            if votes_of and votes is None:
                drops.add("question: no annotation", f"{where}: {question_id!r} not found in {answered}")
                continue
            yield VqaRecord(place=str(file), split=split, subtype=subtype, question=question, votes=votes)
        for question_id, _ in votes_of.rest() if votes_of else ():
            drops.add("annotation: no such question", f"{answered}: question {question_id!r} not found in {file}")


def to_sentences(record: VqaRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the question; its answers are normalised and have VQA's soft scores."""
    question, votes = record["question"], record["votes"]
    question_id = question["question_id"]
    try:
        image = image_of(take_id(question, "image_id"), record["subtype"])
        text = take_text(question, "question")
    except FieldError as error:
        where = f"{record['place']}: question {question_id!r}"
        drops.add(f"question: {error.reason}", f"{where}: found {error.found}")
        return
    yield Sentence(
        sentence_id=str(question_id),
        images=(image,),
        text=text,
        source=SOURCE,
        split=record["split"],
        answers=soft_answers(votes["answers"]) if votes else (),
        details={"question_id": question_id} | (votes["details"] if votes else {}),
    )


def sentence_ids(record: VqaRecord) -> tuple[str, ...]:
    """Return the id of the record's question."""
    return (str(record["question"]["question_id"]),)


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of questions files whose names say val or test; an image as often as it has questions."""
    for file, split, subtype in _question_files(path):
        for number, question in enumerate(read_records(file, "questions") if split != "train" else ()):
            try:
                yield image_of(take_id(question, "image_id"), subtype)
            except FieldError as error:
                drops.add(f"question: {error.reason}", f"{file}: question {number}: found {error.found}")


def image_of(number: str, subtype: str) -> SentenceImage:
    """Return the image under the name that COCO's release `subtype` gives its file."""
    release = subtype.replace("test-dev", "test")  # its questions are about the same files
    if number.isdecimal() and release in ("train2014", "val2014", "test2014", "test2015"):
        return SentenceImage(image_id=f"COCO_{release}_{int(number):012d}", coco_id=str(int(number)), ids="coco")
    if number.isdecimal() and release in ("train2017", "val2017", "test2017", ""):
        return SentenceImage(image_id=f"{int(number):012d}", coco_id=str(int(number)), ids="coco")
    return SentenceImage(image_id=number)


def _votes(path: Path, drops: Drops) -> Iterator[tuple[str, Votes | None]]:
    """Yield question id and votes of every annotation; None, counted, where they are not as they should be."""
    for number, record in enumerate(read_records(path, "annotations")):
        where = f"{path}: annotation {number}"
        try:
            question_id = take_id(record, "question_id")
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{where}: found {error.found}")
            continue
        try:
            answers = [_given(each) for each in take_objects(record, "answers")]
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{where}: found {error.found}")
            yield question_id, None
            continue
        details: Record = {name: record[name] for name in ("question_type", "answer_type") if name in record}
        if nothing := nothing_score(answers):
            details["nothing_score"] = nothing
        yield question_id, Votes(answers=answers, details=details)


def _given(answer: Record) -> str:
    text = answer.get("answer")
    if not isinstance(text, str):  # blank ones count as nothing said, no more
        raise FieldError("an answer is not a text", shown(answer))
    return text


def _question_files(path: Path) -> list[tuple[Path, Split, str]]:
    """Return each file with its split and with COCO's name for its images, as the file or else its name tells it."""
    if path.is_file():
        found = [path]
    else:
        found = sorted(each for each in path.glob("*questions*") if each.suffix in _SUFFIXES and each.is_file())
        # The test-dev questions are some of the test questions.
        found = [
            each for each in found if "test-dev" not in each.name or _beside(each, "test-dev", "test") not in found
        ]
    if not found:
        raise DataError(f"{path}: no file with 'questions' in its name, expected VQA's questions; check the path")
    return [_told(each) for each in found]


def _told(file: Path) -> tuple[Path, Split, str]:
    named = _SUBTYPE.search(file.name)
    subtype = str(read_field(file, "data_subtype") or (named[0] if named else ""))
    telling = file.name if splits_in_name(file.name) or not subtype else subtype
    return file, split_in_name(telling, place=file), subtype


def _annotations_file(questions: Path, split: Split) -> Path | None:
    """Return the file that has the answers; None if there is none, as for test questions.

    Raises:
        DataError: there is none, though people answered these questions.
    """
    official = questions.with_name(questions.name.replace("OpenEnded_", ""))
    spellings = [_beside(official, "questions", each) for each in ("annotations", "annotatons")]  # a public subset's
    found = [each for each in spellings if each.exists() and each != questions]
    if not found and split != "test":
        raise DataError(
            f"{spellings[0]}: no such file, expected the answers to {questions.name}; put it there, "
            "or if these are questions without answers, have 'test' in their name"
        )
    return found[0] if found else None


def _beside(file: Path, part: str, replacement: str) -> Path:
    return file.with_name(file.name.replace(part, replacement))


DATA_SET = DataSet(
    read_records=read_question_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="coco",
    place="a questions file with its annotations beside it, or a folder of both",
    beside=("*annotations*", "*annotatons*"),
)
