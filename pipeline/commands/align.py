"""What `vinculum align` takes; a field's docstring is its --help."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from annotations.alignment.criteria import FunctionWords, SemanticUnit
from annotations.alignment.region_names import tell_unnamed
from annotations.alignment.targets import CLASS_WEIGHT, Combination
from annotations.datasets.catalog import DATA_SETS
from annotations.image_ids import Ids
from annotations.vectors.lookup import Aliases
from pipeline.alignment.align import AlignmentOutlook, align, look_ahead
from pipeline.alignment.annotation_sources import parse_source
from pipeline.alignment.job import AlignmentJob, Nameless
from pipeline.alignment.shard_task import BakeOptions, MergeOptions
from pipeline.alignment.summary import AlignmentSummary
from pipeline.commands.arguments import Out
from pipeline.commands.result import Result
from pipeline.sizes import told_bytes
from stores.catalog import StoreName
from stores.programs.volume import Volume

File = Annotated[Path, tyro.conf.arg(metavar="FILE")]


@dataclass(frozen=True, kw_only=True)
class AlignCommand:
    """Turn annotations into shards of sentences whose words point at the regions that they mean.

    vinculum align --regions regions --annotations gqa=gqa coco-captions=coco --vectors glove.txt --out sentences

    For training on pixels or grids give --images alone, without --regions and --vectors; words point at gold boxes.
    """

    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Region store that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files instead of regions, as vinculum extract takes them."""
    ids: Ids | None = None
    """Owner of the image numbers, where neither their store nor sizes show it.
    It is coco, visual-genome (and GQA), flickr30k, or own for images and annotations of your own."""
    annotations: Annotated[
        tuple[str, ...], tyro.conf.arg(help=f"NAME=PATH, any number; a name is one of {', '.join(DATA_SETS)}.")
    ]
    vectors: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File of GloVe or word2vec vectors: text, gzip, binary or gensim's own; needed with regions."""
    out: Out
    """Folder of the store: shards, manifest.json and run.jsonl."""
    store: StoreName = "arrow"
    """File format of the shards: Arrow IPC, or LMDB for key-value access."""
    shard_size: int = 8192
    """Number of sentences in a shard, about; records of one image stay together."""
    unit: SemanticUnit = "word"
    """Words that are compared with a region's names: each word alone, its whole phrase, or the best of the phrase."""
    function_words: FunctionWords = "compared"
    """Treatment of words such as `a` and `his`: compared like all others, as in the papers, or left out.
    Words that are left out have no semantic row and do not count in their phrase."""
    class_weight: float = CLASS_WEIGHT
    """Weight of the class name in the semantic criterion, 0 to 1; the attribute's name has the rest."""
    aliases: Aliases = "first"
    """Aliases of a name such as `stop sign,stopsign` that are compared: the first, or the most similar."""
    merge_seed: int = 0
    """Seed of the draw that joins region descriptions into sentences."""
    merge_shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    """Shares of merged sentences with one, two, three and more descriptions; they add up to 1."""
    bake: Combination | None = None
    """Combination of the criteria to write as finished targets too; by default none is written."""
    top_k: int | None = None
    """Number of regions that --bake keeps for a word; by default 3, and all for `paper`."""
    require_iou: float = 0.0
    """With --bake: leave a word unsupervised unless some region reaches this IoU with its gold box."""
    nameless: Nameless = "refuse"
    """With --bake: refuse or allow regions without names where the combination compares words with names."""
    held_out: tuple[Path, ...] = ()
    """Files of image ids, one a line, that must not be trained on."""
    minival: File | None = None
    """File of the COCO val2014 ids that stay for validation: a list, or LXMERT's val2014 features.
    The rest of val2014 is trained on."""
    strict: bool = False
    """End the run at the first annotation that cannot be used, instead of counting it."""
    address: str | None = None
    """HOST:PORT of a Ray cluster; without it, the cluster of the running Ray job, or this machine."""
    workers: int | None = None
    """Number of workers at most; by default one for each CPU."""
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    dry_run: bool = False
    """Print how many shards would be made and how many there are; nothing is written, and no worker starts."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if self.dry_run:
            outlook = look_ahead(self._job())
            return Result(summary=asdict(outlook), lines=(_told(outlook),))
        with self.volume.applied():
            summary = align(self._job())
        return Result(summary=asdict(summary), lines=tuple(_lines(summary)))

    def _job(self) -> AlignmentJob:
        if self.shard_size < 1:
            raise ValueError(f"--shard-size is {self.shard_size}, expected at least 1")
        if not 0 <= self.class_weight <= 1:
            raise ValueError(f"--class-weight is {self.class_weight}, expected 0 to 1")
        if self.merge_seed < 0:
            raise ValueError(f"--merge-seed is {self.merge_seed}, expected 0 or more")
        if not self.merge_shares or min(self.merge_shares) < 0 or sum(self.merge_shares) <= 0:
            raise ValueError(f"--merge-shares are {self.merge_shares}, expected none below 0, and one above")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"--workers is {self.workers}, expected at least 1")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"--top-k is {self.top_k}, expected at least 1")
        if self.bake is None and (self.top_k is not None or self.require_iou):
            raise ValueError("--top-k and --require-iou are options of --bake; shards keep the raw criteria without it")
        bake = (
            None
            if self.bake is None
            else BakeOptions(combination=self.bake, top_k=self.top_k, require_iou=self.require_iou)
        )
        return AlignmentJob(
            regions=self.regions,
            images=self.images,
            ids=self.ids,
            annotations=tuple(map(parse_source, self.annotations)),
            vectors=self.vectors,
            out=self.out,
            store=self.store,
            shard_size=self.shard_size,
            unit=self.unit,
            function_words=self.function_words,
            class_weight=self.class_weight,
            aliases=self.aliases,
            merging=MergeOptions(seed=self.merge_seed, shares=self.merge_shares),
            bake=bake,
            nameless=self.nameless,
            held_out=self.held_out,
            minival=self.minival,
            strict=self.strict,
            address=self.address,
            workers=self.workers,
        )


def _told(outlook: AlignmentOutlook) -> str:
    left = "nothing to do"
    if outlook.num_shards_left:
        left = f"{outlook.num_shards_left} shards would be made, {told_bytes(outlook.num_bytes_left)}"
    planned = f"{outlook.out}: {outlook.num_shards} shards of sentences"
    return "; ".join((planned, left, *outlook.remarks, "nothing was written"))


def _lines(summary: AlignmentSummary) -> Iterator[str]:
    yield (
        f"{summary.out}: {summary.num_sentences} sentences in {summary.num_shards} shards, "
        f"{summary.num_shards_made} made now, {summary.sentences_per_second:.0f} sentences/s"
    )
    if summary.numbering:
        yield f"  {summary.numbering}"
    for reason, count in summary.vector_drops.items():
        yield f"  vectors: {count} lines left out: {reason}"
    for source in summary.sources:
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in source.counts.items())
        yield f"  {source.name}: {counts or 'nothing'}"
        if source.unnamed:
            yield f"    {tell_unnamed(source.unnamed)}"
        if source.joins:
            yield f"    images {', '.join(f'{told}: {count}' for told, count in source.joins.items())}"
        for reason, count in source.drops.items():
            yield f"    dropped {count}: {reason}"
