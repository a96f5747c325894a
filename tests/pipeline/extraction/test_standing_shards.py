"""A shard that is there when it is to be made: believed, kept, or named; its rows never become failures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from annotations.toyworld.drawing.composition import compose
from detectors.catalog import DetectorRequest, describe_detector
from pipeline.extraction.planning import plan_shards
from pipeline.extraction.shard_task import ShardTask
from pipeline.extraction.worker import ShardWorker, WorkerSettings
from pipeline.inputs.loaded import described_inputs
from stores.catalog import STORES
from stores.errors import StoreError
from stores.images.listing import list_images
from stores.seal import is_intact

TOY = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32")
INPUTS = described_inputs(TOY.name, describe_detector(TOY), None)
NAMES = ["00", "01", "02"]


@pytest.fixture(params=sorted(STORES))
def maker(tmp_path, request):
    (tmp_path / "images").mkdir()
    (tmp_path / "out").mkdir()
    for number, name in enumerate(NAMES):
        pixels = compose(0, number).pixels_rgb
        Image.fromarray(pixels).resize((96, 64)).save(tmp_path / "images" / f"{name}.png")
    return Maker(tmp_path, request.param)


class Maker:
    """One planned shard of three images, and a worker that makes it."""

    def __init__(self, place, store):
        self.images = place / "images"
        self.away = place / "away"
        (self.planned,) = plan_shards(list_images([str(self.images)]).images, 64)
        self.path = place / f"out/shard-00000{STORES[store].suffix}"
        self._settings = {"detector": TOY, "inputs": INPUTS, "store": store, "out": place / "out"}
        self.worker = self.hire({"a": 1})

    def hire(self, configuration):
        return ShardWorker(WorkerSettings(configuration=configuration, batch_size=1, threads=1, **self._settings))

    def make(self, retry=(), worker=None):
        """Make the shard, or make it again with these images tried; return its entry and what people are told."""
        worker = worker or self.worker
        task = ShardTask(shard=self.planned)
        if retry:
            put_aside = tuple(each for each in self.entry.failures if each.image_id not in retry)
            task = ShardTask(shard=self.planned, retry=frozenset(retry), made=self.entry, put_aside=put_aside)
        self.entry = worker.make_shard(task).entry
        return self.entry, worker.progress().notices

    def take_away(self, *names):
        self.away.mkdir(exist_ok=True)
        for name in names:
            shutil.move(self.images / f"{name}.png", self.away)

    def put_back(self):
        for path in self.away.iterdir():
            shutil.move(path, self.images)


def test_a_whole_shard_that_the_manifest_does_not_have_is_taken_as_it_is(maker):
    first, _ = maker.make()
    before = maker.path.read_bytes()
    maker.take_away(*NAMES)
    again, notices = maker.make()
    assert again == first
    assert maker.path.read_bytes() == before
    assert notices == (f"{maker.path.name}: it is there and whole, from a run that was ended; taken as it is",)


def test_an_image_that_is_another_file_since_is_made_again_and_the_others_stay(maker):
    maker.make()
    before = maker.path.read_bytes()
    shutil.copy(maker.images / "00.png", maker.images / "01.png")
    maker.take_away("02")
    entry, _ = maker.make()
    assert (entry.rows, entry.failures) == (3, ())
    with STORES[maker.path.suffix[1:]].open_shard(maker.path) as shard:
        first, second, _ = (shard.read(row) for row in range(3))
    assert second.image_sha256 == first.image_sha256
    assert second.features.tobytes() == first.features.tobytes()
    assert maker.path.read_bytes() != before


def test_what_a_shard_lacks_is_tried_and_its_rows_stay(maker):
    maker.take_away("01")
    first, _ = maker.make()
    assert [each.image_id for each in first.failures] == ["01"]
    maker.take_away("00")
    again, _ = maker.make()
    assert again == first
    maker.put_back()
    maker.take_away("00", "02")
    whole, _ = maker.make()
    assert (whole.rows, whole.failures) == (3, ())
    maker.put_back()
    maker.path.unlink()
    assert maker.make()[0] == whole


def test_a_retry_keeps_no_row_of_a_shard_whose_seal_is_broken(maker):
    maker.take_away("01")
    maker.make()
    whole = maker.path.read_bytes()
    _flip_features(maker.path)
    maker.put_back()
    entry, notices = maker.make(retry=["01"])
    assert "bytes changed after it was written" in notices[0]
    assert (entry.rows, is_intact(maker.path)) == (3, True)
    sound = maker.path.read_bytes()
    maker.path.write_bytes(whole)
    maker.make(retry=["01"])
    assert maker.path.read_bytes() == sound


def test_rows_of_a_damaged_shard_never_become_failures(maker):
    maker.take_away("01")
    maker.make()
    _flip_features(maker.path)
    damaged = maker.path.read_bytes()
    maker.put_back()
    maker.take_away("02")
    with pytest.raises(StoreError, match=r"image '02' has features in it and cannot be made again \(read: "):
        maker.make(retry=["01"])
    assert maker.path.read_bytes() == damaged
    maker.put_back()
    assert maker.make(retry=["01"])[0].rows == 3


def test_a_row_that_is_to_be_made_anew_never_becomes_a_failure(maker):
    maker.make()
    before = maker.path.read_bytes()
    (maker.images / "02.png").write_bytes(b"no image")
    with pytest.raises(StoreError, match="image '02' has features in it and cannot be made again") as refusal:
        maker.make(retry=["02"])
    assert maker.path.read_bytes() == before
    assert f"move {maker.path.name} out of the store to give up its rows" in str(refusal.value)
    maker.path.rename(maker.away)
    entry, _ = maker.make()
    assert [each.image_id for each in entry.failures] == ["02"]


def test_a_shard_of_other_options_or_images_is_not_believed(maker):
    other = maker.hire({"b": 2})
    maker.make(worker=other)
    entry, notices = maker.make()
    assert "fingerprint" in notices[0]
    strange = maker.path.read_bytes()
    (maker.images / "00.png").rename(maker.images / "03.png")
    (maker.planned,) = plan_shards(list_images([str(maker.images)]).images, 64)
    entry, notices = maker.make()
    assert "image '00'" in notices[0]
    assert entry.rows == 3
    assert maker.path.read_bytes() != strange


def _flip_features(path):
    """Change a stored number, by which nothing else is wrong."""
    with STORES[path.suffix[1:]].open_shard(path) as shard:
        features = np.array(shard.read(0).features).tobytes()
    content = bytearray(path.read_bytes())
    place = content.find(features[:64])
    assert place > 0
    content[place + 9] ^= 0x40
    path.write_bytes(content)
