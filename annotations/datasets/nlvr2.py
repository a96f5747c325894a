"""Reads NLVR2 in its official layout, one JSON object a line: https://github.com/lil-lab/nlvr, nlvr2/data.

FOLDER/{train,dev,test1}.json; the balanced and unbalanced subsets of them are read only if named themselves
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import FieldError, Record, read_json_lines, take_id, take_text
from annotations.datasets.text_files import json_files, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.records import Answer, Sentence, SentenceImage, Split

SOURCE = "nlvr2"
LABELS = ("True", "False")
FILES = ("train.json", "dev.json", "test1.json", "test2.json")


class Nlvr2Record(TypedDict):
    """One statement about two images."""

    place: str
    """File and line, for messages."""
    split: Split
    statement: Record


def read_statement_records(path: Path, *, drops: Drops) -> Iterator[Nlvr2Record]:
    """Yield every line of a file, or of a folder's train, dev and test files.

    Raises:
        DataError: no such file, or no line of it is an object.
    """
    for file in _files(path):
        split = split_in_name(file.stem, place=file)
        seen: set[str] = set()
        for number, statement in read_json_lines(file, drops=drops):
            place = f"{file}, line {number}"
            identifier = str(statement.get("identifier"))
            if identifier in seen:
                drops.add("statement: identifier is there twice", f"{place}: found {identifier!r}")
                continue
            seen.add(identifier)
            yield Nlvr2Record(place=place, split=split, statement=statement)


def to_sentences(record: Nlvr2Record, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the statement, about its left and its right image; the answer is `True` or `False`, where it is told.

    The details' `sentence_group` is what consistency counts by: statements that differ in their images only.
    """
    statement = record["statement"]
    try:
        identifier, text = take_id(statement, "identifier"), take_text(statement, "sentence")
        label = take_text(statement, "label") if "label" in statement else None
        if label is not None and label not in LABELS:
            raise FieldError("label is not True or False", shown(label))
        if identifier.count("-") != 3:
            raise FieldError("identifier is not SPLIT-SET-PAIR-SENTENCE", shown(identifier))
    except FieldError as error:
        drops.add(f"statement: {error.reason}", f"{record['place']}: found {error.found}")
        return
    split, set_number, _, sentence_number = identifier.split("-")
    pair = identifier.rpartition("-")[0]
    yield Sentence(
        sentence_id=identifier,
        images=(SentenceImage(image_id=f"{pair}-img0"), SentenceImage(image_id=f"{pair}-img1")),
        text=text,
        source=SOURCE,
        split=record["split"],
        answers=() if label is None else (Answer(text=label),),
        details={"identifier": identifier, "sentence_group": f"{split}-{set_number}-{sentence_number}"}
        | {name: statement[name] for name in ("synset", "validation") if name in statement},
    )


def sentence_ids(record: Nlvr2Record) -> tuple[str, ...]:
    """Return the id of the record's statement."""
    return (str(record["statement"].get("identifier")),)


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of the dev and test files."""
    for record in read_statement_records(path, drops=drops):
        if record["split"] != "train":
            for sentence in to_sentences(record, drops=drops):
                yield from sentence.images


def _files(path: Path) -> list[Path]:
    files = json_files(path, "*.json")
    found = [file for file in files if file.name in FILES] if path.is_dir() else files
    if not found:
        raise DataError(
            f"{path}: none of {', '.join(FILES)} in it, found {', '.join(file.name for file in files[:9])}; "
            "give the one file that is meant"
        )
    return found


DATA_SET = DataSet(
    read_records=read_statement_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    place="a JSON lines file, or a folder with train.json, dev.json, test1.json",
)
