"""No photograph that is evaluated anywhere is trained on, whatever it is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.records import Sentence, SentenceImage
from annotations.splits import make_split_rules, photograph, read_minival


def image(image_id, coco_id="", ids="own"):
    return SentenceImage(image_id=image_id, coco_id=coco_id, ids=ids)


def sentence(*images, split="train"):
    return Sentence(sentence_id="s", images=images, text="a dog", source="test", split=split)


@pytest.mark.parametrize(
    "same",
    [
        image("COCO_train2014_000000000009"),
        image("COCO_val2014_000000000009"),
        image("000000000009"),
        image("61512", coco_id="9"),
        image("7", coco_id="9"),
    ],
)
def test_every_name_of_a_photograph_is_known_for_it(same):
    assert photograph(same) == "coco 9"
    rules = make_split_rules([image("000000000009")])
    assert rules.split_of(sentence(same)) is None
    assert rules.split_of(sentence(same, split="val")) == "val"


@pytest.mark.parametrize("other", [image("9"), image("000000000010"), image("2375429"), image("1000092795")])
def test_other_photographs_stay(other):
    assert make_split_rules([image("000000000009")]).split_of(sentence(other)) == "train"


@pytest.mark.parametrize("evaluated", [image("61512"), image("61512", coco_id="248774")])
@pytest.mark.parametrize("trained", [image("61512"), image("61512", coco_id="248774")])
def test_a_photograph_of_gqa_is_that_of_visual_genome_whether_or_not_its_number_in_coco_is_known(evaluated, trained):
    assert make_split_rules([evaluated]).split_of(sentence(trained)) is None


def test_one_evaluated_image_of_a_pair_is_enough():
    assert make_split_rules([image("b")]).split_of(sentence(image("a"), image("b"))) is None


def test_the_users_lists_hold_images_out():
    rules = make_split_rules([], held_out=["COCO_val2014_000000000001", "flickr-7", "61512"])
    assert rules.split_of(sentence(image("000000000001"))) is None
    assert rules.split_of(sentence(image("flickr-7"))) is None
    assert rules.split_of(sentence(image("61512", coco_id="248774"))) is None
    assert rules.split_of(sentence(image("flickr-8"))) == "train"


COCO_9 = image("COCO_train2014_000000000009", "9", "coco")
GENOME_9, FLICKR_9 = image("9", ids="visual-genome"), image("9", ids="flickr30k")


def test_a_number_is_another_photograph_for_everyone_who_numbers_so():
    rules = make_split_rules([GENOME_9])
    assert rules.split_of(sentence(GENOME_9)) is None
    assert {rules.split_of(sentence(each)) for each in (COCO_9, FLICKR_9, image("9"))} == {"train"}


def test_where_several_describe_the_same_images_one_number_is_one_photograph():
    rules = make_split_rules([GENOME_9], shared=["visual-genome", "flickr30k"])
    assert rules.split_of(sentence(FLICKR_9)) is None
    assert rules.split_of(sentence(COCO_9)) == "train"


@pytest.mark.parametrize(
    ("line", "listed", "out"),
    [
        ("9", ["coco"], [COCO_9]),
        ("9", ["visual-genome"], [GENOME_9]),
        ("9", [], [image("9")]),
        ("visual-genome 9", ["coco"], [GENOME_9]),
        ("flickr30k 9", [], [FLICKR_9]),
        ("coco 9", [], [COCO_9]),
        ("000000000009", ["visual-genome"], [COCO_9]),
    ],
)
def test_a_number_in_a_list_is_that_of_whom_the_line_says_or_of_whoever_numbers_the_images(line, listed, out):
    rules = make_split_rules([], held_out=[line], listed=listed)
    held = [each for each in (COCO_9, GENOME_9, FLICKR_9, image("9")) if rules.split_of(sentence(each)) is None]
    assert held == out


def test_a_number_in_minivals_list_is_cocos():
    rules = make_split_rules([], minival=["9"])
    assert rules.split_of(sentence(image("COCO_val2014_000000000009", "9", "coco"), split="val")) == "val"
    assert rules.split_of(sentence(COCO_9)) is None
    assert rules.split_of(sentence(GENOME_9)) == "train"


def test_minival_stays_for_validation_and_the_rest_of_val2014_is_trained_on():
    kept, nominal = image("COCO_val2014_000000000001"), image("COCO_val2014_000000000002")
    rules = make_split_rules([kept, nominal, image("flickr-7")], minival=["COCO_val2014_000000000001"])
    assert rules.split_of(sentence(kept, split="val")) == "val"
    assert rules.split_of(sentence(nominal, split="val")) == "train"
    assert rules.split_of(sentence(image("5", coco_id="1"))) is None
    assert rules.split_of(sentence(image("5", coco_id="2"))) == "train"
    assert rules.split_of(sentence(image("flickr-7"))) is None
    assert rules.split_of(sentence(image("000000000003"), split="val")) == "val"


def test_minival_is_held_out_even_where_no_source_evaluates_it():
    rules = make_split_rules([], minival=["COCO_val2014_000000000001"])
    assert rules.split_of(sentence(image("5", coco_id="1"))) is None


def test_minival_is_the_first_5000_rows_of_a_feature_file_or_a_whole_list(tmp_path):
    names = [f"COCO_val2014_{number:012d}" for number in range(5002)]
    (tmp_path / "val2014_obj36.tsv").write_text("".join(f"{name}\t480\t640\tAAAA\n" for name in names))
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in names))
    assert list(read_minival(tmp_path / "val2014_obj36.tsv")) == names[:5000]
    assert list(read_minival(tmp_path / "list.txt")) == names


NAMES = ("COCO_train2014_{:012d}", "COCO_val2014_{:012d}", "{:012d}", "vg{}")


def test_a_third_source_that_knows_both_names_ties_them():
    """GQA evaluates 61512, COCO trains on number 248774, and only Visual Genome knows that they are one."""
    trained = sentence(image("COCO_train2014_000000248774", coco_id="248774"))
    assert make_split_rules([image("61512")]).split_of(trained) == "train"
    tied = make_split_rules([image("61512")], photographs=[image("7", "8"), image("61512", "248774")])
    assert tied.split_of(trained) is None
    assert tied.split_of(sentence(image("000000000008"))) == "train"


images = st.builds(
    lambda number, name, is_known: image(name.format(number), coco_id=str(number) if is_known else ""),
    st.integers(1, 5),
    st.sampled_from(NAMES),
    st.booleans(),
)


def share_a_name(one, other):
    """Return whether the ids are the same, both COCO's number is known and the same, or one id says the other's."""

    def said(picture):
        number = picture.coco_id or ("" if picture.image_id.startswith("vg") else str(int(picture.image_id[-12:])))
        return {picture.image_id} | ({number} if number else set())

    return bool(said(one) & said(other))


@given(
    evaluated=st.lists(images),
    held_out=st.lists(images),
    pictures=st.lists(images, min_size=1, max_size=2),
    split=st.sampled_from(["train", "val", "test"]),
)
def test_nothing_evaluated_ever_comes_out_as_training(evaluated, held_out, pictures, split):
    rules = make_split_rules(evaluated, held_out=[each.image_id for each in held_out])
    found = rules.split_of(sentence(*pictures, split=split))
    kept_out = [*evaluated, *(image(each.image_id) for each in held_out)]
    is_evaluated = any(share_a_name(one, other) for one in pictures for other in kept_out)
    assert found == (None if split == "train" and is_evaluated else split)
