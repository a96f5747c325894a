import os
from collections import Counter
from pathlib import Path

import pytest

from annotations.datasets import vgp
from annotations.guards.drops import DataError, Drops

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

HEADER = "image,phrase1,phrase2,original_phrase1,original_phrase2,original_label,type_label"
ROW = "36979,cards,green table,cards,a green table,Alternation,0"


def write_table(path, *rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_entities(folder):
    """Write image 36979 with two captions, in which `cards` and `a green table` are of chain 1."""
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir()
    (folder / "Sentences/36979.txt").write_text(
        "[/EN#1/other cards] lie with [/EN#2/other cards] .\n[/EN#2/people Men] sit at [/EN#1/other a green table] .\n"
    )
    box = "<bndbox><xmin>1</xmin><ymin>11</ymin><xmax>{}</xmax><ymax>61</ymax></bndbox>"
    objects = "".join(f"<object><name>{number}</name>{box.format(20 + number)}</object>" for number in (1, 2))
    (folder / "Annotations/36979.xml").write_text(
        f"<annotation><size><width>100</width><height>80</height></size>{objects}</annotation>"
    )


def read(path):
    drops = Drops()
    records = vgp.read_records(path, drops=drops)
    return [sentence for record in records for sentence in vgp.to_sentences(record, drops=drops)], drops


def test_a_row_is_its_first_phrase_with_the_relation_to_the_other(tmp_path):
    (sentence,), drops = read(write_table(tmp_path / "train_data.csv", ROW))
    assert (sentence.sentence_id, sentence.text, sentence.split, sentence.source) == (
        "train_data#2",
        "cards",
        "train",
        "vgp",
    )
    assert sentence.image_ids == ("36979",)
    assert [answer.text for answer in sentence.answers] == ["Alternation"]
    assert sentence.details == {"other": "a green table", "label": "Alternation", "type": 0}
    assert sentence.pointers == ()
    assert not drops.counts


def test_beside_entities_the_phrase_points_at_what_both_name(tmp_path):
    write_entities(tmp_path)
    write_table(tmp_path / "train.csv", ROW, "5,men,people,men,people,Entailment1,1")
    (cards, men), drops = read(tmp_path)
    (pointer,) = cards.pointers
    assert (pointer.start, pointer.end, pointer.object_id, pointer.category) == (0, 5, "1", "other")
    assert pointer.boxes_xyxy == ((0.0, 10.0, 20.0, 60.0),)
    assert (cards.images[0].width, cards.images[0].height) == (100, 80)
    assert (men.image_ids, men.pointers) == (("5",), ())
    assert not drops.counts


def test_phrases_that_no_chain_has_both_of_lose_their_boxes_and_are_counted(tmp_path):
    write_entities(tmp_path)
    write_table(tmp_path / "train.csv", "36979,cards,dogs,cards,dogs,Independence,4")
    (sentence,), drops = read(tmp_path)
    assert sentence.pointers == ()
    assert drops.counts == {"pair: captions do not have both phrases for one thing": 1}
    assert "train.csv, line 2: found 'cards' and 'dogs' of image 36979" in next(iter(drops.first.values()))


@pytest.mark.parametrize(
    ("name", "split"), [("train_data.csv", "train"), ("val_data.csv", "val"), ("test_data.csv", "test")]
)
def test_the_files_name_tells_the_split(name, split, tmp_path):
    (sentence,), _ = read(write_table(tmp_path / name, ROW))
    assert sentence.split == split
    images = [image.image_id for image in vgp.evaluation_images(tmp_path, drops=Drops())]
    assert images == ([] if split == "train" else ["36979"])


def test_a_column_tells_the_split_better(tmp_path):
    (sentence,), _ = read(write_table(tmp_path / "val.csv", f"{ROW},train", header=f"{HEADER},vgp_split"))
    assert sentence.split == "train"


def test_an_escaped_apostrophe_is_an_apostrophe(tmp_path):
    row = "1,someone \\'s yard,yard,someone \\'s yard,a yard,Entailment1,1"
    (sentence,), _ = read(write_table(tmp_path / "train.csv", row))
    assert sentence.text == "someone 's yard"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",cards,table,cards,a table,Alternation,0", "pair: a field is empty"),
        ("1,cards,table,cards,,Alternation,0", "pair: a field is empty"),
        ("1,cards,table,cards", "pair: a field is empty"),
        ("1,cards,table,cards,a table,Alternation,3", "pair: label and type do not agree"),
        ("1,cards,table,cards,a table,Alternation,zero", "pair: label and type do not agree"),
        ("1,cards,table,cards,a table,Synonym,0", "pair: label and type do not agree"),
        ("1,cards,table,cards,a table,,", "pair: label and type do not agree"),
        (ROW, "pair: repeated"),
    ],
)
def test_a_bad_row_is_counted_and_the_rest_read(row, reason, tmp_path):
    path = write_table(tmp_path / "train.csv", ROW, row, "2,men,people,men,people,Entailment1,1")
    sentences, drops = read(path)
    assert [sentence.sentence_id for sentence in sentences] == ["train#2", "train#4"]
    assert drops.counts == {reason: 1}
    assert drops.first[reason].startswith(f"{path}, line 3: found ")
    with pytest.raises(DataError, match=reason):
        list(vgp.read_records(path, drops=Drops(strict=True)))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "no column image, original_phrase1, .*, found nothing"),
        (b"image,phrase1\n1,a\n", "no column original_phrase1, original_phrase2, original_label, type_label"),
        (HEADER.encode() + b'\n1,"cut', "no whole CSV file"),
        (HEADER.encode() + b"\n1,caf\xe9,a,b,c,Alternation,0", "no whole CSV file in UTF-8"),
        (HEADER.encode() + b'\n1,"' + b"x" * 200_000, "no whole CSV file"),
    ],
)
def test_a_file_that_is_no_table_is_a_clear_error(content, expected, tmp_path):
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"train\.csv: {expected}"):
        list(vgp.read_records(path, drops=Drops()))


def test_a_path_without_a_table_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"no \*\.csv in it"):
        list(vgp.read_records(tmp_path, drops=Drops()))
    with pytest.raises(DataError, match=r"absent\.csv: cannot be read \(No such file"):
        list(vgp.read_records(tmp_path / "absent.csv", drops=Drops()))


def real_file(name):
    path = TEST_DATA / "vgp" / name
    if not path.exists():
        pytest.skip(f"no table at {path}; set VINCULUM_TEST_DATA")
    return path


def test_the_real_train_table_is_read_whole():
    sentences, drops = read(real_file("train_data.csv"))
    assert len(sentences) == 24992 - 4
    assert drops.counts == {"pair: repeated": 4}  # with two relations each, of which the first counts
    assert Counter(sentence.details["label"] for sentence in sentences) == {
        "Independence": 8003,
        "Entailment2": 5476,
        "Entailment1": 5318,
        "Alternation": 5095,
        "Equivalence": 1096,
    }
    assert len({sentence.image_ids for sentence in sentences}) == 15082


def test_real_pairs_find_their_boxes(tmp_path):
    table = real_file("vgp_typology_on_dev_photos.csv")
    for name in ("Sentences", "Annotations", "train.txt", "val.txt", "test.txt"):
        (tmp_path / name).symlink_to((TEST_DATA / "flickr30k_entities" / name).resolve())
    (tmp_path / table.name).symlink_to(table.resolve())
    sentences, drops = read(tmp_path)
    assert (len(sentences), sum(bool(sentence.pointers) for sentence in sentences)) == (247, 246)
    assert sum(bool(pointer.boxes_xyxy) for sentence in sentences for pointer in sentence.pointers) == 233
    assert drops.counts == {"pair: captions do not have both phrases for one thing": 1}
