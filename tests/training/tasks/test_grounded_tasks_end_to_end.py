"""RefCOCO, phrases and pairs of captions: from a run's first weights through fine-tuning to a split's figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from annotations.guards.drops import DataError
from tests.stores.version_two import make_sentences_old
from tests.training.builders import SINGLE_STREAM, SIZES
from tests.training.grounded_stores import IMAGES, TEXTS, grounded_stores
from tests.training.small_runs import make_run
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.execution.evaluation import evaluate
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.worker import Place, TrainTask, train_run
from training.weights.ours import build_model, load_model, start_from

SHAPE = replace(SINGLE_STREAM, max_positions=64, num_segments=3, end_token=True, region_positions=True)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return grounded_stores(tmp_path_factory.mktemp("grounded") / "joined")


@pytest.fixture(scope="module")
def shards(stores):
    with join(*stores) as opened:
        yield opened


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "start", TEXTS, shape=SHAPE, alignment=False)


def finetune(task, start, stores, out, variant=None, *, num_steps=60):
    regions, sentences = stores
    options = FinetuneOptions(
        variant=variant, num_steps=num_steps, batch_size=12, learning_rate=1e-2, max_pieces=24, seed=0
    )
    run = prepare_finetuning(task, start, regions=regions, sentences=sentences, out=out, options=options)
    losses = []
    train_run(
        TrainTask(run=out, regions=regions, sentences=sentences, start_from=start, loader_workers=0),
        Place(),
        lambda report: losses.append(report.loss),
    )
    return run, losses


@pytest.fixture(scope="module")
def referring(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    # With weights as small as BERT's, a layer of width 8 adds next to nothing.
    start = make_run(folder / "start", TEXTS, shape=replace(SHAPE, initial_std=0.2), alignment=False)
    out = folder / "refcoco"
    _, losses = finetune("refcoco", start, stores, out)
    return out, losses


def test_referring_is_learnt(referring):
    _, losses = referring
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_the_chosen_region_is_right_where_it_overlaps_the_box_by_half(referring, shards, tmp_path):
    run, model = load_model(referring[0])
    scores = evaluate(run, model, shards, task_name="refcoco", split="test", out=tmp_path)
    chosen = json.loads((tmp_path / "predictions-refcoco-test.json").read_text())
    numbers = shards.select(splits=("test",), sources=("refcoco",))
    maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=24))
    right = {"refcoco+ testA": [], "refcoco+ testB": []}
    for number in numbers:
        batch = maker.make(np.array([number]))
        with torch.inference_mode():
            best = model.objectives["referring"].scores(model.encode(batch), batch).argmax().item()
        sentence = shards.sentences.read(*shards.place(int(number))).sentence
        region = ("first", "second", "third", "last").index(sentence.text.split()[1])
        assert chosen[sentence.sentence_id] == pytest.approx(IMAGES[0].boxes_xyxy[best].tolist())
        # Neighbouring regions overlap by half of either's union or less; the last expression's box no region has.
        overlap = shards.read(int(number)).position[0] if region < 3 else [0] * 4
        right[f"refcoco+ {sentence.details['official_split']}"].append(overlap[best] >= 0.5)
    assert {part: figures["accuracy"] for part, figures in scores.items()} == {
        part: {"value": np.mean(hits), "of": 2} for part, hits in right.items()
    }
    assert scores["refcoco+ testA"]["best"]["value"] == 1.0
    assert scores["refcoco+ testB"]["best"]["value"] == 0.5
    assert scores["refcoco+ testA"]["chance"]["value"] == pytest.approx(0.25)  # one of four regions is right


def test_a_run_that_has_not_learnt_to_choose_is_refused(start, shards, tmp_path):
    run, model = load_model(start)
    with pytest.raises(DataError, match="has not learnt to choose regions, expected a run of the task refcoco"):
        evaluate(run, model, shards, task_name="refcoco", split="val", out=tmp_path)
    with pytest.raises(DataError, match="has not learnt about two captions, expected a run of the task vgp"):
        evaluate(run, model, shards, task_name="vgp", split="val", out=tmp_path)


@pytest.mark.parametrize("variant", [None, "direct", "semi-direct", "indirect", "indirect-shifted", "direct-permuted"])
def test_pairs_of_captions_are_learnt_with_every_supervision(variant, start, stores, shards, tmp_path):
    _, losses = finetune("vgp", start, stores, tmp_path / "run", variant, num_steps=25)
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    scores = evaluate(*load_model(tmp_path / "run"), shards, task_name="vgp", split="val", out=tmp_path)
    assert scores["caption_match"]["of"] == 8
    assert sum(each["of"] for each in scores["per_label"].values()) == 8
    both = scores["per_label"].get("both", {"of": 0})["of"]
    assert scores["relations"]["of"] == both
    assert set(scores["per_relation"]) <= {"Entailment1", "Entailment2", "Equivalence"}
    pointing = scores["pointing"]
    assert {"attention joint.0", "rollout joint.1", "chance", "best"} <= set(pointing)
    assert ("grounding" in pointing) == (variant in ("indirect", "indirect-shifted"))
    assert pointing["best"]["recall"]["1"] == {"value": 1.0, "of": 8 + both}
    assert json.loads((tmp_path / "scores-vgp-val.json").read_text()) == scores


def test_attention_learns_to_point_where_it_is_supervised(start, stores, shards, tmp_path, capsys):
    finetune("flickr30k-entities", start, stores, tmp_path / "run", "direct", num_steps=80)
    scores = evaluate(
        *load_model(tmp_path / "run"), shards, task_name="flickr30k-entities", split="train", out=tmp_path
    )
    assert "phrases" not in capsys.readouterr().err
    # Of the 24 phrases of three images, 3 mean what no region shows.
    assert scores["best"]["recall"]["1"] == {"value": 21 / 24, "of": 24}
    assert scores["attention joint.1"]["recall"]["1"]["value"] > 0.8
    assert scores["chance"]["recall"]["1"]["value"] == pytest.approx(21 / 24 / 4)


def test_phrases_of_an_older_store_are_counted_as_before_which_is_said(start, tmp_path, capsys):
    stores = grounded_stores(tmp_path / "joined")
    for task, split, num_sentences in (("flickr30k-entities", "test", 4), ("vgp", "val", 8)):
        run = start
        if task == "vgp":
            run, _ = tmp_path / "run", finetune("vgp", start, stores, tmp_path / "run", num_steps=1)
        scores = []
        for is_old in (False, True):
            with join(*stores) as shards:
                scores.append(evaluate(*load_model(run), shards, task_name=task, split=split, out=tmp_path))
            said = capsys.readouterr().err
            assert (
                f"{task}: {stores[1]} does not hold the phrases of {num_sentences} of its {num_sentences} sentences "
                f"for {split}, since an older version aligned them" in said
            ) == is_old
            assert ("run vinculum align again with a new --out" in said) == is_old
            if not is_old:
                make_sentences_old(stores[1])
        stores = grounded_stores(tmp_path / f"after-{task}")
        assert scores[0] == scores[1]  # these phrases are of one word each


def test_a_start_of_another_feature_size_is_refused(stores, tmp_path):
    other = make_run(tmp_path / "other", TEXTS, sizes=replace(SIZES, feature_dim=9, vocab_size=60), alignment=False)
    with pytest.raises(DataError):
        finetune("refcoco", other, stores, tmp_path / "out")


def test_two_captions_need_a_segment_more_which_changes_nothing_for_one(shards, stores, tmp_path):
    """Published UNITER has two segments: of text and of regions."""
    start = make_run(tmp_path / "start", TEXTS, shape=replace(SHAPE, num_segments=2, initial_std=0.2), alignment=False)
    regions, sentences = stores
    options = FinetuneOptions(num_steps=1, batch_size=12, max_pieces=24)
    run = prepare_finetuning("vgp", start, regions=regions, sentences=sentences, out=tmp_path / "vgp", options=options)
    assert run.recipe.encoder.num_segments == 3
    model = build_model(run)
    start_from(start, model, run)
    batch = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=24)).make(np.arange(5))
    _, before = load_model(start)
    with torch.inference_mode():
        one, other = before.encode(batch), model.eval().encode(batch)
    assert torch.equal(one.text, other.text) and torch.equal(one.regions, other.regions)
    referring = prepare_finetuning(
        "refcoco", start, regions=regions, sentences=sentences, out=tmp_path / "ref", options=options
    )
    assert referring.recipe.encoder.num_segments == 2
