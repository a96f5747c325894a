"""`vinculum inspect`: one page that shows what a store holds."""

import re
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from detectors.records import Features, RegionFeatures
from pipeline.event_log import RUN_LOG_NAME
from pipeline.pages.exhibits import Exhibit, class_hue, heat_colour, make_exhibit, selection_meaning, vocabulary_name
from pipeline.pages.plots import plot_throughput
from pipeline.pages.spread import spread
from pipeline.run_log import STAGES, read_runs
from stores.atomic import replacing
from stores.errors import DamagedFileError
from stores.images.sources import ImageSources
from stores.manifest import FailedImage, Manifest, fingerprint
from stores.pages.page import page_environment
from stores.pages.pictures import Picture, load_picture
from stores.plan import read_plan
from stores.reading import FeatureStore, open_store

TEMPLATE = "regions.html.j2"

MAX_COUNTED = 1000
"""Images that the distributions are counted over; beyond it, as many spread evenly over the store."""

SCORE_BINS = 20
FREQUENT_CLASSES = 20


@dataclass(frozen=True, kw_only=True)
class PageSummary:
    """What the page shows."""

    page: str
    num_images: int
    num_quarantined: int


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
        shown = [records.get(image_id) for image_id in spread(records.image_ids, num_images)]
        exhibits = [_exhibit(each, manifest, sources, plan_missing) for each in shown]
        distributions = _count(records) if manifest.content == "regions" else None
        num_rows = len(records)
    quarantine = _quarantine(manifest)
    runs = read_runs(store / RUN_LOG_NAME)
    environment = page_environment(Path(__file__).parent)
    environment.filters |= {"heat": heat_colour, "beyond": _beyond}
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


def _planned(store: Path) -> tuple[ImageSources, str]:
    """Return where each planned image is, or nothing and why: shards outlive a lost plan."""
    try:
        return read_plan(store).images, ""
    except DamagedFileError as error:
        return ImageSources.of(()), f"nothing tells where the picture is: {error}"


def _exhibit(record: Features, manifest: Manifest, sources: ImageSources, plan_missing: str) -> Exhibit:
    source = sources.find(record.image_id)
    if source is None:
        missing = Picture(missing=plan_missing or "the plan does not tell where the picture is")
        return make_exhibit(record, manifest, missing, "")
    if not source.url:
        unknown = "the features were imported without their pictures; run vinculum convert again with --images"
        return make_exhibit(record, manifest, Picture(missing=unknown), "")
    picture = load_picture(source, width=record.image_width, height=record.image_height, sha256=record.image_sha256)
    return make_exhibit(record, manifest, picture, source.location)


def _count(records: FeatureStore) -> Distributions:
    image_ids = spread(records.image_ids, MAX_COUNTED)
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
        selections=tuple((name, count, selection_meaning(name)) for name, count in selections.most_common()),
        classes=tuple(
            (vocabulary_name(records.manifest, "classes", class_id), count, class_hue(class_id))
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


def _flattened(options: Any, path: str = "") -> Iterator[tuple[str, str]]:
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
