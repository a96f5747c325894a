"""Answers that keep, in another table, what was learnt of them."""

import pytest
import torch

from training.models.heads import AnswerHead
from training.tasks.transfer import answer_key, transfer_answers


def head_of(num_answers, *, size=6, hidden=8, seed=0):
    torch.manual_seed(seed)
    head = AnswerHead(size, hidden, num_answers)
    torch.nn.init.normal_(head.norm.weight)
    torch.nn.init.normal_(head.norm.bias)
    return head


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("A Grey.", "gray"),
        ("two", "2"),
        ("the dog", "dog"),
        ("an apple", "Apple"),
        ("ten", "10"),
        (" Yes. ", "yes"),
        ("the one", "1"),
        ("grey", "gray"),
    ],
)
def test_answers_that_are_written_otherwise_are_one(answer, other):
    assert answer_key(answer) == answer_key(other)


@pytest.mark.parametrize(
    ("answer", "other"), [("the", ""), ("another", "other"), ("theater", "ater"), ("two dogs", "2 dogs"), ("1.5", "15")]
)
def test_answers_that_only_look_alike_are_two(answer, other):
    assert answer_key(answer) != answer_key(other)


def test_rows_of_known_answers_are_copied_and_those_of_others_are_zero():
    old, new = head_of(4), head_of(5, seed=1)
    found = transfer_answers(new, ("gray", "purple", "2", "dog", "cat"), old, ("the dog", "A Grey.", "yes", "two"))
    assert found == 3
    assert torch.equal(new.decoder.weight[[0, 2, 3]], old.decoder.weight[[1, 3, 0]])
    assert torch.equal(new.decoder.bias[[0, 2, 3]], old.decoder.bias[[1, 3, 0]])
    assert new.decoder.weight[[1, 4]].count_nonzero() == new.decoder.bias[[1, 4]].count_nonzero() == 0


def test_hidden_layers_are_copied_so_that_scores_of_known_answers_are_what_they_were():
    old, new = head_of(3), head_of(2, seed=1)
    transfer_answers(new, ("red", "blue"), old, ("green", "blue", "red"))
    pooled = torch.randn(4, 6)
    torch.testing.assert_close(new(pooled), old(pooled)[:, [2, 1]])
    assert all(weights.requires_grad and weights.grad is None for weights in new.parameters())


def test_the_pretrained_head_stays_as_it_is_and_shares_no_memory():
    old, new = head_of(2), head_of(2, seed=1)
    before = {name: weights.clone() for name, weights in old.state_dict().items()}
    transfer_answers(new, ("red", "blue"), old, ("red", "blue"))
    with torch.no_grad():
        for weights in new.parameters():
            weights.fill_(7)
    assert all(torch.equal(weights, before[name]) for name, weights in old.state_dict().items())


def test_of_two_rows_of_one_answer_the_first_is_taken():
    old, new = head_of(3), head_of(1, seed=1)
    assert transfer_answers(new, ("gray",), old, ("red", "grey", "gray")) == 1
    assert torch.equal(new.decoder.weight[0], old.decoder.weight[1])


@pytest.mark.parametrize("widths", [{"size": 12}, {"hidden": 10}])
def test_heads_of_different_widths_are_refused_and_left_alone(widths):
    old, new = head_of(2), head_of(2, seed=1, **widths)
    before = new.decoder.weight.clone()
    with pytest.raises(ValueError, match=r"answer heads are of widths .* expected equal ones"):
        transfer_answers(new, ("red", "blue"), old, ("red", "blue"))
    assert torch.equal(new.decoder.weight, before)
