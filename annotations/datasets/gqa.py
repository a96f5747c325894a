"""Reads GQA in its official layout: https://cs.stanford.edu/people/dorarad/gqa/download.html.

FOLDER/train_all_questions/train_all_questions_{0..9}.json    or train_balanced_questions.json
FOLDER/{val,testdev,test,challenge}_{all,balanced}_questions.json
FOLDER/submission_all_questions.json                          all of val, testdev, test and challenge, without answers
FOLDER[/sceneGraphs]/{train,val}_sceneGraphs.json             boxes of the objects that questions point at

Of a split that is there as `all` and as `balanced`, `all` is read: the balanced questions are among them, marked. Of a
folder, submission_all is read last, and not at all where the other files have all of its questions.
"""

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from annotations.boxes import clip_box
from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import (
    MAX_ID,
    FieldError,
    Record,
    read_members,
    take_id,
    take_number,
    take_object,
    take_text,
    take_words,
)
from annotations.datasets.text_files import SPLIT_WORDS, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.records import AnnotatedImage, AnnotatedObject, Answer, Box, Pointer, Sentence, SentenceImage, Split

SOURCE = "gqa"
FULL_ANSWERS = "gqa-full-answers"

SPLITS: dict[str, Split] = {**SPLIT_WORDS, "challenge": "test", "submission": "test"}
"""Words of file names. What GQA's server alone can answer is never trained on, and its images are kept back."""

GRAPHS = ("*sceneGraphs.json", "sceneGraphs/*sceneGraphs.json")
"""Patterns of the files of scene graphs, from the folder of the questions."""

_TEST_SPLITS = ("testdev", "test", "challenge", "submission")
"""Our test split is four of GQA's, of which testdev has answers; the details say which."""
_SUBMITTED = ("val", "testdev", "test", "challenge")
_PUNCTUATION = frozenset(string.punctuation)
_POINTED = ("question", "answer", "fullAnswer")


class GqaRecord(TypedDict):
    """One question with the boxes that its pointers need."""

    place: str
    """File and question, for messages."""
    split: Split
    file: str
    """Name without suffix, which tells testdev from test."""
    question_id: str
    question: Record
    size: tuple[int, int]
    """Width and height of the image; zeros where no scene graph has them."""
    boxes: dict[str, Box]
    """By object id; only those the question points at."""


class _Graph(NamedTuple):
    width: int
    height: int
    boxes: dict[str, Box]


def read_question_records(path: Path, *, drops: Drops) -> Iterator[GqaRecord]:
    """Yield every question of a questions file or of a folder, file by file.

    Questions are not grouped by image, so all scene graphs' boxes are in memory: some 0.5 GB for the 85,000 images that
    have one. Everything else is one question at a time.

    Raises:
        DataError: no questions there, or a file is damaged.
    """
    files = _question_files(path)
    graphs = _read_graphs(path, drops)
    for file in files:
        split = _split_of(file)
        for question_id, question in read_members(file):
            image_id = str(question.get("imageId"))
            graph = graphs.get(image_id)
            wanted = set(_object_ids(question))
            yield GqaRecord(
                place=f"{file}: question {question_id!r}",
                split=split,
                file=file.stem,
                question_id=question_id,
                question=question,
                size=(graph.width, graph.height) if graph else (0, 0),
                boxes={each: graph.boxes[each] for each in wanted if each in graph.boxes} if graph else {},
            )


def to_questions(record: GqaRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the question; its words and those of its answer point at objects as the data set says."""
    question, where = record["question"], record["place"]
    try:
        text = take_text(question, "question")
        images = (
            SentenceImage(
                image_id=take_id(question, "imageId"),
                width=record["size"][0],
                height=record["size"][1],
                ids="visual-genome",
            ),
        )
        answer = take_text(question, "answer") if "answer" in question else ""
    except FieldError as error:
        drops.add(f"question: {error.reason}", f"{where}: found {error.found}")
        return
    yield Sentence(
        sentence_id=record["question_id"],
        images=images,
        text=text,
        source=SOURCE,
        split=record["split"],
        pointers=tuple(_pointers(record, "question", text, drops)),
        answers=(Answer(text=answer),) if answer else (),
        answer_pointers=tuple(_pointers(record, "answer", answer, drops)) if answer else (),
        details=_details(record),
    )


def to_full_answers(record: GqaRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the full answer, `The pipe is on the wall.`, as a statement of its own."""
    for asked in to_questions(record, drops=drops):
        if "full_answer" in asked.details:
            text = asked.details["full_answer"]
            yield Sentence(
                sentence_id=asked.sentence_id,
                images=asked.images,
                text=text,
                source=FULL_ANSWERS,
                split=asked.split,
                pointers=tuple(_pointers(record, "fullAnswer", text, drops)),
                details={"question_id": asked.sentence_id, "question": asked.text},
            )


def sentence_ids(record: GqaRecord) -> tuple[str, ...]:
    """Return the id of the record's question, which its full answer has as well."""
    return (record["question_id"],)


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of validation and test questions, each once a file."""
    for file in _question_files(path):
        if _split_of(file) == "train":
            continue
        seen: set[str] = set()
        for question_id, question in read_members(file):
            try:
                image_id = take_id(question, "imageId")
            except FieldError as error:
                drops.add(f"question: {error.reason}", f"{file}: question {question_id!r}: found {error.found}")
                continue
            if image_id not in seen:
                seen.add(image_id)
                yield SentenceImage(image_id=image_id, ids="visual-genome")


def read_scene_graphs(path: Path, *, drops: Drops) -> Iterator[AnnotatedImage]:
    """Yield every image of a scene graphs file, or of all of them in a folder, with its objects and attributes.

    Raises:
        DataError: a file is damaged.
    """
    for file in _graph_files(path):
        for image_id, graph in read_members(file):
            where = f"{file}: image {image_id!r}"
            try:
                width, height = int(take_number(graph, "width")), int(take_number(graph, "height"))
                objects = take_object(graph, "objects")
            except FieldError as error:
                drops.add(f"scene graph: {error.reason}", f"{where}: found {error.found}")
                continue
            things = tuple(_things(objects, width, height, where, drops))
            yield AnnotatedImage(image_id=image_id, image_width=width, image_height=height, objects=things)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where GQA's words are in the text, by its own count: punctuation removed, then split at single spaces.

    A word that is nothing but punctuation still counts, as an empty span. The span of `wall?` does not hold the `?`;
    that of `man's`, which counts as `mans`, is whole.
    """
    spans = []
    start = 0
    for word in text.split(" "):
        kept = [place for place, character in enumerate(word) if character not in _PUNCTUATION]
        spans.append((start + kept[0], start + kept[-1] + 1) if kept else (start, start))
        start += len(word) + 1
    return spans


def _pointers(record: GqaRecord, which: str, text: str, drops: Drops) -> Iterator[Pointer]:
    """Yield the pointers into the text; keys are word numbers, `4`, or half-open ranges of them, `4:6`."""
    annotations = record["question"].get("annotations")
    pointed = annotations.get(which) if isinstance(annotations, dict) else None
    if not isinstance(pointed, dict):
        return
    spans = word_spans(text)
    for key, object_id in pointed.items():
        first, _, last = key.partition(":")
        where = f"{record['place']}: {which} {key!r}"
        if not (first.isdecimal() and (last.isdecimal() or not last)) or len(key) > MAX_ID:
            drops.add("pointer: not a word number or a range of them", where)
            continue
        words = [span for span in spans[int(first) : int(last) if last else int(first) + 1] if span[0] < span[1]]
        if not words or (int(last) if last else int(first) + 1) > len(spans):
            drops.add("pointer: outside the sentence", f"{where}, which has {len(spans)} words: {text!r}")
            continue
        box = record["boxes"].get(str(object_id))
        if box is None:
            drops.add("pointer: unknown object id", f"{where}: object {object_id!r}")
        yield Pointer(
            start=words[0][0],
            end=words[-1][1],
            boxes_xyxy=() if box is None else (box,),
            object_id=str(object_id),
            category="object",
        )


def _details(record: GqaRecord) -> dict[str, Any]:
    """Return what GQA's metrics group by, under names of one style."""
    question = record["question"]
    details: dict[str, Any] = {"question_id": record["question_id"]}
    names = {
        "types": "types",
        "entailed": "entailed",
        "equivalent": "equivalent",
        "groups": "groups",
        "isBalanced": "is_balanced",
        "semanticStr": "semantic_str",
    }
    details |= {ours: question[theirs] for theirs, ours in names.items() if question.get(theirs) is not None}
    full_answer = question.get("fullAnswer")
    if isinstance(full_answer, str) and full_answer.strip():
        details["full_answer"] = full_answer.strip()
    if official := _official_split(record["file"]):
        details["official_split"] = official
    return details


def _split_of(file: Path) -> Split:
    return split_in_name(file.stem, SPLITS, place=file)


def _official_split(name: str) -> str | None:
    """Return which of GQA's test splits a file's name tells; None for train and val."""
    return next((word for word in re.findall("[a-z]+", name.lower()) if word in _TEST_SPLITS), None)


def _object_ids(question: Record) -> Iterator[str]:
    annotations = question.get("annotations")
    for which in _POINTED:
        pointed = annotations.get(which) if isinstance(annotations, dict) else None
        yield from map(str, pointed.values()) if isinstance(pointed, dict) else ()


def _read_graphs(path: Path, drops: Drops) -> dict[str, _Graph]:
    return {
        image.image_id: _Graph(
            image.image_width, image.image_height, {thing.object_id: thing.box_xyxy for thing in image.objects}
        )
        for image in read_scene_graphs(path, drops=drops)
    }


def _things(objects: Record, width: int, height: int, where: str, drops: Drops) -> Iterator[AnnotatedObject]:
    for object_id, thing in objects.items():
        if not isinstance(thing, dict):
            drops.add("object: not an object", f"{where}, object {object_id!r}: found {shown(thing)}")
            continue
        try:
            name = take_text(thing, "name").lower()
            x, y, w, h = (take_number(thing, field) for field in ("x", "y", "w", "h"))
            attributes = take_words(thing, "attributes") if "attributes" in thing else ()
        except FieldError as error:
            drops.add(f"object: {error.reason}", f"{where}, object {object_id!r}: found {error.found}")
            continue
        box = clip_box((x, y, x + w, y + h), width=width, height=height)
        if box is None:
            found = f"x {x:g}, y {y:g}, w {w:g}, h {h:g} in {width} x {height}"
            drops.add("object: box has no area inside the image", f"{where}, object {object_id!r}: found {found}")
            continue
        yield AnnotatedObject(object_id=object_id, box_xyxy=box, names=(name,), attributes=attributes)


def _question_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(
        (file for file in path.rglob("*questions*.json") if file.is_file()),
        key=lambda file: (file.name.startswith("submission"), file),
    )
    whole = {file.name.split("_")[0] for file in found if "_all_" in file.name}
    chosen = [file for file in found if not ("_balanced_" in file.name and file.name.split("_")[0] in whole)]
    if not chosen:
        raise DataError(f"{path}: no file named *questions*.json, expected GQA's questions; check the path")
    if whole.issuperset(_SUBMITTED):
        chosen = [file for file in chosen if not file.name.startswith("submission")]
    return chosen


def _graph_files(path: Path) -> list[Path]:
    folder = path if path.is_dir() else path.parent
    if path.is_file() and "sceneGraphs" in path.name:
        return [path]
    return sorted({each for pattern in GRAPHS for each in folder.glob(pattern)})


DATA_SET = DataSet(
    read_records=read_question_records,
    to_sentences=to_questions,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    objects=read_scene_graphs,
    ids="visual-genome",
    place="a *questions*.json file or a folder of them, with *sceneGraphs.json beside or in sceneGraphs/",
    beside=GRAPHS,
)

FULL_ANSWERS_DATA_SET = DataSet(
    read_records=read_question_records,
    to_sentences=to_full_answers,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    objects=read_scene_graphs,
    ids="visual-genome",
    place="as gqa",
    beside=GRAPHS,
)
