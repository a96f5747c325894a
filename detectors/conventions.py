"""How weights want to be applied: the same tensors, applied otherwise, give features nobody has trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin

from detectors.networks.faster_rcnn import NetworkConventions
from detectors.selection.regions import SelectionRules


@dataclass(frozen=True, kw_only=True)
class Conventions(NetworkConventions):
    """How an image becomes the network's input, and its output regions; stored with the weights."""

    short_side: int = 600
    """Pixels the shorter side is scaled to ..."""
    long_side: int = 1000
    """... unless the longer side would pass this."""
    resize: Literal["opencv", "caffe", "half-up", "torchvision", "pillow"] = "opencv"
    """Bilinear on floats, to rounded sides, by one factor for both axes (Caffe's Python code), to sides whose halves
    are rounded up (Hugging Face's FRCNN) or to sides rounded down (torchvision); or Pillow's bilinear on bytes, which
    smooths what it shrinks (detectron2)."""
    channel_order: Literal["bgr", "rgb"] = "bgr"
    pixel_means: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    """Subtracted from 0..255 values, in channel order."""
    pixel_stds: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Divides what is left, in channel order."""
    boxes: Literal["raw", "regressed"] = "raw"
    """Proposals as pooled (bottom-up-attention), or refined by the deltas of their best class."""
    nms: Literal["per-class", "best-class"] = "per-class"
    """A region suppresses others in every class (bottom-up-attention), or all regions at once by their best score."""
    nms_threshold: float = SelectionRules.nms_threshold
    """NMS of the kept regions."""
    confidence: float = SelectionRules.confidence
    """Regions at or above this class probability are kept beyond the minimum."""
    attribute_none: Literal["counted", "left-out"] = "counted"
    """Whether an attribute's probability is one beside that of having none, as in Caffe, or among attributes alone."""

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side", "pooling_size", "rpn_before_nms", "rpn_after_nms"):
            if getattr(self, name) < 1:
                raise ValueError(f"convention {name} is {getattr(self, name)}, expected at least 1")
        for name, length in (("pixel_means", 3), ("pixel_stds", 3), ("box_weights", 4)):
            if len(getattr(self, name)) != length:
                raise ValueError(f"convention {name} is {getattr(self, name)}, expected {length} numbers")
        if not all(self.pixel_stds) or not all(self.box_weights):
            raise ValueError(f"pixel_stds are {self.pixel_stds}, box_weights {self.box_weights}, expected no zero")
        if self.channel_order not in ("bgr", "rgb"):
            raise ValueError(f"convention channel_order is {self.channel_order!r}, expected bgr or rgb")


IMAGENET = Conventions(channel_order="rgb", pixel_means=(123.675, 116.28, 103.53), pixel_stds=(58.395, 57.12, 57.375))
"""What torchvision's trunks have seen: its means and deviations, times 255."""


def override(
    conventions: Conventions, overrides: Mapping[str, str], fixed: frozenset[str] = frozenset()
) -> Conventions:
    """Return the conventions with `name=text` pairs set, each text read as the field's type.

    Raises:
        ValueError: there is no such convention, it is one of the `fixed` ones, or it cannot be what the text says.
    """
    types = {field.name: field.type for field in fields(conventions)}
    for name in overrides:
        if name in fixed:
            raise ValueError(f"convention {name!r} is decided by these weights' own network, expected none of its own")
        if name not in types:
            raise ValueError(f"convention {name!r} is unknown; known: {', '.join(sorted(types))}")
    parsed = {name: _parse(name, text, types[name]) for name, text in overrides.items()}
    return replace(conventions, **parsed)


def _parse(name: str, text: str, wanted: Any) -> Any:
    if get_origin(wanted) is Literal:
        if text not in get_args(wanted):
            raise ValueError(f"convention {name} is {text!r}, expected one of {', '.join(get_args(wanted))}")
        return text
    try:
        if get_origin(wanted) is tuple:
            return tuple(float(part) for part in text.split(","))
        return wanted(text)
    except ValueError as error:
        raise ValueError(f"convention {name} is {text!r}, expected {wanted}") from error
