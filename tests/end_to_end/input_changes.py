"""What may happen to an input between two runs, as functions that do it to a workshop."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import safetensors.numpy

from tests.end_to_end.workshop import Workshop, exchange

Change = Callable[[Workshop], None]
LONG_AGO = 1_000_000_000
"""Seconds since 1970."""

PLACES = {
    "image file": "photos/3.jpg",
    "folder": "photos",
    "list": "photos.tsv",
    "tar": "photos.tar",
    "annotations": "gqa",
    "vectors": "vectors.txt",
    "weights": "weights.safetensors",
    "boxes": "boxes.json",
    "vocabulary": "vocabulary",
    "regions": "regions",
    "sentences": "sentences",
    "run": "run",
    "checkpoint": "run/checkpoints/step-00000004",
    "last kept": "run/checkpoints/step-00000002",
    "fine run": "fine",
    "fine checkpoint": "fine/checkpoints/step-00000004",
    "tokenizer": "tokenizer.json",
    "run's tokenizer": "run/tokenizer.json",
    "answers": "answers.json",
}
"""Where each input lies in the workshop."""


def put_another(shop: Workshop, name: str) -> None:
    """The input is another of equal size: other photographs, questions, numbers, names, or what came of such."""
    path = shop.now / PLACES[name]
    if name in _EDITS:
        _EDITS[name](path)
    else:
        source = shop.kept / _OTHERS[name]
        remove(path)
        shutil.copytree(source, path) if source.is_dir() else shutil.copy(source, path)


def put_older(shop: Workshop, name: str) -> None:
    """The input is another of equal size that was last changed long ago, as archives leave it."""
    put_another(shop, name)
    for path in _files(shop.now / PLACES[name]):
        os.utime(path, (LONG_AGO, LONG_AGO))


def touch(shop: Workshop, name: str) -> None:
    """The input has the same content, written just now."""
    for path in _files(shop.now / PLACES[name]):
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)


def halve(shop: Workshop, name: str) -> None:
    """Half of the input is gone: half the bytes of a file, half the lines of a list, half the files of a folder."""
    path = shop.now / PLACES[name]
    if path.is_dir():
        kept = {"manifest.json", "plan.arrow", "index.arrow", "recipe.json", "objects_vocab.txt"}
        files = [each for each in _files(path) if each.name not in kept]
        for file in files[len(files) // 2 :]:
            file.unlink()
    elif path.suffix in (".tsv", ".txt"):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: len(lines) // 2]))
    elif name in ("boxes", "answers"):
        content = json.loads(path.read_text())
        some = list(content)[: len(content) // 2]
        path.write_text(json.dumps(some if isinstance(content, list) else {key: content[key] for key in some}))
    else:
        os.truncate(path, path.stat().st_size // 2)


def put_foreign(shop: Workshop, name: str) -> None:
    """The input is as somebody else has it, who chose other settings."""
    path = shop.now / PLACES[name]
    if name in _FOREIGN_EDITS:
        _FOREIGN_EDITS[name](path)
    else:
        remove(path)
        shutil.copytree(shop.kept / _FOREIGN[name], path)


_OTHERS = {
    "image file": "other/photos/3.jpg",
    "folder": "other/photos",
    "annotations": "other/gqa",
    "regions": "other-regions",
    "sentences": "other-sentences",
    "run": "other-run",
    "checkpoint": "other-run/checkpoints/step-00000004",
    "last kept": "other-run/checkpoints/step-00000002",
    "fine run": "other-fine",
    "fine checkpoint": "other-fine/checkpoints/step-00000004",
}
"""What takes an input's place; edits make the others."""

_FOREIGN = {"regions": "fewer-regions", "sentences": "span-sentences", "run": "single-stream-run"}

NEEDED = {
    ("replaced", "regions"): "other-regions",
    ("older", "regions"): "other-regions",
    ("one node", "regions"): "other-regions",
    ("foreign", "regions"): "fewer-regions",
    ("replaced", "sentences"): "other-sentences",
    ("older", "sentences"): "other-sentences",
    ("one node", "sentences"): "other-sentences",
    ("foreign", "sentences"): "span-sentences",
    ("foreign", "run"): "single-stream-run",
    **{(change, name): "other-run" for change in ("replaced", "older") for name in ("run", "checkpoint", "last kept")},
    **{(change, name): "other-fine" for change in ("replaced", "older") for name in ("fine run", "fine checkpoint")},
}
"""What must have been made for a change."""


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def remove(path: Path) -> None:
    """Nothing is at the path any more."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _exchange_lines(path: Path) -> None:
    """The second fields of the first two lines have changed places."""
    first, second, *others = [line.split("\t") for line in path.read_text().splitlines()]
    lines = [[first[0], second[1]], [second[0], first[1]], *others]
    path.write_text("".join("\t".join(line) + "\n" for line in lines))


def _exchange_members(path: Path) -> None:
    """The contents of the archive's first two files have changed places."""
    with tarfile.open(path) as archive:
        names = archive.getnames()
        contents = [archive.extractfile(name).read() for name in names]
        members = archive.getmembers()
    contents[:2] = contents[1::-1]
    _write_tar(path, names, contents, members)


def _into_a_folder(path: Path) -> None:
    """The archive's files lie in a folder below, as another program packs them."""
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        contents = [archive.extractfile(member).read() for member in members]
    _write_tar(path, [f"images/{member.name}" for member in members], contents, members)


def _write_tar(path: Path, names: list[str], contents: list[bytes], members: list[tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content, member in zip(names, contents, members, strict=True):
            told = tarfile.TarInfo(name)
            told.size, told.mtime = len(content), member.mtime
            archive.addfile(told, io.BytesIO(content))


def _halve_a_tensor(path: Path) -> None:
    """A tensor of the weights has half of its values; their header stays."""
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no mapping
    largest = max(tensors, key=lambda key: tensors[key].size)
    tensors[largest] = tensors[largest] / 2
    safetensors.numpy.save_file(tensors, path, metadata)


def _rename_a_class(path: Path) -> None:
    """The weights call their first class by another name."""
    with safetensors.safe_open(path, "np") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no mapping
    changed = {key: value.replace("ball", "bulb", 1) for key, value in metadata.items()}
    assert changed != metadata
    safetensors.numpy.save_file(tensors, path, changed)


def _exchange_names(path: Path) -> None:
    first, second, *others = (path / "objects_vocab.txt").read_text().splitlines()
    (path / "objects_vocab.txt").write_text("".join(f"{name}\n" for name in (second, first, *others)))


def _exchange_answers(path: Path) -> None:
    answers = json.loads(path.read_text())
    path.write_text(json.dumps([answers[1], answers[0], *answers[2:]]))


def _add_a_dimension(path: Path) -> None:
    path.write_text("".join(f"{line} 0.5\n" for line in path.read_text().splitlines()))


def _exchange_pieces(path: Path) -> None:
    """Two pieces of the tokenizer have each other's number."""
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(content))


def _keep_capitals(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["normalizer"]["lowercase"]
    content["normalizer"]["lowercase"] = False
    path.write_text(json.dumps(content))


_EDITS: dict[str, Callable[[Path], None]] = {
    "list": _exchange_lines,
    "tar": _exchange_members,
    "vectors": lambda path: exchange(path, " 0.", " 1."),
    "weights": _halve_a_tensor,
    "boxes": lambda path: exchange(path, "90", "91"),
    "vocabulary": _exchange_names,
    "tokenizer": _exchange_pieces,
    "run's tokenizer": _exchange_pieces,
    "answers": _exchange_answers,
}

_FOREIGN_EDITS: dict[str, Callable[[Path], None]] = {
    "list": lambda path: path.write_text("".join(f"img-{line}" for line in path.read_text().splitlines(True))),
    "tar": _into_a_folder,
    "vectors": _add_a_dimension,
    "weights": _rename_a_class,
    "boxes": lambda path: path.write_text(path.read_text().replace("[[10, 10, 90, 80]]", "[[0.1, 0.1, 0.9, 0.8]]")),
    "vocabulary": lambda path: (path / "attributes_vocab.txt").unlink(),
    "tokenizer": _keep_capitals,
    "run's tokenizer": _keep_capitals,
    "answers": lambda path: path.write_text(json.dumps([answer.title() for answer in json.loads(path.read_text())])),
}
