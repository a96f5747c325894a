"""What the gallery shows of one record: its picture, and boxes or heat in units of a page."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.records import Features, GridFeatures, RegionFeatures
from stores.manifest import Manifest
from stores.pages.pictures import Picture

GOLDEN_ANGLE = 137.508
"""Degrees; multiples of it give neighbouring class ids hues far apart."""

HEAT_COLOURS = ("2c105c", "8c2981", "de4968", "fe9f6d", "fcfdbf")
"""From the smallest feature norm to the largest; the template's legend has them too."""

SELECTIONS = {
    "confident": "enough regions at or above the confidence",
    "filled": "regions below the confidence make up the number",
    "given": "the boxes were given",
    "imported": "the regions are those of the imported file",
}
"""What a record's `selection` means, for people; `relaxed-T` has a sentence of its own."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One box as the page draws it."""

    left: float
    top: float
    width: float
    height: float
    """Per cent of the picture."""
    name: str
    score: float
    attribute: str
    attribute_score: float
    hue: int
    """Degrees; the class's colour."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One grid cell as the page draws it."""

    row: int
    column: int
    norm: float
    heat: float
    """0 for the smallest norm of the picture, 1 for the largest."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One picture of the gallery with what the detector made of it."""

    image_id: str
    location: str
    width: int
    height: int
    picture: Picture
    selection: str = ""
    selection_meaning: str = ""
    regions: tuple[Region, ...] = ()
    cells: tuple[Cell, ...] = ()
    grid_width: int = 0
    grid_height: int = 0


def make_exhibit(record: Features, manifest: Manifest, picture: Picture, location: str) -> Exhibit:
    """Return the record as the gallery shows it."""
    common: dict[str, Any] = {
        "image_id": record.image_id,
        "location": location,
        "width": record.image_width,
        "height": record.image_height,
        "picture": picture,
    }
    if isinstance(record, GridFeatures):
        grid_height, grid_width, _ = record.features.shape
        return Exhibit(**common, cells=_cells(record), grid_width=grid_width, grid_height=grid_height)
    return Exhibit(
        **common,
        selection=record.selection,
        selection_meaning=selection_meaning(record.selection),
        regions=_regions(record, manifest),
    )


def _regions(record: RegionFeatures, manifest: Manifest) -> tuple[Region, ...]:
    """Return the regions by falling class score."""
    scale = np.array([record.image_width, record.image_height] * 2) / 100
    boxes = np.clip(np.nan_to_num(record.boxes_xyxy / scale), 0, 100)
    order = np.argsort(-record.class_scores, kind="stable")
    return tuple(
        Region(
            left=float(boxes[row, 0]),
            top=float(boxes[row, 1]),
            width=float(max(boxes[row, 2] - boxes[row, 0], 0)),
            height=float(max(boxes[row, 3] - boxes[row, 1], 0)),
            name=vocabulary_name(manifest, "classes", int(record.class_ids[row])),
            score=float(record.class_scores[row]),
            attribute=vocabulary_name(manifest, "attributes", int(record.attribute_ids[row])),
            attribute_score=float(record.attribute_scores[row]),
            hue=class_hue(int(record.class_ids[row])),
        )
        for row in order
    )


def _cells(record: GridFeatures) -> tuple[Cell, ...]:
    norms = np.nan_to_num(np.linalg.norm(record.features.astype(np.float32), axis=2))
    heat = (norms - norms.min()) / max(float(np.ptp(norms)), 1e-9)
    return tuple(
        Cell(row=row, column=column, norm=float(norms[row, column]), heat=float(heat[row, column]))
        for row, column in np.ndindex(norms.shape)
    )


def vocabulary_name(manifest: Manifest, kind: str, number: int) -> str:
    """Return what the vocabulary calls a class or attribute id, or the id where there is no vocabulary."""
    if number < 0:
        return "not told"  # by the file that the regions were imported from
    names = manifest.configuration.get("detector", {}).get("vocabulary", {}).get(kind, [])
    return str(names[number]) if 0 <= number < len(names) else f"{number}"


def class_hue(class_id: int) -> int:
    return round(class_id * GOLDEN_ANGLE) % 360


def selection_meaning(selection: str) -> str:
    if selection.startswith("relaxed-"):
        return f"overlapping boxes were kept up to IoU {selection.removeprefix('relaxed-')} to have enough"
    return SELECTIONS.get(selection, "")


def heat_colour(heat: float) -> str:
    """Return the colour of a heat from 0 to 1 on the scale that the legend shows."""
    step = min(int(heat * (len(HEAT_COLOURS) - 1)), len(HEAT_COLOURS) - 2)
    part = heat * (len(HEAT_COLOURS) - 1) - step
    low, high = (bytes.fromhex(colour) for colour in HEAT_COLOURS[step : step + 2])
    return "#" + bytes(round(a + (b - a) * part) for a, b in zip(low, high, strict=True)).hex()
