"""Runs of a visual parser, from files and from stored cells: trained, gone on with, fine-tuned, measured, exported."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from annotations.guards.drops import DataError
from detectors.weights.files import WeightsError
from stores.errors import StoreError
from tests.stores.builders import make_grid, make_store
from tests.training.builders import TRUNK
from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.learnable_runs import curve
from tests.training.pixel_stores import GRID, PixelStores, of_other_tasks, pixel_stores
from tests.training.weights.test_bert import bert_like
from training.commands.evaluate import EvaluateCommand
from training.commands.export_weights import ExportCommand
from training.commands.import_weights import ImportCommand
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import open_shards
from training.data.targets import TargetOptions
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.execution.pretrain import Overrides, prepare
from training.execution.progress import read_skipped
from training.execution.worker import Place, TrainTask, train_run
from training.models.trunk import Trunk
from training.models.visual_parser import VisualParserShape
from training.objectives.matching import MatchingObjective
from training.objectives.question_answering import QuestionAnsweringObjective
from training.runs.folder import open_run
from training.runs.optimizers import Optimization
from training.runs.presets import find_preset
from training.tasks.measure import Subject
from training.tasks.pairing import pair_up, parsed, read_images, read_texts, scorer_of
from training.weights.ours import build_model, load_model

COCO = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data")) / "coco"

PRESET = replace(
    find_preset("toy-visual-parsing"),
    encoder=VisualParserShape(
        hidden_size=16,
        intermediate_size=32,
        num_heads=2,
        num_layers=2,
        max_positions=32,
        dropout=0.1,
        feature_dim=16,
        trunk=replace(TRUNK, drop_path=0.1),
    ),
    optimization=Optimization(optimizer="adamw", learning_rate=3e-3, epsilon=1e-8, trunk_scale=0.3),
    batch_size=4,
    num_steps=6,
    vocab_size=80,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return pixel_stores(tmp_path_factory.mktemp("pixels"), more=of_other_tasks())


@pytest.fixture(scope="module")
def pretrained(stores, tmp_path_factory):
    task = begin(stores, tmp_path_factory.mktemp("runs") / "pretrained")
    train_run(task, Place())
    return task.run


def begin(stores, out, preset=PRESET, **more):
    given = {"regions": stores.grids} if more.pop("grids", False) else {"images": (str(stores.images),)}
    begins = {name: more.get(name) for name in ("init", "trunk")}
    overrides = Overrides(sources=more.pop("sources", ("coco-captions",)), **begins)
    prepare(preset, sentences=stores.sentences, out=out, overrides=overrides, **given)
    options = {"loader_workers": 0, "log_every": 1, "checkpoint_every": 3, **more}
    return TrainTask(run=out, sentences=stores.sentences, **given, **options)


class StoppedError(Exception):
    pass


def stop_after(step):
    def after(report):
        if report.step == step:
            raise StoppedError

    return after


def test_a_run_that_was_stopped_goes_on_to_the_same_losses_also_with_less_memory(stores, pretrained, tmp_path):
    task = begin(stores, tmp_path / "run", recompute=True)
    with pytest.raises(StoppedError):
        train_run(task, Place(), stop_after(5))
    train_run(task, Place())
    expected = curve(pretrained)
    assert [line["step"] for line in curve(task.run)] == [1, 2, 3, 4, 5, 6]
    for found, line in zip(curve(task.run), expected, strict=True):
        assert found["terms"] == pytest.approx(line["terms"], abs=1e-4)


def test_every_term_is_there_and_the_trunk_learns(stores, pretrained):
    assert list(curve(pretrained)[0]["terms"]) == ["masked_words", "matching", "optimal_transport", "masked_tokens"]
    run, model = load_model(pretrained)
    torch.manual_seed(0)
    other = Trunk(run.recipe.encoder.trunk)
    assert run.recipe.data.keys() == {"images", "content", "sentences"}
    changed = [
        name
        for name, weight in model.encoder.trunk.named_parameters()
        if not torch.equal(weight, other.get_parameter(name)) and weight.ndim == 1
    ]
    assert any("bias" in name for name in changed)


def test_broken_images_are_counted_and_named_when_a_run_ends(tmp_path):
    stores = pixel_stores(tmp_path / "stores", broken=(3, 8))
    task = begin(stores, tmp_path / "run")
    train_run(task, Place())
    lines = [json.loads(line) for line in (task.run / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["skipped_images"] for line in lines) == 4  # two epochs
    assert [each.split(":")[0] for each in read_skipped(task.run)] == ["03", "08"]


def test_missing_partners_are_told_before_a_run_begins(tmp_path, capsys):
    stores = pixel_stores(tmp_path / "stores", missing=(2, 5))
    begin(stores, tmp_path / "run")
    told = capsys.readouterr().err
    assert "sentences left out, whose images are not there: 12 (such as '02', '05')" in told
    assert "images never seen, of which no sentence speaks: 1 (such as 'silent')" in told


@pytest.mark.parametrize("ablation", [None, "no-mask", "random", "block", "beside-seed"])
def test_stored_cells_train_the_same_encoder_without_its_trunk(stores, tmp_path, ablation):
    changed = PRESET if ablation is None else PRESET.ablations[ablation](PRESET)
    task = begin(stores, tmp_path / "run", changed, grids=True)
    train_run(task, Place())
    run, model = load_model(task.run)
    assert (run.recipe.encoder.trunk, run.recipe.encoder.feature_dim) == (None, 6)
    assert model.encoder.trunk is None
    assert ("masked_tokens" in curve(task.run)[0]["terms"]) == (ablation != "no-mask")


def test_attention_that_was_not_stored_chooses_nothing(stores, tmp_path):
    without = [make_grid(f"{number:02d}", feature_dim=6) for number in range(12)]
    make_store(tmp_path / "grids", [without], configuration=GRID, content="grid")
    plain = replace(stores, grids=tmp_path / "grids")
    with pytest.raises(StoreError, match=r"stored without attention.*--keep-attention, or --ablation random"):
        begin(plain, tmp_path / "run", grids=True)
    begin(plain, tmp_path / "random", PRESET.ablations["random"](PRESET), grids=True)


def test_words_that_point_at_other_regions_supervise_nothing(stores, tmp_path):
    pointed = find_preset("toy")
    preset = replace(
        PRESET,
        objectives=replace(PRESET.objectives, word_object_alignment=pointed.objectives.word_object_alignment),
        batches=replace(PRESET.batches, targets=TargetOptions()),
    )
    with pytest.raises(StoreError, match="its words do not point at these images"):
        begin(stores, tmp_path / "run", preset)


def test_pixels_have_no_features_to_guess(stores, tmp_path):
    masked = find_preset("toy").objectives.masked_regions
    preset = replace(
        PRESET,
        objectives=replace(PRESET.objectives, masked_regions=masked),
        batches=replace(PRESET.batches, mask_regions=0.15),
    )
    with pytest.raises(ValueError, match="mask_regions: pixels have no stored features to guess"):
        begin(stores, tmp_path / "run", preset)


def of_task(stores, start, out, task, *, num_steps):
    options = FinetuneOptions(variant="visual-parsing", batch_size=4, num_steps=num_steps)
    given = {"sentences": stores.sentences, "images": (str(stores.images),)}
    run = prepare_finetuning(task, start, out=out, options=options, **given)
    train_run(TrainTask(run=run.folder, start_from=start, loader_workers=0, log_every=1, **given), Place())
    return run


def evaluate(stores, run, **changes):
    given = {"sentences": stores.sentences, "images": (str(stores.images),), "device": "cpu"}
    return EvaluateCommand(source=run.folder, **given | changes).run()


def read_submission(path):
    """Return the answers by the names that questions have for their servers."""
    if path.suffix == ".csv":
        return dict(csv.reader(path.open()))
    rows = json.loads(path.read_text())
    name, answer = ("pairID", "prediction") if "pairID" in rows[0] else ("question_id", "answer")
    return {str(row[name]): row[answer] for row in rows}


@pytest.mark.parametrize(
    ("task", "file", "named", "falls"),
    [
        ("vqa-v2", "json", "question_id", (0.65, 0.75)),
        ("nlvr2", "csv", "identifier", (0.75, 0.8125, 0.875, 0.9375, 0.975, 0.9875)),
        ("snli-ve", "json", "pair_id", (0.6, 0.8, 0.92)),
    ],
)
def test_a_task_is_learnt_and_scored_on_pixels(stores, pretrained, tmp_path, task, file, named, falls):
    """What goes to the task's server is the best answer of every sentence alone, with its image or its two."""
    run = of_task(stores, pretrained, tmp_path / "run", task, num_steps=4)
    assert (run.recipe.optimization.step_at, run.recipe.optimization.trunk_scale) == (falls, 0.3)
    assert run.recipe.batches.mask_tokens is None
    (_, begun), (_, model) = load_model(pretrained), load_model(run.folder)
    patches = "trunk.swin.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(model.encoder.get_parameter(patches), begun.encoder.get_parameter(patches))
    images = (str(stores.images),)
    with open_shards(run.recipe.encoder, regions=None, images=images, sentences=stores.sentences) as shards:
        numbers = shards.select(splits=["val"], sources=[task], num_images=2 if task == "nlvr2" else 1)
        maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=24))
        with torch.inference_mode():
            together, *alone = (
                model.head(QuestionAnsweringObjective).scores(model.encode(maker.make(some)))
                for some in (numbers, *numbers[:, None])
            )
        asked = [shards.sentences.read(*shards.place(number)).sentence for number in numbers]
    torch.testing.assert_close(together, torch.cat(alone))
    assert len(together.unique(dim=0)) == len(asked) == {"vqa-v2": 3, "nlvr2": 8, "snli-ve": 12}[task]
    assert evaluate(stores, run)["accuracy"]["of"] == len(asked)
    best = [run.answers.answers[int(scores_1A.argmax())] for scores_1A in alone]
    expected = {each.details[named]: answer for each, answer in zip(asked, best, strict=True)}
    assert read_submission(run.folder / f"submission-{task}-val.{file}") == expected
    with pytest.raises(ValueError, match="the encoder takes pixels, expected --images"):
        evaluate(stores, run, images=(), regions=stores.regions)


@pytest.mark.parametrize("task", ["nlvr2", "retrieval"])
def test_an_evaluation_stops_at_a_broken_image_and_says_what_to_do(pretrained, tmp_path, task):
    damaged = pixel_stores(tmp_path / "damaged", broken=(10,), more=of_other_tasks())
    run = of_task(damaged, pretrained, tmp_path / "run", task, num_steps=1)
    message = (
        rf"^{task}, val: image '10' \({damaged.images}/10\.png\): truncated PNG: .*; expected a whole picture\. "
        r"Repair or remove it; once it is removed, its sentences have no answer and no score$"
    )
    with pytest.raises(StoreError, match=message):
        evaluate(damaged, run, out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_retrieval_begins_with_matching_and_parses_each_image_once(stores, pretrained, tmp_path):
    run = of_task(stores, pretrained, tmp_path / "run", "retrieval", num_steps=1)
    assert (run.recipe.optimization.step_at, run.recipe.optimization.step_factor) == ((0.5,), 0.5)
    (_, before), (_, model) = load_model(pretrained), load_model(run.folder)
    assert curve(run.folder)[0]["learning_rate"] == 0.0  # the warm-up's first step
    torch.testing.assert_close(
        model.head(MatchingObjective).decoder.weight, before.head(MatchingObjective).decoder.weight
    )
    found = evaluate(stores, run)["coco-captions"]
    assert (found["image_retrieval"]["mean_rank"]["of"], found["text_retrieval"]["mean_rank"]["of"]) == (4, 4)
    images = (str(stores.images),)
    with open_shards(run.recipe.encoder, regions=None, images=images, sentences=stores.sentences) as shards:
        numbers = shards.select(sources=["coco-captions"], splits=["val"])
        subject = Subject(
            run=run, model=model, shards=shards, numbers=numbers, task_name="retrieval", split="val",
            out=tmp_path, device="cpu",
        )  # fmt: skip
        texts = read_texts(shards, run.tokenizer, numbers, max_pieces=24)
        shown = read_images(shards, numbers)
        of_text, of_image = (each.flatten() for each in torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij"))
        score = scorer_of(subject)
        scores = score(pair_up(texts, shown, of_text, of_image))
        torch.testing.assert_close(score(pair_up(texts, parsed(subject, shown), of_text, of_image)), scores)
    ranks = (scores.view(4, 4) >= scores.view(4, 4).diagonal()[:, None]).sum(1)
    assert found["image_retrieval"]["mean_rank"]["value"] == pytest.approx(ranks.double().mean().item())


def test_a_parser_goes_out_and_comes_back_as_it_was(stores, pretrained, tmp_path):
    assert ExportCommand(source=pretrained, out=tmp_path / "out").run()["layout"] == "vinculum"
    ImportCommand(source=str(tmp_path / "out"), out=tmp_path / "run").run()
    (run, model), (_, back) = load_model(pretrained), load_model(tmp_path / "run")
    with open_shards(
        run.recipe.encoder, regions=None, images=(str(stores.images),), sentences=stores.sentences
    ) as shards:
        numbers = shards.select(sources=["coco-captions"])[:2]
        texts = read_texts(shards, run.tokenizer, numbers, max_pieces=16)
        batch = pair_up(texts, read_images(shards, numbers), torch.arange(2), torch.arange(2))
    with torch.no_grad():
        assert torch.equal(model.encode(batch).regions, back.encode(batch).regions)


SWIN = replace(
    TRUNK, image_size=224, embed_dim=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2), window_size=7, drop_path=0.0
)
WITH_SWIN = replace(
    PRESET,
    encoder=replace(PRESET.encoder, feature_dim=32, trunk=replace(SWIN, embed_dim=4, num_heads=(1, 1, 1, 1))),
)
"""Its own trunk has other sizes."""

BERT_LAYER = {
    "self_attention.attention.query_key_value": [f"attention.self.{name}" for name in ("query", "key", "value")],
    "self_attention.output.dense": ["attention.output.dense"],
    "self_attention.output.norm": ["attention.output.LayerNorm"],
    "feed_forward.dense": ["intermediate.dense"],
    "feed_forward.output.dense": ["output.dense"],
    "feed_forward.output.norm": ["output.LayerNorm"],
}


def save_swin(folder):
    torch.manual_seed(5)
    swin = Trunk(SWIN).swin
    swin.save_pretrained(folder)
    return swin


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_published_swin_begins_a_run_and_is_noted(stores, tmp_path):
    swin = save_swin(tmp_path / "swin")
    task = begin(stores, tmp_path / "run", replace(WITH_SWIN, num_steps=1), trunk=str(tmp_path / "swin"))
    train_run(task, Place())  # the first step of a warm-up has a rate of 0
    run, model = load_model(task.run)
    assert run.recipe.encoder.trunk == SWIN  # sizes are the weights'
    assert len(run.recipe.data["trunk"]) == 64
    assert same(model.encoder.trunk.swin.state_dict(), swin.state_dict())
    assert np.isfinite(curve(task.run)[0]["loss"])


def test_a_rank_that_reads_another_swin_than_the_run_does_not_begin(stores, tmp_path):
    save_swin(tmp_path / "swin")
    task = begin(stores, tmp_path / "run", replace(WITH_SWIN, num_steps=1), trunk=str(tmp_path / "swin"))
    began = open_run(task.run).recipe.data["trunk"]
    path = tmp_path / "swin/model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, path, {"format": "pt"})
    with pytest.raises(StoreError, match=f"data.trunk was '{began}', this rank read"):
        train_run(task, Place())


@pytest.mark.parametrize("beside_swin", [False, True])
def test_a_published_bert_begins_layers_and_words_and_the_rest_is_as_it_was(stores, tmp_path, beside_swin):
    """The first of its layers are taken; bit for bit, as are those of a Swin beside it."""
    swin = save_swin(tmp_path / "swin")
    preset = replace(WITH_SWIN if beside_swin else PRESET, num_steps=1)
    trunk = {"trunk": str(tmp_path / "swin")} if beside_swin else {}
    plain = open_run(begin(stores, tmp_path / "plain", preset, **trunk).run)
    bert = bert_like(plain.recipe.encoder, num_hidden_layers=3)
    bert.save_pretrained(tmp_path / "bert")
    plain.tokenizer.save(tmp_path / "bert")
    task = begin(stores, tmp_path / "run", preset, init=str(tmp_path / "bert"), **trunk)
    train_run(task, Place())
    run, model = load_model(task.run)
    encoder, new = model.encoder, build_model(run).encoder
    assert run.recipe.data.keys() == {"images", "content", "sentences", "init", *trunk}
    assert len(encoder.layers) == 2
    for layer, theirs in zip(encoder.layers, bert.encoder.layer, strict=False):
        expected = {
            f"{name}.{kind}": torch.cat([theirs.get_parameter(f"{part}.{kind}") for part in parts])
            for name, parts in BERT_LAYER.items()
            for kind in ("weight", "bias")
        }
        assert same(layer.state_dict(), expected)
    words, theirs = encoder.text_embedding, bert.embeddings
    assert torch.equal(words.word.weight, theirs.word_embeddings.weight)
    assert torch.equal(words.position.weight, theirs.position_embeddings.weight)
    assert torch.equal(words.segment.weight, theirs.token_type_embeddings.weight)
    assert same(words.norm.state_dict(), theirs.LayerNorm.state_dict())
    assert same(encoder.pooler.state_dict(), bert.pooler.dense.state_dict())
    assert same(encoder.trunk.state_dict(), new.trunk.state_dict()) != beside_swin
    assert same(encoder.trunk.swin.state_dict(), swin.state_dict()) == beside_swin
    assert same(encoder.token.state_dict(), new.token.state_dict())
    assert torch.equal(encoder.blank, new.blank)


@pytest.mark.parametrize(
    ("preset", "begins", "error", "message"),
    [
        (PRESET, {"trunk": "swin"}, WeightsError, "are for images of 224 pixels, image_size is 48; expected the same"),
        (WITH_SWIN, {"trunk": "bert"}, WeightsError, "config.json says model_type 'bert', expected 'swin'"),
        (WITH_SWIN, {"init": "swin"}, DataError, "model_type 'swin', expected 'bert'"),
        (
            PRESET,
            {"init": "wide"},
            DataError,
            r"not the BERT that this encoder could begin with; .*\[\d+, 32\] instead",
        ),
        (PRESET, {"init": "low"}, DataError, "1 layers, expected 2 as the encoder has"),
        (
            PRESET,
            {"trunk": "swin", "grids": True},
            ValueError,
            "the encoder has none, expected a visual parser and --im",
        ),
    ],
)
def test_published_weights_that_do_not_fit_end_it_before_anything_begins(
    stores, pretrained, tmp_path, preset, begins, error, message
):
    save_swin(tmp_path / "swin")
    run = open_run(pretrained)
    for name, changes in (("bert", {}), ("wide", {"hidden_size": 32}), ("low", {"num_hidden_layers": 1})):
        bert_like(run.recipe.encoder, **changes).save_pretrained(tmp_path / name)
    given = {name: each if each is True else str(tmp_path / each) for name, each in begins.items()}
    with pytest.raises(error, match=message):
        begin(stores, tmp_path / "run", preset, **given)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(not COCO.exists(), reason=f"no {COCO}; set VINCULUM_TEST_DATA")
def test_real_photographs_and_their_captions_train_a_run(tmp_path):
    told = json.loads((COCO / "annotations/captions_train2017.json").read_text(encoding="utf-8"))
    names = {image["id"]: Path(image["file_name"]).stem for image in told["images"]}
    there = {path.stem for path in (COCO / "images/train2017").iterdir()}
    captions = [
        Spoken(text=each["caption"].strip(), image_ids=[names[each["image_id"]]], source="coco-captions")
        for each in told["annotations"]
        if names[each["image_id"]] in there
    ]
    regions = [make_image(name) for name in sorted({each.image_ids[0] for each in captions})]
    stored, spoken = join_stores(tmp_path / "joined", [regions], [captions])
    stores = PixelStores(images=COCO / "images/train2017", regions=stored, sentences=spoken, grids=stored)
    task = begin(stores, tmp_path / "run", replace(PRESET, num_steps=12, batch_size=16, vocab_size=2000))
    train_run(task, Place())
    losses = [line["loss"] for line in curve(task.run)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert read_skipped(task.run) == []
