"""Files beside each other, and `digests.json` with the SHA-256 of each: one that has changed is refused by name."""

from collections.abc import Collection, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from annotations.guards.plain_json import parse_json
from detectors.digests import sha256_of
from stores.atomic import write_json
from stores.errors import DamagedFileError
from stores.manifest import fingerprint

DIGESTS = "digests.json"


def write_digests(folder: Path, files: Mapping[str, Path]) -> None:
    """`folder` has the digests of files by the names that they have, or will have, there."""
    digests = {name: sha256_of(path) for name, path in files.items()}
    write_json(folder / DIGESTS, {"sha256": digests, "checksum": fingerprint(digests)})


def has_digests(folder: Path) -> bool:
    """Return whether the files of `folder` can be checked; older versions wrote no digests."""
    return (folder / DIGESTS).is_file()


def require_unchanged(folder: Path, names: Collection[str], *, advice: str) -> None:
    """These files of `folder`, as far as they are there, are as they were written; without digests nothing is checked.

    Raises:
        DamagedFileError: one is not, or the digests are not readable; names it.
    """
    if not has_digests(folder):
        return
    recorded = _read(folder / DIGESTS, advice)
    for name in sorted(names):
        path = folder / name
        if name not in recorded:
            raise DamagedFileError(folder / DIGESTS, found=f"no digest of {name}", expected="one", advice=advice)
        if path.is_file() and (found := sha256_of(path)) != recorded[name]:
            raise DamagedFileError(path, found=f"SHA-256 {found}", expected=recorded[name], advice=advice)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """`path` holds the tensors as safetensors, readable by whom other new files are; safetensors' own are by nobody."""
    path.touch()
    mode = path.stat().st_mode
    save_file(dict(tensors), path, metadata=metadata)
    path.chmod(mode)


def _read(path: Path, advice: str) -> dict[str, str]:
    try:
        match parse_json(path.read_text(encoding="utf-8")):
            case {"sha256": dict(recorded), "checksum": checksum} if checksum == fingerprint(recorded):
                return recorded
    except ValueError as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="JSON", advice=advice) from error
    raise DamagedFileError(path, found="edited", expected="digests with their checksum", advice=advice)
