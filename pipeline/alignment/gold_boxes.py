"""Boxes for `vinculum extract --boxes`: what annotators outlined, or what a detector found.

Grounding is measured and supervised on gold boxes where detection is not to matter (RefCOCO's "ground-truth boxes";
Samaran et al. 2021, whose regions are the whole image and the boxes of Flickr30k Entities).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops
from annotations.records import Box, SentenceImage
from detectors.records import RegionFeatures
from pipeline.alignment.annotation_sources import AnnotationSource, check_sources
from stores.atomic import write_json
from stores.errors import StoreError
from stores.manifest import read_manifest
from stores.reading import open_store


@dataclass(frozen=True, kw_only=True)
class WrittenBoxes:
    """What was written."""

    images: int
    boxes: int
    drops: dict[str, int]
    """Annotations left out, by reason."""


def write_gold_boxes(out: Path, sources: Sequence[AnnotationSource], *, whole_image: bool) -> WrittenBoxes:
    """`out` is a JSON object of image id to the distinct boxes of all annotated objects, in pixels.

    Images are those in which a sentence points at a box. Where a source has objects that no sentence is about, as
    RefCOCO's instances and GQA's scene graphs do, all of an image's are there, in the source's order: a model that is
    measured on choosing among them must not be told which ones are asked for. Elsewhere they are what sentences point
    at, in their order.

    Args:
        whole_image: the first box of each image is all of it.

    Raises:
        DataError: a source cannot be read, or the size of an image is asked for and not known.
    """
    check_sources(sources)
    drops = Drops()
    boxes_of: dict[str, dict[Box, None]] = {}
    for source in sources:
        data_set = DATA_SETS[source.name]
        pointed: dict[str, dict[Box, None]] = {}
        for sentence in data_set.read_sentences(source.path, drops=drops):
            for pointer in (*sentence.pointers, *sentence.answer_pointers):
                image = sentence.images[pointer.image]
                if pointer.boxes_xyxy:
                    first = [_whole(image)] if whole_image else []
                    boxes_of.setdefault(image.image_id, dict.fromkeys(first))
                    pointed.setdefault(image.image_id, {}).update(dict.fromkeys(pointer.boxes_xyxy))
        unreferred = Drops()
        for each in data_set.objects(source.path, drops=unreferred) if data_set.objects else ():
            if each.image_id in pointed:
                boxes_of[each.image_id].update(dict.fromkeys(thing.box_xyxy for thing in each.objects))
        for image_id, boxes in pointed.items():
            boxes_of[image_id].update(boxes)
        for reason, count in unreferred.counts.items():
            drops.counts.setdefault(reason, count)  # what sentences met as well is counted once
    if not boxes_of:
        told = ", ".join(f"{source.name}={source.path}" for source in sources)
        raise DataError(f"{told}: no sentence points at a box, expected a source with boxes")
    write_json(out, {image_id: [list(box) for box in boxes] for image_id, boxes in boxes_of.items()})
    return WrittenBoxes(images=len(boxes_of), boxes=sum(map(len, boxes_of.values())), drops=dict(drops.counts))


def write_detected_boxes(out: Path, regions: Path) -> WrittenBoxes:
    """`out` is a JSON object of image id to the boxes of a region store, in its order.

    Raises:
        StoreError: the folder is no store, or one of grids.
    """
    if read_manifest(regions).content != "regions":
        raise StoreError(f"{regions}: a store of grids, expected one of regions")
    with open_store(regions) as store:
        found = (record for record in store if isinstance(record, RegionFeatures))
        boxes_of = {record.image_id: record.boxes_xyxy.tolist() for record in found}
    write_json(out, boxes_of)
    return WrittenBoxes(images=len(boxes_of), boxes=sum(map(len, boxes_of.values())), drops={})


def _whole(image: SentenceImage) -> Box:
    if not (image.width and image.height):
        raise DataError(f"image {image.image_id!r}: its source does not tell its size; leave out --whole-image")
    return 0.0, 0.0, float(image.width), float(image.height)
