"""How a data set is read: what `DATA_SETS` has for each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from annotations.guards.drops import Drops
from annotations.image_ids import Ids
from annotations.records import AnnotatedImage, Sentence, SentenceImage


class ReadRecords(Protocol):
    """Yields what the files hold, in their order, with little work done: one process runs it, ahead of all others.

    A record is a plain value (dicts, lists, strings, bytes, numbers) of one image or one question, and complete: what
    its sentences need from other files is in it.
    """

    def __call__(self, path: Path, *, drops: Drops) -> Iterator[Any]: ...


class ToSentences(Protocol):
    """Yields the sentences of one record; what cannot be used is counted in `drops`."""

    def __call__(self, record: Any, *, drops: Drops) -> Iterator[Sentence]: ...


class SentenceIds(Protocol):
    """Returns the ids of all sentences that a record may give, with little work done, and of none that it cannot."""

    def __call__(self, record: Any) -> Iterable[str]: ...


class Images(Protocol):
    """Yields images, without reading more than that takes, such as those of the validation and test splits."""

    def __call__(self, path: Path, *, drops: Drops) -> Iterator[SentenceImage]: ...


class Objects(Protocol):
    """Yields annotated images with all of their objects, whether or not a sentence is about one."""

    def __call__(self, path: Path, *, drops: Drops) -> Iterator[AnnotatedImage]: ...


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """How one data set is read."""

    read_records: ReadRecords
    to_sentences: ToSentences
    sentence_ids: SentenceIds
    evaluation_images: Images
    place: str
    """What the path given must be, for --help and errors."""
    beside: tuple[str, ...] = ()
    """Where the path is a file: patterns, from its folder, of what is read with it."""
    sentences_per_record: int = 1
    """About so many; records are dealt to workers by it."""
    photographs: Images | None = None
    """Yields the images of which the data set knows COCO's number; None: it knows none but COCO's own."""
    ids: Ids = "own"
    """Who numbers its images; `own` where its names say it, or where there is no number among them."""
    check: Callable[[Sequence[Path]], None] | None = None
    """Raises DataError where paths that are each one of the data set are not together."""
    objects: Objects | None = None
    """Yields all objects of its images, where its sentences are about some of them only; None: about all of them."""
    has_descriptions: bool = False
    """Records are images whose region descriptions are to be merged, see `annotations.merging`."""
    example: Mapping[str, str] = field(default_factory=dict)
    """A few records as the files have them, by file name: for people, and for the contract tests where the toy world
    does not have the data set."""

    def read_sentences(self, path: Path, *, drops: Drops) -> Iterator[Sentence]:
        """Yield every sentence in file order; only one record is in memory at a time."""
        for record in self.read_records(path, drops=drops):
            yield from self.to_sentences(record, drops=drops)
