import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from annotations.boxes import (
    BEYOND_PIXELS,
    BoxError,
    clip_boxes,
    has_other_proportions,
    pairwise_iou,
    pairwise_share,
)

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


@given(first=boxes, second=boxes, plus_one=st.booleans())
@settings(max_examples=60, deadline=None)
def test_iou_is_symmetric_and_between_0_and_1(first, second, plus_one):
    iou = pairwise_iou(first, second, plus_one=plus_one)
    assert iou.shape == (len(first), len(second))
    assert np.all((iou >= 0) & (iou <= 1))
    np.testing.assert_array_equal(iou, pairwise_iou(second, first, plus_one=plus_one).T)


@pytest.mark.parametrize(
    ("annotated", "found", "expected"),
    [
        ((640, 480), (640, 480), False),
        ((640, 480), (320, 240), False),
        ((640, 480), (333, 250), False),  # a resize that rounds
        ((640, 480), (480, 640), True),
        ((80, 79), (79, 80), True),  # turned, though the proportions are nearly the same
        ((158, 160), (80, 79), True),  # turned and resized
        ((160, 158), (80, 79), False),
        ((100, 99), (50, 50), False),
        ((100, 100), (50, 50), False),
        ((100, 100), (50, 53), True),
        ((0, 0), (50, 53), False),
    ],
)
def test_an_image_of_other_proportions_or_turned_is_told(annotated, found, expected):
    assert has_other_proportions(annotated, found) is expected


def test_boxes_a_little_outside_are_clipped_and_others_are_errors():
    inside = np.array([[0, 0, 10, 20], [3, 3, 3, 3]], np.float32)
    assert clip_boxes(inside, width=10, height=20) is inside
    near = np.array([[-BEYOND_PIXELS, 0.5, 10 + BEYOND_PIXELS, 20.6]], np.float32)
    assert clip_boxes(near, width=10, height=20).tolist() == [[0, 0.5, 10, 20]]
    assert len(clip_boxes(near[:0], width=10, height=20)) == 0
    for box, expected in {
        (0, 0, 10, 21.1): "it in the image of 10 x 20 pixels; are width and height swapped?",
        (-1.1, 0, 10, 20): "it in the image of 10 x 20 pixels",
        (5, 0, 4, 20): "x1 <= x2 and y1 <= y2",
        (np.nan, 0, 4, 20): "finite numbers",
    }.items():
        with pytest.raises(BoxError) as error:
            clip_boxes(np.array([[0, 0, 1, 1], box], np.float32), width=10, height=20)
        assert f"box 1 is {np.array(box, np.float32).tolist()}, expected {expected}" in str(error.value)
