"""What a run asks of a detector, and what it gets: small, so that it travels to every worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from detectors.precision import Precision
from detectors.records import Detector


@dataclass(frozen=True, kw_only=True)
class DetectorRequest:
    """Which detector a run wants; small, so that it travels to every worker."""

    name: str
    """In `DETECTORS`."""
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
