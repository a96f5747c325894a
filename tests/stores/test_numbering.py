"""An image joins under the names that its photograph has, and under a number only where it is known whose it is."""

import pyarrow as pa
import pytest

from annotations.records import SentenceImage
from stores.layouts import RegionLayouts
from stores.manifest import read_manifest
from stores.numbering import ImageRows, Numbering, has_numbers, ids_in_range, join
from tests.stores.builders import make_regions, make_store

COCO_9 = SentenceImage(image_id="COCO_train2014_000000000009", coco_id="9", ids="coco")
GENOME_9 = SentenceImage(image_id="9", ids="visual-genome")
GENOME_OF_COCO_9 = SentenceImage(image_id="61512", coco_id="9", ids="visual-genome")
OWN_9 = SentenceImage(image_id="9")


@pytest.fixture
def layouts(tmp_path):
    def layouts(*image_ids, notes=None):
        make_store(tmp_path, [[make_regions(each) for each in sorted(image_ids)]], notes=notes)
        return RegionLayouts(tmp_path)

    return layouts


def found(image, layouts, *ids, by_size=False):
    joined = join(image, layouts, Numbering(ids=frozenset(ids), by_size=by_size))
    return joined and (joined.layout.image_id, joined.rule)


@pytest.mark.parametrize("image", [COCO_9, GENOME_9, GENOME_OF_COCO_9, OWN_9])
def test_a_number_that_is_nobodys_joins_nothing(layouts, image):
    assert found(image, layouts("9", "61512")) is None


def test_numbers_of_coco_are_those_of_cocos_photographs_and_of_visual_genomes_copies_of_them(layouts):
    store = layouts("9", "61512")
    assert found(COCO_9, store, "coco") == ("9", "coco_number")
    assert found(GENOME_OF_COCO_9, store, "coco") == ("9", "coco_id")
    assert found(GENOME_9, store, "coco") is None
    assert found(OWN_9, store, "coco") is None


def test_numbers_of_visual_genome_are_its_images(layouts):
    store = layouts("9", "61512")
    assert found(GENOME_9, store, "visual-genome") == ("9", "id")
    assert found(GENOME_OF_COCO_9, store, "visual-genome") == ("61512", "id")
    assert found(COCO_9, store, "visual-genome") is None
    assert found(OWN_9, store, "visual-genome") is None


def test_ids_of_ones_own_mean_what_they_say_and_nothing_else(layouts):
    store = layouts("9", "000000000009")
    assert found(OWN_9, store, "own") == ("9", "id")
    assert found(GENOME_9, store, "own") == ("9", "id")
    assert found(COCO_9, store, "own") is None
    assert found(GENOME_OF_COCO_9, store, "own") is None


@pytest.mark.parametrize("name", ["COCO_val2014_000000000009", "COCO_test2014_000000000009", "000000000009"])
def test_names_need_nobody_to_say_whose_they_are(layouts, name):
    store = layouts(name, "dev-1-0-img0")
    assert found(COCO_9, store) == (name, "coco_number")
    assert found(GENOME_OF_COCO_9, store) == (name, "coco_id")
    assert found(SentenceImage(image_id="dev-1-0-img0"), store) == ("dev-1-0-img0", "id")


def test_what_sizes_told_is_told_of_each_image(layouts):
    assert found(GENOME_9, layouts("9"), "visual-genome", by_size=True) == ("9", "size")


def test_a_manifest_notes_whose_the_numbers_are(layouts, tmp_path):
    assert layouts("9", notes={"ids": "coco"}).ids == "coco"
    assert read_manifest(tmp_path).notes == {"ids": "coco"}


def test_a_store_without_the_note_is_read_and_tells_nothing(layouts, tmp_path):
    assert layouts("9").ids is None
    assert "notes" not in (tmp_path / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("image_ids", "ids"),
    [
        ([*map(str, range(2_370_000, 2_370_020)), "61512"], "visual-genome"),
        ([*map(str, range(1_000_092_795, 1_000_092_815)), "36979"], "flickr30k"),
        (["9", "42", "150367"], None),
        ([*map(str, range(2_370_000, 2_370_020)), *map(str, range(20))], None),
        (["COCO_train2014_000000000009", "000000000009"], None),
        ([], None),
    ],
)
def test_numbers_in_a_range_that_one_alone_has_are_theirs(image_ids, ids):
    assert ids_in_range(pa.array(image_ids, pa.large_string())) == ids


def test_only_numbers_need_to_be_told():
    assert has_numbers(pa.array(["a", "9"]))
    assert not has_numbers(pa.array(["a", "000000000009", "1000092795"]))


@pytest.mark.parametrize(
    ("ids", "asked", "image_id", "row"),
    [
        (None, [], "9", 0),
        ("coco", ["coco"], "9", 0),
        ("coco", ["visual-genome"], "9", -1),
        ("visual-genome", ["coco", "flickr30k"], "9", -1),
        ("visual-genome", [], "000000000042", 1),
        (None, ["coco"], "42", 1),
        ("coco", [], "COCO_train2014_000000000009", 0),
        (None, [], "COCO_train2014_000000000009", -1),
        ("visual-genome", ["coco"], "a", 2),
        (None, [], "b", -1),
    ],
)
def test_images_of_one_store_are_found_by_the_ids_of_another_where_both_name_one_photograph(ids, asked, image_id, row):
    assert ImageRows(["9", "COCO_val2014_000000000042", "a"], ids, asked).get(image_id) == row
