"""A preset meets data and becomes a recipe; the recipe begins a run. What follows is the same for every run."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.answers import AnswerVocabulary, normalize_answer, read_answer_vocabulary
from stores.errors import StoreError
from stores.programs.terminal import printable
from training.data.identity import data_as_begun
from training.data.order import TrainingOrder
from training.data.shards import NUM_COMPARED, JoinedShards, open_shards
from training.data.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from training.model import Model
from training.models.catalog import EncoderShape
from training.models.trunk import TrunkShape, read_swin
from training.models.visual_parser import VisualParserShape
from training.objectives.sizes import Sizes
from training.runs.folder import Run, begin_run, is_begun, open_run
from training.runs.presets import Preset
from training.runs.recipes import PRETRAINING, Precision, Recipe
from training.runs.set_fields import require_kept, with_fields
from training.weights.bert import bert_state
from training.weights.published import read_published


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What is asked for against the preset; None: as the preset has it."""

    sources: tuple[str, ...] | None = None
    tokenizer: str | None = None
    answers: Path | None = None
    batch_size: int | None = None
    epochs: float | None = None
    num_steps: int | None = None
    learning_rate: float | None = None
    precision: Precision | None = None
    init: str | None = None
    """A published BERT, whose text layers are the first ones; None: new ones."""
    trunk: str | None = None
    """A published Swin, whose sizes and weights are the trunk's; None: a new one of the preset's sizes."""
    seed: int = 0
    fields: tuple[str, ...] = ()
    """Other fields of the recipe, each `FIELD=VALUE`; see `training.runs.set_fields`."""


def prepare(
    preset: Preset,
    *,
    sentences: Path,
    out: Path,
    overrides: Overrides,
    regions: Path | None = None,
    images: Sequence[str] = (),
    begin: Callable[[Path, Recipe, TextTokenizer, AnswerVocabulary], Run] = begin_run,
) -> Run:
    """`out` is the folder of the run that the preset gives on this data, new or begun before; nothing is trained.

    With `look_ahead` for `begin` nothing is written.

    Raises:
        StoreError: the stores are not as they should be, or another recipe began the run.
        DataError: the tokenizer, the answers or BERT cannot be read, or BERT does not fit.
        OrderError: a step has more sentences than there are.
        WeightsError: the trunk's weights are absent, or for other images.
        ValueError: an option is out of its range.
    """
    begun = open_run(out) if is_begun(out) else None
    if regions is not None and isinstance(preset.encoder, VisualParserShape):
        preset = replace(preset, encoder=replace(preset.encoder, trunk=None))
    swin = None if overrides.trunk is None else _published_trunk(preset.encoder, overrides.trunk)
    if swin is not None:
        preset = replace(preset, encoder=swin.shape)
    with open_shards(preset.encoder, regions=regions, images=images, sentences=sentences) as shards:
        tell_left_out(shards)
        sources = _sources(preset, shards, overrides.sources)
        tokenizer = _tokenizer(preset, shards, sources, overrides.tokenizer, begun)
        answers = _answers(preset, shards, sources, overrides.answers, begun)
        data = data_as_begun(shards, None if begun is None else begun.recipe.data, out)
        recipe = _recipe(preset, shards, sources, tokenizer, answers, overrides, data)
        require_known(recipe, shards)
    if swin is not None:
        recipe = replace(recipe, data=recipe.data | {"trunk": swin.sha256})
    if overrides.init is not None:
        recipe = replace(recipe, data=recipe.data | {"init": _fitting_bert(overrides.init, recipe, tokenizer)})
    return begin(out, recipe, tokenizer, answers)


def tell_left_out(shards: JoinedShards) -> None:
    """People are told of sentences without an image, of images without a sentence, and of what cannot be checked."""
    for count, what, names in (
        (shards.num_left_out, "sentences left out, whose images are not there", shards.lost_images),
        (len(shards.silent_images), "images never seen, of which no sentence speaks", shards.silent_images),
    ):
        if count and shards.side.joins_freely:
            print(printable(f"{what}: {count} (such as {', '.join(map(repr, names[:3]))})"), file=sys.stderr)
    if shards.doubtful_images:
        told = (
            f"numbers alone join images of {shards.side.location} with sentences, and nothing tells whose they are; of "
            f"{NUM_COMPARED} sentences looked at, these images have another shape than theirs: "
            f"{', '.join(map(repr, shards.doubtful_images[:3]))}. Are they the same? See --ids of extract and align"
        )
        print(printable(told), file=sys.stderr)
    if not shards.side.joins_freely and shards.aligned_content is None:
        told = (
            f"{shards.sentences.folder}: no content of the regions that it was aligned with was recorded; whether "
            f"{shards.side.location} has the same cannot be checked beyond settings and ids"
        )
        print(printable(told), file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class _PublishedTrunk:
    shape: VisualParserShape
    sha256: str


def _published_trunk(shape: EncoderShape, source: str) -> _PublishedTrunk:
    """Return the encoder whose trunk is a published one."""
    if not isinstance(shape, VisualParserShape) or shape.trunk is None:
        raise ValueError(f"--trunk {source}: the encoder has none, expected a visual parser and --images")
    swin = read_swin(source, shape.trunk)
    trunk = TrunkShape.of(swin.model.config, drop_path=shape.trunk.drop_path)
    return _PublishedTrunk(
        shape=replace(shape, trunk=trunk, feature_dim=trunk.feature_dim), sha256=swin.weights["sha256"]
    )


def require_known(recipe: Recipe, shards: JoinedShards) -> None:
    """The data tells what batches are to have.

    Raises:
        StoreError: it does not.
    """
    batches = recipe.batches
    if batches.points and not shards.is_aligned:
        raise StoreError(
            f"{shards.sentences.folder}: its words do not point at these {shards.side.noun}, which was not what it was "
            "aligned with; expected those regions, or a preset without alignment and grounding"
        )
    if batches.asks_attention and not shards.side.has_attention:
        raise StoreError(
            f"{shards.side.location}: stored without attention, which is to choose what is hidden; expected vinculum "
            "extract --keep-attention, or --ablation random"
        )


def _sources(preset: Preset, shards: JoinedShards, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    if asked is not None:
        return asked
    if preset.sources is None:
        return shards.sources
    found = tuple(source for source in preset.sources if source in shards.sources)
    if not found:
        raise StoreError(
            f"{shards.sentences.folder} has sentences of {', '.join(shards.sources)}, but the preset learns from "
            f"{', '.join(preset.sources)}; name others with --sources"
        )
    return found


def _tokenizer(
    preset: Preset, shards: JoinedShards, sources: tuple[str, ...], asked: str | None, begun: Run | None
) -> TextTokenizer:
    """Return the one that is asked for, that the run has, or that the preset names or has trained."""
    if begun is not None and asked is None:
        return begun.tokenizer
    name = asked or preset.tokenizer
    if name is not None:
        return load_tokenizer(name)
    numbers = shards.select(splits=("train",), sources=sources)
    return train_tokenizer((shards.read(int(number)).text for number in numbers), vocab_size=preset.vocab_size)


def _answers(
    preset: Preset, shards: JoinedShards, sources: tuple[str, ...], path: Path | None, begun: Run | None
) -> AnswerVocabulary:
    """Return the table of a file, that of the run, or the most frequent first answers of the training questions."""
    if begun is not None and path is None:
        return begun.answers
    if path is not None:
        return read_answer_vocabulary(path)
    try:
        numbers = shards.select(splits=("train",), sources=sources, answered=True)
    except StoreError:  # captions alone
        return AnswerVocabulary(answers=())
    return most_frequent_answers(shards, numbers, preset.num_answers)


def most_frequent_answers(shards: JoinedShards, numbers: NDArray[np.int64], limit: int) -> AnswerVocabulary:
    """Return the `limit` most frequent best answers of these sentences, the most frequent first.

    Each is written as it mostly is: VQA's metric takes `t shirt` for `t-shirt`, GQA's does not.
    """
    spellings = defaultdict[str, Counter[str]](Counter)
    for number in numbers:
        answer = shards.read(int(number)).answers[0]
        spellings[normalize_answer(answer)][answer] += 1
    best_first = sorted(spellings, key=lambda key: (-spellings[key].total(), key))
    return AnswerVocabulary(answers=tuple(_most_frequent(spellings[key]) for key in best_first[:limit]))


def _most_frequent(counts: Counter[str]) -> str:
    return min(counts, key=lambda each: (-counts[each], each))


def sizes_of(shards: JoinedShards, tokenizer: TextTokenizer, answers: AnswerVocabulary, hidden_size: int) -> Sizes:
    """Return the sizes that the data gives; a store without names is taken for one of Visual Genome's 1600 and 400."""
    vocabulary = shards.side.configuration.get("detector", {}).get("vocabulary") or {}
    return Sizes(
        hidden_size=hidden_size,
        vocab_size=tokenizer.vocab_size,
        feature_dim=shards.side.feature_dim,
        num_classes=len(vocabulary.get("classes", ())) or 1600,
        num_attributes=len(vocabulary.get("attributes", ())) or 400,
        num_answers=max(len(answers.answers), 1),
    )


def _recipe(
    preset: Preset,
    shards: JoinedShards,
    sources: tuple[str, ...],
    tokenizer: TextTokenizer,
    answers: AnswerVocabulary,
    overrides: Overrides,
    data: dict[str, str],
) -> Recipe:
    sizes = sizes_of(shards, tokenizer, answers, preset.encoder.hidden_size)
    objectives, optimization = preset.objectives, preset.optimization
    if not answers.answers:
        objectives = replace(objectives, question_answering=None)
    if overrides.learning_rate is not None:
        optimization = replace(optimization, learning_rate=overrides.learning_rate)
    recipe = Recipe(
        task=PRETRAINING,
        encoder=replace(preset.encoder, vocab_size=sizes.vocab_size, feature_dim=sizes.feature_dim),
        sizes=sizes,
        objectives=objectives,
        batches=preset.batches.without_idle(objectives.needs),
        optimization=optimization,
        sources=sources,
        batch_size=preset.batch_size if overrides.batch_size is None else overrides.batch_size,
        num_steps=1,  # until it is known how many sentences there are
        precision=overrides.precision or preset.precision,
        seed=overrides.seed,
        data=data,
    )
    recipe = with_fields(recipe, overrides.fields)
    recipe = replace(recipe, batches=recipe.batches.without_idle(recipe.objectives.needs))
    require_kept(recipe, overrides.fields)
    recipe.require_needs()
    numbers = shards.select(splits=("train",), sources=sources)
    if recipe.batches.in_groups:
        numbers = shards.one_of_each(numbers)
    order = TrainingOrder(
        sentences=numbers, lengths=shards.lengths[numbers], batch_size=recipe.batch_size, seed=recipe.seed
    )
    return replace(recipe, num_steps=_num_steps(preset, overrides, order.batches_per_epoch))


def _fitting_bert(source: str, recipe: Recipe, tokenizer: TextTokenizer) -> str:
    """Return the SHA-256 of the BERT that the recipe's encoder can begin with."""
    bert = read_published(source)
    with torch.device("meta"):
        bert_state(bert, Model(recipe.encoder, recipe.objectives, recipe.sizes), tokenizer)
    return bert.sha256


def _num_steps(preset: Preset, overrides: Overrides, steps_per_epoch: int) -> int:
    if overrides.num_steps is not None:
        return overrides.num_steps
    if overrides.epochs is not None:
        return round(overrides.epochs * steps_per_epoch)
    return round(preset.epochs * steps_per_epoch) if preset.num_steps is None else preset.num_steps
