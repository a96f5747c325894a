"""Presets of pre-training: what a paper did, as typed Python. Each says its command, its hardware, and what to expect.

An ablation is a preset with one thing changed, `--ablation NAME`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from annotations.tables import Table
from training.data.batches import BatchOptions
from training.data.grounding import GroundingOptions
from training.data.targets import TargetOptions
from training.models.catalog import EncoderShape
from training.models.single_stream import SingleStreamShape
from training.models.trunk import TrunkShape
from training.models.two_stream import TwoStreamShape
from training.models.visual_parser import VisualParserShape
from training.objectives.attention_supervision import AttentionSupervisionOptions, SupervisionMode
from training.objectives.catalog import NO_OBJECTIVES, Objectives
from training.objectives.congruence import CongruenceOptions
from training.objectives.masked_regions import MaskedRegionsOptions
from training.objectives.masked_tokens import MaskedTokensOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.optimal_transport import OptimalTransportOptions
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.optimizers import Optimization
from training.runs.recipes import Precision

LXMERT_SOURCES = ("coco-captions", "visual-genome", "vqa-v2", "gqa", "lxmert-json")
"""What LXMERT was pre-trained on, as far as the sentence store has it."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A recipe before it meets data: sizes of vocabularies and features come from there."""

    about: str = ""
    """One sentence that says what is learnt, and whose idea it is."""
    command: str
    hardware: str
    expected: str
    """Hours, and what comes of it; with its source, or measured."""
    encoder: EncoderShape
    objectives: Objectives
    batches: BatchOptions
    optimization: Optimization
    sources: tuple[str, ...] | None = LXMERT_SOURCES
    """None: all that the store has about one image."""
    batch_size: int = 256
    epochs: float = 20.0
    num_steps: int | None = None
    """Instead of epochs."""
    precision: Precision = "bfloat16"
    tokenizer: str | None = "bert-base-uncased"
    """A Hugging Face name or path; None: one that is trained on the sentences."""
    vocab_size: int = 30522
    """Pieces of a tokenizer that is trained."""
    num_answers: int = 9500
    """The most frequent ones of the training questions, where no table is given."""
    ablations: Mapping[str, Callable[["Preset"], "Preset"]] = field(default_factory=dict)


def change_objectives(**changes: Any) -> Callable[[Preset], Preset]:
    """Return the ablation that has these objectives instead."""
    return lambda preset: replace(preset, objectives=replace(preset.objectives, **changes))


def change_objective(name: str, **changes: Any) -> Callable[[Preset], Preset]:
    """Return the ablation in which one objective has these options, and otherwise those of the preset."""

    def changed(preset: Preset) -> Preset:
        options = replace(getattr(preset.objectives, name), **changes)
        return change_objectives(**{name: options})(preset)

    return changed


def change_targets(**changes: Any) -> Callable[[Preset], Preset]:
    """Return the ablation whose alignment targets are others."""

    def changed(preset: Preset) -> Preset:
        targets = replace(preset.batches.targets or TargetOptions(), **changes)
        return replace(preset, batches=replace(preset.batches, targets=targets))

    return changed


def change_batches(**changes: Any) -> Callable[[Preset], Preset]:
    """Return the ablation whose batches have these options, and otherwise those of the preset."""
    return lambda preset: replace(preset, batches=replace(preset.batches, **changes))


def _with_alignment(preset: Preset) -> Preset:
    return change_targets()(change_objectives(word_object_alignment=AlignmentOptions())(preset))


def _with_supervision(mode: SupervisionMode) -> Callable[[Preset], Preset]:
    def changed(preset: Preset) -> Preset:
        supervised = change_objectives(attention_supervision=AttentionSupervisionOptions(mode=mode))(preset)
        return change_batches(grounding=GroundingOptions(stored_phrases=True))(supervised)

    return changed


def _literal_paper(preset: Preset) -> Preset:
    decoder_and_loss = change_objective("word_object_alignment", decoder="paper", topk_on="pred_restricted")
    return change_targets(combination="paper")(decoder_and_loss(preset))


def _without_matching(preset: Preset) -> Preset:
    return replace(change_objectives(matching=None)(preset), batches=replace(preset.batches, mismatch=0.0))


OBJECTIVE_ABLATIONS: dict[str, Callable[[Preset], Preset]] = {
    "no-vision": change_objectives(masked_regions=None),
    "no-features": change_objective("masked_regions", features=False),
    "no-labels": change_objective("masked_regions", classes=False, attributes=False),
    "paper-labels": change_objective("masked_regions", labels="masked_only", feature_loss="l2", attributes=False),
    "no-question-answering": change_objectives(question_answering=None),
    "late-question-answering": change_objective("question_answering", from_epoch=10),
    "no-matching": _without_matching,
}

ALIGNMENT_ABLATIONS: dict[str, Callable[[Preset], Preset]] = {
    "no-alignment": change_objectives(word_object_alignment=None),
    "paper-target": change_targets(combination="paper"),
    "literal-paper": _literal_paper,
    "position-only": change_targets(combination="position-only", at_most_k=True),
    "semantic-only": change_targets(combination="semantic-only", at_most_k=True),
    "permuted": change_targets(permuted=True),
    "no-answer-pointer": change_targets(answer_pointer=False),
    "require-iou": change_targets(require_iou=0.1),
    "share-0.1": change_targets(share=0.1),
    "share-0.3": change_targets(share=0.3),
    "share-0.7": change_targets(share=0.7),
}

SUPERVISION_ABLATIONS: dict[str, Callable[[Preset], Preset]] = {
    "direct": _with_supervision("direct"),
    "semi-direct": _with_supervision("semi-direct"),
    "indirect": _with_supervision("indirect"),
    "cacr": change_objectives(congruence=CongruenceOptions()),
    "iais": change_objectives(congruence=CongruenceOptions(method="iais-singular")),
}

PARSING_ABLATIONS: dict[str, Callable[[Preset], Preset]] = {
    "no-mask": change_objectives(masked_tokens=None),
    "random": change_batches(mask_tokens="random"),
    "block": change_batches(mask_tokens="block"),
    "attention": change_batches(mask_tokens="attention"),
    "beside-seed": change_batches(beside_seed=True),
    "no-transport": change_objectives(optimal_transport=None),
    "all-pairs-tokens": change_objective("masked_tokens", matched_only=False),  # as version 0.1.0 had the preset
}

_PRETRAINING = BatchOptions(mask_words=0.15, mask_regions=0.15, mismatch=0.5)

LXMERT = Preset(
    about="LXMERT of Tan & Bansal 2019: words and regions in two streams, five tasks of pre-training.",
    command="vinculum-train pretrain --preset lxmert --regions regions --sentences sentences --out lxmert",
    hardware="4 GPUs of 24 GB or one of 80 GB; 1 TB of disk is more than enough, regions in page cache help",
    expected="the paper: 10 days on 4 Titan Xp for 9.18 M sentences, 20 epochs; then VQA 72.5, GQA 60.3, NLVR2 76.2. "
    "Not run by us at this scale.",
    encoder=TwoStreamShape(),
    objectives=Objectives(),
    batches=_PRETRAINING,
    optimization=Optimization(),
    ablations=OBJECTIVE_ABLATIONS,
)

WORD_OBJECT_ALIGNMENT = replace(
    LXMERT,
    about="LXMERT with supervised attention from words to the regions that they mean.",
    command="vinculum-train pretrain --preset word-object-alignment --regions regions --sentences sentences --out woa",
    hardware="the paper: 4 V100",
    expected="the paper: GQA 60.5 and consistency 89.7, without alignment 54.9 and 79.5. Not run by us at this scale.",
    objectives=replace(LXMERT.objectives, word_object_alignment=AlignmentOptions()),
    batches=replace(_PRETRAINING, targets=TargetOptions()),
    batch_size=512,
    ablations=OBJECTIVE_ABLATIONS | ALIGNMENT_ABLATIONS,
)

TOY = Preset(
    about="Word-object alignment on the toy world, small enough for a laptop.",
    command="vinculum-train pretrain --preset toy --regions demo/regions --sentences demo/sentences --out toy",
    hardware="a laptop: 2 cores, 2 GB",
    expected="3 minutes",
    encoder=TwoStreamShape(
        hidden_size=64, intermediate_size=128, num_heads=4, num_text_layers=2, num_region_layers=1, num_cross_layers=2,
        max_positions=64,
        feature_norm_epsilon=1e-5,
    ),
    objectives=Objectives(
        masked_regions=MaskedRegionsOptions(weight=0.15),  # with the normalizer: plain means
        word_object_alignment=AlignmentOptions(weight=2.5, joint_size=64),
    ),
    batches=replace(_PRETRAINING, max_pieces=24, targets=TargetOptions()),
    optimization=Optimization(optimizer="adamw", learning_rate=1e-3, epsilon=1e-8),
    batch_size=64,
    num_steps=1500,
    precision="float32",
    tokenizer=None,
    vocab_size=2000,
    ablations=OBJECTIVE_ABLATIONS | ALIGNMENT_ABLATIONS,
)  # fmt: skip

TOY_QUESTIONS = replace(
    TOY,
    about="Questions and alignment alone, as the experiment about alignment needs them.",
    command="vinculum-train experiment --regions regions --sentences sentences --out experiment",
    expected="4 minutes a run on one core; the experiment's table is in its folder",
    objectives=Objectives(
        masked_words=None,
        masked_regions=None,
        matching=None,
        word_object_alignment=AlignmentOptions(weight=2.5, joint_size=64),
    ),
    batches=BatchOptions(max_pieces=24, targets=TargetOptions()),
    sources=("gqa",),
    batch_size=128,
    ablations=ALIGNMENT_ABLATIONS,
)
"""Questions and alignment alone: what the experiment needs of pre-training, in minutes."""

UNITER = replace(
    LXMERT,
    about="UNITER of Chen et al. 2020: words and regions in one stream, with optimal transport.",
    command="vinculum-train pretrain --preset uniter --init bert-base-cased --tokenizer bert-base-cased "
    "--regions regions --sentences sentences --out uniter",
    hardware="the paper: 16 V100",
    expected="the paper: 200,000 steps over 5.6 M sentences; then VQA 72.70, NLVR2 75.85, RefCOCO+ testA 81.45. "
    "Not run by us at this scale.",
    encoder=SingleStreamShape(),
    objectives=Objectives(
        masked_regions=MaskedRegionsOptions(labels="masked_kl", feature_loss="l2", attributes=False),
        question_answering=None,
        optimal_transport=OptimalTransportOptions(),
    ),
    batches=replace(_PRETRAINING, max_pieces=60, one_modality=True, blank_all=True),
    sources=("coco-captions", "visual-genome"),
    optimization=Optimization(optimizer="adamw", learning_rate=5e-5, schedule="linear", warmup=0.05, clip=2.0),
    batch_size=1024,
    tokenizer="bert-base-cased",
    ablations={
        "no-transport": change_objectives(optimal_transport=None),
        "no-vision": change_objectives(masked_regions=None),
        "no-matching": _without_matching,
        "hard-labels": change_objective("masked_regions", labels="masked_only"),
        "both-modalities": change_batches(one_modality=False),
        "word-object-alignment": _with_alignment,
        **SUPERVISION_ABLATIONS,
    },
)

TOY_SINGLE_STREAM = replace(
    TOY,
    about="UNITER on the toy world, small enough for a laptop.",
    command="vinculum-train pretrain --preset toy-single-stream --regions demo/regions --sentences demo/sentences "
    "--out toy",
    encoder=SingleStreamShape(
        hidden_size=64, intermediate_size=128, num_heads=4, num_layers=4, max_positions=96, num_segments=3
    ),
    objectives=Objectives(
        masked_regions=MaskedRegionsOptions(weight=0.15, labels="masked_kl", feature_loss="l2", attributes=False),
        question_answering=None,
        optimal_transport=OptimalTransportOptions(),
    ),
    batches=replace(_PRETRAINING, max_pieces=24, one_modality=True, blank_all=True),
    sources=("coco-captions", "visual-genome", "flickr30k-entities"),
    ablations=UNITER.ablations,
)

VISUAL_PARSING = replace(
    LXMERT,
    about="Visual parsing of Xue et al. 2021: pixels through a Swin, visual tokens hidden by attention.",
    command="vinculum-train pretrain --preset visual-parsing --init bert-base-uncased "
    "--trunk microsoft/swin-base-patch4-window12-384 --images images --sentences sentences --out parser",
    hardware="the paper does not say; 512 images of 384 pixels a step want many GPUs, or --accumulation, --recompute",
    expected="the paper: 40 epochs of COCO and Visual Genome; then VQA 74.00, NLVR2 77.61, SNLI-VE 84.75. Not run by "
    "us at this scale. It does not tell its Swin: of those for 384 pixels, the smallest is taken.",
    encoder=VisualParserShape(trunk=TrunkShape()),
    objectives=replace(
        NO_OBJECTIVES,
        masked_words=MaskedWordsOptions(),
        matching=MatchingOptions(pooled=False),
        optimal_transport=OptimalTransportOptions(),
        masked_tokens=MaskedTokensOptions(matched_only=True),
    ),
    batches=BatchOptions(
        max_pieces=16, mask_words=0.15, matched_words=True, mask_tokens="attention", own_texts=2, other_texts=2
    ),
    sources=("coco-captions", "visual-genome"),
    optimization=Optimization(
        optimizer="adamw",
        learning_rate=5e-5,
        trunk_scale=0.1,
        schedule="steps",
        warmup_steps=500,
        step_at=(25 / 40, 35 / 40),
        clip=2.0,
    ),
    batch_size=512,  # images, with four sentences each: the paper's 2048 pairs
    epochs=40.0,
    ablations=PARSING_ABLATIONS,
)

VISUAL_PARSING_SMALL = replace(
    VISUAL_PARSING,
    about="The small model of visual parsing's ablations, with Swin-T at 224 pixels.",
    command="vinculum-train pretrain --preset visual-parsing-small --init bert-base-uncased "
    "--trunk microsoft/swin-tiny-patch4-window7-224 --images images --sentences sentences --out parser",
    hardware="one GPU of 24 GB with --accumulation 8",
    expected="the paper's ablations. Not run by us at this scale.",
    encoder=VisualParserShape(
        num_layers=3,
        feature_dim=768,
        trunk=TrunkShape(
            image_size=224, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window_size=7, drop_path=0.1
        ),
    ),
)

TOY_VISUAL_PARSING = replace(
    VISUAL_PARSING,
    about="Visual parsing on the toy world's pixels, small enough for a laptop.",
    command="vinculum-train pretrain --preset toy-visual-parsing --images world/images --sentences sentences --out toy",
    hardware="a laptop: 2 cores, 2 GB",
    expected="10 minutes",
    encoder=VisualParserShape(
        hidden_size=64, intermediate_size=128, num_heads=4, num_layers=3, max_positions=96, num_segments=3,
        initial_std=0.07,
        dropout=0.0,
        attention_dropout=0.0,
        feature_dim=64,
        trunk=TrunkShape(
            image_size=48, embed_dim=32, depths=(2, 2), num_heads=(2, 4), window_size=6, drop_path=0.0,
            initial_std=0.07,
        ),
    ),
    batches=replace(VISUAL_PARSING.batches, max_pieces=24),
    sources=("coco-captions", "visual-genome", "flickr30k-entities"),
    # A trunk as fast as the rest makes all visual tokens alike, which are then easily guessed.
    optimization=Optimization(optimizer="adamw", learning_rate=3e-3, epsilon=1e-8, trunk_scale=0.1),
    batch_size=16,
    num_steps=1500,
    precision="float32",
    tokenizer=None,
    vocab_size=2000,
)  # fmt: skip

TOY_GROUNDED = replace(
    TOY_SINGLE_STREAM,
    about="Masked words and alignment in one stream, with which the experiment about attention begins.",
    command="vinculum-train experiment --name attention-supervision --regions regions --sentences sentences "
    "--out experiment",
    expected="2 minutes on one core; words then find their regions, which a small model otherwise takes long to learn",
    encoder=replace(TOY_SINGLE_STREAM.encoder, initial_std=0.07),
    objectives=replace(
        NO_OBJECTIVES,
        masked_words=MaskedWordsOptions(),
        word_object_alignment=AlignmentOptions(weight=2.5, joint_size=64),
    ),
    batches=BatchOptions(max_pieces=24, mask_words=0.15, targets=TargetOptions()),
    sources=("flickr30k-entities",),
    batch_size=128,
    num_steps=1000,
    ablations={},
)
"""What the experiment about attention supervision begins with: what attention does is left to itself."""

TOY_RELATIONS = replace(
    TOY_GROUNDED,
    about="Two heads that point at regions, with which the experiment about congruence begins.",
    command="vinculum-train experiment --name congruence --regions regions --sentences sentences --out experiment",
    expected="5 minutes on one core; two of four heads point at regions, and some seeds learn relations by its end",
    encoder=replace(TOY_GROUNDED.encoder, dropout=0.0, attention_dropout=0.0),
    objectives=replace(TOY_GROUNDED.objectives, attention_supervision=AttentionSupervisionOptions(heads=(0, 1))),
    batches=replace(TOY_GROUNDED.batches, mask_words=0.35, grounding=GroundingOptions(stored_phrases=True)),
    num_steps=3500,
)
"""What the experiment about congruence begins with. The other heads' attention is left to itself."""

PRESETS: Table[Preset] = Table(
    {
        "lxmert": LXMERT,
        "word-object-alignment": WORD_OBJECT_ALIGNMENT,
        "uniter": UNITER,
        "toy": TOY,
        "toy-single-stream": TOY_SINGLE_STREAM,
        "toy-grounded": TOY_GROUNDED,
        "toy-relations": TOY_RELATIONS,
        "toy-questions": TOY_QUESTIONS,
        "visual-parsing": VISUAL_PARSING,
        "visual-parsing-small": VISUAL_PARSING_SMALL,
        "toy-visual-parsing": TOY_VISUAL_PARSING,
    }
)


def find_preset(name: str, ablation: str | None = None) -> Preset:
    """Return a preset, or one of its ablations.

    Raises:
        ValueError: there is none of this name; lists those that there are.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r}: no such preset, expected one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if ablation is None:
        return preset
    if ablation not in preset.ablations:
        raise ValueError(f"ablation {ablation!r} of {name}: none such, expected one of {', '.join(preset.ablations)}")
    return preset.ablations[ablation](preset)
