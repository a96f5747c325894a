"""Vision transformers by name as detectors of grids: ViT, CLIP's and SigLIP's image towers, DINOv2.

Axes: B images, H W grid cells, T = H * W cells, D feature_dim.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    CLIPVisionModel,
    Dinov2Model,
    PreTrainedModel,
    SiglipVisionModel,
    ViTModel,
)

from detectors.grid_regions import GridRegions
from detectors.inputs.square import normalised, squeezed
from detectors.precision import Precision, resolve_precision
from detectors.records import DecodedImage, GridFeatures, PreparedImage, as_float16
from detectors.request import DescribedDetector, DetectorRequest
from detectors.weights.files import WeightsError, digest_while_read, published_folder

TOWERS: Mapping[str, Callable[..., Any]] = {
    "clip": CLIPVisionModel,
    "clip_vision_model": CLIPVisionModel,
    "siglip": SiglipVisionModel,
    "siglip_vision_model": SiglipVisionModel,
    "vit": ViTModel,
    "dinov2": Dinov2Model,
}
"""By `model_type` of a published configuration; a new one is a line."""

NOT_THE_TOWER = ("text_model.", "text_projection.", "visual_projection.", "logit_", "classifier.", "pooler.")
"""Beginnings of tensors that a published file holds beside the tower."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VisionTower:
    """A vision transformer on one device."""

    model: PreTrainedModel
    pixel_means: tuple[float, ...]
    """Means of pixels from 0 to 1."""
    pixel_stds: tuple[float, ...]
    weights: dict[str, str]
    """`name`, `sha256` and `config_sha256`."""
    device: torch.device

    @property
    def side(self) -> int:
        """Return the side of the square that every image becomes, in pixels."""
        side: int = self.model.config.image_size
        return side

    def describe(self) -> dict[str, Any]:
        """Return everything that decides the output, in JSON types."""
        config = self.model.config
        return {
            "weights": self.weights,
            "architecture": {
                "name": config.model_type,
                "patch_size": config.patch_size,
                "hidden_size": config.hidden_size,
                "num_layers": config.num_hidden_layers,
                "num_heads": config.num_attention_heads,
            },
            "conventions": {
                "resize": [self.side, self.side],
                "interpolation": "bicubic, antialiased (Pillow)",
                "channel_order": "rgb",
                "pixel_means": list(self.pixel_means),
                "pixel_stds": list(self.pixel_stds),
                "pixel_range": [0, 1],
                "layer": "last hidden state, without the class and register tokens",
                "attention": "none",
            },
            "precision": str(self.model.dtype).removeprefix("torch."),
        }

    def prepare(self, image: DecodedImage) -> PreparedImage:
        """Return the image squeezed to the model's square: uint8 [3, H, W]; all of it, where CLIP's own code crops."""
        return squeezed(image, self.side)

    @torch.inference_mode()
    def detect(self, images: Sequence[PreparedImage]) -> list[GridFeatures]:
        """Return each image's grid, in order; all images share one pass."""
        if not images:
            return []
        pixels_B3HW = normalised(images, self.pixel_means, self.pixel_stds, self.device)
        states_BTD = self.model(pixels_B3HW.to(self.model.dtype)).last_hidden_state
        cells = self.side // self.model.config.patch_size
        grids = states_BTD[:, -cells * cells :].unflatten(1, (cells, cells)).float().cpu().numpy()
        return [
            GridFeatures(
                image_id=image.image_id,
                image_width=image.image_width,
                image_height=image.image_height,
                features=as_float16(image.image_id, grid),
            )
            for image, grid in zip(images, grids, strict=True)
        ]


def load(request: DetectorRequest, device: torch.device) -> DescribedDetector:
    """Return the detector that was asked for."""
    tower = load_vision_tower(request.weights, request.precision, device)
    return GridRegions(grid=tower) if request.at_given_boxes else tower


def load_vision_tower(weights: str, precision: Precision, device: torch.device) -> VisionTower:
    """Return a detector ready to run; `weights` is a folder or a Hugging Face id, with its preprocessor_config.json.

    Raises:
        WeightsError: there is none, it is of a kind that is not known here, or tensors are missing or left over.
    """
    try:
        files = published_folder(weights, ("config.json",))
        kind = AutoConfig.from_pretrained(files, trust_remote_code=False).model_type
        if kind not in TOWERS:
            raise WeightsError(f"weights {weights!r} are a {kind}, expected one of {', '.join(sorted(TOWERS))}")
        files = published_folder(weights, ("config.json", "preprocessor_config.json", "model.safetensors"))
        processor = AutoImageProcessor.from_pretrained(files, trust_remote_code=False)
        with (
            digest_while_read(files / "model.safetensors") as sha256,
            digest_while_read(files / "config.json") as config_sha256,
        ):
            model, report = TOWERS[kind].from_pretrained(  # type: ignore[attr-defined]  # classes of transformers
                files, dtype=torch.float32, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except WeightsError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"weights {weights!r}: {error}; expected a folder or a Hugging Face id with config.json, "
            "preprocessor_config.json and model.safetensors"
        ) from error
    _check(weights, model, report)
    model.to(device=device, dtype=resolve_precision(precision, device)).eval()
    folder = Path(weights)
    name = folder.resolve().name if folder.is_dir() else weights
    return VisionTower(
        model=model,
        pixel_means=tuple(processor.image_mean),
        pixel_stds=tuple(processor.image_std),
        weights={"name": name, "sha256": sha256, "config_sha256": config_sha256},
        device=device,
    )


def _check(weights: str, model: Any, report: Mapping[str, Any]) -> None:
    left_over = [key for key in report["unexpected_keys"] if not key.startswith(NOT_THE_TOWER)]
    missing = [key for key in report["missing_keys"] if not key.startswith(NOT_THE_TOWER)]
    reshaped = [key for key, *_ in report["mismatched_keys"]]
    faults = {"missing": missing, "left over": left_over, "of another shape": reshaped}
    found = "; ".join(f"{len(keys)} {fault}: {', '.join(sorted(keys))}" for fault, keys in faults.items() if keys)
    if found:
        raise WeightsError(f"weights {weights!r}: {found}; expected a {type(model).__name__}")
    if not isinstance(model.config.image_size, int):
        raise WeightsError(f"weights {weights!r} are for images of {model.config.image_size}, expected a square")
