"""detectron2 as a detector, and as the judge of ours: where it is installed."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from detectors.catalog import DetectorRequest, build_detector
from detectors.records import DecodedImage
from detectors.vocabulary import numbered_vocabulary
from detectors.weights.files import WeightsError, load_faster_rcnn

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
needs_detectron2 = pytest.mark.skipif(not HAS_DETECTRON2, reason="detectron2 is not installed; PyPI has none")

C4 = "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml"
FPN = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"
DC5 = "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml"
STDS = (30000.0, 30000.0, 30000.0)  # untrained trunks, without norms that hold them, make maps of ones from these
SMALL = {"short_side": "200", "long_side": "320", "pixel_stds": "30000,30000,30000"}
REQUEST = DetectorRequest(name="detectron2", weights="random:0", config=C4, precision="float32", overrides=SMALL)


@pytest.fixture(scope="module")
def image():
    small = np.random.default_rng(0).integers(0, 256, (30, 44, 3), np.uint8)
    return DecodedImage(image_id="a", pixels_rgb=np.ascontiguousarray(np.kron(small, np.ones((7, 7, 1), np.uint8))))


def lively(model):
    """Untrained heads tell nothing from nothing; these do, so that a mistake shows."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "rpn_head" in name or "box_predictor" in name:
            torch.nn.init.normal_(parameter, std=0.01 if name.endswith("weight") else 0.1)
    return model.eval()


def build(config):
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    settings = get_cfg()
    settings.merge_from_file(model_zoo.get_config_file(config))
    settings.MODEL.DEVICE = "cpu"
    settings.MODEL.PIXEL_STD = list(STDS)
    settings.MODEL.RPN.POST_NMS_TOPK_TEST = 200
    torch.manual_seed(0)
    return settings, lively(build_model(settings))


@pytest.mark.skipif(HAS_DETECTRON2, reason="detectron2 is installed here")
def test_without_detectron2_it_says_how_to_get_it():
    with pytest.raises(
        WeightsError, match=r"detectron2 is not installed .*pip install --no-build-isolation '\.\[detectron2\]'"
    ):
        build_detector(REQUEST)


@needs_detectron2
def test_the_same_weights_in_detectron2s_c4_and_ours_give_the_same(tmp_path, image):
    from detectron2.structures import ImageList

    _, theirs = build(C4)
    torch.save({"model": theirs.state_dict()}, tmp_path / "model_final.pth")
    ours = load_faster_rcnn(
        str(tmp_path / "model_final.pth"), overrides={**SMALL, "rpn_after_nms": "200"}, precision="float32"
    )
    prepared = ours.prepare(image)
    inputs = prepared.model_input[None]
    with torch.inference_mode():
        maps = theirs.backbone(inputs)
        (proposals,), _ = theirs.proposal_generator(ImageList(inputs, [tuple(inputs.shape[2:])]), maps, None)
        heads = theirs.roi_heads
        expected = heads.res5(heads.pooler([maps["res4"]], [proposals.proposal_boxes])).mean(dim=(2, 3))
        logits, deltas = heads.box_predictor(expected)
        refined = heads.box_predictor.predict_boxes((logits, deltas), [proposals])[0]

        our_map = ours.network.feature_map(inputs.to(memory_format=torch.channels_last))
        torch.testing.assert_close(our_map, maps["res4"], rtol=1e-4, atol=1e-4)
        (found,) = ours.network.propose(inputs, our_map, [1.0], 36)
        assert found.shape == (200, 4)
        torch.testing.assert_close(found, proposals.proposal_boxes.tensor, rtol=0, atol=0.01)
        features = ours.network.region_features(our_map, [found])
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
        our_logits, our_deltas = ours.network.classify(features)
        torch.testing.assert_close(our_logits.softmax(1)[:, 1:], logits.softmax(1)[:, :-1], rtol=1e-3, atol=1e-5)
        best = logits[:, :-1].argmax(1)
        rows = torch.arange(200)
        our_refined = ours.network.refine(found, our_deltas.view(200, -1, 4)[rows, best + 1])
        torch.testing.assert_close(our_refined, refined.view(200, -1, 4)[rows, best], rtol=0, atol=0.01)


@needs_detectron2
def test_its_images_are_resized_as_detectron2_resizes_them(image):
    from detectron2.data.transforms import ResizeShortestEdge

    detector = build_detector(REQUEST)
    for height, width in ((210, 308), (211, 307), (40, 400), (17, 23)):
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
        prepared = detector.prepare(replace(image, pixels_rgb=pixels))
        bgr = np.ascontiguousarray(pixels[:, :, ::-1])
        expected = ResizeShortestEdge(200, 320).get_transform(bgr).apply_image(bgr).astype(np.float32)
        means = torch.tensor(detector.conventions.pixel_means)
        torch.testing.assert_close(prepared.model_input.permute(1, 2, 0) * STDS[0], torch.from_numpy(expected) - means)


@needs_detectron2
@pytest.mark.parametrize(("config", "feature_dim"), [(C4, 2048), (FPN, 1024), (DC5, 1024)])
def test_any_of_its_networks_gives_features_of_its_box_head(tmp_path, image, config, feature_dim):
    settings, theirs = build(config)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    with (tmp_path / "w.yaml").open("w") as file:
        file.write(settings.dump())
    request = replace(REQUEST, weights=str(tmp_path / "w.pth"), config=str(tmp_path / "w.yaml"))
    detector = build_detector(request)
    prepared = detector.prepare(image)
    (regions,) = detector.detect([prepared])
    assert regions.features.shape == (36, feature_dim)
    assert set(regions.attribute_ids.tolist()) == {-1}
    height, width = prepared.model_input.shape[1:]
    means = torch.tensor(settings.MODEL.PIXEL_MEAN)[:, None, None]
    example = {"image": prepared.model_input * STDS[0] + means, "height": height, "width": width}
    with torch.inference_mode():
        images = theirs.preprocess_image([example])
        maps = theirs.backbone(images.tensor)
        (proposals,), _ = theirs.proposal_generator(images, maps, None)
        heads = theirs.roi_heads
        pooler = heads.pooler if hasattr(heads, "res5") else heads.box_pooler
        pooled = pooler([maps[name] for name in heads.in_features], [proposals.proposal_boxes])
        features = heads.res5(pooled).mean((2, 3)) if hasattr(heads, "res5") else heads.box_head(pooled)
        our_maps = detector.network.feature_map(prepared.model_input[None])
        (found,) = detector.network.propose(prepared.model_input[None], our_maps, [1.0], 36)
        torch.testing.assert_close(found, proposals.proposal_boxes.tensor, rtol=0, atol=0.01)
        torch.testing.assert_close(detector.network.region_features(our_maps, [found]), features, rtol=1e-3, atol=1e-4)


@needs_detectron2
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": None}, r"configuration is None, expected --config with a .yaml file"),
        ({"config": "model.py"}, r"expected --config with a .yaml file"),
        ({"config": "COCO-Detection/none.yaml"}, "none.yaml"),
        ({"config": "COCO-Detection/rpn_R_50_C4_1x.yaml"}, "cannot build this model here"),
        ({"config": "COCO-Detection/retinanet_R_50_FPN_1x.yaml"}, "python/object/apply:eval"),
        ({"config": "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml"}, "a cascade of box heads, expected one"),
        ({"weights": "none.pth"}, "no such file"),
        ({"config": "harm.yaml"}, "harm.yaml"),
        ({"weights": "random:x"}, "expected random:SEED"),
        ({"config": "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml"}, "cannot (build|run) this model here"),
    ],
)
def test_what_can_not_run_is_refused_before_anything_starts(tmp_path, monkeypatch, change, message):
    if "dconv" in str(change.get("config")) and importlib.util.find_spec("detectron2._C") is not None:
        pytest.skip("this detectron2 was built with its own operators")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harm.yaml").write_text(f"MODEL: !!python/object/apply:os.mkdir [{tmp_path / 'harmed'}]")
    with pytest.raises(WeightsError, match=message):
        build_detector(replace(REQUEST, **change))
    assert not (tmp_path / "harmed").exists()


@needs_detectron2
def test_conventions_that_the_configuration_decides_are_not_overridden():
    with pytest.raises(ValueError, match="'pooling' is decided by these weights' own network"):
        build_detector(replace(REQUEST, overrides={"pooling": "align"}))


@needs_detectron2
def test_a_vocabulary_of_another_size_is_refused(tmp_path):
    (tmp_path / "objects_vocab.txt").write_text("\n".join(numbered_vocabulary(7, 1).classes))
    (tmp_path / "attributes_vocab.txt").write_text("red")
    with pytest.raises(WeightsError, match="7 classes and 1 attributes, expected names of 80 classes"):
        build_detector(replace(REQUEST, vocabulary=tmp_path))
