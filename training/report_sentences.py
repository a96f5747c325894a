"""Sentences of the report: which are shown, and what each run sees in them.

Axes: W words, R regions.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from annotations.aligned import AlignedSentence
from annotations.records import Split
from annotations.words import find_words
from detectors.records import RegionFeatures
from stores.errors import StoreError
from stores.pages.regions import named_regions
from training.probes.attention_maps import AttentionMaps
from training.report_maps import pack_maps
from training.shards import JoinedShards
from training.targets import COVERING_IOU

MAX_READ = 500
"""Sentences of a source among which is chosen; where there are more, as many spread evenly."""


def choose_sentences(shards: JoinedShards, split: Split, count: int) -> list[int]:
    """Return the numbers of about `count` sentences of a split, always the same: as many of every source.

    Sentences whose words mean several things come first, then those with several pointed words, then those with one;
    among equals they are spread evenly, and no picture is shown twice before all are.

    Raises:
        StoreError: no sentence of the split points at a region.
    """
    of_split = shards.select(splits=(split,))
    by_source = [numbers for source in shards.sources if (numbers := _best_first(shards, split, source))]
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
    aligned: AlignedSentence, regions: RegionFeatures, configuration: dict[str, Any], maps: Sequence[AttentionMaps]
) -> dict[str, Any]:
    """Return a sentence as the page's script takes it, with the maps of every run.

    Rows of maps are words, whatever the runs' tokenizers; the last is [CLS] where the answer points at something.
    """
    sentence = aligned.sentence
    words = find_words(sentence.text)
    spans = list(zip(words.starts, words.ends, strict=True))
    known = [_pointed(aligned, [start < b and a < end for a, b in _spans(aligned)], False) for start, end in spans]
    phrases = _phrases(sentence.text, spans, known)
    answer = _pointed(aligned, [True] * len(aligned.words), True)
    answers = [each.text for each in sentence.answers[:1]]
    return {
        "id": sentence.sentence_id,
        "source": sentence.source,
        "split": sentence.split,
        "image": regions.image_id,
        "size": [regions.image_width, regions.image_height],
        "regions": named_regions(regions, configuration),
        "order": _side_by_side(regions, configuration),
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


def _best_first(shards: JoinedShards, split: Split, source: str) -> list[int]:
    """Return sentences of one source that point at regions: those that say the most, spread evenly."""
    try:
        numbers = shards.select(splits=(split,), sources=(source,))
    except StoreError:  # the source has none of this split
        return []
    places = np.linspace(0, len(numbers) - 1, min(MAX_READ, len(numbers))).round().astype(int)
    ranks: dict[int, list[int]] = {2: [], 1: [], 0: []}
    for number in numbers[places].tolist():
        sentence = shards.read(number)
        covered = sentence.position[(sentence.position.max(axis=1, initial=0) >= COVERING_IOU)]
        if len(covered):
            several = len(np.unique(covered, axis=0)) > 1
            ranks[several + (len(covered) > 1)].append(number)
    return [number for rank in ranks.values() for number in _spread(rank)]


def _spread(numbers: list[int]) -> list[int]:
    """Return the same numbers in an order whose first few are far apart: 0, 1/2, 1/4, 3/4, 1/8 ... of the way."""
    reversed_bits = [int(f"{place:020b}"[::-1], 2) for place in range(len(numbers))]
    scattered = np.argsort(reversed_bits, kind="stable")
    return [numbers[place] for place in scattered]


def _spans(aligned: AlignedSentence) -> list[tuple[int, int]]:
    return list(zip(aligned.words.starts.tolist(), aligned.words.ends.tolist(), strict=True))


def _pointed(aligned: AlignedSentence, overlaps: Sequence[bool], in_answer: bool) -> dict[str, Any]:
    """Return the gold boxes of these words, and which regions cover them."""
    words = aligned.words
    rows = [row for row in np.flatnonzero(words.in_answer == in_answer).tolist() if overlaps[row]]
    covers = (words.position[rows] >= COVERING_IOU).any(axis=0)
    gold = dict.fromkeys(box for row in rows for box in aligned.gold_boxes(row))
    return {
        "points": bool(rows),
        "gold": [[round(value, 1) for value in box] for box in gold],
        "covers": np.flatnonzero(covers).tolist(),
    }


def _phrases(text: str, spans: Sequence[tuple[int, int]], known: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Return for each word those of its phrase: neighbours of the same gold boxes, with only space between them."""
    phrases: list[list[int]] = []
    for number, (start, _) in enumerate(spans):
        gold = known[number]["gold"]
        joins = gold and number and known[number - 1]["gold"] == gold and not text[spans[number - 1][1] : start].strip()
        phrases.append(phrases[-1] if joins else [])
        phrases[-1].append(number)
    return phrases


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> list[Any]:
    """Return the text cut at its words: strings, and numbers of words."""
    pieces: list[Any] = []
    last = 0
    for number, (start, end) in enumerate(spans):
        pieces += [text[last:start], number]
        last = end
    return [piece for piece in (*pieces, text[last:]) if piece != ""]


def _side_by_side(regions: RegionFeatures, configuration: dict[str, Any]) -> list[int]:
    """Return an order of the regions in which those of one class stand together, from left to right."""
    names = [each["name"] for each in named_regions(regions, configuration)]
    return sorted(range(len(names)), key=lambda row: (names[row], float(np.nan_to_num(regions.boxes_xyxy[row, 0]))))
