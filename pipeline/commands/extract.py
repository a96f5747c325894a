"""What `vinculum extract` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from annotations.image_ids import Ids
from detectors.catalog import DETECTORS, DetectorName, DetectorRequest
from detectors.devices import AskedDevice, device_of
from detectors.inputs.images import MAX_PIXELS
from detectors.precision import Precision
from pipeline.commands.arguments import name_and_value
from pipeline.commands.result import Result
from pipeline.extraction.extract import ExtractionJob, extract, look_ahead
from pipeline.inputs.changed import ChangedRule
from stores.catalog import StoreName
from stores.images.listing import IdRule
from stores.programs.volume import Volume


@dataclass(frozen=True, kw_only=True)
class ExtractCommand:
    """Turn images into shards of region or grid features; run again, it makes only what is missing.

    vinculum extract --images photos --detector faster-rcnn --weights toyworld --out regions
    """

    images: tuple[str, ...]
    """Folders (nested), .tar files, image files and lists (.tsv, .csv: id, path; .txt: paths).
    Each may be a path or a URL of http, https, s3, gs or hf."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR_OR_URL")]
    """Store to write: a folder that all nodes see, or a URL such as s3://bucket/regions."""
    weights: str
    """File or folder of weights, ours or published, or an id on Hugging Face.
    The id unc-nlp/frcnn-vg-finetuned has weights for photos; `toyworld` fits the toy world alone.
    With `random:SEED` weights are noise, for trials."""
    detector: DetectorName = "faster-rcnn"
    """Detector to run: faster-rcnn and detectron2 extract regions.
    Swin and vision-tower (ViT, CLIP, SigLIP, DINOv2) extract a grid, or regions of it at given --boxes."""
    config: str | None = None
    """YAML file for detectron2, or a name in its model zoo: COCO-Detection/faster_rcnn_R_101_C4_3x.yaml."""
    store: StoreName = "arrow"
    """File format of the shards: Arrow IPC, or LMDB for key-value access."""
    num_boxes: int | None = None
    """Exact number of regions of an image; by default 36."""
    min_boxes: int | None = None
    """Number of regions at least, with --max-boxes: bottom-up-attention keeps 10 to 100 confident ones."""
    max_boxes: int | None = None
    """Number of regions at most, with --min-boxes."""
    boxes: Path | None = None
    """JSON file of boxes to describe, in pixels: image id to [[x1, y1, x2, y2], ...]."""
    convention: tuple[str, ...] = ()
    """NAME=VALUE pairs that replace conventions of the weights, such as short_side=800 boxes=regressed.
    An unknown name lists them all."""
    vocabulary: Path | None = None
    """Folder with objects_vocab.txt and attributes_vocab.txt, for weights without names."""
    image_size: Literal[224, 384] = 384
    """Side of Swin's input in pixels."""
    keep_attention: bool = False
    """Store the attention of Swin's last layer too, float16, by which visual parsing chooses.
    At 384 pixels Swin-B's takes 1.3 MB an image beside 0.3 MB of features.
    At 224 pixels Swin-T's takes 0.12 MB beside 0.08 MB."""
    precision: Precision = "auto"
    """Number format of the computation; `auto` takes bfloat16 where the device has units for it, else float32.
    Take float16 for GPUs without bfloat16; it may overflow."""
    device: AskedDevice = "auto"
    """Device to compute on; `auto` takes a GPU if this machine has one."""
    image_id: IdRule = "stem"
    """Rule for an image's id: its file name without suffix, or its path below the folder given."""
    ids: Ids | None = None
    """Owner of the numbers among the image ids, which `9` does not show.
    It is coco, visual-genome (and GQA), flickr30k, or own for images and annotations of your own.
    Names such as COCO_train2014_000000000009 show it themselves."""
    shard_size: int = 512
    """Number of images in a shard."""
    batch_size: int = 1
    """Number of images in a batch at most; only images of one shape share a batch, so none is padded.
    Another size gives the same regions but for rounding, and so other bytes."""
    max_pixels: int = MAX_PIXELS
    """Number of pixels of an image at most; larger images go to quarantine.
    A worker decodes as many pixels at once and needs some 17 bytes of memory for each."""
    retry_quarantine: bool = False
    """Try all images in quarantine again; without it, only those that could not be read."""
    changed: ChangedRule = "refuse"
    """Treatment of images whose files are others than those that the store was made from.
    With `refuse` the run ends and names them, with `redo` their features are made anew.
    Files are compared by size and time, and by content where these differ; URLs of a list are not."""
    address: str | None = None
    """HOST:PORT of a Ray cluster; without it, the cluster of the running Ray job, or this machine."""
    workers: int | None = None
    """Number of workers at most; by default one for each GPU, or one for every --cpus-per-worker."""
    cpus_per_worker: int | None = None
    """Number of cores of a worker; by default 4, or as many as there are."""
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    dry_run: bool = False
    """Print what would be done and what is left; nothing is written, and no worker starts."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if self.dry_run:
            outlook = look_ahead(self._job())
            return Result(summary=asdict(outlook), lines=(outlook.line,))
        with self.volume.applied():
            summary = extract(self._job())
        told = f"{summary.out}: {summary.num_images} images in {summary.num_shards} shards"
        if summary.num_shards_made:
            told += f"; {summary.num_shards_made} made now at {summary.images_per_second:.2f} images/s"
        else:
            told += "; nothing to do"
        if summary.num_quarantined:
            told += f"; {summary.num_quarantined} in quarantine ({summary.first_quarantined})"
            told += ", for vinculum inspect and --retry-quarantine"
        if summary.num_unread:
            told += f"; {summary.num_unread} of them could not be read, which every run tries again"
        told = "; ".join((told, *summary.remarks))
        return Result(summary=asdict(summary), lines=(told,), status=3 if summary.num_quarantined else 0)

    def _job(self) -> ExtractionJob:
        for name in ("num_boxes", "shard_size", "batch_size", "max_pixels", "workers", "cpus_per_worker"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {value}, expected at least 1")
        min_boxes, max_boxes = self._num_boxes()
        return ExtractionJob(
            images=self.images,
            out=self.out,
            detector=DetectorRequest(
                name=self.detector,
                weights=self.weights,
                device=device_of(self.device),
                precision=self.precision,
                min_boxes=min_boxes,
                max_boxes=max_boxes,
                overrides=dict(map(name_and_value, self.convention)),
                vocabulary=self.vocabulary,
                image_size=self.image_size,
                keep_attention=self.keep_attention,
                config=self.config,
            ),
            image_id=self.image_id,
            ids=self.ids,
            store=self.store,
            shard_size=self.shard_size,
            batch_size=self.batch_size,
            given_boxes=self.boxes,
            max_pixels=self.max_pixels,
            retry_quarantine=self.retry_quarantine,
            changed=self.changed,
            address=self.address,
            workers=self.workers,
            cpus_per_worker=self.cpus_per_worker,
        )

    def _num_boxes(self) -> tuple[int, int]:
        limits = (self.min_boxes, self.max_boxes)
        if (self.num_boxes, *limits) != (None, None, None):
            asked = "--num-boxes, --min-boxes and --max-boxes are for regions that a detector chooses; "
            if self.boxes is not None:
                raise ValueError(f"{asked}--boxes gives them, expected none of the three")
            if DETECTORS[self.detector].gives == "grid":
                raise ValueError(f"{asked}{self.detector} gives a grid, expected none of the three")
        if self.num_boxes is not None and limits != (None, None):
            raise ValueError("--num-boxes fixes the number; expected it alone, or --min-boxes with --max-boxes")
        if self.min_boxes is not None and self.max_boxes is not None:
            if not 1 <= self.min_boxes <= self.max_boxes:
                raise ValueError(
                    f"--min-boxes {self.min_boxes}, --max-boxes {self.max_boxes}: expected 1 <= min <= max"
                )
            return self.min_boxes, self.max_boxes
        if limits != (None, None):
            raise ValueError("--min-boxes and --max-boxes go together, such as 10 and 100")
        return (36 if self.num_boxes is None else self.num_boxes,) * 2
