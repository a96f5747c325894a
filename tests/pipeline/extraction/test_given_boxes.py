import json

import numpy as np
import pytest

from pipeline.extraction.given_boxes import GivenBoxesError, read_given_boxes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "boxes.json"


def refusal(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(GivenBoxesError) as caught:
        read_given_boxes(path)
    return str(caught.value)


def test_each_image_has_its_boxes_as_float32_rows(path):
    path.write_text('{"7": [[0, 1.5, 20, 30], [3, 3, 3, 3]], "café": []}', encoding="utf-8")
    boxes = read_given_boxes(path).boxes_of
    np.testing.assert_array_equal(boxes["7"], np.array([[0, 1.5, 20, 30], [3, 3, 3, 3]], np.float32))
    assert boxes["café"].shape == (0, 4)
    assert {each.dtype for each in boxes.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    "rows",
    [
        [1, 2, 3, 4],
        [[1, 2], [3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4], [1, 2, 3]],
        [[[1, 2, 3, 4]]],
        [[]],
        {"x1": 1},
        "1 2 3 4",
        None,
        7,
    ],
)
def test_rows_that_are_no_boxes_are_refused_with_file_and_image(path, rows):
    message = refusal(path, {"fine": [[0, 0, 1, 1]], "img 7": rows})
    assert str(path) in message
    assert "'img 7'" in message
    assert "[x1, y1, x2, y2]" in message


@pytest.mark.parametrize(
    "box", [[5, 0, 4, 9], [0, 5, 9, 4], [0, 0, float("nan"), 1], [0, 0, float("inf"), 1], [0, 0, None, 1]]
)
def test_inverted_and_infinite_boxes_are_refused(path, box):
    assert "'7': a box is not finite, or inverted" in refusal(path, {"7": [[0, 0, 1, 1], box]})


def test_a_file_that_is_no_object_of_boxes_is_refused(path):
    assert "is not JSON" in refusal(path, "{")
    assert "is not JSON (nested too deeply)" in refusal(path, "[" * 100_000)
    assert "a JSON list" in refusal(path, [])
    path.write_bytes(b'{"caf\xe9": []}')
    with pytest.raises(GivenBoxesError, match="is not JSON"):
        read_given_boxes(path)


def test_an_absent_file_is_named(path):
    with pytest.raises(GivenBoxesError, match=r"boxes\.json: No such file"):
        read_given_boxes(path)
