"""A detector's rank: what a run leaves, that it goes on to the same weights, and what stops it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from annotations.datasets.visual_genome import read_objects
from annotations.guards.drops import DataError, Drops
from detectors.weights.files import read_trainable, read_weights, save_weights
from stores.errors import StoreError
from tests.detectors.squares import CONVENTIONS
from tests.training.detector_runs import NUM_VAL, VOCABULARY, task_of, tiny_recipe, tiny_run, write_squares
from training.data.order import parts_of_rank
from training.detector.batches import DetectorBatchMaker, image_order
from training.detector.gold_images import collect_gold, image_files, read_split
from training.detector.worker import first_network, state_sha256, train_detector
from training.execution.errors import LoopError
from training.execution.progress import read_metrics
from training.execution.stop_request import request_stop, withdraw_stop
from training.execution.worker import Place
from training.runs.checkpoints import latest_checkpoint, list_checkpoints, read_tensors


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    write_squares(folder)
    return folder


@pytest.fixture(scope="module")
def gold(squares):
    drops = Drops()
    return collect_gold(
        read_objects(squares, drops=drops),
        image_files([squares / "images"]),
        VOCABULARY,
        train=read_split(squares / "train.txt"),
        val=read_split(squares / "val.txt"),
        drops=drops,
    )


def curve(run):
    return [{name: line[name] for name in ("step", "loss", "gradient_norm")} for line in read_metrics(run.folder)]


def tensors(run):
    folder = latest_checkpoint(run.folder).folder
    return read_tensors(folder / "model.safetensors") | read_tensors(folder / "optimizer.safetensors")


def test_gold_boxes_have_the_rows_of_names_and_aliases_and_splits_do_not_share_images(gold):
    assert gold.image(0).class_rows.tolist() == [1]
    assert gold.image(0).attribute_rows == ((2,),)
    assert gold.image(1).class_rows.tolist() == [2]
    assert gold.image(1).attribute_rows == ((),)
    assert gold.image_ids[gold.is_val].tolist() == ["0", "1", "2", "3"]
    assert len(gold) == 12


@pytest.mark.parametrize("preset", ["adamw", "detectron2"])
def test_a_run_that_lost_its_last_steps_goes_on_to_the_same_losses_and_weights(preset, squares, gold, tmp_path):
    whole = tiny_run(tmp_path / "whole", gold, tiny_recipe(preset), squares)
    train_detector(task_of(whole, squares), Place())
    cut = tiny_run(tmp_path / "cut", gold, tiny_recipe(preset), squares)
    shutil.copytree(whole.folder / "checkpoints", cut.folder / "checkpoints")
    shutil.rmtree(latest_checkpoint(cut.folder).folder)
    assert [each.step for each in list_checkpoints(cut.folder)] == [2]
    train_detector(task_of(cut, squares), Place())
    assert curve(cut) == curve(whole)[2:]
    found, wanted = tensors(cut), tensors(whole)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    moment = "momentum_buffer" if preset == "detectron2" else "exp_avg"
    assert f"{moment}.cls_score.weight" in found


def test_a_run_leaves_weights_that_load_and_their_scores_by_class(squares, gold, tmp_path):
    run = tiny_run(tmp_path, gold, tiny_recipe(), squares)
    train_detector(task_of(run, squares, evaluate_every=2), Place())
    loaded = read_weights(str(tmp_path / "detector.safetensors"), {})
    assert loaded.vocabulary == VOCABULARY
    found = json.loads((tmp_path / "scores.json").read_text())
    scores = found["scores"]
    assert (scores["num_images"], scores["num_boxes"]) == (NUM_VAL, NUM_VAL)
    assert (scores["num_classes"], scores["num_attributes"]) == (2, 1)
    assert found["rules"]["min_score"] == 0.05
    names = [line.split("\t")[:2] for line in (tmp_path / "classes.tsv").read_text().splitlines()]
    assert names == [["name", "gold boxes"], ["lamp,light", "2"], ["hole", "2"]]
    assert (tmp_path / "attributes.tsv").read_text().splitlines()[1] == "dull\t0\t\t"
    (line,) = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 2


def test_measuring_while_it_learns_changes_nothing_of_what_it_learns(squares, gold, tmp_path):
    plain, watched = (tiny_run(tmp_path / name, gold, tiny_recipe(), squares) for name in ("plain", "watched"))
    train_detector(task_of(plain, squares), Place())
    train_detector(task_of(watched, squares, evaluate_every=1), Place())
    assert curve(watched) == curve(plain)
    assert len((watched.folder / "scores.jsonl").read_text().splitlines()) == 2


def test_no_steps_measure_weights_as_they_are_and_write_none(squares, gold, tmp_path):
    trained = first_network(tiny_recipe(), None)
    save_weights(tmp_path / "given.safetensors", trained, CONVENTIONS, VOCABULARY)
    recipe = replace(tiny_recipe(num_steps=0), has_frozen_norms=True)
    run = tiny_run(tmp_path / "run", gold, recipe, squares)
    train_detector(task_of(run, squares, init=str(tmp_path / "given.safetensors")), Place())
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "attributes.tsv", "classes.tsv", "digests.json", "gold.npz", "recipe.json", "scores.json",
    ]  # fmt: skip


def test_weights_that_are_started_from_keep_their_norms_and_first_stages(squares, gold, tmp_path):
    save_weights(tmp_path / "given.safetensors", first_network(tiny_recipe(), None), CONVENTIONS, VOCABULARY)
    given, _ = read_trainable(str(tmp_path / "given.safetensors"), VOCABULARY)
    recipe = tiny_recipe()
    recipe = replace(recipe, has_frozen_norms=True, training=replace(recipe.training, frozen_stages=2))
    run = tiny_run(tmp_path / "run", gold, recipe, squares)
    train_detector(task_of(run, squares, init=str(tmp_path / "given.safetensors")), Place())
    before, after = given.state_dict(), read_tensors(latest_checkpoint(run.folder).folder / "model.safetensors")
    same = {name for name, each in after.items() if torch.equal(each, before[name])}
    assert {name for name in after if name.startswith(("stem", "res2")) or ".bn" in name} <= same
    assert "res3.0.conv1.weight" not in same


def test_a_rank_that_reads_other_first_weights_than_the_run_does_not_begin(tmp_path):
    path = tmp_path / "given.safetensors"
    save_weights(path, first_network(tiny_recipe(), None), CONVENTIONS, VOCABULARY)
    began = state_sha256(first_network(tiny_recipe(), str(path)))
    recipe = replace(tiny_recipe(), data={"init": began})
    assert state_sha256(first_network(recipe, str(path))) == began
    save_weights(path, first_network(replace(tiny_recipe(), seed=5), None), CONVENTIONS, VOCABULARY)
    with pytest.raises(StoreError, match=rf"data\.init was '{began}', this rank read"):
        first_network(recipe, str(path))


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_any_number_of_ranks_sees_the_same_images_mirrored_alike(num_ranks, squares, gold):
    recipe = tiny_recipe()
    maker = DetectorBatchMaker(
        gold,
        image_files([squares / "images"]),
        CONVENTIONS,
        recipe.training,
        num_attributes=2,
        seed=0,
    )
    order = image_order(gold, CONVENTIONS, batch_size=4, seed=0)
    for step in range(4):
        numbers = order.batch(step)
        assert not gold.is_val[numbers].any()
        parts = [
            maker.make(numbers, step=step, positions=part)
            for rank in range(num_ranks)
            for part in parts_of_rank(4, rank=rank, num_ranks=num_ranks, accumulation=4 // num_ranks)
        ]
        alone = [maker.make(numbers, step=step, positions=np.array([place])) for place in range(4)]
        seen = {part.image_ids: part for part in parts}
        assert len(seen) == 4
        for part in alone:
            assert torch.equal(seen[part.image_ids].inputs, part.inputs)
            assert torch.equal(seen[part.image_ids].boxes, part.boxes)


def test_a_batch_is_of_like_shapes_and_what_is_smaller_is_padded_right_and_below(squares, gold):
    maker = DetectorBatchMaker(
        gold, image_files([squares / "images"]), CONVENTIONS, tiny_recipe().training, num_attributes=2, seed=0
    )
    wide, tall = (int(np.flatnonzero(gold.image_ids == image_id)[0]) for image_id in ("4", "5"))
    batch = maker.make(np.array([wide, tall]), step=0, positions=np.arange(2))
    assert batch.sizes == ((96, 128), (128, 96))
    assert batch.inputs.shape == (2, 3, 128, 128)
    assert batch.inputs[0, :, 96:].abs().max() == 0
    assert batch.inputs[0, :, :96, :128].abs().min() > 0
    assert [target["labels"].tolist() for target in batch.targets()] == [[1], [2]]
    order = image_order(gold, CONVENTIONS, batch_size=2, seed=0)
    ratios = gold.sides[:, 0] / gold.sides[:, 1]
    mixed = sum(len(set(ratios[order.batch(step)])) > 1 for step in range(order.batches_per_epoch))
    assert mixed <= 1


def test_a_run_that_is_asked_to_stop_writes_a_checkpoint_and_measures_when_it_has_gone_on(squares, gold, tmp_path):
    undisturbed = tiny_run(tmp_path / "undisturbed", gold, tiny_recipe(), squares)
    train_detector(task_of(undisturbed, squares), Place())
    run = tiny_run(tmp_path / "stopped", gold, tiny_recipe(), squares)
    request_stop(run.folder)
    train_detector(task_of(run, squares, checkpoint_every=1000), Place())
    assert [each.step for each in list_checkpoints(run.folder)] == [1]
    assert not (run.folder / "scores.json").exists()
    withdraw_stop(run.folder)
    train_detector(task_of(run, squares, checkpoint_every=1000), Place())
    assert curve(run) == curve(undisturbed)
    assert (run.folder / "scores.json").read_bytes() == (undisturbed.folder / "scores.json").read_bytes()


def test_another_recipe_in_the_folder_is_refused_with_both_values(squares, gold, tmp_path):
    tiny_run(tmp_path, gold, tiny_recipe(), squares)
    other = replace(tiny_recipe(), batch_size=1, vocabulary=replace(VOCABULARY, classes=("lamp", "hole")))
    with pytest.raises(
        StoreError, match=r"batch_size was 2, this run has 1; .*'lamp,light', this run has 'lamp'; use a"
    ):
        tiny_run(tmp_path, gold, other, squares)


def test_an_image_that_is_gone_or_damaged_stops_with_its_name(squares, gold, tmp_path):
    copy = tmp_path / "squares"
    shutil.copytree(squares, copy)
    for number in range(NUM_VAL, 12):
        (copy / f"images/{number}.png").write_bytes(b"not a picture")
    run = tiny_run(tmp_path / "run", gold, tiny_recipe(), copy)
    with pytest.raises(
        (DataError, StoreError), match=r"step 1: image '\d+': .*\.png: .*; put a whole copy there and run"
    ):
        train_detector(task_of(run, copy), Place())
    shutil.rmtree(copy / "images")
    shutil.copytree(squares / "images", copy / "images")
    with pytest.raises(StoreError, match=r"its images have SHA-256 .*: files of the same names with other pictures"):
        train_detector(task_of(run, copy), Place())
    with pytest.raises(StoreError, match="Use those that it began with, or a new --out"):
        tiny_run(tmp_path / "run", gold, tiny_recipe(), copy)
    (copy / "images/0.png").unlink()
    with pytest.raises(DataError, match="image '0': no file below --images any more"):
        train_detector(task_of(run, copy), Place())


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_images(squares, gold, tmp_path):
    fast = replace(tiny_recipe("detectron2").optimization, learning_rate=1e30)
    run = tiny_run(tmp_path, gold, replace(tiny_recipe(), optimization=fast), squares)
    with pytest.raises(LoopError, match=r"step 2: losses are .* on image \d+, image \d+"):
        train_detector(task_of(run, squares), Place())


@pytest.mark.parametrize(
    ("options", "says"),
    [({"evaluate_every": -1}, "evaluate_every is -1, expected 0 or more"), ({"keep": 0}, "keep is 0, expected 1")],
)
def test_a_task_out_of_range_is_refused(options, says, squares, gold, tmp_path):
    with pytest.raises(ValueError, match=says):
        task_of(tiny_run(tmp_path, gold, tiny_recipe(), squares), squares, **options)
