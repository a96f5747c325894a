"""Full-size training steps of LXMERT, ours and transformers', on the same 48 pairs in batches of 16; prints ratios."""

import statistics
import time

import pytest
import torch
from transformers import LxmertConfig, LxmertForPreTraining

from tests.benchmarks.scale import scaled
from training.batch import Batch, MaskedRegions, MaskedWords
from training.execution.loop import Loop
from training.model import build_new
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.runs.optimizers import Optimization, make_optimizer

pytestmark = pytest.mark.benchmark

NUM_PAIRS, MAX_PIECES = 16, 20
NUM_REGIONS, FEATURE_DIM, VOCAB_SIZE = scaled(full=(36, 2048, 30522), tiny=(4, 16, 50))
NUM_CLASSES, NUM_ATTRIBUTES, NUM_ANSWERS = scaled(full=(1600, 400, 9500), tiny=(8, 4, 6))
ROUNDS = scaled(full=2, tiny=1)
LAYERS = scaled(full=(9, 5, 5), tiny=(1, 1, 1))
"""Of text, of regions, and of both."""
HIDDEN_SIZE, NUM_HEADS = scaled(full=(768, 12), tiny=(24, 2))
SHAPE = TwoStreamShape(
    vocab_size=VOCAB_SIZE,
    feature_dim=FEATURE_DIM,
    hidden_size=HIDDEN_SIZE,
    intermediate_size=4 * HIDDEN_SIZE,
    num_heads=NUM_HEADS,
    num_text_layers=LAYERS[0],
    num_region_layers=LAYERS[1],
    num_cross_layers=LAYERS[2],
)
SIZES = Sizes(
    hidden_size=HIDDEN_SIZE,
    vocab_size=VOCAB_SIZE,
    feature_dim=FEATURE_DIM,
    num_classes=NUM_CLASSES,
    num_attributes=NUM_ATTRIBUTES,
    num_answers=NUM_ANSWERS,
)
# Word pieces with [CLS] and [SEP] of 48 sentences, mixed as LXMERT was trained: COCO's captions have 11 to 19, Visual
# Genome's descriptions 5 to 10, questions 7 to 13 (BERT's uncased pieces).
LENGTHS = (
    *(5, 6, 6, 6, *[7] * 8, *[8] * 8, *[9] * 6, 10, 10),
    *(7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9, 10, 10, 11, 12, 13),
    *(12, 13, 15),
)
GROUPED = [sorted(LENGTHS)[start : start + 16] for start in (0, 16, 32)]
"""As our loader deals them out: like lengths together."""


def make_batch(lengths, padded_to=None):
    draw = torch.Generator().manual_seed(0)
    length = padded_to or max(lengths)
    text_mask = torch.arange(length) < torch.tensor(lengths)[:, None]
    input_ids = torch.randint(4, VOCAB_SIZE, (NUM_PAIRS, length), generator=draw) * text_mask
    features = torch.rand(NUM_PAIRS, NUM_REGIONS, FEATURE_DIM, generator=draw)
    hidden = torch.rand(NUM_PAIRS, NUM_REGIONS, generator=draw) < 0.15
    masked_regions = MaskedRegions(
        positions=hidden.flatten().nonzero()[:, 0],
        features=features.flatten(0, 1)[hidden.flatten()].clone(),
        is_blanked=torch.ones(int(hidden.sum()), dtype=torch.bool),
    )
    features[hidden] = 0
    inner = text_mask & (torch.rand(NUM_PAIRS, length, generator=draw) < 0.15)
    inner[:, 0] = False
    positions = inner.flatten().nonzero()[:, 0]
    corners = torch.rand(NUM_PAIRS, NUM_REGIONS, 4, generator=draw).sort(-1).values[..., [0, 1, 2, 3]]
    shape = NUM_PAIRS, NUM_REGIONS
    return Batch(
        sentence_ids=tuple(map(str, range(NUM_PAIRS))),
        image_ids=tuple(map(str, range(NUM_PAIRS))),
        input_ids=input_ids,
        text_mask=text_mask,
        features=features,
        boxes=corners,
        region_mask=torch.ones(shape, dtype=torch.bool),
        class_ids=torch.randint(0, NUM_CLASSES, shape, generator=draw),
        class_scores=torch.rand(shape, generator=draw),
        attribute_ids=torch.randint(0, NUM_ATTRIBUTES, shape, generator=draw),
        attribute_scores=torch.rand(shape, generator=draw),
        is_matched=torch.arange(NUM_PAIRS) % 2 == 0,
        answer_ids=torch.randint(0, NUM_ANSWERS, (NUM_PAIRS,), generator=draw),
        masked_words=MaskedWords(positions=positions, labels=input_ids.flatten()[positions]),
        masked_regions=masked_regions,
    )


def our_step(precision):
    model = build_new(SHAPE, Objectives(), SIZES, seed=0)
    optimization = Optimization()
    loop = Loop(
        model=model,
        optimizer=make_optimizer(model, optimization),
        optimization=optimization,
        weights=lambda step: model.weights(step, num_steps=1000, epoch=0),
        num_steps=1000,
        precision=precision,
        device=torch.device("cpu"),
        seed=0,
    )
    return lambda batch: loop.run([[batch]], 10, lambda report: None)


def their_step(precision, fused):
    config = LxmertConfig(
        hidden_size=HIDDEN_SIZE,
        intermediate_size=4 * HIDDEN_SIZE,
        num_attention_heads=NUM_HEADS,
        l_layers=LAYERS[0],
        r_layers=LAYERS[1],
        x_layers=LAYERS[2],
        vocab_size=VOCAB_SIZE,
        visual_feat_dim=FEATURE_DIM,
        num_object_labels=NUM_CLASSES,
        num_attr_labels=NUM_ATTRIBUTES,
        num_qa_labels=NUM_ANSWERS,
    )
    model = LxmertForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def step(batch):
        labels = torch.full_like(batch.input_ids, -100)
        labels.view(-1)[batch.masked_words.positions] = batch.masked_words.labels
        hidden = torch.zeros(NUM_PAIRS * NUM_REGIONS)
        hidden[batch.masked_regions.positions] = 1
        whole = batch.features.flatten(0, 1).clone()
        whole[batch.masked_regions.positions] = batch.masked_regions.features
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(
                input_ids=batch.input_ids,
                visual_feats=batch.features,
                visual_pos=batch.boxes,
                attention_mask=batch.text_mask,
                labels=labels,
                obj_labels={
                    "obj": (batch.class_ids, batch.class_scores),
                    "attr": (batch.attribute_ids, batch.attribute_scores),
                    "feat": (whole.view_as(batch.features), hidden),
                },
                matched_label=batch.is_matched.long(),
                ans=batch.answer_ids,
            ).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def paired(*contenders):
    """Return the seconds that each takes for all of its batches, in turns, after one round that does not count."""
    taken = [[] for _ in contenders]
    for _ in range(ROUNDS + 1):
        for (step, batches), seconds in zip(contenders, taken, strict=True):
            started = time.perf_counter()
            for batch in batches:
                step(batch)
            seconds.append(time.perf_counter() - started)
    return [each[1:] for each in taken]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.timeout(3000)
def test_training_steps_beside_those_of_transformers(precision):
    grouped = [make_batch(lengths) for lengths in GROUPED]
    padded = [make_batch(lengths, MAX_PIECES) for lengths in GROUPED]
    for told, fused, theirs_given in (
        ("as each is used: ours in groups of like length, theirs padded to 20 with default AdamW", False, padded),
        ("the very same grouped batches, both with fused AdamW", True, grouped),
    ):
        ours, theirs = paired((our_step(precision), grouped), (their_step(precision, fused), theirs_given))
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        print(
            f"\n{precision}, {told}: ours {min(ours) / 3:.2f} s, theirs {min(theirs) / 3:.2f} s a step; ratio "
            f"{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"
        )
    flops, num_bytes = floor()
    print(f"{precision}: {flops / 1e9:.0f} GFLOP a step without padding, {num_bytes / 1e9:.1f} GB for the optimizer")
    assert flops > 0


def floor():
    """Return what a step cannot do without: multiplications without padding, and the optimizer's bytes."""
    text, regions = sum(LENGTHS) / 3, NUM_PAIRS * NUM_REGIONS
    attention, feed_forward = 4 * 768**2, 2 * 768 * 3072
    encoder = (9 * text + 5 * regions) * (attention + feed_forward) + 5 * (text + regions) * (
        2 * attention + feed_forward
    )
    heads = regions * 768 * (2048 + 768 + 1600 + 400 + 0.15 * 2048) + 0.15 * text * 768 * (768 + 30522)
    return 6 * (encoder + heads), 228e6 * 4 * 7  # reads weight, gradient and two moments, writes three
