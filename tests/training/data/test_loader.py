"""The feed of a loop: the batches of any steps, whoever makes them and wherever a run goes on."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.joined_stores import Spoken, join_stores, make_image, random_word
from training.batch import Batch
from training.data.batches import BatchMaker, BatchOptions
from training.data.loader import Feed, StepBatches
from training.data.order import TrainingOrder, parts_of_rank
from training.data.shards import join
from training.data.targets import TargetOptions
from training.data.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[3]
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "man", "dog", "hat", "##s", "red")
NUM_STEPS = 9  # of 5 an epoch


@pytest.fixture(scope="module", params=["arrow", "lmdb"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    rng = np.random.default_rng(0)
    images = [make_image(f"{i:02d}", num_boxes=int(rng.integers(2, 7)), first=10 * i) for i in range(12)]
    sentences = [
        Spoken(
            text=" ".join(["the", *rng.choice(["a", "man", "hats", "red"], size=rng.integers(1, 9)), "dog"]),
            image_ids=[image.image_id],
            words=[random_word("dog", image.num_boxes, rng)],
            answers={"red": 1.0, "blue": 0.5},
        )
        for image in images
        for _ in range(7)
    ]
    join_stores(folder, [images[:5], images[5:]], [sentences[:30], sentences[30:]], store=request.param)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder


def feed_of(folder, steps, *, num_workers=0, num_ranks=1, rank=0, accumulation=1):
    shards = join(folder / "regions", folder / "sentences")
    options = BatchOptions(mask_words=0.3, mask_regions=0.3, mismatch=0.5, targets=TargetOptions(), soft_answers=True)
    numbers = shards.select()
    order = TrainingOrder(sentences=numbers, lengths=shards.lengths[numbers], batch_size=16, seed=5)
    batches = StepBatches(
        BatchMaker(shards, load_tokenizer(str(folder / "vocab.txt")), options, seed=5),
        order,
        parts_of_rank(16, rank=rank, num_ranks=num_ranks, accumulation=accumulation),
    )
    return Feed(batches, steps, num_workers=num_workers, device=torch.device("cpu"))


def digest(parts):
    """Return a number that stands for all that is in the parts of a step."""
    return hashlib.sha256(pickle.dumps([plain(part) for part in parts])).hexdigest()


def plain(value):
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.shape, value.contiguous().numpy().tobytes()
    return {name: plain(each) for name, each in vars(value).items()} if hasattr(value, "__dict__") else value


@pytest.mark.parametrize("num_workers", [1, 2])
def test_batches_are_the_same_and_in_order_whoever_makes_them(folder, num_workers):
    steps = range(NUM_STEPS)
    here = [digest(parts) for parts in feed_of(folder, steps)]
    assert len(set(here)) == NUM_STEPS
    assert [digest(parts) for parts in feed_of(folder, steps, num_workers=num_workers)] == here


@pytest.mark.parametrize("folder", ["arrow"], indirect=True)
def test_a_run_that_goes_on_in_another_process_is_given_what_it_would_have_been(folder):
    script = (
        "import sys; from pathlib import Path; from tests.training.data.test_loader import digest, feed_of; "
        "print(*[digest(parts) for parts in feed_of(Path(sys.argv[1]), range(3, 9), num_workers=2)])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, cwd=ROOT, check=True)
    in_sequence = [digest(parts) for parts in feed_of(folder, range(NUM_STEPS))]
    assert done.stdout.decode().split() == in_sequence[3:]


def test_ranks_take_a_step_s_sentences_between_them(folder):
    whole = [sorted(parts[0].sentence_ids) for parts in feed_of(folder, range(NUM_STEPS))]
    ranks = [list(feed_of(folder, range(NUM_STEPS), num_ranks=2, rank=rank, accumulation=2)) for rank in (0, 1)]
    for step in range(NUM_STEPS):
        parts = [part for rank in ranks for part in rank[step]]
        assert [len(part) for part in parts] == [4] * 4
        images = sorted(image_id for part in parts for image_id in part.image_ids)
        assert sorted(sentence_id for part in parts for sentence_id in part.sentence_ids) == whole[step]
        assert len(images) == 16


def test_an_epoch_has_every_image_s_sentences_once(folder):
    images = [image_id for (batch,) in feed_of(folder, range(5)) for image_id in batch.image_ids]
    assert len(images) == 80
    assert max(images.count(image_id) for image_id in images) <= 7


def test_the_feed_knows_how_long_it_was_waited_for(folder):
    feed = feed_of(folder, range(3))
    assert feed.take_waited() == 0
    steps = iter(feed)
    next(steps)
    waited = feed.take_waited()
    assert waited > 0
    assert feed.take_waited() == 0
    assert len(list(steps)) == 2
    assert feed.take_waited() > 0


def test_a_batch_moves_whole(folder):
    (batch,) = next(iter(feed_of(folder, range(1))))
    moved = batch.to(torch.device("cpu"))
    assert isinstance(moved, Batch)
    assert digest([moved]) == digest([batch])
