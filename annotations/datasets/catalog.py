"""The public data sets that become sentences. A new one is a module like `flickr30k_entities` and a line below."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from annotations.datasets import (
    coco,
    flickr30k_entities,
    gqa,
    lxmert_json,
    nlvr2,
    refcoco,
    snli_ve,
    vgp,
    vgp_entities,
    visual_genome_sentences,
    vqa_v2,
    winoground,
)
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
    """Yields the sentences of one record; what can not be used is counted in `drops`."""

    def __call__(self, record: Any, *, drops: Drops) -> Iterator[Sentence]: ...


class SentenceIds(Protocol):
    """Returns the ids of all sentences that a record may give, with little work done, and of none that it can not."""

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

    def read_sentences(self, path: Path, *, drops: Drops) -> Iterator[Sentence]:
        """Yield every sentence in file order; only one record is in memory at a time."""
        for record in self.read_records(path, drops=drops):
            yield from self.to_sentences(record, drops=drops)


DATA_SETS: dict[str, DataSet] = {
    coco.CAPTIONS: DataSet(
        read_records=coco.read_caption_records,
        to_sentences=coco.to_captions,
        sentence_ids=coco.sentence_ids,
        evaluation_images=coco.caption_evaluation_images,
        ids="coco",
        check=coco.check_captions,
        place="a captions_*.json file, or a folder of them or with annotations/",
    ),
    coco.INSTANCES: DataSet(
        read_records=coco.read_instance_records,
        to_sentences=coco.to_instances,
        sentence_ids=coco.sentence_ids,
        evaluation_images=coco.instance_evaluation_images,
        ids="coco",
        check=coco.check_instances,
        place="an instances_*.json file, or a folder of them or with annotations/",
    ),
    visual_genome_sentences.DESCRIPTIONS: DataSet(
        read_records=visual_genome_sentences.read_description_records,
        to_sentences=visual_genome_sentences.to_descriptions,
        sentence_ids=visual_genome_sentences.description_ids,
        evaluation_images=visual_genome_sentences.evaluation_images,
        ids="visual-genome",
        photographs=visual_genome_sentences.photographs,
        place="a folder with region_descriptions.json; region graphs, questions and image data beside it are used",
        sentences_per_record=40,
        has_descriptions=True,
    ),
    visual_genome_sentences.RELATIONSHIPS: DataSet(
        read_records=visual_genome_sentences.read_relationship_records,
        to_sentences=visual_genome_sentences.to_relationships,
        sentence_ids=visual_genome_sentences.relationship_ids,
        evaluation_images=visual_genome_sentences.evaluation_images,
        ids="visual-genome",
        photographs=visual_genome_sentences.photographs,
        place="a folder with relationships.json",
        sentences_per_record=20,
    ),
    visual_genome_sentences.ATTRIBUTES: DataSet(
        read_records=visual_genome_sentences.read_attribute_records,
        to_sentences=visual_genome_sentences.to_attributes,
        sentence_ids=visual_genome_sentences.attribute_ids,
        evaluation_images=visual_genome_sentences.evaluation_images,
        ids="visual-genome",
        photographs=visual_genome_sentences.photographs,
        place="a folder with objects.json and image_data.json; attributes.json beside them is used",
        sentences_per_record=20,
    ),
    gqa.SOURCE: DataSet(
        read_records=gqa.read_question_records,
        to_sentences=gqa.to_questions,
        sentence_ids=gqa.sentence_ids,
        evaluation_images=gqa.evaluation_images,
        objects=gqa.read_scene_graphs,
        ids="visual-genome",
        place="a *questions*.json file or a folder of them, with *sceneGraphs.json beside or in sceneGraphs/",
        beside=gqa.GRAPHS,
    ),
    gqa.FULL_ANSWERS: DataSet(
        read_records=gqa.read_question_records,
        to_sentences=gqa.to_full_answers,
        sentence_ids=gqa.sentence_ids,
        evaluation_images=gqa.evaluation_images,
        objects=gqa.read_scene_graphs,
        ids="visual-genome",
        place="as gqa",
        beside=gqa.GRAPHS,
    ),
    vqa_v2.SOURCE: DataSet(
        read_records=vqa_v2.read_question_records,
        to_sentences=vqa_v2.to_sentences,
        sentence_ids=vqa_v2.sentence_ids,
        evaluation_images=vqa_v2.evaluation_images,
        ids="coco",
        place="a questions file with its annotations beside it, or a folder of both",
        beside=("*annotations*", "*annotatons*"),
    ),
    nlvr2.SOURCE: DataSet(
        read_records=nlvr2.read_statement_records,
        to_sentences=nlvr2.to_sentences,
        sentence_ids=nlvr2.sentence_ids,
        evaluation_images=nlvr2.evaluation_images,
        place="a JSON lines file, or a folder with train.json, dev.json, test1.json",
    ),
    flickr30k_entities.SOURCE: DataSet(
        read_records=flickr30k_entities.read_records,
        to_sentences=flickr30k_entities.to_sentences,
        sentence_ids=flickr30k_entities.sentence_ids,
        evaluation_images=flickr30k_entities.evaluation_images,
        ids="flickr30k",
        place="a folder with Sentences/, Annotations/ and train.txt, val.txt, test.txt; or a tar file of one",
        beside=flickr30k_entities.LISTS,
        sentences_per_record=5,
    ),
    vgp.SOURCE: DataSet(
        read_records=vgp.read_records,
        to_sentences=vgp.to_sentences,
        sentence_ids=vgp.sentence_ids,
        evaluation_images=vgp.evaluation_images,
        ids="flickr30k",
        place="a CSV file of VGP-Typology or a folder of them, with Sentences/ and Annotations/ beside it for boxes",
        beside=(*flickr30k_entities.LISTS, "Sentences/*.txt", "Annotations/*.xml"),
    ),
    vgp_entities.SOURCE: DataSet(
        read_records=vgp_entities.read_records,
        to_sentences=vgp_entities.to_sentences,
        sentence_ids=vgp_entities.sentence_ids,
        evaluation_images=vgp_entities.evaluation_images,
        ids="flickr30k",
        place="as flickr30k-entities; tables of VGP-Typology in the same folder add relations",
        beside=(*flickr30k_entities.LISTS, "*.csv"),
        sentences_per_record=10,
    ),
    refcoco.SOURCE: DataSet(
        read_records=refcoco.read_records,
        to_sentences=refcoco.to_sentences,
        sentence_ids=refcoco.sentence_ids,
        evaluation_images=refcoco.evaluation_images,
        objects=refcoco.read_objects,
        ids="coco",
        place="a folder with refs(unc).p, refs(umd).p or refs(google).p, and instances.json; or one refs file",
        beside=("instances.json",),
    ),
    snli_ve.SOURCE: DataSet(
        read_records=snli_ve.read_pair_records,
        to_sentences=snli_ve.to_sentences,
        sentence_ids=snli_ve.sentence_ids,
        evaluation_images=snli_ve.evaluation_images,
        ids="flickr30k",
        place="a .jsonl file of SNLI-VE, a .csv file of e-SNLI-VE, or a folder of either",
    ),
    winoground.SOURCE: DataSet(
        read_records=winoground.read_example_records,
        to_sentences=winoground.to_sentences,
        sentence_ids=winoground.sentence_ids,
        evaluation_images=winoground.evaluation_images,
        place="examples.jsonl, or its folder",
    ),
    lxmert_json.SOURCE: DataSet(
        read_records=lxmert_json.read_lxmert_records,
        to_sentences=lxmert_json.to_sentences,
        sentence_ids=lxmert_json.sentence_ids,
        evaluation_images=lxmert_json.evaluation_images,
        ids="visual-genome",
        place="one of LXMERT's JSON files, or a folder of them",
        sentences_per_record=10,
    ),
}
