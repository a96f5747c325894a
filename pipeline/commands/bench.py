"""What `vinculum bench` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from detectors.catalog import DetectorName, DetectorRequest
from detectors.device_memory import within_device_memory
from detectors.devices import AskedDevice, device_of
from detectors.precision import Precision
from pipeline.commands.arguments import name_and_value
from pipeline.commands.result import Result
from pipeline.judging.bench import BenchJob, lines_of, measure
from stores.images.listing import IdRule


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Measure a detector's speed here: bare model, pipeline, each stage's share, and the limit of the arithmetic.

    vinculum bench --images photos --weights random:0
    """

    images: tuple[str, ...]
    """Images to measure on, as vinculum extract takes them."""
    weights: str
    """Weights, as vinculum extract takes them; noise (`random:0`) has many proposals, which cost time."""
    detector: DetectorName = "faster-rcnn"
    """Detector to measure."""
    config: str | None = None
    """YAML file for detectron2, or a name in its model zoo."""
    vocabulary: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with objects_vocab.txt and attributes_vocab.txt, for weights without names."""
    convention: tuple[str, ...] = ()
    """NAME=VALUE pairs that replace conventions of the weights; an unknown name lists them all."""
    num_images: int = 64
    """Number of images at most, the first by id."""
    batch_size: int = 1
    """Number of images in a batch at most; only images of one shape share a batch."""
    repeats: int = 3
    """Number of passes of the bare model; their median is reported."""
    image_size: Literal[224, 384] = 384
    """Side of Swin's input in pixels."""
    precision: Precision = "auto"
    """Number format of the computation; `auto` takes bfloat16 where the device has units for it, else float32.
    Take float16 for GPUs without bfloat16; it may overflow."""
    device: AskedDevice = "auto"
    """Device to compute on; `auto` takes a GPU if this machine has one."""
    image_id: IdRule = "stem"
    """Rule for an image's id: its file name without suffix, or its path below the folder given."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        for name in ("num_images", "batch_size", "repeats"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}, expected at least 1")
        job = BenchJob(
            images=self.images,
            detector=DetectorRequest(
                name=self.detector,
                weights=self.weights,
                device=device_of(self.device),
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
        with within_device_memory(f"--batch-size is {self.batch_size}; take a smaller one, or --device cpu"):
            bench = measure(job)
        summary = asdict(bench) | {"share_of_roofline": bench.share_of_roofline}
        return Result(summary=summary, lines=tuple(lines_of(bench)))
