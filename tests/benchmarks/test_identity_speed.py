"""How long a folder of annotations takes to be known by its content: Flickr30k Entities has 63,566 small files.

The floor of a first look is reading and hashing them, some 25 us a file; that of a second one is to ask for the size
and times of each, some 3 us. Both are of files in the page cache.
"""

import os
import tarfile
import time
from pathlib import Path

import pytest

from pipeline.inputs import digest_cache
from pipeline.inputs.identity import identity_of
from tests.benchmarks.scale import IS_FULL, scaled

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))
TRAIN = DATA / "flickr30k_entities_train/entities_train_29783.tar.xz"
NUM_IMAGES = scaled(full=31_783, tiny=20)

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]


@pytest.fixture
def folder(tmp_path):
    """Entities' whole training split, and files of our own up to the number of all its images."""
    folder = tmp_path / "entities"
    if IS_FULL and TRAIN.exists():
        with tarfile.open(TRAIN, "r:xz") as archive:
            archive.extractall(folder, filter="data")
    for name, suffix, size in (("Sentences", "txt", 500), ("Annotations", "xml", 2500)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(NUM_IMAGES - len(list((folder / name).iterdir()))):
            (folder / name / f"ours{number}.{suffix}").write_bytes(b"%d " % number * (size // 6))
    time.sleep(digest_cache.SETTLED_SECONDS)
    return folder


def test_annotations_are_known_by_content_in_little_time_when_they_are_seen_again(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seconds = {}
    for what in ("by names and sizes, as before", "first, by content", "again, by content"):
        started = time.perf_counter()
        if what.startswith("by names"):
            sum(each.stat().st_size for each in sorted(folder.rglob("*")) if each.is_file())
        else:
            found = identity_of(folder)
        seconds[what] = time.perf_counter() - started
    print(f"\n{found['files']} files, {found['bytes'] / 1e6:.0f} MB:")
    for what, each in seconds.items():
        print(f"  {what}: {each:.2f} s")
