"""The bytes of an image are those of the file that was listed."""

import os
import tarfile

import pytest

from stores.images.bytes import OTHER_FILE, read_listed, read_source
from stores.images.listing import list_images
from stores.images.versions import with_versions


def listed(place):
    return with_versions(list_images([str(place)]).images)[0]


@pytest.fixture(params=["file", "member"])
def listed_and_path(request, tmp_path):
    photo = tmp_path / "photos/1.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"photo")
    if request.param == "file":
        return listed(photo.parent), photo
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(photo, "1.jpg")
    return listed(path), path


def test_a_file_that_is_as_it_was_listed_is_read(listed_and_path):
    source, _ = listed_and_path
    assert read_listed(source) == b"photo"


def test_a_file_that_was_written_after_it_was_listed_is_not_read(listed_and_path):
    source, path = listed_and_path
    os.utime(path, (1, 1))
    with pytest.raises(OSError, match="another size or time of writing") as caught:
        read_listed(source)
    assert str(caught.value) == OTHER_FILE
    assert read_source(source)  # as it is now


def test_the_times_of_a_copy_are_those_of_the_file_where_they_are_copied_too(listed_and_path):
    source, path = listed_and_path
    status = path.stat()
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_listed(source) == b"photo"
