import json
import os
import shutil
from dataclasses import replace

import pytest

from pipeline.care.verify import Damage, repair, verify
from pipeline.cli import main
from stores.atomic import locked
from stores.catalog import STORES
from stores.errors import StoreError
from stores.image_index import index_of_ids, require_index
from stores.images.sources import ImageSource
from stores.manifest import Manifest, describe_shard, read_manifest, write_manifest
from stores.plan import Plan, read_plan, write_plan
from tests.stores.builders import CONFIGURATION, make_regions, make_store

every_store = pytest.mark.parametrize("store", sorted(STORES))


def records_of(*image_ids):
    return [make_regions(image_id, num_boxes=3, seed=seed) for seed, image_id in enumerate(image_ids)]


@pytest.fixture
def folder(tmp_path):
    """A sound Arrow store of three shards: a, b (c in quarantine) · d, e · f."""
    make_store(tmp_path / "store", [records_of("a", "b"), records_of("d", "e"), records_of("f")], failed=[(0, "c")])
    return tmp_path / "store"


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x20
    path.write_bytes(content)


def put_entry(folder, number, **changes):
    """Write the manifest anew with one shard's entry changed, checksum and all."""
    manifest = read_manifest(folder)
    shards = list(manifest.shards)
    shards[number] = type(shards[number])(**vars(shards[number]) | changes)
    write_manifest(folder, Manifest(**vars(manifest) | {"shards": tuple(shards)}))


@every_store
def test_a_sound_store_has_no_damage_and_repair_changes_nothing(tmp_path, store):
    make_store(tmp_path, [records_of("a", "é"), []], store=store, failed=[(1, "z")])
    before = bytes_of(tmp_path)
    assert verify(tmp_path).damages == ()
    assert repair(tmp_path) == []
    assert bytes_of(tmp_path) == before


@every_store
def test_a_flipped_byte_anywhere_is_named_and_its_shard_put_back_to_do(tmp_path, store):
    make_store(tmp_path / "sound", [records_of("a", "b"), records_of("c")], store=store)
    name = f"shard-00000{STORES[store].suffix}"
    size = (tmp_path / "sound" / name).stat().st_size
    for position in (0, 10, 300, size // 3, size // 2, size - 100, size - 1):
        damaged = tmp_path / f"flipped-{position}"
        shutil.copytree(tmp_path / "sound", damaged)
        flip(damaged / name, position)
        [damage] = verify(damaged).damages
        assert damage.subject == name
        assert damage.found.startswith("SHA-256 ")
        [repaired] = repair(damaged)
        assert str(repaired) == f"{name}: {damage.found}; vinculum extract makes it again"
        assert not (damaged / name).exists()
        assert [entry.name for entry in read_manifest(damaged).shards] == [f"shard-00001{STORES[store].suffix}"]
        assert verify(damaged).damages == ()


@every_store
def test_a_truncated_shard_is_named_with_both_sizes(tmp_path, store):
    manifest = make_store(tmp_path, [records_of("a")], store=store)
    path = tmp_path / manifest.shards[0].name
    os.truncate(path, 700)
    assert verify(tmp_path).damages == (
        Damage(subject=path.name, found="700 bytes", expected=f"{manifest.shards[0].bytes} bytes"),
    )
    repair(tmp_path)
    assert verify(tmp_path).damages == ()


def test_a_missing_shard_is_named_and_put_back_to_do(folder):
    (folder / "shard-00001.arrow").unlink()
    assert [str(damage) for damage in verify(folder).damages] == [
        f"shard-00001.arrow: missing, expected {read_manifest(folder).shards[1].bytes} bytes"
    ]
    assert [str(each) for each in repair(folder)] == ["shard-00001.arrow: missing; vinculum extract makes it again"]
    assert [entry.name for entry in read_manifest(folder).shards] == ["shard-00000.arrow", "shard-00002.arrow"]
    assert verify(folder).damages == ()


def test_a_repaired_store_that_is_extracted_again_has_the_bytes_of_an_undisturbed_one(folder):
    before = bytes_of(folder)
    entry = read_manifest(folder).shards[0]
    flip(folder / "shard-00000.arrow", 500)
    repair(folder)
    path = folder / "shard-00000.arrow"
    rows = STORES["arrow"].write_shard(path, records_of("a", "b"), content="regions", configuration=CONFIGURATION)
    again = describe_shard(path, rows, entry.failures)
    manifest = read_manifest(folder)
    write_manifest(folder, Manifest(**vars(manifest) | {"shards": (*manifest.shards, again)}))
    assert bytes_of(folder) == before


def test_shards_still_to_do_are_no_damage(folder):
    manifest = read_manifest(folder)
    write_manifest(folder, Manifest(**vars(manifest) | {"shards": manifest.shards[:1]}))
    for name in ("shard-00001.arrow", "shard-00002.arrow"):
        (folder / name).unlink()
    assert verify(folder).damages == ()


def test_a_killed_run_s_leftover_and_unrecorded_shard_are_named_and_removed(folder):
    shutil.copy(folder / "shard-00000.arrow", folder / "shard-00003.arrow")
    (folder / ".shard-00004.arrow.0123456789abcdef.tmp").write_bytes(b"half")
    (folder / "notes.arrow").write_bytes(b"mine")
    assert [str(damage) for damage in verify(folder).damages] == [
        ".shard-00004.arrow.0123456789abcdef.tmp: a killed writer's temporary file, expected none",
        "shard-00003.arrow: a shard that the manifest does not name, expected none",
    ]
    assert [each.subject for each in repair(folder)] == ["shard-00003.arrow", ".shard-00004.arrow.0123456789abcdef.tmp"]
    assert verify(folder).damages == ()
    assert (folder / "notes.arrow").exists()


def test_an_unreadable_shard_is_named_even_if_the_manifest_agrees_with_its_bytes(folder):
    (folder / "shard-00002.arrow").write_bytes(b"text")
    entry = describe_shard(folder / "shard-00002.arrow", 1)
    put_entry(folder, 2, bytes=entry.bytes, sha256=entry.sha256)
    [damage] = verify(folder).damages
    assert (damage.subject, damage.expected) == ("shard-00002.arrow", "a whole Arrow file")
    assert damage.found.startswith("unreadable (")


def test_a_wrong_row_count_is_named(folder):
    put_entry(folder, 2, rows=2)
    assert [str(damage) for damage in verify(folder).damages] == ["shard-00002.arrow: 1 rows, expected 2 rows"]


def test_a_shard_made_with_other_options_is_named(folder):
    path = folder / "shard-00002.arrow"
    STORES["arrow"].write_shard(path, records_of("f"), content="regions", configuration={"weights": "random:1"})
    entry = describe_shard(path, 1)
    put_entry(folder, 2, bytes=entry.bytes, sha256=entry.sha256)
    [damage] = verify(folder).damages
    assert damage.subject == "shard-00002.arrow"
    assert damage.found.startswith("fingerprint ")
    assert damage.expected.endswith(" as in the manifest")


def plan(folder, *shards):
    """Write another plan: for each shard the ids of its images."""
    write_plan(folder, Plan.of_shards([[ImageSource(each, "x") for each in ids] for ids in shards]))


@pytest.mark.parametrize(
    ("planned", "said"),
    [
        (["a", "b", "c", "x"], "image 'x' neither in a row nor in quarantine"),
        (["a", "c"], "image 'b' not planned for it"),
        (["a", "b"], "image 'c' not planned for it"),
        (["b", "a", "c"], "rows in another order"),
    ],
)
def test_a_shard_with_other_images_than_planned_is_named(folder, planned, said):
    plan(folder, planned, ["d", "e"], ["f"])
    assert [(each.subject, each.found) for each in verify(folder).damages] == [("shard-00000.arrow", said)]
    repair(folder)
    assert verify(folder).damages == ()


def test_an_image_both_in_a_row_and_in_quarantine_is_named(folder):
    failure = read_manifest(folder).shards[0].failures[0]
    put_entry(folder, 1, failures=(type(failure)(**vars(failure) | {"image_id": "e"}),))
    assert [str(damage) for damage in verify(folder).damages] == [
        "shard-00001.arrow: image 'e' 2 times, in rows or quarantine, expected each planned image once"
    ]


def test_a_shard_that_is_not_planned_is_named(folder):
    plan(folder, "abc")
    assert [(each.subject, each.found) for each in verify(folder).damages] == [
        ("shard-00001.arrow", "a shard that is not planned"),
        ("shard-00002.arrow", "a shard that is not planned"),
    ]


def test_an_image_planned_twice_is_named(folder):
    plan(folder, "a", "a")
    assert "plan.arrow: image 'a' 2 times, expected each image once" in [str(each) for each in verify(folder).damages]


@pytest.mark.parametrize("damage", ["edited", "cut", "gone"])
def test_a_damaged_manifest_is_named_and_rebuilt_from_shards_that_prove_themselves(folder, damage):
    path = folder / "manifest.json"
    sound, before = read_manifest(folder), path.read_text()
    if damage == "edited":
        path.write_text(before.replace("0.3", "0.4"))
    elif damage == "cut":
        path.write_text(before[:200])
    else:
        path.unlink()
    [found] = verify(folder).damages
    assert found.subject == "manifest.json"
    rebuilt, to_do = repair(folder)
    assert str(rebuilt).startswith("manifest.json: ")
    assert str(rebuilt).endswith("rebuilt with 2 of 3 planned shards")
    # c was in quarantine, and only the manifest knew why
    assert (to_do.subject, (folder / "shard-00000.arrow").exists()) == ("shard-00000.arrow", False)
    assert read_manifest(folder) == Manifest(**vars(sound) | {"shards": sound.shards[1:]})
    assert verify(folder).damages == ()


@every_store
def test_a_flipped_byte_is_found_without_a_manifest_too(tmp_path, store):
    manifest = make_store(tmp_path / "sound", [records_of("a", "b"), records_of("c")], store=store)
    name = manifest.shards[0].name
    size = (tmp_path / "sound" / name).stat().st_size
    for position in (0, 10, 300, 4200, size // 3, size // 2, size - 100, size - 1):
        damaged = tmp_path / f"flipped-{position}"
        shutil.copytree(tmp_path / "sound", damaged)
        flip(damaged / name, position % size)
        (damaged / "manifest.json").unlink()
        assert [damage.subject for damage in verify(damaged).damages] == ["manifest.json", name]
        repair(damaged)
        assert read_manifest(damaged).shards == manifest.shards[1:]
        assert verify(damaged).damages == ()


def test_without_manifest_and_any_intact_shard_extract_starts_anew(folder):
    for number in range(3):
        flip(folder / f"shard-0000{number}.arrow", 50)
    (folder / "manifest.json").write_text("{")
    repairs = repair(folder)
    assert str(repairs[0]).endswith("no intact shard to rebuild it from; vinculum extract starts anew")
    assert [path.name for path in folder.iterdir()] == ["plan.arrow"]


def test_without_manifest_shards_made_in_two_ways_are_left_for_the_user_to_sort(folder):
    STORES["arrow"].write_shard(
        folder / "shard-00002.arrow", records_of("f"), content="regions", configuration={"weights": "random:1"}
    )
    (folder / "manifest.json").unlink()
    before = bytes_of(folder)
    with pytest.raises(StoreError, match=r"shard-00002\.arrow was made with other options"):
        repair(folder)
    assert bytes_of(folder) == before


def test_without_manifest_and_plan_nothing_is_touched_and_the_user_is_told_what_to_do(folder):
    (folder / "manifest.json").unlink()
    (folder / "plan.arrow").write_text("")
    before = bytes_of(folder)
    assert [damage.subject for damage in verify(folder).damages] == ["plan.arrow", "manifest.json"]
    with pytest.raises(StoreError, match=r"are both lost.*restore one, or start over with a new --out"):
        repair(folder)
    assert bytes_of(folder) == before


def test_a_damaged_plan_is_named_and_removed_and_the_shards_stay(folder):
    flip(folder / "plan.arrow", 40)
    [damage] = verify(folder).damages
    assert damage.subject == "plan.arrow"
    assert damage.found.startswith("cut short or edited")
    [repaired] = repair(folder)
    assert str(repaired).endswith("vinculum extract with the same inputs plans anew")
    assert not (folder / "plan.arrow").exists()
    assert len(read_manifest(folder).shards) == 3


def test_a_sample_reads_its_share_of_the_shards_and_sees_the_sizes_of_all(folder):
    flip(folder / "shard-00001.arrow", 50)
    found = [len(verify(folder, share=0.3).damages) for _ in range(60)]
    assert {0, 1} == set(found)  # one shard of three: missed by chance but once in 10^10
    with (folder / "shard-00001.arrow").open("ab") as file:
        file.write(b"x")
    assert all([each.subject for each in verify(folder, share=0.01).damages] == ["shard-00001.arrow"] for _ in range(5))


def test_an_index_that_is_damaged_or_of_other_images_is_named_and_removed(folder):
    manifest = read_manifest(folder)
    assert require_index(folder, read_plan(folder), manifest)
    assert verify(folder).damages == ()
    flip(folder / "index.arrow", 50)
    [damage] = verify(folder).damages
    assert str(damage) == "index.arrow: cut short or edited, expected the bytes that were written"
    [repaired] = repair(folder)
    assert str(repaired) == "index.arrow: cut short or edited; vinculum extract makes it again"
    assert verify(folder).damages == ()
    index_of_ids([["a", "x"], ["d", "e"], ["f"]]).write(folder, manifest)
    [damage] = verify(folder).damages
    assert str(damage) == "index.arrow: other images than are planned, expected those of the shards"


def test_a_newer_store_is_neither_verified_nor_repaired(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 3}))
    before = bytes_of(folder)
    for command in (verify, repair):
        with pytest.raises(StoreError, match="schema version 3, expected at most 2"):
            command(folder)
    assert bytes_of(folder) == before


def test_repair_waits_for_no_one_and_verify_needs_no_lock(folder):
    with locked(folder):
        assert verify(folder).damages == ()
        with pytest.raises(StoreError, match="another run owns this store"):
            repair(folder)


@pytest.mark.parametrize("num_made", [0, 1, 2])
def test_a_store_of_which_shards_are_still_to_be_made_is_unfinished(folder, num_made, capsys):
    manifest = read_manifest(folder)
    for entry in manifest.shards[num_made:]:
        (folder / entry.name).unlink()
    write_manifest(folder, replace(manifest, shards=manifest.shards[:num_made]))
    assert main(["verify", str(folder)]) == 4
    assert capsys.readouterr().out == (
        f"{folder}: unfinished; {num_made} of 3 shards are made; run vinculum extract again to go on\n"
    )
    if num_made == 0:
        (folder / "manifest.json").unlink()
        assert main(["verify", str(folder)]) == 4
    else:
        flip(folder / manifest.shards[0].name, 700)
        assert main(["verify", str(folder)]) == 1


def test_a_sample_says_what_was_not_read(folder, capsys):
    assert main(["verify", str(folder), "--sample", "50%", "--json"]) == 0
    line, summary = capsys.readouterr().out.splitlines()
    assert line == f"{folder}: whole; 2 of 3 shards were read, of 1 only the sizes compared"
    assert json.loads(summary) == {
        "store": str(folder),
        "state": "whole",
        "damages": [],
        "num_shards": 3,
        "num_planned": 3,
        "num_read": 2,
    }


@pytest.mark.parametrize(
    ("is_finished", "status", "said"),
    [
        (True, 0, "whole"),
        (False, 4, "unfinished; 1 shards are made; run vinculum align again to go on"),
        (None, 0, "whole; whether it is finished is not recorded, since an older version wrote it; "),
    ],
)
def test_a_store_of_sentences_records_whether_it_is_finished(tmp_path, capsys, is_finished, status, said):
    path = tmp_path / "shard-00-a-00000.arrow"
    STORES["arrow"].write_sentences(path, [], configuration=CONFIGURATION)
    manifest = Manifest(
        content="sentences", store="arrow", configuration=CONFIGURATION, shards=(describe_shard(path, 0),)
    )
    write_manifest(tmp_path, manifest if is_finished is None else manifest.noting_finished(is_finished))
    assert main(["verify", str(tmp_path)]) == status
    assert capsys.readouterr().out.startswith(f"{tmp_path}: {said}")
    if is_finished:
        flip(path, 300)
        repair(tmp_path)
        assert verify(tmp_path).state == "unfinished"


@pytest.mark.parametrize("command", [["verify"], ["repair"], ["inspect"]])
def test_a_folder_that_is_no_store_is_called_what_it_is(tmp_path, capsys, command):
    (tmp_path / "beach.jpg").write_bytes(b"photo")
    assert main([*command, str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{tmp_path} is no store: it holds 1 files such as 'beach.jpg', and has no manifest.json" in error
    assert "run vinculum repair" not in error
    assert main([*command, str(tmp_path / "beach.jpg")]) == 1
    assert "beach.jpg is no folder, expected a store" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "absent")]) == 1
    assert "absent is not there, expected a store" in capsys.readouterr().err
