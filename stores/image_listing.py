"""Which images there are: folders, lists, tar files and URLs become image sources with unique ids."""

import csv
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import fsspec

from stores.image_sources import ClaimedTwiceError, ImageSource, ImageSources
from stores.plain_lists import read_plain_list

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"}
LIST_SUFFIXES = {".tsv": "\t", ".csv": ","}

IdRule = Literal["stem", "path"]


class SourceError(ValueError):
    """The inputs can not be listed, or two of them claim one id; the message names them."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What `list_images` found."""

    images: ImageSources
    """Ascending by the UTF-8 bytes of their ids, which are unique."""
    num_ignored: int
    """Files in folders and archives whose names are not an image's."""


def list_images(places: Sequence[str], id_rule: IdRule = "stem") -> Listing:
    """Return every image under the places: folders (nested), tar files, lists, single files; paths or URLs.

    The id of an image is its name without folder and suffix, or with `id_rule="path"` its path below the place given.
    Lists bring their own: `.tsv` and `.csv` lines are id, path; `.txt` lines are paths.

    Raises SourceError when a place holds no image, or two files have one id.
    """
    if not places:
        raise SourceError("--images names nothing; expected folders, tar files, lists or single files")
    found = [_images_of(place, id_rule) for place in places]
    try:
        images = ImageSources.joined([each.images for each in found]).in_order()
    except ClaimedTwiceError as error:
        raise SourceError(f"{error}; use --image-id path, or a .tsv list with ids of your own") from error
    return Listing(images=images, num_ignored=sum(each.num_ignored for each in found))


def _images_of(place: str, id_rule: IdRule) -> Listing:
    """Return the images of one place, in any order."""
    delimiter = LIST_SUFFIXES.get(PurePosixPath(place).suffix.lower())
    plain = read_plain_list(place, delimiter, _folder_of(place)) if delimiter else None
    num_ignored = 0

    def images() -> Iterator[ImageSource]:
        nonlocal num_ignored
        for item in _walk(place, id_rule):
            if item is None:
                num_ignored += 1
            else:
                yield item

    found = ImageSources.of(images()) if plain is None else plain
    if not found:
        raise SourceError(f"{place!r}: no image found; expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return Listing(images=found, num_ignored=num_ignored)


def _walk(place: str, id_rule: IdRule) -> Iterator[ImageSource | None]:
    """Yield the images of one place, and None for every file that is passed over."""
    suffix = PurePosixPath(place).suffix.lower()
    if suffix == ".tar":
        return _tar_members(place, id_rule)
    if place.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")):
        raise SourceError(f"{place!r} is compressed, and shards read members at random; unpack it, or to a plain .tar")
    if suffix in LIST_SUFFIXES or suffix == ".txt":
        return _list_lines(place, suffix, id_rule)
    if "://" in place:
        return _remote_files(place, id_rule)
    return _local_files(Path(place), id_rule)


def _local_files(place: Path, id_rule: IdRule) -> Iterator[ImageSource | None]:
    if not place.is_dir():
        if not os.path.lexists(place):
            raise SourceError(f"{str(place)!r}: no such file or folder")
        yield ImageSource(_image_id(place.name, id_rule), str(place.absolute()))
        return
    root = place.absolute()

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: this folder can not be listed ({error.strerror})") from error

    for folder, subfolders, names in os.walk(root, onerror=refuse, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not _leads_back(folder, name))
        for name in sorted(names):
            path = Path(folder, name)
            yield _if_image(str(path), path.relative_to(root).as_posix(), id_rule)


def _leads_back(folder: str, name: str) -> bool:
    """Return whether the subfolder is a link to a folder above it, whose images are listed already."""
    path = Path(folder, name)
    is_link = os.path.islink(path)  # noqa: PTH114  Path's own raises where a path is too long; listing it will tell
    return is_link and any(above.resolve().is_relative_to(path.resolve()) for above in path.parents)


def _remote_files(place: str, id_rule: IdRule) -> Iterator[ImageSource | None]:
    filesystem, root = fsspec.url_to_fs(place)
    if filesystem.isfile(root):
        yield ImageSource(_image_id(PurePosixPath(root).name, id_rule), place)
        return
    for path in sorted(filesystem.find(root)):
        below = path.removeprefix(root).lstrip("/")
        yield _if_image(filesystem.unstrip_protocol(path), below, id_rule)


def _tar_members(place: str, id_rule: IdRule) -> Iterator[ImageSource | None]:
    url = place if "://" in place else str(Path(place).absolute())
    try:
        with fsspec.open(url, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile() or member.islnk():
                    data = archive.getmember(member.linkname) if member.islnk() else member
                    source = _if_image(url, member.name, id_rule)
                    yield source and ImageSource(source.image_id, url, data.offset_data, data.size, member.name)
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a header it can not read for the end
                raise tarfile.ReadError(f"damaged at byte {archive.offset}")
    except tarfile.ReadError as error:
        raise SourceError(
            f"{place!r}: not a whole, plain tar file ({error}); a compressed one must be unpacked first"
        ) from error
    except FileNotFoundError as error:
        raise SourceError(f"{place!r}: no such file") from error


def _list_lines(place: str, suffix: str, id_rule: IdRule) -> Iterator[ImageSource | None]:
    """Yield what a list names; its relative paths are relative to the list's folder."""
    folder = _folder_of(place)
    try:
        with fsspec.open(place, "rt", encoding="utf-8-sig", newline="") as file:
            if suffix == ".txt":
                lines: Iterable[list[str]] = ([line.strip()] for line in file)
            else:
                lines = csv.reader(file, delimiter=LIST_SUFFIXES[suffix], strict=True)
            for number, fields in enumerate(lines, start=1):
                if any(fields):
                    yield _listed(f"{place}:{number}", fields, folder, 1 if suffix == ".txt" else 2, id_rule)
    except FileNotFoundError as error:
        raise SourceError(f"{place!r}: no such file") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{place!r}: not a list in UTF-8 ({error})") from error


def _folder_of(place: str) -> str:
    return place.rpartition("/")[0] if "://" in place else str(Path(place).absolute().parent)


def _listed(line: str, fields: list[str], folder: str, num_fields: int, id_rule: IdRule) -> ImageSource:
    if len(fields) != num_fields or not all(fields):
        wanted = "a path" if num_fields == 1 else "an id and a path"
        raise SourceError(f"{line}: {len(fields)} fields, {fields}, expected {wanted}")
    path = fields[-1]
    url = path if "://" in path or path.startswith("/") else f"{folder}/{path}"
    return ImageSource(_image_id(path, id_rule) if num_fields == 1 else fields[0], url)


def _if_image(url: str, below: str, id_rule: IdRule) -> ImageSource | None:
    name = PurePosixPath(below)
    if name.name.startswith(".") or name.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    return ImageSource(_image_id(below, id_rule), url)


def _image_id(below: str, id_rule: IdRule) -> str:
    path = PurePosixPath(below)
    return path.stem if id_rule == "stem" else str(path.with_suffix(""))
