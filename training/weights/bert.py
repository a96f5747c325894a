"""BERT's weights: what an encoder's text side begins with, and what its text side is written as.

Source of the layout: transformers' `BertModel` and `BertForPreTraining`, and the older files that name a norm's weights
gamma and beta.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import BertConfig

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from training.data.tokenizer import FILE_NAME, TextTokenizer, load_tokenizer
from training.model import Model
from training.models.encoder import Shape
from training.models.layers import NORM_EPSILON
from training.models.single_stream import SingleStreamShape
from training.models.two_stream import TwoStreamShape
from training.models.visual_parser import VisualParserShape
from training.weights.published import (
    BERT_LAYER,
    Published,
    Renaming,
    has,
    in_our_names,
    split,
    without_tied,
    write_weights,
)

BERT_NAMES: Renaming = (
    ("encoder.text_embedding.word.", "embeddings.word_embeddings."),
    ("encoder.text_embedding.position.", "embeddings.position_embeddings."),
    ("encoder.text_embedding.segment.", "embeddings.token_type_embeddings."),
    ("encoder.text_embedding.", "embeddings."),
    ("encoder.text_layers.", "encoder.layer."),
    ("encoder.layers.", "encoder.layer."),
    ("encoder.pooler.", "pooler.dense."),
    ("objectives.masked_words.", "cls.predictions."),
    *BERT_LAYER,
)
HEAD_SIZE = 64
"""Width of a head of attention, in all sizes of BERT and UNITER that were published."""

_ENCODER = tuple(ours for ours, _ in BERT_NAMES if ours.startswith("encoder."))
_WORDS, _TIED = "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
_SEGMENTS = "embeddings.token_type_embeddings.weight"
_VOCABULARIES = FILE_NAME, "vocab.txt"

_OLDER = (
    (re.compile(r"(^|\.)module\."), r"\1"),
    (re.compile(r"^bert\."), ""),
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
)


def begin_with_bert(bert: Published, model: Model, tokenizer: TextTokenizer) -> None:
    """The text side of the model's encoder is BERT's; see `bert_state`. All the rest stays as it is."""
    model.load_state_dict(bert_state(bert, model, tokenizer), strict=False)


def bert_state(bert: Published, model: Model, tokenizer: TextTokenizer) -> dict[str, Tensor]:
    """Return the weights of `model` that BERT has: tables of words, positions and segments, text layers, pooler.

    A single-stream encoder's layers are all of BERT's. A two-stream encoder's text layers are the first of them, as in
    LXMERT's public code; so are a visual parser's, of which its paper's ablations have three. BERT has two segments; a
    third, as VL-BERT has it, is a copy of the second. The head of masked words is BERT's, too, where both have one.

    Args:
        model: may be without content, on the device "meta".
        tokenizer: that of the run.

    Raises:
        DataError: a tensor is missing, left over or of another shape; the vocabulary, the number of layers or of heads
            is another one, or the config is not BERT's.
    """
    shape = model.encoder.shape
    found = {_newer_name(name): tensor for name, tensor in bert.tensors.items()}
    found = without_tied(bert.path, found, decoder=_TIED, table=_WORDS)
    _require_vocabulary(bert.path, found, tokenizer)
    _require_heads(bert, found, shape.num_heads)
    layers = len({name.split(".")[2] for name in found if name.startswith("encoder.layer.")})
    wanted = _num_text_layers(shape)
    if layers < wanted or (layers > wanted and not isinstance(shape, TwoStreamShape | VisualParserShape)):
        raise DataError(f"{bert.path}: {layers} layers, expected {wanted} as the encoder has")
    if _SEGMENTS in found and found[_SEGMENTS].shape[:1] == (2,) and shape.num_segments > 2:
        found[_SEGMENTS] = found[_SEGMENTS][[0] + [1] * (shape.num_segments - 1)]
    taken = _ENCODER + (("objectives.masked_words.",) if has(found, "cls.predictions.") else ())
    return in_our_names(
        found,
        {ours: tensor for ours, tensor in model.state_dict().items() if ours.startswith(taken)},
        BERT_NAMES,
        source=f"{bert.path}: not the BERT that this encoder could begin with",
        left_behind=(
            "cls.",
            "embeddings.position_ids",
            *(f"encoder.layer.{number}." for number in range(wanted, layers)),
        ),
    )


def export_bert(model: Model, folder: Path, tokenizer: TextTokenizer | None = None) -> None:
    """`folder` holds what `BertModel.from_pretrained(folder)` loads, with nothing missing or left over.

    Of a sentence alone it computes what the encoder does: words and pooled state. Regions, the end token and all heads
    stay behind.

    Raises:
        DataError: the encoder has two streams; its pooler reads words that have seen regions.
    """
    shape = model.encoder.shape
    if not isinstance(shape, SingleStreamShape):
        raise DataError(f"{shape.kind} encoder: BERT has no place for it, expected a single-stream one")
    config = BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        max_position_embeddings=shape.max_positions,
        type_vocab_size=shape.num_segments,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.attention_dropout,
        layer_norm_eps=NORM_EPSILON,
        architectures=["BertModel"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save(folder)
    parts = (split(ours, each, BERT_NAMES) for ours, each in model.state_dict().items() if ours.startswith(_ENCODER))
    write_weights(folder, dict(named for part in parts for named in part))


def _newer_name(name: str) -> str:
    for pattern, replacement in _OLDER:
        name = pattern.sub(replacement, name)
    return name


def _require_vocabulary(path: Path, found: Mapping[str, Tensor], tokenizer: TextTokenizer) -> None:
    """BERT's pieces are the tokenizer's, as far as a vocabulary lies beside the weights; else they are as many."""
    if _WORDS in found and found[_WORDS].shape[:1] != (tokenizer.vocab_size,):
        raise DataError(
            f"{path}: {_WORDS} {list(found[_WORDS].shape)}, expected {tokenizer.vocab_size} rows, one for every piece "
            "of the run's tokenizer; give BERT's own with --tokenizer"
        )
    for beside in (path.with_name(name) for name in _VOCABULARIES):
        if beside.is_file() and load_tokenizer(str(beside)).backend.get_vocab() != tokenizer.backend.get_vocab():
            raise DataError(f"{beside}: other pieces than the run's tokenizer has; give BERT's own with --tokenizer")


def _num_text_layers(shape: Shape) -> int:
    match shape:
        case TwoStreamShape():
            return shape.num_text_layers
        case SingleStreamShape():
            return shape.num_layers
    raise DataError(f"the encoder is {shape.kind}, expected two streams or one, whose layers a BERT can begin")


def _require_heads(bert: Published, found: Mapping[str, Tensor], num_heads: int) -> None:
    """BERT has as many heads as the encoder, and computes what it does; tensors do not tell."""
    told = {} if bert.config is None else _read_config(bert.config)
    has_heads = told.get("num_attention_heads")
    if has_heads is None and _WORDS in found:
        has_heads = found[_WORDS].shape[-1] // HEAD_SIZE
    if has_heads != num_heads:
        raise DataError(f"{bert.config or bert.path}: {has_heads} heads, expected {num_heads} as the encoder has")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not BERT's config ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected BERT's config")
    needed = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": NORM_EPSILON}
    for field, value in needed.items():
        if content.get(field, value) != value:
            raise DataError(f"{path}: {field} {content[field]!r}, expected {value!r}")
    return content
