"""Winoground: strict comparisons, figures of each tag, and what a run makes of the examples of a store."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.guards.drops import DataError
from stores.errors import StoreError
from tests.training.caption_stores import caption_stores
from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.task_stores import make_task_run
from training.commands.evaluate import EvaluateCommand
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.execution.evaluation import evaluate
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.objectives.matching import MatchingObjective
from training.tasks.winoground import Example, score
from training.weights.ours import load_model

NAMES = ("text", "image", "group")


def examples_of(number, tags=("one",)):
    return [
        Example(example_id=str(n), tag=tags[n % len(tags)], collapsed_tag="Relation" if n % 3 else None)
        for n in range(number)
    ]


def values_of(figures):
    return [getattr(figures, name).value for name in NAMES]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[2, 1], [1, 2]], [1, 1, 1]),
        ([[1, 2], [2, 1]], [0, 0, 0]),
        ([[3, 4], [1, 5]], [1, 0, 0]),  # caption 0 likes image 1 better; each image likes its caption better
        ([[3, 1], [4, 5]], [0, 1, 0]),
        ([[1, 1], [1, 1]], [0, 0, 0]),
        ([[2, 2], [1, 3]], [1, 0, 0]),  # a tie of a caption's images
        ([[2, 1], [2, 3]], [0, 1, 0]),  # a tie of an image's captions
    ],
)
def test_every_comparison_is_strict(scores, expected):
    """Scores are [caption, image]."""
    assert values_of(score(examples_of(1), np.array([scores], np.float32))) == expected


def test_chance_is_a_quarter_a_quarter_and_a_sixth():
    scores = np.random.default_rng(0).normal(size=(200_000, 2, 2)).astype(np.float32)
    found = score(examples_of(200_000), scores)
    assert values_of(found) == pytest.approx([1 / 4, 1 / 4, 1 / 6], abs=0.004)
    assert found.group.of == 200_000


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=9))
def test_figures_are_those_of_the_definition_one_by_one(values):
    found = score(examples_of(len(values)), np.array(values, np.float32).reshape(-1, 2, 2))
    text = [s00 > s10 and s11 > s01 for s00, s01, s10, s11 in values]
    image = [s00 > s01 and s11 > s10 for s00, s01, s10, s11 in values]
    both = [one and other for one, other in zip(text, image, strict=True)]
    assert values_of(found) == [sum(right) / len(values) for right in (text, image, both)]


def test_every_tag_has_its_figures_and_their_denominators():
    right, wrong = [[2, 1], [1, 2]], [[1, 2], [2, 1]]
    found = score(examples_of(5, ("one", "other")), np.array([right, wrong, right, wrong, wrong], np.float32))
    assert {tag: (values_of(each), each.group.of) for tag, each in found.per_tag.items()} == {
        "one": ([2 / 3] * 3, 3),
        "other": ([0.0] * 3, 2),
    }
    assert {tag: each.text.of for tag, each in found.per_collapsed_tag.items()} == {"Relation": 3}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return caption_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return make_task_run(tmp_path_factory.mktemp("runs") / "start", batches=BatchOptions(max_pieces=16)).folder


def test_a_run_is_measured_by_the_scores_of_each_caption_with_each_image(pretrained, stores, tmp_path):
    regions, sentences = stores
    summary = EvaluateCommand(
        source=pretrained, regions=regions, sentences=sentences, task="winoground", split="test", out=tmp_path
    ).run()
    written = json.loads((tmp_path / "predictions-winoground-test.json").read_text())
    assert list(written) == ["0", "1", "2", "3", "4"]
    run, model = load_model(pretrained)
    with join(regions, sentences) as shards:
        maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=16))
        for number in shards.select(sources=("winoground",), num_images=2):
            batch = maker.make(np.array([number]))
            details = shards.sentences.read(*shards.place(int(number))).sentence
            with torch.inference_mode():
                alone = model.head(MatchingObjective).scores(model.encode(batch)).tolist()
            expected = written[details.details["id"]][int(details.answers[0].text)]
            assert alone == pytest.approx(expected, abs=1e-5)
    expected = score(
        [Example(example_id=str(n), tag=f"Noun-{n % 2}", collapsed_tag="Object") for n in range(5)],
        np.array(list(written.values()), np.float32),
    )
    assert [summary[name]["value"] for name in NAMES] == values_of(expected)
    assert {tag: each["group"]["of"] for tag, each in summary["per_tag"].items()} == {"Noun-0": 3, "Noun-1": 2}
    assert summary["per_collapsed_tag"]["Object"]["text"] == summary["text"]


def test_a_ranking_head_is_asked_before_matching(stores, tmp_path):
    regions, sentences = stores
    run, model = load_model(make_task_run(tmp_path / "run", task="retrieval").folder)
    with join(regions, sentences) as shards:
        scores = evaluate(run, model, shards, task_name="winoground", split="test", out=tmp_path)
    assert scores["group"]["of"] == 5


def test_there_is_nothing_to_learn(pretrained, stores, tmp_path):
    regions, sentences = stores
    with pytest.raises(DataError, match="task 'winoground': is for measuring alone, expected one that can be learnt"):
        prepare_finetuning(
            "winoground",
            pretrained,
            regions=regions,
            sentences=sentences,
            out=tmp_path / "out",
            options=FinetuneOptions(),
        )
    with pytest.raises(StoreError, match="of winoground for val with 2 images; it has such for test"):
        EvaluateCommand(source=pretrained, regions=regions, sentences=sentences, task="winoground").run()


def test_half_an_example_is_refused(pretrained, tmp_path):
    spoken = Spoken(
        text="a red cube",
        image_ids=["a", "b"],
        answers={"0": 1.0},
        source="winoground",
        split="test",
        details={"id": "7"},
    )
    stores = join_stores(tmp_path / "stores", [[make_image("a"), make_image("b")]], [[spoken]])
    with (
        join(*stores) as shards,
        pytest.raises(DataError, match="example '7': has one caption, expected two"),
    ):
        evaluate(*load_model(pretrained), shards, task_name="winoground", split="test", out=tmp_path)
