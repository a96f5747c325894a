"""Masked regions: the worked residuals, and the three ways of counting names against plain loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import log_softmax

from tests.training.builders import SIZES, make_batch, make_outputs, rows_seen
from training.batch import MaskedRegions
from training.objectives.masked_regions import MaskedRegionsObjective, MaskedRegionsOptions, divergence_from_detector

NUM_REGIONS = 4 + 6 + 3
NUM_MASKED = 2 + 3 + 2
NUM_PLACES = 3 * 6


def build_head(sizes=SIZES, **options):
    torch.manual_seed(0)
    return MaskedRegionsObjective(MaskedRegionsOptions(**options), sizes).double()


@pytest.mark.parametrize(("feature_loss", "expected"), [("smooth_l1", 0.8125), ("l2", 2.125)])
def test_residuals_of_a_half_and_two_cost_what_the_specification_says(feature_loss, expected):
    batch = replace(
        make_batch(num_pieces=[3], num_regions=[4]),
        masked_regions=MaskedRegions(
            positions=torch.tensor([2]), features=torch.tensor([[0.5, 2.0]]), is_blanked=torch.tensor([True])
        ),
    )
    head = build_head(replace(SIZES, feature_dim=2), feature_loss=feature_loss)
    torch.nn.init.zeros_(head.feature_decoder.weight)
    torch.nn.init.zeros_(head.feature_decoder.bias)
    loss = head(make_outputs(batch, dtype=torch.float64), batch)["region_features"].item()
    assert loss == pytest.approx(expected / 4 / 0.15, abs=1e-6)  # the mean is over all four regions


def test_features_count_at_masked_regions_only_and_are_divided_by_all():
    batch, head = make_batch(), build_head()
    outputs = make_outputs(batch, dtype=torch.float64)
    total = 0
    for position, true in zip(batch.masked_regions.positions.tolist(), batch.masked_regions.features, strict=True):
        guessed = head.feature_decoder(head.transform(outputs.regions[divmod(position, 6)]))
        total += torch.nn.functional.smooth_l1_loss(guessed, true.double()).item()
    loss = head(outputs, batch)["region_features"].item()
    assert loss == pytest.approx(total / NUM_REGIONS / 0.15, abs=1e-6)


@pytest.mark.parametrize("labels", ["conf_all", "masked_only", "masked_conf"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["class", "attribute"])
def test_names_are_counted_as_a_plain_loop_counts_them(labels, seed, kind):
    batch, head = make_batch(seed=seed), build_head(labels=labels)
    batch.class_ids[1, 2] = batch.attribute_ids[0, 1] = -1
    outputs = make_outputs(batch, dtype=torch.float64, seed=seed)
    decoder = head.class_decoder if kind == "class" else head.attribute_decoder
    ids, confidences = getattr(batch, f"{kind}_ids"), getattr(batch, f"{kind}_scores")
    masked = set(batch.masked_regions.positions.tolist())
    total, count = 0.0, 0
    for row in range(3):
        for region in range(6):
            if not batch.region_mask[row, region] or ids[row, region] < 0:
                continue
            if labels != "conf_all" and row * 6 + region not in masked:
                continue
            scores = decoder(head.transform(outputs.regions[row, region])).detach().numpy()
            surprise = -log_softmax(scores)[ids[row, region]]
            total += surprise * (1 if labels == "masked_only" else confidences[row, region].item())
            count += 1
    expected = total / count if labels == "masked_only" else total / NUM_REGIONS / 0.15
    term = head(outputs, batch)["region_classes" if kind == "class" else "region_attributes"]
    assert term.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("labels", ["conf_all", "masked_only", "masked_conf"])
def test_a_region_without_a_name_has_no_loss_of_it(labels):
    batch, head = make_batch(), build_head(labels=labels, features=False, attributes=False)
    batch.class_ids[1] = -1
    batch.class_scores[1] = 0.9
    outputs = make_outputs(batch, dtype=torch.float64)
    head(outputs, batch)["region_classes"].backward()
    assert outputs.regions.grad.any(2).any(1).tolist() == [True, False, True]


def test_confidence_counts_where_it_is_asked_for():
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64)
    unsure = replace(batch, class_scores=torch.zeros(3, 6))
    for labels, matters in (("conf_all", True), ("masked_conf", True), ("masked_only", False)):
        head = build_head(labels=labels)
        sure, doubtful = (head(outputs, each)["region_classes"].item() for each in (batch, unsure))
        assert doubtful == (0 if matters else sure)


@pytest.mark.parametrize(
    ("labels", "transformed", "named"),
    [
        ("conf_all", [NUM_MASKED, NUM_PLACES], [NUM_PLACES]),
        ("masked_only", [NUM_MASKED], [NUM_MASKED]),
        ("masked_conf", [NUM_MASKED], [NUM_MASKED]),
    ],
)
def test_no_more_regions_are_decoded_than_count(labels, transformed, named):
    batch, head = make_batch(), build_head(labels=labels)
    parts = head.transform.dense, head.feature_decoder, head.class_decoder, head.attribute_decoder
    seen = [rows_seen(part) for part in parts]
    head(make_outputs(batch, dtype=torch.float64), batch)
    assert seen == [transformed, [NUM_MASKED], named, named]


@pytest.mark.parametrize(("labels", "learning"), [("conf_all", NUM_REGIONS), ("masked_only", NUM_MASKED)])
def test_regions_that_are_seen_learn_their_names_only_in_the_public_codes_way(labels, learning):
    batch, head = make_batch(), build_head(labels=labels)
    outputs = make_outputs(batch, dtype=torch.float64)
    sum(head(outputs, batch).values()).backward()
    assert outputs.regions.grad.any(2).sum() == learning


def test_what_is_not_asked_for_has_neither_term_nor_weights():
    batch = make_batch()
    head = build_head(features=False, attributes=False)
    assert (*head(make_outputs(batch, dtype=torch.float64), batch),) == head.terms == ("region_classes",)
    assert {name.split(".")[0] for name, _ in head.named_parameters()} == {"transform", "class_decoder"}


def test_features_may_be_stored_in_half_precision():
    batch, head = make_batch(), build_head()
    outputs = make_outputs(batch, dtype=torch.float64)
    half = replace(batch.masked_regions, features=batch.masked_regions.features.half())
    found = head(outputs, replace(batch, masked_regions=half))["region_features"].item()
    assert found == pytest.approx(head(outputs, batch)["region_features"].item(), rel=1e-3)
    assert np.isfinite(found)


def test_the_divergence_is_that_of_the_detectors_distribution_from_the_guess():
    scores = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    ids, confidences = torch.tensor([2, 0, -100, 6]), torch.tensor([0.9, 1.0, 0.0, 0.3], dtype=torch.float64)
    expected = []
    for row in (0, 1, 3):
        detected = torch.full((7,), (1 - confidences[row].item()) / 6, dtype=torch.float64)
        detected[ids[row]] = confidences[row]
        expected.append(F.kl_div(scores[row].log_softmax(0), detected, reduction="sum"))
    loss = divergence_from_detector(scores, ids, confidences)
    torch.testing.assert_close(loss, sum(expected) / 3)
    loss.backward()
    assert scores.grad.isfinite().all()


def test_of_no_named_region_the_divergence_is_zero():
    loss = divergence_from_detector(torch.randn(2, 3), torch.tensor([-100, -100]), torch.zeros(2))
    assert loss.item() == 0
