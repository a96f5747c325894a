"""`vinculum inspect` on sentences: one page on which a word lights up the regions that it means."""

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from annotations.aligned import AlignedSentence, ImageRegions
from annotations.alignment import combine
from annotations.records import SentenceImage
from pipeline.doctor import COVERED_IOU
from pipeline.event_log import RUN_LOG_NAME
from pipeline.page import page_environment
from pipeline.pictures import Picture, load_picture
from pipeline.sentence_exhibits import COMBINATIONS, Exhibit, entropy_bits, make_sentence_exhibit
from stores.atomic import replacing
from stores.errors import DamagedFileError, StoreError
from stores.layouts import RegionLayouts
from stores.manifest import DropCount, Manifest, fingerprint
from stores.plan import ImageSource, read_plan
from stores.sentence_reading import SentenceStore, open_sentences

TEMPLATE = "inspect_sentences.html.j2"

MAX_COUNTED = 4000
"""Sentences of a source that its distributions are counted over; beyond it, as many spread evenly."""

IOU_BINS = 10
ENTROPY_BINS = 11
MAX_ENTROPY_BITS = 5.5
"""log2 of 36 is 5.2: a target that says nothing about 36 regions."""

FREQUENT_WORDS = 30


@dataclass(frozen=True, kw_only=True)
class SentencePageSummary:
    """What the page shows."""

    page: str
    num_sentences: int
    num_sources: int


@dataclass(kw_only=True)
class SourceFigures:
    """One source's row and plots."""

    name: str
    counts: Mapping[str, int]
    """From the manifest, exact."""
    num_counted: int = 0
    """Sentences that the following are counted over."""
    num_words: int = 0
    num_covered: int = 0
    num_oov: int = 0
    iou: list[int] = field(default_factory=lambda: [0] * IOU_BINS)
    """Pointed words by IoU of their best region, in equal bins from 0 to 1."""
    entropy: list[int] = field(default_factory=lambda: [0] * ENTROPY_BINS)
    """Pointed words by entropy of their target, in equal bins from 0 to `MAX_ENTROPY_BITS`."""


def write_sentence_page(
    store: Path, page: Path, *, num_sentences: int, regions: Path | None = None
) -> SentencePageSummary:
    """`page` is one self-contained HTML file about the store, with about `num_sentences` of its sentences.

    Args:
        regions: the region store that the sentences were aligned with; None: where the last run found it.

    Raises:
        DamagedFileError: a manifest or a shard is not as it was written.
        StoreError: no region store is known.
        ValueError: `num_sentences` is below 0.
    """
    if num_sentences < 0:
        raise ValueError(f"--images is {num_sentences}, expected at least 0")
    layouts = RegionLayouts(regions or _regions_of_last_run(store))
    with open_sentences(store) as sentences:
        manifest = sentences.manifest
        shards_of = _shards_of_sources(manifest)
        share = -(-num_sentences // max(1, len(shards_of)))
        shown = [each for shards in shards_of.values() for each in _choose(sentences, shards, share)]
        oov: Counter[str] = Counter()
        figures = [_figures(name, sentences, shards, oov) for name, shards in shards_of.items()]
    exhibits = [_exhibit(each, layouts) for each in shown]
    html = (
        page_environment()
        .get_template(TEMPLATE)
        .render(
            nonce=secrets.token_hex(16),  # what a hostile caption could smuggle in has no right to run
            store_name=store.absolute().name,
            manifest=manifest,
            fingerprint=fingerprint(manifest.configuration),
            configuration=json.dumps(manifest.configuration, indent=1, ensure_ascii=False),
            num_rows=len(sentences),
            num_bytes=sum(entry.bytes for entry in manifest.shards),
            figures=figures,
            drops=_drops(manifest),
            oov=oov.most_common(FREQUENT_WORDS),
            covered_iou=COVERED_IOU,
            max_entropy=MAX_ENTROPY_BITS,
            combinations=COMBINATIONS,
            num_shown=len(exhibits),
            data=_as_script(
                {
                    "sentences": exhibits,
                    "regions": _regions(shown, layouts),
                    "pictures": _pictures(shown, layouts),
                }
            ),
        )
    )
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return SentencePageSummary(page=str(page), num_sentences=len(exhibits), num_sources=len(shards_of))


def _regions_of_last_run(store: Path) -> Path:
    """Return where the last run that made something had its regions, as its log tells."""
    log = store / RUN_LOG_NAME
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []):
        try:
            folder = json.loads(line).get("inputs", {}).get("regions")
        except (ValueError, AttributeError):
            continue
        if folder:
            return Path(folder)
    raise StoreError(f"{store}: its {RUN_LOG_NAME} names no region store; give it with --regions")


def _shards_of_sources(manifest: Manifest) -> dict[str, list[int]]:
    """Return the shards of each `--annotations`, by name: `shard-03-gqa-00000` belongs to `gqa`, the fourth given."""
    shards: dict[str, list[int]] = defaultdict(list)
    for number, entry in enumerate(manifest.shards):
        shards[entry.name.split("-", 1)[1].rpartition("-")[0]].append(number)
    names = Counter(key.partition("-")[2] for key in shards)
    return {key.partition("-")[2] if names[key.partition("-")[2]] == 1 else key: value for key, value in shards.items()}


def _rows(sentences: SentenceStore, shards: Sequence[int], count: int) -> Iterator[tuple[int, int]]:
    """Yield shard and row of `count` sentences at even distances, or of all."""
    ends = np.cumsum([sentences.manifest.shards[shard].rows for shard in shards])
    total = int(ends[-1]) if len(ends) else 0
    count = min(count, total)
    for number in range(count):
        place = (2 * number + 1) * total // (2 * count)
        which = int(np.searchsorted(ends, place, side="right"))
        yield shards[which], place - (int(ends[which - 1]) if which else 0)


def _choose(sentences: SentenceStore, shards: Sequence[int], count: int) -> list[AlignedSentence]:
    """Return sentences spread over the source, those that point at something before those that do not."""
    candidates = [sentences.read(shard, row) for shard, row in _rows(sentences, shards, 4 * count)]
    pointing = [each for each in candidates if len(each.words)]
    if len(pointing) > count:
        return pointing[:: len(pointing) // count][:count]
    return (pointing + [each for each in candidates if not len(each.words)])[:count]


def _figures(name: str, sentences: SentenceStore, shards: Sequence[int], oov: Counter[str]) -> SourceFigures:
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(sentences.manifest.shards[shard].counts)
    figures = SourceFigures(name=name, counts=counts)
    for shard, row in _rows(sentences, shards, MAX_COUNTED):
        aligned = sentences.read(shard, row)
        words = aligned.words
        figures.num_counted += 1
        if not len(words):
            continue
        best = words.position.max(axis=1, initial=0).astype(np.float32)
        figures.num_words += len(words)
        figures.num_covered += int((best >= COVERED_IOU).sum())
        figures.num_oov += int(words.oov.sum())
        bits = entropy_bits(combine(words.position, words.semantic).targets)
        _add(figures.iou, best, 1.0)
        _add(figures.entropy, bits, MAX_ENTROPY_BITS)
        for number in np.flatnonzero(words.oov):
            text = aligned.sentence.answers[0].text if words.in_answer[number] else aligned.sentence.text
            oov[text[words.starts[number] : words.ends[number]].lower()] += 1
    return figures


def _add(bins: list[int], values: np.ndarray[Any, Any], largest: float) -> None:
    for place in np.minimum((values / largest * len(bins)).astype(int), len(bins) - 1):
        bins[place] += 1


def _exhibit(aligned: AlignedSentence, layouts: RegionLayouts) -> Exhibit:
    return make_sentence_exhibit(aligned, [layouts.find(image) for image in aligned.sentence.images])


def _regions(shown: Sequence[AlignedSentence], layouts: RegionLayouts) -> dict[str, list[dict[str, Any]]]:
    """Return the regions of every image shown: box, and the names that the detector gave it."""
    vocabulary = layouts.manifest.configuration.get("detector", {}).get("vocabulary", {})
    found = {image.image_id: layouts.find(image) for each in shown for image in each.sentence.images}
    return {
        image_id: [_region(layout, row, vocabulary) for row in range(len(layout.boxes_xyxy))]
        for image_id, layout in found.items()
        if layout is not None
    }


def _region(layout: ImageRegions, row: int, vocabulary: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "box": [round(float(value), 1) for value in np.nan_to_num(layout.boxes_xyxy[row])],
        "name": _name(vocabulary.get("classes", ()), int(layout.class_ids[row])),
        "attribute": _name(vocabulary.get("attributes", ()), int(layout.attribute_ids[row])),
    }


def _name(names: Sequence[str], number: int) -> str:
    return names[number].partition(",")[0] if 0 <= number < len(names) else ""


def _pictures(shown: Sequence[AlignedSentence], layouts: RegionLayouts) -> dict[str, dict[str, str]]:
    """Return every picture shown, once, or why there is none."""
    sources = _planned(layouts.folder)
    images = {image.image_id: image for each in shown for image in each.sentence.images}
    return {image_id: _picture(image, sources) for image_id, image in images.items()}


def _picture(image: SentenceImage, sources: Mapping[str, ImageSource]) -> dict[str, str]:
    picture = Picture(missing="the region store's plan does not tell where the picture is")
    if image.image_id in sources:
        picture = load_picture(sources[image.image_id], width=image.width, height=image.height)
    return {"uri": picture.data_uri, "missing": picture.missing}


def _planned(folder: Path) -> dict[str, ImageSource]:
    try:
        plan = read_plan(folder)
    except DamagedFileError:
        return {}
    return {image.image_id: image for shard in plan for image in shard.images}


def _drops(manifest: Manifest) -> list[tuple[str, DropCount]]:
    """Return every reason of every source, the most frequent first."""
    together: dict[tuple[str, str], DropCount] = {}
    for name, shards in _shards_of_sources(manifest).items():
        for drop in (drop for shard in shards for drop in manifest.shards[shard].drops):
            earlier = together.get((name, drop.reason))
            count = drop.count + (earlier.count if earlier else 0)
            first = earlier.first if earlier else drop.first
            together[name, drop.reason] = DropCount(reason=drop.reason, count=count, first=first)
    in_order = sorted(together.items(), key=lambda item: -item[1].count)
    return [(name, drop) for (name, _), drop in in_order]


def _as_script(data: Any) -> str:
    """Return JSON that can stand inside a script element: nothing in it ends the element or a line."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII only: no U+2028 either
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
