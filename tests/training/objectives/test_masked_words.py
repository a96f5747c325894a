"""Masked words: a plain loop over the masked pieces gives the same loss, and nothing else enters it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from tests.training.builders import SIZES, make_batch, make_outputs, rows_seen
from training.objectives.masked_words import MaskedWordsObjective, MaskedWordsOptions


def build_head():
    torch.manual_seed(0)
    return MaskedWordsObjective(MaskedWordsOptions(), SIZES).double()


def test_the_loss_is_the_mean_surprise_at_the_pieces_that_were_there():
    batch, head = make_batch(), build_head()
    torch.nn.init.normal_(head.bias)
    outputs = make_outputs(batch, dtype=torch.float64)
    surprises = []
    for position, label in zip(batch.masked_words.positions.tolist(), batch.masked_words.labels.tolist(), strict=True):
        row, piece = divmod(position, 7)
        state = head.transform(outputs.text[row, piece]).detach().numpy()
        scores = outputs.word_embeddings.detach().numpy() @ state + head.bias.detach().numpy()
        surprises.append(-log_softmax(scores)[label])
    assert len(surprises) == 2 + 3 + 2
    assert head(outputs, batch)["masked_words"].item() == pytest.approx(np.mean(surprises), abs=1e-6)


def test_a_head_that_knows_nothing_is_as_surprised_by_every_piece():
    batch, head = make_batch(), build_head()
    outputs = replace(make_outputs(batch), word_embeddings=torch.zeros(30, 8, dtype=torch.float64))
    outputs = replace(outputs, text=outputs.text.double())
    assert head(outputs, batch)["masked_words"].item() == pytest.approx(np.log(30), abs=1e-6)


def test_the_decoder_is_the_table_of_word_embeddings():
    batch, head = make_batch(), build_head()
    assert {name for name, _ in head.named_parameters() if not name.startswith("transform")} == {"bias"}
    outputs = make_outputs(batch, dtype=torch.float64)
    head(outputs, batch)["masked_words"].backward()
    assert outputs.word_embeddings.grad.abs().sum(1).all()


def test_only_masked_pieces_are_decoded():
    batch, head = make_batch(), build_head()
    decoded = rows_seen(head.transform.dense)
    outputs = make_outputs(batch, dtype=torch.float64)
    head(outputs, batch)["masked_words"].backward()
    assert decoded == [7]
    learning = outputs.text.grad.flatten(0, 1).any(1).nonzero()[:, 0]
    assert learning.tolist() == batch.masked_words.positions.tolist()


def test_a_sentence_that_does_not_match_its_image_counts_like_any_other():
    batch, head = make_batch(), build_head()
    outputs = make_outputs(batch, dtype=torch.float64)
    unmatched = replace(batch, is_matched=torch.zeros(3, dtype=torch.bool))
    assert head(outputs, unmatched)["masked_words"] == head(outputs, batch)["masked_words"]
