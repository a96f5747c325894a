"""Attention maps: what a direct forward gives, distributions over regions, and rows of words from rows of pieces."""

import numpy as np
import pytest
import torch

from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.small_runs import make_run
from training.batches import BatchMaker
from training.probes.attention_maps import AttentionMaps, read_attention_maps
from training.probes.pointed_words import read_pointed
from training.shards import JoinedShards
from training.weights import load_model

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


@pytest.fixture
def stores(tmp_path):
    return join_stores(tmp_path / "stores", IMAGES, SENTENCES)


def test_maps_are_what_a_direct_forward_taps_with_the_mean_over_heads(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with JoinedShards(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
        batch = BatchMaker(shards, run.tokenizer, run.recipe.batches).make(np.array([0]))
    taps = ["cross.0.text_to_regions", "cross.1.text_to_regions"]
    with torch.inference_mode():
        outputs = model.encode(batch, taps)
        decoded = model.objectives["word_object_alignment"].scores(outputs)[0].softmax(1)
    assert maps.attention.shape == (2, batch.input_ids.shape[1], 4)
    for layer, tap in enumerate(taps):
        np.testing.assert_allclose(maps.attention[layer], outputs.taps[tap].probs[0].mean(0), rtol=1e-6)
    np.testing.assert_allclose(maps.alignment, decoded, rtol=1e-6)
    assert (maps.sentence_id, maps.image_id) == ("0-00000", "a")
    assert (maps.pieces[0], maps.pieces[-1], "".join(maps.pieces[1:-1])) == ("[CLS]", "[SEP]", "Aman'sredt-shirt.")


def test_rows_sum_to_one_also_where_images_of_a_sentence_have_different_numbers_of_regions(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with JoinedShards(*stores) as shards:
        found = list(read_attention_maps(run, model, shards, range(3)))
    assert [(each.image_id, each.attention.shape[2]) for each in found] == [("a", 4), ("a", 4), ("b", 3), ("b", 3)]
    for each in found:
        np.testing.assert_allclose(each.attention.sum(2), 1, rtol=1e-5)
        np.testing.assert_allclose(each.alignment.sum(1), 1, rtol=1e-5)


def test_rows_of_words_are_those_that_the_probe_measures(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with JoinedShards(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
        pointed = read_pointed(BatchMaker(shards, run.tokenizer, run.recipe.batches), np.array([0]))
    scores_WR = pointed.of_words(torch.from_numpy(maps.attention[1])[None])
    for row, (start, end) in zip(scores_WR, [(2, 7), (12, 19)], strict=True):
        np.testing.assert_allclose(maps.of_word(maps.attention[1], start, end), row, rtol=1e-6)


def test_words_beyond_the_limit_of_pieces_have_no_row(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS))
    with JoinedShards(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [2])
    assert len(maps.pieces) == 16
    assert maps.of_word(maps.attention[0], 0, 1) is not None
    assert maps.of_word(maps.attention[0], TEXTS[2].index("dog"), len(TEXTS[2])) is None


def test_a_model_without_an_alignment_decoder_has_attention_alone(stores, tmp_path):
    run, model = load_model(make_run(tmp_path / "run", TEXTS, alignment=False))
    with JoinedShards(*stores) as shards:
        (maps,) = read_attention_maps(run, model, shards, [0])
    assert maps.alignment is None
    assert maps.attention.shape[0] == 2


def test_maps_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match=r"'s' on 'i': ends is \[2\], expected \[3\]"):
        AttentionMaps(
            sentence_id="s",
            image_id="i",
            text="x",
            starts=np.zeros(3, np.int32),
            ends=np.zeros(2, np.int32),
            attention=np.zeros((1, 3, 4), np.float32),
            alignment=None,
        )
