"""Which pairs a model learns to rank: of many candidates those that it holds for the likeliest itself."""

from dataclasses import replace

import pytest
import torch

from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, take_pair
from training.batch import Batch
from training.model import build_new
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.congruence import CongruenceOptions
from training.objectives.ranking import RankingObjective, RankingOptions

GROUPS, SIZE = 3, 9


@pytest.fixture
def batch():
    """Return three groups of nine pairs each, of all lengths."""
    draw = torch.Generator().manual_seed(0)
    counts = torch.randint(3, 9, (2, GROUPS * SIZE), generator=draw).tolist()
    whole = make_batch(num_pieces=counts[0], num_regions=counts[1])
    nothing = dict.fromkeys(("masked_words", "masked_regions", "alignment", "grounding", "phrase_pairs", "token_mask"))
    return replace(
        whole, **nothing, is_matched=torch.arange(GROUPS * SIZE) % SIZE == 0, group_size=SIZE, caption_labels=None
    )


def make_model(shape=SHAPE, *, kept=4, dropout=0.0, **objectives):
    """Weights larger than those of a new model, so that scores differ."""
    shape = replace(shape, dropout=dropout, attention_dropout=dropout)
    model = build_new(shape, replace(NO_OBJECTIVES, ranking=RankingOptions(kept=kept), **objectives), SIZES, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(0.5 * torch.randn(weights.shape, generator=draw))
    return model


@pytest.fixture(params=[SHAPE, SINGLE_STREAM], ids=["two streams", "one stream"])
def shape(request):
    return request.param


def test_the_loss_is_that_of_the_likeliest_pairs_each_scored_alone(shape, batch):
    model = make_model(shape)
    with torch.no_grad():
        alone = [model.head(RankingObjective).scores(model.encode(take_pair(batch, row))) for row in range(len(batch))]
    probs = torch.stack(alone).sigmoid().view(GROUPS, SIZE)
    hardest = probs[:, 1:].sort(dim=1, descending=True).values[:, :4]
    assert not torch.allclose(hardest, probs[:, 1:5])
    expected = (0.2 + hardest - probs[:, :1]).clamp(min=0).mean()
    assert model(batch)["ranking"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_smaller_groups_are_learnt_from_whole(batch):
    whole = make_model(kept=31)
    scores = whole.head(RankingObjective).scores(whole.encode(batch)).sigmoid().view(GROUPS, SIZE)
    expected = (0.2 + scores[:, 1:] - scores[:, :1]).clamp(min=0).mean()
    assert whole(batch)["ranking"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_candidates_are_scored_in_several_goes_to_the_same_loss(batch, monkeypatch):
    model = make_model()
    expected = model(batch)["ranking"].item()
    monkeypatch.setattr("training.objectives.ranking.SCORED_AT_ONCE", 5)
    assert model(batch)["ranking"].item() == pytest.approx(expected, abs=1e-6)


def test_choosing_draws_nothing_and_leaves_dropout_on(batch):
    model, seen = make_model(dropout=0.3).train(), []
    model.encoder.register_forward_hook(lambda module, inputs, outputs: seen.append((module.training, len(inputs[0]))))
    torch.manual_seed(7)
    first = model(batch)["ranking"].item()
    assert seen == [(False, GROUPS * SIZE), (True, GROUPS * 5)]
    assert model.training and all(module.training for module in model.modules())
    torch.manual_seed(7)
    kept = model.head(RankingObjective).narrow(batch, model._encode_as_it_is)
    assert model(kept)["ranking"].item() == first


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_weight_still_learns_after_candidates_were_scored(shape, batch, precision):
    """Autocast keeps what it casts: weights that were cast without gradients must not serve the forward to come."""
    model = make_model(shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        loss = model(batch)["ranking"]
    loss.backward()
    learning = {name for name, weights in model.named_parameters() if weights.grad is not None and weights.grad.any()}
    assert "objectives.ranking.decoder.weight" in learning
    assert any("query" in name for name in learning)
    assert "encoder.region_embedding.feature.weight" in learning


def test_congruence_goes_by_the_pairs_that_match(batch):
    model = make_model(congruence=CongruenceOptions())
    matching = replace(batch.take(torch.arange(0, len(batch), SIZE)), group_size=1)
    alone = model.objectives["congruence"](model.encode(matching, model._taps), matching)
    found = model(batch)
    for name, term in alone.items():
        assert found[name].item() == pytest.approx(term.item(), rel=1e-4)


def test_pairs_are_taken_with_all_that_is_theirs(batch):
    taken = batch.take(torch.tensor([20, 3]), group_size=2)
    assert taken.group_size == 2 and taken.sentence_ids == ("sentence-20", "sentence-3")
    for name in ("input_ids", "features", "boxes", "is_matched", "answer_ids"):
        assert torch.equal(getattr(taken, name), getattr(batch, name)[[20, 3]])
    assert batch.take(slice(25, 40)).image_ids == ("image-25", "image-26")
    assert isinstance(taken, Batch) and len(taken) == 2


def test_pairs_of_a_batch_with_masked_words_are_not_taken_apart():
    with pytest.raises(ValueError, match="the batch has masked_words, expected none where pairs are taken out of it"):
        make_batch().take(slice(0, 1))
