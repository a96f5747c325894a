"""`vinculum inspect`: one page that shows what a store holds, how it was made and what is missing from it."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from detectors.images import ImageError, decode_image
from detectors.records import Features, GridFeatures, RegionFeatures
from pipeline.run_history import STAGES, Run, read_runs
from pipeline.sources import read_source
from stores.atomic import replacing
from stores.manifest import FailedImage, Manifest, fingerprint
from stores.plan import ImageSource, read_plan
from stores.reading import FeatureStore, open_store

PICTURE_SIDE = 560
SHOWN_AT_FIRST = 8
SAMPLED_FOR_COUNTS = 2000


@dataclass(frozen=True, kw_only=True)
class PageSummary:
    """What the page shows."""

    page: str
    num_images: int
    num_pictures: int
    num_quarantined: int


def write_page(store: Path, page: Path, *, num_images: int) -> PageSummary:
    """Write one self-contained HTML file about the store in `store`."""
    with open_store(store) as features:
        manifest = features.manifest
        failures = [failure for entry in manifest.shards for failure in entry.failures]
        sources = {image.image_id: image for shard in read_plan(store) for image in shard.images}
        shown = _evenly(features.image_ids, num_images)
        content = {
            "name": store.resolve().name,
            "facts": _facts(manifest, features, failures, len(sources)),
            "cards": [_card(features.get(image_id), sources.get(image_id), manifest) for image_id in shown],
            "shown_at_first": SHOWN_AT_FIRST,
            "failures": [(each.stage, each.image_id, each.reason, each.location) for each in failures],
            "failures_by_stage": Counter(each.stage for each in failures).most_common(),
            "runs": [_run_line(number, run) for number, run in enumerate(read_runs(store), start=1)],
            "plot": _plot(read_runs(store)),
            "stages": STAGES,
            "counts": _counts(features, manifest),
            "conventions": sorted(_flat(manifest.configuration)),
        }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    html = environment.get_template("inspect.html.j2").render(content)
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return PageSummary(page=str(page), num_images=len(features), num_pictures=len(shown), num_quarantined=len(failures))


def _evenly(image_ids: Sequence[str], wanted: int) -> list[str]:
    step = max(1.0, len(image_ids) / max(1, wanted))
    return [image_ids[int(number * step)] for number in range(min(wanted, len(image_ids)))]


def _facts(
    manifest: Manifest, features: FeatureStore, failures: Sequence[FailedImage], num_planned: int
) -> list[tuple[str, str]]:
    detector = manifest.configuration["detector"]
    num_bytes = sum(entry.bytes for entry in manifest.shards)
    return [
        ("images in shards", f"{len(features):,}"),
        ("in quarantine", f"{len(failures):,}"),
        ("still to do", f"{num_planned - len(features) - len(failures):,}"),
        ("shards", f"{len(manifest.shards):,} {manifest.store}"),
        ("size", f"{num_bytes / 1e6:,.1f} MB"),
        ("detector", detector["name"]),
        ("weights", detector["weights"]["name"]),
        ("precision", detector.get("precision", "")),
        ("fingerprint", fingerprint(manifest.configuration)[:8]),
    ]


def _card(record: Features, source: ImageSource | None, manifest: Manifest) -> dict[str, Any]:
    """Return what the page shows of one image."""
    picture, why_not = _picture(source)
    card: dict[str, Any] = {
        "image_id": record.image_id,
        "location": source.location if source else "",
        "width": record.image_width,
        "height": record.image_height,
        "picture": picture,
        "why_not": why_not,
        "regions": [],
        "cells": [],
    }
    if isinstance(record, RegionFeatures):
        card |= {"note": record.selection, "regions": _regions(record, manifest)}
    else:
        card |= {"note": f"{record.features.shape[0]} x {record.features.shape[1]} cells", "cells": _cells(record)}
    return card


def _regions(record: RegionFeatures, manifest: Manifest) -> list[dict[str, Any]]:
    vocabulary = manifest.configuration["detector"]["vocabulary"]
    regions = []
    for row in range(record.num_boxes):
        x1, y1, x2, y2 = (round(float(value), 1) for value in record.boxes_xyxy[row])
        class_id = int(record.class_ids[row])
        regions.append(
            {
                "x": x1,
                "y": y1,
                "width": round(x2 - x1, 1),
                "height": round(y2 - y1, 1),
                "class": vocabulary["classes"][class_id].split(",")[0],
                "score": f"{record.class_scores[row]:.2f}",
                "attribute": vocabulary["attributes"][int(record.attribute_ids[row])].split(",")[0],
                "attribute_score": f"{record.attribute_scores[row]:.2f}",
                "hue": class_id * 137 % 360,
            }
        )
    return regions


def _cells(record: GridFeatures) -> list[dict[str, float]]:
    """Return the grid's cells, each with the length of its feature between the least and the largest."""
    lengths = np.linalg.norm(record.features.astype(np.float32), axis=2)
    shares = (lengths - lengths.min()) / max(float(np.ptp(lengths)), 1e-6)
    cell_height, cell_width = record.image_height / lengths.shape[0], record.image_width / lengths.shape[1]
    return [
        {
            "x": column * cell_width,
            "y": row * cell_height,
            "width": cell_width,
            "height": cell_height,
            "share": round(float(share), 3),
        }
        for (row, column), share in np.ndenumerate(shares)
    ]


def _picture(source: ImageSource | None) -> tuple[str, str]:
    """Return the picture as a data URI, or why there is none."""
    if source is None:
        return "", "the plan does not know where this image is"
    try:
        pixels = decode_image(source.image_id, read_source(source)).pixels_rgb
    except (OSError, ImageError) as error:
        return "", f"the image can not be shown any more: {error}"
    image = Image.fromarray(pixels)
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", ""


def _run_line(number: int, run: Run) -> dict[str, Any]:
    num_images = sum(shard.num_images for shard in run.shards)
    began = min((shard.ended - shard.seconds for shard in run.shards), default=run.started)
    seconds = max((shard.ended for shard in run.shards), default=run.started) - began
    return {
        "number": number,
        "ended": "finished" if run.ended else "stopped before its end",
        "shards": len(run.shards),
        "images": num_images,
        "rate": f"{num_images / seconds:.2f}" if seconds > 0 else "",
        "stages": {stage: sum(shard.stage_seconds[stage] for shard in run.shards) for stage in STAGES},
        "notices": run.notices,
    }


def _plot(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return bars of images a second, one a shard in the order they were finished, in a box of 1000 x 220."""
    rates: list[tuple[str, float, int]] = []
    for number, run in enumerate(runs, start=1):
        if not run.shards:
            continue
        ends = [min(shard.ended - shard.seconds for shard in run.shards), *(shard.ended for shard in run.shards)]
        spans = [max(after - before, 1e-3) for before, after in pairwise(ends)]
        rates += [(shard.name, shard.num_images / span, number) for shard, span in zip(run.shards, spans, strict=True)]
    if not rates:
        return None
    top = sorted(rate for _, rate, _ in rates)[int(0.98 * (len(rates) - 1))] * 1.15
    width = 1000 / len(rates)
    bars = [
        {
            "x": round(index * width, 2),
            "width": round(max(width * 0.86, 0.5), 2),
            "height": round(min(rate / top, 1) * 200, 1),
            "told": f"{name}: {rate:.2f} images/s, run {run}",
            "run": run,
        }
        for index, (name, rate, run) in enumerate(rates)
    ]
    starts = [bar["x"] for before, bar in pairwise(bars) if before["run"] != bar["run"]]
    lines = [{"y": round(220 - share * 200, 1), "label": f"{share * top:.2g}"} for share in (0.5, 1.0)]
    return {"bars": bars, "starts": starts, "lines": lines}


def _counts(features: FeatureStore, manifest: Manifest) -> dict[str, list[tuple[str, int, float]]]:
    """Return how regions were reached and which classes are frequent, over a sample, with bar lengths in percent."""
    if manifest.content != "regions":
        return {}
    reached: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    scores: Counter[str] = Counter()
    names = manifest.configuration["detector"]["vocabulary"]["classes"]
    for image_id in _evenly(features.image_ids, SAMPLED_FOR_COUNTS):
        record = features.get(image_id)
        if isinstance(record, RegionFeatures):
            reached[record.selection] += 1
            classes.update(names[class_id].split(",")[0] for class_id in record.class_ids)
            scores.update(f"{int(score * 10) / 10:.1f}" for score in record.class_scores.clip(0, 0.999))
    by_score = sorted(scores.items())
    return {
        "How the boxes were reached": _bars(reached.most_common()),
        "Most frequent classes": _bars(classes.most_common(12)),
        "Class scores from": _bars(by_score),
    }


def _bars(counted: Sequence[tuple[str, int]]) -> list[tuple[str, int, float]]:
    most = max((count for _, count in counted), default=1)
    return [(name, count, round(100 * count / most, 1)) for name, count in counted]


def _flat(values: Any, path: str = "") -> list[tuple[str, str]]:
    """Return nested options as dotted names and texts; long lists by their length."""
    if isinstance(values, dict):
        return [pair for key, value in values.items() for pair in _flat(value, f"{path}.{key}" if path else str(key))]
    if isinstance(values, list) and len(values) > 12:
        return [(path, f"{len(values)} entries")]
    return [(path, str(values))]
