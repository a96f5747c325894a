"""Batches of two captions: what is exchanged, in which order they are read, and where their phrases are."""

import numpy as np
import pytest
import torch

from tests.stores.version_two import make_sentences_old
from tests.training.joined_stores import Marked, Spoken, Word, join_stores, make_image
from training.data.grounding import GroundingOptions
from training.data.maker_options import CaptionPairOptions
from training.data.order import parts_of_rank
from training.data.shards import join
from training.data.targets import TargetOptions
from training.data.tokenizer import train_tokenizer
from training.tasks.caption_pairs import BOTH, FIRST, SECOND, CaptionPairMaker, nearest_images

MAN, HAT = [0.9, 0.1, 0, 0], [0, 0, 0.2, 0.7]


def caption_pair(image, *, split="train", label="Entailment1"):
    """'a man in a hat' and 'the guy has a red hat', whose second phrases are paraphrases of the first."""
    words = [
        Word(says="man", position=MAN, semantic=[0] * 4, gold=[(0, 0, 9, 9)]),
        Word(says="guy", position=MAN, semantic=[0] * 4, gold=[(0, 0, 9, 9)]),
        Word(says="red", position=HAT, semantic=[0] * 4, gold=[(9, 9, 20, 20)]),
    ]
    return Spoken(
        text=f"a man in {image}\nthe guy has a red hat",
        image_ids=[image],
        words=words,
        source="vgp-entities",
        split=split,
        details={"second": len(f"a man in {image}") + 1, "phrase_pairs": [[0, 1, label]]},
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    images = [
        make_image(name, first=first) for name, first in (("aa", 0), ("bb", 1), ("cc", 900), ("dd", 901), ("ee", 3))
    ]
    sentences = [caption_pair(image.image_id) for image in images[:4] for _ in range(3)]
    sentences += [caption_pair("ee", split="val", label=None)]
    with join(*join_stores(tmp_path_factory.mktemp("stores") / "joined", [images], [sentences])) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokenizer(shards):
    return train_tokenizer([shards.read(number).text for number in range(len(shards))], vocab_size=80)


def make(shards, tokenizer, numbers, *, step=0, positions=None, **options):
    options = {"max_pieces": 40, "mismatch": 0.5, "grounding": GroundingOptions(), **options}
    return CaptionPairMaker(shards, tokenizer, CaptionPairOptions(**options)).make(
        np.array(numbers), step=step, positions=positions
    )


def words_of(tokenizer, batch, row, start=0, end=None):
    ids = batch.input_ids[row][batch.text_mask[row]].tolist()[start:end]
    return [tokenizer.backend.id_to_token(number) for number in ids]


def captions_of(tokenizer, batch, row):
    """Return both captions as they are read."""
    pieces = words_of(tokenizer, batch, row)
    middle = pieces.index("[SEP]")
    assert (pieces[0], pieces[-1]) == ("[CLS]", "[SEP]")
    return "".join(pieces[1:middle]).replace("##", ""), "".join(pieces[middle + 1 : -1]).replace("##", "")


def test_half_of_the_pairs_have_one_caption_of_the_image_that_is_most_alike(shards, tokenizer):
    counts = {BOTH: 0, FIRST: 0, SECOND: 0}
    for step in range(40):
        batch = make(shards, tokenizer, range(12), step=step)
        for row, label in enumerate(batch.caption_labels.tolist()):
            own = batch.image_ids[row]
            other = {"aa": "bb", "bb": "aa", "cc": "dd", "dd": "cc"}[own]
            named = [
                name for text in captions_of(tokenizer, batch, row) for name in (own, other) if text == f"amanin{name}"
            ]
            assert set(named) <= ({own} if label == BOTH else {own, other})
            counts[label] += 1
            assert batch.is_matched[row].item() == (label == BOTH)
    assert counts[BOTH] == pytest.approx(240, abs=40)
    assert counts[FIRST] == pytest.approx(120, abs=35)


def test_the_exchanged_caption_is_on_the_side_that_the_label_says(tmp_path):
    images = [make_image("aa"), make_image("bb", first=5)]
    texts = {"aa": "one two\nthree four", "bb": "red blue\ngreen gray"}
    pairs = [
        Spoken(text=texts[name], image_ids=[name], source="vgp-entities", details={"second": 8, "phrase_pairs": []})
        for name in texts
    ]
    with join(*join_stores(tmp_path / "joined", [images], [pairs])) as shards:
        words = train_tokenizer(texts.values(), vocab_size=80)
        seen = set()
        for step in range(60):
            batch = make(shards, words, [0, 1], step=step)
            for row in range(2):
                own = {text.replace(" ", "") for text in texts[batch.image_ids[row]].split("\n")}
                belongs = tuple(text in own for text in captions_of(words, batch, row))
                assert (
                    belongs
                    == {BOTH: (True, True), FIRST: (True, False), SECOND: (False, True)}[
                        batch.caption_labels[row].item()
                    ]
                )
                seen.add(belongs)
        assert len(seen) == 3


def test_the_second_caption_and_its_end_are_the_second_segment(shards, tokenizer):
    batch = make(shards, tokenizer, range(6))
    for row in range(6):
        pieces, segments = words_of(tokenizer, batch, row), batch.segment_ids[row].tolist()
        middle = pieces.index("[SEP]")
        assert segments[: middle + 1] == [0] * (middle + 1)
        assert segments[middle + 1 : len(pieces)] == [1] * (len(pieces) - middle - 1)
        is_word = batch.is_word[row].tolist()
        assert [piece for piece, inside in zip(pieces, is_word, strict=False) if inside] == [
            piece for piece in pieces if piece not in ("[CLS]", "[SEP]")
        ]


def test_phrases_of_the_images_own_captions_alone_are_grounded(shards, tokenizer):
    for step in range(20):
        batch = make(shards, tokenizer, range(12), step=step)
        grounding, found = batch.grounding, {}
        for row, start, end, gold in zip(
            grounding.rows.tolist(),
            grounding.starts.tolist(),
            grounding.ends.tolist(),
            grounding.gold.tolist(),
            strict=True,
        ):
            text = "".join(words_of(tokenizer, batch, row, start, end)).replace("##", "")
            assert gold == {"man": [True, False, False, False], "guy": [True, False, False, False]}.get(
                text, [False, False, False, True]
            )
            found.setdefault(row, []).append(text)
        for row, label in enumerate(batch.caption_labels.tolist()):
            texts = captions_of(tokenizer, batch, row)
            own = texts if label == BOTH else texts[label - 1 : label]
            expected = [word for text in own for word in (["man"] if text.startswith("aman") else ["guy", "red"])]
            assert found.get(row, []) == expected


def test_stored_phrases_move_with_the_captions_that_belong_to_the_image(tmp_path):
    images = [make_image("aa"), make_image("bb", first=5)]
    pairs = [
        Spoken(
            text="a big , red man\nthe hat of a guy",
            image_ids=[image.image_id],
            phrases=[
                Marked(says="a big , red man", position=MAN),
                Marked(says="the hat of a guy", position=HAT),
                Marked(says="a guy", position=MAN),
            ],
            source="vgp-entities",
            details={"second": 16, "phrase_pairs": []},
        )
        for image in images
    ]
    first, second = [("abig,redman", 0)], [("thehatofaguy", 3), ("aguy", 0)]
    seen = set()
    with join(*join_stores(tmp_path / "joined", [images], [pairs])) as shards:
        words = train_tokenizer([pairs[0].text], vocab_size=80)
        for step in range(20):
            batch = make(shards, words, [0, 1], step=step, grounding=GroundingOptions(stored_phrases=True))
            found, spans = batch.grounding, [[], []]
            for row, start, end, gold in zip(found.rows, found.starts, found.ends, found.gold, strict=True):
                (region,) = gold.nonzero()[:, 0].tolist()
                says = "".join(words_of(words, batch, row, start, end)).replace("##", "")
                spans[row].append((says, region))
            for row, label in enumerate(batch.caption_labels.tolist()):
                texts = captions_of(words, batch, row)
                own = texts if label == BOTH else texts[label - 1 : label]
                assert spans[row] == [each for text in own for each in (first if text.startswith("abig") else second)]
                seen.add((label, texts))
    assert {label for label, _ in seen} == {BOTH, FIRST, SECOND}
    assert len(seen) > 4


def test_phrases_of_an_older_store_are_found_in_either_caption(tmp_path):
    images = [make_image(name) for name in ("aa", "bb")]
    stores = join_stores(tmp_path / "joined", [images], [[caption_pair("aa"), caption_pair("bb")]])
    batches = []
    for is_old in (False, True):
        if is_old:
            make_sentences_old(stores[1])
        with join(*stores) as shards:
            words = train_tokenizer([shards.read(0).text], vocab_size=80)
            grounding = GroundingOptions(stored_phrases=True)
            batches.append([make(shards, words, [0, 1], step=step, grounding=grounding) for step in range(5)])
    for new, old in zip(*batches, strict=True):
        assert torch.equal(new.grounding.starts, old.grounding.starts)
        assert torch.equal(new.grounding.gold, old.grounding.gold)


def test_phrases_of_one_thing_are_paired_in_the_order_in_which_they_are_read(shards, tokenizer):
    seen = set()
    for step in range(20):
        batch = make(shards, tokenizer, range(12), step=step)
        pairs = batch.phrase_pairs
        assert sorted(pairs.rows.tolist()) == [row for row in range(12) if batch.caption_labels[row] == BOTH]
        for number, row in enumerate(pairs.rows.tolist()):
            first = words_of(tokenizer, batch, row, pairs.first_starts[number], pairs.first_ends[number])
            second = words_of(tokenizer, batch, row, pairs.second_starts[number], pairs.second_ends[number])
            assert pairs.first_ends[number] <= pairs.second_starts[number]
            said = "".join(first).replace("##", ""), "".join(second).replace("##", "")
            seen.add((*said, pairs.relations[number].item()))
    assert seen == {("man", "guy", 1), ("guy", "man", 2)}


def test_pairs_of_which_nobody_said_the_relation_have_no_label(shards, tokenizer):
    batch = make(shards, tokenizer, [12], mismatch=0.0)
    assert batch.phrase_pairs.relations.tolist() == [-100]


def test_an_image_that_is_alone_in_its_split_keeps_its_captions(shards, tokenizer):
    labels = [make(shards, tokenizer, [12], step=step, mismatch=1.0).caption_labels.item() for step in range(5)]
    assert labels == [BOTH] * 5


@pytest.mark.parametrize("max_pieces", [5, 8, 11])
def test_of_captions_that_are_too_long_the_longer_is_cut(shards, tokenizer, max_pieces):
    batch = make(shards, tokenizer, range(12), max_pieces=max_pieces, targets=TargetOptions())
    assert batch.input_ids.shape[1] == max_pieces
    for row in range(12):
        first, second = captions_of(tokenizer, batch, row)
        assert first and second
    assert (batch.grounding.ends <= max_pieces - 1).all()
    assert (batch.phrase_pairs.second_ends <= max_pieces - 1).all()


def test_a_limit_that_leaves_no_room_for_two_captions_is_refused(shards, tokenizer):
    with pytest.raises(ValueError, match="max_pieces is 4, expected at least 5"):
        make(shards, tokenizer, [0], max_pieces=4)


@pytest.mark.parametrize("layout", [(2, 1), (1, 3), (3, 2)])
def test_ranks_and_accumulation_change_nothing_of_any_pair(shards, tokenizer, layout):
    num_ranks, accumulation = layout
    whole = make(shards, tokenizer, range(12), step=7)
    for rank in range(num_ranks):
        for part in parts_of_rank(12, rank=rank, num_ranks=num_ranks, accumulation=accumulation):
            found = make(shards, tokenizer, range(12), step=7, positions=part)
            assert found.caption_labels.tolist() == whole.caption_labels[part].tolist()
            for row, position in enumerate(part):
                assert captions_of(tokenizer, found, row) == captions_of(tokenizer, whole, position)


def test_the_nearest_image_is_another_one(shards):
    assert nearest_images(shards, [0, 1, 2, 3]) == {0: 1, 1: 0, 2: 3, 3: 2}
    assert nearest_images(shards, [2]) == {}
