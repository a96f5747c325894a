"""Pointing: recall at 1, 5 and 10 by hand, of attention, its rollout and classifiers, of either encoder."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import StoreError
from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, pad_batch
from training.model import build_new
from training.models.blocks import blocks_of
from training.models.rollout import rollout_of
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.catalog import NO_OBJECTIVES, Objectives
from training.objectives.word_object_alignment import AlignmentOptions
from training.probes.pointing import measure_pointing

GROUNDED = replace(
    NO_OBJECTIVES,
    attention_supervision=AttentionSupervisionOptions(mode="indirect", indirect_size=8),
    word_object_alignment=AlignmentOptions(joint_size=4),
)


def build(shape=SINGLE_STREAM, objectives: Objectives = GROUNDED):
    """Weights so large that attention differs from place to place."""
    model = build_new(shape, objectives, SIZES, seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.copy_(0.7 * torch.randn(weight.shape, generator=draw))
    return model.eval()


def by_hand(shares, grounding, looked):
    """Return the share of phrases with a gold region among the `looked` highest."""
    hits = 0
    for row, gold in zip(shares, grounding.gold, strict=True):
        order = sorted(range(len(row)), key=lambda region: -row[region].item())
        hits += any(gold[region] for region in order[:looked])
    return hits / len(shares)


def of_phrases(to_regions, batch):
    """Return the mean attention of each phrase's pieces; regions that are not there come last."""
    grounding, rows = batch.grounding, []
    for row, start, end in zip(grounding.rows, grounding.starts, grounding.ends, strict=True):
        attention = to_regions[row, start:end].mean(0)
        rows.append(attention.masked_fill(~batch.region_mask[row], -1))
    return torch.stack(rows)


def test_attention_points_where_its_heads_mean_is_highest():
    model, batch = build(), make_batch()
    found = measure_pointing(model, [batch])
    with torch.inference_mode():
        outputs = model.encode(batch, model.encoder.tap_names)
    for layer in model.encoder.meeting_layers:
        shares = of_phrases(blocks_of(outputs, layer).text_to_regions.mean(1), batch)
        for looked in (1, 5, 10):
            figure = found[f"attention {layer}"].recall[str(looked)]
            assert (figure.value, figure.of) == (pytest.approx(by_hand(shares, batch.grounding, looked)), 4)
        kept = shares.clamp(min=0)
        mass = (kept / kept.sum(1, keepdim=True) * batch.grounding.gold).sum(1).mean().item()
        assert found[f"attention {layer}"].mass.value == pytest.approx(mass, abs=1e-6)
    length = batch.text_mask.shape[1]
    for layer, rollout in zip(outputs.layers, rollout_of(outputs), strict=True):
        shares = of_phrases(rollout[:, :length, length : length + batch.region_mask.shape[1]], batch)
        assert found[f"rollout {layer}"].recall["1"].value == pytest.approx(by_hand(shares, batch.grounding, 1))


def test_every_reading_that_a_model_has_is_there():
    single = set(measure_pointing(build(), [make_batch()]))
    assert single == {
        *("attention joint.0", "attention joint.1", "rollout joint.0", "rollout joint.1"),
        *("grounding", "decoder", "first_region", "best", "chance"),
    }
    two = set(measure_pointing(build(SHAPE, NO_OBJECTIVES), [make_batch()]))
    assert two == {"attention cross.0", "attention cross.1", "first_region", "best", "chance"}


def test_a_classifiers_highest_score_is_where_it_points():
    model, batch = build(), make_batch()
    with torch.inference_mode():
        scores = model.objectives["attention_supervision"].phrase_grounding.scores(
            model.encode(batch), batch, batch.grounding
        )
    scores = scores.masked_fill(~batch.region_mask[batch.grounding.rows], -1e9)
    found = measure_pointing(model, [batch])["grounding"]
    assert found.recall["1"].value == pytest.approx(by_hand(scores, batch.grounding, 1))


def test_phrases_that_no_region_shows_are_missed():
    batch = make_batch()
    unshown = replace(batch, grounding=replace(batch.grounding, gold=torch.zeros_like(batch.grounding.gold)))
    for reading in measure_pointing(build(), [unshown]).values():
        assert [figure.value for figure in reading.recall.values()] == [0, 0, 0]
        assert reading.mass.value == 0
    both = measure_pointing(build(), [batch, unshown])
    alone = measure_pointing(build(), [batch])
    for name, reading in both.items():
        assert reading.recall["1"].of == 8
        assert reading.recall["1"].value == pytest.approx(alone[name].recall["1"].value / 2)
    assert both["best"].recall["1"].value == 0.5


@settings(max_examples=20, deadline=None)
@given(gold=st.sets(st.integers(0, 5)))
def test_chance_is_the_mean_over_all_orders_of_the_regions(gold):
    batch = make_batch(num_pieces=(5,), num_regions=(6,))
    shown = torch.zeros(1, 6, dtype=torch.bool)
    shown[0, list(gold)] = True
    one = replace(
        batch.grounding,
        rows=torch.tensor([0]),
        starts=torch.tensor([1]),
        ends=torch.tensor([3]),
        gold=shown,
    )
    found = measure_pointing(build(), [replace(batch, grounding=one)])["chance"]
    draw = torch.Generator().manual_seed(0)
    orders = torch.stack([torch.randperm(6, generator=draw) for _ in range(4000)])
    for looked in (1, 5):
        drawn = shown[0][orders[:, :looked]].any(1).float().mean().item()
        assert found.recall[str(looked)].value == pytest.approx(drawn, abs=0.03)
    assert found.mass.value == pytest.approx(len(gold) / 6)


def test_padding_changes_nothing():
    batch, model = make_batch(), build()
    expected = measure_pointing(model, [batch])
    found = measure_pointing(model, [pad_batch(batch, pieces=2, regions=3)])
    for name, reading in expected.items():
        assert {rank: each.value for rank, each in found[name].recall.items()} == {
            rank: pytest.approx(each.value) for rank, each in reading.recall.items()
        }
        assert found[name].mass.value == pytest.approx(reading.mass.value, abs=1e-5)


def test_without_a_phrase_there_is_nothing_to_measure():
    batch = make_batch()
    empty = replace(batch, grounding=type(batch.grounding)(**{k: v[:0] for k, v in vars(batch.grounding).items()}))
    with pytest.raises(StoreError, match="no phrase of these sentences has a gold box"):
        measure_pointing(build(), [empty])
