"""A worker whose device's memory holds fewer images than were asked for."""

import pytest
import torch
from PIL import Image

from annotations.toyworld.composition import compose
from detectors.catalog import DetectorRequest
from pipeline.planning import plan_shards
from pipeline.worker import ShardTask, ShardWorker, WorkerSettings
from stores.image_listing import list_images


class SmallMemory:
    """The detector on a device that holds so many images at once."""

    def __init__(self, detector, limit):
        self.detector, self.limit, self.batches = detector, limit, []

    def prepare(self, image):
        return self.detector.prepare(image)

    def detect(self, images):
        self.batches.append(len(images))
        if len(images) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return self.detector.detect(images)


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.fromarray(compose(0, number).pixels_rgb).resize((128, 96)).save(tmp_path / "images" / f"{number:02}.png")
    (planned,) = plan_shards(list_images([str(tmp_path / "images")]).images, 64)
    return planned


def make(tmp_path, shard, batch_size, limit):
    out = tmp_path / f"out-{batch_size}-{limit}"
    out.mkdir()
    worker = ShardWorker(
        WorkerSettings(
            detector=DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32"),
            configuration={"a": 1},
            store="arrow",
            out=out,
            batch_size=batch_size,
            threads=1,
        )
    )
    worker._detector = SmallMemory(worker._detector, limit)
    report = worker.make_shard(ShardTask(shard=shard))
    return report, worker.progress(), worker._detector.batches


def test_a_batch_beyond_the_devices_memory_is_halved_and_stays_so(tmp_path, shard):
    report, progress, batches = make(tmp_path, shard, 8, limit=3)
    assert (report.entry.rows, report.entry.failures) == (12, ())
    assert progress.num_images == 12
    assert progress.notices == (
        "out of device memory: batches of 4 instead of 8 from here on",
        "out of device memory: batches of 2 instead of 4 from here on",
    )
    assert batches == [8, 4, 2, 2, 4, 2, 2, 2, 2]
    enough, told, _ = make(tmp_path, shard, 8, limit=8)
    assert told.notices == () and enough.entry.rows == 12


def test_one_image_that_does_not_fit_is_put_aside_with_the_reason(tmp_path, shard):
    report, progress, _ = make(tmp_path, shard, 2, limit=0)
    assert report.entry.rows == 0 and len(report.entry.failures) == 12
    assert {each.reason for each in report.entry.failures} == {"out of device memory with this image alone"}
    assert progress.notices == ("out of device memory: batches of 1 instead of 2 from here on",)
