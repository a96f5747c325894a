"""What is hidden: a share of all, of which 80 % is blanked, 10 % exchanged and 10 % left.

Bounds are five standard deviations of a binomial, from fixed seeds.
"""

import numpy as np
import pytest

from training.data.masking import choose_regions, mask_pieces

MASK, ORDINARY = 4, np.arange(5, 30_000)
SIZE = 100_000


def about(count, of, share):
    return abs(count - of * share) < 5 * np.sqrt(of * share * (1 - share))


def test_pieces_are_asked_for_and_hidden_by_the_shares():
    ids = np.random.default_rng(1).integers(100, 200, SIZE)
    hidden, positions = mask_pieces(ids, 0.15, np.random.default_rng(0), mask_id=MASK, ordinary_ids=ORDINARY)
    asked = len(positions)
    assert about(asked, SIZE, 0.15)
    assert about((hidden[positions] == MASK).sum(), asked, 0.8)
    assert about((hidden[positions] == ids[positions]).sum(), asked, 0.1)
    exchanged = positions[(hidden[positions] != MASK) & (hidden[positions] != ids[positions])]
    assert about(len(exchanged), asked, 0.1)
    assert np.isin(hidden[exchanged], ORDINARY).all()
    assert len(set(hidden[exchanged].tolist())) > 1000
    others = np.setdiff1d(np.arange(SIZE), positions)
    assert (hidden[others] == ids[others]).all()


def test_masking_leaves_what_it_was_given():
    ids = np.arange(100, 200)
    mask_pieces(ids, 1.0, np.random.default_rng(0), mask_id=MASK, ordinary_ids=ORDINARY)
    assert ids.tolist() == list(range(100, 200))


def test_regions_are_asked_for_and_hidden_by_the_shares():
    asked, blanked, exchanged = choose_regions(SIZE, 0.15, np.random.default_rng(0))
    assert about(len(asked), SIZE, 0.15)
    assert about(len(blanked), len(asked), 0.8)
    assert about(len(exchanged), len(asked), 0.1)
    assert set(blanked.tolist()) | set(exchanged.tolist()) < set(asked.tolist())
    assert not set(blanked.tolist()) & set(exchanged.tolist())


@pytest.mark.parametrize(("share", "asked"), [(0.0, 0), (1.0, 50)])
def test_none_or_all_may_be_asked_for(share, asked):
    ids = np.arange(100, 150)
    _, positions = mask_pieces(ids, share, np.random.default_rng(0), mask_id=MASK, ordinary_ids=ORDINARY)
    assert len(positions) == len(choose_regions(50, share, np.random.default_rng(0))[0]) == asked


def test_nothing_can_be_hidden_of_nothing():
    hidden, positions = mask_pieces(
        np.empty(0, np.int64), 0.5, np.random.default_rng(0), mask_id=MASK, ordinary_ids=ORDINARY
    )
    assert (len(hidden), len(positions)) == (0, 0)
    assert [len(each) for each in choose_regions(0, 0.5, np.random.default_rng(0))] == [0, 0, 0]
