"""Flickr30k Entities: of how many phrases is one of the 1, 5 or 10 highest regions one that shows it?

A region shows a phrase if it overlaps one of its gold boxes by half. Source: Plummer et al., ICCV 2015. A phrase is a
run of neighbouring words with equal boxes, so that a comma or `'s` parts one: 14,481 official phrases become 14,586.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from stores.programs.terminal import printable
from training.batch import Batch
from training.data.batches import BatchMaker, BatchOptions
from training.data.grounding import GroundingOptions
from training.data.order import evaluation_batches
from training.probes.pointing import measure_pointing
from training.tasks.measure import Subject

BATCH_SIZE = 64

NOT_OFFICIAL = (
    "flickr30k-entities: a phrase with a comma or 's inside counts as two or more, so that there are 0.7 % more than "
    "officially; figures are near the official ones, not equal to them"
)


def measure(subject: Subject, **options: Any) -> dict[str, Any]:
    """Return recall and share of the gold regions, of every layer's attention, its rollout, and of classifiers.

    Standard error says how phrases differ from the official ones.
    """
    print(printable(NOT_OFFICIAL), file=sys.stderr)

    def batches() -> Iterator[Batch]:
        maker = BatchMaker(
            subject.shards,
            subject.run.tokenizer,
            BatchOptions(
                max_pieces=subject.run.recipe.batches.max_pieces, grounding=GroundingOptions(keep_unshown=True)
            ),
        )
        for part in evaluation_batches(subject.numbers, subject.shards.lengths[subject.numbers], BATCH_SIZE):
            yield maker.make(part)

    found = measure_pointing(subject.model, batches(), subject.device)
    figures: dict[str, Any] = json.loads(json.dumps({name: asdict(each) for name, each in found.items()}))
    return figures
