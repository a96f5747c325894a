"""Any detectron2 detector of boxes as a network that our detector asks for regions; detectron2 itself is optional.

Features are those from which its box head tells classes: of a C4 or DC5 network the pooled fifth stage or its fully
connected layers, of a pyramid its fully connected layers.

Axes: B images, H W pixels of the model's input, R regions, D feature_dim, C classes with background in row 0.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectors.conventions import Conventions, override
from detectors.faster_rcnn import FasterRCNNDetector
from detectors.networks.faster_rcnn import NetworkConventions
from detectors.networks.folding import fold_norms
from detectors.networks.roi_pooling import Pooling
from detectors.precision import Precision, resolve_precision
from detectors.records import DecodedImage, RecordError
from detectors.request import DetectorRequest
from detectors.vocabulary import Vocabulary, read_vocabulary
from detectors.weights.checkpoint_files import CheckpointError, read_tensors
from detectors.weights.coco_names import COCO_CLASSES
from detectors.weights.files import WeightsError, digest_while_read
from detectors.weights.published import LayoutError, load_under_their_names

ROIS_AT_ONCE = 100  # bounds the pooled tensor
PUBLIC_REPOSITORY = "https://github.com/facebookresearch/detectron2"

POOLINGS: dict[str, Pooling] = {"ROIPool": "pool", "ROIAlign": "align", "ROIAlignV2": "align-half"}
"""By detectron2's names."""

OF_ITS_OWN = frozenset(field.name for field in fields(NetworkConventions))
"""Conventions that the configuration decides and nobody else."""


class Detectron2Network(nn.Module):
    """A detectron2 `GeneralizedRCNN` with one box head."""

    def __init__(self, model: Any, config: Any) -> None:
        super().__init__()
        self.model, self.config = model, config
        heads = model.roi_heads
        self.is_shared = hasattr(heads, "res5")
        if not self.is_shared and not hasattr(heads, "box_pooler"):
            raise ValueError(f"roi heads {type(heads).__name__} have no box head, expected Res5 or Standard ones")
        predictor = heads.box_predictor
        if isinstance(predictor, nn.ModuleList):
            raise ValueError(f"{type(heads).__name__} has a cascade of box heads, expected one")
        self.feature_dim: int = predictor.cls_score.in_features

    @property
    def trunk_dtype(self) -> torch.dtype:
        return next(self.model.backbone.parameters()).dtype

    def describe(self) -> dict[str, Any]:
        return {"name": "detectron2", "model": self.config.MODEL.dump()}

    def feature_map(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.model.backbone(self._filled_up(images_B3HW))
        return {name: each.float() for name, each in maps.items()}

    def propose(
        self, images_B3HW: Tensor, maps: Mapping[str, Tensor], scales: Sequence[float], at_least: int
    ) -> list[Tensor]:
        from detectron2.structures import ImageList

        sizes = [(int(images_B3HW.shape[2]), int(images_B3HW.shape[3]))] * len(images_B3HW)
        proposals, _ = self.model.proposal_generator(ImageList(images_B3HW, sizes), dict(maps), None)
        return [each.proposal_boxes.tensor for each in proposals]

    def region_features(self, maps: Mapping[str, Tensor], boxes: list[Tensor]) -> Tensor:
        of_heads = [maps[name] for name in self.model.roi_heads.in_features]
        parts = [
            self._features([each[index : index + 1] for each in of_heads], chunk)
            for index, of_image in enumerate(boxes)
            for chunk in of_image.split(ROIS_AT_ONCE)
        ]
        return torch.cat(parts) if parts else of_heads[0].new_zeros((0, self.feature_dim))

    def _features(self, maps: list[Tensor], boxes_R4: Tensor) -> Tensor:
        from detectron2.structures import Boxes

        heads = self.model.roi_heads
        if self.is_shared:
            pooled = heads.pooler(maps, [Boxes(boxes_R4)]).to(self.trunk_dtype)
            features: Tensor = heads.res5(pooled).float().mean(dim=(2, 3))
        else:
            features = heads.box_head(heads.box_pooler(maps, [Boxes(boxes_R4)]))
        return features.flatten(1)

    def classify(self, features_RD: Tensor) -> tuple[Tensor, Tensor]:
        logits_RC, deltas = self.model.roi_heads.box_predictor(features_RD)
        num_classes = logits_RC.shape[1] - 1
        if deltas.shape[1] == 4:  # one box for all classes
            deltas = deltas.repeat(1, num_classes)
        return logits_RC.roll(1, dims=1), torch.cat([torch.zeros_like(deltas[:, :4]), deltas], dim=1)

    def refine(self, boxes_R4: Tensor, deltas_R4: Tensor) -> Tensor:
        refined: Tensor = self.model.roi_heads.box_predictor.box2box_transform.apply_deltas(deltas_R4, boxes_R4)
        return refined

    def attributes(self, features_RD: Tensor, class_rows_R: Tensor) -> None:
        """There are none."""

    def optimise(self, dtype: torch.dtype, device: torch.device) -> None:
        """Batch norms are folded; trunk and fifth stage run in `dtype`, channels last; the rest stays float32."""
        fold_norms(self.model)
        self.eval().requires_grad_(False).to(device)
        for part in (self.model.backbone, *([self.model.roi_heads.res5] if self.is_shared else [])):
            part.to(dtype).to(memory_format=torch.channels_last)

    def _filled_up(self, images_B3HW: Tensor) -> Tensor:
        multiple = max(1, self.model.backbone.size_divisibility)
        below, right = (math.ceil(side / multiple) * multiple - side for side in images_B3HW.shape[2:])
        return nn.functional.pad(images_B3HW, (0, right, 0, below))


def load(request: DetectorRequest, device: torch.device) -> FasterRCNNDetector:
    """Return the detector that was asked for."""
    return load_detectron2(
        request.weights,
        request.config,
        overrides=request.overrides,
        min_boxes=request.min_boxes,
        max_boxes=request.max_boxes,
        precision=request.precision,
        device=device,
        vocabulary=read_vocabulary(request.vocabulary) if request.vocabulary else None,
    )


def load_detectron2(
    weights: str,
    config: str | None,
    *,
    overrides: Mapping[str, str],
    min_boxes: int,
    max_boxes: int,
    precision: Precision,
    device: torch.device,
    vocabulary: Vocabulary | None,
) -> FasterRCNNDetector:
    """Return a detector ready to run, which has seen one picture already.

    Args:
        weights: a checkpoint of the configuration's model, or `random:SEED`.
        config: a YAML file, or the name of one in detectron2's model zoo, such as
            `COCO-Detection/faster_rcnn_R_50_C4_1x.yaml`. Python configurations are programs and are refused.

    Raises:
        WeightsError: detectron2 is not installed, the configuration is none or asks for what is missing here, the
            weights do not fit, or nobody tells the names of their classes.
        ValueError: an override is unknown, ill-typed, or the configuration's business.
    """
    settings = _read_config(config)
    settings.MODEL.DEVICE = str(device)
    path = Path(weights)
    with digest_while_read(path) if path.is_file() else nullcontext() as sha256:
        network = _build(weights, settings)
    names = vocabulary or _coco(network)
    num_classes = network.model.roi_heads.num_classes
    if names is None or len(names.classes) != num_classes or names.attributes:
        found = "none" if names is None else f"{len(names.classes)} classes and {len(names.attributes)} attributes"
        raise WeightsError(f"vocabulary: {found}, expected names of {num_classes} classes; give --vocabulary")
    network.optimise(resolve_precision(precision, device), device)
    detector = FasterRCNNDetector(
        network=network,
        conventions=override(_conventions(settings), overrides, fixed=OF_ITS_OWN),
        vocabulary=names,
        weights={"name": path.name, "sha256": sha256} if sha256 else {"name": weights},
        min_boxes=min_boxes,
        max_boxes=max_boxes,
        device=device,
    )
    _try_out(detector)
    return detector


def _read_config(config: str | None) -> Any:
    try:
        from detectron2 import model_zoo
        from detectron2.config import get_cfg
    except ImportError as error:
        raise WeightsError(
            f"detectron2 is not installed ({error}); in the checkout, pip install --no-build-isolation '.[detectron2]' "
            f"builds it from {PUBLIC_REPOSITORY} with the torch, setuptools and C++ compiler that are installed"
        ) from error
    if config is None or not config.endswith((".yaml", ".yml")):
        raise WeightsError(
            f"detectron2 configuration is {config!r}, expected --config with a .yaml file or a name in its model zoo"
        )
    settings = get_cfg()
    try:
        path = config if Path(config).is_file() else model_zoo.get_config_file(config)
        settings.merge_from_file(path, allow_unsafe=False)
    except Exception as error:  # yacs raises assertions, key errors and more for what it does not know
        raise WeightsError(f"detectron2 configuration {config!r}: {error}") from error
    return settings


def _build(weights: str, settings: Any) -> Detectron2Network:
    from detectron2.modeling import build_model

    seed = weights.removeprefix("random:")
    if weights.startswith("random:") and not seed.isdecimal():
        raise WeightsError(f"weights {weights!r}: expected random:SEED with a whole number, such as random:0")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(seed) if weights.startswith("random:") else 0)
            network = Detectron2Network(build_model(settings), settings)
        if not weights.startswith("random:"):
            load_under_their_names(network.model, read_tensors(Path(weights)))
    except FileNotFoundError as error:
        raise WeightsError(f"weights {weights!r}: no such file") from error
    except (CheckpointError, LayoutError) as error:
        raise WeightsError(f"weights {weights!r}: {error}") from error
    except Exception as error:  # whatever detectron2's builders raise for what they lack
        raise WeightsError(f"detectron2 cannot build this model here: {type(error).__name__}: {error}") from error
    return network


def _conventions(settings: Any) -> Conventions:
    model = settings.MODEL
    if model.ROI_BOX_HEAD.POOLER_TYPE not in POOLINGS:
        raise WeightsError(f"pooler {model.ROI_BOX_HEAD.POOLER_TYPE!r}, expected one of {', '.join(POOLINGS)}")
    return Conventions(
        short_side=settings.INPUT.MIN_SIZE_TEST,
        long_side=settings.INPUT.MAX_SIZE_TEST,
        resize="pillow",
        channel_order=settings.INPUT.FORMAT.lower(),
        pixel_means=tuple(model.PIXEL_MEAN),
        pixel_stds=tuple(model.PIXEL_STD),
        boxes="regressed",
        nms_threshold=model.ROI_HEADS.NMS_THRESH_TEST,
        pooling=POOLINGS[model.ROI_BOX_HEAD.POOLER_TYPE],
        pooling_size=model.ROI_BOX_HEAD.POOLER_RESOLUTION,
        stride_in="1x1" if model.RESNETS.STRIDE_IN_1X1 else "3x3",
        rpn_before_nms=model.RPN.PRE_NMS_TOPK_TEST,
        rpn_after_nms=model.RPN.POST_NMS_TOPK_TEST,
        rpn_nms_threshold=model.RPN.NMS_THRESH,
        box_weights=tuple(model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS),
    )


def _coco(network: Detectron2Network) -> Vocabulary | None:
    is_coco = network.model.roi_heads.num_classes == len(COCO_CLASSES)
    return Vocabulary(classes=COCO_CLASSES, attributes=()) if is_coco else None


def _try_out(detector: FasterRCNNDetector) -> None:
    """An operator that is missing here ends the run before it starts, and not at its first image."""
    grey = DecodedImage(image_id="a grey square", pixels_rgb=np.full((64, 64, 3), 128, np.uint8))
    try:
        detector.detect([detector.prepare(grey)])
    except (RecordError, NotImplementedError):
        pass  # too little of a picture for its regions; an operator of GPUs, which the driver's node may lack
    except (ImportError, AttributeError, RuntimeError) as error:
        raise WeightsError(f"detectron2 cannot run this model here: {error}") from error
