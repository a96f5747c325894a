"""What congruence and optimal transport cost, beside explicit loops and beside a training step without them.

Prints ratios: the median of rounds in turns, and their range.
"""

import statistics
import time
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from tests.benchmarks.scale import scaled
from tests.training.builders import make_batch
from training.execution.loop import Loop
from training.model import build_new
from training.models.blocks import Blocks
from training.models.single_stream import SingleStreamShape
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.congruence import CongruenceOptions, carried_over, divergences
from training.objectives.matching import MatchingOptions
from training.objectives.optimal_transport import transport_plan
from training.objectives.sizes import Sizes
from training.runs.optimizers import Optimization, make_optimizer

pytestmark = pytest.mark.benchmark

NUM_WORDS, NUM_REGIONS = 20, 36
NUM_PAIRS = scaled(full=8, tiny=2)
NUM_TRANSPORTED = scaled(full=64, tiny=4)
ROUNDS = scaled(full=20, tiny=1)
VOCAB_SIZE = scaled(full=30522, tiny=50)
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


@pytest.fixture
def one_thread():
    """Of matrices this small, threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_turns(first, second, rounds):
    """Return the seconds that each takes, in turns, after one round that does not count."""
    taken = [], []
    for _ in range(rounds + 1):
        for call, seconds in zip((first, second), taken, strict=True):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return taken[0][1:], taken[1][1:]


def tell(what, fast, slow):
    ratios = [b / a for a, b in zip(fast, slow, strict=True)]
    print(
        f"\n{what}: {1e3 * statistics.median(fast):.3g} ms and {1e3 * statistics.median(slow):.3g} ms; ratio "
        f"{statistics.median(ratios):.3g} (from {min(ratios):.3g} to {max(ratios):.3g})"
    )
    return ratios


def random_scores():
    draw = torch.Generator().manual_seed(0)

    def block(rows, columns):
        return torch.randn(1, 1, rows, columns, generator=draw)

    return Blocks(
        text=block(NUM_WORDS, NUM_WORDS),
        regions=block(NUM_REGIONS, NUM_REGIONS),
        text_to_regions=block(NUM_WORDS, NUM_REGIONS),
        regions_to_text=block(NUM_REGIONS, NUM_WORDS),
    )


def carried_over_in_loops(attention, cross):
    """CACR's algorithm 1 with sums: a loop over every two words, of tensors over every two regions."""
    carried = torch.zeros(len(cross), len(cross))
    for i in range(len(cross)):
        for j in range(len(cross)):
            carried[i, j] = (torch.outer(cross[i], cross[j]) * attention).sum()
    return carried


def whole(size, length):
    return torch.ones(size, length, dtype=torch.bool)


@pytest.mark.usefixtures("one_thread")
def test_the_closed_form_beside_the_loop():
    scores, options = random_scores(), CongruenceOptions()
    words, regions = whole(1, NUM_WORDS), whole(1, NUM_REGIONS)

    def closed():
        return (
            carried_over(scores.regions, scores.text_to_regions, scores.regions_to_text, regions, options),
            carried_over(scores.text, scores.regions_to_text, scores.text_to_regions, words, options),
        )

    def loops():
        return (
            carried_over_in_loops(scores.regions[0, 0], scores.text_to_regions[0, 0]),
            carried_over_in_loops(scores.text[0, 0], scores.regions_to_text[0, 0]),
        )

    batch = Blocks(**{each.name: getattr(scores, each.name).expand(NUM_PAIRS, -1, -1, -1) for each in fields(scores)})

    def whole_loss():
        return divergences(batch, words.expand(NUM_PAIRS, -1), regions.expand(NUM_PAIRS, -1), options)

    def loops_of_pairs():
        return [loops() for _ in range(NUM_PAIRS)]

    for one, other in zip(closed(), loops(), strict=True):
        assert torch.allclose(one[0, 0], other, atol=1e-3)
    size = f"{NUM_WORDS} words x {NUM_REGIONS} regions"
    tell(f"both matrices of CACR at {size}, closed form and loop", *in_turns(closed, loops, ROUNDS))
    tell(
        f"the whole loss of {NUM_PAIRS} pairs, and loops for its matrices",
        *in_turns(whole_loss, loops_of_pairs, min(5, ROUNDS)),
    )


def step_with(objectives):
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
    batch = make_batch(num_pieces=[NUM_WORDS] * NUM_PAIRS, num_regions=[NUM_REGIONS] * NUM_PAIRS, sizes=SIZES)
    return lambda: loop.run([[batch]], 10, lambda report: None)


@pytest.mark.timeout(1800)
def test_what_congruence_adds_to_a_step():
    """A single-stream encoder of full size; the tap of its last layer is part of what is added."""
    without = step_with(MATCHING)
    for options in (CongruenceOptions(), CongruenceOptions(space="block_prob")):
        with_it = step_with(replace(MATCHING, congruence=options))
        ratios = tell(
            f"a step without congruence and with it, {options.space}", *in_turns(without, with_it, min(7, ROUNDS))
        )
        print(f"  adds {100 * (statistics.median(ratios) - 1):.1f} %")


@pytest.mark.usefixtures("one_thread")
def test_transport_of_a_batch_beside_a_loop_over_pairs():
    draw = torch.Generator().manual_seed(0)
    text = F.normalize(torch.randn(NUM_TRANSPORTED, NUM_WORDS, 768, generator=draw), dim=2)
    costs = 1 - text @ F.normalize(torch.randn(NUM_TRANSPORTED, NUM_REGIONS, 768, generator=draw), dim=2).transpose(
        1, 2
    )
    words, regions = whole(NUM_TRANSPORTED, NUM_WORDS), whole(NUM_TRANSPORTED, NUM_REGIONS)

    def together():
        return transport_plan(costs, words, regions)

    def one_by_one():
        pairs = [slice(row, row + 1) for row in range(NUM_TRANSPORTED)]
        return torch.cat([transport_plan(costs[pair], words[pair], regions[pair]) for pair in pairs])

    assert torch.allclose(together(), one_by_one(), atol=1e-6)
    what = f"50 iterations of IPOT for {NUM_TRANSPORTED} pairs, batched and one by one"
    tell(what, *in_turns(together, one_by_one, min(10, ROUNDS)))
