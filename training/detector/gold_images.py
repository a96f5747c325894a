"""Annotated images as what a detector learns from and is measured on: names become rows of its vocabulary."""

from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from annotations.boxes import has_other_proportions
from annotations.datasets.text_files import read_lines
from annotations.guards.drops import DataError, Drops
from annotations.records import AnnotatedImage
from detectors.gold_boxes import GoldBoxes, GoldImage
from detectors.inputs.images import ImageError, decode_image
from detectors.records import DecodedImage
from detectors.vocabulary import Vocabulary
from stores.images.bytes import files_sha256
from stores.images.sources import ImageSource


def collect_gold(
    annotated: Iterable[AnnotatedImage],
    files: Collection[str],
    vocabulary: Vocabulary,
    *,
    train: Collection[str],
    val: Collection[str],
    drops: Drops,
) -> GoldBoxes:
    """Return the images of both splits that have a file and an object of a known class; what is left out is counted.

    An image of both splits is val's. An object has the class of its first name that is known, and all its attributes
    that are.
    """
    class_rows, attribute_rows = rows_by_name(vocabulary.classes), rows_by_name(vocabulary.attributes)
    image_ids, sides, is_val = list[str](), array("i"), list[bool]()
    boxes, classes, attributes = array("f"), array("i"), array("i")
    first_box, first_attribute = array("q", [0]), array("q", [0])
    for image in annotated:
        if image.image_id not in train and image.image_id not in val:
            continue
        if image.image_id not in files:
            drops.add("image: no file", f"image {image.image_id!r}")
            continue
        for each in image.objects:
            row = next((class_rows[name] for name in each.names if name in class_rows), None)
            if row is None:
                drops.add("object: not in the vocabulary", f"image {image.image_id!r}: {each.names[0]!r}")
                continue
            boxes.extend(each.box_xyxy)
            classes.append(row)
            attributes.extend(sorted({attribute_rows[name] for name in each.attributes if name in attribute_rows}))
            first_attribute.append(len(attributes))
        if len(classes) == first_box[-1]:
            drops.add("image: no object of a known class", f"image {image.image_id!r}")
            continue
        first_box.append(len(classes))
        image_ids.append(image.image_id)
        sides.extend((image.image_width, image.image_height))
        is_val.append(image.image_id in val)
    return GoldBoxes(
        image_ids=np.array(image_ids, np.str_),
        sides=np.array(sides, np.int32).reshape(-1, 2),
        is_val=np.array(is_val, np.bool_),
        first_box=np.array(first_box, np.int64),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        class_rows=np.array(classes, np.int32),
        first_attribute=np.array(first_attribute, np.int64),
        attribute_rows=np.array(attributes, np.int32),
    )


def rows_by_name(names: Sequence[str]) -> dict[str, int]:
    """Return the network's row, counted from 1, of each name and of each of its comma-separated aliases."""
    rows: dict[str, int] = {}
    for row, line in enumerate(names, start=1):
        for alias in line.split(","):
            rows.setdefault(alias.strip().lower(), row)
    return rows


def image_files(folders: Sequence[Path]) -> dict[str, str]:
    """Return the image files below the folders by their names without suffix, which Visual Genome uses as ids."""
    paths: dict[str, str] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.[jJpP]*[gG]")):
            other = paths.setdefault(path.stem, str(path))
            if other != str(path):
                raise DataError(f"image {path.stem!r} is both {other} and {path}; expected one file an id")
    if not paths:
        raise DataError(f"no image file below {', '.join(map(str, folders))}; expected names such as 2415417.jpg")
    return paths


def images_sha256(image_ids: Iterable[str], files: Mapping[str, str]) -> str:
    """Return what changes with the files of these images; see `files_sha256`."""
    return files_sha256([ImageSource(each, file_of(each, files)) for each in sorted(image_ids)])


def file_of(image_id: str, files: Mapping[str, str]) -> str:
    """Return the file of an image.

    Raises:
        DataError: there is none.
    """
    if image_id not in files:
        raise DataError(f"image {image_id!r}: no file below --images any more; put it back and run again to go on")
    return files[image_id]


def read_image(image: GoldImage, files: Mapping[str, str]) -> DecodedImage:
    """Return an image's pixels.

    Raises:
        DataError: there is no such file, no picture in it, or one that the gold boxes do not fit.
    """
    image_id = image.image_id
    path = file_of(image_id, files)
    try:
        decoded = decode_image(image_id, Path(path).read_bytes())
    except (ImageError, OSError) as error:
        raise DataError(
            f"image {image_id!r}: {path}: {error}; put a whole copy there and run again to go on"
        ) from error
    if has_other_proportions((image.image_width, image.image_height), (decoded.width, decoded.height)):
        raise DataError(
            f"image {image_id!r}: {path} has {decoded.width} x {decoded.height} pixels, expected the proportions that "
            f"it was annotated at, {image.image_width} x {image.image_height}; put a copy that was not cropped or "
            "turned there, or take it out of the lists of the splits for a new run"
        )
    return decoded


def read_split(path: Path) -> frozenset[str]:
    """Return the image ids of a split: one line an image, `2415417`, or as the public files `dir/2415417.jpg xml`."""
    return frozenset(Path(line.split()[0]).stem for line in read_lines(path))
