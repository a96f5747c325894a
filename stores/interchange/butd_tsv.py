"""bottom-up-attention's TSV: six columns, width before height, boxes and features as float32; no class names.

458752 <tab> 640 <tab> 480 <tab> 36 <tab> <base64> <tab> <base64>
"""

from collections.abc import Iterable
from pathlib import Path

from detectors.vocabulary import Vocabulary, numbered_vocabulary
from stores.interchange import tab_separated
from stores.interchange.rows import (
    VISUAL_GENOME_ATTRIBUTES,
    VISUAL_GENOME_CLASSES,
    ImportedRegions,
    Row,
    Supplement,
    checked_regions,
)
from stores.interchange.tab_separated import array, feature_array, read_fields, whole_number

COLUMNS = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")

place = "a file of six tab-separated columns, image_id image_w image_h num_boxes boxes features"
needs_sizes = False
conventions = {"class_ids": "none in the file", "attribute_ids": "none in the file", "box_order": "as in the file"}


def looks_like(path: Path) -> bool:
    """Return whether one of the first lines has six fields, numbers where they must be."""
    return path.is_file() and any(
        len(fields) == len(COLUMNS) and all(fields[number].isdigit() for number in (1, 2, 3))
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
        size=(whole_number(fields, "image_w"), whole_number(fields, "image_h")),
        boxes=array(fields, "boxes", "<f4", num_boxes, 4),
        features=feature_array(fields, num_boxes, supplement.feature_dim),
    )


def own_vocabulary(path: Path) -> Vocabulary:
    """Return numbered names, which no region has: the file tells of none."""
    return numbered_vocabulary(VISUAL_GENOME_CLASSES, VISUAL_GENOME_ATTRIBUTES)
