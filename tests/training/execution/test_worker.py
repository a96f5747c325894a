"""A rank from a run's folder to its checkpoints: going on, several ranks, other runs' weights, damage."""

import shutil
import socket
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from annotations.answers import AnswerVocabulary
from stores.errors import DamagedFileError, StoreError
from tests.training.learnable_runs import begin, curve, learnable_stores, tiny_preset, train
from training.data.batches import BatchOptions
from training.data.order import OrderError
from training.data.tokenizer import train_tokenizer
from training.execution.errors import LoopError
from training.execution.stop_request import request_stop, withdraw_stop
from training.execution.worker import Place, TrainTask, train_run
from training.objectives.question_answering import QuestionAnsweringObjective
from training.runs.checkpoints import latest_checkpoint, list_checkpoints, read_tensors
from training.runs.folder import begin_run, open_run
from training.runs.optimizers import Optimization
from training.tasks.catalog import TASKS
from training.weights.ours import build_model, load_model, start_from


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return learnable_stores(tmp_path_factory.mktemp("worker"))


@pytest.fixture(autouse=True)
def one_thread():
    """Threads gain nothing on so small a network, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class StopError(Exception):
    """Stands for a kill."""


def stop_after(task, step):
    """Train to the end of a step and no further."""

    def stop(report):
        if report.step == step:
            raise StopError

    with pytest.raises(StopError):
        train_run(task, Place(), stop)


def files(run):
    """Return the bytes of what decides everything that comes after."""
    folder = latest_checkpoint(run).folder
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OPTIMIZATIONS = {
    "adamw": Optimization(optimizer="adamw", learning_rate=3e-3, epsilon=1e-8),
    "bert-adam with an average": Optimization(learning_rate=3e-3, ema=0.9),
}


@pytest.mark.parametrize("optimization", OPTIMIZATIONS.values(), ids=OPTIMIZATIONS)
@pytest.mark.parametrize("step", [1, 4, 6, 11])
def test_a_run_that_goes_on_has_the_curve_and_the_bytes_of_one_that_was_not_stopped(
    step, optimization, stores, tmp_path
):
    preset = tiny_preset(optimization=optimization)
    undisturbed = begin(stores, tmp_path / "undisturbed", preset)
    expected = train(undisturbed)
    assert [line["step"] for line in expected] == list(range(1, 13))

    task = begin(stores, tmp_path / "stopped", preset)
    stop_after(task, step)
    assert train(task) == expected
    assert files(task.run) == files(undisturbed.run)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_run_that_is_asked_to_stop_writes_a_checkpoint_and_goes_on_to_the_same_bytes(
    loader_workers, stores, tmp_path
):
    undisturbed = begin(stores, tmp_path / "undisturbed")
    expected = train(undisturbed)
    task = begin(stores, tmp_path / "stopped", checkpoint_every=1000, loader_workers=loader_workers)
    train_run(task, Place(), lambda report: request_stop(task.run) if report.step == 5 else None)
    assert [each.step for each in list_checkpoints(task.run)] == [6]
    assert curve(task.run) == expected[:6]
    withdraw_stop(task.run)
    assert train(task) == expected
    assert files(task.run) == files(undisturbed.run)


def test_processes_that_make_batches_change_nothing(stores, tmp_path):
    alone = begin(stores, tmp_path / "alone")
    helped = begin(stores, tmp_path / "helped", loader_workers=2)
    assert train(helped) == train(alone)


def test_a_run_that_is_done_is_left_as_it_is(stores, tmp_path):
    task = begin(stores, tmp_path / "run")
    before = train(task), files(task.run)
    assert (train(task), files(task.run)) == before


def test_another_seed_is_another_curve(stores, tmp_path):
    one = train(begin(stores, tmp_path / "one"))
    task = begin(stores, tmp_path / "other")
    run = open_run(task.run)
    shutil.rmtree(task.run)
    begin_run(task.run, replace(run.recipe, seed=1), run.tokenizer, run.answers)
    assert train(task)[3]["loss"] != one[3]["loss"]


def test_what_images_show_is_learnt(stores, tmp_path):
    preset = tiny_preset(num_steps=150, dropout=0.0, batch_size=16)
    task = begin(stores, tmp_path / "run", preset, log_every=30, checkpoint_every=1000)
    lines = train(task)
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]
    assert lines[-1]["terms"]["word_object_alignment"] < 0.5 * lines[0]["terms"]["word_object_alignment"]
    assert [each.step for each in list_checkpoints(task.run)] == [150]


def test_checkpoints_are_written_as_often_as_asked_and_at_the_end(stores, tmp_path):
    task = begin(stores, tmp_path / "run", tiny_preset(num_steps=7), checkpoint_every=3, keep=5)
    train(task)
    assert [each.step for each in list_checkpoints(task.run)] == [3, 6, 7]


def train_rank(rank, num_ranks, port, task):
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=num_ranks)
    try:
        train_run(task, Place(rank=rank, num_ranks=num_ranks))
    finally:
        dist.destroy_process_group()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def train_on(num_ranks, task):
    torch.multiprocessing.start_processes(  # forked, they need not import torch
        train_rank, (num_ranks, free_port(), task), nprocs=num_ranks, start_method="fork"
    )
    return curve(task.run)


def close(found, expected):
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for a, b in zip(found, expected, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-3)
        assert a["terms"] == pytest.approx(b["terms"], rel=1e-3, abs=1e-6)


def test_two_ranks_have_the_curve_of_one_that_takes_its_steps_in_two_parts_and_either_goes_on_with_the_other(
    stores, tmp_path
):
    expected = train(begin(stores, tmp_path / "alone", accumulation=2))
    task = begin(stores, tmp_path / "both")
    stop_after(replace(task, accumulation=2), 5)
    close(train_on(2, task), expected)


def test_two_ranks_that_are_asked_to_stop_do_so_after_the_same_step(stores, tmp_path):
    task = begin(stores, tmp_path / "both", checkpoint_every=1000)
    request_stop(task.run)
    assert [line["step"] for line in train_on(2, task)] == [1]
    assert [each.step for each in list_checkpoints(task.run)] == [1]


def test_a_rank_that_meets_a_broken_image_stops_all_with_its_name(tmp_path):
    stores = learnable_stores(tmp_path / "stores", broken="image-005")
    task = begin(stores, tmp_path / "run", tiny_preset(num_steps=60))
    with pytest.raises(Exception, match=r"LoopError: step \d+: .*\(the features of image image-005 are not finite\)"):
        train_on(2, task)
    assert curve(task.run)[-1]["step"] < 60


def test_a_batch_that_can_not_be_divided_is_refused(stores, tmp_path):
    task = begin(stores, tmp_path / "run", accumulation=3)
    with pytest.raises(OrderError, match="batch size 8 cannot be divided among 1 workers in 3 parts each"):
        train_run(task, Place())


@pytest.mark.parametrize("name", ["accumulation", "checkpoint_every", "keep", "log_every"])
def test_a_task_that_counts_by_nothing_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is 0, expected 1 or more"):
        TrainTask(run=tmp_path, regions=tmp_path, sentences=tmp_path, **{name: 0})


def test_a_damaged_checkpoint_is_refused_and_without_it_the_run_goes_on_from_the_one_before(stores, tmp_path):
    task = begin(stores, tmp_path / "run")
    expected = train(task)
    newest = latest_checkpoint(task.run).folder
    path = newest / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match="remove this checkpoint, and the run goes on from the one before"):
        train_run(task, Place())
    shutil.rmtree(newest)
    assert train(task) == expected


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_a_shard_that_is_damaged_meanwhile_is_named_in_one_line(loader_workers, stores, tmp_path):
    regions, sentences = stores
    shutil.copytree(regions, tmp_path / "regions")
    task = begin((tmp_path / "regions", sentences), tmp_path / "run", loader_workers=loader_workers)
    shard = sorted((tmp_path / "regions").glob("shard-*"))[1]
    content = bytearray(shard.read_bytes())
    content[-40:] = bytes(40)
    shard.write_bytes(content)
    with pytest.raises(StoreError, match=shard.name) as refusal:
        train_run(task, Place())
    assert "\n" not in str(refusal.value)


def answering(stores, out, pretrained, *, answers=("green", "purple", "red"), **changes):
    """Begin a run of questions that starts from the weights of another."""
    run = open_run(pretrained)
    recipe = replace(
        run.recipe,
        task="vqa-v2",
        objectives=TASKS["vqa-v2"].objectives,
        batches=BatchOptions(max_pieces=24, soft_answers=True),
        sources=("vqa-v2",),
        sizes=replace(run.recipe.sizes, num_answers=len(answers)),
        **changes,
    )
    return begin_run(out, recipe, run.tokenizer, AnswerVocabulary(answers=answers))


def test_a_model_that_answers_starts_with_the_encoder_and_the_answers_that_were_pre_trained(stores, tmp_path):
    task = begin(stores, tmp_path / "pretrained")
    train(task)
    old = read_tensors(latest_checkpoint(task.run).folder / "model.safetensors")
    run = answering(stores, tmp_path / "answering", task.run)
    model = build_model(run)
    start_from(task.run, model, run)
    for name, weight in model.encoder.state_dict().items():
        assert torch.equal(weight, old[f"encoder.{name}"]), name
    decoder = old["objectives.question_answering.head.decoder.weight"]
    before = open_run(task.run).answers.answers
    assert torch.equal(model.head(QuestionAnsweringObjective).head.decoder.weight[0], decoder[before.index("green")])
    assert not model.head(QuestionAnsweringObjective).head.decoder.weight[1].any()
    assert torch.equal(model.head(QuestionAnsweringObjective).head.decoder.weight[2], decoder[before.index("red")])


def test_a_model_that_answers_is_trained_and_goes_on(stores, tmp_path):
    pretrained = begin(stores, tmp_path / "pretrained", tiny_preset(num_steps=2))
    train(pretrained)
    tasks = []
    for name in ("whole", "stopped"):
        answering(stores, tmp_path / name, pretrained.run, num_steps=6)
        tasks.append(replace(pretrained, run=tmp_path / name, start_from=pretrained.run, checkpoint_every=2))
    expected = train(tasks[0])
    assert list(expected[0]["terms"]) == ["question_answering"]
    stop_after(tasks[1], 3)
    shutil.rmtree(pretrained.run)  # it has weights of its own by now
    assert train(tasks[1]) == expected


def test_pre_training_may_start_from_another_run_of_the_same_network(stores, tmp_path):
    first = begin(stores, tmp_path / "first", tiny_preset(num_steps=3))
    train(first)
    task = begin(stores, tmp_path / "second", tiny_preset(num_steps=3))
    run = open_run(task.run)
    model = build_model(run)
    start_from(first.run, model, run)
    _, expected = load_model(first.run)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    other = begin(stores, tmp_path / "other", tiny_preset("no-alignment", num_steps=3))
    with pytest.raises(DamagedFileError, match=r"weights of another network: .*word_object_alignment.* is left over"):
        start_from(first.run, build_model(open_run(other.run)), open_run(other.run))


def test_another_encoder_or_tokenizer_to_start_from_is_refused(stores, tmp_path):
    task = begin(stores, tmp_path / "pretrained", tiny_preset(num_steps=2))
    train(task)
    encoder = replace(open_run(task.run).recipe.encoder, intermediate_size=48)
    run = answering(stores, tmp_path / "wider", task.run, encoder=encoder)
    with pytest.raises(StoreError, match=r"encoder\.intermediate_size was 32, this run has 48"):
        start_from(task.run, build_model(run), run)
    run = answering(stores, tmp_path / "words", task.run)
    pieces = run.tokenizer.vocab_size
    other = train_tokenizer(["".join(map(chr, np.arange(97, 97 + 26)))], vocab_size=pieces)
    assert other.vocab_size <= pieces
    with pytest.raises(StoreError, match="another tokenizer"):
        start_from(task.run, build_model(run), replace(run, tokenizer=other))


def test_a_step_with_a_loss_that_is_not_finite_leaves_the_last_checkpoint(tmp_path):
    stores = learnable_stores(tmp_path / "stores", broken="image-005")
    task = begin(stores, tmp_path / "run", tiny_preset(num_steps=60), checkpoint_every=1)
    with pytest.raises(LoopError) as stop:
        train_run(task, Place())
    (done,) = [each.step for each in list_checkpoints(task.run)][-1:] or [0]
    assert str(stop.value).startswith(f"step {done + 1}: ")
    assert [line["step"] for line in curve(task.run)][-1:] == [done][: done > 0]
