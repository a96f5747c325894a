"""Reads COCO in its official layout: https://cocodataset.org/#format-data.

FOLDER[/annotations]/captions_{train,val}{2014,2017}.json     captions
FOLDER[/annotations]/instances_{train,val}{2014,2017}.json    boxes of 80 categories

Each file is one object: `images`, `annotations` and, for instances, `categories`, in any order.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypedDict

from annotations.boxes import clip_box
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    take_box,
    take_id,
    take_number,
    take_text,
)
from annotations.datasets.text_files import json_files, split_in_name
from annotations.drops import Drops
from annotations.records import Pointer, Sentence, SentenceImage, Split

CAPTIONS = "coco-captions"
INSTANCES = "coco-instances"


class CocoImage(NamedTuple):
    """What a file says of an image."""

    image_id: str
    """Name of its file without suffix."""
    width: int
    height: int
    coco_id: str


class CocoRecord(TypedDict):
    """One annotation, joined with its image."""

    place: str
    """File, for messages."""
    split: Split
    image: CocoImage
    category: str
    """Of instances."""
    annotation: Record


def read_caption_records(path: Path, *, drops: Drops) -> Iterator[CocoRecord]:
    """Yield every caption of a captions file, or of all of them in a folder.

    In memory is one annotation, and of every image name and size: 20 MB for the whole of COCO.

    Raises:
        DataError: no such file, or not the layout.
    """
    for file in json_files(path, "captions_*.json", "annotations/captions_*.json"):
        yield from _joined(file, {}, drops)


def read_instance_records(path: Path, *, drops: Drops) -> Iterator[CocoRecord]:
    """Yield every instance of an instances file, or of all of them in a folder; crowds are left out and counted.

    Raises:
        DataError: no such file, or not the layout.
    """
    for file in json_files(path, "instances_*.json", "annotations/instances_*.json"):
        categories = dict(_named(read_records(file, "categories"), f"{file}: category", drops))
        yield from _joined(file, categories, drops)


def to_captions(record: CocoRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the caption; its words point at nothing."""
    yield from _guarded(record, drops, partial(_caption, record))


def to_instances(record: CocoRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the instance's category as a sentence of its own, which points at the box."""
    yield from _guarded(record, drops, partial(_instance, record, drops))


def caption_evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of the files whose names say val or test."""
    return _evaluation_images(path, "captions_*.json", drops)


def instance_evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of the files whose names say val or test."""
    return _evaluation_images(path, "instances_*.json", drops)


def read_images(file: Path, *, drops: Drops) -> Iterator[CocoImage]:
    """Yield the `images` of a file in COCO's layout; what is no image is counted."""
    for number, image in enumerate(read_records(file, "images")):
        try:
            width, height = int(take_number(image, "width")), int(take_number(image, "height"))
            found = CocoImage(Path(take_text(image, "file_name")).stem, width, height, take_id(image, "id"))
        except FieldError as error:
            drops.add(f"image: {error.reason}", f"{file}: image {number}: found {error.found}")
            continue
        if width < 1 or height < 1:
            drops.add("image: size is not positive", f"{file}: image {found.coco_id!r}: found {width} x {height}")
            continue
        yield found


def _joined(file: Path, categories: dict[str, str], drops: Drops) -> Iterator[CocoRecord]:
    images = {image.coco_id: image for image in read_images(file, drops=drops)}
    split = split_in_name(file.name)
    seen: set[int] = set()
    for number, annotation in enumerate(read_records(file, "annotations")):
        where = f"{file}: annotation {number}"
        try:
            annotation_id, image_id = take_id(annotation, "id"), take_id(annotation, "image_id")
            category_id = take_id(annotation, "category_id") if categories else ""
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{where}: found {error.found}")
            continue
        reason = None
        if image_id not in images:
            reason = "annotation: unknown image id"
        elif hash(annotation_id) in seen:
            reason = "annotation: id is there twice"
        elif categories and category_id not in categories:
            reason = "annotation: unknown category id"
        elif annotation.get("iscrowd"):
            reason = "annotation: a crowd"
        if reason is not None:
            found = f"id {annotation_id!r}, image_id {image_id!r}, category_id {category_id!r}"
            drops.add(reason, f"{where}: found {found}")
            continue
        seen.add(hash(annotation_id))
        annotation.pop("segmentation", None)  # most of the bytes, and nothing here wants them
        yield CocoRecord(
            place=str(file),
            split=split,
            image=images[image_id],
            category=categories.get(category_id, ""),
            annotation=annotation,
        )


def _caption(record: CocoRecord) -> Sentence:
    annotation_id = take_id(record["annotation"], "id")
    return Sentence(
        sentence_id=f"{record['image'].image_id}#{annotation_id}",
        images=(SentenceImage(**record["image"]._asdict()),),
        text=take_text(record["annotation"], "caption"),
        source=CAPTIONS,
        split=record["split"],
    )


def _instance(record: CocoRecord, drops: Drops) -> Sentence | None:
    image, category, annotation = record["image"], record["category"], record["annotation"]
    annotation_id = take_id(annotation, "id")
    box = clip_box(take_box(annotation, "bbox"), width=image.width, height=image.height)
    if box is None:
        found = f"annotation {annotation_id!r} ({image.width} x {image.height}): found {annotation['bbox']}"
        drops.add("annotation: box has no area inside the image", f"{record['place']}: {found}")
        return None
    pointer = Pointer(start=0, end=len(category), boxes_xyxy=(box,), object_id=annotation_id, category=category)
    return Sentence(
        sentence_id=f"{image.image_id}#{annotation_id}",
        images=(SentenceImage(**image._asdict()),),
        text=category,
        source=INSTANCES,
        split=record["split"],
        pointers=(pointer,),
    )


def _guarded(record: CocoRecord, drops: Drops, make: Callable[[], Sentence | None]) -> Iterator[Sentence]:
    try:
        sentence = make()
    except FieldError as error:
        annotation_id = record["annotation"]["id"]
        drops.add(
            f"annotation: {error.reason}", f"{record['place']}: annotation {annotation_id!r}: found {error.found}"
        )
        return
    if sentence is not None:
        yield sentence


def _evaluation_images(path: Path, pattern: str, drops: Drops) -> Iterator[SentenceImage]:
    for file in json_files(path, pattern, f"annotations/{pattern}"):
        if split_in_name(file.name) != "train":
            yield from (SentenceImage(**image._asdict()) for image in read_images(file, drops=drops))


def _named(records: Iterator[Record], where: str, drops: Drops) -> Iterator[tuple[str, str]]:
    for number, record in enumerate(records):
        try:
            yield take_id(record, "id"), take_text(record, "name")
        except FieldError as error:
            drops.add(f"category: {error.reason}", f"{where} {number}: found {error.found}")
