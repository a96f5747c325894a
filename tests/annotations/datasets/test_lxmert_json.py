"""LXMERT's own files, whole and damaged, in the folders of its release."""

import json

import pytest

from annotations.datasets.lxmert_json import evaluation_images, read_lxmert_records, to_sentences
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer

PRETRAINING = {
    "img_id": "COCO_val2014_000000000042",
    "sentf": {"mscoco": ["A dog.", "A cat."], "vqa": ["What is it?", "Where?"]},
    "labelf": {"vqa": [{"dog": 1, "cat": 0.3}, {"home": 0.6}]},
}
VQA = {
    "answer_type": "other",
    "img_id": "COCO_train2014_000000458752",
    "label": {"net": 1},
    "question_id": 458752000,
    "question_type": "what is this",
    "sent": "What is this photo taken looking through?",
}
GQA = {"img_id": "2375429", "label": {"pipe": 1.0}, "question_id": "07333408", "sent": "What is on the white wall?"}
NLVR2 = {
    "identifier": "train-10171-0-0",
    "img0": "train-10171-0-img0",
    "img1": "train-10171-0-img1",
    "label": 0,
    "sent": "Two dogs.",
    "uid": "nlvr2_train_0",
}


def write(folder, **files):
    """Write JSON under names whose double underscores are slashes."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def read(path):
    drops = Drops()
    records = read_lxmert_records(path, drops=drops)
    return [each for record in records for each in to_sentences(record, drops=drops)], drops


def test_the_whole_data_folder_is_read_and_its_tables_passed_over(tmp_path):
    write(
        tmp_path,
        lxmert__mscoco_train=[PRETRAINING],
        lxmert__all_ans=[{"ans": "dog", "dsets": ["vqa"]}],
        vqa__nominival=[VQA],
        vqa__trainval_ans2label={"net": 0},
        vqa__trainval_label2ans=["net"],
        gqa__testdev=[GQA],
        gqa__submit=[{name: value for name, value in GQA.items() if name != "label"}],
        nlvr2__valid=[NLVR2],
    )
    sentences, drops = read(tmp_path)
    assert not drops.counts
    assert {each.sentence_id: each.split for each in sentences} == {
        "gqa/submit/07333408": "test",
        "gqa/testdev/07333408": "test",
        "COCO_val2014_000000000042_mscoco_000": "train",
        "COCO_val2014_000000000042_mscoco_001": "train",
        "COCO_val2014_000000000042_vqa_000": "train",
        "COCO_val2014_000000000042_vqa_001": "train",
        "nlvr2/valid/nlvr2_train_0": "val",
        "vqa/nominival/458752000": "train",
    }
    assert [each.image_id for each in evaluation_images(tmp_path, drops=Drops())] == [
        "2375429",
        "2375429",
        "train-10171-0-img0",
        "train-10171-0-img1",
    ]


def test_labels_go_with_the_sentences_they_lie_beside(tmp_path):
    sentences, _ = read(write(tmp_path, mscoco_minival=[PRETRAINING]))
    assert [(each.text, each.answers) for each in sentences] == [
        ("A dog.", ()),
        ("A cat.", ()),
        ("What is it?", (Answer(text="dog"), Answer(text="cat", weight=0.3))),
        ("Where?", (Answer(text="home", weight=0.6),)),
    ]
    assert [each.details["kind"] for each in sentences] == ["mscoco", "mscoco", "vqa", "vqa"]
    assert {each.images[0].coco_id for each in sentences} == {"42"}


@pytest.mark.parametrize(
    ("record", "answers", "details"),
    [
        (
            VQA,
            (Answer(text="net"),),
            {"question_id": 458752000, "question_type": "what is this", "answer_type": "other"},
        ),
        (GQA, (Answer(text="pipe"),), {"question_id": "07333408"}),
        (NLVR2, (Answer(text="False"),), {"identifier": "train-10171-0-0"}),
    ],
)
def test_a_task_record_is_one_sentence_with_what_its_metric_needs(tmp_path, record, answers, details):
    (sentence,), _ = read(write(tmp_path, train=[record]))
    assert (sentence.text, sentence.answers, sentence.details) == (record["sent"], answers, details)
    assert len(sentence.images) == (2 if record is NLVR2 else 1)


@pytest.mark.parametrize(
    ("changes", "reason", "num_left"),
    [
        ({"sentf": {"mscoco": ["A dog.", 7, " "]}}, "sentence: text is not a text", 1),
        ({"labelf": {"vqa": [{"dog": "1"}, {}]}}, "sentence: label is not an object of weights from 0 to 1", 3),
        ({"labelf": {"vqa": [{"dog": 3}, {}]}}, "sentence: label is not an object of weights from 0 to 1", 3),
        ({"labelf": {"vqa": [{"dog": 1}]}}, "record: labelf is not as long as sentf", 0),
        ({"labelf": {"vqa": {"dog": 1}}}, "record: vqa is not a list", 0),
        ({"labelf": None}, "record: labelf is not an object", 0),
        ({"sentf": ["A dog."]}, "record: sentf is not an object", 0),
        ({"img_id": {}}, "record: img_id is not an id", 0),
    ],
)
def test_damage_costs_the_sentence_or_the_record_it_is_in(tmp_path, changes, reason, num_left):
    path = write(tmp_path, mscoco_train=[PRETRAINING | changes, PRETRAINING | {"img_id": "1", "labelf": {}}])
    sentences, drops = read(path)
    assert len(sentences) == num_left + 4
    assert list(drops.counts) == [reason]
    assert f"{path / 'mscoco_train.json'}: record 0" in drops.first[reason]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sent": None}, "record: sent is not a text"),
        ({"label": 2}, "sentence: label is not an object of weights from 0 to 1"),
        ({"img1": 1.5}, "record: img1 is not an id"),
        ({"uid": []}, "record: uid is not an id"),
    ],
)
def test_a_damaged_task_record_is_counted(tmp_path, changes, reason):
    sentences, drops = read(write(tmp_path, train=[NLVR2 | changes]))
    assert not sentences
    assert drops.counts == {reason: 1}


def test_nothing_but_tables_is_an_error_that_names_the_folder(tmp_path):
    write(tmp_path, vqa__trainval_label2ans=["net"])
    with pytest.raises(DataError, match=f"{tmp_path}: nothing but tables of answers"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["", "<html>", '{"img_id": 1}', '[{"img_id"', "[7]"])
def test_another_file_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "mscoco_train.json").write_text(content)
    with pytest.raises(DataError, match=r"mscoco_train\.json"):
        read(tmp_path)
