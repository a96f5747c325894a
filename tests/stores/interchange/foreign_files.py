"""Small files in the foreign formats, written without the product's own code."""

import base64

import numpy as np

from detectors.records import RegionFeatures
from detectors.vocabulary import numbered_vocabulary
from stores.interchange.rows import Supplement

SUPPLEMENT = Supplement(
    vocabulary=numbered_vocabulary(1600, 400), sizes={"7": (640, 480), "8": (500, 375), "9": (64, 48)}
)


def base64_of(values, dtype):
    return base64.b64encode(np.asarray(values, dtype).tobytes())


def lxmert_line(image_id=b"7", **changes):
    fields = {
        "img_id": image_id,
        "img_h": b"480",
        "img_w": b"640",
        "objects_id": base64_of([72, 1599], "<i8"),
        "objects_conf": base64_of([0.25, 0.75], "<f4"),
        "attrs_id": base64_of([0, 399], "<i8"),
        "attrs_conf": base64_of([0.5, 0.125], "<f4"),
        "num_boxes": b"2",
        "boxes": base64_of([[0, 0, 361.85, 216.98], [1, 2, 639, 479]], "<f4"),
        "features": base64_of([[0, 1, 2.5], [3, 4, 0.1]], "<f4"),
    }
    return b"\t".join((fields | changes).values()) + b"\r\n"


def butd_line(image_id=b"7", **changes):
    fields = {
        "image_id": image_id,
        "image_w": b"640",
        "image_h": b"480",
        "num_boxes": b"2",
        "boxes": base64_of([[0, 0, 361.85, 216.98], [1, 2, 639, 479]], "<f4"),
        "features": base64_of([[0, 1, 2.5], [3, 4, 0.1]], "<f4"),
    }
    return b"\t".join((fields | changes).values()) + b"\n"


def read_all(foreign, path, supplement=SUPPLEMENT):
    """Return every row's record; the first that cannot be read raises."""
    return [foreign.read_row(path, row, supplement).regions for row in list(foreign.list_rows(path))]


def make_record(image_id, *, boxes, features, width=640, height=480):
    num_boxes = len(boxes)
    return RegionFeatures(
        image_id=image_id,
        image_width=width,
        image_height=height,
        boxes_xyxy=np.asarray(boxes, np.float32).reshape(num_boxes, 4),
        features=np.asarray(features, np.float16),
        class_ids=np.arange(num_boxes, dtype=np.int32) - 1,
        class_scores=np.linspace(0, 1, num_boxes, dtype=np.float32),
        attribute_ids=np.arange(num_boxes, dtype=np.int32)[::-1] - 1,
        attribute_scores=np.linspace(1, 0, num_boxes, dtype=np.float32),
        selection="imported",
    )
