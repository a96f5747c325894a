import json
import os
from pathlib import Path

import pytest

from annotations.datasets import flickr30k_entities, vgp_entities
from annotations.guards.drops import DataError, Drops

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

CAPTIONS = (
    "[/EN#1/people Two men] play [/EN#0/notvisual fun] near [/EN#2/other a table]",
    "[/EN#1/people The friends] and [/EN#1/people two men] have [/EN#0/notvisual joy]",
    "At [/EN#2/other a green table] sit [/EN#1/people two men]",
)
TABLE = "image,phrase1,phrase2,original_phrase1,original_phrase2,original_label,type_label\n"


def write_folder(folder, captions=CAPTIONS, table=""):
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir()
    (folder / "train.txt").write_text("7\n")
    (folder / "Sentences/7.txt").write_text("\n".join(captions))
    (folder / "Annotations/7.xml").write_text(
        "<annotation><size><width>100</width><height>80</height></size><object><name>1</name><bndbox>"
        "<xmin>1</xmin><ymin>11</ymin><xmax>20</xmax><ymax>60</ymax></bndbox></object>"
        "<object><name>2</name><nobndbox>1</nobndbox></object></annotation>"
    )
    if table:
        (folder / "train_data.csv").write_text(TABLE + table)
    return folder


def read(path):
    drops = Drops()
    records = vgp_entities.read_records(path, drops=drops)
    return [sentence for record in records for sentence in vgp_entities.to_sentences(record, drops=drops)], drops


def words(sentence):
    return [sentence.text[pointer.start : pointer.end] for pointer in sentence.pointers]


def test_every_two_captions_are_one_sentence(tmp_path):
    sentences, drops = read(write_folder(tmp_path))
    assert [sentence.sentence_id for sentence in sentences] == ["7#0-1", "7#0-2", "7#1-2"]
    assert sentences[0].text == "Two men play fun near a table\nThe friends and two men have joy"
    assert sentences[0].details["sentence_ids"] == ["7#0", "7#1"]
    assert sentences[0].text[sentences[0].details["second"] :] == "The friends and two men have joy"
    assert (sentences[0].source, sentences[0].split, sentences[0].image_ids) == ("vgp-entities", "train", ("7",))
    assert not drops.counts


def test_the_phrases_of_both_captions_point(tmp_path):
    (sentence, *_), _ = read(write_folder(tmp_path))
    assert words(sentence) == ["Two men", "fun", "a table", "The friends", "two men", "joy"]
    assert [pointer.object_id for pointer in sentence.pointers] == ["1", "0", "2", "1", "1", "0"]
    assert sentence.pointers[4].boxes_xyxy == ((0.0, 10.0, 19.0, 59.0),)


def test_paraphrases_are_of_one_chain_with_different_words(tmp_path):
    sentences, _ = read(write_folder(tmp_path))
    found = [[[words(each)[i], words(each)[j]] for i, j, _ in each.details["phrase_pairs"]] for each in sentences]
    assert found == [
        [["Two men", "The friends"]],
        [["a table", "a green table"]],
        [["The friends", "two men"]],
    ]


def test_two_phrases_pair_once(tmp_path):
    captions = ("[/EN#1/people A man]", "[/EN#1/people a boxer] punches [/EN#1/people a boxer]")
    (sentence,), _ = read(write_folder(tmp_path, captions))
    assert sentence.details["phrase_pairs"] == [[0, 1, None]]


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ("a table,a green table,Entailment2,2", "Entailment2"),
        ("a green table,a table,Entailment1,1", "Entailment2"),
        ("a green table,a table,Independence,4", "Independence"),
        ("a green table,the sea,Independence,4", None),
    ],
)
def test_a_table_in_the_folder_tells_the_relation_both_ways(row, label, tmp_path):
    sentences, _ = read(write_folder(tmp_path, table=f"7,x,y,{row}\n"))
    assert sentences[1].details["phrase_pairs"] == [[2, 3, label]]


def test_a_table_that_tells_both_ways_is_taken_at_its_word(tmp_path):
    table = "7,x,y,a green table,a table,Entailment1,1\n7,x,y,a table,a green table,Equivalence,3\n"
    sentences, _ = read(write_folder(tmp_path, table=table))
    assert sentences[1].details["phrase_pairs"] == [[2, 3, "Equivalence"]]


def test_details_are_plain_json(tmp_path):
    sentences, _ = read(write_folder(tmp_path))
    for sentence in sentences:
        assert json.loads(json.dumps(sentence.details)) == sentence.details


def test_one_caption_has_no_pair(tmp_path):
    sentences, drops = read(write_folder(tmp_path, CAPTIONS[:1]))
    assert sentences == []
    assert not drops.counts


def test_bad_annotations_are_counted_as_entities_counts_them(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "Annotations/7.xml").write_text("<annotation>")
    sentences, drops = read(tmp_path)
    assert sentences == []
    assert drops.counts == {"image: annotations are no XML of this format": 1}


def test_a_folder_of_another_layout_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="no folder Sentences/"):
        read(tmp_path)


def test_evaluation_images_are_those_of_entities(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val.txt").write_text("7\n")
    assert [image.image_id for image in vgp_entities.evaluation_images(tmp_path, drops=Drops())] == ["7"]


def test_real_captions_pair_and_find_their_paraphrases():
    folder = TEST_DATA / "flickr30k_entities"
    if not folder.exists():
        pytest.skip(f"no Flickr30k Entities at {folder}; set VINCULUM_TEST_DATA")
    sentences, drops = read(folder)
    assert len(sentences) == 309 * 10
    assert sum(len(sentence.details["phrase_pairs"]) for sentence in sentences) == 4511
    captions = {
        caption.sentence_id: caption
        for record in flickr30k_entities.read_records(folder, drops=drops)
        for caption in flickr30k_entities.to_sentences(record, drops=drops)
    }
    for sentence in sentences:
        first, second = (captions[each] for each in sentence.details["sentence_ids"])
        expected = [caption.text[each.start : each.end] for caption in (first, second) for each in caption.pointers]
        assert words(sentence) == expected
    assert not drops.counts
