"""What a model answers, what is written of it, and what the official metrics make of it."""

import csv
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from annotations.answers import AnswerVocabulary
from annotations.guards.drops import DataError
from stores.errors import StoreError
from tests.training.joined_stores import join_stores
from tests.training.task_stores import COLORS, IMAGES, SENTENCES, make_task_run, task_stores
from training.commands.evaluate import EvaluateCommand
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.execution.evaluation import evaluate
from training.objectives.catalog import Objectives
from training.objectives.question_answering import QuestionAnsweringObjective
from training.tasks import answers
from training.tasks.answers import predict
from training.tasks.catalog import TASKS
from training.tasks.gqa import Choices
from training.weights.ours import load_model

ANSWERS = {"vqa-v2": COLORS, "gqa": COLORS, "nlvr2": ("False", "True")}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return task_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module")
def shards(stores):
    with join(*stores) as opened:
        yield opened


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Return a run, its model and its folder, of a task or of pre-training."""
    known = {}

    def load(task):
        if task not in known:
            folder = tmp_path_factory.mktemp("runs") / task
            known[task] = load_model(make_task_run(folder, task=task, answers=ANSWERS.get(task, COLORS)).folder)
        return known[task]

    return load


def select(shards, task, split="val"):
    return shards.select(splits=(split,), sources=TASKS[task].sources, num_images=TASKS[task].num_images)


def sentences_of(shards, numbers):
    return [shards.sentences.read(*shards.place(number)).sentence for number in numbers]


def scores_one_by_one(run, model, shards, numbers):
    """Return the scores of each sentence, computed alone and without padding: [S, A]."""
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=16))
    scores = []
    for number in numbers:
        with torch.inference_mode():
            pooled = model.encoder(maker.make(np.array([number]))).pooled
            scores.append(model.head(QuestionAnsweringObjective).head(pooled.flatten()[None])[0])
    return torch.stack(scores)


@pytest.mark.parametrize(
    ("of", "task"), [("vqa-v2", "vqa-v2"), ("gqa", "gqa"), ("nlvr2", "nlvr2"), ("pretraining", "gqa")]
)
def test_predictions_are_the_highest_scores_of_each_sentence_alone(of, task, asked, shards):
    run, model = asked(of)
    numbers = select(shards, task)
    found = predict(run, model, shards, numbers, num_images=TASKS[task].num_images)
    best = scores_one_by_one(run, model, shards, numbers).argmax(1).tolist()
    ids = [sentence.sentence_id for sentence in sentences_of(shards, numbers)]
    assert found == {each: run.answers.answers[row] for each, row in zip(ids, best, strict=True)}
    assert len(set(found.values())) >= 2


@pytest.mark.parametrize("task", ["vqa-v2", "nlvr2"])
def test_predictions_depend_neither_on_the_order_of_sentences_nor_on_their_batches(task, asked, shards, monkeypatch):
    run, model = asked(task)
    numbers = select(shards, task)
    expected = predict(run, model, shards, numbers, num_images=TASKS[task].num_images)
    monkeypatch.setattr(answers, "BATCH_SIZE", 5)
    assert predict(run, model, shards, numbers, num_images=TASKS[task].num_images) == expected
    assert predict(run, model, shards, numbers[::-1].copy(), num_images=TASKS[task].num_images) == expected


@pytest.mark.parametrize("task", ["gqa", "vqa-v2", "nlvr2"])
def test_questions_beside_others_without_answers_are_scored_and_these_are_counted(task, asked, tmp_path, capsys):
    """Such as GQA's testdev beside the questions of its test split."""
    secret = [
        replace(spoken, answers={}, details={k: v for k, v in spoken.details.items() if k != "answer_type"})
        if spoken.split == "val" and spoken.source == task and number % 3 == 0
        else spoken
        for shard in SENTENCES
        for number, spoken in enumerate(shard)
    ]
    run, model = asked(task)
    with join(*join_stores(tmp_path / "stores", IMAGES, [secret])) as shards:
        found = evaluate(run, model, shards, task_name=task, split="val", out=tmp_path)
        answered = [number for number in select(shards, task).tolist() if shards.read(number).answers]
        predictions = json.loads((tmp_path / f"predictions-{task}-val.json").read_text())
        known = sentences_of(shards, answered)
    assert (len(predictions), len(known), found["num_without_answer"]) == (12, 8, 4)
    expected = TASKS[task].measure.score(known, {each.sentence_id: predictions[each.sentence_id] for each in known})
    assert found["accuracy"] == {"value": expected.accuracy.value, "of": expected.accuracy.of}
    assert f"{task}-val: 4 of 12 have no answer and are not scored" in capsys.readouterr().err
    assert len((tmp_path / f"submission-{task}-val.{TASKS[task].measure.suffix}").read_text()) > 0


def test_dropout_is_off_however_the_model_comes(shards, tmp_path):
    run, model = load_model(make_task_run(tmp_path, task="vqa-v2").folder)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.9
    numbers = select(shards, "vqa-v2")
    expected = predict(run, model, shards, numbers, num_images=TASKS["vqa-v2"].num_images)
    for _ in range(3):
        assert predict(run, model.train(), shards, numbers, num_images=TASKS["vqa-v2"].num_images) == expected
    assert not model.training


def test_only_allowed_answers_are_given_and_as_they_are_written_there(asked, shards):
    run, model = asked("pretraining")
    numbers = select(shards, "gqa")
    allowed = AnswerVocabulary(answers=("Blue", "the grey", "two", "purple"))
    found = predict(run, model, shards, numbers, num_images=TASKS["gqa"].num_images, allowed=allowed)
    best = scores_one_by_one(run, model, shards, numbers)[:, 2:].argmax(1).tolist()
    ids = [sentence.sentence_id for sentence in sentences_of(shards, numbers)]
    assert found == {each: ("Blue", "the grey", "two")[row] for each, row in zip(ids, best, strict=True)}
    assert len(set(found.values())) >= 2


def test_answers_of_which_the_run_knows_none_are_refused(asked, shards):
    run, model = asked("pretraining")
    with pytest.raises(DataError, match="knows none of the answers that are allowed"):
        predict(
            run,
            model,
            shards,
            select(shards, "gqa"),
            num_images=TASKS["gqa"].num_images,
            allowed=AnswerVocabulary(answers=("purple",)),
        )


@pytest.mark.parametrize(
    ("of", "task"), [("vqa-v2", "vqa-v2"), ("gqa", "gqa"), ("nlvr2", "nlvr2"), ("pretraining", "gqa")]
)
def test_scores_are_those_of_the_official_metric_and_files_are_written(of, task, asked, shards, tmp_path):
    run, model = asked(of)
    scores = evaluate(run, model, shards, task_name=task, split="val", out=tmp_path)
    numbers = select(shards, task)
    predictions = predict(run, model, shards, numbers, num_images=TASKS[task].num_images)
    expected = asdict(TASKS[task].measure.score(sentences_of(shards, numbers), predictions))
    assert scores == json.loads(json.dumps(expected))
    suffix = "csv" if task == "nlvr2" else "json"
    assert {path.name for path in tmp_path.iterdir()} == {
        f"submission-{task}-val.{suffix}",
        f"predictions-{task}-val.json",
        f"scores-{task}-val.json",
    }
    assert json.loads((tmp_path / f"predictions-{task}-val.json").read_text()) == predictions
    assert json.loads((tmp_path / f"scores-{task}-val.json").read_text()) == scores


def test_options_go_to_the_metric(asked, shards, tmp_path):
    run, model = asked("gqa")
    ids = [sentence.details["question_id"] for sentence in sentences_of(shards, select(shards, "gqa"))]
    choices = {each: Choices(valid=COLORS, plausible=()) for each in ids}
    scores = evaluate(run, model, shards, task_name="gqa", split="val", out=tmp_path, choices=choices)
    assert (scores["validity"]["value"], scores["plausibility"]["value"]) == (1, 0)


@pytest.mark.parametrize("task", ["vqa-v2", "nlvr2"])
def test_a_split_whose_answers_are_secret_has_a_submission_and_no_scores(task, asked, shards, tmp_path):
    run, model = asked(task)
    assert evaluate(run, model, shards, task_name=task, split="test", out=tmp_path) == {}
    assert not list(tmp_path.glob("scores-*"))
    predictions = predict(run, model, shards, select(shards, task, "test"), num_images=TASKS[task].num_images)
    if task == "nlvr2":
        rows = list(csv.reader((tmp_path / "submission-nlvr2-test.csv").open()))
        assert [identifier for identifier, _ in rows] == [f"test-{number}-0-0" for number in range(12)]
        assert [answer for _, answer in rows] == [predictions[f"2-{24 + number:05d}"] for number in range(12)]
    else:
        rows = json.loads((tmp_path / "submission-vqa-v2-test.json").read_text())
        assert [row["question_id"] for row in rows] == list(range(1000, 1012))
        assert [row["answer"] for row in rows] == [predictions[f"0-{24 + number:05d}"] for number in range(12)]


@pytest.mark.parametrize(
    ("of", "task", "says"),
    [
        ("vqa-v2", "nlvr2", "answers about 1 image, expected 2 as the task asks"),
        ("pretraining", "nlvr2", "answers about 1 image, expected 2 as the task asks; see vinculum-train finetune"),
        ("nlvr2", "gqa", "answers about 2 images, expected 1"),
    ],
)
def test_a_model_of_another_number_of_images_is_refused(of, task, says, asked, shards, tmp_path):
    run, model = asked(of)
    with pytest.raises(DataError, match=says):
        evaluate(run, model, shards, task_name=task, split="val", out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_without_an_answer_head_is_refused(shards, tmp_path):
    run = make_task_run(tmp_path / "run", objectives=Objectives(question_answering=None))
    with pytest.raises(DataError, match="has no answer head, expected a run with question answering"):
        evaluate(*load_model(run.folder), shards, task_name="gqa", split="val", out=tmp_path)


def test_the_command_asks_a_fine_tuned_run_about_its_task_and_a_pretrained_one_about_that_of_the_option(
    asked, stores, shards, tmp_path
):
    regions, sentences = stores
    for of, task in (("vqa-v2", None), ("pretraining", "vqa-v2")):
        run, model = asked(of)
        out = tmp_path / of
        summary = EvaluateCommand(source=run.folder, regions=regions, sentences=sentences, task=task, out=out).run()
        expected = evaluate(run, model, shards, task_name="vqa-v2", split="val", out=tmp_path)
        assert summary == {"run": str(run.folder), "task": "vqa-v2", "split": "val", **expected}
        assert (out / "scores-vqa-v2-val.json").exists()


def test_the_command_says_what_it_lacks(asked, stores, tmp_path):
    regions, sentences = stores
    run, _ = asked("pretraining")
    with pytest.raises(DataError, match="a run of pretraining, expected --task with one of vqa-v2, gqa, nlvr2"):
        EvaluateCommand(source=run.folder, regions=regions, sentences=sentences, out=tmp_path).run()
    with pytest.raises(DataError, match="--choices goes with GQA, the task is vqa-v2"):
        EvaluateCommand(
            source=run.folder, regions=regions, sentences=sentences, task="vqa-v2", choices=tmp_path, out=tmp_path
        ).run()
    with pytest.raises(StoreError, match="x is not there, expected a store"):
        EvaluateCommand(source=run.folder, regions=tmp_path / "x", sentences=sentences, task="gqa").run()
