"""Every finding of the doctor, present and absent, in small stores made by hand."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.records import Pointer, Sentence, SentenceImage
from pipeline.alignment.drop_reasons import OTHER_PROPORTIONS
from pipeline.care.doctor import MISSING, NO_REGIONS, diagnose
from pipeline.care.health import MIN_WORDS
from pipeline.care.health_report import report
from pipeline.cli import main
from pipeline.inputs.identity import identity_of_store
from stores.catalog import STORES
from stores.manifest import DropCount, Manifest, describe_shard, read_manifest, write_manifest
from tests.stores.builders import make_regions, make_store

BOX = (10.0, 20.0, 30.0, 40.0)


def say(sentence_id, *, image="a", source="one", split="train", coco_id="", iou=0.9, oov=False, pointing=True):
    """Return a sentence whose second word points, and that word's best IoU and whether it has a vector."""
    pointer = Pointer(start=4, end=7, boxes_xyxy=(BOX,))
    sentence = Sentence(
        sentence_id=sentence_id,
        images=(SentenceImage(image_id=image, width=640, height=480, coco_id=coco_id),),
        text="the wug",
        source=source,
        split=split,
        pointers=(pointer,) if pointing else (),
    )
    return sentence, iou, oov


def make_sentences(folder, *said, drops=(), identity=None):
    """Write one shard a source, aligned with the region store beside it."""
    folder.mkdir()
    configuration = {"regions": identity or identity_of_store(read_manifest(folder.parent / "regions"))}
    entries = []
    for number, source in enumerate(dict.fromkeys(sentence.source for sentence, _, _ in said)):
        own = sorted((each for each in said if each[0].source == source), key=lambda each: each[0].sentence_id)
        rows = [(iou, oov) for sentence, iou, oov in own if sentence.pointers]
        aligned = AlignedSentences(
            sentences=[sentence for sentence, _, _ in own],
            num_boxes=[(2,)] * len(own),
            words=PointedWords(
                starts=np.full(len(rows), 4, np.int32),
                ends=np.full(len(rows), 7, np.int32),
                images=np.zeros(len(rows), np.int32),
                in_answer=np.zeros(len(rows), bool),
                oov=np.array([oov for _, oov in rows], bool),
                position=np.array([[iou, 0] for iou, _ in rows], np.float16).reshape(-1, 2),
                semantic=np.zeros((len(rows), 2), np.float16),
            ),
            word_offsets=np.cumsum([0, *(bool(sentence.pointers) for sentence, _, _ in own)]),
        )
        path = folder / f"shard-{number:02d}-{source}-00000.arrow"
        count = STORES["arrow"].write_sentences(path, [aligned], configuration=configuration)
        entries.append(replace(describe_shard(path, count), drops=tuple(drops)))
    manifest = Manifest(content="sentences", store="arrow", configuration=configuration, shards=tuple(entries))
    write_manifest(folder, manifest)
    return folder


@pytest.fixture
def regions(tmp_path):
    make_store(tmp_path / "regions", [[make_regions("a"), make_regions("b")]])
    return tmp_path / "regions"


def test_a_store_with_nothing_wrong_is_healthy(regions, tmp_path):
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1"), say("2", image="b", pointing=False)))
    assert found.is_healthy
    (health,) = found.sources
    assert (health.num_sentences, health.num_images, health.num_pointing, health.num_words) == (2, 2, 1, 1)
    assert (health.num_covered, health.num_oov, health.num_uncovered_pointers, health.num_boxed_pointers) == (
        1,
        0,
        0,
        1,
    )
    assert health.worst == ()
    assert found.num_unused_images == 0


def test_phrases_that_no_region_covers_are_shown_worst_first(regions, tmp_path):
    said = [
        say(str(number), image=image, iou=iou)
        for number, (image, iou) in enumerate([("a", 0.3), ("b", 0.1), ("a", 0.5)])
    ]
    (health,) = diagnose(regions, make_sentences(tmp_path / "s", *said)).sources
    assert health.num_uncovered_pointers == 2
    assert [(each.image_id, each.iou, each.words) for each in health.worst] == [("b", 0.1, "wug"), ("a", 0.3, "wug")]
    assert health.worst[0].box_xyxy == BOX


def test_a_phrase_is_covered_by_what_overlaps_its_own_boxes(regions, tmp_path):
    (sentence, *_) = say("1")
    boxes = [BOX, (1.0, 1.0, 9.0, 9.0), (2.0, 2.0, 4.0, 4.0)]
    spans = [(0, 7), (4, 7), (8, 9)]  # one in the other, and one without a word
    pointers = [
        Pointer(start=start, end=end, boxes_xyxy=(box,)) for (start, end), box in zip(spans, boxes, strict=True)
    ]
    nested = replace(sentence, text="the wug &", pointers=(*pointers, Pointer(start=0, end=3, boxes_xyxy=())))
    folder = make_sentences(tmp_path / "s", (nested, 0.9, False))
    (entry,) = read_manifest(folder).shards
    with STORES["arrow"].open_shard(folder / entry.name) as shard:
        aligned, configuration = shard.read_sentence(0), shard.description.configuration
    position = np.array([[0.25, 0.1], [0.9, 0], [0.125, 0]], np.float16)
    whole = AlignedSentences(
        sentences=[nested],
        num_boxes=[(2,)],
        words=aligned.words,
        word_offsets=np.array([0, 1]),
        pointer_position=position,
    )
    STORES["arrow"].write_sentences(folder / entry.name, [whole], configuration=configuration)
    write_manifest(folder, replace(read_manifest(folder), shards=(describe_shard(folder / entry.name, 1),)))
    (health,) = diagnose(regions, folder).sources
    assert (health.num_uncovered_pointers, health.num_boxed_pointers) == (2, 3)
    assert [(each.words, each.iou) for each in health.worst] == [("&", 0.125), ("the wug", 0.25)]


def test_words_without_a_vector_are_counted(regions, tmp_path):
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1", oov=True), say("2", oov=True), say("3")))
    assert found.sources[0].oov_words == (("wug", 2),)
    assert found.sources[0].num_oov == 2


def test_photographs_that_are_trained_on_and_evaluated_are_found_by_either_name(regions, tmp_path):
    folder = make_sentences(
        tmp_path / "s",
        say("1", image="a"),
        say("1", image="a", source="two", split="test"),
        say("2", image="vg-7", coco_id="9"),
        say("2", image="COCO_val2014_000000000009", source="two", split="val"),
        say("3", image="only-trained"),
    )
    found = diagnose(regions, folder)
    assert found.num_leaks == 2
    assert {(each.photograph, each.trained_by, each.evaluated_by) for each in found.leaks} == {
        ("a", "one", "two"),
        ("coco 9", "one", "two"),
    }
    assert not found.is_healthy


def test_missing_and_unused_images_and_changed_regions_are_told(regions, tmp_path):
    drop = DropCount(reason=NO_REGIONS, count=3, first="one, sentence '7': images z")
    other = DropCount(reason="something else", count=5, first="x")
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1"), drops=(drop, other)))
    (health,) = found.sources
    assert (health.num_missing, health.missing) == (3, (drop.first,))
    assert (found.num_unused_images, found.num_lost_images) == (1, 0)
    assert not found.regions_changed
    assert not found.is_healthy


def test_a_source_of_which_nothing_is_left_is_in_the_table(regions, tmp_path, capsys):
    folder = make_sentences(tmp_path / "s", say("1"))
    manifest = read_manifest(folder)
    drop = DropCount(reason=NO_REGIONS, count=6982, first="nlvr2, sentence 'dev-0': images dev-0-img0, dev-0-img1")
    path = folder / "shard-01-nlvr2-00000.arrow"
    rows = STORES["arrow"].write_sentences(path, [], configuration=manifest.configuration)
    write_manifest(
        folder, replace(manifest, shards=(*manifest.shards, replace(describe_shard(path, rows), drops=(drop,))))
    )
    assert main(["doctor", "--regions", str(regions), "--sentences", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["nlvr2", "0", "0", "-", "0", "-", "-", "0", "of", "0", "6,982"]
    told = "because their images have no regions, or none that are known to be theirs:"
    assert f"nlvr2: 6982 sentences were left out, {told}" in lines


def test_images_that_the_region_store_lacks_now_are_not_taken_for_used_ones(regions, tmp_path):
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1"), say("2", image="z")))
    assert (found.num_unused_images, found.num_lost_images) == (1, 1)
    assert not found.is_healthy


@pytest.mark.parametrize("changed", ["fingerprint", "sha256"])
def test_a_region_store_of_other_settings_or_other_shards_is_told(regions, tmp_path, changed):
    identity = identity_of_store(read_manifest(regions)) | {changed: "0" * 64}
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1"), say("2", image="b"), identity=identity))
    assert found.regions_changed
    assert not found.is_healthy


def test_a_region_store_that_grew_is_told_by_how_many_and_is_healthy(regions, tmp_path):
    begun = identity_of_store(read_manifest(regions))
    make_store(regions, [[make_regions("a"), make_regions("b")], [make_regions("c")]])
    folder = make_sentences(tmp_path / "s", say("1"), say("2", image="b"), identity=begun)
    found = diagnose(regions, folder)
    assert found.is_healthy
    assert "The region store grew by 1 shard since (1 images): align again" in "\n".join(report(found))
    make_store(regions, [[make_regions("a"), make_regions("b", seed=3)], [make_regions("c")]])
    assert diagnose(regions, folder).regions_changed


def test_ids_that_repeat_between_shards_of_a_source_are_counted(regions, tmp_path):
    folder = make_sentences(tmp_path / "s", say("1"), say("2"), say("1", source="two"))
    manifest = read_manifest(folder)
    again = replace(manifest.shards[0], name="shard-00-one-00001.arrow")
    shutil.copy(folder / manifest.shards[0].name, folder / again.name)
    write_manifest(folder, replace(manifest, shards=(*manifest.shards, again)))
    found = diagnose(regions, folder)
    assert [health.num_repeated_ids for health in found.sources] == [2, 0]
    assert not found.is_healthy


def test_visual_genomes_images_under_their_own_ids_and_cocos_are_one_photograph(regions, tmp_path):
    folder = make_sentences(
        tmp_path / "s",
        say("1", image="7", coco_id="9", source="visual-genome"),
        say("1", image="7", source="gqa", split="val"),
        say("2", image="000000000009", source="coco-captions", split="val"),
    )
    (leak,) = diagnose(regions, folder).leaks
    assert (leak.photograph, leak.trained_by) == ("coco 9", "visual-genome")
    assert leak.evaluated_by in ("gqa", "coco-captions")


def test_the_command_prints_a_table_and_findings_and_one_line_for_machines(regions, tmp_path, capsys):
    folder = make_sentences(tmp_path / "s", say("1", iou=0.2, oov=True), say("1", source="two", split="val"))
    assert main(["doctor", "--regions", str(regions), "--sentences", str(folder), "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("source  sentences  images  pointing  words  covered  ")
    assert lines[0].endswith("  pointers not covered  missing")
    assert "100.0%" in lines[1]
    assert any("trained on by one, evaluated by two" in line for line in lines)
    assert any("wug (1)" in line for line in lines)
    assert any("IoU 0.20  'wug'" in line for line in lines)
    assert json.loads(last)["num_leaks"] == 1


def test_regions_given_for_sentences_are_refused(regions, capsys):
    assert main(["doctor", "--regions", str(regions), "--sentences", str(regions)]) == 1
    assert "is a store of regions, expected one of sentences" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ({"iou": 0.6}, {"iou": 0.4}, "one: regions cover 32.5% of the pointed words, expected 40% or more"),
        ({"oov": False}, {"oov": True}, "one: 67.5% of the pointed words have no vector, expected 30% at most"),
    ],
)
def test_a_detector_that_does_not_know_the_pictures_and_vectors_of_other_texts_are_not_healthy(
    regions, tmp_path, good, bad, words
):
    said = [say(f"{number:03d}", **(good if number < 39 else bad)) for number in range(120)]
    found = diagnose(regions, make_sentences(tmp_path / "s", *said))
    assert not found.is_healthy
    told = "\n".join(report(found))
    assert words in told
    assert "README" in told or "https://nlp.stanford.edu/projects/glove" in told
    few = said[-(MIN_WORDS - 1) :]
    assert diagnose(regions, make_sentences(tmp_path / "few", *few)).is_healthy


def test_it_is_told_by_which_rules_images_were_joined_and_whose_their_numbers_are(regions, tmp_path):
    folder = make_sentences(tmp_path / "s", say("1"))
    manifest = read_manifest(folder)
    (entry,) = manifest.shards
    notes = {"ids": {"numbers_of": ["coco"], "told_by": "said"}}
    counted = replace(entry, counts={"joined_by_coco_number": 1, "joined_by_size": 2})
    write_manifest(folder, replace(manifest, shards=(counted,), notes=notes))
    found = diagnose(regions, folder)
    assert found.sources[0].joins == {"joined by number where sizes agree": 2, "joined by COCO's number": 1}
    told = "\n".join(report(found))
    assert "one: images joined by number where sizes agree: 2, joined by COCO's number: 1" in told
    assert "Numbers among its images' ids are those of coco, as --ids says." in told


@pytest.mark.parametrize("reason", MISSING)
def test_images_that_are_not_known_to_be_a_sentences_are_missing(regions, tmp_path, reason):
    drop = DropCount(reason=reason, count=3, first="one, sentence '7'")
    found = diagnose(regions, make_sentences(tmp_path / "s", say("1"), drops=[drop]))
    assert (found.sources[0].num_missing, found.is_healthy) == (3, False)


def test_images_of_other_proportions_than_annotated_are_other_photographs(regions, tmp_path):
    said = [say(str(number)) for number in range(20)]
    for name, count, is_healthy in (("few", 1, True), ("many", 2, False)):
        drop = DropCount(reason=OTHER_PROPORTIONS, count=count, first="one, sentence '7'")
        found = diagnose(regions, make_sentences(tmp_path / name, *said, drops=[drop]))
        assert found.is_healthy == is_healthy
        told = f"one: {count} sentences were left out, whose images have other proportions"
        assert any(line.startswith(told) for line in report(found)) != is_healthy
