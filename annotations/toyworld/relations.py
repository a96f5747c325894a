"""Which spatial statements hold between the boxes of a scene."""

from collections.abc import Mapping, Sequence

from annotations.toyworld.scene import Relation

BoxXywh = tuple[int, int, int, int]

NEAR = 0.05  # two things are near when their boxes are less than this share of the longer image side apart
CLEARLY = 1.4  # a direction holds when the centres differ this many times more along it than across it


def find_relations(
    boxes_xywh: Sequence[BoxXywh], *, longer_side: int, arranged: Mapping[tuple[int, int], str]
) -> tuple[Relation, ...]:
    """Return every relation that holds; `arranged` names the pairs that were put `on` or `in` one another."""
    relations = []
    for subject, box in enumerate(boxes_xywh):
        for other, other_box in enumerate(boxes_xywh):
            if subject == other:
                continue
            if (subject, other) in arranged:
                relations.append(Relation(subject=subject, predicate=arranged[subject, other], object=other))
            if (subject, other) in arranged or (other, subject) in arranged:
                continue
            direction = _direction(box, other_box)
            if direction is not None:
                relations.append(Relation(subject=subject, predicate=direction, object=other))
            if _gap(box, other_box) < NEAR * longer_side:
                relations.append(Relation(subject=subject, predicate="near", object=other))
    return tuple(relations)


def _direction(box: BoxXywh, other: BoxXywh) -> str | None:
    across = (box[0] + box[2] / 2) - (other[0] + other[2] / 2)
    down = (box[1] + box[3] / 2) - (other[1] + other[3] / 2)
    # Boxes that share more than a quarter of the smaller one's extent are beside one another only in part.
    if abs(across) > CLEARLY * abs(down) and abs(across) > (box[2] + other[2]) / 2 - min(box[2], other[2]) / 4:
        return "to the left of" if across < 0 else "to the right of"
    if abs(down) > CLEARLY * abs(across) and abs(down) > (box[3] + other[3]) / 2 - min(box[3], other[3]) / 4:
        return "above" if down < 0 else "below"
    return None


def _gap(box: BoxXywh, other: BoxXywh) -> float:
    across = max(box[0], other[0]) - min(box[0] + box[2], other[0] + other[2])
    down = max(box[1], other[1]) - min(box[1] + box[3], other[1] + other[3])
    return float((max(across, 0) ** 2 + max(down, 0) ** 2) ** 0.5)


def could_hold(predicate: str, box: BoxXywh, other: BoxXywh, *, longer_side: int) -> bool:
    """Return whether somebody might say so of two things: false only where nobody would.

    What holds could be said, but more could be: that something is to the left of what it is mostly above.
    """
    if predicate in ("on", "in"):
        return _gap(box, other) == 0
    if predicate == "near":
        return _gap(box, other) < 3 * NEAR * longer_side
    axis, sign = {"to the left of": (0, 1), "to the right of": (0, -1), "above": (1, 1), "below": (1, -1)}[predicate]
    return sign * ((other[axis] + other[axis + 2] / 2) - (box[axis] + box[axis + 2] / 2)) > 0
