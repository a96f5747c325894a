"""VinVL's `predictions.tsv`: a key and a JSON object a line; any number of objects, with names instead of ids.

    000000522418 <tab> {"objects": [{"rect": [x1, y1, x2, y2], "bbox_id": 0, "class": "man", "conf": 0.9,
                        "feature": "<base64 of float32>", "attributes": ["tall"], "attr_scores": [0.7]}, ...]}

Attributes are there if the model has them, strongest first. The image's size is in `.hw.tsv`, see `sizes.py`.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from annotations.guards.plain_json import parse_json
from detectors.vocabulary import Vocabulary
from stores.interchange import tab_separated
from stores.interchange.rows import ImportedRegions, Row, RowError, Supplement, checked_regions, image_size
from stores.interchange.tab_separated import decoded, read_fields

COLUMNS = ("key", "predictions")
NO_ATTRIBUTE = "__no_attribute__"

place = 'a file of two tab-separated columns, a key and {"objects": [...]}'
needs_sizes = True
conventions = {
    "class_ids": "of the names in the file",
    "attribute_ids": "the first of each object's names",
    "boxes": "x2, y2 are the last pixel inside",
    "box_order": "as in the file",
}


def looks_like(path: Path) -> bool:
    """Return whether one of the first lines has a key and an object with objects."""
    return path.is_file() and any(
        len(fields) == len(COLUMNS) and fields[1].startswith(b"{") and b'"objects"' in fields[1]
        for fields in tab_separated.first_fields(path)
    )


def list_rows(path: Path) -> Iterable[Row]:
    """Yield the file's rows in order, unread."""
    return tab_separated.list_rows(path, len(COLUMNS))


def read_row(path: Path, row: Row, supplement: Supplement) -> ImportedRegions:
    """Return what one line holds; raises RowError if it is damaged or no size is known."""
    objects = _objects(path, row)
    size = image_size(row.image_id, supplement)
    classes = _numbers(supplement.vocabulary.classes)
    attributes = _numbers(supplement.vocabulary.attributes)
    try:
        features = [np.frombuffer(decoded(each["feature"], "feature"), "<f4") for each in objects]
        boxes = np.array([each["rect"] for each in objects], np.float32).reshape(len(objects), 4)
        return checked_regions(
            row,
            supplement,
            size=size,
            boxes=boxes,
            features=np.stack(features) if features else np.zeros((0, supplement.feature_dim or 0), np.float32),
            class_ids=np.array([_id(each["class"], classes, "class") for each in objects], np.int32),
            class_scores=np.array([each["conf"] for each in objects], np.float32),
            attribute_ids=np.array([_attribute_id(each, attributes) for each in objects], np.int32),
            attribute_scores=np.array([_first(each, "attr_scores") or 0 for each in objects], np.float32),
        )
    except RowError:
        raise
    except KeyError as error:
        raise RowError(f"an object without {error}, expected rect, class, conf and feature") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise RowError(
            f"an object whose values do not fit ({error}), expected rect, class, conf and feature"
        ) from error


def own_vocabulary(path: Path) -> Vocabulary:
    """Return the names that the file has, in the order of the alphabet; reads all of it."""
    classes, attributes = set(), set()
    for row in list_rows(path):
        try:
            objects = _objects(path, row)
        except RowError:
            continue  # it will be told when the row is read
        classes |= {name for each in objects if isinstance(name := each.get("class"), str)}
        attributes |= {name for each in objects if isinstance(name := _first(each, "attributes"), str)} - {NO_ATTRIBUTE}
    return Vocabulary(classes=tuple(sorted(classes)), attributes=tuple(sorted(attributes)))


def _objects(path: Path, row: Row) -> list[dict[str, Any]]:
    if row.fault:
        raise RowError(row.fault)
    try:
        content = parse_json(read_fields(path, row, COLUMNS)["predictions"])
    except (ValueError, RecursionError) as error:
        raise RowError(f"not JSON ({error})") from error
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, list) or not all(isinstance(each, dict) for each in objects):
        raise RowError('no list "objects" of JSON objects, expected VinVL\'s predictions')
    return objects


def _first(item: Mapping[str, Any], name: str) -> Any:
    values = item.get(name)
    return values[0] if isinstance(values, list) and values else None


def _attribute_id(item: Mapping[str, Any], numbers: Mapping[str, int]) -> int:
    name = _first(item, "attributes")
    return -1 if name in (None, NO_ATTRIBUTE) else _id(name, numbers, "attribute")


def _id(name: Any, numbers: Mapping[str, int], kind: str) -> int:
    if name not in numbers:
        raise RowError(f"{kind} {name!r} is not in the vocabulary")
    return numbers[name]


@lru_cache(maxsize=2)
def _numbers(names: tuple[str, ...]) -> dict[str, int]:
    """Return the number of every name and alias."""
    return {alias: number for number, name in enumerate(names) for alias in (name, *name.split(","))}
