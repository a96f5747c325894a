"""Clusters against modalities: worked numbers, what must hold of any states, and scikit-learn where it is installed."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.probes.modality_clusters import mutual_information, two_clusters

AVERAGES = ("arithmetic", "geometric", "max")


def information(one, other, there=None):
    """Return the three variants of one pair's labels."""
    labels = [torch.tensor([each], dtype=torch.bool) for each in (one, other)]
    found = mutual_information(*labels, torch.ones_like(labels[0]) if there is None else torch.tensor([there]))
    return tuple(float(getattr(found, name)) for name in AVERAGES)


def states(*, apart, seed=0, num_pieces=20, num_regions=36, size=16):
    """Return states [1, T, E] of normal draws, regions so far from words; and which are words."""
    drawn = torch.randn(1, num_pieces + num_regions, size, generator=torch.Generator().manual_seed(seed))
    is_text = torch.arange(num_pieces + num_regions)[None] < num_pieces
    return drawn + apart * (~is_text)[:, :, None], is_text


def nmi(states_BTE, is_text_BT):
    there_BT = torch.ones_like(is_text_BT)
    return float(mutual_information(two_clusters(states_BTE, there_BT), is_text_BT, there_BT).arithmetic.mean())


def inertia(points, labels):
    return sum(((points[labels == each] - points[labels == each].mean(0)) ** 2).sum() for each in np.unique(labels))


def test_the_worked_labels():
    found = information([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1])
    assert found == pytest.approx((0.478704, 0.479138, 0.459148), abs=1e-6)


def test_equal_labels_share_all_opposite_ones_too_and_a_single_label_nothing():
    assert information([0, 0, 1], [0, 0, 1]) == pytest.approx((1, 1, 1))
    assert information([0, 0, 1], [1, 1, 0]) == pytest.approx((1, 1, 1))
    assert information([0, 0, 1], [0, 0, 0]) == (0, 0, 0)
    assert information([0, 1, 0, 1], [0, 0, 1, 1]) == pytest.approx((0, 0, 0), abs=1e-12)


def test_labels_of_padding_do_not_count():
    there = [True] * 6 + [False] * 2
    found = information([0, 0, 0, 1, 1, 1, 0, 1], [0, 0, 1, 1, 1, 1, 1, 0], there)
    assert found == pytest.approx((0.478704, 0.479138, 0.459148), abs=1e-6)


def test_well_separated_states_are_told_apart_and_those_of_one_distribution_hardly():
    assert nmi(*states(apart=8)) == pytest.approx(1)
    found = np.mean([nmi(*states(apart=0, seed=seed)) for seed in range(200)])
    assert 0.01 < found < 0.03


def test_clusters_depend_on_neither_batch_nor_padding_nor_places_of_it():
    drawn, _ = states(apart=1, num_pieces=5, num_regions=7)
    alone = two_clusters(drawn, torch.ones(1, 12, dtype=torch.bool))[0]
    places = torch.tensor([0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14])
    padded = torch.full((2, 17, 16), 1e6)
    padded[1, places] = drawn[0]
    there = torch.zeros(2, 17, dtype=torch.bool)
    there[0], there[1, places] = True, True
    padded[0] = torch.randn(17, 16)
    found = two_clusters(padded, there)[1]
    assert torch.equal(found[places], alone)
    assert not found[~there[1]].any()


@given(seed=st.integers(0, 10**6), size=st.integers(2, 30), apart=st.floats(0, 3))
def test_every_place_is_in_the_cluster_whose_mean_is_nearer(seed, size, apart):
    drawn, _ = states(apart=apart, seed=seed, num_pieces=size // 2, num_regions=size - size // 2, size=3)
    labels = two_clusters(drawn, torch.ones(1, size, dtype=torch.bool))[0].numpy()
    points = drawn[0].double().numpy()
    assert 0 < labels.sum() < size
    distances = [((points - points[labels == each].mean(0)) ** 2).sum(1) for each in (0, 1)]
    assert (distances[0] <= distances[1] + 1e-9)[~labels].all()
    assert (distances[1] <= distances[0] + 1e-9)[labels].all()


def test_states_that_are_all_alike_or_a_single_one_are_one_cluster():
    there = torch.ones(1, 4, dtype=torch.bool)
    assert two_clusters(torch.ones(1, 4, 3), there).sum() in (0, 4)
    assert two_clusters(torch.ones(1, 4, 3), there & (torch.arange(4) == 2)).sum() in (0, 1)


@pytest.mark.parametrize("average", AVERAGES)
def test_the_variants_are_scikit_learns(average):
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn to compare with")
    rng = np.random.default_rng(0)
    for size in (7, 10, 56):
        one, other = rng.integers(0, 2, (2, size))
        expected = metrics.normalized_mutual_info_score(one, other, average_method=average)
        assert information(one.tolist(), other.tolist())[AVERAGES.index(average)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("apart", [0, 0.5, 1, 3])
def test_clusters_are_as_tight_as_scikit_learns(apart):
    cluster = pytest.importorskip("sklearn.cluster", reason="needs scikit-learn to compare with")
    for seed in range(10):
        drawn, _ = states(apart=apart, seed=seed)
        points = drawn[0].double().numpy()
        ours = two_clusters(drawn, torch.ones(drawn.shape[:2], dtype=torch.bool))[0].numpy()
        theirs = cluster.KMeans(2, n_init=10, random_state=0).fit(points)
        assert inertia(points, ours) <= 1.01 * theirs.inertia_
        if apart == 3:
            assert (ours == theirs.labels_).all() or (ours != theirs.labels_).all()
