"""Annotated images as what a detector trains on: names become rows of its vocabulary."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from annotations.drops import DataError, Drops
from annotations.records import AnnotatedImage
from detectors.training import GoldImage
from detectors.vocabulary import Vocabulary


def gold_images(
    annotated: Iterable[AnnotatedImage], paths: Mapping[str, Path], vocabulary: Vocabulary, drops: Drops
) -> Iterator[GoldImage]:
    """Yield the images that have a file and at least one object of a known class; what is left out is counted."""
    class_rows, attribute_rows = rows_by_name(vocabulary.classes), rows_by_name(vocabulary.attributes)
    for image in annotated:
        if image.image_id not in paths:
            drops.add("image: no file", f"image {image.image_id!r}")
            continue
        known = []
        for each in image.objects:
            rows = [class_rows[name] for name in each.names if name in class_rows]
            if rows:
                known.append((each, rows[0]))
            else:
                drops.add("object: not in the vocabulary", f"image {image.image_id!r}: {each.names[0]!r}")
        if not known:
            drops.add("image: no object of a known class", f"image {image.image_id!r}")
            continue
        yield GoldImage(
            path=paths[image.image_id],
            image_id=image.image_id,
            image_width=image.image_width,
            image_height=image.image_height,
            boxes_xyxy=np.array([each.box_xyxy for each, _ in known], np.float32),
            class_rows=np.array([row for _, row in known], np.int64),
            attribute_rows=tuple(
                tuple(sorted({attribute_rows[name] for name in each.attributes if name in attribute_rows}))
                for each, _ in known
            ),
        )


def rows_by_name(names: Sequence[str]) -> dict[str, int]:
    """Return the network's row, counted from 1, of each name and of each of its comma-separated aliases."""
    rows: dict[str, int] = {}
    for row, line in enumerate(names, start=1):
        for alias in line.split(","):
            rows.setdefault(alias.strip().lower(), row)
    return rows


def image_files(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the image files below the folders by their names without suffix, which Visual Genome uses as ids."""
    paths: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.[jJpP]*[gG]")):
            other = paths.setdefault(path.stem, path)
            if other != path:
                raise DataError(f"image {path.stem!r} is both {other} and {path}; expected one file an id")
    if not paths:
        raise DataError(f"no image file below {', '.join(map(str, folders))}; expected names such as 2415417.jpg")
    return paths


def read_split(path: Path) -> frozenset[str]:
    """Return the image ids of a split: one line an image, `2415417`, or as the public files `dir/2415417.jpg xml`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; expected one image a line") from error
    return frozenset(Path(line.split()[0]).stem for line in lines if line.strip())
