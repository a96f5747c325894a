"""Reads RefCOCO, RefCOCO+ and RefCOCOg in their official layout: https://github.com/lichengunc/refer.

FOLDER/refs(unc).p       a Python 2 pickle: [{ref_id, ann_id, image_id, split, sentences: [{sent_id, sent, raw}]}];
                         refs(umd).p and refs(google).p divide the same references into other splits
FOLDER/instances.json    COCO's boxes (x, y, width, height in pixels), images and categories

Each referring expression is a sentence that points with all its words at one box. The folder's name says which of the
three data sets it is. The pickle is read by an unpickler that runs nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from annotations.boxes import clip_box
from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import (
    FieldError,
    Record,
    read_elements,
    take_id,
    take_list,
    take_number,
    take_objects,
)
from annotations.guards.drops import DataError, Drops
from annotations.guards.restricted_pickle import load_restricted
from annotations.guards.shown import shown
from annotations.image_ids import coco_number
from annotations.records import AnnotatedImage, AnnotatedObject, Box, Pointer, Sentence, SentenceImage, Split

SOURCE = "refcoco"

REFS = ("refs(unc).p", "refs(umd).p", "refs(google).p")
"""Which split is taken of a folder that has several: what papers report on first."""

SPLITS: dict[str, Split] = {"train": "train", "val": "val", "test": "test", "testA": "test", "testB": "test"}


class ReferenceRecord(TypedDict):
    """One object that people refer to, with all that `instances.json` says about it."""

    place: str
    """File and number of the reference, for messages."""
    dataset: str
    ref: Record
    annotation: Record | None
    image: Record | None
    category: str


def read_records(path: Path, *, drops: Drops) -> Iterator[ReferenceRecord]:
    """Yield every reference of a folder, or of the `refs(...).p` given, with its annotation and image.

    Raises:
        DataError: a file is missing or damaged, the pickle holds more than plain values, or `drops` is strict.
    """
    refs_path = _find_refs(path)
    refs = list(_read_refs(refs_path, drops))
    instances = refs_path.parent / "instances.json"
    annotations = _index(instances, "annotations", {take_id(ref, "ann_id") for _, ref in refs}, drops)
    images = _index(instances, "images", {take_id(ref, "image_id") for _, ref in refs}, drops)
    categories = _index(instances, "categories", None, drops)
    for place, ref in refs:
        annotation = annotations.get(take_id(ref, "ann_id"))
        category = categories.get(str(annotation.get("category_id")), {}) if annotation else {}
        yield ReferenceRecord(
            place=place,
            dataset=refs_path.resolve().parent.name,
            ref=ref,
            annotation=annotation,
            image=images.get(take_id(ref, "image_id")),
            category=str(category.get("name", "")),
        )


def to_sentences(record: ReferenceRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield each expression of the reference, its whole text pointing at the box that is clipped to the image."""
    ref = record["ref"]
    try:
        official_split = _take_split(ref)
        image = _take_image(ref, record["image"])
        box = _take_box(ref, record["annotation"], image)
    except FieldError as error:
        drops.add(f"ref: {error.reason}", f"{record['place']}: {error.found}")
        return
    for each in take_objects(ref, "sentences"):
        texts = (each[name].strip() for name in ("sent", "raw") if isinstance(each.get(name), str))
        text = next(filter(None, texts), "")
        if not text:
            drops.add("sentence: no words", f"{record['place']}: found {shown(each)}")
            continue
        pointer = Pointer(
            start=0, end=len(text), boxes_xyxy=(box,), object_id=take_id(ref, "ann_id"), category=record["category"]
        )
        yield Sentence(
            sentence_id=f"{record['dataset']}#{take_id(each, 'sent_id')}",
            images=(image,),
            text=text,
            source=SOURCE,
            split=SPLITS[official_split],
            pointers=(pointer,),
            details={
                "dataset": record["dataset"],
                "official_split": official_split,
                "ref_id": ref["ref_id"],
                "ann_id": ref["ann_id"],
                "category": record["category"],
            },
        )


def sentence_ids(record: ReferenceRecord) -> Iterator[str]:
    """Yield the ids of the reference's expressions."""
    yield from (f"{record['dataset']}#{each['sent_id']}" for each in record["ref"]["sentences"])


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of references for validation and test."""
    refs_path = _find_refs(path)
    refs = {take_id(ref, "image_id"): ref for _, ref in _read_refs(refs_path, drops) if ref.get("split") != "train"}
    for image_id, image in _index(refs_path.parent / "instances.json", "images", set(refs), drops).items():
        try:
            yield _take_image(refs[image_id], image)
        except FieldError as error:
            drops.add(f"ref: {error.reason}", f"{refs_path}, image {image_id}: {error.found}")


def read_objects(path: Path, *, drops: Drops) -> Iterator[AnnotatedImage]:
    """Yield every image of instances.json with all its objects, whether or not somebody refers to one; no crowds.

    Raises:
        DataError: a file is missing or damaged, or `drops` is strict.
    """
    instances = _find_refs(path).parent / "instances.json"
    images = _index(instances, "images", None, drops)
    categories = _index(instances, "categories", None, drops)
    objects: dict[str, list[AnnotatedObject]] = {image_id: [] for image_id in images}
    for annotation in _index(instances, "annotations", None, drops).values():
        try:
            if annotation.get("iscrowd"):
                raise FieldError("a crowd", f"found id {annotation['id']}")
            image_id = take_id(annotation, "image_id")
            image = _image(image_id, images.get(image_id))
            box = _box(annotation, image)
        except FieldError as error:
            drops.add(f"annotation: {error.reason}", f"{instances}, annotation {annotation['id']}: {error.found}")
            continue
        name = str(categories.get(str(annotation.get("category_id")), {}).get("name", "")).lower()
        objects[image_id].append(AnnotatedObject(object_id=take_id(annotation, "id"), box_xyxy=box, names=(name,)))
    for image_id, found in objects.items():
        if found:
            image = _image(image_id, images[image_id])
            yield AnnotatedImage(
                image_id=image.image_id, image_width=image.width, image_height=image.height, objects=tuple(found)
            )


def _find_refs(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = next((path / name for name in REFS if (path / name).exists()), None)
    if found is None:
        raise DataError(f"{path}: no {', '.join(REFS)} in it, expected the layout of lichengunc/refer; check the path")
    return found


def _read_refs(path: Path, drops: Drops) -> Iterator[tuple[str, Record]]:
    """Yield the place of each reference and its fields, of which the ids and the list of sentences are right."""
    try:
        with path.open("rb") as file:
            refs = load_restricted(file, place=str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected a pickle of references") from error
    if not isinstance(refs, list):
        raise DataError(f"{path}: holds {type(refs).__name__}, expected a list of references")
    seen: set[str] = set()
    for number, ref in enumerate(refs):
        place = f"{path}, ref {number}"
        try:
            if not isinstance(ref, dict):
                raise FieldError("not a dictionary", f"found {type(ref).__name__}")
            for name in ("ref_id", "ann_id", "image_id"):
                take_id(ref, name)
            sent_ids = [take_id(sentence, "sent_id") for sentence in take_objects(ref, "sentences")]
        except FieldError as error:
            drops.add(f"ref: {error.reason}", f"{place}: {error.found}")
            continue
        if repeated := [sent_id for sent_id in sent_ids if sent_id in seen or sent_ids.count(sent_id) > 1]:
            drops.add("ref: sent_id is repeated", f"{place}: found {', '.join(repeated)}")
            continue
        seen.update(sent_ids)
        yield place, ref


def _index(path: Path, name: str, wanted: set[str] | None, drops: Drops) -> dict[str, Record]:
    """Return the small fields of `instances.json`'s records of a kind by id, those wanted or all."""
    index: dict[str, Record] = {}
    for number, record in enumerate(_read_list(path, name)):
        try:
            if not isinstance(record, dict):
                raise FieldError("not an object", f"found {type(record).__name__}")
            record_id = take_id(record, "id")
        except FieldError as error:
            drops.add(f"{name}: {error.reason}", f"{path}, record {number} of {name}: {error.found}")
            continue
        if wanted is not None and record_id not in wanted:
            continue
        if record_id in index:
            drops.add(f"{name}: id is repeated", f"{path}, record {number} of {name}: found {record_id}")
            continue
        index[record_id] = {field: value for field, value in record.items() if field != "segmentation"}
    return index


def _read_list(path: Path, name: str) -> Iterator[Any]:
    """Yield the elements of one of the lists that `instances.json` has; none of them is empty."""
    is_empty = True
    for record in read_elements(path, name):
        is_empty = False
        yield record
    if is_empty:
        raise DataError(f"{path}: no {name} in it, expected an object with images, annotations and categories")


def _take_split(ref: Record) -> str:
    split = ref.get("split")
    if not isinstance(split, str) or split not in SPLITS:
        raise FieldError("split is unknown", f"found {shown(split)}, expected one of {', '.join(SPLITS)}")
    return split


def _take_image(ref: Record, image: Record | None) -> SentenceImage:
    # The official README says to ignore the file name in the reference: it is that of a crop.
    return _image(ref["image_id"], image)


def _image(image_id: object, image: Record | None) -> SentenceImage:
    if image is None:
        raise FieldError("image_id is not in instances.json", f"found {shown(image_id)}")
    file_name = image.get("file_name")
    if not isinstance(file_name, str) or not Path(file_name).stem:
        raise FieldError("image has no file_name", f"found {shown(file_name)}")
    width, height = int(take_number(image, "width")), int(take_number(image, "height"))
    if width < 1 or height < 1:
        raise FieldError("image has no size", f"found {width} x {height}")
    name = Path(file_name).stem
    number = coco_number(name)
    return SentenceImage(image_id=name, width=width, height=height, coco_id=number, ids="coco" if number else "own")


def _take_box(ref: Record, annotation: Record | None, image: SentenceImage) -> Box:
    if annotation is None:
        raise FieldError("ann_id is not in instances.json", f"found {ref['ann_id']}")
    if "image_id" in annotation and annotation["image_id"] != ref["image_id"]:
        raise FieldError(
            "ann_id is of another image", f"found {shown(annotation['image_id'])} and {shown(ref['image_id'])}"
        )
    return _box(annotation, image)


def _box(annotation: Record, image: SentenceImage) -> Box:
    numbers = take_list(annotation, "bbox")
    if len(numbers) != 4:
        raise FieldError("bbox is not four numbers", f"found {shown(numbers)}")
    x, y, width, height = (take_number({"bbox": number}, "bbox") for number in numbers)
    box = clip_box((x, y, x + width, y + height), width=image.width, height=image.height)
    if box is None:
        raise FieldError(
            "box has no area inside the image", f"found {shown(numbers)} in {image.width} x {image.height}"
        )
    return box


DATA_SET = DataSet(
    read_records=read_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    objects=read_objects,
    ids="coco",
    place="a folder with refs(unc).p, refs(umd).p or refs(google).p, and instances.json; or one refs file",
    beside=("instances.json",),
)
