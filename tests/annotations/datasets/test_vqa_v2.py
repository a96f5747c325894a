"""VQA v2's files as they are found: in any order, beside each other, damaged; its scores are in test_answers."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.datasets.vqa_v2 import evaluation_images, image_of, read_question_records, to_sentences
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer, SentenceImage

TRAIN = "v2_OpenEnded_mscoco_train2014_questions.json"
TRAIN_ANSWERS = "v2_mscoco_train2014_annotations.json"


def question(number, **changes):
    return {"image_id": 458752, "question": f"What is {number}? ", "question_id": number} | changes


def annotation(number, *answers, **changes):
    return {
        "question_id": number,
        "image_id": 458752,
        "question_type": "what is",
        "answer_type": "other",
        "multiple_choice_answer": answers[0] if answers else "",
        "answers": [{"answer": each, "answer_confidence": "yes", "answer_id": 1} for each in answers],
    } | changes


def write_questions(folder, name, *questions, subtype="train2014"):
    head = {} if subtype is None else {"data_subtype": subtype}
    (folder / name).write_text(json.dumps(head | {"questions": questions}))


def write_annotations(folder, *annotations, name=TRAIN_ANSWERS):
    (folder / name).write_text(json.dumps({"annotations": annotations}))


def read(path):
    drops = Drops()
    records = read_question_records(path, drops=drops)
    return [each for record in records for each in to_sentences(record, drops=drops)], drops


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)))
def test_questions_keep_their_order_and_their_answers_whatever_the_order_of_those(tmp_path, order):
    write_questions(tmp_path, TRAIN, *map(question, range(6)))
    write_annotations(tmp_path, *(annotation(number, f"answer {number}") for number in order))
    sentences, drops = read(tmp_path)
    assert not drops.counts
    assert [each.text for each in sentences] == [f"What is {number}?" for number in range(6)]
    assert [each.answers[0].text for each in sentences] == [f"answer {number}" for number in range(6)]


def test_what_only_one_of_the_files_has_is_counted(tmp_path):
    write_questions(tmp_path, TRAIN, question(1), question(2), question(2), question(3))
    write_annotations(tmp_path, annotation(1, "net"), annotation(3, "net"), annotation(4, "net"), annotation(2, "net"))
    sentences, drops = read(tmp_path)
    assert [each.sentence_id for each in sentences] == ["1", "2", "3"]
    assert drops.counts == {"question: id is there twice": 1, "annotation: no such question": 1}
    write_annotations(tmp_path, annotation(1, "net"))
    sentences, drops = read(tmp_path)
    assert [each.sentence_id for each in sentences] == ["1"]
    assert drops.counts["question: no annotation"] == 2


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (annotation(1, answers="net"), "annotation: answers is not a list"),
        (annotation(1, answers=["net"]), "annotation: answers is not a list of objects"),
        (annotation(1, answers=[{"answer": 7}]), "annotation: an answer is not a text"),
        (annotation(1, answers=[{}]), "annotation: an answer is not a text"),
        (annotation(None), "annotation: question_id is not an id"),
    ],
)
def test_a_damaged_annotation_costs_its_own_question_only(tmp_path, damaged, reason):
    write_questions(tmp_path, TRAIN, question(1), question(2))
    write_annotations(tmp_path, damaged, annotation(2, "net"))
    sentences, drops = read(tmp_path)
    assert [each.sentence_id for each in sentences] == ["2"]
    assert drops.counts == {reason: 1, "question: no annotation": 1}
    assert drops.first[reason].startswith(f"{tmp_path / TRAIN_ANSWERS}: annotation 0: found ")


def test_a_person_who_said_nothing_counts_among_the_ten(tmp_path):
    write_questions(tmp_path, TRAIN, question(1))
    write_annotations(tmp_path, annotation(1, *["net"] * 3, *[" "] * 7))
    (sentence,), _ = read(tmp_path)
    assert sentence.answers == (Answer(text="net", weight=0.9),)


@pytest.mark.parametrize("changes", [{"question": ""}, {"question": 7}, {"image_id": 1.5}, {"question_id": [1]}])
def test_a_damaged_question_is_counted(tmp_path, changes):
    write_questions(tmp_path, "v2_OpenEnded_mscoco_test2015_questions.json", question(1, **changes), question(2))
    sentences, drops = read(tmp_path)
    assert [each.sentence_id for each in sentences] == ["2"]
    assert sum(drops.counts.values()) == 1


def test_questions_that_people_answered_need_their_answers(tmp_path):
    write_questions(tmp_path, TRAIN, question(1))
    with pytest.raises(DataError, match=f"{TRAIN_ANSWERS}: no such file, expected the answers to {TRAIN}"):
        read(tmp_path)
    write_annotations(tmp_path, annotation(1, "net"))
    assert len(read(tmp_path / TRAIN)[0]) == 1
    with pytest.raises(DataError, match=r"annotations.json: no such file|no array 'questions'"):
        read(tmp_path / TRAIN_ANSWERS)


def test_test_dev_questions_are_read_once_though_two_files_have_them(tmp_path):
    for name, subtype in (("test2015", "test2015"), ("test-dev2015", "test-dev2015")):
        write_questions(tmp_path, f"v2_OpenEnded_mscoco_{name}_questions.json", question(1), subtype=subtype)
    (tmp_path / "mscoco_question_types.txt").write_text("how many\n")
    (sentence,), drops = read(tmp_path)
    assert not drops.counts
    assert (sentence.split, sentence.answers) == ("test", ())
    alone, _ = read(tmp_path / "v2_OpenEnded_mscoco_test-dev2015_questions.json")
    assert [each.images for each in alone] == [sentence.images]
    assert list(evaluation_images(tmp_path, drops=Drops())) == list(sentence.images)


@pytest.mark.parametrize(
    ("subtype", "image_id", "coco_id"),
    [
        ("train2014", "COCO_train2014_000000458752", "458752"),
        ("val2014", "COCO_val2014_000000458752", "458752"),
        ("test-dev2015", "COCO_test2015_000000458752", "458752"),
        ("train2017", "000000458752", "458752"),
        ("", "000000458752", "458752"),
        ("abstract_v002_train2015", "458752", ""),
    ],
)
def test_images_are_named_as_the_files_of_their_release(subtype, image_id, coco_id):
    assert image_of("458752", subtype) == SentenceImage(
        image_id=image_id, coco_id=coco_id, ids="coco" if coco_id else "own"
    )


def test_a_file_that_does_not_say_its_release_has_it_in_its_name(tmp_path):
    write_questions(tmp_path, "v2_OpenEnded_mscoco_val2014_questions.json", question(1), subtype=None)
    write_annotations(tmp_path, annotation(1, "net"), name="v2_mscoco_val2014_annotations.json")
    (sentence,), _ = read(tmp_path)
    assert (sentence.image_ids, sentence.split) == (("COCO_val2014_000000458752",), "val")
