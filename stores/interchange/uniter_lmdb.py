"""UNITER's LMDB: a key an image, `nlvr2_dev-0-0-img0.npz`, and under `__keys__` their list as JSON.

    norm_bb      float16 [num_boxes, 6]     x1, y1, x2, y2, width, height as parts of the image's
    features     float16 [num_boxes, 2048]
    conf         float16 [num_boxes, 1]
    soft_labels  float16 [num_boxes, 1601]  class probabilities, background first

A value is a msgpack map whose arrays are as msgpack_numpy packs them, or (`..._compressed`) the bytes of an `.npz`.
There is no image size in it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from annotations.guards.drops import DataError
from annotations.image_ids import Ids
from detectors.vocabulary import Vocabulary, numbered_vocabulary
from stores.interchange.npz_members import read_members
from stores.interchange.rows import (
    VISUAL_GENOME_ATTRIBUTES,
    VISUAL_GENOME_CLASSES,
    ImportedRegions,
    Row,
    RowError,
    Supplement,
    checked_regions,
    image_size,
)

place = "UNITER's LMDB: the folder of its data.mdb, with *.npz keys"
needs_sizes = True
conventions = {
    "class_background": "column 0 of soft_labels, removed from class_ids",
    "attribute_ids": "none in the file",
    "boxes": "norm_bb times the image's size",
    "box_order": "as in the file",
}

PREFIXES = {
    "nlvr2_": "",
    "coco_train2014_": "COCO_train2014_",
    "coco_val2014_": "COCO_val2014_",
    "coco_test2015_": "COCO_test2015_",
    "visual_grounding_coco_gt_": "",
    "visual_grounding_det_coco_": "",
}
"""How UNITER's names begin, and image ids instead; visual grounding has COCO's number in twelve digits."""

NUMBERED: dict[str, Ids] = {"flickr30k_": "flickr30k", "vg_": "visual-genome"}
"""How names begin whose rest is a number of others, after zeros that are not theirs."""

_KEYS = b"__keys__"
_MEMBERS = ("norm_bb", "features", "soft_labels")


def looks_like(path: Path) -> bool:
    """Return whether the database has UNITER's keys."""
    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file() or not _is_lmdb(file):
        return False
    with _reading(path) as transaction, transaction.cursor() as cursor:
        keys = islice(cursor.iternext(values=False), 4)
        return any(bytes(key).endswith(b".npz") for key in keys)


def list_rows(path: Path) -> Iterator[Row]:
    """Yield the database's images, ascending by key, unread; raises DataError if it is cut short."""
    with _reading(path) as transaction, transaction.cursor() as cursor:
        for key in cursor.iternext(values=False):
            if key == _KEYS:
                continue
            try:
                name = bytes(key).decode()
                image_id, ids = _image_id(name)
                yield Row(image_id, name, ids=ids)
            except UnicodeDecodeError:
                yield Row("", repr(key), fault="its key is not UTF-8")


def read_row(path: Path, row: Row, supplement: Supplement) -> ImportedRegions:
    """Return what one key holds; raises RowError if it is damaged or no size is known."""
    with _reading(path) as transaction:
        content = bytes(transaction.get(row.place.encode(), b""))
    width, height = image_size(row.image_id, supplement)
    arrays = _arrays(content)
    boxes, labels = arrays["norm_bb"], arrays["soft_labels"]
    if boxes.ndim != 2 or boxes.shape[1] < 4 or boxes.dtype.kind != "f":
        raise RowError(f"norm_bb is {boxes.dtype} {list(boxes.shape)}, expected floats [num_boxes, 6]")
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind != "f":
        raise RowError(f"soft_labels are {labels.dtype} {list(labels.shape)}, expected floats [num_boxes, 1601]")
    return checked_regions(
        row,
        supplement,
        size=(width, height),
        boxes=boxes[:, :4].astype(np.float32) * np.array([width, height, width, height], np.float32),
        features=arrays["features"],
        class_ids=labels[:, 1:].argmax(axis=1),
        class_scores=labels[:, 1:].max(axis=1),
    )


def own_vocabulary(path: Path) -> Vocabulary:
    """Return numbered names: the file has none."""
    return numbered_vocabulary(VISUAL_GENOME_CLASSES, VISUAL_GENOME_ATTRIBUTES)


@contextmanager
def _reading(path: Path) -> Iterator[lmdb.Transaction]:
    try:
        with lmdb.open(str(path), readonly=True, lock=False, subdir=path.is_dir(), create=False) as database:
            _refuse_if_cut_short(database, path / "data.mdb" if path.is_dir() else path)
            with database.begin() as transaction:
                yield transaction
    except lmdb.Error as error:
        raise DataError(f"{path}: not a whole LMDB ({error}); fetch it again") from error


def _refuse_if_cut_short(database: lmdb.Environment, file: Path) -> None:
    """Raise DataError where LMDB would read beyond the file's end, which kills a process."""
    expected = (database.info()["last_pgno"] + 1) * database.stat()["psize"]
    if file.stat().st_size < expected:
        raise DataError(f"{file}: cut short, {file.stat().st_size} bytes, expected {expected}; fetch it again")


def _is_lmdb(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(20)[16:] == b"\xde\xc0\xef\xbe"


def _image_id(key: str) -> tuple[str, Ids | None]:
    """Return the image's id and, of a number, whose it is."""
    name = key.removesuffix(".npz")
    for beginning, ids in NUMBERED.items():
        number = name.removeprefix(beginning).lstrip("0")
        if name.startswith(beginning) and number.isdecimal():
            return number, ids
    return next(
        (ours + name.removeprefix(theirs) for theirs, ours in PREFIXES.items() if name.startswith(theirs)), name
    ), None


def _arrays(content: bytes) -> Mapping[str, NDArray[Any]]:
    if not content:
        raise RowError("empty, expected norm_bb, features and soft_labels")
    arrays = read_members(content, _MEMBERS) if content.startswith(b"PK") else _unpacked(content)
    for name in _MEMBERS:
        if not isinstance(arrays.get(name), np.ndarray):
            raise RowError(f"no {name}, expected norm_bb, features and soft_labels")
    return arrays


def _unpacked(content: bytes) -> dict[str, Any]:
    try:
        packed = msgpack.unpackb(content, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise RowError(f"neither msgpack nor an .npz ({error or type(error).__name__})") from error
    if not isinstance(packed, dict):
        raise RowError(f"a {type(packed).__name__}, expected a map of arrays")
    return {name: _as_array(name, packed[name]) for name in _MEMBERS if name in packed}


def _as_array(name: str, packed: Any) -> NDArray[Any]:
    """Return an array as msgpack_numpy packed it: `nd`, its `type`, `shape` and `data`."""
    try:
        fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in packed.items()}
        dtype, shape, data = np.dtype(fields["type"]), fields["shape"], fields["data"]
        if dtype.kind != "f" or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"{len(data)} bytes for {shape} of {dtype}")
        return np.frombuffer(data, dtype).reshape(shape)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RowError(f"{name} is no array as msgpack_numpy packs it ({error})") from error
