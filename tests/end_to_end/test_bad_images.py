"""One folder with every kind of bad and unusual picture, extracted as a user would; then two of the bad are mended."""

import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from stores.manifest import read_manifest
from stores.reading import open_store
from tests.stores.builders import assert_same

LONG = "n" * 246  # with its suffix as long as a file's name can be
NOT_UTF8 = os.fsdecode(b"caf\xe9")

SIZES = {
    "cmyk": (64, 48),
    "deep": (64, 48),
    "palette": (64, 48),
    "alpha": (64, 48),
    "grey": (64, 48),
    "dot": (1, 1),
    "wide": (8000, 100),
    "turned": (48, 64),
    "moving": (64, 48),
    "Жук é": (64, 48),
    LONG: (64, 48),
}
"""Width and height of the sound ones, upright."""

REASONS = {
    "truncated": ("decode", "truncated JPEG"),
    "empty": ("decode", "empty file"),
    "text": ("decode", "not an image"),
    "bomb": ("decode", "too large: 50000 x 50000"),
    "dangling": ("read", "dangling link to"),
    "loop": ("read", "Too many levels of symbolic links"),
    "pipe": ("read", "a folder, pipe or device"),
    NOT_UTF8: ("store", "UTF-8"),
}

SHARD_SIZE = 7


def scene(width=64, height=48):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x * y) % 200], axis=2).astype(np.uint8))


def write_sound_images(folder):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    scene().convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21).save(folder / "deep.png")
    scene().quantize(16).save(folder / "palette.png")
    scene().convert("RGBA").save(folder / "alpha.png")
    scene().convert("L").save(folder / "grey.png")
    scene(1, 1).save(folder / "dot.png")
    scene(8000, 100).save(folder / "wide.jpg")
    scene().save(folder / "turned.jpg", exif=exif)
    scene().save(folder / "moving.gif", save_all=True, append_images=[scene().rotate(90)])
    scene().save(folder / "Жук é.jpg")
    scene().save(folder / f"{LONG}.jpg")


def write_bad_images(folder):
    scene(320, 240).save(folder / "truncated.jpg")
    data = (folder / "truncated.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(data[: len(data) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("404 Not Found")
    (folder / "bomb.png").write_bytes(png_that_claims(50_000, 50_000))
    (folder / "dangling.jpg").symlink_to("../elsewhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(folder / "pipe.jpg")
    scene().save(folder / "whole.png")
    (folder / "whole.png").rename(folder / f"{NOT_UTF8}.png")


def png_that_claims(width, height):
    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def extract(place, *more):
    """Run the command as a user would, on a Ray of its own."""
    command = [sys.executable, "-m", "pipeline.cli", "extract", "--images", place / "photos", "--out", place / "store"]
    options = ["--weights", "toyworld", "--shard-size", SHARD_SIZE, "--workers", 1, "--cpus-per-worker", 1, "--json"]
    arguments = [str(each) for each in (*command, *options, *more)]
    return subprocess.run(arguments, capture_output=True, text=True, errors="surrogateescape", check=False)


def records(folder):
    with open_store(folder) as store:
        return {record.image_id: record for record in store}


def quarantine(folder):
    return {failure.image_id: failure for entry in read_manifest(folder).shards for failure in entry.failures}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("bad")
    (place / "photos").mkdir()
    write_sound_images(place / "photos")
    write_bad_images(place / "photos")
    (place / "photos" / "album.jpg").mkdir()  # a folder, whatever it is called
    (place / "photos" / "notes.txt").write_text("not listed")
    return place


@pytest.fixture(scope="module")
def first_run(place):
    return extract(place)


@pytest.fixture(scope="module")
def before(place, first_run):
    return records(place / "store")


@pytest.fixture(scope="module")
def second_run(place, before):
    """Two of the bad are mended; a sound picture, done already, is gone."""
    scene(96, 64).save(place / "photos/truncated.jpg")
    scene(96, 80).save(place / "elsewhere.jpg")
    (place / "photos/grey.png").unlink()
    return extract(place, "--retry-quarantine")


def test_the_run_finishes_with_the_status_of_a_quarantine(first_run):
    assert first_run.returncode == 3, first_run.stderr[-2000:]
    summary = json.loads(first_run.stdout.splitlines()[-1])
    assert (summary["num_images"], summary["num_quarantined"]) == (len(SIZES), len(REASONS))
    assert summary["num_shards"] == 3


def test_every_sound_image_has_36_regions_inside_its_upright_picture(before):
    assert {image_id: (row.image_width, row.image_height) for image_id, row in before.items()} == SIZES
    for image_id, row in before.items():
        assert (row.features.dtype, row.features.shape) == (np.float16, (36, 2048)), image_id
        assert np.isfinite(row.features).all(), image_id
        assert (row.boxes_xyxy >= 0).all(), image_id
        assert (row.boxes_xyxy[:, 2] <= row.image_width).all(), image_id
        assert (row.boxes_xyxy[:, 3] <= row.image_height).all(), image_id


def test_every_bad_image_is_in_quarantine_with_its_reason(place, first_run, before):
    recorded = json.loads((place / "store/manifest.json").read_text())  # as anyone else would read it
    failures = {each["image_id"]: each for shard in recorded["shards"] for each in shard["failures"]}
    for image_id in REASONS.keys() - {"truncated", "dangling"}:
        stage, reason = REASONS[image_id]
        assert failures[image_id]["stage"] == stage, image_id
        assert reason in failures[image_id]["reason"], image_id
        assert failures[image_id]["location"].startswith(str(place / "photos" / image_id)), image_id
    for stage, reason in REASONS.values():
        assert f"{stage}: " in first_run.stderr
        assert reason in first_run.stderr
    assert first_run.stderr.count("quarantine: ") == len(REASONS)


def test_a_retry_adds_the_mended_and_leaves_every_other_row_as_it_was(place, before, second_run):
    assert second_run.returncode == 3, second_run.stderr[-2000:]
    after = records(place / "store")
    assert after.keys() - before.keys() == {"truncated", "dangling"}
    assert (after["truncated"].image_width, after["dangling"].image_height) == (96, 80)
    for image_id, record in before.items():
        assert_same(after[image_id], record)
    left = quarantine(place / "store")
    assert left.keys() == REASONS.keys() - {"truncated", "dangling"}
    assert all(REASONS[image_id][1] in failure.reason for image_id, failure in left.items())
    assert json.loads(second_run.stdout.splitlines()[-1])["num_quarantined"] == len(REASONS) - 2


def test_the_mended_store_is_whole(place, second_run):
    verified = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "verify", str(place / "store")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
