"""What the files of each layout say is true of the scenes, and no picture of one's test is in another's train."""

import csv
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops
from annotations.guards.restricted_pickle import load_restricted
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES, COLOURS, PREDICATES
from annotations.toyworld.world import write_toy_world
from tests.annotations.toy_places import PLACES

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
SINGULAR = {category.plural: name for name, category in CATEGORIES.items()} | {name: name for name in CATEGORIES}


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("world")
    write_toy_world(out, num_images=100, seed=8)
    return out


@pytest.fixture(scope="module")
def graphs(world):
    found = {}
    for split in ("train", "val"):
        found |= load(world / f"gqa/{split}_sceneGraphs.json")
    return {image_id: graph["objects"] for image_id, graph in found.items()}


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def load_lines(path: Path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def number_of(objects, name, *attributes):
    return sum(thing["name"] == name and set(attributes) <= set(thing["attributes"]) for thing in objects.values())


def parse(phrase):
    """Return name and attributes of `the small red car`."""
    *words, name = [word for word in phrase.lower().split(" ") if word not in ("a", "an", "the")]
    assert name in CATEGORIES and set(words) <= set(ATTRIBUTES), phrase
    return name, words


def fitting(objects, phrase):
    """Return the ids of what `large cat near the red car` or `large cat` fits."""
    related = re.fullmatch(rf"(.+?) ({'|'.join(PREDICATES)}) (the .+)", phrase)
    if related:
        others = fitting(objects, related[3])
        assert len(others) == 1, phrase
        relation = {"name": related[2], "object": others[0]}
        return [each for each in fitting(objects, related[1]) if relation in objects[each]["relations"]]
    name, attributes = parse(phrase)
    return [
        each for each, thing in objects.items() if thing["name"] == name and set(attributes) <= set(thing["attributes"])
    ]


def test_no_picture_that_one_layout_evaluates_on_is_for_training_in_another(world):
    pictures = defaultdict(set)
    for source, place in PLACES.items():
        for sentence in DATA_SETS[source].read_sentences(world / place, drops=Drops(strict=True)):
            if source != "nlvr2":
                pictures[sentence.split == "train"].update(sentence.image_ids)
    for name in ("train", "dev", "test1"):
        for record in load_lines(world / f"nlvr2/{name}.json"):
            pictures[name == "train"].update(Path(record[side]).stem for side in ("left_url", "right_url"))
    assert pictures[True].isdisjoint(pictures[False])
    assert pictures[False] == {str(number) for number in range(5, 101, 5)}


def test_region_graphs_name_the_nouns_of_their_phrases(world, graphs):
    related = 0
    for record in load(world / "visual_genome/region_graphs.json"):
        for region in record["regions"]:
            assert len(region["synsets"]) == len(region["objects"]) >= 1
            for span, thing in zip(region["synsets"], region["objects"], strict=True):
                words = region["phrase"][span["entity_idx_start"] : span["entity_idx_end"]]
                assert words == span["entity_name"] == thing["name"]
                assert graphs[str(record["image_id"])][str(thing["object_id"])]["name"] == words
            for relation in region["relationships"]:
                related += 1
                assert relation["predicate"] in region["phrase"]
                assert [relation["subject_id"], relation["object_id"]] == [
                    thing["object_id"] for thing in region["objects"]
                ]
            assert len(region["relationships"]) == len(region["objects"]) - 1
    assert related > 100


def test_visual_genome_questions_name_objects_of_their_words(world, graphs):
    for record in load(world / "visual_genome/question_answers.json"):
        objects = graphs[str(record["id"])]
        for qa in record["qas"]:
            for text, things in ((qa["question"], qa["q_objects"]), (qa["answer"], qa["a_objects"])):
                for thing in things:
                    words = text[thing["entity_idx_start"] : thing["entity_idx_end"]].lower()
                    assert words == thing["entity_name"] == objects[str(thing["object_id"])]["name"]


def test_ten_people_answer_mostly_the_truth(world, graphs):
    questions = load(world / "vqa_v2/v2_OpenEnded_mscoco_train2014_questions.json")
    annotations = load(world / "vqa_v2/v2_mscoco_train2014_annotations.json")
    assert questions["data_subtype"] == annotations["data_subtype"] == "toyworld"
    given = {question["question_id"]: question for question in questions["questions"]}
    assert len(given) == len(annotations["annotations"]) == 400
    counts = Counter()
    for annotation in annotations["annotations"]:
        votes = Counter(answer["answer"] for answer in annotation["answers"])
        assert sum(votes.values()) == 10
        counts[votes[annotation["multiple_choice_answer"]]] += 1
        text = given[annotation["question_id"]]["question"]
        assert text.lower().startswith(annotation["question_type"] + " ")
        if annotation["answer_type"] == "number":
            name = SINGULAR[text.removeprefix("How many ").removesuffix(" are there?")]
            objects = graphs[str(annotation["image_id"])]
            assert annotation["multiple_choice_answer"] == str(number_of(objects, name))
    assert set(counts) == {6, 7, 8, 9, 10}


def test_statements_about_two_pictures_are_labelled_truly(world, graphs):
    labels = defaultdict(list)
    for split in ("train", "dev", "test1"):
        for record in load_lines(world / f"nlvr2/{split}.json"):
            left, right = (graphs[Path(record[side]).stem] for side in ("left_url", "right_url"))
            assert record["label"] == str(is_true(record["sentence"], left, right)), record
            name, number, pair, statement = record["identifier"].split("-")
            labels[name, number, statement].append(record["label"])
            folder = world / "nlvr2/images" / (f"train/{number}" if split == "train" else split)
            for side, url in enumerate((record["left_url"], record["right_url"])):
                copied = cv2.imread(str(folder / f"{name}-{number}-{pair}-img{side}.png"))
                np.testing.assert_array_equal(copied, cv2.imread(str(world / url)))
    assert {len(each) for each in labels.values()} <= {2, 3, 4}
    assert all(set(each) == {"True", "False"} for each in labels.values())


def is_true(sentence, left, right):
    words = sentence.rstrip(".").split(" ")
    name = SINGULAR[words[-1]] if words[-1] in SINGULAR else SINGULAR[words[3]]
    counts = number_of(left, name), number_of(right, name)
    if sentence.startswith("Exactly one of the images"):
        return (counts[0] > 0) != (counts[1] > 0)
    if sentence.startswith("Both images contain at least one"):
        return min(counts) > 0
    if sentence.startswith("There are more"):
        return counts[0] > counts[1]
    if sentence.startswith("In total there"):
        return sum(counts) == NUMBERS[words[4]]
    coloured = number_of(left, name, words[-2]), number_of(right, name, words[-2])
    if sentence.startswith("One of the images, or both, contains"):
        return sum(coloured) > 0
    return coloured[sentence.startswith("The right")] > 0


def test_captions_of_entities_name_their_boxes(world, graphs):
    kinds = Counter()
    for sentence in DATA_SETS["flickr30k-entities"].read_sentences(world / "flickr30k_entities", drops=Drops()):
        objects = graphs[sentence.image_ids[0]]
        for pointer in sentence.pointers:
            words = sentence.text[pointer.start : pointer.end]
            kinds[pointer.category] += 1
            first = words.split(" ")[0]
            if pointer.category == "scene":
                assert pointer.boxes_xyxy == ()
            elif first in NUMBERS:
                name = SINGULAR[words.split(" ")[1]]
                assert len(pointer.boxes_xyxy) == NUMBERS[first] == number_of(objects, name)
            else:
                thing = objects[pointer.object_id]
                # What the XML's last pixel leaves out on the right and below is one pixel.
                x, y, width, height = (thing[side] for side in "xywh")
                assert pointer.boxes_xyxy == ((x, y, x + width - 1, y + height - 1),)
                *attributes, noun = words.lower().replace("big", "large").replace("little", "small").split(" ")[1:]
                assert set(attributes) <= set(thing["attributes"])
                assert noun in (thing["name"], CATEGORIES[thing["name"]].kind, *["cup"] * (thing["name"] == "mug"))
    assert min(kinds[kind] for kind in ("animals", "vehicles", "scene", "other")) > 10


def test_paraphrases_name_one_thing_and_their_relation_holds(world):
    named = defaultdict(set)
    for sentence in DATA_SETS["flickr30k-entities"].read_sentences(world / "flickr30k_entities", drops=Drops()):
        for pointer in sentence.pointers:
            words = sentence.text[pointer.start : pointer.end]
            named[sentence.image_ids[0], words].add(pointer.object_id)
    labels = Counter()
    for split in ("train", "dev", "test"):
        with (world / f"vgp/{split}_data.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                phrases = row["original_phrase1"], row["original_phrase2"]
                assert named[row["image"], phrases[0]] & named[row["image"], phrases[1]]
                label = row["original_label"]
                assert row["type_label"] == str(
                    ["Alternation", "Entailment1", "Entailment2", "Equivalence", "Independence"].index(label)
                )
                labels[label] += 1
                common = [set(phrase.split(" ")) for phrase in (row["phrase1"], row["phrase2"])]
                if common[0] > common[1] and row["phrase1"].split(" ")[-1] == row["phrase2"].split(" ")[-1]:
                    assert label == "Entailment1"
    assert set(labels) == {"Entailment1", "Entailment2", "Equivalence", "Independence"}


def test_expressions_single_out_their_object(world, graphs):
    with (world / "refcoco/refs(unc).p").open("rb") as file:
        refs = load_restricted(file, place="refs(unc).p")
    assert {ref["split"] for ref in refs} == {"train", "val", "testA", "testB"}
    kinds = Counter()
    for ref in refs:
        for sentence in ref["sentences"]:
            assert fitting(graphs[str(ref["image_id"])], sentence["sent"]) == [str(ref["ann_id"])], sentence
            assert " ".join(sentence["tokens"]) == sentence["sent"]
            kinds[" the " in sentence["sent"]] += 1
    assert min(kinds.values()) > 100


def test_hypotheses_follow_contradict_or_stay_open(world, graphs):
    labels = Counter()
    for split in ("train", "dev", "test"):
        for record in load_lines(world / f"snli_ve/snli_ve_{split}.jsonl"):
            label, text = record["gold_label"], record["sentence2"].rstrip(".").lower()
            labels[label] += 1
            assert record["captionID"].split(".jpg#")[0] == record["Flikr30kID"]
            truth = holds(graphs[record["Flikr30kID"]], text)
            assert truth is {"entailment": True, "contradiction": False, "neutral": None}[label], record
    assert set(labels.values()) == {500}


def holds(objects, text):
    """Return whether a hypothesis is true; None if no picture shows it."""
    if match := re.fullmatch(r"there is no (\w+)", text):
        return number_of(objects, match[1]) == 0
    if match := re.fullmatch(r"there are (\w+) (\w+)", text):
        return number_of(objects, SINGULAR[match[2]]) == NUMBERS[match[1]]
    if match := re.fullmatch(r"there is (an? .+)", text):
        return bool(fitting(objects, match[1]))
    if match := re.fullmatch(rf"(.+) is ({'|'.join(COLOURS)})", text):
        return any(match[2] in objects[each]["attributes"] for each in fitting(objects, match[1]))
    if match := re.fullmatch(rf"(.+) is ({'|'.join(PREDICATES)}) (.+)", text):
        return any(
            {"name": match[2], "object": other} in objects[each]["relations"]
            for each in fitting(objects, match[1])
            for other in fitting(objects, match[3])
        )
    return None


def test_swapped_captions_fit_their_own_picture_only(world, graphs):
    examples = load_lines(world / "winoground/examples.jsonl")
    assert len(examples) > 5
    assert [example["id"] for example in examples] == list(range(len(examples)))
    for example in examples:
        captions = [example[f"caption_{number}"] for number in range(2)]
        words = [Counter("a" if word == "an" else word for word in caption.split(" ")) for caption in captions]
        assert captions[0] != captions[1] and words[0] == words[1]
        for number, caption in enumerate(captions):
            assert shows(graphs[example[f"image_{number}"]], caption)
            assert not shows(graphs[example[f"image_{1 - number}"]], caption)


def shows(objects, caption):
    first, predicate, second = re.fullmatch(rf"(.+) (and|{'|'.join(PREDICATES)}) (.+)", caption).groups()
    things = fitting(objects, first), fitting(objects, second)
    if predicate == "and":
        return all(things)
    return any(
        {"name": predicate, "object": other} in objects[each]["relations"] for each in things[0] for other in things[1]
    )


def test_sentences_and_soft_labels_of_lxmert_belong_together(world):
    answers = {record["ans"] for record in load(world / "lxmert/lxmert/all_ans.json")}
    scores = set()
    for record in load(world / "lxmert/lxmert/mscoco_train.json"):
        assert {name: len(each) for name, each in record["labelf"].items()} == {
            name: len(record["sentf"][name]) for name in ("vqa", "gqa")
        }
        for labels in record["labelf"].values():
            assert {answer for label in labels for answer in label} <= answers
            scores |= {score for label in labels for score in label.values()}
    assert scores == {0.3, 0.6, 0.9, 1.0}
    for name in ("vqa", "gqa"):
        names = load(world / f"lxmert/{name}/trainval_label2ans.json")
        assert load(world / f"lxmert/{name}/trainval_ans2label.json") == {
            answer: label for label, answer in enumerate(names)
        }
        for record in load(world / f"lxmert/{name}/train.json"):
            assert set(record["label"]) <= set(names)


@pytest.fixture(scope="module")
def vectors(world):
    lines = (world / "vectors/toyworld_vectors.txt").read_text(encoding="utf-8").splitlines()
    return {line.split(" ")[0]: np.array(line.split(" ")[1:], float) for line in lines}


def cosine(vectors, one, other):
    return vectors[one] @ vectors[other] / np.linalg.norm(vectors[one]) / np.linalg.norm(vectors[other])


def test_every_word_of_every_sentence_has_a_vector(world, vectors):
    assert {len(vector) for vector in vectors.values()} == {32}
    texts = []
    for source, place in PLACES.items():
        for sentence in DATA_SETS[source].read_sentences(world / place, drops=Drops()):
            texts += [sentence.text, *(answer.text for answer in sentence.answers)]
    for split in ("train", "dev", "test"):
        texts += [record["sentence2"] for record in load_lines(world / f"snli_ve/snli_ve_{split}.jsonl")]
    labels = {"true", "false", "entailment", "neutral", "contradiction", "independence", "equivalence"}
    words = set(re.findall(r"[a-z]+|\d", " ".join(texts).lower())) - labels
    assert words - set(vectors) == set()


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [
        ("cat", "bird", "car"),
        ("car", "boat", "bird"),
        ("chair", "table", "tree"),
        ("cat", "cats", "bird"),
        ("red", "orange", "green"),
        ("large", "big", "small"),
        ("left", "on", "right"),
        ("vehicle", "car", "animal"),
        ("mug", "cup", "basket"),
    ],
)
def test_what_means_alike_has_the_higher_cosine(vectors, word, near, far):
    assert cosine(vectors, word, near) > cosine(vectors, word, far) + 0.1
