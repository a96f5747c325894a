"""`vinculum extract --dry-run`: what it tells is what a run then does, and nothing is written."""

import json

import pytest

from annotations.toyworld.world import write_toy_world
from pipeline.cli import main
from stores.manifest import read_manifest, write_manifest
from tests.stores.builders import make_regions, make_store


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    world = tmp_path_factory.mktemp("world")
    write_toy_world(world, num_images=5, seed=0)
    return world / "images"


def told(capsys, images, out, *more):
    arguments = ["extract", "--images", images, "--weights", "random:0", "--ids", "own", "--out", out, *more]
    assert main([*map(str, arguments), "--shard-size", "2", "--dry-run", "--json"]) == 0
    *_, line, last = capsys.readouterr().out.splitlines()
    return line, json.loads(last)


def test_of_a_new_store_everything_is_left_and_nothing_is_written(images, tmp_path, capsys):
    line, summary = told(capsys, images, tmp_path / "regions")
    assert not list(tmp_path.iterdir())
    assert (summary["num_images"], summary["num_shards"]) == (5, 3)
    assert (summary["num_images_left"], summary["num_shards_left"], summary["num_bytes_left"]) == (5, 3, None)
    assert "5 images in 3 shards would be made, of a size that is known once a shard is made" in line
    assert line.endswith("nothing was written")


def test_a_bad_setting_is_refused_as_by_a_run(images, tmp_path, capsys):
    arguments = ["extract", "--images", str(images), "--weights", "nowhere", "--out", str(tmp_path / "regions")]
    assert main([*arguments, "--dry-run"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_store_of_other_settings_is_refused_by_its_own_name_and_stays_as_it_was(images, tmp_path, capsys):
    store = tmp_path / "regions"
    make_store(store, [[make_regions("a", num_boxes=3)]])
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.iterdir()}
    arguments = ["extract", "--images", str(images), "--weights", "random:0", "--out", str(store), "--dry-run"]
    assert main(arguments) == 1
    assert str(store) in capsys.readouterr().err
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.iterdir()} == before


@pytest.mark.slow
def test_what_is_left_is_what_a_run_then_makes(images, tmp_path, capsys):
    store = tmp_path / "regions"
    run = ["extract", "--images", str(images), "--weights", "random:0", "--ids", "own", "--shard-size", "2"]
    assert main([*run, "--out", str(store), "--workers", "1"]) == 0
    capsys.readouterr()
    manifest = read_manifest(store)
    (store / "shard-00002.arrow").unlink()
    _, summary = told(capsys, images, store)
    assert (summary["num_images_left"], summary["num_shards_left"]) == (1, 1)
    made = manifest.shards[2].bytes
    assert abs(summary["num_bytes_left"] - made) < 0.5 * made
    assert len(read_manifest(store).shards) == 3  # as it was written
    write_manifest(store, manifest)
    assert main([*run, "--out", str(store), "--workers", "1"]) == 0
    assert "nothing to do" in told(capsys, images, store)[0]
