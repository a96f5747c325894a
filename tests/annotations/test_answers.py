"""VQA's answers: how they are compared, what they score, and the tables that published models use."""

import json
import os
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.answers import normalize_answer, read_answer_vocabulary, soft_answers
from annotations.guards.drops import DataError

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))


@pytest.mark.parametrize(
    ("given_answer", "compared"),
    [
        ("A net!", "net"),
        ("the  Two dogs.", "2 dogs"),
        ("dont know", "don't know"),
        ("It aint", "it ain't"),
        ("couldn'tve", "couldn't've"),
        ("ow's'at", "'ow's'at"),
        ("lets go", "lets go"),
        ("couldntve", "couldntve"),
        ("none", "0"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("yes.\n", "yes"),
        ("man's", "man's"),
        ("an", ""),
        ("St. Louis", "st louis"),
    ],
)
def test_answers_are_compared_as_the_official_evaluation_does(given_answer, compared):
    assert normalize_answer(given_answer) == compared


@given(st.text(max_size=20))
def test_normalising_any_text_leaves_single_spaces_and_no_articles(text):
    words = normalize_answer(text).split(" ")
    assert words == [""] or all(words)
    assert not {"a", "an", "the"} & set(words)


@given(st.lists(st.sampled_from(["net", "fence", "gate", "wall"]), min_size=2, max_size=10))
def test_the_soft_score_is_the_mean_over_everyone_left_out(people):
    expected = {}
    for answer in set(people):
        leaves = list(combinations(people, len(people) - 1))
        expected[answer] = sum(min(1, sum(each == answer for each in rest) / 3) for rest in leaves) / len(leaves)
    found = soft_answers(people)
    assert {each.text: each.weight for each in found} == pytest.approx(expected, abs=1e-6)
    assert [each.weight for each in found] == sorted((each.weight for each in found), reverse=True)


@pytest.mark.parametrize(("count", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_of_ten_people_one_to_four_give_the_known_scores(count, score):
    people = ["net"] * count + [f"other {number}" for number in range(10 - count)]
    assert next(each.weight for each in soft_answers(people) if each.text == "net") == pytest.approx(score)


@pytest.mark.parametrize(
    "content",
    [["net", "fence"], {"fence": 1, "net": 0}, [{"ans": "net", "dsets": ["vqa"]}, {"ans": "fence", "dsets": []}]],
)
def test_tables_of_three_layouts_give_the_same_ids(content, tmp_path):
    (tmp_path / "table.json").write_text(json.dumps(content))
    assert read_answer_vocabulary(tmp_path / "table.json").ids() == {"net": 0, "fence": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["net", "net"]', "'net' is there 2 times"),
        ('{"net": 0, "fence": 0}', "ids are not 0 to 1"),
        ('{"net": 1}', "ids are not 0 to 0"),
        ('{"net": false}', "ids are not 0 to 0"),
        ('{"net": "0"}', "ids are not 0 to 0"),
        ("[7]", "entry 0 is 7"),
        ("7", "holds a JSON int"),
        ("[", "not JSON"),
    ],
)
def test_a_bad_table_is_an_error_that_names_it(content, message, tmp_path):
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(DataError, match=message) as refusal:
        read_answer_vocabulary(tmp_path / "table.json")
    assert "table.json" in str(refusal.value)
    with pytest.raises(DataError, match="no such file"):
        read_answer_vocabulary(tmp_path / "absent.json")


@pytest.mark.skipif(not (DATA / "answers").is_dir(), reason=f"{DATA} holds no answers")
@pytest.mark.parametrize(
    ("table", "count"),
    [
        ("vqa/trainval_label2ans.json", 3129),
        ("vqa/trainval_ans2label.json", 3129),
        ("gqa/trainval_label2ans.json", 1842),
        ("gqa/trainval_ans2label.json", 1842),
        ("lxmert/all_ans.json", 9500),
    ],
)
def test_the_published_tables_have_their_known_sizes(table, count):
    assert len(read_answer_vocabulary(DATA / "answers" / table).answers) == count
