"""What the sentences of one source are like, over as many as are read in seconds, and which of them to show.

Axes: W pointed words, R regions of an image.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence
from annotations.alignment.targets import Combination, combine
from pipeline.care.doctor import oov_words
from pipeline.care.health import COVERED_IOU
from pipeline.pages.sentence_exhibits import COMBINATIONS, entropy_bits, is_region, total_variation
from pipeline.pages.spread import spread
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
    points: bool
    coverage: float
    """The best IoU of the word that regions cover least."""
    disagreement: float
    """How far the targets of either criterion alone are apart, from 0 to 1; mean over the words."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One source's row and plots."""

    name: str
    counts: Mapping[str, int]
    """From the manifest, exact."""
    places: tuple[Place, ...]
    """Places of the sentences read; what follows is counted over them."""
    num_words: int
    """Pointed words."""
    num_covered: int
    num_oov: int
    oov: Counter[str]
    iou: tuple[int, ...]
    """Pointed words by IoU of their best region, in equal bins from 0 to 1."""
    entropy: Mapping[Combination, tuple[int, ...]]
    """Pointed words by entropy of their target, in equal bins from 0 to `MAX_ENTROPY_BITS`."""


def survey_source(name: str, sentences: SentenceStore, shards: Sequence[int]) -> Survey:
    """Return what the sentences of these shards are like; reads at most `MAX_READ` of them."""
    where = list(_rows(sentences, shards))
    read = [sentences.read(shard, row) for shard, row in where]
    position, semantic, there = _stacked(read)
    targets = {each: combine(position, semantic, combination=each, is_region=there).targets for each in COMBINATIONS}
    best = position.max(axis=1, initial=0)
    apart = total_variation(targets["position-only"], targets["semantic-only"])
    apart[~targets["position-only"].any(axis=1) | ~targets["semantic-only"].any(axis=1)] = 0  # one says nothing
    ends = np.cumsum([len(each.words) for each in read], dtype=np.int64)
    return Survey(
        name=name,
        counts=sentences.counts(shards),
        places=tuple(
            Place(
                shard=shard,
                row=row,
                image_ids=aligned.sentence.image_ids,
                points=len(aligned.words) > 0,
                coverage=float(best[end - len(aligned.words) : end].min(initial=1)),
                disagreement=float(apart[end - len(aligned.words) : end].sum() / max(1, len(aligned.words))),
            )
            for (shard, row), aligned, end in zip(where, read, ends, strict=True)
        ),
        num_words=len(best),
        num_covered=int((best >= COVERED_IOU).sum()),
        num_oov=sum(int(each.words.oov.sum()) for each in read),
        oov=Counter(word for each in read for word in oov_words(each)),
        iou=_binned(best, IOU_BINS, 1.0),
        entropy={each: _binned(entropy_bits(targets[each]), ENTROPY_BINS, MAX_ENTROPY_BITS) for each in COMBINATIONS},
    )


def choose_places(survey: Survey, count: int) -> list[Place]:
    """Return up to `count` sentences to show, in the store's order.

    A quarter each are the least covered and those whose criteria disagree most, of different images. The others are
    spread evenly over the source; sentences that point at nothing only fill up.
    """
    pointing = [place for place in survey.places if place.points]
    chosen: set[Place] = set()
    _take_first(chosen, pointing, count // 4, key=lambda place: place.coverage)
    _take_first(chosen, pointing, count // 4, key=lambda place: -place.disagreement)
    for places in (pointing, [place for place in survey.places if not place.points]):
        chosen.update(spread([place for place in places if place not in chosen], count - len(chosen)))
    return sorted(chosen)


def _take_first(chosen: set[Place], places: Sequence[Place], count: int, *, key: Callable[[Place], float]) -> None:
    images = {place.image_ids for place in chosen}
    wanted = len(chosen) + count
    for place in sorted(places, key=key):
        if len(chosen) >= wanted:
            return
        if place.image_ids not in images:
            images.add(place.image_ids)
            chosen.add(place)


def _rows(sentences: SentenceStore, shards: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield shard and row of every sentence to read."""
    ends = np.cumsum([0, *(sentences.manifest.shards[shard].rows for shard in shards)])
    for place in spread(range(ends[-1]), MAX_READ):
        which = int(np.searchsorted(ends, place, side="right")) - 1
        yield shards[which], place - int(ends[which])


def _stacked(read: Sequence[AlignedSentence]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return float32 [W, R] twice, and bool [W, R]: which of its columns are regions of a word's image."""
    shape = sum(len(each.words) for each in read), max((each.words.position.shape[1] for each in read), default=0)
    position, semantic, there = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool)
    start = 0
    for each in read:
        place = slice(start, start + len(each.words)), slice(each.words.position.shape[1])
        position[place], semantic[place], there[place] = each.words.position, each.words.semantic, is_region(each)
        start += len(each.words)
    return position, semantic, there


def _binned(values: NDArray[np.floating[Any]], bins: int, largest: float) -> tuple[int, ...]:
    return tuple(np.histogram(np.clip(values, 0, largest), bins=bins, range=(0, largest))[0].tolist())
