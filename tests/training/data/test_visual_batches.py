"""Batches of pixels and of stored cells: groups of sentences, what is to be hidden, and what is not there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stores.errors import StoreError
from stores.reading import open_store
from tests.training.builders import SHAPE, TRUNK, VISUAL_PARSER
from tests.training.data.test_loader import plain
from tests.training.joined_stores import Spoken, Word
from tests.training.pixel_stores import of_other_tasks, pixel_stores
from training.data.batches import BatchMaker, BatchOptions
from training.data.loader import Feed, PictureBatches
from training.data.masking import nearest_cells
from training.data.order import TrainingOrder, parts_of_rank
from training.data.pictures import Augmentation, BrokenImageError, Pictures
from training.data.shards import join, open_shards
from training.data.sides.cells import cell_boxes
from training.data.tokenizer import train_tokenizer

TEXTS = ["there is a red green blue gray picture very very very very here", "what color is the picture?"]
GROUPS = BatchOptions(own_texts=2, other_texts=2, mask_words=0.3, matched_words=True, mask_tokens="attention")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return pixel_stores(tmp_path_factory.mktemp("pixels"))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=80)


@pytest.fixture(scope="module")
def shards(stores):
    with join(Pictures([str(stores.images)], TRUNK), stores.sentences) as opened:
        yield opened


@pytest.fixture(scope="module")
def grids(stores):
    with join(stores.grids, stores.sentences) as opened:
        yield opened


def captions(shards):
    return shards.one_of_each(shards.select(sources=["coco-captions"]))


def make(shards, tokenizer, options, numbers=None, **more):
    return BatchMaker(shards, tokenizer, options, seed=more.pop("seed", 0)).make(
        captions(shards) if numbers is None else numbers, **more
    )


def test_an_image_comes_with_two_of_its_sentences_and_two_of_others(shards, tokenizer):
    batch = make(shards, tokenizer, GROUPS)
    assert len(batch) == 48
    assert batch.is_matched.view(12, 4).tolist() == [[True, True, False, False]] * 12
    for row in range(0, 48, 4):
        own, other = batch.sentence_ids[row : row + 2], batch.sentence_ids[row + 2 : row + 4]
        about = [shards.read(number) for number in range(len(shards))]
        images = {each.sentence_id: each.image_ids[0] for each in about}
        assert {images[each] for each in own} == {batch.image_ids[row]}
        assert batch.image_ids[row] not in {images[each] for each in other}
        assert len(set(own)) == 2
    assert len(set(batch.sentence_ids)) > 30


def test_sentences_of_an_image_take_turns(shards, tokenizer):
    seen = {each for step in range(8) for each in make(shards, tokenizer, GROUPS, step=step).sentence_ids}
    assert len(seen) == 60


def test_an_image_with_one_sentence_says_it_twice(shards, tokenizer):
    numbers = shards.select(sources=["vqa-v2"], splits=["train"])
    batch = make(shards, tokenizer, GROUPS, shards.one_of_each(numbers))
    assert batch.sentence_ids[0] == batch.sentence_ids[1] != batch.sentence_ids[2]


def test_pixels_are_there_once_for_all_sentences_of_an_image(shards, tokenizer, stores):
    batch = make(shards, tokenizer, GROUPS)
    assert batch.pixels.shape == (12, 3, 48, 48)
    pictures = Pictures([str(stores.images)], TRUNK)
    for row in (0, 5, 47):
        assert (batch.pixels[batch.image_rows[row]] == pictures.read(batch.image_ids[row])).all()
    assert batch.features.shape == (48, 36, 0)
    assert (batch.boxes == torch.from_numpy(cell_boxes(6, 6))).all()
    assert batch.region_mask.all()


def test_words_are_hidden_of_all_pairs_and_asked_of_those_that_match(shards, tokenizer):
    """Else a mask would tell that its pair matches."""
    batch = make(shards, tokenizer, replace(GROUPS, mask_words=0.9))
    has_mask = (batch.input_ids == tokenizer.mask_id).any(1)
    assert has_mask[~batch.is_matched].float().mean() > 0.9
    asked = batch.masked_words.positions // batch.input_ids.shape[1]
    assert batch.is_matched[asked].all()
    assert len(asked.unique()) > 20


@pytest.mark.parametrize(("share", "side", "count"), [(0.05, 12, 7), (0.05, 7, 2), (0.2, 6, 7), (0.0, 6, 0)])
def test_as_many_tokens_are_hidden_as_the_share_says(stores, tokenizer, share, side, count):
    trunk = replace(TRUNK, image_size=8 * side, window_size=side)
    options = BatchOptions(mask_tokens="random", token_share=share)
    with join(Pictures([str(stores.images)], trunk), stores.sentences) as shards:
        mask = make(shards, tokenizer, options).token_mask
    assert mask.counts.tolist() == [count] * 12
    assert mask.chosen.sum(1).tolist() == [count] * 12


def test_a_block_is_what_lies_around_its_seed(shards, tokenizer):
    mask = make(shards, tokenizer, BatchOptions(mask_tokens="block", token_share=0.25)).token_mask
    for seed, chosen in zip(mask.seeds.tolist(), mask.chosen, strict=True):
        cells = chosen.nonzero()[:, 0]
        rows, columns = cells // 6 - seed // 6, cells % 6 - seed % 6
        distances = rows**2 + columns**2
        left_out = (~chosen).nonzero()[:, 0]
        others = (left_out // 6 - seed // 6) ** 2 + (left_out % 6 - seed % 6) ** 2
        assert len(cells) == 9
        assert distances.max() <= others.min()
        assert chosen[seed]


def test_of_equally_near_cells_any_are_taken():
    boxes = cell_boxes(3, 3)
    found = {tuple(sorted(nearest_cells(boxes, 4, 2, np.random.default_rng(seed)).tolist())) for seed in range(40)}
    assert found == {(1, 4), (3, 4), (4, 5), (4, 7)}


def test_attention_leaves_the_choice_to_the_encoder(shards, tokenizer):
    mask = make(shards, tokenizer, replace(GROUPS, beside_seed=True)).token_mask
    assert mask.chosen is None
    assert mask.beside_seed
    assert len(mask.seeds.unique()) > 10
    assert make(shards, tokenizer, BatchOptions()).token_mask is None


@pytest.mark.parametrize("mask", ["attention", "random", "block"])
def test_any_ranks_see_what_one_sees(shards, tokenizer, mask):
    options = replace(GROUPS, mask_tokens=mask, augmentation=Augmentation(crop=0.5, mirror=0.5, brightness=0.2))
    maker, numbers = BatchMaker(shards, tokenizer, options, seed=3), captions(shards)
    whole = maker.make(numbers, step=5)
    part = maker.make(numbers, step=5, positions=np.array([7]))
    there = slice(28, 32)
    assert part.sentence_ids == whole.sentence_ids[there]
    assert (part.pixels[0] == whole.pixels[whole.image_rows[28]]).all()
    assert part.token_mask.seeds.tolist() == whole.token_mask.seeds[there].tolist()
    if mask != "attention":
        assert (part.token_mask.chosen == whole.token_mask.chosen[there]).all()
    assert (maker.make(numbers, step=6).pixels != whole.pixels).any()


def test_measurements_see_images_as_they_are(shards, tokenizer):
    options = replace(GROUPS, augmentation=Augmentation(mirror=1.0))
    batch = BatchMaker(shards, tokenizer, options).for_evaluation().make(captions(shards))
    assert len(batch) == 12
    assert (batch.pixels[batch.image_rows[0]] == shards.side.pictures.read(batch.image_ids[0])).all()
    assert batch.token_mask is None
    assert batch.is_matched.all()


def test_cells_of_a_grid_are_regions_with_their_attention(grids, tokenizer, stores):
    batch = make(grids, tokenizer, replace(GROUPS, mask_words=0))
    assert batch.features.shape == (48, 12, 6)
    assert batch.visual_attention.shape == (48, 12, 12)
    record = open_store(stores.grids).get(batch.image_ids[9])
    assert (batch.features[9].numpy() == record.features.reshape(12, 6)).all()
    expected = torch.from_numpy(record.attention.astype(np.float32).mean(0))
    torch.testing.assert_close(batch.visual_attention[9], expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(batch.boxes[0, 5], torch.tensor([0.25, 1 / 3, 0.5, 2 / 3]))
    assert (batch.class_ids == -1).all()


def test_words_and_phrases_do_not_point_at_what_they_were_not_aligned_with(tmp_path):
    word = Word(says="picture", position=[0.9, 0, 0, 0], semantic=[0] * 4, gold=[(0, 0, 9, 9)])
    said = Spoken(text="a picture", image_ids=["00"], words=[word])
    stores = pixel_stores(tmp_path, num_images=1, captions=0, more=[said])
    for images, num_pointing in (
        (stores.regions, 1),
        (stores.grids, 0),
        (Pictures([str(stores.images)], TRUNK), 0),
    ):
        with join(images, stores.sentences) as shards:
            assert shards.is_aligned == bool(num_pointing)
            sentence = shards.read(1)
            assert sentence.text == "a picture"
            assert len(sentence.word_starts) == len(sentence.position) == num_pointing
            assert len(sentence.phrases.starts) == len(sentence.phrases.position) == num_pointing


@pytest.mark.parametrize("kind", ["images", "grids"])
def test_what_has_no_partner_is_counted_named_and_left_out(tmp_path, kind):
    stores = pixel_stores(tmp_path / "stores", missing=(2, 5))
    images = Pictures([str(stores.images)], TRUNK) if kind == "images" else stores.grids
    with join(images, stores.sentences) as shards:
        assert shards.num_left_out == 12
        assert shards.lost_images == ("02", "05")
        assert shards.silent_images == ("silent",)
        chosen = {shards.read(number).image_ids[0] for number in shards.select(sources=["coco-captions"]).tolist()}
    assert chosen == {f"{number:02d}" for number in range(12)} - {"02", "05"}


def feed(stores, tokenizer, *, num_workers, options=GROUPS, rank=0, num_ranks=1):
    shards = join(Pictures([str(stores.images)], TRUNK), stores.sentences)
    numbers = captions(shards)
    order = TrainingOrder(sentences=numbers, lengths=shards.lengths[numbers], batch_size=6, seed=1)
    parts = parts_of_rank(6, rank=rank, num_ranks=num_ranks, accumulation=1)
    batches = PictureBatches(BatchMaker(shards, tokenizer, options, seed=1), order, parts)
    return list(Feed(batches, range(4), num_workers=num_workers, device=torch.device("cpu")))


def test_a_broken_image_is_skipped_and_named_whoever_reads_it(tmp_path, tokenizer):
    stores = pixel_stores(tmp_path / "stores", broken=(4, 9))
    here, there = (feed(stores, tokenizer, num_workers=workers) for workers in (0, 2))
    assert [plain(batch) for (batch,) in here] == [plain(batch) for (batch,) in there]
    skipped = [each for (batch,) in here for each in batch.skipped_images]
    assert len(skipped) == 4  # two images in each of two epochs
    assert {each.split(":")[0] for each in skipped} == {"04", "09"}
    assert all("truncated PNG" in each for each in skipped)
    for (batch,) in here:
        assert len(batch) == 24
        assert {"04", "09"}.isdisjoint(batch.image_ids)


def test_a_statement_about_two_images_is_skipped_whichever_of_them_is_broken(tmp_path, tokenizer):
    stores = pixel_stores(tmp_path / "stores", broken=(4,), more=of_other_tasks())
    with join(Pictures([str(stores.images)], TRUNK), stores.sentences) as shards:
        numbers = shards.select(sources=["nlvr2"], num_images=2)
        order = TrainingOrder(sentences=numbers, lengths=shards.lengths[numbers], batch_size=24, seed=0)
        (batch,) = PictureBatches(BatchMaker(shards, tokenizer, BatchOptions()), order, [np.arange(24)])[0]
    assert [each.split(":")[0] for each in batch.skipped_images] == ["04"]
    assert (len(batch), len(set(batch.sentence_ids))) == (48, 20)  # two name it first, and two second
    assert "04" not in batch.image_ids


def test_a_step_of_broken_images_alone_is_refused(tmp_path, tokenizer):
    stores = pixel_stores(tmp_path / "stores", broken=range(12))
    with pytest.raises(StoreError, match=r"step 1: image '\d\d' .*truncated PNG.*; expected a whole picture"):
        feed(stores, tokenizer, num_workers=0)


def test_a_measurement_does_not_skip_what_it_is_asked_about(tmp_path, tokenizer):
    stores = pixel_stores(tmp_path / "stores", broken=(4,))
    with (
        join(Pictures([str(stores.images)], TRUNK), stores.sentences) as shards,
        pytest.raises(BrokenImageError, match="image '04'"),
    ):
        make(shards, tokenizer, BatchOptions())


def test_an_encoder_is_given_what_it_takes(stores):
    files, cells = {"images": [str(stores.images)]}, {"regions": stores.grids}
    with open_shards(VISUAL_PARSER, sentences=stores.sentences, regions=None, **files) as shards:
        assert shards.side.noun == "images"
        assert shards.side.feature_dim == 16
    with open_shards(replace(VISUAL_PARSER, trunk=None), sentences=stores.sentences, **cells) as shards:
        assert shards.side.noun == "grids"
        assert shards.side.feature_dim == 6
    for shape, given, message in (
        (VISUAL_PARSER, cells, "the encoder takes pixels, expected --images"),
        (SHAPE, {"regions": None, **files}, "the encoder takes what is stored, expected --regions"),
        (SHAPE, {**cells, **files}, "expected either --regions"),
        (SHAPE, {"regions": None}, "expected either --regions"),
    ):
        with pytest.raises(ValueError, match=message):
            open_shards(shape, sentences=stores.sentences, **given)


@pytest.mark.parametrize(
    "wrong", [{"own_texts": 0}, {"other_texts": -1}, {"own_texts": 2, "mismatch": 0.5}, {"token_share": 1.5}]
)
def test_options_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        BatchOptions(**wrong)
