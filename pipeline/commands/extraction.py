"""What each `vinculum` command takes; a field's docstring is its --help."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from annotations.image_ids import Ids
from annotations.toyworld.world import EntitiesCaptions, write_toy_world
from detectors.catalog import CONTENT, DetectorName, DetectorRequest
from detectors.images import MAX_PIXELS
from detectors.precision import Precision
from pipeline.care.verify import Verdict, repair, verify
from pipeline.commands.demo import run_demo
from pipeline.extraction.extract import ExtractionJob, extract
from pipeline.inputs.changed import ChangedRule
from pipeline.pages.regions import write_page
from pipeline.pages.sentences import write_sentence_page
from stores.images.listing import IdRule
from stores.manifest import StoreName, read_manifest

Out = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Store = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command prints, and how it exits."""

    summary: Mapping[str, Any]
    """The machine-readable line of --json."""
    lines: tuple[str, ...] = ()
    """For people."""
    status: int = 0


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Walk the whole path on the toy world, on this machine, ending with three pages to look at.

    vinculum demo --out demo
    """

    out: Out = Path("demo")
    """Folder for the world, its shards, two runs and the pages; an interrupted demo goes on where it was."""
    images: int = 300
    """Pictures in the world."""
    steps: int = 600
    """Of each of the two trainings."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        summary = run_demo(self.out, self.images, self.steps)
        pages = (summary["regions_page"], summary["sentences_page"], summary["report_page"])
        return Result(summary=summary, lines=(f"look at {pages[0]}, {pages[1]} and {pages[2]}",))


@dataclass(frozen=True, kw_only=True)
class ToyworldCommand:
    """Write the toy world: rendered scenes with their annotations in the official layouts.

    All of them number the same pictures: `vinculum extract --ids own` tells so.

    vinculum toyworld --out world --images 300 --seed 0
    """

    out: Out
    """Folder for images/ and a folder for every layout: visual_genome/, coco/, gqa/, flickr30k_entities/ ..."""
    images: int = 300
    """Pictures; picture 7 of a world is the same in a larger one."""
    seed: int = 0
    """Another seed is another world."""
    entities: EntitiesCaptions = "scenes"
    """Captions of flickr30k_entities/: of whole scenes, or relations of things by their names alone, as Winoground's
    captions are."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        written = write_toy_world(self.out, num_images=self.images, seed=self.seed, entities=self.entities)
        counts = asdict(written)
        told = ", ".join(f"{count} {name.removeprefix('num_')}" for name, count in counts.items())
        return Result(summary={"out": str(self.out), **counts}, lines=(f"{self.out}: {told}",))


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
            if CONTENT[self.detector] == "grid":
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


VERIFY_STATUS = {"whole": 0, "damaged": 1, "unfinished": 4}


def _share(option: str, text: str) -> float:
    """Return what `1%` or `0.01` means; raises ValueError where it is no share."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{option} is {text!r}, expected a share of the shards, such as 1% or 0.01")
    return share


def name_and_value(text: str) -> tuple[str, str]:
    """Return both sides of NAME=VALUE; raises ValueError where there is no equals sign."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--convention {text!r}: expected NAME=VALUE, such as short_side=800")
    return name, value


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """Re-read a whole store against its manifest; the exit status is 0 if it is whole, 4 if it is unfinished but
    undamaged, 1 if anything is damaged.

    vinculum verify regions
    """

    store: Store
    """The folder that extract, align or convert wrote."""
    sample: str = "100%"
    """Share of the shards that are read, such as 1%, others each time; of the rest the sizes are compared."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        verdict = verify(self.store, share=_share("--sample", self.sample))
        lines = (*map(str, verdict.damages), f"{self.store}: {verdict.state}{_what_was_seen(verdict)}")
        summary = {
            "store": str(self.store),
            "state": verdict.state,
            "damages": [asdict(damage) for damage in verdict.damages],
            "num_shards": verdict.num_shards,
            "num_planned": verdict.num_planned,
            "num_read": verdict.num_read,
        }
        return Result(summary=summary, lines=lines, status=VERIFY_STATUS[verdict.state])


def _what_was_seen(verdict: Verdict) -> str:
    """Return what people should know beside the word, in clauses."""
    clauses = []
    if verdict.is_finished is False:
        known = f"{verdict.num_shards} of {verdict.num_planned}" if verdict.num_planned else f"{verdict.num_shards}"
        clauses.append(f"{known} shards are made; run vinculum {verdict.command} again to go on")
    if verdict.is_finished is None:
        clauses.append(
            "whether it is finished is not recorded, since an older version wrote it; run vinculum "
            f"{verdict.command} again to know"
        )
    if verdict.num_read < verdict.num_shards:
        left = verdict.num_shards - verdict.num_read
        clauses.append(
            f"{verdict.num_read} of {verdict.num_shards} shards were read, of {left} only the sizes compared"
        )
    return "".join(f"; {clause}" for clause in clauses)


@dataclass(frozen=True, kw_only=True)
class RepairCommand:
    """Put a store's damaged shards back to what is to be done; the next extract makes them again.

    vinculum repair regions
    """

    store: Store
    """The folder that extract wrote."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        repairs = repair(self.store)
        lines = tuple(str(each) for each in repairs) or (f"{self.store}: nothing to repair",)
        return Result(summary={"store": str(self.store), "repairs": [asdict(each) for each in repairs]}, lines=lines)


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Write one page to look at: pictures with their regions, or sentences whose words light up the regions they mean.

    vinculum inspect regions --out page.html
    """

    store: Store
    """The folder that extract or align wrote."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("inspect.html")
    """The page: one file, with everything in it."""
    images: int | None = None
    """Pictures, or sentences, shown, spread over the store; 24 pictures or 48 sentences unless said."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Of sentences: the region store, if it is no longer where align found it."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if read_manifest(self.store).content == "sentences":
            num_sentences = 48 if self.images is None else self.images
            shown = write_sentence_page(self.store, self.out, num_sentences=num_sentences, regions=self.regions)
            return Result(summary=asdict(shown), lines=(f"look at {self.out}",))
        if self.regions is not None:
            raise ValueError(f"--regions goes with a store of sentences; {self.store} is one itself")
        summary = write_page(self.store, self.out, num_images=24 if self.images is None else self.images)
        return Result(summary=asdict(summary), lines=(f"look at {self.out}",))
