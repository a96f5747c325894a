"""Which source a sentence shard is of, as its name tells: `shard-03-gqa-00000.arrow` is of `gqa`, the fourth given."""

import re
from collections import Counter, defaultdict

from stores.manifest import Manifest

_NAME = re.compile(r"shard-(\d+)-(.+)-\d+\.\w+")


def source_of(shard_name: str) -> tuple[int, str]:
    """Return the place of an `--annotations` among those given, counted from 0, and its data set's name.

    Raises:
        ValueError: the name is of no sentence shard.
    """
    found = _NAME.fullmatch(shard_name)
    if found is None:
        raise ValueError(f"{shard_name!r} was found in a store of sentences, expected `shard-NUMBER-SOURCE-NUMBER`")
    return int(found[1]), found[2]


def shards_of_sources(manifest: Manifest) -> dict[str, list[int]]:
    """Return the shards of each `--annotations`, by name; one data set given twice is `8 vqa-v2` and `9 vqa-v2`."""
    shards: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, entry in enumerate(manifest.shards):
        shards[source_of(entry.name)].append(number)
    times = Counter(name for _, name in shards)
    return {name if times[name] == 1 else f"{place} {name}": group for (place, name), group in shards.items()}
