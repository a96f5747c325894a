"""Batches: padded, masked and mismatched as their options say, and the same for any number of ranks.

Axes: B pairs, L word pieces, R regions, D feature_dim.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.answers import AnswerVocabulary
from stores.errors import StoreError
from tests.stores.builders import make_store
from tests.training.joined_stores import (
    CONFIGURATION,
    Spoken,
    Word,
    join_stores,
    make_image,
    random_word,
)
from training.data.batches import BatchMaker, BatchOptions
from training.data.order import parts_of_rank
from training.data.shards import join
from training.data.targets import TargetOptions
from training.data.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[3]
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "man", "dog", "hat", "##s", "red", "what", "color")
PAD, UNK, CLS, SEP, MASK = range(5)
ANSWERS = AnswerVocabulary(answers=("red", "green", "blue"))
PRETRAINING = BatchOptions(mask_words=0.15, mask_regions=0.15, mismatch=0.5, targets=TargetOptions())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return load_tokenizer(str(path))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Stores of 40 images with 10 to 100 regions, 8 captions with a pointed word of each, and a question."""
    rng = np.random.default_rng(0)
    counts = rng.integers(10, 101, 40)
    counts[:2] = 10, 100
    images = [make_image(f"{i:02d}", num_boxes=int(n), first=i) for i, n in enumerate(counts)]
    sentences = [
        Spoken(
            text=" ".join(["the", *rng.choice(["a", "man", "hats", "red", "zyxt"], size=rng.integers(1, 30)), "dog"]),
            image_ids=[image.image_id],
            words=[random_word("dog", image.num_boxes, rng)],
        )
        for image in images
        for _ in range(8)
    ]
    questions = [
        Spoken(
            text="what color",
            image_ids=[image.image_id],
            words=[random_word("red", image.num_boxes, rng, in_answer=True)],
            answers={"red": 1.0, "green": 0.5},
            source="vqa-v2",
        )
        for image in images
    ]
    folder = tmp_path_factory.mktemp("large")
    stores = join_stores(folder, [images[:25], images[25:]], [sentences[:99], sentences[99:], questions])
    with join(*stores) as shards:
        yield shards


def small_maker(folder, tokenizer, sentences, options, *, images=None, answers=ANSWERS, seed=0):
    stores = join_stores(folder, [images or [make_image("a"), make_image("b", num_boxes=2, first=50)]], [sentences])
    return BatchMaker(join(*stores), tokenizer, options, answers=answers, seed=seed)


def pairs_of(batch):
    """Return what each pair of a batch is, without padding, so that pairs of unlike batches compare."""
    length, width = batch.text_mask.shape[1], batch.region_mask.shape[1]
    pairs = []
    for row in range(len(batch)):
        there = batch.region_mask[row]
        pair = {
            "sentence": batch.sentence_ids[row],
            "image": batch.image_ids[row],
            "ids": batch.input_ids[row][batch.text_mask[row]].tolist(),
            "features": batch.features[row][there].tolist(),
            "boxes": batch.boxes[row][there].tolist(),
            "classes": batch.class_ids[row][there].tolist(),
            "is_matched": batch.is_matched[row].item(),
            "answer": batch.answer_ids[row].item(),
        }
        if batch.masked_words is not None:
            here = batch.masked_words.positions // length == row
            pair["words"] = (batch.masked_words.positions[here] % length).tolist()
            pair["labels"] = batch.masked_words.labels[here].tolist()
        if batch.masked_regions is not None:
            here = batch.masked_regions.positions // width == row
            pair["regions"] = (batch.masked_regions.positions[here] % width).tolist()
            pair["hidden"] = batch.masked_regions.features[here].tolist()
        if batch.alignment is not None:
            here = batch.alignment.positions // length == row
            pair["pointed"] = (batch.alignment.positions[here] % length).tolist()
            pair["targets"] = batch.alignment.targets[here][:, there].tolist()
            assert not batch.alignment.targets[here][:, ~there].any()
        pairs.append(pair)
    return pairs


def test_a_batch_is_as_long_as_its_longest_sentence(tmp_path, tokenizer):
    sentences = [Spoken(text=text, image_ids=["a"]) for text in ("the man", "a", "the red dogs", "zyxt")]
    maker = small_maker(tmp_path, tokenizer, sentences, BatchOptions())
    batch = maker.make(np.array([0, 1, 2, 3]))
    assert batch.input_ids.tolist() == [
        [CLS, 6, 7, SEP, PAD, PAD],
        [CLS, 5, SEP, PAD, PAD, PAD],
        [CLS, 6, 11, 8, 10, SEP],
        [CLS, UNK, SEP, PAD, PAD, PAD],
    ]
    assert batch.text_mask.sum(1).tolist() == [4, 3, 6, 3]
    assert (batch.input_ids[~batch.text_mask] == PAD).all()
    assert maker.make(np.array([1, 3])).input_ids.shape == (2, 3)
    assert batch.sentence_ids == ("0-00000", "0-00001", "0-00002", "0-00003")
    assert batch.masked_words is batch.masked_regions is batch.alignment is batch.answer_scores is None
    assert batch.is_matched.all()
    assert len(batch) == 4


def test_a_sentence_of_500_words_is_cut_and_an_empty_one_is_its_frame(tmp_path, tokenizer):
    sentences = [Spoken(text="dog " * 500, image_ids=["a"]), Spoken(text="", image_ids=["b"])]
    options = BatchOptions(mask_words=1.0, targets=TargetOptions())
    batch = small_maker(tmp_path, tokenizer, sentences, options).for_evaluation().make(np.array([0, 1]))
    assert batch.input_ids.tolist() == [[CLS, *[8] * 18, SEP], [CLS, SEP, *[PAD] * 18]]
    assert small_maker(tmp_path / "again", tokenizer, sentences, options).make(np.array([1])).input_ids.tolist() == [
        [CLS, SEP]
    ]


def test_regions_are_padded_and_boxes_are_over_the_image_s_size(tmp_path, tokenizer):
    sentences = [Spoken(text="a", image_ids=[image_id]) for image_id in "ab"]
    batch = small_maker(tmp_path, tokenizer, sentences, BatchOptions()).make(np.array([0, 1]))
    assert batch.region_mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert batch.features.dtype == torch.float16
    assert batch.features[1].tolist() == [[50, 51, 52, 53, 54, 55], [56, 57, 58, 59, 60, 61], [0] * 6, [0] * 6]
    third = np.float32(1 / 3) / 2
    np.testing.assert_allclose(
        batch.boxes[0], [[0, 0, 0.5, 0.5], [third, third, third + 0.5, third + 0.5],
                         [2 * third, 2 * third, 2 * third + 0.5, 2 * third + 0.5], [0.5, 0.5, 1, 1]], atol=1e-6,
    )  # fmt: skip
    assert not batch.boxes[1, 2:].any()
    assert batch.class_ids.tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]
    assert batch.attribute_ids.tolist() == [[10, 11, 12, 13], [10, 11, -1, -1]]
    assert batch.class_scores.tolist() == [[0.5] * 4, [0.5, 0.5, 0, 0]]
    assert batch.attribute_scores.tolist() == [[0.25] * 4, [0.25, 0.25, 0, 0]]
    assert batch.image_ids == ("a", "b")


def test_images_of_10_to_100_regions_stand_side_by_side(large, tokenizer):
    numbers = np.arange(0, 320, 8)
    batch = BatchMaker(large, tokenizer, BatchOptions()).make(numbers)
    assert batch.features.shape == (40, 100, 6)
    for row, number in enumerate(numbers):
        regions = large.side.regions(int(large.images_of(int(number))[0]))
        assert batch.region_mask[row].sum() == regions.num_boxes
        assert torch.equal(batch.features[row, : regions.num_boxes], torch.from_numpy(regions.features.copy()))
        assert not batch.features[row, regions.num_boxes :].any()


def test_masked_words_are_labelled_with_what_was_there(large, tokenizer):
    maker = BatchMaker(large, tokenizer, BatchOptions(mask_words=0.4))
    numbers = np.arange(320)
    plain, batch = maker.for_evaluation().make(numbers), maker.make(numbers)
    assert plain.masked_words is None
    positions, labels = batch.masked_words.positions, batch.masked_words.labels
    assert torch.equal(labels, plain.input_ids.flatten()[positions])
    assert not set(labels.tolist()) & {PAD, CLS, SEP, MASK}
    untouched = torch.ones(batch.input_ids.numel(), dtype=torch.bool).index_fill(0, positions, False)
    assert torch.equal(batch.input_ids.flatten()[untouched], plain.input_ids.flatten()[untouched])
    seen, asked = batch.input_ids.flatten()[positions], len(positions)
    ordinary = int(plain.text_mask.sum()) - 2 * 320
    assert within(asked, ordinary, 0.4)
    assert within(int((seen == MASK).sum()), asked, 0.8)
    assert not set(seen.tolist()) & {PAD, CLS, SEP}


def within(count, of, share):
    """Return whether a count is within five standard deviations of a binomial."""
    return abs(count - of * share) < 5 * np.sqrt(of * share * (1 - share))


def test_masked_regions_are_asked_for_with_what_was_there(large, tokenizer):
    maker = BatchMaker(large, tokenizer, BatchOptions(mask_regions=0.3))
    numbers = np.arange(320)
    plain, batch = maker.for_evaluation().make(numbers), maker.make(numbers)
    positions, hidden = batch.masked_regions.positions, batch.masked_regions.features
    features = plain.features.flatten(0, 1)
    assert torch.equal(hidden, features[positions])
    assert plain.region_mask.flatten()[positions].all()
    untouched = torch.ones(len(features), dtype=torch.bool).index_fill(0, positions, False)
    assert torch.equal(batch.features.flatten(0, 1)[untouched], features[untouched])
    assert torch.equal(batch.boxes, plain.boxes)
    seen, asked = batch.features.flatten(0, 1)[positions], len(positions)
    assert within(asked, int(plain.region_mask.sum()), 0.3)
    assert within(int((seen == 0).all(1).sum()), asked, 0.8)
    same = (seen == hidden).all(1)
    assert within(int(same.sum()), asked, 0.1)
    exchanged = seen[(seen != 0).any(1) & ~same]
    known = {tuple(row) for row in features[plain.region_mask.flatten()].tolist()}
    assert {tuple(row) for row in exchanged.tolist()} <= known


def test_the_store_keeps_its_features_when_a_batch_hides_them(large, tokenizer):
    maker = BatchMaker(large, tokenizer, BatchOptions(mask_regions=1.0))
    before = maker.for_evaluation().make(np.arange(8)).features
    maker.make(np.arange(8))
    assert torch.equal(maker.for_evaluation().make(np.arange(8)).features, before)


def test_half_of_the_sentences_are_exchanged_for_those_of_other_images(large, tokenizer):
    maker = BatchMaker(large, tokenizer, BatchOptions(mismatch=0.5, targets=TargetOptions()), answers=ANSWERS)
    own = {large.read(number).sentence_id: large.read(number).image_ids[0] for number in range(len(large))}
    matched = 0
    for step in range(4):
        batch = maker.make(np.arange(len(large)), step=step)
        for pair in pairs_of(batch):
            assert (own[pair["sentence"]] == pair["image"]) == pair["is_matched"]
            if not pair["is_matched"]:
                assert pair["pointed"] == []
                assert pair["answer"] == -100
        matched += int(batch.is_matched.sum())
        assert batch.image_ids == tuple(own[large.read(number).sentence_id] for number in range(len(large)))
    assert within(matched, 4 * len(large), 0.5)


def test_sentences_are_exchanged_within_their_step(large, tokenizer):
    numbers = np.arange(3, 320, 20)
    maker = BatchMaker(large, tokenizer, BatchOptions(mismatch=1.0))
    batch = maker.make(numbers)
    assert not batch.is_matched.any()
    assert set(batch.sentence_ids) <= {large.read(int(number)).sentence_id for number in numbers}


def test_sentences_of_one_image_alone_are_not_exchanged(tmp_path, tokenizer):
    sentences = [Spoken(text="a", image_ids=["a"])] * 3
    maker = small_maker(tmp_path, tokenizer, sentences, BatchOptions(mismatch=1.0))
    assert maker.make(np.array([0, 1, 2])).is_matched.all()


def test_all_matched_sentences_of_a_batch_keep_their_targets(large, tokenizer):
    # The public code of the paper keeps those of the last sentence only.
    batch = BatchMaker(large, tokenizer, PRETRAINING).make(np.arange(64))
    pointed = {position // batch.input_ids.shape[1] for position in batch.alignment.positions.tolist()}
    assert pointed <= set(batch.is_matched.nonzero()[:, 0].tolist())
    cut = {row for row in range(64) if len(large.read(row).text.split()) > 14}  # `hats` are two pieces
    assert len(pointed | cut) >= int(batch.is_matched.sum())
    whole = BatchMaker(large, tokenizer, BatchOptions(max_pieces=90, targets=TargetOptions())).make(np.arange(64))
    assert {position // whole.input_ids.shape[1] for position in whole.alignment.positions.tolist()} == set(range(64))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_sentences_keeps_its_targets_in_every_epoch(large, tokenizer, share):
    maker = BatchMaker(large, tokenizer, BatchOptions(max_pieces=90, mismatch=0.5, targets=TargetOptions(share=share)))
    with_targets, without = set(), set()
    for step in range(6):
        for pair in pairs_of(maker.make(np.arange(320), step=step)):
            if pair["is_matched"]:
                (with_targets if pair["pointed"] else without).add(pair["sentence"])
    assert not with_targets & without
    assert abs(len(with_targets) - 320 * share) <= 20
    assert len(with_targets | without) >= 310


def test_the_answer_s_target_is_on_cls_unless_it_is_not_asked_for(large, tokenizer):
    numbers = np.arange(320, 360)  # the questions
    batch = BatchMaker(large, tokenizer, BatchOptions(targets=TargetOptions()), answers=ANSWERS).make(numbers)
    assert batch.alignment.positions.tolist() == [row * 4 for row in range(40)]
    options = BatchOptions(targets=TargetOptions(answer_pointer=False))
    batch = BatchMaker(large, tokenizer, options, answers=ANSWERS).make(numbers)
    assert batch.alignment.positions.tolist() == []
    assert batch.alignment.targets.shape == batch.alignment.covers.shape == (0, 100)


def test_answers_are_drawn_by_their_weights(tmp_path, tokenizer):
    sentences = [Spoken(text="what color", image_ids=["a"], answers={"The red.": 1.0, "green": 0.5, "pink": 1.0})]
    maker = small_maker(tmp_path, tokenizer, sentences, BatchOptions())
    drawn = Counter(maker.make(np.array([0]), step=step).answer_ids.item() for step in range(900))
    assert set(drawn) == {0, 1}
    assert within(drawn[0], 900, 2 / 3)
    assert (
        maker.make(np.array([0]), step=3).answer_ids.tolist() == maker.make(np.array([0]), step=3).answer_ids.tolist()
    )


def test_a_sentence_without_a_known_answer_asks_for_none(tmp_path, tokenizer):
    sentences = [
        Spoken(text="a", image_ids=["a"]),
        Spoken(text="a", image_ids=["a"], answers={"pink": 1.0}),
        Spoken(text="a", image_ids=["a"], answers={"red": 0.0}),
        Spoken(text="a", image_ids=["a"], answers={"blue": 0.3}),
    ]
    maker = small_maker(tmp_path, tokenizer, sentences, BatchOptions())
    assert maker.make(np.arange(4)).answer_ids.tolist() == [-100, -100, -100, 2]
    without = BatchMaker(maker.shards, tokenizer, BatchOptions())
    assert without.make(np.arange(4)).answer_ids.tolist() == [-100] * 4


def test_soft_scores_are_those_of_all_known_answers(tmp_path, tokenizer):
    sentences = [
        Spoken(text="a", image_ids=["a"], answers={"red": 1.0, "a red": 0.25, "blue": 0.5, "pink": 1.0}),
        Spoken(text="a", image_ids=["b"]),
    ]
    batch = small_maker(tmp_path, tokenizer, sentences, BatchOptions(soft_answers=True)).make(np.arange(2))
    assert batch.answer_scores.tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    assert batch.answer_scores.dtype == torch.float32


def test_a_sentence_of_two_images_is_two_rows_with_each_its_own_words(tmp_path, tokenizer):
    def two(first, second):
        words = [
            Word(says="man", position=[1, 0], semantic=[1, 0]),
            Word(says="dog", position=[0, 0, 0, 1], semantic=[0, 0, 0, 1], image=1),
        ]
        return Spoken(text="the man the dog", image_ids=[first, second], words=words, answers={"red": 1.0})

    sentences = [two("b", "a"), Spoken(text="the", image_ids=["a", "a"], answers={"green": 1.0})]
    batch = small_maker(tmp_path, tokenizer, sentences, BatchOptions(targets=TargetOptions())).make(np.arange(2))
    assert batch.images_per_sentence == 2
    assert batch.image_ids == ("b", "a", "a", "a")
    assert batch.sentence_ids == ("0-00000", "0-00000", "0-00001", "0-00001")
    assert batch.input_ids[0].tolist() == batch.input_ids[1].tolist() == [CLS, 6, 7, 6, 8, SEP]
    assert batch.region_mask.sum(1).tolist() == [2, 4, 4, 4]
    assert batch.alignment.positions.tolist() == [0 * 6 + 2, 1 * 6 + 4]
    assert batch.alignment.targets.argmax(1).tolist() == [0, 3]
    assert batch.alignment.targets[0, 2:].tolist() == [0, 0]
    assert batch.answer_ids.tolist() == [0, 0, 1, 1]


def test_an_image_without_regions_takes_part(tmp_path, tokenizer):
    images = [make_image("a"), make_image("b", num_boxes=0)]
    sentences = [Spoken(text="the dog", image_ids=[image_id]) for image_id in "ab" * 20]
    options = BatchOptions(mask_words=0.5, mask_regions=1.0, mismatch=0.5, targets=TargetOptions())
    batch = small_maker(tmp_path, tokenizer, sentences, options, images=images).make(np.arange(40))
    assert batch.region_mask.sum(1).tolist() == [4, 0] * 20
    assert len(batch.masked_regions.positions) == 80


def test_regions_that_are_not_those_of_the_alignment_are_refused(tmp_path, tokenizer):
    spoken = Spoken(text="a", image_ids=["a"])
    regions, sentences = join_stores(tmp_path, [[make_image("a")]], [[spoken]], records_content=False)
    make_store(regions, [[make_image("a", num_boxes=3)]], configuration=CONFIGURATION)
    maker = BatchMaker(join(regions, sentences), tokenizer, BatchOptions())
    with pytest.raises(StoreError, match="image 'a' has 3 regions, but its sentence was aligned with 4; align again"):
        maker.make(np.array([0]))


def test_a_pair_may_hide_words_or_regions_but_not_both(large, tokenizer):
    options = BatchOptions(mask_words=0.9, mask_regions=0.9, one_modality=True)
    batch = BatchMaker(large, tokenizer, options).make(np.arange(200))
    hides_words = set((batch.masked_words.positions // batch.input_ids.shape[1]).tolist())
    hides_regions = set((batch.masked_regions.positions // batch.region_mask.shape[1]).tolist())
    assert hides_words | hides_regions == set(range(200)) and not hides_words & hides_regions
    assert len(hides_words) == pytest.approx(100, abs=30)


def test_all_that_is_hidden_of_regions_may_be_blanked(large, tokenizer):
    maker = BatchMaker(large, tokenizer, BatchOptions(mask_regions=0.5, blank_all=True))
    batch = maker.make(np.arange(50))
    assert batch.masked_regions.is_blanked.all()
    assert not batch.features.flatten(0, 1)[batch.masked_regions.positions].any()
    some = BatchMaker(large, tokenizer, BatchOptions(mask_regions=0.5)).make(np.arange(50))
    share = some.masked_regions.is_blanked.float().mean().item()
    assert share == pytest.approx(0.8, abs=0.05)
    blanked = some.masked_regions.positions[some.masked_regions.is_blanked]
    assert not some.features.flatten(0, 1)[blanked].any()


@settings(deadline=None, max_examples=12)
@given(
    layout=st.sampled_from([(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (8, 1), (3, 2)]),
    step=st.integers(0, 10**6),
    seed=st.integers(0, 2**32),
)
def test_ranks_and_accumulation_change_nothing_of_any_pair(large, tokenizer, layout, step, seed):
    num_ranks, accumulation = layout
    maker = BatchMaker(large, tokenizer, PRETRAINING, answers=ANSWERS, seed=seed)
    numbers = np.random.default_rng(step).permutation(360)[:24]
    whole = pairs_of(maker.make(numbers, step=step))
    for rank in range(num_ranks):
        for part in parts_of_rank(24, rank=rank, num_ranks=num_ranks, accumulation=accumulation):
            for found, position in zip(pairs_of(maker.make(numbers, step=step, positions=part)), part, strict=True):
                expected = whole[position]
                # Sums over more or less padding round differently in the last bit.
                np.testing.assert_allclose(found.pop("targets"), expected.pop("targets"), rtol=1e-6, atol=0)
                assert found == expected


def test_what_is_drawn_differs_from_step_to_step_and_from_seed_to_seed(large, tokenizer):
    numbers = np.arange(64)
    makers = [BatchMaker(large, tokenizer, PRETRAINING, answers=ANSWERS, seed=seed) for seed in (0, 1)]
    first = pairs_of(makers[0].make(numbers, step=5))
    assert pairs_of(makers[0].make(numbers, step=5)) == first
    assert pairs_of(makers[0].make(numbers, step=6)) != first
    assert pairs_of(makers[1].make(numbers, step=5)) != first


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_pieces": 2}, r"max_pieces is 2, expected at least 3: \[CLS\], a piece, \[SEP\]"),
        ({"mask_words": 1.5}, "mask_words is 1.5, expected a share from 0 to 1"),
        ({"mismatch": -0.5}, "mismatch is -0.5, expected a share from 0 to 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        BatchOptions(**wrong)
