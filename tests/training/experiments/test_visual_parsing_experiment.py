"""The experiment about visual parsing: a trial goes from files of images to figures, and its end tells correlations."""

import math
from dataclasses import replace

import pytest
import torch

from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.pixel_stores import COLORS, pixel_stores
from training.experiments import visual_parsing
from training.experiments.catalog import EXPERIMENTS
from training.experiments.trial import Trial, read_result
from training.presets import PRESETS


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Of the questions; and a process that keeps its threads."""
    threads, patch = torch.get_num_threads(), pytest.MonkeyPatch()
    patch.setattr(visual_parsing, "QUESTIONS", replace(visual_parsing.QUESTIONS, num_steps=2, batch_size=4))
    yield
    patch.undo()
    torch.set_num_threads(threads)


def sentences_of(folder):
    """Return where captions of 30 images to train on and of 10 for val are, with a question about each."""
    spoken = []
    for number in range(40):
        split, name = "val" if number >= 30 else "train", f"{number:02d}"
        spoken += [
            Spoken(text=f"a picture {'very ' * row}bright", image_ids=[name], source="flickr30k-entities", split=split)
            for row in range(3)
        ]
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


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    place = tmp_path_factory.mktemp("parsing")
    images = pixel_stores(place / "stores", num_images=40).images
    sentences = sentences_of(place / "joined")
    experiment = EXPERIMENTS["visual-parsing"]
    found = {}
    for arm in experiment.arms:
        trial = Trial(
            experiment="visual-parsing",
            arm=arm,
            seed=1,
            images=(str(images),),
            sentences=sentences,
            out=place / "out",
            num_steps=2,
        )
        experiment.prepare(trial)
        found[arm, 1] = experiment.run_trial(trial)
        assert experiment.run_trial(trial) == found[arm, 1] == read_result(trial.folder)
    return found


def test_every_arm_is_an_ablation_of_the_preset():
    assert set(visual_parsing.ARMS.values()) <= set(PRESETS[visual_parsing.PRESET].ablations)
    assert set(visual_parsing.HIDING) < set(visual_parsing.ARMS)


def test_a_trial_tells_answers_flow_and_what_the_text_is_good_for(results):
    for (arm, _), figures in results.items():
        assert 0 <= figures["gqa accuracy"] <= 1
        assert 0 < figures["flow within"] <= 0.5
        assert figures["flow from input"] > figures["flow within"]
        assert ("hidden cells" in figures) == (arm != "none")
        assert all(map(math.isfinite, figures.values()))


def test_what_was_hidden_decides_the_weights(results):
    losses = {arm: figures["hidden cells"] for (arm, _), figures in results.items() if arm != "none"}
    assert len(set(losses.values())) == 3


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
