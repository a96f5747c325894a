"""Image sizes beside features that lack them: VinVL's `.hw.tsv`, or a list of one's own.

000000522418 <tab> [{"height": 480, "width": 640}]
000000522418 <tab> 640 <tab> 480                    (id, width, height)
"""

from pathlib import Path

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json


def read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Return width and height in pixels by image id.

    Raises:
        DataError: a line is neither, or gives an image a second size.
    """
    sizes: dict[str, tuple[int, int]] = {}
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    image_id, size = _size(line.rstrip("\r\n").split("\t"), f"{path}, line {number}")
                    if sizes.setdefault(image_id, size) != size:
                        raise DataError(
                            f"{path}, line {number}: image {image_id!r} is {size} here, {sizes[image_id]} before"
                        )
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error}), expected a file of image sizes") from error
    return sizes


def _size(fields: list[str], place: str) -> tuple[str, tuple[int, int]]:
    try:
        if len(fields) == 2:
            (record,) = parse_json(fields[1])
            width, height = record["width"], record["height"]
        else:
            _, *size = fields
            width, height = map(int, size)
        if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
            raise ValueError("a size that is not positive whole numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f'{place}: {error}; expected id, width, height, or id and [{{"height": ..., "width": ...}}], between tabs'
        ) from error
    return fields[0], (width, height)
