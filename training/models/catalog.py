"""The encoders. A new one is a file like `single_stream.py`, and a line in each of the two below."""

from collections.abc import Collection
from typing import Annotated, Protocol

from pydantic import Discriminator

from training.batch import Batch, EncoderOutputs
from training.models.blocks import LayerChoice, chosen_layers
from training.models.single_stream import SingleStreamEncoder, SingleStreamShape
from training.models.two_stream import TwoStreamEncoder, TwoStreamShape
from training.models.visual_parser import VisualParserEncoder, VisualParserShape

EncoderShape = Annotated[TwoStreamShape | SingleStreamShape | VisualParserShape, Discriminator("kind")]


class Encoder(Protocol):
    """Maps a batch to what words and regions become; an `nn.Module` with `forward(batch, taps, keep_states)`."""

    @property
    def meeting_layers(self) -> tuple[str, ...]: ...
    @property
    def tap_names(self) -> tuple[str, ...]: ...
    def taps_of(self, layer: str) -> tuple[str, ...]: ...
    def __call__(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs: ...


def taps_of_layers(encoder: Encoder, choice: LayerChoice) -> tuple[str, ...]:
    """Return the names of all attentions of the chosen layers in which words and regions meet."""
    layers = chosen_layers(encoder.meeting_layers, choice)
    return tuple(tap for layer in layers for tap in encoder.taps_of(layer))


def build_encoder(shape: TwoStreamShape | SingleStreamShape) -> TwoStreamEncoder | SingleStreamEncoder:
    """Return a new encoder of this shape."""
    if isinstance(shape, VisualParserShape):
        return VisualParserEncoder(shape)
    return SingleStreamEncoder(shape) if isinstance(shape, SingleStreamShape) else TwoStreamEncoder(shape)
