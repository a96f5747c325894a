"""`vinculum inspect` on sentences: one page on which a word lights up the regions that it means."""

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.alignment.sentences import AlignedSentence
from annotations.guards.plain_json import parse_json
from annotations.records import SentenceImage
from pipeline.alignment.grown_regions import require_aligned_with
from pipeline.care.health import COVERED_IOU
from pipeline.care.sentence_shards import shards_of_sources
from pipeline.event_log import RUN_LOG_NAME
from pipeline.pages.sentence_exhibits import COMBINATIONS, Exhibit, make_sentence_exhibit
from pipeline.pages.survey import MAX_ENTROPY_BITS, MAX_READ, choose_places, survey_source
from stores.atomic import replacing
from stores.errors import StoreError
from stores.images.bytes import files_sha256
from stores.images.layouts import PictureLayouts
from stores.images.listing import list_images
from stores.images.sources import ImageSources
from stores.layouts import RegionLayouts
from stores.manifest import DropCount, Manifest, fingerprint
from stores.pages.page import as_script, page_environment
from stores.pages.pictures import Picture, load_picture, planned_sources
from stores.pages.regions import named_regions
from stores.reading import open_store
from stores.sentence_reading import open_sentences

TEMPLATE = "sentences.html.j2"

FREQUENT_WORDS = 30


@dataclass(frozen=True, kw_only=True)
class SentencePageSummary:
    """What the page shows."""

    page: str
    num_sentences: int
    num_sources: int
    remark: str
    """Empty where the images are those that the sentences were aligned with, as far as is known."""


def write_sentence_page(
    store: Path, page: Path, *, num_sentences: int, regions: Path | None = None
) -> SentencePageSummary:
    """`page` is one self-contained HTML file about the store, with about `num_sentences` of its sentences.

    Args:
        regions: the region store that the sentences were aligned with; None: where the last run found it, or the files.

    Raises:
        DamagedFileError: a manifest or a shard is not as it was written.
        StoreError: no region store is known, and no files of images; or it is another one than the sentences were
            aligned with.
        ValueError: `num_sentences` is below 0.
    """
    if num_sentences < 0:
        raise ValueError(f"--images is {num_sentences}, expected at least 0")
    layouts = RegionLayouts(regions) if regions is not None else _layouts_of_last_run(store)
    with open_sentences(store) as sentences:
        manifest = sentences.manifest
        if isinstance(layouts, RegionLayouts):
            recorded = manifest.configuration.get("regions", {})
            require_aligned_with(layouts.folder, layouts.manifest, store, recorded)
        surveys = [survey_source(name, sentences, shards) for name, shards in shards_of_sources(manifest).items()]
        share = -(-num_sentences // max(1, sum(bool(survey.places) for survey in surveys)))
        places = [place for survey in surveys for place in choose_places(survey, share)]
        shown = [sentences.read(place.shard, place.row) for place in places]
    has_regions = isinstance(layouts, RegionLayouts)
    exhibits = [_exhibit(each, layouts) for each in shown]
    html = (
        page_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            nonce=secrets.token_hex(16),  # what a hostile caption could smuggle in has no right to run
            store_name=store.absolute().name,
            manifest=manifest,
            fingerprint=fingerprint(manifest.configuration),
            configuration=json.dumps(manifest.configuration, indent=1, ensure_ascii=False),
            num_rows=len(sentences),
            num_bytes=sum(entry.bytes for entry in manifest.shards),
            surveys=surveys,
            has_regions=has_regions,
            remark=(remark := _remark(layouts, manifest)),
            drops=_drops(manifest),
            oov=sum((survey.oov for survey in surveys if has_regions), Counter()).most_common(FREQUENT_WORDS),
            max_read=MAX_READ,
            covered_iou=COVERED_IOU,
            max_entropy=MAX_ENTROPY_BITS,
            combinations=COMBINATIONS,
            num_shown=len(exhibits),
            data=as_script(
                {
                    "sentences": exhibits,
                    "regions": _regions(shown, layouts),
                    "pictures": _pictures(shown, layouts),
                    "has_regions": has_regions,
                }
            ),
        )
    )
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return SentencePageSummary(page=str(page), num_sentences=len(exhibits), num_sources=len(surveys), remark=remark)


def _remark(layouts: RegionLayouts | PictureLayouts, manifest: Manifest) -> str:
    content = manifest.configuration.get("images", {}).get("content")
    if isinstance(layouts, RegionLayouts) or content in (None, files_sha256(layouts.sources)):
        return ""
    return (
        "The images are other files than those that the sentences were aligned with, or more, or fewer: gold boxes may "
        "be those of other images. Align again to be sure."
    )


def _layouts_of_last_run(store: Path) -> RegionLayouts | PictureLayouts:
    """Return the regions, or files of images, of the last run that made something, as its log tells."""
    log = store / RUN_LOG_NAME
    for line in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []):
        try:
            inputs = parse_json(line).get("inputs", {})
            folder, files = inputs.get("regions"), inputs.get("images")
        except (ValueError, AttributeError):
            continue
        if folder:
            return RegionLayouts(Path(folder))
        if files:
            return PictureLayouts(list_images(files).images)
    raise StoreError(f"{store}: its {RUN_LOG_NAME} names no region store and no images; give it with --regions")


def _exhibit(aligned: AlignedSentence, layouts: RegionLayouts | PictureLayouts) -> Exhibit:
    return make_sentence_exhibit(aligned, [layouts.get(image.image_id) for image in aligned.sentence.images])


def _regions(
    shown: Sequence[AlignedSentence], layouts: RegionLayouts | PictureLayouts
) -> dict[str, list[dict[str, Any]]]:
    """Return the regions of every image shown."""
    configuration = layouts.manifest.configuration if isinstance(layouts, RegionLayouts) else {}
    found = {image.image_id: layouts.get(image.image_id) for each in shown for image in each.sentence.images}
    return {image_id: named_regions(layout, configuration) for image_id, layout in found.items() if layout is not None}


def _pictures(shown: Sequence[AlignedSentence], layouts: RegionLayouts | PictureLayouts) -> dict[str, dict[str, str]]:
    """Return every picture shown, once, or why there is none."""
    images = {image.image_id: image for each in shown for image in each.sentence.images}
    if isinstance(layouts, PictureLayouts):
        return {image_id: _picture(image, layouts.sources, None) for image_id, image in images.items()}
    sources = planned_sources(layouts.folder)
    with open_store(layouts.folder) as records:
        made = {image_id: records.get(image_id).image_sha256 for image_id in images if image_id in records}
    return {image_id: _picture(image, sources, made.get(image_id)) for image_id, image in images.items()}


def _picture(image: SentenceImage, sources: ImageSources, sha256: bytes | None) -> dict[str, str]:
    picture = Picture(missing="the region store's plan does not tell where the picture is")
    source = sources.find(image.image_id)
    if source is not None:
        picture = load_picture(source, width=image.width, height=image.height, sha256=sha256)
    return {"uri": picture.data_uri, "missing": picture.missing}


def _drops(manifest: Manifest) -> list[tuple[str, DropCount]]:
    """Return every reason of every source, the most frequent first."""
    together: dict[tuple[str, str], DropCount] = {}
    for name, shards in shards_of_sources(manifest).items():
        for drop in (drop for shard in shards for drop in manifest.shards[shard].drops):
            earlier = together.get((name, drop.reason))
            count = drop.count + (earlier.count if earlier else 0)
            first = earlier.first if earlier else drop.first
            together[name, drop.reason] = DropCount(reason=drop.reason, count=count, first=first)
    in_order = sorted(together.items(), key=lambda item: -item[1].count)
    return [(name, drop) for (name, _), drop in in_order]
