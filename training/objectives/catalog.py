"""The objectives of pre-training. A new one is a file like `matching.py` and a field of `Objectives`."""

import math
from dataclasses import dataclass, field, fields

from torch import nn

from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.caption_match import CaptionMatchOptions
from training.objectives.congruence import CongruenceOptions
from training.objectives.masked_regions import MaskedRegionsOptions
from training.objectives.masked_tokens import MaskedTokensOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.objective import ObjectiveOptions
from training.objectives.optimal_transport import OptimalTransportOptions
from training.objectives.phrase_relations import PhraseRelationsOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.ranking import RankingOptions
from training.objectives.referring import ReferringOptions
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import AlignmentOptions


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Which losses a run has; None leaves one out."""

    masked_words: MaskedWordsOptions | None = field(default_factory=MaskedWordsOptions)
    masked_regions: MaskedRegionsOptions | None = field(default_factory=MaskedRegionsOptions)
    matching: MatchingOptions | None = field(default_factory=MatchingOptions)
    question_answering: QuestionAnsweringOptions | None = field(default_factory=QuestionAnsweringOptions)
    word_object_alignment: AlignmentOptions | None = None
    attention_supervision: AttentionSupervisionOptions | None = None
    optimal_transport: OptimalTransportOptions | None = None
    congruence: CongruenceOptions | None = None
    ranking: RankingOptions | None = None
    caption_match: CaptionMatchOptions | None = None
    phrase_relations: PhraseRelationsOptions | None = None
    referring: ReferringOptions | None = None
    masked_tokens: MaskedTokensOptions | None = None

    def __post_init__(self) -> None:
        for name, options in self.asked().items():
            if not 0 <= options.weight < math.inf:
                raise ValueError(f"{name}: weight is {options.weight}, expected 0 or more")

    def asked(self) -> dict[str, ObjectiveOptions]:
        """Return the options of those that are asked for, by name."""
        options = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: each for name, each in options.items() if each is not None}

    @property
    def needs(self) -> frozenset[str]:
        """The fields of a batch without which some of them have no loss."""
        return frozenset(need for options in self.asked().values() for need in options.needs)


NO_OBJECTIVES = Objectives(masked_words=None, masked_regions=None, matching=None, question_answering=None)


def build_objectives(objectives: Objectives, sizes: Sizes) -> nn.ModuleDict:
    """Return the heads of those objectives that are asked for."""
    return nn.ModuleDict({name: options.build(sizes) for name, options in objectives.asked().items()})
