"""Which words are measured, and what a word of several pieces says."""

import numpy as np
import pytest
import torch

from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.probes.pointed_stores import covered_words, load_pointed_run, plain_maker, pointed_stores
from tests.training.small_runs import make_run
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.probes.pointed_words import pointed_batches, read_pointed
from training.weights.ours import load_run


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pointed")
    run, _ = load_pointed_run(folder / "run")
    with join(*pointed_stores(folder / "stores")) as shards:
        yield plain_maker(shards, run)


def test_words_their_pieces_and_their_regions_are_those_of_each_sentence_alone(maker):
    numbers = maker.shards.select()[::-1]
    pointed = read_pointed(maker, numbers)
    expected = list(covered_words(maker.shards, maker, numbers))
    assert pointed.rows.tolist() == [numbers.tolist().index(number) for number, _, _ in expected]
    for row, (_, places, covers) in enumerate(expected):
        assert pointed.pieces[row].nonzero()[:, 0].tolist() == places
        assert pointed.covers[row].nonzero()[:, 0].tolist() == np.flatnonzero(covers).tolist()
    assert {len(places) for _, places, _ in expected} == {2, 4}


def test_a_word_has_equal_shares_of_its_pieces(maker):
    pointed = read_pointed(maker, maker.shards.select())
    torch.testing.assert_close(pointed.pieces.sum(1), torch.ones(len(pointed.rows)))
    for shares in pointed.pieces:
        assert len(shares[shares > 0].unique()) == 1


def test_a_word_says_the_mean_of_its_pieces_and_padding_is_far_below(maker):
    pointed = read_pointed(maker, maker.shards.select())
    scores = torch.randn(*pointed.batch.input_ids.shape, pointed.batch.region_mask.shape[1]) - 1e6
    of_words = pointed.of_words(scores)
    for word, row in enumerate(pointed.rows.tolist()):
        places = pointed.pieces[word].nonzero()[:, 0]
        num_regions = int(pointed.batch.region_mask[row].sum())
        torch.testing.assert_close(of_words[word, :num_regions], scores[row, places, :num_regions].mean(0))
        assert (of_words[word, num_regions:] == torch.finfo(torch.float32).min).all()
        assert of_words[word].argmax() < num_regions
    assert (~pointed.batch.region_mask[pointed.rows]).any()


def test_scores_of_low_precision_are_averaged_in_float32(maker):
    pointed = read_pointed(maker, maker.shards.select()[:4])
    scores = torch.randn(*pointed.batch.input_ids.shape, pointed.batch.region_mask.shape[1]).bfloat16()
    assert pointed.of_words(scores).dtype == torch.float32
    torch.testing.assert_close(pointed.of_words(scores), pointed.of_words(scores.float()))


def one_sentence(tmp_path, words, *, max_pieces=16, **more):
    """Return what is pointed at in one sentence about an image of three regions."""
    spoken = Spoken(text="a man's hat on a dog", image_ids=["a"], words=words, **more)
    stores = join_stores(tmp_path / "stores", [[make_image("a", num_boxes=3)]], [[spoken]])
    run = load_run(make_run(tmp_path / "run", [spoken.text]))
    with join(*stores) as shards:
        return read_pointed(BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=max_pieces)), np.array([0]))


def word(says, *position, **more):
    return Word(says=says, position=position, semantic=[1.0] * 3, **more)


def test_only_words_that_a_region_covers_by_half_are_measured(tmp_path):
    pointed = one_sentence(
        tmp_path, [word("man's", 0.49, 0.4, 0.0), word("hat", 0.5, 0.4, 0.0), word("dog", 0.0, 0.7, 1.0)]
    )
    assert pointed.covers.tolist() == [[True, False, False], [False, True, True]]


def test_words_of_the_answer_are_not_measured(tmp_path):
    pointed = one_sentence(
        tmp_path, [word("hat", 0.0, 0.0, 1.0), word("dog", 1.0, 0.0, 0.0, in_answer=True)], answers={"dog": 1.0}
    )
    assert pointed.covers.tolist() == [[False, False, True]]


def test_words_beyond_the_limit_of_pieces_are_not_measured(tmp_path):
    words = [word("man's", 1.0, 0.0, 0.0), word("dog", 0.0, 1.0, 0.0)]
    pointed = one_sentence(tmp_path, words, max_pieces=7)
    assert pointed.covers.tolist() == [[True, False, False]]


def test_a_sentence_without_such_a_word_is_a_batch_of_none(tmp_path):
    pointed = one_sentence(tmp_path, [])
    assert (len(pointed.batch), pointed.rows.shape) == (1, (0,))
    assert (pointed.pieces.shape[0], pointed.covers.shape) == (0, (0, 3))
    assert pointed.of_words(torch.zeros(1, pointed.pieces.shape[1], 3)).shape == (0, 3)


def test_every_sentence_comes_once_and_batches_without_such_a_word_do_not(maker):
    numbers = maker.shards.select()
    expected = list(covered_words(maker.shards, maker, numbers))
    for batch_size in (1, 7, 100):
        batches = list(pointed_batches(maker, numbers, batch_size))
        ids = [each.batch.sentence_ids[row] for each in batches for row in each.rows.tolist()]
        assert sorted(ids) == sorted(maker.shards.read(number).sentence_id for number, _, _ in expected)
    alone = list(pointed_batches(maker, numbers, 1))
    assert len(alone) == len({number for number, _, _ in expected}) < len(numbers)


def test_it_moves_with_its_batch(maker):
    pointed = read_pointed(maker, maker.shards.select()[:3]).to(torch.device("meta"))
    for tensor in (pointed.batch.features, pointed.rows, pointed.pieces, pointed.covers):
        assert tensor.device.type == "meta"
