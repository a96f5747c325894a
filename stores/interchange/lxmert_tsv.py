"""LXMERT's TSV: ten columns, height before width, ids as int64, everything else as float32.

COCO_train2014_000000132417 <tab> 333 <tab> 500 <tab> <base64> ... <tab> 36 <tab> <base64> <tab> <base64>
"""

from collections.abc import Iterable
from pathlib import Path

from detectors.records import RegionFeatures
from detectors.vocabulary import Vocabulary, numbered_vocabulary
from stores.atomic import replacing
from stores.errors import StoreError
from stores.interchange import tab_separated
from stores.interchange.rows import (
    VISUAL_GENOME_ATTRIBUTES,
    VISUAL_GENOME_CLASSES,
    ImportedRegions,
    Row,
    Supplement,
    checked_regions,
)
from stores.interchange.tab_separated import array, encoded, feature_array, read_fields, whole_number

COLUMNS = (
    *("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf"),
    *("num_boxes", "boxes", "features"),
)

place = "a file of ten tab-separated columns, img_id img_h img_w objects_id ... boxes features"
needs_sizes = False
conventions = {
    "class_background": "row 0 of the network, removed from class_ids",
    "attribute_none": "row 0 of the network, removed from attribute_ids",
    "box_order": "as in the file",
}


def looks_like(path: Path) -> bool:
    """Return whether one of the first lines has ten fields, numbers where they must be."""
    return path.is_file() and any(
        len(fields) == len(COLUMNS) and all(fields[number].isdigit() for number in (1, 2, 7))
        for fields in tab_separated.first_fields(path)
    )


def list_rows(path: Path) -> Iterable[Row]:
    """Yield the file's rows in order, unread."""
    return tab_separated.list_rows(path, len(COLUMNS))


def read_row(path: Path, row: Row, supplement: Supplement) -> ImportedRegions:
    """Return what one line holds; raises RowError if it is damaged."""
    fields = read_fields(path, row, COLUMNS)
    num_boxes = whole_number(fields, "num_boxes")
    return checked_regions(
        row,
        supplement,
        size=(whole_number(fields, "img_w"), whole_number(fields, "img_h")),
        boxes=array(fields, "boxes", "<f4", num_boxes, 4),
        features=feature_array(fields, num_boxes, supplement.feature_dim),
        class_ids=array(fields, "objects_id", "<i8", num_boxes),
        class_scores=array(fields, "objects_conf", "<f4", num_boxes),
        attribute_ids=array(fields, "attrs_id", "<i8", num_boxes),
        attribute_scores=array(fields, "attrs_conf", "<f4", num_boxes),
    )


def own_vocabulary(path: Path) -> Vocabulary:
    """Return numbered names: the file has none."""
    return numbered_vocabulary(VISUAL_GENOME_CLASSES, VISUAL_GENOME_ATTRIBUTES)


def write(path: Path, records: Iterable[RegionFeatures]) -> int:
    """`path` holds the records, whole and on disk, with features as float32; returns their number.

    Raises:
        StoreError: an image id that would break a line.
    """
    num_rows = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        for record in records:
            file.write(b"\t".join(_fields(record)) + b"\r\n")
            num_rows += 1
    return num_rows


def _fields(record: RegionFeatures) -> tuple[bytes, ...]:
    if set(record.image_id) & set('\t\r\n"'):
        raise StoreError(f"image {record.image_id!r}: its id has a tab, line end or quote, which a TSV cannot hold")
    return (
        record.image_id.encode(),
        b"%d" % record.image_height,
        b"%d" % record.image_width,
        encoded(record.class_ids.astype("<i8")),
        encoded(record.class_scores.astype("<f4")),
        encoded(record.attribute_ids.astype("<i8")),
        encoded(record.attribute_scores.astype("<f4")),
        b"%d" % record.num_boxes,
        encoded(record.boxes_xyxy.astype("<f4")),
        encoded(record.features.astype("<f4")),
    )
