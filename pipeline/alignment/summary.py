"""What an alignment run made, and what its store holds."""

from collections import Counter
from dataclasses import dataclass

from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.log import AlignLog
from pipeline.alignment.numbering import tell_numbering
from stores.manifest import (
    Manifest,
)
from stores.plan import SHARD_PREFIX
from stores.sentence_reading import SentenceStore, open_sentences


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """What came of one source."""

    name: str
    counts: dict[str, int]
    """Sentences, images, pointers, pointed words ...; `objects` are counted in each shard for itself."""
    drops: dict[str, int]
    """Annotations left out, by reason."""
    joins: dict[str, int]
    """Images of its sentences, by the rule by which they were found."""
    unnamed: dict[str, int]
    """Regions of its images that lack which names, counted in each shard for itself; empty where none does."""


@dataclass(frozen=True, kw_only=True)
class AlignmentSummary:
    """What the store holds when the run ends, and what the run did."""

    out: str
    num_sentences: int
    num_shards: int
    num_shards_made: int
    """By this run."""
    sentences_per_second: float
    """Rate of this run, from the first shard asked for to the last one written."""
    sources: tuple[SourceSummary, ...]
    vector_drops: dict[str, int]
    """Lines of the vectors' file left out, by reason."""
    numbering: str
    """Whose the numbers among the images' ids are, for people; empty where there is nothing to say."""


def summarize(job: AlignmentJob, manifest: Manifest, log: AlignLog, vector_drops: dict[str, int]) -> AlignmentSummary:
    with open_sentences(job.out) as sentences:
        sources = tuple(
            _source_summary(number, source.name, sentences) for number, source in enumerate(job.annotations)
        )
    return AlignmentSummary(
        out=str(job.out),
        num_sentences=sum(entry.rows for entry in manifest.shards),
        num_shards=len(manifest.shards),
        num_shards_made=log.num_shards,
        vector_drops=vector_drops,
        sentences_per_second=round(log.sentences_per_second, 1),
        sources=sources,
        numbering=tell_numbering(manifest.notes),
    )


def _source_summary(number: int, name: str, sentences: SentenceStore) -> SourceSummary:
    """Return what came of the source that was given as number `number`, counted from 0."""
    entries = sentences.manifest.shards
    shards = [shard for shard, entry in enumerate(entries) if entry.name.startswith(f"{SHARD_PREFIX}{number:02d}-")]
    drops = Counter[str]()
    for shard in shards:
        drops.update({drop.reason: drop.count for drop in entries[shard].drops})
    return SourceSummary(
        name=name,
        counts=sentences.counts(shards),
        drops=dict(drops),
        joins=sentences.joins(shards),
        unnamed=sentences.unnamed(shards),
    )
