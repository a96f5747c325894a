"""What is counted of a source's sentences, and which of them a page shows."""

from collections import Counter

import numpy as np
import pytest

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.records import Pointer, Sentence, SentenceImage
from pipeline.care.sentence_shards import shards_of_sources, source_of
from pipeline.pages.survey import Place, Survey, choose_places, survey_source
from stores.catalog import STORES
from stores.manifest import Manifest, ShardEntry, describe_shard, write_manifest
from stores.sentence_reading import open_sentences


def place(row, *, coverage=1.0, disagreement=0.0, image=None, points=True):
    return Place(
        shard=0,
        row=row,
        image_ids=(image or f"image {row}",),
        points=points,
        coverage=coverage,
        disagreement=disagreement,
    )


def chosen(count, *places):
    survey = Survey(
        name="one",
        counts={},
        places=places,
        num_words=0,
        num_covered=0,
        num_oov=0,
        oov=Counter(),
        iou=(),
        entropy={},
    )
    return [each.row for each in choose_places(survey, count)]


def test_a_page_shows_the_least_covered_those_in_disagreement_and_others_between():
    plain = [place(row) for row in range(100)]
    plain[13] = place(13, coverage=0.1)
    plain[14] = place(14, disagreement=0.9)
    rows = chosen(4, *plain)
    assert {13, 14} < set(rows)
    assert len(rows) == 4
    assert rows == sorted(rows)


def test_one_picture_is_not_shown_twice_for_the_same_fault():
    faults = [place(row, coverage=0.0, image="same") for row in range(10)]
    others = [place(row, coverage=0.5) for row in range(10, 20)]
    # 0 and 10 are the least covered of two pictures, 11 and 12 disagree as much as any; the others are spread.
    assert chosen(8, *faults, *others) == [0, 3, 7, 10, 11, 12, 14, 18]


def test_sentences_that_point_at_nothing_only_fill_up():
    mute = [place(row, points=False) for row in range(10)]
    pointing = [place(10), place(11)]
    assert chosen(2, *mute, *pointing) == [10, 11]
    assert chosen(4, *mute, *pointing) == [2, 7, 10, 11]
    assert chosen(99, *mute, *pointing) == list(range(12))
    assert chosen(0, *mute, *pointing) == []


def test_a_survey_counts_words_over_regions_that_are_there(tmp_path):
    sentence = Sentence(
        sentence_id="1",
        images=(SentenceImage(image_id="a"), SentenceImage(image_id="b")),
        text="wug dog",
        source="pairs",
        split="val",
        pointers=(
            Pointer(start=0, end=3, boxes_xyxy=((0, 0, 1, 1),), image=0),
            Pointer(start=4, end=7, boxes_xyxy=((0, 0, 1, 1),), image=1),
        ),
    )
    aligned = AlignedSentences(
        sentences=[sentence],
        num_boxes=[(1, 4)],
        words=PointedWords(
            starts=np.array([0, 4], np.int32),
            ends=np.array([3, 7], np.int32),
            images=np.array([0, 1], np.int32),
            in_answer=np.zeros(2, bool),
            oov=np.array([True, False]),
            position=np.array([[0.25, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], np.float16),
            semantic=np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.float16),
        ),
        word_offsets=np.array([0, 2]),
    )
    path = tmp_path / "shard-00-pairs-00000.arrow"
    rows = STORES["arrow"].write_sentences(path, [aligned], configuration={})
    write_manifest(
        tmp_path, Manifest(content="sentences", store="arrow", configuration={}, shards=(describe_shard(path, rows),))
    )
    with open_sentences(tmp_path) as sentences:
        survey = survey_source("pairs", sentences, [0])
    assert (survey.num_words, survey.num_covered, survey.num_oov, survey.oov) == (2, 1, 1, Counter(wug=1))
    assert survey.iou == (0, 0, 1, 0, 0, 1, 0, 0, 0, 0)
    # The first word's image has one region, which leaves nothing open; the second's has four alike, which leave 2 bits.
    assert survey.entropy["code"] == (1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    assert [(each.points, each.coverage, each.disagreement) for each in survey.places] == [(True, 0.25, 0.0)]


def test_a_source_without_a_sentence_has_an_empty_survey(tmp_path):
    path = tmp_path / "shard-00-none-00000.arrow"
    rows = STORES["arrow"].write_sentences(path, [], configuration={})
    write_manifest(
        tmp_path, Manifest(content="sentences", store="arrow", configuration={}, shards=(describe_shard(path, rows),))
    )
    with open_sentences(tmp_path) as sentences:
        survey = survey_source("none", sentences, [0])
    assert (survey.num_words, survey.places) == (0, ())
    assert choose_places(survey, 3) == []


def test_shards_belong_to_the_source_in_their_name():
    names = ["shard-00-gqa-00000.arrow", "shard-01-vqa-v2-00000.lmdb", "shard-02-vqa-v2-00000.arrow"]
    entries = tuple(ShardEntry(name=name, rows=0, bytes=0, sha256="") for name in (*names, "shard-00-gqa-00001.arrow"))
    manifest = Manifest(content="sentences", store="arrow", configuration={}, shards=entries)
    assert shards_of_sources(manifest) == {"gqa": [0, 3], "1 vqa-v2": [1], "2 vqa-v2": [2]}
    assert source_of("shard-11-visual-genome-00012.arrow") == (11, "visual-genome")
    with pytest.raises(ValueError, match=r"'shard-00000\.arrow' was found in a store of sentences"):
        source_of("shard-00000.arrow")
