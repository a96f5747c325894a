"""The full-size detector's fast path against its own plain float32 path, stage by stage, with the FLOPs it must do."""

import time

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import roi_pool

from detectors.precision import resolve_precision
from detectors.weights.files import read_weights
from tests.benchmarks.scale import scaled

HEIGHT, WIDTH = scaled(full=(600, 800), tiny=(96, 128))
TIMES = scaled(full=3, tiny=1)
WEIGHTS = scaled(full="random:0", tiny="toyworld")


def timed(call, times=TIMES):
    call()
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


def plain_features(network, feature_map, boxes):
    """What a straightforward implementation does: pool every RoI by torchvision's operator, then the fifth stage."""
    rois = torch.nn.functional.pad(boxes, (1, 0))
    return network.res5(roi_pool(feature_map, rois, 14, 1 / 16)).mean(dim=(2, 3))


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@torch.inference_mode()
def test_fast_path_beside_plain_float32():
    images = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 60
    plain = read_weights(WEIGHTS, {}).network.eval()
    plain_map = plain.feature_map(images)
    (boxes,) = plain.propose(images, plain_map, [1.0], 36)
    stages = {
        "trunk": timed(lambda: plain.feature_map(images)),
        "proposals": timed(lambda: plain.propose(images, plain_map, [1.0], 36)),
        "pooling and res5": timed(lambda: plain_features(plain, plain_map, boxes)),
    }
    with FlopCounterMode(display=False) as counter:
        plain_features(plain, plain.feature_map(images), boxes)
    gigaflops = counter.get_total_flops() / 1e9
    expected = plain_features(plain, plain_map, boxes)

    dtype = resolve_precision("auto", torch.device("cpu"))
    fast = read_weights(WEIGHTS, {}).network
    fast.optimise(dtype, torch.device("cpu"))
    inputs = images.to(dtype).to(memory_format=torch.channels_last)
    fast_map = fast.feature_map(inputs)
    fast_stages = {
        "trunk": timed(lambda: fast.feature_map(inputs)),
        "proposals": timed(lambda: fast.propose(inputs, fast_map, [1.0], 36)),
        "pooling and res5": timed(lambda: fast.region_features(fast_map, [boxes])),
    }
    inside = expected.norm(dim=1) > 0  # RoIPool gives nothing for a sliver beyond the map's last cell
    cosine = torch.nn.functional.cosine_similarity(fast.region_features(fast_map, [boxes]), expected)[inside]
    units = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    print(
        f"\n{HEIGHT}x{WIDTH}, {len(boxes)} RoIs, {torch.get_num_threads()} threads, "
        f"bf16 units {units}, fast path in {dtype}"
    )
    for name, seconds in stages.items():
        print(f"  {name:17} {seconds:6.3f} s -> {fast_stages[name]:6.3f} s   {seconds / fast_stages[name]:.2f}x")
    whole, fast_whole = sum(stages.values()), sum(fast_stages.values())
    print(f"  {'whole':17} {whole:6.3f} s -> {fast_whole:6.3f} s   {whole / fast_whole:.2f}x")
    print(f"  {gigaflops:.0f} GFLOP in convolutions: {gigaflops / whole:.0f} -> {gigaflops / fast_whole:.0f} GFLOP/s")
    print(f"  feature cosine at the same boxes: median {cosine.median():.6f}, lowest {cosine.min():.6f}")
    assert cosine.median() >= scaled(full=0.999, tiny=0.98)  # the toy world's detector sees little in noise
