"""The model of a run: new, at one of its checkpoints, or begun with another run's weights."""

from dataclasses import asdict, replace
from pathlib import Path

from annotations.guards.plain_json import parse_json
from stores.errors import StoreError
from stores.manifest import differences, fingerprint
from training.model import Model, build_new
from training.models.single_stream import SingleStreamShape, with_segments
from training.models.trunk import read_swin
from training.models.visual_parser import VisualParserEncoder
from training.objectives.matching import MatchingObjective
from training.objectives.question_answering import QuestionAnsweringObjective
from training.objectives.ranking import RankingObjective
from training.runs.checkpoints import Checkpoint, latest_checkpoint, load_weights
from training.runs.folder import Run, open_run, require_begun_with
from training.runs.recipes import FILE_NAME as RECIPE
from training.runs.recipes import PRETRAINING
from training.tasks.catalog import TASKS
from training.tasks.transfer import transfer_answers


def build_model(run: Run) -> Model:
    """Return the run's model with its first weights, which the recipe's seed decides."""
    recipe = run.recipe
    return build_new(recipe.encoder, recipe.objectives, recipe.sizes, seed=recipe.seed)


def load_run(folder: Path) -> Run:
    """Return the run in `folder`, or the one that the checkpoint in `folder` is of."""
    return open_run(latest_checkpoint(folder).folder.parent.parent)


def load_model(folder: Path, *, average: bool = False) -> tuple[Run, Model]:
    """Return a run and its model at its newest checkpoint, or at the checkpoint that `folder` is; for evaluation."""
    checkpoint = latest_checkpoint(folder)
    run = load_run(folder)
    model = build_model(run)
    load_weights(checkpoint, model, average=average)
    return run, model.eval()


def begin_with_swin(source: str, model: Model) -> str:
    """The trunk of the model's encoder has the weights of a published Swin; returns the SHA-256 of their file.

    Raises:
        WeightsError: it is absent, or another one than the trunk.
        ValueError: the encoder has no trunk.
    """
    encoder = model.encoder
    if not isinstance(encoder, VisualParserEncoder) or encoder.trunk is None:
        raise ValueError(f"trunk {source!r}: the encoder has none, expected one that takes pixels")
    swin = read_swin(source, encoder.trunk.shape)
    encoder.trunk.begin_with(swin.model, source=source)
    return swin.weights["sha256"]


def start_of(run: Run, checkpoint: Checkpoint) -> str:
    """Return what identifies the weights that a run starts from: the other run's recipe as it is kept, and the step."""
    return f"{fingerprint(parse_json((run.folder / RECIPE).read_bytes()))} at step {checkpoint.step}"


def start_from(folder: Path, model: Model, run: Run) -> None:
    """The model has the encoder of another run, and of its answer head the rows of the answers that both have.

    A head that ranks begins with that of the other run, or with its matching, as one that matches does. Segments that
    a single stream has more begin as that of the first caption.

    In pre-training it has all weights of the other run, which is to have the same objectives.

    Raises:
        StoreError: that run has another encoder, or another tokenizer, whose pieces have other numbers.
        DamagedFileError: a file of its checkpoint is damaged, or of another network.
    """
    if run.recipe.task == PRETRAINING:
        load_weights(latest_checkpoint(folder), model)
        return
    first = latest_checkpoint(folder)
    other, pretrained = load_model(first.folder)
    require_begun_with(run.recipe.data, "start", start_of(other, first))
    if other.tokenizer.backend.to_str() != run.tokenizer.backend.to_str():
        raise StoreError(
            f"{folder}: another tokenizer than that of {run.folder}, expected the same; words would change"
        )
    shape, states = other.recipe.encoder, pretrained.encoder.state_dict()
    if isinstance(shape, SingleStreamShape) and isinstance(run.recipe.encoder, SingleStreamShape):
        shape = replace(shape, num_segments=run.recipe.encoder.num_segments)
        states = with_segments(states, shape.num_segments)
    if found := list(differences("encoder", asdict(shape), asdict(run.recipe.encoder))):
        raise StoreError(f"{folder}: {'; '.join(found)}; expected the same encoder")
    model.encoder.load_state_dict(states)
    asked, known = model.head(QuestionAnsweringObjective), pretrained.head(QuestionAnsweringObjective)
    if asked is not None and known is not None and TASKS[run.recipe.task].answers is None:
        transfer_answers(asked.head, run.answers.answers, known.head, other.answers.answers)
    ranking, matching = model.head(RankingObjective), model.head(MatchingObjective)
    ranked, matched = pretrained.head(RankingObjective), pretrained.head(MatchingObjective)
    scoring = ranked or matched
    if ranking is not None and scoring is not None:
        ranking.begin_with(scoring)
    if matching is not None and matched is not None and matching.options == matched.options:
        matching.load_state_dict(matched.state_dict())
