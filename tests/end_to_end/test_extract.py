"""`vinculum extract` as users run it: inputs, options, stores, and what is refused."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from annotations.toyworld.world import write_toy_world
from stores.manifest import read_manifest
from stores.reading import open_store

ROOT = Path(__file__).parents[2]


def extract(*options, weights="toyworld"):
    command = [sys.executable, "-m", "pipeline.cli", "extract", "--weights", weights, "--json", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def summary(done):
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def files(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != "run.jsonl"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("extract")
    write_toy_world(place / "world", num_images=12, seed=0)
    return place


@pytest.fixture(scope="module")
def reference(place):
    """Arrow, one worker of one core."""
    summary(extract("--images", place / "world/images", "--shard-size", 4, "--cpus-per-worker", 1, "--workers", 1,
                    "--out", place / "reference"))  # fmt: skip
    return place / "reference"


@pytest.mark.timeout(200)
def test_two_workers_write_the_bytes_of_one(place, reference):
    summary(extract("--images", place / "world/images", "--shard-size", 4, "--cpus-per-worker", 1, "--workers", 2,
                    "--out", place / "two"))  # fmt: skip
    assert files(place / "two") == files(reference)


@pytest.mark.timeout(200)
def test_lmdb_holds_what_arrow_holds(place, reference):
    summary(extract("--images", place / "world/images", "--shard-size", 4, "--cpus-per-worker", 1, "--workers", 1,
                    "--store", "lmdb", "--out", place / "lmdb"))  # fmt: skip
    with open_store(reference) as arrow, open_store(place / "lmdb") as lmdb:
        assert arrow.image_ids == lmdb.image_ids
        for mine, yours in zip(arrow, lmdb, strict=True):
            assert mine.features.tobytes() == yours.features.tobytes()
            assert mine.boxes_xyxy.tobytes() == yours.boxes_xyxy.tobytes()
            assert mine.selection == yours.selection


@pytest.mark.timeout(200)
def test_batches_of_four_give_what_single_images_give(place, reference):
    summary(extract("--images", place / "world/images", "--precision", "float32", "--out", place / "single"))
    summary(extract("--images", place / "world/images", "--precision", "float32", "--batch-size", 4,
                    "--out", place / "batched"))  # fmt: skip
    with open_store(place / "single") as single, open_store(place / "batched") as batched:
        for mine, yours in zip(single, batched, strict=True):
            np.testing.assert_allclose(mine.boxes_xyxy, yours.boxes_xyxy, atol=0.05)
            np.testing.assert_allclose(mine.features.astype(float), yours.features.astype(float), rtol=0.01, atol=0.002)


@pytest.mark.timeout(200)
def test_a_folder_a_tar_and_a_list_make_one_store_that_grows(place, reference):
    images = place / "world/images"
    nested = place / "nested/deep/er"
    nested.mkdir(parents=True)
    for number in (1, 2, 3):
        shutil.copy(images / f"{number}.jpg", nested)
    with tarfile.open(place / "some.tar", "w") as archive:
        for number in (4, 5):
            archive.add(images / f"{number}.jpg", f"inside/{number}.jpg")
    (place / "list.tsv").write_text(f"six\t{images}/6.jpg\n")
    mixed = place / "mixed"
    first = summary(extract("--images", place / "nested", place / "some.tar", "--shard-size", 4, "--out", mixed))
    assert (first["num_images"], first["num_shards"]) == (5, 2)
    before = files(mixed)
    everything = ("--images", place / "nested", place / "some.tar", place / "list.tsv", "--shard-size", 4)
    grown = summary(extract(*everything, "--out", mixed))
    assert (grown["num_images"], grown["num_images_done"], grown["num_shards_made"]) == (6, 1, 1)
    assert all(data == before[name] for name, data in files(mixed).items() if name in before and "shard" in name)
    assert summary(extract(*everything, "--out", mixed))["num_shards_made"] == 0
    with open_store(mixed) as store, open_store(reference) as whole:
        assert store.image_ids == ["1", "2", "3", "4", "5", "six"]
        np.testing.assert_allclose(store.get("4").boxes_xyxy, whole.get("4").boxes_xyxy, atol=0.5)


@pytest.mark.timeout(200)
def test_features_of_given_boxes(place):
    boxes = {str(number): [[10, 20, 100, 90], [0, 0, 50, 50]] for number in range(1, 13)}
    (place / "boxes.json").write_text(json.dumps(boxes))
    summary(extract("--images", place / "world/images", "--boxes", place / "boxes.json", "--out", place / "given"))
    with open_store(place / "given") as store:
        record = store.get("7")
    assert record.boxes_xyxy.tolist() == boxes["7"]
    assert (record.selection, record.features.shape) == ("given", (2, 2048))


@pytest.mark.timeout(200)
def test_swin_makes_a_store_of_grids_with_attention_on_request(place):
    (place / "two.txt").write_text("world/images/1.jpg\nworld/images/2.jpg\n")
    swin = ("--images", place / "two.txt", "--detector", "swin", "--image-size", 224, "--keep-attention")
    summary(extract(*swin, "--out", place / "grids", weights="random:0"))
    with open_store(place / "grids") as store:
        record = store.get("1")
    assert record.features.shape == (7, 7, 768)
    assert record.attention.shape == (24, 49, 49)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--num-boxes", 20), "detector.min_boxes was 36, this run has 20"),
        (("--convention", "boxes=raw"), "detector.conventions.boxes was 'regressed', this run has 'raw'"),
        (("--store", "lmdb"), "store was 'arrow', this run has 'lmdb'"),
    ],
)
def test_other_options_into_a_store_are_refused_with_both_values(place, reference, options, told):
    before = files(reference)
    done = extract("--images", place / "world/images", *options, "--out", reference)
    assert done.returncode == 1
    assert told in done.stderr
    assert files(reference) == before


@pytest.mark.parametrize(
    ("weights", "options", "told"),
    [
        ("nowhere.safetensors", (), "no such file; give a .safetensors file"),
        ("toyworld", ("--convention", "boxs=raw"), "convention 'boxs' is unknown"),
        ("toyworld", ("--min-boxes", 10), "--min-boxes and --max-boxes go together"),
        ("toyworld", ("--shard-size", 0), "--shard-size is 0, expected at least 1"),
    ],
)
def test_a_bad_setting_ends_the_run_before_anything_starts(place, weights, options, told):
    done = extract("--images", place / "world/images", "--out", place / "never", *options, weights=weights)
    assert done.returncode == 1
    assert told in done.stderr
    assert not (place / "never").exists()


def test_the_manifest_says_how_the_features_were_made(reference):
    detector = read_manifest(reference).configuration["detector"]
    assert detector["weights"]["name"] == "toyworld"
    assert detector["conventions"]["channel_order"] == "bgr"
    assert detector["vocabulary"]["classes"][0] == "ball"
