"""What inter-modality flow costs beside the forward pass that made the maps, and what memory; prints both.

64 pairs of 20 word pieces and 36 regions through 12 layers of BERT's size. A forward pass without maps, one with them
and the flow of them take turns; ratios are medians of rounds, with their range. The peak is of tensors that live at
once, by the profiler's account of what was allocated and freed.
"""

import statistics
import time

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks.scale import scaled
from tests.training.builders import make_batch
from training.models.rollout import roll_out
from training.models.single_stream import SingleStreamEncoder, SingleStreamShape
from training.objectives.sizes import Sizes
from training.probes.modality_clusters import two_clusters
from training.probes.modality_flow import modality_flow

pytestmark = pytest.mark.benchmark

ROUNDS = scaled(full=3, tiny=1)
NUM_PAIRS, NUM_PIECES, NUM_REGIONS = scaled(full=(64, 20, 36), tiny=(4, 5, 6))
NUM_PLACES = NUM_PIECES + NUM_REGIONS
SHAPE = scaled(
    full=SingleStreamShape(vocab_size=30522),
    tiny=SingleStreamShape(vocab_size=30522, hidden_size=24, intermediate_size=48, num_heads=2, num_layers=3),
)
SIZES = Sizes(
    hidden_size=SHAPE.hidden_size,
    vocab_size=30522,
    feature_dim=2048,
    num_classes=1600,
    num_attributes=400,
    num_answers=2,
)


@pytest.fixture(scope="module")
def tapped():
    """An encoder, a batch, and what the one makes of the other, with all maps."""
    torch.manual_seed(0)
    encoder = SingleStreamEncoder(SHAPE).eval()
    batch = make_batch(num_pieces=[NUM_PIECES] * NUM_PAIRS, num_regions=[NUM_REGIONS] * NUM_PAIRS, sizes=SIZES)
    with torch.inference_mode():
        return encoder, batch, encoder(batch, encoder.tap_names, keep_states=True)


def seconds(call):
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def told(ratios):
    return f"{statistics.median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})"


@pytest.mark.timeout(3000)
def test_what_flow_and_clusters_cost_beside_the_forward_pass(tapped):
    encoder, batch, outputs = tapped
    there_BT = torch.ones(NUM_PAIRS, NUM_PLACES, dtype=torch.bool)

    def cluster():
        for states in outputs.states.values():
            two_clusters(torch.cat(states, 1), there_BT)

    calls = (
        lambda: encoder(batch),
        lambda: encoder(batch, encoder.tap_names),
        lambda: list(modality_flow(outputs, batch.text_mask, batch.region_mask)),
        cluster,
    )
    with torch.inference_mode():
        rounds = [[seconds(call) for call in calls] for _ in range(ROUNDS + 1)][1:]
    plain, with_maps, flow, clusters = (statistics.median(each) for each in zip(*rounds, strict=True))
    print(f"\n{NUM_PAIRS} x {NUM_PLACES} places x {SHAPE.num_layers} layers: forward {plain:.2f} s, with maps ", end="")
    print(f"{with_maps:.2f} s, their flow {flow:.3f} s, clusters of states {clusters:.2f} s")
    print(f"flow over the forward pass that made the maps: {told([c / b for _, b, c, _ in rounds])}")
    print(f"both together over a forward pass without maps: {told([(b + c) / a for a, b, c, _ in rounds])}")
    print(f"clusters over the forward pass that made the states: {told([d / b for _, b, _, d in rounds])}")
    assert len(rounds) == ROUNDS


@pytest.mark.parametrize("how", ["flow", "a list of rollouts"])
def test_how_many_products_live_at_once(tapped, how):
    _, batch, outputs = tapped
    product = NUM_PAIRS * NUM_PLACES**2 * 8

    def run():
        if how == "flow":
            for _ in modality_flow(outputs, batch.text_mask, batch.region_mask):
                pass
        else:
            roll_out(outputs.taps[layer].probs.mean(1, dtype=torch.float64) for layer in outputs.layers)

    with torch.inference_mode():
        run()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            run()
    living = peak = 0
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    for event in sorted(events, key=lambda each: each.start_ns()):
        living += event.nbytes()
        peak = max(peak, living)
    print(
        f"\n{how}: at most {peak / 2**20:.1f} MiB at once, {peak / product:.1f} products of {product / 2**20:.1f} MiB"
    )
    assert peak
