"""Joins Visual Genome's region descriptions into sentences with one, two or three pointers.

Source: Kervadec et al., ECAI 2020, which pre-trains on such sentences; the shares and the order are ours.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from annotations.boxes import pairwise_iou
from annotations.guards.drops import Drops
from annotations.records import Box, Pointer, Sentence

SHARES = (1 / 3, 1 / 3, 1 / 3)
"""Shares of sentences with one, two and three descriptions."""

MAX_IOU = 0.7
"""Two regions with the same words that overlap more are one region, described twice."""

JOINT = " and "

_PUNCTUATION = ".,;:!?"


def merge_descriptions(
    sentences: Sequence[Sentence],
    *,
    seed: int,
    drops: Drops,
    shares: Sequence[float] = SHARES,
    max_iou: float = MAX_IOU,
) -> list[Sentence]:
    """Return the region descriptions of one image joined by "and", and after them the other sentences as they were.

    Descriptions lose their final punctuation and capitals; those that repeat another at the same place are left out.
    They are drawn in an order that depends on the seed and the image's id alone. All pointers of a description stay on
    its words; the joining "and" has none.

    Args:
        sentences: of one image; those whose `details` say `kind: region` are descriptions.
        shares: of sentences with one, two, three ... descriptions; the last of an image may have fewer.

    Raises:
        ValueError: shares that are negative or sum to nothing.
    """
    if not shares or min(shares) < 0 or sum(shares) <= 0:
        raise ValueError(f"shares are {tuple(shares)}, expected some that are not negative, and one above 0")
    descriptions = [each for each in sentences if each.details.get("kind") == "region"]
    others = [each for each in sentences if each.details.get("kind") != "region"]
    if not descriptions:
        return others
    rng = np.random.default_rng(_seed(seed, descriptions[0].images[0].image_id))
    plain = list(_plain(descriptions, max_iou, drops))
    shuffled = [plain[number] for number in rng.permutation(len(plain))]
    merged = []
    while shuffled:
        count = 1 + int(rng.choice(len(shares), p=np.array(shares) / sum(shares)))
        merged.append(_joined(shuffled[:count]))
        shuffled = shuffled[count:]
    return merged + others


def _plain(descriptions: Sequence[Sentence], max_iou: float, drops: Drops) -> Iterator[Sentence]:
    """Yield the descriptions in lower case and without final punctuation, those that say nothing new left out."""
    boxes_of: dict[str, list[Box]] = {}
    for each in descriptions:
        plain = _without_dress(each)
        where = f"{each.source}, sentence {each.sentence_id!r}: {each.text!r}"
        if plain is None:
            drops.add("description: no words", where)
            continue
        boxes = [box for pointer in plain.pointers for box in pointer.boxes_xyxy][:1]  # the region's, then its objects'
        earlier = boxes_of.setdefault(plain.text, [])
        if boxes and earlier and pairwise_iou(boxes, earlier).max() > max_iou:
            drops.add("description: repeats another at the same place", where)
            continue
        earlier += boxes
        yield plain


def _without_dress(sentence: Sentence) -> Sentence | None:
    """Return the sentence in lower case, single-spaced and without final punctuation; None if nothing is left."""
    end = len(sentence.text)
    while end and (sentence.text[end - 1] in _PUNCTUATION or sentence.text[end - 1].isspace()):
        end -= 1
    # Character by character, since a capital may become two small letters: where each of the old ones is in the new.
    places: list[int] = []
    characters: list[str] = []
    length = 0
    for character in sentence.text[:end]:
        places.append(length)
        small = " " if character.isspace() else character.lower()
        if small == " " and (not characters or characters[-1] == " "):
            continue
        characters.append(small)
        length += len(small)
    places += [length] * (len(sentence.text) + 1 - end)
    text = "".join(characters)
    if not text.strip():
        return None
    pointers = (replace(each, start=places[each.start], end=places[each.end]) for each in sentence.pointers)
    return replace(sentence, text=text, pointers=tuple(each for each in pointers if each.start < each.end))


def _joined(group: Sequence[Sentence]) -> Sentence:
    pointers: list[Pointer] = []
    start = 0
    for each in group:
        pointers += (
            replace(pointer, start=start + pointer.start, end=start + pointer.end) for pointer in each.pointers
        )
        start += len(each.text) + len(JOINT)
    region_ids = [each.details.get("region_id", each.sentence_id) for each in group]
    return replace(
        group[0],
        sentence_id="+".join(each.sentence_id for each in group),
        text=JOINT.join(each.text for each in group),
        pointers=tuple(pointers),
        details={"kind": "merged", "region_ids": region_ids},
    )


def _seed(seed: int, image_id: str) -> list[int]:
    digest = hashlib.sha256(image_id.encode(errors="surrogatepass")).digest()
    return [seed, int.from_bytes(digest[:8], "little")]
