"""The loop: what a step does to the weights, what it draws, and how it stops."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training.builders import SHAPE, SIZES, make_batch
from training.execution.errors import LoopError
from training.execution.loop import Loop, make_average, seed_part
from training.model import build_new
from training.objectives.catalog import Objectives
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.optimizers import Optimization, make_optimizer

STEADY = Optimization(optimizer="adamw", learning_rate=0.01, schedule="constant", warmup=0)
PER_ROW = ("sentence_ids", "image_ids", "input_ids", "text_mask", "features", "boxes", "region_mask", "class_ids")
PER_ROW += ("class_scores", "attribute_ids", "attribute_scores", "is_matched", "answer_ids")


class AnswerGuess(nn.Module):
    """Guesses each pair's answer from its regions; a mean over pairs."""

    def __init__(self, *, noise=0.0):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(SIZES.feature_dim, 1)
        self.dropout = nn.Dropout(noise)

    def forward(self, batch):
        guessed = self.dropout(self.linear(batch.features.mean(1)))[:, 0]
        return {"error": (guessed - batch.answer_ids).square().mean(), "size": guessed.square().mean()}


def all_alike(model):
    """Return the weights of a model's terms, which are the same at every step."""
    return lambda step: model.weights(step, num_steps=1, epoch=0)


def make_loop(model, options=STEADY, **more):
    return Loop(
        model=model,
        optimizer=make_optimizer(model, options),
        optimization=options,
        **{
            "weights": lambda step: {"error": 1.0, "size": 0.5},
            "num_steps": 10,
            "precision": "float32",
            "device": torch.device("cpu"),
            "seed": 0,
        }
        | more,
    )


def run(loop, steps, first=0):
    reports = []
    loop.run(steps, first, reports.append)
    return reports


def rows_of(batch, rows):
    """Return a part of a batch."""
    sliced = {name: getattr(batch, name)[rows] for name in PER_ROW}
    return replace(batch, **sliced, masked_words=None, masked_regions=None, alignment=None)


WHOLE = rows_of(make_batch(num_pieces=(5,) * 8, num_regions=(4,) * 8), slice(None))


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_step_in_parts_is_the_step_in_one(parts):
    one, many = AnswerGuess(), AnswerGuess()
    (whole,) = run(make_loop(one), [[WHOLE]])
    (split,) = run(make_loop(many), [[rows_of(WHOLE, slice(part, None, parts)) for part in range(parts)]])
    assert split.loss == pytest.approx(whole.loss, rel=1e-6)
    assert split.terms == pytest.approx(whole.terms, rel=1e-6)
    assert split.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-5)
    assert split.num_pairs == whole.num_pairs == 8
    for a, b in zip(one.parameters(), many.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_parts_count_alike_whatever_they_have_of_a_term():
    """A mean over masked words is the mean of the parts' means: a part with one word weighs as much as one with ten."""
    model = build_new(SHAPE, Objectives(masked_regions=None, question_answering=None), SIZES, seed=0)
    short, long = make_batch(num_pieces=(4,), num_regions=(3,)), make_batch(num_pieces=(11,), num_regions=(3,), seed=1)
    alone = [model(part)["masked_words"].item() for part in (short, long)]
    (report,) = run(make_loop(model, weights=all_alike(model)), [[short, long]])
    assert report.terms["masked_words"] == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_the_loss_is_the_weighted_sum_of_terms_and_weights_may_change_with_the_step():
    loop = make_loop(AnswerGuess(), weights=lambda step: {"error": 2.0, "size": float(step)})
    first, second = run(loop, [[WHOLE], [WHOLE]])
    assert first.loss == pytest.approx(2 * first.terms["error"])
    assert second.loss == pytest.approx(2 * second.terms["error"] + second.terms["size"])
    assert (first.step, second.step) == (1, 2)


def gradient_of(model):
    return torch.cat([weight.grad.flatten() for weight in model.parameters()])


@pytest.mark.parametrize("clip", [0.0, 0.25, 1000.0])
def test_gradients_are_clipped_to_the_limit_and_the_norm_that_is_told_is_that_before(clip):
    model = AnswerGuess()
    (report,) = run(make_loop(model, replace(STEADY, clip=clip)), [[WHOLE]])
    assert report.gradient_norm > 1
    expected = min(clip, report.gradient_norm) if clip else report.gradient_norm
    assert gradient_of(model).norm().item() == pytest.approx(expected, rel=1e-4)


def test_the_first_step_of_a_warm_up_changes_nothing_and_the_second_does():
    model = AnswerGuess()
    states = [copy.deepcopy(model.state_dict())]
    loop = make_loop(model, replace(STEADY, schedule="linear", warmup=0.5))
    reports = []
    loop.run(
        [[WHOLE], [WHOLE]], 0, lambda report: (reports.append(report), states.append(copy.deepcopy(model.state_dict())))
    )
    assert [report.learning_rate for report in reports] == pytest.approx([0, 0.002])
    assert torch.equal(states[0]["linear.weight"], states[1]["linear.weight"])
    assert not torch.equal(states[1]["linear.weight"], states[2]["linear.weight"])


class Breaks(AnswerGuess):
    """Gives a loss that is not finite at one of its calls."""

    def __init__(self, *, at, value):
        super().__init__()
        self.calls, self.at, self.value = 0, at, value

    def forward(self, batch):
        self.calls += 1
        terms = super().forward(batch)
        return {**terms, "size": terms["size"] * self.value} if self.calls == self.at else terms


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_with_its_step_and_sentences_and_the_weights_of_before(value):
    model, states = Breaks(at=3, value=value), []
    loop = make_loop(model, average=make_average(model, replace(STEADY, ema=0.9)))
    with pytest.raises(LoopError) as stop:
        loop.run([[WHOLE]] * 5, 10, lambda report: states.append(copy.deepcopy(model.state_dict())))
    says = str(stop.value)
    assert says.startswith("step 13: losses are error ")
    assert f"size {value:g}, the gradient's norm is nan; expected finite numbers" in says
    assert "on sentence-0, sentence-1, " in says
    assert len(states) == 2
    assert all(torch.equal(value, states[-1][name]) for name, value in model.state_dict().items())
    assert all(value.isfinite().all() for value in loop.average.module.state_dict().values())


def test_a_gradient_that_is_not_finite_stops_too():
    model = AnswerGuess()
    model.linear.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(LoopError, match="the gradient's norm is inf"):
        run(make_loop(model), [[WHOLE]])


def test_of_a_large_batch_twenty_sentences_are_named():
    large = rows_of(make_batch(num_pieces=(3,) * 30, num_regions=(2,) * 30), slice(None))
    with pytest.raises(LoopError, match=r"sentence-19 and 10 more\. Checkpoints hold what was before"):
        run(make_loop(Breaks(at=1, value=float("nan"))), [[large]])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_whose_features_are_not_finite_is_named_instead_of_the_batch(value):
    features = WHOLE.features.clone()
    features[5, 2, 1] = value
    parts = [rows_of(replace(WHOLE, features=features), rows) for rows in (slice(0, 4), slice(4, 8))]
    with pytest.raises(LoopError) as stop:
        run(make_loop(AnswerGuess()), [parts])
    assert "on sentence-5 (the features of image image-5 are not finite)." in str(stop.value)


def test_the_average_is_that_of_the_weights_after_every_step():
    model = AnswerGuess()
    loop = make_loop(model, average=make_average(model, replace(STEADY, ema=0.9)))
    seen = []
    loop.run([[WHOLE]] * 4, 0, lambda report: seen.append(model.linear.weight.detach().clone()))
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.9 * expected + 0.1 * weight
    torch.testing.assert_close(loop.average.module.linear.weight, expected)
    assert make_average(model, STEADY) is None


class Draws(AnswerGuess):
    """Tells what it draws."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def forward(self, batch):
        self.drawn.append(torch.rand(3).tolist())
        return super().forward(batch)


def drawn(num_steps, first=0, parts=1, **more):
    model = Draws()
    torch.manual_seed(torch.seed())  # whatever was drawn before
    run(make_loop(model, **more), [[WHOLE] * parts] * num_steps, first)
    return model.drawn


def test_what_a_step_draws_depends_on_the_seed_the_step_and_the_part_alone():
    undisturbed = drawn(6)
    assert drawn(2, first=4) == undisturbed[4:]
    assert drawn(6, seed=1) != undisturbed
    assert len({tuple(each) for each in undisturbed}) == 6


def test_ranks_draw_what_one_rank_draws_in_as_many_parts():
    alone = drawn(2, parts=4)
    assert [drawn(2, parts=2, rank=rank, num_ranks=1)[0] for rank in (0, 1)] == alone[:2]
    seen = []
    for step in range(2):
        for number in range(4):
            seed_part(0, step, number)
            seen.append(torch.rand(3).tolist())
    assert seen == alone


def test_a_seed_may_be_any_number():
    for seed in (0, 2**31, 2**63, 10**30):
        seed_part(seed, 0, 0)


def test_bfloat16_is_close_to_float32():
    objectives = Objectives(word_object_alignment=AlignmentOptions(joint_size=4))
    batch = make_batch()
    losses = {}
    for precision in ("float32", "bfloat16"):
        model = build_new(SHAPE, objectives, SIZES, seed=0)
        loop = make_loop(model, replace(STEADY, learning_rate=1e-3), precision=precision, weights=all_alike(model))
        losses[precision] = [report.loss for report in run(loop, [[batch]] * 5)]
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


def test_a_batch_that_is_seen_again_and_again_is_learnt():
    objectives = Objectives(word_object_alignment=AlignmentOptions(joint_size=4))
    model = build_new(SHAPE, objectives, SIZES, seed=0)
    reports = run(make_loop(model, weights=all_alike(model), num_steps=150), [[make_batch()]] * 150)
    for name in ("masked_words", "region_classes", "question_answering", "word_object_alignment"):
        assert reports[-1].terms[name] < 0.5 * reports[0].terms[name], name
