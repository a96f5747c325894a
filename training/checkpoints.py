"""Checkpoints: a run's weights, its optimizer and where in the data it is; whole, or not there.

RUN/checkpoints/step-00002000/model.safetensors      the weights, float32
                              average.safetensors    their moving average, where one is kept
                              optimizer.safetensors  exp_avg.NAME, exp_avg_sq.NAME, step.NAME
                              state.json             the step, and the SHA-256 of the files

A folder is written aside, synced and renamed: a run that is killed at any instant has its last whole checkpoint. No
random state is kept: what a step draws depends on the seed and the step alone.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stores.errors import DamagedFileError, StoreError

FOLDER_NAME = "checkpoints"
MODEL, AVERAGE, OPTIMIZER, STATE = "model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One that is on disk."""

    folder: Path
    step: int
    """Steps that were done."""


def save_checkpoint(
    run: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    average: Mapping[str, Tensor] | None = None,
    keep: int = 2,
) -> Checkpoint:
    """The run has this checkpoint, whole and on disk, and no more than the `keep` newest.

    Raises:
        OSError: the disk is full, the directory is read-only ...; the checkpoints before are as they were.
    """
    parent = run / FOLDER_NAME
    parent.mkdir(parents=True, exist_ok=True)
    folder, temporary = parent / f"step-{step:08d}", parent / f".step-{step:08d}.tmp"
    _remove_leftovers(parent)
    temporary.mkdir()
    try:
        files = {MODEL: _contiguous(model.state_dict())}
        if average is not None:
            files[AVERAGE] = _contiguous(average)
        if optimizer is not None:
            files[OPTIMIZER] = _optimizer_tensors(model, optimizer)
        for name, tensors in files.items():
            save_file(tensors, temporary / name)
            _sync(temporary / name)
        state = {"step": step, "sha256": {name: _sha256(temporary / name) for name in files}}
        (temporary / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        _sync(temporary / STATE)
        _sync(temporary)
        if folder.exists():  # of the same step, from a run that was sent back
            shutil.rmtree(folder)
        temporary.rename(folder)
        _sync(parent)
    except SafetensorError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f"{folder} can not be written: {error}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in list_checkpoints(run)[:-keep]:
        shutil.rmtree(old.folder)
    return Checkpoint(folder=folder, step=step)


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the run's whole checkpoints, the newest last."""
    found = sorted((run / FOLDER_NAME).glob("step-*"))
    return [Checkpoint(folder=folder, step=int(folder.name.removeprefix("step-"))) for folder in found]


def latest_checkpoint(place: Path) -> Checkpoint:
    """Return the newest checkpoint of a run, or the one that `place` itself is.

    Raises:
        StoreError: there is none.
    """
    if (place / STATE).is_file():
        return Checkpoint(folder=place, step=int(place.name.removeprefix("step-")))
    checkpoints = list_checkpoints(place)
    if not checkpoints:
        raise StoreError(f"{place}: no checkpoint there, expected {place / FOLDER_NAME / 'step-...'} or a checkpoint")
    return checkpoints[-1]


def load_weights(checkpoint: Checkpoint, module: nn.Module, *, prefix: str = "", average: bool = False) -> None:
    """The module has the checkpoint's weights; with a prefix, those below it, such as `encoder.`.

    Raises:
        DamagedFileError: a file is cut, changed or of another network; names the weights that do not fit.
    """
    path = checkpoint.folder / (AVERAGE if average else MODEL)
    tensors = {name.removeprefix(prefix): each for name, each in read_tensors(path).items() if name.startswith(prefix)}
    wanted = module.state_dict()
    wrong = [
        *(f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())),
        *(f"{name} is left over" for name in sorted(tensors.keys() - wanted.keys())),
        *(
            f"{name} is {list(tensors[name].shape)}, expected {list(wanted[name].shape)}"
            for name in sorted(wanted.keys() & tensors.keys())
            if tensors[name].shape != wanted[name].shape
        ),
    ]
    if wrong:
        raise DamagedFileError(
            path, found=f"weights of another network: {'; '.join(wrong[:5])} ({len(wrong)} in all)", expected="its own"
        )
    module.load_state_dict(tensors)


def load_optimizer(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer goes on where the checkpoint was written.

    Raises:
        DamagedFileError: the file is cut, changed or of another network.
    """
    path = checkpoint.folder / OPTIMIZER
    tensors = read_tensors(path)
    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue
        moments = {moment: tensors.get(f"{moment}.{name}") for moment in _MOMENTS}
        if any(each is None for each in moments.values()):
            raise DamagedFileError(path, found=f"no state of {name}", expected="that of every weight")
        optimizer.state[weight] = {
            moment: each.to(weight.device) for moment, each in moments.items() if each is not None
        }


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file of a checkpoint, having checked it against its SHA-256.

    Raises:
        DamagedFileError: it is missing, cut, changed, or no safetensors file.
    """
    state = _read_state(path.parent)
    recorded = state.get("sha256", {}).get(path.name)
    if recorded is None or not path.is_file():
        raise DamagedFileError(path, found="missing", expected="a file of the checkpoint")
    if (found := _sha256(path)) != recorded:
        raise DamagedFileError(path, found=f"SHA-256 {found}", expected=recorded)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="safetensors") from error
    return tensors


def _read_state(folder: Path) -> dict[str, dict[str, str]]:
    try:
        state: dict[str, dict[str, str]] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise DamagedFileError(folder / STATE, found=f"unreadable ({error})", expected="JSON") from error
    return state


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach().cpu().contiguous() for name, each in tensors.items()}


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{moment}.{name}": optimizer.state[weight][moment].detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if weight in optimizer.state
        for moment in _MOMENTS
    }


def _remove_leftovers(parent: Path) -> None:
    """What a killed run was writing is gone."""
    for path in parent.glob(".step-*.tmp"):
        shutil.rmtree(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
