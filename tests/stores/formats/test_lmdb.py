import json
import struct
from dataclasses import replace

import lmdb
import numpy as np
import pytest
import xxhash

from stores.errors import DamagedFileError
from stores.formats import lmdb as lmdb_store
from tests.stores.builders import make_grid, make_regions


def read_all(path):
    with lmdb.open(str(path), subdir=False, lock=False, readonly=True) as environment, environment.begin() as reading:
        return dict(reading.cursor())


def test_regions_have_the_layout_of_the_module_docstring(tmp_path):
    record = replace(make_regions("é", num_boxes=3, feature_dim=5, seed=1), image_sha256=bytes(range(32)))
    path = tmp_path / "shard-00000.lmdb"
    lmdb_store.write_shard(path, [record], content="regions", configuration={"detector": "faster-rcnn"})
    items = read_all(path)
    assert list(items) == [b"\0vinculum", "é".encode()]
    assert json.loads(items[b"\0vinculum"])["configuration"] == {"detector": "faster-rcnn"}
    value = items["é".encode()]
    assert struct.unpack_from("<Q", value)[0] == xxhash.xxh3_64_intdigest("é".encode() + value[8:])
    assert value[8:40] == record.image_sha256
    assert struct.unpack_from("<4i", value, 40) == (640, 480, 3, 5)
    content = value[56:]
    assert content[:48] == record.boxes_xyxy.tobytes()
    assert content[48:60] == record.class_ids.tobytes()
    assert content[60:72] == record.class_scores.tobytes()
    assert content[72:84] == record.attribute_ids.tobytes()
    assert content[84:96] == record.attribute_scores.tobytes()
    assert content[96:126] == record.features.tobytes()
    assert content[126:] == b"relaxed-0.4"


def test_grids_have_the_layout_of_the_module_docstring(tmp_path):
    with_attention, without = (
        make_grid("a", height=2, width=3, feature_dim=5, num_heads=4),
        make_grid("b", feature_dim=5),
    )
    path = tmp_path / "shard-00000.lmdb"
    lmdb_store.write_shard(path, [with_attention, without], content="grid", configuration={})
    items = read_all(path)
    assert items[b"a"][8:40] == bytes(32)
    assert struct.unpack_from("<6i", items[b"a"], 40) == (384, 384, 2, 3, 5, 4)
    assert items[b"a"][64:124] == with_attention.features.tobytes()
    assert items[b"a"][124:] == with_attention.attention.tobytes()
    assert len(items[b"a"]) == 124 + 4 * 6 * 6 * 2
    assert struct.unpack_from("<6i", items[b"b"], 40) == (384, 384, 3, 4, 5, 0)
    assert len(items[b"b"]) == 64 + 3 * 4 * 5 * 2


def test_the_file_is_no_bigger_than_its_pages(tmp_path):
    records = [make_regions(f"{n:03d}", feature_dim=2048) for n in range(130)]
    path = tmp_path / "shard-00000.lmdb"
    lmdb_store.write_shard(path, records, content="regions", configuration={})
    assert path.stat().st_size < 1.03 * sum(record.features.nbytes for record in records)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["shard-00000.lmdb"]


def test_arrays_are_aligned(tmp_path):
    path = tmp_path / "shard-00000.lmdb"
    lmdb_store.write_shard(path, [make_regions("a", num_boxes=7)], content="regions", configuration={})
    with lmdb_store.open_shard(path) as shard:
        arrays = [each for each in vars(shard.read(0)).values() if isinstance(each, np.ndarray)]
    assert len(arrays) == 6
    assert all(array.flags.aligned for array in arrays)


def test_a_shard_that_was_replaced_after_it_was_opened_is_named(tmp_path):
    path = tmp_path / "shard-00000.lmdb"
    lmdb_store.write_shard(path, [make_regions("a")], content="regions", configuration={})
    with lmdb_store.open_shard(path) as shard:
        lmdb_store.write_shard(path, [make_regions("b")], content="regions", configuration={})
        with pytest.raises(DamagedFileError, match="no row 'a', expected it as when it was opened"):
            shard.read(0)
