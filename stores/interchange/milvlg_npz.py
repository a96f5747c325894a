"""A folder of one `.npz` an image, as MILVLG/bottom-up-attention.pytorch and ROSITA publish them.

    x         float32 [num_boxes, feature_dim]
    bbox      float32 [num_boxes, 4], x1, y1, x2, y2 in pixels; ROSITA calls it boxes
    num_bbox, image_h, image_w
    info      a pickled dict: image_id, image_h, image_w, num_boxes, objects_id, objects_conf, attrs_id, attrs_conf;
              of its detectron2 models objects, cls_prob and, by mistake, attributes as tensors on a GPU
              ROSITA has none

The file's name is the image's id; in `info` MILVLG ends it at the first dot.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from detectors.records import RegionFeatures
from detectors.vocabulary import Vocabulary, numbered_vocabulary
from stores.atomic import replacing
from stores.errors import StoreError
from stores.interchange.npz_members import read_members
from stores.interchange.rows import (
    VISUAL_GENOME_ATTRIBUTES,
    VISUAL_GENOME_CLASSES,
    ImportedRegions,
    Row,
    RowError,
    Supplement,
    checked_regions,
)

place = "a folder of .npz files, one an image, with x, bbox (or boxes), image_h and image_w"
needs_sizes = False
conventions = {
    "class_background": "row 0 of the network (detectron2 models: the last row), removed from class_ids",
    "attribute_none": "row 0 of the network, removed from attribute_ids; none told of detectron2 models",
    "box_order": "as in the file",
}

_PHOTOGRAPHS = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
_MEMBERS = ("x", "bbox", "boxes", "num_bbox", "image_h", "image_w", "info")


class _Untold:
    """Takes the place of a tensor, which nothing but torch's own code could restore."""

    def __init__(self, *_: Any) -> None:
        pass


_STAND_INS = {
    ("torch._utils", "_rebuild_tensor_v2"): _Untold,
    ("torch.storage", "_load_from_bytes"): _Untold,
}


def looks_like(path: Path) -> bool:
    """Return whether the folder's first `.npz` has x and boxes."""
    first = next(path.rglob("*.npz"), None) if path.is_dir() else None
    if first is None:
        return False
    try:
        return {"x", "image_h"} <= read_members(first.read_bytes(), ("x", "image_h")).keys()
    except RowError:
        return False


def list_rows(path: Path) -> Iterator[Row]:
    """Yield the folder's files, ascending by name, unread."""
    for each in sorted(path.rglob("*.npz")):
        below = each.relative_to(path).as_posix()
        name = PurePosixPath(below.removesuffix(".npz"))
        image_id = name.with_suffix("") if name.suffix.lower() in _PHOTOGRAPHS else name
        yield Row(str(image_id), below)


def read_row(path: Path, row: Row, supplement: Supplement) -> ImportedRegions:
    """Return what one file holds; raises RowError if it is damaged or cannot be read."""
    try:
        members = read_members((path / row.place).read_bytes(), _MEMBERS, _STAND_INS)
    except OSError as error:
        raise RowError(f"cannot be read ({error.strerror})") from error
    members.setdefault("bbox", members.get("boxes"))
    for name in ("x", "bbox", "image_h", "image_w"):
        if members.get(name) is None:
            raise RowError(f"no {name}, expected x, bbox (or boxes), image_h and image_w")
    features = members["x"]
    if "num_bbox" in members and (found := _number(members, "num_bbox")) != len(features):
        raise RowError(f"num_bbox is {found}, expected {len(features)}, the rows of x")
    return checked_regions(
        row,
        supplement,
        size=(_number(members, "image_w"), _number(members, "image_h")),
        boxes=members["bbox"],
        features=features,
        **_names(members.get("info", {})),
    )


def own_vocabulary(path: Path) -> Vocabulary:
    """Return numbered names: the files have none."""
    return numbered_vocabulary(VISUAL_GENOME_CLASSES, VISUAL_GENOME_ATTRIBUTES)


def write(path: Path, records: Iterable[RegionFeatures]) -> int:
    """`path` is a folder with one file a record, each whole and on disk, as MILVLG writes them; returns their number.

    `info` needs numpy 1.26 or newer to be read, like all that numpy 2 pickles; the other arrays any.

    Raises:
        StoreError: an image id that is no file name.
    """
    num_files = 0
    for record in records:
        name = PurePosixPath(f"{record.image_id}.npz")
        if name.is_absolute() or ".." in name.parts or len(name.name) <= len(".npz"):
            raise StoreError(f"image {record.image_id!r}: its id is no file name, expected one to name its .npz")
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        with replacing(path / name) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **_members(record))
        num_files += 1
    return num_files


def _names(info: Any) -> dict[str, Any]:
    """Return classes and attributes as far as they are told."""
    if not isinstance(info, Mapping):
        raise RowError(f"info holds {type(info).__name__}, expected a dict")
    if "objects" in info:
        classes, probabilities = np.asarray(info["objects"]), np.asarray(info.get("cls_prob"))
        if classes.dtype.kind != "i" or probabilities.ndim != 2 or len(probabilities) != len(classes):
            raise RowError("objects and cls_prob in info do not fit together, expected one row a box")
        if len(classes) and not 0 <= classes.min() <= classes.max() < probabilities.shape[1]:
            raise RowError(f"objects in info has {classes.max()}, expected a column of cls_prob")
        return {"class_ids": classes, "class_scores": probabilities[np.arange(len(classes)), classes]}
    return {
        ours: info[theirs]
        for ours, theirs in (
            ("class_ids", "objects_id"),
            ("class_scores", "objects_conf"),
            ("attribute_ids", "attrs_id"),
            ("attribute_scores", "attrs_conf"),
        )
        if theirs in info
    }


def _number(members: Mapping[str, Any], name: str) -> int:
    value = np.asarray(members[name])
    if value.size != 1 or value.dtype.kind not in "iu":
        raise RowError(f"{name} is {value.dtype} {list(value.shape)}, expected a whole number")
    return int(value.item())


def _members(record: RegionFeatures) -> dict[str, Any]:
    info = {
        "image_id": record.image_id,
        "image_h": record.image_height,
        "image_w": record.image_width,
        "num_boxes": record.num_boxes,
        "objects_id": record.class_ids.astype(np.int64),
        "objects_conf": record.class_scores,
        "attrs_id": record.attribute_ids.astype(np.int64),
        "attrs_conf": record.attribute_scores,
    }
    return {
        "x": record.features.astype(np.float32),
        "bbox": record.boxes_xyxy,
        "num_bbox": record.num_boxes,
        "image_h": record.image_height,
        "image_w": record.image_width,
        "info": info,
    }
