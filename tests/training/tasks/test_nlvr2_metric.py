"""NLVR2's figures on cases counted by hand and on guesses about the real statements; its file."""

import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from annotations.datasets.nlvr2 import read_statement_records, to_sentences
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer, Sentence, SentenceImage
from training.figures import Figure
from training.tasks.nlvr2 import score, write_submission

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))


def statements(*labels_of_sets):
    """One statement a set, about a pair of images for each letter: T or F."""
    records = [
        {"split": "val", "place": "dev.json", "statement": statement(f"dev-{number}-{pair}-0", label)}
        for number, labels in enumerate(labels_of_sets)
        for pair, label in enumerate(labels)
    ]
    return [sentence for record in records for sentence in to_sentences(record, drops=Drops(strict=True))]


def statement(identifier, label):
    return {
        "identifier": identifier,
        "sentence": "There is a dog.",
        "label": {"T": "True", "F": "False"}[label],
    }


def test_accuracy_is_over_pairs_and_consistency_over_sentences():
    sentences = statements("TTTT", "TFTT", "TF")
    predictions = {each.sentence_id: each.answers[0].text for each in sentences}
    predictions["dev-1-1-0"] = "True"
    found = score(sentences, predictions)
    assert found.accuracy == Figure(value=0.9, of=10)
    assert found.consistency == Figure(value=pytest.approx(2 / 3), of=3)


def test_two_statements_about_the_same_pairs_are_two_sentences():
    one, other = statement("dev-5-0-0", "T"), statement("dev-5-0-1", "F")
    sentences = [
        sentence
        for each in (one, other)
        for sentence in to_sentences({"split": "val", "place": "", "statement": each}, drops=Drops(strict=True))
    ]
    found = score(sentences, {"dev-5-0-0": "True", "dev-5-0-1": "True"})
    assert found.consistency == Figure(value=0.5, of=2)


def test_the_order_of_the_statements_does_not_matter():
    sentences = statements("TFTT", "TF", "FFFF")
    predictions = {each.sentence_id: random.Random(each.sentence_id).choice(["True", "False"]) for each in sentences}
    assert score(sentences, predictions) == score(reversed(sentences), predictions)


@pytest.mark.parametrize("prediction", ["true", "1", ""])
def test_a_prediction_that_is_neither_is_an_error(prediction, tmp_path):
    with pytest.raises(DataError, match=f"'dev-0-0-0': prediction is '{prediction}', expected True or False"):
        score(statements("T"), {"dev-0-0-0": prediction})
    with pytest.raises(DataError, match="expected True or False"):
        write_submission(tmp_path / "dev.csv", statements("T"), {"dev-0-0-0": prediction})
    assert not list(tmp_path.iterdir())


def test_statements_without_predictions_are_named_and_counted():
    with pytest.raises(DataError, match="'dev-0-1-0', 'dev-0-2-0': 2 of 3 sentences: no prediction"):
        score(statements("TTT"), {"dev-0-0-0": "True"})


def test_the_public_and_the_unseen_test_set_are_told_apart():
    sets = {"test1": "TFT", "test2": "FF"}
    sentences = [
        replace(
            statement,
            sentence_id=statement.sentence_id.replace("dev", name),
            details={each: value.replace("dev", name) for each, value in statement.details.items()},
        )
        for name, labels in sets.items()
        for statement in statements(labels)
    ]
    found = score(sentences, {each.sentence_id: "True" for each in sentences})
    assert found.accuracy == Figure(value=2 / 5, of=5)
    assert {name: figures["accuracy"] for name, figures in found.per_set.items()} == {
        "test1": Figure(value=2 / 3, of=3),
        "test2": Figure(value=0.0, of=2),
    }
    assert {name: figures["consistency"].of for name, figures in found.per_set.items()} == {"test1": 1, "test2": 1}


def test_a_statement_without_label_or_group_has_no_score():
    image = SentenceImage(image_id="dev-0-0-img0")
    bare = Sentence(sentence_id="1", images=(image, image), text="A dog.", source="lxmert-json", split="val")
    with pytest.raises(DataError, match="sentence '1' of lxmert-json: no sentence_group"):
        score([bare], {"1": "True"})
    details = {"sentence_group": "dev-0-0"}
    secret = Sentence(
        sentence_id="1", images=(image, image), text="A dog.", source="nlvr2", split="test", details=details
    )
    with pytest.raises(DataError, match="'1': no answer to compare with"):
        score([secret], {"1": "True"})


def test_the_submission_has_a_line_for_each_statement(tmp_path):
    sentences = statements("TF")
    assert sentences[0].answers == (Answer(text="True"),)
    write_submission(tmp_path / "dev.csv", sentences, {"dev-0-0-0": "False", "dev-0-1-0": "True"})
    assert (tmp_path / "dev.csv").read_text() == "dev-0-0-0,False\ndev-0-1-0,True\n"


@pytest.mark.skipif(not (DATA / "nlvr2").is_dir(), reason=f"{DATA} holds no nlvr2")
def test_guesses_about_the_real_statements_are_right_half_of_the_time():
    drops = Drops()
    records = read_statement_records(DATA / "nlvr2", drops=drops)
    sentences = [sentence for record in records for sentence in to_sentences(record, drops=drops)]
    chance = random.Random(17)
    found = score(sentences, {each.sentence_id: chance.choice(["True", "False"]) for each in sentences})
    print(f"guesses: accuracy {found.accuracy}, consistency {found.consistency}")
    assert found.accuracy.of == 6982
    assert abs(found.accuracy.value - 0.5) < 0.02
    pairs = Counter(each.details["sentence_group"] for each in sentences)
    assert found.consistency.of == len(pairs) == 2018
    assert abs(found.consistency.value - sum(0.5**number for number in pairs.values()) / 2018) < 0.02
