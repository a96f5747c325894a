"""Detector training: its losses, its batches, and that a few steps teach something."""

import math

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from annotations.toyworld.world import write_toy_world
from detectors.anchors import rounded_anchors
from detectors.conventions import Conventions
from detectors.evaluation import evaluate
from detectors.faster_rcnn_network import Architecture, FasterRCNNNetwork
from detectors.training import (
    GoldImage,
    TrainingError,
    TrainingOptions,
    _batches,
    compute_losses,
    roi_heads,
    train,
)
from detectors.weights import read_weights
from training.detector_command import DetectorCommand

TINY = Architecture(
    blocks=(1, 1, 1, 1),
    width_per_group=8,
    num_classes=2,
    num_attributes=2,
    rpn_channels=16,
    anchors=rounded_anchors((16, 32, 64, 128)),
)
CONVENTIONS = Conventions(
    short_side=96, long_side=160, pooling_size=7, rpn_before_nms=200, rpn_after_nms=40, pixel_stds=(58.0, 58.0, 58.0)
)


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Pictures with one bright or dark square each: class 1 with attribute 2, class 2 without any."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    images = []
    for number in range(16):
        pixels = np.full((96, 128, 3), 120, np.uint8)
        x, y = (int(value) for value in generator.integers(5, 50, 2))
        bright = number % 2 == 0
        pixels[y : y + 40, x : x + 40] = 250 if bright else 5
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        images.append(
            GoldImage(
                path=folder / f"{number}.png",
                image_id=str(number),
                image_width=128,
                image_height=96,
                boxes_xyxy=np.array([[x, y, x + 40, y + 40]], np.float32),
                class_rows=np.array([1 if bright else 2], np.int64),
                attribute_rows=((2,),) if bright else ((),),
            )
        )
    return images


def network(seed=0):
    torch.manual_seed(seed)
    return FasterRCNNNetwork(TINY, CONVENTIONS, nn.BatchNorm2d)


def test_a_few_steps_halve_the_loss_and_find_the_attribute(squares):
    learner, steps = network(), []
    train(learner, squares, CONVENTIONS, TrainingOptions(steps=40, batch_size=4, regions_per_image=16), steps.append)
    assert [step.step for step in steps] == list(range(1, 41))
    totals = [sum(step.losses.values()) for step in steps]
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])
    scores = evaluate(learner, squares, CONVENTIONS)
    assert scores.attribute_accuracy == 1.0
    assert (scores.num_images, scores.num_boxes) == (16, 16)


def test_the_same_seed_trains_the_same_weights(squares):
    learners = [network(), network()]
    for learner in learners:
        train(learner, squares, CONVENTIONS, TrainingOptions(steps=3, batch_size=2), lambda step: None)
    first, second = (learner.state_dict() for learner in learners)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_mirrored_image_has_mirrored_boxes(squares):
    options = TrainingOptions(steps=1, batch_size=16)
    plain, mirrored = (
        next(_batches(squares, CONVENTIONS, TrainingOptions(steps=1, batch_size=16, flip=flip), 3)) for flip in (0, 1)
    )
    assert options.flip == 0.5
    for index in range(16):
        assert torch.equal(plain[1][index], mirrored[1][index].flip(2))
        x1, y1, x2, y2 = plain[2][index]["boxes"][0].tolist()
        assert mirrored[2][index]["boxes"][0].tolist() == pytest.approx([128 - x2, y1, 128 - x1, y2])


def test_images_without_attributes_have_no_attribute_loss(squares):
    learner = network().train()
    dark = [image for image in squares if not image.attribute_rows[0]]
    _, inputs, targets = next(_batches(dark, CONVENTIONS, TrainingOptions(steps=1, batch_size=4), 3))
    losses = compute_losses(learner, roi_heads(learner, 16, 0.5), inputs, targets)
    assert losses["attribute"].item() == 0.0
    assert all(math.isfinite(loss.item()) for loss in losses.values())


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_images(squares):
    learner = network()
    with torch.no_grad():
        learner.cls_score.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1: losses are .* on images \['"):
        train(learner, squares, CONVENTIONS, TrainingOptions(steps=2, batch_size=2), lambda step: None)


def test_a_detector_that_finds_nothing_scores_nothing(squares):
    silent = network()
    with torch.no_grad():
        silent.cls_score.bias[0] = 50.0
    assert evaluate(silent, squares[:2], CONVENTIONS).map_50 == 0.0


def test_the_command_goes_from_annotations_to_weights_that_load(tmp_path):
    write_toy_world(tmp_path / "world", num_images=10, seed=3)
    command = DetectorCommand(
        annotations=tmp_path / "world/visual_genome",
        images=(tmp_path / "world/images",),
        out=tmp_path / "run",
        size="small",
        options=TrainingOptions(steps=2, batch_size=2, regions_per_image=8),
    )
    summary = command.run()
    weights = read_weights(str(tmp_path / "run/detector.safetensors"), {})
    assert summary["num_images"] == 2
    assert weights.identity["sha256"] == summary["sha256"]
    assert len(weights.vocabulary.classes) == 18
    assert len((tmp_path / "run/losses.jsonl").read_text().splitlines()) == 2
