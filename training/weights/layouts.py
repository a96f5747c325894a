"""The layouts in which weights come and go. A new one is a file like `uniter.py`, and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from annotations.guards.drops import DataError
from training.data.tokenizer import TextTokenizer
from training.model import Model
from training.weights.bert import export_bert
from training.weights.huggingface import export_huggingface, lxmert_model
from training.weights.published import Published, some
from training.weights.uniter import uniter_model
from training.weights.vinculum import export_own, own_model

LayoutName = Literal["lxmert", "vinculum", "bert"]

# By what some names of every such file have in them.
READERS: Mapping[str, Callable[[Published], Model]] = {
    "encoder.text_embedding.word.": own_model,
    "img_embeddings.": uniter_model,
    ".x_layers.": lxmert_model,
}
WRITERS: Mapping[LayoutName, Callable[[Model, Path, TextTokenizer], None]] = {
    "lxmert": export_huggingface,
    "vinculum": export_own,
    "bert": export_bert,
}
USUAL: Mapping[str, LayoutName] = {"two-stream": "lxmert", "single-stream": "vinculum", "visual-parser": "vinculum"}
"""The layout in which an encoder of a kind goes out, if nobody asks for another."""


def published_model(published: Published) -> Model:
    """Return the model of these weights, whose layout is told from their names.

    Raises:
        DataError: the layout is unknown, or the weights are not what they should be in it.
    """
    for telling, read in READERS.items():
        if any(telling in name for name in published.tensors):
            return read(published)
    raise DataError(
        f"{published.path}: has {some(sorted(published.tensors))}; expected weights of LXMERT or UNITER, or what "
        "vinculum-train export wrote; those of BERT go to vinculum-train pretrain --init"
    )
