"""Reads Flickr30k Entities in its official layout: https://github.com/BryanPlummer/flickr30k_entities.

FOLDER/Sentences/ID.txt        five captions a file, `[/EN#1/people Two young guys] with ...`
FOLDER/Annotations/ID.xml      boxes of the entities, 1-based, last pixel inside
FOLDER/{train,val,test}.txt    image ids of each split; at least one, and images that none of them lists are not read
FOLDER/UNRELATED_CAPTIONS      optional; `ID NUMBER` a line, numbers from 1: captions that are about something else
"""

import errno
import re
import tarfile
import zlib
from collections.abc import Iterator
from io import FileIO
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import TypedDict
from xml.etree import ElementTree

from annotations.boxes import clip_box
from annotations.datasets.data_set import DataSet
from annotations.datasets.text_files import read_lines
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.records import Box, Pointer, Sentence, SentenceImage, Split

SOURCE = "flickr30k-entities"
SPLITS: tuple[Split, ...] = ("train", "val", "test")

LISTS = ("train.txt", "val.txt", "test.txt", "UNRELATED_CAPTIONS")
"""Files read from the folder of a tar file."""

NOT_VISUAL = "0"
"""Entity id of phrases that name nothing one could see."""

_PHRASE = re.compile(r"\[/EN#(\d+)/([^\s\[\]]+) ([^\]]+)\]")
_NAME = re.compile(r"<name>(\d+)</name>")
_SIZE = re.compile(r"<size>\s*<width>(\d+)</width>\s*<height>(\d+)</height>")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_OBJECT = re.compile(
    r"<object>\s*((?:<name>\d+</name>\s*)+)"
    r"(?:<bndbox>\s*" + "".join(rf"<{corner}>(\d+)</{corner}>\s*" for corner in _CORNERS) + r"</bndbox>\s*)?"
    r"(?:<(?:scene|nobndbox)>\d</(?:scene|nobndbox)>\s*)*</object>"
)
_Boxes = dict[str, tuple[Box, ...]]


class EntitiesRecord(TypedDict):
    """One image's two files."""

    image_id: str
    split: Split
    place: str
    """Folder or tar file, for messages."""
    sentences: bytes
    annotations: bytes
    unrelated: tuple[int, ...]
    """Numbers, from 1, of captions that are about something else."""


def read_records(path: Path, *, drops: Drops) -> Iterator[EntitiesRecord]:
    """Yield every image of the split lists in their order, or of a tar file in the order of its members.

    A tar file (compressed or not) holds `Sentences/` and `Annotations/` as the folder does; the split lists and
    UNRELATED_CAPTIONS are looked for in its folder.

    Raises:
        DataError: nothing there has this layout, there is no list of a split, or `drops` is strict.
    """
    _require_lists(path)
    yield from read_captions(path, drops=drops)


def read_captions(path: Path, *, drops: Drops) -> Iterator[EntitiesRecord]:
    """Yield the images as `read_records` does; those of a folder without split lists as if all were for training.

    For data sets that have splits of their own, of what these captions say.

    Raises:
        DataError: nothing there has this layout, or `drops` is strict.
    """
    folder = path if path.is_dir() else path.parent
    unrelated = _read_unrelated(folder / "UNRELATED_CAPTIONS", drops)
    files = _folder_files(path, drops) if path.is_dir() else _tar_files(path, drops)
    for image_id, split, sentences, annotations in files:
        yield EntitiesRecord(
            image_id=image_id,
            split=split,
            place=str(path),
            sentences=sentences,
            annotations=annotations,
            unrelated=unrelated.get(image_id, ()),
        )


def to_sentences(record: EntitiesRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the image's captions; every phrase is a pointer, with no boxes where its entity has none.

    Boxes become 0-based and are clipped to the image. An entity's id is the pointer's `object_id`, so phrases of one
    chain share it; its types, `people` or `people/clothing`, are the `category`.
    """
    image_id = record["image_id"]
    where = f"{record['place']}: Annotations/{image_id}.xml"
    try:
        width, height, boxes = _read_boxes(record["annotations"], where, drops)
    except (ElementTree.ParseError, ValueError) as error:
        drops.add("image: annotations are no XML of this format", f"{where}: {error}")
        return
    images = (SentenceImage(image_id=image_id, width=width, height=height, ids="flickr30k"),)
    where = f"{record['place']}: Sentences/{image_id}.txt"
    try:
        lines = record["sentences"].decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        drops.add("image: sentences are not UTF-8", f"{where}: {error}")
        return
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        if number + 1 in record["unrelated"]:
            drops.add("sentence: unrelated to its image", f"{where}, line {number + 1}")
            continue
        text, pointers = _read_caption(line, boxes, where, drops)
        if not text:
            drops.add("sentence: no words", f"{where}, line {number + 1}: found {line!r}")
            continue
        yield Sentence(
            sentence_id=f"{image_id}#{number}",
            images=images,
            text=text,
            source=SOURCE,
            split=record["split"],
            pointers=pointers,
        )


def sentence_ids(record: EntitiesRecord) -> Iterator[str]:
    """Yield the ids of the captions, one a line."""
    lines = record["sentences"].decode(errors="replace").splitlines()
    yield from (f"{record['image_id']}#{number}" for number in range(len(lines)))


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of val.txt and test.txt; sizes are not read."""
    folder = path if path.is_dir() else path.parent
    for split in SPLITS[1:]:
        if (folder / f"{split}.txt").exists():
            yield from (
                SentenceImage(image_id=image_id, ids="flickr30k") for image_id in read_lines(folder / f"{split}.txt")
            )


def _read_caption(line: str, boxes: _Boxes, where: str, drops: Drops) -> tuple[str, tuple[Pointer, ...]]:
    """Return the caption without its marks, and the phrases that were marked."""
    # Text before the first phrase, then for each phrase: entity id, types, words, text up to the next phrase.
    text = line.strip()
    end = text.rfind("]") + 1  # a mark that is never closed would be looked for to the end of the line, each time
    *parts_so_far, last = _PHRASE.split(text[:end])
    before, *rest = (*parts_so_far, last + text[end:])
    pointers = []
    parts, length = [before], len(before)
    for entity_id, category, words, after in zip(rest[0::4], rest[1::4], rest[2::4], rest[3::4], strict=True):
        if entity_id not in boxes and entity_id != NOT_VISUAL:
            drops.add("phrase: unknown object id", f"{where}: found /EN#{entity_id}/ on {words!r}")
        end = length + len(words)
        pointers.append(
            Pointer(start=length, end=end, boxes_xyxy=boxes.get(entity_id, ()), object_id=entity_id, category=category)
        )
        parts += words, after
        length = end + len(after)
    return "".join(parts), tuple(pointers)


def _read_boxes(xml: bytes, where: str, drops: Drops) -> tuple[int, int, _Boxes]:
    """Return the image's width and height, and the boxes of each entity: none for scenes and what is not boxed."""
    width, height, objects = _parse(xml)
    if width < 1 or height < 1:
        raise ValueError(f"size is {width} x {height}, expected at least 1 x 1")
    boxes: dict[str, tuple[Box, ...]] = {}
    for names, corners in objects:
        box = _read_box(corners, width, height, where, drops) if corners else ()
        for name in names:
            boxes[name] = boxes.get(name, ()) + box
    return width, height, boxes


def _parse(xml: bytes) -> tuple[int, int, list[tuple[list[str], tuple[str, ...]]]]:
    """Return width, height, and each object's entity ids with its xmin, ymin, xmax, ymax or nothing."""
    text = xml.decode()
    size = _SIZE.search(text)
    objects = _OBJECT.findall(text)
    # The official files are all written alike, which a pattern reads in a third of the time that a parser takes; any
    # other writing of the same XML goes to the parser.
    if size and len(objects) == text.count("<object") and "<!" not in text and text.rstrip().endswith("</annotation>"):
        return (
            int(size[1]),
            int(size[2]),
            [(_NAME.findall(names), tuple(box) if box[0] else ()) for names, *box in objects],
        )
    root = ElementTree.fromstring(xml)
    return (
        int(root.findtext("size/width", "")),
        int(root.findtext("size/height", "")),
        [
            (
                [name.text or "" for name in thing.iter("name")],
                tuple(box.findtext(corner, "") for corner in _CORNERS)
                if (box := thing.find("bndbox")) is not None
                else (),
            )
            for thing in root.iter("object")
        ],
    )


def _read_box(corners: tuple[str, ...], width: int, height: int, where: str, drops: Drops) -> tuple[Box, ...]:
    """Return the box as the one element of a tuple, or nothing, counted, if it is none."""
    try:
        x1, y1, x2, y2 = map(float, corners)
    except ValueError:
        drops.add("box: not four numbers", f"{where}: found {corners}")
        return ()
    if 1 <= x1 < x2 <= width and 1 <= y1 < y2 <= height:
        return ((x1 - 1, y1 - 1, x2 - 1, y2 - 1),)
    clipped = clip_box((x1 - 1, y1 - 1, x2 - 1, y2 - 1), width=width, height=height)
    if clipped is None or not all(map(isfinite, clipped)):
        drops.add("box: no area inside the image", f"{where} ({width} x {height}): found {corners}")
        return ()
    return (clipped,)


def _folder_files(folder: Path, drops: Drops) -> Iterator[tuple[str, Split, bytes, bytes]]:
    if not (folder / "Sentences").is_dir():
        raise DataError(f"{folder}: no folder Sentences/, expected the layout of Flickr30k Entities; check the path")
    for image_id, split in _listed(folder):
        try:
            with FileIO(f"{folder}/Sentences/{image_id}.txt") as file:  # 60,000 small files: Path takes twice as long
                sentences = file.readall()
            with FileIO(f"{folder}/Annotations/{image_id}.xml") as file:
                annotations = file.readall()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            if getattr(error, "errno", errno.ENOENT) not in (errno.ENOENT, errno.ENAMETOOLONG):
                raise DataError(f"{folder}: the files of image {shown(image_id)} cannot be read ({error})") from error
            drops.add("image: a file is missing", f"{folder}: no files of {shown(image_id)}, though {split}.txt has it")
            continue
        yield image_id, split, sentences, annotations


def _listed(folder: Path) -> Iterator[tuple[str, Split]]:
    if not _has_lists(folder):
        yield from ((path.stem, "train") for path in sorted((folder / "Sentences").glob("*.txt")))
    seen: set[str] = set()
    for split in SPLITS:
        path = folder / f"{split}.txt"
        for image_id in read_lines(path) if path.exists() else ():
            if image_id in seen:
                raise DataError(f"{path}: image {image_id!r} is listed twice, expected each in one split, once")
            seen.add(image_id)
            yield image_id, split


def _has_lists(folder: Path) -> bool:
    return any((folder / f"{split}.txt").exists() for split in SPLITS)


def _require_lists(path: Path) -> None:
    folder = path if path.is_dir() else path.parent
    if (path.is_file() or (path / "Sentences").is_dir()) and not _has_lists(folder):
        raise DataError(
            f"{folder}: no train.txt, val.txt or test.txt in it, expected lists of the images of each split; put the "
            "official ones there, or a train.txt of your own: without one nothing says what may be trained on"
        )


def _tar_files(path: Path, drops: Drops) -> Iterator[tuple[str, Split, bytes, bytes]]:
    split_of = dict(_listed(path.parent))
    waiting: dict[str, dict[str, bytes]] = {}  # an image's first file, until the second comes
    try:
        _require_end(path)
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.parent.name not in ("Sentences", "Annotations"):
                    continue
                if (split := split_of.get(name.stem)) is None:
                    continue
                content = archive.extractfile(member)
                files = waiting.setdefault(name.stem, {})
                files[name.parent.name] = content.read() if content else b""
                if len(files) == 2:
                    del waiting[name.stem]
                    yield name.stem, split, files["Sentences"], files["Annotations"]
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError, zlib.error) as error:
        raise DataError(
            f"{path}: not a whole tar file of Sentences/ and Annotations/ ({error}); fetch it again"
        ) from error
    for image_id, files in waiting.items():
        drops.add("image: a file is missing", f"{path}: image {image_id!r} has only {', '.join(files)}")


def _require_end(path: Path) -> None:
    """Raise ReadError where a plain tar file lacks the zeros at its end; tarfile itself takes a cut for the end."""
    with path.open("rb") as file:
        start = file.read(tarfile.BLOCKSIZE)
        is_plain = start[257:262] == b"ustar"
        file.seek(-min(2 * tarfile.BLOCKSIZE, file.seek(0, 2)), 2)
        if is_plain and any(file.read()):
            raise tarfile.ReadError("cut short")


def _read_unrelated(path: Path, drops: Drops) -> dict[str, tuple[int, ...]]:
    unrelated: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(read_lines(path) if path.exists() else (), start=1):
        image_id, _, caption = line.partition(" ")
        if not caption.strip().isdecimal():
            drops.add("unrelated caption: not an image id and a number", f"{path}, line {number}: found {line!r}")
            continue
        unrelated[image_id] = (*unrelated.get(image_id, ()), int(caption))
    return unrelated


DATA_SET = DataSet(
    read_records=read_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="flickr30k",
    place="a folder with Sentences/, Annotations/ and train.txt, val.txt, test.txt; or a tar file of one",
    beside=LISTS,
    sentences_per_record=5,
)
