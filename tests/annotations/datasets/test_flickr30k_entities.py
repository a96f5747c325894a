"""Flickr30k Entities as it is published, as XML may also be written, and damaged."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops

ENTITIES = DATA_SETS["flickr30k-entities"]
DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))

CAPTIONS = (
    "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at [/EN#3/bodyparts/other their hands] "
    "in [/EN#8/scene the yard] .\n"
    "[/EN#1/people They] rest [/EN#0/notvisual it] .\n"
    "No phrase at all .\n"
)
XML = """<annotation>
	<filename>7.jpg</filename>
	<size>
		<width>500</width>
		<height>375</height>
		<depth>3</depth>
	</size>
	<object>
		<name>1</name>
		<bndbox>
			<xmin>1</xmin>
			<ymin>2</ymin>
			<xmax>100</xmax>
			<ymax>200</ymax>
		</bndbox>
	</object>
	<object>
		<name>1</name>
		<name>2</name>
		<bndbox>
			<xmin>301</xmin>
			<ymin>2</ymin>
			<xmax>500</xmax>
			<ymax>375</ymax>
		</bndbox>
	</object>
	<object>
		<name>3</name>
		<scene>0</scene>
		<nobndbox>1</nobndbox>
	</object>
	<object>
		<name>8</name>
		<scene>1</scene>
		<nobndbox>1</nobndbox>
	</object>
</annotation>
"""


def write(folder, *, xml=XML, captions=CAPTIONS, lists=None):
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "Sentences/7.txt").write_bytes(captions if isinstance(captions, bytes) else captions.encode())
    (folder / "Annotations/7.xml").write_text(xml)
    for name, lines in (lists or {"train.txt": "7\n"}).items():
        (folder / name).write_text(lines)
    return folder


def read(path):
    drops = Drops()
    return list(ENTITIES.read_sentences(path, drops=drops)), drops


def test_phrases_point_at_the_boxes_of_their_entity(tmp_path):
    sentences, drops = read(write(tmp_path))
    assert not drops.counts
    first = sentences[0]
    assert first.sentence_id == "7#0"
    assert first.text == "Two young guys with shaggy hair look at their hands in the yard ."
    assert [first.text[each.start : each.end] for each in first.pointers] == [
        "Two young guys",
        "shaggy hair",
        "their hands",
        "the yard",
    ]
    assert first.pointers[0].boxes_xyxy == ((0, 1, 99, 199), (300, 1, 499, 374))
    assert first.pointers[1].boxes_xyxy == ((300, 1, 499, 374),)
    assert [each.boxes_xyxy for each in first.pointers[2:]] == [(), ()]
    assert [each.object_id for each in first.pointers] == ["1", "2", "3", "8"]
    assert [each.category for each in first.pointers] == ["people", "bodyparts", "bodyparts/other", "scene"]
    assert (first.images[0].image_id, first.images[0].width, first.images[0].height) == ("7", 500, 375)
    assert sentences[1].pointers[0].boxes_xyxy == first.pointers[0].boxes_xyxy
    assert sentences[1].pointers[1].boxes_xyxy == ()
    assert sentences[2].pointers == ()


@pytest.mark.parametrize(
    "written",
    [
        XML.replace("\t", "").replace("\n", ""),
        XML.replace("<object>", "<object><!-- by hand -->"),
        XML.replace("<name>1</name>", "<name>1</name><pose>Unspecified</pose>"),
        XML.replace("<depth>3</depth>", ""),
        '<?xml version="1.0"?>' + XML,
        XML.replace("<xmin>1</xmin>\n", "").replace("<ymin>2</ymin>", "<ymin>2</ymin><xmin>1</xmin>", 1),
    ],
)
def test_the_same_xml_in_other_writing_reads_the_same(written, tmp_path):
    official, _ = read(write(tmp_path / "official"))
    assert read(write(tmp_path / "other", xml=written))[0] == official


def test_an_object_in_a_comment_is_none(tmp_path):
    hidden = XML.replace("<object>", "<!-- <object>", 1).replace("</object>", "</object> -->", 1)
    sentences, _ = read(write(tmp_path, xml=hidden))
    assert sentences[0].pointers[0].boxes_xyxy == ((300, 1, 499, 374),)


def test_splits_come_from_the_lists_and_nothing_else_is_read(tmp_path):
    write(tmp_path, lists={"train.txt": "", "val.txt": "7\n"})
    assert {each.split for each in read(tmp_path)[0]} == {"val"}
    assert [each.image_id for each in ENTITIES.evaluation_images(tmp_path, drops=Drops())] == ["7"]
    write(tmp_path, lists={"val.txt": ""})
    assert read(tmp_path)[0] == []


def test_without_a_list_no_image_is_for_training(tmp_path):
    folder = write(tmp_path / "folder")
    (folder / "train.txt").unlink()
    with tarfile.open(tmp_path / "entities.tar", "w") as archive:
        archive.add(folder, ".")
    for path in (folder, tmp_path / "entities.tar"):
        with pytest.raises(DataError, match=r"no train.txt, val.txt or test.txt in it, .* put the official ones there"):
            read(path)
    (folder / "train.txt").write_text("7\n")  # as the message advises
    assert {each.split for each in read(folder)[0]} == {"train"}


def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path):
    plain = read(write(tmp_path / "plain"))
    marked = read(write(tmp_path / "marked", captions="\ufeff" + CAPTIONS, xml="\ufeff" + XML))
    assert marked[0] == plain[0]
    assert not marked[1].counts


@pytest.mark.parametrize("kind", ["w", "w:xz", "w:gz"])
def test_a_tar_file_reads_as_its_folder_does(kind, tmp_path):
    folder = write(tmp_path / "folder")
    shutil.copy(folder / "train.txt", tmp_path)
    with tarfile.open(tmp_path / "entities.tar", kind) as archive:
        for name in ("Annotations/7.xml", "Sentences/7.txt"):
            archive.add(folder / name, name)
    assert read(tmp_path / "entities.tar")[0] == read(folder)[0]


def test_a_tar_file_cut_short_is_an_error(tmp_path):
    folder = write(tmp_path / "folder")
    shutil.copy(folder / "train.txt", tmp_path)
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        archive.add(folder, ".")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:1800])
    with pytest.raises(DataError, match=r"cut.tar: not a whole tar file"):
        read(tmp_path / "cut.tar")


def test_captions_about_something_else_are_left_out(tmp_path):
    write(tmp_path, lists={"train.txt": "7\n", "UNRELATED_CAPTIONS": "7 2\nnonsense\n"})
    sentences, drops = read(tmp_path)
    assert [each.sentence_id for each in sentences] == ["7#0", "7#2"]
    assert drops.counts == {
        "sentence: unrelated to its image": 1,
        "unrelated caption: not an image id and a number": 1,
    }


@pytest.mark.parametrize(
    ("change", "reason", "where"),
    [
        ({"xml": XML[:300]}, "image: annotations are no XML of this format", "Annotations/7.xml"),
        ({"xml": "[]"}, "image: annotations are no XML of this format", "Annotations/7.xml"),
        ({"xml": XML.replace("500<", "wide<", 1)}, "image: annotations are no XML of this format", "'wide'"),
        ({"xml": XML.replace("<width>500", "<width>0")}, "image: annotations are no XML of this format", "0 x 375"),
        ({"xml": XML.replace("<xmin>301<", "<xmin>-<")}, "box: not four numbers", "'-'"),
        ({"xml": XML.replace("<xmin>301</xmin>", "")}, "box: not four numbers", "('', '2', '500', '375')"),
        ({"xml": XML.replace("<xmin>301<", "<xmin>nan<")}, "box: no area inside the image", "'nan'"),
        ({"xml": XML.replace("<xmin>301<", "<xmin>501<")}, "box: no area inside the image", "(500 x 375)"),
        ({"xml": XML.replace("<xmax>500<", "<xmax>200<")}, "box: no area inside the image", "'200'"),
        ({"captions": CAPTIONS.replace("#2/", "#99/")}, "phrase: unknown object id", "/EN#99/"),
        ({"captions": b"caf\xe9 .\n"}, "image: sentences are not UTF-8", "Sentences/7.txt"),
    ],
)
def test_what_can_not_be_used_is_counted_and_named(change, reason, where, tmp_path):
    _, drops = read(write(tmp_path, **change))
    assert set(drops.counts) == {reason}
    assert where in drops.first[reason]
    with pytest.raises(DataError, match=reason):
        list(ENTITIES.read_sentences(tmp_path, drops=Drops(strict=True)))


def test_boxes_are_clipped_to_the_image(tmp_path):
    sentences, drops = read(write(tmp_path, xml=XML.replace("<xmax>500<", "<xmax>900<")))
    assert sentences[0].pointers[1].boxes_xyxy == ((300, 1, 500, 374),)
    assert not drops.counts


def test_a_missing_file_is_counted_and_a_missing_layout_is_an_error(tmp_path):
    write(tmp_path, lists={"train.txt": "7\n8\n"})
    sentences, drops = read(tmp_path)
    assert len(sentences) == 3
    assert drops.counts == {"image: a file is missing": 1}
    with pytest.raises(DataError, match="no folder Sentences/"):
        read(tmp_path / "Sentences")
    write(tmp_path, lists={"train.txt": "7\n", "val.txt": "7\n"})
    with pytest.raises(DataError, match="listed twice"):
        read(tmp_path)


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="[]"), min_size=1).filter(
    lambda each: each.strip() == each and each
)


@given(st.lists(st.tuples(words, st.booleans()), min_size=1, max_size=5))
def test_any_marked_caption_gives_its_words_back(parts):
    from annotations.datasets.flickr30k_entities import _read_caption

    line = " ".join(f"[/EN#{number}/other {part}]" if marked else part for number, (part, marked) in enumerate(parts))
    text, pointers = _read_caption(line, {}, "", Drops())
    assert text == " ".join(part for part, _ in parts).strip()
    assert [text[each.start : each.end] for each in pointers] == [part for part, marked in parts if marked]


@pytest.mark.skipif(not (DATA / "flickr30k_entities").is_dir(), reason=f"{DATA} holds no flickr30k_entities")
def test_the_real_files_have_the_counts_that_are_known_of_them():
    sentences, drops = read(DATA / "flickr30k_entities")
    assert not drops.counts
    assert len(sentences) == 1545
    assert len({each.image_ids for each in sentences}) == 309
    assert sum(bool(pointer.boxes_xyxy) for each in sentences for pointer in each.pointers) == 4317
    assert not any("[" in each.text or "/EN#" in each.text for each in sentences)
