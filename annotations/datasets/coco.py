"""Reads COCO in its official layout: https://cocodataset.org/#format-data.

FOLDER[/annotations]/captions_{train,val}{2014,2017}.json     captions
FOLDER[/annotations]/instances_{train,val}{2014,2017}.json    boxes of 80 categories; also {minival,valminusminival}2014

Each file is one object: `images`, `annotations` and, for instances, `categories`, in any order. Releases divide the
same photographs and annotations otherwise, so that one of them is read. The layout is anybody's: images are COCO's
where their files are named so.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypedDict

from annotations.boxes import clip_box
from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    take_box,
    take_id,
    take_size,
    take_text,
)
from annotations.datasets.text_files import SPLIT_WORDS, json_files, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.image_ids import coco_number
from annotations.records import Box, Pointer, Sentence, SentenceImage, Split

CAPTIONS = "coco-captions"
INSTANCES = "coco-instances"

SPLITS: dict[str, Split] = {**SPLIT_WORDS, "minival": "val", "valminusminival": "train"}
"""Words of file names; of val2014, minival stays for validation and valminusminival is what COCO's papers train on."""

_CAPTIONS_FILES = ("captions_*.json", "annotations/captions_*.json")
_INSTANCES_FILES = ("instances_*.json", "annotations/instances_*.json")

_RELEASE = re.compile(r"(train|valminusminival|minival|val)(20\d\d)")
_PARTS = ("val", "minival"), ("val", "valminusminival")
"""Parts of one year: the second lies in the first."""
_APART = {("train", "2014"), ("val", "2017")}
"""The only two files of different years that have no photograph in common."""


class CocoImage(NamedTuple):
    """What a file says of an image."""

    image_id: str
    """Name of its file without suffix."""
    width: int
    height: int
    coco_id: str = ""
    """COCO's number, where its file is named as COCO's are or the record says `coco_url`; the layout is anybody's."""
    number: str = ""
    """Its id in this file, by which annotations mean it."""

    def as_sentence_image(self) -> SentenceImage:
        return SentenceImage(
            image_id=self.image_id,
            width=self.width,
            height=self.height,
            coco_id=self.coco_id,
            ids="coco" if self.coco_id else "own",
        )


class CocoRecord(TypedDict):
    """One annotation, joined with its image."""

    place: str
    """File, for messages."""
    split: Split
    image: CocoImage
    category: str
    """Category of an instance."""
    annotation: Record


def read_caption_records(path: Path, *, drops: Drops) -> Iterator[CocoRecord]:
    """Yield every caption of a captions file, or of all of them in a folder.

    In memory is one annotation, and of every image name and size: 20 MB for the whole of COCO.

    Raises:
        DataError: no such file, or not the layout.
    """
    check_captions([path])
    for file in json_files(path, *_CAPTIONS_FILES):
        yield from _joined(file, None, drops)


def read_instance_records(path: Path, *, drops: Drops) -> Iterator[CocoRecord]:
    """Yield every instance of an instances file, or of all of them in a folder; crowds are left out and counted.

    Raises:
        DataError: no such file, or not the layout.
    """
    check_instances([path])
    for file in json_files(path, *_INSTANCES_FILES):
        categories = dict(_named(read_records(file, "categories"), f"{file}: category", drops))
        yield from _joined(file, categories, drops)


def to_captions(record: CocoRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the caption; its words point at nothing."""
    try:
        text = take_text(record["annotation"], "caption")
    except FieldError as error:
        drops.add(f"annotation: {error.reason}", f"{_where(record)}: found {error.found}")
        return
    yield Sentence(
        sentence_id=sentence_ids(record)[0],
        images=(record["image"].as_sentence_image(),),
        text=text,
        source=CAPTIONS,
        split=record["split"],
    )


def to_instances(record: CocoRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the instance's category as a sentence of its own, which points at the box."""
    box = _box_of(record, drops)
    if box is None:
        return
    annotation_id, category = str(record["annotation"]["id"]), record["category"]
    pointer = Pointer(start=0, end=len(category), boxes_xyxy=(box,), object_id=annotation_id, category=category)
    yield Sentence(
        sentence_id=sentence_ids(record)[0],
        images=(record["image"].as_sentence_image(),),
        text=category,
        source=INSTANCES,
        split=record["split"],
        pointers=(pointer,),
    )


def sentence_ids(record: CocoRecord) -> tuple[str, ...]:
    """Return the id of the record's sentence."""
    return (f"{record['image'].image_id}#{record['annotation']['id']}",)


def caption_evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of the files whose names say val or test."""
    return _evaluation_images(path, _CAPTIONS_FILES, drops)


def instance_evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of the files whose names say val or test."""
    return _evaluation_images(path, _INSTANCES_FILES, drops)


def check_captions(paths: Sequence[Path]) -> None:
    """No caption is in two of the files at the paths; raises DataError where names of files say that it is."""
    _require_one_release([file for path in paths for file in json_files(path, *_CAPTIONS_FILES)])


def check_instances(paths: Sequence[Path]) -> None:
    """No instance is in two of the files at the paths; raises DataError where names of files say that it is."""
    _require_one_release([file for path in paths for file in json_files(path, *_INSTANCES_FILES)])


def read_images(file: Path, *, drops: Drops) -> Iterator[CocoImage]:
    """Yield the `images` of a file in COCO's layout; what is no image is counted."""
    seen: set[str] = set()
    for number, image in enumerate(read_records(file, "images")):
        where = f"{file}: image {number}"
        try:
            width, height = take_size(image)
            name = Path(take_text(image, "file_name")).stem
            coco_id = coco_number(name) or _number_in_url(image)
            found = CocoImage(name, width, height, coco_id, take_id(image, "id"))
        except FieldError as error:
            drops.add(f"image: {error.reason}", f"{where}: found {error.found}")
            continue
        if found.number in seen:
            drops.add("image: id is there twice", f"{where}: found id {found.number!r}")
            continue
        seen.add(found.number)
        yield found


def _joined(file: Path, categories: dict[str, str] | None, drops: Drops) -> Iterator[CocoRecord]:
    images = {image.number: image for image in read_images(file, drops=drops)}
    split = _split_of(file)
    seen: set[int] = set()
    for number, annotation in enumerate(read_records(file, "annotations")):
        where = f"{file}: annotation {number}"
        try:
            annotation_id, image_id = take_id(annotation, "id"), take_id(annotation, "image_id")
            category_id = "" if categories is None else take_id(annotation, "category_id")
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{where}: found {error.found}")
            continue
        reason = None
        if image_id not in images:
            reason = "annotation: unknown image id"
        elif hash(annotation_id) in seen:
            reason = "annotation: id is there twice"
        elif categories is not None and category_id not in categories:
            reason = "annotation: unknown category id"
        elif annotation.get("iscrowd"):
            reason = "annotation: a crowd"
        if reason is not None:
            found = f"id {annotation_id!r}, image_id {image_id!r}"
            drops.add(reason, f"{where}: found {found}" + (f", category_id {category_id!r}" if category_id else ""))
            continue
        seen.add(hash(annotation_id))
        annotation.pop("segmentation", None)  # most of the bytes, and nothing here wants them
        yield CocoRecord(
            place=str(file),
            split=split,
            image=images[image_id],
            category="" if categories is None else categories[category_id],
            annotation=annotation,
        )


def _box_of(record: CocoRecord, drops: Drops) -> Box | None:
    """Return the instance's box inside its image; None, counted, where there is none."""
    image = record["image"]
    try:
        box = clip_box(take_box(record["annotation"], "bbox"), width=image.width, height=image.height)
    except FieldError as error:
        drops.add(f"annotation: {error.reason}", f"{_where(record)}: found {error.found}")
        return None
    if box is None:
        found = f"{record['annotation']['bbox']} in {image.width} x {image.height}"
        drops.add("annotation: box has no area inside the image", f"{_where(record)}: found {found}")
    return box


def _number_in_url(image: Record) -> str:
    """Return COCO's number of an image that a record says to be COCO's, under whichever name; or nothing."""
    url = image.get("coco_url")
    return coco_number(PurePosixPath(url).stem) if isinstance(url, str) else ""


def _where(record: CocoRecord) -> str:
    return f"{record['place']}: annotation {record['annotation']['id']!r}"


def _split_of(file: Path) -> Split:
    return split_in_name(file.name, SPLITS, place=file)


def _require_one_release(files: Sequence[Path]) -> None:
    releases = {file: (release[1], release[2]) for file in files if (release := _RELEASE.search(file.name))}
    for (one, its), (other, others) in combinations(releases.items(), 2):
        if _overlap(its, others):
            raise DataError(
                f"{one} and {other}: two releases of the same photographs and annotations, divided into other train "
                "and val; expected one of them. Name its files, each for itself, instead of their folder: "
                f"NAME={one} ..."
            )


def _overlap(one: tuple[str, str], other: tuple[str, str]) -> bool:
    if one[1] == other[1]:
        return (one[0], other[0]) in _PARTS or (other[0], one[0]) in _PARTS
    return {one, other} != _APART


def _evaluation_images(path: Path, patterns: tuple[str, ...], drops: Drops) -> Iterator[SentenceImage]:
    for file in json_files(path, *patterns):
        if _split_of(file) != "train":
            yield from (image.as_sentence_image() for image in read_images(file, drops=drops))


def _named(records: Iterator[Record], where: str, drops: Drops) -> Iterator[tuple[str, str]]:
    for number, record in enumerate(records):
        try:
            yield take_id(record, "id"), take_text(record, "name")
        except FieldError as error:
            drops.add(f"category: {error.reason}", f"{where} {number}: found {error.found}")


CAPTIONS_DATA_SET = DataSet(
    read_records=read_caption_records,
    to_sentences=to_captions,
    sentence_ids=sentence_ids,
    evaluation_images=caption_evaluation_images,
    ids="coco",
    check=check_captions,
    place="a captions_*.json file, or a folder of them or with annotations/",
)

INSTANCES_DATA_SET = DataSet(
    read_records=read_instance_records,
    to_sentences=to_instances,
    sentence_ids=sentence_ids,
    evaluation_images=instance_evaluation_images,
    ids="coco",
    check=check_instances,
    place="an instances_*.json file, or a folder of them or with annotations/",
)
