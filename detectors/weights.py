"""Weights of the Faster R-CNN: our own safetensors files, which carry their conventions, or seeded noise.

A file's header holds, under `vinculum`, JSON of the architecture, the conventions and the vocabulary, so that weights
can not be applied in a way they were not trained for unless the user says so. Nothing a file contains is executed.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from detectors.faster_rcnn import Conventions, FasterRCNNDetector
from detectors.faster_rcnn_network import Architecture, FasterRCNNNetwork, optimise_for_inference
from detectors.precision import resolve_precision
from detectors.vocabulary import Vocabulary, numbered_vocabulary

SHIPPED = {"toyworld": Path(__file__).with_name("toyworld.safetensors")}
HEADER_KEY = "vinculum"


class WeightsError(ValueError):
    """Weights that are absent, of another architecture, or not ours; the message says which."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """A network in training form with all that came with it."""

    identity: dict[str, str]
    """`name`, and `sha256` where there is a file."""
    network: FasterRCNNNetwork
    conventions: Conventions
    vocabulary: Vocabulary


def load_faster_rcnn(
    weights: str,
    *,
    overrides: Mapping[str, str] | None = None,
    min_boxes: int = 36,
    max_boxes: int = 36,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    device: torch.device | None = None,
    vocabulary: Vocabulary | None = None,
) -> FasterRCNNDetector:
    """Return a detector ready to run; `weights` is a path, `toyworld`, or `random:SEED`.

    Raises WeightsError when the weights do not fit, ValueError for an unknown or ill-typed override.
    """
    device = device or torch.device("cpu")
    loaded = read_weights(weights, overrides or {})
    if vocabulary is not None:
        _check_vocabulary(vocabulary, loaded.network.architecture)
    return FasterRCNNDetector(
        network=optimise_for_inference(loaded.network, resolve_precision(precision, device), device),
        conventions=loaded.conventions,
        vocabulary=vocabulary or loaded.vocabulary,
        weights=loaded.identity,
        min_boxes=min_boxes,
        max_boxes=max_boxes,
        device=device,
    )


def read_weights(weights: str, overrides: Mapping[str, str]) -> Weights:
    """Return the network that `weights` names, with the conventions of its file as overridden."""
    if weights.startswith("random:"):
        return random_weights(weights, overrides)
    path = SHIPPED.get(weights, Path(weights))
    if not path.is_file():
        raise WeightsError(
            f"weights {weights!r}: no such file; give a .safetensors file, one of {sorted(SHIPPED)}, or random:SEED"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise WeightsError(f"weights {weights!r}: not a readable safetensors file ({error})") from error
    if header is None:
        raise WeightsError(f"weights {weights!r}: the file has no {HEADER_KEY!r} header; expected our own format")
    try:
        described = json.loads(header)
        architecture = Architecture(**_with_tuples(described["architecture"]))
        stored = Conventions(**_with_tuples(described["conventions"]))
        vocabulary = Vocabulary(**_with_tuples(described["vocabulary"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"weights {weights!r}: the {HEADER_KEY!r} header does not describe them ({error})"
        ) from error
    conventions = override(stored, overrides)
    network = FasterRCNNNetwork(architecture, conventions)
    _load(weights, network, tensors)
    return Weights(
        identity={"name": weights if weights in SHIPPED else path.name, "sha256": _sha256(path)},
        network=network,
        conventions=conventions,
        vocabulary=vocabulary,
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
    )


def override(conventions: Conventions, overrides: Mapping[str, str]) -> Conventions:
    """Return the conventions with `name=text` pairs set, each text read as the field's type."""
    types = {field.name: field.type for field in fields(conventions)}
    for name in overrides:
        if name not in types:
            raise ValueError(f"convention {name!r} is unknown; known: {', '.join(sorted(types))}")
    parsed = {name: _parse(name, text, types[name]) for name, text in overrides.items()}
    return replace(conventions, **parsed)


def _parse(name: str, text: str, wanted: Any) -> Any:
    if get_origin(wanted) is Literal:
        if text not in get_args(wanted):
            raise ValueError(f"convention {name} is {text!r}, expected one of {', '.join(get_args(wanted))}")
        return text
    try:
        if get_origin(wanted) is tuple:
            return tuple(float(part) for part in text.split(","))
        return wanted(text)
    except ValueError as error:
        raise ValueError(f"convention {name} is {text!r}, expected {wanted}") from error


def _load(weights: str, network: FasterRCNNNetwork, tensors: dict[str, Tensor]) -> None:
    expected = network.state_dict()
    missing, left_over = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or left_over:
        raise WeightsError(f"weights {weights!r}: missing tensors {missing}, left-over tensors {left_over}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"weights {weights!r}: {name} is {list(tensor.shape)}, expected {list(expected[name].shape)}"
            )
    network.load_state_dict(tensors)


def _check_vocabulary(vocabulary: Vocabulary, architecture: Architecture) -> None:
    have = (len(vocabulary.classes), len(vocabulary.attributes))
    want = (architecture.num_classes, architecture.num_attributes)
    if have != want:
        raise WeightsError(f"vocabulary has {have} classes and attributes, the weights expect {want}")


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with JSON's lists as the tuples they were."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
