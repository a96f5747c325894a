"""How apart words and regions are kept: means over pairs of what each pair has alone, of every encoder."""

from dataclasses import asdict, replace

import pytest
import torch

from stores.errors import StoreError
from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, take_pair
from training.model import build_new
from training.objectives.catalog import NO_OBJECTIVES
from training.probes.modalities import measure_modalities


def random_model(shape):
    model = build_new(shape, NO_OBJECTIVES, SIZES, seed=0)
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM, replace(SINGLE_STREAM, end_token=True)])
def test_figures_are_means_over_pairs_whatever_their_batch(shape):
    model, batch = random_model(shape), replace(make_batch(), masked_regions=None)
    pairs = [take_pair(batch, row) for row in range(3)]
    together = measure_modalities(model, [batch, pairs[0]])
    assert (together.num_pairs, together.pieces, together.regions) == (4, 21 / 4, 17 / 4)
    assert tuple(together.layers) == model.encoder.meeting_layers
    alone = [measure_modalities(model, [each]) for each in (*pairs, pairs[0])]
    for layer, figures in together.layers.items():
        for name, figure in asdict(figures).items():
            assert figure == pytest.approx(sum(getattr(each.layers[layer], name) for each in alone) / 4, abs=1e-6), name


def test_each_flow_stands_beside_the_uniform_one_of_its_pairs_lengths():
    found = measure_modalities(random_model(SINGLE_STREAM), [take_pair(make_batch(), 0)]).layers["joint.1"]
    assert found.flow_within_uniform == pytest.approx(20 / 81)
    assert found.flow_from_input_uniform == pytest.approx(0.75 * 40 / 81)
    assert found.flow_within_over_uniform == pytest.approx(found.flow_within * 81 / 20)
    assert found.flow_from_input_over_uniform == pytest.approx(found.flow_from_input / 0.75 * 81 / 40)
    assert found.flow_within != pytest.approx(found.flow_within_uniform)


def test_an_encoder_that_keeps_modalities_in_halves_of_space_is_found_out():
    model = build_new(SINGLE_STREAM, NO_OBJECTIVES, SIZES, seed=0)
    with torch.no_grad():
        model.encoder.text_embedding.norm.bias.copy_(100 * torch.arange(8.0))
        model.encoder.region_embedding.norm.bias.copy_(-100 * torch.arange(8.0))
    found = measure_modalities(model, [make_batch()])
    assert found.layers["joint.0"].nmi == pytest.approx(1)


def test_images_without_regions_do_not_count_and_nothing_else_is_no_measurement():
    batch = make_batch()
    region_mask = batch.region_mask.clone()
    region_mask[1] = False
    model = random_model(SINGLE_STREAM)
    found = measure_modalities(model, [replace(batch, region_mask=region_mask)])
    assert (found.num_pairs, found.pieces, found.regions) == (2, 9 / 2, 7 / 2)
    assert all(0 < figure < 10 for layer in found.layers.values() for figure in asdict(layer).values())
    with pytest.raises(StoreError, match="no pair of a sentence and an image with regions"):
        measure_modalities(model, [replace(batch, region_mask=torch.zeros_like(region_mask))])


def test_the_model_is_only_looked_at():
    model = random_model(replace(SINGLE_STREAM, dropout=0.5)).train()
    found = [measure_modalities(model, [make_batch()]) for _ in range(2)]
    assert found[0] == found[1]
    assert all(weight.grad is None for weight in model.parameters())
