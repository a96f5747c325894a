"""Region selection against the loop over 1600 classes that it replaces; a batch decided at once beside its walks."""

import time

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from detectors.selection.batches import select_batch
from detectors.selection.regions import SelectionRules, select_regions
from tests.benchmarks.scale import scaled

BATCH = scaled(full=8, tiny=2)
NUM_CLASSES = scaled(full=1600, tiny=20)
TIMES = scaled(full=20, tiny=1)


def loop_over_classes(boxes, scores):
    best = np.full(len(boxes), -np.inf, np.float32)
    for class_id in range(scores.shape[1]):
        kept = nms(torch.from_numpy(boxes), torch.from_numpy(scores[:, class_id].copy()), 0.3).numpy()
        best[kept] = np.maximum(best[kept], scores[kept, class_id])
    return np.argsort(-best, kind="stable")[:36]


@pytest.mark.benchmark
@pytest.mark.parametrize("sharpness", [0.01, 1.0, 6.0])
def test_selection_time_beside_the_loop(sharpness):
    generator = np.random.default_rng(0)
    corner, size = generator.uniform(0, 800, (300, 2)), generator.uniform(1, 400, (300, 2))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    logits = generator.normal(size=(300, NUM_CLASSES)) * sharpness
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    started = time.perf_counter()
    expected = loop_over_classes(boxes, scores)
    loop = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(TIMES):
        selection = select_regions(boxes, scores, SelectionRules())
    walk = (time.perf_counter() - started) / TIMES
    device = "cuda" if torch.cuda.is_available() else "cpu"
    on_device = [torch.from_numpy(boxes).to(device)] * BATCH, [torch.from_numpy(scores).to(device)] * BATCH
    seconds = {}
    for at_once in (True, False):
        select_batch(*on_device, SelectionRules(), at_once=at_once)
        started = time.perf_counter()
        select_batch(*on_device, SelectionRules(), at_once=at_once)
        seconds[at_once] = (time.perf_counter() - started) / BATCH
    print(
        f"\n{BATCH} images with their scores on {device}: at once {seconds[True] * 1e3:.1f} ms an image, walked "
        f"{seconds[False] * 1e3:.1f} ms"
        f"\nselection, logits of spread {sharpness}: walk {walk * 1e3:.1f} ms, loop {loop * 1e3:.0f} ms, "
        f"{loop / walk:.0f}x"
    )
    assert selection.indices.tolist() == expected.tolist()
