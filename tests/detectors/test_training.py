"""Detector training: its losses, its examples, and what stays as it is."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from detectors.networks.faster_rcnn import FasterRCNNNetwork
from detectors.training import LearningDetector, TrainingOptions, to_example
from tests.detectors.squares import CONVENTIONS, TINY, Examples, square


def example(number, *, flip=False, **sides):
    return to_example(*square(number, **sides), CONVENTIONS, flip=flip, num_attributes=2)


def learner(options=None, architecture=TINY):
    torch.manual_seed(0)
    network = FasterRCNNNetwork(architecture, CONVENTIONS, nn.BatchNorm2d)
    return LearningDetector(network, options or TrainingOptions(regions_per_image=16)).train()


def test_a_few_steps_halve_the_loss():
    model = learner()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for step in range(20):
        losses = model(Examples([example(2 * step % 8 + row) for row in range(2)]))
        total = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])


def test_a_mirrored_image_has_mirrored_boxes():
    for number in range(4):
        (plain, target), (mirrored, mirrored_target) = (example(number, flip=flip) for flip in (False, True))
        assert torch.equal(plain, mirrored.flip(2))
        x1, y1, x2, y2 = target["boxes"][0].tolist()
        assert mirrored_target["boxes"][0].tolist() == pytest.approx([128 - x2, y1, 128 - x1, y2])


def test_boxes_of_an_annotated_copy_of_twice_the_size_lie_on_the_same_pixels():
    gold, decoded = square(0)
    twice = replace(gold, image_width=256, image_height=192, boxes_xyxy=gold.boxes_xyxy * 2)
    boxes = [to_example(each, decoded, CONVENTIONS, flip=False, num_attributes=2)[1]["boxes"] for each in (gold, twice)]
    assert torch.equal(*boxes)


def test_images_without_attributes_have_no_attribute_loss():
    losses = learner()(Examples([example(1), example(3)]))
    assert losses["attribute"].item() == 0.0
    assert all(math.isfinite(loss.item()) for loss in losses.values())


def test_a_network_that_tells_no_attributes_has_no_such_loss():
    losses = learner(architecture=replace(TINY, num_attributes=0))(Examples([example(0)]))
    assert list(losses) == ["objectness", "proposal_box", "class", "box"]


def test_an_image_that_is_padded_has_no_proposal_in_its_padding():
    model = learner()
    seen = []
    model.network.proposals.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs[0]))
    model(Examples([example(0), example(1, width=96, height=128)]))
    wide, tall = seen[0]
    assert wide[:, 0::2].max() <= 128
    assert wide[:, 1::2].max() <= 96
    assert tall[:, 0::2].max() <= 96
    assert tall[:, 1::2].max() <= 128


def test_frozen_stages_get_no_gradient_and_all_else_does():
    model = learner(TrainingOptions(regions_per_image=16, frozen_stages=2))
    torch.stack(list(model(Examples([example(0), example(1)])).values())).sum().backward()
    without = {name.split(".")[1] for name, weight in model.named_parameters() if weight.grad is None}
    assert without == {"stem", "res2"}


def test_every_weight_has_a_gradient_even_where_there_is_nothing_to_tell():
    # Ranks wait for each other's gradients, and one of them may have no attributes in its part.
    model = learner()
    torch.stack(list(model(Examples([example(1)])).values())).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_bfloat16_is_of_the_resnet_alone_and_losses_stay_near():
    plain = learner()
    rounded = LearningDetector(learner().network, TrainingOptions(regions_per_image=16), bfloat16=True).train()
    batch, losses = Examples([example(0), example(1)]), []
    for model in (plain, rounded):
        torch.manual_seed(1)
        losses.append(model(batch))
    assert all(each.dtype == torch.float32 for each in losses[1].values())
    total, near = (sum(each.item() for each in of.values()) for of in losses)
    assert near == pytest.approx(total, rel=0.05)
    assert near != total


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"flip": 1.5}, "flip is 1.5, expected a share from 0 to 1"),
        ({"positive_fraction": -0.1}, "positive_fraction is -0.1, expected a share"),
        ({"regions_per_image": 0}, "regions_per_image is 0, expected 1 or more"),
        ({"frozen_stages": 6}, "frozen_stages is 6, expected 0 to 5"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        TrainingOptions(**options)
