"""What a frozen model knows of words and regions, against counting word by word."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from stores.errors import StoreError
from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.probes.pointed_stores import covered_words, load_pointed_run, plain_maker, pointed_stores
from tests.training.task_stores import make_task_run
from training.commands.probe import ProbeCommand
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.data.targets import TargetOptions
from training.objectives.word_object_alignment import WordObjectAlignment
from training.probes import alignment
from training.probes.alignment import measure_alignment
from training.probes.linear import ProbeOptions, train_linear_probe
from training.weights.ours import load_model

QUICK = ProbeOptions(num_steps=5, batch_size=8)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return pointed_stores(tmp_path_factory.mktemp("stores") / "joined")


@pytest.fixture(scope="module")
def shards(stores):
    with join(*stores) as opened:
        yield opened


@pytest.fixture
def known(tmp_path):
    """A run and its model, whose attention differs from region to region."""
    run, model = load_pointed_run(tmp_path / "run")
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.normal_(std=0.5)
    return run, model


def measure(model, maker, **more):
    shards = maker.shards
    return measure_alignment(
        model,
        maker,
        train=shards.select(splits=("train",)),
        test=shards.select(splits=("val",)),
        options=more.pop("options", QUICK),
        **more,
    )


def brute_force(shards, maker, read):
    """Return the share of words whose best region covers, and of how many; `read` gives a word's scores [R]."""
    found = [
        covers[int(read(number, places).argmax())]
        for number, places, covers in covered_words(shards, maker, shards.select(splits=("val",)))
    ]
    return sum(found) / len(found), len(found)


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_is_that_of_a_tapped_forward_summed_over_heads(layer, known, shards):
    run, model = known
    maker, tap = plain_maker(shards, run), f"cross.{layer}.text_to_regions"

    def read(number, places):
        with torch.inference_mode():
            probs = model.encode(maker.make(np.array([number])), [tap]).taps[tap].probs[0]
        return sum(head[places].mean(0) for head in probs)

    found = measure(model, maker).attention
    assert list(found) == ["cross.0", "cross.1"]
    assert (found[f"cross.{layer}"].value, found[f"cross.{layer}"].of) == brute_force(shards, maker, read)


def test_the_decoder_is_read_from_its_scores(known, shards):
    run, model = known
    maker = plain_maker(shards, run)

    def read(number, places):
        with torch.inference_mode():
            return (
                model.head(WordObjectAlignment).scores(model.encode(maker.make(np.array([number]))))[0, places].mean(0)
            )

    found = measure(model, maker).decoder
    assert (found.value, found.of) == brute_force(shards, maker, read)


def test_the_probe_is_that_which_is_learnt_on_the_training_sentences(known, shards):
    run, model = known
    maker = plain_maker(shards, run)
    probe = train_linear_probe(model, maker, shards.select(splits=("train",)), QUICK, torch.device("cpu"))

    def read(number, places):
        with torch.inference_mode():
            outputs = model.encode(maker.make(np.array([number])))
            mapped = probe.map(probe.text_norm(outputs.text[0, places].mean(0)))
            return probe.region_norm(outputs.regions[0]) @ mapped

    found = measure(model, maker).linear_probe
    assert (found.value, found.of) == brute_force(shards, maker, read)


def test_chance_and_the_first_region_are_counted(known, shards):
    run, model = known
    maker = plain_maker(shards, run)
    words = [covers for _, _, covers in covered_words(shards, maker, shards.select(splits=("val",)))]
    found = measure(model, maker)
    assert found.chance.value == pytest.approx(np.mean([np.mean(covers) for covers in words]))
    assert found.first_region.value == pytest.approx(np.mean([covers[0] for covers in words]))
    assert found.chance.of == found.first_region.of == len(words)
    assert 0 < found.first_region.value < 1


def test_figures_depend_neither_on_batches_nor_on_what_a_maker_would_hide(known, shards, monkeypatch):
    run, model = known
    expected = measure(model, plain_maker(shards, run))
    hiding = BatchOptions(max_pieces=16, mask_words=0.9, mask_regions=0.9, mismatch=0.9, targets=TargetOptions())
    assert measure(model, BatchMaker(shards, run.tokenizer, hiding, answers=run.answers)) == expected
    monkeypatch.setattr(alignment, "BATCH_SIZE", 4)
    found = measure(model, plain_maker(shards, run))
    assert found.chance.value == pytest.approx(expected.chance.value)
    assert replace(found, chance=expected.chance) == expected


def test_the_model_is_only_looked_at(known, shards):
    run, model = known
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.9
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    found = [measure(model.train(), plain_maker(shards, run)) for _ in range(2)]
    assert found[0] == found[1]
    assert not model.training
    assert all(torch.equal(weights, before[name]) for name, weights in model.state_dict().items())
    assert all(weights.grad is None for weights in model.parameters())


def test_a_model_without_a_decoder_has_none_and_one_of_a_task_neither(shards, tmp_path):
    run, model = load_pointed_run(tmp_path / "run", alignment=False)
    maker = plain_maker(shards, run)
    assert measure(model, maker).decoder is None
    run, model = load_model(make_task_run(tmp_path / "gqa", task="gqa").folder)
    found = measure(model, plain_maker(shards, run))
    assert found.decoder is None
    assert list(found.attention) == ["cross.0", "cross.1"]


def test_sentences_without_a_covered_word_are_refused(known, shards, tmp_path):
    run, model = known
    empty = join_stores(tmp_path / "stores", [[make_image("a")]], [[Spoken(text="a cat", image_ids=["a"])] * 3])
    with join(*empty) as without, pytest.raises(StoreError, match=r"no word of 3 .*sentences has a region"):
        maker = plain_maker(without, run)
        measure_alignment(model, maker, train=without.select(), test=without.select(), options=QUICK)


def test_the_command_writes_the_figures_beside_the_recipe(stores, shards, tmp_path):
    run, model = load_pointed_run(tmp_path / "run", sources=("captions", "vqa-v2"))
    regions, sentences = stores
    figures = ProbeCommand(
        source=run.folder, regions=(regions,), sentences=sentences, device="cpu", probe=QUICK, measure=("alignment",)
    ).run()
    expected = measure(model, plain_maker(shards, run))
    assert figures == {"run": str(run.folder), "split": "val", **json.loads(json.dumps(asdict(expected)))}
    assert json.loads((run.folder / "probe.json").read_text()) | {"run": str(run.folder)} == figures


def test_the_command_measures_those_sources_of_the_store_that_the_run_has_learnt_from(stores, shards, tmp_path):
    run, _ = load_pointed_run(tmp_path / "run", sources=("captions", "gqa"))
    regions, sentences = stores
    captions = shards.select(splits=("val",), sources=("captions",))
    figures = ProbeCommand(source=run.folder, regions=(regions,), sentences=sentences, device="cpu", probe=QUICK).run()
    assert figures["chance"]["of"] == len(list(covered_words(shards, plain_maker(shards, run), captions))) < 55
