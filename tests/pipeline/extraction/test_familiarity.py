"""Whether the shipped weights know the pictures that they met is told by how sure they were."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detectors.catalog import DetectorRequest, build_detector
from detectors.inputs.images import decode_image
from pipeline.extraction.familiarity import LEAST, SURE_SHARES, remarks_on_pictures
from stores.manifest import Manifest, read_manifest
from tests.stores.builders import make_regions, make_store

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))


def stored(folder, share, count=12, **changes):
    """Write regions a share of which the detector is sure of."""
    scores = np.where(np.arange(36) < 36 * share, 0.95, 0.5).astype(np.float32)
    records = [replace(make_regions(f"image-{number:02d}"), class_scores=scores) for number in range(count)]
    return make_store(folder, [records[:5], records[5:]], **changes)


def test_pictures_that_the_weights_do_not_know_are_remarked(tmp_path):
    (told,) = remarks_on_pictures("toyworld", tmp_path, stored(tmp_path, 0.02))
    assert "the weights toyworld do not know such pictures: they are sure of 2.8% of the regions" in told
    assert "README" in told


@pytest.mark.parametrize(
    ("weights", "share", "count"),
    [("toyworld", SURE_SHARES["toyworld"], 12), ("published.pth", 0, 12), ("toyworld", 0, 4)],
)
def test_pictures_that_they_know_and_what_nobody_knows_are_not(tmp_path, weights, share, count):
    assert remarks_on_pictures(weights, tmp_path, stored(tmp_path, share, count)) == ()


def test_neither_absent_nor_damaged_shards_end_a_run(tmp_path):
    manifest = stored(tmp_path, 0)
    shard = tmp_path / manifest.shards[0].name
    shard.write_bytes(shard.read_bytes()[:100])
    assert remarks_on_pictures("toyworld", tmp_path, read_manifest(tmp_path)) == ()
    shard.unlink()
    assert remarks_on_pictures("toyworld", tmp_path, read_manifest(tmp_path)) == ()
    assert remarks_on_pictures("toyworld", tmp_path, Manifest(content="regions", store="arrow", configuration={})) == ()


@pytest.mark.skipif(not (DATA / "flickr30k_entities/images").is_dir(), reason="no photographs at VINCULUM_TEST_DATA")
def test_the_toy_detector_is_not_sure_of_photographs(tmp_path):
    detector = build_detector(DetectorRequest(name="faster-rcnn", weights="toyworld", device="cpu"))
    paths = sorted((DATA / "flickr30k_entities/images").glob("*.jpg"))[:8]
    images = [decode_image(path.stem, path.read_bytes()) for path in paths]
    records = [record for image in images for record in detector.detect([detector.prepare(image)])]
    share = float(np.mean([record.class_scores >= 0.9 for record in records]))
    assert share < LEAST * SURE_SHARES["toyworld"] / 2
    manifest = make_store(tmp_path, [sorted(records, key=lambda each: each.image_id)])
    assert remarks_on_pictures("toyworld", tmp_path, manifest)
