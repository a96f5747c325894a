"""LXMERT's weights in Hugging Face's layout, out and in; its authors' own checkpoints come in too.

Nothing that a file contains is executed: safetensors, or `torch.load(weights_only=True)`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LxmertConfig
from transformers.utils import cached_file

from annotations.drops import DataError
from stores.atomic import replacing
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives, build_objectives
from training.objectives.masked_regions import MaskedRegionsOptions, MaskedRegionsObjective
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.sizes import Sizes
from training.pretraining import PretrainingModel
from training.tokenizer import TextTokenizer

WEIGHTS, PICKLED, CONFIG = "model.safetensors", "pytorch_model.bin", "config.json"

# Ours, Hugging Face's: replaced in a name in this order.
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
    (".self_attention.attention.", ".attention.self."),
    (".self_attention.", ".attention."),
    (".text_attention.attention.", ".lang_self_att.self."),
    (".text_attention.", ".lang_self_att."),
    (".region_attention.attention.", ".visn_self_att.self."),
    (".region_attention.", ".visn_self_att."),
    (".feed_forward.dense.", ".intermediate.dense."),
    (".feed_forward.output.", ".output."),
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
    (".norm.", ".LayerNorm."),
)
_FUSED, _SPLIT = "query_key_value", ("query", "key", "value")
_OURS_ALONE = "objectives.word_object_alignment."
_WORDS, _TIED = "lxmert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"

# How others begin a name: copies on several GPUs, a fine-tuned model, LXMERT's authors, an encoder without heads.
_BEGINNINGS = (
    (re.compile(r"(^|\.)module\."), r"\1"),
    (re.compile(r"^lxrt_encoder\.model\."), ""),
    (re.compile(r"^bert\."), "lxmert."),
    (re.compile(r"^(embeddings|encoder|pooler)\."), r"lxmert.\1."),
    (re.compile(r"^logit_fc\."), "answer_head.logit_fc."),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class LxmertWeights:
    """Published weights, in our layout."""

    shape: TwoStreamShape
    """Without learning of first rows, as these weights were trained."""
    objectives: Objectives
    """Those whose heads are in the file and not switched off."""
    sizes: Sizes
    """0 for what a head that is absent would tell."""
    state: dict[str, Tensor]
    """float32; of `PretrainingModel`."""


def to_huggingface(model: PretrainingModel) -> tuple[LxmertConfig, dict[str, Tensor]]:
    """Return the config and the state dict of an `LxmertForPreTraining` that computes what `model` does.

    Queries, keys and values are apart there. The decoder of words is tied to their embeddings, so it is not listed.
    What a run does not have, the config switches off by its `task_*` and `visual_*_loss`. Hugging Face builds the heads
    of words and matching even so; they are zeros, which score everything alike. The decoders of word-object alignment
    stay behind, Hugging Face has no place for them; so does the choice of squared error, of label weighting and of
    each objective's weight.
    """
    config = _config_of(model)
    with torch.device("meta"):
        always = build_objectives(Objectives(masked_regions=None, question_answering=None), _sizes_of(config))
    ours = {f"objectives.{name}": torch.zeros(there.shape) for name, there in always.state_dict().items()}
    ours |= {name: tensor.detach() for name, tensor in model.state_dict().items()}
    theirs: dict[str, Tensor] = {}
    for name, tensor in ours.items():
        if not name.startswith(_OURS_ALONE):
            names = _their_names(name)
            theirs |= dict(zip(names, tensor.chunk(len(names)), strict=True))
    return config, theirs


def export_huggingface(model: PretrainingModel, folder: Path, tokenizer: TextTokenizer | None = None) -> None:
    """`folder` holds what `LxmertForPreTraining.from_pretrained(folder)` loads, with nothing missing or left over.

    What is and is not in it: see `to_huggingface`.
    """
    config, state = to_huggingface(model)
    config.architectures = ["LxmertForPreTraining"]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save(folder)
    with replacing(folder / WEIGHTS) as temporary:
        # Three parts of one tensor share its memory, which safetensors refuses.
        whole = {name: tensor.cpu().clone() for name, tensor in state.items()}
        save_file(whole, temporary, metadata={"format": "pt"})


def import_huggingface(source: str | Path) -> PretrainingModel:
    """Return the model of published LXMERT weights; sources and errors are those of `load_huggingface`."""
    weights = load_huggingface(source)
    with torch.device("meta"):
        model = PretrainingModel(weights.shape, weights.objectives, weights.sizes)
    model.load_state_dict(weights.state, assign=True)
    return model


def load_huggingface(source: str | Path) -> LxmertWeights:
    """Return the weights at `source`, with the shape and the objectives they are for.

    Args:
        source: a folder in Hugging Face's layout, a repository's name on its hub, or a file of weights. A file without
            a config.json beside it is taken for one of LXMERT's authors: sizes and layers are read off the tensors,
            heads of attention are 12 and dropout is 0.1.

    Raises:
        DataError: there is no such thing, it is damaged or holds more than tensors, or it is not LXMERT's: some
            tensors are missing, left over or of another shape.
    """
    config_path, path = _find(str(source))
    found = {_without_beginning(name): tensor for name, tensor in _read_tensors(path).items()}
    config = _read_config(config_path) if config_path else _guess_config(path, found)
    shape, objectives, sizes = _shape_of(config), _objectives_of(config, found), _sizes_of(config)
    try:
        with torch.device("meta"):
            expected = PretrainingModel(shape, objectives, sizes).state_dict()
    except (ValueError, RuntimeError) as error:
        raise DataError(f"{config_path}: describes no encoder ({error})") from error
    _check(path, found, expected, objectives)
    return LxmertWeights(
        shape=shape,
        objectives=objectives,
        sizes=sizes,
        state={name: torch.cat([found[each] for each in _their_names(name)]).float() for name in expected},
    )


def _their_names(name: str) -> tuple[str, ...]:
    """Return the one name that a tensor of ours has there, or the three that its parts have."""
    for ours, theirs in _RENAMED:
        name = name.replace(ours, theirs)
    return tuple(name.replace(_FUSED, part) for part in _SPLIT) if _FUSED in name else (name,)


def _without_beginning(name: str) -> str:
    for pattern, replacement in _BEGINNINGS:
        name = pattern.sub(replacement, name)
    return name


def _config_of(model: PretrainingModel) -> LxmertConfig:
    shape, heads = model.encoder.shape, model.objectives
    regions = heads["masked_regions"] if "masked_regions" in heads else None
    wanted = regions.options if isinstance(regions, MaskedRegionsObjective) else None
    num_outputs = {
        name.removesuffix(".bias"): len(tensor)
        for name, tensor in heads.state_dict().items()
        if name.endswith("decoder.bias")
    }
    return LxmertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        l_layers=shape.num_text_layers,
        r_layers=shape.num_region_layers,
        x_layers=shape.num_cross_layers,
        max_position_embeddings=shape.max_positions,
        type_vocab_size=shape.num_segments,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.attention_dropout,
        visual_feat_dim=shape.feature_dim,
        num_qa_labels=num_outputs.get("question_answering.head.decoder", 0),
        num_object_labels=num_outputs.get("masked_regions.class_decoder", 0),
        num_attr_labels=num_outputs.get("masked_regions.attribute_decoder", 0),
        task_mask_lm="masked_words" in heads,
        task_matched="matching" in heads,
        task_qa="question_answering" in heads,
        task_obj_predict=wanted is not None,
        visual_obj_loss=wanted is not None and wanted.classes,
        visual_attr_loss=wanted is not None and wanted.attributes,
        visual_feat_loss=wanted is not None and wanted.features,
        visual_loss_normalizer=(wanted or MaskedRegionsOptions()).normalizer,
    )


def _guess_config(path: Path, found: Mapping[str, Tensor]) -> LxmertConfig:
    """Return the config that tensors without one must have had, in the program of LXMERT's authors."""

    def size(name: str, axis: int = 0) -> int:
        if name not in found or found[name].dim() <= axis:
            raise DataError(f"{path}: not LXMERT's weights, {name} is missing; it begins with {_first(sorted(found))}")
        return found[name].shape[axis]

    def layers(part: str) -> int:
        return len({name.split(".")[3] for name in found if name.startswith(f"lxmert.encoder.{part}.")})

    def outputs(name: str) -> int:
        return size(name) if name in found else 0

    num_classes = outputs("obj_predict_head.decoder_dict.obj.bias")
    num_attributes = outputs("obj_predict_head.decoder_dict.attr.bias")
    return LxmertConfig(
        vocab_size=size(_WORDS),
        hidden_size=size(_WORDS, 1),
        intermediate_size=size("lxmert.encoder.x_layers.0.lang_inter.dense.weight"),
        l_layers=layers("layer"),
        r_layers=layers("r_layers"),
        x_layers=layers("x_layers"),
        max_position_embeddings=size("lxmert.embeddings.position_embeddings.weight"),
        type_vocab_size=size("lxmert.embeddings.token_type_embeddings.weight"),
        visual_feat_dim=size("lxmert.encoder.visn_fc.visn_fc.weight", 1),
        num_qa_labels=outputs("answer_head.logit_fc.3.bias"),
        num_object_labels=num_classes,
        num_attr_labels=num_attributes,
        visual_obj_loss=num_classes > 0,
        visual_attr_loss=num_attributes > 0,
        visual_feat_loss="obj_predict_head.decoder_dict.feat.bias" in found,
        visual_loss_normalizer=MaskedRegionsOptions().normalizer,
    )


def _shape_of(config: LxmertConfig) -> TwoStreamShape:
    return TwoStreamShape(
        vocab_size=config.vocab_size,
        feature_dim=config.visual_feat_dim,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_text_layers=config.l_layers,
        num_region_layers=config.r_layers,
        num_cross_layers=config.x_layers,
        max_positions=config.max_position_embeddings,
        num_segments=config.type_vocab_size,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        freeze_first_rows=True,
    )


def _objectives_of(config: LxmertConfig, found: Mapping[str, Tensor]) -> Objectives:
    """Return the objectives that the config has on and the file has a head for, however much of it."""

    def has(head: str) -> bool:
        return any(name.startswith(head) for name in found)

    regions = MaskedRegionsOptions(
        normalizer=config.visual_loss_normalizer,
        features=config.visual_feat_loss,
        classes=config.visual_obj_loss,
        attributes=config.visual_attr_loss,
    )
    return Objectives(
        masked_words=MaskedWordsOptions() if config.task_mask_lm and has("cls.predictions.") else None,
        masked_regions=regions if config.task_obj_predict and has("obj_predict_head.") else None,
        matching=MatchingOptions() if config.task_matched and has("cls.seq_relationship.") else None,
        question_answering=QuestionAnsweringOptions() if config.task_qa and has("answer_head.") else None,
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


def _find(source: str) -> tuple[Path | None, Path]:
    """Return where config, if there is one, and weights are on disk; those of a hub are brought there first."""
    path = Path(source)
    if path.is_file():
        beside = path.with_name(CONFIG)
        return (beside if beside.is_file() else None), path
    try:
        for name in (WEIGHTS, PICKLED):
            if weights := cached_file(source, name, _raise_exceptions_for_missing_entries=False):
                return Path(str(cached_file(source, CONFIG))), Path(weights)
    except OSError as error:
        raise DataError(f"{source}: no weights there ({error})") from error
    raise DataError(f"{source}: neither {WEIGHTS} nor {PICKLED}, expected one of them beside {CONFIG}")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file brings about, from EOFError to UnpicklingError
        raise DataError(f"{path}: damaged, or more than tensors, of which nothing was run ({error})") from error
    if not isinstance(content, Mapping) or not all(isinstance(each, Tensor) for each in content.values()):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected a state dict: names and tensors alone")
    return dict(content)


def _read_config(path: Path) -> LxmertConfig:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("model_type") != "lxmert" or content.get("hidden_act", "gelu") != "gelu":
            raise DataError(f"{path}: not LXMERT's, expected model_type lxmert and hidden_act gelu")
        return LxmertConfig.from_dict(content)
    except DataError:
        raise
    except Exception as error:  # transformers' own checks have no class in common
        raise DataError(f"{path}: not LXMERT's config ({error})") from error


def _check(path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], objectives: Objectives) -> None:
    shapes = {
        theirs: part.shape
        for name, tensor in expected.items()
        for names in [_their_names(name)]
        for theirs, part in zip(names, tensor.chunk(len(names)), strict=True)
    }
    idle = ("cls.predictions.",) * (objectives.masked_words is None)
    idle += ("cls.seq_relationship.",) * (objectives.matching is None)
    missing = sorted(set(shapes) - set(found))
    left_over = sorted(name for name in set(found) - set(shapes) - {_TIED} if not name.startswith(idle))
    misshapen = [
        f"{name} {list(found[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in found and found[name].shape != shape
    ]
    problems = {"missing": missing, "left over": left_over, "of another shape": misshapen}
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {what}: {_first(names)}" for what, names in problems.items() if names)
        raise DataError(f"{path}: not the LXMERT weights that its config or its sizes describe; {told}")
    if _TIED in found and not torch.equal(found[_TIED], found[_WORDS]):
        raise DataError(f"{path}: the decoder of words is not the table of word embeddings, expected them to be tied")


def _first(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
