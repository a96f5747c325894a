"""Readers of annotations, vectors and answers, each with what makes a small file for it."""

import contextlib
import gzip
import json
import pickle
import shutil
import tarfile
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from annotations.datasets.catalog import DATA_SETS
from tests.annotations.toy_places import PLACES
from tests.fuzz.rows import Reader, write_all, write_files


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
