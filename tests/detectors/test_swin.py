import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import BertConfig, SwinConfig, SwinForImageClassification, SwinModel, ViTImageProcessorPil

from detectors.inputs.images import decode_image
from detectors.precision import Precision
from detectors.records import DecodedImage, GridFeatures
from detectors.swin import SwinDetector, SwinOptions, load_swin
from detectors.weights.files import WeightsError

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
CPU = torch.device("cpu")

FLOAT16_STEP = 2.0**-11
"""Relative error of rounding to float16."""


def publish(folder: Path, model_class: type[SwinModel | SwinForImageClassification] = SwinModel, **changes: Any) -> str:
    """Write the checkpoint of a tiny Swin of random weights as a published one would look; 7 x 7 cells of 32."""
    tiny: dict[str, Any] = {
        "image_size": 224,
        "patch_size": 8,
        "embed_dim": 8,
        "depths": [1, 1, 2],
        "num_heads": [1, 2, 4],
        "window_size": 7,
        "initializer_range": 0.5,  # large, so that attention is far from uniform
    }
    torch.manual_seed(0)
    model_class(SwinConfig(**(tiny | changes))).save_pretrained(folder)
    return str(folder)


def tiny_detector(folder: Path, *, keep_attention: bool = False, precision: Precision = "float32") -> SwinDetector:
    options = SwinOptions(image_size=224, keep_attention=keep_attention, precision=precision)
    return load_swin(publish(folder), options, CPU)


def picture(seed: int = 0, height: int = 40, width: int = 60) -> DecodedImage:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return DecodedImage(image_id=f"picture {seed}", pixels_rgb=pixels)


def photographs(count: int) -> list[DecodedImage]:
    paths = sorted((TEST_DATA / "coco/images").rglob("*.jpg"))[:count]
    if not paths:
        pytest.skip(f"no photographs below {TEST_DATA / 'coco/images'}; set VINCULUM_TEST_DATA")
    return [decode_image(path.stem, path.read_bytes()) for path in paths]


def features_of(detector: SwinDetector, *images: DecodedImage) -> list[GridFeatures]:
    return detector.detect([detector.prepare(image) for image in images])


def test_features_and_attention_are_those_of_transformers_on_photographs(tmp_path: Path) -> None:
    # The processor of Pillow, which published Swin weights were made with, agrees in every bit. That of torchvision
    # rounds 3 pixel values in 1000 to the other neighbour, and features of unit variance differ by up to 0.01.
    images = photographs(3)
    detector = tiny_detector(tmp_path, keep_attention=True)
    oracle = SwinModel.from_pretrained(tmp_path, add_pooling_layer=False, attn_implementation="eager").eval()
    processor = ViTImageProcessorPil(
        size={"height": 224, "width": 224},
        resample=Image.Resampling.BICUBIC,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    for image, found in zip(images, features_of(detector, *images), strict=True):
        pixel_values = processor(Image.fromarray(image.pixels_rgb), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            expected = oracle(pixel_values, output_attentions=True)
        features = expected.last_hidden_state[0].reshape(7, 7, 32)
        np.testing.assert_allclose(found.features, features, atol=1e-4, rtol=FLOAT16_STEP)
        assert found.attention is not None
        np.testing.assert_allclose(found.attention, expected.attentions[-1][0], atol=1e-5, rtol=FLOAT16_STEP)
        assert (found.image_width, found.image_height) == (image.width, image.height)


def test_rows_of_the_grid_run_from_top_to_bottom(tmp_path: Path) -> None:
    grey = np.full((224, 224, 3), 128, np.uint8)
    spotted = grey.copy()
    spotted[:32, 192:] = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)  # top right cell
    detector = tiny_detector(tmp_path)
    without, with_spot = features_of(
        detector,
        DecodedImage(image_id="grey", pixels_rgb=grey),
        DecodedImage(image_id="spotted", pixels_rgb=spotted),
    )
    change = np.abs(with_spot.features.astype(np.float32) - without.features).sum(axis=2)
    assert np.unravel_index(change.argmax(), change.shape) == (0, 6)


def test_attention_of_every_cell_is_a_distribution_over_all_cells(tmp_path: Path) -> None:
    [found] = features_of(tiny_detector(tmp_path, keep_attention=True), picture())
    assert found.attention is not None
    assert found.attention.shape == (4, 49, 49)
    np.testing.assert_allclose(found.attention.astype(np.float32).sum(axis=2), 1, atol=1e-2)
    assert found.attention.max() > 0.1  # not the uniform 1/49


def test_attention_is_left_out_unless_asked_for(tmp_path: Path) -> None:
    detector = tiny_detector(tmp_path)
    assert features_of(detector, picture())[0].attention is None
    assert detector.model.config._attn_implementation == "sdpa"


def test_a_batch_gives_what_each_image_gives_alone(tmp_path: Path) -> None:
    detector = tiny_detector(tmp_path, keep_attention=True)
    images = [picture(seed, height=20 + 30 * seed, width=300) for seed in range(5)]
    for together, image in zip(features_of(detector, *images), images, strict=True):
        [alone] = features_of(detector, image)
        assert together.image_id == image.image_id
        assert together.attention is not None and alone.attention is not None
        np.testing.assert_allclose(together.features, alone.features, atol=1e-5, rtol=2 * FLOAT16_STEP)
        np.testing.assert_allclose(together.attention, alone.attention, atol=1e-5, rtol=2 * FLOAT16_STEP)


def test_no_images_give_no_grids(tmp_path: Path) -> None:
    assert features_of(tiny_detector(tmp_path)) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8000, 100), (100, 8000)])
def test_unusual_shapes_have_a_grid(tmp_path: Path, height: int, width: int) -> None:
    [found] = features_of(tiny_detector(tmp_path), picture(height=height, width=width))
    assert found.features.shape == (7, 7, 32)
    assert np.isfinite(found.features).all()


def test_bfloat16_comes_close_to_float32(tmp_path: Path) -> None:
    images = [picture(seed) for seed in range(3)]
    exact = features_of(tiny_detector(tmp_path), *images)
    rounded = features_of(tiny_detector(tmp_path, precision="bfloat16"), *images)
    for one, other in zip(exact, rounded, strict=True):
        cosine = torch.cosine_similarity(torch.tensor(one.features).float(), torch.tensor(other.features).float(), -1)
        assert cosine.median() > 0.999


@pytest.mark.parametrize(("image_size", "cells", "feature_dim"), [(224, 7, 768), (384, 12, 1024)])
def test_random_weights_have_the_full_size(image_size: Any, cells: int, feature_dim: int) -> None:
    detector = load_swin("random:0", SwinOptions(image_size=image_size, keep_attention=True), CPU)
    [found] = features_of(detector, picture())
    assert found.features.shape == (cells, cells, feature_dim)
    assert found.attention is not None
    assert found.attention.shape == (feature_dim // 32, cells**2, cells**2)


def test_random_weights_follow_from_their_seed_alone() -> None:
    options = SwinOptions(image_size=224, precision="float32")
    torch.manual_seed(1)
    undisturbed = torch.rand(3)
    torch.manual_seed(1)
    first, again, other = (load_swin(f"random:{seed}", options, CPU).weights["sha256"] for seed in (7, 7, 8))
    assert first == again != other
    assert torch.equal(torch.rand(3), undisturbed)


def test_weights_are_known_by_the_hash_of_their_file(tmp_path: Path) -> None:
    detector = tiny_detector(tmp_path / "tiny-swin")
    file = tmp_path / "tiny-swin/model.safetensors"
    config = tmp_path / "tiny-swin/config.json"
    assert detector.weights == {
        "name": "tiny-swin",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "config_sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
    }


def test_the_description_is_plain_json(tmp_path: Path) -> None:
    described = tiny_detector(tmp_path, keep_attention=True).describe()
    assert json.loads(json.dumps(described)) == described
    assert described["precision"] == "float32"
    assert described["conventions"]["resize"] == [224, 224]
    assert described["conventions"]["attention"] == "last layer, every head"


def test_a_published_classifier_is_read_without_its_head(tmp_path: Path) -> None:
    bare = tiny_detector(tmp_path / "bare")
    weights = publish(tmp_path / "classifier", SwinForImageClassification)
    tensors = load_file(tmp_path / "classifier/model.safetensors")
    assert "swin.encoder.layers.0.blocks.0.attention.self.query.weight" in tensors  # the names of published files
    assert "classifier.weight" in tensors
    trunk = load_swin(weights, SwinOptions(image_size=224, precision="float32"), CPU).model.state_dict()
    assert trunk.keys() == bare.model.state_dict().keys()
    query = trunk["encoder.layers.0.blocks.0.attention.q_proj.weight"]
    assert torch.equal(query, tensors["swin.encoder.layers.0.blocks.0.attention.self.query.weight"])


def test_missing_and_left_over_keys_are_listed(tmp_path: Path) -> None:
    weights = publish(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["layernorm.weight"]
    tensors["extra.weight"] = torch.zeros(2)
    tensors["layernorm.bias"] = torch.zeros(5)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError) as caught:
        load_swin(weights, SwinOptions(image_size=224), CPU)
    assert str(caught.value) == (
        f"weights {weights!r}: 1 missing: layernorm.weight; 1 left over: extra.weight; "
        "1 of another shape: layernorm.bias; expected a Swin trunk, with or without a classifier"
    )


def test_a_pickled_checkpoint_is_not_opened(tmp_path: Path) -> None:
    weights = publish(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"expected a folder with config\.json and model\.safetensors"):
        load_swin(weights, SwinOptions(image_size=224), CPU)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    weights = publish(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="incomplete metadata, file not fully covered"):
        load_swin(weights, SwinOptions(image_size=224), CPU)


def test_a_folder_of_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"config\.json says model_type 'bert', expected 'swin'"):
        load_swin(str(tmp_path), SwinOptions(image_size=224), CPU)


@pytest.mark.parametrize("weights", ["random:", "random:x", "random:-1"])
def test_a_seed_is_a_whole_number(weights: str) -> None:
    with pytest.raises(WeightsError, match="expected random:SEED with a whole number, such as random:0"):
        load_swin(weights, SwinOptions(), CPU)


def test_another_image_size_than_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="are for images of 224 pixels, image_size is 384; expected the same"):
        load_swin(publish(tmp_path), SwinOptions(image_size=384), CPU)


def test_attention_in_several_windows_is_refused_and_features_are_not(tmp_path: Path) -> None:
    weights = publish(tmp_path, window_size=4)
    with pytest.raises(WeightsError, match="7 x 7 cells in windows of 4 x 4, expected one window over all cells"):
        load_swin(weights, SwinOptions(image_size=224, keep_attention=True), CPU)
    [found] = features_of(load_swin(weights, SwinOptions(image_size=224), CPU), picture())
    assert found.features.shape == (7, 7, 32)
