"""The linear probe finds what a linear map can find, and nothing where there is nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stores.errors import StoreError
from tests.training.builders import SHAPE
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.probes.pointed_stores import load_pointed_run, plain_maker, pointed_stores
from tests.training.small_runs import make_run
from training.batch import EncoderOutputs
from training.data.batches import BatchMaker, BatchOptions
from training.data.shards import join
from training.probes.alignment import measure_alignment
from training.probes.linear import LinearProbe, ProbeOptions, train_linear_probe
from training.probes.pointed_words import read_pointed
from training.weights.ours import load_run

THINGS = ("ball", "tree", "dog", "house")
CPU = torch.device("cpu")


class PlantedModel(nn.Module):
    """States in which every piece and every thing has a code of its own: a linear map takes one to the other."""

    def __init__(self, vocab_size, *, noise=0.0):
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        self.encoder = nn.Module()
        self.encoder.shape = SHAPE  # hidden size 8
        self.encoder.meeting_layers = ()
        self.pieces = nn.Parameter(torch.randn(vocab_size, 8, generator=draw))
        self.things = nn.Parameter(torch.randn(4, 8, generator=draw))
        self.noise = noise
        self.draw = draw

    def head(self, kind):
        return None

    def encode(self, batch, taps=()):
        text, regions = self.pieces[batch.input_ids], self.things[batch.class_ids.clamp(min=0)]
        text, regions = (self._noisy(states) for states in (text, regions))
        return EncoderOutputs(text=text, regions=regions, pooled=text[:, 0], word_embeddings=self.pieces)

    def _noisy(self, states):
        return states + self.noise * torch.randn(states.shape, generator=self.draw)


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    """Return a maker of sentences that name one of the four things of their image; half of them are for val."""
    folder, draw = tmp_path_factory.mktemp("things"), np.random.default_rng(0)
    images, sentences = [], []
    for number in range(100, 300):
        order = draw.permutation(4)
        images.append(replace(make_image(f"image-{number}"), class_ids=order.astype(np.int32)))
        at = int(draw.integers(4))
        says = THINGS[order[at]]
        shows = [float(place == at) for place in range(4)]
        word = Word(says=says, position=shows, semantic=shows)
        split = "val" if number % 2 else "train"
        sentences.append(Spoken(text=f"there is a {says}", image_ids=[f"image-{number}"], words=[word], split=split))
    run = load_run(make_run(folder / "run", ["there is a", *THINGS]))
    with join(*join_stores(folder / "stores", [images], [sentences])) as shards:
        yield BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=16))


def accuracy(model, things, **options):
    shards = things.shards
    return measure_alignment(
        model,
        things,
        train=shards.select(splits=("train",)),
        test=shards.select(splits=("val",)),
        options=ProbeOptions(**{"num_steps": 100, "batch_size": 32, "learning_rate": 0.02} | options),
    )


def test_a_planted_linear_map_is_found(things):
    found = accuracy(PlantedModel(things.tokenizer.vocab_size), things)
    assert found.linear_probe.value > 0.98
    assert found.chance.value == 0.25
    assert found.linear_probe.of == 100


def test_nothing_is_found_in_noise(things):
    found = accuracy(PlantedModel(things.tokenizer.vocab_size, noise=100.0), things)
    assert abs(found.linear_probe.value - 0.25) < 0.13  # three standard deviations of 100 words


def test_the_same_seed_gives_the_same_map_and_another_gives_another(things):
    model = PlantedModel(things.tokenizer.vocab_size)
    train = things.shards.select(splits=("train",))

    def learn(seed):
        return train_linear_probe(model, things, train, ProbeOptions(num_steps=5, seed=seed), CPU).map.weight

    first = learn(0)
    torch.manual_seed(123)  # whatever was drawn before
    assert torch.equal(learn(0), first)
    assert not torch.equal(learn(1), first)


def test_the_model_stays_as_it_is_and_gets_no_gradients(tmp_path):
    run, model = load_pointed_run(tmp_path / "run")
    before = {name: weights.clone() for name, weights in model.state_dict().items()}
    with join(*pointed_stores(tmp_path / "stores")) as shards:
        probe = train_linear_probe(
            model, plain_maker(shards, run), shards.select(splits=("train",)), ProbeOptions(num_steps=3), CPU
        )
    assert all(torch.equal(weights, before[name]) for name, weights in model.state_dict().items())
    assert all(weights.grad is None for weights in model.parameters())
    assert [weights.shape for weights in probe.parameters()] == [(8, 8)]
    assert not probe.training


def test_an_unlearnt_probe_holds_all_regions_for_equal_and_padding_for_none(tmp_path):
    run, model = load_pointed_run(tmp_path / "run")
    with join(*pointed_stores(tmp_path / "stores")) as shards:
        pointed = read_pointed(plain_maker(shards, run), shards.select(splits=("train",)))
    scores = LinearProbe(8)(model.encode(pointed.batch), pointed)
    is_region = pointed.batch.region_mask[pointed.rows]
    assert (scores[is_region] == 0).all()
    assert (scores[~is_region] == torch.finfo(torch.float32).min).all()


def test_scores_are_products_of_the_normed_region_with_the_map_of_the_normed_mean_of_pieces(tmp_path):
    run, model = load_pointed_run(tmp_path / "run")
    with join(*pointed_stores(tmp_path / "stores")) as shards:
        pointed = read_pointed(plain_maker(shards, run), shards.select(splits=("train",)))
    probe, outputs = LinearProbe(8), model.encode(pointed.batch)
    nn.init.normal_(probe.map.weight)
    scores = probe(outputs, pointed)

    def normed(state):
        return (state - state.mean()) / (state.var(correction=0) + 1e-5).sqrt()

    for word, row in enumerate(pointed.rows.tolist()):
        places = pointed.pieces[word].nonzero()[:, 0]
        mapped = probe.map.weight @ normed(outputs.text[row, places].mean(0))
        for region in range(int(pointed.batch.region_mask[row].sum())):
            torch.testing.assert_close(scores[word, region], mapped @ normed(outputs.regions[row, region]))


def test_the_first_step_goes_down_the_slope_of_the_regions_that_cover(things):
    """Of four equal regions one covers: the loss of the unlearnt probe is ln 4."""
    model, train = PlantedModel(things.tokenizer.vocab_size), things.shards.select(splits=("train",))
    pointed = read_pointed(things, train)
    losses = []
    for num_steps in (1, 10, 100):
        probe = train_linear_probe(model, things, train, ProbeOptions(num_steps=num_steps, learning_rate=0.02), CPU)
        log_probs = probe(model.encode(pointed.batch), pointed).log_softmax(1)
        losses.append(-log_probs[pointed.covers].mean().item())
    assert np.log(4) > losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.2


def test_training_sentences_that_point_at_nothing_are_refused(tmp_path):
    run, model = load_pointed_run(tmp_path / "run")
    stores = join_stores(tmp_path / "stores", [[make_image("a")]], [[Spoken(text="a cat", image_ids=["a"])]])
    with (
        join(*stores) as shards,
        pytest.raises(StoreError, match="no word of 1 training sentences has a region"),
    ):
        train_linear_probe(model, plain_maker(shards, run), shards.select(), ProbeOptions(num_steps=2), CPU)
