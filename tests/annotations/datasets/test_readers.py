"""Every JSON and table reader: official records, damaged ones, and the real files with the counts known of them."""

import gzip
import json
import os
from pathlib import Path

import pytest

from annotations.datasets import gqa
from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))

COCO_IMAGES = [
    {"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480},
    {"id": 25, "file_name": "COCO_train2014_000000000025.jpg", "width": 640, "height": 426},
]
CAPTIONS = {
    "info": {},
    "annotations": [
        {"image_id": 9, "id": 661611, "caption": "A bowl. "},
        {"image_id": 25, "id": 2, "caption": "A giraffe."},
    ],
    "images": COCO_IMAGES,
}
INSTANCES = {
    "images": COCO_IMAGES,
    "annotations": [
        {
            "image_id": 9,
            "id": 1,
            "category_id": 51,
            "bbox": [1.5, 187, 611, 900],
            "iscrowd": 0,
            "segmentation": [[1, 2]],
        },
        {"image_id": 9, "id": 2, "category_id": 51, "bbox": [1, 2, 3, 4], "iscrowd": 1},
    ],
    "categories": [{"id": 51, "name": "bowl", "supercategory": "kitchen"}],
}
REGIONS = [
    {
        "id": 1,
        "regions": [
            {
                "region_id": 1382,
                "width": 82,
                "height": 139,
                "image_id": 1,
                "phrase": " the Clock is green. ",
                "y": 57,
                "x": 421,
            },
            {"region_id": 1383, "width": 10, "height": 10, "image_id": 1, "phrase": "shade", "y": 0, "x": 0},
        ],
    }
]
GRAPHS = [
    {
        "image_id": 1,
        "regions": [
            {
                "region_id": 1382,
                "phrase": " the Clock is green. ",
                "objects": [{"name": "clock", "object_id": 7, "x": 421, "y": 91, "w": 79, "h": 339}],
                "synsets": [
                    {"entity_idx_start": 5, "entity_idx_end": 10, "entity_name": "clock", "synset_name": "clock.n.01"}
                ],
            }
        ],
    }
]
QUESTION_ANSWERS = [
    {
        "id": 1,
        "qas": [
            {
                "qa_id": 3,
                "image_id": 1,
                "question": "What is it?",
                "answer": "A clock.",
                "q_objects": [],
                "a_objects": [],
            }
        ],
    },
    {
        "id": 2,
        "qas": [{"qa_id": 4, "image_id": 2, "question": "Where?", "answer": "Here.", "q_objects": [], "a_objects": []}],
    },
]
IMAGE_DATA = [{"image_id": 1, "width": 800, "height": 600, "coco_id": 248774, "url": "", "flickr_id": None}]
RELATIONSHIPS = [
    {
        "image_id": 1,
        "relationships": [
            {
                "relationship_id": 15927,
                "predicate": "ON",
                "subject": {"name": "Shade", "object_id": 5045, "x": 119, "y": 338, "w": 274, "h": 192},
                "object": {"names": ["sidewalk"], "object_id": 5046, "x": 78, "y": 308, "w": 722, "h": 290},
            }
        ],
    }
]
OBJECTS = [
    {"image_id": 1, "objects": [{"object_id": 7, "names": ["car"], "x": 1, "y": 2, "w": 3, "h": 4, "synsets": []}]}
]
OBJECT_ATTRIBUTES = [{"image_id": 1, "attributes": [{"object_id": 7, "attributes": ["Red"]}]}]
QUESTIONS = {
    "02930152": {
        "question": "Is the sky, dark?",
        "imageId": "2354786",
        "isBalanced": True,
        "answer": "yes",
        "fullAnswer": "Yes, the sky is dark.",
        "annotations": {"answer": {}, "question": {"2": "11", "1:3": "11"}, "fullAnswer": {"2": "11"}},
        "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
        "entailed": ["1"],
        "equivalent": ["02930152"],
        "semanticStr": "select: sky (11)",
        "groups": {"global": None, "local": "06-sky_dark"},
    }
}
SCENE_GRAPHS = {
    "2354786": {
        "width": 500,
        "height": 270,
        "objects": {"11": {"name": "sky", "x": 0, "y": 1, "w": 499, "h": 300, "attributes": ["dark"]}},
    }
}
VQA_QUESTIONS = {
    "data_subtype": "train2014",
    "questions": [
        {"image_id": 458752, "question": "What is this?", "question_id": 458752000},
        {"image_id": 458752, "question": "How many?", "question_id": 458752001},
    ],
}
VQA_ANNOTATIONS = {
    "annotations": [
        {
            "question_id": number,
            "image_id": 458752,
            "question_type": "what",
            "answer_type": "other",
            "multiple_choice_answer": "net",
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": i} for i, answer in enumerate(answers)
            ],
        }
        for number, answers in (
            (458752001, ["two"] * 10),
            (458752000, ["A net!"] * 4 + ["Nets"] * 2 + ["fence", "x", "y", "z"]),
        )
    ]
}
STATEMENT = {
    "identifier": "dev-850-0-1",
    "sentence": "Two dogs.",
    "label": "False",
    "synset": "dog",
    "validation": {"1": "True"},
}
WINOGROUND = {
    "id": 0,
    "caption_0": "a b",
    "caption_1": "b a",
    "image_0": "ex_0_img_0",
    "image_1": "ex_0_img_1",
    "tag": "Noun",
    "num_main_preds": 1,
}
PAIR = {
    "Flikr30kID": "759822302",
    "pairID": "759822302.jpg#2r1c",
    "gold_label": "neutral",
    "sentence1": "A.",
    "sentence2": "B.",
    "captionID": "759822302.jpg#2",
}
LXMERT = [
    {
        "img_id": "COCO_val2014_000000000009",
        "sentf": {"mscoco": ["A bowl."], "vqa": ["What?"]},
        "labelf": {"vqa": [{"net": 1, "fence": 0.3}]},
    }
]


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def write(folder, **files):
    """Write JSON under names whose double underscores are dots."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def read(name, path):
    drops, data_set, sentences = Drops(), DATA_SETS[name], []
    for record in data_set.read_records(path, drops=drops):
        made = list(data_set.to_sentences(record, drops=drops))
        assert {each.sentence_id for each in made} <= set(data_set.sentence_ids(record))
        sentences += made
    return sentences, drops


def words(sentence):
    return [sentence.text[each.start : each.end] for each in sentence.pointers]


def test_coco_captions_come_under_the_names_of_their_images(tmp_path):
    sentences, drops = read("coco-captions", write(tmp_path, captions_val2017__json=CAPTIONS))
    assert not drops.counts
    assert [each.text for each in sentences] == ["A bowl.", "A giraffe."]
    assert [each.image_ids for each in sentences] == [("000000000009",), ("COCO_train2014_000000000025",)]
    assert sentences[0].images[0].coco_id == "9"
    assert (sentences[0].images[0].width, sentences[0].images[0].height) == (640, 480)
    assert sentences[0].split == "val"
    evaluated = DATA_SETS["coco-captions"].evaluation_images(tmp_path, drops=Drops())
    assert [each.coco_id for each in evaluated] == ["9", "25"]


def test_coco_instances_are_their_categories_pointing_at_their_boxes(tmp_path):
    sentences, drops = read(
        "coco-instances", write(tmp_path / "annotations", instances_train2017__json=INSTANCES).parent
    )
    (bowl,) = sentences
    assert (bowl.text, words(bowl)) == ("bowl", ["bowl"])
    assert bowl.pointers[0].boxes_xyxy == ((1.5, 187, 612.5, 480),)
    assert drops.counts == {"annotation: a crowd": 1}


def test_visual_genome_describes_regions_and_asks_questions(tmp_path):
    folder = write(
        tmp_path,
        region_descriptions__json=REGIONS,
        region_graphs__json=GRAPHS,
        question_answers__json=QUESTION_ANSWERS,
        image_data__json=IMAGE_DATA,
        val__txt="1\n",
    )
    (clock, shade, question, other), drops = read("visual-genome", folder)
    assert not drops.counts
    assert clock.text == "the Clock is green."
    assert words(clock) == ["the Clock is green.", "Clock"]
    assert clock.pointers[0].boxes_xyxy == ((421, 57, 503, 196),)
    assert clock.pointers[1].boxes_xyxy == ((421, 91, 500, 430),)
    assert clock.details == {"kind": "region", "region_id": "1382"}
    assert (clock.images[0].coco_id, clock.split) == ("248774", "val")
    assert words(shade) == ["shade"]
    assert (question.text, question.answers) == ("What is it?", (Answer(text="A clock."),))
    assert (other.image_ids, other.split, other.images[0].width) == (("2",), "train", 0)
    assert [each.coco_id for each in DATA_SETS["visual-genome"].evaluation_images(folder, drops=Drops())] == ["248774"]


def test_visual_genome_relationships_and_attributes_are_statements(tmp_path):
    folder = write(
        tmp_path,
        relationships__json=RELATIONSHIPS,
        image_data__json=IMAGE_DATA,
        objects__json=OBJECTS,
        attributes__json=OBJECT_ATTRIBUTES,
    )
    (relationship,), _ = read("visual-genome-relationships", folder)
    assert relationship.text == "shade on sidewalk"
    assert words(relationship) == ["shade", "sidewalk"]
    assert relationship.pointers[1].boxes_xyxy == ((78, 308, 800, 598),)
    (attribute,), _ = read("visual-genome-attributes", folder)
    assert (attribute.text, words(attribute)) == ("red car", ["red car"])


def test_gqa_questions_point_by_number_of_word(tmp_path):
    folder = write(tmp_path, testdev_balanced_questions__json=QUESTIONS, val_sceneGraphs__json=SCENE_GRAPHS)
    (question,), drops = read("gqa", folder)
    assert not drops.counts
    assert words(question) == ["sky", "the sky"]
    assert question.pointers[0].boxes_xyxy == ((0, 1, 499, 270),)
    assert question.split == "test"
    assert question.details["official_split"] == "testdev"
    assert question.details["entailed"] == ["1"]
    assert question.details["full_answer"] == "Yes, the sky is dark."
    (statement,), _ = read("gqa-full-answers", folder)
    assert (statement.text, words(statement)) == ("Yes, the sky is dark.", ["sky"])
    assert [each.image_id for each in DATA_SETS["gqa"].evaluation_images(folder, drops=Drops())] == ["2354786"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Is the sky, dark?", ["Is", "the", "sky", "dark"]),
        ("the man's t-shirt", ["the", "man's", "t-shirt"]),
        ("left - or right", ["left", "", "or", "right"]),
        ("two  spaces", ["two", "", "spaces"]),
        ('"Quoted" (words)', ["Quoted", "words"]),
    ],
)
def test_gqa_counts_words_as_its_programs_do(text, expected):
    import string

    spans = gqa.word_spans(text)
    assert [text[start:end] for start, end in spans] == expected
    stripped = text.translate(str.maketrans("", "", string.punctuation)).split(" ")
    assert len(spans) == len(stripped)
    for (start, end), word in zip(spans, stripped, strict=True):
        assert text[start:end].translate(str.maketrans("", "", string.punctuation)) == word


def test_gqa_reads_the_ten_files_and_not_the_balanced_ones_that_are_among_them(tmp_path):
    whole = write(
        tmp_path / "train_all_questions",
        **{f"train_all_questions_{i}__json": {str(i): QUESTIONS["02930152"]} for i in range(10)},
    )
    write(
        whole.parent,
        train_balanced_questions__json={"5": QUESTIONS["02930152"]},
        val_balanced_questions__json={"v": QUESTIONS["02930152"]},
    )
    sentences, _ = read("gqa", tmp_path)
    assert sorted(each.sentence_id for each in sentences) == [*map(str, range(10)), "v"]


def test_vqa_answers_have_soft_scores_in_whatever_order_they_lie(tmp_path):
    folder = write(
        tmp_path,
        v2_OpenEnded_mscoco_train2014_questions__json=VQA_QUESTIONS,
        v2_mscoco_train2014_annotations__json=VQA_ANNOTATIONS,
    )
    (what, how_many), drops = read("vqa-v2", folder)
    assert not drops.counts
    assert what.image_ids == ("COCO_train2014_000000458752",)
    assert what.answers[0] == Answer(text="net", weight=1.0)
    assert what.answers[1] == Answer(text="nets", weight=0.6)
    assert {each.weight for each in what.answers[2:]} == {0.3}
    assert how_many.answers == (Answer(text="2", weight=1.0),)
    assert what.details == {"question_id": 458752000, "question_type": "what", "answer_type": "other"}


def test_vqa_test_questions_have_no_answers_and_files_may_be_zipped(tmp_path):
    content = VQA_QUESTIONS | {"data_subtype": "test2015"}
    (tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json").write_bytes(gzip.compress(json.dumps(content).encode()))
    sentences, drops = read("vqa-v2", tmp_path)
    assert not drops.counts
    assert [(each.split, each.answers) for each in sentences] == [("test", ())] * 2
    assert sentences[0].image_ids == ("COCO_test2015_000000458752",)
    assert len(list(DATA_SETS["vqa-v2"].evaluation_images(tmp_path, drops=Drops()))) == 2


def test_nlvr2_statements_are_about_two_images(tmp_path):
    (statement,), _ = read("nlvr2", write(tmp_path, dev__json=lines(STATEMENT), balanced_dev__json=lines(STATEMENT)))
    assert statement.image_ids == ("dev-850-0-img0", "dev-850-0-img1")
    assert statement.answers == (Answer(text="False"),)
    assert statement.details["sentence_group"] == "dev-850-1"


def test_winoground_captions_are_about_both_images(tmp_path):
    (first, second), _ = read("winoground", write(tmp_path, examples__jsonl=lines(WINOGROUND)))
    assert first.image_ids == second.image_ids == ("ex_0_img_0", "ex_0_img_1")
    assert [each.answers[0].text for each in (first, second)] == ["0", "1"]
    assert [each.text for each in (first, second)] == ["a b", "b a"]
    assert first.split == "test"


@pytest.mark.parametrize("spelling", ["Flikr30kID", "Flickr30K_ID"])
def test_snli_ve_is_read_in_both_spellings(spelling, tmp_path):
    pair = {spelling if name == "Flikr30kID" else name: value for name, value in PAIR.items()}
    (sentence,), _ = read("snli-ve", write(tmp_path, snli_ve_dev__jsonl=lines(pair)))
    assert (sentence.text, sentence.answers, sentence.split) == ("B.", (Answer(text="neutral"),), "val")
    assert sentence.image_ids == ("759822302",)
    assert sentence.details == {"pair_id": "759822302.jpg#2r1c", "premise": "A.", "caption_id": "759822302.jpg#2"}


def test_lxmerts_files_are_read_for_pretraining_and_for_tasks(tmp_path):
    write(
        tmp_path,
        mscoco_nominival__json=LXMERT,
        mscoco_minival__json=LXMERT,
        gqa_valid__json=[{"img_id": "2375429", "label": {"pipe": 1.0}, "question_id": "07333408", "sent": "What?"}],
        nlvr2_train__json=[
            {"identifier": "train-1-0-0", "img0": "a", "img1": "b", "label": 1, "sent": "Two.", "uid": "nlvr2_train_0"}
        ],
        all_ans__json=[{"ans": "stop", "dsets": ["vqa"]}],
    )
    sentences, drops = read("lxmert-json", tmp_path)
    assert not drops.counts
    by_id = {(each.sentence_id, each.split): each for each in sentences}
    asked = by_id["COCO_val2014_000000000009_vqa_000", "train"]
    assert asked.answers == (Answer(text="net"), Answer(text="fence", weight=0.3))
    assert asked.images[0].coco_id == "9"
    assert ("COCO_val2014_000000000009_vqa_000", "val") in by_id
    assert by_id["gqa_valid/07333408", "val"].answers == (Answer(text="pipe"),)
    assert by_id["nlvr2_train/nlvr2_train_0", "train"].answers == (Answer(text="True"),)


def bad(record, **changes):
    return {name: value for name, value in (record | changes).items() if value is not None}


REGION = REGIONS[0]["regions"][0]


@pytest.mark.parametrize(
    ("name", "files", "reason"),
    [
        (
            "coco-captions",
            {"captions_train2017__json": CAPTIONS | {"annotations": [{"image_id": 9, "id": 1}]}},
            "annotation: caption is missing",
        ),
        (
            "coco-captions",
            {"captions_train2017__json": CAPTIONS | {"annotations": [{"image_id": 7, "id": 1, "caption": "x"}]}},
            "annotation: unknown image id",
        ),
        (
            "coco-captions",
            {"captions_train2017__json": CAPTIONS | {"annotations": CAPTIONS["annotations"] * 2}},
            "annotation: id is there twice",
        ),
        (
            "coco-captions",
            {"captions_train2017__json": CAPTIONS | {"images": [bad(COCO_IMAGES[0], width="wide"), COCO_IMAGES[1]]}},
            "image: width is not a number",
        ),
        (
            "coco-instances",
            {
                "instances_train2017__json": INSTANCES
                | {"annotations": [bad(INSTANCES["annotations"][0], bbox=[1, 2, "3", 4])]}
            },
            "annotation: bbox is not four numbers",
        ),
        (
            "coco-instances",
            {
                "instances_train2017__json": INSTANCES
                | {"annotations": [bad(INSTANCES["annotations"][0], bbox=[1, 2, -3, 4])]}
            },
            "annotation: box has no area inside the image",
        ),
        (
            "coco-instances",
            {
                "instances_train2017__json": INSTANCES
                | {"annotations": [bad(INSTANCES["annotations"][0], bbox=[700, 2, 3, 4])]}
            },
            "annotation: box has no area inside the image",
        ),
        (
            "coco-instances",
            {
                "instances_train2017__json": INSTANCES
                | {"annotations": [bad(INSTANCES["annotations"][0], category_id=9)]}
            },
            "annotation: unknown category id",
        ),
        (
            "visual-genome",
            {"region_descriptions__json": [{"id": 1, "regions": [bad(REGION, phrase=7)]}]},
            "region: phrase is not a text",
        ),
        (
            "visual-genome",
            {"region_descriptions__json": [{"id": 1, "regions": [bad(REGION, x="left")]}]},
            "region: x is not a number",
        ),
        (
            "visual-genome",
            {"region_descriptions__json": [{"id": 1, "regions": [bad(REGION, width=-5)]}]},
            "region: box has no area inside the image",
        ),
        (
            "visual-genome",
            {"region_descriptions__json": [{"id": 1, "regions": [REGION, REGION]}]},
            "region: id is there twice",
        ),
        ("visual-genome", {"region_descriptions__json": REGIONS * 2}, "image: listed twice"),
        (
            "visual-genome",
            {
                "region_descriptions__json": REGIONS,
                "region_graphs__json": [
                    {
                        "image_id": 1,
                        "regions": [
                            bad(
                                GRAPHS[0]["regions"][0],
                                synsets=[{"entity_idx_start": 90, "entity_idx_end": 99, "entity_name": "clock"}],
                            )
                        ],
                    }
                ],
            },
            "region graph: span does not hold its name",
        ),
        (
            "visual-genome-relationships",
            {
                "relationships__json": [
                    {"image_id": 1, "relationships": [bad(RELATIONSHIPS[0]["relationships"][0], subject=7)]}
                ]
            },
            "relationship: subject is not an object",
        ),
        (
            "gqa",
            {"train_balanced_questions__json": {"1": bad(QUESTIONS["02930152"], imageId=None)}},
            "question: imageId is missing",
        ),
        (
            "gqa",
            {
                "train_balanced_questions__json": {
                    "1": bad(QUESTIONS["02930152"], annotations={"question": {"9": "11"}})
                },
                "train_sceneGraphs__json": SCENE_GRAPHS,
            },
            "pointer: outside the sentence",
        ),
        (
            "gqa",
            {
                "train_balanced_questions__json": {
                    "1": bad(QUESTIONS["02930152"], annotations={"question": {"-1": "11"}})
                },
                "train_sceneGraphs__json": SCENE_GRAPHS,
            },
            "pointer: not a word number or a range of them",
        ),
        (
            "gqa",
            {
                "train_balanced_questions__json": {
                    "1": bad(QUESTIONS["02930152"], annotations={"question": {"2": "99"}})
                },
                "train_sceneGraphs__json": SCENE_GRAPHS,
            },
            "pointer: unknown object id",
        ),
        (
            "gqa",
            {
                "train_balanced_questions__json": {"1": bad(QUESTIONS["02930152"], annotations={"question": {}})},
                "train_sceneGraphs__json": {
                    "2354786": {
                        "width": 5,
                        "height": 5,
                        "objects": {"1": {"name": "x", "x": 9, "y": 9, "w": 1, "h": 1}},
                    }
                },
            },
            "object: box has no area inside the image",
        ),
        (
            "vqa-v2",
            {"test_questions__json": {"questions": [{"image_id": 1, "question_id": 1}]}},
            "question: question is missing",
        ),
        (
            "vqa-v2",
            {"questions__json": VQA_QUESTIONS, "annotations__json": {"annotations": []}},
            "question: no annotation",
        ),
        ("nlvr2", {"dev__json": lines(bad(STATEMENT, label="Maybe"))}, "statement: label is not True or False"),
        ("nlvr2", {"dev__json": lines(STATEMENT, STATEMENT)}, "statement: identifier is there twice"),
        ("nlvr2", {"dev__json": lines(STATEMENT) + '{"cut": '}, "line: no JSON object"),
        (
            "snli-ve",
            {"snli_ve_dev__jsonl": lines(bad(PAIR, gold_label="-"))},
            "pair: gold_label is not entailment, neutral, contradiction",
        ),
        (
            "snli-ve",
            {"esnlive_dev__csv": "pairID,Flickr30kID,hypothesis,gold_label\n1,2.jpg\n"},
            "line: too many or too few columns",
        ),
        ("winoground", {"examples__jsonl": lines(bad(WINOGROUND, caption_1=None))}, "example: caption_1 is missing"),
        ("lxmert-json", {"train__json": [bad(LXMERT[0], img_id=None)]}, "record: img_id is missing"),
        (
            "lxmert-json",
            {"train__json": [bad(LXMERT[0], labelf={"vqa": ["net"]})]},
            "sentence: label is not an object of weights from 0 to 1",
        ),
    ],
)
def test_a_bad_record_is_counted_and_named_and_ends_a_strict_run(name, files, reason, tmp_path):
    folder = write(tmp_path, **files)
    if name.startswith("visual"):
        write(folder, image_data__json=IMAGE_DATA)
    _, drops = read(name, folder)
    assert reason in drops.counts, drops.counts
    assert str(tmp_path) in drops.first[reason]
    with pytest.raises(DataError, match=str(tmp_path)):
        list(DATA_SETS[name].read_sentences(folder, drops=Drops(strict=True)))


FILE_OF = {
    "coco-captions": "captions_train2017.json",
    "coco-instances": "instances_train2017.json",
    "visual-genome": "region_descriptions.json",
    "visual-genome-relationships": "relationships.json",
    "visual-genome-attributes": "objects.json",
    "gqa": "train_balanced_questions.json",
    "vqa-v2": "train_questions.json",
    "nlvr2": "train.json",
    "snli-ve": "snli_ve_train.jsonl",
    "winoground": "examples.jsonl",
    "lxmert-json": "train.json",
}


@pytest.mark.parametrize("name", FILE_OF)
@pytest.mark.parametrize(
    "content", ["", "<html>", '[{"id": 1, "regions"', '{"images": [{"id": 1', "7", "[[1]]", '{"a": 7}', "\x1f\x8b\x08"]
)
def test_a_file_of_another_kind_or_cut_short_is_an_error_that_names_it(name, content, tmp_path):
    if name.startswith("visual-genome"):
        write(tmp_path, image_data__json=IMAGE_DATA)
    (tmp_path / FILE_OF[name]).write_bytes(content.encode("latin-1"))
    try:
        sentences, drops = read(name, tmp_path)
    except DataError as error:
        assert FILE_OF[name] in str(error)
    else:
        assert not sentences
        assert drops.counts


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is not there")
@pytest.mark.parametrize(
    ("name", "place", "num_sentences", "num_images", "num_pointers", "drops"),
    [
        ("coco-captions", "coco", 645, 129, 0, {}),
        ("coco-instances", "coco", 2083, 249, 2083, {"annotation: a crowd": 22}),
        ("visual-genome", "visual_genome", 3036, 15, 3998, {"region graph: span does not hold its name": 1}),
        ("visual-genome-relationships", "visual_genome", 1606, 49, 3212, {"image: image_id is missing": 1}),
        ("gqa", "gqa", 4, 4, 4, {"pointer: unknown object id": 3}),
        ("vqa-v2", "vqa_v2", 98, 64, 0, {}),
        ("vqa-v2", "vqa_v2_60k", 48061, 33745, 0, {}),
        ("nlvr2", "nlvr2", 6982, 4051, 0, {}),
        ("snli-ve", "snli_ve", 16, 2, 0, {}),
        ("snli-ve", "esnlive_on_dev_photos.csv", 90, 4, 0, {}),
    ],
)
def test_the_real_files_have_the_counts_that_are_known_of_them(
    name, place, num_sentences, num_images, num_pointers, drops, tmp_path
):
    sentences, found = read(name, named_for_training(name, DATA / place, tmp_path))
    assert len(sentences) == num_sentences
    assert len({each.image_ids for each in sentences}) == num_images
    assert sum(len(each.pointers) for each in sentences) == num_pointers
    assert found.counts == drops
    assert len({each.sentence_id for each in sentences}) == num_sentences


def named_for_training(name, place, folder):
    """Return the data under file names that tell a split, as the error for the names that they have advises."""
    untold = {
        "gqa": ("questions.json", "train_questions.json"),
        "snli-ve": ("sample_pairs.jsonl", "sample_train.jsonl"),
    }
    old, new = untold.get(name, ("", ""))
    if not old or place.is_file():
        return place
    with pytest.raises(DataError, match=r"names no split, expected one of the words train, .*, or link it"):
        read(name, place)
    for file in place.resolve().glob("*.json*"):
        (folder / (new if file.name == old else file.name)).symlink_to(file)
    return folder


@pytest.mark.skipif(not (DATA / "nlvr2").is_dir(), reason=f"{DATA} holds no nlvr2")
def test_statements_of_one_group_are_the_same_words_about_other_images():
    groups = {}
    for each in read("nlvr2", DATA / "nlvr2")[0]:
        groups.setdefault(each.details["sentence_group"], set()).add(each.text)
    assert {len(texts) for texts in groups.values()} == {1}
