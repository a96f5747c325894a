"""What the model, the objectives and the probes ask of every encoder, and of the shape that it is built from."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from training.batch import Batch, EncoderOutputs
from training.models.blocks import LayerChoice, chosen_layers
from training.models.initialization import INITIAL_STD


class Encoder(nn.Module):
    """Maps a batch to what words and regions become."""

    shape: "Shape"

    @property
    def meeting_layers(self) -> tuple[str, ...]:
        """The layers in which words and regions attend to each other, the first first."""
        raise NotImplementedError

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The attentions that can be asked for, in the order in which they are computed."""
        raise NotImplementedError

    def taps_of(self, layer: str) -> tuple[str, ...]:
        """Return the taps that together show all attention of a meeting layer."""
        raise NotImplementedError

    def forward(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return what words and regions have become, and the attentions asked for by their `tap_names`.

        Args:
            keep_states: return what they are after each meeting layer, too.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes that every encoder has; its own shape extends them, with a `kind` of its own."""

    kind: str
    """The encoder's name in `ENCODERS`."""
    vocab_size: int = 30522
    feature_dim: int = 2048
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_heads: int = 12
    max_positions: int = 512
    num_segments: int = 2
    dropout: float = 0.1
    attention_dropout: float = 0.1
    initial_std: float = INITIAL_STD

    @property
    def max_pieces(self) -> int:
        """Return how many pieces of a sentence have positions."""
        return self.max_positions

    @property
    def layers(self) -> str:
        """The encoder's layers in few words, for a table of runs."""
        return self.kind

    def build(self) -> Encoder:
        """Return a new encoder of this shape."""
        raise NotImplementedError


def taps_of_layers(encoder: Encoder, choice: LayerChoice) -> tuple[str, ...]:
    """Return the names of all attentions of the chosen layers in which words and regions meet."""
    layers = chosen_layers(encoder.meeting_layers, choice)
    return tuple(tap for layer in layers for tap in encoder.taps_of(layer))
