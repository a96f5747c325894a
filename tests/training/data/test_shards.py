"""Regions and sentences by number, joined by image id; what does not belong together is refused by name."""

from dataclasses import replace

import pytest

from stores.errors import StoreError
from stores.manifest import read_manifest, write_manifest
from tests.stores.builders import make_grid, make_store
from tests.training.joined_stores import CONFIGURATION, Spoken, Word, join_stores, make_image
from tests.training.pixel_stores import GRID
from training.data.shards import join
from training.execution.pretrain import tell_left_out

IMAGES = [
    [make_image("a", first=100), make_image("b", num_boxes=3, first=200)],
    [make_image("c", first=300), make_image("unused", first=400)],
]
SENTENCES = [
    [
        Spoken(text="A man.", image_ids=["c"], words=[Word(says="man", position=[0, 1, 0, 0], semantic=[0] * 4)]),
        Spoken(text="two images", image_ids=["a", "b"], source="nlvr2", answers={"True": 1.0}),
    ],
    [
        Spoken(text="What?", image_ids=["b"], source="vqa-v2", answers={"net": 1.0, "a net": 0.3}),
        Spoken(text="é", image_ids=["a"], split="val"),
        Spoken(text="who", image_ids=["c"], source="vqa-v2", split="test"),
    ],
]


@pytest.fixture(params=["arrow", "lmdb"])
def stores(request, tmp_path):
    return join_stores(tmp_path, IMAGES, SENTENCES, store=request.param)


def test_sentences_find_the_regions_of_their_images_over_several_shards(stores):
    with join(*stores) as shards:
        assert len(shards) == 5
        assert [shards.read(number).text for number in range(5)] == ["A man.", "two images", "What?", "é", "who"]
        joined = [[shards.side.regions(image) for image in shards.images_of(number)] for number in range(5)]
        assert [[each.image_id for each in images] for images in joined] == [["c"], ["a", "b"], ["b"], ["a"], ["c"]]
        assert [[float(each.features[0, 0]) for each in images] for images in joined] == [
            [300], [100, 200], [200], [100], [300]
        ]  # fmt: skip
        assert [shards.side.image_ids[image] for image in shards.images_of(1)] == ["a", "b"]
        assert shards.read(0).position.tolist() == [[0, 1, 0, 0]]
        assert shards.lengths.tolist() == [6, 10, 5, 2, 3]
        assert [shards.place(number) for number in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]


def test_sentences_are_chosen_by_split_source_images_and_answers(stores):
    with join(*stores) as shards:
        assert shards.sources == ("captions", "nlvr2", "vqa-v2")
        assert shards.select().tolist() == [0, 2, 3, 4]
        assert shards.select(num_images=2).tolist() == [1]
        assert shards.select(splits=["train"]).tolist() == [0, 2]
        assert shards.select(splits=["val", "test"]).tolist() == [3, 4]
        assert shards.select(sources=["vqa-v2"]).tolist() == [2, 4]
        assert shards.select(sources=["vqa-v2"], answered=True).tolist() == [2]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"sources": ["gqa"]}, r"has no sentences of gqa; it has those of captions, nlvr2, vqa-v2"),
        (
            {"sources": ["captions"], "splits": ["test"]},
            r"has no sentence of captions for test with 1 image; it has such for train, val",
        ),
        ({"splits": ["val"], "num_images": 2}, "has no sentence for val with 2 images; it has such for train"),
        ({"num_images": 3}, "has no sentence for train or val or test with 3 images; expected at least one of its 5"),
        ({"splits": ["val"], "answered": True}, "has no sentence for val with 1 image and an answer;"),
    ],
)
def test_a_choice_of_nothing_is_refused(stores, asked, message):
    with join(*stores) as shards, pytest.raises(StoreError, match=message):
        shards.select(**asked)


def test_sentences_of_other_regions_are_refused(tmp_path):
    _, sentences = join_stores(tmp_path / "one", IMAGES, SENTENCES)
    other, _ = join_stores(tmp_path / "two", IMAGES, SENTENCES, configuration=CONFIGURATION | {"weights": "random:1"})
    with pytest.raises(StoreError) as refused:
        join(other, sentences)
    expected = read_manifest(sentences).configuration["regions"]["fingerprint"]
    assert str(other) in str(refused.value)
    assert f"was aligned with regions of fingerprint {expected}" in str(refused.value)
    assert "Use those regions, or align again" in str(refused.value)


def test_images_without_regions_are_counted_and_named(tmp_path):
    regions, sentences = join_stores(tmp_path, IMAGES[:1], SENTENCES)
    with pytest.raises(StoreError, match=r"1 images of its sentences have no regions in .*\(such as 'c'\)"):
        join(regions, sentences)


@pytest.mark.parametrize("sentences", [[], [[]]], ids=["no shard", "an empty shard"])
def test_a_store_without_sentences_is_refused(sentences, tmp_path):
    with pytest.raises(StoreError, match="sentences holds no sentence, expected at least one; see vinculum align"):
        join(*join_stores(tmp_path, IMAGES, sentences))


def test_stores_in_each_other_s_place_are_refused(stores):
    regions, sentences = stores
    with pytest.raises(StoreError, match="is a store of regions, expected one of sentences"):
        join(regions, regions)
    with pytest.raises(StoreError, match="is a store of sentences, expected one of regions"):
        join(sentences, sentences)


NUMBERED = ["9", "42", "150367"]


@pytest.fixture
def numbered(tmp_path):
    """Open sentences about numbered images with grids of the same numbers, of this width; each side notes whose."""
    _, sentences = join_stores(
        tmp_path,
        [[make_image(each) for each in sorted(NUMBERED)]],
        [[Spoken(text="A man.", image_ids=[each]) for each in NUMBERED]],
    )

    def numbered(whose=None, sentences_whose=None, width=200):
        grids = [replace(make_grid(each), image_width=width, image_height=100) for each in sorted(NUMBERED)]
        notes = {"ids": whose} if whose else None
        make_store(tmp_path / "grids", [grids], configuration=GRID, content="grid", notes=notes)
        told = {"ids": {"numbers_of": [sentences_whose], "told_by": "said"}} if sentences_whose else {}
        write_manifest(sentences, replace(read_manifest(sentences), notes=told))
        return join(tmp_path / "grids", sentences)

    return numbered


def test_numbers_join_grids_of_whoever_numbers_so_and_of_nobody_else(numbered):
    with numbered("coco", "coco") as shards:
        assert (shards.num_left_out, shards.doubtful_images) == (0, ())
    with numbered("visual-genome", "coco") as shards:
        assert (shards.num_left_out, shards.lost_images) == (3, ("150367", "42", "9"))


def test_where_nobody_says_whose_numbers_are_images_of_another_shape_are_told(numbered, capsys):
    with numbered(width=200) as shards:
        tell_left_out(shards)
        assert (shards.num_left_out, shards.doubtful_images) == (0, ())
        assert "nothing tells whose" not in capsys.readouterr().err
    with numbered(width=150) as shards:
        assert shards.num_left_out == 0
        assert set(shards.doubtful_images) == set(NUMBERED)
        tell_left_out(shards)
        assert "numbers alone join images" in capsys.readouterr().err
    with numbered("coco", "coco", width=150) as shards:
        assert shards.doubtful_images == ()
