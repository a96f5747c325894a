import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from stores.errors import StoreError
from stores.interchange import lxmert_tsv
from stores.interchange.rows import RowError
from tests.stores.builders import assert_same
from tests.stores.interchange.foreign_files import SUPPLEMENT, base64_of, lxmert_line, make_record, read_all
from tests.stores.interchange.records_to_write import records


def write(tmp_path, *lines):
    path = tmp_path / "features.tsv"
    path.write_bytes(b"".join(lines))
    return path


def test_a_line_is_read_with_height_before_width(tmp_path):
    (record,) = read_all(lxmert_tsv, write(tmp_path, lxmert_line(b"COCO_val2014_000000000042")))
    assert record.image_id == "COCO_val2014_000000000042"
    assert (record.image_width, record.image_height) == (640, 480)
    assert record.boxes_xyxy.tolist() == [[0, 0, np.float32(361.85), np.float32(216.98)], [1, 2, 639, 479]]
    assert record.features.tolist() == [[0, 1, 2.5], [3, 4, np.float16(0.1)]]
    assert record.class_ids.tolist() == [72, 1599]
    assert record.class_scores.tolist() == [0.25, 0.75]
    assert record.attribute_ids.tolist() == [0, 399]
    assert record.attribute_scores.tolist() == [0.5, 0.125]
    assert record.selection == "imported"


def test_the_loss_of_rounding_is_told(tmp_path):
    path = write(tmp_path, lxmert_line())
    (row,) = lxmert_tsv.list_rows(path)
    lost = lxmert_tsv.read_row(path, row, SUPPLEMENT).rounding_error
    assert lost == pytest.approx(abs(float(np.float32(0.1)) - float(np.float16(0.1))))


def test_rows_are_listed_with_their_lines_and_read_in_any_order(tmp_path):
    path = write(tmp_path, lxmert_line(b"b"), b"\r\n", lxmert_line(b"a"))
    rows = list(lxmert_tsv.list_rows(path))
    assert [(row.image_id, row.place) for row in rows] == [("b", "line 1"), ("a", "line 3")]
    assert [lxmert_tsv.read_row(path, row, SUPPLEMENT).regions.image_id for row in reversed(rows)] == ["a", "b"]


def test_a_line_without_boxes_has_the_features_length_of_the_others(tmp_path):
    none = dict.fromkeys(("objects_id", "objects_conf", "attrs_id", "attrs_conf", "boxes", "features"), b"")
    path = write(tmp_path, lxmert_line(num_boxes=b"0", **none))
    with pytest.raises(RowError, match=r"features are float32 \[0, 0\]"):
        read_all(lxmert_tsv, path)
    (row,) = lxmert_tsv.list_rows(path)
    supplement = replace(SUPPLEMENT, feature_dim=3)
    assert lxmert_tsv.read_row(path, row, supplement).regions.features.shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"img_h": b"tall"}, r"img_h is b'tall', expected a whole number"),
        ({"img_w": b"-640"}, r"img_w is b'-640'"),
        ({"img_w": b"0"}, r"the size is 0 x 480 pixels"),
        ({"num_boxes": b"3"}, r"boxes has 32 bytes, expected 48, \[3, 4\] of float32"),
        ({"num_boxes": b"2.0"}, r"num_boxes is b'2\.0'"),
        ({"boxes": b"%%%"}, r"boxes is not base64"),
        ({"boxes": base64_of([[0, 0, 1, 1]], "<f4")}, r"boxes has 16 bytes, expected 32"),
        ({"boxes": base64_of([[0, 0, np.nan, 1], [0, 0, 1, 1]], "<f4")}, r"boxes hold nan, expected finite"),
        (
            {"boxes": base64_of([[0, 0, 1, 1], [5, 0, 1, 1]], "<f4")},
            r"box 1 is \[5\.0, 0\.0, 1\.0, 1\.0\], expected x1",
        ),
        ({"boxes": base64_of([[-9, 0, 1, 1], [0, 0, 1, 1]], "<f4")}, r"box 0 is \[-9\.0.* expected it in the image"),
        ({"img_h": b"640", "img_w": b"480"}, r"box 1 .* image of 480 x 640 pixels; are width and height swapped\?"),
        ({"features": base64_of([1, 2, 3], "<f4")}, r"features has 12 bytes, expected rows of one length for 2 boxes"),
        ({"features": b""}, r"features are float32 \[2, 0\]"),
        ({"features": lxmert_line().split(b"\t")[-1].strip()[:-5]}, r"features is not base64"),
        ({"features": base64_of([[0, np.inf]] * 2, "<f4")}, r"features hold inf, expected finite numbers"),
        ({"features": base64_of([[0, 70000]] * 2, "<f4")}, r"features hold 70000\.0, expected at most 65504"),
        ({"objects_id": base64_of([0, 1600], "<i8")}, r"class id is 1600, expected -1 to 1599"),
        ({"objects_id": base64_of([0, -2], "<i8")}, r"class id is -2"),
        ({"objects_id": base64_of([0, 1], "<i4")}, r"objects_id has 8 bytes, expected 16, \[2\] of int64"),
        ({"attrs_id": base64_of([400, 0], "<i8")}, r"attribute id is 400, expected -1 to 399"),
        ({"objects_conf": base64_of([0, np.nan], "<f4")}, r"class scores hold nan"),
    ],
)
def test_a_damaged_line_says_what_was_found(tmp_path, changes, words):
    with pytest.raises(RowError, match=words):
        read_all(lxmert_tsv, write(tmp_path, lxmert_line(**changes)))


def test_boxes_a_little_outside_of_the_image_are_clipped_as_given_ones_are(tmp_path):
    boxes = base64_of([[-0.6, 0, 640.6, 480.6], [0, 0, 1, 1]], "<f4")
    (record,) = read_all(lxmert_tsv, write(tmp_path, lxmert_line(boxes=boxes)))
    assert record.boxes_xyxy.tolist() == [[0, 0, 640, 480], [0, 0, 1, 1]]


def test_lines_that_are_no_rows_are_listed_with_their_fault(tmp_path):
    whole = lxmert_line(b"c")
    path = write(tmp_path, b"a\tb\n", b"\xff" + whole, b"no tabs\n", whole, whole[:60])
    rows = list(lxmert_tsv.list_rows(path))
    assert [(row.image_id, row.fault) for row in rows] == [
        ("a", "2 fields, expected 10"),
        ("", "image id b'\\xffc' is not UTF-8"),
        ("", "1 fields, expected 10"),
        ("c", ""),
        ("c", f"{whole[:60].count(9) + 1} fields, expected 10; the file is cut short here"),
    ]


def test_a_line_that_never_ends_is_passed_over_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("stores.interchange.tab_separated.LONGEST_LINE", 1000)
    path = write(tmp_path, lxmert_line(b"a"), b"x" * 2500 + b"\n", lxmert_line(b"b"), b"y" * 1000)
    rows = list(lxmert_tsv.list_rows(path))
    assert [row.image_id for row in rows] == ["a", "", "b", ""]
    assert [row.fault[:28] for row in rows] == ["", "a line of 2501 bytes, expect", "", "1 fields, expected 10; the f"]
    assert lxmert_tsv.read_row(path, rows[2], SUPPLEMENT).regions.image_id == "b"


@given(wanted=records())
@settings(max_examples=30, deadline=None)
def test_what_was_written_is_read(wanted):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.tsv")
        assert lxmert_tsv.write(path, wanted) == len(wanted)
        for found, expected in zip(read_all(lxmert_tsv, path), wanted, strict=True):
            assert_same(found, expected)


def test_a_written_line_has_its_fields_in_their_order(tmp_path):
    path = write(tmp_path, lxmert_line(features=base64_of([[0, 1, 2.5], [3, 4, 0.25]], "<f4")))
    lxmert_tsv.write(tmp_path / "again.tsv", read_all(lxmert_tsv, path))
    assert (tmp_path / "again.tsv").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("image_id", ["a\tb", "a\nb", 'a"b'])
def test_an_id_that_would_break_a_line_is_not_written(tmp_path, image_id):
    record = make_record(image_id, boxes=[[0, 0, 1, 1]], features=[[1]])
    with pytest.raises(StoreError, match="which a TSV cannot hold"):
        lxmert_tsv.write(tmp_path / "x.tsv", [record])
    assert list(tmp_path.iterdir()) == []
