"""A worker whose device's memory holds fewer images than were asked for, or that reads other files than the run."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from annotations.toyworld.drawing.composition import compose
from detectors.catalog import DetectorRequest, describe_detector
from detectors.digests import sha256_of
from detectors.weights.files import SHIPPED
from pipeline.extraction.given_boxes import read_given_boxes
from pipeline.extraction.planning import plan_shards
from pipeline.extraction.remaining import Remaining
from pipeline.extraction.shard_task import ShardTask
from pipeline.extraction.worker import ShardWorker, WorkerSettings
from pipeline.inputs.loaded import OtherInputsError, described_inputs
from stores.images.listing import list_images
from stores.images.outages import OutageError
from stores.manifest import Manifest
from stores.plan import Plan

TOY = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32")
INPUTS = described_inputs(TOY.name, describe_detector(TOY), None)


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
            detector=TOY,
            inputs=INPUTS,
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


def settings_of(tmp_path, detector, boxes=None):
    """As a driver makes them: it reads the files that its workers read later."""
    sha256 = read_given_boxes(boxes).sha256 if boxes else None
    return WorkerSettings(
        detector=detector,
        inputs=described_inputs(detector.name, describe_detector(detector), sha256),
        configuration={},
        store="arrow",
        out=tmp_path,
        batch_size=1,
        threads=1,
        given_boxes=boxes,
    )


def change_one_weight(path):
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors["cls_score.bias"][0] += 1
    save_file(tensors, path, metadata=header)


def test_a_worker_that_reads_other_weights_than_the_run_does_not_begin(tmp_path):
    path = tmp_path / "weights.safetensors"
    shutil.copy(SHIPPED["toyworld"], path)
    settings = settings_of(tmp_path, replace(TOY, weights=str(path)))
    ShardWorker(settings)
    before = sha256_of(path)
    change_one_weight(path)
    with pytest.raises(OtherInputsError) as caught:
        ShardWorker(settings)
    assert f"detector.weights.sha256 was {before!r}, this worker read {sha256_of(path)!r}" in str(caught.value)


def test_a_worker_that_reads_other_boxes_than_the_run_does_not_begin(tmp_path):
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"00": [[0, 0, 9, 9]]}))
    settings = settings_of(tmp_path, TOY, boxes)
    ShardWorker(settings)
    before = sha256_of(boxes)
    boxes.write_text(json.dumps({"00": [[0, 0, 9, 8]]}))
    with pytest.raises(OtherInputsError) as caught:
        ShardWorker(settings)
    assert f"given_boxes.sha256 was {before!r}, this worker read {sha256_of(boxes)!r}" in str(caught.value)


def test_a_worker_that_reads_another_vocabulary_than_the_run_does_not_begin(tmp_path):
    names = describe_detector(TOY)["vocabulary"]
    (tmp_path / "objects_vocab.txt").write_text("\n".join(names["classes"]))
    (tmp_path / "attributes_vocab.txt").write_text("\n".join(names["attributes"]))
    settings = settings_of(tmp_path, replace(TOY, vocabulary=tmp_path))
    (tmp_path / "objects_vocab.txt").write_text("\n".join(reversed(names["classes"])))
    with pytest.raises(RuntimeError, match=r"node .*: vocabulary calls class 0 "):
        ShardWorker(settings)


def shard_bytes(tmp_path, name, task, detector=TOY, batch_size=4):
    """Return the shard's file, and the ids with reasons of what is in quarantine."""
    out = tmp_path / name
    out.mkdir()
    worker = ShardWorker(replace(settings_of(out, detector), batch_size=batch_size))
    entry = worker.make_shard(task).entry
    assert worker.progress().num_images == len(task.shard.images)
    return (out / entry.name).read_bytes(), [(each.image_id, each.reason) for each in entry.failures]


def test_a_shard_without_what_kills_workers_is_that_of_an_image_that_cannot_be_read(tmp_path, shard):
    task = ShardTask(shard=shard)
    numbers = [number for number, part in enumerate(task.parts()) if part.shard.images[0].image_id == "05"]
    lost, reasons = shard_bytes(
        tmp_path, "lost", task.without(dict.fromkeys(numbers, "its worker died 3 times")).gently()
    )
    assert reasons == [("05", "its worker died 3 times")]
    (tmp_path / "images/05.png").write_bytes(b"")
    unreadable, reasons = shard_bytes(tmp_path, "unreadable", task)
    assert reasons == [("05", "empty file")]
    assert lost == unreadable


def test_each_image_that_kills_workers_is_put_aside_for_its_own_reason(shard):
    left = ShardTask(shard=shard).without({1: "out of memory", 4: "died", 11: "out of memory"})
    put_aside = sorted((each.image_id, each.reason) for each in left.put_aside)
    assert put_aside == [("01", "out of memory"), ("04", "died"), ("11", "out of memory")]


def test_an_outage_in_the_middle_ends_the_run_and_puts_no_image_aside(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (32, 24)).save(tmp_path / "photos" / f"{number:02}.png")
    images = list_images([str(tmp_path / "photos")]).images
    first, second = Plan.of_shards([images[:3], images[3:]])
    rest = ShardTask(shard=second)
    out = tmp_path / "out"
    out.mkdir()
    worker = ShardWorker(settings_of(out, TOY))
    assert worker.make_shard(ShardTask(shard=first)).entry.rows == 3
    (tmp_path / "photos").rename(tmp_path / "away")
    with pytest.raises(OutageError, match="16 images in a row could not be read"):
        worker.make_shard(rest)
    assert [path.name for path in out.glob("shard-*")] == ["shard-00000.arrow"]
    (tmp_path / "away").rename(tmp_path / "photos")
    report = worker.make_shard(rest)
    assert (report.entry.rows, report.entry.failures) == (17, ())


def test_a_plain_run_tries_again_what_could_not_be_read_and_nothing_else(tmp_path, shard):
    images = tmp_path / "images"
    (images / "03.png").rename(tmp_path / "03.png")
    (images / "07.png").write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    worker, plan = ShardWorker(settings_of(out, TOY)), Plan.of_shards([shard.images])
    made = worker.make_shard(ShardTask(shard=shard)).entry
    assert [(each.image_id, each.stage) for each in made.failures] == [("03", "read"), ("07", "decode")]

    def left(entry, **options):
        manifest = Manifest(content="regions", store="arrow", configuration={}, shards=(entry,))
        return Remaining.of(plan, manifest, **options)

    (task,) = left(made).tasks()
    report = worker.make_shard(task)
    assert (report.is_new, report.entry, left(made).num_images) == (False, made, 1)

    compose_again = Image.fromarray(compose(0, 7).pixels_rgb).resize((128, 96))
    compose_again.save(images / "07.png")  # sound now; nobody asks for it
    (tmp_path / "03.png").rename(images / "03.png")
    report = worker.make_shard(task)
    assert (report.is_new, report.entry.rows) == (True, 11)
    assert [each.image_id for each in report.entry.failures] == ["07"]
    assert len(left(report.entry)) == 0
    asked = left(report.entry, retry_quarantine=True)
    (task,) = asked.tasks()
    assert worker.make_shard(task).entry.failures == ()


def test_images_that_are_other_files_now_are_made_beside_what_could_not_be_read(tmp_path, shard):
    images = tmp_path / "images"
    (images / "03.png").unlink()
    (images / "07.png").write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    worker, plan = ShardWorker(settings_of(out, TOY)), Plan.of_shards([shard.images])
    made = worker.make_shard(ShardTask(shard=shard)).entry
    manifest = Manifest(content="regions", store="arrow", configuration={}, shards=(made,))
    for name, number in (("05", 50), ("07", 70)):
        Image.fromarray(compose(0, number).pixels_rgb).resize((128, 96)).save(images / f"{name}.png")
    (task,) = Remaining.of(plan, manifest, changed=[5, 7]).tasks()
    assert (task.retry, task.put_aside) == ({"03", "05", "07"}, ())
    report = worker.make_shard(task)
    assert (report.is_new, report.entry.rows) == (True, 11)
    assert [each.image_id for each in report.entry.failures] == ["03"]
