"""VQA v2's accuracy, against leaving each person out by hand; ids that do not match; the file for the server."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.answers import normalize_answer, nothing_score, soft_answers
from annotations.datasets.vqa_v2 import read_question_records, to_sentences
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer, Sentence, SentenceImage
from training.figures import Figure
from training.tasks.vqa_v2 import score, write_submission

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))


def question(number, people=(), **details):
    """Return a question as the reader makes one of people's answers."""
    if nothing := nothing_score(people):
        details["nothing_score"] = nothing
    return Sentence(
        sentence_id=str(number),
        images=(SentenceImage(image_id="COCO_val2014_000000458752"),),
        text="What is this photo taken looking through?",
        source="vqa-v2",
        split="val",
        answers=soft_answers(people),
        details={"question_id": str(number)} | details,
    )


def people(count):
    return ["net"] * count + [f"other {number}" for number in range(10 - count)]


@pytest.mark.parametrize(("count", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_what_so_many_of_ten_people_said_scores_the_known_accuracy(count, accuracy):
    found = score([question(1, people(count), answer_type="other")], {"1": "net"})
    assert found.accuracy.value == pytest.approx(accuracy)
    assert found.accuracy.of == 1


@settings(max_examples=50)
@given(
    said=st.lists(
        st.sampled_from(["net", "a net", "Net.", "two", "2", "black/white", "dont"]), min_size=10, max_size=10
    ),
    predicted=st.sampled_from(["the net!", "2", "TWO", "black white", "don't", "sky"]),
)
def test_the_accuracy_is_the_mean_over_everyone_left_out(said, predicted):
    agree = [normalize_answer(each) == normalize_answer(predicted) for each in said]
    expected = sum(min(1, (sum(agree) - agree[left_out]) / 3) for left_out in range(10)) / 10
    assert score([question(1, said, answer_type="other")], {"1": predicted}).accuracy.value == pytest.approx(expected)


MARKS = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]
DIGITS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "ten": "10"}
APOSTROPHES = {"dont": "don't", "isnt": "isn't"}


def as_officially(text):
    """The rules of visualqa.org/evaluation.html, written down again: marks, then numbers, articles and apostrophes."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    inside = re.search(r"[0-9],[0-9]", text) is not None
    cleaned = text
    for mark in MARKS:
        beside_space = mark + " " in text or " " + mark in text
        cleaned = "".join(("" if beside_space or inside else " ") if each == mark else each for each in cleaned)
    cleaned = re.sub(r"\.(?![0-9])", "", cleaned)
    words = [DIGITS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(APOSTROPHES.get(word, word) for word in words if word not in ("a", "an", "the"))


def official_accuracy(said, predicted):
    """The mean over ten people of min(1, those of the nine others who said it / 3), where not all said the same."""
    others = [[each for place, each in enumerate(said) if place != left_out] for left_out in range(len(said))]
    agreed = [sum(as_officially(each) == as_officially(predicted) for each in nine) for nine in others]
    return sum(min(1, each / 3) for each in agreed) / len(said)


SAID = ["a", "?", "the", " ", "net", "a net", "Net.", "two", "2", "black/white", "black, white", "dont", "1,000", "-"]


@settings(max_examples=200)
@given(said=st.lists(st.sampled_from(SAID), min_size=10, max_size=10), predicted=st.sampled_from(SAID))
def test_the_accuracy_is_that_of_the_official_rules_also_of_answers_of_which_nothing_is_left(said, predicted):
    found = score([question(1, said, answer_type="other")], {"1": predicted}).accuracy.value
    assert found == pytest.approx(official_accuracy(said, predicted), abs=1e-6)


def test_the_reader_keeps_what_answers_of_which_nothing_is_left_are_worth(tmp_path):
    asked = {"question_id": 1, "image_id": 9, "question": "What letter is it?"}
    answers = [{"answer": each} for each in ["a", "A.", "the", *["b"] * 7]]
    told = {"question_id": 1, "question_type": "what", "answer_type": "other", "answers": answers}
    (tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps({"questions": [asked]}))
    (tmp_path / "v2_mscoco_val2014_annotations.json").write_text(json.dumps({"annotations": [told]}))
    drops = Drops()
    (record,) = read_question_records(tmp_path, drops=drops)
    (sentence,) = to_sentences(record, drops=drops)
    assert score([sentence], {"1": "?"}).accuracy.value == pytest.approx(0.9)
    assert score([sentence], {"1": "b"}).accuracy.value == 1
    assert score([sentence], {"1": "c"}).accuracy.value == 0


def test_accuracies_are_told_for_each_type_with_the_number_of_questions():
    found = score(
        [
            question(1, people(10), answer_type="other", question_type="what is"),
            question(2, people(1), answer_type="other", question_type="what is the"),
            question(3, ["yes"] * 10, answer_type="yes/no"),
            question(4, ["3"] * 10, answer_type="number", question_type="how many"),
        ],
        {"1": "net", "2": "Net", "3": "no", "4": "three"},
    )
    assert found.accuracy == Figure(value=0.575, of=4)
    assert found.per_answer_type == {
        "number": Figure(value=1.0, of=1),
        "other": Figure(value=0.65, of=2),
        "yes/no": Figure(value=0.0, of=1),
    }
    assert {name: figure.of for name, figure in found.per_question_type.items()} == {
        "how many": 1,
        "what is": 1,
        "what is the": 1,
    }


def test_soft_scores_from_a_published_table_count_as_they_are():
    stored = replace(question(1), answers=(Answer(text="net", weight=0.9), Answer(text="fence", weight=0.3)))
    assert score([stored], {"1": "a fence"}).accuracy == Figure(value=0.3, of=1)


def test_a_question_of_an_older_store_is_scored_without_answers_of_which_nothing_is_left():
    old = replace(question(1, ["the"] * 4 + ["net"] * 6), details={"answer_type": "other"})
    assert score([old], {"1": "the"}).accuracy == Figure(value=0.0, of=1)
    assert score([old], {"1": "net"}).accuracy == Figure(value=1.0, of=1)


@pytest.mark.parametrize(
    ("ids", "predicted", "message"),
    [
        ("12345", "1", r"'2', '3', '4' ...: 4 of 5 sentences: no prediction"),
        ("12", "123", r"'3': 1 of 3 predictions: no such sentence among the 2"),
        ("121", "12", r"'1': is there twice"),
        ("", "", r"no sentences"),
    ],
)
def test_ids_that_do_not_match_are_an_error_that_names_the_first(ids, predicted, message, tmp_path):
    sentences = [question(each, people(4), answer_type="other") for each in ids]
    predictions = dict.fromkeys(predicted, "net")
    with pytest.raises(DataError, match=message):
        score(sentences, predictions)
    with pytest.raises(DataError, match=message):
        write_submission(tmp_path / "answers.json", sentences, predictions)
    assert not list(tmp_path.iterdir())


def test_a_test_question_has_no_score():
    with pytest.raises(DataError, match="'1': no answers to compare with"):
        score([question(1)], {"1": "net"})


def test_a_type_that_is_no_text_is_an_error():
    with pytest.raises(DataError, match=r"'1': answer_type is \['other'\], expected a str"):
        score([question(1, people(4), answer_type=["other"])], {"1": "net"})


def test_the_submission_is_sorted_by_question_number(tmp_path):
    write_submission(
        tmp_path / "answers.json", [question(1000), question(999), question(30)], {"30": "a", "999": "b", "1000": "c"}
    )
    assert json.loads((tmp_path / "answers.json").read_text()) == [
        {"question_id": 30, "answer": "a"},
        {"question_id": 999, "answer": "b"},
        {"question_id": 1000, "answer": "c"},
    ]


def test_a_submission_of_a_question_whose_id_is_no_number_is_an_error(tmp_path):
    with pytest.raises(DataError, match="its id is 'q7', expected a number"):
        write_submission(tmp_path / "answers.json", [question("q7")], {"q7": "net"})


@pytest.mark.skipif(not (DATA / "vqa_v2").is_dir(), reason=f"{DATA} holds no vqa_v2")
def test_what_most_people_said_scores_as_if_each_were_left_out_on_real_questions():
    drops = Drops()
    records = list(read_question_records(DATA / "vqa_v2", drops=drops))
    sentences = [each for record in records for each in to_sentences(record, drops=drops)]
    best = {each.sentence_id: each.answers[0].text for each in sentences}
    expected = []
    for record in records:
        said = [normalize_answer(each) for each in record["votes"]["answers"]]
        agree = said.count(best[str(record["question"]["question_id"])])
        expected.append((agree * min(1, (agree - 1) / 3) + (10 - agree) * min(1, agree / 3)) / 10)
    found = score(sentences, best)
    assert found.accuracy.of == 98
    assert found.accuracy.value == pytest.approx(sum(expected) / 98, abs=1e-6)
    assert sum(each.of for each in found.per_answer_type.values()) == 98
