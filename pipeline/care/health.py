"""What is found out about how sentences and regions fit together."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.alignment.grown_regions import Growth

COVERED_IOU = 0.5
"""A word whose best region overlaps its gold box less is not covered: no region stands for it."""

MIN_COVERED = 0.4
"""Share of a source's pointed words that regions must cover, or the detector is not one for these pictures.

Measured, 36 boxes an image. Right: 80 COCO classes on Flickr30k .65, on COCO .61; the toy detector on its world .99.
Wrong: 36 boxes at random on Flickr30k .39; the toy detector on photographs of Flickr30k .32, of COCO .09; boxes of
another photograph .17 and .04, of another toy picture .21 to .24. On Visual Genome's descriptions 80 classes cover .29.
How many regions are confident tells nothing: at .2 and more are .67 of the toy detector's in its world, .74 and .71 on
photographs, and .16 and .31 of the 80 classes' there.
"""

MAX_OOV = 0.3
"""Share of a source's pointed words that may have no vector, or the vectors are of other texts.

Measured: 10,000 words of GloVe on Flickr30k .10, Visual Genome .10 and .22, COCO's classes .21; the toy world's vectors
in it 0, on Flickr30k .51.
"""

MAX_OTHERS = 0.05
"""Share of a source's sentences that may be left out because their images have other proportions than where they were
annotated: more, and they are other photographs of the same ids. Half of any two photographs have other proportions."""

MIN_WORDS = 100
"""Pointed words of which a share says something."""

NUM_EXAMPLES = 5
NUM_WORDS = 10


@dataclass(frozen=True, kw_only=True)
class UncoveredPointer:
    """A phrase whose gold box no region covers."""

    iou: float
    """IoU with its best region."""
    sentence_id: str
    words: str
    image_id: str
    box_xyxy: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SourceHealth:
    """One source's figures."""

    source: str
    num_sentences: int
    num_images: int
    num_pointing: int
    """Sentences with a pointed word."""
    num_words: int
    """Pointed words."""
    num_covered: int
    """Pointed words whose best region has IoU 0.5 or more with their gold box."""
    num_oov: int
    """Pointed words without a vector."""
    oov_words: tuple[tuple[str, int], ...]
    """The most frequent of them, with how often they point."""
    num_boxed_pointers: int
    num_uncovered_pointers: int
    worst: tuple[UncoveredPointer, ...]
    """The uncovered of different boxes, the least covered first."""
    num_missing: int
    """Sentences left out because their images have no regions, or none that are known to be theirs."""
    missing: tuple[str, ...]
    """Where the first of each shard was met, and which images it lacks."""
    num_other_proportions: int
    """Sentences left out because their images have other proportions than where they were annotated."""
    num_repeated_ids: int
    """Sentences with the id of an earlier one."""
    unnamed: Mapping[str, int]
    """Regions of its images that lack which names, see `UNNAMED`; empty where none does, or the store is older."""
    joins: Mapping[str, int]
    """Images of its sentences, by the rule by which they were found; empty of sentences that older versions aligned."""

    @property
    def is_of_these_images(self) -> bool:
        """Whether its images are those of the store, as far as proportions tell."""
        return self.num_other_proportions <= MAX_OTHERS * (self.num_sentences + self.num_other_proportions)

    @property
    def is_covered(self) -> bool:
        """Whether its words have regions, as far as so many tell."""
        return self.num_words < MIN_WORDS or self.num_covered >= MIN_COVERED * self.num_words

    @property
    def is_in_vocabulary(self) -> bool:
        """Whether its words have vectors, as far as so many tell."""
        return self.num_words < MIN_WORDS or self.num_oov <= MAX_OOV * self.num_words


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A photograph that is trained on and evaluated, by two sources or by one."""

    photograph: str
    trained_by: str
    evaluated_by: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a sentence store is like."""

    sources: tuple[SourceHealth, ...]
    num_unused_images: int
    """Images of the region store that no sentence is about."""
    num_lost_images: int
    """Images of sentences that the region store lacks now."""
    num_leaks: int
    leaks: tuple[Leak, ...]
    regions_changed: bool
    """The region store has other settings, or other shards, than when the sentences were aligned."""
    growth: Growth | None
    """What the region store has now beside the shards that it had then; None where it has not grown."""
    numbering: str
    """Whose the numbers among the images' ids are, for people; empty where there is nothing to say."""

    @property
    def is_healthy(self) -> bool:
        return not (
            self.num_leaks
            or self.num_lost_images
            or self.regions_changed
            or any(
                source.num_missing
                or source.num_repeated_ids
                or not (source.is_of_these_images and source.is_covered and source.is_in_vocabulary)
                for source in self.sources
            )
        )
