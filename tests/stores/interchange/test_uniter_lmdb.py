import io
import json
from dataclasses import replace

import lmdb
import msgpack
import numpy as np
import pytest

from annotations.guards.drops import DataError
from stores.interchange import uniter_lmdb
from stores.interchange.rows import RowError
from tests.stores.interchange.foreign_files import SUPPLEMENT, read_all

LABELS = np.zeros((2, 1601), np.float16)
LABELS[:, 0] = 0.9  # the background's probability, which is no class
LABELS[0, 73] = 0.25
LABELS[1, 1600] = 0.75
ARRAYS = {
    "norm_bb": np.array([[0, 0.25, 0.5, 0.5, 0.5, 0.25], [0.125, 0, 1, 1, 0.875, 1]], np.float16),
    "features": np.array([[0, 1, 2.5], [3, 4, 0.1]], np.float16),
    "conf": np.array([[0.25], [0.75]], np.float16),
    "soft_labels": LABELS,
}


def packed(array):
    """Return what msgpack_numpy 0.4 makes of an array."""
    return {b"nd": True, b"type": array.dtype.str, b"kind": b"", b"shape": array.shape, b"data": array.tobytes()}


def as_msgpack(**changes):
    values = {
        name: packed(value) if isinstance(value, np.ndarray) else value for name, value in (ARRAYS | changes).items()
    }
    return msgpack.packb({name: value for name, value in values.items() if value is not None}, use_bin_type=True)


def as_npz(**changes):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **(ARRAYS | changes))
    return buffer.getvalue()


def write(folder, values):
    with lmdb.open(str(folder), map_size=1 << 24) as database, database.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
        transaction.put(b"__keys__", json.dumps([key.decode(errors="replace") for key in values]).encode())
    return folder


@pytest.mark.parametrize("content", [as_msgpack(), as_npz()], ids=["msgpack", "npz"])
def test_an_image_is_read_at_its_size(tmp_path, content):
    (record,) = read_all(uniter_lmdb, write(tmp_path, {b"7.npz": content}))
    assert record.image_id == "7"
    assert (record.image_width, record.image_height) == (640, 480)
    assert record.boxes_xyxy.tolist() == [[0, 120, 320, 240], [80, 0, 640, 480]]
    assert record.features.tobytes() == ARRAYS["features"].tobytes()
    assert record.class_ids.tolist() == [72, 1599]
    assert record.class_scores.tolist() == [0.25, 0.75]
    assert record.attribute_ids.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("key", "image_id"),
    [
        (b"nlvr2_train-10171-0-img0.npz", "train-10171-0-img0"),
        (b"coco_train2014_000000458752.npz", "COCO_train2014_000000458752"),
        (b"visual_grounding_coco_gt_000000458752.npz", "000000458752"),
        (b"flickr30k_001000092795.npz", "1000092795"),
        (b"vcr_gt_val_0000000.npz", "vcr_gt_val_0000000"),
    ],
)
def test_names_become_image_ids(tmp_path, key, image_id):
    (row,) = uniter_lmdb.list_rows(write(tmp_path, {key: b""}))
    assert (row.image_id, row.place) == (image_id, key.decode())


def test_a_key_that_is_no_text_has_a_fault(tmp_path):
    (row,) = uniter_lmdb.list_rows(write(tmp_path, {b"\xff.npz": b""}))
    assert row.fault == "its key is not UTF-8"


def test_an_image_without_a_size_is_told(tmp_path):
    path = write(tmp_path, {b"7.npz": as_msgpack()})
    with pytest.raises(RowError, match="no size of this image"):
        read_all(uniter_lmdb, path, replace(SUPPLEMENT, sizes={}))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty, expected norm_bb"),
        (b"\xc1\xc1", "neither msgpack nor an .npz"),
        (as_msgpack()[:1000], "neither msgpack nor an .npz"),
        (as_npz()[:300], "not a whole .npz"),
        (msgpack.packb([1, 2]), "a list, expected a map"),
        (as_msgpack(soft_labels=None), "no soft_labels"),
        (as_msgpack(features=[1, 2]), "features is no array as msgpack_numpy packs it"),
        (as_msgpack(features=packed(ARRAYS["features"]) | {b"shape": [2, 4]}), r"12 bytes for \[2, 4\] of float16"),
        (as_msgpack(features=packed(ARRAYS["features"]) | {b"type": "O"}), "12 bytes for"),
        (as_msgpack(features=packed(ARRAYS["features"]) | {b"shape": "wide"}), "features is no array"),
        (as_msgpack(norm_bb=ARRAYS["norm_bb"][:1]), r"features is float16 \[2, 3\], expected float16 \[1, any\]"),
        (as_msgpack(norm_bb=np.zeros((2, 3), np.float16)), r"norm_bb is float16 \[2, 3\]"),
        (as_msgpack(norm_bb=ARRAYS["norm_bb"] * 100), "expected it in the image of 640 x 480"),
        (as_msgpack(norm_bb=ARRAYS["norm_bb"] * np.float16(np.nan)), "boxes hold nan"),
        (
            as_msgpack(soft_labels=np.zeros((2, 1602), np.float16) + np.eye(2, 1602, 1600, np.float16)),
            "class id is 1600",
        ),
        (as_msgpack(soft_labels=np.zeros((2, 1), np.float16)), r"soft_labels are float16 \[2, 1\]"),
        (as_npz(features=np.array([{}], object)), "features holds dict|no features"),
    ],
)
def test_a_damaged_value_says_what_was_found(tmp_path, content, words):
    with pytest.raises(RowError, match=words):
        read_all(uniter_lmdb, write(tmp_path, {b"7.npz": content}))


def test_a_database_that_is_cut_short_is_told_and_kills_nothing(tmp_path):
    write(tmp_path, {b"%d.npz" % number: as_msgpack() for number in range(50)})
    content = (tmp_path / "data.mdb").read_bytes()
    for size in (len(content) // 2, 8192, 5000):
        (tmp_path / "data.mdb").write_bytes(content[:size])
        with pytest.raises(DataError, match=r"cut short|not a whole LMDB"):
            list(uniter_lmdb.list_rows(tmp_path))
