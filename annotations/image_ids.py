"""Whose an image id is. Most names tell it; a small number does not, for COCO, Visual Genome and Flickr30k have such.

COCO_train2014_000000000009, 000000000009    COCO's photograph 9
9                                            that of whoever numbers so
dev-12-0-img0, n161313, 1000092795           nobody else's
"""

import re
from collections.abc import Collection
from typing import Literal, get_args

Ids = Literal["coco", "visual-genome", "flickr30k", "own"]
"""Who numbers images: COCO; Visual Genome, and so GQA; Flickr30k; or whoever made images and annotations."""

NUMBERED_BY: tuple[Ids, ...] = get_args(Ids)

_COCO_NAME = re.compile(r"COCO_(?:train|val|test)20\d\d_0*(\d{1,12})|(\d{12})", re.ASCII)

NUMBER = "0|[1-9][0-9]{0,6}"
"""A number of up to seven digits; Flickr's own numbers, which are longer, are nobody else's."""

_NUMBER = re.compile(NUMBER)


def coco_number(image_id: str) -> str:
    """Return COCO's number of the photograph that the id names as COCO names files; empty where it names none so."""
    name = _COCO_NAME.fullmatch(image_id)
    return str(int(name[1] or name[2])) if name else ""


def is_number(image_id: str) -> bool:
    """Return whether the id is a number that does not tell whose it is."""
    return _NUMBER.fullmatch(image_id) is not None


def photograph_name(image_id: str, ids: Ids) -> str:
    """Return one name for all that one data set calls a photograph: `coco 9`, `visual-genome 9`, or the id itself."""
    number = coco_number(image_id) or (image_id if ids == "coco" and is_number(image_id) else "")
    if number:
        return f"coco {number}"
    return f"{ids} {image_id}" if ids != "own" and is_number(image_id) else image_id


def shown_ids(ids: Collection[Ids]) -> str:
    """Return them in one order, for messages."""
    return ", ".join(each for each in NUMBERED_BY if each in ids)
