"""What `vinculum convert` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from annotations.image_ids import Ids
from pipeline.commands.result import Result
from pipeline.conversion.convert import (
    OUR_STORE,
    BoxRegression,
    ConversionJob,
    ConversionSummary,
    SourceFormat,
    TargetFormat,
    convert,
    look_ahead,
)
from stores.images.listing import IdRule
from stores.programs.volume import Volume

AnyPath = Annotated[Path, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Convert published features to a region store, or a region store to a format that others read.

    vinculum convert --source train2014_obj36.tsv --to arrow --out regions
    """

    source: AnyPath
    """File or folder of published features, or a region store; its content shows the format."""
    out: AnyPath
    """Store to write; a file for lxmert-tsv, a folder for milvlg-npz."""
    to: TargetFormat = "arrow"
    """Format to write: `arrow` and `lmdb` are stores made of published features, the others are made of a store."""
    source_format: Annotated[SourceFormat, tyro.conf.arg(name="from")] = "auto"
    """Format that the source must have; `auto` takes the one that its content shows."""
    vocabulary: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with objects_vocab.txt and attributes_vocab.txt; by default the source's own names, or numbers."""
    sizes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File of image sizes, for formats without them: lines of id, width, height, or VinVL's .hw.tsv."""
    box_regression: BoxRegression = "unknown"
    """Whether boxes are proposals as they were or regressed; no file shows it, the manifest records it."""
    images: tuple[str, ...] = ()
    """Images of the features, as vinculum extract takes them, for vinculum inspect."""
    image_id: IdRule = "stem"
    """Rule for an image's id: its file name without suffix, or its path below the folder given."""
    ids: Ids | None = None
    """Owner of the source's image numbers, as bottom-up-attention's files have them.
    It is coco, visual-genome (and GQA), flickr30k or own; COCO_train2014_000000000009 shows it itself."""
    shard_size: int = 512
    """Number of images in a shard."""
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    dry_run: bool = False
    """Print what would be done and what is left; nothing is written."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if self.shard_size < 1:
            raise ValueError(f"--shard-size is {self.shard_size}, expected at least 1")
        job = ConversionJob(
            source=self.source,
            out=self.out,
            source_format=self.source_format,
            target_format=self.to,
            vocabulary=self.vocabulary,
            sizes=self.sizes,
            box_regression=self.box_regression,
            images=self.images,
            image_id=self.image_id,
            ids=self.ids,
            shard_size=self.shard_size,
        )
        if self.dry_run:
            outlook = look_ahead(job)
            return Result(summary=asdict(outlook), lines=(outlook.line,))
        with self.volume.applied():
            summary = convert(job)
        status = 3 if summary.num_quarantined else 0
        return Result(summary=asdict(summary), lines=tuple(_lines(summary, self.to)), status=status)


def _lines(summary: ConversionSummary, target_format: str) -> list[str]:
    if summary.source_format == OUR_STORE:
        return [f"{summary.out}: {summary.num_images} images of {summary.source} as {target_format}"]
    told = (
        f"{summary.out}: {summary.num_images} images in {summary.num_shards} shards, {summary.num_shards_made} made now"
    )
    told = "; ".join((told, *summary.remarks))
    if summary.num_quarantined:
        told += f"; {summary.num_quarantined} in quarantine, for vinculum inspect"
    return [
        f"{summary.source} is {summary.source_format}",
        told,
        f"features are within {summary.max_rounding_error:.2g} of the source's, rounded to float16",
    ]
