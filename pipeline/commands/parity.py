"""What `vinculum parity` takes; a field's docstring is its --help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from detectors.catalog import DetectorName, DetectorRequest
from detectors.device_memory import within_device_memory
from detectors.precision import Precision
from pipeline.commands.arguments import name_and_value
from pipeline.commands.result import Result
from pipeline.judging.parity import WHERE_WEIGHTS_ARE, ParityJob, compare, lines_of, summary_of
from stores.images.listing import IdRule


@dataclass(frozen=True, kw_only=True)
class ParityCommand:
    """Compare a detector with published features of the same images; exit status 1 if they differ.

    At the gold boxes no image may differ more than the worst of ten in airsplay's comparison with Caffe, and no cosine
    may lie below 0.95. From the image on, nine gold boxes of ten must be found.

    vinculum parity --gold train2014_obj36.tsv --images photos --weights bua-caffe-frcn-r101-k36.pth --vocabulary vg
    """

    gold: Annotated[Path, tyro.conf.arg(metavar="PATH")]
    """Published features in any format that vinculum convert reads.
    Ten images of the original Caffe detector are in github.com/airsplay/py-bottom-up-attention.
    Their file is demo/data/caffe_coco_features/train2014_obj36.tsv."""
    images: tuple[str, ...]
    """Images of these features: folders, .tar files or lists."""
    weights: str | None = None
    """Weights, as vinculum extract takes them; without them the error names the published ones."""
    detector: DetectorName = "faster-rcnn"
    """Detector to compare: faster-rcnn or detectron2."""
    config: str | None = None
    """YAML file for detectron2, or a name in its model zoo."""
    vocabulary: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with objects_vocab.txt and attributes_vocab.txt, for weights without names."""
    convention: tuple[str, ...] = ()
    """NAME=VALUE pairs that replace conventions of the weights; an unknown name lists them all."""
    precision: Precision = "float32"
    """Number format of the computation; with float32 a fault of the conversion is no rounding."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device to compute on."""
    image_id: IdRule = "stem"
    """Rule for an image's id: its file name without suffix, or its path below the folder given."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if self.weights is None:
            raise ValueError(f"--weights: {WHERE_WEIGHTS_ARE}")
        job = ParityJob(
            gold=self.gold,
            images=self.images,
            detector=DetectorRequest(
                name=self.detector,
                weights=self.weights,
                device=self.device,
                precision=self.precision,
                overrides=dict(map(name_and_value, self.convention)),
                vocabulary=self.vocabulary,
                config=self.config,
            ),
            image_id=self.image_id,
        )
        with within_device_memory("take --device cpu"):
            parity = compare(job)
        return Result(summary=summary_of(parity), lines=tuple(lines_of(parity)), status=0 if parity.passes else 1)
