"""The detectors by name. A new one is a file beside this and a `case` below."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import torch

from detectors.precision import Precision, keep_float32_exact, refuse_on_cpu, resolve_precision
from detectors.records import Detector

DetectorName = Literal["faster-rcnn", "swin", "detectron2", "vision-tower"]
Content = Literal["regions", "grid"]
CONTENT: Mapping[DetectorName, Content] = MappingProxyType(
    {"faster-rcnn": "regions", "swin": "grid", "detectron2": "regions", "vision-tower": "grid"}
)


@dataclass(frozen=True, kw_only=True)
class DetectorRequest:
    """Which detector a run wants; small, so that it travels to every worker."""

    name: DetectorName
    weights: str
    """A path, a name, or `random:SEED`."""
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "auto"
    min_boxes: int = 36
    max_boxes: int = 36
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Conventions to set against those of the weights, as text."""
    vocabulary: Path | None = None
    """Folder with `objects_vocab.txt` and `attributes_vocab.txt`; None takes the weights' own."""
    image_size: Literal[224, 384] = 384
    """Swin only."""
    keep_attention: bool = False
    """Swin only."""
    at_given_boxes: bool = False
    """Boxes are given with the images; of a grid the regions are then pooled."""
    config: str | None = None
    """detectron2 only: its YAML file, or a name in its model zoo."""


class DescribedDetector(Detector, Protocol):
    """A detector that can say what decides its output."""

    def describe(self) -> dict[str, Any]: ...


def with_absolute_paths(request: DetectorRequest) -> DetectorRequest:
    """Return the request as processes in other folders understand it: its paths are absolute, its names as they are."""
    from detectors.weights.files import SHIPPED

    return replace(
        request,
        weights=request.weights if request.weights in SHIPPED else _absolute(request.weights),
        vocabulary=None if request.vocabulary is None else request.vocabulary.absolute(),
        config=None if request.config is None else _absolute(request.config),
    )


def _absolute(name: str) -> str:
    return str(Path(name).absolute()) if Path(name).exists() else name


def content_of(request: DetectorRequest) -> Content:
    """Return what a store of the detector's output holds."""
    return "regions" if request.at_given_boxes else CONTENT[request.name]


def settle_precision(request: DetectorRequest) -> DetectorRequest:
    """Return the request with `auto` precision decided, so that the manifest and every worker have one answer.

    A cluster's GPUs can not be asked from a head node without one; they are taken to have bfloat16 units.

    Raises:
        ValueError: a CPU is to run in float16.
    """
    if request.device == "cpu":
        refuse_on_cpu(request.precision)
    if request.precision != "auto":
        return request
    if request.device == "cuda" and not torch.cuda.is_available():
        return replace(request, precision="bfloat16")
    dtype = resolve_precision("auto", torch.device(request.device))
    return replace(request, precision="bfloat16" if dtype == torch.bfloat16 else "float32")


def build_detector(request: DetectorRequest) -> DescribedDetector:
    """Return the detector, loaded; raises a ValueError that says what does not fit."""
    if request.device == "cpu":
        refuse_on_cpu(request.precision)
    elif not torch.cuda.is_available():
        raise ValueError("device is 'cuda', and torch finds no GPU here; expected 'cpu'")
    else:
        keep_float32_exact(request.precision)
    return _load(request, torch.device(request.device))


def describe_detector(request: DetectorRequest) -> dict[str, Any]:
    """Return everything that decides the detector's output, in JSON types; without the device that it will run on.

    Raises:
        ValueError: something does not fit.
    """
    return _load(request, torch.device("cpu")).describe()


def _load(request: DetectorRequest, device: torch.device) -> DescribedDetector:
    _refuse_options_of_others(request)
    match request.name:
        case "faster-rcnn":
            from detectors.vocabulary import read_vocabulary
            from detectors.weights.files import load_faster_rcnn

            return load_faster_rcnn(
                request.weights,
                overrides=request.overrides,
                min_boxes=request.min_boxes,
                max_boxes=request.max_boxes,
                precision=request.precision,
                device=device,
                vocabulary=read_vocabulary(request.vocabulary) if request.vocabulary else None,
            )
        case "detectron2":
            from detectors.detectron2 import load_detectron2
            from detectors.vocabulary import read_vocabulary

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
        case "swin":
            from detectors.grid_regions import GridRegions
            from detectors.swin import SwinOptions, load_swin

            options = SwinOptions(
                image_size=request.image_size, keep_attention=request.keep_attention, precision=request.precision
            )
            swin = load_swin(request.weights, options, device)
            return GridRegions(grid=swin) if request.at_given_boxes else swin
        case "vision-tower":
            from detectors.grid_regions import GridRegions
            from detectors.vision_tower import load_vision_tower

            tower = load_vision_tower(request.weights, request.precision, device)
            return GridRegions(grid=tower) if request.at_given_boxes else tower
    raise ValueError(f"detector {request.name!r} is unknown; known: {', '.join(sorted(CONTENT))}")


def _refuse_options_of_others(request: DetectorRequest) -> None:
    """An option that would do nothing is a misunderstanding, and so are weights of another detector."""
    from detectors.weights.files import SHIPPED

    if request.name != "faster-rcnn" and request.weights in SHIPPED:
        raise ValueError(
            f"weights {request.weights!r} are of faster-rcnn, not of {request.name}; expected --detector faster-rcnn, "
            "or other weights such as random:0"
        )
    if CONTENT[request.name] == "grid" and (request.overrides or request.vocabulary):
        raise ValueError(f"detector {request.name!r} gives a grid: it has no --convention and no --vocabulary")
    if request.keep_attention and (request.name != "swin" or request.at_given_boxes):
        raise ValueError(f"detector {request.name!r} keeps no attention: --keep-attention is for swin without --boxes")
    if request.config is not None and request.name != "detectron2":
        raise ValueError(f"detector {request.name!r} has no --config: it is for detectron2")
