"""What `vinculum extract` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from annotations.image_ids import Ids
from detectors.catalog import DETECTORS, DetectorName, DetectorRequest
from detectors.images import MAX_PIXELS
from detectors.precision import Precision
from pipeline.commands.arguments import name_and_value
from pipeline.commands.result import Result
from pipeline.extraction.extract import ExtractionJob, extract
from pipeline.inputs.changed import ChangedRule
from stores.catalog import StoreName
from stores.images.listing import IdRule


@dataclass(frozen=True, kw_only=True)
class ExtractCommand:
    """Turn images into shards of region or grid features; run again, it does only what is missing.

    vinculum extract --images photos --detector faster-rcnn --weights toyworld --out regions
    """

    images: tuple[str, ...]
    """Folders (nested), .tar files, lists (.tsv and .csv: id, path; .txt: paths), files; paths, or URLs of http, https,
    s3, gs and hf."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR_OR_URL")]
    """The store: shards, their manifest, plan and index, run.jsonl; a folder that all nodes see, or s3://, gs:// ..."""
    weights: str
    """A file or folder, ours or published; an id on Hugging Face, such as unc-nlp/frcnn-vg-finetuned for photographs;
    `toyworld`, which knows that world alone; or `random:SEED` for trials without."""
    detector: DetectorName = "faster-rcnn"
    """faster-rcnn and detectron2 give regions; swin and vision-tower (ViT, CLIP, SigLIP, DINOv2) a grid, or regions of
    it where boxes are given."""
    config: str | None = None
    """detectron2: its YAML file, or a name in its model zoo such as COCO-Detection/faster_rcnn_R_101_C4_3x.yaml."""
    store: StoreName = "arrow"
    """arrow: one Arrow IPC file a shard; lmdb: one LMDB file a shard."""
    num_boxes: int | None = None
    """Exactly so many regions an image; 36 where nothing is said."""
    min_boxes: int | None = None
    """At least so many, with --max-boxes: those above the confidence, as in bottom-up-attention's 10 to 100."""
    max_boxes: int | None = None
    """At most so many, with --min-boxes."""
    boxes: Path | None = None
    """Features of given boxes: a JSON object of image id to [[x1, y1, x2, y2], ...] in pixels."""
    convention: tuple[str, ...] = ()
    """NAME=VALUE against the weights' own: short_side=800 boxes=regressed pooling=align res5=dilation ..."""
    vocabulary: Path | None = None
    """Folder with objects_vocab.txt and attributes_vocab.txt, where the weights have no names."""
    image_size: Literal[224, 384] = 384
    """Swin: side of its input."""
    keep_attention: bool = False
    """Swin: store the last layer's attention too, float16, which visual parsing chooses by. Of Swin-B at 384 pixels
    that is 1.3 MB an image beside 0.3 MB of features, of Swin-T at 224 0.12 beside 0.08."""
    precision: Precision = "auto"
    """auto takes bfloat16 where the device has units for it; float16 is for GPUs without them, and may overflow."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if this machine has one."""
    image_id: IdRule = "stem"
    """An image's id is its name without suffix, or its path below the folder given."""
    ids: Ids | None = None
    """Whose the numbers among the ids are, which `9` does not tell: coco, visual-genome (and GQA), flickr30k, or own,
    of your own images and annotations. Names such as COCO_train2014_000000000009 tell it themselves."""
    shard_size: int = 512
    """Images a shard."""
    batch_size: int = 1
    """Images a batch, at most. Only images of one shape share a batch, so none is padded. Another size gives the same
    regions but for rounding: numbers may differ in their last digits, and the files' bytes with them."""
    max_pixels: int = MAX_PIXELS
    """Pixels of an image at most, 128 megapixels unless said; larger ones go to quarantine. A worker decodes as many at
    once, and needs some 17 bytes of memory for each."""
    retry_quarantine: bool = False
    """Try all images in quarantine again, beside what is missing; without it, only those that could not be read."""
    changed: ChangedRule = "refuse"
    """What becomes of images that are other files than those the store was made from: refuse ends the run and names
    them, redo makes their features anew. Files are compared by size and time, and where these differ by content; of a
    list's URLs nothing is known."""
    address: str | None = None
    """A Ray cluster; without it the running Ray job's, or this machine."""
    workers: int | None = None
    """Workers at most; one a GPU, or one for every --cpus-per-worker."""
    cpus_per_worker: int | None = None
    """Cores a worker; 4, or what there is."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
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
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        min_boxes, max_boxes = self._num_boxes()
        return ExtractionJob(
            images=self.images,
            out=self.out,
            detector=DetectorRequest(
                name=self.detector,
                weights=self.weights,
                device=device,
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
