"""Weights that others published, or that go to them: where they are, what is in them, and which name is which of ours.

Nothing that a file contains is executed: safetensors, or `torch.load(weights_only=True)`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.utils import cached_file

from annotations.guards.drops import DataError
from annotations.guards.shown import shown
from detectors.digests import sha256_of
from detectors.weights.checkpoint_files import read_torch
from stores.atomic import replacing
from training.runs.kept_files import require_unchanged, save_tensors

WEIGHTS, PICKLED, CONFIG = "model.safetensors", "pytorch_model.bin", "config.json"
EXPORTED = (WEIGHTS, CONFIG, "tokenizer.json", "answers.json")
"""What vinculum-train export writes beside each other, with digests."""

Renaming = Sequence[tuple[str, str]]
"""Parts of our names and theirs, which are replaced in a name in this order."""

BERT_LAYER: Renaming = (
    (".self_attention.attention.", ".attention.self."),
    (".self_attention.", ".attention."),
    (".query_key_value.", ".query+key+value."),
    (".feed_forward.dense.", ".intermediate.dense."),
    (".feed_forward.output.", ".output."),
    (".norm.", ".LayerNorm."),
)
"""Parts of a layer, which all have from BERT."""

_FUSED, _SPLIT = "query+key+value", ("query", "key", "value")


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """A file of weights."""

    path: Path
    config: Path | None
    """The config.json that belongs to it; it may be that of another program."""
    tensors: Mapping[str, Tensor]
    """Under the names that they have there."""

    @property
    def sha256(self) -> str:
        return sha256_of(self.path)


def read_published(source: str | Path) -> Published:
    """Return the weights at `source`: a file, a folder in Hugging Face's layout, or a repository's name on its hub.

    Raises:
        DataError: there is no such thing, or it is damaged or holds more than tensors.
    """
    config, path = _find(str(source))
    kept = [each for each in EXPORTED if (path.parent / each).is_file()]
    require_unchanged(path.parent, kept, advice="export it again, or bring a whole copy")
    return Published(path=path, config=config, tensors=_read_tensors(path))


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """`folder` holds the tensors as safetensors."""
    # Parts of one tensor share its memory, which safetensors refuses.
    apart = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_tensors(apart, temporary, metadata={"format": "pt"})


def their_name(ours: str, renaming: Renaming) -> str:
    """Return the name that a weight of ours has there, or `query+key+value` in it for three."""
    for part, theirs in renaming:
        ours = ours.replace(part, theirs)
    return ours


def split(ours: str, tensor: Tensor, renaming: Renaming) -> list[tuple[str, Tensor]]:
    """Return a tensor of ours under the one name it has there, or its three parts under theirs."""
    name = their_name(ours, renaming)
    if _FUSED not in name:
        return [(name, tensor)]
    return [(name.replace(_FUSED, part), tensor) for part, tensor in zip(_SPLIT, tensor.chunk(3), strict=True)]


def in_our_names(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    renaming: Renaming,
    *,
    source: str,
    left_behind: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Return `expected`, whose values may be without content, with the values of `found`, as float32.

    Args:
        found: by their names.
        expected: by ours.
        source: what the tensors were found in and should be, for the error.
        left_behind: how names begin that may be there and are not expected.

    Raises:
        DataError: tensors are missing, left over or of another shape; lists them.
    """
    shapes = {
        name: list(part.shape) for ours, tensor in expected.items() for name, part in split(ours, tensor, renaming)
    }
    problems = {
        "missing": sorted(set(shapes) - set(found)),
        "left over": sorted(name for name in set(found) - set(shapes) if not name.startswith(left_behind)),
        "of another shape": [
            f"{name} {list(found[name].shape)} instead of {shape}"
            for name, shape in shapes.items()
            if name in found and list(found[name].shape) != shape
        ],
    }
    if any(problems.values()):
        told = "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names)
        raise DataError(f"{source}; {told}")
    return {
        ours: torch.cat([found[name] for name, _ in split(ours, tensor, renaming)]).float()
        for ours, tensor in expected.items()
    }


def require_layers(path: Path, shape: object, tensors: Mapping[str, Tensor]) -> None:
    """The encoder has no more layers than there are tensors; building billions of them would not end.

    Raises:
        DataError: it has.
    """
    told = sum(value for field, value in vars(shape).items() if field.endswith("layers"))
    if told > len(tensors):
        raise DataError(
            f"{path}: describes {shown(told)} layers, expected at most {len(tensors)}, as many as there are tensors; "
            "bring the config that belongs to the weights"
        )


def without_tied(path: Path, found: Mapping[str, Tensor], *, decoder: str, table: str) -> dict[str, Tensor]:
    """Return the tensors without the decoder of words, which is the table of their embeddings.

    Raises:
        DataError: it is another one.
    """
    if decoder in found and table in found and not torch.equal(found[decoder], found[table]):
        raise DataError(f"{path}: the decoder of words is not the table of word embeddings, expected them to be tied")
    return {name: tensor for name, tensor in found.items() if name != decoder}


def has(names: Iterable[str], beginning: str) -> bool:
    """Return whether one of the names begins so."""
    return any(name.startswith(beginning) for name in names)


def some(names: Sequence[str], most: int = 12) -> str:
    """Return the first of the names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _find(source: str) -> tuple[Path | None, Path]:
    """Return where config, if there is one, and weights are on disk; those of the hub are brought there first."""
    path = Path(source)
    if path.is_file():
        beside = path.with_name(CONFIG)
        return (beside if beside.is_file() else None), path
    try:
        config = Path(str(cached_file(source, CONFIG)))
        try:
            return config, Path(str(cached_file(source, WEIGHTS)))
        except OSError:
            return config, Path(str(cached_file(source, PICKLED)))
    except OSError as error:
        raise DataError(f"{source}: expected {CONFIG} and {WEIGHTS} or {PICKLED} there ({error})") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = read_torch(path)
    except Exception as error:  # what a damaged file brings about has no class in common
        raise DataError(f"{path}: damaged, or holds more than tensors, of which nothing was run ({error})") from error
    if not isinstance(content, Mapping) or not all(isinstance(each, Tensor) for each in content.values()):
        raise DataError(f"{path}: holds a {type(content).__name__}, expected a state dict: names and tensors alone")
    return dict(content)
