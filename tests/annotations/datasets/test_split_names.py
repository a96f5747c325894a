"""Which split a file is of: official names, names of one's own, and names that tell none."""

import json
import os
from pathlib import Path

import pytest

from annotations.datasets import coco, gqa, lxmert_json
from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.text_files import SPLIT_WORDS, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.splits import make_split_rules

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))

OFFICIAL = [
    (coco.SPLITS, "captions_train2014 captions_train2017 instances_valminusminival2014 instances_train", "train"),
    (coco.SPLITS, "captions_val2014 captions_val2017 instances_minival2014 captions_val", "val"),
    (coco.SPLITS, "image_info_test2014 image_info_test-dev2015 image_info_test2017", "test"),
    (gqa.SPLITS, "train_all_questions_0 train_balanced_questions", "train"),
    (gqa.SPLITS, "val_all_questions val_balanced_questions", "val"),
    (gqa.SPLITS, "testdev_all_questions test_balanced_questions challenge_all_questions challenge_balanced_questions "
                 "submission_all_questions ood_testdev_head", "test"),
    (SPLIT_WORDS, "v2_OpenEnded_mscoco_train2014_questions train esnlive_train train_data", "train"),
    (SPLIT_WORDS, "v2_OpenEnded_mscoco_val2014_questions dev balanced_dev unbalanced_dev snli_ve_dev", "val"),
    (SPLIT_WORDS, "v2_OpenEnded_mscoco_test2015_questions v2_OpenEnded_mscoco_test-dev2015_questions test1 test2 "
                  "balanced_test1 snli_ve_test test-P test_std", "test"),
    (lxmert_json.SPLITS, "mscoco_train mscoco_nominival vgnococo_train train nominival", "train"),
    (lxmert_json.SPLITS, "mscoco_minival minival valid", "val"),
    (lxmert_json.SPLITS, "test testdev submit", "test"),
]  # fmt: skip
NAMED = [(words, name, split) for words, names, split in OFFICIAL for name in names.split()]


@pytest.mark.parametrize(("words", "name", "split"), NAMED)
def test_official_names_tell_their_split(words, name, split):
    assert split_in_name(name, words, place="here") == split


@pytest.mark.parametrize(
    "name", ["captions_latest", "captions", "captions_contest2", "trainer", "valley", "captions_trainval", "device"]
)
def test_a_word_inside_another_tells_nothing_and_no_name_is_for_training_by_default(name):
    with pytest.raises(DataError, match=r"here: .* names no split, expected one of the words train, val, .* rename"):
        split_in_name(name, coco.SPLITS, place="here")


def test_a_name_of_two_splits_is_an_error():
    with pytest.raises(DataError, match="names the splits test and train, expected one"):
        split_in_name("train_of_test", place="here")


def caption_file(number):
    image = {"id": number, "file_name": f"COCO_val2014_{number:012d}.jpg", "width": 640, "height": 480}
    return {"images": [image], "annotations": [{"id": 1, "image_id": number, "caption": "A man"}], "categories": []}


QUESTION = {"question": "Is it?", "answer": "yes", "imageId": "1"}
UNTOLD = {
    "coco-captions": ("captions_latest.json", "captions_latest_train.json", json.dumps(caption_file(9))),
    "coco-instances": ("instances_latest.json", "instances_latest_val.json", json.dumps(caption_file(9))),
    "gqa": ("my_questions.json", "my_val_questions.json", json.dumps({"q": QUESTION})),
    "gqa-full-answers": ("my_questions.json", "my_val_questions.json", json.dumps({"q": QUESTION})),
    "vqa-v2": ("my_questions.json", "my_test_questions.json", json.dumps({"questions": []})),
    "nlvr2": ("all.json", "dev.json", json.dumps({"identifier": "dev-0-0-0", "sentence": "Two."})),
    "snli-ve": ("pairs.jsonl", "pairs_dev.jsonl", json.dumps({"pairID": "1", "Flikr30kID": "1"})),
    "vgp": (
        "table.csv",
        "table_dev.csv",
        "image,original_phrase1,original_phrase2,original_label,type_label\n7,a,b,Alternation,0\n",
    ),
    "lxmert-json": ("mscoco.json", "mscoco_minival.json", json.dumps([{"img_id": "1", "sentf": {}}])),
}


@pytest.mark.parametrize("name", UNTOLD)
def test_every_reader_refuses_a_file_whose_name_tells_no_split_before_anything_is_made(name, tmp_path):
    untold, told, content = UNTOLD[name]
    (tmp_path / untold).write_text(content)
    for path in {tmp_path / untold, tmp_path} if name != "nlvr2" else {tmp_path / untold}:
        with pytest.raises(DataError, match=r"names no split"):
            list(DATA_SETS[name].evaluation_images(path, drops=Drops()))
        with pytest.raises(DataError, match=r"names no split"):
            list(DATA_SETS[name].read_records(path, drops=Drops()))
    (tmp_path / untold).rename(tmp_path / told)  # as the message advises
    list(DATA_SETS[name].read_sentences(tmp_path / told, drops=Drops()))


def test_an_nlvr2_folder_of_other_files_names_what_it_has(tmp_path):
    (tmp_path / "balanced_dev.json").write_text("{}")
    with pytest.raises(DataError, match=r"none of train.json, .* found balanced_dev.json; give the one file"):
        list(DATA_SETS["nlvr2"].read_records(tmp_path, drops=Drops()))


def test_minival_of_val2014_is_for_validation_and_the_rest_for_training(tmp_path):
    for name, number in (("minival", 9), ("valminusminival", 42)):
        (tmp_path / f"captions_{name}2014.json").write_text(json.dumps(caption_file(number)))
    captions = DATA_SETS["coco-captions"]
    splits = {each.image_ids[0][-2:]: each.split for each in captions.read_sentences(tmp_path, drops=Drops())}
    assert splits == {"09": "val", "42": "train"}
    assert [each.coco_id for each in captions.evaluation_images(tmp_path, drops=Drops())] == ["9"]


def test_an_unknown_split_in_a_row_is_an_error_that_names_the_line(tmp_path):
    (tmp_path / "snli_ve_dev.jsonl").write_text(json.dumps({"pairID": "1", "split": "fold3"}))
    with pytest.raises(DataError, match=r"snli_ve_dev.jsonl, line 1: 'fold3' names no split"):
        list(DATA_SETS["snli-ve"].read_records(tmp_path, drops=Drops()))


def gqa_folder(folder, names, question=None):
    for number, name in enumerate(names):
        asked = {"question": "Is it?", "answer": "yes", "imageId": str(number)} if question is None else question
        (folder / f"{name}_questions.json").write_text(json.dumps({f"q{number}": asked}))
    return folder


GQA_NAMES = [
    "train_balanced", "val_all", "val_balanced", "testdev_all", "testdev_balanced", "test_all", "test_balanced",
    "challenge_all", "challenge_balanced", "submission_all",
]  # fmt: skip


def test_of_all_official_files_of_gqa_only_train_is_trained_on(tmp_path):
    folder = gqa_folder(tmp_path, GQA_NAMES)
    sentences = list(DATA_SETS["gqa"].read_sentences(folder, drops=Drops()))
    # Submission has nothing that val, testdev, test and challenge do not have.
    assert {(each.split, each.details.get("official_split")) for each in sentences} == {
        ("train", None), ("val", None), ("test", "testdev"), ("test", "test"), ("test", "challenge"),
    }  # fmt: skip
    kept_back = {each.image_id for each in DATA_SETS["gqa"].evaluation_images(folder, drops=Drops())}
    assert kept_back == {"1", "3", "5", "7"}


def test_submission_alone_is_test_and_comes_after_files_that_have_answers(tmp_path):
    folder = gqa_folder(tmp_path, ["submission_all", "val_all", "train_balanced"])
    sentences = list(DATA_SETS["gqa"].read_sentences(folder, drops=Drops()))
    assert [(each.split, each.details.get("official_split")) for each in sentences] == [
        ("train", None), ("val", None), ("test", "submission"),
    ]  # fmt: skip
    assert {each.image_id for each in DATA_SETS["gqa"].evaluation_images(folder, drops=Drops())} == {"0", "1"}


@pytest.mark.skipif(not (DATA / "boards/gqa_ood").is_dir(), reason=f"{DATA} holds no boards/gqa_ood")
def test_real_questions_under_every_official_name_are_never_trained_on_where_they_are_evaluated(tmp_path):
    questions = json.loads((DATA / "boards/gqa_ood/ood_testdev_head.json").read_text())
    ids = sorted(questions)
    for number, name in enumerate(GQA_NAMES):
        part = {each: questions[each] for each in ids[number::10]}
        (tmp_path / f"{name}_questions.json").write_text(json.dumps(part))
    reader = DATA_SETS["gqa"]
    evaluated = list(reader.evaluation_images(tmp_path, drops=Drops()))
    rules = make_split_rules(evaluated)
    images = {"train": set(), "val": set(), "test": set(), None: set()}
    for sentence in reader.read_sentences(tmp_path, drops=Drops()):
        images[rules.split_of(sentence)].add(sentence.image_ids[0])
    assert not images["train"] & (images["val"] | images["test"])
    assert len(images["test"]) > 100
    (head,) = {
        each.details["official_split"]
        for each in reader.read_sentences(DATA / "boards/gqa_ood/ood_testdev_head.json", drops=Drops())
    }
    assert head == "testdev"
