"""How fast 2 GB are written and read beside plain files of the same bytes, and how much memory reading them takes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stores.atomic import replacing
from stores.catalog import STORES
from stores.manifest import Manifest, describe_shard, write_manifest
from tests.benchmarks.scale import scaled
from tests.stores.builders import make_regions

NUM_IMAGES = scaled(full=27 * 512, tiny=16)


@pytest.mark.benchmark
@pytest.mark.parametrize("store", sorted(STORES))
@pytest.mark.parametrize("num_shards", scaled(full=[27, 1], tiny=[2]))
def test_a_store_of_2_gb_is_written_and_read(tmp_path, store, num_shards):
    pool = [make_regions("x", feature_dim=2048, seed=seed) for seed in range(64)]
    total = NUM_IMAGES * pool[0].features.nbytes
    shard_size = NUM_IMAGES // num_shards

    started = time.perf_counter()
    for shard in range(num_shards):
        with replacing(tmp_path / f"plain-{shard:05d}") as temporary, temporary.open("wb") as file:
            for row in range(shard_size):
                file.write(pool[row % 64].features.tobytes())
    plain_write = total / (time.perf_counter() - started)
    plain_read = _read(tmp_path, "plain", total)["bytes_per_second"]
    for path in tmp_path.glob("plain-*"):
        path.unlink()

    started = time.perf_counter()
    paths = []
    for shard in range(num_shards):
        records = (replace(pool[row % 64], image_id=f"{shard:05d}{row:05d}") for row in range(shard_size))
        paths.append(tmp_path / f"shard-{shard:05d}{STORES[store].suffix}")
        STORES[store].write_shard(paths[-1], records, content="regions", configuration={})
    write = total / (time.perf_counter() - started)
    shards = tuple(describe_shard(path, shard_size) for path in paths)
    write_manifest(tmp_path, Manifest(content="regions", store=store, configuration={}, shards=shards))

    print(f"\n{store}: {total / 1e9:.1f} GB in shards of {shard_size} images")
    print(f"{store}: written at {write / 1e6:.0f} MB/s, {write / plain_write:.2f} x plain files")
    for order in ("sequential", "random"):
        read = _read(tmp_path, order, total)
        print(
            f"{store}: read {order} at {read['bytes_per_second'] / 1e6:.0f} MB/s, "
            f"{read['bytes_per_second'] / plain_read:.2f} x plain files in sequence, "
            f"peak memory {read['peak'] / 1e6:.0f} MB, {read['peak_before'] / 1e6:.0f} MB of it before the first image"
        )
    for path in tmp_path.iterdir():
        path.unlink()


def _read(folder: Path, order: str, total: int) -> dict[str, float]:
    command = [sys.executable, "-c", _READ, str(folder), order]
    root = Path(__file__).parents[2]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=root, env=os.environ).stdout)
    return answer | {"bytes_per_second": total / answer["seconds"]}


# Touches every byte of the features; what is timed is the same sum for plain files and for a store.
_READ = """
import json, random, sys, time
from pathlib import Path
import numpy as np
from stores.reading import open_store

def peak():  # not ru_maxrss, which begins with the parent's
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

folder, order = Path(sys.argv[1]), sys.argv[2]
total = 0
if order == "plain":
    before, started = peak(), time.perf_counter()
    for path in sorted(folder.glob("plain-*")):
        with path.open("rb") as file:
            while block := file.read(36 * 2048 * 2):
                total += int(np.frombuffer(block, np.uint64).sum())
else:
    features = open_store(folder)
    image_ids = list(features.image_ids)
    if order == "random":
        random.Random(0).shuffle(image_ids)
    before, started = peak(), time.perf_counter()
    for image_id in image_ids:
        total += int(features.get(image_id).features.view(np.uint64).sum())
print(json.dumps({"seconds": time.perf_counter() - started, "peak": peak(), "peak_before": before}))
"""
