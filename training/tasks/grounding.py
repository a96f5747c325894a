"""Flickr30k Entities: of how many phrases is one of the 1, 5 or 10 highest regions one that shows it?

A region shows a phrase if it overlaps one of its gold boxes by half. Phrases are those that the annotators marked and
that have a box, 14,481 of the test split. Source: Plummer et al., ICCV 2015.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from training.batch import Batch
from training.data.batches import BatchMaker, BatchOptions
from training.data.grounding import GroundingOptions
from training.data.order import evaluation_batches
from training.probes.pointing import measure_pointing
from training.tasks.guessed_phrases import tell_guessed_phrases
from training.tasks.measure import Subject

BATCH_SIZE = 64


def measure(subject: Subject, **options: Any) -> dict[str, Any]:
    """Return recall and share of the gold regions, of every layer's attention, its rollout, and of classifiers.

    Standard error has a line if the store does not hold all phrases.
    """
    tell_guessed_phrases(subject)

    def batches() -> Iterator[Batch]:
        maker = BatchMaker(
            subject.shards,
            subject.run.tokenizer,
            BatchOptions(
                max_pieces=subject.run.recipe.batches.max_pieces,
                grounding=GroundingOptions(stored_phrases=True, keep_unshown=True),
            ),
        )
        for part in evaluation_batches(subject.numbers, subject.shards.lengths[subject.numbers], BATCH_SIZE):
            yield maker.make(part)

    found = measure_pointing(subject.model, batches(), subject.device)
    figures: dict[str, Any] = json.loads(json.dumps({name: asdict(each) for name, each in found.items()}))
    return figures
