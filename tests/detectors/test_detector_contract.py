"""What every detector in the table promises."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from transformers import SwinConfig, SwinModel, ViTConfig, ViTImageProcessor, ViTModel

from detectors.catalog import DETECTORS, DetectorRequest, build_detector, content_of, describe_detector
from detectors.records import DecodedImage, GridFeatures, RegionFeatures

every_detector = pytest.mark.parametrize("name", DETECTORS)


def vision_tower(folder):
    """Return where a small published tower is."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    ViTModel(ViTConfig(**sizes, image_size=64, patch_size=16)).save_pretrained(folder)
    ViTImageProcessor().save_pretrained(folder)
    return str(folder)


def swin(folder):
    """Return where a small published Swin is."""
    torch.manual_seed(0)
    sizes = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 7}
    SwinModel(SwinConfig(**sizes, image_size=224)).save_pretrained(folder)
    return str(folder)


WEIGHTS = {"faster-rcnn": lambda folder: "toyworld", "vision-tower": vision_tower, "swin": swin}
"""Where `random:0` is slow, or there is none."""


@pytest.fixture
def request_of(name, tmp_path):
    if name == "detectron2" and importlib.util.find_spec("detectron2") is None:
        pytest.skip("detectron2 is not installed")
    weights = WEIGHTS.get(name, lambda folder: "random:0")(tmp_path)
    return DetectorRequest(name=name, weights=weights, image_size=224, min_boxes=3, max_boxes=3)


def image(image_id, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)
    return DecodedImage(image_id=image_id, pixels_rgb=pixels)


@every_detector
def test_each_image_has_a_record_of_the_kind_that_the_table_says_and_alone_the_same(request_of):
    detector = build_detector(request_of)
    prepared = [detector.prepare(image("a", 0)), detector.prepare(image("b", 1))]
    together = detector.detect(prepared)
    assert [record.image_id for record in together] == ["a", "b"]
    assert {(record.image_width, record.image_height) for record in together} == {(60, 40)}
    kind = {"regions": RegionFeatures, "grid": GridFeatures}[content_of(request_of)]
    for each, record in zip(prepared, together, strict=True):
        (alone,) = detector.detect([each])
        assert type(record) is type(alone) is kind
        np.testing.assert_allclose(alone.features, record.features, atol=0.02)
    assert not np.array_equal(together[0].features, together[1].features)
    assert list(detector.detect([])) == []


@every_detector
def test_what_decides_the_output_is_told_in_json_and_alike_for_equal_requests(request_of):
    told = describe_detector(request_of)
    assert told["weights"]
    assert json.dumps(describe_detector(request_of)) == json.dumps(told)


@every_detector
def test_options_of_other_detectors_are_refused_by_name(name, request_of):
    for option, value in (("keep_attention", True), ("config", "x.yaml")):
        if option not in DETECTORS[name].options:
            given = DetectorRequest(name=name, weights=request_of.weights, **{option: value})
            with pytest.raises(ValueError, match=f"detector '{name}' .*--{option.replace('_', '-')}"):
                describe_detector(given)
