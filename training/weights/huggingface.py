"""LXMERT's weights in Hugging Face's layout, out and in; its authors' own checkpoints come in too.

Nothing that a file contains is executed: safetensors, or `torch.load(weights_only=True)`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LxmertConfig

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from training.data.tokenizer import TextTokenizer
from training.model import Model
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.masked_regions import MaskedRegionsObjective, MaskedRegionsOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.sizes import Sizes
from training.weights.published import (
    BERT_LAYER,
    Published,
    has,
    in_our_names,
    require_layers,
    some,
    split,
    their_name,
    without_tied,
    write_weights,
)

# Ours, Hugging Face's.
_RENAMED = (
    ("encoder.text_embedding.word.", "lxmert.embeddings.word_embeddings."),
    ("encoder.text_embedding.position.", "lxmert.embeddings.position_embeddings."),
    ("encoder.text_embedding.segment.", "lxmert.embeddings.token_type_embeddings."),
    ("encoder.text_embedding.", "lxmert.embeddings."),
    ("encoder.region_embedding.feature.", "lxmert.encoder.visn_fc.visn_fc."),
    ("encoder.region_embedding.feature_norm.", "lxmert.encoder.visn_fc.visn_layer_norm."),
    ("encoder.region_embedding.box.", "lxmert.encoder.visn_fc.box_fc."),
    ("encoder.region_embedding.box_norm.", "lxmert.encoder.visn_fc.box_layer_norm."),
    ("encoder.text_layers.", "lxmert.encoder.layer."),
    ("encoder.region_layers.", "lxmert.encoder.r_layers."),
    ("encoder.cross_layers.", "lxmert.encoder.x_layers."),
    ("encoder.pooler.", "lxmert.pooler.dense."),
    (".cross_attention.", ".visual_attention.att."),
    (".cross_output.", ".visual_attention.output."),
    (".text_attention.attention.", ".lang_self_att.self."),
    (".text_attention.", ".lang_self_att."),
    (".region_attention.attention.", ".visn_self_att.self."),
    (".region_attention.", ".visn_self_att."),
    (".text_feed_forward.dense.", ".lang_inter.dense."),
    (".text_feed_forward.output.", ".lang_output."),
    (".region_feed_forward.dense.", ".visn_inter.dense."),
    (".region_feed_forward.output.", ".visn_output."),
    ("objectives.masked_words.", "cls.predictions."),
    ("objectives.matching.decoder.", "cls.seq_relationship."),
    ("objectives.masked_regions.feature_decoder.", "obj_predict_head.decoder_dict.feat."),
    ("objectives.masked_regions.class_decoder.", "obj_predict_head.decoder_dict.obj."),
    ("objectives.masked_regions.attribute_decoder.", "obj_predict_head.decoder_dict.attr."),
    ("objectives.masked_regions.", "obj_predict_head."),
    ("objectives.question_answering.head.dense.", "answer_head.logit_fc.0."),
    ("objectives.question_answering.head.norm.", "answer_head.logit_fc.2."),
    ("objectives.question_answering.head.decoder.", "answer_head.logit_fc.3."),
    *BERT_LAYER,
)
_PLACED = ("encoder.", *(ours for ours, _ in _RENAMED if ours.startswith("objectives.")))
_WORDS, _TIED = "lxmert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"

# How others begin a name: copies on several GPUs, a fine-tuned model, LXMERT's authors, an encoder without heads.
_BEGINNINGS = (
    (re.compile(r"(^|\.)module\."), r"\1"),
    (re.compile(r"^lxrt_encoder\.model\."), ""),
    (re.compile(r"^bert\."), "lxmert."),
    (re.compile(r"^(embeddings|encoder|pooler)\."), r"lxmert.\1."),
    (re.compile(r"^logit_fc\."), "answer_head.logit_fc."),
)

# Fields of `TwoStreamShape` and of the config.
_SHAPE = {
    "vocab_size": "vocab_size",
    "feature_dim": "visual_feat_dim",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_heads": "num_attention_heads",
    "num_text_layers": "l_layers",
    "num_region_layers": "r_layers",
    "num_cross_layers": "x_layers",
    "max_positions": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
# Fields of the config, and the tensor and axis that tell them where there is no config.
_SIZED_BY = {
    "vocab_size": (_WORDS, 0),
    "hidden_size": (_WORDS, 1),
    "intermediate_size": ("lxmert.encoder.x_layers.0.lang_inter.dense.weight", 0),
    "max_position_embeddings": ("lxmert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("lxmert.embeddings.token_type_embeddings.weight", 0),
    "visual_feat_dim": ("lxmert.encoder.visn_fc.visn_fc.weight", 1),
}
_COUNTED_BY = {
    "num_qa_labels": "answer_head.logit_fc.3.bias",
    "num_object_labels": "obj_predict_head.decoder_dict.obj.bias",
    "num_attr_labels": "obj_predict_head.decoder_dict.attr.bias",
}
_LAYERS = {
    "l_layers": "lxmert.encoder.layer.",
    "r_layers": "lxmert.encoder.r_layers.",
    "x_layers": "lxmert.encoder.x_layers.",
}
_TASKS = {
    "task_mask_lm": "cls.predictions.",
    "task_matched": "cls.seq_relationship.",
    "task_obj_predict": "obj_predict_head.",
    "task_qa": "answer_head.",
}
_DECODERS = {
    "visual_obj_loss": "obj_predict_head.decoder_dict.obj.",
    "visual_attr_loss": "obj_predict_head.decoder_dict.attr.",
    "visual_feat_loss": "obj_predict_head.decoder_dict.feat.",
}


def to_huggingface(model: Model) -> tuple[LxmertConfig, dict[str, Tensor]]:
    """Return the config and the state dict of an `LxmertForPreTraining` that computes what `model` does.

    Queries, keys and values are apart there. The decoder of words is tied to their embeddings, so it is not listed.
    What a run does not have, the config switches off by its `task_*` and `visual_*_loss`. Hugging Face builds the heads
    of words and matching even so; they are zeros, which score everything alike. Left behind, because Hugging Face has
    no place for them: heads of other objectives, and which losses the objectives took, at what weights.

    Raises:
        DataError: the encoder is no two-stream one.
    """
    shape = model.encoder.shape
    if not isinstance(shape, TwoStreamShape):
        raise DataError(f"{shape.kind} encoder: LXMERT has no place for it, expected a two-stream one")
    state = {
        name: part
        for ours, tensor in model.state_dict().items()
        if ours.startswith(_PLACED)
        for name, part in split(ours, tensor.detach(), _RENAMED)
    }
    told = {theirs: getattr(shape, ours) for ours, theirs in _SHAPE.items()} | _told_by_heads(state)
    if (regions := model.head(MaskedRegionsObjective)) is not None:
        told["visual_loss_normalizer"] = regions.options.normalizer
    config = LxmertConfig(**told)
    with torch.device("meta"):
        always = build_objectives(Objectives(masked_regions=None, question_answering=None), _sizes_of(config))
    for ours, tensor in always.state_dict(prefix="objectives.").items():
        state.setdefault(their_name(ours, _RENAMED), torch.zeros(tensor.shape))
    return config, state


def export_huggingface(model: Model, folder: Path, tokenizer: TextTokenizer | None = None) -> None:
    """`folder` holds what `LxmertForPreTraining.from_pretrained(folder)` loads, with nothing missing or left over.

    What is and what is not in it: see `to_huggingface`.
    """
    config, state = to_huggingface(model)
    config.architectures = ["LxmertForPreTraining"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save(folder)
    write_weights(folder, state)


def lxmert_model(published: Published) -> Model:
    """Return the model of LXMERT's weights, with the objectives that the file has heads for.

    Those that the config switches off stay behind. First rows of tables do not learn, as when these weights were
    trained. Weights without a config.json beside them are taken for those of LXMERT's authors: sizes and layers are
    read off the tensors, heads of attention are 12 and dropout is 0.1.

    Raises:
        DataError: they are not LXMERT's: some tensors are missing, left over or of another shape. A head may be absent,
            but not a part of one.
    """
    found = {_without_beginning(name): tensor for name, tensor in published.tensors.items()}
    config = _read_config(published.config) if published.config else _guess_config(published.path, found)
    for task, head in _TASKS.items():
        setattr(config, task, getattr(config, task) and has(found, head))
    shape = TwoStreamShape(**{ours: getattr(config, theirs) for ours, theirs in _SHAPE.items()}, freeze_first_rows=True)
    require_layers(published.config or published.path, shape, published.tensors)
    try:
        with torch.device("meta"):
            model = Model(shape, _objectives_of(config), _sizes_of(config))
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{published.config or published.path}: describes no encoder ({error})") from error
    state = in_our_names(
        without_tied(published.path, found, decoder=_TIED, table=_WORDS),
        model.state_dict(),
        _RENAMED,
        source=f"{published.path}: not the LXMERT weights that its config or its sizes describe",
        left_behind=tuple(head for task, head in _TASKS.items() if not getattr(config, task)),
    )
    model.load_state_dict(state, assign=True)
    return model


def _without_beginning(name: str) -> str:
    for pattern, replacement in _BEGINNINGS:
        name = pattern.sub(replacement, name)
    return name


def _told_by_heads(state: Mapping[str, Tensor]) -> dict[str, Any]:
    counts = {field: len(state[name]) if name in state else 0 for field, name in _COUNTED_BY.items()}
    return counts | {field: has(state, beginning) for field, beginning in (_TASKS | _DECODERS).items()}


def _guess_config(path: Path, found: Mapping[str, Tensor]) -> LxmertConfig:
    """Return the config that these tensors must have had in the program of LXMERT's authors."""
    for name, axis in _SIZED_BY.values():
        if name not in found or found[name].dim() <= axis:
            raise DataError(f"{path}: not LXMERT's weights, has no {name}; it has {some(sorted(found))}")
    sizes = {field: found[name].shape[axis] for field, (name, axis) in _SIZED_BY.items()}
    layers = {
        field: len({name.split(".")[3] for name in found if name.startswith(beginning)})
        for field, beginning in _LAYERS.items()
    }
    told = sizes | layers | _told_by_heads(found)
    return LxmertConfig(**told, visual_loss_normalizer=MaskedRegionsOptions().normalizer)


def _objectives_of(config: LxmertConfig) -> Objectives:
    regions = None
    if config.task_obj_predict and (config.visual_feat_loss or config.visual_obj_loss or config.visual_attr_loss):
        regions = MaskedRegionsOptions(
            normalizer=config.visual_loss_normalizer,
            features=config.visual_feat_loss,
            classes=config.visual_obj_loss,
            attributes=config.visual_attr_loss,
        )
    return Objectives(
        masked_words=MaskedWordsOptions() if config.task_mask_lm else None,
        masked_regions=regions,
        matching=MatchingOptions() if config.task_matched else None,
        question_answering=QuestionAnsweringOptions() if config.task_qa else None,
    )


def _sizes_of(config: LxmertConfig) -> Sizes:
    return Sizes(
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        feature_dim=config.visual_feat_dim,
        num_classes=config.num_object_labels,
        num_attributes=config.num_attr_labels,
        num_answers=config.num_qa_labels,
    )


def _read_config(path: Path) -> LxmertConfig:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        config = LxmertConfig.from_dict(content)
    except Exception as error:  # nor have transformers' own checks
        raise DataError(f"{path}: not LXMERT's config ({error})") from error
    if content.get("model_type") != "lxmert" or config.hidden_act != "gelu":
        raise DataError(
            f"{path}: model_type {content.get('model_type')!r} and hidden_act {config.hidden_act!r}, "
            "expected 'lxmert' and 'gelu'"
        )
    return config
