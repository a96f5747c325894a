"""The shards that an alignment run makes, each with the records of one source."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops
from annotations.repeats import SeenIds
from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.worker import (
    AlignTask,
    drop_counts,
)
from stores.plan import SHARD_PREFIX


def align_tasks(job: AlignmentJob, finished: Collection[str]) -> Iterator[AlignTask]:
    """Yield the shards to make; a source is read from its beginning even if its first shards are finished.

    Of sentences with one id the first stays, of all sources of a data set, whatever shard it is in.
    """
    seen = defaultdict[str, SeenIds](SeenIds)
    for number, source in enumerate(job.annotations):
        data_set, drops = DATA_SETS[source.name], Drops(strict=job.strict)
        size = max(1, job.shard_size // data_set.sentences_per_record)
        for shard, records in enumerate(_grouped(data_set.read_records(source.path, drops=drops), size)):
            repeated = seen[source.name].repeated([list(data_set.sentence_ids(record)) for record in records])
            task = AlignTask(
                name=f"{SHARD_PREFIX}{number:02d}-{source.name}-{shard:05d}",
                data_set=source.name,
                records=records,
                drops=drop_counts(drops),
                repeated={number: ids for number, ids in enumerate(repeated) if ids},
            )
            drops.clear()
            if task.name not in finished:
                yield task


def _grouped(records: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Yield the records in lists of `size`, and what is left; at least one list, which may be empty.

    A list is yielded when the record after it has been read, so that what is dropped at the end is known by then.
    """
    group: list[Any] = []
    for record in records:
        if len(group) == size:
            yield group
            group = []
        group.append(record)
    yield group
