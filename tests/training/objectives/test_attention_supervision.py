"""Attention supervision: the specification's worked numbers, a loop over everything, and what must change nothing.

Axes: B pairs, L word pieces, R regions, N heads, T places of the sequence.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import (
    SHAPE,
    SINGLE_STREAM,
    SIZES,
    make_batch,
    make_outputs,
    pad_batch,
    pad_outputs,
    take_pair,
)
from training.batch import AttentionTap, Grounding
from training.model import build_new
from training.models.blocks import blocks_of
from training.models.rollout import rollout_of
from training.objectives.attention_supervision import (
    AttentionSupervision,
    AttentionSupervisionOptions,
    gold_of_pieces,
)
from training.objectives.catalog import Objectives

TO_REGIONS, TO_TEXT = "attention_text_to_regions", "attention_regions_to_text"
DOG = [0.1, 0.3, 0.1, 0.1, 0.3, 0.1]
DOG_BOX = [0.1, 0.4, 0.1, 0.1, 0.2, 0.1]
PUBLIC_CODE = {"epsilon": 1e-6, "image_to_text": "bce_logprob"}


def supervise(outputs, batch, **options):
    return AttentionSupervision(AttentionSupervisionOptions(**options), SIZES).double()(outputs, batch)


def numbers(terms):
    return {name: term.item() for name, term in terms.items()}


def tap_of(rows):
    """One head's attention [1, 1, T, T] with these rows, and even ones elsewhere."""
    probs = torch.full((1, 1, 6, 6), 1 / 6, dtype=torch.float64)
    for place, row in rows.items():
        probs[0, 0, place] = torch.tensor(row, dtype=torch.float64)
    return AttentionTap(scores=probs.log(), probs=probs, probs_dropped=probs)


def toy(*layers):
    """[CLS] dog [SEP], image-box, dog-box, [END]: the word is shown by the second region."""
    batch = replace(make_batch(num_pieces=[3], num_regions=[2]), grounding=phrase(0, 1, 2, [False, True]))
    taps = {f"joint.{number}": tap_of(rows) for number, rows in enumerate(layers)}
    return replace(make_outputs(batch, dtype=torch.float64), layers=tuple(taps), taps=taps), batch


def phrase(row, start, end, gold):
    return Grounding(
        rows=torch.tensor([row]), starts=torch.tensor([start]), ends=torch.tensor([end]), gold=torch.tensor([gold])
    )


def phrases_of(grounding, row):
    """The phrases of one pair, as those of a batch of its own."""
    here = grounding.rows == row
    return replace(
        grounding,
        rows=torch.zeros_like(grounding.rows[here]),
        starts=grounding.starts[here],
        ends=grounding.ends[here],
        gold=grounding.gold[here],
    )


def random_encoder(shape):
    torch.manual_seed(0)
    encoder = shape.build()
    for name, weight in encoder.named_parameters():
        if not name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, std=0.5)
    return encoder.double().eval()


# the worked numbers


@pytest.mark.parametrize(
    ("options", "to_regions", "to_text"),
    [
        ({}, 0.287682, 0.405465),
        (PUBLIC_CODE, 0.287683, 0.408198),
        ({"norm": "softmax"}, 0.598139, None),
        ({"tap": "probs_dropped", **PUBLIC_CODE}, 0.287683, 0.408198),
    ],
    ids=["exact", "public code", "softmax", "dropped"],
)
def test_the_worked_example(options, to_regions, to_text):
    found = supervise(*toy({1: DOG, 4: DOG_BOX}), **options)
    assert found[TO_REGIONS].dtype == torch.float64
    assert found[TO_REGIONS].item() == pytest.approx(to_regions, abs=1e-6)
    assert to_text is None or found[TO_TEXT].item() == pytest.approx(to_text, abs=1e-6)


@pytest.mark.parametrize(
    ("layers", "expected"), [((0,), 0.788457), ((1,), 0.405465), ("last", 0.405465), ("all", 0.596961)]
)
def test_the_worked_example_of_two_layers(layers, expected):
    first, second = [0.15, 0.15, 0.15, 0.3, 0.25, 0], [0.2, 0.2, 0.3, 0.1, 0.2, 0]
    found = supervise(*toy({1: first}, {1: second}), layers=layers, image_to_text="none")
    assert numbers(found) == pytest.approx({TO_REGIONS: expected}, abs=1e-6)


def test_the_public_codes_loss_is_never_less_than_log_2_over_the_number_of_words():
    perfect = toy({4: [1e-300, 0.7, 1e-300, 0.1, 0.1, 0.1]})
    assert supervise(*perfect, image_to_text="bce_logprob")[TO_TEXT].item() == pytest.approx(math.log(2) / 3, abs=1e-9)
    assert supervise(*perfect)[TO_TEXT].item() == pytest.approx(0, abs=1e-9)


def test_a_softmax_of_probabilities_can_not_be_sharp():
    perfect = toy({1: [0, 0, 0, 0, 1, 0]})
    found = supervise(*perfect, norm="softmax")[TO_REGIONS]
    assert found.item() == pytest.approx(-math.log(math.e / (math.e + 1)), abs=1e-9)


@pytest.mark.parametrize(
    ("epsilon", "direct", "semi_direct"), [(0, 0.2876821, 0.2876821), (1e-6, 0.2876832, 0.2876857)]
)
def test_after_one_layer_semi_direct_is_direct(epsilon, direct, semi_direct):
    """The diagonal is outside both blocks, and shares do not know of the half; an epsilon does, a little."""
    outputs, batch = toy({1: DOG, 4: DOG_BOX})
    for mode, expected in (("direct", direct), ("semi-direct", semi_direct)):
        found = supervise(outputs, batch, mode=mode, epsilon=epsilon)
        assert found[TO_REGIONS].item() == pytest.approx(expected, abs=1e-7)
        assert found[TO_TEXT].item() == pytest.approx(0.405465, abs=5e-6)


def test_after_one_layer_semi_direct_is_direct_on_the_mean_over_heads():
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64, num_layers=1)
    mean = outputs.taps["joint.0"].probs.mean(1, keepdim=True)
    averaged = replace(outputs, taps={"joint.0": AttentionTap(scores=mean.log(), probs=mean, probs_dropped=mean)})
    semi_direct = numbers(supervise(outputs, batch, mode="semi-direct"))
    assert semi_direct == pytest.approx(numbers(supervise(averaged, batch)), abs=1e-12)
    assert semi_direct != pytest.approx(numbers(supervise(outputs, batch)), abs=1e-2)


# by loops


def by_loops(outputs, batch, blocks_of_layers, heads):
    """Both terms, word by word and region by region, from probabilities."""
    to_regions, to_text = [], []
    for row in range(len(batch)):
        here = phrases_of(batch.grounding, row)
        length, width = int(batch.text_mask[row].sum()), int(batch.region_mask[row].sum())
        gold = {}
        for start, end, shown in zip(here.starts.tolist(), here.ends.tolist(), here.gold, strict=True):
            for piece in range(start, end):
                gold.setdefault(piece, set()).update(shown.nonzero()[:, 0].tolist())
        for blocks in blocks_of_layers:
            for head in heads:
                for piece, regions in gold.items():
                    share = blocks.text_to_regions[row, head, piece, :width]
                    share = (share / share.sum()).tolist()
                    to_regions.append(-np.mean([math.log(share[region]) for region in regions]))
                for region in set().union(*gold.values()):
                    share = blocks.regions_to_text[row, head, region, :length]
                    share = (share / share.sum()).tolist()
                    to_text.append(-np.mean([math.log(share[p]) for p, regions in gold.items() if region in regions]))
    return {TO_REGIONS: np.mean(to_regions), TO_TEXT: np.mean(to_text)}


def random_grounding(batch, seed):
    """Phrases that overlap, of several gold regions, and pairs without any."""
    draw = np.random.default_rng(seed)
    found = []
    for row in draw.integers(0, len(batch), draw.integers(1, 6)):
        start = int(draw.integers(0, 3))
        end = int(draw.integers(start + 1, batch.text_mask[row].sum() + 1))
        gold = np.zeros(batch.region_mask.shape[1], bool)
        gold[draw.choice(int(batch.region_mask[row].sum()), draw.integers(1, 4), replace=True)] = True
        found.append(phrase(int(row), start, end, gold.tolist()))
    names = ("rows", "starts", "ends", "gold")
    return Grounding(**{name: torch.cat([getattr(each, name) for each in found]) for name in names})


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    streams=st.sampled_from([1, 2]),
    layers=st.sampled_from(["all", "last", (0,), (2, 0)]),
    heads=st.sampled_from([None, (0,), (1, 0)]),
)
def test_direct_supervision_is_what_loops_give(seed, streams, layers, heads):
    batch = make_batch()
    batch = replace(batch, grounding=random_grounding(batch, seed))
    outputs = make_outputs(batch, dtype=torch.float64, num_layers=3, num_streams=streams, seed=seed)
    chosen = {"all": (0, 1, 2), "last": (2,)}.get(layers, layers)
    blocks = [blocks_of(outputs, outputs.layers[number]) for number in chosen]
    expected = by_loops(outputs, batch, blocks, heads or (0, 1))
    assert numbers(supervise(outputs, batch, layers=layers, heads=heads)) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    layers=st.sampled_from(["all", "last", (0,), (2, 0)]),
    heads=st.sampled_from([None, (0,), (1, 0)]),
)
def test_semi_direct_supervision_is_what_loops_give(seed, layers, heads):
    batch = make_batch()
    batch = replace(batch, grounding=random_grounding(batch, seed))
    outputs = make_outputs(batch, dtype=torch.float64, num_layers=3, seed=seed)
    chosen = {"all": (0, 1, 2), "last": (2,)}.get(layers, layers)
    rollouts = rollout_of(outputs, heads=heads)
    taps = {
        f"joint.{n}": AttentionTap(scores=each, probs=each[:, None], probs_dropped=each)
        for n, each in enumerate(rollouts)
    }
    blocks = [blocks_of(replace(outputs, taps=taps), f"joint.{number}") for number in chosen]
    expected = by_loops(outputs, batch, blocks, (0,))
    found = numbers(supervise(outputs, batch, mode="semi-direct", layers=layers, heads=heads))
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_piece_in_two_phrases_is_shown_by_the_regions_of_both_and_counts_once():
    gold = torch.tensor([[True, False, False], [False, False, True]])
    grounding = Grounding(rows=torch.tensor([1, 1]), starts=torch.tensor([1, 2]), ends=torch.tensor([3, 4]), gold=gold)
    found = gold_of_pieces(grounding, torch.ones(2, 5, dtype=torch.bool))
    assert not found[0].any()
    assert found[1].int().tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0]]


# what changes nothing


@pytest.mark.parametrize("mode", ["direct", "semi-direct", "indirect"])
@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM, replace(SINGLE_STREAM, end_token=True)])
def test_pairs_of_unequal_lengths_come_out_as_one_by_one(shape, mode):
    """A term's mean is over what has a share in it: pieces, distinct regions, or pairs of a phrase and a region."""
    if mode == "semi-direct" and shape is SHAPE:
        return
    encoder = random_encoder(shape)
    batch = replace(make_batch(num_pieces=[5, 7, 4, 3], num_regions=[4, 6, 3, 1]), masked_regions=None)
    torch.manual_seed(1)
    head = AttentionSupervision(AttentionSupervisionOptions(mode=mode), SIZES).double()
    together = numbers(head(encoder(batch, encoder.tap_names), batch))
    summed, counted = dict.fromkeys(head.terms, 0.0), dict.fromkeys(head.terms, 0)
    for row in range(len(batch)):
        alone, width = take_pair(batch, row), int(batch.region_mask[row].sum())
        grounding = phrases_of(batch.grounding, row)
        alone = replace(alone, grounding=replace(grounding, gold=grounding.gold[:, :width]))
        gold_LR = gold_of_pieces(alone.grounding, alone.text_mask)[0]
        counts = {
            TO_REGIONS: gold_LR.any(1).sum(),
            TO_TEXT: gold_LR.any(0).sum(),
            "grounding": grounding.gold.shape[0] * width,
        }
        for name, term in numbers(head(encoder(alone, encoder.tap_names), alone)).items():
            summed[name] += term * int(counts[name])
            counted[name] += int(counts[name])
    assert together == pytest.approx({name: summed[name] / counted[name] for name in head.terms}, abs=1e-9)


@pytest.mark.parametrize("options", [{}, PUBLIC_CODE, {"norm": "softmax"}, {"mode": "semi-direct"}])
@pytest.mark.parametrize("streams", [1, 2])
def test_padding_changes_nothing(options, streams):
    if streams == 2 and "mode" in options:
        return
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64, num_streams=streams)
    expected = numbers(supervise(outputs, batch, **options))
    for more in ({"regions": 5}, {"pieces": 3}, {"regions": 1, "pieces": 2}):
        found = supervise(pad_outputs(outputs, **more), pad_batch(batch, **more), **options)
        assert numbers(found) == pytest.approx(expected, abs=1e-9)


def test_the_end_token_is_neither_a_word_nor_a_region():
    """Whatever attends to it, or it attends to: shares are among words, or among regions."""
    outputs, batch = toy({1: DOG, 4: DOG_BOX})
    expected = numbers(supervise(outputs, batch))
    to_the_end = toy(
        {1: [0.01, 0.03, 0.01, 0.01, 0.03, 0.91], 4: [0.05, 0.2, 0.05, 0.1, 0.2, 0.4], 5: [0.9, 0, 0, 0.1, 0, 0]}
    )
    assert numbers(supervise(*to_the_end)) == pytest.approx(expected, abs=1e-12)


def test_phrases_of_a_second_caption_are_supervised_like_those_of_the_first():
    """[CLS] and both [SEP] are words that regions may attend to."""
    encoder = random_encoder(replace(SINGLE_STREAM, num_segments=3))
    batch = take_pair(make_batch(num_pieces=[8], num_regions=[4]), 0)
    batch = replace(
        batch,
        segment_ids=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]),
        grounding=Grounding(
            rows=torch.tensor([0, 0]),
            starts=torch.tensor([1, 5]),
            ends=torch.tensor([3, 7]),
            gold=torch.tensor([[True, False, False, False], [True, True, False, False]]),
        ),
    )
    outputs = encoder(batch, encoder.tap_names)
    expected = by_loops(outputs, batch, [blocks_of(outputs, layer) for layer in outputs.layers], (0, 1))
    assert numbers(supervise(outputs, batch)) == pytest.approx(expected, abs=1e-9)


# who learns


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_after_a_layer_the_rollout_teaches_that_layer_and_those_before(layer):
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64, num_layers=3)
    sum(supervise(outputs, batch, mode="semi-direct", layers=(layer,)).values()).backward()
    reached = [outputs.taps[name].scores.grad is not None for name in outputs.layers]
    assert reached == [number <= layer for number in range(3)]


def test_direct_supervision_teaches_the_chosen_heads_of_the_chosen_layers_from_grounded_rows_only():
    batch = make_batch()
    outputs = make_outputs(batch, dtype=torch.float64, num_layers=3)
    sum(supervise(outputs, batch, layers=(1,), heads=(1,)).values()).backward()
    gradients = [outputs.taps[name].scores.grad for name in outputs.layers]
    assert gradients[0] is None and gradients[2] is None
    assert not gradients[1][:, 0].any()
    gold = gold_of_pieces(batch.grounding, batch.text_mask)
    assert gradients[1][:, 1].any(2).tolist() == torch.cat([gold.any(2), gold.any(1)], 1).tolist()


@pytest.mark.parametrize("options", [{}, {"epsilon": 1e-6}, {"mode": "semi-direct"}, {"image_to_text": "bce_logprob"}])
def test_gradients_are_the_right_ones(options):
    batch = make_batch(num_pieces=[4], num_regions=[3])
    outputs = make_outputs(batch, dtype=torch.float64)

    def loss(scores):
        probs = scores.softmax(3)
        taps = {name: AttentionTap(scores=scores, probs=probs, probs_dropped=probs) for name in outputs.layers}
        return sum(supervise(replace(outputs, taps=taps), batch, **options).values())

    scores = outputs.taps["joint.0"].scores.detach().requires_grad_()
    assert torch.autograd.gradcheck(loss, scores)


@pytest.mark.parametrize("epsilon", [0, 1e-6])
def test_attention_that_is_next_to_nothing_still_learns_unless_there_is_an_epsilon(epsilon):
    """As large a gradient as that of a word that is wrong altogether can be."""
    outputs, batch = toy({1: DOG, 4: DOG_BOX})
    scores = torch.zeros(1, 1, 6, 6, dtype=torch.float64)
    scores[0, 0, 1, 3] = 200
    scores.requires_grad_()
    tap = AttentionTap(scores=scores, probs=scores.softmax(3), probs_dropped=scores.softmax(3))
    supervise(replace(outputs, taps={"joint.0": tap}), batch, epsilon=epsilon)[TO_REGIONS].backward()
    assert scores.grad[0, 0, 1, 4].item() == pytest.approx(0 if epsilon else -1, abs=1e-9)


def test_shuffled_dropout_stays_finite():
    batch = make_batch()
    outputs = make_outputs(batch)
    taps = {name: replace(tap, probs_dropped=tap.probs * 0) for name, tap in outputs.taps.items()}
    for mode in ("direct", "semi-direct"):
        found = supervise(replace(outputs, taps=taps), batch, mode=mode, tap="probs_dropped", **PUBLIC_CODE)
        sum(found.values()).backward(retain_graph=True)
        assert all(map(math.isfinite, numbers(found).values()))
        assert all(tap.scores.grad.isfinite().all() for tap in outputs.taps.values())


# what is asked for


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM], ids=["two streams", "one stream"])
@pytest.mark.parametrize("mode", ["indirect", "direct", "semi-direct"])
def test_a_model_is_supervised_as_it_is_asked_to_be(shape, mode):
    options = AttentionSupervisionOptions(mode=mode, layers=(0,))
    model = build_new(shape, Objectives(attention_supervision=options, word_object_alignment=None), SIZES, seed=0)
    if mode == "semi-direct" and shape is SHAPE:
        with pytest.raises(ValueError, match=r"attention rollout: there is no joint attention of cross\.0, expected"):
            model(make_batch())
        return
    terms = model(make_batch())
    expected = {"grounding"} if mode == "indirect" else {TO_REGIONS, TO_TEXT}
    assert expected < set(terms)
    sum(terms[name] for name in expected).backward()
    assert model.encoder.text_embedding.word.weight.grad.any()


def test_layers_are_asked_for_as_they_are_needed():
    encoder = SINGLE_STREAM.build()
    asked = {
        mode: AttentionSupervision(AttentionSupervisionOptions(mode=mode, layers=(1,)), SIZES).taps(encoder)
        for mode in ("indirect", "direct", "semi-direct")
    }
    assert asked == {"indirect": (), "direct": ("joint.1",), "semi-direct": ("joint.0", "joint.1")}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tap": "probs_dropped"}, "tap is 'probs_dropped' and epsilon 0, .* expected an epsilon above 0"),
        ({"layers": ()}, "layers is empty, expected at least one"),
        ({"heads": ()}, "heads is empty, expected at least one"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, says):
    with pytest.raises(ValueError, match=f"attention supervision: {says}"):
        AttentionSupervisionOptions(**options)


def test_layers_and_heads_that_there_are_not_are_refused():
    batch = make_batch()
    for options, says in (({"layers": (2,)}, r"layers \[2\]"), ({"heads": (0, 5)}, r"heads \[5\]")):
        with pytest.raises(ValueError, match=says):
            supervise(make_outputs(batch, dtype=torch.float64), batch, **options)
