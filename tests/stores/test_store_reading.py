import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stores import open_shards
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.manifest import read_manifest, write_manifest
from stores.reading import open_store
from tests.stores.builders import assert_same, make_regions, make_store

every_store = pytest.mark.parametrize("store", sorted(STORES))


def num_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def records_of(*image_ids):
    return [make_regions(image_id, num_boxes=2, seed=seed) for seed, image_id in enumerate(image_ids)]


@every_store
def test_images_come_by_id_and_in_order_over_all_shards(tmp_path, store):
    shards = [records_of("a", "b"), [], records_of("c"), records_of("d", "é")]
    make_store(tmp_path, shards, store=store)
    with open_store(tmp_path) as features:
        assert list(features.image_ids) == ["a", "b", "c", "d", "é"]
        assert len(features) == 5
        assert [record.image_id for record in features] == list(features.image_ids)
        for record in reversed([record for shard in shards for record in shard]):
            assert_same(features.get(record.image_id), record)
        assert "é" in features
        assert "e" not in features


@every_store
def test_more_shards_than_may_be_open_at_once_are_read_in_any_order(tmp_path, store, monkeypatch):
    monkeypatch.setattr(open_shards, "_max_open_shards", lambda: 8)
    shards = [records_of(f"{n:02d}a", f"{n:02d}b") for n in range(20)]
    make_store(tmp_path, shards, store=store)
    before = num_open_files()
    with open_store(tmp_path) as features:
        for step in (7, 19, 1):
            for n in range(0, 40 * step, step):
                shard, row = divmod(n % 40, 2)
                assert_same(features.get(f"{shard:02d}{'ab'[row]}"), shards[shard][row])
        assert num_open_files() <= before + 8
    assert num_open_files() == before


def test_an_image_that_was_never_planned_is_a_key_error_with_an_example(tmp_path):
    make_store(tmp_path, [records_of("000000000139")])
    with open_store(tmp_path) as features, pytest.raises(KeyError) as error:
        features.get("139")
    assert error.value.args == (f"image '139' is not in {tmp_path}, which has 1 images such as '000000000139'",)


def test_an_image_in_quarantine_is_a_key_error_with_its_reason(tmp_path):
    make_store(tmp_path, [records_of("a")], failed=[(0, "b")])
    with open_store(tmp_path) as features, pytest.raises(KeyError, match=r"in quarantine .* decode: truncated JPEG"):
        features.get("b")


@every_store
def test_a_missing_shard_is_named_when_the_store_is_opened(tmp_path, store):
    manifest = make_store(tmp_path, [records_of("a"), records_of("b")], store=store)
    (tmp_path / manifest.shards[1].name).unlink()
    with pytest.raises(DamagedFileError, match=r"shard-00001.*missing, expected a shard; run vinculum repair"):
        open_store(tmp_path)


def test_a_shard_with_other_rows_than_the_manifest_says_is_named(tmp_path):
    make_store(tmp_path / "one", [records_of("a")])
    make_store(tmp_path / "two", [records_of("a", "b")])
    (tmp_path / "two" / "shard-00000.arrow").replace(tmp_path / "one" / "shard-00000.arrow")
    with pytest.raises(DamagedFileError, match="2 rows, expected 1 rows"):
        open_store(tmp_path / "one")


@every_store
def test_an_open_store_may_be_carried_over_a_fork(tmp_path, store):
    records = records_of("a", "b", "c")
    make_store(tmp_path, [records[:2], records[2:]], store=store)
    with open_store(tmp_path) as features:
        features.get("a")
        child = os.fork()
        if child == 0:
            same = all(features.get(each.image_id).features.tobytes() == each.features.tobytes() for each in records)
            os._exit(0 if same else 1)
        for record in records:
            assert_same(features.get(record.image_id), record)
        assert os.waitpid(child, 0)[1] == 0


@every_store
@pytest.mark.parametrize("order", ["sequential", "random"])
def test_reading_400_mb_takes_less_than_300_mb_of_memory(tmp_path, store, order):
    shards = [[make_regions(f"{s}{n:03d}", feature_dim=2048) for n in range(272)] for s in range(10)]
    make_store(tmp_path, shards, store=store)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 400e6
    reader = [sys.executable, "-c", READ_ALL, str(tmp_path), order]
    peak = subprocess.run(reader, check=True, capture_output=True, cwd=Path(__file__).parents[2]).stdout
    assert int(peak) < 300e6


# Touches every byte of a store and prints the most memory that the process ever had resident.
READ_ALL = """
import random, sys
from pathlib import Path
from stores.reading import open_store
with open_store(Path(sys.argv[1])) as features:
    image_ids = list(features.image_ids)
    if sys.argv[2] == "random":
        random.Random(0).shuffle(image_ids)
    total = sum(int(features.get(image_id).features.view("uint8").max()) for image_id in image_ids)
status = Path("/proc/self/status").read_text()  # not ru_maxrss, which begins with the parent's
print(1024 * int(status.split("VmHWM:")[1].split()[0]))
"""


def test_a_store_of_a_kind_that_this_version_has_not_is_refused_by_its_kind(tmp_path):
    make_store(tmp_path, [[make_regions("1")]])
    write_manifest(tmp_path, replace(read_manifest(tmp_path), store="parquet"))
    with pytest.raises(StoreError, match=r"kind .parquet., expected one of arrow, lmdb; read it with the vinculum"):
        open_store(tmp_path).get("1")
