"""Does congruent attention tell "X above Y" from "Y above X"? Sources: Pandey et al., ACL 2023; Ren et al., ACL 2021.

Every seed has one pre-trained run, which all its arms fine-tune to rank captions and images against three others drawn
at random: most of those name other things, so that the words alone, in any order, tell them apart. What is tested are
pairs of captions of the same words. The control takes every word for those of other regions; the arm with swapped
captions among the texts that do not match says how far the same model gets if it is told. Arms learn equally long.

It is for a toy world with `--entities relations`: captions of whole scenes say so much more that nothing asks for
relations. A seed whose arm `swapped` has not learnt them either tells nothing about the other arms.

Flat attention is congruent with flat attention: beside the divergence, on pairs that match and that do not, is the
entropy of attention among words.

Axes: X examples, B pairs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from annotations.records import Sentence
from training.batch import EncoderOutputs
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import evaluation_batches
from training.data.shards import JoinedShards
from training.execution.evaluation import evaluate
from training.experiments.experiment import Experiment
from training.experiments.pretrained import RANKING, base_of, prepare_base, train_base
from training.experiments.trial import RESULT, Trial, read_result
from training.figures import gold_answer, needed_detail
from training.model import Model
from training.models.blocks import blocks_of
from training.objectives.congruence import CongruenceOptions, congruence_of_pairs, text_entropy_of_pairs
from training.runs.folder import Run
from training.tasks.answers import whole_sentences
from training.tasks.measure import Subject
from training.tasks.winoground import CAPTIONS, WinogroundFigures, figures_of, score_examples
from training.weights.ours import load_model

ARMS: dict[str, str | None] = {
    "none": None,
    "iais": "iais",
    "cacr": "cacr",
    "iais-raw": "iais-raw",
    "cacr-raw": "cacr-raw",
    "cacr-raw-control": "cacr-raw-control",
    "swapped": "swapped",
}
"""Variants of the task `retrieval`, by the arm's name."""

PREDICATES = ("above", "below", "left of", "right of", "in front of", "behind", "under", "inside", " in ", " on ")
"""Words for the toy world's relations, whatever article is around them."""

MAX_IMAGES = 100
"""Images of the gallery that retrieval is measured on."""


def run_trial(trial: Trial) -> dict[str, float]:
    """Train and measure one arm with one seed, as far as that is not done; return its figures."""
    trial.finetune(
        "retrieval",
        base_of(trial),
        trial.folder,
        replace(RANKING, variant=ARMS[trial.arm], num_steps=trial.num_steps, seed=trial.seed),
    )
    if (trial.folder / RESULT).exists():
        return read_result(trial.folder)
    run, model = load_model(trial.folder)
    with trial.shards(run) as shards:
        found = evaluate(
            run, model, shards, task_name="retrieval", split="val", out=trial.folder, max_images=MAX_IMAGES
        )
        figures: dict[str, Any] = {"retrieval": found}
        figures |= _on_swaps(run, model, shards, trial)
        figures |= _attention(run, model, shards)
    return trial.write(figures)


def _on_swaps(run: Run, model: Model, shards: JoinedShards, trial: Trial) -> dict[str, Any]:
    """Return Winoground's figures over all examples and by relation, and how they go with where nouns point."""
    subject = Subject(
        run=run,
        model=model,
        shards=shards,
        numbers=shards.select(splits=("test",), sources=("winoground",), num_images=2),
        task_name="winoground",
        split="test",
        out=trial.folder,
        device="cpu",
    )
    examples, scores_XCI = score_examples(subject)
    captions = list(whole_sentences(shards, subject.numbers)())
    relations = {needed_detail(each, "id"): _relation(each.text) for each in captions}
    relation_X = np.array([relations[each.example_id] for each in examples])
    figures: dict[str, Any] = {"swaps": _shares(figures_of(scores_XCI))}
    for relation in sorted(set(relation_X.tolist())):
        of = relation_X == relation
        figures[f"swaps {relation} (of {of.sum()})"] = {"group": figures_of(scores_XCI[of]).group.value}
    solved_X = np.array([figures_of(each[None]).group.value for each in scores_XCI])
    shares = _pointing_of(subject, captions)
    pointing_X = np.array([np.mean(shares.get(each.example_id, [np.nan])) for each in examples])
    figures["swaps pointing"] = float(np.nanmean(pointing_X))
    known_X = ~np.isnan(pointing_X)
    if pointing_X[known_X].std() and solved_X[known_X].std():
        figures["swaps pointing with group"] = float(np.corrcoef(pointing_X[known_X], solved_X[known_X])[0, 1])
    return figures


def _pointing_of(subject: Subject, captions: Sequence[Sentence]) -> dict[str, list[float]]:
    """Return by example, for every noun of its captions, whether it attends most to a region of that class (1) or not.

    In the last layer, heads' mean, on the image that a caption is true of. Examples whose words name no class are left
    out.
    """
    shards, model = subject.shards, subject.model
    classes = shards.side.configuration["detector"]["vocabulary"]["classes"]
    layer = model.encoder.meeting_layers[-1]
    maker = BatchMaker(shards, subject.run.tokenizer, BatchOptions(max_pieces=subject.run.recipe.batches.max_pieces))
    about = {each.sentence_id: (needed_detail(each, "id"), CAPTIONS[gold_answer(each)]) for each in captions}
    shares: dict[str, list[float]] = {}
    for part in evaluation_batches(subject.numbers, shards.lengths[subject.numbers], 64):
        batch = maker.make(part)
        with torch.inference_mode():
            outputs = model.encode(batch, model.encoder.taps_of(layer))
        best_BL = blocks_of(outputs, layer).text_to_regions.mean(1).argmax(2)
        for place, number in enumerate(part.tolist()):
            sentence = shards.read(number)
            example_id, true_image = about[sentence.sentence_id]
            row = 2 * place + true_image
            (pieces,) = subject.run.tokenizer.encode([sentence.text], max_pieces=maker.options.max_pieces - 2)
            for piece, (start, end) in enumerate(zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)):
                word = sentence.text[start:end]
                if word in classes:
                    seen = int(batch.class_ids[row, best_BL[row, piece + 1]])
                    shares.setdefault(example_id, []).append(float(classes[seen] == word))
    return shares


def _attention(run: Run, model: Model, shards: JoinedShards) -> dict[str, float]:
    """Return how flat attention among words is, and how congruent, of captions that match their image or do not."""
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces, mismatch=0.5))
    forms = {"raw": CongruenceOptions(), "code": CongruenceOptions(space="block_prob")}
    taps = model.encoder.taps_of(model.encoder.meeting_layers[-1])
    found: dict[str, list[torch.Tensor]] = {}
    numbers = shards.select(splits=("val",), sources=("flickr30k-entities",))
    for part in evaluation_batches(numbers, shards.lengths[numbers], 64):
        batch = maker.make(part)
        with torch.inference_mode():
            outputs: EncoderOutputs = model.encode(batch, taps)
            values = {"text entropy": text_entropy_of_pairs(outputs, batch, CongruenceOptions(space="block_prob"))}
            for form, options in forms.items():
                values |= {
                    f"congruence {half} {form}": each
                    for half, each in congruence_of_pairs(outputs, batch, options).items()
                }
        for name, values_B in values.items():
            for kind, of_B in (("matched", batch.is_matched), ("mismatched", ~batch.is_matched)):
                found.setdefault(f"{name} {kind}", []).append(values_B[of_B])
    return {name: float(torch.cat(parts).nanmean()) for name, parts in found.items()}


def _relation(text: str) -> str:
    return next((each.strip() for each in PREDICATES if each in text), "other")


def _shares(figures: WinogroundFigures) -> dict[str, Any]:
    return {"text": figures.text.value, "image": figures.image.value, "group": figures.group.value}


EXPERIMENT = Experiment(
    arms=ARMS,
    num_steps=1500,
    prepare=prepare_base,
    run_trial=run_trial,
    train_base=train_base,
)
