"""How fast batches of pre-training are made, beside copying their features, and how soon the first of a large store."""

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.records import Answer, Sentence, SentenceImage
from detectors.records import RegionFeatures
from stores.formats import arrow
from stores.manifest import Manifest, describe_shard, fingerprint, write_manifest
from tests.benchmarks.scale import scaled

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("VINCULUM_TEST_DATA", ROOT / "../shared/data"))
VOCABULARY = DATA / "vocab" / "bert-base-uncased-vocab.txt"
CONFIGURATION = {"detector": {"name": "faster-rcnn"}}
IMAGES_PER_SHARD, SENTENCES_PER_SHARD = 512, 8192
NUM_WARM, NUM_COLD = scaled(full=(2048, 100_000), tiny=(96, 96))
BATCH_SIZE, NUM_STEPS, NUM_FIRST = scaled(full=(256, 60, 41), tiny=(16, 10, 2))
"""Of batches; steps that are timed, of which eight warm up, and those after the first."""
NUM_BOXES, FEATURE_DIM = 36, 2048
SAID = "a man in the red shirt holds two dogs by their leashes near an old wooden bench and looks at the sea"


@pytest.mark.benchmark
@pytest.mark.skipif(not VOCABULARY.exists(), reason=f"no vocabulary at {VOCABULARY}; set VINCULUM_TEST_DATA")
def test_batches_of_pretraining_are_made_from_warm_pages(tmp_path):
    write_stores(tmp_path, num_images=NUM_WARM, sentences_per_image=3)
    for workers in scaled(full=(0, 1), tiny=(1,)):
        found = _run(_THROUGHPUT, tmp_path, workers)
        print(
            f"\n{workers} workers: {found['per_second']:.0f} samples/s in batches of {BATCH_SIZE}, or "
            f"{found['per_cpu_second']:.0f} a second of the process's own time, in which copying features alone makes "
            f"{found['copied_per_cpu_second']:.0f}; peak memory {found['peak'] / 1e6:.0f} MB"
        )


@pytest.mark.benchmark
@pytest.mark.skipif(not VOCABULARY.exists(), reason=f"no vocabulary at {VOCABULARY}; set VINCULUM_TEST_DATA")
def test_a_large_store_gives_its_first_batch(tmp_path):
    write_stores(tmp_path, num_images=NUM_COLD, sentences_per_image=3, sparse=True)
    for moment in scaled(full=("cold", "warm"), tiny=("cold",)):
        found = _run(_FIRST_BATCH, tmp_path, 0)
        print(
            f"\n{moment}: stores open after {found['opened']:.2f} s, first batch after {found['first']:.2f} s "
            f"({found['used']:.2f} s of the process's own time), and {found['imports']:.2f} s of imports before; "
            f"peak memory {found['peak_after'] / 1e6:.0f} MB in {NUM_FIRST - 1} batches, "
            f"{found['peak_before'] / 1e6:.0f} MB of it from imports"
        )


def write_stores(folder: Path, *, num_images: int, sentences_per_image: int, sparse: bool = False) -> None:
    """`folder` has regions and sentences; of `sparse` ones the features are zeros that take no room on the disk."""
    image_ids = [f"COCO_train2014_{number:012d}" for number in range(num_images)]
    regions, entries = folder / "regions", []
    regions.mkdir()
    for shard, start in enumerate(range(0, num_images, IMAGES_PER_SHARD)):
        path = regions / f"shard-{shard:05d}.arrow"
        records = [_regions(each, sparse=sparse) for each in image_ids[start : start + IMAGES_PER_SHARD]]
        rows = arrow.write_shard(path, records, content="regions", configuration=CONFIGURATION)
        if sparse:
            subprocess.run(["fallocate", "--dig-holes", str(path)], check=True)
        entries.append(describe_shard(path, rows))
    write_manifest(
        regions, Manifest(content="regions", store="arrow", configuration=CONFIGURATION, shards=tuple(entries))
    )
    about = {"regions": {"fingerprint": fingerprint(CONFIGURATION)}}
    spoken = [(f"{image_id}#{i}", image_id) for image_id in image_ids for i in range(sentences_per_image)]
    sentences, entries = folder / "sentences", []
    sentences.mkdir()
    for shard, start in enumerate(range(0, len(spoken), SENTENCES_PER_SHARD)):
        path = sentences / f"shard-{shard:05d}.arrow"
        ends = range(start, min(start + SENTENCES_PER_SHARD, len(spoken)), 512)
        rows = arrow.write_sentences(path, (_align(spoken[i : i + 512]) for i in ends), configuration=about)
        entries.append(describe_shard(path, rows))
    write_manifest(sentences, Manifest(content="sentences", store="arrow", configuration=about, shards=tuple(entries)))


def _regions(image_id: str, *, sparse: bool) -> RegionFeatures:
    rng = np.random.default_rng(int(image_id[-12:]))
    shape = NUM_BOXES, FEATURE_DIM
    corners = rng.random((NUM_BOXES, 2), np.float32) * 200
    return RegionFeatures(
        image_id=image_id,
        image_width=640,
        image_height=480,
        boxes_xyxy=np.hstack([corners, corners + 200]),
        features=np.zeros(shape, np.float16) if sparse else rng.random(shape, np.float32).astype(np.float16),
        class_ids=rng.integers(1600, size=NUM_BOXES, dtype=np.int32),
        class_scores=rng.random(NUM_BOXES, np.float32),
        attribute_ids=rng.integers(400, size=NUM_BOXES, dtype=np.int32),
        attribute_scores=rng.random(NUM_BOXES, np.float32),
        selection="confident",
    )


def _align(spoken: Sequence[tuple[str, str]]) -> AlignedSentences:
    """Return sentences of 6 to 20 words, of which every third points; a third of the sentences are questions."""
    rng = np.random.default_rng(zlib.crc32(spoken[0][0].encode()))
    said, sentences, starts, ends = SAID.split(), [], [], []
    for sentence_id, image_id in spoken:
        words = [said[i] for i in rng.integers(len(said), size=rng.integers(6, 21))]
        sentences.append(
            Sentence(
                sentence_id=sentence_id,
                images=(SentenceImage(image_id=image_id),),
                text=" ".join(words),
                source="coco-captions",
                split="train",
                answers=(Answer(text="red"), Answer(text="blue", weight=0.3)) if sentence_id.endswith("#0") else (),
            )
        )
        ends.append(np.cumsum([len(word) + 1 for word in words])[::3] - 1)
        starts.append(ends[-1] - [len(word) for word in words[::3]])
    num_words = sum(map(len, starts))
    position = rng.random((num_words, NUM_BOXES)) * (rng.random((num_words, NUM_BOXES)) < 0.3)
    return AlignedSentences(
        sentences=sentences,
        num_boxes=[(NUM_BOXES,)] * len(sentences),
        words=PointedWords(
            starts=np.concatenate(starts).astype(np.int32),
            ends=np.concatenate(ends).astype(np.int32),
            images=np.zeros(num_words, np.int32),
            in_answer=np.zeros(num_words, bool),
            oov=np.zeros(num_words, bool),
            position=position.astype(np.float16),
            semantic=rng.uniform(-0.2, 1, (num_words, NUM_BOXES)).astype(np.float16),
        ),
        word_offsets=np.cumsum([0, *map(len, starts)]),
    )


def _run(script: str, folder: Path, *more: object) -> dict[str, float]:
    command = [
        sys.executable,
        "-c",
        script,
        str(folder),
        str(VOCABULARY),
        *map(str, (*more, BATCH_SIZE, NUM_STEPS, NUM_FIRST)),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ)
    return json.loads(done.stdout)


_COMMON = """
import json, sys, time
from pathlib import Path
began = time.perf_counter()
import numpy as np
import torch
from annotations.answers import AnswerVocabulary
from training.data.batches import BatchMaker, BatchOptions
from training.data.loader import Feed, StepBatches
from training.data.order import TrainingOrder, parts_of_rank
from training.data.shards import join
from training.data.targets import TargetOptions
from training.data.tokenizer import load_tokenizer
imports = time.perf_counter() - began

def peak():  # not ru_maxrss, which begins with the parent's
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

def feed(shards, steps, num_workers):
    options = BatchOptions(mask_words=0.15, mask_regions=0.15, mismatch=0.5, targets=TargetOptions())
    answers = AnswerVocabulary(answers=("red", "blue"))
    numbers = shards.select()
    order = TrainingOrder(sentences=numbers, lengths=shards.lengths[numbers], batch_size=batch_size, seed=0)
    batches = StepBatches(
        BatchMaker(shards, tokenizer, options, answers=answers), order,
        parts_of_rank(batch_size, rank=0, num_ranks=1, accumulation=1),
    )
    return Feed(batches, range(steps), num_workers=num_workers, device=torch.device("cpu"))

folder, workers = Path(sys.argv[1]), int(sys.argv[3])
batch_size, num_steps, num_first = map(int, sys.argv[4:])
tokenizer = load_tokenizer(sys.argv[2])
torch.set_num_threads(1)
"""

# The floor is to copy as many bytes, of other images every time, into new memory.
_THROUGHPUT = (
    _COMMON
    + """
shards = join(folder / "regions", folder / "sentences")
for image in range(len(shards.side.image_ids)):
    shards.side.regions(image).features.sum()
made = iter(feed(shards, num_steps, workers))
for _ in range(8):
    next(made)
started, used = time.perf_counter(), time.process_time()
num_samples = sum(len(batch) for (batch,) in made)
seconds, used, at_most = time.perf_counter() - started, time.process_time() - used, peak()
images = np.random.default_rng(0).integers(len(shards.side.image_ids), size=(min(20, num_steps), batch_size))
pool = np.random.default_rng(0).random((len(shards.side.image_ids), 36, 2048), np.float32).astype(np.float16)
started = time.process_time()
for rows in images:
    copied = np.empty((batch_size, 36, 2048), np.float16)
    for row, image in zip(copied, rows):
        row[:] = pool[image]
copying = time.process_time() - started
print(json.dumps({
    "per_second": num_samples / seconds, "per_cpu_second": num_samples / used,
    "copied_per_cpu_second": images.size / copying, "peak": at_most,
}))
"""
)

_FIRST_BATCH = (
    _COMMON
    + """
before, started, used = peak(), time.perf_counter(), time.process_time()
shards = join(folder / "regions", folder / "sentences")
opened = time.perf_counter() - started
made = iter(feed(shards, num_first, workers))
next(made)
first, used = time.perf_counter() - started, time.process_time() - used
for _ in made:
    pass
print(json.dumps({
    "imports": imports, "opened": opened, "first": first, "used": used, "peak_before": before, "peak_after": peak(),
}))
"""
)
