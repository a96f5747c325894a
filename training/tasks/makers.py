"""Which maker makes the batches of a recipe: the one whose options it has."""

from annotations.answers import AnswerVocabulary
from training.data.batches import BatchMaker, BatchOptions, Maker
from training.data.maker_options import CaptionPairOptions, MakerOptions, RankingGroupOptions
from training.data.shards import JoinedShards
from training.data.tokenizer import TextTokenizer
from training.tasks.caption_pairs import CaptionPairMaker
from training.tasks.ranking_batches import RankingMaker


def build_maker(
    shards: JoinedShards, tokenizer: TextTokenizer, options: MakerOptions, *, answers: AnswerVocabulary, seed: int
) -> Maker:
    """Return the maker that has these options."""
    match options:
        case CaptionPairOptions():
            return CaptionPairMaker(shards, tokenizer, options, seed=seed)
        case RankingGroupOptions():
            return RankingMaker(shards, tokenizer, options, seed=seed)
        case BatchOptions():
            return BatchMaker(shards, tokenizer, options, answers=answers, seed=seed)
    raise TypeError(f"options of batches are {type(options).__name__}, expected those of a maker named here")
