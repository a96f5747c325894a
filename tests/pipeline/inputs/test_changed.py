"""Files that changed under a finished store: named, and made anew where that is asked for."""

import hashlib
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from detectors.catalog import DetectorRequest, describe_detector
from pipeline.extraction.planning import plan_shards
from pipeline.extraction.remaining import Remaining
from pipeline.extraction.worker import ShardWorker, WorkerSettings
from pipeline.inputs.changed import compare_inputs, kept_in, require_unchanged
from pipeline.inputs.loaded import described_inputs
from stores.catalog import STORES
from stores.errors import StoreError
from stores.images.bytes import read_source
from stores.images.listing import SourceError, list_images
from stores.images.sources import ImageSource, ImageSources
from stores.images.versions import version_of_object, with_versions
from stores.manifest import FailedImage, Manifest, describe_shard
from stores.places import FolderPlace
from stores.plan import PLAN_NAME, read_plan, write_plan
from stores.seal import UNSEALED, seal
from tests.stores.builders import CONFIGURATION, make_regions

TOY = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float32")


def listed(*places):
    return with_versions(list_images([str(each) for each in places]).images)


class Made:
    """A store whose shards have no features to speak of, made of the images at a place."""

    def __init__(self, folder, images, *, with_digests=True, failed=(), shards=None, store="arrow"):
        folder.mkdir()
        self.folder, self.place = folder, FolderPlace(folder)
        plan = plan_shards(images, 2)
        write_plan(folder, plan)
        entries = []
        for shard in list(plan)[:shards]:
            path = folder / f"{shard.name}{STORES[store].suffix}"
            rows = [
                replace(
                    make_regions(each.image_id, num_boxes=1),
                    image_sha256=hashlib.sha256(read_source(each)).digest() if with_digests else None,
                )
                for each in shard.images
                if each.image_id not in failed
            ]
            STORES[store].write_shard(path, rows, content="regions", configuration=CONFIGURATION)
            failures = [
                FailedImage(image_id=each.image_id, location=each.location, stage="decode", reason="torn")
                for each in shard.images
                if each.image_id in failed
            ]
            entries.append(describe_shard(path, len(rows), failures))
        self.manifest = Manifest(content="regions", store=store, configuration=CONFIGURATION, shards=tuple(entries))

    def rerun(self, images):
        """Return existing plan, plan and comparison of a run with these images."""
        existing = read_plan(self.folder)
        plan = plan_shards(images, 2, existing)
        return existing, plan, compare_inputs(existing, plan, self.manifest, self.place)

    def changed(self, images):
        _, plan, comparison = self.rerun(images)
        return plan.images.take(comparison.changed).image_ids()


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in "abcde":
        (tmp_path / f"photos/{name}.jpg").write_bytes(name.encode() * 10)
    return tmp_path / "photos"


def touch(path, seconds=5):
    """The file was written later, to the same bytes."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + seconds * 10**9))


def rewrite(path, content):
    path.write_bytes(content)
    touch(path)


@pytest.mark.parametrize("store", ["arrow", "lmdb"])
def test_what_was_replaced_under_its_name_is_named_and_what_was_only_touched_is_not(tmp_path, photos, store):
    made = Made(tmp_path / "store", listed(photos), store=store)
    assert made.changed(listed(photos)) == []
    rewrite(photos / "b.jpg", b"B" * 10)
    rewrite(photos / "c.jpg", b"longer than it was")
    touch(photos / "d.jpg")
    existing, plan, comparison = made.rerun(listed(photos))
    assert plan.images.take(comparison.changed).image_ids() == ["b", "c"]
    with pytest.raises(StoreError) as refused:
        require_unchanged(comparison, existing, plan, "regions")
    message = str(refused.value)
    assert message.startswith("regions: 2 of its images are other files now: 'b' (")
    assert f"{photos}/b.jpg': other 10 bytes" in message
    assert f"{photos}/c.jpg': 18 bytes, was 10" in message
    assert "--changed redo" in message and "a new --out" in message and "put them back" in message


def test_the_plan_is_refreshed_for_all_but_what_changed(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos))
    rewrite(photos / "b.jpg", b"B" * 10)
    touch(photos / "d.jpg")
    existing, plan, comparison = made.rerun(listed(photos))
    write_plan(made.folder, kept_in(plan, existing, comparison.changed))
    existing, _, comparison = made.rerun(listed(photos))
    assert existing.images.differs(listed(photos), "version").tolist() == [False, True, False, False, False]
    assert comparison.changed.tolist() == [1]


def test_files_that_were_put_back_are_those_that_the_store_was_made_from(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos))
    shutil.copy2(photos / "b.jpg", tmp_path / "kept.jpg")
    rewrite(photos / "b.jpg", b"B" * 11)
    assert made.changed(listed(photos)) == ["b"]
    shutil.copy(tmp_path / "kept.jpg", photos / "b.jpg")
    assert made.changed(listed(photos)) == []


def test_a_folder_of_other_pictures_with_the_same_names_is_refused(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos))
    shutil.copytree(photos, tmp_path / "others")
    for path in (tmp_path / "others").iterdir():
        rewrite(path, path.stem.upper().encode() * 10)
    with pytest.raises(SourceError, match=r"image id 'a' is .*photos/a\.jpg.*others/a\.jpg.*a new --out, or a \.tsv"):
        made.rerun(listed(tmp_path / "others"))
    (tmp_path / "own.tsv").write_text("other-a\tothers/a.jpg\n")
    assert made.changed(listed(tmp_path / "own.tsv")) == []
    shutil.rmtree(photos)  # where the first files are gone, the others have taken their place
    assert made.changed(listed(tmp_path / "others")) == ["a", "b", "c", "d", "e"]


def test_a_store_that_moved_along_with_its_photographs_goes_on(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos))
    shutil.copytree(photos, tmp_path / "copy", copy_function=shutil.copy)  # the first are still there
    touch(tmp_path / "copy/a.jpg")
    _, plan, comparison = made.rerun(listed(tmp_path / "copy"))
    assert comparison.changed.tolist() == []
    assert {str(Path(each.url).parent) for each in plan.images} == {str(tmp_path / "copy")}
    shutil.move(photos, tmp_path / "moved")
    assert made.changed(listed(tmp_path / "moved")) == []


def test_another_spelling_of_a_path_is_the_same_file(tmp_path, photos, monkeypatch):
    made = Made(tmp_path / "store", listed(photos), with_digests=False)
    (tmp_path / "linked").symlink_to(photos)
    monkeypatch.chdir(photos)
    for place in ("../photos", f"{tmp_path}//photos", tmp_path / "linked", f"file://{photos}/../photos/./a.jpg"):
        _, _, comparison = made.rerun(listed(place))
        assert not len(comparison.changed) and not len(comparison.not_told), place


def test_a_copy_is_compared_byte_by_byte_where_the_store_has_no_digests(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos), with_digests=False)
    shutil.copytree(photos, tmp_path / "copy")
    assert made.changed(listed(tmp_path / "copy")) == []
    rewrite(tmp_path / "copy/c.jpg", b"C" * 10)
    with pytest.raises(SourceError, match="image id 'c'"):
        made.rerun(listed(tmp_path / "copy"))


def test_without_digests_another_time_alone_is_said_and_another_size_refused(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos), with_digests=False)
    touch(photos / "b.jpg")
    rewrite(photos / "c.jpg", b"C" * 11)
    existing, plan, comparison = made.rerun(listed(photos))
    assert plan.images.take(comparison.changed).image_ids() == ["c"]
    assert comparison.remarks == (
        "1 files were written since, are as large as they were, and cannot be compared: they are taken for the same",
    )
    write_plan(made.folder, kept_in(plan, existing, comparison.changed, comparison.not_told))
    assert made.rerun(listed(photos))[2].remarks == comparison.remarks  # said again, for it is still not known


def test_what_was_not_made_yet_or_failed_may_change(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos), failed={"b"}, shards=1)
    for name in "bcde":
        rewrite(photos / f"{name}.jpg", name.upper().encode() * 12)
    assert made.changed(listed(photos)) == []
    rewrite(photos / "a.jpg", b"A" * 10)
    assert made.changed(listed(photos)) == ["a"]


def test_a_file_that_is_gone_is_no_changed_one_and_keeps_its_version(tmp_path, photos):
    made = Made(tmp_path / "store", listed(photos))
    images = list_images([str(photos)]).images
    (photos / "b.jpg").unlink()
    existing, plan, comparison = made.rerun(with_versions(images))
    assert not len(comparison.changed)
    assert plan.images == existing.images


@pytest.mark.parametrize("mtime", [0, 1_000_000_000])
def test_members_of_a_tar_that_was_packed_anew_are_compared_by_content(tmp_path, photos, mtime):
    def pack():
        with tarfile.open(tmp_path / "photos.tar", "w") as archive:
            for path in sorted(photos.iterdir()):
                member = archive.gettarinfo(path, path.name)
                member.mtime = mtime
                with path.open("rb") as file:
                    archive.addfile(member, file)

    pack()
    made = Made(tmp_path / "store", listed(tmp_path / "photos.tar"))
    (photos / "aa.jpg").write_bytes(b"new, so that all others begin elsewhere")
    pack()
    touch(tmp_path / "photos.tar")
    assert made.changed(listed(tmp_path / "photos.tar")) == []
    (photos / "c.jpg").write_bytes(b"C" * 10)
    pack()
    touch(tmp_path / "photos.tar", 10)
    assert made.changed(listed(tmp_path / "photos.tar")) == ["c"]


def test_objects_are_known_by_their_etag_or_date():
    first = version_of_object({"name": "a", "size": 3, "ETag": '"abc"', "LastModified": "today"})
    assert first == version_of_object({"etag": '"abc"', "LastModified": "tomorrow"})
    assert first != version_of_object({"ETag": '"abd"'})
    assert version_of_object({"Last-Modified": "today"}) not in (None, version_of_object({"Last-Modified": "tomorrow"}))
    assert version_of_object({"name": "a", "size": 3, "ETag": None}) is None


def test_a_plan_of_an_earlier_release_is_read_and_said_to_tell_nothing(tmp_path, photos):
    made = Made(tmp_path / "store", list_images([str(photos)]).images)
    path = made.folder / PLAN_NAME
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all().drop_columns("version")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema, metadata={"seal": UNSEALED}) as writer:
        writer.write_table(table)
    seal(path)
    rewrite(photos / "b.jpg", b"B" * 12)
    _, plan, comparison = made.rerun(listed(photos))
    assert not len(comparison.changed)
    (remark,) = comparison.remarks
    assert remark.startswith("whether 5 files changed before this run is not known: an earlier release planned them")
    write_plan(made.folder, plan)
    assert made.rerun(listed(photos))[2].remarks == ()
    rewrite(photos / "b.jpg", b"B" * 13)
    assert made.changed(listed(photos)) == ["b"]


def test_a_plan_keeps_no_secret_and_a_rerun_reads_by_the_whole_url(tmp_path):
    def images(signature):
        url = "https://user:password@host/a.jpg"
        return ImageSources.of(
            [ImageSource("a", f"{url}?sig={signature}"), ImageSource("b", "s3://bucket/b.jpg"), ImageSource("c", "/c")]
        )

    plan = plan_shards(images("one"), 2)
    write_plan(tmp_path, plan)
    data = (tmp_path / PLAN_NAME).read_bytes()
    assert b"password" not in data and b"sig=" not in data
    existing = read_plan(tmp_path)
    assert [each.url for each in existing.images][1:] == ["s3://bucket/b.jpg", "/c"]
    assert existing == plan.as_stored() == existing.as_stored()
    manifest = Manifest(content="regions", store="arrow", configuration={})
    for signature in ("one", "two"):  # the same, and one that was signed anew
        again = plan_shards(images(signature), 2, existing)
        assert again.images == images(signature)
        assert not len(compare_inputs(existing, again, manifest, FolderPlace(tmp_path)).changed)
    with pytest.raises(OSError, match="its password or query was not kept, expected the whole URL; list it again"):
        read_source(existing.images[0])


def test_redoing_gives_the_bytes_of_a_fresh_extraction(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (64, 48), colour).save(photos / f"{number}.png")
    (photos / "torn.png").write_bytes(b"no picture")
    inputs = described_inputs(TOY.name, describe_detector(TOY), None)

    def worker(out):
        settings = WorkerSettings(
            detector=TOY, inputs=inputs, configuration=inputs, store="arrow", out=out, batch_size=1, threads=1
        )
        return ShardWorker(settings)

    def make(out, plan, manifest, changed=()):
        out.mkdir(exist_ok=True)
        left = Remaining.of(plan, manifest, changed=changed)
        reports = [worker(out).make_shard(task) for task in left.tasks()]
        kept = [each for each in manifest.shards if each.name not in {report.entry.name for report in reports}]
        return left, replace(manifest, shards=(*kept, *(report.entry for report in reports)))

    nothing = Manifest(content="regions", store="arrow", configuration=inputs)
    existing = plan_shards(listed(photos), 3)
    _, manifest = make(tmp_path / "store", existing, nothing)
    Image.new("RGB", (80, 48), "black").save(photos / "1.png")
    plan = plan_shards(listed(photos), 3, existing)
    comparison = compare_inputs(existing, plan, manifest, FolderPlace(tmp_path / "store"))
    left, redone = make(tmp_path / "store", plan, manifest, comparison.changed.tolist())
    assert (len(left), left.num_images) == (1, 1)
    _, fresh = make(tmp_path / "fresh", plan_shards(listed(photos), 3), nothing)
    assert {each.name: each.sha256 for each in redone.shards} == {each.name: each.sha256 for each in fresh.shards}
    assert len({manifest.shards[0].sha256, redone.shards[-1].sha256, redone.shards[0].sha256}) == 3
    after = compare_inputs(existing, plan, redone, FolderPlace(tmp_path / "store"))
    assert not len(after.changed)  # a run that was killed before it kept the plan finds what it made
