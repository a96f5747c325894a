import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detectors.records import PreparedImage
from pipeline.extraction.loading import PixelBudget, load_ahead, load_image
from stores.images.sources import ImageSource
from stores.manifest import FailedImage


class PixelDetector:
    """Prepares an image as its pixels; refuses images of one pixel."""

    def prepare(self, image):
        if image.width == 1:
            raise cv2.error("one pixel is too few")
        return PreparedImage(
            image_id=image.image_id,
            image_width=image.width,
            image_height=image.height,
            model_input=image.pixels_rgb,
            given_boxes_xyxy=image.given_boxes_xyxy,
        )

    def detect(self, images):
        raise NotImplementedError


def png(width=6, height=4):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 100, 50)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def put(tmp_path):
    """Write bytes to a file and return its source."""

    def put(data, image_id="7"):
        (tmp_path / "7.png").write_bytes(data)
        return ImageSource(image_id, str(tmp_path / "7.png"))

    return put


def load(source, given_boxes=None):
    return load_image(source, PixelDetector(), given_boxes, PixelBudget()).outcome


def assert_failed(outcome, stage, *words):
    assert isinstance(outcome, FailedImage)
    assert outcome.stage == stage
    for word in words:
        assert word in outcome.reason


def test_an_image_is_read_decoded_and_prepared(put):
    loaded = load_image(put(png()), PixelDetector(), None, PixelBudget())
    assert (loaded.outcome.image_id, loaded.outcome.image_width, loaded.outcome.image_height) == ("7", 6, 4)
    assert loaded.outcome.model_input.tolist() == [[[200, 100, 50]] * 6] * 4
    assert loaded.read_seconds > 0
    assert loaded.decode_seconds > 0


def test_what_can_not_be_read_has_the_systems_reason(tmp_path):
    def link(target):
        path = tmp_path / "link.jpg"
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        return ImageSource("7", str(path))

    assert_failed(load(ImageSource("7", str(tmp_path / "gone.jpg"))), "read", "No such file")
    assert_failed(load(link("gone.jpg")), "read", "dangling link to 'gone.jpg'")
    assert_failed(load(link("link.jpg")), "read", "Too many levels of symbolic links")
    assert_failed(load(link(tmp_path)), "read", "a folder, pipe or device")
    assert_failed(load(ImageSource("7", f"file://{tmp_path}/gone.jpg")), "read", "No such file")
    assert_failed(load(ImageSource("7", "http://127.0.0.1:9/7.jpg")), "read", "127.0.0.1 is an address of this machine")
    assert_failed(load(ImageSource("7", "memory://7.jpg")), "read", "protocol 'memory', expected a path or a URL")


def test_what_can_not_be_decoded_has_the_decoders_reason(put):
    assert_failed(load(put(b"")), "decode", "empty file")
    assert_failed(load(put(b"hello, world")), "decode", "not an image")
    assert_failed(load(put(png(60, 40)[:80])), "decode", "PNG")


def test_what_can_not_be_prepared_is_the_detectors(put):
    assert_failed(load(put(png(1, 4))), "detect", "one pixel is too few")


@pytest.mark.parametrize(
    ("image_id", "word"),
    [(os.fsdecode(b"caf\xe9"), "UTF-8"), ("x" * 512, "512"), ("", "0"), ("\0x", "NUL")],
)
def test_an_id_that_no_store_keeps_is_in_quarantine_not_a_lost_shard(put, image_id, word):
    assert_failed(load(put(png(), image_id)), "store", word)


def test_the_longest_id_that_a_store_keeps_is_loaded(put):
    assert isinstance(load(put(png(), "é" * 255 + "x")), PreparedImage)


def test_the_quarantine_says_where_the_image_was(tmp_path):
    (tmp_path / "photos.tar").write_bytes(bytes(100))
    outcome = load(ImageSource("7", str(tmp_path / "photos.tar"), 0, 512, "a/7.jpg"))
    assert_failed(outcome, "read", "ends after 100 of the member's 512 bytes")
    assert (outcome.image_id, outcome.location) == ("7", f"{tmp_path}/photos.tar::a/7.jpg")


def test_given_boxes_travel_with_the_image(put):
    boxes = np.array([[0, 0, 6, 4], [1, 1, 1, 1]], np.float32)
    assert load(put(png()), {"7": boxes}).given_boxes_xyxy is boxes
    assert load(put(png()), {"7": boxes[:0]}).given_boxes_xyxy.shape == (0, 4)


def test_given_boxes_that_do_not_fit_are_told(put):
    assert_failed(load(put(png()), {"8": np.zeros((1, 4), np.float32)}), "store", "no entry for this image")
    for box in ([0, 0, 7.1, 4], [0, 0, 6, 5.5], [-1.5, 0, 6, 4]):
        reason = f"of the given boxes, box 0 is {np.array(box, np.float32).tolist()}, expected it in the image of 6 x 4"
        assert_failed(load(put(png()), {"7": np.array([box], np.float32)}), "store", reason)


def test_given_boxes_that_reach_out_a_little_are_clipped_as_convert_clips_them(put):
    boxes = np.array([[-0.6, 0, 6.6, 4], [0, -1, 3, 5]], np.float32)
    found = load(put(png()), {"7": boxes}).given_boxes_xyxy
    np.testing.assert_array_equal(found, np.array([[0, 0, 6, 4], [0, 0, 3, 4]], np.float32))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers()), st.integers(1, 8), st.integers(1, 4))
def test_loading_ahead_keeps_the_order_and_loads_everything_once(items, depth, workers):
    loaded = []

    def load(item):
        loaded.append(item)
        return -item

    with ThreadPoolExecutor(workers) as threads:
        assert list(load_ahead(load, items, threads, depth)) == [-item for item in items]
    assert sorted(loaded) == sorted(items)


def test_loading_stays_so_far_ahead_and_no_farther():
    started = []
    with ThreadPoolExecutor(8) as threads:
        results = load_ahead(started.append, iter(range(100)), threads, depth=5)
        wait_for(lambda: len(started) == 5)
        next(results)
        wait_for(lambda: len(started) == 6)
        time.sleep(0.05)
        assert sorted(started) == [0, 1, 2, 3, 4, 5]


def test_what_loading_raises_reaches_the_consumer_in_its_turn():
    def load(item):
        if item == 2:
            raise KeyError(item)
        return item

    with ThreadPoolExecutor(2) as threads:
        results = load_ahead(load, range(5), threads, depth=3)
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(KeyError):
            next(results)


def test_no_more_pixels_are_decoded_at_once_than_there_is_room_for():
    budget, at_once, most = PixelBudget(100), [], []

    def decode(pixels):
        with budget.taken(pixels):
            at_once.append(pixels)
            most.append(sum(at_once))
            time.sleep(0.002)
            at_once.remove(pixels)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(decode, [100, 60, 30, 30, 100, 1, 1, 1, 50, 50, 50, 100]))
    assert max(most) == 100
    with pytest.raises(KeyError), budget.taken(100):
        raise KeyError
    with budget.taken(100):
        assert budget._free == 0


def test_a_larger_image_is_refused_by_its_header(put):
    source = put(png())
    refused = load_image(source, PixelDetector(), None, PixelBudget(23)).outcome
    assert_failed(refused, "decode", "too large: 6 x 4 = 24 pixels, expected at most 23", "--max-pixels 24")
    assert isinstance(load_image(source, PixelDetector(), None, PixelBudget(24)).outcome, PreparedImage)


def test_loading_overlaps_on_the_threads():
    together = threading.Barrier(3, timeout=10)
    with ThreadPoolExecutor(3) as threads:
        assert len(list(load_ahead(lambda item: together.wait(), range(3), threads, depth=3))) == 3


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert condition()
