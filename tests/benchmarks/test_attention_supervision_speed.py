"""What attention supervision adds to a training step of a full-size single-stream encoder; prints percentages.

A step with it and one without take turns. Their processor time is compared, which other programs disturb less than the
clock; ratios are medians of rounds, with their range.
"""

import statistics
import time
from dataclasses import replace

import pytest
import torch

from tests.benchmarks.scale import scaled
from tests.training.builders import make_batch
from training.batch import Grounding
from training.execution.loop import Loop
from training.model import build_new, num_parameters
from training.models.single_stream import SingleStreamShape
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.matching import MatchingOptions
from training.objectives.sizes import Sizes
from training.runs.optimizers import Optimization, make_optimizer

pytestmark = pytest.mark.benchmark

ROUNDS = scaled(full=7, tiny=1)
NUM_PAIRS, NUM_PIECES, NUM_REGIONS = 8, 20, 36
VOCAB_SIZE = scaled(full=28996, tiny=50)
SHAPE = scaled(
    full=SingleStreamShape(vocab_size=VOCAB_SIZE),
    tiny=SingleStreamShape(vocab_size=VOCAB_SIZE, hidden_size=24, intermediate_size=48, num_heads=2, num_layers=2),
)
SIZES = Sizes(
    hidden_size=SHAPE.hidden_size,
    vocab_size=VOCAB_SIZE,
    feature_dim=2048,
    num_classes=1600,
    num_attributes=400,
    num_answers=9500,
)
MATCHING = replace(NO_OBJECTIVES, matching=MatchingOptions())
"""The least that a step can have beside it, so that the share of what is added is the largest."""
ARMS = {
    "direct, 12 layers": AttentionSupervisionOptions(),
    "direct, last layer": AttentionSupervisionOptions(layers="last"),
    "semi-direct, 12 layers": AttentionSupervisionOptions(mode="semi-direct"),
    "indirect": AttentionSupervisionOptions(mode="indirect"),
}


def grounded_batch():
    """Three phrases of three pieces a sentence, each shown by two regions, as in Flickr30k Entities."""
    batch = make_batch(num_pieces=[NUM_PIECES] * NUM_PAIRS, num_regions=[NUM_REGIONS] * NUM_PAIRS, sizes=SIZES)
    draw = torch.Generator().manual_seed(0)
    starts = torch.tensor([1, 6, 12]).repeat(NUM_PAIRS)
    shown = torch.rand(len(starts), NUM_REGIONS, generator=draw).topk(2).indices
    gold = torch.zeros(len(starts), NUM_REGIONS, dtype=torch.bool).scatter(1, shown, True)
    rows = torch.arange(NUM_PAIRS).repeat_interleave(3)
    return replace(batch, grounding=Grounding(rows=rows, starts=starts, ends=starts + 3, gold=gold))


def step_with(objectives, batch):
    """Return what takes one step and gives the seconds of the processor that it took."""
    model = build_new(SHAPE, objectives, SIZES, seed=0)
    optimization = Optimization()
    loop = Loop(
        model=model,
        optimizer=make_optimizer(model, optimization),
        optimization=optimization,
        weights=lambda step: model.weights(step, num_steps=1000, epoch=0),
        num_steps=1000,
        precision="float32",
        device=torch.device("cpu"),
        seed=0,
    )
    assert num_parameters(model.encoder) == scaled(full=109_896_704, tiny=num_parameters(model.encoder))

    def step():
        started = time.process_time()
        loop.run([[batch]], 10, lambda report: None)
        return time.process_time() - started

    return step


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("arm", ARMS)
def test_what_supervision_adds_to_a_step(arm):
    batch = grounded_batch()
    plain = step_with(MATCHING, batch)
    supervised = step_with(replace(MATCHING, attention_supervision=ARMS[arm]), batch)
    rounds = [(plain(), supervised()) for _ in range(ROUNDS + 1)][1:]
    added = [100 * (b / a - 1) for a, b in rounds]
    print(
        f"\n{arm}: a step of {statistics.median(a for a, _ in rounds):.2f} s without, "
        f"{statistics.median(b for _, b in rounds):.2f} s with; adds {statistics.median(added):.1f} % "
        f"(from {min(added):.1f} to {max(added):.1f})"
    )
    assert len(added) == ROUNDS
