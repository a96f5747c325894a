"""What holds for every objective, whatever its options: the tests run over the fields of `Objectives`."""

from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.builders import (
    SIZES,
    make_batch,
    make_outputs,
    pad_batch,
    pad_outputs,
    permute_outputs,
    permute_regions,
    without_work,
)
from training.model import num_parameters
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.caption_match import CaptionMatchOptions
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.congruence import CongruenceOptions
from training.objectives.masked_regions import MaskedRegionsOptions
from training.objectives.masked_tokens import MaskedTokensOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.optimal_transport import OptimalTransportOptions
from training.objectives.phrase_relations import PhraseRelationsOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.ranking import RankingOptions
from training.objectives.referring import ReferringOptions
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import AlignmentOptions

VARIANTS = {
    "masked_words": [MaskedWordsOptions()],
    "masked_regions": [
        MaskedRegionsOptions(),
        MaskedRegionsOptions(labels="masked_only", feature_loss="l2"),
        MaskedRegionsOptions(labels="masked_conf"),
        MaskedRegionsOptions(labels="masked_kl"),
    ],
    "matching": [MatchingOptions(), MatchingOptions(pooled=False)],
    "question_answering": [QuestionAnsweringOptions()],
    "word_object_alignment": [
        AlignmentOptions(),
        AlignmentOptions(decoder="paper", topk_on="pred_eval_only"),
        AlignmentOptions(topk_on="pred_restricted"),
    ],
    "attention_supervision": [
        AttentionSupervisionOptions(),
        AttentionSupervisionOptions(layers="last", heads=(1,), norm="softmax", image_to_text="bce_logprob"),
        AttentionSupervisionOptions(tap="probs_dropped", epsilon=1e-6, image_to_text="none"),
        AttentionSupervisionOptions(mode="semi-direct"),
        AttentionSupervisionOptions(mode="indirect"),
        AttentionSupervisionOptions(mode="indirect", indirect_span="shifted", indirect_size=0, whole_image=True),
    ],
    "optimal_transport": [OptimalTransportOptions(), OptimalTransportOptions(special_pieces=True)],
    "congruence": [
        CongruenceOptions(),
        CongruenceOptions(reduce="mean", heads="each", layers="all", detach_cross=False),
        CongruenceOptions(space="block_prob"),
        CongruenceOptions(space="block_prob", method="iais-singular"),
        CongruenceOptions(space="block_prob", method="iais-distributed"),
    ],
    "ranking": [RankingOptions()],
    "caption_match": [CaptionMatchOptions(dropout=0.0)],
    "phrase_relations": [PhraseRelationsOptions()],
    "referring": [ReferringOptions()],
    "masked_tokens": [MaskedTokensOptions()],
}
OBJECTIVES = {name: next(each for each in get_args(kind) if each) for name, kind in get_type_hints(Objectives).items()}
"""The options of each, by name."""
EVERY = [
    pytest.param(name, options, id=f"{name}-{n}")
    for name, kind in OBJECTIVES.items()
    for n, options in enumerate(VARIANTS.get(name) or [kind()])
]
every_objective = pytest.mark.parametrize(("name", "options"), EVERY)

ALWAYS_AT_WORK = ("matching", "optimal_transport", "congruence", "ranking", "caption_match")
"""Those that every pair tells something."""


def build(name, options, dtype=torch.float32):
    """Weights larger than those of a new head, so that a mistake shows."""
    torch.manual_seed(0)
    head = options.build(SIZES)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return head.to(dtype)


def as_numbers(terms):
    return {name: term.item() for name, term in terms.items()}


@every_objective
def test_every_term_is_a_finite_positive_number_and_every_weight_learns_from_it(name, options):
    batch = make_batch()
    head, outputs = build(name, options), make_outputs(batch)
    terms = head(outputs, batch)
    assert head.terms == tuple(terms)
    assert all(term.shape == () and term.dtype == torch.float32 and term > 0 for term in terms.values())
    sum(terms.values()).backward()
    for weight_name, weight in head.named_parameters():
        assert weight.grad.isfinite().all() and weight.grad.any(), weight_name


@every_objective
def test_a_batch_without_work_has_terms_of_zero_and_gradients_of_zero(name, options):
    """Gradients that are None would leave other processes of a distributed run waiting."""
    batch = without_work(make_batch())
    head, outputs = build(name, options), make_outputs(batch)
    terms = head(outputs, batch)
    sum(terms.values()).backward()
    if name in ALWAYS_AT_WORK or (name not in VARIANTS and not options.needs):
        assert min(as_numbers(terms).values()) > 0
        return
    assert set(as_numbers(terms).values()) == {0}
    for weight_name, weight in head.named_parameters():
        assert weight.grad is not None and not weight.grad.any(), weight_name
    for state in (outputs.text, outputs.regions, outputs.pooled):
        assert state.grad is None or not state.grad.any()


@every_objective
def test_padding_changes_no_term(name, options):
    batch = make_batch()
    head, outputs = build(name, options), make_outputs(batch)
    expected = as_numbers(head(outputs, batch))
    for more in ({"regions": 5}, {"pieces": 3}, {"regions": 1, "pieces": 1}):
        found = as_numbers(head(pad_outputs(outputs, **more), pad_batch(batch, **more)))
        assert found == pytest.approx(expected, abs=1e-6), more


@every_objective
def test_padding_gets_no_gradient(name, options):
    batch = make_batch()
    outputs = make_outputs(batch)
    sum(build(name, options)(outputs, batch).values()).backward()
    for states, mask in ((outputs.text, batch.text_mask), (outputs.regions, batch.region_mask)):
        assert states.grad is None or not states.grad[~mask].any()
    is_there = torch.cat([batch.text_mask, batch.region_mask], 1)
    for tap in outputs.taps.values():
        for mask in (is_there[:, None, :, None], is_there[:, None, None]):
            assert tap.scores.grad is None or not tap.scores.grad.masked_select(~mask).any()


@every_objective
@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(6)))
def test_the_order_of_regions_does_not_matter(name, options, order):
    batch = make_batch()
    head, outputs = build(name, options), make_outputs(batch)
    turned = permute_outputs(outputs, order)
    found = as_numbers(head(turned, permute_regions(batch, order)))
    assert found == pytest.approx(as_numbers(head(outputs, batch)), abs=1e-5)


@every_objective
def test_half_precision_comes_close(name, options):
    batch = make_batch()
    head, outputs = build(name, options), make_outputs(batch)
    expected = as_numbers(head(outputs, batch))
    with torch.autocast("cpu", torch.bfloat16):
        terms = head(outputs, batch)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    assert as_numbers(terms) == pytest.approx(expected, rel=0.02)


@every_objective
def test_an_objective_names_what_it_needs_and_does_without_the_rest(name, options):
    batch = make_batch()
    head, outputs = build(name, options), make_outputs(batch)
    for need in head.needs:
        absent = 1 if need == "group_size" else None
        with pytest.raises(ValueError, match=r"the batch has n.*expected"):
            head(outputs, replace(batch, **{need: absent}))
    others = {each.name: None for each in fields(batch) if each.default is None and each.name not in head.needs}
    assert as_numbers(head(outputs, replace(batch, **others))) == as_numbers(head(outputs, batch))


def test_only_the_objectives_asked_for_are_built():
    assert list(build_objectives(Objectives(), SIZES)) == [
        "masked_words",
        "masked_regions",
        "matching",
        "question_answering",
    ]
    asked = Objectives(masked_regions=None, word_object_alignment=AlignmentOptions())
    assert "word_object_alignment" in build_objectives(asked, SIZES)
    assert "masked_regions" not in build_objectives(asked, SIZES)


def test_lxmerts_heads_have_as_many_weights_as_published():
    """228 051 752 with the encoder's 207 936 768."""
    sizes = Sizes(
        hidden_size=768, vocab_size=30522, feature_dim=2048, num_classes=1600, num_attributes=400, num_answers=9500
    )
    with torch.device("meta"):
        assert num_parameters(build_objectives(Objectives(), sizes)) == 228_051_752 - 207_936_768
