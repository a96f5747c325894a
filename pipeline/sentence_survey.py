"""What the sentences of one source are like, over as many as are read in seconds, and which of them to show.

Axes: W pointed words, R regions of an image.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.aligned import AlignedSentence
from annotations.alignment import Combination, combine
from pipeline.doctor import COVERED_IOU, oov_words
from pipeline.sentence_exhibits import COMBINATIONS, entropy_bits, is_region, total_variation
from stores.sentence_reading import SentenceStore

MAX_READ = 4000
"""Sentences of a source that are read; where there are more, as many spread evenly."""

IOU_BINS = 10
ENTROPY_BINS = 11
MAX_ENTROPY_BITS = 5.5
"""log2 of 36 is 5.2: a target that says nothing about 36 regions."""


class Place(NamedTuple):
    """A sentence that could be shown."""

    shard: int
    row: int
    image_ids: tuple[str, ...]
    coverage: float | None
    """The best IoU of the word that regions cover least; None: no word points."""
    disagreement: float
    """Total variation between the targets of either criterion alone; mean over the words."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One source's row and plots."""

    name: str
    counts: Mapping[str, int]
    """From the manifest, exact."""
    places: tuple[Place, ...]
    """Of every sentence read."""
    num_words: int
    """Pointed words, of the sentences read, as is all below."""
    num_covered: int
    num_oov: int
    oov: Counter[str]
    iou: tuple[int, ...]
    """Pointed words by IoU of their best region, in equal bins from 0 to 1."""
    entropy: Mapping[Combination, tuple[int, ...]]
    """Pointed words by entropy of their target, in equal bins from 0 to `MAX_ENTROPY_BITS`."""


def survey_source(name: str, sentences: SentenceStore, shards: Sequence[int]) -> Survey:
    """Return what the sentences of these shards are like; reads at most `MAX_READ` of them."""
    counts: Counter[str] = Counter()
    for shard in shards:
        counts.update(sentences.manifest.shards[shard].counts)
    where = list(_spread_rows(sentences, shards))
    read = [sentences.read(shard, row) for shard, row in where]
    position, semantic, there = _stacked(read)
    targets = {each: combine(position, semantic, combination=each, is_region=there).targets for each in COMBINATIONS}
    best = position.max(axis=1, initial=0)
    apart = total_variation(targets["position-only"], targets["semantic-only"])
    ends = np.cumsum([0, *(len(each.words) for each in read)])
    return Survey(
        name=name,
        counts=counts,
        places=tuple(
            Place(
                shard=shard,
                row=row,
                image_ids=aligned.sentence.image_ids,
                coverage=float(best[start:end].min()) if end > start else None,
                disagreement=float(apart[start:end].mean()) if end > start else 0.0,
            )
            for (shard, row), aligned, start, end in zip(where, read, ends, ends[1:], strict=False)
        ),
        num_words=len(best),
        num_covered=int((best >= COVERED_IOU).sum()),
        num_oov=sum(int(each.words.oov.sum()) for each in read),
        oov=Counter(word for each in read for word in oov_words(each)),
        iou=_binned(best, IOU_BINS, 1.0),
        entropy={each: _binned(entropy_bits(targets[each]), ENTROPY_BINS, MAX_ENTROPY_BITS) for each in COMBINATIONS},
    )


def choose_places(survey: Survey, count: int) -> list[Place]:
    """Return `count` sentences to show: the least covered, those whose criteria disagree most, and others between.

    A quarter each is of the first two kinds, of different images; half is spread evenly. Those that point come first.
    """
    pointing = [place for place in survey.places if place.coverage is not None]
    chosen: dict[tuple[int, int], Place] = {}
    for extremes in (
        sorted(pointing, key=lambda place: place.coverage or 0),
        sorted(pointing, key=lambda place: -place.disagreement),
    ):
        images = {place.image_ids for place in chosen.values()}
        for place in extremes[: len(chosen) + 8 * count]:
            if len(chosen) >= (count // 4 if extremes[0] not in chosen.values() else 0):
                break
            if place.image_ids not in images:
                images.add(place.image_ids)
                chosen[place.shard, place.row] = place
    return list(chosen.values())


def _spread_rows(sentences: SentenceStore, shards: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield shard and row of `MAX_READ` sentences at even distances, or of all."""
    ends = np.cumsum([0, *(sentences.manifest.shards[shard].rows for shard in shards)])
    total = int(ends[-1])
    for place in evenly(range(total), MAX_READ):
        which = int(np.searchsorted(ends, place, side="right")) - 1
        yield shards[which], place - int(ends[which])
