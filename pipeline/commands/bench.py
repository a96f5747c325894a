"""What `vinculum bench` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from detectors.catalog import DetectorName, DetectorRequest
from detectors.precision import Precision
from pipeline.commands.arguments import name_and_value
from pipeline.commands.result import Result
from pipeline.judging.bench import BenchJob, lines_of, measure
from stores.images.listing import IdRule


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure a detector here: bare model, pipeline, the share of each stage, and what the arithmetic would allow.

    vinculum bench --images photos --weights random:0
    """

    images: tuple[str, ...]
    """As of vinculum extract."""
    weights: str
    """As of vinculum extract; speed does not hang on what they have learnt, but proposals do: `random:0` has many."""
    detector: DetectorName = "faster-rcnn"
    """Any that vinculum extract has."""
    config: str | None = None
    """detectron2: its YAML file, or a name in its model zoo."""
    vocabulary: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with objects_vocab.txt and attributes_vocab.txt, where the weights have no names."""
    convention: tuple[str, ...] = ()
    """NAME=VALUE against the weights' own."""
    num_images: int = 64
    """Images at most, the first by id."""
    batch_size: int = 1
    """Images a batch, at most; only images of one shape share one."""
    repeats: int = 3
    """Of the bare model; the median counts."""
    image_size: Literal[224, 384] = 384
    """Swin: side of its input."""
    precision: Precision = "auto"
    """auto takes bfloat16 where the device has units for it; float16 is for GPUs without them, and may overflow."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if this machine has one."""
    image_id: IdRule = "stem"
    """As of vinculum extract."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        for name in ("num_images", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        bench = measure(
            BenchJob(
                images=self.images,
                detector=DetectorRequest(
                    name=self.detector,
                    weights=self.weights,
                    device=device,
                    precision=self.precision,
                    overrides=dict(map(name_and_value, self.convention)),
                    vocabulary=self.vocabulary,
                    image_size=self.image_size,
                    config=self.config,
                ),
                num_images=self.num_images,
                batch_size=self.batch_size,
                repeats=self.repeats,
                image_id=self.image_id,
            )
        )
        summary = asdict(bench) | {"share_of_roofline": bench.share_of_roofline}
        return Result(summary=summary, lines=tuple(lines_of(bench)))
