"""GQA's figures on cases counted by hand, against scipy, and on the toy world; its choices and its file."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from annotations.datasets.gqa import read_question_records, to_questions
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer, Sentence, SentenceImage
from annotations.toyworld.world import write_toy_world
from training.figures import Figure
from training.tasks.gqa import Choices, read_choices, score, write_submission

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))


def question(question_id, answer="yes", *, structural="verify", group=None, detailed="verifyAttr", **details):
    return Sentence(
        sentence_id=question_id,
        images=(SentenceImage(image_id="2354786"),),
        text="Is the sky dark?",
        source="gqa",
        split="val",
        answers=(Answer(text=answer),) if answer else (),
        details={
            "question_id": question_id,
            "types": {"structural": structural, "semantic": "attr", "detailed": detailed},
            "groups": {"global": group, "local": "06-sky_dark"},
        }
        | details,
    )


def read(path):
    drops = Drops()
    return [each for record in read_question_records(path, drops=drops) for each in to_questions(record, drops=drops)]


def test_consistency_is_about_questions_answered_right_that_entail_others():
    sentences = [
        question("a", entailed=["b", "c"]),
        question("b", entailed=["a"]),
        question("c"),
        question("d", entailed=["a", "b"]),
    ]
    found = score(sentences, {"a": "yes", "b": "yes", "c": "no", "d": "no"})
    assert found.consistency == Figure(value=0.75, of=2)
    assert found.num_entailed_absent == 0
    assert found.accuracy == Figure(value=0.5, of=4)


def test_a_question_does_not_vouch_for_itself():
    assert score([question("a", entailed=["a"])], {"a": "yes"}).consistency == Figure(value=None, of=0)


def test_balanced_questions_are_scored_and_the_others_are_entailed_by_them():
    sentences = [
        question("a", is_balanced=True, entailed=["b"]),
        question("b", is_balanced=False, entailed=["a"]),
        question("c", is_balanced=True),
    ]
    found = score(sentences, {"a": "yes", "b": "no", "c": "yes"})
    assert found.accuracy == Figure(value=1.0, of=2)
    assert found.consistency == Figure(value=0.0, of=1)


def test_entailed_questions_that_are_not_there_are_counted():
    found = score([question("a", entailed=["b", "x", "y"]), question("b", entailed=["x"])], {"a": "yes", "b": "yes"})
    assert found.consistency == Figure(value=1.0, of=1)
    assert found.num_entailed_absent == 3


def test_accuracy_is_told_for_open_and_binary_questions_and_each_type():
    sentences = [
        question("a"),
        question("b", structural="logical", detailed="verifyAttrs"),
        question("c", "sky", structural="query", detailed="relS"),
        question("d", "sky", types={}),
    ]
    found = score(sentences, {"a": "yes", "b": "no", "c": "sky", "d": "cloud"})
    assert found.accuracy == Figure(value=0.5, of=4)
    assert found.binary == Figure(value=0.5, of=2)
    assert found.open == Figure(value=1.0, of=1)
    assert {name: (each.value, each.of) for name, each in found.per_structural_type.items()} == {
        "logical": (0.0, 1),
        "query": (1.0, 1),
        "verify": (1.0, 1),
    }
    assert list(found.per_detailed_type) == ["relS", "verifyAttr", "verifyAttrs"]
    assert found.per_semantic_type == {"attr": Figure(value=pytest.approx(2 / 3), of=3)}


def test_answers_are_compared_letter_by_letter():
    assert score([question("a")], {"a": "Yes"}).accuracy.value == 0


def test_the_distribution_weighs_the_groups_by_their_questions():
    # colour: gold red 3, blue 1; predicted red 1, blue 3: 4/3 + 4/1 = 16/3, of 4 questions.
    # thing: gold sky 2; predicted sky 1, cloud 1, which is not looked at: 1/2, of 2 questions.
    gold = ["red", "red", "red", "blue", "sky", "sky", "yes"]
    predicted = ["red", "blue", "blue", "blue", "sky", "cloud", "no"]
    groups = ["colour"] * 4 + ["thing"] * 2 + [None]
    sentences = [
        question(str(n), answer, group=group) for n, (answer, group) in enumerate(zip(gold, groups, strict=True))
    ]
    found = score(sentences, {str(n): answer for n, answer in enumerate(predicted)})
    assert found.distribution == Figure(value=pytest.approx((4 * 16 / 3 + 2 * 1 / 2) / 6 / 100), of=6)


@settings(max_examples=50)
@given(
    gold=st.lists(st.sampled_from("rgb"), min_size=1, max_size=30).flatmap(
        lambda gold: st.tuples(
            st.just(gold), st.lists(st.sampled_from(sorted(set(gold))), min_size=len(gold), max_size=len(gold))
        )
    )
)
def test_in_one_group_the_distribution_is_the_chi_square_statistic(gold):
    gold, predicted = gold
    sentences = [question(str(n), answer, group="colour") for n, answer in enumerate(gold)]
    found = score(sentences, {str(n): answer for n, answer in enumerate(predicted)})
    observed, expected = Counter(predicted), Counter(gold)
    statistic = chisquare([observed[each] for each in sorted(expected)], [expected[each] for each in sorted(expected)])
    assert found.distribution.value == pytest.approx(statistic.statistic / 100)


def test_without_groups_there_is_no_distribution():
    assert score([question("a")], {"a": "yes"}).distribution == Figure(value=None, of=0)


def test_validity_and_plausibility_come_from_the_choices(tmp_path):
    (tmp_path / "val_choices.json").write_text(
        json.dumps(
            {
                "a": {"valid": ["red", "green", "purple"], "plausible": ["red", "green"]},
                "b": {"valid": ["yes", "no"], "plausible": ["yes", "no"]},
                "c": {"valid": [], "plausible": []},
            }
        )
    )
    choices = read_choices(tmp_path / "val_choices.json")
    assert choices["a"] == Choices(valid=("red", "green", "purple"), plausible=("red", "green"))
    sentences = [question("a", "red"), question("b"), question("c", "color", detailed="twoCommon")]
    found = score(sentences, {"a": "purple", "b": "dog", "c": "material"}, choices=choices)
    assert found.validity == Figure(value=pytest.approx(2 / 3), of=3)
    assert found.plausibility == Figure(value=pytest.approx(1 / 3), of=3)
    without = score(sentences, {"a": "purple", "b": "dog", "c": "material"})
    assert (without.validity, without.plausibility) == (None, None)


def test_choices_of_another_split_or_layout_are_an_error(tmp_path):
    with pytest.raises(DataError, match="'a': no choices; check that they are of the questions' split"):
        score([question("a")], {"a": "yes"}, choices={})
    (tmp_path / "val_choices.json").write_text('{"a": {"valid": "red", "plausible": []}}')
    with pytest.raises(DataError, match="question 'a': valid is not a list"):
        read_choices(tmp_path / "val_choices.json")


@pytest.mark.parametrize(
    ("sentence", "predictions", "message"),
    [
        (question("a"), {}, "'a': 1 of 1 sentences: no prediction"),
        (question("a"), {"a": "yes", "b": "no"}, "'b': 1 of 2 predictions: no such sentence"),
        (question("a", ""), {"a": "yes"}, "'a': no answer to compare with"),
        (question("a", entailed="b"), {"a": "yes"}, "'a': entailed is 'b', expected a list"),
        (question("a", is_balanced="no"), {"a": "yes"}, "'a': is_balanced is 'no', expected a bool"),
    ],
)
def test_what_cannot_be_scored_is_an_error_that_names_it(sentence, predictions, message):
    with pytest.raises(DataError, match=message):
        score([sentence], predictions)


def test_the_submission_has_the_official_fields(tmp_path):
    write_submission(
        tmp_path / "answers.json", [question("02930152"), question("b", "")], {"02930152": "yes", "b": "no"}
    )
    assert json.loads((tmp_path / "answers.json").read_text()) == [
        {"questionId": "02930152", "prediction": "yes"},
        {"questionId": "b", "prediction": "no"},
    ]


def test_whoever_answers_every_question_of_the_toy_world_right_is_consistent(tmp_path):
    write_toy_world(tmp_path, num_images=20, seed=3)
    sentences = read(tmp_path / "gqa")
    gold = {each.sentence_id: each.answers[0].text for each in sentences}
    best = score(sentences, gold)
    assert best.accuracy == Figure(value=1.0, of=len(sentences))
    assert best.binary.of + best.open.of == len(sentences)
    assert best.num_entailed_absent == 0
    assert best.consistency == Figure(
        value=1.0, of=sum(bool(set(each.details["entailed"]) - {each.sentence_id}) for each in sentences)
    )
    assert best.distribution.value == 0
    assert best.distribution.of > 0
    worse = score(sentences, dict.fromkeys(gold, "yes"))
    assert worse.open.value == 0
    assert worse.distribution.value > 0


@pytest.mark.skipif(not (DATA / "gqa").is_dir(), reason=f"{DATA} holds no gqa")
def test_of_the_four_real_questions_the_one_that_is_marked_balanced_is_scored(tmp_path):
    for path in (DATA / "gqa").glob("*.json"):  # under names that say their split
        name = path.name if path.name.startswith("train") else f"train_{path.name}"
        (tmp_path / name).symlink_to(path.absolute())
    sentences = read(tmp_path)
    found = score(sentences, {each.sentence_id: each.answers[0].text for each in sentences})
    assert len(sentences) == 4
    assert found.accuracy == Figure(value=1.0, of=1)
    assert list(found.per_detailed_type) == ["relS"]
    assert found.consistency.of == 0
    assert found.num_entailed_absent == 1
    assert found.distribution == Figure(value=0.0, of=1)
