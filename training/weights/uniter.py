"""UNITER's published checkpoints as a model of ours.

Source: the public code of Chen et al., ECCV 2020, whose names these are; what was made from it has the same.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from annotations.guards.drops import DataError
from training.model import Model
from training.models.single_stream import SingleStreamShape
from training.objectives.catalog import Objectives
from training.objectives.masked_regions import MaskedRegionsOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.ranking import RankingOptions
from training.objectives.referring import ReferringOptions
from training.objectives.sizes import Sizes
from training.weights.bert import BERT_NAMES, HEAD_SIZE
from training.weights.published import Published, has, in_our_names, some, without_tied

_NAMES = (
    ("encoder.region_embedding.blank", "uniter.img_embeddings.mask_embedding.weight"),
    ("encoder.region_embedding.feature.", "uniter.img_embeddings.img_linear."),
    ("encoder.region_embedding.feature_norm.", "uniter.img_embeddings.img_layer_norm."),
    ("encoder.region_embedding.box.", "uniter.img_embeddings.pos_linear."),
    ("encoder.region_embedding.box_norm.", "uniter.img_embeddings.pos_layer_norm."),
    ("encoder.region_embedding.", "uniter.img_embeddings."),
    ("objectives.masked_regions.transform.dense.", "region_classifier.net.0."),
    ("objectives.masked_regions.transform.norm.", "region_classifier.net.2."),
    ("objectives.masked_regions.class_decoder.", "region_classifier.net.3."),
    ("objectives.matching.decoder.", "itm_output."),
    ("objectives.question_answering.head.dense.", "vqa_output.0."),
    ("objectives.question_answering.head.norm.", "vqa_output.2."),
    ("objectives.question_answering.head.decoder.", "vqa_output.3."),
    ("objectives.referring.decoder.", "re_output."),
    ("objectives.ranking.decoder.", "rank_output."),
    *((ours, f"uniter.{theirs}" if ours.startswith("encoder.") else theirs) for ours, theirs in BERT_NAMES),
)
_WORDS, _TIED = "uniter.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
_SEGMENTS = "uniter.embeddings.token_type_embeddings.weight"
_BLANK = "uniter.img_embeddings.mask_embedding.weight"
_CLASSES, _ANSWERS = "region_classifier.net.3.", "vqa_output.3.bias"
_LAYER = "uniter.encoder.layer."

# Fields of the shape, and the tensor and axis that tell them.
_SIZED_BY = {
    "vocab_size": (_WORDS, 0),
    "hidden_size": (_WORDS, 1),
    "feature_dim": ("uniter.img_embeddings.img_linear.weight", 1),
    "intermediate_size": (f"{_LAYER}0.intermediate.dense.weight", 0),
    "max_positions": ("uniter.embeddings.position_embeddings.weight", 0),
    "num_segments": (_SEGMENTS, 0),
}

# `feat_regress` guesses features by a transform of its own, ours shares one with the classes; `re_output` may be two
# linear layers, ours is one.
_LEFT_BEHIND = ("feat_regress.", "re_output.")

_BEGINNINGS = (
    (re.compile(r"(^|\.)module\."), r"\1"),
    (re.compile(r"^bert\."), "uniter."),
    (re.compile(r"^(embeddings|img_embeddings|encoder|pooler)\."), r"uniter.\1."),
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
)


def uniter_model(published: Published) -> Model:
    """Return the model of UNITER's weights, with the objectives that the file has heads for.

    Sizes and layers are read off the tensors; heads of attention are 64 wide and dropout is 0.1, as in both sizes that
    were published. The classifier of regions loses its first row, background: what is left are scores of classes, given
    that there is something, which is all that its labels ever said. Row 1 of `mask_embedding` is what is added to
    blanked regions; row 0 the public code takes for zeros, whatever it holds. Heads without a place here stay behind:
    `feat_regress`, and a `re_output` of two linear layers.

    Raises:
        DataError: they are not UNITER's: some tensors are missing, left over or of another shape; lists them. A head
            may be absent, but not a part of one.
    """
    path = published.path
    found = {_newer_name(name): tensor for name, tensor in published.tensors.items()}
    found = without_tied(path, found, decoder=_TIED, table=_WORDS)
    shape = _shape(path, found)
    found = _in_our_sizes(found)
    try:
        with torch.device("meta"):
            model = Model(shape, _objectives(found), _sizes(shape, found))
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{path}: describes no encoder ({error})") from error
    state = in_our_names(
        found,
        model.state_dict(),
        _NAMES,
        source=f"{path}: not the UNITER weights that its sizes describe",
        left_behind=_LEFT_BEHIND,
    )
    model.load_state_dict(state, assign=True)
    return model


def _newer_name(name: str) -> str:
    for pattern, replacement in _BEGINNINGS:
        name = pattern.sub(replacement, name)
    return name


def _shape(path: Path, found: Mapping[str, Tensor]) -> SingleStreamShape:
    missing = [name for name, axis in _SIZED_BY.values() if name not in found or found[name].dim() <= axis]
    if missing:
        raise DataError(f"{path}: not UNITER's weights, has no {some(missing)}; it has {some(sorted(found))}")
    sizes: dict[str, Any] = {field: found[name].shape[axis] for field, (name, axis) in _SIZED_BY.items()}
    if sizes["num_segments"] != 2:
        raise DataError(
            f"{path}: {sizes['num_segments']} segments, expected 2: words and regions; those of UNITER's NLVR2 and VCR "
            "tell images or answers apart, which have no segments here"
        )
    if sizes["hidden_size"] % HEAD_SIZE:
        raise DataError(f"{path}: hidden size {sizes['hidden_size']}, expected a multiple of {HEAD_SIZE}, a head's")
    layers = len({name.split(".")[3] for name in found if name.startswith(_LAYER)})
    return SingleStreamShape(**sizes, num_heads=sizes["hidden_size"] // HEAD_SIZE, num_layers=layers)


def _in_our_sizes(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without background, and of the embedding of masks the row that says so."""
    kept = dict(found)
    for name in (f"{_CLASSES}weight", f"{_CLASSES}bias", _BLANK):
        if name in found and found[name].dim():
            kept[name] = found[name][1:]
    if _BLANK in kept and kept[_BLANK].shape[:1] == (1,):
        kept[_BLANK] = kept[_BLANK][0]
    return kept


def _objectives(found: Mapping[str, Tensor]) -> Objectives:
    classes = MaskedRegionsOptions(labels="masked_only", features=False, attributes=False)
    return Objectives(
        masked_words=MaskedWordsOptions() if has(found, "cls.predictions.") else None,
        masked_regions=classes if has(found, "region_classifier.") else None,
        matching=MatchingOptions() if has(found, "itm_output.") else None,
        question_answering=QuestionAnsweringOptions(loss="soft") if has(found, "vqa_output.") else None,
        referring=ReferringOptions() if "re_output.weight" in found else None,
        ranking=RankingOptions() if has(found, "rank_output.") else None,
    )


def _sizes(shape: SingleStreamShape, found: Mapping[str, Tensor]) -> Sizes:
    return Sizes(
        hidden_size=shape.hidden_size,
        vocab_size=shape.vocab_size,
        feature_dim=shape.feature_dim,
        num_classes=_count(found, f"{_CLASSES}bias", 1600),
        num_attributes=400,
        num_answers=_count(found, _ANSWERS, 1),
    )


def _count(found: Mapping[str, Tensor], name: str, otherwise: int) -> int:
    return found[name].numel() if name in found else otherwise
