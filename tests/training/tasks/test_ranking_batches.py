"""Groups for ranking: one pair that matches, and others that cannot, whoever makes them and whenever."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import StoreError
from tests.training.caption_stores import caption_stores
from tests.training.joined_stores import Marked, Spoken, Word, join_stores, make_image
from training.data.batches import BatchMaker, BatchOptions
from training.data.grounding import GroundingOptions
from training.data.maker_options import RankingGroupOptions
from training.data.order import parts_of_rank
from training.data.shards import join
from training.data.tokenizer import train_tokenizer
from training.tasks.ranking_batches import RankingMaker, exchanged, find_captions, require_candidates

CANDIDATES = 11


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    with join(*caption_stores(tmp_path_factory.mktemp("stores") / "joined")) as opened:
        yield opened


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["the little red green blue gray cube ball stool is there one here"], vocab_size=60)


@pytest.fixture(scope="module")
def maker(shards, tokenizer):
    return RankingMaker(shards, tokenizer, RankingGroupOptions(max_pieces=16, candidates=CANDIDATES), seed=3)


@pytest.fixture(scope="module")
def captions(shards):
    return find_captions(shards)


def image_of(shards, sentence_id):
    shard, row = (int(part) for part in sentence_id.split("-"))
    return shards.sentences.read(shard, row).sentence.images[0].image_id


@settings(max_examples=25, deadline=None)
@given(step=st.integers(0, 10_000), places=st.lists(st.integers(0, 29), min_size=1, max_size=5))
def test_the_first_pair_matches_and_no_other_does(shards, maker, captions, step, places):
    batch = maker.make(captions[places], step=step)
    assert batch.group_size == 1 + CANDIDATES
    assert batch.is_matched.view(len(places), -1).tolist() == [[True] + [False] * CANDIDATES] * len(places)
    for row, matches in enumerate(batch.is_matched.tolist()):
        assert (image_of(shards, batch.sentence_ids[row]) == batch.image_ids[row]) == matches


def test_sentences_take_turns_to_meet_other_images_and_other_texts(maker, captions):
    for step in (0, 1):
        batch = maker.make(captions[:4], step=step)
        for group in range(4):
            rows = slice(12 * group, 12 * group + 12)
            texts, images = set(batch.sentence_ids[rows]), set(batch.image_ids[rows])
            expected = (1, 12) if (step + group) % 2 == 0 else (12, 1)
            assert (len(texts), len(images)) == expected  # no candidate is there twice


def test_candidates_are_training_captions_and_their_images_and_all_have_their_turn(shards, maker, captions):
    batches = [maker.make(captions[:4], step=step) for step in range(20)]
    train_ids = {shards.read(int(number)).sentence_id for number in captions}
    assert set().union(*(batch.sentence_ids for batch in batches)) == train_ids
    assert set().union(*(batch.image_ids for batch in batches)) == {f"image-{number:02d}" for number in range(12)}


def test_pairs_are_those_that_other_batches_have(shards, tokenizer, maker, captions):
    batch = maker.make(captions[:2])
    alone = BatchMaker(shards, tokenizer, BatchOptions(max_pieces=16)).make(captions[:1])
    assert batch.sentence_ids[0] == alone.sentence_ids[0] and batch.image_ids[0] == alone.image_ids[0]
    (length,), (num_regions,) = alone.text_mask.sum(1).tolist(), alone.region_mask.sum(1).tolist()
    assert torch.equal(batch.input_ids[0, :length], alone.input_ids[0])
    assert batch.text_mask[0].sum() == length and batch.region_mask[0].sum() == num_regions
    for name in ("features", "boxes", "class_ids", "class_scores", "attribute_ids", "attribute_scores"):
        assert torch.equal(getattr(batch, name)[0, :num_regions], getattr(alone, name)[0]), name


def test_a_group_is_a_function_of_seed_step_and_place_alone(shards, tokenizer, maker, captions):
    """So a run goes on from any step, on any number of ranks, in any process."""
    numbers = captions[:8]
    whole = maker.make(numbers, step=5)
    again = RankingMaker(shards, tokenizer, maker.options, seed=3)
    again.make(numbers, step=4)
    for rank in range(2):
        for part in parts_of_rank(8, rank=rank, num_ranks=2, accumulation=2):
            batch = again.make(numbers, step=5, positions=part)
            rows = [12 * place + member for place in part for member in range(12)]
            assert batch.sentence_ids == tuple(whole.sentence_ids[row] for row in rows)
            assert batch.image_ids == tuple(whole.image_ids[row] for row in rows)
    other = maker.make(numbers, step=6)
    assert other.image_ids != whole.image_ids
    assert RankingMaker(shards, tokenizer, maker.options, seed=4).make(numbers, step=5).image_ids != whole.image_ids


def test_an_image_is_read_once_for_a_batch(shards, maker, captions, monkeypatch):
    read = []
    side, real = shards.side, shards.side.regions
    monkeypatch.setattr(side, "regions", lambda image: (read.append(image), real(image))[1])
    batch = maker.make(captions[:6], step=1)
    assert len(read) == len(set(read)) == len(set(batch.image_ids))


def test_fewer_images_than_candidates_are_refused(shards, tmp_path):
    require_candidates(shards, 11)
    with pytest.raises(StoreError, match="captions of 12 images, so 11 others for each, expected 12; see --candidates"):
        require_candidates(shards, 12)
    with pytest.raises(ValueError, match="candidates is 0, expected 1 or more"):
        require_candidates(shards, 0)
    question = Spoken(text="what?", image_ids=["a"], source="gqa")
    with (
        join(*join_stores(tmp_path / "stores", [[make_image("a")]], [[question]])) as other,
        pytest.raises(StoreError, match="has no sentences of"),
    ):
        find_captions(other)


def test_captions_of_two_data_sets_are_candidates_for_each_other(tokenizer, tmp_path):
    spoken = [
        Spoken(text=f"a {image}", image_ids=[image], source=source)
        for image, source in [("a", "flickr30k-entities"), ("b", "coco-captions"), ("c", "gqa")]
    ]
    images = [make_image(each, first=n) for n, each in enumerate("abc")]
    with join(*join_stores(tmp_path / "stores", [images], [spoken])) as shards:
        maker = RankingMaker(shards, tokenizer, RankingGroupOptions(max_pieces=16, candidates=1))
        batch = maker.make(np.array([0, 1]))
        assert batch.image_ids == ("a", "b", "b", "b")
        assert batch.sentence_ids == ("0-00000", "0-00000", "0-00001", "0-00000")


@pytest.mark.parametrize(
    ("text", "phrases", "exchanged"),
    [
        ("a red cube above the big ball", ("a red cube", "the big ball"), "the big ball above a red cube"),
        ("here a cube is on the ball !", ("a cube", "the ball"), "here the ball is on a cube !"),
        ("a cube on a ball on a stool", ("a cube", "a ball", "a stool"), "a ball on a cube on a stool"),
        ("the cube is to the left of the ball", ("cube", "ball"), "the ball is to the left of the cube"),
        ("a red cube and the ball", ("a red cube", "the ball"), None),
        ("the cube is near the ball", ("cube", "ball"), None),
        ("a cube , a ball", ("a cube", "a ball"), None),
        ("a cube above something", ("a cube",), None),
        ("a cube above a ball", (), None),
    ],
)
def test_the_first_caption_among_the_others_says_the_same_words_of_other_things(text, phrases, exchanged, tmp_path):
    boxes = [[0.9 if region == place else 0.0 for region in range(3)] for place in range(3)]
    words = [Word(says=says, position=box, semantic=[0.1] * 3) for says, box in zip(phrases, boxes, strict=False)]
    spoken = [
        Spoken(text=text, image_ids=["a"], source="flickr30k-entities", words=words),
        Spoken(text="a stool", image_ids=["b"], source="flickr30k-entities"),
    ]
    images = [make_image(each, num_boxes=3) for each in "ab"]
    tokenizer = train_tokenizer([text, "a stool"], vocab_size=90)
    with join(*join_stores(tmp_path / "stores", [images], [spoken])) as shards:
        options = RankingGroupOptions(max_pieces=24, candidates=1, swap_phrases=True)
        maker = RankingMaker(shards, tokenizer, options)
        of_images = maker.make(np.array([0]), step=0)
        of_texts = maker.make(np.array([0]), step=1)
        plain = RankingMaker(shards, tokenizer, RankingGroupOptions(max_pieces=24, candidates=1)).make(
            np.array([0]), step=1
        )
    assert of_images.image_ids == ("a", "b")
    assert torch.equal(of_images.input_ids[0], of_images.input_ids[1])
    assert of_texts.image_ids == ("a", "a")
    assert torch.equal(of_texts.input_ids[0], plain.input_ids[0])
    (said,) = tokenizer.encode([exchanged or "a stool"], max_pieces=22)
    length = int(of_texts.text_mask[1].sum())
    assert of_texts.input_ids[1, 1 : length - 1].tolist() == said.ids.tolist()
    assert of_texts.is_matched.tolist() == [True, False]


@pytest.mark.parametrize(
    ("grounding", "says"),
    [
        (None, "a red , big cube above the ball"),  # `a red` and `big cube`, with nothing to tell them apart
        (GroundingOptions(), "a red , big cube above the ball"),
        (GroundingOptions(stored_phrases=True), "the ball above a red , big cube"),
    ],
)
def test_the_phrases_that_change_places_are_those_that_were_marked_where_a_run_asks_for_it(grounding, says, tmp_path):
    text, box, other = "a red , big cube above the ball", [0.9, 0.0, 0.0], [0.0, 0.0, 0.9]
    words = [Word(says=each, position=box, semantic=[0.1] * 3) for each in ("a red", "big cube")]
    words.append(Word(says="the ball", position=other, semantic=[0.1] * 3))
    marked = [Marked(says="a red , big cube", position=box), Marked(says="the ball", position=other)]
    spoken = [
        Spoken(text=text, image_ids=["a"], source="flickr30k-entities", words=words, phrases=marked),
        Spoken(text="a stool", image_ids=["b"], source="flickr30k-entities"),
    ]
    tokenizer = train_tokenizer([text, "a stool"], vocab_size=90)
    stores = join_stores(tmp_path / "stores", [[make_image(each, num_boxes=3) for each in "ab"]], [spoken])
    with join(*stores) as shards:
        options = RankingGroupOptions(max_pieces=24, candidates=1, swap_phrases=True, grounding=grounding)
        batch = RankingMaker(shards, tokenizer, options).make(np.array([0]), step=1)
    (expected,) = tokenizer.encode([says if says != text else "a stool"], max_pieces=22)
    assert batch.input_ids[1, 1 : int(batch.text_mask[1].sum()) - 1].tolist() == expected.ids.tolist()


@pytest.mark.parametrize(
    ("text", "first", "second", "expected"),
    [
        ("A man pulls a dog.", (0, 5), (12, 17), "A dog pulls a man."),  # letters do not give it away
        ("a man pulls Rex", (0, 5), (12, 15), "rex pulls A man"),
        ("a man pulls a man", (0, 5), (12, 17), "a man pulls a man"),
        ("A man pulls a man", (0, 5), (12, 17), "A man pulls a man"),
        ("a man and a dog", (0, 5), (10, 15), "a man and a dog"),
        ("a big dog runs", (0, 5), (2, 9), "a big dog runs"),  # one in the other
    ],
)
def test_parts_of_a_text_are_exchanged_where_that_says_something_else(text, first, second, expected):
    assert exchanged(text, first, second) == expected
