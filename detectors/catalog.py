"""The detectors by name. A new one is a file beside this and a line in `DETECTORS`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from detectors.precision import keep_float32_exact, refuse_on_cpu, resolve_precision
from detectors.request import DescribedDetector, DetectorRequest

Content = Literal["regions", "grid"]


@dataclass(frozen=True, kw_only=True)
class DetectorKind:
    """What is known of a detector before it is loaded."""

    gives: Content
    module: str
    """Has `load`, which takes a DetectorRequest and a device and returns a DescribedDetector; raises ValueError where
    something does not fit."""
    options: tuple[str, ...] = ()
    """Options that it takes and others refuse: `keep_attention`, `config`."""


DETECTORS: Mapping[str, DetectorKind] = {
    "faster-rcnn": DetectorKind(gives="regions", module="detectors.weights.files"),
    "swin": DetectorKind(gives="grid", module="detectors.swin", options=("keep_attention",)),
    "detectron2": DetectorKind(gives="regions", module="detectors.detectron2", options=("config",)),
    "vision-tower": DetectorKind(gives="grid", module="detectors.vision_tower"),
}

if TYPE_CHECKING:
    DetectorName = str
else:
    DetectorName = Literal[tuple(DETECTORS)]


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
    return "regions" if request.at_given_boxes else DETECTORS[request.name].gives


def settle_precision(request: DetectorRequest) -> DetectorRequest:
    """Return the request with `auto` precision decided, so that the manifest and every worker have one answer.

    A cluster's GPUs cannot be asked from a head node without one; they are taken to have bfloat16 units.

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
    if request.name not in DETECTORS:
        raise ValueError(f"detector {request.name!r} is unknown; known: {', '.join(sorted(DETECTORS))}")
    _refuse_options_of_others(request)
    detector: DescribedDetector = import_module(DETECTORS[request.name].module).load(request, device)
    return detector


def _refuse_options_of_others(request: DetectorRequest) -> None:
    """An option that would do nothing is a misunderstanding, and so are weights of another detector."""
    from detectors.weights.files import SHIPPED

    kind = DETECTORS[request.name]
    if request.name != "faster-rcnn" and request.weights in SHIPPED:
        raise ValueError(
            f"weights {request.weights!r} are of faster-rcnn, not of {request.name}; expected --detector faster-rcnn, "
            "or other weights such as random:0"
        )
    if kind.gives == "grid" and (request.overrides or request.vocabulary):
        raise ValueError(f"detector {request.name!r} gives a grid: it has no --convention and no --vocabulary")
    if request.keep_attention and ("keep_attention" not in kind.options or request.at_given_boxes):
        named = _with_option("keep_attention")
        raise ValueError(
            f"detector {request.name!r} keeps no attention: --keep-attention is for {named} without --boxes"
        )
    if request.config is not None and "config" not in kind.options:
        raise ValueError(f"detector {request.name!r} has no --config: it is for {_with_option('config')}")


def _with_option(name: str) -> str:
    return ", ".join(each for each, kind in DETECTORS.items() if name in kind.options)
