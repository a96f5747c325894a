"""The visual parser: Swin's last stage as tokens, where they are, what is hidden of them, and who learns from it."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import SwinModel
from transformers.models.detr.modeling_detr import DetrSinePositionEmbedding

from detectors.weights.files import WeightsError
from tests.training.builders import SIZES, TRUNK, VISUAL_PARSER, make_batch, pad_batch, take_pair
from training.batch import TokenMask
from training.data.sides.cells import cell_boxes
from training.model import Model, build_new
from training.models.recomputation import recompute_activations
from training.models.trunk import Trunk, TrunkShape, read_swin
from training.models.visual_parser import VisualParserShape, attended_cells, sine_positions
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.masked_tokens import MaskedTokensOptions
from training.objectives.masked_words import MaskedWordsOptions

CELLS = replace(VISUAL_PARSER, trunk=None)
PIXELS = torch.randint(0, 256, (2, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def encoder_of(shape, seed=0):
    torch.manual_seed(seed)
    encoder = shape.build()
    for name, weight in encoder.named_parameters():
        if not name.startswith("trunk."):
            torch.nn.init.normal_(weight, std=0.5)
    return encoder.eval()


def cells_batch(num_cells=(6, 6, 6), **changes):
    """Return a batch of stored cells with their attention."""
    batch = make_batch(num_regions=num_cells, sizes=replace(SIZES, feature_dim=16))
    width = batch.region_mask.shape[1]
    attention = torch.rand(len(batch), width, width, generator=torch.Generator().manual_seed(1))
    attention = attention.masked_fill(~batch.region_mask[:, None], 0)
    changes = {"masked_regions": None, "token_mask": None} | changes
    return replace(batch, visual_attention=attention / attention.sum(2, keepdim=True), **changes)


def pixel_batch(rows=(0, 0, 1), **changes):
    batch = make_batch(num_regions=[36] * len(rows), num_pieces=(5, 7, 4)[: len(rows)])
    changes = {"masked_regions": None, "token_mask": None} | changes
    return replace(
        batch,
        pixels=PIXELS,
        image_rows=torch.tensor(rows),
        features=torch.empty(len(rows), 36, 0),
        boxes=torch.from_numpy(cell_boxes(6, 6)).repeat(len(rows), 1, 1),
        **changes,
    )


def hiding(*seeds, count=2, **more):
    return TokenMask(seeds=torch.tensor(seeds), counts=torch.full((len(seeds),), count), **more)


@pytest.mark.parametrize(
    "shape",
    [TRUNK, TrunkShape(image_size=224, embed_dim=24, depths=(2, 2, 2, 2), num_heads=(1, 2, 3, 4), window_size=7)],
    ids=["toy", "224"],
)
def test_the_last_stage_and_its_attention_are_what_transformers_tells(shape):
    torch.manual_seed(0)
    trunk = Trunk(shape).eval()
    other = SwinModel(trunk.swin.config, add_pooling_layer=False).eval()
    other.load_state_dict(trunk.swin.state_dict())
    other.set_attn_implementation("eager")
    pixels = torch.randint(0, 256, (2, 3, shape.image_size, shape.image_size), dtype=torch.uint8)
    means, stds = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (pixels / 255 - means[:, None, None]) / stds[:, None, None]
    with torch.no_grad():
        features, attention = trunk(pixels)
        expected = other(scaled, output_attentions=True)
    torch.testing.assert_close(features, expected.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(attention, expected.attentions[-1], atol=1e-5, rtol=0)
    assert attention.shape == (2, shape.num_heads[-1], shape.side**2, shape.side**2)


def test_in_the_last_stage_every_cell_attends_to_every_other_in_each_layer():
    trunk = Trunk(TRUNK).eval()
    with torch.no_grad():
        _, attention = trunk(PIXELS)
    assert (attention > 0).all()
    torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:3]))
    assert [int(block.shift_size) for block in trunk.swin.encoder.layers[-1].blocks] == [0, 0]


def test_a_trunk_whose_last_stage_is_more_than_one_window_is_refused():
    with pytest.raises(ValueError, match="images of 96 pixels make 12 cells a side, expected one window of 6 over"):
        replace(TRUNK, image_size=96)
    with pytest.raises(ValueError, match=r"images of 60 pixels make 7\.5 cells a side"):
        replace(TRUNK, image_size=60)
    with pytest.raises(ValueError, match="feature_dim is 20, expected the trunk's, 16"):
        replace(VISUAL_PARSER, feature_dim=20)
    with pytest.raises(ValueError, match="hidden size is 6, expected a multiple of 4"):
        VisualParserShape(hidden_size=6)


def test_published_sizes_make_as_many_tokens_as_the_paper_says():
    assert (TrunkShape().side ** 2, TrunkShape().feature_dim) == (144, 1024)
    tiny = TrunkShape(image_size=224, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7)
    assert (tiny.side**2, tiny.feature_dim) == (49, 768)


def test_positions_are_detr_s():
    detr = DetrSinePositionEmbedding(num_position_features=8, normalize=True)
    found = sine_positions(torch.from_numpy(cell_boxes(3, 5))[None], 16)
    expected = detr(torch.Size([1, 16, 3, 5]), device=torch.device("cpu"), dtype=torch.float32)
    torch.testing.assert_close(found[0].T, expected.reshape(16, 15), atol=1e-5, rtol=0)


def test_the_last_row_and_column_are_a_whole_turn():
    places = sine_positions(torch.tensor([[[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.25]]]), 4)
    turn = 2 * math.pi
    expected = [
        [math.sin(turn), math.cos(turn), math.sin(turn), math.cos(turn)],
        [math.sin(turn / 4), math.cos(turn / 4), math.sin(turn / 2), math.cos(turn / 2)],
    ]
    torch.testing.assert_close(places[0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_a_seed_hides_itself_and_what_it_attends_to_most():
    """Row 1 of A = (I + W) / 2 is .05, .75, .15, .05."""
    attention = torch.full((1, 4, 4), 0.25)
    attention[0, 1] = torch.tensor([0.1, 0.5, 0.3, 0.1])
    seeds, counts, there = torch.tensor([1]), torch.tensor([2]), torch.ones(1, 4, dtype=torch.bool)
    assert attended_cells(attention, seeds, counts, there).tolist() == [[False, True, True, False]]
    beside = attended_cells(attention, seeds, counts, there, beside_seed=True)
    assert beside.tolist() == [[True, True, True, False]]
    weak = attention.clone()
    weak[0, 1] = torch.tensor([0.4, 0.0, 0.4, 0.2])
    assert attended_cells(weak, seeds, counts - 1, there).tolist() == [[False, True, False, False]]
    none = attended_cells(attention, seeds, counts - 2, there, beside_seed=True)
    assert not none.any()


def test_padding_is_never_hidden():
    attention = torch.tensor([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0, 0, 1]]])
    there = torch.tensor([[True, True, False]])
    hidden = attended_cells(attention, torch.tensor([0]), torch.tensor([3]), there)
    assert hidden.tolist() == [[True, True, False]]


def test_hidden_tokens_are_one_learned_vector_with_their_places():
    encoder = encoder_of(CELLS)
    batch = cells_batch(token_mask=hiding(0, 3, 5))
    seen = []
    encoder.region_embedding.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].features))
    with torch.no_grad():
        outputs = encoder(batch)
        tokens = encoder.token_norm(encoder.token(batch.features))
    positions = outputs.hidden_tokens.positions
    assert len(positions) == 6
    (shown,) = seen
    assert (shown.flatten(0, 1)[positions] == encoder.blank).all()
    torch.testing.assert_close(outputs.hidden_tokens.tokens, tokens.flatten(0, 1)[positions])
    others = [place for place in range(18) if place not in positions]
    torch.testing.assert_close(shown.flatten(0, 1)[others], tokens.flatten(0, 1)[others])
    assert {place // 6 for place in positions.tolist()} == {0, 1, 2}
    assert {0, 6 + 3, 12 + 5} < set(positions.tolist())


def test_what_was_hidden_takes_no_gradient_and_neither_does_the_choice():
    model = Model(CELLS, replace(NO_OBJECTIVES, masked_tokens=MaskedTokensOptions()), replace(SIZES, feature_dim=16))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    batch = cells_batch(token_mask=hiding(0, 3, 5))
    features = batch.features.requires_grad_()
    attention = batch.visual_attention.requires_grad_()
    outputs = model.encode(batch)
    assert not outputs.hidden_tokens.tokens.requires_grad
    model.objectives["masked_tokens"](outputs, batch)["masked_tokens"].backward()
    is_moved = features.grad.flatten(0, 1).abs().sum(1) > 0
    hidden = torch.zeros(18, dtype=torch.bool)
    hidden[outputs.hidden_tokens.positions] = True
    assert is_moved.tolist() == (~hidden).tolist()
    assert attention.grad is None
    assert model.encoder.blank.grad.any()


def test_a_trunk_learns_from_words_alone():
    model = build_new(VISUAL_PARSER, replace(NO_OBJECTIVES, masked_words=MaskedWordsOptions()), SIZES, seed=0)
    model(pixel_batch())["masked_words"].backward()
    gradients = {name: weight.grad for name, weight in model.encoder.trunk.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert sum(bool(gradient.any()) for gradient in gradients.values()) > len(gradients) - 4  # keys have no bias


def test_pairs_of_one_image_are_parsed_once_and_as_if_alone():
    encoder = encoder_of(VISUAL_PARSER)
    batch = pixel_batch()
    parsed = []
    encoder.trunk.register_forward_hook(lambda _module, inputs, _output: parsed.append(len(inputs[0])))
    with torch.no_grad():
        together = encoder(batch)
        stored = encoder(encoder.parse(batch))
        assert parsed == [2, 2]
        for row in range(3):
            alone = replace(
                take_pair(batch, row), pixels=PIXELS[batch.image_rows[row]][None], image_rows=torch.tensor([0])
            )
            found = encoder(alone)
            length = alone.input_ids.shape[1]
            torch.testing.assert_close(together.text[row, :length], found.text[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(together.regions[row], found.regions[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.regions, stored.regions)
    nothing = dict.fromkeys(("masked_words", "alignment", "grounding", "phrase_pairs"))
    taken = replace(batch, **nothing).take(torch.tensor([2, 0]))
    assert len(taken.pixels) == 2
    assert (taken.pixels[taken.image_rows] == PIXELS[[1, 0]]).all()


def test_padding_changes_nothing():
    encoder = encoder_of(CELLS)
    batch = cells_batch((6, 4, 5))
    masked = make_batch(num_regions=(6, 4, 5)).masked_regions
    full = replace(pad_batch(replace(batch, masked_regions=masked), regions=2), masked_regions=None)
    with torch.no_grad():
        torch.testing.assert_close(encoder(batch).regions[1, :4], encoder(full).regions[1, :4], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder(batch).text, encoder(full).text, atol=1e-5, rtol=1e-4)


def test_all_layers_can_be_tapped_and_kept():
    encoder = encoder_of(VISUAL_PARSER)
    outputs = encoder(pixel_batch(), encoder.tap_names, keep_states=True)
    assert outputs.layers == ("joint.0", "joint.1")
    assert outputs.taps["joint.1"].probs.shape == (3, 2, 43, 43)
    assert outputs.states["joint.1"][1].shape == (3, 36, 8)


def test_what_a_batch_lacks_is_named():
    with pytest.raises(ValueError, match="the batch has pixels, expected stored cells"):
        encoder_of(CELLS)(pixel_batch())
    with pytest.raises(ValueError, match="the batch has no attention among cells"):
        encoder_of(CELLS)(replace(cells_batch(token_mask=hiding(0, 1, 2)), visual_attention=None))


def test_gradients_are_the_same_where_activations_are_computed_again():
    shape = replace(VISUAL_PARSER, dropout=0.1, attention_dropout=0.1, trunk=replace(TRUNK, drop_path=0.2))
    objectives = replace(NO_OBJECTIVES, masked_words=MaskedWordsOptions(), masked_tokens=MaskedTokensOptions())
    batch = pixel_batch(token_mask=hiding(0, 3, 5))
    found = []
    for again in (False, True):
        model = build_new(shape, objectives, SIZES, seed=0)
        calls = []
        model.encoder.layers[0].self_attention.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        if again:
            recompute_activations(model.encoder)
        torch.manual_seed(1)
        sum(model(batch).values()).backward()
        assert len(calls) == 1 + again
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    kept, recomputed = found
    assert kept.keys() == recomputed.keys()
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_a_published_swin_is_the_trunk_s_first_weights(tmp_path):
    shape = TrunkShape(image_size=224, embed_dim=24, depths=(2, 2, 2, 2), num_heads=(1, 2, 3, 4), window_size=7)
    torch.manual_seed(0)
    published = Trunk(shape).swin
    published.save_pretrained(tmp_path / "swin")
    read = read_swin(str(tmp_path / "swin"), shape)
    assert TrunkShape.of(read.model.config, drop_path=0.1) == shape
    trunk = Trunk(shape)
    trunk.begin_with(read.model, source="swin")
    assert all((weight == published.state_dict()[name]).all() for name, weight in trunk.swin.state_dict().items())
    with pytest.raises(WeightsError, match="another Swin than the encoder's"):
        Trunk(replace(shape, embed_dim=48)).begin_with(read.model, source="swin")
    with pytest.raises(WeightsError, match="are for images of 224 pixels, image_size is 384"):
        read_swin(str(tmp_path / "swin"), TrunkShape())
