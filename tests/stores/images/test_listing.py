import csv
import functools
import gzip
import http.server
import io
import os
import subprocess
import tarfile
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detectors.inputs.images import FORMATS, decode_image
from stores.images.bytes import read_source
from stores.images.listing import IMAGE_SUFFIXES, SourceError, list_images
from stores.images.plain_lists import read_plain_list
from stores.images.sources import ImageSource
from stores.locations import ALLOW_LOCAL, is_url


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
    assert "use --image-id path, or name the files in a .tsv list with ids of your own" in message
    assert ids(str(tmp_path), id_rule="path") == ["one/7", "two/7"]
    (tmp_path / "own.tsv").write_text("a\tone/7.jpg\nb\ttwo/7.png\n")
    assert ids(str(tmp_path / "own.tsv")) == ["a", "b"]


def test_two_roots_with_one_id_are_refused_whatever_the_rule(tmp_path):
    roots = [put(tmp_path / "coco", "7.jpg"), put(tmp_path / "flickr", "7.jpg")]
    for id_rule in ("stem", "path"):
        message = refusal(*roots, id_rule=id_rule)
        assert str(tmp_path / "coco/7.jpg") in message
        assert str(tmp_path / "flickr/7.jpg") in message
        assert message.endswith("; name the files in a .tsv list with ids of your own")  # paths would be the same


def test_a_folder_and_a_tar_with_one_id_are_refused_and_both_named(tmp_path):
    folder = put(tmp_path / "photos", "7.jpg")
    archive = put_tar(tmp_path / "more.tar", "below/7.jpg")
    message = refusal(folder, archive)
    assert str(tmp_path / "photos/7.jpg") in message
    assert f"{archive}::below/7.jpg" in message
    assert "use --image-id path, or unpack the archive, and name the files in a .tsv list" in message
    assert ids(folder, archive, id_rule="path") == ["7", "below/7"]
    with tarfile.open(archive) as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    (tmp_path / "own.tsv").write_text("7\tphotos/7.jpg\nmore-7\tunpacked/below/7.jpg\n")
    assert [read_source(each) for each in list_images([str(tmp_path / "own.tsv")]).images] == [
        b"7.jpg",
        b"below/7.jpg",
    ]


def test_two_lines_of_a_list_with_one_id_are_not_sent_to_another_rule(tmp_path):
    (tmp_path / "list.tsv").write_text("7\ta.jpg\n7\tb.jpg\n")
    assert refusal(str(tmp_path / "list.tsv")).endswith("; name the files in a .tsv list with ids of your own")


def test_one_file_reached_twice_is_one_image(tmp_path):
    put(tmp_path, "below/1.jpg", "2.jpg")
    assert ids(str(tmp_path), str(tmp_path / "below"), str(tmp_path / "2.jpg")) == ["1", "2"]


def test_one_file_by_two_spellings_of_its_path_is_one_image(tmp_path, monkeypatch):
    photos = tmp_path / "photos"
    put(photos, "1.jpg", "2.jpg")
    archive = put_tar(photos / "more.tar", "3.jpg")
    (photos / "dangling.jpg").symlink_to("gone.jpg")
    (tmp_path / "linked").symlink_to(photos)
    (tmp_path / "here").mkdir()
    (tmp_path / "list.tsv").write_text(f"1\t{photos}/../photos/1.jpg\n2\tfile://{photos}/./2.jpg\n")
    monkeypatch.chdir(tmp_path / "here")
    places = [str(photos), "../photos", f"{tmp_path}//photos", f"{tmp_path}/./photos", f"{tmp_path}/linked"]
    archives = [archive, f"{tmp_path}/linked/more.tar"]
    lists = [f"{tmp_path}/list.tsv"]
    listing = list_images([*places, *archives, *lists])
    assert [image.image_id for image in listing.images] == ["1", "2", "3", "dangling"]
    assert listing.images == list_images([*lists, *archives[::-1], *places[::-1]]).images


def test_two_members_of_one_archive_are_two_images(tmp_path):
    archive = put_tar(tmp_path / "photos.tar", "a/7.jpg", "b/7.jpg")
    (tmp_path / "linked.tar").symlink_to(archive)
    assert "claimed by" in refusal(archive, str(tmp_path / "linked.tar"))


def test_hidden_files_and_files_that_are_no_images_are_counted_not_listed(tmp_path):
    put(tmp_path, "1.jpg", ".hidden.jpg", "notes.txt", "below/labels.json", "below/noextension", "2.jpg~")
    put(tmp_path, "a.001", "b.002", "c. Forged\nline", "d.JSON", "e.zst", "f.bin", "g.md", "h.xml")
    listing = list_images([str(tmp_path)])
    assert [image.image_id for image in listing.images] == ["1"]
    assert listing.passed_over == {
        "hidden": 1,
        ".txt": 1,
        ".json": 2,
        "without a suffix": 1,
        "of other suffixes": 4,  # a suffix that is no word would be a kind of its own in every file
        ".zst": 1,
        ".bin": 1,
        ".md": 1,
        ".xml": 1,
    }
    assert listing.num_ignored == 13
    (remark,) = listing.remarks
    assert remark.startswith("13 files passed over (4 of other suffixes, 2 .json, 1 ")
    assert remark.endswith("3 of other kinds)")


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_listed_is_of_a_format_that_is_decoded(tmp_path, suffix):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, Image.registered_extensions()[suffix])
    (tmp_path / f"1{suffix}").write_bytes(buffer.getvalue())
    (tmp_path / f"2{suffix.upper()}").write_bytes(buffer.getvalue())
    images = list_images([str(tmp_path)]).images
    assert [decode_image(each.image_id, read_source(each)).width for each in images] == [8, 8]


def test_every_suffix_of_a_format_that_is_decoded_is_listed():
    of_decoded = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    assert of_decoded - IMAGE_SUFFIXES == {".pfm"}  # of floats, which have no white


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
    assert "cannot be listed" in message
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


def test_a_member_that_is_in_a_tar_twice_is_the_later_one(tmp_path):
    folder = tmp_path / "photos"
    put(folder, "a.jpg", "b.jpg")
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(folder, "./photos")
    (folder / "a.jpg").write_bytes(b"newer")
    with tarfile.open(tmp_path / "photos.tar", "a") as archive:
        archive.add(folder / "a.jpg", "photos/a.jpg")
    listing = list_images([str(tmp_path / "photos.tar")])
    assert {each.image_id: read_source(each) for each in listing.images} == {"a": b"newer", "b": b"b.jpg"}
    assert listing.num_replaced == 1
    assert listing.remarks == ("1 archive members replaced by later ones of their name",)


def test_links_in_a_tar_are_what_an_extracting_tar_makes_of_them(tmp_path):
    def link(name, target, kind):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)

    def file(name, data):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))

    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        link("links/before.jpg", "../files/a.jpg", tarfile.SYMTYPE)
        file("files/a.jpg", b"old")
        link("hard.jpg", "files/a.jpg", tarfile.LNKTYPE)
        link("again.jpg", "links/before.jpg", tarfile.SYMTYPE)
        file("files/a.jpg", b"new")
        link("gone.jpg", "files/gone.jpg", tarfile.SYMTYPE)
        link("gone_hard.jpg", "files/gone.jpg", tarfile.LNKTYPE)
        link("loop.jpg", "loop.jpg", tarfile.SYMTYPE)
        link("out.jpg", "../../../etc/passwd", tarfile.SYMTYPE)
        link("notes", "files/a.jpg", tarfile.SYMTYPE)
        link("pipe.jpg", "", tarfile.FIFOTYPE)
    listing = list_images([str(tmp_path / "photos.tar")])
    found = {}
    for image in listing.images:
        try:
            found[image.image_id] = read_source(image)
        except OSError as error:
            assert "a link to what the archive lacks" in str(error)
            found[image.image_id] = None
    lost = dict.fromkeys(("gone", "gone_hard", "loop", "out"))  # listed, so that they end in quarantine
    assert found == {"a": b"new", "before": b"new", "again": b"new", "hard": b"old"} | lost
    assert listing.passed_over == {"without a suffix": 1, "neither files nor links": 1}
    (tmp_path / "made").mkdir()
    subprocess.run(["tar", "xf", "../photos.tar"], cwd=tmp_path / "made", stderr=subprocess.DEVNULL, check=False)
    for image in listing.images:
        if found[image.image_id] is not None:
            assert (tmp_path / "made" / image.member).read_bytes() == found[image.image_id]


def test_a_member_of_negative_size_is_damage(tmp_path):
    member = tarfile.TarInfo("1.jpg")
    member.pax_headers = {"size": "-512"}
    data = bytearray(member.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    (tmp_path / "photos.tar").write_bytes(data)
    assert "-512 bytes" in refusal(str(tmp_path / "photos.tar"))


@pytest.mark.parametrize(
    ("name", "mode"), [("photos.tar.gz", "w:gz"), ("photos.tgz", "w:gz"), ("photos.tar.xz", "w:xz"), ("x.tar", "w:gz")]
)
def test_a_compressed_tar_is_refused(tmp_path, name, mode):
    message = refusal(put_tar(tmp_path / name, "1.jpg", mode=mode))
    assert name in message
    assert "compressed" in message


def test_the_advice_for_a_compressed_tar_helps(tmp_path):
    packed = put_tar(tmp_path / "photos.tar.gz", "1.jpg", "below/2.jpg", mode="w:gz")
    assert refusal(packed).endswith("unpack it, or to a plain .tar")
    disguised = put_tar(tmp_path / "disguised.tar", "1.jpg", "below/2.jpg", mode="w:gz")
    assert refusal(disguised).endswith("decompress it, or make it anew, and list that")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    for path in (packed, disguised):
        with gzip.open(path) as compressed:
            (tmp_path / "plain.tar").write_bytes(compressed.read())
        assert ids(str(tmp_path / "plain.tar")) == ids(str(tmp_path / "unpacked")) == ["1", "2"]


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
    elif any("b://" in path or "::" in path for _, path in fields):  # of no known protocol
        assert found is None or all(path.startswith("/") for _, path in fields if "://" in path)
    else:
        assert [(each.image_id, each.url) for each in found] == [
            (image_id, path if path.startswith("/") or is_url(path) else f"{folder}/{path}")
            for image_id, path in fields
        ]


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the URL that it is served under."""
    monkeypatch.setenv(ALLOW_LOCAL, "1")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_urls_are_listed_and_read_like_paths(served):
    folder, url = served
    put(folder, "photos/a/1.jpg", "photos/2.png", "photos/notes.md")
    put_tar(folder / "photos.tar", "3.jpg", "notes.md")
    put(folder, "lists/empty/notes.md")
    (folder / "lists/ids.tsv").write_text(f"cat\t../photos/2.png\ndog\t{url}/photos/a/1.jpg\n")
    listing = list_images([f"{url}/photos/"])
    assert {image.image_id: read_source(image) for image in listing.images} == {
        "1": b"photos/a/1.jpg",
        "2": b"photos/2.png",
    }
    assert listing.passed_over == {".md": 1}
    assert ids(f"{url}/photos/", id_rule="path") == ["2", "a/1"]
    assert ids(f"{url}/photos/2.png") == ["2"]
    assert [read_source(image) for image in list_images([f"{url}/lists/ids.tsv"]).images] == [
        b"photos/2.png",
        b"photos/a/1.jpg",
    ]
    assert ids(f"{url}/photos.tar") == ["3"]
    assert "no image found" in refusal(f"{url}/lists/empty/")
    assert "no such file" in refusal(f"{url}/absent.tsv")
    assert "http://127.0.0.1" in refusal(f"{url}/absent")


def test_the_query_of_a_url_is_no_part_of_the_id(served):
    folder, url = served
    put(folder, "photos/a.jpg")
    (folder / "list.txt").write_text("photos/a.jpg?w=620&h=3.5\nphotos/b.v2.jpg#top\nphotos/c?format=.jpg\n")
    assert ids(f"{url}/list.txt?sig=.tar") == ["a", "b.v2", "c"]
    assert ids(f"{url}/list.txt?sig=.tar", id_rule="path") == ["photos/a", "photos/b.v2", "photos/c"]
    assert ids(f"{url}/photos/a.jpg?w=620&h=3.5") == ["a"]
    message = refusal(f"{url}/photos/a.jpg?w=1&sig=secret", f"{url}/photos/a.jpg?w=2&sig=secret")
    assert "image id 'a' is claimed by" in message and "secret" not in message


def test_a_question_mark_in_the_name_of_a_file_is_part_of_it(tmp_path):
    put(tmp_path, "a?w=620.jpg", "b#1.jpg")
    assert ids(str(tmp_path)) == ["a?w=620", "b#1"]


def test_a_file_url_of_a_folder_and_of_a_tar(tmp_path):
    put(tmp_path / "photos", "below/1.jpg")
    put_tar(tmp_path / "more.tar", "2.jpg")
    listing = list_images([f"file://{tmp_path}/photos", f"file://{tmp_path}/more.tar"])
    assert [(each.image_id, read_source(each)) for each in listing.images] == [("1", b"below/1.jpg"), ("2", b"2.jpg")]
    assert ids(f"file://{tmp_path}/photos", id_rule="path") == ["below/1"]


def test_an_unknown_kind_of_url_is_a_value_error():
    with pytest.raises(ValueError, match="protocol 'nosuch', expected a path or a URL of file"):
        list_images(["nosuch://bucket/photos"])


def test_whatever_a_remote_file_system_raises_is_an_os_error_when_read(monkeypatch):
    monkeypatch.setenv(ALLOW_LOCAL, "1")

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
