"""How fast Flickr30k Entities' whole training split is aligned with 36 regions an image.

The floor of one core: reading 60,000 small files takes some 8 us an image, finding phrases and boxes by regular
expressions some 40 us, and the arithmetic (34 words x 36 regions: IoU, two gathers) some 15 us; 63 us an image of
five sentences, or 80,000 sentences/s. What Python adds are the records: 5 sentences, 18 pointers, 9 boxes an image.
"""

import os
import re
import resource
import shutil
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from annotations.alignment.words import find_words
from annotations.boxes import pairwise_iou
from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops
from annotations.splits import SplitRules
from annotations.toyworld.world import write_toy_world
from annotations.vectors.lookup import read_word_vectors
from detectors.records import RegionFeatures
from detectors.vocabulary import read_vocabulary
from pipeline.alignment.align import align
from pipeline.alignment.annotation_sources import AnnotationSource
from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.numbering import BEFORE
from pipeline.alignment.shard_task import AlignSettings, AlignTask
from pipeline.alignment.worker import AlignWorker
from pipeline.inputs.identity import identity_of_store
from stores.layouts import RegionLayouts
from tests.benchmarks.scale import IS_FULL, scaled
from tests.stores.builders import make_store

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))
TRAIN = DATA / "flickr30k_entities_train/entities_train_29783.tar.xz"
NUM_CLASSES, NUM_ATTRIBUTES = scaled(full=(1600, 400), tiny=(8, 4))
SPLIT_SENTENCES = 8192
TIMES = scaled(full=(1, 4, 16), tiny=(1,))
BOX = re.compile(rb"<xmin>(\d+)</xmin>\s*<ymin>(\d+)</ymin>\s*<xmax>(\d+)</xmax>\s*<ymax>(\d+)</ymax>")
SIZE = re.compile(rb"<width>(\d+)</width>\s*<height>(\d+)</height>")

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(IS_FULL and not TRAIN.exists(), reason=f"{TRAIN} is not there"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The split's files, and for every image 36 regions: its gold boxes moved a little, and boxes anywhere."""
    place = tmp_path_factory.mktemp("align")
    scaled(full=_unpack, tiny=_draw)(place)
    vocabulary = read_vocabulary(place / "vocab")
    rng = np.random.default_rng(0)
    records = [
        _regions(record["image_id"], record["annotations"], rng)
        for record in DATA_SETS["flickr30k-entities"].read_records(place / "entities", drops=Drops())
    ]
    records.sort(key=lambda record: record.image_id)
    names = {"classes": list(vocabulary.classes), "attributes": list(vocabulary.attributes)}
    shards = [records[first : first + 512] for first in range(0, len(records), 512)]
    make_store(place / "regions", shards, configuration={"detector": {"vocabulary": names}})
    return place


def _unpack(place):
    """The split's files are in `place`, with Visual Genome's vocabulary and GloVe's vectors."""
    with tarfile.open(TRAIN, "r:xz") as archive:
        archive.extractall(place / "entities", filter="data")
    shutil.copy(TRAIN.with_name("train.txt"), place / "entities")
    (place / "vocab").symlink_to((DATA / "vocab").absolute())
    (place / "vectors.txt").symlink_to((DATA / "vectors/glove.6B.50d.real_subset.txt").absolute())


def _draw(place):
    """A few images of the toy world are there in the same layout."""
    write_toy_world(place / "world", num_images=20, seed=0)
    (place / "entities").symlink_to(place / "world/flickr30k_entities")
    (place / "vocab").symlink_to(place / "world/visual_genome")
    (place / "vectors.txt").symlink_to(place / "world/vectors/toyworld_vectors.txt")


def _regions(image_id, xml, rng):
    width, height = map(int, SIZE.search(xml).groups())
    corners = np.sort(rng.uniform(0, 1, (36, 2, 2)), axis=1).reshape(36, 4) * [width, height, width, height]
    gold = np.array([list(map(float, box)) for box in BOX.findall(xml)[:20]]).reshape(-1, 4)
    corners[: len(gold)] = np.sort((gold + rng.normal(0, 10, gold.shape)).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    return RegionFeatures(
        image_id=image_id,
        image_width=width,
        image_height=height,
        boxes_xyxy=corners.astype(np.float32),
        features=np.zeros((36, 1), np.float16),
        class_ids=rng.integers(0, NUM_CLASSES, 36).astype(np.int32),
        class_scores=np.ones(36, np.float32),
        attribute_ids=rng.integers(0, NUM_ATTRIBUTES, 36).astype(np.int32),
        attribute_scores=np.ones(36, np.float32),
        selection="given",
    )


def _align_in_one_process(place, share, times):
    """Return sentences, seconds, counts and peak MB of aligning a share of the split so many times over."""
    regions = place / "regions"
    names = RegionLayouts(regions).manifest.configuration["detector"]["vocabulary"]
    out = place / f"out-{share}-{times}"
    out.mkdir()
    worker = AlignWorker(
        AlignSettings(
            images=regions,
            vectors=read_word_vectors(place / "vectors.txt"),
            classes=names["classes"],
            attributes=names["attributes"],
            inputs={"regions": identity_of_store(RegionLayouts(regions).manifest)},
            configuration={},
            store="arrow",
            out=out,
            splits=SplitRules(),
            numbering=BEFORE,  # the regions are of these images
        )
    )
    counts, started = {}, time.perf_counter()
    for turn in range(times):
        records = []
        for number, record in enumerate(
            DATA_SETS["flickr30k-entities"].read_records(place / "entities", drops=Drops())
        ):
            if number % share == 0:
                records.append(record)
            if len(records) == SPLIT_SENTENCES // 5:
                _make(worker, f"shard-{turn}-{number}", records, counts)
                records = []
        _make(worker, f"shard-{turn}-last", records, counts)
    seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return counts, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _make(worker, name, records, counts):
    report = worker.make_shard(AlignTask(name=name, data_set="flickr30k-entities", records=records))
    for key, value in report.entry.counts.items():
        counts[key] = counts.get(key, 0) + value


def _measure(place, share, times):
    """Return what `_align_in_one_process` does, in a process whose memory is its own."""
    if not IS_FULL:
        return _align_in_one_process(place, share, times)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_align_in_one_process, place, share, times).result()


def test_the_whole_split_on_one_core_against_a_loop_over_pairs(place):
    counts, seconds, peak = _measure(place, 1, 1)
    assert counts["sentences"]
    rate = counts["sentences"] / seconds
    loop_rate, sketch_rate = (
        _loop_over_pairs(place, num_images=scaled(full=30, tiny=1)),
        _sketch(place, num_images=3000),
    )
    print(f"\n{counts}")
    print(f"one core, files to shards: {rate:,.0f} sentences/s ({seconds:.1f} s), peak {peak:,.0f} MB")
    print(f"gensim pair by pair: {loop_rate:,.0f} sentences/s; ratio {rate / loop_rate:,.0f} x")
    print(f"a bare sketch, nothing checked or kept: {sketch_rate:,.0f} sentences/s; ratio {rate / sketch_rate:.2f} x")
    if IS_FULL:
        assert counts["images"] == 29783
        assert counts["sentences"] == 148915


def test_cost_is_linear_in_sentences(place):
    for repeated in range(2):
        costs = {}
        for times in TIMES:
            counts, seconds, _ = _measure(place, 4, times)
            costs[times] = seconds / counts["sentences"] * 1e6
        told = ", ".join(f"{times} x {cost:.1f}" for times, cost in costs.items())
        spread = max(costs.values()) / min(costs.values()) - 1
        print(f"\nus a sentence: {told}; largest above smallest: {spread:.1%}")
        if repeated or spread < 0.15:
            break


@pytest.mark.slow  # the bookkeeping of a run starts Ray too
def test_the_command_on_all_cores(place):
    job = AlignmentJob(
        regions=place / "regions",
        annotations=(AnnotationSource(name="flickr30k-entities", path=place / "entities"),),
        vectors=place / "vectors.txt",
        out=place / "sentences",
    )
    summary = align(job)
    assert summary.sources[0].counts["sentences"]
    cores = os.cpu_count()
    print(f"\nvinculum align on {cores} cores: {summary.sentences_per_second:,.0f} sentences/s, ", end="")
    print(f"{summary.sentences_per_second / cores:,.0f} a core; {summary.sources[0].counts}")


def _loop_over_pairs(place, num_images):
    """Return sentences/s of what papers' data loaders do: one IoU and two similarities for each word and region."""
    keyed = _keyed_vectors(place / "vectors.txt")
    layouts = RegionLayouts(place / "regions")
    names = layouts.manifest.configuration["detector"]["vocabulary"]
    data_set = DATA_SETS["flickr30k-entities"]
    records = data_set.read_records(place / "entities", drops=Drops())
    started, num_sentences = time.perf_counter(), 0
    for record in (record for record, _ in zip(records, repeat(None, num_images), strict=False)):
        for sentence in data_set.to_sentences(record, drops=Drops()):
            num_sentences += 1
            regions = layouts.get(sentence.images[0].image_id)
            for pointer in sentence.pointers:
                words = find_words(sentence.text[pointer.start : pointer.end]).lower if pointer.boxes_xyxy else ()
                for word in words:
                    for row, box in enumerate(regions.boxes_xyxy):
                        pairwise_iou(pointer.boxes_xyxy, [box]).max()
                        _similarity(keyed, word, names["classes"][regions.class_ids[row]])
                        _similarity(keyed, word, names["attributes"][regions.attribute_ids[row]])
    return num_sentences / (time.perf_counter() - started)


def _sketch(place, num_images):
    """Return sentences/s of the least there is to do: words and boxes found, IoU and gathers made, all thrown away."""
    layouts = RegionLayouts(place / "regions")
    rows: dict[str, int] = {}
    similarities = np.random.default_rng(0).random((20_000, 2000), np.float32)
    phrase = re.compile(r"\[/EN#(\d+)/\S+ ([^\]]+)\]")
    image_ids = (place / "entities/train.txt").read_text().split()[:num_images]
    for image_id in image_ids:
        layouts.get(image_id)
    started, num_sentences = time.perf_counter(), 0
    for image_id in image_ids:
        regions = layouts.get(image_id)
        root = ElementTree.parse(place / f"entities/Annotations/{image_id}.xml").getroot()
        boxes: dict[str, list[list[float]]] = {}
        for thing in root.iter("object"):
            corners = thing.find("bndbox")
            if corners is not None:
                for name in thing.iter("name"):
                    boxes.setdefault(name.text, []).append([float(corner.text) - 1 for corner in corners])
        lines = (place / f"entities/Sentences/{image_id}.txt").read_text().splitlines()
        num_sentences += len(lines)
        gold, words = [], []
        for line in lines:
            for entity, text in phrase.findall(line):
                if entity in boxes:
                    spoken = text.lower().split()
                    gold += [boxes[entity][0]] * len(spoken)
                    words += [rows.setdefault(word, len(rows)) for word in spoken]
        if gold:
            pairwise_iou(gold, regions.boxes_xyxy).astype(np.float16)
            taken = similarities[words]
            (0.75 * taken[:, regions.class_ids] + 0.25 * taken[:, NUM_CLASSES + regions.attribute_ids]).astype(
                np.float16
            )
    return num_sentences / (time.perf_counter() - started)


def _similarity(keyed, word, name):
    parts = [part for part in name.split(",")[0].split(" ") if part in keyed]
    return keyed.n_similarity([word], parts) if parts and word in keyed else 0.0


def _keyed_vectors(path):
    from gensim.models import KeyedVectors

    return KeyedVectors.load_word2vec_format(str(path), no_header=True)
