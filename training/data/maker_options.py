"""Options of those who make batches; each maker has its own, and what it does not have cannot be set."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self

from training.data.grounding import GroundingOptions
from training.data.targets import TargetOptions
from training.models.catalog import EncoderShape


@dataclass(frozen=True, kw_only=True)
class MakerOptions:
    """Options that every maker has."""

    option_of: ClassVar[Mapping[str, str]] = {}
    """By a field of a batch that some objective needs, the option that asks for it."""

    max_pieces: int = 20
    """Word pieces of a sentence with [CLS] and [SEP]; what is longer is cut."""

    def __post_init__(self) -> None:
        if self.max_pieces < 3:
            raise ValueError(f"max_pieces is {self.max_pieces}, expected at least 3: [CLS], a piece, [SEP]")

    @property
    def gives(self) -> frozenset[str]:
        """The fields of a batch that some objective needs, as far as these batches have them."""
        return frozenset(need for need, option in self.option_of.items() if getattr(self, option))

    @property
    def in_groups(self) -> bool:
        """Whether an image comes with several sentences at once, one of which stands for it in the order of a run."""
        return False

    @property
    def points(self) -> bool:
        """Whether words are to point at the regions, so that sentences must have been aligned with these."""
        return False

    @property
    def asks_attention(self) -> bool:
        """Whether attention among cells chooses what is hidden."""
        return False

    def without_idle(self, needed: Collection[str]) -> Self:
        """Return the options without those that ask for a field that nothing needs."""
        idle = {option for need, option in self.option_of.items() if need not in needed}
        off: dict[str, Any] = {each.name: each.default for each in fields(self) if each.name in idle}
        return replace(self, **off)

    def require_encoder(self, shape: EncoderShape) -> None:
        """The encoder takes such batches.

        Raises:
            ValueError: it lacks what some option asks of it.
        """


@dataclass(frozen=True, kw_only=True)
class CaptionPairOptions(MakerOptions):
    """Batches of two captions and an image; see `training/tasks/caption_pairs.py`."""

    option_of: ClassVar[Mapping[str, str]] = {"alignment": "targets", "grounding": "grounding"}

    kind: Literal["caption-pairs"] = "caption-pairs"
    mismatch: float = 0.0
    """Share of the pairs of which one caption is exchanged for one of the most similar image."""
    targets: TargetOptions | None = None
    """Alignment targets; None: none are made."""
    grounding: GroundingOptions | None = None
    """Phrases with the regions that show them; None: none are made."""

    def __post_init__(self) -> None:
        if self.max_pieces < 5:
            raise ValueError(f"max_pieces is {self.max_pieces}, expected at least 5: two captions of a piece each")
        if not 0 <= self.mismatch <= 1:
            raise ValueError(f"mismatch is {self.mismatch}, expected a share from 0 to 1")

    @property
    def gives(self) -> frozenset[str]:
        return super().gives | {"caption_labels", "phrase_pairs"}

    @property
    def points(self) -> bool:
        return self.targets is not None or self.grounding is not None


@dataclass(frozen=True, kw_only=True)
class RankingGroupOptions(MakerOptions):
    """Batches of groups of pairs that are ranked; see `training/tasks/ranking_batches.py`."""

    option_of: ClassVar[Mapping[str, str]] = {"group_size": "candidates"}

    kind: Literal["ranking-groups"] = "ranking-groups"
    candidates: int = 399
    """Other images, or other texts, that each pair is ranked against; 399 in UNITER's public code."""
    swap_phrases: bool = False
    """Whether the first text of a group that does not match is the matching one with two phrases exchanged, where that
    is not as true."""
    grounding: GroundingOptions | None = None
    """How phrases are found, where they are exchanged."""

    @property
    def points(self) -> bool:
        return self.grounding is not None
