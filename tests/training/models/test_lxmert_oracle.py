"""Ours and transformers' LXMERT, with the same random weights, on the same padded batch, in float32."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from transformers import LxmertConfig, LxmertForPreTraining
from transformers.models.lxmert.modeling_lxmert import LxmertAttention

from tests.training.builders import make_batch
from tests.training.weights_files import import_huggingface
from training.model import Model, build_new
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.weights.huggingface import export_huggingface, to_huggingface

SIZES = Sizes(hidden_size=24, vocab_size=50, feature_dim=16, num_classes=11, num_attributes=7, num_answers=9)
SHAPE = TwoStreamShape(
    vocab_size=50,
    feature_dim=16,
    hidden_size=24,
    intermediate_size=48,
    num_heads=4,
    num_text_layers=2,
    num_region_layers=1,
    num_cross_layers=2,
    max_positions=20,
)
THEIRS = LxmertConfig(
    vocab_size=50,
    hidden_size=24,
    num_attention_heads=4,
    intermediate_size=48,
    l_layers=2,
    r_layers=1,
    x_layers=2,
    max_position_embeddings=20,
    visual_feat_dim=16,
    num_object_labels=11,
    num_attr_labels=7,
    num_qa_labels=9,
)
"""Its factor of the three region terms is 6.67; that of `SHAPE`'s model is 1 / 0.15."""
CLOSE = 1e-5


def stir(model):
    """Biases and norms too are random, so that none can be confused with another; returns the model, evaluating."""
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.2)
    return model.eval()


@pytest.fixture(scope="module", params=["exported", "imported"])
def pair(request, tmp_path_factory):
    """Our model, and the transformers' one that came of it or that it came of."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "exported":
        ours = stir(build_new(SHAPE, Objectives(), SIZES, seed=0))
        export_huggingface(ours, folder)
        return ours, LxmertForPreTraining.from_pretrained(folder).eval()
    theirs = stir(LxmertForPreTraining(THEIRS))
    theirs.save_pretrained(folder)
    return import_huggingface(folder).eval(), theirs


def some_batch(num_regions=(6, 4, 2, 5)):
    batch = make_batch(num_pieces=(7, 5, 3, 9), num_regions=num_regions, sizes=SIZES, seed=1)
    return replace(
        batch,
        is_matched=torch.tensor([True, False, True, True]),
        answer_ids=torch.tensor([8, -100, -100, 0]),
    )


def inputs(batch):
    """What transformers' LXMERT takes of a batch."""
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.text_mask.long(),
        "visual_feats": batch.features,
        "visual_pos": batch.boxes,
        "visual_attention_mask": batch.region_mask.long(),
    }


def labels(batch):
    """What it is to guess, by our names of the terms; a region's label of confidence 0 costs nothing there."""
    words = torch.full(batch.input_ids.shape, -100)
    words.flatten()[batch.masked_words.positions] = batch.masked_words.labels
    features, hidden = batch.features.clone(), torch.zeros(batch.region_mask.shape)
    features.flatten(0, 1)[batch.masked_regions.positions] = batch.masked_regions.features.to(features.dtype)
    hidden.flatten()[batch.masked_regions.positions] = 1.0
    regions = {
        "feat": (features, hidden),
        "obj": (batch.class_ids.clamp(min=0), batch.class_scores),
        "attr": (batch.attribute_ids.clamp(min=0), batch.attribute_scores),
    }

    def alone(asked):
        return {key: (ids, score * (key == asked)) for key, (ids, score) in regions.items()}

    return {
        "masked_words": {"labels": words},
        "matching": {"matched_label": batch.is_matched.long()},
        "region_features": {"obj_labels": alone("feat")},
        "region_classes": {"obj_labels": alone("obj")},
        "region_attributes": {"obj_labels": alone("attr")},
        "question_answering": {"ans": batch.answer_ids},
        "all": {
            "labels": words,
            "matched_label": batch.is_matched.long(),
            "obj_labels": regions,
            "ans": batch.answer_ids,
        },
    }


def assert_close(ours, theirs, what):
    assert ours.shape == theirs.shape, what
    difference = (ours - theirs).abs().max().item()
    assert difference <= CLOSE, f"{what}: {difference}"


@torch.no_grad()
def test_words_regions_and_pooled_state_are_the_same(pair):
    ours, theirs = pair
    batch = some_batch()
    found, expected = ours.encode(batch), theirs.lxmert(**inputs(batch))
    assert_close(found.text, expected.language_output, "text")
    assert_close(found.regions, expected.vision_output, "regions")
    assert_close(found.pooled, expected.pooled_output, "pooled")


@torch.no_grad()
def test_attention_is_the_same_in_every_layer_that_shows_it(pair):
    ours, theirs = pair
    batch = some_batch()
    taps = ours.encode(batch, ours.encoder.tap_names).taps
    shown = theirs.lxmert(**inputs(batch), output_attentions=True)
    maps = {f"text.{number}": probs for number, probs in enumerate(shown.language_attentions)}
    maps |= {f"regions.{number}": probs for number, probs in enumerate(shown.vision_attentions)}
    maps |= {f"cross.{number}.text_to_regions": probs for number, probs in enumerate(shown.cross_encoder_attentions)}
    assert sorted(maps) == ["cross.0.text_to_regions", "cross.1.text_to_regions", "regions.0", "text.0", "text.1"]
    for name, probs in maps.items():
        assert_close(taps[name].probs, probs, name)


@torch.no_grad()
def test_attention_is_the_same_in_the_layers_that_do_not_show_it(pair):
    ours, theirs = pair
    batch, seen = some_batch(), []

    def ask(part, arguments):
        seen.append(part.forward(*arguments, output_attentions=True)[1])

    hooks = [part.register_forward_pre_hook(ask) for part in theirs.modules() if isinstance(part, LxmertAttention)]
    theirs.lxmert(**inputs(batch))
    for hook in hooks:
        hook.remove()
    taps = ours.encode(batch, ours.encoder.tap_names).taps
    for name, probs in zip(ours.encoder.tap_names, seen, strict=True):
        assert_close(taps[name].probs, probs, name)


@pytest.mark.parametrize(
    "term",
    ["masked_words", "matching", "region_features", "region_classes", "region_attributes", "question_answering"],
)
@pytest.mark.parametrize("num_regions", [(6, 6, 6, 6), (6, 4, 2, 5)])
@torch.no_grad()
def test_every_loss_is_the_same(pair, term, num_regions):
    """With padding among the regions, transformers divides by the places of regions and we by the regions."""
    ours, theirs = pair
    batch = some_batch(num_regions)
    expected = theirs(**inputs(batch), **labels(batch)[term]).loss
    if term.startswith("region"):
        expected *= batch.region_mask.numel() / batch.region_mask.sum()
    assert_close(ours(batch)[term], expected, f"{term} of {expected:.3f}")


def test_gradients_of_all_losses_together_are_the_same(pair):
    """Transformers never learns row 0 of words, positions and segments; imported weights neither, ours do."""
    ours, theirs = (copy.deepcopy(model).double() for model in pair)
    batch = some_batch((6, 6, 6, 6))
    batch = replace(batch, features=batch.features.double(), boxes=batch.boxes.double())
    sum(ours(batch).values()).backward()
    theirs(**inputs(batch), **labels(batch)["all"]).loss.backward()
    for name, found in gradients(ours).items():
        expected = theirs.get_parameter(name).grad
        if name.endswith("_embeddings.weight") and not ours.encoder.shape.freeze_first_rows:
            found, expected = found[1:], expected[1:]
        if not name.endswith("key.bias"):  # it moves all scores of a query alike: its gradient is 0, and rounding
            largest = expected.abs().max().item()
            assert (found - expected).abs().max() <= CLOSE * largest, name


def gradients(model: Model) -> Mapping[str, torch.Tensor]:
    """Return the model's gradients by transformers' names."""
    with torch.device("meta"):
        shell = Model(model.encoder.shape, Objectives(), SIZES)
    shell.load_state_dict({name: weight.grad for name, weight in model.named_parameters()}, assign=True)
    return to_huggingface(shell)[1]
