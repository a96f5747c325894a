"""An experiment: what is compared with what, by hand; and a trial from stores to figures, killed or not."""

import json

import numpy as np
import pytest
import torch

from stores.errors import StoreError
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from training.commands.experiment import ExperimentCommand
from training.execution.worker import Place, TrainTask, train_run
from training.experiments.alignment import ARMS, prepare_trial, run_trial
from training.experiments.comparison import Comparison, compare, table
from training.experiments.trial import RESULT, Trial, read_result
from training.probes.linear import ProbeOptions
from training.runs.checkpoints import list_checkpoints
from training.runs.presets import find_preset
from training.weights.ours import load_model

SEEDS = range(5)
NONE = [0.50, 0.52, 0.47, 0.55, 0.49]
CODE = [0.58, 0.55, 0.56, 0.57, 0.60]
NULL = [0.51, 0.50, 0.49, 0.54, 0.50]


def results_of(**arms):
    """Return figures by arm and seed of one metric."""
    return {(arm, seed): {"accuracy": values[seed]} for arm, values in arms.items() for seed in SEEDS}


@pytest.fixture
def one_thread():
    """A trial takes one thread, and the process that ran it would keep to it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_differences_are_paired_by_seed_and_their_interval_is_that_of_the_bootstrap():
    first, code = compare(results_of(none=NONE, code=CODE), ["none", "code"])
    assert (first.difference, first.low, first.high) == (0, 0, 0)
    assert (code.arm, code.metric) == ("code", "accuracy")
    assert code.mean == pytest.approx(0.572)
    assert code.deviation == pytest.approx(0.0192354)  # of the sample: over n - 1
    differences = np.array([0.08, 0.03, 0.09, 0.02, 0.11])
    assert code.difference == pytest.approx(0.066)
    drawn = np.random.default_rng(7).integers(5, size=(200_000, 5))
    low, high = np.quantile(differences[drawn].mean(1), [0.025, 0.975])
    assert code.low == pytest.approx(low, abs=0.002)
    assert code.high == pytest.approx(high, abs=0.002)


def test_the_pairing_takes_out_what_seeds_have_in_common():
    """Seeds differ by far more than the arms do, yet each seed gains the same."""
    spread = [0.1, 0.9, 0.4, 0.7, 0.2]
    _, shifted = compare(results_of(none=spread, code=[value + 0.01 for value in spread]), ["none", "code"])
    assert (shifted.low, shifted.high) == (pytest.approx(0.01), pytest.approx(0.01))


def test_a_comparison_is_the_same_every_time_and_whatever_the_order_of_trials():
    results = results_of(none=NONE, code=CODE)
    turned = dict(reversed(results.items()))
    assert compare(results, ["none", "code"]) == compare(turned, ["none", "code"])


def test_the_first_arm_is_what_others_are_compared_with():
    by_arm = {each.arm: each for each in compare(results_of(none=NONE, code=CODE), ["code", "none"])}
    assert by_arm["none"].difference == pytest.approx(-0.066)
    assert by_arm["code"].difference == 0


def test_metrics_that_some_trial_lacks_are_left_out():
    results = results_of(none=NONE, code=CODE)
    for (arm, seed), figures in results.items():
        figures["open"] = 0.1
        if arm == "code":
            figures["decoder"] = 0.7
        if seed != 3:
            figures["consistency"] = 0.2
    assert {each.metric for each in compare(results, ["none", "code"])} == {"accuracy", "open"}


def test_a_table_marks_the_intervals_without_zero_alone():
    arms = ["none", "code", "null", "same"]
    lines = table(compare(results_of(none=NONE, code=CODE, null=NULL, same=NONE), arms), arms, 5).splitlines()
    assert lines[0] == "| metric, mean of 5 seeds | none | code | null | same |"
    assert lines[1] == "|---|---|---|---|---|"
    _, metric, none, code, null, same, _ = (cell.strip() for cell in lines[2].split("|"))
    assert metric == "accuracy"
    assert none == same == "0.506 ± 0.030"
    assert code.startswith("0.572 ± 0.019; +0.066 [+0.03")
    assert code.endswith("] *")
    assert null.startswith("0.508 ± 0.019; +0.002 [-0.0")
    assert "*" not in null


@pytest.mark.parametrize(
    ("low", "high", "marked"), [(0.001, 0.2, True), (-0.2, -0.001, True), (-0.1, 0.1, False), (0.0, 0.2, False)]
)
def test_an_interval_that_ends_at_zero_holds_it(low, high, marked):
    each = Comparison(arm="code", metric="a", mean=0.5, deviation=0.1, difference=0.1, low=low, high=high)
    assert (table([each], ["code"], 2).splitlines()[2].count("*") == 1) == marked


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_every_arm_is_an_ablation_of_the_preset(arm):
    preset = find_preset("toy-questions", ARMS[arm])
    assert (preset.objectives.word_object_alignment is None) == (arm == "none")
    assert preset.sources == ("gqa",)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A batch of 128 questions that point at the first region, and a few to measure."""
    word = Word(says="cube", position=[0.9, 0.2, 0.0], semantic=[0.9, 0.1, 0.0])
    questions = [
        Spoken(
            text=f"what color is the {('big', 'small')[number % 2]} cube?",
            image_ids=[f"image-{number % 4}"],
            words=[word],
            answers={("red", "green", "blue")[number % 3]: 1.0},
            source="gqa",
            split="train" if number < 128 else "val",
            details={"question_id": str(number), "is_balanced": True, "types": {"structural": "query"}},
        )
        for number in range(140)
    ]
    images = [make_image(f"image-{number}", num_boxes=3, first=number) for number in range(4)]
    return join_stores(tmp_path_factory.mktemp("stores") / "joined", [images], [questions])


def trial_of(stores, out, **changes):
    regions, sentences = stores
    options = {
        "experiment": "alignment",
        "arm": "code",
        "seed": 0,
        "num_steps": 4,
        "probe": ProbeOptions(num_steps=4, batch_size=16),
    }
    return Trial(regions=regions, sentences=sentences, out=out, **options | changes)


@pytest.fixture(scope="module")
def done(stores, tmp_path_factory):
    """A trial that ran, and its figures."""
    before = torch.get_num_threads()
    trial = trial_of(stores, tmp_path_factory.mktemp("trials"))
    figures = run_trial(trial)
    torch.set_num_threads(before)
    return trial, figures


def test_a_trial_trains_and_measures_answers_and_alignment(done):
    trial, figures = done
    assert {"accuracy", "open", "per_structural_type query"} <= set(figures)
    assert {"attention cross.0", "attention cross.1", "linear_probe", "chance", "first_region", "decoder"} <= set(
        figures
    )
    assert all(isinstance(value, float) for value in figures.values())
    assert figures["chance"] == pytest.approx(1 / 3)
    assert figures["first_region"] == 1
    assert "validity" not in figures  # there was no file of choices
    assert not [name for name in figures if "detailed" in name or "semantic" in name]
    assert json.loads((trial.folder / RESULT).read_text()) == figures == read_result(trial.folder)
    assert (trial.folder / "scores-gqa-val.json").exists()


def test_of_a_trial_the_weights_stay_and_the_optimizer_goes(done):
    trial, _ = done
    (checkpoint,) = list_checkpoints(trial.folder)
    assert checkpoint.step == 4
    assert not (checkpoint.folder / "optimizer.safetensors").exists()
    load_model(trial.folder)


def test_a_trial_that_is_done_is_not_run_again(done, one_thread):
    trial, _ = done
    (checkpoint,) = list_checkpoints(trial.folder)
    before = (checkpoint.folder / "model.safetensors").stat().st_mtime_ns
    kept = (trial.folder / RESULT).read_text()
    (trial.folder / RESULT).write_text('{"accuracy": 0.125}')
    try:
        assert run_trial(trial) == {"accuracy": 0.125}
    finally:
        (trial.folder / RESULT).write_text(kept)
    assert (checkpoint.folder / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_with_a_trial_of_other_steps_is_refused(done, one_thread):
    trial, _ = done
    with pytest.raises(StoreError, match=r"num_steps was 4, this run has 5"):
        run_trial(trial_of((trial.regions, trial.sentences), trial.out, num_steps=5))


class KilledError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize(("killed_after", "checkpoint"), [(3, 2), (4, 4)])
def test_a_trial_that_was_killed_goes_on_to_the_same_figures(killed_after, checkpoint, done, tmp_path, one_thread):
    trial, figures = done
    half = trial_of((trial.regions, trial.sentences), tmp_path)
    prepare_trial(half)

    def kill(report):
        if report.step == killed_after:
            raise KilledError

    torch.set_num_threads(1)
    task = TrainTask(
        run=half.folder, regions=half.regions, sentences=half.sentences, loader_workers=0, checkpoint_every=2
    )
    with pytest.raises(KilledError):
        train_run(task, Place(), kill)
    assert list_checkpoints(half.folder)[-1].step == checkpoint
    assert run_trial(half) == figures


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": 1}, "--seeds is 1, expected at least 2: one tells nothing of the spread"),
        ({"arms": ("none", "magic")}, "arm 'magic': no such arm, expected some of none, code, paper"),
    ],
)
def test_a_bad_setting_ends_the_command_before_anything_starts(changes, says, tmp_path):
    command = ExperimentCommand(
        regions=tmp_path, sentences=tmp_path, out=tmp_path / "out", address="127.0.0.1:1", **changes
    )
    with pytest.raises(ValueError, match=says):
        command.run()
    assert not (tmp_path / "out").exists()


def test_stores_without_questions_end_the_command_before_ray_is_asked(tmp_path):
    stores = join_stores(tmp_path / "stores", [[make_image("a")]], [[Spoken(text="a cat", image_ids=["a"])]])
    command = ExperimentCommand(
        regions=stores[0], sentences=stores[1], out=tmp_path / "out", address="127.0.0.1:1", steps=2
    )
    with pytest.raises(StoreError, match="has sentences of captions, but the preset learns from gqa"):
        command.run()
