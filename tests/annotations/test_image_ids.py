"""Most names tell whose they are; a small number does not."""

import pytest

from annotations.image_ids import coco_number, is_number, photograph_name


@pytest.mark.parametrize(
    ("image_id", "number"),
    [
        ("COCO_train2014_000000000009", "9"),
        ("COCO_val2014_000000581929", "581929"),
        ("COCO_test2015_000000000001", "1"),
        ("000000000009", "9"),
        ("9", ""),
        ("1000092795", ""),
        ("0013ea2087020901", ""),
        ("COCO_train2014_000000000009_3", ""),
        ("\N{ARABIC-INDIC DIGIT NINE}" * 12, ""),
    ],
)
def test_cocos_number_is_read_from_names_that_only_coco_gives(image_id, number):
    assert coco_number(image_id) == number


@pytest.mark.parametrize("image_id", ["0", "9", "42", "581929", "2417997"])
def test_a_number_of_seven_digits_tells_nothing(image_id):
    assert is_number(image_id)


@pytest.mark.parametrize("image_id", ["", "000009", "000000000009", "1000092795", "n161313", "9.5", "-9", "²"])
def test_other_names_are_nobody_elses(image_id):
    assert not is_number(image_id)


def test_one_number_is_another_photograph_for_everyone_who_numbers_so():
    names = {photograph_name("9", ids) for ids in ("coco", "visual-genome", "flickr30k", "own")}
    assert names == {"coco 9", "visual-genome 9", "flickr30k 9", "9"}
    assert photograph_name("000000000009", "visual-genome") == "coco 9"
    assert photograph_name("n161313", "visual-genome") == "n161313"
