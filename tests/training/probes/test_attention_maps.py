"""Attention maps: what a direct forward gives, both ways and rolled out, of both encoders; and the pieces of words."""

import numpy as np
import pytest
import torch

from tests.training.builders import SINGLE_STREAM
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.small_runs import make_run
from training.data.batches import BatchMaker
from training.data.shards import join
from training.probes.attention_maps import AttentionMaps, BothWays, read_attention_maps
from training.probes.pointed_words import read_pointed
from training.weights.ours import load_model

TEXTS = ["A man's red t-shirt.", "two men", "a red cube and a green ball and a blue star and a cat and a dog"]
IMAGES = [[make_image("a"), make_image("b", num_boxes=3, first=-9)]]
SENTENCES = [
    [
        Spoken(
            text=TEXTS[0],
            image_ids=["a"],
            words=[
                Word(says="man's", position=[0, 1, 0, 0], semantic=[0] * 4),
                Word(says="t-shirt", position=[0, 0.5, 0, 0.5], semantic=[0] * 4),
            ],
        ),
        Spoken(text=TEXTS[1], image_ids=["a", "b"]),
        Spoken(text=TEXTS[2], image_ids=["b"]),
    ]
]


def both_ways(*layers_heads, back=3):
    return BothWays(
        text_to_regions=np.zeros((*layers_heads, 3, 4), np.float32),
        regions_to_text=np.zeros((*layers_heads, 4, back), np.float32),
    )


@pytest.fixture
def stores(tmp_path):
    return join_stores(tmp_path / "stores", IMAGES, SENTENCES)


def test_maps_are_what_a_direct_forward_taps(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with join(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
        batch = BatchMaker(shards, run.tokenizer, run.recipe.batches).make(np.array([0]))
    with torch.inference_mode():
        outputs = model.encode(batch, model.encoder.tap_names)
        decoded = model.objectives["word_object_alignment"].scores(outputs)[0].softmax(1)
    length = batch.input_ids.shape[1]
    assert maps.attention.text_to_regions.shape == (2, 2, length, 4)
    assert maps.attention.regions_to_text.shape == (2, 2, 4, length)
    for layer in range(2):
        for name in ("text_to_regions", "regions_to_text"):
            probs = outputs.taps[f"cross.{layer}.{name}"].probs[0]
            np.testing.assert_allclose(getattr(maps.attention, name)[layer], probs, rtol=1e-6)
    np.testing.assert_allclose(maps.alignment, decoded, rtol=1e-6)
    assert maps.rollout is None
    assert (maps.sentence_id, maps.image_id) == ("0-00000", "a")
    assert (maps.pieces[0], maps.pieces[-1], "".join(maps.pieces[1:-1])) == ("[CLS]", "[SEP]", "Aman'sredt-shirt.")


def test_one_stream_is_cut_into_both_ways_and_rolled_out(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS, shape=SINGLE_STREAM))
    with join(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
        batch = BatchMaker(shards, run.tokenizer, run.recipe.batches).make(np.array([0]))
    with torch.inference_mode():
        taps = model.encode(batch, ["joint.0", "joint.1"]).taps
    length = batch.input_ids.shape[1]
    joint = [taps[name].probs[0].numpy() for name in ("joint.0", "joint.1")]
    for layer in range(2):
        np.testing.assert_allclose(maps.attention.text_to_regions[layer], joint[layer][:, :length, length:], rtol=1e-6)
        np.testing.assert_allclose(maps.attention.regions_to_text[layer], joint[layer][:, length:, :length], rtol=1e-6)
    first, second = [(each.mean(0) + np.eye(length + 4)) / 2 for each in joint]
    for layer, rolled in enumerate((first, second @ first)):
        np.testing.assert_allclose(maps.rollout.text_to_regions[layer], rolled[:length, length:], rtol=1e-5)
        np.testing.assert_allclose(maps.rollout.regions_to_text[layer], rolled[length:, :length], rtol=1e-5)


def test_rows_sum_to_one_also_where_images_of_a_sentence_have_different_numbers_of_regions(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with join(*stores) as shards:
        found = list(read_attention_maps(run, model, shards, range(3)))
    of_images = [(each.image_id, each.attention.text_to_regions.shape[3]) for each in found]
    assert of_images == [("a", 4), ("a", 4), ("b", 3), ("b", 3)]
    for each in found:
        np.testing.assert_allclose(each.attention.text_to_regions.sum(3), 1, rtol=1e-5)
        np.testing.assert_allclose(each.attention.regions_to_text.sum(3), 1, rtol=1e-5)
        np.testing.assert_allclose(each.alignment.sum(1), 1, rtol=1e-5)


def test_rows_of_words_are_those_that_the_probe_measures(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with join(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
        pointed = read_pointed(BatchMaker(shards, run.tokenizer, run.recipe.batches), np.array([0]))
    map_LR = maps.attention.text_to_regions[1].mean(0)
    scores_WR = pointed.of_words(torch.from_numpy(map_LR)[None])
    for row, (start, end) in zip(scores_WR, [(2, 7), (12, 19)], strict=True):
        np.testing.assert_allclose(map_LR[maps.pieces_of(start, end)].mean(0), row, rtol=1e-6)


def test_words_beyond_the_limit_of_pieces_have_none(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with join(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [2])
    assert len(maps.pieces) == 16
    assert maps.pieces_of(0, 1).tolist() == [1]
    assert maps.pieces_of(TEXTS[2].index("dog"), len(TEXTS[2])).tolist() == []


def test_a_model_without_an_alignment_decoder_has_attention_alone(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS, alignment=False))
    with join(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
    assert maps.alignment is None
    assert len(maps.attention.text_to_regions) == 2


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (r"ends is \[2\], expected \[3\]", {"ends": np.zeros(2, np.int32)}),
        (r"attention back is \[1, 2, 4, 9\], expected \[1, 2, 4, 3\]", {"attention": both_ways(1, 2, back=9)}),
        (r"rollout is \[2, 3, 4\], expected \[1, 3, 4\]", {"rollout": both_ways(2)}),
        (r"alignment is \[4, 3\], expected \[3, 4\]", {"alignment": np.zeros((4, 3), np.float32)}),
    ],
)
def test_maps_that_do_not_fit_together_are_refused(name, changes):
    fitting = {"ends": np.zeros(3, np.int32), "attention": both_ways(1, 2), "rollout": both_ways(1), "alignment": None}
    with pytest.raises(ValueError, match=f"'s' on 'i': {name}"):
        AttentionMaps(sentence_id="s", image_id="i", text="x", starts=np.zeros(3, np.int32), **(fitting | changes))
