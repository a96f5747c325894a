"""Swin as a detector: decoded images in, the last stage's grid features out, with its attention on request.

Axes: B images, H W pixels or grid cells, T = H * W cells, D feature_dim, N attention heads.
"""

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from transformers import SwinConfig, SwinModel

from detectors.grid_regions import GridRegions
from detectors.inputs.square import normalised, squeezed
from detectors.precision import Precision, resolve_precision
from detectors.records import DecodedImage, GridFeatures, PreparedImage, as_float16
from detectors.request import DescribedDetector, DetectorRequest
from detectors.weights.files import WeightsError, digest_while_read, published_folder

IMAGENET_MEANS = (0.485, 0.456, 0.406)
IMAGENET_STDS = (0.229, 0.224, 0.225)

RANDOM_CONFIGS: dict[int, dict[str, Any]] = {
    224: {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},  # Swin-T
    384: {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},  # Swin-B
}

CLASSIFICATION_HEAD = {"classifier.weight", "classifier.bias"}
"""What a published classifier holds beyond the trunk."""


@dataclass(frozen=True, kw_only=True)
class SwinOptions:
    """How the Swin detector runs."""

    image_size: Literal[224, 384] = 384
    """Side in pixels of the square that every image is resized to; must be the weights' own."""
    keep_attention: bool = False
    """Store the last layer's attention as well: heads x cells x cells numbers an image."""
    precision: Precision = "auto"
    """Number format of the model; auto is bfloat16 where the device computes in it, else float32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SwinDetector:
    """A Swin trunk on one device."""

    model: SwinModel
    options: SwinOptions
    weights: dict[str, str]
    """`name`, `sha256` and, of published ones, `config_sha256`."""
    device: torch.device

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the output, in JSON types."""
        config = self.model.config
        return {
            "weights": self.weights,
            "architecture": {
                "name": "swin",
                "patch_size": config.patch_size,
                "embed_dim": config.embed_dim,
                "depths": list(config.depths),
                "num_heads": list(config.num_heads),
                "window_size": config.window_size,
            },
            "conventions": {
                "resize": [self.options.image_size, self.options.image_size],
                "interpolation": "bicubic, antialiased (Pillow)",
                "channel_order": "rgb",
                "pixel_means": list(IMAGENET_MEANS),
                "pixel_stds": list(IMAGENET_STDS),
                "pixel_range": [0, 1],
                "layer": "last stage, after the final layer norm",
                "attention": "last layer, every head" if self.options.keep_attention else "none",
            },
            "precision": str(self.model.dtype).removeprefix("torch."),
        }

    def prepare(self, image: DecodedImage) -> PreparedImage:
        """Return the image squeezed to the model's square: uint8 [3, H, W]; `detect` normalises it on its device."""
        return squeezed(image, self.options.image_size)

    @torch.inference_mode()
    def detect(self, images: Sequence[PreparedImage]) -> list[GridFeatures]:
        """Return each image's grid, in order; all images share one pass."""
        if not images:
            return []
        pixels_B3HW = normalised(images, IMAGENET_MEANS, IMAGENET_STDS, self.device)
        states_BTD, attention = self._run(pixels_B3HW.to(self.model.dtype))
        side = _grid_side(self.model.config)
        features_BHWD = states_BTD.unflatten(1, (side, side)).float().cpu().numpy()
        attention_BNTT = None if attention is None else attention.to(torch.float16).cpu().numpy()
        return [
            GridFeatures(
                image_id=image.image_id,
                image_width=image.image_width,
                image_height=image.image_height,
                features=as_float16(image.image_id, features_BHWD[index]),
                attention=None if attention_BNTT is None else attention_BNTT[index],
            )
            for index, image in enumerate(images)
        ]

    def _run(self, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return cells [B, T, D] and, where it is kept, their attention [B, N, T, T]."""
        if self.options.keep_attention:
            return run_swin(self.model, pixels_B3HW)
        return self.model(pixels_B3HW).last_hidden_state, None


def load(request: DetectorRequest, device: torch.device) -> DescribedDetector:
    """Return the detector that was asked for."""
    options = SwinOptions(
        image_size=request.image_size, keep_attention=request.keep_attention, precision=request.precision
    )
    swin = load_swin(request.weights, options, device)
    return GridRegions(grid=swin) if request.at_given_boxes else swin


def load_swin(weights: str, options: SwinOptions, device: torch.device) -> SwinDetector:
    """Return a detector ready to run; `weights` is a folder, a Hugging Face id, or `random:SEED`.

    Raises WeightsError when the weights are absent or do not fit.
    """
    if weights.startswith("random:"):
        model, identity = _random_model(weights, options)
    else:
        model, identity = _published_model(weights)
    _check_fit(weights, model.config, options)
    model.set_attn_implementation("sdpa")
    if options.keep_attention:
        tell_last_attention(model)
    dtype = resolve_precision(options.precision, device)
    model.to(device=device, dtype=dtype).eval()  # type: ignore[call-arg]  # transformers wraps .to without its self
    return SwinDetector(model=model, options=options, weights=identity, device=device)


def tell_last_attention(model: SwinModel) -> None:
    """`run_swin` returns the last layer's attention; that layer alone computes it plainly, the others as they did."""
    stages: Any = model.encoder.layers
    last = stages[-1].blocks[-1].attention
    last.config = copy.deepcopy(last.config)
    last.config._attn_implementation = "eager"  # fused attention is faster, and returns no probabilities


def run_swin(model: SwinModel, pixels_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells of the last stage after the final norm, row by row [B, T, D], and their attention [B, N, T, T].

    Call `tell_last_attention` before. The last stage is one window, so that its windows are the images.
    """
    states, size = model.embeddings(pixels_B3HW)
    attention = states
    for stage in model.encoder.layers:
        states, _, attention = stage(states, size)
        if stage.downsample is not None:
            size = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    return model.layernorm(states), attention


def _random_model(weights: str, options: SwinOptions) -> tuple[SwinModel, dict[str, str]]:
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise WeightsError(f"weights {weights!r}: expected random:SEED with a whole number, such as random:0")
    config = SwinConfig(image_size=options.image_size, **RANDOM_CONFIGS[options.image_size])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        model = SwinModel(config, add_pooling_layer=False)
    return model, {"name": weights, "sha256": hashlib.sha256(save(model.state_dict())).hexdigest()}


def _published_model(weights: str) -> tuple[SwinModel, dict[str, str]]:
    folder = Path(weights)
    try:
        files = published_folder(weights, ("config.json",))
        kind = SwinConfig.get_config_dict(files)[0].get("model_type", "swin")
        if kind != "swin":
            raise WeightsError(f"weights {weights!r}: config.json says model_type {kind!r}, expected 'swin'")
        files = published_folder(weights, ("config.json", "model.safetensors"))
        with (
            digest_while_read(files / "model.safetensors") as sha256,
            digest_while_read(files / "config.json") as config_sha256,
        ):
            loaded: Any = SwinModel.from_pretrained(
                files,
                add_pooling_layer=False,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report, which _check_keys reads
            )
    except (OSError, SafetensorError) as cause:
        raise WeightsError(
            f"weights {weights!r}: {cause}; expected a folder with config.json and model.safetensors, "
            "the id of one on Hugging Face, or random:SEED"
        ) from cause
    model, report = loaded
    _check_keys(weights, report)
    name = folder.resolve().name if folder.is_dir() else weights
    return model, {"name": name, "sha256": sha256, "config_sha256": config_sha256}


def _check_keys(weights: str, report: Mapping[str, Any]) -> None:
    faults = {
        "missing": sorted(report["missing_keys"]),
        "left over": sorted(report["unexpected_keys"] - CLASSIFICATION_HEAD),
        "of another shape": sorted(key for key, *_ in report["mismatched_keys"]),
    }
    found = "; ".join(f"{len(keys)} {fault}: {', '.join(keys)}" for fault, keys in faults.items() if keys)
    if found:
        raise WeightsError(f"weights {weights!r}: {found}; expected a Swin trunk, with or without a classifier")


def _check_fit(weights: str, config: SwinConfig, options: SwinOptions) -> None:
    if config.image_size != options.image_size:
        raise WeightsError(
            f"weights {weights!r} are for images of {config.image_size} pixels, image_size is {options.image_size}; "
            "expected the same"
        )
    side = _grid_side(config)
    if options.keep_attention and config.window_size != side:
        raise WeightsError(
            f"weights {weights!r}: the last stage has {side} x {side} cells in windows of {config.window_size} x "
            f"{config.window_size}, expected one window over all cells; leave out keep_attention"
        )


def _grid_side(config: SwinConfig) -> int:
    return math.ceil(config.image_size / (config.patch_size * 2 ** (len(config.depths) - 1)))
