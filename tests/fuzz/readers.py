"""Every reader of foreign bytes: what makes a small file for it, and how it is read to its end."""

import contextlib
import gzip
import io
import json
import pickle
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from annotations.datasets.catalog import DATA_SETS
from stores.catalog import STORES as KINDS
from stores.interchange.catalog import FORMATS
from tests.annotations.toy_places import PLACES
from tests.fuzz.rows import Reader, write_all, write_files
from tests.fuzz.training_readers import TRAINING

ROOMS = ("annotations", "detectors", "stores", "pipeline", "training")

# --- annotations


@cache
def whole_toy_world():
    from annotations.toyworld.world import write_toy_world

    place = tempfile.TemporaryDirectory(prefix="vinculum-fuzz-world-")
    write_toy_world(Path(place.name), num_images=10, seed=0)
    return place  # which is removed when the process ends


def toy_world(name):
    return lambda folder: shutil.copytree(Path(whole_toy_world().name, name), folder, dirs_exist_ok=True)


def as_a_worker_has(record):
    return pickle.loads(pickle.dumps(record))  # noqa: S301  Ray does the same


def read_data_set(name, below="."):
    def read(folder):
        from annotations.guards.drops import DataError, Drops

        data_set = DATA_SETS[name]
        for record in data_set.read_records(folder / below, drops=Drops()):
            for sentence in data_set.to_sentences(as_a_worker_has(record), drops=Drops()):
                json.dumps(sentence.details)
        with contextlib.suppress(DataError):
            list(data_set.evaluation_images(folder / below, drops=Drops()))
        if data_set.photographs:
            list(data_set.photographs(folder / below, drops=Drops()))

    return read


def entities_in_tar(folder):
    toy_world("flickr30k_entities")(folder)
    with tarfile.open(folder / "entities.tar", "w") as archive:
        for name in ("Sentences", "Annotations"):
            archive.add(folder / name, name)


def gensim_vectors(folder):
    from gensim.models import KeyedVectors

    keyed = KeyedVectors(3)
    keyed.add_vectors(["dog", "cat"], np.ones((2, 3), np.float32))
    keyed.save(str(folder / "vectors"), separately=["vectors"])


def word2vec_binary(folder):
    (folder / "vectors").write_bytes(b"2 3\ndog " + bytes(12) + b"\ncat " + bytes(12) + b"\n")


def read_vectors(folder):
    from annotations.guards.drops import Drops
    from annotations.vectors.lookup import read_word_vectors

    read_word_vectors(folder / "vectors", drops=Drops()).similarity(["a dog"], ["dog", "cat"])


def read_answers(folder):
    from annotations.answers import read_answer_vocabulary

    read_answer_vocabulary(folder / "answers.json").ids()


STATEMENT = {"identifier": "dev-850-0-1", "sentence": "Two dogs.", "label": "True", "synset": "dog"}
STATEMENT |= {"left_url": "https://a/b.jpg", "right_url": "https://a/c.jpg", "validation": {"1": "True"}}
WINOGROUND = {"id": 0, "caption_0": "a b", "caption_1": "b a", "image_0": "ex_0_img_0", "image_1": "ex_0_img_1"}
WINOGROUND |= {"tag": "Noun", "num_main_preds": 1}
GLOVE = b"dog 0.1 0.2 0.3\ncat 1 -2 3e-1\n"

ANNOTATIONS = {
    **{name: Reader(make=toy_world(place), read=read_data_set(name)) for name, place in PLACES.items()},
    **{
        name: Reader(make=write_files(DATA_SETS[name].example), read=read_data_set(name))
        for name in DATA_SETS
        if name not in PLACES
    },
    "winoground": Reader(make=write_all(examples__jsonl=WINOGROUND), read=read_data_set("winoground")),
    "nlvr2": Reader(make=write_all(dev__json=STATEMENT, train__json=STATEMENT), read=read_data_set("nlvr2")),
    "flickr30k-entities in a tar file": Reader(
        make=entities_in_tar,
        read=read_data_set("flickr30k-entities", "entities.tar"),
        damage=lambda name: name.endswith("entities.tar"),
    ),
    "vectors as text": Reader(make=write_all(vectors=GLOVE), read=read_vectors),
    "vectors as text with a header": Reader(make=write_all(vectors=b"2 3\n" + GLOVE), read=read_vectors),
    "vectors in gzip": Reader(make=write_all(vectors=gzip.compress(GLOVE, mtime=0)), read=read_vectors),
    "vectors as word2vec's binary": Reader(make=word2vec_binary, read=read_vectors),
    "vectors as gensim saves them": Reader(make=gensim_vectors, read=read_vectors),
    "answers as a list": Reader(make=write_all(answers__json=["yes", "no"]), read=read_answers),
    "answers as ids": Reader(make=write_all(answers__json={"yes": 0, "no": 1}), read=read_answers),
    "answers as objects": Reader(make=write_all(answers__json=[{"ans": "yes"}, {"ans": "no"}]), read=read_answers),
}

# --- detectors


def torch_file(legacy):
    def make(folder):
        import torch

        content = {"model": {"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.int64)}, "epoch": 3}
        torch.save(content, folder / "w", _use_new_zipfile_serialization=not legacy)

    return make


def safetensors_file(folder):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 3), "b": torch.ones(1)}, folder / "w", metadata={"format": "pt"})


def read_checkpoint(folder):
    from detectors.weights.checkpoint_files import read_tensors

    for tensor in read_tensors(folder / "w").values():
        tensor.float().sum().item()


def own_weights(folder):
    from detectors.conventions import Conventions
    from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
    from detectors.vocabulary import numbered_vocabulary
    from detectors.weights.files import save_weights

    tiny = Architecture(blocks=(1, 1, 1, 1), width_per_group=1, num_classes=3, num_attributes=2, rpn_channels=1)
    conventions = Conventions(short_side=160)
    network = FasterRCNNNetwork(tiny, conventions)
    save_weights(folder / "w.safetensors", network, conventions, numbered_vocabulary(3, 2))


def read_own_weights(folder):
    from detectors.weights.files import read_weights

    read_weights(str(folder / "w.safetensors"), {})


CONFIG = b"""model: {pixel_mean: [1, 2, 3], max_pool: true}
input: {min_size_test: 600, format: BGR}
roi_heads: {nms_thresh_test: [0.3]}
"""


def read_config(folder):
    from detectors.weights.published_config import read_settings

    read_settings(folder / "config.yaml")


def read_names(folder):
    from detectors.vocabulary import read_vocabulary

    read_vocabulary(folder)


def gold_boxes(folder):
    from detectors.gold_boxes import GoldBoxes

    GoldBoxes(
        image_ids=np.array(["1", "22"]),
        sides=np.ones((2, 2), np.int32),
        is_val=np.zeros(2, np.bool_),
        first_box=np.array([0, 1, 2]),
        boxes_xyxy=np.ones((2, 4), np.float32),
        class_rows=np.ones(2, np.int32),
        first_attribute=np.array([0, 1, 1]),
        attribute_rows=np.ones(1, np.int32),
    ).save(folder / "gold.npz")


def read_gold_boxes(folder):
    from detectors.gold_boxes import GoldBoxes

    gold = GoldBoxes.load(folder / "gold.npz")
    for number in range(len(gold)):
        gold.image(number)


DETECTORS = {
    "checkpoint as a pickle": Reader(
        make=write_all(w=pickle.dumps({"model": {"a": np.ones((2, 3)), "b": np.float32(1)}, "epoch": 3}, protocol=2)),
        read=read_checkpoint,
    ),
    "checkpoint of torch": Reader(make=torch_file(legacy=False), read=read_checkpoint),
    "checkpoint of torch before 1.6": Reader(make=torch_file(legacy=True), read=read_checkpoint),
    "checkpoint as safetensors": Reader(make=safetensors_file, read=read_checkpoint),
    "our own weights": Reader(make=own_weights, read=read_own_weights),
    "config.yaml": Reader(make=write_all(config__yaml=CONFIG), read=read_config),
    "vocabulary": Reader(
        make=write_all(objects_vocab__txt=b"dog\nstop sign,stopsign\n", attributes_vocab__txt=b"red\n"),
        read=read_names,
    ),
    "gold boxes": Reader(make=gold_boxes, read=read_gold_boxes),
}

# --- stores


def region_store(store, grids=False):
    def make(folder):
        from tests.stores.builders import make_grid, make_regions, make_store

        kind = make_grid if grids else (lambda image_id: make_regions(image_id, num_boxes=2, feature_dim=2))
        make_store(
            folder,
            [[kind("a"), kind("b")], [kind("c")]],
            store=store,
            failed=[(1, "d")],
            content="grid" if grids else "regions",
        )
        from stores.image_index import open_index
        from stores.manifest import read_manifest

        open_index(folder, read_manifest(folder))

    return make


def read_store(folder):
    from stores.errors import StoreError
    from stores.reading import open_store

    with contextlib.suppress(StoreError), open_store(folder) as store:
        for _ in store:
            pass
    with open_store(folder) as store:
        for image_id in list(store.image_ids):
            store.get(image_id)


def sentence_store(store):
    def make(folder):
        from annotations.records import Pointer
        from stores.manifest import Manifest, describe_shard, write_manifest
        from tests.stores.formats.test_sentence_store import CONFIGURATION, align, make_sentence

        pointer = Pointer(start=0, end=5, boxes_xyxy=((0, 0, 5, 5),), object_id="1", category="x")
        sentences = [make_sentence(f"s{number}", pointers=(pointer,)) for number in range(3)]
        path = folder / f"shard-00000{KINDS[store].suffix}"
        rows = KINDS[store].write_sentences(path, [align(sentences)], configuration=CONFIGURATION)
        entries = (describe_shard(path, rows),)
        write_manifest(folder, Manifest(content="sentences", store=store, configuration=CONFIGURATION, shards=entries))

    return make


def read_sentences(folder):
    from stores.sentence_reading import open_sentences

    for _ in open_sentences(folder):
        pass


def tar_file(folder):
    with tarfile.open(folder / "images.tar", "w") as archive:
        for number, kind in enumerate((tarfile.REGTYPE, tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE)):
            member = tarfile.TarInfo(f"{number}.jpg")
            member.type, member.linkname, member.size = kind, "0.jpg", 3 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"abc"))


def list_images_of(name):
    def read(folder):
        from stores.images.listing import list_images

        images = list_images([str(folder / name)]).images
        assert len(list(images)) == len(images)

    return read


def foreign_rows(fill):
    def make(folder):
        from tests.stores.interchange import test_milvlg_npz, test_uniter_lmdb, test_vinvl_tsv
        from tests.stores.interchange.foreign_files import butd_line, lxmert_line

        match fill:
            case "lxmert-tsv":
                (folder / "x.tsv").write_bytes(lxmert_line() * 2)
            case "butd-tsv":
                (folder / "x.tsv").write_bytes(butd_line() * 2)
            case "vinvl-tsv":
                test_vinvl_tsv.write(folder, test_vinvl_tsv.found(attributes=["tall"], attr_scores=[0.5]))
            case "milvlg-npz":
                test_milvlg_npz.save(folder)
            case "uniter-lmdb of npz":
                test_uniter_lmdb.write(folder, {b"7.npz": test_uniter_lmdb.as_npz()})
            case "uniter-lmdb":
                test_uniter_lmdb.write(folder, {b"7.npz": test_uniter_lmdb.as_msgpack()})
            case _:
                write_files(FORMATS[fill].example)(folder)

    return make


def read_foreign(fill):
    def read(folder):
        from stores.interchange.catalog import recognise
        from stores.interchange.rows import RowError
        from tests.stores.interchange.foreign_files import SUPPLEMENT

        path = folder if fill.startswith(("milvlg", "uniter")) else next(folder.iterdir())
        foreign = FORMATS[recognise(path)]
        for row in list(foreign.list_rows(path)):
            if not row.fault:
                with contextlib.suppress(RowError):
                    foreign.read_row(path, row, SUPPLEMENT)

    return read


STORES = {
    **{
        f"{kind} in {store}": Reader(make=region_store(store, grids=kind == "grids"), read=read_store)
        for store in KINDS
        for kind in ("regions", "grids")
    },
    **{f"sentences in {store}": Reader(make=sentence_store(store), read=read_sentences) for store in KINDS},
    "list of images, .tar": Reader(make=tar_file, read=list_images_of("images.tar")),
    "list of images, .tsv": Reader(
        make=write_all(images__tsv=b"1\t/a/b.jpg\n2\tb.jpg\n"), read=list_images_of("images.tsv")
    ),
    "list of images, .csv": Reader(
        make=write_all(images__csv=b'1,"/a/b.jpg"\n2,b.jpg\n'), read=list_images_of("images.csv")
    ),
    "list of images, .txt": Reader(make=write_all(images__txt=b"/a/1.jpg\n2.jpg\n"), read=list_images_of("images.txt")),
    **{
        f"features of {fill}": Reader(make=foreign_rows(fill), read=read_foreign(fill))
        for fill in (*FORMATS, "uniter-lmdb of npz")
    },
}

# --- commands


def read_boxes(folder):
    from pipeline.extraction.given_boxes import read_given_boxes

    read_given_boxes(folder / "boxes.json")


def read_run_log(folder):
    from pipeline.run_log import merge_shards, read_runs

    for run in read_runs(folder / "run.jsonl"):
        merge_shards(run.shards, 2)


RUN_LOG = b"""{"event": "start", "time": 1.5, "host": "h", "crew": {"workers": 2}, "command": ["vinculum", "extract"]}
{"event": "shard", "time": 2.5, "images": 8, "failed": 1, "wait_seconds": 0.5, "detect_seconds": 1, "write_seconds": 0}
{"event": "notice", "time": 3, "text": "x"}
{"event": "end", "time": 4}
"""

COMMANDS = {
    "given boxes": Reader(make=write_all(boxes__json={"7": [[0, 0, 4, 4.5]], "8": []}), read=read_boxes),
    "run.jsonl": Reader(make=write_all(run__jsonl=RUN_LOG), read=read_run_log),
}

READERS: dict[str, dict[str, Reader]] = {
    "annotations": ANNOTATIONS,
    "detectors": DETECTORS,
    "stores": STORES,
    "commands": COMMANDS,
    "training": TRAINING,
}
