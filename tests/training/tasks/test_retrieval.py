"""Retrieval: ranks counted rightly, and the whole of it from fine-tuning to the scores of a split."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.guards.drops import DataError
from stores.errors import StoreError
from tests.training.caption_stores import caption_stores
from tests.training.task_stores import make_task_run
from training.commands.evaluate import EvaluateCommand
from training.commands.finetune import FinetuneCommand
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.execution.evaluation import evaluate
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.worker import Place, TrainTask, train_run
from training.objectives.catalog import Objectives
from training.objectives.congruence import CongruenceOptions
from training.objectives.ranking import RankingObjective
from training.tasks import retrieval
from training.tasks.measure import Subject
from training.tasks.retrieval import all_scores, open_gallery, ranks_of_images, ranks_of_texts, recall_of
from training.weights.ours import build_model, load_model, start_from


@st.composite
def scored_captions(draw):
    """Return scores [T, I], few of them different, and whose captions they are: at least one of each image."""
    num_images = draw(st.integers(1, 6))
    image_of = list(range(num_images)) + draw(st.lists(st.integers(0, num_images - 1), max_size=8))
    image_of = draw(st.permutations(image_of))
    scores = draw(st.lists(st.integers(0, 4), min_size=len(image_of) * num_images, max_size=len(image_of) * num_images))
    return np.array(scores, np.float32).reshape(len(image_of), num_images), np.array(image_of)


@settings(max_examples=100, deadline=None)
@given(scored=scored_captions())
def test_a_rank_is_the_place_in_the_sorted_list_behind_all_that_score_as_high(scored):
    scores_TI, image_of = scored
    for text, rank in enumerate(ranks_of_images(scores_TI, image_of)):
        ordered = sorted(
            range(scores_TI.shape[1]), key=lambda image: (-scores_TI[text, image], image == image_of[text])
        )
        assert rank == ordered.index(image_of[text]) + 1
    for image, rank in enumerate(ranks_of_texts(scores_TI, image_of)):
        ordered = sorted(range(len(image_of)), key=lambda text: (-scores_TI[text, image], image_of[text] == image))
        assert rank == next(place for place, text in enumerate(ordered, start=1) if image_of[text] == image)


@settings(max_examples=30, deadline=None)
@given(scored=scored_captions(), seed=st.integers(0, 99))
def test_the_order_of_captions_and_images_does_not_matter(scored, seed):
    scores_TI, image_of = scored
    rng = np.random.default_rng(seed)
    texts, images = rng.permutation(scores_TI.shape[0]), rng.permutation(scores_TI.shape[1])
    turned, of = scores_TI[texts][:, images], np.argsort(images)[image_of[texts]]
    assert (ranks_of_images(turned, of) == ranks_of_images(scores_TI, image_of)[texts]).all()
    assert (ranks_of_texts(turned, of) == ranks_of_texts(scores_TI, image_of)[images]).all()


def recall_as_the_public_code_counts_it(scores_TI, image_of_text_T, most):
    """Return a share of captions that may be above 1: hits are counted by their caption's number, too.

    Of a list of pairs (caption, place of its image), every number below `most` counts, be it a place or a caption.
    """
    places = np.argsort(-scores_TI, axis=1, kind="stable")[:, :10]
    hits = np.argwhere(places == image_of_text_T[:, None])
    return np.count_nonzero(hits < most) / len(scores_TI)


def test_perfect_scores_have_a_recall_of_one_and_not_more():
    scores, image_of = np.eye(50, dtype=np.float32), np.arange(50)
    assert recall_as_the_public_code_counts_it(scores, image_of, 1) == 1.02
    for ranks in (ranks_of_images(scores, image_of), ranks_of_texts(scores, image_of)):
        found = recall_of(ranks)
        assert (found.recall_at_1.value, found.recall_at_5.value, found.recall_at_10.value) == (1, 1, 1)
        assert (found.mean_rank.value, found.median_rank.value, found.recall_at_1.of) == (1, 1, 50)


def test_a_model_that_tells_nothing_apart_finds_nothing():
    scores, image_of = np.zeros((40, 20), np.float32), np.arange(40) % 20
    assert recall_of(ranks_of_images(scores, image_of)).recall_at_10.value == 0
    assert set(ranks_of_texts(scores, image_of)) == {39}  # behind 38 captions of other images


def test_figures_are_those_of_the_ranks():
    found = recall_of(np.array([1, 2, 5, 6, 11]))
    assert (found.recall_at_1.value, found.recall_at_5.value, found.recall_at_10.value) == (0.2, 0.6, 0.8)
    assert (found.mean_rank.value, found.median_rank.value, found.mean_rank.of) == (5, 5, 5)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return caption_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module")
def shards(stores):
    with join(*stores) as opened:
        yield opened


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return make_task_run(tmp_path_factory.mktemp("runs") / "start", batches=BatchOptions(max_pieces=16)).folder


def subject_of(folder, shards, out, split="val"):
    run, model = load_model(folder)
    numbers = shards.select(splits=(split,), sources=("flickr30k-entities",))
    return Subject(
        run=run,
        model=model,
        shards=shards,
        numbers=numbers,
        task_name="retrieval",
        split=split,
        out=out,
        device="cpu",
    )


def test_scores_are_those_of_every_pair_alone(start, shards, tmp_path, monkeypatch):
    """Of a pre-trained run, the logarithm of the odds that its matching gives."""
    monkeypatch.setattr(retrieval, "TEXTS_AT_ONCE", 7)
    subject = subject_of(start, shards, tmp_path)
    gallery = open_gallery(subject, subject.numbers)
    scores_TI = all_scores(subject, gallery)
    assert scores_TI.shape == (30, 12)
    assert np.unique(scores_TI.round(3)).size > 100
    maker = BatchMaker(shards, subject.run.tokenizer, BatchOptions(max_pieces=16))
    decoder = subject.model.objectives["matching"].decoder
    with torch.inference_mode():
        for text in range(0, 30, 7):
            own = maker.make(gallery.captions[[text]])
            for image in range(0, 12, 5):
                other = maker.make(gallery.first_captions[[image]])
                fields = {name: getattr(own, name) for name in ("sentence_ids", "input_ids", "text_mask")}
                pair = type(other)(**{**vars(other), **fields})
                probability = decoder(subject.model.encode(pair).pooled).softmax(1)[0, 1]
                assert 1 / (1 + np.exp(-scores_TI[text, image])) == pytest.approx(probability.item(), abs=1e-5)


def test_captions_belong_to_the_images_that_they_are_of(start, shards, tmp_path):
    subject = subject_of(start, shards, tmp_path)
    for most, num_images, num_captions in ((None, 12, 30), (5, 5, 13), (99, 12, 30)):
        gallery = open_gallery(subject, subject.numbers, most)
        assert (len(gallery.first_captions), len(gallery.captions)) == (num_images, num_captions)
        images = shards.images_of_each(gallery.first_captions)
        assert (images[gallery.image_of_text] == shards.images_of_each(gallery.captions)).all()
        assert images.tolist() == list(range(12, 12 + num_images))


def test_a_run_is_fine_tuned_and_measured_through_the_commands(start, stores, tmp_path):
    """Ranking and congruence are learnt, and what is learnt is found again in a split of other photographs."""
    regions, sentences = stores
    options = FinetuneOptions(
        variant="iais",
        num_steps=100,
        batch_size=8,
        learning_rate=1e-3,
        max_pieces=16,
        candidates=11,
        hardest=9,
    )
    run = prepare_finetuning(
        "retrieval", start, regions=regions, sentences=sentences, out=tmp_path / "out", options=options
    )
    assert run.recipe.objectives.congruence == CongruenceOptions(
        method="iais-singular", space="block_prob", schedule="exponential"
    )
    assert run.recipe.objectives.ranking.kept == 9 and run.recipe.batches.candidates == 11
    train_run(
        TrainTask(
            run=run.folder,
            regions=regions,
            sentences=sentences,
            start_from=start,
            loader_workers=0,
            accumulation=2,
            log_every=1,
        ),
        Place(),
    )
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    losses = [line["terms"]["ranking"] for line in lines]
    assert np.mean(losses[-10:]) < 0.185 < np.mean(losses[:10])  # 0.2, the margin, where nothing is told apart
    summary = EvaluateCommand(source=run.folder, regions=regions, sentences=sentences).run()
    found = summary["flickr30k-entities"]
    assert (found["image_retrieval"]["recall_at_1"]["of"], found["text_retrieval"]["recall_at_1"]["of"]) == (30, 12)
    assert found["image_retrieval"]["recall_at_5"]["value"] > 0.5  # by chance 0.42
    ranks = json.loads((run.folder / "ranks-retrieval-val.json").read_text())["flickr30k-entities"]
    assert len(ranks["image_retrieval"]) == 30 and set(ranks["text_retrieval"]) == {f"image-{n}" for n in range(12, 24)}
    assert np.mean(list(ranks["image_retrieval"].values())) == found["image_retrieval"]["mean_rank"]["value"]
    few = EvaluateCommand(source=run.folder, regions=regions, sentences=sentences, max_images=3, out=tmp_path).run()
    assert few["flickr30k-entities"]["text_retrieval"]["mean_rank"]["of"] == 3
    assert few["flickr30k-entities"]["max_images"] == 3
    scores = json.loads((tmp_path / "scores-retrieval-val-3-images.json").read_text())
    assert scores == {"flickr30k-entities": few["flickr30k-entities"]}


def test_the_recipe_is_the_published_one(start, stores, tmp_path):
    run = prepare(start, stores, tmp_path / "out")
    optimization = run.recipe.optimization
    assert (optimization.optimizer, optimization.betas, optimization.clip) == ("adamw", (0.9, 0.98), 2.0)
    assert (optimization.learning_rate, optimization.schedule, optimization.weight_decay) == (5e-5, "linear", 0.01)
    assert (run.recipe.num_steps, optimization.warmup * run.recipe.num_steps) == (5000, 10)
    assert run.recipe.objectives.ranking.margin == 0.2 and run.recipe.objectives.ranking.kept == 31
    assert prepare(start, stores, tmp_path / "epochs", epochs=2.0).recipe.num_steps == 14


def prepare(start, stores, out, **options):
    regions, sentences = stores
    options = {"batch_size": 4, "max_pieces": 16, "candidates": 11, **options}
    return prepare_finetuning(
        "retrieval", start, regions=regions, sentences=sentences, out=out, options=FinetuneOptions(**options)
    )


def test_the_first_head_is_the_positive_row_of_matching(start, stores, tmp_path):
    _, pretrained = load_model(start)
    run = prepare(start, stores, tmp_path / "out")
    model = build_model(run)
    start_from(start, model, run)
    assert torch.equal(
        model.head(RankingObjective).decoder.weight, pretrained.objectives["matching"].decoder.weight[1:]
    )
    assert torch.equal(model.head(RankingObjective).decoder.bias, pretrained.objectives["matching"].decoder.bias[1:])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"candidates": 12}, StoreError, "captions of 12 images, so 11 others for each, expected 12"),
        ({"candidates": 0}, ValueError, "candidates is 0"),
        ({"hardest": 0}, ValueError, "0 other pairs are kept"),
        ({"variant": "cacr-wide"}, DataError, "expected one of cacr, cacr-raw, cacr-raw-control, iais, iais-raw"),
    ],
)
def test_what_can_not_be_ranked_is_refused_before_a_run_begins(options, error, says, start, stores, tmp_path):
    with pytest.raises(error, match=says):
        prepare(start, stores, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_candidates_of_a_task_that_ranks_nothing_are_refused(start, stores, tmp_path):
    regions, sentences = stores
    command = FinetuneCommand(
        task="gqa", start=start, regions=regions, sentences=sentences, out=tmp_path / "out", candidates=5
    )
    with pytest.raises(DataError, match="ranks nothing, expected --candidates and --hardest with retrieval alone"):
        command.run()


def test_a_run_that_can_not_tell_or_is_broken_is_refused(stores, shards, tmp_path):
    regions, sentences = stores
    mute = make_task_run(tmp_path / "mute", objectives=Objectives(matching=None)).folder
    with pytest.raises(DataError, match="cannot tell whether a text belongs to an image, expected a run with matching"):
        evaluate(*load_model(mute), shards, task_name="retrieval", split="val", out=tmp_path)
    run, model = load_model(make_task_run(tmp_path / "broken", objectives=Objectives()).folder)
    model.objectives["matching"].decoder.bias.data.fill_(torch.nan)
    with pytest.raises(DataError, match="scores are not finite"):
        evaluate(run, model, shards, task_name="retrieval", split="val", out=tmp_path)
    with pytest.raises(DataError, match="--max-images goes with retrieval, the task is gqa"):
        EvaluateCommand(source=mute, regions=regions, sentences=sentences, task="gqa", max_images=2).run()
    with pytest.raises(ValueError, match="max_images is 0, expected 1 or more"):
        evaluate(run, model, shards, task_name="retrieval", split="val", out=tmp_path, max_images=0)
