"""Stores whose words are covered by some regions, well, hardly or not at all; and runs that know their pieces."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from detectors.records import RegionFeatures
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.small_runs import make_run
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import JoinedShards
from training.weights.ours import load_model

THINGS = ("ball", "umbrella", "tricycle", "cat")
PLACES = ("here", "behind the tree", "far away")


def _image(number: int) -> RegionFeatures:
    drawn = np.random.default_rng(number).normal(size=(2 + number % 4, 6)).astype(np.float16)
    return replace(make_image(f"image-{number}", num_boxes=len(drawn)), features=drawn)


def _spoken(number: int, split: str) -> Spoken:
    rng = np.random.default_rng([number, len(split)])
    one, other = rng.permutation(THINGS)[:2]
    image = int(rng.integers(8))
    words = [
        Word(
            says=says, position=rng.choice([0.0, 0.3, 0.5, 0.9], 2 + image % 4).tolist(), semantic=[0] * (2 + image % 4)
        )
        for says in (one, other)
    ]
    return Spoken(
        text=f"the {one} and the {other} are {PLACES[number % 3]}",
        image_ids=[f"image-{image}"],
        words=words,
        source="captions" if number % 5 else "vqa-v2",
        split=split,
    )


SENTENCES = [[_spoken(number, split) for number in range(30)] for split in ("train", "val")]
KNOWN = ["the ball and the cat are here behind the tree far away", "u t mumbrella stricycle"]
"""What a tokenizer learns on that knows some words by their parts alone."""


def pointed_stores(folder: Path) -> tuple[Path, Path]:
    """Return the folders of regions and sentences: 30 for train and 30 for val, each with two words that
    point; a fifth is of vqa-v2."""
    return join_stores(folder, [[_image(number) for number in range(8)]], SENTENCES)


def load_pointed_run(folder: Path, **changes: object):  # type: ignore[no-untyped-def]
    """Return a run on these stores and its model, whose pieces are parts of words."""
    return load_model(make_run(folder, KNOWN, **changes))  # type: ignore[arg-type]


def plain_maker(shards: JoinedShards, run) -> BatchMaker:  # type: ignore[no-untyped-def]
    return BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))


def covered_words(
    shards: JoinedShards, maker: BatchMaker, numbers: np.ndarray
) -> Iterator[tuple[int, list[int], list[bool]]]:
    """Yield, one by one and slowly: the sentence's number, the word's places among its pieces, which regions cover."""
    for number in numbers:
        sentence = shards.read(int(number))
        (pieces,) = maker.tokenizer.encode([sentence.text], max_pieces=maker.options.max_pieces - 2)
        for start, end, position in zip(
            sentence.word_starts, sentence.word_ends, sentence.position.astype(float).tolist(), strict=True
        ):
            spans = list(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True))
            own = [place for place, span in enumerate(spans, 1) if start <= span[0] and span[1] <= end]
            covers = [iou >= 0.5 for iou in position]
            if own and any(covers):
                yield int(number), own, covers
