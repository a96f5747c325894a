"""Weights of LXMERT as a user would import them."""

from pathlib import Path

from training.model import Model
from training.weights.huggingface import lxmert_model
from training.weights.published import read_published


def import_huggingface(source: str | Path) -> Model:
    """Return the model of the LXMERT weights at `source`."""
    return lxmert_model(read_published(source))
