"""`vinculum inspect`: one page that shows what a store holds."""

import re
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from detectors.records import Features, GridFeatures, RegionFeatures
from pipeline.pictures import Picture, load_picture
from pipeline.plots import plot_throughput
from pipeline.progress import RUN_LOG_NAME
from pipeline.run_log import STAGES, read_runs
from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.manifest import FailedImage, Manifest, fingerprint
from stores.plan import ImageSource, read_plan
from stores.reading import FeatureStore, open_store

TEMPLATE = "inspect.html.j2"

MAX_COUNTED = 1000
"""Images that the distributions are counted over; beyond it, as many spread evenly over the store."""

SCORE_BINS = 20
FREQUENT_CLASSES = 20

GOLDEN_ANGLE = 137.508
"""Degrees; multiples of it give neighbouring class ids hues far apart."""

HEAT_COLOURS = ("2c105c", "8c2981", "de4968", "fe9f6d", "fcfdbf")
"""From the smallest feature norm to the largest; the template's legend has them too."""

SELECTIONS = {
    "confident": "enough regions at or above the confidence",
    "filled": "regions below the confidence make up the number",
    "given": "the boxes were given",
}
"""What a record's `selection` means, for people; `relaxed-T` has a sentence of its own."""


@dataclass(frozen=True, kw_only=True)
class PageSummary:
    """What the page shows."""

    page: str
    num_images: int
    num_quarantined: int


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


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """Counts over the store's regions, or over those of `MAX_COUNTED` images."""

    num_images: int
    num_regions: int
    selections: tuple[tuple[str, int, str], ...]
    """How the regions were reached, images, and what it means."""
    classes: tuple[tuple[str, int, int], ...]
    """The most frequent: name, regions, hue."""
    scores: tuple[int, ...]
    """Regions by class score, in equal bins from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class QuarantinedImage:
    """A row of the quarantine table."""

    failure: FailedImage
    group: str
    """Its reason without numbers and quotations, so that alike failures are counted together."""


def write_page(store: Path, page: Path, *, num_images: int) -> PageSummary:
    """`page` is one self-contained HTML file about the store, with at most `num_images` pictures of it.

    Raises:
        DamagedFileError: the manifest or a shard is not as it was written.
        ValueError: `num_images` is below 0.
    """
    if num_images < 0:
        raise ValueError(f"--images is {num_images}, expected at least 0")
    with open_store(store) as records:
        manifest = records.manifest
        sources, plan_missing = _planned(store)
        shown = [records.get(image_id) for image_id in _spread(records.image_ids, num_images)]
        exhibits = [_exhibit(each, sources, manifest, plan_missing) for each in shown]
        distributions = _count(records) if manifest.content == "regions" else None
        num_rows = len(records)
    quarantine = _quarantine(manifest)
    runs = read_runs(store / RUN_LOG_NAME)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thousands": "{:,}".format,
        "size": _size,
        "heat": _heat_colour,
        "beyond": _beyond,
    }
    html = environment.get_template(TEMPLATE).render(
        nonce=secrets.token_hex(16),  # what a hostile name could smuggle in has no right to run, even if it got through
        store_name=store.absolute().name,
        manifest=manifest,
        detector=manifest.configuration.get("detector", {}),
        options=list(_flattened(manifest.configuration)),
        fingerprint=fingerprint(manifest.configuration),
        num_rows=num_rows,
        num_planned=len(sources),
        num_bytes=sum(entry.bytes for entry in manifest.shards),
        exhibits=exhibits,
        distributions=distributions,
        quarantine=quarantine,
        reasons=Counter((each.failure.stage, each.group) for each in quarantine).most_common(),
        runs=runs,
        plot=plot_throughput(runs),
        stages=STAGES,
    )
    with replacing(page) as temporary:
        # A file name that is not UTF-8 holds surrogates, which are written as \udc80.
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return PageSummary(page=str(page), num_images=len(exhibits), num_quarantined=len(quarantine))


def _planned(store: Path) -> tuple[dict[str, ImageSource], str]:
    """Return where each planned image is, or nothing and why: shards outlive a lost plan."""
    try:
        plan = read_plan(store)
    except DamagedFileError as error:
        return {}, f"nothing tells where the picture is: {error}"
    return {image.image_id: image for shard in plan for image in shard.images}, ""


def _spread(image_ids: Sequence[str], count: int) -> list[str]:
    """Return `count` of the ids, or all if there are fewer, at even distances."""
    count = min(count, len(image_ids))
    return [image_ids[(2 * number + 1) * len(image_ids) // (2 * count)] for number in range(count)]


def _exhibit(record: Features, sources: dict[str, ImageSource], manifest: Manifest, plan_missing: str) -> Exhibit:
    source = sources.get(record.image_id)
    if source is None:
        picture = Picture(missing=plan_missing or "the plan does not tell where the picture is")
    else:
        picture = load_picture(source, width=record.image_width, height=record.image_height)
    common: dict[str, Any] = {
        "image_id": record.image_id,
        "location": source.location if source else "",
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
        selection_meaning=_selection_meaning(record.selection),
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
            name=_name(manifest, "classes", int(record.class_ids[row])),
            score=float(record.class_scores[row]),
            attribute=_name(manifest, "attributes", int(record.attribute_ids[row])),
            attribute_score=float(record.attribute_scores[row]),
            hue=_hue(int(record.class_ids[row])),
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


def _count(records: FeatureStore) -> Distributions:
    image_ids = _spread(records.image_ids, MAX_COUNTED)
    classes: Counter[int] = Counter()
    selections: Counter[str] = Counter()
    scores = np.zeros(SCORE_BINS, dtype=np.int64)
    for image_id in image_ids:
        record = records.get(image_id)
        if isinstance(record, RegionFeatures):
            classes.update(record.class_ids.tolist())
            selections[record.selection] += 1
            scores += np.histogram(record.class_scores, bins=SCORE_BINS, range=(0, 1))[0]
    return Distributions(
        num_images=len(image_ids),
        num_regions=classes.total(),
        selections=tuple((name, count, _selection_meaning(name)) for name, count in selections.most_common()),
        classes=tuple(
            (_name(records.manifest, "classes", class_id), count, _hue(class_id))
            for class_id, count in classes.most_common(FREQUENT_CLASSES)
        ),
        scores=tuple(scores.tolist()),
    )


def _quarantine(manifest: Manifest) -> list[QuarantinedImage]:
    return [
        QuarantinedImage(failure=failure, group=_alike(failure.reason))
        for failure in chain.from_iterable(entry.failures for entry in manifest.shards)
    ]


def _alike(reason: str) -> str:
    return re.sub(r"\d+", "#", re.sub(r"b?'[^']*'|b?\"[^\"]*\"", "…", reason))


def _name(manifest: Manifest, kind: str, number: int) -> str:
    """Return what the vocabulary calls a class or attribute id, or the id where there is no vocabulary."""
    names = manifest.configuration.get("detector", {}).get("vocabulary", {}).get(kind, [])
    return str(names[number]) if 0 <= number < len(names) else f"{number}"


def _hue(class_id: int) -> int:
    return round(class_id * GOLDEN_ANGLE) % 360


def _selection_meaning(selection: str) -> str:
    if selection.startswith("relaxed-"):
        return f"overlapping boxes were kept up to IoU {selection.removeprefix('relaxed-')} to have enough"
    return SELECTIONS.get(selection, "")


def _flattened(options: Any, path: str = "") -> Any:
    """Yield every option with its dotted path; a vocabulary as the number of its names."""
    if isinstance(options, dict):
        for key, value in options.items():
            yield from _flattened(value, f"{path}.{key}" if path else str(key))
    elif isinstance(options, list) and len(options) > 8:
        yield path, f"{len(options)} entries"
    else:
        yield path, ", ".join(map(str, options)) if isinstance(options, list) else str(options)


def _beyond(rank: int) -> str:
    """Return the CSS classes that hide a region where only the strongest 5 or 10 are shown."""
    return "".join(f" beyond-{top}" for top in (5, 10) if rank >= top)


def _heat_colour(heat: float) -> str:
    """Return the colour of a heat from 0 to 1 on the scale that the legend shows."""
    step = min(int(heat * (len(HEAT_COLOURS) - 1)), len(HEAT_COLOURS) - 2)
    part = heat * (len(HEAT_COLOURS) - 1) - step
    low, high = (bytes.fromhex(colour) for colour in HEAT_COLOURS[step : step + 2])
    return "#" + bytes(round(a + (b - a) * part) for a, b in zip(low, high, strict=True)).hex()


def _size(num_bytes: int) -> str:
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
