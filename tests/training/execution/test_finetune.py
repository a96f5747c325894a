"""What fine-tuning takes of a pre-trained run, what it takes of the task, and what it refuses before it starts."""

import json

import pytest
import torch

from annotations.guards.drops import DataError
from stores.errors import DamagedFileError, StoreError
from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.task_stores import COLORS, IMAGES, make_task_run, task_stores
from training.commands.evaluate import EvaluateCommand
from training.commands.finetune import FinetuneCommand
from training.data.batches import BatchOptions
from training.data.order import OrderError
from training.data.shards import join
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.settings import Execution
from training.execution.worker import Place, TrainTask, train_run
from training.objectives.question_answering import QuestionAnsweringObjective
from training.runs.checkpoints import save_checkpoint
from training.tasks.catalog import TASKS
from training.weights.ours import build_model, load_model, start_from


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return task_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture
def start(tmp_path):
    return make_task_run(
        tmp_path / "start", batches=BatchOptions(max_pieces=14, mask_words=0.15, mask_regions=0.15, mismatch=0.5)
    ).folder


def prepare(task, start, stores, out, **options):
    regions, sentences = stores
    options = {"batch_size": 4, **options}
    return prepare_finetuning(
        task, start, regions=regions, sentences=sentences, out=out, options=FinetuneOptions(**options)
    )


@pytest.mark.parametrize(("task", "rate"), [("vqa-v2", 5e-5), ("gqa", 1e-5), ("nlvr2", 5e-5)])
def test_a_recipe_has_the_encoder_and_pieces_of_the_pretrained_run_and_the_schedule_of_the_task(
    task, rate, start, stores, tmp_path
):
    pretrained, _ = load_model(start)
    run = prepare(task, start, stores, tmp_path / "out")
    assert run.recipe.task == task
    assert run.recipe.encoder == pretrained.recipe.encoder
    assert run.tokenizer.backend.to_str() == pretrained.tokenizer.backend.to_str()
    assert run.recipe.sources == (task,)
    assert run.recipe.num_steps == 12  # 4 epochs of 12 sentences
    assert run.recipe.batches == BatchOptions(max_pieces=14, soft_answers=task != "nlvr2")
    optimization = run.recipe.optimization
    assert (optimization.optimizer, optimization.schedule) == (pretrained.recipe.optimization.optimizer, "linear")
    assert (optimization.learning_rate, optimization.warmup, optimization.clip) == (rate, 0.1, 5.0)


def test_answers_are_the_most_frequent_ones_of_the_training_questions(start, stores, tmp_path):
    """VQA's 12 questions go through five colors, two of them thrice; GQA's through three."""
    answers = prepare("vqa-v2", start, stores, tmp_path / "vqa").answers.answers
    assert set(answers) == set(COLORS)
    assert set(answers[:2]) == {"red", "green"}
    assert set(prepare("gqa", start, stores, tmp_path / "gqa").answers.answers) == {"red", "green", "blue"}
    assert prepare("nlvr2", start, stores, tmp_path / "nlvr2").answers.answers == ("False", "True")


def test_answers_keep_the_spelling_that_is_most_frequent(start, tmp_path):
    said = ["t-shirt", "t-shirt", "t shirt", "Yes", "in the mirror", "yes", "yes"]
    questions = [
        Spoken(text="what is it?", image_ids=["image-0"], answers={answer: 1.0}, source="gqa") for answer in said
    ]
    stores = join_stores(tmp_path / "stores", IMAGES, [questions])
    assert prepare("gqa", start, stores, tmp_path / "out").answers.answers == ("t-shirt", "yes", "in the mirror")


def test_answers_are_those_of_a_file_where_one_is_given(start, stores, tmp_path):
    path = tmp_path / "trainval_label2ans.json"
    path.write_text(json.dumps(["blue", "red", "umbrella"]))
    run = prepare("vqa-v2", start, stores, tmp_path / "out", answers=path)
    assert run.answers.answers == ("blue", "red", "umbrella")
    assert run.recipe.sizes.num_answers == 3
    with pytest.raises(DataError, match="the task has the answers False, True, expected no other table"):
        prepare("nlvr2", start, stores, tmp_path / "pairs", answers=path)


def test_options_go_before_what_the_task_has(start, stores, tmp_path):
    recipe = prepare(
        "gqa", start, stores, tmp_path / "out", num_steps=5, learning_rate=0.0, seed=3, precision="bfloat16"
    ).recipe
    assert (recipe.num_steps, recipe.optimization.learning_rate, recipe.seed) == (5, 0.0, 3)
    assert recipe.precision == "bfloat16"
    assert prepare("gqa", start, stores, tmp_path / "half", epochs=0.5).recipe.num_steps == 2


@pytest.mark.parametrize(
    ("task", "options", "error", "says"),
    [
        ("vcr", {}, DataError, "task 'vcr': no such task, expected one of vqa-v2, gqa, nlvr2, snli-ve"),
        ("gqa", {"batch_size": 13}, OrderError, "batch size 13 of 12 sentences"),
        ("gqa", {"epochs": 0.0}, ValueError, "num_steps is 0, expected 1 or more"),
        ("gqa", {"num_steps": 0}, ValueError, "num_steps is 0, expected 1 or more"),
        ("gqa", {"seed": -1}, ValueError, "seed is -1"),
    ],
)
def test_what_can_not_be_learnt_is_refused_before_a_run_begins(task, options, error, says, start, stores, tmp_path):
    with pytest.raises(error, match=says):
        prepare(task, start, stores, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_features_of_other_dimensions_are_refused(start, tmp_path):
    question = Spoken(text="what is it?", image_ids=["a"], answers={"red": 1.0}, source="gqa")
    stores = join_stores(tmp_path / "stores", [[make_image("a", feature_dim=9)]], [[question]])
    with pytest.raises(DataError, match=r"has features of 9 dimensions, expected 6 as .*start was trained on"):
        prepare("gqa", start, stores, tmp_path / "out", batch_size=1)


def test_a_store_without_the_task_and_a_folder_without_a_run_are_refused(start, stores, tmp_path):
    only_vqa = join_stores(
        tmp_path / "stores",
        IMAGES,
        [[Spoken(text="what?", image_ids=["image-0"], answers={"red": 1.0}, source="vqa-v2")]],
    )
    with pytest.raises(StoreError, match="has no sentences of gqa; it has those of vqa-v2"):
        prepare("gqa", start, only_vqa, tmp_path / "out")
    with pytest.raises(StoreError, match="no checkpoint there"):
        prepare("gqa", tmp_path, stores, tmp_path / "out")


def test_the_same_command_goes_on_and_another_is_refused(start, stores, tmp_path):
    begun = prepare("gqa", start, stores, tmp_path / "out")
    again = prepare("gqa", start, stores, tmp_path / "out")
    assert (again.recipe, again.answers) == (begun.recipe, begun.answers)
    with pytest.raises(StoreError, match=r"seed was 0, this run has 1"):
        prepare("gqa", start, stores, tmp_path / "out", seed=1)
    _, model = load_model(start)
    save_checkpoint(start, step=21, model=model, optimizer=None)
    with pytest.raises(StoreError, match=r"data.start was '\w+ at step 20', this run has '\w+ at step 21'"):
        prepare("gqa", start, stores, tmp_path / "out")


def test_a_rank_that_starts_from_another_checkpoint_than_the_run_does_not_begin(start, stores, tmp_path):
    regions, sentences = stores
    run = prepare("gqa", start, stores, tmp_path / "out")
    _, model = load_model(start)
    save_checkpoint(start, step=21, model=model, optimizer=None)
    task = TrainTask(run=run.folder, regions=regions, sentences=sentences, start_from=start, loader_workers=0)
    with pytest.raises(StoreError, match=r"data\.start was '\w+ at step 20', this rank read '\w+ at step 21'"):
        train_run(task, Place())


def test_a_batch_that_workers_can_not_share_is_refused_before_a_run_begins(start, stores, tmp_path):
    regions, sentences = stores
    command = FinetuneCommand(
        task="gqa",
        start=start,
        regions=regions,
        sentences=sentences,
        out=tmp_path / "out",
        batch_size=4,
        execution=Execution(workers=3),
    )
    with pytest.raises(OrderError, match="cannot be divided among 3 workers"):
        command.run()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", ["vqa-v2", "nlvr2"])
def test_the_first_weights_are_the_encoder_and_the_answers_that_both_have(task, start, stores, tmp_path):
    _, pretrained = load_model(start)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps(["umbrella", "GREY", "the blue"]))
    run = prepare(task, start, stores, tmp_path / "out", answers=path if task == "vqa-v2" else None)
    model = build_model(run)
    fresh = {
        name: weights.clone() for name, weights in model.head(QuestionAnsweringObjective).head.state_dict().items()
    }
    start_from(start, model, run)
    expected = pretrained.encoder.state_dict()
    assert all(torch.equal(weights, expected[name]) for name, weights in model.encoder.state_dict().items())
    if task == "nlvr2":
        assert all(
            torch.equal(weights, fresh[name])
            for name, weights in model.head(QuestionAnsweringObjective).head.state_dict().items()
        )
        return
    old = pretrained.head(QuestionAnsweringObjective).head.decoder
    rows = [COLORS.index("gray"), COLORS.index("blue")]
    assert torch.equal(model.head(QuestionAnsweringObjective).head.decoder.weight[1:], old.weight[rows])
    assert model.head(QuestionAnsweringObjective).head.decoder.weight[0].count_nonzero() == 0
    assert torch.equal(
        model.head(QuestionAnsweringObjective).head.dense.weight,
        pretrained.head(QuestionAnsweringObjective).head.dense.weight,
    )


@pytest.mark.parametrize("task", ["vqa-v2", "gqa", "nlvr2"])
def test_a_fine_tuned_run_is_evaluated_on_its_own_task(task, start, stores, tmp_path):
    regions, sentences = stores
    run = prepare(task, start, stores, tmp_path / "out", num_steps=3)
    train_run(
        TrainTask(run=run.folder, regions=regions, sentences=sentences, start_from=start, loader_workers=0), Place()
    )
    summary = EvaluateCommand(source=run.folder, regions=regions, sentences=sentences).run()
    assert summary["task"] == task
    assert 0 <= summary["accuracy"]["value"] <= 1
    predictions = json.loads((run.folder / f"predictions-{task}-val.json").read_text())
    assert set(predictions.values()) <= set(run.answers.answers)
    with join(*stores) as shards:
        numbers = shards.select(splits=("val",), sources=(task,), num_images=TASKS[task].num_images)
    assert len(predictions) == len(numbers) == 12


def test_answers_of_the_task_are_learnt(start, stores, tmp_path):
    regions, sentences = stores
    run = prepare("gqa", start, stores, tmp_path / "out", num_steps=30, learning_rate=1e-2, batch_size=12)
    task = TrainTask(
        run=run.folder, regions=regions, sentences=sentences, start_from=start, loader_workers=0, log_every=1
    )
    train_run(task, Place())
    losses = [json.loads(line)["loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.5 * losses[0]


def test_damaged_weights_are_refused_before_a_folder_is_begun(start, stores, tmp_path):
    path = start / "checkpoints/step-00000020/model.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"model\.safetensors: SHA-256 .*or begins again"):
        prepare("gqa", start, stores, tmp_path / "out")
    assert not (tmp_path / "out").exists()
