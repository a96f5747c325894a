"""Regions as a page's script takes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from annotations.alignment.sentences import ImageRegions
from detectors.records import RegionFeatures


def named_regions(regions: ImageRegions | RegionFeatures, configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every region's box and the names that the detector gave it, by the vocabulary of its store."""
    vocabulary = configuration.get("detector", {}).get("vocabulary", {})
    classes, attributes = vocabulary.get("classes", ()), vocabulary.get("attributes", ())
    return [
        {
            "box": [round(float(value), 1) for value in np.nan_to_num(regions.boxes_xyxy[row])],
            "name": _name(classes, int(regions.class_ids[row])),
            "attribute": _name(attributes, int(regions.attribute_ids[row])),
        }
        for row in range(len(regions.boxes_xyxy))
    ]


def _name(names: Sequence[str], number: int) -> str:
    return names[number].partition(",")[0] if 0 <= number < len(names) else ""
