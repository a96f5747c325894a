"""UNITER's checkpoints: what they compute as its public code has it, every way of naming, and what is none of them."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from transformers import BertConfig, BertModel

from annotations.guards.drops import DataError
from tests.training.builders import SIZES, make_batch
from tests.training.malice import Malice
from tests.training.uniter_files import NUM_ANSWERS, NUM_CLASSES, encoder_alone, random_tensors, uniter_state, vqa_head
from training.models.single_stream import SingleStreamShape
from training.objectives.question_answering import QuestionAnsweringObjective
from training.weights.published import read_published
from training.weights.uniter import uniter_model

HIDDEN = 128


@pytest.fixture
def loaded(tmp_path):
    """Return what saves tensors as a checkpoint and gives the model of it."""

    def load(state):
        torch.save(state, tmp_path / "uniter.pt")
        return uniter_model(read_published(tmp_path / "uniter.pt")).eval()

    return load


def assert_same_weights(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert list(found) == list(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


# What it computes


def public_states(state, batch):
    """Return the last states and the pooled ones: of embeddings written out here, and transformers' BERT."""
    get = {name.removeprefix("uniter."): tensor.double() for name, tensor in state.items()}

    def norm(name, values):
        return F.layer_norm(values, (HIDDEN,), get[f"{name}.weight"], get[f"{name}.bias"], 1e-12)

    def linear(name, values):
        return F.linear(values, get[f"{name}.weight"], get[f"{name}.bias"])

    types = get["embeddings.token_type_embeddings.weight"]
    words = get["embeddings.word_embeddings.weight"][batch.input_ids]
    places = get["embeddings.position_embeddings.weight"][: batch.input_ids.shape[1]]
    text = norm("embeddings.LayerNorm", words + places + types[0])

    is_masked = torch.zeros(batch.region_mask.numel(), dtype=torch.long)
    is_masked[batch.masked_regions.positions] = 1
    features = (
        batch.features.double() + get["img_embeddings.mask_embedding.weight"][is_masked.view(batch.region_mask.shape)]
    )
    x1, y1, x2, y2 = batch.boxes.double().unbind(-1)
    boxes = torch.stack([x1, y1, x2, y2, x2 - x1, y2 - y1, (x2 - x1) * (y2 - y1)], -1)
    image = norm("img_embeddings.img_layer_norm", linear("img_embeddings.img_linear", features))
    image = image + norm("img_embeddings.pos_layer_norm", linear("img_embeddings.pos_linear", boxes)) + types[1]
    image = norm("img_embeddings.LayerNorm", image)

    config = BertConfig(
        vocab_size=30, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=24,
    )  # fmt: skip
    bert = BertModel(config).double().eval()
    bert.load_state_dict(
        {name: each for name, each in get.items() if name.startswith(("encoder", "pooler"))}, strict=False
    )
    for part in ("word", "position", "token_type"):
        nn.init.zeros_(getattr(bert.embeddings, f"{part}_embeddings").weight)
    bert.embeddings.LayerNorm = nn.Identity()
    mask = torch.cat([batch.text_mask, batch.region_mask], 1).long()
    out = bert(inputs_embeds=torch.cat([text, image], 1), attention_mask=mask)
    return out.last_hidden_state, out.pooler_output


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
def test_states_are_those_of_the_public_layout(loaded, dtype, close):
    state, batch = uniter_state(), make_batch(sizes=replace(SIZES, hidden_size=HIDDEN))
    batch = replace(batch, boxes=batch.boxes.double())
    expected, pooled = public_states(state, batch)
    found = loaded(state).to(dtype).encode(batch)
    length = batch.input_ids.shape[1]
    for got, there, mask in (
        (found.text, expected[:, :length], batch.text_mask),
        (found.regions, expected[:, length:], batch.region_mask),
    ):
        assert torch.allclose(got.double()[mask], there[mask], rtol=0, atol=close)
    assert torch.allclose(found.pooled.double(), pooled, rtol=0, atol=close)


def apply(state, name, values, *parts):
    """Apply linear, GELU, norm, linear of these names as far as they are given."""
    get = {part: (state[f"{name}{part}.weight"], state[f"{name}{part}.bias"]) for part in parts}
    for number, part in enumerate(parts):
        weight, bias = get[part]
        if weight.dim() == 2:
            values = F.linear(values, weight, bias)
            values = F.gelu(values) if number == 0 else values
        else:
            values = F.layer_norm(values, weight.shape, weight, bias, 1e-12)
    return values


@torch.no_grad()
def test_heads_of_pre_training_score_as_there(loaded):
    state, states = uniter_state(), torch.randn(5, HIDDEN)
    model = loaded(state)
    assert list(model.objectives) == ["masked_words", "masked_regions", "matching"]
    words = model.objectives["masked_words"]
    expected = apply(state, "cls.predictions.transform.", states, "dense", "LayerNorm")
    expected = F.linear(expected, state["uniter.embeddings.word_embeddings.weight"], state["cls.predictions.bias"])
    found = F.linear(words.transform(states), model.encoder.text_embedding.word.weight, words.bias)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    regions = model.objectives["masked_regions"]
    assert regions.terms == ("region_classes",) and regions.options.labels == "masked_only"
    expected = apply(state, "region_classifier.net.", states, "0", "2", "3")
    assert expected.shape == (5, 1 + NUM_CLASSES)
    found = regions.class_decoder(regions.transform(states))
    assert torch.allclose(found, expected[:, 1:], rtol=0, atol=1e-5)
    given_something = expected.softmax(1)[:, 1:] / expected.softmax(1)[:, 1:].sum(1, keepdim=True)
    assert torch.allclose(found.softmax(1), given_something, rtol=0, atol=1e-5)


@torch.no_grad()
def test_row_1_of_matching_says_that_it_does_there_as_here(loaded):
    """Its label is 1 for a pair that was left as it is, in its public data loader."""
    state = uniter_state()
    state["itm_output.weight"][:] = 0
    state["itm_output.bias"] = torch.tensor([0.0, 9.0])
    model, batch = loaded(state), make_batch(sizes=replace(SIZES, hidden_size=HIDDEN))
    assert batch.is_matched.all()
    assert model.objectives["matching"](model.encode(batch), batch)["matching"] < 0.001
    other = replace(batch, is_matched=~batch.is_matched)
    assert model.objectives["matching"](model.encode(batch), other)["matching"] > 8


@torch.no_grad()
def test_heads_of_fine_tuning_score_as_there(loaded):
    state, states = uniter_state(), torch.randn(5, HIDDEN)
    heads = vqa_head() | random_tensors({f"{name}_output.weight": (1, HIDDEN) for name in ("re", "rank")})
    heads |= {"re_output.bias": torch.ones(1), "rank_output.bias": torch.full((1,), 2.0)}
    model = loaded(encoder_alone(state) | heads)
    assert list(model.objectives) == ["question_answering", "ranking", "referring"]
    assert model.sizes.num_answers == NUM_ANSWERS
    expected = apply(heads, "vqa_output.", states, "0", "2", "3")
    assert torch.allclose(model.head(QuestionAnsweringObjective).head(states), expected, rtol=0, atol=1e-5)
    for name, theirs in (("ranking", "rank"), ("referring", "re")):
        expected = F.linear(states, heads[f"{theirs}_output.weight"], heads[f"{theirs}_output.bias"])
        assert torch.equal(model.objectives[name].decoder(states), expected)


# What it is


def test_sizes_are_read_off_the_tensors(loaded):
    model = loaded(uniter_state(hidden=192, layers=3, wide=40, pieces=50, features=10, positions=33))
    assert model.encoder.shape == SingleStreamShape(
        vocab_size=50, feature_dim=10, hidden_size=192, intermediate_size=40, num_heads=3, num_layers=3,
        max_positions=33, num_segments=2, dropout=0.1, attention_dropout=0.1,
    )  # fmt: skip
    assert (model.sizes.num_classes, model.sizes.vocab_size, model.sizes.feature_dim) == (NUM_CLASSES, 50, 10)


def test_the_embedding_of_a_mask_is_row_1_whatever_row_0_holds(loaded):
    state = uniter_state()
    expected = state["uniter.img_embeddings.mask_embedding.weight"][1].clone()
    state["uniter.img_embeddings.mask_embedding.weight"][0] = 5
    assert torch.equal(loaded(state).encoder.region_embedding.blank, expected)


NAMINGS = {
    "before it was called so": lambda name: name.replace("uniter.", "bert."),
    "copies": lambda name: f"module.{name}",
    "copies of the encoder": lambda name: name.replace("uniter.", "uniter.module."),
    "copies before": lambda name: f"module.{name.replace('uniter.', 'bert.')}",
    "bare": lambda name: name.removeprefix("uniter."),
    "older norms": lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"
    ),
}


@pytest.mark.parametrize("naming", NAMINGS.values(), ids=NAMINGS.keys())
def test_every_naming_gives_the_same_model(loaded, naming):
    state = uniter_state()
    renamed = {naming(name): tensor for name, tensor in state.items()}
    assert renamed.keys() != state.keys()
    assert_same_weights(loaded(renamed), loaded(state))


def test_an_encoder_alone_is_enough_and_half_precision_becomes_float32(loaded):
    model = loaded({name: tensor.half() for name, tensor in encoder_alone(uniter_state()).items()})
    assert not len(model.objectives)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}


def test_safetensors_are_read_as_well(loaded, tmp_path):
    state = uniter_state()
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "uniter.safetensors")
    assert_same_weights(uniter_model(read_published(tmp_path / "uniter.safetensors")), loaded(state))


def test_a_referring_head_of_two_linear_layers_stays_behind(loaded):
    two = random_tensors({"re_output.0.weight": (HIDDEN, HIDDEN), "re_output.3.weight": (1, HIDDEN)})
    assert not len(loaded(encoder_alone(uniter_state()) | two).objectives)


# What is none


LAYER = "uniter.encoder.layer.1.attention.self.key.weight"
IMAGE = "uniter.img_embeddings."


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({LAYER: None}, rf"1 missing: {LAYER}$"),
        (
            {f"{IMAGE}pos_linear.bias": None, "uniter.pooler.dense.bias": None},
            r"2 missing: .*pos_linear.bias, uniter.poo",
        ),
        ({"itm_output.bias": None}, r"1 missing: itm_output\.bias$"),
        ({"region_classifier.net.2.weight": None}, r"1 missing: region_classifier\.net\.2\.weight$"),
        ({f"{IMAGE}mask_embedding.weight": None}, r"1 missing: uniter\.img_embeddings\.mask_embedding\.weight$"),
        ({"extra": torch.zeros(1), "nlvr2_output.bias": torch.zeros(2)}, "2 left over: extra, nlvr2_output.bias$"),
        ({LAYER: torch.zeros(128, 64)}, rf"1 of another shape: {LAYER} \[128, 64\] instead of \[128, 128\]$"),
        ({f"{IMAGE}pos_linear.weight": torch.zeros(128, 4)}, r"pos_linear\.weight \[128, 4\] instead of \[128, 7\]$"),
        ({f"{IMAGE}mask_embedding.weight": torch.zeros(3, 6)}, r"mask_embedding\.weight \[2, 6\] instead of \[6\]"),
        ({"itm_output.bias": torch.zeros(())}, r"itm_output\.bias \[\] instead of \[2\]$"),
        ({"region_classifier.net.3.bias": torch.zeros(())}, r"net\.3\.weight .* instead of"),
        ({"cls.predictions.decoder.weight": torch.zeros(30, 128)}, "expected them to be tied"),
        (
            {f"{IMAGE}img_linear.weight": None},
            r"not UNITER's weights, has no uniter\.img_embeddings\.img_linear\.weight;",
        ),
        ({"uniter.embeddings.token_type_embeddings.weight": torch.zeros(4, 128)}, "4 segments, expected 2: words and"),
    ],
)
def test_a_tensor_too_few_or_too_many_or_of_another_shape_is_named(loaded, tensors, message):
    state = uniter_state() | tensors
    with pytest.raises(DataError, match=message):
        loaded({name: each for name, each in state.items() if each is not None})


def test_a_width_that_no_heads_divide_is_refused(loaded):
    with pytest.raises(DataError, match="hidden size 96, expected a multiple of 64, a head's"):
        loaded(uniter_state(hidden=96))


def test_a_pickle_that_would_act_does_not(loaded, tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(DataError, match=r"uniter\.pt: damaged, or holds more than tensors, of which nothing was run"):
        loaded(uniter_state() | {"uniter.pooler.dense.bias": Malice(trace)})
    assert not trace.exists()
