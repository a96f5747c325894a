"""Writes captions and boxes as Flickr30k Entities has them: https://github.com/BryanPlummer/flickr30k_entities.

Ids of entities are those of objects. What several objects are together, `two cats`, is an entity of its own, and
their boxes have both names; the place is a scene without a box.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.toyworld.layouts.json_files import write_lines
from annotations.toyworld.marked_text import MarkedText, Mention
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES

PLACE = 900
"""Number within an image of the entity that is its place."""
GROUPS = 500
"""Number of the first group of objects."""

_TYPES = {"animal": "animals", "vehicle": "vehicles"}


def write_flickr30k_entities_files(
    folder: Path, scenes: Sequence[Scene], captions: Mapping[int, Sequence[MarkedText]]
) -> None:
    """Write `Sentences/`, `Annotations/` and the lists of the three splits into the folder."""
    for scene in scenes:
        entities = name_entities(scene, captions[scene.image_id])
        lines = [_bracketed(scene, caption, entities) for caption in captions[scene.image_id]]
        write_lines(folder / "Sentences" / f"{scene.image_id}.txt", lines)
        write_lines(folder / "Annotations" / f"{scene.image_id}.xml", _xml(scene, entities))
    for split in ("train", "val", "test"):
        write_lines(folder / f"{split}.txt", (str(scene.image_id) for scene in scenes if scene.split_of_three == split))


def name_entities(scene: Scene, captions: Sequence[MarkedText]) -> dict[tuple[int, ...], int]:
    """Return the id of each object, group of objects, or no object that the captions name."""
    named = sorted({mention.objects for caption in captions for mention in caption.mentions})
    groups = [objects for objects in named if len(objects) > 1]
    return {
        objects: scene.id_of(objects[0] if len(objects) == 1 else GROUPS + groups.index(objects) if objects else PLACE)
        for objects in named
    }


def _bracketed(scene: Scene, caption: MarkedText, entities: Mapping[tuple[int, ...], int]) -> str:
    """Return `[/EN#7000/animals A cat] is here .`"""
    parts, end = [], 0
    for mention in caption.mentions:
        name = f"/EN#{entities[mention.objects]}/{_type(scene, mention)}"
        parts += [_spaced(caption.text[end : mention.start]), f"[{name} {caption.words_of(mention)}]"]
        end = mention.end
    return "".join((*parts, _spaced(caption.text[end:])))


def _spaced(text: str) -> str:
    """Return the text with space before punctuation, as the official tokens are joined."""
    return text.replace(",", " ,").replace(".", " .")


def _type(scene: Scene, mention: Mention) -> str:
    if not mention.objects:
        return "scene"
    return _TYPES.get(CATEGORIES[scene.objects[mention.objects[0]].category].kind, "other")


def _xml(scene: Scene, entities: Mapping[tuple[int, ...], int]) -> list[str]:
    lines = [
        "<annotation>",
        f"\t<filename>{scene.image_id}.jpg</filename>",
        "\t<size>",
        f"\t\t<width>{scene.width}</width>",
        f"\t\t<height>{scene.height}</height>",
        "\t\t<depth>3</depth>",
        "\t</size>",
    ]
    for index, thing in enumerate(scene.objects):
        names = [entity for objects, entity in entities.items() if index in objects]
        if not names:
            continue
        x, y, width, height = thing.box_xywh
        # Pixels are counted from 1, and the last one is inside.
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
        box = [
            "\t\t<bndbox>",
            *(f"\t\t\t<{corner}>{value}</{corner}>" for corner, value in corners.items()),
            "\t\t</bndbox>",
        ]
        lines += _object(names, box)
    if () in entities:
        lines += _object([entities[()]], ["\t\t<scene>1</scene>", "\t\t<nobndbox>1</nobndbox>"])
    return [*lines, "</annotation>"]


def _object(names: Sequence[int], content: Sequence[str]) -> list[str]:
    return ["\t<object>", *(f"\t\t<name>{name}</name>" for name in names), *content, "\t</object>"]
