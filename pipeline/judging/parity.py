"""Our detector against published features of the same photographs: at their boxes, and from the photograph on.

Axes: R gold boxes, N our regions, D feature_dim.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.boxes import pairwise_iou
from detectors.catalog import DescribedDetector, DetectorRequest, build_detector
from detectors.inputs.images import ImageError, decode_image
from detectors.records import DecodedImage, RegionFeatures
from pipeline.conversion.foreign_rows import distinct_rows, read_row
from stores.images.bytes import read_source
from stores.images.listing import IdRule, list_images
from stores.images.sources import ImageSource
from stores.interchange.catalog import FORMATS, recognise
from stores.interchange.rows import Supplement

WHERE_WEIGHTS_ARE = """\
none given. The detector's published weights, under their authors' licences:
  bua-caffe-frcn-r101-k36.pth and -k10-100.pth: links in the README of github.com/MILVLG/bottom-up-attention.pytorch;
    these apply the network as Caffe did, whose features the gold ones are
  unc-nlp/frcnn-vg-finetuned: on Hugging Face, --weights unc-nlp/frcnn-vg-finetuned fetches it
  faster_rcnn_from_caffe_attr.pkl: its links in github.com/airsplay/py-bottom-up-attention are dead, its author sends it
with --vocabulary, a folder of objects_vocab.txt and attributes_vocab.txt from one of these repositories"""

FEATURE_DIFFERENCE, CLASSES_DIFFERING, ATTRIBUTES_DIFFERING = 0.037, 11, 9
"""The worst of ten images, of 36 boxes each, in airsplay's own comparison of his conversion with Caffe.

His difference is a plain mean, in which what is too high and what is too low cancel; so it is joined by a cosine.
"""

FEATURE_COSINE = 0.95
"""Features of one box must be nearer than those of two: of 39 pairs of gold boxes that overlap by an IoU of 0.6 to 0.7,
about the most that the proposals' NMS leaves, three in four have less in common."""

FOUND_IOU = 0.7
"""A gold box is found where a region overlaps it so much: what the proposals' own NMS takes for one box."""

FOUND_SHARE = 0.9
"""Share of all gold boxes to be found; ours, there is no published one."""


@dataclass(frozen=True, kw_only=True)
class ParityJob:
    """What is compared."""

    gold: Path
    """Published features, in any format that `vinculum convert` reads."""
    images: tuple[str, ...]
    """Where their photographs are."""
    detector: DetectorRequest
    image_id: IdRule = "stem"


@dataclass(frozen=True, kw_only=True)
class ImageParity:
    """One photograph."""

    image_id: str
    num_boxes: int
    feature_difference: float
    """Mean of ours minus gold, at the gold boxes."""
    feature_distance: float
    """Mean size of that difference, whatever its sign; told, there is no published one to judge it by."""
    feature_cosine: float
    """Median over the gold boxes, at them."""
    classes_differing: int
    attributes_differing: int
    box_iou: float
    """Mean over gold boxes of the best overlap with a region of ours, from the photograph on."""
    boxes_found: int
    found_cosine: float
    """Median over the gold boxes found, of their features with those of the region that overlaps most; 0 for none."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """All photographs, and whether ours is the same detector."""

    weights: dict[str, str]
    conventions: dict[str, Any]
    images: tuple[ImageParity, ...]
    faults: tuple[str, ...] = field(default=())
    """What is beyond the thresholds, image by image; nothing where all is well."""

    @property
    def passes(self) -> bool:
        return not self.faults


def compare(job: ParityJob) -> Parity:
    """Return how our detector's output differs from published features.

    Raises:
        ValueError: the features have no photograph among the images, are damaged, or the detector does not fit them.
    """
    gold = _gold_regions(job.gold)
    sources = {each.image_id: each for each in list_images(job.images, job.image_id).images}
    missing = [image_id for image_id in gold if image_id not in sources]
    if missing:
        raise ValueError(f"{job.gold}: no photograph of {', '.join(missing[:5])} in {', '.join(job.images)}")
    detector = build_detector(job.detector)
    described = detector.describe()
    images = tuple(_compare_image(detector, _decode(sources[image_id]), regions) for image_id, regions in gold.items())
    return Parity(
        weights=described["weights"],
        conventions=described["conventions"],
        images=images,
        faults=tuple(_faults(images)),
    )


def lines_of(parity: Parity) -> list[str]:
    """Return the table and the verdict, for people."""
    head = ("image", "difference", "absolute", "cosine", "classes", "attributes", "IoU", "found", "cosine")
    rows = [
        (
            each.image_id,
            f"{each.feature_difference:+.4f}",
            f"{each.feature_distance:.4f}",
            f"{each.feature_cosine:.4f}",
            f"{each.classes_differing}/{each.num_boxes}",
            f"{each.attributes_differing}/{each.num_boxes}",
            f"{each.box_iou:.3f}",
            f"{each.boxes_found}/{each.num_boxes}",
            f"{each.found_cosine:.4f}",
        )
        for each in parity.images
    ]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    told = "at the gold boxes: difference to cosine, and ids that differ; from the photograph on: IoU, found, cosine"
    verdict = ["PASS: the features are those of the gold detector"] if parity.passes else []
    return [told, *table, *verdict, *(f"FAIL: {fault}" for fault in parity.faults)]


def summary_of(parity: Parity) -> dict[str, Any]:
    return asdict(parity) | {"passes": parity.passes}


def _gold_regions(path: Path) -> dict[str, RegionFeatures]:
    foreign = FORMATS[recognise(path)]
    if foreign.needs_sizes:
        raise ValueError(f"{path}: this format tells no image sizes; convert it to lxmert-tsv first")
    supplement = Supplement(vocabulary=foreign.own_vocabulary(path))
    rows = distinct_rows(foreign.list_rows(path))
    return {image_id: read_row(path, foreign, row, supplement).regions for image_id, row in rows.items()}


def _decode(source: ImageSource) -> DecodedImage:
    try:
        return decode_image(source.image_id, read_source(source))
    except ImageError as error:
        raise ValueError(f"image {source.image_id!r}: {error}") from error


def _compare_image(detector: DescribedDetector, image: DecodedImage, gold: RegionFeatures) -> ImageParity:
    if (image.width, image.height) != (gold.image_width, gold.image_height):
        raise ValueError(
            f"image {image.image_id!r} is {image.width} x {image.height} pixels, its gold features are of one of "
            f"{gold.image_width} x {gold.image_height}"
        )
    at_boxes = _detect(detector, replace(image, given_boxes_xyxy=gold.boxes_xyxy))
    found = _detect(detector, image)
    if at_boxes.feature_dim != gold.feature_dim:
        raise ValueError(
            f"the detector's features have {at_boxes.feature_dim} numbers, the gold ones {gold.feature_dim}"
        )
    iou_RN = pairwise_iou(gold.boxes_xyxy, found.boxes_xyxy)
    best_R, is_found_R = iou_RN.argmax(axis=1), iou_RN.max(axis=1) >= FOUND_IOU
    found_cosine_R = _cosine(gold.features, found.features[best_R])[is_found_R]
    difference_RD = at_boxes.features.astype(np.float64) - gold.features.astype(np.float64)
    return ImageParity(
        image_id=image.image_id,
        num_boxes=gold.num_boxes,
        feature_difference=float(difference_RD.mean()),
        feature_distance=float(np.abs(difference_RD).mean()),
        feature_cosine=float(np.median(_cosine(gold.features, at_boxes.features))),
        classes_differing=int((at_boxes.class_ids != gold.class_ids).sum()),
        attributes_differing=int((at_boxes.attribute_ids != gold.attribute_ids).sum()),
        box_iou=float(iou_RN.max(axis=1).mean()),
        boxes_found=int(is_found_R.sum()),
        found_cosine=float(np.median(found_cosine_R)) if len(found_cosine_R) else 0.0,
    )


def _detect(detector: DescribedDetector, image: DecodedImage) -> RegionFeatures:
    (features,) = detector.detect([detector.prepare(image)])
    if not isinstance(features, RegionFeatures):
        raise ValueError("the detector gives a grid, expected one that gives regions")
    return features


def _cosine(ours: NDArray[np.float16], theirs: NDArray[np.float16]) -> NDArray[np.float64]:
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    products: NDArray[np.float64] = (one * other).sum(axis=1)
    return np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)


def _faults(images: tuple[ImageParity, ...]) -> list[str]:
    faults = []
    for each in images:
        share = each.num_boxes / 36
        if abs(each.feature_difference) > FEATURE_DIFFERENCE:
            faults.append(
                f"{each.image_id}: features differ by {each.feature_difference:+.4f} at the gold boxes, "
                f"expected at most {FEATURE_DIFFERENCE}"
            )
        if each.feature_cosine < FEATURE_COSINE:
            faults.append(
                f"{each.image_id}: features have a median cosine of {each.feature_cosine:.4f} at the gold boxes, "
                f"expected at least {FEATURE_COSINE}"
            )
        for name, count, limit in (
            ("classes", each.classes_differing, CLASSES_DIFFERING),
            ("attributes", each.attributes_differing, ATTRIBUTES_DIFFERING),
        ):
            if count > limit * share:
                faults.append(
                    f"{each.image_id}: {count} {name} differ at the gold boxes, expected at most {limit * share:g}"
                )
    num_found, num_boxes = sum(each.boxes_found for each in images), sum(each.num_boxes for each in images)
    if num_found < FOUND_SHARE * num_boxes:
        faults.append(
            f"{num_found} of {num_boxes} gold boxes are found at an IoU of {FOUND_IOU}, expected {FOUND_SHARE:.0%}"
        )
    return faults
