"""End to end from files: Swin-T for 224 pixels and three layers, on 8 images with four sentences each, in bfloat16.

Prints how long the loop waited for images, and what computing activations again saves of memory and costs of time.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from tests.benchmarks.scale import scaled
from tests.training.joined_stores import Spoken, join_stores, make_image
from training.execution.pretrain import Overrides, prepare
from training.execution.worker import Place, TrainTask, train_run
from training.runs.presets import find_preset

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
NUM_IMAGES, NUM_STEPS, WARM = scaled(full=(32, 6, 2), tiny=(8, 2, 1))
ARMS = scaled(full=("kept", "again"), tiny=("again",))
PRESET = scaled(full="visual-parsing-small", tiny="toy-visual-parsing")
WORDS = ("a", "man", "dog", "red", "tree", "near", "the", "house", "with", "hat")


def test_a_step_from_files_and_what_recomputation_saves(tmp_path):
    stores(tmp_path)
    found = {name: in_a_fresh_process(tmp_path, name) for name in ARMS}
    for name, each in found.items():
        print(
            f"\n{name}: {each['seconds']:.2f} s a step, waiting for images {each['waiting']:.1%}; peak memory "
            f"{each['peak']:.0f} MB, {each['run']:.0f} MB of it beyond the libraries', {each['step']:.0f} MB beyond "
            "what stays between steps",
            end="",
        )
    ratios = {name: found[ARMS[-1]][name] / found[ARMS[0]][name] for name in ("peak", "run", "step", "seconds")}
    print(f"\n{ARMS[-1]} / {ARMS[0]}: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))


def stores(folder):
    """`folder` has photographs of 640 x 480 pixels, in which JPEG finds as much as in real ones, and their captions."""
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(NUM_IMAGES):
        coarse = Image.fromarray(draw.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((640, 480))
        noisy = np.asarray(coarse).astype(int) + draw.normal(0, 8, (480, 640, 3)).astype(int)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{number:02d}.jpg", quality=90)
    captions = [
        Spoken(text=" ".join(draw.choice(WORDS, 11)), image_ids=[f"{number:02d}"], source="coco-captions")
        for number in range(NUM_IMAGES)
        for _ in range(5)
    ]
    join_stores(folder / "joined", [[make_image(f"{number:02d}") for number in range(NUM_IMAGES)]], [captions])


def in_a_fresh_process(folder, name):
    done = subprocess.run(
        [sys.executable, __file__, str(folder), name],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        # What is freed goes back to the system at once, so that memory between steps is that of weights.
        env=os.environ | {"PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder, name):
    """Print what a run's steps took; the first ones are not counted."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    libraries = _resident_mb()
    preset = replace(find_preset(PRESET), tokenizer=None, batch_size=8, num_steps=NUM_STEPS)
    given = {"images": (str(folder / "images"),), "sentences": folder / "joined/sentences"}
    out = folder / name
    prepare(preset, out=out, overrides=Overrides(sources=("coco-captions",)), **given)
    seconds, at_rest = [], []

    def remember(report):
        seconds.append(report.seconds)
        at_rest.append(_resident_mb())

    task = TrainTask(run=out, log_every=1, checkpoint_every=10**6, recompute=name == "again", **given)
    train_run(task, Place(), remember)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()][WARM:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "seconds": statistics.median(seconds[WARM:]),
                "waiting": statistics.mean(line["data_wait_share"] for line in lines),
                "peak": peak,
                "run": peak - libraries,
                "step": peak - min(at_rest[WARM:]),
            }
        )
    )


def _resident_mb():
    return psutil.Process().memory_info().rss / 2**20


if __name__ == "__main__":
    measure(Path(sys.argv[1]), sys.argv[2])
