"""The public data sets that become sentences. A new one is a module like `flickr30k_entities` and a line below."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from annotations.datasets import flickr30k_entities, refcoco, vgp, vgp_entities
from annotations.drops import Drops
from annotations.records import Sentence, SentenceImage


class ReadRecords(Protocol):
    """Yields what the files hold, in their order, with little work done: one process runs it, ahead of all others.

    A record is a plain value (dicts, lists, strings, bytes, numbers) of one image or one question, and complete: what
    its sentences need from other files is in it.
    """

    def __call__(self, path: Path, *, drops: Drops) -> Iterator[Any]: ...


class ToSentences(Protocol):
    """Yields the sentences of one record; what can not be used is counted in `drops`."""

    def __call__(self, record: Any, *, drops: Drops) -> Iterator[Sentence]: ...


class EvaluationImages(Protocol):
    """Yields the images of the official validation and test splits, without reading more than that takes."""

    def __call__(self, path: Path, *, drops: Drops) -> Iterator[SentenceImage]: ...


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """How one data set is read."""

    read_records: ReadRecords
    to_sentences: ToSentences
    evaluation_images: EvaluationImages
    place: str
    """What the path given must be, for --help and errors."""
    sentences_per_record: int = 1
    """About so many; records are dealt to workers by it."""
    has_descriptions: bool = False
    """Records are images whose region descriptions are to be merged, see `annotations.merging`."""

    def read_sentences(self, path: Path, *, drops: Drops) -> Iterator[Sentence]:
        """Yield every sentence in file order; only one record is in memory at a time."""
        for record in self.read_records(path, drops=drops):
            yield from self.to_sentences(record, drops=drops)


DATA_SETS: dict[str, DataSet] = {
    "flickr30k-entities": DataSet(
        read_records=flickr30k_entities.read_records,
        to_sentences=flickr30k_entities.to_sentences,
        evaluation_images=flickr30k_entities.evaluation_images,
        place="a folder with Sentences/, Annotations/ and train.txt, val.txt, test.txt; or a tar file of one",
        sentences_per_record=5,
    ),
    "vgp": DataSet(
        read_records=vgp.read_records,
        to_sentences=vgp.to_sentences,
        evaluation_images=vgp.evaluation_images,
        place="a CSV file of VGP-Typology or a folder of them, with Sentences/ and Annotations/ beside it for boxes",
    ),
    "vgp-entities": DataSet(
        read_records=vgp_entities.read_records,
        to_sentences=vgp_entities.to_sentences,
        evaluation_images=vgp_entities.evaluation_images,
        place="as flickr30k-entities; tables of VGP-Typology in the same folder add relations",
        sentences_per_record=10,
    ),
    "refcoco": DataSet(
        read_records=refcoco.read_records,
        to_sentences=refcoco.to_sentences,
        evaluation_images=refcoco.evaluation_images,
        place="a folder with refs(unc).p, refs(umd).p or refs(google).p, and instances.json; or one refs file",
    ),
}
