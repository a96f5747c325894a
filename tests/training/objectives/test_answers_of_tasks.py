"""The model of fine-tuning: its losses by hand, and which image of a pair is the first."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.training.builders import SHAPE, SIZES, make_batch
from training.batch import Batch
from training.model import Model
from training.objectives.catalog import Objectives
from training.objectives.question_answering import QuestionAnsweringObjective, QuestionAnsweringOptions


def build(*, num_images=1, loss="soft", num_answers=7):
    torch.manual_seed(0)
    options = QuestionAnsweringOptions(loss=loss, num_images=num_images)
    model = Model(
        SHAPE,
        Objectives(masked_words=None, masked_regions=None, matching=None, question_answering=options),
        replace(SIZES, num_answers=num_answers),
    )
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.5)
    return model


def scores_of(model, batch):
    return model.head(QuestionAnsweringObjective).scores(model.encode(batch))


def paired(batch: Batch, **changes) -> Batch:
    return replace(batch, images_per_sentence=2, **changes)


PAIRS = make_batch(num_pieces=(5, 5, 7, 7), num_regions=(4, 6, 3, 4))


def test_soft_answers_lose_the_sum_over_answers_and_the_mean_over_the_batch():
    batch = make_batch()
    model, targets = build(), torch.rand(3, 7)
    loss = model(replace(batch, answer_scores=targets))["question_answering"]
    scores = scores_of(model, batch)
    by_torch = F.binary_cross_entropy_with_logits(scores, targets)  # mean over B x A
    torch.testing.assert_close(loss, 7 * by_torch)
    by_hand = -(targets * scores.sigmoid().log() + (1 - targets) * (1 - scores.sigmoid()).log()).sum() / 3
    torch.testing.assert_close(loss, by_hand)


def test_a_question_without_an_answer_in_the_table_still_counts_for_soft_answers():
    model, batch = build(), make_batch()
    loss = model(replace(batch, answer_scores=torch.zeros(3, 7)))["question_answering"]
    torch.testing.assert_close(loss, F.softplus(scores_of(model, batch)).sum() / 3)


def test_soft_answers_that_were_not_asked_for_are_an_error():
    with pytest.raises(ValueError, match="the batch has no soft scores"):
        build()(make_batch())


def test_single_answers_lose_the_mean_cross_entropy_over_those_that_are_in_the_table():
    batch = replace(make_batch(), answer_ids=torch.tensor([4, -100, 0]))
    model = build(loss="single")
    log_probs = scores_of(model, batch).log_softmax(1)
    torch.testing.assert_close(model(batch)["question_answering"], -(log_probs[0, 4] + log_probs[2, 0]) / 2)


def test_without_any_answer_in_the_table_the_loss_is_zero_and_has_gradients():
    batch = replace(make_batch(), answer_ids=torch.full((3,), -100))
    model = build(loss="single")
    loss = model(batch)["question_answering"]
    loss.backward()
    assert loss.item() == 0
    assert all(
        weights.grad.count_nonzero() == 0 for weights in model.head(QuestionAnsweringObjective).head.parameters()
    )


def test_a_pair_of_images_is_judged_by_both_pooled_states_the_first_image_first():
    model = build(num_images=2, loss="single", num_answers=2)
    first, second, third, fourth = model.encode(PAIRS).pooled
    expected = model.head(QuestionAnsweringObjective).head(
        torch.stack([torch.cat([first, second]), torch.cat([third, fourth])])
    )
    scores = scores_of(model, paired(PAIRS))
    assert scores.shape == (2, 2)
    torch.testing.assert_close(scores, expected)
    turned = model.head(QuestionAnsweringObjective).head(
        torch.stack([torch.cat([second, first]), torch.cat([fourth, third])])
    )
    assert not torch.allclose(scores, turned, atol=1e-3)


def test_images_that_change_places_give_what_the_head_gives_with_its_halves_changed():
    model = build(num_images=2, loss="single", num_answers=2)
    scores = scores_of(model, paired(PAIRS))
    seen = ("input_ids", "text_mask", "features", "boxes", "region_mask")
    swapped = paired(PAIRS, **{name: getattr(PAIRS, name)[[1, 0, 3, 2]] for name in seen})
    assert not torch.allclose(scores_of(model, swapped), scores, atol=1e-3)
    with torch.no_grad():
        model.head(QuestionAnsweringObjective).head.dense.weight.copy_(
            model.head(QuestionAnsweringObjective).head.dense.weight.roll(SHAPE.hidden_size, 1)
        )
    torch.testing.assert_close(scores_of(model, swapped), scores)


def test_a_pair_has_one_answer_and_one_loss():
    model = build(num_images=2, loss="single", num_answers=2)
    batch = paired(PAIRS, answer_ids=torch.tensor([1, 1, -100, -100]))
    torch.testing.assert_close(model(batch)["question_answering"], -scores_of(model, batch).log_softmax(1)[0, 1])
    soft = build(num_images=2, num_answers=2)
    targets = torch.tensor([[0.3, 1.0], [0.3, 1.0], [0.0, 0.6], [0.0, 0.6]])
    summed = F.binary_cross_entropy_with_logits(scores_of(soft, PAIRS), targets[::2], reduction="sum")
    torch.testing.assert_close(soft(paired(PAIRS, answer_scores=targets))["question_answering"], summed / 2)


def test_low_precision_scores_are_scored_in_float32():
    batch, model = make_batch(), build()
    targets = torch.rand(3, 7)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(replace(batch, answer_scores=targets))["question_answering"]
    assert loss.dtype == torch.float32
    exact = model(replace(batch, answer_scores=targets))["question_answering"]
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0)
