"""What every store in the table promises."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.records import RecordError
from stores.atomic import remove_leftovers
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.seal import is_intact
from tests.stores.builders import CONFIGURATION, assert_same, make_grid, make_regions

ROOT = Path(__file__).parents[3]

every_store = pytest.mark.parametrize("name", sorted(STORES))


def write(folder, name, records, *, content="regions", configuration=CONFIGURATION):
    path = folder / f"shard-00000{STORES[name].suffix}"
    rows = STORES[name].write_shard(path, iter(records), content=content, configuration=configuration)
    return path, rows


def assert_round_trip(folder, name, records, content):
    path, rows = write(folder, name, records, content=content)
    assert rows == len(records)
    with STORES[name].open_shard(path) as shard:
        assert len(shard) == rows
        assert list(shard.row_ids) == [record.image_id for record in records]
        for row, record in enumerate(records):
            assert_same(shard.read(row), record)


image_ids = st.lists(st.text(min_size=1, max_size=20), max_size=6, unique=True).map(
    lambda ids: sorted((each for each in ids if is_storable(each)), key=str.encode)
)
seeds = st.integers(0, 2**32)


def is_storable(image_id):
    return not image_id.startswith("\0") and not any("\ud800" <= letter <= "\udfff" for letter in image_id)


@every_store
@settings(max_examples=40, deadline=None)
@given(ids=image_ids, feature_dim=st.integers(0, 9), data=st.data())
def test_regions_come_back_bit_by_bit(name, ids, feature_dim, data):
    records = [
        make_regions(each, num_boxes=data.draw(st.integers(0, 100)), feature_dim=feature_dim, seed=data.draw(seeds))
        for each in ids
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert_round_trip(Path(folder), name, records, "regions")


@every_store
@settings(max_examples=40, deadline=None)
@given(ids=image_ids, feature_dim=st.integers(0, 9), data=st.data())
def test_grids_come_back_bit_by_bit_with_and_without_attention(name, ids, feature_dim, data):
    side, heads = st.integers(0, 5), st.integers(0, 3)
    records = [
        make_grid(
            each,
            height=data.draw(side),
            width=data.draw(side),
            feature_dim=feature_dim,
            num_heads=data.draw(heads),
            seed=data.draw(seeds),
        )
        for each in ids
    ]
    with tempfile.TemporaryDirectory() as folder:
        assert_round_trip(Path(folder), name, records, "grid")


@every_store
@pytest.mark.parametrize("content", ["regions", "grid"])
def test_a_shard_whose_images_all_failed_has_no_rows(tmp_path, name, content):
    assert_round_trip(tmp_path, name, [], content)


@every_store
def test_thirty_six_and_ten_to_a_hundred_and_no_boxes_share_a_shard(tmp_path, name):
    records = [make_regions(f"{n:03d}", num_boxes=n, feature_dim=2048, seed=n) for n in (0, 10, 36, 99, 100)]
    assert_round_trip(tmp_path, name, records, "regions")


@every_store
def test_a_shard_of_many_batches_has_every_row_in_order(tmp_path, name):
    records = [make_regions(f"{n:03d}", feature_dim=2048, seed=n) for n in range(130)]  # 19 MB
    assert_round_trip(tmp_path, name, records, "regions")


@every_store
@pytest.mark.parametrize("num_images", [1000, 2001])
def test_a_shard_of_many_images_has_every_id_in_order(tmp_path, name, num_images):
    ids = [f"{n:04d}" for n in range(num_images)]
    path, _ = write(tmp_path, name, (make_regions(each, num_boxes=1) for each in ids))
    with STORES[name].open_shard(path) as shard:
        assert list(shard.row_ids) == ids


@every_store
def test_a_shard_tells_how_it_was_made(tmp_path, name):
    path, _ = write(tmp_path, name, [make_grid("a")], content="grid")
    with STORES[name].open_shard(path) as shard:
        assert shard.description.content == "grid"
        assert shard.description.configuration == CONFIGURATION
        assert shard.description.fingerprint == "5667122c9e679f1d8cb2181e678e3222a760783dd1aec15315e71bf14da98f0c"


@every_store
@pytest.mark.parametrize("content", ["regions", "grid"])
def test_equal_records_have_equal_bytes_in_another_process_too(tmp_path, name, content):
    digests = set()
    for attempt in ("1", "2"):
        path = tmp_path / f"shard-{attempt}{STORES[name].suffix}"
        subprocess.run([sys.executable, "-c", _WRITE, name, str(path), content, attempt], check=True, cwd=ROOT)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


@every_store
def test_arrays_that_are_not_contiguous_are_stored_as_they_read(tmp_path, name):
    wide = make_regions("a", feature_dim=16)
    record = make_regions("a", feature_dim=8)
    object.__setattr__(record, "features", wide.features[:, ::2])
    object.__setattr__(record, "boxes_xyxy", np.asfortranarray(wide.boxes_xyxy))
    assert_round_trip(tmp_path, name, [record], "regions")


@every_store
def test_a_row_that_is_not_there_is_an_index_error(tmp_path, name):
    path, _ = write(tmp_path, name, [make_regions("a")])
    with STORES[name].open_shard(path) as shard:
        for row in (-1, 1):
            with pytest.raises(IndexError, match=f"has 1 rows, asked for row {row}"):
                shard.read(row)


@every_store
@pytest.mark.parametrize(
    ("image_id", "said"),
    [
        ("é" * 256, "its id has 512 UTF-8 bytes, expected 1 to 511"),
        ("", "its id has 0 UTF-8 bytes, expected 1 to 511"),
        ("\0vinculum", "its id starts with NUL"),
        (os.fsdecode(b"\xff"), "its id is not Unicode text"),
    ],
)
def test_an_id_that_no_store_can_hold_is_refused_and_nothing_is_left(tmp_path, name, image_id, said):
    with pytest.raises(RecordError, match=said):
        write(tmp_path, name, [make_regions(image_id)])
    assert list(tmp_path.iterdir()) == []


@every_store
def test_the_longest_id_is_stored(tmp_path, name):
    assert_round_trip(tmp_path, name, [make_regions("é" * 255 + "x")], "regions")


@every_store
@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([make_regions("b"), make_regions("a")], "image 'a' came after 'b', expected ids that ascend"),
        ([make_regions("a"), make_regions("a")], "image 'a' came after 'a'"),
        ([make_regions("a"), make_grid("b")], "image 'b': got GridFeatures, expected RegionFeatures"),
        (
            [make_regions("a"), make_regions("b", feature_dim=9)],
            "image 'b': feature_dim is 9, expected 8 as in 'a'",
        ),
    ],
)
def test_records_that_do_not_belong_together_are_refused(tmp_path, name, records, said):
    with pytest.raises(StoreError, match=said):
        write(tmp_path, name, records)
    assert list(tmp_path.iterdir()) == []


@every_store
def test_a_failing_source_leaves_the_old_shard(tmp_path, name):
    path, _ = write(tmp_path, name, [make_regions("a")])
    before = path.read_bytes()

    def records() -> Iterator:
        yield make_regions("b")
        raise RuntimeError("the detector stopped")

    with pytest.raises(RuntimeError, match="the detector stopped"):
        write(tmp_path, name, records())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@every_store
def test_a_truncated_shard_is_refused(tmp_path, name):
    path, _ = write(tmp_path, name, [make_regions(f"{n}") for n in range(9)])
    whole = path.read_bytes()
    for size in {*range(0, len(whole), 509), 1, 4095, 4096, 4097, len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError, match=r"shard-00000.*expected .*; run vinculum repair"):
            STORES[name].open_shard(path)


@every_store
def test_a_missing_shard_or_a_stranger_is_refused(tmp_path, name):
    with pytest.raises(DamagedFileError, match="missing, expected a shard"):
        STORES[name].open_shard(tmp_path / "absent")
    (tmp_path / "text").write_text("These are not the features you are looking for.\n" * 400)
    with pytest.raises(DamagedFileError, match="unreadable"):
        STORES[name].open_shard(tmp_path / "text")


@every_store
def test_a_flipped_byte_breaks_the_seal(tmp_path, name):
    path, _ = write(tmp_path, name, [make_regions(f"{n}") for n in range(9)])
    assert is_intact(path)
    whole = path.read_bytes()
    for position in range(0, len(whole), 977):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        assert not is_intact(path), position


@every_store
def test_a_reader_that_was_carried_over_a_fork_reads_on_both_sides(tmp_path, name):
    records = [make_regions(f"{n}", seed=n) for n in range(9)]
    path, _ = write(tmp_path, name, records)
    with STORES[name].open_shard(path) as shard:
        shard.read(0)
        children = [_fork(lambda: [assert_same(shard.read(row), records[row]) for row in range(9)]) for _ in range(3)]
        for row in range(9):
            assert_same(shard.read(row), records[row])
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert_same(shard.read(4), records[4])


@every_store
def test_two_readers_of_one_shard_do_not_disturb_each_other(tmp_path, name):
    records = [make_regions(f"{n}", seed=n) for n in range(3)]
    path, _ = write(tmp_path, name, records)
    with STORES[name].open_shard(path) as first, STORES[name].open_shard(path) as second:
        for row in range(3):
            assert_same(first.read(row), records[row])
            assert_same(second.read(row), records[row])


@every_store
def test_a_record_stays_good_after_its_reader_is_closed_and_its_file_replaced(tmp_path, name):
    path, _ = write(tmp_path, name, [make_regions("a", seed=1)])
    with STORES[name].open_shard(path) as shard:
        record = shard.read(0)
    write(tmp_path, name, [make_regions("a", seed=2)])
    assert_same(record, make_regions("a", seed=1))


@every_store
def test_a_writer_killed_at_any_instant_leaves_no_shard_and_its_leftover_can_be_removed(tmp_path, name):
    path = tmp_path / f"shard-00000{STORES[name].suffix}"
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITE, name, str(path), "hang", "1"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert not path.exists()
    assert len(list(tmp_path.iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


@every_store
def test_a_full_disk_is_named_and_leaves_nothing(small_disk, name):
    with pytest.raises(OSError, match=r"No space left on device: '.*shard-00000") as failure:
        write(small_disk, name, (make_regions(f"{n:03d}", feature_dim=2048) for n in range(100)))
    assert failure.value.errno == errno.ENOSPC
    assert list(small_disk.iterdir()) == []
    write(small_disk, name, [make_regions("a")])


@every_store
def test_a_file_size_limit_is_named_and_leaves_nothing(tmp_path, name):
    def write_beyond_limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        with pytest.raises(OSError, match=r"File too large: '.*shard-00000") as failure:
            write(tmp_path, name, (make_regions(f"{n:03d}", feature_dim=2048) for n in range(100)))
        assert failure.value.errno == errno.EFBIG

    assert os.waitpid(_fork(write_beyond_limit), 0)[1] == 0
    assert list(tmp_path.iterdir()) == []


@every_store
def test_a_read_only_folder_can_be_read_and_refuses_a_write_by_name(small_disk, name):
    path, _ = write(small_disk, name, [make_regions("a")])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OSError, match=r"Read-only file system: '.*shard-00000"):
        write(small_disk, name, [make_regions("b")])
    with STORES[name].open_shard(path) as shard:
        assert_same(shard.read(0), make_regions("a"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"only root may mount a small file system: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _fork(work) -> int:
    """Return the process id of a child that does `work`; its exit status is 0 if that raises nothing."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


# Writes one shard; "hang" stops in the middle, after several commits or batches.
_WRITE = """
import os, sys, time
from pathlib import Path
from stores.catalog import STORES
from tests.stores.builders import make_grid, make_regions
name, path, content, attempt = sys.argv[1:]
dirt = [os.urandom(5000 * int(attempt)) for _ in range(2000)]  # what malloc hands out next is not all zeros
del dirt
def records():
    for n in range(100):
        if content == "grid":
            yield make_grid(f"{n:03d}", feature_dim=1024, num_heads=n % 3, seed=n)
        else:
            yield make_regions(f"{n:03d}", num_boxes=n, feature_dim=2048, seed=n)
        if content == "hang" and n == 90:
            print("writing", flush=True)
            time.sleep(60)
STORES[name].write_shard(Path(path), records(), content="grid" if content == "grid" else "regions", configuration={})
"""
