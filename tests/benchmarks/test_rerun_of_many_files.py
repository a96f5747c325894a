"""What it costs a rerun with nothing to do to look whether its files changed: a million images, in a folder and a list.

VINCULUM_BENCH_IMAGES makes fewer of them. Each round does both in turn: the rerun as it is, and one that compares names
alone; so what the machine does beside shows in neither. Files are as small as can be, and their folders are in memory,
as they are after a run that read them; a file server that takes longer for each is asked for 16 at a time.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.extraction.planning import plan_shards
from pipeline.extraction.remaining import Remaining
from pipeline.inputs.changed import compare_inputs
from stores.images.listing import list_images
from stores.images.versions import with_versions
from stores.manifest import Manifest, ShardEntry
from stores.places import FolderPlace
from stores.plan import read_plan, shard_name, write_plan
from tests.benchmarks.scale import scaled

ROOT = Path(__file__).parents[2]
START = scaled(
    full="""
import pipeline.cli
from detectors.catalog import DetectorRequest, describe_detector
describe_detector(DetectorRequest(name="faster-rcnn", weights="toyworld", device="cpu"))
""",
    tiny="",
)
NUM_IMAGES = int(os.environ.get("VINCULUM_BENCH_IMAGES", scaled(full="1_000_000", tiny="600")))
ROUNDS = scaled(full=3, tiny=1)
SHARD_SIZE = 512


def write_images(folder):
    """Write the files, a thousand to a folder, and return a list of them."""
    for number in range(NUM_IMAGES):
        below = folder / f"{number // 1000:05d}"
        if number % 1000 == 0:
            below.mkdir(parents=True)
        descriptor = os.open(below / f"COCO_train2014_{number:012d}.jpg", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
    path = folder.parent / "images.tsv"
    with path.open("w") as file:
        for number in range(NUM_IMAGES):
            name = f"COCO_train2014_{number:012d}"
            file.write(f"{name}\t{folder.name}/{number // 1000:05d}/{name}.jpg\n")
    return path


def made(plan):
    """Return a manifest that has every shard of a plan."""
    shards = [
        ShardEntry(name=f"{shard_name(number)}.arrow", rows=int(rows), bytes=1, sha256="", failures=())
        for number, rows in enumerate(plan.sizes)
    ]
    return Manifest(content="regions", store="arrow", configuration={}, shards=tuple(shards))


def seconds_to_start():
    """Return what the command takes before it lists anything: to be imported, and to describe its detector."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", START], cwd=ROOT, check=True)
    return time.perf_counter() - started


def rerun(place, store, manifest, *, looks):
    """Return the seconds of each step of a rerun with nothing to do."""
    steps = {}

    def timed(name, call):
        started = time.perf_counter()
        result = call()
        steps[name] = time.perf_counter() - started
        return result

    images = timed("list", lambda: list_images([str(place)]).images)
    if looks:
        images = timed("look at files", lambda: with_versions(images))
    existing = timed("read the plan", lambda: read_plan(store))
    plan = timed("plan", lambda: plan_shards(images, SHARD_SIZE, existing))
    if looks:
        comparison = timed("compare", lambda: compare_inputs(existing, plan, manifest, FolderPlace(store)))
        assert not len(comparison.changed) and not comparison.remarks
    assert len(timed("what is left", lambda: Remaining.of(plan, manifest))) == 0
    return steps


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
def test_a_rerun_of_a_million_files(tmp_path):
    photos = tmp_path / "photos"
    places = {"a list": write_images(photos), "a folder": photos}
    print(f"\n{NUM_IMAGES} images that are all made, and nothing to do; {os.cpu_count()} cores")
    for name, place in places.items():
        images = list_images([str(place)]).images
        stores = {}
        for looks in (False, True):
            stores[looks] = tmp_path / f"{name}-{looks}"
            stores[looks].mkdir()
            write_plan(stores[looks], plan_shards(with_versions(images) if looks else images, SHARD_SIZE))
        manifest = made(read_plan(stores[True]))
        seconds, steps, start = {False: [], True: []}, {}, []
        for _ in range(ROUNDS):
            start.append(seconds_to_start())
            for looks in (False, True):
                steps[looks] = rerun(place, stores[looks], manifest, looks=looks)
                seconds[looks].append(sum(steps[looks].values()))
        names, looked = (statistics.median(seconds[looks]) for looks in (False, True))
        rounds = list(zip(start, *seconds.values(), strict=True))
        alone = sorted(with_looks / without for _, without, with_looks in rounds)
        whole = sorted((begin + with_looks) / (begin + without) for begin, without, with_looks in rounds)
        print(f"  {name}: by names alone {names:.2f} s, with sizes and times {looked:.2f} s")
        print(
            f"    {1e6 * (looked - names) / NUM_IMAGES:.2f} us an image more; the command starts in {min(start):.1f} s"
        )
        for what, ratios in (("of these steps", alone), ("of the whole command", whole)):
            print(f"    ratios {what}: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        for step, each in steps[True].items():
            print(f"      {step:16} {each:6.2f} s")
