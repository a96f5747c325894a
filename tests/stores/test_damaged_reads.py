"""What a damaged shard gives to its readers: what was written, or an error that names the file."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.records import Answer, Pointer, Sentence, SentenceImage
from stores.catalog import STORES
from stores.errors import DamagedFileError
from stores.image_index import require_index
from stores.manifest import SCHEMA_VERSIONS, Manifest, describe_shard, read_manifest, write_manifest
from stores.plan import read_plan
from stores.reading import open_store
from stores.sentence_reading import open_sentences
from tests.stores.builders import make_grid, make_regions, make_store
from tests.stores.version_one import make_old
from tests.stores.version_two import OLD_STORES, make_sentences_old

ROOT = Path(__file__).parents[2]
FLIPS = 100

every_store = pytest.mark.parametrize("store", sorted(STORES))
every_content = pytest.mark.parametrize("content", ["regions", "grid", "sentences"])


@every_store
@every_content
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_flipped_bit_anywhere_gives_what_was_written_or_names_the_file(tmp_path, store, content, version):
    path = _shard(tmp_path, store, content)
    if version > SCHEMA_VERSIONS[content]:
        pytest.skip(f"{content} have no version {version}")
    if version < SCHEMA_VERSIONS[content] and store not in OLD_STORES:
        pytest.skip(f"{store} has no version {version}")
    if version == 1:
        make_old(tmp_path)
    elif version < SCHEMA_VERSIONS[content]:
        make_sentences_old(tmp_path)
    flips = list(_flips(path.stat().st_size, random.Random(f"{store} {content} {version}")))
    # In a process of its own, for a reader that trusts a damaged file may be ended by it.
    done = subprocess.run(
        [sys.executable, "-c", _READ_FLIPPED, str(tmp_path), path.name],
        input=json.dumps(flips),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    outcomes = json.loads(done.stdout)
    assert outcomes["other"] == []
    assert outcomes["named"] > FLIPS / 2


@every_store
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("has_index", [False, True])
def test_two_shards_of_one_size_with_their_names_exchanged_give_no_other_image(tmp_path, store, version, has_index):
    if version == 1 and store not in OLD_STORES:
        pytest.skip(f"{store} has no version {version}")
    make_store(tmp_path, [[make_regions("1", seed=1)], [make_regions("2", seed=2)]], store=store)
    if version == 1:
        make_old(tmp_path)
    manifest = read_manifest(tmp_path)
    if has_index:
        require_index(tmp_path, read_plan(tmp_path), manifest)
    _exchange(*(tmp_path / entry.name for entry in manifest.shards))
    # Without an index or seals in the manifest, a reader asks the shards which images they hold, and is told.
    is_known = has_index or version == 2
    for read in (lambda: open_store(tmp_path).get("1"), lambda: next(iter(open_store(tmp_path)))):
        if is_known:
            with pytest.raises(DamagedFileError, match="shard-0000"):
                read()
    assert is_known or open_store(tmp_path).get("1").image_id == "1"


@every_store
def test_two_sentence_shards_of_one_size_with_their_names_exchanged_are_named(tmp_path, store):
    paths = [tmp_path / f"shard-0{number}-a-00000{STORES[store].suffix}" for number in range(2)]
    entries = []
    for path, prefix in zip(paths, "ab", strict=True):
        STORES[store].write_sentences(path, [_sentences(prefix)], configuration={})
        entries.append(describe_shard(path, 9))
    write_manifest(tmp_path, Manifest(content="sentences", store=store, configuration={}, shards=tuple(entries)))
    _exchange(*paths)
    with open_sentences(tmp_path) as sentences, pytest.raises(DamagedFileError, match=r"shard-00-a-00000.*seal"):
        sentences.read(0, 0)


@every_store
def test_a_shard_made_with_other_options_is_no_shard_of_the_store(tmp_path, store):
    make_store(tmp_path, [[make_regions("1")]], store=store)
    path = tmp_path / f"shard-00000{STORES[store].suffix}"
    STORES[store].write_shard(path, [make_regions("1")], content="regions", configuration={"other": 1})
    with pytest.raises(DamagedFileError, match=r"shard-00000.*: fingerprint .*, expected fingerprint"):
        open_store(tmp_path).get("1")


def _exchange(first, second):
    one, two = first.read_bytes(), second.read_bytes()
    assert len(one) == len(two)
    first.write_bytes(two)
    second.write_bytes(one)


def _flips(size, draw):
    """Yield as many places and bits, half of them near the ends, where a format keeps what leads to its rows."""
    for number in range(FLIPS):
        place = draw.randrange(size) if number % 2 else draw.randrange(min(size, 6000))
        yield (size - 1 - place if number % 4 == 0 else place), draw.randrange(8)


def _shard(folder, store, content):
    if content == "sentences":
        path = folder / f"shard-00-a-00000{STORES[store].suffix}"
        rows = STORES[store].write_sentences(path, [_sentences("a"), _sentences("b")], configuration={})
        entries = (describe_shard(path, rows),)
        write_manifest(folder, Manifest(content="sentences", store=store, configuration={}, shards=entries))
        return path
    make = {"regions": make_regions, "grid": make_grid}[content]
    more = {"num_heads": 2} if content == "grid" else {}
    records = [make(f"image {n:02d}", feature_dim=64, seed=n, **more) for n in range(20)]
    make_store(folder, [records], store=store, content=content)
    return folder / f"shard-00000{STORES[store].suffix}"


def _sentences(prefix, num_sentences=9):
    """Return sentences with two words each that point at three regions."""
    rng = np.random.default_rng(len(prefix))
    num_words = 2 * num_sentences
    position, semantic, targets = (rng.random((num_words, 3)).astype(np.float16) for _ in range(3))
    return AlignedSentences(
        sentences=[
            Sentence(
                sentence_id=f"{prefix}{number}",
                images=(SentenceImage(image_id=f"image {number}", width=640, height=480, coco_id="7"),),
                text="A man, a dog é and the sea 🐕.",
                source="test",
                split="val",
                pointers=(Pointer(start=0, end=5, boxes_xyxy=((1.5, 2, 3, 4),), object_id="17", category="people"),),
                answers=(Answer(text="the sea", weight=0.5),),
                details={"question_id": number},
            )
            for number in range(num_sentences)
        ],
        num_boxes=[(3,)] * num_sentences,
        words=PointedWords(
            starts=np.arange(num_words, dtype=np.int32),
            ends=np.arange(num_words, dtype=np.int32) + 1,
            images=np.zeros(num_words, np.int32),
            in_answer=rng.random(num_words) < 0.5,
            oov=rng.random(num_words) < 0.5,
            position=position,
            semantic=semantic,
            targets=targets,
            supervised=rng.random(num_words) < 0.5,
        ),
        word_offsets=np.arange(num_sentences + 1, dtype=np.int64) * 2,
        pointer_position=rng.random((num_sentences, 3)).astype(np.float16),
    )


# Reads the store in every way after each flip. A number is compared bit by bit: its repr would call two NaN equal.
_READ_FLIPPED = """
import json, sys
from dataclasses import fields, is_dataclass
from pathlib import Path
import numpy as np
from stores.errors import DamagedFileError
from stores.layouts import RegionLayouts
from stores.manifest import read_manifest
from stores.reading import open_store
from stores.sentence_reading import open_sentences

folder, name = Path(sys.argv[1]), sys.argv[2]
path = folder / name

def plain(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value

def by_id():
    with open_store(folder) as store:
        return [plain(store.get(f"image {n:02d}")) for n in range(20)]

def in_order():
    with open_store(folder) as store:
        return [plain(record) for record in store]

def layouts():
    store = RegionLayouts(folder)
    return [plain(store.get(f"image {n:02d}")) for n in range(20)]

def sentences():
    with open_sentences(folder) as store:
        return [plain(sentence) for sentence in store]

def for_training():
    with open_sentences(folder) as store:
        return [plain(store.read_for_training(0, row)) for row in range(len(store))]

def index():
    with open_sentences(folder) as store:
        return plain(store.index(0))

def images():
    with open_sentences(folder) as store:
        return sorted(store.image_ids([0]))

content = read_manifest(folder).content
readings = {
    "regions": [by_id, in_order, layouts],
    "grid": [by_id, in_order],
    "sentences": [sentences, for_training, index, images],
}[content]
expected = [read() for read in readings]
whole = path.read_bytes()
named, other = 0, []
for place, bit in json.load(sys.stdin):
    flipped = bytearray(whole)
    flipped[place] ^= 1 << bit
    path.write_bytes(flipped)
    for read, want in zip(readings, expected):
        print(place, bit, read.__name__, file=sys.stderr)  # the last line of a process that was ended
        try:
            if read() != want:
                other.append([place, bit, read.__name__, "other content"])
        except DamagedFileError as error:
            named += name in str(error)
        except Exception as error:
            other.append([place, bit, read.__name__, repr(error)])
print(json.dumps({"named": named, "other": other}))
"""
