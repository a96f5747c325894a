"""Phrases against regions, by a classifier: which pieces a phrase is, what is scored, and what counts.

Axes: P phrases, R regions.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from tests.training.builders import make_batch, make_outputs
from training.batch import Grounding
from training.objectives.phrase_grounding import PhraseGrounding, is_whole_image, pieces_of_phrases


def phrases(spans, *, rows=None, gold=None):
    gold = torch.ones(len(spans), 6, dtype=torch.bool) if gold is None else torch.tensor(gold)
    starts, ends = torch.tensor(spans).unbind(1)
    return Grounding(rows=torch.tensor(rows or [0] * len(spans)), starts=starts, ends=ends, gold=gold)


def build(*, classifier_size=5, shifted=False, whole_image=False):
    torch.manual_seed(0)
    head = PhraseGrounding(8, classifier_size=classifier_size, shifted=shifted, whole_image=whole_image)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return head.double()


def pieces_told_by_tags(tags):
    """A reading of tags, which number a piece's region and are 0 for none: runs of one tag, as (start, end)."""
    changes = [i for i in range(len(tags) + 1) if i in (0, len(tags)) or tags[i] != tags[i - 1]]
    return [(start, end) for start, end in pairwise(changes) if start < end and tags[start]]


@pytest.mark.parametrize(
    ("tags", "correct", "shifted"),
    [
        ((0, 0, 3, 3, 0, 5, 0, 0), [(2, 4), (5, 6)], [(4, 6), (6, 7)]),
        ((0, 3, 3, 5, 0, 0), [(1, 3), (3, 4)], [(3, 5), (4, 5)]),
    ],
)
def test_shifted_phrases_are_the_pieces_that_follow(tags, correct, shifted):
    assert pieces_told_by_tags(tags) == correct
    grounding, text_mask = phrases(correct), torch.ones(1, len(tags), dtype=torch.bool)
    for spans, found in (
        (correct, pieces_of_phrases(grounding, text_mask)),
        (shifted, pieces_of_phrases(grounding, text_mask, shifted=True)),
    ):
        assert [each.nonzero()[:, 0].tolist() for each in found] == [list(range(*span)) for span in spans]


def test_a_shifted_phrase_ends_with_its_sentence_at_the_latest():
    text_mask = torch.arange(8) < 6
    found = pieces_of_phrases(phrases([(1, 5)]), text_mask[None], shifted=True)
    assert found[0].nonzero()[:, 0].tolist() == [5]


def test_a_phrase_is_the_maximum_over_its_pieces():
    batch, head = make_batch(), build(classifier_size=0)
    outputs = make_outputs(batch, dtype=torch.float64)
    grounding = phrases([(1, 3), (2, 6), (3, 4)], rows=[0, 1, 1])
    scores = head.scores(outputs, batch, grounding)
    for p, (row, start, end) in enumerate([(0, 1, 3), (1, 2, 6), (1, 3, 4)]):
        phrase = outputs.text[row, start:end].max(0).values
        expected = head.phrase(phrase) + outputs.regions[row] @ head.region.weight[0]
        assert torch.allclose(scores[p], expected, rtol=0, atol=1e-12)


def test_the_hidden_layer_sees_phrase_and_region_side_by_side():
    batch, head = make_batch(), build()
    outputs = make_outputs(batch, dtype=torch.float64)
    scores = head.scores(outputs, batch, phrases([(2, 3)], rows=[1]))
    weight = torch.cat([head.phrase.weight, head.region.weight], 1)
    for region in range(6):
        both = torch.cat([outputs.text[1, 2], outputs.regions[1, region]])
        expected = head.decoder((weight @ both + head.phrase.bias).relu())
        assert scores[0, region].item() == pytest.approx(expected.item(), abs=1e-12)


def test_a_linear_classifier_ranks_the_regions_alike_for_every_phrase_and_one_with_a_hidden_layer_does_not():
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64)
    grounding = phrases([(1, 3), (3, 4), (4, 5), (5, 6)], rows=[1] * 4)
    orders = build(classifier_size=0).scores(outputs, batch, grounding).argsort(1)
    assert (orders == orders[0]).all()
    orders = build(classifier_size=32).scores(outputs, batch, grounding).argsort(1)
    assert not (orders == orders[0]).all()


def test_the_loss_is_the_mean_over_all_phrases_and_regions_that_are_there():
    batch, head = make_batch(), build()
    outputs = make_outputs(batch, dtype=torch.float64)
    scores = head.scores(outputs, batch, batch.grounding).detach().numpy()
    losses = [
        -np.log(expit(score if gold else -score))
        for row, gold_R, scores_R in zip(batch.grounding.rows.tolist(), batch.grounding.gold, scores, strict=True)
        for gold, score in list(zip(gold_R, scores_R, strict=True))[: int(batch.region_mask[row].sum())]
    ]
    assert len(losses) == 4 + 6 + 3 + 4
    assert head(outputs, batch, batch.grounding).item() == pytest.approx(np.mean(losses), abs=1e-12)


@pytest.mark.parametrize("whole_image", [False, True])
def test_a_region_that_is_the_whole_image_is_left_out_unless_it_is_asked_for(whole_image):
    batch, head = make_batch(num_regions=[4] * 3), build(whole_image=whole_image)
    batch.boxes[:, 0] = torch.tensor([0.0, 0, 1, 1])
    batch.boxes[:, 1] = torch.tensor([0.0, 0, 1, 0.99])
    assert is_whole_image(batch.boxes).tolist() == [[True, False, False, False]] * 3
    outputs = make_outputs(batch, dtype=torch.float64)
    gold = [[True, False, True, False], [True, False, False, False], [False, True, False, False]]
    grounding = phrases([(1, 3), (1, 2), (2, 3)], rows=[0, 1, 2], gold=gold)
    head(outputs, batch, grounding).backward()
    reached = [[whole_image, True, True, True], [whole_image] * 4, [whole_image, True, True, True]]
    assert outputs.regions.grad.any(2).tolist() == reached


def test_a_phrase_that_nothing_shows_counts_for_nothing():
    batch, head = make_batch(), build()
    outputs = make_outputs(batch, dtype=torch.float64)
    shown = phrases([(1, 3)], gold=[[True, False, False, True, False, False]])
    both = phrases([(1, 3), (2, 4)], gold=[[True, False, False, True, False, False], [False] * 6])
    assert head(outputs, batch, both).item() == pytest.approx(head(outputs, batch, shown).item(), abs=1e-12)
    assert head(outputs, batch, replace(both, gold=torch.zeros_like(both.gold))) == 0


@settings(max_examples=20, deadline=None)
@given(
    spans=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=4),
    length=st.integers(1, 10),
)
def test_a_phrase_has_its_own_pieces_as_far_as_the_sentence_has_them(spans, length):
    spans = [(start, start + size) for start, size in spans]
    found = pieces_of_phrases(phrases(spans), (torch.arange(10) < length)[None])
    for (start, end), pieces in zip(spans, found, strict=True):
        assert pieces.nonzero()[:, 0].tolist() == list(range(start, min(end, length)))
