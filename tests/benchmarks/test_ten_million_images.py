"""What a store of ten million images costs before the first image is detected: to plan, resume, open, look up, verify.

The shards are real, sealed and whole, with regions of one number each; VINCULUM_BENCH_IMAGES makes fewer of them.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from detectors.records import RegionFeatures
from pipeline.extraction.planning import plan_shards
from stores.formats.arrow import write_shard
from stores.image_index import require_index
from stores.images.listing import list_images
from stores.manifest import Manifest, describe_shard, write_manifest
from stores.plan import write_plan
from stores.seal import UNSEALED, seal
from tests.benchmarks.scale import scaled

NUM_IMAGES = int(os.environ.get("VINCULUM_BENCH_IMAGES", scaled(full="10_000_000", tiny="3000")))
SHARD_SIZE = 512
CONFIGURATION = {"detector": {"name": "none"}, "given_boxes": None}
ROOT = Path(__file__).parents[2]

MEASURE = """
import json, random, sys, time
from pathlib import Path

def peak():  # not ru_maxrss, which begins with the parent's
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def timed(name, call, before=[]):
    started = time.perf_counter()
    result = call()
    print(f"  {name:40} {time.perf_counter() - started:8.2f} s   {peak():6.0f} MB", flush=True)
    return result

store, images = Path(sys.argv[1]), sys.argv[2]
"""

OPEN = """
from stores.reading import open_store
imported = peak()
features = timed("open the store", lambda: open_store(store))
draw = random.Random(0)
wanted = [features.image_ids[draw.randrange(len(features))] for _ in range(min(100_000, 10 * len(features)))]
absent = [f"{each}x" for each in wanted[:10_000]]
for name, ids in (("look-up by id", wanted), ("look-up of what is not there", absent)):
    started = time.perf_counter()
    found = sum(image_id in features for image_id in ids)
    each = 1e6 * (time.perf_counter() - started) / len(ids)
    print(f"  {name:40} {each:8.2f} us, {found} of {len(ids)} found")
print(f"  memory: {peak():.0f} MB, of which {imported:.0f} MB are the imports")
"""

RESUME = """
from pipeline.extraction.planning import plan_shards
from pipeline.extraction.remaining import Remaining
from stores.images.listing import list_images
from stores.manifest import read_manifest
from stores.plan import read_plan
started = time.perf_counter()
listing = timed("list the images", lambda: list_images([images]))
manifest = timed("read the manifest", lambda: read_manifest(store))
existing = timed("read the plan", lambda: read_plan(store))
plan = timed("plan", lambda: plan_shards(listing.images, 512, existing))
left = timed("what is left to do", lambda: Remaining.of(plan, manifest))
print(f"  resume, together: {time.perf_counter() - started:.2f} s; {len(left)} shards of {len(plan)} left")
"""

VERIFY = """
from pipeline.care.verify import verify
verdict = timed("verify --sample 1%", lambda: verify(store, share=0.01))
print(f"  {len(verdict.damages)} damages")
"""


def clock(name, call):
    started = time.perf_counter()
    result = call()
    print(f"  {name:40} {time.perf_counter() - started:8.2f} s", flush=True)
    return result


def write_shards(folder, plan):
    """Write every shard of the plan but the last two, all like one that the store's own writer made."""
    template = folder / "shard-00000.arrow"
    write_shard(template, map(one_region, plan.images_of(0)), content="regions", configuration=CONFIGURATION)
    with pa.OSFile(str(template)) as file:
        (batch,) = pa.ipc.open_file(file).read_all().to_batches()
    entries = []
    for number in range(len(plan) - 2):
        ids = plan.images_of(number).table["image_id"].combine_chunks().cast(pa.string())
        path = folder / f"shard-{number:05d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema, metadata={"seal": UNSEALED}) as to:
            to.write_batch(batch.slice(0, len(ids)).set_column(0, batch.schema.field(0), ids))
        seal(path)
        entries.append(describe_shard(path, len(ids)))
    return entries


def one_region(image):
    return RegionFeatures(
        image_id=image.image_id,
        image_width=640,
        image_height=480,
        boxes_xyxy=np.array([[0, 0, 640, 480]], np.float32),
        features=np.ones((1, 1), np.float16),
        class_ids=np.zeros(1, np.int32),
        class_scores=np.ones(1, np.float32),
        attribute_ids=np.zeros(1, np.int32),
        attribute_scores=np.ones(1, np.float32),
        selection="given",
    )


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_a_store_of_ten_million_images(tmp_path):
    images, folder = tmp_path / "images.tsv", tmp_path / "store"
    folder.mkdir()
    with images.open("w") as file:
        for n in range(NUM_IMAGES):
            file.write(f"COCO_train2014_{n:012d}\ttrain2014/{n // 1000:05d}/COCO_train2014_{n:012d}.jpg\n")
    print(f"\n{NUM_IMAGES} images in shards of {SHARD_SIZE}; the first run:")
    listing = clock("list the images", lambda: list_images([str(images)]))
    plan = clock("plan", lambda: plan_shards(listing.images, SHARD_SIZE))
    clock("write the plan", lambda: write_plan(folder, plan))
    entries = write_shards(folder, plan)
    manifest = Manifest(content="regions", store="arrow", configuration=CONFIGURATION, shards=tuple(entries))
    clock("write the manifest", lambda: write_manifest(folder, manifest))
    clock("make and write the index", lambda: require_index(folder, plan, manifest))
    for name in ("plan.arrow", "index.arrow", "manifest.json"):
        print(f"  {name:40} {(folder / name).stat().st_size / 2**20:8.0f} MB")
    for name, script in (("resumed", RESUME), ("read", OPEN), ("verified", VERIFY)):
        print(f"{name}, in a process of its own: seconds, and the most memory so far")
        subprocess.run([sys.executable, "-c", MEASURE + script, folder, images], cwd=ROOT, check=True)
