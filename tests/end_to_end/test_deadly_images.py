"""A picture that kills the process which decodes it, in an extraction on a real Ray."""

import os
import signal

import pytest
import ray
from PIL import Image

from annotations.toyworld.drawing.composition import compose
from detectors.catalog import DetectorRequest, describe_detector
from pipeline.cluster.crew import ATTEMPTS, Crew
from pipeline.cluster.crew_size import CrewSize
from pipeline.extraction.planning import plan_shards
from pipeline.extraction.shard_task import ShardReport, ShardTask
from pipeline.extraction.worker import ShardWorker, WorkerSettings
from pipeline.inputs.loaded import described_inputs
from stores.images.listing import list_images

DEADLY = "04"


def deadly_worker():
    """Return a worker whose decoder is killed by one image; a class that goes to other processes by value."""

    class Deadly(ShardWorker):
        def _load_image(self, source):
            if source.image_id == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._load_image(source)

    return Deadly


def extract(tmp_path, name, worker):
    """Return every shard's bytes and what is in quarantine."""
    detector = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32")
    (tmp_path / name).mkdir()
    settings = WorkerSettings(
        detector=detector,
        inputs=described_inputs(detector.name, describe_detector(detector), None),
        configuration={},
        store="arrow",
        out=tmp_path / name,
        batch_size=2,
        threads=1,
    )
    tasks = [ShardTask(shard=shard) for shard in plan_shards(list_images([str(tmp_path / "images")]).images, 3)]
    with Crew(worker, settings, CrewSize(workers=2, cpus_per_worker=1)) as crew:
        entries = [event.entry for event in crew.run(tasks) if isinstance(event, ShardReport)]
    failures = [(each.image_id, each.stage, each.reason) for entry in entries for each in entry.failures]
    return {entry.name: (tmp_path / name / entry.name).read_bytes() for entry in entries}, failures


@pytest.mark.slow
def test_the_run_goes_on_without_the_image_over_which_workers_die(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(8):
        Image.fromarray(compose(0, number).pixels_rgb).resize((128, 96)).save(tmp_path / "images" / f"{number:02}.png")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        made, failures = extract(tmp_path, "deadly", deadly_worker())
        assert failures == [(DEADLY, "detect", f"its worker died {ATTEMPTS} times")]
        (tmp_path / "images" / f"{DEADLY}.png").write_bytes(b"")
        expected, failures = extract(tmp_path, "unreadable", ShardWorker)
    finally:
        ray.shutdown()
    assert failures == [(DEADLY, "decode", "empty file")]
    assert len(made) == 3 and made == expected
