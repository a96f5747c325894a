"""Swin as a part of an encoder: pixels in, the cells of its last stage and their attention out, and all of it learns.

Its last stage is one window, so that there every cell attends to every other.

Axes: I images, H W pixels, R cells, D feature_dim, N attention heads.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import SwinConfig, SwinModel

from detectors.swin import (
    IMAGENET_MEANS,
    IMAGENET_STDS,
    SwinDetector,
    SwinOptions,
    load_swin,
    run_swin,
    tell_last_attention,
)
from detectors.weights.files import WeightsError
from training.models.initialization import INITIAL_STD


@dataclass(frozen=True, kw_only=True)
class TrunkShape:
    """Sizes of a Swin; those of Swin-B for 384 pixels by default."""

    image_size: int = 384
    """Side in pixels of the square that every image is squeezed to."""
    patch_size: int = 4
    embed_dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int = 12
    drop_path: float = 0.1
    """Share of dropped paths in the last layer; earlier layers have less."""
    initial_std: float = INITIAL_STD

    def __post_init__(self) -> None:
        stride = self.patch_size * 2 ** (len(self.depths) - 1)
        if self.image_size != stride * self.window_size:
            raise ValueError(
                f"trunk: images of {self.image_size} pixels make {self.image_size / stride:g} cells a side, expected "
                f"one window of {self.window_size} over all of them"
            )

    @property
    def side(self) -> int:
        """Cells a side."""
        return self.image_size // (self.patch_size * 2 ** (len(self.depths) - 1))

    @property
    def feature_dim(self) -> int:
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    @classmethod
    def of(cls, config: Any, *, drop_path: float) -> Self:
        """Return the shape of a published Swin, by its transformers config."""
        return cls(
            image_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.embed_dim,
            depths=tuple(config.depths),
            num_heads=tuple(config.num_heads),
            window_size=config.window_size,
            drop_path=drop_path,
        )


class Trunk(nn.Module):
    """A Swin whose last layer tells its attention."""

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__()
        self.shape = shape
        config = SwinConfig(
            image_size=shape.image_size,
            patch_size=shape.patch_size,
            embed_dim=shape.embed_dim,
            depths=list(shape.depths),
            num_heads=list(shape.num_heads),
            window_size=shape.window_size,
            drop_path_rate=shape.drop_path,
            initializer_range=shape.initial_std,
        )
        self.swin = SwinModel(config, add_pooling_layer=False)
        self.swin.set_attn_implementation("sdpa")
        tell_last_attention(self.swin)

    def forward(self, pixels_I3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of the last stage's cells, row by row [I, R, D], and their attention [I, N, R, R].

        Args:
            pixels_I3HW: uint8; red, green, blue.
        """
        with torch.autocast(pixels_I3HW.device.type, enabled=False):
            scaled_I3HW = pixels_I3HW.to(self.swin.layernorm.weight.dtype) / 255
            means, stds = (scaled_I3HW.new_tensor(each).view(3, 1, 1) for each in (IMAGENET_MEANS, IMAGENET_STDS))
            scaled_I3HW = (scaled_I3HW - means) / stds
        return run_swin(self.swin, scaled_I3HW)

    def begin_with(self, swin: SwinModel, *, source: str) -> None:
        """The weights are those of a published Swin.

        Raises:
            WeightsError: it has other ones.
        """
        try:
            self.swin.load_state_dict(swin.state_dict())
        except RuntimeError as error:
            raise WeightsError(f"weights {source!r}: another Swin than the encoder's ({error})") from error


def read_swin(source: str, shape: TrunkShape) -> SwinDetector:
    """Return a published Swin for images of the shape's size: a folder, a Hugging Face id, or `random:SEED`.

    Raises:
        WeightsError: it is absent, or for another size of images.
    """
    options = SwinOptions(image_size=shape.image_size, precision="float32")  # type: ignore[arg-type]
    return load_swin(source, options, torch.device("cpu"))
