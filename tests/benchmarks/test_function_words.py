"""What function words cost: how often the semantic criterion alone finds a right region of a real detector.

Regions are a COCO-80 detector's 36 boxes with names for Flickr30k's photographs, sentences and gold boxes are Flickr30k
Entities'. A word, or a phrase as the mean of its words' rows, chooses its most similar region; right is one that
overlaps a gold box by half. Intervals are 95 % of 2000 bootstrap draws of photographs; differences are drawn in pairs.
"""

import json
import os
from collections import defaultdict
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from annotations.alignment.criteria import fit_to_regions, measure_criteria
from annotations.alignment.sentences import ImageRegions
from annotations.alignment.similarity_table import SimilarityTable
from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops
from annotations.vectors.lookup import read_word_vectors
from tests.benchmarks.scale import scaled

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))
DETECTIONS = DATA / "detections"
VECTORS = DATA / "vectors/glove.6B.50d.real_subset.txt"
ARMS = [(unit, function_words) for unit in ("word", "span", "best") for function_words in ("compared", "left-out")]
RIGHT_IOU = 0.5
NUM_DRAWS = scaled(full=2000, tiny=20)

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not (DETECTIONS / "flickr30k_dev.json").exists(), reason=f"{DETECTIONS} is not there"),
]


def layouts(sizes):
    """Return the detections of each image, and the 80 names."""
    categories = json.loads((DETECTIONS / "categories.json").read_text())
    rows = {each["id"]: row for row, each in enumerate(categories)}
    found = defaultdict(list)
    for each in json.loads((DETECTIONS / "flickr30k_dev.json").read_text()):
        found[str(each["image_id"])].append(each)
    images = {}
    for image_id, each in found.items():
        x, y, width, height = np.array([one["bbox"] for one in each], np.float32).T
        images[image_id] = ImageRegions(
            image_id=image_id,
            width=sizes[image_id][0],
            height=sizes[image_id][1],
            boxes_xyxy=np.stack([x, y, x + width, y + height], axis=1),
            class_ids=np.array([rows[one["category_id"]] for one in each], np.int32),
            attribute_ids=np.full(len(each), -1, np.int32),
        )
    return images, [each["name"] for each in categories]


@pytest.fixture(scope="module")
def photographs():
    """Sentences by photograph, the regions of all, and the detector's names."""
    data_set, drops = DATA_SETS["flickr30k-entities"], Drops(strict=True)
    sentences = list(data_set.read_sentences(DATA / "flickr30k_entities", drops=drops))
    sizes = {each.image_ids[0]: (each.images[0].width, each.images[0].height) for each in sentences}
    images, names = layouts(sizes)
    return [fit_to_regions(each, [images[each.image_ids[0]]]) for each in sentences], images, names


def phrases_of(aligned):
    """Yield the rows of the words of each phrase with a box."""
    for pointer in aligned.sentence.pointers:
        rows = np.flatnonzero((aligned.words.starts >= pointer.start) & (aligned.words.ends <= pointer.end))
        if pointer.boxes_xyxy and len(rows):
            yield rows


def is_right(semantic, position):
    """Return whether the most similar region is right; of equal ones the detector's strongest is taken."""
    return bool(position[semantic.argmax()] >= RIGHT_IOU)


def measured(photographs, vectors, unit, function_words):
    """Return for each photograph: words with a row and right, all words and right, phrases and right."""
    sentences, images, names = photographs
    table = SimilarityTable(vectors, classes=names, attributes=[])
    figures = []
    for _, group in groupby(sentences, key=lambda each: each.image_ids[0]):
        counts = np.zeros(5)
        aligned = measure_criteria(list(group), images, table, unit=unit, function_words=function_words)
        for each in aligned:
            words = each.words
            for row in range(len(words)):
                right = is_right(words.semantic[row].astype(np.float32), words.position[row])
                counts[:2] += (not words.oov[row], right * (not words.oov[row]))
            for rows in phrases_of(each):
                semantic = words.semantic[rows].astype(np.float32).mean(axis=0)
                counts[2:4] += 1, is_right(semantic, words.position[rows[0]])
                counts[4] += not words.oov[rows].all()
        figures.append(counts)
    return np.array(figures)


def shares(figures, draws):
    """Return float [draws, 2]: of words with a row, and of phrases, the share that finds a right region."""
    totals = figures[draws].sum(axis=1)
    return np.stack([totals[:, 1] / totals[:, 0], totals[:, 3] / totals[:, 2]], axis=1)


def test_words_and_phrases_find_regions_by_their_names(photographs):
    vectors = read_word_vectors(VECTORS, drops=Drops())
    found = {arm: measured(photographs, vectors, *arm) for arm in ARMS}
    num_photographs = len(found[ARMS[0]])
    rng = np.random.default_rng(0)
    draws = rng.integers(0, num_photographs, (NUM_DRAWS, num_photographs))
    everything = np.arange(num_photographs)[None]
    base = shares(found[ARMS[0]], draws)
    print(f"\n{num_photographs} photographs, {found[ARMS[0]][:, 2].sum():.0f} phrases")
    for arm in ARMS:
        mean, drawn = shares(found[arm], everything)[0], shares(found[arm], draws)
        told = []
        for i, name in enumerate(("words", "phrases")):
            low, high = 100 * np.quantile(drawn[:, i], (0.025, 0.975))
            less, more = 100 * np.quantile(drawn[:, i] - base[:, i], (0.025, 0.975))
            told.append(f"{name} {100 * mean[i]:.1f} [{low:.1f}, {high:.1f}], {less:+.1f} to {more:+.1f} more")
        print(f"  {arm[0]}, function words {arm[1]}: {'; '.join(told)}; {found[arm][:, 0].sum():.0f} words with a row")
