"""Congruence: the specification's worked set A in all forms, the explicit loops, and what may not change a loss."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import entr, softmax

from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, make_batch, make_outputs, take_pair
from tests.training.objectives.explicit_congruence import carried_over_loop, explicit_half, hard_loop
from training.model import build_new
from training.models.blocks import Blocks, blocks_of
from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.congruence import (
    Congruence,
    CongruenceOptions,
    carried_over,
    congruence_of_pairs,
    divergences,
    other_regions,
    text_entropy_of_pairs,
)


def of_one_head(values):
    return torch.tensor(values, dtype=torch.float64)[None, None]


SET_A = Blocks(
    text=of_one_head([[1, 0, 2], [0, 1, 0], [2, 1, 0]]),
    regions=of_one_head([[2, 0], [1, 3]]),
    text_to_regions=of_one_head([[2, 0], [0, 1], [1, 0.5]]),
    regions_to_text=of_one_head([[1, 0, 0.5], [0, 2, 1]]),
)
TWO_REGIONS, THREE_WORDS = torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)

RAW = CongruenceOptions(rows="sum")
CODE = CongruenceOptions(space="block_prob")
FORMS = {
    "cacr, paper": RAW,
    "cacr, paper, every head, means": CongruenceOptions(heads="each", reduce="mean", temperature=2),
    "cacr, code": CODE,
    "cacr, code, every head": replace(CODE, heads="each", detach_cross=False),
    "singular, paper": replace(RAW, method="iais-singular"),
    "singular, code": replace(CODE, method="iais-singular"),
    "distributed, paper": replace(RAW, method="iais-distributed", reduce="mean"),
    "distributed, code": replace(CODE, method="iais-distributed"),
}
every_form = pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)


def of_set_a(options, scores=SET_A):
    losses = divergences(scores, THREE_WORDS, TWO_REGIONS, options)
    return losses["text"].item(), losses["regions"].item()


def transformed(scores, change):
    return Blocks(**{each.name: change(getattr(scores, each.name)) for each in fields(scores)})


def random_blocks(num_words, num_regions, seed=0, scale=2.0, num_heads=2):
    draw = torch.Generator().manual_seed(seed)

    def block(rows, columns):
        return scale * torch.randn(1, num_heads, rows, columns, generator=draw, dtype=torch.float64)

    return Blocks(
        text=block(num_words, num_words),
        regions=block(num_regions, num_regions),
        text_to_regions=block(num_words, num_regions),
        regions_to_text=block(num_regions, num_words),
    )


def alone(scores, options, other=None):
    """The losses of one pair without padding."""
    shape = scores.text_to_regions.shape
    words, regions = torch.ones(1, shape[2], dtype=torch.bool), torch.ones(1, shape[3], dtype=torch.bool)
    return {half: loss.item() for half, loss in divergences(scores, words, regions, options, other).items()}


def padded(scores, words, regions, length, width):
    """A pair's scores at these places of a bigger block; elsewhere numbers that nothing may depend on."""
    draw = torch.Generator().manual_seed(9)
    places = {
        "text": (words, words, length, length),
        "regions": (regions, regions, width, width),
        "text_to_regions": (words, regions, length, width),
        "regions_to_text": (regions, words, width, length),
    }
    found = {}
    for name, (rows, columns, height, breadth) in places.items():
        block = getattr(scores, name)
        bigger = 50 * torch.randn(1, block.shape[1], height, breadth, generator=draw, dtype=block.dtype)
        bigger[..., breadth - 1] = torch.finfo(block.dtype).min
        bigger[:, :, torch.tensor(rows)[:, None], torch.tensor(columns)] = block
        found[name] = bigger
    return Blocks(**found)


# worked set A


def test_carried_over_matrices_are_the_worked_ones():
    text = carried_over(SET_A.regions, SET_A.text_to_regions, SET_A.regions_to_text, TWO_REGIONS, RAW)
    regions = carried_over(SET_A.text, SET_A.regions_to_text, SET_A.text_to_regions, THREE_WORDS, RAW)
    assert text[0, 0].tolist() == [[8, 0, 4], [2, 3, 2.5], [5, 1.5, 3.25]]
    assert regions[0, 0].tolist() == [[3, 3], [2, 6]]


def test_of_probabilities_the_carried_over_matrix_is_the_worked_one():
    probs = transformed(SET_A, lambda block: block.softmax(-1))
    text = carried_over(probs.regions, probs.text_to_regions, probs.regions_to_text, TWO_REGIONS, CODE)
    worked = [[0.720872, 0.365980, 0.571030], [0.365980, 0.581320, 0.456901], [0.571030, 0.456901, 0.522842]]
    assert text[0, 0].numpy() == pytest.approx(np.array(worked), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "text", "regions"),
    [
        (RAW, 4.474533, 0.964028),
        (CongruenceOptions(), 1.491511, 0.482014),
        (replace(RAW, reduce="mean"), 1.349379, 1.183896),
        (replace(RAW, method="iais-singular"), 1.372361, 0.299477),
        (CODE, 0.040005, 0.114298),
        (replace(CODE, method="iais-singular"), 0.305017, 0.553536),
    ],
    ids=["paper, sums", "paper, means of rows", "means of products", "IAIS, paper", "code", "IAIS, code"],
)
def test_losses_are_the_worked_ones(options, text, regions):
    assert of_set_a(options) == (pytest.approx(text, abs=1e-6), pytest.approx(regions, abs=1e-6))


def test_both_halves_of_the_paper_together_are_the_worked_number():
    assert sum(of_set_a(RAW)) == pytest.approx(5.438560, abs=1e-6)


def test_the_papers_equation_of_regions_taken_literally_is_another():
    """It has the words' attention transposed."""
    turned = replace(SET_A, text=SET_A.text.transpose(2, 3))
    carried = carried_over(turned.text, turned.regions_to_text, turned.text_to_regions, THREE_WORDS, RAW)
    assert carried[0, 0].tolist() == [[3, 2], [3, 6]]
    assert of_set_a(RAW, turned)[1] == pytest.approx(0.221515, abs=1e-6)
    assert of_set_a(RAW)[1] == pytest.approx(0.964028, abs=1e-6)


def test_means_of_products_are_sums_over_the_number_of_all_pairs_of_regions():
    sums, means = (
        carried_over(SET_A.regions, SET_A.text_to_regions, SET_A.regions_to_text, TWO_REGIONS, options)
        for options in (RAW, replace(RAW, reduce="mean"))
    )
    assert torch.equal(sums, 4 * means)


def test_a_cross_block_that_is_sure_makes_the_hard_case():
    sure = torch.eye(2, dtype=torch.float64)[SET_A.text_to_regions.argmax(-1)]
    back = torch.eye(3, dtype=torch.float64)[SET_A.regions_to_text.argmax(-1)]
    soft = of_set_a(RAW, replace(SET_A, text_to_regions=sure, regions_to_text=back))
    assert soft == of_set_a(replace(RAW, method="iais-singular"))


def test_of_equal_regions_the_first_is_meant():
    equal = torch.ones(1, 1, 3, 2, dtype=torch.float64)
    hard = replace(RAW, method="iais-singular")
    carried = carried_over(SET_A.regions, equal, SET_A.regions_to_text, TWO_REGIONS, hard)
    assert carried.unique().tolist() == [2]  # how region 0 attends to itself


# the explicit loops


@every_form
@settings(max_examples=8, deadline=None)
@given(num_words=st.integers(1, 6), num_regions=st.integers(1, 6), seed=st.integers(0, 1000))
def test_losses_are_those_of_the_explicit_loops(options, num_words, num_regions, seed):
    scores = random_blocks(num_words, num_regions, seed, scale=1.0)
    found = alone(scores, options)
    text, regions = scores.text[0].numpy(), scores.regions[0].numpy()
    cross, back = scores.text_to_regions[0].numpy(), scores.regions_to_text[0].numpy()
    floor = 1e-4 if options.method == "iais-distributed" else 1e-9
    assert found["text"] == pytest.approx(explicit_half(text, regions, cross, back, options), abs=floor, rel=1e-9)
    assert found["regions"] == pytest.approx(explicit_half(regions, text, back, cross, options), abs=floor, rel=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_the_closed_form_is_the_loop_over_all_pairs_of_regions(num_words, num_regions, seed):
    scores = random_blocks(num_words, num_regions, seed, num_heads=1)
    regions = torch.ones(1, num_regions, dtype=torch.bool)
    given_blocks = scores.regions[0, 0].numpy(), scores.text_to_regions[0, 0].numpy()
    for options, loop in ((RAW, carried_over_loop), (replace(RAW, method="iais-singular"), hard_loop)):
        found = carried_over(scores.regions, scores.text_to_regions, scores.regions_to_text, regions, options)
        assert found[0, 0].numpy() == pytest.approx(loop(*given_blocks), abs=1e-12)


# what may not change a loss


@every_form
def test_a_batch_of_unequal_lengths_has_the_losses_of_its_pairs_alone(options):
    """Words stand where they stand between [CLS] and [SEP]; padding is full of other numbers."""
    sizes = [(3, 2), (1, 4), (5, 1), (4, 6), (2, 2)]
    pairs = [random_blocks(*size, seed=row) for row, size in enumerate(sizes)]
    places = [([*range(1, num_words + 1)], [*range(num_regions)]) for num_words, num_regions in sizes]
    wide = [padded(pair, *place, 8, 7) for pair, place in zip(pairs, places, strict=True)]
    together = Blocks(**{each.name: torch.cat([getattr(one, each.name) for one in wide]) for each in fields(Blocks)})
    is_word, is_region = torch.zeros(5, 8, dtype=torch.bool), torch.zeros(5, 7, dtype=torch.bool)
    for row, (words, regions) in enumerate(places):
        is_word[row, words], is_region[row, regions] = True, True
    found = divergences(together, is_word, is_region, options)
    for row, pair in enumerate(pairs):
        for half, expected in alone(pair, options).items():
            assert found[half][row].item() == pytest.approx(expected, abs=1e-9), (row, half)


@every_form
@settings(max_examples=6, deadline=None)
@given(words=st.permutations(range(5)), regions=st.permutations(range(4)))
def test_losses_do_not_know_the_order_of_words_and_regions(options, words, regions):
    scores = random_blocks(5, 4)
    turned = Blocks(
        text=scores.text[:, :, words][..., words],
        regions=scores.regions[:, :, regions][..., regions],
        text_to_regions=scores.text_to_regions[:, :, words][..., regions],
        regions_to_text=scores.regions_to_text[:, :, regions][..., words],
    )
    assert alone(turned, options) == pytest.approx(alone(scores, options), abs=1e-9)


@every_form
def test_the_half_of_a_lone_word_or_region_is_zero_and_the_other_finite(options):
    for size, half in (((1, 4), "text"), ((4, 1), "regions")):
        losses = alone(random_blocks(*size), options)
        assert losses[half] == pytest.approx(0, abs=1e-12)
        assert np.isfinite(list(losses.values())).all()
    assert alone(random_blocks(1, 1), options) == pytest.approx({"text": 0, "regions": 0}, abs=1e-12)


@every_form
@pytest.mark.parametrize("scale", [0, 1e-6, 1e4])
def test_extreme_scores_have_finite_losses_and_gradients(options, scale):
    scores = transformed(random_blocks(4, 3, scale=scale), lambda block: block.float().requires_grad_())
    words, regions = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    losses = torch.cat([*divergences(scores, words, regions, options).values()])
    losses.sum().backward()
    assert losses.isfinite().all()
    for each in fields(scores):
        gradient = getattr(scores, each.name).grad
        assert gradient is None or gradient.isfinite().all(), each.name


def test_one_distribution_is_congruent_with_itself():
    """Attention among words that is what is carried over to them."""
    scores = random_blocks(4, 3, num_heads=1)
    regions = torch.ones(1, 3, dtype=torch.bool)
    carried = carried_over(scores.regions, scores.text_to_regions, scores.regions_to_text, regions, RAW)
    assert alone(replace(scores, text=carried), RAW)["text"] == pytest.approx(0, abs=1e-12)


# gradients


def gradients(options):
    """Which blocks the text half's gradient reaches."""
    scores = transformed(random_blocks(4, 3), lambda block: block.requires_grad_())
    words, regions = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool)
    divergences(scores, words, regions, options)["text"].sum().backward()
    found = {each.name: getattr(scores, each.name).grad for each in fields(scores)}
    return {name for name, gradient in found.items() if gradient is not None and gradient.any()}


@pytest.mark.parametrize("space", ["raw", "block_prob"])
@pytest.mark.parametrize(
    ("method", "detach_cross", "reached"),
    [
        ("cacr", None, {"text", "regions"}),
        ("cacr", True, {"text", "regions"}),
        ("cacr", False, {"text", "regions", "text_to_regions"}),
        ("iais-singular", None, {"text", "regions"}),
        ("iais-singular", False, {"text", "regions"}),
        ("iais-distributed", None, {"text", "text_to_regions", "regions_to_text"}),
        ("iais-distributed", True, {"text"}),
    ],
)
def test_cross_blocks_learn_if_they_are_to(space, method, detach_cross, reached):
    assert gradients(CongruenceOptions(space=space, method=method, detach_cross=detach_cross)) == reached


@pytest.mark.parametrize("options", [replace(RAW, detach_cross=False), FORMS["cacr, code, every head"]])
def test_gradients_are_the_right_ones(options):
    scores = random_blocks(3, 4, scale=0.5)
    words, regions = torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool)
    given_blocks = [getattr(scores, each.name).requires_grad_() for each in fields(scores)]

    def losses(*blocks):
        named = {each.name: block for each, block in zip(fields(Blocks), blocks, strict=True)}
        return tuple(divergences(Blocks(**named), words, regions, options).values())

    assert torch.autograd.gradcheck(losses, given_blocks)


# the other options


@pytest.mark.parametrize("method", ["cacr", "iais-singular", "iais-distributed"])
@pytest.mark.parametrize("softmax_on", ["both", "pseudo", "neither"])
def test_of_probabilities_either_may_go_without_another_softmax(method, softmax_on):
    """Without one, rows of the carried-over matrix are divided by their sums."""
    scores = random_blocks(4, 3, num_heads=1)
    probs = transformed(scores, lambda block: block.softmax(-1))
    carried = carried_over(
        probs.regions,
        probs.text_to_regions,
        probs.regions_to_text,
        torch.ones(1, 3, dtype=torch.bool),
        CongruenceOptions(method=method),
    )[0, 0].numpy()
    own = probs.text[0, 0].numpy()
    pseudo = carried / carried.sum(1, keepdims=True) if softmax_on == "neither" else softmax(carried, 1)
    own = softmax(own, 1) if softmax_on == "both" else own
    expected = ((own - pseudo) * (np.log(own) - np.log(pseudo))).sum(1).mean()
    found = alone(scores, replace(CODE, method=method, softmax_on=softmax_on))["text"]
    assert found == pytest.approx(expected, rel=2e-4)


def test_of_probabilities_a_second_softmax_leaves_little():
    """One to one correspondence of 36 with 36 sure relations, against unrelated ones: some hundred times less."""
    draw = torch.Generator().manual_seed(0)
    own, other = (4 * torch.randn(1, 1, 36, 36, generator=draw, dtype=torch.float64) for _ in range(2))
    sure = 50 * torch.eye(36, dtype=torch.float64)[None, None]
    everything = torch.ones(1, 36, dtype=torch.bool)
    scores = Blocks(text=own, regions=other, text_to_regions=sure, regions_to_text=sure)
    code = divergences(scores, everything, everything, CODE)["text"].item()
    raw = divergences(replace(scores, text_to_regions=sure / 50), everything, everything, CongruenceOptions())["text"]
    assert code == pytest.approx(0.038, abs=0.006)
    assert raw.item() > 200 * code


def test_a_temperature_divides_the_carried_over_matrix():
    half = replace(SET_A, regions=SET_A.regions / 2)
    assert of_set_a(replace(RAW, temperature=2))[0] == pytest.approx(of_set_a(RAW, half)[0], abs=1e-12)


def test_the_exponential_schedule_has_the_worked_weights():
    options = CongruenceOptions(schedule="exponential", weight=2)
    found = [options.weight_at(done, 0) / 2 for done in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([0.006738, 0.023518, 0.082085, 0.286505, 1], abs=1e-6)
    assert CongruenceOptions(weight=2).weight_at(0, 0) == 2


@pytest.mark.parametrize("halves", ["text", "regions"])
def test_a_half_alone_is_what_it_is_with_the_other(halves):
    batch = make_batch()
    outputs = make_outputs(batch)
    both = Congruence(CongruenceOptions(), SIZES)(outputs, batch)
    head = Congruence(CongruenceOptions(halves=halves), SIZES)
    assert head.terms == (f"congruence_{halves}",)
    assert head(outputs, batch) == {f"congruence_{halves}": both[f"congruence_{halves}"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"softmax_on": "pseudo"}, "raw scores, which are no probabilities"), ({"temperature": 0}, "temperature 0")],
)
def test_options_without_a_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CongruenceOptions(**options)


# the objective


@pytest.mark.parametrize("num_streams", [1, 2])
def test_terms_are_means_over_pairs_that_match_of_words_and_regions(num_streams):
    """[CLS], [SEP] and padding are left out; more layers are averaged."""
    batch = replace(make_batch(), is_matched=torch.tensor([True, False, True]))
    outputs = make_outputs(batch, num_streams=num_streams)
    options = CongruenceOptions(layers="all", reduce="mean")
    expected = []
    for row in (0, 2):
        pieces, regions = int(batch.text_mask[row].sum()), int(batch.region_mask[row].sum())
        for layer in outputs.layers:
            scores = blocks_of(outputs, layer, "scores")
            words, seen, here = slice(1, pieces - 1), slice(regions), slice(row, row + 1)
            pair = Blocks(
                text=scores.text[here, :, words, words],
                regions=scores.regions[here, :, seen, seen],
                text_to_regions=scores.text_to_regions[here, :, words, seen],
                regions_to_text=scores.regions_to_text[here, :, seen, words],
            )
            expected.append(alone(pair, options))
    found = Congruence(options, SIZES)(outputs, batch)
    for half in ("text", "regions"):
        mean = np.mean([each[half] for each in expected])
        assert found[f"congruence_{half}"].item() == pytest.approx(mean, rel=1e-5)


def test_pairs_that_do_not_match_contribute_exactly_nothing():
    batch = replace(make_batch(), is_matched=torch.tensor([True, False, True]))
    outputs = make_outputs(batch)
    head = Congruence(CongruenceOptions(), SIZES)
    sum(head(outputs, batch).values()).backward()
    touched = outputs.taps["joint.1"].scores.grad.abs().sum((1, 2, 3)) > 0
    assert touched.tolist() == [True, False, True]
    assert outputs.taps["joint.0"].scores.grad is None


@pytest.mark.parametrize("is_matched", [True, False])
def test_without_a_pair_to_look_at_terms_and_gradients_are_zero(is_matched):
    """Where none matches, or a sentence has no word."""
    batch = make_batch(num_pieces=[2, 2] if is_matched else [5, 6], num_regions=[3, 4])
    batch = replace(batch, is_matched=torch.full((2,), is_matched))
    outputs = make_outputs(batch)
    terms = Congruence(CongruenceOptions(), SIZES)(outputs, batch)
    sum(terms.values()).backward()
    assert [term.item() for term in terms.values()] == [0, 0]
    assert not outputs.taps["joint.1"].scores.grad.any()


@pytest.mark.parametrize("shape", [SHAPE, SINGLE_STREAM], ids=["two-stream", "single-stream"])
def test_every_encoder_learns_from_it_what_its_pairs_alone_would(shape):
    objectives = replace(NO_OBJECTIVES, congruence=CongruenceOptions(layers="all"))
    model = build_new(shape, objectives, SIZES, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)
    batch = replace(make_batch(), masked_regions=None)
    terms = model(batch)
    alone_terms = [model(take_pair(batch, row)) for row in range(3)]
    for name, term in terms.items():
        assert term.item() == pytest.approx(np.mean([each[name].item() for each in alone_terms]), rel=1e-4)
    sum(terms.values()).backward()
    assert model.encoder.text_embedding.word.weight.grad.any()


def test_half_precision_changes_nothing_of_given_scores():
    batch = make_batch()
    outputs, head = make_outputs(batch), Congruence(CongruenceOptions(), SIZES)
    expected = head(outputs, batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(outputs, batch) == expected


# the control


def test_the_control_takes_every_region_for_another_one_of_its_image():
    batch = make_batch(num_pieces=[5, 5, 5, 5], num_regions=[6, 2, 1, 4])
    other = other_regions(batch, 0)
    for row, num_regions in enumerate([6, 2, 1, 4]):
        assert sorted(other[row].tolist()) == list(range(6))
        stays = other[row] == torch.arange(6)
        assert stays.tolist() == [num_regions == 1 or place >= num_regions for place in range(6)]


def test_the_control_of_a_pair_depends_on_the_seed_and_the_pair_alone():
    batch = make_batch(num_pieces=[4] * 3, num_regions=[9, 7, 8])
    first = other_regions(batch, 0)
    for row in range(3):
        num_regions = int(batch.region_mask[row].sum())
        assert torch.equal(other_regions(take_pair(batch, row), 0)[0], first[row, :num_regions])
    assert len({tuple(other_regions(batch, seed)[0].tolist()) for seed in range(30)}) > 4


def test_the_control_is_the_loss_of_attention_among_other_regions():
    scores = random_blocks(4, 5)
    other = torch.tensor([[2, 3, 4, 0, 1]])
    turned = replace(
        scores,
        text_to_regions=scores.text_to_regions[..., other[0]],
        regions_to_text=scores.regions_to_text[:, :, other[0]],
    )
    for options in FORMS.values():
        assert alone(scores, options, other) == pytest.approx(alone(turned, options), rel=1e-9)
    assert alone(scores, RAW, other)["text"] != pytest.approx(alone(scores, RAW)["text"], rel=0.01)


def test_with_a_seed_the_objective_is_the_control():
    batch = make_batch()
    outputs = make_outputs(batch)
    options = CongruenceOptions(control_seed=3)
    found = Congruence(options, SIZES)(outputs, batch)["congruence_text"].item()
    scores, other = blocks_of(outputs, "joint.1", "scores"), other_regions(batch, 3)
    expected = divergences(scores, batch.is_word, batch.region_mask, options, other)["text"].mean().item()
    assert found == pytest.approx(expected, rel=1e-6)
    assert found != pytest.approx(Congruence(CongruenceOptions(), SIZES)(outputs, batch)["congruence_text"].item())


# measurements


def test_pairs_are_measured_whether_they_match_or_not():
    batch = replace(make_batch(), is_matched=torch.tensor([True, False, True]))
    outputs = make_outputs(batch)
    found = congruence_of_pairs(outputs, batch, CongruenceOptions())
    mean = found["text"][batch.is_matched].mean()
    assert mean.item() == pytest.approx(
        Congruence(CongruenceOptions(), SIZES)(outputs, batch)["congruence_text"].item()
    )
    assert found["text"][1] > 0 and found["regions"].shape == (3,)


@pytest.mark.parametrize("space", ["raw", "block_prob"])
def test_the_entropy_of_words_attention_is_the_mean_of_its_rows_over_the_greatest(space):
    batch = make_batch(num_pieces=[5, 7, 3], num_regions=[4, 4, 4])
    outputs = make_outputs(batch)
    found = text_entropy_of_pairs(outputs, batch, CongruenceOptions(space=space))
    for row, num_words in enumerate([3, 5]):
        words = slice(1, num_words + 1)
        scores = blocks_of(outputs, "joint.1", "scores").text[row, :, words, words].detach().numpy()
        probs = softmax(scores.mean(0), 1) if space == "raw" else softmax(scores, 2).mean(0)
        assert found[row].item() == pytest.approx(entr(probs).sum(1).mean() / np.log(num_words), rel=1e-5)
    assert found[2].isnan()  # of a lone word


def test_flat_attention_has_an_entropy_of_one():
    batch = make_batch()
    outputs = make_outputs(batch)
    flat = {name: replace(tap, scores=tap.scores.detach().clamp(min=-1e30) * 0) for name, tap in outputs.taps.items()}
    found = text_entropy_of_pairs(replace(outputs, taps=flat), batch, CongruenceOptions())
    assert found.tolist() == pytest.approx([1, 1, 1])
