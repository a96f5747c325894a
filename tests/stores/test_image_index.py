import zlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import DamagedFileError
from stores.image_index import index_of_ids, read_index, require_index
from stores.manifest import read_manifest
from stores.plan import read_plan
from stores.reading import open_store
from tests.stores.builders import assert_same, make_regions, make_store


def records_of(*image_ids):
    return [make_regions(image_id) for image_id in image_ids]


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(st.lists(ids, unique=True, max_size=40), st.integers(1, 7), ids)
def test_every_image_is_found_in_its_shard_and_row_and_no_other(image_ids, shard_size, stranger):
    shards = [image_ids[start : start + shard_size] for start in range(0, len(image_ids), shard_size)]
    index = index_of_ids([[], *shards])
    assert list(index) == image_ids
    for number, shard in enumerate(shards, start=1):
        for row, image_id in enumerate(shard):
            assert index.find(image_id) == (number, row)
    assert (stranger in index) == (stranger in image_ids)


def test_ids_of_one_checksum_are_told_apart():
    assert zlib.crc32(b"plumless") == zlib.crc32(b"buckeroo")
    index = index_of_ids([["buckeroo", "plumless"]])
    assert index.find("plumless") == (0, 1)
    assert index.find("buckeroo") == (0, 0)
    assert "\udcff" not in index


@pytest.fixture
def store(tmp_path):
    make_store(tmp_path, [records_of("a", "c"), records_of("é"), records_of("x")], failed=[(0, "b"), (2, "y")])
    assert require_index(tmp_path, read_plan(tmp_path), read_manifest(tmp_path))
    return tmp_path


def test_an_index_is_told_by_plan_and_quarantine_without_opening_a_shard(store):
    index = read_index(store, read_manifest(store))
    assert list(index) == ["a", "c", "é", "x"]
    assert index.find("x") == (2, 0)
    assert index.find("b") is None
    assert not require_index(store, read_plan(store), read_manifest(store))


def test_a_store_with_an_index_reads_what_it_reads_without(store):
    with open_store(store) as features:
        found = [features.get(each) for each in ("é", "a", "x", "c")]
        assert list(features.image_ids) == ["a", "c", "é", "x"]
        with pytest.raises(KeyError, match="'b' is in quarantine"):
            features.get("b")
    (store / "index.arrow").unlink()
    with open_store(store) as features:
        for record in found:
            assert_same(features.get(record.image_id), record)


def test_the_index_of_an_older_manifest_is_passed_over(store):
    make_store(store, [records_of("a", "c"), records_of("é"), records_of("new")])
    assert read_index(store, read_manifest(store)) is None
    with open_store(store) as features:
        assert "new" in features
        assert "x" not in features
    assert require_index(store, read_plan(store), read_manifest(store))
    assert "new" in read_index(store, read_manifest(store))


def test_an_index_is_not_made_of_a_plan_that_shards_were_not_made_by(store):
    manifest = read_manifest(store)
    (store / "index.arrow").unlink()
    make_store(store, [records_of("a"), records_of("b"), records_of("c")])
    assert not require_index(store, read_plan(store), manifest)
    assert not (store / "index.arrow").exists()


def test_a_lost_shard_is_named_when_the_store_is_opened(store):
    (store / "shard-00001.arrow").unlink()
    with pytest.raises(DamagedFileError, match=r"shard-00001\.arrow: missing"):
        open_store(store)
    (store / "shard-00001.arrow").write_bytes(b"short")
    with pytest.raises(DamagedFileError, match=r"shard-00001\.arrow: 5 bytes, expected \d+ bytes"):
        open_store(store)


def test_a_flipped_byte_is_named_when_the_store_is_opened(store):
    path = store / "index.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"index\.arrow: cut short or edited.*run vinculum repair"):
        open_store(store)
    assert require_index(store, read_plan(store), read_manifest(store))
    open_store(store).close()


def test_an_index_opens_without_our_code(store):
    with pa.OSFile(str(store / "index.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    assert table.schema.names == ["image_id", "crc32", "position"]
    by_checksum = dict(zip(table["crc32"].to_pylist(), table["position"].to_pylist(), strict=True))
    assert table["image_id"][by_checksum[zlib.crc32("é".encode())]].as_py() == "é"
