"""Which sentences come when: known from the seed alone, each once an epoch, whatever the ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.order import OrderError, TrainingOrder, evaluation_batches, parts_of_rank


def make_order(num_sentences=1000, *, batch_size=16, seed=3, lengths=None):
    if lengths is None:
        lengths = np.random.default_rng(0).integers(10, 120, size=num_sentences)
    numbers = np.arange(num_sentences, dtype=np.int64) + 7
    return TrainingOrder(sentences=numbers, lengths=np.asarray(lengths, np.int32), batch_size=batch_size, seed=seed)


def epoch_of(order, epoch):
    first = epoch * order.batches_per_epoch
    return np.concatenate([order.batch(step) for step in range(first, first + order.batches_per_epoch)])


def test_an_order_is_known_from_its_seed():
    steps = [0, 61, 62, 200]
    for step in steps:
        assert make_order().batch(step).tolist() == make_order().batch(step).tolist()
    assert epoch_of(make_order(), 0).tolist() != epoch_of(make_order(seed=4), 0).tolist()
    assert epoch_of(make_order(), 0).tolist() != epoch_of(make_order(), 1).tolist()


def test_a_step_is_the_same_whatever_was_asked_before():
    order, straight = make_order(), make_order()
    in_sequence = [straight.batch(step).tolist() for step in range(130)]  # more than two epochs
    assert [order.batch(step).tolist() for step in (129, 0, 61, 62, 5)] == [
        in_sequence[step] for step in (129, 0, 61, 62, 5)
    ]


@settings(deadline=None, max_examples=60)
@given(
    num_sentences=st.integers(1, 700), batch_size=st.integers(1, 40), seed=st.integers(0, 9), epoch=st.integers(0, 3)
)
def test_every_epoch_has_each_sentence_at_most_once_and_leaves_out_less_than_a_batch(
    num_sentences, batch_size, seed, epoch
):
    batch_size = min(batch_size, num_sentences)
    order = make_order(num_sentences, batch_size=batch_size, seed=seed)
    seen = epoch_of(order, epoch)
    assert len(set(seen.tolist())) == len(seen) == num_sentences - num_sentences % batch_size
    assert set(seen.tolist()) <= set(range(7, 7 + num_sentences))


def test_sentences_that_one_epoch_leaves_out_come_in_others():
    order = make_order(1007)
    left_out = set(range(7, 1014)) - set(epoch_of(order, 0).tolist())
    assert len(left_out) == 15
    assert left_out <= set(epoch_of(order, 1).tolist()) | set(epoch_of(order, 2).tolist())


def test_neighbours_of_a_shard_are_spread_over_the_epoch():
    order = make_order(10_000, batch_size=10)
    place = {number: place for place, number in enumerate(epoch_of(order, 0).tolist())}
    places = np.array([place[number + 7] for number in range(10_000)])
    assert np.abs(np.diff(places)).mean() > 3000  # a third of the epoch is what chance gives
    assert abs(np.corrcoef(places, np.arange(10_000))[0, 1]) < 0.05


def test_batches_are_of_like_lengths_but_come_in_any_order():
    order = make_order(6400, batch_size=16)
    lengths = dict(zip(order.sentences.tolist(), order.lengths.tolist(), strict=True))
    batches = [[lengths[number] for number in order.batch(step).tolist()] for step in range(order.batches_per_epoch)]
    shuffled = np.random.default_rng(1).permutation(order.lengths).reshape(-1, 16)
    assert padding_of(batches) < 0.04
    assert padding_of(shuffled) > 0.35
    longest = np.array([max(batch) for batch in batches])
    assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.15


def padding_of(batches):
    """Return the share of a padded batch that is padding."""
    widths = [max(batch) * len(batch) for batch in batches]
    return 1 - sum(map(sum, batches)) / sum(widths)


def test_sentences_of_one_length_are_shuffled_too():
    order = make_order(640, batch_size=16, lengths=np.full(640, 30))
    assert np.abs(np.diff(epoch_of(order, 0))).mean() > 150


@settings(deadline=None, max_examples=100)
@given(num_ranks=st.integers(1, 8), accumulation=st.integers(1, 5), each=st.integers(1, 6))
def test_ranks_share_a_step_without_overlap(num_ranks, accumulation, each):
    batch_size = num_ranks * accumulation * each
    parts = [
        part
        for rank in range(num_ranks)
        for part in parts_of_rank(batch_size, rank=rank, num_ranks=num_ranks, accumulation=accumulation)
    ]
    assert [len(part) for part in parts] == [each] * (num_ranks * accumulation)
    assert sorted(np.concatenate(parts).tolist()) == list(range(batch_size))


def test_parts_are_the_same_for_equally_many_in_all():
    def parts(num_ranks, accumulation):
        return {
            tuple(part.tolist())
            for rank in range(num_ranks)
            for part in parts_of_rank(24, rank=rank, num_ranks=num_ranks, accumulation=accumulation)
        }

    assert parts(1, 4) == parts(2, 2) == parts(4, 1)


def test_a_batch_that_can_not_be_divided_is_refused():
    with pytest.raises(OrderError, match="batch size 10 cannot be divided among 2 workers in 2 parts each"):
        parts_of_rank(10, rank=0, num_ranks=2, accumulation=2)


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_size_that_no_step_can_have_is_refused(batch_size):
    with pytest.raises(OrderError, match=f"batch size {batch_size} of 10 sentences; expected from 1 to that number"):
        make_order(10, batch_size=batch_size)


def test_evaluation_takes_each_sentence_once_by_length():
    batches = evaluation_batches(np.array([10, 11, 12, 13, 14]), np.array([9, 2, 5, 2, 7], np.int32), 2)
    assert [batch.tolist() for batch in batches] == [[11, 13], [12, 14], [10]]
