"""What a run costs beside its detector: 100,000 images in 1,000 shards whose detector does nothing.

VINCULUM_BENCH_IMAGES makes fewer. The images are pictures of 16 x 16 pixels in one tar file, so that reading and
decoding them is next to nothing; what is left of a run is planning, Ray, threads, shards, manifest and log.
"""

import io
import json
import os
import sys
import tarfile
import time

import cv2
import numpy as np
import pytest
import torch
from ray import cloudpickle

import pipeline.extraction.extract
from detectors.catalog import DetectorRequest
from detectors.records import PreparedImage, RegionFeatures
from pipeline.extraction.extract import ExtractionJob, extract
from pipeline.extraction.worker import ShardWorker
from pipeline.run_log import STAGES
from tests.benchmarks.scale import scaled

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers find no tests: they import what is installed

NUM_IMAGES = int(os.environ.get("VINCULUM_BENCH_IMAGES", scaled(full="100_000", tiny="20")))
SHARD_SIZE = scaled(full=100, tiny=5)
RATES = {"published, one GPU of 2019": 6.5, "a worker of 100 images/s": 100.0, "a worker of 500 images/s": 500.0}


class NoDetector:
    """Finds one region of one number in every image."""

    def prepare(self, image):
        return PreparedImage(
            image_id=image.image_id, image_width=image.width, image_height=image.height, model_input=torch.zeros(1)
        )

    def detect(self, images):
        return [
            RegionFeatures(
                image_id=image.image_id,
                image_width=image.image_width,
                image_height=image.image_height,
                boxes_xyxy=np.array([[0, 0, 16, 16]], np.float32),
                features=np.ones((1, 1), np.float16),
                class_ids=np.zeros(1, np.int32),
                class_scores=np.ones(1, np.float32),
                attribute_ids=np.zeros(1, np.int32),
                attribute_scores=np.ones(1, np.float32),
                selection="filled",
            )
            for image in images
        ]


class IdleWorker(ShardWorker):
    """A worker that is all there but for its detector."""

    def __init__(self, settings):
        super().__init__(settings)
        self._detector = NoDetector()


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_what_a_run_costs_beside_its_detector(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.extraction.extract, "ShardWorker", IdleWorker)
    picture = cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        for number in range(NUM_IMAGES):
            member = tarfile.TarInfo(f"{number:09d}.png")
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
    job = ExtractionJob(
        images=(str(tmp_path / "images.tar"),),
        out=tmp_path / "regions",
        detector=DetectorRequest(name="faster-rcnn", weights="toyworld", device="cpu"),
        shard_size=SHARD_SIZE,
        workers=1,
        cpus_per_worker=1,
    )
    started, busy = time.perf_counter(), time.process_time()
    summary = extract(job)
    seconds, driver = time.perf_counter() - started, time.process_time() - busy
    assert summary.num_images == NUM_IMAGES
    events = [json.loads(line) for line in (tmp_path / "regions/run.jsonl").read_text().splitlines()]
    first, *shards = [event for event in events if event["event"] == "shard"]
    loop, images = shards[-1]["time"] - first["time"], sum(event["images"] for event in shards)
    print(f"\n{NUM_IMAGES} images: {seconds:.1f} s, {driver:.1f} s of the driver's CPU, all counted")
    print(f"  from the first shard to the last {loop:.1f} s: {1e6 * loop / images:.0f} us an image; stages overlap")
    spent = {stage: sum(event[f"{stage}_seconds"] for event in shards) for stage in STAGES}
    for stage, each in spent.items():
        print(f"    {stage:8} {each:8.1f} s   {1e6 * each / images:6.0f} us an image")
    for name, rate in RATES.items():
        print(f"  {name}: the driver takes {driver * rate / NUM_IMAGES:.2%} of its time, on a core of its own")
    started = time.perf_counter()
    assert extract(job).num_shards_made == 0
    print(f"  run again, with nothing to do: {time.perf_counter() - started:.2f} s")
