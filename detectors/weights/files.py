"""Weights of the Faster R-CNN: our own safetensors files, which carry their conventions, published ones, or noise.

The header of ours holds, under `vinculum`, JSON of the architecture, the conventions and the vocabulary; of published
ones the layout tells. So weights cannot be applied in a way they were not trained for unless the user says so.
Nothing a file contains is executed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers.utils import cached_file

from annotations.guards.plain_json import parse_json
from detectors.conventions import Conventions, override
from detectors.digests import sha256_of
from detectors.faster_rcnn import FasterRCNNDetector
from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
from detectors.networks.network import RegionNetwork
from detectors.precision import Precision, resolve_precision
from detectors.request import DetectorRequest
from detectors.vocabulary import Vocabulary, numbered_vocabulary, read_vocabulary, require_same_names
from detectors.weights.checkpoint_files import CheckpointError, read_tensors
from detectors.weights.published import (
    LayoutError,
    Published,
    is_trunk,
    load_under_their_names,
    read_published,
    start_from_trunk,
)
from detectors.weights.published_config import ConfigError, Settings, read_settings
from detectors.weights.torchvision_fpn import is_torchvision_pyramid, read_torchvision_pyramid

SHIPPED = {"toyworld": Path(__file__).with_name("toyworld.safetensors")}
HEADER_KEY = "vinculum"

PUBLISHED_NAMES = ("pytorch_model.bin", "model.safetensors")
CONFIG_NAME = "config.yaml"
HUGGING_FACE_ID = re.compile(r"[\w-]+/[\w-]+")
"""A path with a suffix is none."""


class WeightsError(ValueError):
    """Weights that are absent, of another architecture, or not ours; the message says which."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A network in training form with all that came with it."""

    identity: dict[str, str]
    """`name`, `sha256` where there is a file, and `layout` where it is another's."""
    network: RegionNetwork
    conventions: Conventions
    vocabulary: Vocabulary | None
    """None where the file has no names, and nobody else can know them."""
    num_classes: int
    num_attributes: int
    names_its_own: bool = False
    """Whether the names stand in the file; else its layout tells them, as far as that can be known."""


def load(request: DetectorRequest, device: torch.device) -> FasterRCNNDetector:
    """Return the detector that was asked for."""
    return load_faster_rcnn(
        request.weights,
        overrides=request.overrides,
        min_boxes=request.min_boxes,
        max_boxes=request.max_boxes,
        precision=request.precision,
        device=device,
        vocabulary=read_vocabulary(request.vocabulary) if request.vocabulary else None,
    )


def load_faster_rcnn(
    weights: str,
    *,
    overrides: Mapping[str, str] | None = None,
    min_boxes: int = 36,
    max_boxes: int = 36,
    precision: Precision = "auto",
    device: torch.device | None = None,
    vocabulary: Vocabulary | None = None,
) -> FasterRCNNDetector:
    """Return a detector ready to run.

    Args:
        weights: a file or folder, an id on Hugging Face, `toyworld`, or `random:SEED`.
        vocabulary: names instead of those of the weights; published ones of Visual Genome have none.

    Raises:
        WeightsError: the weights do not fit, or nobody tells their names.
        VocabularyError: the weights have other names of their own.
        ValueError: an override is unknown or ill-typed.
    """
    device = device or torch.device("cpu")
    loaded = read_weights(weights, overrides or {})
    names = vocabulary or loaded.vocabulary
    if names is None:
        raise WeightsError(
            f"weights {weights!r} do not name their {loaded.num_classes} classes and {loaded.num_attributes} "
            "attributes; give --vocabulary, a folder with objects_vocab.txt and attributes_vocab.txt"
        )
    have, want = (len(names.classes), len(names.attributes)), (loaded.num_classes, loaded.num_attributes)
    if have != want:
        raise WeightsError(f"vocabulary has {have} classes and attributes, the weights expect {want}")
    if loaded.names_its_own and loaded.vocabulary is not None:
        require_same_names(loaded.vocabulary, names, f"weights {weights!r}")
    loaded.network.optimise(resolve_precision(precision, device), device)
    return FasterRCNNDetector(
        network=loaded.network,
        conventions=loaded.conventions,
        vocabulary=names,
        weights=loaded.identity,
        min_boxes=min_boxes,
        max_boxes=max_boxes,
        device=device,
    )


def read_weights(weights: str, overrides: Mapping[str, str]) -> Weights:
    """Return the network that `weights` names, with the conventions it was trained with, as overridden."""
    if weights.startswith("random:"):
        return random_weights(weights, overrides)
    path, config = _find_files(weights)
    try:
        with digest_while_read(path) as sha256:
            header = _own_header(path)
            if header is not None:
                return _read_own(weights, path, sha256, header, overrides)
            return _read_published(weights, path, sha256, read_settings(config) if config else {}, overrides)
    except (CheckpointError, LayoutError, ConfigError) as error:
        raise WeightsError(f"weights {weights!r}: {error}") from error


def read_trainable(weights: str, vocabulary: Vocabulary) -> tuple[FasterRCNNNetwork, Conventions]:
    """Return a network to train on this vocabulary, and its conventions; a ResNet of torchvision's gets new heads.

    Raises:
        WeightsError: the weights do not fit, tell other classes, or are of a network that is only applied here.
    """
    num_classes, num_attributes = len(vocabulary.classes), len(vocabulary.attributes)
    read = _start_from_trunk(weights, num_classes, num_attributes) or read_weights(weights, {})
    if not isinstance(read.network, FasterRCNNNetwork):
        raise WeightsError(f"weights {weights!r} are torchvision's pyramid, expected a network of one map to train")
    have, want = (num_classes, num_attributes), (read.num_classes, read.num_attributes)
    if have != want:
        raise WeightsError(f"vocabulary has {have} classes and attributes, weights {weights!r} tell {want}")
    if isinstance(read, Weights) and read.names_its_own and read.vocabulary is not None:
        require_same_names(read.vocabulary, vocabulary, f"weights {weights!r}")
    return read.network, read.conventions


def _start_from_trunk(weights: str, num_classes: int, num_attributes: int) -> Published | None:
    path = Path(weights)
    if not path.is_file() or _own_header(path) is not None:
        return None
    try:
        tensors = read_tensors(path)
        return start_from_trunk(tensors, num_classes, num_attributes) if is_trunk(tensors) else None
    except (CheckpointError, LayoutError) as error:
        raise WeightsError(f"weights {weights!r}: {error}") from error


def _find_files(weights: str) -> tuple[Path, Path | None]:
    """Return the file of the tensors, and that of the configuration, if one came with it."""
    path = SHIPPED.get(weights, Path(weights))
    if path.is_file():
        beside = path.with_name(CONFIG_NAME)
        return path, beside if path.name in PUBLISHED_NAMES and beside.is_file() else None
    if path.is_dir():
        for name in PUBLISHED_NAMES:
            if (path / name).is_file():
                return _find_files(str(path / name))
        raise WeightsError(f"weights {weights!r}: a folder without {' or '.join(PUBLISHED_NAMES)}")
    if not HUGGING_FACE_ID.fullmatch(weights):
        question = "".join(f"did you mean {each}? " for each in get_close_matches(weights, SHIPPED, n=1))
        raise WeightsError(
            f"weights {weights!r}: no such file; {question}give a file, one of {sorted(SHIPPED)}, random:SEED, or the "
            "id of a Faster R-CNN on Hugging Face"
        )
    try:
        found = [cached_file(weights, name) for name in (PUBLISHED_NAMES[0], CONFIG_NAME)]
    except OSError as error:
        raise WeightsError(
            f"weights {weights!r}: no such file, and not to be had from Hugging Face ({error})"
        ) from error
    return Path(str(found[0])), Path(str(found[1]))


def _own_header(path: Path) -> str | None:
    """Return what our own files say of themselves; None for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get(HEADER_KEY)
    except SafetensorError:
        return None


def _read_own(weights: str, path: Path, sha256: str, header: str, overrides: Mapping[str, str]) -> Weights:
    try:
        described = parse_json(header)
        architecture = Architecture(**_with_tuples(described["architecture"]))
        stored = Conventions(**_with_tuples(described["conventions"]))
        vocabulary = Vocabulary(**_with_tuples(described["vocabulary"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"weights {weights!r}: the {HEADER_KEY!r} header does not describe them ({error})"
        ) from error
    conventions = override(stored, overrides)
    network = FasterRCNNNetwork(architecture, conventions)
    load_under_their_names(network, read_tensors(path))
    return Weights(
        identity={"name": weights if weights in SHIPPED else path.name, "sha256": sha256},
        network=network,
        conventions=conventions,
        vocabulary=vocabulary,
        num_classes=architecture.num_classes,
        num_attributes=architecture.num_attributes,
        names_its_own=True,
    )


def _read_published(weights: str, path: Path, sha256: str, settings: Settings, overrides: Mapping[str, str]) -> Weights:
    tensors = read_tensors(path)
    read = read_torchvision_pyramid if is_torchvision_pyramid(tensors) else read_published
    published = read(tensors, settings, overrides)
    name = path.name if Path(weights).exists() else weights
    return Weights(
        identity={"name": name, "sha256": sha256, "layout": published.layout},
        network=published.network,
        conventions=published.conventions,
        vocabulary=published.vocabulary,
        num_classes=published.num_classes,
        num_attributes=published.num_attributes,
    )


def save_weights(path: Path, network: FasterRCNNNetwork, conventions: Conventions, vocabulary: Vocabulary) -> None:
    """Write a network in training form as float16 tensors with its header."""
    described = {
        "architecture": asdict(network.architecture),
        "conventions": asdict(conventions),
        "vocabulary": asdict(vocabulary),
    }
    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")  # trained norms count batches; frozen ones do not
    }
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(described, sort_keys=True)})


def random_weights(weights: str, overrides: Mapping[str, str]) -> Weights:
    """Return the full-size network with seeded noise for `random:SEED`: for plumbing and benchmarks only."""
    seed = weights.removeprefix("random:")
    if not seed.isdecimal():
        raise WeightsError(f"weights {weights!r}: expected random:SEED with a whole number, such as random:0")
    conventions = override(Conventions(), overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(seed))
        network = FasterRCNNNetwork(Architecture(), conventions)
        # A residual sum of 33 blocks grows without trained norms; small last norms keep features within float16.
        for name, tensor in network.named_buffers():
            if name.endswith("bn3.weight"):
                tensor.fill_(0.2)
        for layer in (network.cls_score, network.attr_score, network.proposals.head.objectness):
            nn.init.normal_(layer.weight, std=0.01)
    architecture = network.architecture
    return Weights(
        identity={"name": weights},
        network=network,
        conventions=conventions,
        vocabulary=numbered_vocabulary(architecture.num_classes, architecture.num_attributes),
        num_classes=architecture.num_classes,
        num_attributes=architecture.num_attributes,
    )


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with JSON's lists as the tuples they were."""
    return {name: _as_tuple(value) for name, value in values.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def published_folder(weights: str, names: Sequence[str]) -> Path:
    """Return the folder with these files of a model; of one on Hugging Face they are fetched, in one revision.

    Raises:
        OSError: a file is not to be had.
        WeightsError: a new revision appeared while they were fetched.
    """
    folders = {Path(str(cached_file(weights, name))).parent for name in names}
    if len(folders) > 1:
        raise WeightsError(f"weights {weights!r}: {' and '.join(names)} are of two revisions, expected one; run again")
    return folders.pop()


@contextmanager
def digest_while_read(path: Path) -> Iterator[str]:
    """Yield the SHA-256 of a file that the block reads; it is the digest of what was read.

    Raises:
        WeightsError: the file changed meanwhile.
    """
    before = sha256_of(path)
    yield before
    if (after := sha256_of(path)) != before:
        raise WeightsError(
            f"{path}: its SHA-256 was {before} before it was read and {after} after; expected a file that nobody "
            "writes to meanwhile; run again when it is whole"
        )
