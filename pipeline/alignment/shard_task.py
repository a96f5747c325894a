"""A shard of sentences to make: its settings, its records, and what its worker tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotations.alignment.criteria import FunctionWords, SemanticUnit
from annotations.alignment.region_names import AbsentNames
from annotations.alignment.targets import CLASS_WEIGHT, Combination
from annotations.splits import SplitRules
from annotations.vectors.lookup import Aliases, WordVectors
from stores.catalog import StoreName
from stores.images.sources import ImageSources
from stores.manifest import DropCount, ShardEntry
from stores.numbering import Numbering


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """How descriptions of regions become sentences."""

    seed: int = 0
    shares: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    """Shares of sentences with one, two, three ... descriptions."""


@dataclass(frozen=True, kw_only=True)
class BakeOptions:
    """The combination of the criteria that is written beside them."""

    combination: Combination
    top_k: int | None = None
    require_iou: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AlignSettings:
    """What every worker of a run is given once."""

    images: Path | ImageSources
    """A store of regions, or files."""
    vectors: WordVectors
    classes: Sequence[str] = ()
    attributes: Sequence[str] = ()
    inputs: Mapping[str, Any]
    """What tells the regions from others, as the driver read them; a worker that reads others does not begin."""
    configuration: Mapping[str, Any]
    """The manifest's; written into every shard."""
    store: StoreName
    out: Path
    splits: SplitRules
    numbering: Numbering = field(default_factory=Numbering)
    """Whose the numbers are among the images' ids."""
    merging: MergeOptions = MergeOptions()
    unit: SemanticUnit = "word"
    function_words: FunctionWords = "compared"
    class_weight: float = CLASS_WEIGHT
    aliases: Aliases = "first"
    absent_names: AbsentNames = "other"
    bake: BakeOptions | None = None
    strict: bool = False


@dataclass(frozen=True, kw_only=True)
class AlignTask:
    """Records of one data set that become one shard."""

    name: str
    """The shard's, without suffix."""
    data_set: str
    records: Sequence[Any]
    drops: tuple[DropCount, ...] = ()
    """Met while these records were read."""
    fatal: tuple[DropCount, ...] = ()
    """Records over which workers died; they are not among these."""
    repeated: Mapping[int, frozenset[str]] = field(default_factory=dict)
    """By number of a record: ids of its sentences that earlier records have had, of this shard or of another."""

    @property
    def subject(self) -> str:
        return f"{len(self.records)} records of {self.data_set}"

    def gently(self) -> "AlignTask":
        return self

    def parts(self) -> list["AlignTask"]:
        """Return a task for each record."""
        return [
            replace(self, records=[record], drops=(), repeated={0: self.repeated.get(number, frozenset())})
            for number, record in enumerate(self.records)
        ]

    def without(self, reasons: Mapping[int, str]) -> "AlignTask":
        left = sorted(set(range(len(self.records))) - set(reasons))
        lost = [self._lost(reason, reasons) for reason in sorted(set(reasons.values()))]
        return replace(
            self,
            records=[self.records[number] for number in left],
            fatal=(*self.fatal, *lost),
            repeated={new: self.repeated[old] for new, old in enumerate(left) if old in self.repeated},
        )

    def _lost(self, reason: str, reasons: Mapping[int, str]) -> DropCount:
        numbers = sorted(number for number, told in reasons.items() if told == reason)
        first = f"{self.data_set}, {self.name}, record {numbers[0]}"
        return DropCount(reason=f"record: {reason}", count=len(numbers), first=first)


@dataclass(frozen=True, kw_only=True)
class AlignReport:
    """What making one shard gave."""

    entry: ShardEntry
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AlignProgress:
    """What a worker has done since it was last asked."""

    num_sentences: int
