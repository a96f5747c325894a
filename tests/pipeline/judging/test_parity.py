"""Parity: our detector against itself passes, against anything else it says what differs."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from annotations.toyworld.drawing.composition import compose
from detectors.catalog import DetectorRequest, build_detector
from detectors.inputs.images import decode_image
from detectors.inputs.model import scale_of_boxes, scaled_sides
from detectors.weights.published import CAFFE
from pipeline.cli import main
from pipeline.judging.parity import ParityJob, _gold_regions, compare
from stores.interchange import lxmert_tsv

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))
CAFFE_GOLD = DATA / "features" / "caffe_obj36"
TOY = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32", overrides={"boxes": "raw"})
"""Its boxes are those that it pools from, as Caffe's are."""


@pytest.fixture(scope="module")
def gold(tmp_path_factory):
    """Toy pictures, and what our detector finds in them as published features."""
    folder = tmp_path_factory.mktemp("gold")
    detector = build_detector(TOY)
    found = []
    for number in range(3):
        Image.fromarray(compose(0, number).pixels_rgb).save(folder / f"{number}.png")
        image = decode_image(str(number), (folder / f"{number}.png").read_bytes())
        found += detector.detect([detector.prepare(image)])
    lxmert_tsv.write(folder / "obj36.tsv", found)
    return folder


def job(gold, **changes):
    return ParityJob(gold=gold / "obj36.tsv", images=(str(gold),), detector=replace(TOY, **changes))


def test_a_detector_is_itself(gold):
    parity = compare(job(gold))
    assert parity.passes
    for image in parity.images:
        assert abs(image.feature_difference) <= image.feature_distance < 0.001 and image.feature_cosine > 0.9999
        assert image.classes_differing <= 1
        assert (image.boxes_found, image.box_iou) == (36, pytest.approx(1.0, abs=1e-4))
        assert image.found_cosine == pytest.approx(1.0, abs=1e-4)


def test_another_detector_fails_with_what_differs(gold):
    parity = compare(job(gold, overrides={"boxes": "raw", "channel_order": "rgb"}))
    assert not parity.passes
    assert all("at the gold boxes, expected at" in fault or "are found" in fault for fault in parity.faults)


def test_features_whose_differences_cancel_fail_by_their_cosine(gold):
    """Red for blue moves the mean of the first picture's features by a thousandth, and them by a hundred times that."""
    parity = compare(job(gold, overrides={"boxes": "raw", "channel_order": "rgb"}))
    first = parity.images[0]
    assert abs(first.feature_difference) < 0.037 < first.feature_distance
    assert f"0: features have a median cosine of {first.feature_cosine:.4f} at the gold boxes" in parity.faults[0]


def test_the_command_tells_the_table_and_the_verdict(gold, capsys):
    arguments = ["parity", "--gold", str(gold / "obj36.tsv"), "--images", str(gold), "--json"]
    assert main([*arguments, "--weights", "toyworld", "--convention", "boxes=raw"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("PASS") and len(lines) == 6
    assert json.loads(last)["passes"] is True and len(json.loads(last)["images"]) == 3
    assert main([*arguments, "--weights", "toyworld", "--convention", "boxes=raw", "channel_order=rgb"]) == 1
    assert "FAIL: " in capsys.readouterr().out


def test_without_weights_it_says_where_they_are(gold, capsys):
    assert main(["parity", "--gold", str(gold / "obj36.tsv"), "--images", str(gold)]) == 1
    told = capsys.readouterr().err
    assert "unc-nlp/frcnn-vg-finetuned" in told and "bua-caffe-frcn-r101-k36.pth" in told and "--vocabulary" in told


def test_what_is_no_pair_is_refused(gold, tmp_path):
    (tmp_path / "0.png").write_bytes((gold / "0.png").read_bytes())
    with pytest.raises(ValueError, match="no photograph of 1, 2 in"):
        compare(replace(job(gold), images=(str(tmp_path),)))
    for number in (1, 2):
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match="image '1' is 60 x 50 pixels, its gold features are of one of"):
        compare(replace(job(gold), images=(str(tmp_path),)))
    with pytest.raises(ValueError, match="gives a grid, expected one that gives regions"):
        compare(job(gold, name="swin", weights="random:0", image_size=224, overrides={}))


@pytest.mark.skipif(not CAFFE_GOLD.is_dir(), reason=f"no {CAFFE_GOLD}; set VINCULUM_TEST_DATA")
def test_the_gold_boxes_end_where_our_caffe_conventions_clip_proposals():
    """So they are raw proposals, clipped to the last pixel of an input that was scaled by one factor."""
    ends = 0
    for regions in _gold_regions(CAFFE_GOLD / "train2014_obj36.tsv").values():
        height, width = regions.image_height, regions.image_width
        sides = np.array(scaled_sides(height, width, CAFFE))[::-1]
        limits = (sides - 1) / scale_of_boxes(height, width, CAFFE)[:2]
        far = regions.boxes_xyxy[:, 2:]
        assert (far <= limits + 1e-3).all()
        ends += (np.abs(far - limits) < 1e-3).sum()
    assert ends >= 50
