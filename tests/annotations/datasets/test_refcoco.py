import json
import os
import pickle
import re
from pathlib import Path

import pytest

from annotations.datasets import refcoco
from annotations.guards.drops import DataError, Drops

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

PYTHON_2 = b"""(lp0
(dp1
S'sent_ids'
p2
(lp3
I0
asS'file_name'
p4
S'COCO_train2014_000000000009_0.jpg'
p5
sS'ann_id'
p6
L18L
sS'ref_id'
p7
I5
sS'image_id'
p8
I9
sS'split'
p9
S'testA'
p10
sS'sentences'
p11
(lp12
(dp13
S'tokens'
p14
(lp15
S'the'
aVlady
asS'raw'
p16
S'THE LADY'
p17
sS'sent_id'
p18
I0
sS'sent'
p19
S'the lady, caf\\xe9'
p20
sasS'category_id'
p21
I1
sa."""
"""What Python 2 writes, with an int, a long, a str with a byte above 127, and a unicode string."""


def make_sentence(sent_id=0, **changes):
    return {"tokens": ["the", "lady"], "raw": "THE LADY", "sent_id": sent_id, "sent": "the lady"} | changes


def make_ref(ref_id=5, **changes):
    ref = {"sent_ids": [0], "file_name": "COCO_train2014_000000000009_0.jpg", "ann_id": 18, "ref_id": ref_id}
    return ref | {"image_id": 9, "split": "train", "sentences": [make_sentence(ref_id)], "category_id": 1} | changes


def make_annotation(ann_id=18, **changes):
    annotation = {"id": ann_id, "image_id": 9, "category_id": 1, "bbox": [10.5, 20, 30, 40], "iscrowd": 0}
    return annotation | {"segmentation": [[1, 2, 3, 4, 5, 6]]} | changes


def make_image(image_id=9, **changes):
    return {"id": image_id, "file_name": f"COCO_train2014_{image_id:012}.jpg", "width": 100, "height": 80} | changes


def write_folder(
    folder, refs, *, annotations=None, images=None, protocol=2, name="refcoco+", refs_name="refs(unc).p", rest=None
):
    folder = folder / name
    folder.mkdir()
    content = refs if isinstance(refs, bytes) else pickle.dumps(refs, protocol=protocol)
    (folder / refs_name).write_bytes(content)
    instances = {
        "info": {"description": "a subset of COCO"},
        "images": images if images is not None else [make_image()],
        "annotations": annotations if annotations is not None else [make_annotation()],
        "categories": [{"id": 1, "name": "person", "supercategory": "person"}],
    }
    (folder / "instances.json").write_text(json.dumps(instances | (rest or {})))
    return folder


def read(path):
    drops = Drops()
    records = refcoco.read_records(path, drops=drops)
    return [sentence for record in records for sentence in refcoco.to_sentences(record, drops=drops)], drops


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_an_expression_points_at_its_object_with_all_its_words(protocol, tmp_path):
    (sentence,), drops = read(write_folder(tmp_path, [make_ref()], protocol=protocol))
    assert (sentence.sentence_id, sentence.text, sentence.split) == ("refcoco+#5", "the lady", "train")
    (pointer,) = sentence.pointers
    assert (pointer.start, pointer.end, pointer.object_id, pointer.category) == (0, 8, "18", "person")
    assert pointer.boxes_xyxy == ((10.5, 20.0, 40.5, 60.0),)
    (image,) = sentence.images
    assert (image.image_id, image.width, image.height, image.coco_id) == ("COCO_train2014_000000000009", 100, 80, "9")
    assert sentence.details == {
        "dataset": "refcoco+",
        "official_split": "train",
        "ref_id": 5,
        "ann_id": 18,
        "category": "person",
    }
    assert not drops.counts


def test_a_pickle_of_python_2_is_read(tmp_path):
    (sentence,), drops = read(write_folder(tmp_path, PYTHON_2))
    assert (sentence.text, sentence.split, sentence.details["official_split"]) == ("the lady, café", "test", "testA")
    assert not drops.counts


def test_every_expression_of_a_reference_is_a_sentence(tmp_path):
    sentences, _ = read(write_folder(tmp_path, [make_ref(sentences=[make_sentence(0), make_sentence(1, sent="she")])]))
    assert [(each.sentence_id, each.text) for each in sentences] == [("refcoco+#0", "the lady"), ("refcoco+#1", "she")]


def test_the_raw_text_serves_where_the_clean_one_is_empty(tmp_path):
    (sentence,), drops = read(write_folder(tmp_path, [make_ref(sentences=[make_sentence(sent=" ", raw=" SHE ")])]))
    assert sentence.text == "SHE"
    assert not drops.counts


@pytest.mark.parametrize(
    ("official", "split"),
    [("train", "train"), ("val", "val"), ("test", "test"), ("testA", "test"), ("testB", "test")],
)
def test_the_official_splits_become_ours(official, split, tmp_path):
    folder = write_folder(tmp_path, [make_ref(split=official)])
    (sentence,), _ = read(folder)
    assert (sentence.split, sentence.details["official_split"]) == (split, official)
    images = [image.image_id for image in refcoco.evaluation_images(folder, drops=Drops())]
    assert images == ([] if split == "train" else ["COCO_train2014_000000000009"])


@pytest.mark.parametrize("name", ["refs(unc).p", "refs(umd).p", "refs(google).p"])
def test_any_of_the_three_divisions_is_found(name, tmp_path):
    folder = write_folder(tmp_path, [make_ref()], refs_name=name, name="refcocog")
    for path in (folder, folder / name):
        (sentence,), _ = read(path)
        assert sentence.details["dataset"] == "refcocog"


def test_a_division_can_be_given_by_its_file(tmp_path):
    folder = write_folder(tmp_path, [make_ref(split="train")])
    (folder / "refs(google).p").write_bytes(pickle.dumps([make_ref(split="val")], protocol=2))
    assert [each.split for each in read(folder)[0]] == ["train"]
    assert [each.split for each in read(folder / "refs(google).p")[0]] == ["val"]


def test_a_box_is_clipped_to_the_image(tmp_path):
    (sentence,), drops = read(
        write_folder(tmp_path, [make_ref()], annotations=[make_annotation(bbox=[-5, 70, 200, 20])])
    )
    assert sentence.pointers[0].boxes_xyxy == ((0.0, 70.0, 100.0, 80.0),)
    assert not drops.counts


def without(record, field):
    return {name: value for name, value in record.items() if name != field}


BAD_REFS = [
    ("no record", "ref: not a dictionary"),
    (without(make_ref(6), "ann_id"), "ref: ann_id is missing"),
    (without(make_ref(6), "image_id"), "ref: image_id is missing"),
    (without(make_ref(6), "sentences"), "ref: sentences is missing"),
    (make_ref(6, ann_id=1.5), "ref: ann_id is not an id"),
    (make_ref(6, ann_id=19), "ref: ann_id is not in instances.json"),
    (make_ref(6, image_id=10), "ref: image_id is not in instances.json"),
    (make_ref(6, sentences="the lady"), "ref: sentences is not a list"),
    (make_ref(6, sentences=["the lady"]), "ref: sentences is not a list of objects"),
    (make_ref(6, sentences=[without(make_sentence(6), "sent_id")]), "ref: sent_id is missing"),
    (make_ref(6, sentences=[make_sentence(5)]), "ref: sent_id is repeated"),
    (make_ref(6, sentences=[make_sentence(6), make_sentence(6)]), "ref: sent_id is repeated"),
    (make_ref(6, sentences=[make_sentence(6, sent="", raw="")]), "sentence: no words"),
    (make_ref(6, sentences=[make_sentence(6, sent=7, raw=None)]), "sentence: no words"),
    (make_ref(6, split="testC"), "ref: split is unknown"),
    (without(make_ref(6), "split"), "ref: split is unknown"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_REFS)
def test_a_bad_reference_is_counted_and_the_rest_read(bad, reason, tmp_path):
    folder = write_folder(tmp_path, [make_ref(5), bad, make_ref(7)])
    sentences, drops = read(folder)
    assert [sentence.sentence_id for sentence in sentences] == ["refcoco+#5", "refcoco+#7"]
    assert drops.counts == {reason: 1}
    assert drops.first[reason].startswith(f"{folder / 'refs(unc).p'}, ref 1: ")
    strict = Drops(strict=True)
    with pytest.raises(DataError, match=reason):
        [list(refcoco.to_sentences(record, drops=strict)) for record in refcoco.read_records(folder, drops=strict)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bbox": [10, 20, -30, 40]}, "ref: box has no area inside the image"),
        ({"bbox": [10, 20, 0, 40]}, "ref: box has no area inside the image"),
        ({"bbox": [200, 20, 30, 40]}, "ref: box has no area inside the image"),
        ({"bbox": [-50, 20, 30, 40]}, "ref: box has no area inside the image"),
        ({"bbox": [10, 20, "30", 40]}, "ref: bbox is not a number"),
        ({"bbox": [10, 20, 30]}, "ref: bbox is not four numbers"),
        ({"bbox": None}, "ref: bbox is not a list"),
        ({"image_id": 10}, "ref: ann_id is of another image"),
    ],
)
def test_a_bad_box_is_counted_and_the_rest_read(changes, reason, tmp_path):
    annotations = [make_annotation(), make_annotation(19, **changes)]
    refs = [make_ref(5), make_ref(6, ann_id=19)]
    path = write_folder(tmp_path, refs, annotations=annotations)
    sentences, drops = read(path)
    assert [sentence.sentence_id for sentence in sentences] == ["refcoco+#5"]
    assert drops.counts == {reason: 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"file_name": None}, "ref: image has no file_name"),
        ({"width": "100"}, "ref: width is not a number"),
        ({"height": 0}, "ref: image has no size"),
    ],
)
def test_a_bad_image_is_counted(changes, reason, tmp_path):
    folder = write_folder(tmp_path, [make_ref(split="val")], images=[make_image(**changes)])
    sentences, drops = read(folder)
    assert sentences == []
    assert drops.counts == {reason: 1}
    assert list(refcoco.evaluation_images(folder, drops=drops)) == []


def test_a_number_that_json_does_not_have_costs_its_own_reference(tmp_path):
    annotations = [make_annotation(bbox=[10, 20, float("nan"), 40])]
    sentences, drops = read(write_folder(tmp_path, [make_ref()], annotations=annotations))
    assert not sentences
    assert drops.counts == {"ref: bbox is not a number": 1}


def test_a_record_of_instances_that_is_no_object_is_counted(tmp_path):
    sentences, drops = read(write_folder(tmp_path, [make_ref()], annotations=["none", make_annotation()]))
    assert len(sentences) == 1
    assert drops.counts == {"annotations: not an object": 1}


def test_a_repeated_id_in_instances_is_counted_and_the_first_taken(tmp_path):
    annotations = [make_annotation(), make_annotation(bbox=[0, 0, 1, 1])]
    (sentence,), drops = read(write_folder(tmp_path, [make_ref()], annotations=annotations))
    assert sentence.pointers[0].boxes_xyxy == ((10.5, 20.0, 40.5, 60.0),)
    assert drops.counts == {"annotations: id is repeated": 1}


class Malicious:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_malicious_pickle_is_refused_and_not_run(function, tmp_path):
    done = tmp_path / "done"
    argument = f"touch {done}" if function is os.system else f"open({str(done)!r}, 'w')"
    folder = write_folder(tmp_path, [make_ref(), Malicious(function, argument)])
    with pytest.raises(DataError, match=rf"refs\(unc\)\.p: the pickle names \w+\.{function.__name__}, expected plain"):
        read(folder)
    assert not done.exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not a whole pickle"),
        (PYTHON_2[:200], "not a whole pickle"),
        (b'[{"ref_id": 1}]', "not a whole pickle"),
        (pickle.dumps({"refs": []}, protocol=2), "holds dict, expected a list of references"),
    ],
)
def test_a_file_of_no_references_is_a_clear_error(content, expected, tmp_path):
    with pytest.raises(DataError, match=rf"refs\(unc\)\.p: {expected}"):
        read(write_folder(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "begins with b'', expected '{', the start of a JSON object with an array 'annotations'"),
        (b'{"annotations": [{"id": 18}, {"id": 19, "bbox": [1, 2', "not valid JSON after 1 records"),
        (b"\x80\x02.", "begins with"),
        (b"[1, 2]", "begins with"),
        (b'{"annotations": [], "images": []}', "no annotations in it"),
        (b'{"annotations": [{"id": 18}], "images": {}}', "no array 'images' in it"),
    ],
)
def test_instances_that_are_no_whole_json_are_a_clear_error(content, expected, tmp_path):
    folder = write_folder(tmp_path, [make_ref()])
    (folder / "instances.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"instances\.json: {re.escape(expected)}"):
        read(folder)


def test_missing_files_are_a_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"no refs\(unc\)\.p, refs\(umd\)\.p, refs\(google\)\.p in it"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"refs\(unc\)\.p: cannot be read \(No such file"):
        read(tmp_path / "refs(unc).p")
    folder = write_folder(tmp_path, [make_ref()])
    (folder / "instances.json").unlink()
    with pytest.raises(DataError, match=r"instances\.json: no such file"):
        read(folder)


def test_real_phrases_written_as_the_official_pickle_come_back(tmp_path):
    path = TEST_DATA / "refcoco_plus_phraseloceval.json"
    if not path.exists():
        pytest.skip(f"no RefCOCO+ phrases at {path}; set VINCULUM_TEST_DATA")
    phrases = json.loads(path.read_text())
    refs, annotations, images = [], {}, {}
    for number, phrase in enumerate(phrases):
        image_id, ann_id = int(phrase["image"]), int(phrase["entity"])
        text = " ".join(phrase["phrase"])
        sentence = make_sentence(int(phrase["phraseId"]), sent=text, raw=text, tokens=phrase["phrase"])
        refs.append(make_ref(number, ann_id=ann_id, image_id=image_id, sentences=[sentence]))
        annotations[ann_id] = make_annotation(ann_id, image_id=image_id, bbox=phrase["box"])
        images[image_id] = make_image(image_id, file_name=phrase["imageName"], width=640, height=640)
    folder = write_folder(tmp_path, refs, annotations=list(annotations.values()), images=list(images.values()))
    sentences, drops = read(folder)
    assert len(sentences) == 29
    assert [sentence.text for sentence in sentences] == [" ".join(phrase["phrase"]) for phrase in phrases]
    assert [sentence.image_ids[0] + ".jpg" for sentence in sentences] == [phrase["imageName"] for phrase in phrases]
    for sentence, phrase in zip(sentences, phrases, strict=True):
        x, y, width, height = phrase["box"]  # as COCO has them, whatever that file's name for it
        assert sentence.pointers[0].boxes_xyxy == (pytest.approx((x, y, x + width, y + height)),)
    assert not drops.counts


def test_a_value_of_exponential_size_ends_in_a_short_message(tmp_path):
    """Nested shared lists, 2 to the power of 60 when they are written out, where a text should be."""
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps([{"split": nested}], protocol=2))
    with pytest.raises(DataError, match="where repetitions are written out"):
        list(refcoco.read_records(tmp_path, drops=Drops()))
