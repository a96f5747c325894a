import csv
import http.server
import io
import os
import tarfile
import threading

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.image_bytes import read_source
from stores.image_listing import SourceError, list_images
from stores.image_sources import ImageSource
from stores.plain_lists import read_plain_list


def put(folder, *names):
    """Write files whose content is their name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))
    return str(folder)


def put_tar(path, *names, **options):
    """Write a tar whose members' content is their name, a little longer each."""
    with tarfile.open(path, **{"mode": "w"} | options) as archive:
        for number, name in enumerate(names):
            member = tarfile.TarInfo(name)
            data = name.encode() * (number + 1)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


def ids(*places, id_rule="stem"):
    return [image.image_id for image in list_images(places, id_rule).images]


def refusal(*places, id_rule="stem"):
    with pytest.raises(SourceError) as caught:
        list_images(places, id_rule)
    return str(caught.value)


def test_nested_folders_are_listed_by_the_utf8_bytes_of_the_ids(tmp_path):
    put(tmp_path, "z/9.jpg", "b.png", "a/deep/er/Ä.jpeg", "a/10.JPG", "a/2.tif", "𝄞.jpg", "ﬁ.webp")
    assert ids(str(tmp_path)) == ["10", "2", "9", "b", "Ä", "ﬁ", "𝄞"]


@settings(max_examples=30, deadline=None)
@given(st.permutations(["one", "two", "three", "four"]))
def test_the_order_of_the_places_does_not_matter(tmp_path_factory, order):
    root = tmp_path_factory.mktemp("places")
    put(root, *(f"{name}/{name}{number}.jpg" for name in order for number in range(3)))
    listing = list_images([str(root / name) for name in order])
    assert listing == list_images([str(root / name) for name in sorted(order)])
    assert len(listing.images) == 12


def test_the_id_is_the_stem_or_the_path_below_the_place(tmp_path):
    put(tmp_path, "train/1.jpg", "val/2.jpg")
    assert ids(str(tmp_path)) == ["1", "2"]
    assert ids(str(tmp_path), id_rule="path") == ["train/1", "val/2"]
    assert ids(str(tmp_path / "val"), id_rule="path") == ["2"]


def test_names_with_dots_stay_apart(tmp_path):
    put(tmp_path, "img.v2.001.jpg", "img.v2.002.jpg", "img.v2.jpg")
    assert ids(str(tmp_path)) == ["img.v2", "img.v2.001", "img.v2.002"]
    assert ids(str(tmp_path), id_rule="path") == ["img.v2", "img.v2.001", "img.v2.002"]


def test_two_files_of_one_id_are_refused_and_both_named(tmp_path):
    put(tmp_path, "one/7.jpg", "two/7.png")
    message = refusal(str(tmp_path))
    assert "'7'" in message
    assert str(tmp_path / "one/7.jpg") in message
    assert str(tmp_path / "two/7.png") in message
    assert "--image-id path" in message
    assert ids(str(tmp_path), id_rule="path") == ["one/7", "two/7"]


def test_two_roots_with_one_id_are_refused_whatever_the_rule(tmp_path):
    roots = [put(tmp_path / "coco", "7.jpg"), put(tmp_path / "flickr", "7.jpg")]
    for id_rule in ("stem", "path"):
        message = refusal(*roots, id_rule=id_rule)
        assert str(tmp_path / "coco/7.jpg") in message
        assert str(tmp_path / "flickr/7.jpg") in message


def test_a_folder_and_a_tar_with_one_id_are_refused_and_both_named(tmp_path):
    folder = put(tmp_path / "photos", "7.jpg")
    archive = put_tar(tmp_path / "more.tar", "below/7.jpg")
    message = refusal(folder, archive)
    assert str(tmp_path / "photos/7.jpg") in message
    assert f"{archive}::below/7.jpg" in message


def test_one_file_reached_twice_is_one_image(tmp_path):
    put(tmp_path, "below/1.jpg", "2.jpg")
    assert ids(str(tmp_path), str(tmp_path / "below"), str(tmp_path / "2.jpg")) == ["1", "2"]


def test_hidden_files_and_files_that_are_no_images_are_counted_not_listed(tmp_path):
    put(tmp_path, "1.jpg", ".hidden.jpg", "notes.txt", "below/labels.json", "below/noextension", "2.jpg~")
    listing = list_images([str(tmp_path)])
    assert [image.image_id for image in listing.images] == ["1"]
    assert listing.num_ignored == 5


def test_a_dangling_link_is_listed_so_that_it_is_not_lost(tmp_path):
    put(tmp_path, "1.jpg")
    (tmp_path / "2.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "3.jpg").symlink_to("3.jpg")
    assert ids(str(tmp_path)) == ["1", "2", "3"]


def test_linked_folders_are_followed_and_those_that_lead_back_are_not(tmp_path):
    put(tmp_path, "root/1.jpg", "root/a/2.jpg", "elsewhere/3.jpg")
    root = tmp_path / "root"
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a/loop").symlink_to(root)
    (root / "a/up").symlink_to(tmp_path)
    (tmp_path / "elsewhere/back").symlink_to(root)
    assert ids(str(root), id_rule="path") == ["1", "a/2", "linked/3"]


def test_a_folder_that_is_named_like_an_image_is_a_folder(tmp_path):
    put(tmp_path, "album.jpg/1.jpg")
    assert ids(str(tmp_path)) == ["1"]


def test_a_name_that_is_not_utf8_is_listed_and_readable(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    put(tmp_path, name)
    (image,) = list_images([str(tmp_path)]).images
    assert image.image_id == os.fsdecode(b"caf\xe9")
    assert read_source(image) == b"caf\xe9.jpg"


def test_a_single_file_is_an_image_whatever_its_name(tmp_path):
    put(tmp_path, "picture", "other.jpg")
    assert ids(str(tmp_path / "picture"), str(tmp_path / "other.jpg")) == ["other", "picture"]


def test_a_folder_that_can_not_be_listed_ends_the_listing(tmp_path):
    put(tmp_path, "1.jpg")
    below = tmp_path / "d"
    names = ["x" * 250] * 17  # as a path it is longer than any system call takes
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in ["d", *names]:
            os.mkdir(name, dir_fd=descriptor)
            inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
    finally:
        os.close(descriptor)
    assert below.is_dir()
    message = refusal(str(tmp_path))
    assert "can not be listed" in message
    assert "File name too long" in message


def test_places_without_an_image_are_refused(tmp_path):
    assert "no image found" in refusal(put(tmp_path / "texts", "1.txt", "2.json"))
    assert ".jpg" in refusal(str(tmp_path / "texts"))
    (tmp_path / "empty.txt").write_text("\n")
    assert "no image found" in refusal(str(tmp_path / "empty.txt"))
    assert "no such file or folder" in refusal(str(tmp_path / "absent"))
    assert "no such file" in refusal(str(tmp_path / "absent.tsv"))
    assert "no such file" in refusal(str(tmp_path / "absent.tar"))
    assert "--images" in refusal()


def test_tar_members_are_read_in_place(tmp_path):
    names = ["1.jpg", "below/2.png", "below/notes.md", "long/" + "x" * 180 + ".jpg", "Ä.jpg"]
    archive = put_tar(tmp_path / "photos.tar", *names)
    listing = list_images([archive])
    assert listing.num_ignored == 1
    assert {image.image_id: read_source(image) for image in listing.images} == {
        "1": b"1.jpg",
        "2": b"below/2.png" * 2,
        "x" * 180: names[3].encode() * 4,
        "Ä": "Ä.jpg".encode() * 5,
    }
    assert {image.location for image in listing.images} == {f"{archive}::{name}" for name in names if ".md" not in name}


def test_a_hard_link_inside_a_tar_is_an_image_too(tmp_path):
    put(tmp_path / "photos", "1.jpg")
    (tmp_path / "photos/2.jpg").hardlink_to(tmp_path / "photos/1.jpg")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(tmp_path / "photos/1.jpg", "1.jpg")
        archive.add(tmp_path / "photos/2.jpg", "2.jpg")
        assert archive.getmember("2.jpg").islnk()
    first, second = list_images([str(tmp_path / "photos.tar")]).images
    assert (second.image_id, read_source(second)) == ("2", read_source(first))


@pytest.mark.parametrize(
    ("name", "mode"), [("photos.tar.gz", "w:gz"), ("photos.tgz", "w:gz"), ("photos.tar.xz", "w:xz"), ("x.tar", "w:gz")]
)
def test_a_compressed_tar_is_refused(tmp_path, name, mode):
    message = refusal(put_tar(tmp_path / name, "1.jpg", mode=mode))
    assert name in message
    assert "compressed" in message


def test_a_tar_that_is_cut_short_or_damaged_is_refused_not_taken_for_a_short_one(tmp_path):
    whole = tmp_path / "whole.tar"
    put_tar(whole, "1.jpg", "2.jpg", "3.jpg")
    content = whole.read_bytes()
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes(content[:1024] + b"\xff" * 512 + content[1536:])  # the second member's header
    assert "damaged at byte 1024" in refusal(str(damaged))
    damaged.write_bytes(content[:1300])  # inside that header
    assert "damaged.tar" in refusal(str(damaged))
    damaged.write_bytes(content[:1540])  # inside its data
    assert "unexpected end of data" in refusal(str(damaged))


def test_a_member_that_is_no_longer_all_there_is_an_error_when_read(tmp_path):
    archive = tmp_path / "photos.tar"
    put_tar(archive, "1.jpg")
    (image,) = list_images([str(archive)]).images
    archive.write_bytes(archive.read_bytes()[:514])
    with pytest.raises(OSError, match=r"ends after 2 of the member's 5 bytes"):
        read_source(image)


def test_lists_give_ids_and_paths_relative_to_themselves(tmp_path):
    put(tmp_path, "photos/1.jpg", "photos/2.jpg")
    lists = {
        "ids.tsv": f"cat\tphotos/1.jpg\n\ndog\t{tmp_path}/photos/2.jpg\n",
        "ids.csv": f'"cat",photos/1.jpg\r\ndog,"{tmp_path}/photos/2.jpg"\r\n',
        "excel.csv": "\ufeffcat,photos/1.jpg\ndog,photos/2.jpg\n",
        "names.txt": f"photos/1.jpg\n\n  {tmp_path}/photos/2.jpg  \n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = {image.image_id: read_source(image) for image in list_images([str(tmp_path / name)]).images}
        expected = ["1", "2"] if name.endswith(".txt") else ["cat", "dog"]
        assert found == dict(zip(expected, [b"photos/1.jpg", b"photos/2.jpg"], strict=True)), name


def test_what_a_list_names_need_not_end_like_an_image_nor_exist(tmp_path):
    (tmp_path / "list.tsv").write_text("cat\tblob-1\n")
    (image,) = list_images([str(tmp_path / "list.tsv")]).images
    assert image == ImageSource("cat", str(tmp_path / "blob-1"))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("list.tsv", "a\tx.jpg\nb\n", "list.tsv:2: 1 fields"),
        ("list.tsv", "a\tx.jpg\tmore\n", "list.tsv:1: 3 fields"),
        ("list.csv", "a,x.jpg\n\nb,x,y\n", "list.csv:3: 3 fields"),
        ("list.csv", "a,x.jpg\n,y.jpg\n", "list.csv:2: 2 fields"),
        ("list.csv", "a,\n", "an id and a path"),
        ("list.csv", 'a,x.jpg\nb,"y.jpg\nc,z.jpg\n', "list.csv': not a list"),
    ],
)
def test_a_line_with_wrong_fields_is_named(tmp_path, name, text, line):
    (tmp_path / name).write_text(text)
    assert line in refusal(str(tmp_path / name))


def test_a_list_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\n")
    assert "list.txt': not a list in UTF-8" in refusal(str(tmp_path / "list.txt"))


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1),
        st.text("abc/é,\"' ", min_size=1).map("/{}".format),
        min_size=1,
    )
)
def test_any_id_and_path_that_csv_can_write_comes_back(tmp_path_factory, paths):
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(paths.items())
    assert {image.image_id: image.url for image in list_images([str(path)]).images} == paths


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text('a"é ,', max_size=3), st.text("b/:'\t", max_size=4)), max_size=5),
    st.sampled_from("\n\r"),
)
def test_lists_that_are_read_by_columns_are_those_that_are_read_by_lines(tmp_path_factory, lines, newline):
    folder = tmp_path_factory.mktemp("lists")
    text = "".join(f"{image_id}\t{path}{newline}" for image_id, path in lines)
    (folder / "list.tsv").write_text(text, encoding="utf-8", newline="")
    found = read_plain_list(str(folder / "list.tsv"), "\t", str(folder))
    fields = [line.split("\t") for line in text.split(newline) if line]
    if not fields or '"' in text or any(len(each) != 2 or not all(each) for each in fields):
        assert found is None
    else:
        assert [(each.image_id, each.url) for each in found] == [
            (image_id, path if path.startswith("/") or "://" in path else f"{folder}/{path}")
            for image_id, path in fields
        ]


def test_urls_are_listed_and_read_like_paths(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe({"/photos/a/1.jpg": b"one", "/photos/2.png": b"two", "/photos/notes.md": b"-"})
    try:
        memory.pipe("/lists/ids.tsv", b"cat\t../photos/2.png\ndog\tmemory://photos/a/1.jpg\n")
        listing = list_images(["memory://photos"])
        assert [(image.image_id, read_source(image)) for image in listing.images] == [("1", b"one"), ("2", b"two")]
        assert listing.num_ignored == 1
        assert ids("memory://photos", id_rule="path") == ["2", "a/1"]
        assert ids("memory://photos/2.png") == ["2"]
        assert ids("memory://lists/ids.tsv") == ["cat", "dog"]
        assert "no image found" in refusal("memory://absent")
    finally:
        memory.rm("/", recursive=True)


def test_a_file_url_of_a_folder_and_of_a_tar(tmp_path):
    put(tmp_path / "photos", "below/1.jpg")
    put_tar(tmp_path / "more.tar", "2.jpg")
    listing = list_images([f"file://{tmp_path}/photos", f"file://{tmp_path}/more.tar"])
    assert [(each.image_id, read_source(each)) for each in listing.images] == [("1", b"below/1.jpg"), ("2", b"2.jpg")]
    assert ids(f"file://{tmp_path}/photos", id_rule="path") == ["below/1"]


def test_an_unknown_kind_of_url_is_a_value_error():
    with pytest.raises(ValueError, match="nosuch"):
        list_images(["nosuch://bucket/photos"])


def test_whatever_a_remote_file_system_raises_is_an_os_error_when_read():
    class Broken(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(503)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(OSError, match="503"):
                read_source(ImageSource("1", f"http://127.0.0.1:{server.server_port}/1.jpg"))
        finally:
            server.shutdown()


def test_a_pipe_is_refused_and_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "1.jpg")
    (image,) = list_images([str(tmp_path)]).images
    with pytest.raises(OSError, match="pipe"):
        read_source(image)
