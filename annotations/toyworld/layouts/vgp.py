"""Writes paraphrase pairs as VGP-Typology has them: phrases of two captions that name one thing, and how they relate.

A toy world's captions are true, so no pair is an Alternation, where one phrase excludes the other.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from annotations.toyworld.layouts.json_files import write_lines
from annotations.toyworld.marked_text import MarkedText
from annotations.toyworld.paraphrases import relate, without_article
from annotations.toyworld.scene import Scene

COLUMNS = ("image", "phrase1", "phrase2", "original_phrase1", "original_phrase2", "original_label", "type_label")
LABELS = ("Alternation", "Entailment1", "Entailment2", "Equivalence", "Independence")
_NAMES = {"train": "train", "val": "dev", "test": "test"}


def write_vgp_files(folder: Path, scenes: Sequence[Scene], captions: Mapping[int, Sequence[MarkedText]]) -> None:
    """Write `{train,dev,test}_data.csv` into the folder."""
    for split, name in _NAMES.items():
        rows = [
            (str(scene.image_id), *pair)
            for scene in scenes
            if scene.split_of_three == split
            for pair in _pairs(captions[scene.image_id])
        ]
        write_lines(folder / f"{name}_data.csv", map(_line, (COLUMNS, *rows)))


def _pairs(captions: Sequence[MarkedText]) -> Iterator[tuple[str, ...]]:
    """Yield the last six columns; each pair of phrases that differ in more than the article once."""
    seen: set[tuple[tuple[int, ...], str, str]] = set()
    for first, second in combinations(captions, 2):
        for one in first.mentions:
            for other in second.mentions:
                original = first.words_of(one), second.words_of(other)
                phrases = without_article(original[0]), without_article(original[1])
                is_new = not {(one.objects, *phrases), (one.objects, phrases[1], phrases[0])} & seen
                if one.objects == other.objects and len(one.objects) == 1 and phrases[0] != phrases[1] and is_new:
                    seen.add((one.objects, *phrases))
                    label = relate(*original)
                    yield (*phrases, *original, label, str(LABELS.index(label)))


def _line(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row)
    return line.getvalue()
