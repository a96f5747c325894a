"""A full disk, a read-only folder, a folder in use: a clear error, no broken shard, and a rerun that completes."""

import subprocess
import sys
from pathlib import Path

import pytest

from annotations.toyworld.world import write_toy_world
from stores.atomic import locked

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("disk")
    write_toy_world(place / "world", num_images=6, seed=0)
    return place


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, too small for the shards."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def remount(disk, options):
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def extract(world, out):
    command = [sys.executable, "-m", "pipeline.cli", "extract", "--images", world / "world/images", "--out", out]
    command += ["--weights", "toyworld", "--shard-size", "3", "--cpus-per-worker", "1", "--workers", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def files(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != "run.jsonl"}


@pytest.mark.timeout(200)
@pytest.mark.slow
def test_a_full_disk_is_told_with_the_shard_and_leaves_nothing_broken(world, small_disk):
    done = extract(world, small_disk / "store")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "shard-0000" in done.stderr
    assert [path.name for path in (small_disk / "store").iterdir() if path.name.endswith(".tmp")] == []
    remount(small_disk, "size=50m")
    assert extract(world, small_disk / "store").returncode == 0
    assert extract(world, world / "reference").returncode == 0
    assert files(small_disk / "store") == files(world / "reference")


@pytest.mark.timeout(100)
def test_a_read_only_folder_is_told_and_stays_as_it_was(world, small_disk):
    remount(small_disk, "ro")
    done = extract(world, small_disk / "store")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_store_that_another_run_owns_is_refused_at_once(world, tmp_path):
    (tmp_path / "store").mkdir()
    with locked(tmp_path / "store"):
        done = extract(world, tmp_path / "store")
    assert done.returncode == 1
    assert "another run owns this store" in done.stderr


def test_an_out_that_is_a_file_is_refused(world, tmp_path):
    (tmp_path / "store").write_text("not a folder")
    done = extract(world, tmp_path / "store")
    assert done.returncode == 1
    assert "File exists" in done.stderr
