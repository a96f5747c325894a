"""The tasks of fine-tuning. A new one is a file like `vqa_v2.py`, with its official metric, and a line in `TASKS`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from annotations.tables import Table
from training.data.batches import BatchOptions
from training.data.grounding import GroundingOptions
from training.data.maker_options import CaptionPairOptions, RankingGroupOptions
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.caption_match import CaptionMatchOptions
from training.objectives.catalog import NO_OBJECTIVES, Objectives
from training.objectives.congruence import CongruenceOptions
from training.objectives.matching import MatchingOptions
from training.objectives.phrase_relations import PhraseRelationsOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.ranking import RankingOptions
from training.objectives.referring import ReferringOptions
from training.runs.recipes import Batches
from training.tasks import gqa, grounding, nlvr2, refcoco, retrieval, snli_ve, vgp, vqa_v2, winoground
from training.tasks.answers import AnswerMetric
from training.tasks.measure import Measure
from training.tasks.ranking_batches import CAPTIONS


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task: which sentences, what is learnt of them, and how it is officially scored."""

    about: str = ""
    """One sentence that says what is asked, and how it is scored."""
    sources: tuple[str, ...]
    """The data sets whose sentences are asked; of those, the ones that a store has."""
    measure: Measure
    objectives: Objectives
    """None at all, where it is for measuring alone."""
    batches: Batches = field(default_factory=BatchOptions)
    """What batches have, but for `max_pieces`."""
    num_segments: int = 2
    """Segments of a single stream at least: those of captions, and the last of regions."""
    max_pieces: int | None = None
    """Pieces of a sentence at most; None: as the run that is started from."""
    num_images: int = 1
    answered: bool = True
    """Only sentences with an answer are learnt from."""
    answers: tuple[str, ...] | None = None
    """The table of answers, where the task has its own; else it is a file's, or that of the training questions."""
    learning_rate: float = 5e-5
    """Peak, as LXMERT's public code has it."""
    optimization: Mapping[str, Any] = field(default_factory=dict)
    """What is otherwise than in fine-tuning LXMERT with the optimizer of pre-training."""
    batch_size: int = 32
    """Unless told otherwise, as is what follows."""
    epochs: float = 4.0
    num_steps: int | None = None
    """Instead of epochs."""
    variants: Mapping[str, Callable[["Task"], "Task"]] = field(default_factory=dict)
    """The task with one thing changed, by name."""


_GROUNDING = GroundingOptions(stored_phrases=True)


def _answering(loss: Literal["soft", "single"], num_images: int = 1) -> Objectives:
    return replace(NO_OBJECTIVES, question_answering=QuestionAnsweringOptions(loss=loss, num_images=num_images))


def _batches(**changes: Any) -> Callable[[Task], Task]:
    """Return the variant whose batches have these options."""
    return lambda task: replace(task, batches=replace(task.batches, **changes))


def _supervised(**options: Any) -> Callable[[Task], Task]:
    """Return the variant whose attention is supervised so."""
    supervision = AttentionSupervisionOptions(**options)
    return lambda task: replace(task, objectives=replace(task.objectives, attention_supervision=supervision))


def _congruent(**options: Any) -> Callable[[Task], Task]:
    """Return the variant whose attention is congruent so; ever more, as in the public code."""
    congruence = CongruenceOptions(schedule="exponential", **options)
    return lambda task: replace(task, objectives=replace(task.objectives, congruence=congruence))


def _with_permuted_regions(task: Task) -> Task:
    grounding = replace(task.batches.grounding or _GROUNDING, permuted=True)
    return _batches(grounding=grounding)(task)


_SUPERVISIONS: dict[str, Callable[[Task], Task]] = {
    "direct": _supervised(mode="direct"),
    "semi-direct": _supervised(mode="semi-direct"),
    "indirect": _supervised(mode="indirect"),
    "indirect-shifted": _supervised(mode="indirect", indirect_span="shifted"),
    "direct-permuted": lambda task: _with_permuted_regions(_supervised(mode="direct")(task)),
}

_CONGRUENCES: dict[str, Callable[[Task], Task]] = {
    "cacr": _congruent(space="block_prob"),
    "cacr-raw": _congruent(),
    "cacr-raw-control": _congruent(control_seed=0),
    "iais": _congruent(space="block_prob", method="iais-singular"),
    "iais-raw": _congruent(method="iais-singular"),
    "iais-distributed": _congruent(space="block_prob", method="iais-distributed"),
    "random-negatives": _batches(candidates=RankingOptions().kept),
    "swapped": _batches(swap_phrases=True, grounding=_GROUNDING),
}
"""Without -raw: as the public code has it."""


def _parsed(
    epochs: float, batch_size: int, *, at: Sequence[float], factor: float = 0.1, **changes: Any
) -> Callable[[Task], Task]:
    """Return the variant that is learnt as the visual parser was: the rate falls after these epochs.

    The paper tells of no warm-up here; a hundredth of the steps is ours.
    """
    schedule = {
        "optimizer": "adamw",
        "schedule": "steps",
        "step_at": tuple(epoch / epochs for epoch in at),
        "step_factor": factor,
        "warmup": 0.01,
    }
    return lambda task: replace(
        task, epochs=epochs, num_steps=None, batch_size=batch_size, optimization=schedule, **changes
    )


_PARSED_RETRIEVAL = _parsed(
    10,
    32,
    at=(5,),
    factor=0.5,
    objectives=replace(NO_OBJECTIVES, matching=MatchingOptions(pooled=False)),
    batches=BatchOptions(mismatch=0.5),
    max_pieces=None,
)
"""Whether a caption belongs to an image, with captions of the same batch; the head begins as that of pre-training."""

TASKS: Table[Task] = Table(
    {
        "vqa-v2": Task(
            about="Questions about photographs, scored by ten people's answers.",
            sources=("vqa-v2",),
            measure=AnswerMetric(score=vqa_v2.score, write_submission=vqa_v2.write_submission),
            objectives=_answering("soft"),
            batches=BatchOptions(soft_answers=True),
            variants={"visual-parsing": _parsed(100, 512, at=(65, 75))},
        ),
        "gqa": Task(
            about="Questions about scenes, scored by accuracy, consistency, validity and plausibility.",
            sources=("gqa",),
            measure=AnswerMetric(score=gqa.score, write_submission=gqa.write_submission),
            objectives=_answering("soft"),
            batches=BatchOptions(soft_answers=True),
            learning_rate=1e-5,
        ),
        "nlvr2": Task(
            about="Whether a statement is true of two images, scored by accuracy and consistency.",
            sources=("nlvr2",),
            measure=AnswerMetric(
                score=nlvr2.score, write_submission=nlvr2.write_submission, suffix="csv", num_images=2
            ),
            objectives=_answering("single", num_images=2),
            num_images=2,
            answers=("False", "True"),
            variants={"visual-parsing": _parsed(80, 512, at=(60, 65, 70, 75, 78, 79), factor=0.5)},
        ),
        "snli-ve": Task(
            about="Whether an image entails a statement, contradicts it or neither, scored by accuracy.",
            sources=("snli-ve",),
            measure=AnswerMetric(score=snli_ve.score, write_submission=snli_ve.write_submission),
            objectives=_answering("single"),
            answers=snli_ve.LABELS,
            variants={"visual-parsing": _parsed(25, 512, at=(15, 20, 23))},
        ),
        "refcoco": Task(
            about="Which region an expression refers to, scored by boxes that overlap the gold one by half.",
            sources=("refcoco",),
            measure=refcoco.measure,
            objectives=replace(NO_OBJECTIVES, referring=ReferringOptions()),
            batches=BatchOptions(grounding=_GROUNDING),
            answered=False,
        ),
        "flickr30k-entities": Task(
            about="Which regions the phrases of a caption mean, scored by recall at the first regions.",
            sources=("flickr30k-entities",),
            measure=grounding.measure,
            objectives=replace(NO_OBJECTIVES, attention_supervision=AttentionSupervisionOptions(mode="indirect")),
            batches=BatchOptions(grounding=_GROUNDING),
            answered=False,
            variants=_SUPERVISIONS,
        ),
        "vgp": Task(
            about="Whether a caption or a phrase of it fits the image, scored by accuracy.",
            sources=("vgp-entities",),
            measure=vgp.measure,
            objectives=replace(
                NO_OBJECTIVES, caption_match=CaptionMatchOptions(), phrase_relations=PhraseRelationsOptions()
            ),
            batches=CaptionPairOptions(mismatch=0.5, grounding=_GROUNDING),
            num_segments=3,
            max_pieces=60,
            answered=False,
            variants=_SUPERVISIONS,
        ),
        "retrieval": Task(
            about="Which image a caption belongs to and which caption an image, scored by recall at 1, 5 and 10.",
            sources=CAPTIONS,
            measure=retrieval.measure,
            objectives=replace(NO_OBJECTIVES, ranking=RankingOptions()),
            batches=RankingGroupOptions(candidates=399),
            max_pieces=60,
            answered=False,
            optimization={"optimizer": "adamw", "betas": (0.9, 0.98), "warmup": 0.002, "clip": 2.0},
            num_steps=5000,
            variants=_CONGRUENCES | {"visual-parsing": _PARSED_RETRIEVAL},
        ),
        "winoground": Task(
            about="Which of two captions of the same words fits which of two images; for measuring alone.",
            sources=("winoground",),
            measure=winoground.measure,
            objectives=NO_OBJECTIVES,
            num_images=2,
            answered=False,
        ),
    }
)


if TYPE_CHECKING:
    TaskName = str
else:
    TaskName = Literal[tuple(TASKS)]


def find_task(name: str, variant: str | None = None) -> Task:
    """Return a task, or one of its variants.

    Raises:
        ValueError: there is none of this name; lists those that there are.
    """
    if name not in TASKS:
        raise ValueError(f"task {name!r}: no such task, expected one of {', '.join(TASKS)}")
    task = TASKS[name]
    if variant is None:
        return task
    if variant not in task.variants:
        known = ", ".join(task.variants) or "none: it has no variants"
        raise ValueError(f"variant {variant!r} of {name}: none such, expected one of {known}")
    return task.variants[variant](task)
