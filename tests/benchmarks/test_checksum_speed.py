"""What checking every row costs random reads, and what checking the seals of an older store costs its first ones."""

import random
import statistics
import time

import numpy as np
import pytest

from stores import seal
from stores.catalog import STORES
from stores.formats.arrow import ArrowShard
from stores.formats.lmdb import LmdbShard
from stores.reading import open_store
from tests.benchmarks.scale import scaled
from tests.stores.builders import make_regions, make_store
from tests.stores.version_one import make_old

NUM_SHARDS = scaled(full=8, tiny=2)
SHARD_SIZE = scaled(full=128, tiny=4)
FEATURE_DIM = scaled(full=2048, tiny=8)
ROUNDS = scaled(full=7, tiny=1)


@pytest.mark.benchmark
@pytest.mark.parametrize("store", sorted(STORES))
def test_random_reads_with_checksums_beside_those_without(tmp_path, store, monkeypatch):
    names = [[f"{shard:03d}{row:03d}" for row in range(SHARD_SIZE)] for shard in range(NUM_SHARDS)]
    records = [make_regions("x", feature_dim=FEATURE_DIM, seed=seed) for seed in range(8)]
    make_store(tmp_path, [[_renamed(records, each) for each in shard] for shard in names], store=store)
    order = [each for shard in names for each in shard]
    random.Random(0).shuffle(order)
    print()
    for use in (_looked_at, _into_a_batch):
        ratios, seconds = [], []
        for _ in range(ROUNDS):
            checked = _seconds(tmp_path, order, use)
            with monkeypatch.context() as unchecked:
                unchecked.setattr(ArrowShard, "_checked_row", ArrowShard._place)
                unchecked.setattr(LmdbShard, "_require_checksum", lambda self, key, value: None)
                ratios.append(checked / _seconds(tmp_path, order, use))
            seconds.append(checked)
        print(
            f"{store}: random reads with checksums take {statistics.median(ratios):.3f} x those without "
            f"({min(ratios):.3f} to {max(ratios):.3f}), {min(seconds) / len(order) * 1e6:.0f} us a record {use.__doc__}"
        )
    make_old(tmp_path)
    paths = sorted(tmp_path.glob("shard-*"))
    size = sum(path.stat().st_size for path in paths)
    seal._found_intact.clear()
    started = time.process_time()
    for path in paths:
        seal.require_intact(path)
    spent = time.process_time() - started
    print(f"{store}: the seals of an older store are checked at {size / spent / 1e6:.0f} MB/s, once in a process")


def _renamed(records, name):
    return type(records[0])(**vars(records[int(name) % len(records)]) | {"image_id": name})


def _looked_at(record):
    """that is summed"""
    return int(record.features.view(np.uint64).sum())


def _into_a_batch(record):
    """that is made float32, as for a batch"""
    return record.features.astype(np.float32)


def _seconds(folder, order, use):
    """Return the time of the processor, for others may use the machine, once every batch was read from."""
    with open_store(folder) as features:
        for image_id in order:
            features.get(image_id)
        started = time.process_time()
        for image_id in order:
            use(features.get(image_id))
        return time.process_time() - started
