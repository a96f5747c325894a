"""What every data set in the table promises; it is read as the toy world has it, or as its own example does."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops
from annotations.toyworld.world import write_toy_world
from tests.annotations.toy_places import PLACES

every_data_set = pytest.mark.parametrize("name", DATA_SETS)


@pytest.fixture(scope="module")
def toy_world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    write_toy_world(out, num_images=100, seed=8)
    return out


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A data set's files."""

    path: Path
    min_sentences: int


@pytest.fixture
def sample(name, request, tmp_path):
    if name in PLACES:
        world = request.getfixturevalue("toy_world")
        return Sample(path=world / PLACES[name], min_sentences=6 if name == "winoground" else 16)
    example = DATA_SETS[name].example
    assert example, f"{name}: neither the toy world nor the data set itself has files to read, expected `example`"
    for file, content in example.items():
        (tmp_path / file).write_text(content, encoding="utf-8")
    return Sample(path=tmp_path, min_sentences=1)


@every_data_set
def test_every_record_is_read_without_a_drop_and_evaluation_images_are_in_no_training_sentence(name, sample):
    drops = Drops(strict=True)
    data_set = DATA_SETS[name]
    sentences = list(data_set.read_sentences(sample.path, drops=drops))
    assert len(sentences) >= sample.min_sentences
    evaluated = {image.image_id for image in data_set.evaluation_images(sample.path, drops=drops)}
    for sentence in sentences:
        assert (sentence.split == "train") == evaluated.isdisjoint(sentence.image_ids), sentence.sentence_id
    assert len({sentence.sentence_id for sentence in sentences}) == len(sentences)


@every_data_set
def test_the_ids_of_a_record_s_sentences_are_known_before_they_are_made(name, sample):
    data_set, drops = DATA_SETS[name], Drops(strict=True)
    for record in data_set.read_records(sample.path, drops=drops):
        made = [sentence.sentence_id for sentence in data_set.to_sentences(record, drops=drops)]
        assert made == list(data_set.sentence_ids(record))


@every_data_set
def test_a_record_that_travelled_to_a_worker_gives_the_same_sentences(name, sample):
    data_set, drops = DATA_SETS[name], Drops(strict=True)
    record = next(iter(data_set.read_records(sample.path, drops=drops)))
    travelled = pickle.loads(pickle.dumps(record))  # noqa: S301  Ray does the same
    assert list(data_set.to_sentences(travelled, drops=drops)) == list(data_set.to_sentences(record, drops=drops))


@every_data_set
def test_a_folder_without_the_data_set_is_an_error_that_names_it(name, tmp_path):
    with pytest.raises(DataError, match=str(tmp_path)):
        list(DATA_SETS[name].read_sentences(tmp_path, drops=Drops()))


@every_data_set
def test_help_and_errors_can_say_what_the_path_must_be(name):
    assert DATA_SETS[name].place
