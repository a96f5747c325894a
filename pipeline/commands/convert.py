"""What `vinculum convert` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
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
)
from stores.images.listing import IdRule

AnyPath = Annotated[Path, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True, kw_only=True)
class ConvertCommand:
    """Turn published features into shards of region features, and such shards into formats that others read.

    vinculum convert --source train2014_obj36.tsv --to arrow --out regions
    """

    source: AnyPath
    """A file or folder of published features, or a store of regions; what it is shows in its content."""
    out: AnyPath
    """The store; for lxmert-tsv a file, for milvlg-npz a folder."""
    to: TargetFormat = "arrow"
    """arrow and lmdb are stores, made of published features; the others are written from a store."""
    source_format: Annotated[SourceFormat, tyro.conf.arg(name="from")] = "auto"
    """What the source must be."""
    vocabulary: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder with objects_vocab.txt and attributes_vocab.txt; classes have the file's names, or numbers, without."""
    sizes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Image sizes, for formats without (uniter-lmdb, vinvl-tsv): lines of id, width, height, or VinVL's .hw.tsv."""
    box_regression: BoxRegression = "unknown"
    """Whether boxes are a network's proposals as they were, or regressed; no file tells, the manifest keeps it."""
    images: tuple[str, ...] = ()
    """Where the pictures are, for vinculum inspect: folders, .tar files, lists, as extract takes them."""
    image_id: IdRule = "stem"
    """A picture's id is its name without suffix, or its path below the folder given."""
    ids: Ids | None = None
    """Whose the numbers among the source's ids are, as in bottom-up-attention's files: coco, visual-genome (and GQA),
    flickr30k, or own; a name such as COCO_train2014_000000000009 tells it itself."""
    shard_size: int = 512
    """Images a shard."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if self.shard_size < 1:
            raise ValueError(f"--shard-size is {self.shard_size}, expected at least 1")
        summary = convert(
            ConversionJob(
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
        )
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
