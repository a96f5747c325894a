"""Whatever single value of a file is lost or replaced by any other: the run goes on, or one error names the file."""

import copy
import json

import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.json_records import MAX_SIDE
from annotations.guards.drops import DataError, Drops

REPLACEMENTS = [None, True, -1, 0, 1.5, 1e300, 10**25, "x", "", [], {}, [1], [None], ["x"], {"a": 1}, [[1]]]

IMAGES = [{"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480}]
FILES = {
    "coco-captions": {
        "captions_train2017.json": {"images": IMAGES, "annotations": [{"image_id": 9, "id": 1, "caption": "A bowl."}]}
    },
    "coco-instances": {
        "instances_train2017.json": {
            "images": IMAGES,
            "annotations": [{"image_id": 9, "id": 1, "category_id": 51, "bbox": [1.5, 187, 611, 900], "iscrowd": 0}],
            "categories": [{"id": 51, "name": "bowl"}],
        }
    },
    "vqa-v2": {
        "v2_OpenEnded_mscoco_train2014_questions.json": {
            "data_subtype": "train2014",
            "questions": [{"image_id": 9, "question": "What?", "question_id": 9000}],
        },
        "v2_mscoco_train2014_annotations.json": {
            "annotations": [
                {"question_id": 9000, "question_type": "what", "answer_type": "other", "answers": [{"answer": "bowl"}]}
            ]
        },
    },
    "lxmert-json": {
        "mscoco_train.json": [
            {"img_id": "COCO_train2014_000000000009", "sentf": {"vqa": ["What?"]}, "labelf": {"vqa": [{"bowl": 0.3}]}}
        ],
        "nlvr2_train.json": [
            {"identifier": "train-1-0-0", "img0": "a", "img1": "b", "label": 1, "sent": "Two.", "uid": "0"}
        ],
    },
}


def places_in(value):
    """Yield the path to every value inside."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (key,)
        yield from ((key, *rest) for rest in places_in(value[key]))


def damaged(content):
    """Yield copies, each with one value replaced or taken away."""
    for *above, last in places_in(content):
        for replacement in REPLACEMENTS:
            whole = copy.deepcopy(content)
            inside = whole
            for key in above:
                inside = inside[key]
            inside[last] = replacement
            yield whole
        del inside[last]
        yield whole


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_one_wrong_value_never_ends_a_run_without_naming_the_file(name, file, tmp_path):
    for other, content in FILES[name].items():
        (tmp_path / other).write_text(json.dumps(content))
    num_read = 0
    for content in damaged(FILES[name][file]):
        (tmp_path / file).write_text(json.dumps(content))
        try:
            sentences = list(DATA_SETS[name].read_sentences(tmp_path, drops=Drops()))
            for record in DATA_SETS[name].read_records(tmp_path, drops=Drops()):
                list(DATA_SETS[name].sentence_ids(record))
            list(DATA_SETS[name].evaluation_images(tmp_path, drops=Drops()))
        except DataError as error:
            assert file in str(error)
            continue
        num_read += 1
        for sentence in sentences:
            assert sentence.text
            assert all(0 <= each.width <= MAX_SIDE and 0 <= each.height <= MAX_SIDE for each in sentence.images)
            assert all(0 <= each.weight <= 1 for each in sentence.answers)
            json.dumps(sentence.details)
    assert num_read
