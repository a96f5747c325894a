"""What the heads of objectives must know of the encoder and the data."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Widths and vocabularies."""

    hidden_size: int
    vocab_size: int
    """Word pieces."""
    feature_dim: int
    num_classes: int
    """Classes of the detector, without background."""
    num_attributes: int
    """Attributes of the detector, without "none"."""
    num_answers: int
