"""From words to word pieces, and from criteria to targets: only of what belongs together, and of all of it.

Axes: P supervised pieces, R regions.
"""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from annotations.alignment.targets import combine
from annotations.alignment.words import find_words
from stores.formats.training_rows import TrainingSentence
from training.data.targets import AlignedRow, TargetOptions, make_alignment, pieces_of_words
from training.data.tokenizer import TextTokenizer, load_tokenizer

PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "play", "##er", "##s", "'", "s", "-", ",", ".", "["),
    *("]", "man", "hat", "t", "shirt", "dog", "mask", "sep", "cafe", "of", "in", "red", "x", "_", "日", "本"),
)


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
    path = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return load_tokenizer(str(path))


@pytest.fixture(scope="module")
def bytelevel(tmp_path_factory):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(PIECES[:5]), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([" the man's players hats t shirt dog"] * 9, trainer)
    path = tmp_path_factory.mktemp("bytelevel") / "tokenizer.json"
    backend.save(str(path))
    return load_tokenizer(str(path))


def make_sentence(text, pointed, *, in_answer=(), images=None, position=None, semantic=None, num_regions=3):
    """Return a sentence whose words (as `find_words` finds them) of these texts point, and those of its answer."""
    spans = [spans_of(text)[word] for word in pointed]
    answer_spans = [(2 * i, 2 * i + 1) for i, _ in enumerate(in_answer)]
    num_words = len(spans) + len(answer_spans)
    rows = np.zeros((num_words, num_regions), np.float16)
    rows[np.arange(num_words), np.arange(num_words) % num_regions] = 1
    return TrainingSentence(
        sentence_id="s",
        image_ids=("a",),
        text=text,
        answers=(" ".join(in_answer),),
        answer_weights=(1.0,),
        word_starts=np.array([start for start, _ in spans + answer_spans], np.int32),
        word_ends=np.array([end for _, end in spans + answer_spans], np.int32),
        word_images=np.zeros(num_words, np.int32) if images is None else np.array(images, np.int32),
        word_in_answer=np.arange(num_words) >= len(spans),
        position=rows if position is None else np.asarray(position, np.float16),
        semantic=rows if semantic is None else np.asarray(semantic, np.float16),
    )


def spans_of(text):
    words = find_words(text)
    return {text[start:end]: (start, end) for start, end in zip(words.starts, words.ends, strict=True)}


def aligned(tokenizer: TextTokenizer, sentence, *, row=0, number=0, image=0, max_pieces=18):
    (pieces,) = tokenizer.encode([sentence.text], max_pieces=max_pieces)
    return AlignedRow(row=row, number=number, image=image, sentence=sentence, pieces=pieces)


def shown(tokenizer, row):
    """Return for every supervised piece the word and the piece's characters; [CLS] has none."""
    words, places = pieces_of_words(row, answer_pointer=True)
    text, sentence = row.sentence.text, row.sentence
    return [
        (
            text[sentence.word_starts[word] : sentence.word_ends[word]],
            text[row.pieces.starts[place - 1] : row.pieces.ends[place - 1]] if place else "[CLS]",
        )
        for word, place in zip(words.tolist(), places.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("text", "pointed", "expected"),
    [
        ("the players", ["players"], [("players", "play"), ("players", "er"), ("players", "s")]),
        ("the man's dog", ["man's", "dog"], [("man's", "man"), ("man's", "s"), ("dog", "dog")]),
        ("a t-shirt.", ["t-shirt"], [("t-shirt", "t"), ("t-shirt", "shirt")]),
        (
            "the players' hats",
            ["players", "hats"],
            [("players", "play"), ("players", "er"), ("players", "s"), ("hats", "hat"), ("hats", "s")],
        ),
        ("the players'", ["players"], [("players", "play"), ("players", "er"), ("players", "s")]),
        ("dog, man, hat.", ["dog", "hat"], [("dog", "dog"), ("hat", "hat")]),
        ("man-of-x", ["man-of-x"], [("man-of-x", "man"), ("man-of-x", "of"), ("man-of-x", "x")]),
        ("x_x", ["x_x"], [("x_x", "x"), ("x_x", "x")]),
        ("  the  dog", ["dog"], [("dog", "dog")]),
        ("Café HAT", ["Café", "HAT"], [("Café", "Café"), ("HAT", "HAT")]),
        ("cafe\u0301 hat", ["hat"], [("hat", "hat")]),
        ("a 🐕🏽‍🦺 dog 🎩 hat", ["dog", "hat"], [("dog", "dog"), ("hat", "hat")]),
        ("日本 dog", ["日本", "dog"], [("日本", "日"), ("日本", "本"), ("dog", "dog")]),
        ("the zyxt dog", ["zyxt", "dog"], [("zyxt", "zyxt"), ("dog", "dog")]),
        ("the [MASK] dog [SEP] hat", ["dog", "hat"], [("dog", "dog"), ("hat", "hat")]),
        ("the [MASK] dog", ["MASK"], [("MASK", "MASK")]),
        ("the\u200b dog\ufffd hat", ["hat"], [("hat", "hat")]),
        ("the dog", [], []),
    ],
)
def test_pieces_of_a_word_share_its_target_and_punctuation_within_has_none(wordpiece, text, pointed, expected):
    assert shown(wordpiece, aligned(wordpiece, make_sentence(text, pointed))) == expected


def test_a_letter_with_a_combining_accent_is_one_word(wordpiece):
    text = "a cafe\u0301 dog"
    found = shown(wordpiece, aligned(wordpiece, make_sentence(text, ["cafe", "dog"])))
    assert [word for word, _ in found] == ["cafe", "dog"]
    assert found[0][1].startswith("cafe")


def test_words_beyond_the_cut_are_lost_and_one_at_the_cut_keeps_its_pieces(wordpiece):
    sentence = make_sentence("the dog players hat", ["dog", "players", "hat"])
    assert shown(wordpiece, aligned(wordpiece, sentence, max_pieces=4)) == [
        ("dog", "dog"), ("players", "play"), ("players", "er"),
    ]  # fmt: skip
    assert shown(wordpiece, aligned(wordpiece, sentence, max_pieces=2)) == [("dog", "dog")]
    assert shown(wordpiece, aligned(wordpiece, sentence, max_pieces=1)) == []


def test_pieces_count_from_cls(wordpiece):
    words, places = pieces_of_words(aligned(wordpiece, make_sentence("the dog", ["the", "dog"])), answer_pointer=True)
    assert words.tolist() == [0, 1]
    assert places.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "pointed"),
    [
        ("the man's dog", ["man's", "dog"]),
        ("players hats", ["players", "hats"]),
        ("🐕 dog, é t-shirt", ["dog", "é", "t-shirt"]),
        ("日本 dog", ["日本", "dog"]),
    ],
)
def test_bytes_of_a_word_share_its_target(bytelevel, text, pointed):
    found = shown(bytelevel, aligned(bytelevel, make_sentence(text, pointed), max_pieces=40))
    assert list(dict.fromkeys(word for word, _ in found)) == pointed
    for word, piece in found:
        assert piece.strip()
        assert piece.strip() in word
    for word in pointed:
        letters = {letter for said, piece in found if said == word for letter in piece if letter.isalnum()}
        assert letters == {letter for letter in word if letter.isalnum()}


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(st.text("abs日é'-_.🐕,", min_size=1, max_size=6), min_size=1, max_size=12),
    max_pieces=st.integers(1, 30),
    as_bytes=st.booleans(),
)
def test_a_piece_is_supervised_if_it_says_something_of_a_pointed_word(
    wordpiece, bytelevel, words, max_pieces, as_bytes
):
    tokenizer, text = bytelevel if as_bytes else wordpiece, " ".join(words)
    pointed = list(spans_of(text))[::2]
    row = aligned(tokenizer, make_sentence(text, pointed), max_pieces=max_pieces)
    found = set(zip(*(each.tolist() for each in pieces_of_words(row, answer_pointer=True)), strict=True))
    for place, (start, end) in enumerate(zip(row.pieces.starts.tolist(), row.pieces.ends.tolist(), strict=True), 1):
        for word, (first, last) in enumerate(spans_of(text)[each] for each in pointed):
            says = any(letter.isalnum() for letter in text[start:end])
            if start < last and first < end and says:
                assert (word, place) in found
            elif not (start < last and first < end):
                assert (word, place) not in found


def test_cls_stands_for_the_first_word_of_an_answer_that_points(wordpiece):
    sentence = make_sentence("the dog", ["dog"], in_answer=["red", "hat"])
    row = aligned(wordpiece, sentence)
    for answer_pointer, expected in ((True, [(0, 2), (1, 0)]), (False, [(0, 2)])):
        found = pieces_of_words(row, answer_pointer=answer_pointer)
        assert list(zip(*(each.tolist() for each in found), strict=True)) == expected
    made = make_alignment([row], TargetOptions(), length=6, is_region=np.ones((1, 3), bool), seed=0)
    assert made.positions.tolist() == [2, 0]
    assert made.targets.argmax(1).tolist() == [0, 1]  # the answer's own row, not the dog's
    without = make_alignment(
        [row], TargetOptions(answer_pointer=False), length=6, is_region=np.ones((1, 3), bool), seed=0
    )
    assert without.positions.tolist() == [2]


def test_each_word_of_two_images_has_its_target_in_its_own_image(wordpiece):
    sentence = make_sentence("the dog hat", ["dog", "hat"], in_answer=["red"], images=[0, 1, 1])
    rows = [aligned(wordpiece, sentence, row=row, image=row) for row in (0, 1)]
    made = make_alignment(rows, TargetOptions(), length=10, is_region=np.ones((2, 3), bool), seed=0)
    assert made.positions.tolist() == [2, 10 + 3, 10 + 0]
    assert made.targets.argmax(1).tolist() == [0, 1, 2]


def random_rows(wordpiece, num_rows, *, seed=0, first_number=0):
    """Return rows of 4 to 9 regions with two pointed words each, and which columns are regions."""
    rng = np.random.default_rng(seed)
    rows, counts = [], rng.integers(4, 10, num_rows)
    for row, count in enumerate(counts):
        criteria = rng.uniform(-0.2, 1, (2, 2, count)) * (rng.random((2, 2, count)) < 0.7)
        sentence = make_sentence("a dog near the hat", ["dog", "hat"], position=np.maximum(criteria[0], 0),
                                 semantic=criteria[1])  # fmt: skip
        rows.append(aligned(wordpiece, sentence, row=row, number=first_number + row))
    return rows, np.arange(counts.max()) < counts[:, None]


def test_all_sentences_of_a_batch_keep_their_targets(wordpiece):
    # In the public code of the paper the last sentence's replaced all others'.
    rows, is_region = random_rows(wordpiece, 7)
    made = make_alignment(rows, TargetOptions(), length=8, is_region=is_region, seed=0)
    assert (made.positions // 8).unique().tolist() == list(range(7))
    alone = [
        make_alignment(
            [AlignedRow(row=0, number=each.number, image=0, sentence=each.sentence, pieces=each.pieces)],
            TargetOptions(), length=8, is_region=is_region[i : i + 1], seed=0,
        )
        for i, each in enumerate(rows)
    ]  # fmt: skip
    assert torch.equal(made.targets, torch.cat([each.targets for each in alone]))
    assert torch.equal(made.covers, torch.cat([each.covers for each in alone]))
    assert made.positions.tolist() == [
        8 * row + place for row, each in enumerate(alone) for place in each.positions.tolist()
    ]


OPTIONS = [
    TargetOptions(),
    TargetOptions(combination="paper"),
    TargetOptions(combination="position-only"),
    TargetOptions(combination="semantic-only"),
    TargetOptions(combination="position-only", at_most_k=True),
    TargetOptions(top_k=1),
    TargetOptions(combination="paper", top_k=2),
    TargetOptions(min_support=0.9),
    TargetOptions(require_iou=0.8),
    TargetOptions(combination="paper", top_k=3, min_support=0.7, require_iou=0.5),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_targets_are_the_combination_of_each_sentence_alone(wordpiece, options):
    rows, is_region = random_rows(wordpiece, 9, seed=5)
    made = make_alignment(rows, options, length=8, is_region=is_region, seed=0)
    positions, targets = [], []
    for row, each in enumerate(rows):
        direct = combine(
            each.sentence.position, each.sentence.semantic, combination=options.combination, top_k=options.top_k,
            min_support=options.min_support, require_iou=options.require_iou, at_most_k=options.at_most_k,
        )  # fmt: skip
        for word, piece in ((0, 2), (1, 5)):  # [CLS] a dog near the hat [SEP]
            if direct.supervised[word]:
                positions.append(row * 8 + piece)
                padding = is_region.shape[1] - direct.targets.shape[1]
                targets.append(np.pad(direct.targets[word], (0, padding)))
    assert made.positions.tolist() == positions
    assert 0 < len(positions) <= 18
    assert made.targets.dtype == torch.float32
    np.testing.assert_allclose(made.targets, np.array(targets), atol=1e-6)
    np.testing.assert_allclose(made.targets.sum(1), 1, atol=1e-6)


def test_covers_are_the_regions_of_half_the_overlap(wordpiece):
    sentence = make_sentence("the dog", ["dog"], position=[[0.25, 0.5, 0.75]], semantic=[[1, 0, 0]])
    made = make_alignment([aligned(wordpiece, sentence)], TargetOptions(), length=4,
                          is_region=np.ones((1, 5), bool), seed=0)  # fmt: skip
    assert made.covers.tolist() == [[False, True, True, False, False]]
    assert made.covers.dtype == torch.bool


@pytest.mark.parametrize("rows", ["none", "wordless"])
def test_a_batch_in_which_no_word_points_has_no_targets(wordpiece, rows):
    given_rows = [] if rows == "none" else [aligned(wordpiece, make_sentence("the dog", []), row=1)]
    for options in (TargetOptions(), TargetOptions(permuted=True)):
        made = make_alignment(given_rows, options, length=4, is_region=np.ones((3, 5), bool), seed=0)
        assert made.positions.shape == (0,)
        assert made.targets.shape == made.covers.shape == (0, 5)
        assert (made.positions.dtype, made.targets.dtype, made.covers.dtype) == (
            torch.int64, torch.float32, torch.bool,
        )  # fmt: skip


@cache
def supervised_numbers(share, first=0, count=2000, seed=0):
    tokenizer = tiny_tokenizer()
    rows = [
        aligned(tokenizer, make_sentence("dog", ["dog"]), row=number, number=first + number) for number in range(count)
    ]
    made = make_alignment(rows, TargetOptions(share=share), length=3, is_region=np.ones((count, 3), bool), seed=seed)
    return {first + position // 3 for position in made.positions.tolist()}


def tiny_tokenizer():
    backend = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return TextTokenizer(backend=backend, padding_id=0, unknown_id=1, classify_id=2, separate_id=3, mask_id=4)


def test_a_share_of_the_sentences_keeps_its_targets_and_a_larger_share_keeps_those_too():
    assert supervised_numbers(0.0) == set()
    assert supervised_numbers(1.0) == set(range(2000))
    assert abs(len(supervised_numbers(0.3)) - 600) < 50
    assert abs(len(supervised_numbers(0.7)) - 1400) < 50
    assert supervised_numbers(0.1) < supervised_numbers(0.3) < supervised_numbers(0.7)


def test_whether_a_sentence_is_among_the_share_depends_on_its_number_alone():
    assert supervised_numbers(0.3, first=1000, count=500, seed=9) == {
        number for number in supervised_numbers(0.3) if 1000 <= number < 1500
    }


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_from_0_to_1(share):
    with pytest.raises(ValueError, match=f"share of supervised sentences is {share}, expected from 0 to 1"):
        TargetOptions(share=share)


def test_the_permuted_control_moves_each_sentence_s_targets_among_its_real_regions(wordpiece):
    rows, is_region = random_rows(wordpiece, 12, seed=2)
    plain = make_alignment(rows, TargetOptions(), length=8, is_region=is_region, seed=7)
    moved = make_alignment(rows, TargetOptions(permuted=True), length=8, is_region=is_region, seed=7)
    assert torch.equal(plain.positions, moved.positions)
    assert torch.equal(plain.covers, moved.covers)  # measurements go by the truth
    there = torch.from_numpy(is_region)[plain.positions // 8]
    assert not moved.targets[~there].any()
    assert torch.equal(plain.targets.sort(1).values, moved.targets.sort(1).values)
    assert not torch.equal(plain.targets, moved.targets)
    np.testing.assert_allclose(moved.targets.sum(1), 1, atol=1e-6)
    for row in range(12):  # one order a sentence, for all its words
        both = [each[plain.positions // 8 == row].T.tolist() for each in (plain.targets, moved.targets)]
        assert sorted(map(tuple, both[0])) == sorted(map(tuple, both[1]))


def test_the_permuted_control_is_the_same_in_every_epoch_and_batch(wordpiece):
    rows, is_region = random_rows(wordpiece, 6, first_number=40)
    options = TargetOptions(permuted=True)
    first = make_alignment(rows, options, length=8, is_region=is_region, seed=7)
    backwards = [
        AlignedRow(row=5 - i, number=each.number, image=0, sentence=each.sentence, pieces=each.pieces)
        for i, each in enumerate(rows)
    ]
    wider = np.pad(is_region[::-1], ((0, 0), (0, 3)))
    again = make_alignment(backwards, options, length=8, is_region=wider, seed=7)
    assert torch.equal(first.targets, again.targets[:, : is_region.shape[1]])
    other = make_alignment(rows, options, length=8, is_region=is_region, seed=8)
    assert not torch.equal(first.targets, other.targets)
