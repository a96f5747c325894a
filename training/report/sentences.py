"""Sentences of the report: which are shown, and what each run sees in them.

Axes: W words, R regions or cells.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence
from annotations.alignment.words import find_words
from annotations.boxes import pairwise_share, scale_box
from annotations.records import Box, Pointer, Split
from detectors.records import RegionFeatures
from stores.errors import StoreError
from stores.pages.regions import named_regions
from training.data.shards import JoinedShards
from training.data.targets import COVERING_IOU
from training.probes.attention_maps import AttentionMaps
from training.report.maps import pack_maps

COVERING_SHARE = 0.25
"""A cell shows a word where so much of it, or of a gold box that is smaller, lies in the other: few have the IoU that
regions have, and of a small box on a corner of four cells each may have no more."""

MAX_READ = 500
"""Sentences of a source among which is chosen; where there are more, as many spread evenly."""


def choose_sentences(shards: JoinedShards, split: Split, count: int) -> list[int]:
    """Return the numbers of about `count` sentences of a split, always the same: as many of every source that points.

    Sentences whose words mean several things come first, then those with several pointed words, then those with one;
    among equals they are spread evenly, and no picture is shown twice before all are. On cells words can be looked at
    that mean nothing: where none of the split points, any sentences are shown.

    Raises:
        StoreError: no sentence of the split points at a region.
    """
    of_split = shards.select(splits=(split,))
    found = [_best_first(shards, split, source) for source in shards.sources]
    by_source = [pointing for pointing, _ in found if pointing]
    if not by_source and shards.side.grid is not None:
        by_source = [others for _, others in found if others]
    if not by_source:
        raise StoreError(
            f"{shards.sentences.folder}: none of {len(of_split)} sentences of {split} points at a region, expected "
            "some; name others with --split or --sentence-ids"
        )
    chosen: list[int] = []
    images: set[int] = set()
    while len(chosen) < count and any(by_source):
        for numbers in by_source:
            if numbers and len(chosen) < count:
                fresh = [number for number in numbers if int(shards.images_of(number)[0]) not in images]
                number = (fresh or numbers)[0]
                numbers.remove(number)
                chosen.append(number)
                images.add(int(shards.images_of(number)[0]))
    return chosen


def find_sentences(shards: JoinedShards, sentence_ids: Iterable[str]) -> list[int]:
    """Return the numbers of the sentences of these ids, about one image each; the first where sources share an id.

    Raises:
        StoreError: an id is not there.
    """
    places: dict[str, int] = {}
    wanted = dict.fromkeys(sentence_ids)
    for number in shards.select().tolist():
        if len(places) < len(wanted) and (sentence_id := shards.read(number).sentence_id) in wanted:
            places.setdefault(sentence_id, number)
    if lost := [each for each in wanted if each not in places]:
        raise StoreError(f"{shards.sentences.folder} has no sentence {lost[0]!r} about one image; see vinculum inspect")
    return [places[each] for each in wanted]


def make_exhibit(
    aligned: AlignedSentence,
    regions: RegionFeatures,
    configuration: dict[str, Any],
    maps: Sequence[AttentionMaps],
    *,
    grid: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return a sentence as the page's script takes it, with the maps of every run.

    Rows of maps are words, whatever the runs' tokenizers; the last is [CLS] where the answer points at something.

    Args:
        grid: rows and columns, where the regions are cells; what the sentence was aligned with is then another thing.
    """
    sentence = aligned.sentence
    words = find_words(sentence.text)
    spans = list(zip(words.starts, words.ends, strict=True))
    gold = [_gold_boxes(aligned, row, regions) for row in range(len(aligned.words))]
    covers_WR = aligned.words.position >= COVERING_IOU if grid is None else _covering_cells(gold, regions)
    known = [_pointed(_rows_within(aligned, start, end), gold, covers_WR) for start, end in spans]
    phrases = _phrases(sentence.pointers, spans)
    answer = _pointed(np.flatnonzero(aligned.words.in_answer).tolist(), gold, covers_WR)
    answers = [each.text for each in sentence.answers[:1]]
    named = named_regions(regions, configuration) if grid is None else _named_cells(regions, grid)
    return {
        "id": sentence.sentence_id,
        "source": sentence.source,
        "split": sentence.split,
        "image": regions.image_id,
        "size": [regions.image_width, regions.image_height],
        "regions": named,
        "order": _side_by_side(regions, named) if grid is None else list(range(len(named))),
        "text": _cut(sentence.text, spans),
        "answer": answers[0] if answers else "",
        "words": [
            *(
                {"says": sentence.text[start:end], "phrase": phrase, **each}
                for (start, end), phrase, each in zip(spans, phrases, known, strict=True)
            ),
            *([{"says": "[CLS]", "phrase": [len(spans)], **answer}] if answer["gold"] else []),
        ],
        "maps": [pack_maps(each, spans, with_answer=bool(answer["gold"])) for each in maps],
    }


def _best_first(shards: JoinedShards, split: Split, source: str) -> tuple[list[int], list[int]]:
    """Return the sentences of one source that point at something, those that say the most first, and those that do not.

    Equals are spread evenly.
    """
    try:
        numbers = shards.select(splits=(split,), sources=(source,))
    except StoreError:  # the source has none of this split
        return [], []
    places = np.linspace(0, len(numbers) - 1, min(MAX_READ, len(numbers))).round().astype(int)
    ranks: dict[int, list[int]] = {3: [], 2: [], 1: [], 0: []}
    for number in numbers[places].tolist():
        meant = _meant(shards, number)
        ranks[bool(meant) + (len(meant) > 1) + (len(set(meant)) > 1)].append(number)
    *pointing, others = map(_spread, ranks.values())
    return [number for rank in pointing for number in rank], others


def _meant(shards: JoinedShards, number: int) -> list[Hashable]:
    """Return what each word means that points: how regions cover it, or where there are cells, its gold boxes."""
    if shards.side.grid is None:
        position_WR = shards.read(number).position
        return [row.tobytes() for row in position_WR if row.max(initial=0) >= COVERING_IOU]
    aligned = shards.sentences.read(*shards.place(number))
    return [boxes for row in range(len(aligned.words)) if (boxes := aligned.gold_boxes(row))]


def _spread(numbers: list[int]) -> list[int]:
    """Return the same numbers in an order whose first few are far apart: 0, 1/2, 1/4, 3/4, 1/8 ... of the way."""
    reversed_bits = [int(f"{place:020b}"[::-1], 2) for place in range(len(numbers))]
    scattered = np.argsort(reversed_bits, kind="stable")
    return [numbers[place] for place in scattered]


def _rows_within(aligned: AlignedSentence, start: int, end: int) -> list[int]:
    """Return which of the pointed words are, by a character or more, this part of the text."""
    words = aligned.words
    return np.flatnonzero(~words.in_answer & (words.starts < end) & (words.ends > start)).tolist()


def _pointed(rows: Sequence[int], gold: Sequence[tuple[Box, ...]], covers_WR: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the gold boxes of these words, and which regions cover them."""
    boxes = dict.fromkeys(box for row in rows for box in gold[row])
    return {
        "points": bool(rows),
        "gold": [[round(value, 1) for value in box] for box in boxes],
        "covers": np.flatnonzero(covers_WR[rows].any(axis=0)).tolist(),
    }


def _gold_boxes(aligned: AlignedSentence, word: int, regions: RegionFeatures) -> tuple[Box, ...]:
    """Return the boxes that a word means, in pixels of this copy of its image."""
    image = aligned.sentence.images[aligned.words.images[word]]
    boxes = aligned.gold_boxes(word)
    if not (image.width and image.height):  # an unknown size
        return boxes
    to_size = regions.image_width, regions.image_height
    return tuple(scale_box(box, from_size=(image.width, image.height), to_size=to_size) for box in boxes)


def _covering_cells(gold: Sequence[tuple[Box, ...]], regions: RegionFeatures) -> NDArray[np.bool_]:
    """Return which cells show which words, bool [W, R]."""
    covers_WR = [pairwise_share(regions.boxes_xyxy, boxes).max(axis=1, initial=0) >= COVERING_SHARE for boxes in gold]
    return np.array(covers_WR, bool).reshape(len(gold), regions.num_boxes)


def _named_cells(regions: RegionFeatures, grid: tuple[int, int]) -> list[dict[str, Any]]:
    """Return every cell's box, and its place for a name."""
    unnamed = named_regions(regions, {})
    return [
        each | {"name": f"row {1 + number // grid[1]}, column {1 + number % grid[1]}"}
        for number, each in enumerate(unnamed)
    ]


def _phrases(pointers: Sequence[Pointer], spans: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return for each word those of its phrase: neighbours whose narrowest pointer is the same."""
    phrases: list[list[int]] = []
    last = None
    for number, (start, end) in enumerate(spans):
        around = [each for each in pointers if each.boxes_xyxy and each.start < end and start < each.end]
        narrowest = min(around, key=lambda each: each.end - each.start, default=None)
        phrases.append(phrases[-1] if narrowest is not None and narrowest is last else [])
        phrases[-1].append(number)
        last = narrowest
    return phrases


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the text cut at its words: strings, and numbers of words."""
    pieces: list[Any] = []
    last = 0
    for number, (start, end) in enumerate(spans):
        pieces += [text[last:start], number]
        last = end
    return [piece for piece in (*pieces, text[last:]) if piece != ""]


def _side_by_side(regions: RegionFeatures, named: Sequence[dict[str, Any]]) -> list[int]:
    """Return an order of the regions in which those of one class stand together, from left to right."""
    left = np.nan_to_num(regions.boxes_xyxy[:, 0]).tolist()
    return sorted(range(len(named)), key=lambda row: (named[row]["name"], left[row]))
