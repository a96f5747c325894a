import numpy as np
import pytest

from stores.interchange import butd_tsv
from stores.interchange.rows import RowError
from tests.stores.interchange.foreign_files import base64_of, butd_line, read_all


def test_a_line_is_read_with_width_before_height_and_without_names(tmp_path):
    path = tmp_path / "trainval.tsv"
    path.write_bytes(butd_line(b"458752") + butd_line(b"9"))
    first, second = read_all(butd_tsv, path)
    assert (first.image_id, second.image_id) == ("458752", "9")
    assert (first.image_width, first.image_height) == (640, 480)
    assert first.boxes_xyxy.tolist() == [[0, 0, np.float32(361.85), np.float32(216.98)], [1, 2, 639, 479]]
    assert first.features.tolist() == [[0, 1, 2.5], [3, 4, np.float16(0.1)]]
    for ids, scores in ((first.class_ids, first.class_scores), (first.attribute_ids, first.attribute_scores)):
        assert ids.tolist() == [-1, -1]
        assert scores.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_w": b"480", "image_h": b"640"}, "are width and height swapped"),
        ({"image_h": b"4e2"}, "image_h is b'4e2'"),
        ({"num_boxes": b"1"}, "boxes has 32 bytes, expected 16"),
        ({"boxes": b"AAA"}, "boxes is not base64"),
        ({"features": base64_of([1, 2, 3], "<f4")}, "rows of one length for 2 boxes"),
        ({"features": base64_of([[1, np.nan]] * 2, "<f4")}, "features hold nan"),
    ],
)
def test_a_damaged_line_says_what_was_found(tmp_path, changes, words):
    path = tmp_path / "trainval.tsv"
    path.write_bytes(butd_line(**changes))
    with pytest.raises(RowError, match=words):
        read_all(butd_tsv, path)
