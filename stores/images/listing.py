"""Which images there are: folders, lists, tar files and URLs become image sources with unique ids."""

import csv
import io
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from stores.images.plain_lists import read_plain_list
from stores.images.sources import ClaimedTwiceError, ImageSource, ImageSources
from stores.images.tar_members import ArchiveError, read_members
from stores.images.versions import Version, version_of_object, version_of_path
from stores.locations import (
    LocationError,
    filesystem_of,
    is_url,
    local_path,
    opened,
    path_of,
    remote_error,
    require_permitted,
    shown,
    without_query,
)

IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".avif", ".avifs", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
"""Suffixes of the files that the decoder decodes, in any case."""

LIST_SUFFIXES = {".tsv": "\t", ".csv": ","}

_SHOWN_KINDS = 6

IdRule = Literal["stem", "path"]


class SourceError(ValueError):
    """The inputs cannot be listed, or two of them claim one id; the message names them."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What `list_images` found."""

    images: ImageSources
    """Ascending by the UTF-8 bytes of their ids, which are unique."""
    passed_over: Mapping[str, int]
    """How many files in folders and archives are not listed, by kind: their suffix, `hidden`, or what else they are."""
    num_replaced: int = 0
    """Members of archives that a later member of the same name replaces."""

    @property
    def num_ignored(self) -> int:
        return sum(self.passed_over.values())

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what people should know of the listing, a clause each; nothing where every file is listed."""
        remarks = []
        if kinds := Counter(self.passed_over).most_common():
            each = [f"{count} {kind}" for kind, count in kinds[:_SHOWN_KINDS]]
            if len(kinds) > _SHOWN_KINDS:
                each.append(f"{sum(count for _, count in kinds[_SHOWN_KINDS:])} of other kinds")
            remarks.append(f"{self.num_ignored} files passed over ({', '.join(each)})")
        if self.num_replaced:
            remarks.append(f"{self.num_replaced} archive members replaced by later ones of their name")
        return tuple(remarks)


def list_images(places: Sequence[str], id_rule: IdRule = "stem") -> Listing:
    """Return every image under the places: folders (nested), tar files, lists, single files; paths or URLs.

    The id of an image is its name without folder and suffix, or with `id_rule="path"` its path below the place given.
    Lists bring their own: `.tsv` and `.csv` lines are id, path; `.txt` lines are paths. One file that is reached by two
    spellings of its path is one image.

    Raises:
        SourceError: a place holds no image, or two files have one id.
        LocationError: a URL may not be opened.
    """
    if not places:
        raise SourceError("--images names nothing; expected folders, tar files, lists or single files")
    found = [_images_of(place, id_rule) for place in places]
    try:
        images = ImageSources.joined([each.images for each in found]).in_order()
    except ClaimedTwiceError as error:
        raise SourceError(f"{error}; {_way_out(places, id_rule, error)}") from error
    passed_over = Counter[str]()
    for each in found:
        passed_over.update(each.passed_over)
    return Listing(images=images, passed_over=passed_over, num_replaced=sum(each.num_replaced for each in found))


def _way_out(places: Sequence[str], id_rule: IdRule, error: ClaimedTwiceError) -> str:
    """Return what gives the two images of an id ids of their own; what does not help here is not named."""
    own_list = "name the files in a .tsv list with ids of your own"
    if any(each.member is not None for each in (error.first, error.second)):
        own_list = f"unpack the archive, and {own_list}"
    if id_rule == "stem":
        try:
            ImageSources.joined([_images_of(place, "path").images for place in places]).in_order()
        except ClaimedTwiceError:
            return own_list
        return f"use --image-id path, or {own_list}"
    return own_list


def _images_of(place: str, id_rule: IdRule) -> Listing:
    """Return the images of one place, in any order."""
    try:
        found = _list_place(place, id_rule)
    except (ImportError, LocationError, SourceError):  # ImportError: fsspec says what to install
        raise
    except Exception as error:  # every remote file system has errors of its own
        told = error if local_path(place) is not None else remote_error(error, place)
        if isinstance(told, FileNotFoundError):
            raise SourceError(f"{shown(place)!r}: no such file or folder") from error
        if told is error:
            raise
        raise SourceError(f"{shown(place)!r}: it cannot be listed ({told})") from error
    if not found.images:
        raise SourceError(
            f"{shown(place)!r}: no image found; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return found


def _list_place(place: str, id_rule: IdRule) -> Listing:
    if is_url(place):
        require_permitted(place)
    name = path_of(place).name.lower()
    suffix = PurePosixPath(name).suffix
    if suffix == ".tar":
        return _tar(place, id_rule)
    if name.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")):
        raise SourceError(
            f"{shown(place)!r} is compressed, and shards read members at random; unpack it, or to a plain .tar"
        )
    if suffix in LIST_SUFFIXES or suffix == ".txt":
        return _list(place, suffix, id_rule)
    path = local_path(place)
    return _files(_remote_files(place) if path is None else _local_files(path), id_rule)


_File = tuple[str, str | None, int | None, int | None]
"""A location, its path below the place, None for the place itself; and bytes and version, where listing tells them."""


def _files(files: Iterable[_File], id_rule: IdRule) -> Listing:
    """Return the images among files."""
    passed_over = Counter[str]()

    def images() -> Iterator[ImageSource]:
        for location, below, size, version in files:
            if below is None:
                image_id = _image_id(path_of(location).name, id_rule)
                yield ImageSource(image_id, location, size=size, version=version)
            elif kind := _why_passed_over(below):
                passed_over[kind] += 1
            else:
                yield ImageSource(_image_id(below, id_rule), location, size=size, version=version)

    return Listing(images=ImageSources.of(images()), passed_over=passed_over)


def _local_files(place: Path) -> Iterator[_File]:
    if not place.is_dir():
        if not os.path.lexists(place):
            raise SourceError(f"{str(place)!r}: no such file or folder")
        yield str(place.absolute()), None, None, None
        return

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: this folder cannot be listed ({error.strerror})") from error

    root = str(place.absolute())
    begin = len(root.rstrip("/")) + 1
    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not _leads_back(folder, name))
        before = folder if folder.endswith("/") else f"{folder}/"
        yield from ((before + name, (before + name)[begin:], None, None) for name in sorted(names))


def _leads_back(folder: str, name: str) -> bool:
    """Return whether the subfolder is a link to a folder above it, whose images are listed already."""
    path = Path(folder, name)
    is_link = os.path.islink(path)  # noqa: PTH114  Path's own raises where a path is too long; listing it will tell
    return is_link and any(above.resolve().is_relative_to(path.resolve()) for above in path.parents)


def _remote_files(place: str) -> Iterator[_File]:
    filesystem, root = filesystem_of(place)
    if not place.endswith("/") and filesystem.isfile(root):  # an http server answers for folders too
        yield place, None, *_told(filesystem.info(root))
        return
    folder = str(path_of(filesystem.unstrip_protocol(root)))
    for path, info in sorted(filesystem.find(root, detail=True).items()):
        location = filesystem.unstrip_protocol(path)
        yield location, str(path_of(location)).removeprefix(folder).lstrip("/"), *_told(info)


def _told(info: Mapping[str, Any]) -> Version:
    return info.get("size"), version_of_object(info)


def _tar(place: str, id_rule: IdRule) -> Listing:
    path = local_path(place)
    url = place if path is None else str(path.absolute())
    passed_over, images = Counter[str](), []
    version = _version_of_archive(url)
    try:
        with opened(url) as file:
            members = read_members(file)
    except ArchiveError as error:
        raise SourceError(f"{shown(place)!r}: {error}") from error
    for member in members:
        if kind := member.what_else or _why_passed_over(member.name):
            passed_over[kind] += 1
        else:
            image_id = _image_id(member.name, id_rule)
            images.append(ImageSource(image_id, url, member.offset, member.size, member.name, version))
    return Listing(images=ImageSources.of(images), passed_over=passed_over, num_replaced=members.num_replaced)


def _version_of_archive(url: str) -> int | None:
    path = local_path(url)
    if path is not None:
        return version_of_path(path)[1]
    filesystem, root = filesystem_of(url)
    return version_of_object(filesystem.info(root))


def _list(place: str, suffix: str, id_rule: IdRule) -> Listing:
    folder = _folder_of(place)
    images = read_plain_list(place, LIST_SUFFIXES[suffix], folder) if suffix in LIST_SUFFIXES else None
    if images is None:
        images = ImageSources.of(_list_lines(place, suffix, folder, id_rule))
    return Listing(images=images, passed_over={})


def _list_lines(place: str, suffix: str, folder: str, id_rule: IdRule) -> Iterator[ImageSource]:
    """Yield what a list names; its relative paths are below `folder`."""
    try:
        with opened(place) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file:
            if suffix == ".txt":
                lines: Iterable[list[str]] = ([line.strip()] for line in file)
            else:
                lines = csv.reader(file, delimiter=LIST_SUFFIXES[suffix], strict=True)
            for number, fields in enumerate(lines, start=1):
                if any(fields):
                    yield _listed(f"{shown(place)}:{number}", fields, folder, 1 if suffix == ".txt" else 2, id_rule)
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{shown(place)!r}: not a list in UTF-8 ({error})") from error


def _folder_of(place: str) -> str:
    path = local_path(place)
    return without_query(place).rpartition("/")[0] if path is None else str(path.absolute().parent)


def _listed(line: str, fields: list[str], folder: str, num_fields: int, id_rule: IdRule) -> ImageSource:
    if len(fields) != num_fields or not all(fields):
        wanted = "a path" if num_fields == 1 else "an id and a path"
        raise SourceError(f"{line}: {len(fields)} fields, {reprlib.repr(list(map(shown, fields)))}, expected {wanted}")
    path = fields[-1]
    if is_url(path):
        try:
            require_permitted(path)
        except LocationError as error:
            raise SourceError(f"{line}: {error}") from error
    url = path if is_url(path) or path.startswith("/") else f"{folder}/{path}"
    if num_fields == 2:
        return ImageSource(fields[0], url)
    query = len(url) - len(without_query(url))
    return ImageSource(_image_id(path[: len(path) - query], id_rule), url)


def _why_passed_over(below: str) -> str:
    """Return what kind of file it is if its name is not an image's, else nothing."""
    name = below.rpartition("/")[2]
    _, dot, suffix = name.rpartition(".")
    if name.startswith("."):
        return "hidden"
    if f".{suffix.lower()}" in IMAGE_SUFFIXES and dot:
        return ""
    if not dot:
        return "without a suffix"
    # What stands after a dot may be anything, a number or a sentence; it is no kind then, and would be one a file.
    return f".{suffix.lower()}" if re.fullmatch(r"(?=.*[A-Za-z])[A-Za-z0-9]{1,8}", suffix) else "of other suffixes"


def _image_id(below: str, id_rule: IdRule) -> str:
    path = PurePosixPath(below)
    return path.stem if id_rule == "stem" else str(path.with_suffix(""))
