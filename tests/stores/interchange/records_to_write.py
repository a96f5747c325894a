"""Records that every writable format must give back."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.stores.interchange.foreign_files import make_record

image_ids = st.text("a7_é", min_size=1, max_size=8)


@st.composite
def records(draw):
    """Return one to three records with different ids and one feature_dim."""
    feature_dim = draw(st.integers(1, 5))
    return [draw(_record(each, feature_dim)) for each in draw(st.lists(image_ids, min_size=1, max_size=3, unique=True))]


@st.composite
def _record(draw, image_id, feature_dim):
    num_boxes = draw(st.integers(1, 4))
    width, height = draw(st.integers(1, 2000)), draw(st.integers(1, 2000))
    corners = draw(arrays.arrays(np.float32, (num_boxes, 2, 2), elements=st.floats(0, 1, width=32)))
    boxes = np.sort(corners, axis=1) * np.array([width, height], np.float32)
    features = draw(arrays.arrays(np.float16, (num_boxes, feature_dim), elements=st.floats(-65504, 65504, width=16)))
    return make_record(image_id, boxes=boxes.reshape(num_boxes, 4), features=features, width=width, height=height)
