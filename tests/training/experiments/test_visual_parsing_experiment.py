"""The experiment about visual parsing: a trial goes from files of images to figures, and its end tells correlations."""

from dataclasses import replace

import pytest
import torch

from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.pixel_stores import COLORS, pixel_stores
from training.data.pictures import Pictures
from training.experiments import toy_trunk, visual_parsing
from training.experiments.catalog import EXPERIMENTS
from training.experiments.trial import Trial, read_result
from training.models.trunk import read_swin
from training.runs.presets import PRESETS
from training.weights.ours import load_model


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Of the questions; and a process that keeps its threads."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    patch.setattr(visual_parsing, "QUESTIONS", replace(visual_parsing.QUESTIONS, num_steps=2, batch_size=4))
    patch.setattr(toy_trunk, "NUM_STEPS", 3)
    yield
    patch.undo()
    torch.set_num_threads(threads)


def sentences_of(folder):
    """Return where captions of 30 images to train on and of 10 for val are, with a question about each.

    Of each one more sentence points: at the upper left quarter, and at the lower half.
    """
    spoken = []
    for number in range(40):
        split, name = "val" if number >= 30 else "train", f"{number:02d}"
        spoken += [
            Spoken(text=f"a picture {'very ' * row}bright", image_ids=[name], source="flickr30k-entities", split=split)
            for row in range(3)
        ]
        spoken.append(
            Spoken(
                text=f"a {list(COLORS)[number % 4]} Corner and a side",
                image_ids=[name],
                words=[points("Corner", (0, 0, 100, 50)), points("side", (0, 50, 200, 100))],
                source="visual-genome",
                split=split,
            )
        )
        spoken.append(
            Spoken(
                text="what color is the picture?",
                image_ids=[name],
                answers={list(COLORS)[number % 4]: 1.0},
                source="gqa",
                split=split,
                details={"question_id": name, "is_balanced": True, "types": {"structural": "query"}},
            )
        )
    _, sentences = join_stores(folder, [[make_image(f"{number:02d}") for number in range(40)]], [spoken])
    return sentences


def points(word, box):
    return Word(says=word, position=[0] * 4, semantic=[0] * 4, gold=[box])


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    place = tmp_path_factory.mktemp("parsing")
    images = pixel_stores(place / "stores", num_images=40).images
    sentences = sentences_of(place / "joined")
    return [
        Trial(
            experiment="visual-parsing",
            arm=arm,
            seed=1,
            images=(str(images),),
            sentences=sentences,
            out=place / "out",
            num_steps=2,
        )
        for arm in EXPERIMENTS["visual-parsing"].arms
    ]


@pytest.fixture(scope="module")
def results(trials):
    experiment = EXPERIMENTS["visual-parsing"]
    found = {}
    for trial in trials:
        experiment.prepare(trial)
        experiment.train_base(trial)
        found[trial.arm, 1] = experiment.run_trial(trial)
        assert experiment.run_trial(trial) == found[trial.arm, 1] == read_result(trial.folder)
    return found


def test_cells_learn_the_words_that_point_at_a_box_with_their_centre_in_it(trials):
    shape = PRESETS[visual_parsing.PRESET].encoder.trunk
    pixels, words = toy_trunk.lessons(trials[0], Pictures(trials[0].images, shape))
    assert pixels.shape == (30, 3, 48, 48)
    corner, side = torch.zeros(2, 6, 6, dtype=torch.bool)
    corner[:3, :3] = side[3:] = True
    assert words.shape == (30, 36, 2)
    assert words[7].reshape(6, 6, 2).unbind(-1)[0].tolist() == corner.tolist()
    assert words[7].reshape(6, 6, 2).unbind(-1)[1].tolist() == side.tolist()


def weights_of(trial):
    shape = PRESETS[visual_parsing.PRESET].encoder.trunk
    toy_trunk.train_trunk(trial, shape)
    return read_swin(str(toy_trunk.trunk_of(trial)), shape).model.state_dict()


def test_all_arms_of_a_seed_begin_with_one_trunk_which_the_seed_decides(results, trials, tmp_path):
    first, again, other = (
        weights_of(each) for each in (trials[0], replace(trials[0], out=tmp_path), replace(trials[0], seed=2))
    )
    for trial in trials:
        _, model = load_model(trial.folder)
        learnt = model.encoder.trunk.swin.state_dict()
        assert all((learnt[name] - weights).abs().max() < 2e-3 for name, weights in first.items() if "bias" not in name)
    name = "embeddings.patch_embeddings.projection.weight"
    assert torch.equal(again[name], first[name])
    assert not torch.equal(other[name], first[name])


def figures_of(flow, answers, loss):
    return {"flow within": flow, "flow from input": -flow, "gqa accuracy": answers, "masked words": loss}


def test_the_end_compares_arms_that_hide_and_correlates_flow_with_answers():
    arms = [("none", 0), ("random", 0), ("attention", 0), ("none", 1), ("random", 1), ("attention", 1)]
    losses = [0.3, 0.1, 0.5, 0.2, 0.6, 0.4]
    found = visual_parsing.conclude(
        {key: figures_of(0.1 * row, 0.01 * row, loss) for row, (key, loss) in enumerate(zip(arms, losses, strict=True))}
    )
    assert "| metric, mean of 2 seeds | random | attention |" in found
    assert "Over 6 models" in found
    assert "- flow within: +1.00 [+1.00, +1.00]; given the loss of masked words +1.00" in found
    assert "- flow from input: -1.00 [-1.00, -1.00]" in found


def test_answers_that_are_alike_in_all_models_correlate_with_nothing():
    results = {("none", seed): figures_of(0.1 * seed, 0.5, 0.1 * seed) for seed in range(6)}
    assert "- flow within: none (correlation: a figure is the same for all models" in visual_parsing.conclude(results)
