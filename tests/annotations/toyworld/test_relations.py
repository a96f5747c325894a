import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.toyworld.relations import find_relations

OPPOSITES = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
    "near": "near",
}

boxes = st.tuples(st.integers(0, 250), st.integers(0, 180), st.integers(10, 120), st.integers(10, 120))


def relations_of(*boxes_xywh, arranged=None):
    found = find_relations(boxes_xywh, longer_side=320, arranged=arranged or {})
    return {(relation.subject, relation.predicate, relation.object) for relation in found}


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((200, 100, 40, 40), {(0, "to the left of", 1), (1, "to the right of", 0)}),
        ((100, 20, 40, 40), {(0, "below", 1), (1, "above", 0)}),
        ((200, 200, 40, 40), set()),  # neither beside nor below: on the diagonal
        ((110, 105, 40, 40), {(0, "near", 1), (1, "near", 0)}),  # they overlap: near, and no direction
        (
            (145, 100, 40, 40),
            {(0, "to the left of", 1), (1, "to the right of", 0), (0, "near", 1), (1, "near", 0)},
        ),
    ],
)
def test_relations_of_a_box_at_100_100_with_another(second, expected):
    assert relations_of((100, 100, 40, 40), second) == expected


def test_what_was_arranged_is_said_and_nothing_else_about_that_pair():
    table, mug = (100, 100, 80, 80), (120, 70, 30, 40)
    assert relations_of(table, mug, arranged={(1, 0): "on"}) == {(1, "on", 0)}


@given(first=boxes, second=boxes)
@settings(max_examples=60, deadline=None)
def test_every_relation_has_its_opposite(first, second):
    found = relations_of(first, second)
    assert {(other, OPPOSITES[predicate], subject) for subject, predicate, other in found} == found
