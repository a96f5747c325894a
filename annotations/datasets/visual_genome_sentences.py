"""Reads what Visual Genome, version 1.4, says in words: https://homes.cs.washington.edu/~ranjay/visualgenome.

FOLDER/region_descriptions.json    phrases, each with its region's box
FOLDER/region_graphs.json          optional: which characters of a phrase name which objects
FOLDER/question_answers.json       optional
FOLDER/relationships.json          subject, predicate, object
FOLDER/objects.json, attributes.json
FOLDER/image_data.json             optional: sizes, and COCO's number of the same photograph
FOLDER/train.txt, val.txt, test.txt    optional: images of each split; what none lists is for training without train.txt
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from annotations.boxes import clip_box
from annotations.datasets.data_set import DataSet
from annotations.datasets.in_step import InStep
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    take_id,
    take_number,
    take_objects,
    take_text,
    take_words,
)
from annotations.datasets.text_files import read_lines
from annotations.datasets.visual_genome import read_objects
from annotations.guards.drops import Drops
from annotations.guards.shown import shown
from annotations.records import Answer, Box, Pointer, Sentence, SentenceImage, Split

DESCRIPTIONS = "visual-genome"
RELATIONSHIPS = "visual-genome-relationships"
ATTRIBUTES = "visual-genome-attributes"

SPLITS: tuple[Split, ...] = ("train", "val", "test")

NO_AREA = "box has no area inside the image"
TWICE = "id is there twice"


class VisualGenomeRecord(TypedDict):
    """One image with what is said about it."""

    place: str
    """Folder, for messages."""
    split: Split
    image: SentenceImage
    regions: list[Record]
    graphs: list[Record]
    questions: list[Record]
    relationships: list[Record]


def read_description_records(path: Path, *, drops: Drops) -> Iterator[VisualGenomeRecord]:
    """Yield every image of region_descriptions.json, with its region graphs and questions, and those of questions only.

    In memory are one image's records, and of every image its size and split: 20 MB for the whole of Visual Genome.

    Raises:
        DataError: region_descriptions.json is missing, or a file is damaged.
    """
    make = _RecordMaker(path, drops)
    graphs = _in_step(path / "region_graphs.json", "image_id", "regions", drops)
    questions = _in_step(path / "question_answers.json", "id", "qas", drops)
    for image_id, regions in _by_image(path / "region_descriptions.json", "id", "regions", drops, is_required=True):
        yield from make(
            image_id, regions=regions, graphs=graphs.take(image_id) or [], questions=questions.take(image_id) or []
        )
    for image_id, asked in questions.rest():
        yield from make(image_id, questions=asked)


def read_relationship_records(path: Path, *, drops: Drops) -> Iterator[VisualGenomeRecord]:
    """Yield every image of relationships.json.

    Raises:
        DataError: it is missing or damaged.
    """
    make = _RecordMaker(path, drops)
    for image_id, found in _by_image(path / "relationships.json", "image_id", "relationships", drops, is_required=True):
        yield from make(image_id, relationships=found)


def read_attribute_records(path: Path, *, drops: Drops) -> Iterator[Any]:
    """Yield every annotated image of objects.json whose size is known, with its split and coco_id.

    Raises:
        DataError: a file is missing or damaged.
    """
    make = _RecordMaker(path, drops)
    for image in read_objects(path, drops=drops):
        yield from ((record, image) for record in make(image.image_id))


def to_descriptions(record: VisualGenomeRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the region descriptions (`kind: region` in their details), then the questions (`kind: qa`).

    A description points with all of its words at its region, and where a region graph says so with some at an object.
    """
    where = f"{record['place']}: image {record['image'].image_id!r}"
    graphs = {str(graph.get("region_id")): graph for graph in record["graphs"]}
    seen: set[str] = set()
    for region in record["regions"]:
        try:
            region_id, phrase = take_id(region, "region_id"), take_text(region, "phrase")
            box = _box(region, "width", "height", record["image"])
        except FieldError as error:
            drops.add(f"region: {error.reason}", f"{where}, region {region.get('region_id')!r}: found {error.found}")
            continue
        if box is None or region_id in seen:
            reason = NO_AREA if box is None else TWICE
            drops.add(f"region: {reason}", f"{where}, region {region_id!r}: found {shown(region)}")
            continue
        seen.add(region_id)
        whole = Pointer(start=0, end=len(phrase), boxes_xyxy=(box,), object_id=region_id, category="region")
        graph = graphs.get(region_id, {})
        named = _named_objects(
            region["phrase"], graph.get("objects"), graph.get("synsets"), record["image"], where, drops
        )
        yield Sentence(
            sentence_id=region_id,
            images=(record["image"],),
            text=phrase,
            source=DESCRIPTIONS,
            split=record["split"],
            pointers=(whole, *named),
            details={"kind": "region", "region_id": region_id},
        )
    yield from _questions(record, where, drops)


def to_relationships(record: VisualGenomeRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield `man on street` for every relationship, its subject and its object pointing at their boxes.

    Of the two, one whose box has no area still has a pointer, without a box; that is counted.
    """
    image_id = record["image"].image_id
    where = f"{record['place']}: image {image_id!r}"
    seen: set[str] = set()
    for relationship in record["relationships"]:
        try:
            relationship_id = take_id(relationship, "relationship_id")
            predicate = take_text(relationship, "predicate").lower()
            ends = [_end(relationship, name, record["image"]) for name in ("subject", "object")]
        except FieldError as error:
            which = relationship.get("relationship_id")
            drops.add(f"relationship: {error.reason}", f"{where}, relationship {which!r}: found {error.found}")
            continue
        if relationship_id in seen:
            drops.add(f"relationship: {TWICE}", f"{where}, relationship {relationship_id!r}")
            continue
        seen.add(relationship_id)
        if not all(boxes for _, _, boxes in ends):
            found = f"subject {shown(relationship['subject'])}, object {shown(relationship['object'])}"
            drops.add(f"relationship: {NO_AREA}", f"{where}, relationship {relationship_id!r}: found {found}")
        (subject, subject_id, subject_box), (other, object_id, object_box) = ends
        text = f"{subject} {predicate} {other}"
        yield Sentence(
            sentence_id=f"{image_id}-r{relationship_id}",
            images=(record["image"],),
            text=text,
            source=RELATIONSHIPS,
            split=record["split"],
            pointers=(
                Pointer(start=0, end=len(subject), boxes_xyxy=subject_box, object_id=subject_id, category="object"),
                Pointer(
                    start=len(text) - len(other),
                    end=len(text),
                    boxes_xyxy=object_box,
                    object_id=object_id,
                    category="object",
                ),
            ),
            details={"kind": "relationship"},
        )


def to_attributes(record: Any, *, drops: Drops) -> Iterator[Sentence]:
    """Yield `red car` for every object, its attributes before its name, pointing at its box."""
    made, image = record
    for thing in image.objects:
        text = " ".join((*thing.attributes, thing.names[0]))
        yield Sentence(
            sentence_id=f"{image.image_id}-o{thing.object_id}",
            images=(made["image"],),
            text=text,
            source=ATTRIBUTES,
            split=made["split"],
            pointers=(
                Pointer(
                    start=0, end=len(text), boxes_xyxy=(thing.box_xyxy,), object_id=thing.object_id, category="object"
                ),
            ),
            details={"kind": "attribute"},
        )


def description_ids(record: VisualGenomeRecord) -> Iterator[str]:
    """Yield the ids of the record's sentences, before descriptions are merged."""
    yield from (str(region.get("region_id")) for region in record["regions"])
    yield from (f"qa{question.get('qa_id')}" for question in record["questions"])


def relationship_ids(record: VisualGenomeRecord) -> Iterator[str]:
    """Yield the ids of the record's sentences."""
    image_id = record["image"].image_id
    yield from (f"{image_id}-r{each.get('relationship_id')}" for each in record["relationships"])


def attribute_ids(record: Any) -> Iterator[str]:
    """Yield the ids of the record's sentences."""
    yield from (f"{record[1].image_id}-o{thing.object_id}" for thing in record[1].objects)


def photographs(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of which image_data.json knows COCO's number."""
    yield from (image for image in _read_images(path / "image_data.json", drops) if image.coco_id)


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of val.txt and test.txt, with COCO's numbers for them."""
    make = _RecordMaker(path, drops)
    for split in SPLITS[1:]:
        yield from (record["image"] for image_id in _listed(path / f"{split}.txt") for record in make(image_id))


class _RecordMaker:
    """Knows of every image its size, its number in COCO and its split."""

    def __init__(self, folder: Path, drops: Drops) -> None:
        self._place = str(folder)
        self._drops = drops
        self._unlisted: Split | None = None if (folder / "train.txt").exists() else "train"
        self._images = {image.image_id: image for image in _read_images(folder / "image_data.json", drops)}
        self._splits = {image_id: split for split in SPLITS for image_id in _listed(folder / f"{split}.txt")}

    def __call__(self, image_id: str, **said: list[Record]) -> Iterator[VisualGenomeRecord]:
        """Yield the image's record; nothing, counted, where train.txt says what trains and no list has the image."""
        split = self._splits.get(image_id, self._unlisted)
        if split is None:
            lists = ", ".join(f"{each}.txt" for each in SPLITS)
            self._drops.add("image: in no list of a split", f"{self._place}: image {image_id!r} not found in {lists}")
            return
        yield VisualGenomeRecord(
            place=self._place,
            split=split,
            image=self._images.get(image_id, SentenceImage(image_id=image_id, ids="visual-genome")),
            regions=said.get("regions", []),
            graphs=said.get("graphs", []),
            questions=said.get("questions", []),
            relationships=said.get("relationships", []),
        )


def _listed(path: Path) -> Iterator[str]:
    """Yield the image ids of a list: lines are `2415417`, or `VG_100K_2/2415417.jpg xml/2415417.xml` as published."""
    if path.exists():
        yield from (PurePosixPath(line.split()[0]).stem for line in read_lines(path))


def _read_images(path: Path, drops: Drops) -> Iterator[SentenceImage]:
    """Yield every image; one without a proper size still says which photograph of COCO it is."""
    for number, record in enumerate(read_records(path) if path.exists() else ()):
        where = f"{path}: record {number}"
        try:
            image_id = take_id(record, "image_id") if "image_id" in record else take_id(record, "id")
            coco_id = "" if record.get("coco_id") is None else take_id(record, "coco_id")
        except FieldError as error:
            drops.add(f"image: {error.reason}", f"{where}: found {error.found}")
            continue
        width, height = _size(record, where, drops)
        yield SentenceImage(image_id=image_id, width=width, height=height, coco_id=coco_id, ids="visual-genome")


def _size(record: Record, where: str, drops: Drops) -> tuple[int, int]:
    try:
        width, height = int(take_number(record, "width")), int(take_number(record, "height"))
    except FieldError as error:
        drops.add(f"image: {error.reason}", f"{where}: found {error.found}")
        return 0, 0
    if width < 1 or height < 1:
        drops.add("image: size is not positive", f"{where}: found {width} x {height}")
        return 0, 0
    return width, height


def _in_step(path: Path, id_field: str, field: str, drops: Drops) -> InStep[list[Record]]:
    return InStep(
        _by_image(path, id_field, field, drops),
        keys=lambda: (image_id for image_id, _ in _by_image(path, id_field, field, Drops())),  # counted the first time
    )


def _by_image(
    path: Path, id_field: str, field: str, drops: Drops, *, is_required: bool = False
) -> Iterator[tuple[str, list[Record]]]:
    """Yield image id and records of every element of a file; an image listed twice counts once."""
    seen: set[str] = set()
    for number, record in enumerate(read_records(path) if is_required or path.exists() else ()):
        try:
            image_id, found = take_id(record, id_field), take_objects(record, field)
        except FieldError as error:
            drops.add(f"image: {error.reason}", f"{path}: record {number}: found {error.found}")
            continue
        if image_id in seen:
            drops.add("image: listed twice", f"{path}: image {image_id!r}, found again as record {number}")
            continue
        seen.add(image_id)
        yield image_id, found


def _named_objects(
    written: str, objects: Any, names: Any, image: SentenceImage, where: str, drops: Drops
) -> Iterator[Pointer]:
    """Yield a pointer for each span that names one of the objects; spans count the space before the text as written."""
    phrase, space = written.strip(), len(written) - len(written.lstrip())
    boxes: dict[str, list[tuple[str, Box]]] = {}
    for thing in objects if isinstance(objects, list) else ():
        try:
            name, object_id, box = _name(thing), take_id(thing, "object_id"), _box(thing, "w", "h", image)
        except FieldError as error:
            drops.add(f"region graph: {error.reason}", f"{where}, {phrase!r}: found {error.found}")
            continue
        if box is None:
            drops.add(f"region graph: {NO_AREA}", f"{where}, {phrase!r}: found {shown(thing)}")
        else:
            boxes.setdefault(name, []).append((object_id, box))
    spans: dict[str, list[tuple[int, int]]] = {}
    for span in names if isinstance(names, list) else ():
        try:
            start, end = (int(take_number(span, field)) - space for field in ("entity_idx_start", "entity_idx_end"))
            name = take_text(span, "entity_name").lower()
        except FieldError as error:
            drops.add(f"region graph: {error.reason}", f"{where}, {phrase!r}: found {error.found}")
            continue
        if not (0 <= start < end <= len(phrase)) or phrase[start:end].lower() != name:
            drops.add("region graph: span does not hold its name", f"{where}: {name!r} at {start}:{end} of {phrase!r}")
        elif name in boxes:
            spans.setdefault(name, []).append((start, end))
    for name, places in spans.items():
        found = boxes[name]
        for number, (start, end) in enumerate(places):
            # As often said as there are objects of the name: each is one of them. Else it may be any of them.
            meant = [found[number]] if len(found) == len(places) else found
            yield Pointer(
                start=start,
                end=end,
                boxes_xyxy=tuple(box for _, box in meant),
                object_id=meant[0][0],
                category="object",
            )


def _questions(record: VisualGenomeRecord, where: str, drops: Drops) -> Iterator[Sentence]:
    seen: set[str] = set()
    for question in record["questions"]:
        try:
            qa_id, text = take_id(question, "qa_id"), take_text(question, "question")
            answer = take_text(question, "answer")
        except FieldError as error:
            drops.add(f"question: {error.reason}", f"{where}, question {question.get('qa_id')!r}: found {error.found}")
            continue
        if qa_id in seen:
            drops.add(f"question: {TWICE}", f"{where}, question {qa_id!r}: found {text!r}")
            continue
        seen.add(qa_id)
        asked, answered = question.get("q_objects"), question.get("a_objects")
        yield Sentence(
            sentence_id=f"qa{qa_id}",
            images=(record["image"],),
            text=text,
            source=DESCRIPTIONS,
            split=record["split"],
            pointers=tuple(_mentioned(text, asked, record["image"], where, drops)),
            answers=(Answer(text=answer),),
            answer_pointers=tuple(_mentioned(answer, answered, record["image"], where, drops)),
            details={"kind": "qa", "qa_id": qa_id},
        )


def _mentioned(text: str, objects: Any, image: SentenceImage, where: str, drops: Drops) -> Iterator[Pointer]:
    """Yield a pointer where the text first says an object's name; of objects with one name, to all of their boxes."""
    boxes: dict[str, tuple[Box, ...]] = {}
    ids: dict[str, str] = {}
    for thing in objects if isinstance(objects, list) else ():
        try:
            name, object_id, box = _name(thing), take_id(thing, "object_id"), _box(thing, "w", "h", image)
        except FieldError as error:
            drops.add(f"question: object's {error.reason}", f"{where}, {text!r}: found {error.found}")
            continue
        if box is None:
            drops.add(f"question: object's {NO_AREA}", f"{where}, {text!r}: found {shown(thing)}")
        boxes[name] = boxes.get(name, ()) + (() if box is None else (box,))
        ids.setdefault(name, object_id)
    for name, found in boxes.items():
        said = re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE)
        if said:
            yield Pointer(start=said.start(), end=said.end(), boxes_xyxy=found, object_id=ids[name], category="object")


def _end(relationship: Record, which: str, image: SentenceImage) -> tuple[str, str, tuple[Box, ...]]:
    thing = relationship.get(which)
    if not isinstance(thing, dict):
        raise FieldError(f"{which} is not an object", shown(thing))
    box = _box(thing, "w", "h", image)
    return _name(thing), take_id(thing, "object_id"), () if box is None else (box,)


def _name(thing: Record) -> str:
    """Return an object's first name; files have `name` or `names`."""
    if "name" in thing:
        return take_text(thing, "name").lower()
    names = take_words(thing, "names")
    if not names:
        raise FieldError("names is empty", shown(thing))
    return names[0]


def _box(record: Record, width: str, height: str, image: SentenceImage) -> Box | None:
    x, y, w, h = (take_number(record, field) for field in ("x", "y", width, height))
    return clip_box((x, y, x + w, y + h), width=image.width, height=image.height)


DESCRIPTIONS_DATA_SET = DataSet(
    read_records=read_description_records,
    to_sentences=to_descriptions,
    sentence_ids=description_ids,
    evaluation_images=evaluation_images,
    ids="visual-genome",
    photographs=photographs,
    place="a folder with region_descriptions.json; region graphs, questions and image data beside it are used",
    sentences_per_record=40,
    has_descriptions=True,
)

RELATIONSHIPS_DATA_SET = DataSet(
    read_records=read_relationship_records,
    to_sentences=to_relationships,
    sentence_ids=relationship_ids,
    evaluation_images=evaluation_images,
    ids="visual-genome",
    photographs=photographs,
    place="a folder with relationships.json",
    sentences_per_record=20,
)

ATTRIBUTES_DATA_SET = DataSet(
    read_records=read_attribute_records,
    to_sentences=to_attributes,
    sentence_ids=attribute_ids,
    evaluation_images=evaluation_images,
    ids="visual-genome",
    photographs=photographs,
    place="a folder with objects.json and image_data.json; attributes.json beside them is used",
    sentences_per_record=20,
)
