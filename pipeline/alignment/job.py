"""What an alignment run is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from annotations.alignment.criteria import FunctionWords, SemanticUnit
from annotations.alignment.targets import CLASS_WEIGHT
from annotations.image_ids import Ids
from annotations.vectors.lookup import Aliases
from pipeline.alignment.annotation_sources import AnnotationSource
from pipeline.alignment.shard_task import BakeOptions, MergeOptions
from stores.catalog import StoreName

Nameless = Literal["refuse", "allow"]
"""Whether a combination of both criteria may be baked of regions without names."""


@dataclass(frozen=True, kw_only=True)
class AlignmentJob:
    """Everything a run was asked for."""

    annotations: tuple[AnnotationSource, ...]
    regions: Path | None = None
    """A store, which wants vectors; or instead:"""
    images: tuple[str, ...] = ()
    """Places of files. Their sentences point at boxes, and at no region."""
    ids: Ids | None = None
    """Whose the numbers are among the images' ids; None: it is told otherwise, see `pipeline.alignment.numbering`."""
    vectors: Path | None = None
    out: Path
    store: StoreName = "arrow"
    shard_size: int = 8192
    """Sentences, about."""
    unit: SemanticUnit = "word"
    function_words: FunctionWords = "compared"
    class_weight: float = CLASS_WEIGHT
    aliases: Aliases = "first"
    merging: MergeOptions = field(default_factory=MergeOptions)
    bake: BakeOptions | None = None
    nameless: Nameless = "refuse"
    held_out: tuple[Path, ...] = ()
    minival: Path | None = None
    strict: bool = False
    address: str | None = None
    workers: int | None = None
