"""The whole pipeline against the bare model on the same images; a worker's memory over many shards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from annotations.toyworld.world import write_toy_world
from tests.benchmarks.scale import IS_FULL, scaled

ROOT = Path(__file__).parents[2]
PER_SHARD = scaled(full=8, tiny=1)
TOLD = scaled(full=(5, 10, 20, 30), tiny=(1, 2))
"""After how many shards the memory is told."""

BARE = """
import sys, time
from pathlib import Path
import torch
from detectors.inputs.images import decode_image
from detectors.weights.files import load_faster_rcnn
torch.set_num_threads(int(sys.argv[3]))
detector = load_faster_rcnn(sys.argv[2])
paths = sorted(Path(sys.argv[1]).iterdir())
images = [detector.prepare(decode_image(path.stem, path.read_bytes())) for path in paths]
detector.detect(images[:1])
started = time.perf_counter()
for image in images:
    detector.detect([image])
print(len(images) / (time.perf_counter() - started))
"""

MEMORY = """
import sys
from pathlib import Path
import psutil
from detectors.catalog import DetectorRequest, describe_detector
from pipeline.inputs.loaded import described_inputs
from pipeline.extraction.planning import plan_shards
from stores.images.listing import list_images
from pipeline.extraction.shard_task import ShardTask
from pipeline.extraction.worker import ShardWorker, WorkerSettings
folder, out, per_shard, *told = sys.argv[1:]
request = DetectorRequest(name="faster-rcnn", weights="toyworld")
inputs = described_inputs(request.name, describe_detector(request), None)
settings = {"inputs": inputs, "configuration": {}, "store": "arrow", "out": Path(out), "batch_size": 1, "threads": 2}
worker = ShardWorker(WorkerSettings(detector=request, **settings))
images = list_images([folder]).images
for number, shard in enumerate(plan_shards(images, int(per_shard)), start=1):
    worker.make_shard(ShardTask(shard=shard))
    if str(number) in told:
        print(number, psutil.Process().memory_info().rss)
"""


def run_python(text, *arguments):
    done = subprocess.run([sys.executable, "-c", text, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def pipeline_rate(images, weights, out):
    """Images a second from the first shard's beginning to the last one's end, by the run's own log."""
    command = [sys.executable, "-m", "pipeline.cli", "extract", "--images", images, "--weights", weights]
    subprocess.run([*command, "--shard-size", "8", "--out", out], cwd=ROOT, check=True, capture_output=True)
    events = [json.loads(line) for line in (out / "run.jsonl").read_text().splitlines()]
    shards = [event for event in events if event["event"] == "shard"]
    began = min(event["time"] - event["seconds"] for event in shards)
    return sum(event["images"] for event in shards) / (max(event["time"] for event in shards) - began)


@pytest.mark.slow  # the bookkeeping of a run starts Ray too
@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("weights", "num_images"), scaled(full=[("random:0", 40), ("toyworld", 240)], tiny=[("toyworld", 4)])
)
def test_pipeline_beside_the_bare_model(tmp_path, weights, num_images):
    write_toy_world(tmp_path / "world", num_images=num_images, seed=0)
    images, threads = tmp_path / "world/images", 2
    before = float(run_python(BARE, images, weights, threads))
    pipeline = pipeline_rate(images, weights, tmp_path / "regions")
    after = float(run_python(BARE, images, weights, threads)) if IS_FULL else before
    bare = (before + after) / 2
    print(
        f"\n{weights}: bare model {before:.3f} and {after:.3f} images/s, pipeline {pipeline:.3f} images/s, "
        f"ratio {pipeline / bare:.3f}"
    )


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_worker_memory_stays(tmp_path):
    write_toy_world(tmp_path / "world", num_images=TOLD[-1] * PER_SHARD, seed=0)
    (tmp_path / "out").mkdir()
    lines = run_python(MEMORY, tmp_path / "world/images", tmp_path / "out", PER_SHARD, *TOLD).split()
    resident = dict(zip(map(int, lines[::2]), map(int, lines[1::2]), strict=True))
    told = ", ".join(f"{size / 1e6:.0f} MB at shard {shard}" for shard, size in resident.items())
    print(f"\nworker memory: {told}; shard {TOLD[-1]} / shard {TOLD[0]} = {resident[TOLD[-1]] / resident[TOLD[0]]:.3f}")
