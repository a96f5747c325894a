"""Asks 8 to 12 questions about a scene."""

from itertools import combinations, product

import numpy as np

from annotations.toyworld.questions.attributes import attribute_family
from annotations.toyworld.questions.comparisons import comparison_family
from annotations.toyworld.questions.existence import existence_family, two_things_family
from annotations.toyworld.questions.programs import KINDS
from annotations.toyworld.questions.question import Question, choose_questions
from annotations.toyworld.questions.relations import relation_family
from annotations.toyworld.random_streams import sample
from annotations.toyworld.scene import Scene


def ask(scene: Scene, rng: np.random.Generator) -> tuple[Question, ...]:
    """Return 8 to 12 questions about the scene."""
    numbers = range(len(scene.objects))
    # What is on or in something is rare, and so are things of one colour: they are asked about first.
    telling = sorted(sample(rng, scene.relations), key=lambda relation: relation.predicate not in ("on", "in"))
    alike = sorted(
        sample(rng, [*combinations(numbers, 2)]),
        key=lambda pair: scene.objects[pair[0]].colour != scene.objects[pair[1]].colour,
    )
    # Families are made only as far as they are needed.
    sorts = (
        (attribute_family(scene, rng, index, kind) for index, kind in sample(rng, [*product(numbers, KINDS)])),
        (relation_family(scene, rng, relation) for relation in telling),
        (comparison_family(scene, rng, one, other) for one, other in alike),
        (family(scene, rng) for family in sample(rng, (existence_family, two_things_family))),
    )
    return choose_questions(sorts, rng)
