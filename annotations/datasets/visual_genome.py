"""Reads Visual Genome, version 1.4, in its official layout: https://homes.cs.washington.edu/~ranjay/visualgenome.

FOLDER/objects.json       boxes and names
FOLDER/attributes.json    attributes of the same objects; optional
FOLDER/image_data.json    image sizes
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from annotations.boxes import clip_box
from annotations.datasets.in_step import InStep
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_records,
    take_id,
    take_ids,
    take_number,
    take_objects,
    take_words,
)
from annotations.guards.drops import Drops
from annotations.records import AnnotatedImage, AnnotatedObject

AttributesByObject = dict[str, tuple[str, ...]]


def read_objects(folder: Path, *, drops: Drops) -> Iterator[AnnotatedImage]:
    """Yield every image of objects.json in its order, with boxes clipped to the image.

    Images of unknown size, objects without a name and boxes without area inside the image are left out and
    counted in `drops`. In memory are one image's records, all image sizes (20 MB for the whole of Visual Genome),
    and the attributes of those images that attributes.json has earlier than objects.json: none of them when the
    two files list their images in one order, as the official ones do.

    Raises:
        DataError: a file is missing, is not a JSON array of objects, or `drops` is strict.
    """
    path = folder / "objects.json"
    sizes = read_image_sizes(folder, drops=drops)
    attributes_path = folder / "attributes.json"
    attributes = _attributes_in_step(attributes_path, drops) if attributes_path.exists() else None
    seen: set[str] = set()
    for position, record in enumerate(read_records(path)):
        try:
            image_id = take_id(record, "image_id")
            objects = take_objects(record, "objects")
        except FieldError as error:
            drops.add(f"image: {error.reason}", f"{path}: record {position}: found {error.found}")
            continue
        where = f"{path}: image {image_id!r}"
        if image_id in seen:
            drops.add("image: listed twice", f"{where}: found again as record {position}")
            continue
        seen.add(image_id)
        attributes_by_object = attributes.take(image_id) if attributes else {}
        if attributes_by_object is None:
            drops.add("attributes: none for an image", f"{attributes_path}: image {image_id!r}: not found")
            attributes_by_object = {}
        if image_id not in sizes:
            drops.add("image: size unknown", f"{where}: not found in {folder / 'image_data.json'}")
            continue
        width, height = sizes[image_id]
        yield AnnotatedImage(
            image_id=image_id,
            image_width=width,
            image_height=height,
            objects=tuple(
                _read_image_objects(
                    objects, attributes_by_object, image_width=width, image_height=height, where=where, drops=drops
                )
            ),
        )


def read_image_sizes(folder: Path, *, drops: Drops) -> dict[str, tuple[int, int]]:
    """Return width and height of every image in image_data.json; pixels."""
    path = folder / "image_data.json"
    sizes: dict[str, tuple[int, int]] = {}
    for position, record in enumerate(read_records(path)):
        try:
            image_id = take_id(record, "image_id")
            width, height = int(take_number(record, "width")), int(take_number(record, "height"))
        except FieldError as error:
            drops.add(f"image size: {error.reason}", f"{path}: record {position}: found {error.found}")
            continue
        if width < 1 or height < 1:
            drops.add("image size: not positive", f"{path}: image {image_id!r}: found {width} x {height}")
            continue
        sizes[image_id] = width, height
    return sizes


def _read_image_objects(
    records: list[Record],
    attributes_by_object: AttributesByObject,
    *,
    image_width: int,
    image_height: int,
    where: str,
    drops: Drops,
) -> Iterator[AnnotatedObject]:
    seen: set[str] = set()
    for position, record in enumerate(records):
        try:
            object_id = take_id(record, "object_id")
            merged_ids = take_ids(record, "merged_object_ids") if "merged_object_ids" in record else ()
            names = take_words(record, "names")
            x, y, width, height = (take_number(record, field) for field in ("x", "y", "w", "h"))
        except FieldError as error:
            which = record.get("object_id", f"number {position}")
            drops.add(f"object: {error.reason}", f"{where}, object {which!r}: found {error.found}")
            continue
        # What annotators outlined twice was merged into one object, but attributes.json may keep the other's id.
        described = [attributes_by_object.pop(each, ()) for each in (object_id, *merged_ids)]
        box_xyxy = clip_box((x, y, x + width, y + height), width=image_width, height=image_height)
        reason = None
        if object_id in seen:
            reason = "listed twice"
        elif not names:
            reason = "no name"
        elif width <= 0 or height <= 0:
            reason = "box has no area"
        elif box_xyxy is None:
            reason = "box outside the image"
        seen.add(object_id)
        if reason is not None or box_xyxy is None:
            found = f"x {x:g}, y {y:g}, w {width:g}, h {height:g}, names {names}"
            drops.add(
                f"object: {reason}", f"{where} ({image_width} x {image_height}), object {object_id!r}: found {found}"
            )
            continue
        attributes = tuple(dict.fromkeys(word for words in described for word in words))
        yield AnnotatedObject(object_id=object_id, box_xyxy=box_xyxy, names=names, attributes=attributes)
    for object_id, words in attributes_by_object.items():
        drops.add("attributes: of an unknown object", f"{where}, object {object_id!r}: found {', '.join(words)}")


def _attributes_in_step(path: Path, drops: Drops) -> InStep[AttributesByObject]:
    return InStep(
        _attributes_by_image(path, drops),
        keys=lambda: (image_id for image_id, _ in _attributes_by_image(path, Drops())),  # counted the first time
    )


def _attributes_by_image(path: Path, drops: Drops) -> Iterator[tuple[str, AttributesByObject]]:
    for position, record in enumerate(read_records(path)):
        try:
            image_id = take_id(record, "image_id")
            objects = take_objects(record, "attributes")
        except FieldError as error:
            drops.add(f"attributes: {error.reason}", f"{path}: record {position}: found {error.found}")
            continue
        yield image_id, dict(_attributes_by_object(objects, f"{path}: image {image_id!r}", drops))


def _attributes_by_object(records: list[Record], where: str, drops: Drops) -> Iterator[tuple[str, tuple[str, ...]]]:
    for position, record in enumerate(records):
        try:
            object_id = take_id(record, "object_id")
            # Objects that nobody described have no such field.
            words = take_words(record, "attributes") if "attributes" in record else ()
        except FieldError as error:
            which = record.get("object_id", f"number {position}")
            drops.add(f"attributes: {error.reason}", f"{where}, object {which!r}: found {error.found}")
            continue
        if words:
            # One copy of each word, since millions of records share a few thousand of them.
            yield object_id, tuple(map(sys.intern, words))
