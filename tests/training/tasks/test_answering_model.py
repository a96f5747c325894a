"""The model of fine-tuning: its losses by hand, and which image of a pair is the first."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.training.builders import SHAPE, make_batch
from training.records import Batch
from training.tasks.model import AnsweringModel


def build(*, num_images=1, loss="soft", num_answers=7):
    torch.manual_seed(0)
    model = AnsweringModel(SHAPE, num_answers=num_answers, num_images=num_images, loss=loss)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.5)
    return model


def paired(batch: Batch, **changes) -> Batch:
    return replace(batch, images_per_sentence=2, **changes)


PAIRS = make_batch(num_pieces=(5, 5, 7, 7), num_regions=(4, 6, 3, 4))


def test_soft_answers_lose_the_sum_over_answers_and_the_mean_over_the_batch():
    batch = make_batch()
    model, targets = build(), torch.rand(3, 7)
    loss = model(replace(batch, answer_scores=targets))["answers"]
    scores = model.scores(batch)
    by_torch = F.binary_cross_entropy_with_logits(scores, targets)  # mean over B x A
    torch.testing.assert_close(loss, 7 * by_torch)
    by_hand = -(targets * scores.sigmoid().log() + (1 - targets) * (1 - scores.sigmoid()).log()).sum() / 3
    torch.testing.assert_close(loss, by_hand)


def test_a_question_without_an_answer_in_the_table_still_counts_for_soft_answers():
    model, batch = build(), make_batch()
    loss = model(replace(batch, answer_scores=torch.zeros(3, 7)))["answers"]
    torch.testing.assert_close(loss, F.softplus(model.scores(batch)).sum() / 3)


def test_soft_answers_that_were_not_asked_for_are_an_error():
    with pytest.raises(ValueError, match="the batch has no soft scores"):
        build()(make_batch())


def test_single_answers_lose_the_mean_cross_entropy_over_those_that_are_in_the_table():
    batch = replace(make_batch(), answer_ids=torch.tensor([4, -100, 0]))
    model = build(loss="single")
    log_probs = model.scores(batch).log_softmax(1)
    torch.testing.assert_close(model(batch)["answers"], -(log_probs[0, 4] + log_probs[2, 0]) / 2)


def test_without_any_answer_in_the_table_the_loss_is_zero_and_has_gradients():
    batch = replace(make_batch(), answer_ids=torch.full((3,), -100))
    model = build(loss="single")
    loss = model(batch)["answers"]
    loss.backward()
    assert loss.item() == 0
    assert all(weights.grad.count_nonzero() == 0 for weights in model.head.parameters())


def test_a_pair_of_images_is_judged_by_both_pooled_states_the_first_image_first():
    model = build(num_images=2, loss="single", num_answers=2)
    first, second, third, fourth = model.encode(PAIRS).pooled
    expected = model.head(torch.stack([torch.cat([first, second]), torch.cat([third, fourth])]))
    scores = model.scores(paired(PAIRS))
    assert scores.shape == (2, 2)
    torch.testing.assert_close(scores, expected)
    turned = model.head(torch.stack([torch.cat([second, first]), torch.cat([fourth, third])]))
    assert not torch.allclose(scores, turned, atol=1e-3)


def test_images_that_change_places_give_what_the_head_gives_with_its_halves_changed():
    model = build(num_images=2, loss="single", num_answers=2)
    scores = model.scores(paired(PAIRS))
    seen = ("input_ids", "text_mask", "features", "boxes", "region_mask")
    swapped = paired(PAIRS, **{name: getattr(PAIRS, name)[[1, 0, 3, 2]] for name in seen})
    assert not torch.allclose(model.scores(swapped), scores, atol=1e-3)
    with torch.no_grad():
        model.head.dense.weight.copy_(model.head.dense.weight.roll(SHAPE.hidden_size, 1))
    torch.testing.assert_close(model.scores(swapped), scores)


def test_a_pair_has_one_answer_and_one_loss():
    model = build(num_images=2, loss="single", num_answers=2)
    batch = paired(PAIRS, answer_ids=torch.tensor([1, 1, -100, -100]))
    torch.testing.assert_close(model(batch)["answers"], -model.scores(batch).log_softmax(1)[0, 1])
    soft = build(num_images=2, num_answers=2)
    targets = torch.tensor([[0.3, 1.0], [0.3, 1.0], [0.0, 0.6], [0.0, 0.6]])
    summed = F.binary_cross_entropy_with_logits(soft.scores(PAIRS), targets[::2], reduction="sum")
    torch.testing.assert_close(soft(paired(PAIRS, answer_scores=targets))["answers"], summed / 2)


def test_low_precision_scores_are_scored_in_float32():
    batch, model = make_batch(), build()
    targets = torch.rand(3, 7)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(replace(batch, answer_scores=targets))["answers"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model(replace(batch, answer_scores=targets))["answers"], rtol=0.05, atol=0)
