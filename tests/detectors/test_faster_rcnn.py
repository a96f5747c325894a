"""The detector's promises on small networks, and its parts against torchvision's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import resnet101
from torchvision.models.detection.image_list import ImageList
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d, nms

from detectors.conventions import Conventions
from detectors.faster_rcnn import FasterRCNNDetector
from detectors.inputs.model import to_model_input
from detectors.networks.anchors import rounded_anchors
from detectors.networks.faster_rcnn import (
    Architecture,
    FasterRCNNNetwork,
    NetworkConventions,
)
from detectors.networks.proposals import _first_survivors
from detectors.records import DecodedImage, RecordError
from detectors.vocabulary import numbered_vocabulary
from detectors.weights.files import load_faster_rcnn

SMALL = Architecture(
    blocks=(1, 1, 1, 1),
    width_per_group=8,
    num_classes=20,
    num_attributes=10,
    rpn_channels=16,
    anchors=rounded_anchors((32, 64, 128, 256)),
)
SMALL_CONVENTIONS = Conventions(short_side=160, long_side=320, pooling_size=7, rpn_before_nms=400, rpn_after_nms=60)


def small_network(conventions=SMALL_CONVENTIONS, seed=0):
    torch.manual_seed(seed)
    network = FasterRCNNNetwork(SMALL, conventions).eval()
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.1)
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def small_detector(conventions=SMALL_CONVENTIONS, precision=torch.float32, **options):
    network = small_network(conventions)
    network.optimise(precision, torch.device("cpu"))
    return FasterRCNNDetector(
        network=network,
        conventions=conventions,
        vocabulary=numbered_vocabulary(20, 10),
        weights={"name": "test"},
        **options,
    )


def random_image(image_id, height, width, boxes=None):
    pixels = np.random.default_rng(len(image_id) + height + width).integers(0, 256, (height, width, 3), np.uint8)
    return DecodedImage(image_id=image_id, pixels_rgb=pixels, given_boxes_xyxy=boxes)


def detect(detector, images):
    return detector.detect([detector.prepare(image) for image in images])


@pytest.mark.parametrize(("height", "width"), [(120, 160), (1, 1), (100, 8000), (8000, 100), (37, 501)])
def test_every_image_has_exactly_36_regions_inside_it(height, width):
    (regions,) = detect(small_detector(), [random_image("a", height, width)])
    assert regions.boxes_xyxy.shape == (36, 4)
    assert regions.features.shape == (36, 2048)
    assert regions.features.dtype == np.float16
    x1, y1, x2, y2 = regions.boxes_xyxy.T
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= width).all() and (y2 <= height).all()
    assert (x2 >= x1).all() and (y2 >= y1).all()


def test_a_batch_of_mixed_sizes_gives_what_each_image_gives_alone():
    detector = small_detector()
    sizes = {"a": (120, 160), "b": (90, 200), "c": (120, 160), "d": (90, 200), "e": (64, 64)}
    images = [random_image(name, *size) for name, size in sizes.items()]
    together = detect(detector, images)
    for image, regions in zip(images, together, strict=True):
        (alone,) = detect(detector, [image])
        assert regions.image_id == image.image_id
        np.testing.assert_allclose(regions.boxes_xyxy, alone.boxes_xyxy, atol=1e-2)
        np.testing.assert_allclose(regions.features.astype(float), alone.features.astype(float), rtol=2e-3, atol=1e-4)
        assert regions.class_ids.tolist() == alone.class_ids.tolist()


def test_the_same_image_gives_the_same_bytes_twice():
    detector = small_detector()
    first, second = (detect(detector, [random_image("a", 120, 160)])[0] for _ in range(2))
    assert first.features.tobytes() == second.features.tobytes()
    assert first.boxes_xyxy.tobytes() == second.boxes_xyxy.tobytes()


def test_between_10_and_100_regions_are_kept_on_request():
    detector = small_detector(min_boxes=10, max_boxes=50)
    (regions,) = detect(detector, [random_image("a", 120, 160)])
    assert 10 <= regions.num_boxes <= 50


def test_given_boxes_come_back_as_they_were_with_their_features():
    boxes = np.array([[0, 0, 160, 120], [10, 20, 60, 90]], np.float32)
    (regions,) = detect(small_detector(), [random_image("a", 120, 160, boxes)])
    assert regions.selection == "given"
    assert regions.boxes_xyxy.tolist() == boxes.tolist()
    assert regions.features.shape == (2, 2048)


def test_the_features_of_kept_boxes_given_again_are_the_same_features():
    detector = small_detector()
    image = random_image("a", 120, 160)
    (found,) = detect(detector, [image])
    (again,) = detect(detector, [replace(image, given_boxes_xyxy=found.boxes_xyxy)])
    similarity = cosine(found.features, again.features)
    assert np.median(similarity) > 0.9999


def test_no_given_boxes_give_no_regions():
    (regions,) = detect(small_detector(), [random_image("a", 120, 160, np.zeros((0, 4), np.float32))])
    assert (regions.num_boxes, regions.feature_dim) == (0, 2048)


def test_regressed_boxes_differ_from_raw_ones_and_stay_inside():
    image = random_image("a", 120, 160)
    (raw,) = detect(small_detector(), [image])
    (regressed,) = detect(small_detector(replace(SMALL_CONVENTIONS, boxes="regressed")), [image])
    assert not np.array_equal(raw.boxes_xyxy, regressed.boxes_xyxy)
    assert (regressed.boxes_xyxy >= 0).all() and (regressed.boxes_xyxy <= [160, 120, 160, 120]).all()


def test_features_that_overflow_float16_are_refused_by_name():
    detector = small_detector()
    with torch.no_grad():
        detector.network.res5[0].conv3.bias.fill_(1e6)
    with pytest.raises(RecordError, match="image 'a': features reach"):
        detect(detector, [random_image("a", 120, 160)])


def test_a_trunk_that_overflows_float16_is_told_by_the_name_of_its_image():
    """RoIPool passes over what is no number, so that regions beside it would look whole."""
    detector = small_detector(precision=torch.float16)
    (found,) = detect(detector, [random_image("a", 120, 160)])
    assert np.isfinite(found.features).all()
    with torch.no_grad():
        detector.network.res4[0].conv3.weight[0].fill_(3e4)
    match = "image 'b': numbers of the network pass what float16 holds; expected --precision bfloat16 or float32"
    with pytest.raises(RecordError, match=match):
        detect(detector, [random_image("b", 120, 160)])


def test_features_that_are_no_numbers_are_refused_before_anything_is_ranked_by_them():
    detector = small_detector()
    with torch.no_grad():
        detector.network.res5[0].conv3.bias.fill_(torch.inf)
    with pytest.raises(RecordError, match="image 'a': numbers of the network pass what float32 holds"):
        detect(detector, [random_image("a", 120, 160)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_folding_norms_and_changing_the_layout_changes_only_roundings(dtype):
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 128) * 50
    plain = small_network()
    expected = plain.feature_map(images)
    folded = small_network()
    folded.optimise(dtype, torch.device("cpu"))
    found = folded.feature_map(images.to(dtype).to(memory_format=torch.channels_last)).float()
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in folded.modules())
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > (
        0.999999 if dtype == torch.float32 else 0.999
    )


def test_the_trunk_is_torchvisions_resnet101_to_the_fourth_stage():
    theirs = resnet101(norm_layer=FrozenBatchNorm2d).eval()
    ours = FasterRCNNNetwork(Architecture(), NetworkConventions()).eval()
    for mine, yours in (("res2", "layer1"), ("res3", "layer2"), ("res4", "layer3"), ("res5", "layer4")):
        getattr(ours, mine).load_state_dict(getattr(theirs, yours).state_dict())
    ours.stem[0].load_state_dict(theirs.conv1.state_dict())
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        expected = theirs.layer3(theirs.layer2(theirs.layer1(stem)))
        assert torch.equal(ours.feature_map(images), expected)
        pooled = torch.randn(2, 1024, 14, 14)
        assert torch.equal(ours.res5(pooled), theirs.layer4(pooled))
        assert ours.res5(pooled).shape == (2, 2048, 7, 7)


def test_dilation_keeps_the_bins_of_the_fifth_stage():
    dilated = FasterRCNNNetwork(SMALL, NetworkConventions(res5="dilation")).eval()
    assert dilated.res5(torch.randn(1, 1024, 14, 14)).shape == (1, 2048, 14, 14)
    assert all(block.conv2.dilation == (2, 2) for block in dilated.res5)


def test_caffes_stride_and_stem_pooling_are_set_where_caffe_has_them():
    caffe = FasterRCNNNetwork(SMALL, NetworkConventions(stride_in="1x1", stem_pooling="caffe"))
    first = caffe.res3[0]
    assert isinstance(first, Bottleneck)
    assert (first.conv1.stride, first.conv2.stride) == ((2, 2), (1, 1))
    pool = caffe.stem[3]
    assert isinstance(pool, nn.MaxPool2d) and pool.ceil_mode and pool.padding == 0


def test_proposals_are_those_of_torchvisions_own_filter():
    network = small_network(replace(SMALL_CONVENTIONS, rpn_before_nms=200, rpn_after_nms=20))
    images = torch.randn(2, 3, 160, 240)
    with torch.inference_mode():
        feature_map = network.feature_map(images)
        ours = network.propose(images, feature_map, [1.0, 1.0], at_least=1)
        theirs, _ = network.proposals(ImageList(images, [(160, 240)] * 2), {"res4": feature_map})
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, yours)


def test_nms_survivors_of_a_prefix_are_those_of_the_whole():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(3000, 2, generator=generator) * 500
    boxes = torch.cat([corner, corner + torch.rand(3000, 2, generator=generator) * 200 + 1], dim=1)
    scores = torch.rand(3000, generator=generator).sort(descending=True).values
    assert torch.equal(_first_survivors(boxes, scores, 0.7, 100, 36), nms(boxes, scores, 0.7)[:100])


def test_suppressed_proposals_fill_up_where_nms_leaves_too_few():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).repeat(50, 1)
    kept = _first_survivors(boxes, torch.linspace(1, 0, 50), 0.7, 45, 40)
    assert kept.tolist() == list(range(40))


def test_the_input_is_scaled_by_bottom_up_attentions_rule_in_its_channel_order():
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[..., 0] = 200  # red
    tensor = to_model_input(DecodedImage(image_id="a", pixels_rgb=pixels), Conventions())
    assert tensor.shape == (3, 600, 800)
    np.testing.assert_allclose(tensor[:, 0, 0], [-102.9801, -115.9465, 200 - 122.7717], atol=1e-4)


def test_bfloat16_gives_the_regions_of_float32_on_trained_weights(toy_images):
    # The proposals' NMS takes boxes of IoU above 0.7 for one, and which of them it keeps may hang on a rounding.
    exact, fast = (load_faster_rcnn("toyworld", precision=precision) for precision in ("float32", "bfloat16"))
    found, similarities = 0, []
    for image in toy_images:
        (ours,), (theirs,) = detect(exact, [image]), detect(fast, [image])
        iou = pairwise_iou(ours.boxes_xyxy, theirs.boxes_xyxy)
        same = iou.max(axis=1) > 0.7
        found += same.sum()
        similarities.append(cosine(ours.features, theirs.features[iou.argmax(axis=1)])[same])
    assert found >= 0.95 * 36 * len(toy_images)
    assert np.median(np.concatenate(similarities)) >= 0.999


@pytest.fixture(scope="module")
def toy_images():
    from annotations.toyworld.drawing.composition import compose

    return [DecodedImage(image_id=str(number), pixels_rgb=compose(0, number).pixels_rgb) for number in range(1, 9)]


def cosine(ours, theirs):
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    return (ours * theirs).sum(axis=1) / (np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1))


def pairwise_iou(ours, theirs):
    low = np.maximum(ours[:, None, :2], theirs[None, :, :2])
    high = np.minimum(ours[:, None, 2:], theirs[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (ours, theirs)]
    return inside / (areas[0][:, None] + areas[1][None, :] - inside)
