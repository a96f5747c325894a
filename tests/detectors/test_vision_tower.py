"""Towers by name, and regions pooled from grids."""

import numpy as np
import pytest
import torch
from torchvision.ops import roi_align
from transformers import (
    BeitConfig,
    BeitModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from detectors.catalog import DetectorRequest, build_detector, content_of
from detectors.grid_regions import pooled
from detectors.records import DecodedImage, GridFeatures
from detectors.vision_tower import load_vision_tower
from detectors.weights.files import WeightsError

CPU = torch.device("cpu")
SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "image_size": 64, "patch_size": 16, "initializer_range": 0.3,
}  # fmt: skip


def clip():
    text = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "vocab_size": 9,
    }
    return CLIPModel(CLIPConfig(vision_config=SIZES, text_config=text | {"bos_token_id": 0, "eos_token_id": 1}))


MODELS = {
    "clip": (clip, CLIPVisionModel),
    "vit": (lambda: ViTModel(ViTConfig(**SIZES)), ViTModel),
    "a ViT's classifier": (lambda: ViTForImageClassification(ViTConfig(**SIZES)), ViTModel),
    "siglip": (lambda: SiglipVisionModel(SiglipVisionConfig(**SIZES)), SiglipVisionModel),
    "dinov2": (lambda: Dinov2Model(Dinov2Config(**SIZES)), Dinov2Model),
}


def publish(folder, make):
    torch.manual_seed(0)
    make().save_pretrained(folder)
    CLIPImageProcessor(image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return str(folder)


def picture(height=40, width=60):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    return DecodedImage(image_id="a", pixels_rgb=pixels)


@pytest.mark.parametrize("name", MODELS)
def test_grids_are_the_last_states_of_transformers_without_class_tokens(tmp_path, name):
    make, judge = MODELS[name]
    tower = load_vision_tower(publish(tmp_path, make), "float32", CPU)
    prepared = [tower.prepare(picture()), tower.prepare(picture(90, 30))]
    grids = tower.detect(prepared)
    theirs = judge.from_pretrained(tmp_path).eval()
    pixels = torch.stack([each.model_input for each in prepared]) / 255
    pixels = (pixels - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    with torch.inference_mode():
        states = theirs(pixels).last_hidden_state
    assert states.shape[1] - 16 in (0, 1)
    for grid, expected in zip(grids, states[:, -16:].numpy(), strict=True):
        assert grid.features.shape == (4, 4, 32)
        np.testing.assert_allclose(grid.features.reshape(16, 32).astype(float), expected, rtol=2e-3, atol=2e-3)
    assert tower.describe()["weights"]["sha256"] and tower.detect([]) == []


def test_another_kind_of_model_is_refused_with_those_that_are_known(tmp_path):
    publish(tmp_path, lambda: BeitModel(BeitConfig(**SIZES)))
    with pytest.raises(WeightsError, match="are a beit, expected one of clip, clip_vision_model, dinov2"):
        load_vision_tower(str(tmp_path), "float32", CPU)


def test_what_is_not_there_or_not_whole_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"expected a folder or a Hugging Face id with config.json"):
        load_vision_tower(str(tmp_path), "float32", CPU)
    publish(tmp_path, MODELS["vit"][0])
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match=r"preprocessor_config\.json"):
        load_vision_tower(str(tmp_path), "float32", CPU)
    publish(tmp_path, MODELS["vit"][0])
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="expected a folder"):
        load_vision_tower(str(tmp_path), "float32", CPU)


def test_missing_tensors_are_listed(tmp_path):
    from safetensors.torch import load_file, save_file

    publish(tmp_path, MODELS["vit"][0])
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    gone = next(name for name in tensors if name.endswith("layernorm.weight"))
    save_file(
        {name: each for name, each in tensors.items() if name != gone}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(WeightsError, match=r"1 missing: layernorm\.weight; expected a ViTModel"):
        load_vision_tower(str(tmp_path), "float32", CPU)


def test_regions_of_a_grid_are_pooled_at_the_given_boxes(tmp_path):
    request = DetectorRequest(name="vision-tower", weights=publish(tmp_path, MODELS["vit"][0]), precision="float32")
    assert content_of(request) == "grid"
    request = DetectorRequest(name="vision-tower", weights=request.weights, precision="float32", at_given_boxes=True)
    assert content_of(request) == "regions"
    detector = build_detector(request)
    boxes = np.array([[0, 0, 60, 40], [15, 10, 45, 30]], np.float32)
    image = DecodedImage(image_id="a", pixels_rgb=picture().pixels_rgb, given_boxes_xyxy=boxes)
    (regions,) = detector.detect([detector.prepare(image)])
    (grid,) = detector.grid.detect([detector.grid.prepare(image)])
    assert regions.boxes_xyxy.tolist() == boxes.tolist() and regions.features.shape == (2, 32)
    assert regions.class_ids.tolist() == [-1, -1] and regions.selection == "given"
    map_1DHW = torch.from_numpy(grid.features.astype(np.float32)).permute(2, 0, 1)[None]
    cells = torch.tensor([[0.0, 0, 4, 4], [1, 1, 3, 3]])
    expected = roi_align(map_1DHW, [cells], 7, aligned=True).mean((2, 3))
    np.testing.assert_allclose(regions.features.astype(float), expected, rtol=2e-3, atol=1e-3)
    with pytest.raises(ValueError, match="no boxes are given, and a grid finds none"):
        detector.detect([detector.prepare(picture())])


def test_a_grid_that_is_the_same_everywhere_gives_its_feature_to_every_box():
    cell = np.random.default_rng(0).normal(size=3).astype(np.float16)
    grid = GridFeatures(image_id="a", image_width=120, image_height=100, features=np.tile(cell, (5, 6, 1)))
    features = pooled(grid, np.array([[0, 0, 120, 100], [30, 5, 31, 80]], np.float32))
    np.testing.assert_allclose(features.astype(float), [cell, cell], rtol=1e-3)
    assert pooled(grid, np.zeros((0, 4), np.float32)).shape == (0, 3)
