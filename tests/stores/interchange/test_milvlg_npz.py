import io
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from stores.errors import StoreError
from stores.interchange import milvlg_npz
from stores.interchange.rows import RowError
from tests.stores.builders import assert_same
from tests.stores.interchange.foreign_files import SUPPLEMENT, make_record, read_all
from tests.stores.interchange.records_to_write import records

INFO = {
    "image_id": "COCO_val2014_000000000042",
    "image_h": np.int64(480),
    "image_w": np.int64(640),
    "num_boxes": 2,
    "objects_id": np.array([72, 1599]),
    "objects_conf": np.array([0.25, 0.75], np.float32),
    "attrs_id": np.array([0, 399]),
    "attrs_conf": np.array([0.5, 0.125], np.float32),
}
MEMBERS = {
    "x": np.array([[0, 1, 2.5], [3, 4, 0.1]], np.float32),
    "bbox": np.array([[0, 0, 361.85, 216.98], [1, 2, 639, 479]], np.float32),
    "num_bbox": 2,
    "image_h": 480,
    "image_w": 640,
    "info": INFO,
}


class Opens:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


class Tensor:
    """Pickles like one of torch."""

    def __reduce__(self):
        torch = pytest.importorskip("torch")
        return torch._utils._rebuild_tensor_v2, (torch.storage._load_from_bytes, 0, (2,), (1,), False, {})


def save(folder, name="COCO_val2014_000000000042.npz", **changes):
    members = MEMBERS | changes
    np.savez_compressed(folder / name, **{key: value for key, value in members.items() if value is not None})
    return folder


def test_a_file_is_read_with_its_info(tmp_path):
    (record,) = read_all(milvlg_npz, save(tmp_path))
    assert record.image_id == "COCO_val2014_000000000042"
    assert (record.image_width, record.image_height) == (640, 480)
    assert record.boxes_xyxy.tolist() == MEMBERS["bbox"].tolist()
    assert record.features.tolist() == MEMBERS["x"].astype(np.float16).tolist()
    assert record.class_ids.tolist() == [72, 1599]
    assert record.class_scores.tolist() == [0.25, 0.75]
    assert record.attribute_ids.tolist() == [0, 399]
    assert record.attribute_scores.tolist() == [0.5, 0.125]


def test_rositas_files_have_boxes_and_no_info(tmp_path):
    save(tmp_path, bbox=None, boxes=MEMBERS["bbox"], num_bbox=None, info=None, text=np.array(["a man", "a dog"]))
    (record,) = read_all(milvlg_npz, tmp_path)
    assert record.boxes_xyxy.tolist() == MEMBERS["bbox"].tolist()
    assert record.class_ids.tolist() == record.attribute_ids.tolist() == [-1, -1]


def test_detectron2s_files_tell_classes_and_their_tensors_are_not_built(tmp_path):
    info = {
        "objects": np.array([1, 0]),
        "cls_prob": np.array([[0.1, 0.5], [0.25, 0]], np.float32),
        "attrs_id": Tensor(),
    }
    (record,) = read_all(milvlg_npz, save(tmp_path, info=info))
    assert record.class_ids.tolist() == [1, 0]
    assert record.class_scores.tolist() == [0.5, 0.25]
    assert record.attribute_ids.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("name", "image_id"),
    [
        ("2375429.npz", "2375429"),
        ("COCO_val2014_000000000042.jpg.npz", "COCO_val2014_000000000042"),
        ("img.v2.001.npz", "img.v2.001"),
        ("VG_100K/1.npz", "VG_100K/1"),
    ],
)
def test_the_files_name_is_the_images(tmp_path, name, image_id):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    assert [row.image_id for row in milvlg_npz.list_rows(save(tmp_path, name))] == [image_id]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": None}, "no x, expected x, bbox"),
        ({"bbox": None}, "no bbox"),
        ({"image_h": None}, "no image_h"),
        ({"image_h": "tall"}, r"image_h is <U4 \[\], expected a whole number"),
        ({"image_w": np.arange(2)}, r"image_w is int64 \[2\]"),
        ({"image_w": -640}, "the size is -640 x 480"),
        ({"num_bbox": 3}, "num_bbox is 3, expected 2"),
        ({"x": np.array([["a"], ["b"]])}, "features are <U1"),
        ({"x": np.arange(6).reshape(2, 3)}, "features are int64"),
        ({"x": np.zeros((3, 2), np.float32), "num_bbox": None, "info": None}, r"features is float16 \[3, 2\]"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "features hold nan"),
        ({"bbox": np.zeros((2, 5))}, r"boxes are float64 \[2, 5\]"),
        ({"bbox": -MEMBERS["bbox"]}, "expected x1 <= x2"),
        ({"info": [1]}, "info holds ndarray, expected a dict"),
        ({"info": INFO | {"objects_id": ["man", "dog"]}}, "class ids are <U3"),
        ({"info": INFO | {"objects_id": np.arange(3)}}, "class_ids is int32"),
        ({"info": {"objects": np.array([5, 0]), "cls_prob": np.zeros((2, 2))}}, "objects in info has 5"),
        ({"info": {"objects": np.array([5, 0])}}, "do not fit together"),
    ],
)
def test_a_damaged_file_says_what_was_found(tmp_path, changes, words):
    with pytest.raises(RowError, match=words):
        read_all(milvlg_npz, save(tmp_path, **changes))


def test_nothing_that_a_pickle_names_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for info in (Opens(), {"image_id": Opens()}):
        with pytest.raises(RowError, match=r"posix\.mkdir.*refused"):
            read_all(milvlg_npz, save(tmp_path, info=info))
    with pytest.raises(RowError, match=r"posix\.mkdir.*refused"):
        read_all(milvlg_npz, save(tmp_path, x=np.array([Opens()], object)))
    assert not Path("was-run").exists()


@pytest.mark.parametrize("size", [0, 1, 100, 500])
def test_a_truncated_file_is_told(tmp_path, size):
    path = save(tmp_path) / "COCO_val2014_000000000042.npz"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RowError, match=r"not a whole \.npz of plain arrays"):
        read_all(milvlg_npz, tmp_path)


def test_damage_inside_a_file_is_told(tmp_path):
    path = save(tmp_path) / "COCO_val2014_000000000042.npz"
    content = bytearray(path.read_bytes())
    content[80] ^= 255
    path.write_bytes(content)
    with pytest.raises(RowError, match=r"not a whole \.npz"):
        read_all(milvlg_npz, tmp_path)


def test_an_array_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 2048)}
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(tmp_path / "7.npz", "w") as archive:
        archive.writestr("x.npy", content.getvalue())
    with pytest.raises(RowError, match=r"x\.npy has 128 bytes, expected"):
        read_all(milvlg_npz, tmp_path)


def test_a_file_that_is_gone_is_told(tmp_path):
    rows = list(milvlg_npz.list_rows(save(tmp_path)))
    (tmp_path / rows[0].place).unlink()
    with pytest.raises(RowError, match="No such file"):
        milvlg_npz.read_row(tmp_path, rows[0], SUPPLEMENT)


@given(wanted=records())
@settings(max_examples=20, deadline=None)
def test_what_was_written_is_read(wanted):
    with tempfile.TemporaryDirectory() as folder:
        assert milvlg_npz.write(Path(folder), wanted) == len(wanted)
        by_id = {record.image_id: record for record in wanted}
        found = read_all(milvlg_npz, Path(folder))
        assert len(found) == len(wanted)
        for record in found:
            assert_same(record, by_id[record.image_id])


def test_written_files_open_in_numpy_as_milvlgs_do(tmp_path):
    milvlg_npz.write(tmp_path, [make_record("2375429", boxes=[[1, 2, 3, 4]], features=[[0.5, 1]])])
    with np.load(tmp_path / "2375429.npz", allow_pickle=True) as members:
        assert sorted(members) == ["bbox", "image_h", "image_w", "info", "num_bbox", "x"]
        assert members["x"].tolist() == [[0.5, 1]]
        assert members["x"].dtype == members["bbox"].dtype == np.float32
        info = members["info"].item()
    assert sorted(info) == sorted(INFO)
    assert info["objects_id"].tolist() == [-1]
    assert (info["image_id"], info["image_h"], info["image_w"], info["num_boxes"]) == ("2375429", 480, 640, 1)


@pytest.mark.parametrize("image_id", ["../7", "/7", "a/../../7", ""])
def test_an_id_that_leads_out_of_the_folder_is_not_written(tmp_path, image_id):
    folder = tmp_path / "features"
    with pytest.raises(StoreError, match="its id is no file name"):
        milvlg_npz.write(folder, [make_record(image_id, boxes=[[0, 0, 1, 1]], features=[[1]])])
    assert list(tmp_path.rglob("*.npz")) == []
