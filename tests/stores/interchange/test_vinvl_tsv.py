import base64
import json
from dataclasses import replace

import numpy as np
import pytest

from detectors.vocabulary import Vocabulary
from stores.interchange import vinvl_tsv
from stores.interchange.rows import RowError
from tests.stores.interchange.foreign_files import SUPPLEMENT, read_all


def found(name="man", **changes):
    item = {
        "rect": [0.5, 1.0, 361.85, 216.98],
        "bbox_id": 0,
        "class": name,
        "conf": 0.9,
        "feature": base64.b64encode(np.array([0, 1, 2.5], np.float32).tobytes()).decode(),
    } | changes
    return {key: value for key, value in item.items() if value is not None}


def write(tmp_path, *objects, key="7"):
    path = tmp_path / "predictions.tsv"
    path.write_text(f"{key}\t" + json.dumps({"objects": objects, "relations": None}) + "\n")
    return path


def read(path, **changes):
    return read_all(vinvl_tsv, path, replace(SUPPLEMENT, vocabulary=vinvl_tsv.own_vocabulary(path), **changes))


def test_names_become_ids_of_the_files_own_vocabulary(tmp_path):
    path = write(tmp_path, found("zebra"), found("man", attributes=["tall", "old"], attr_scores=[0.7, 0.1]))
    assert vinvl_tsv.own_vocabulary(path) == Vocabulary(classes=("man", "zebra"), attributes=("tall",))
    (record,) = read(path)
    assert record.image_id == "7"
    assert (record.image_width, record.image_height) == (640, 480)
    assert record.boxes_xyxy.tolist() == [[0.5, 1, np.float32(361.85), np.float32(216.98)]] * 2
    assert record.features.tolist() == [[0, 1, 2.5]] * 2
    assert record.class_ids.tolist() == [1, 0]
    assert record.class_scores.tolist() == [np.float32(0.9)] * 2
    assert record.attribute_ids.tolist() == [-1, 0]
    assert record.attribute_scores.tolist() == [0, np.float32(0.7)]


def test_a_given_vocabulary_knows_aliases(tmp_path):
    path = write(tmp_path, found("stopsign"))
    vocabulary = Vocabulary(classes=("man", "stop sign,stopsign"), attributes=("tall",))
    (record,) = read_all(vinvl_tsv, path, replace(SUPPLEMENT, vocabulary=vocabulary))
    assert record.class_ids.tolist() == [1]
    with pytest.raises(RowError, match="class 'stopsign' is not in the vocabulary"):
        read_all(vinvl_tsv, path)


def test_an_image_without_objects_is_an_image(tmp_path):
    (record,) = read(write(tmp_path), feature_dim=3)
    assert record.features.shape == (0, 3)


def test_an_image_without_a_size_is_told(tmp_path):
    with pytest.raises(RowError, match="no size of this image"):
        read(write(tmp_path, found(), key="10"))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (found(feature=None), "an object without 'feature'"),
        (found(rect=None), "an object without 'rect'"),
        (found(feature="%%"), "feature is not base64"),
        (found(feature="AAAA"), "buffer size must be a multiple"),
        (found(feature=7), "an object whose values do not fit"),
        (found(rect=[1, 2, 3]), "an object whose values do not fit"),
        (found(rect="left"), "an object whose values do not fit"),
        (found(rect=[9, 0, 1, 1]), "expected x1 <= x2"),
        (found(rect=[0, 0, 9999, 1]), "expected it in the image"),
        (found(rect=[0, 0, float("nan"), 1]), "boxes hold nan"),
        (found(conf="high"), "an object whose values do not fit"),
        (found(7), "class 7 is not in the vocabulary"),
        (found(["man"]), "an object whose values do not fit"),
        ("man", 'no list "objects" of JSON objects'),
    ],
)
def test_a_damaged_object_says_what_was_found(tmp_path, item, words):
    with pytest.raises(RowError, match=words):
        read(write(tmp_path, found(), item))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"objects": 7}', '{"objects": [7]}', "[" * 100_000])
def test_a_line_that_is_no_prediction_is_told_and_its_names_passed_over(tmp_path, text):
    path = tmp_path / "predictions.tsv"
    path.write_text(f"7\t{text}\nno tab\n")
    assert vinvl_tsv.own_vocabulary(path) == Vocabulary(classes=(), attributes=())
    rows = list(vinvl_tsv.list_rows(path))
    with pytest.raises(RowError, match=r"not JSON|no list"):
        vinvl_tsv.read_row(path, rows[0], SUPPLEMENT)
