import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations.boxes import pairwise_iou, pairwise_share, xyxy_from_xywh

GOLD = [[10, 10, 50, 50]]
REGIONS = [[10, 10, 50, 50], [20, 20, 60, 60], [40, 10, 90, 50], [60, 60, 90, 90], [0, 0, 100, 100]]

boxes = hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.just(4)), elements=st.integers(-50, 4000))


def test_iou_of_the_worked_example():
    np.testing.assert_allclose(pairwise_iou(GOLD, REGIONS), [[1, 0.391304, 0.125, 0, 0.16]], atol=1e-6)


def test_iou_of_the_worked_example_when_the_last_pixel_is_inside():
    expected = [[1, 0.40025, 0.135802, 0, 0.164788]]
    np.testing.assert_allclose(pairwise_iou(GOLD, REGIONS, plus_one=True), expected, atol=1e-6)


def test_boxes_that_only_touch_share_nothing():
    assert pairwise_iou([[0, 0, 10, 10]], [[10, 0, 20, 10]]).tolist() == [[0.0]]


def test_an_empty_box_shares_nothing_even_with_itself():
    assert pairwise_iou([[5, 5, 5, 5]], [[5, 5, 5, 5], [0, 0, 10, 10]]).tolist() == [[0.0, 0.0]]


def test_the_share_of_the_smaller_box_is_one_where_it_lies_within_the_other():
    assert pairwise_share(GOLD, REGIONS).tolist() == [[1, 900 / 1600, 400 / 1600, 0, 1]]
    assert pairwise_share([[5, 5, 5, 5]], [[0, 0, 10, 10]]).tolist() == [[0.0]]
    assert pairwise_share(REGIONS, []).shape == (5, 0)


def test_no_boxes_give_an_empty_table():
    assert pairwise_iou([], REGIONS).shape == (0, 5)
    assert pairwise_iou(REGIONS, np.zeros((0, 4), np.float32)).shape == (5, 0)


def test_large_float32_boxes_are_compared_exactly():
    almost = np.array([[0, 0, 8000, 8000]], np.float32)
    assert pairwise_iou(almost, [[0, 0, 8000, 7999]])[0, 0] == 7999 / 8000


def test_a_list_of_triples_is_refused():
    with pytest.raises(ValueError, match=r"other_boxes_xyxy has shape \[1, 3\], expected \[number of boxes, 4\]"):
        pairwise_iou(REGIONS, [[1, 2, 3]])


def test_width_and_height_become_a_far_corner():
    assert xyxy_from_xywh([[421, 57, 82, 139]]).tolist() == [[421, 57, 503, 196]]
    assert xyxy_from_xywh([]).shape == (0, 4)


@given(first=boxes, second=boxes, plus_one=st.booleans())
@settings(max_examples=60, deadline=None)
def test_iou_is_symmetric_and_between_0_and_1(first, second, plus_one):
    iou = pairwise_iou(first, second, plus_one=plus_one)
    assert iou.shape == (len(first), len(second))
    assert np.all((iou >= 0) & (iou <= 1))
    np.testing.assert_array_equal(iou, pairwise_iou(second, first, plus_one=plus_one).T)
