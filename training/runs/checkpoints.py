"""Checkpoints: a run's weights, its optimizer and where in the data it is; whole, or not there.

RUN/checkpoints/step-00002000/model.safetensors      the weights, float32
                              average.safetensors    their moving average, where one is kept
                              optimizer.safetensors  exp_avg.NAME, exp_avg_sq.NAME, step.NAME; momentum_buffer.NAME
                              state.json             the step, the SHA-256 of the files and of the run's recipe,
                                                     and of all that a checksum

A folder is written aside, synced and renamed: a run that is killed at any instant has its last whole checkpoint. No
random state is kept: what a step draws depends on the seed and the step alone.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from annotations.guards.plain_json import parse_json
from detectors.digests import sha256_of
from stores.atomic import sync
from stores.errors import DamagedFileError, StoreError
from training.runs.kept_files import save_tensors

FOLDER_NAME = "checkpoints"
_RECIPE = "recipe.json"
"""Recipe of the run that a checkpoint belongs to; written once, before the first checkpoint."""
MODEL, AVERAGE, OPTIMIZER, STATE = "model.safetensors", "average.safetensors", "optimizer.safetensors", "state.json"

_ADAM, _SGD = ("exp_avg", "exp_avg_sq", "step"), ("momentum_buffer",)
_NAME = re.compile(r"step-(\d{8,})")
_ADVICE = "remove this checkpoint, and the run goes on from the one before, or begins again"


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
            save_tensors(tensors, temporary / name)
            sync(temporary / name)
        state = {"step": step, "sha256": {name: sha256_of(temporary / name) for name in files}, **_recipe_of(run)}
        checked = state | {"checksum": _checksum(state)}
        (temporary / STATE).write_text(json.dumps(checked, indent=1) + "\n", encoding="utf-8")
        sync(temporary / STATE)
        sync(temporary)
        if folder.exists():  # of the same step, from a run that was sent back
            _remove(folder)
        temporary.rename(folder)
        sync(parent)
    except (SafetensorError, OSError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise OSError(f"{folder} cannot be written: {error}; the checkpoints before are whole") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in list_checkpoints(run)[:-keep]:
        _remove(old.folder)
    return Checkpoint(folder=folder, step=step)


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """Return the run's whole checkpoints, the newest last."""
    names = ((folder, _NAME.fullmatch(folder.name)) for folder in (run / FOLDER_NAME).glob("step-*"))
    found = [Checkpoint(folder=folder, step=int(name[1])) for folder, name in names if name]
    return sorted(found, key=lambda each: each.step)


def latest_checkpoint(place: Path) -> Checkpoint:
    """Return the newest checkpoint of a run, or the one that `place` itself is.

    Raises:
        StoreError: there is none.
    """
    if (place / STATE).is_file():
        return Checkpoint(folder=place, step=_read_state(place)[0])
    checkpoints = list_checkpoints(place)
    if not checkpoints:
        raise StoreError(f"{place}: no checkpoint there, expected {place / FOLDER_NAME / 'step-...'} or a checkpoint")
    return checkpoints[-1]


def load_weights(checkpoint: Checkpoint, module: nn.Module, *, prefix: str = "", average: bool = False) -> None:
    """The module has the checkpoint's weights; with a prefix, those below it, such as `encoder.`.

    Raises:
        StoreError: an average is asked for, but the run keeps none.
        DamagedFileError: a file is cut, changed or of another network; names the weights that do not fit.
    """
    if average and AVERAGE not in _read_state(checkpoint.folder)[1]:
        raise StoreError(f"{checkpoint.folder}: its run keeps no moving average of the weights; leave --average out")
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
            path,
            found=f"weights of another network: {'; '.join(wrong[:5])} ({len(wrong)} in all)",
            expected="its own",
            advice="use a checkpoint of the same recipe",
        )
    module.load_state_dict(tensors)


def load_optimizer(checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The optimizer goes on where the checkpoint was written.

    Raises:
        DamagedFileError: the file is cut, changed or of another network.
    """
    path = checkpoint.folder / OPTIMIZER
    tensors = read_tensors(path)
    names = _moments(optimizer)
    for name, weight in model.named_parameters():
        moments = {moment: tensors.pop(f"{moment}.{name}", None) for moment in names}
        found = {moment: each for moment, each in moments.items() if each is not None}
        if not found:
            continue  # a weight that has had no gradient yet
        if len(found) < len(names) or found[names[0]].shape != weight.shape:
            raise DamagedFileError(path, found=f"another network's state of {name}", expected="its own", advice=_ADVICE)
        optimizer.state[weight] = {moment: _beside(weight, each) for moment, each in found.items()}
    if tensors:
        raise DamagedFileError(
            path, found=f"state of another network: {min(tensors)} is left over", expected="its own", advice=_ADVICE
        )


def require_whole(checkpoint: Checkpoint) -> None:
    """Its weights are as they were written.

    Raises:
        DamagedFileError: the file is missing, cut or changed.
    """
    _require_unchanged(checkpoint.folder / MODEL)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of one file of a checkpoint, having checked it against its SHA-256.

    Raises:
        DamagedFileError: it is missing, cut, changed, or no safetensors file.
    """
    _require_unchanged(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="safetensors", advice=_ADVICE) from error
    return tensors


def _require_unchanged(path: Path) -> None:
    recorded = _read_state(path.parent)[1].get(path.name)
    if recorded is None or not path.is_file():
        raise DamagedFileError(path, found="missing", expected="a file of the checkpoint", advice=_ADVICE)
    if (found := sha256_of(path)) != recorded:
        raise DamagedFileError(path, found=f"SHA-256 {found}", expected=recorded, advice=_ADVICE)


def _read_state(folder: Path) -> tuple[int, dict[str, str]]:
    """Return the step, and the SHA-256 of every file."""
    path = folder / STATE
    try:
        match parse_json(path.read_text(encoding="utf-8")):
            case {"step": int(step), "sha256": dict(checksums), **more}:
                recipe = {"recipe": more.pop("recipe")} if "recipe" in more else {}
                _require_as_written(path, {"step": step, "sha256": checksums, **recipe}, more)
                _require_same_run(path, recipe)
                return step, checksums
    except (FileNotFoundError, ValueError) as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="JSON", advice=_ADVICE) from error
    raise DamagedFileError(path, found="something else", expected="step and sha256", advice=_ADVICE)


def _require_as_written(path: Path, state: Mapping[str, Any], more: Mapping[Any, Any]) -> None:
    """The state is as it was written; older versions wrote no checksum, but the step in the folder's name, too."""
    named = _NAME.fullmatch(path.parent.name)
    if named and int(named[1]) != state["step"]:
        raise DamagedFileError(path, found=f"step {state['step']}", expected=str(int(named[1])), advice=_ADVICE)
    if more and more != {"checksum": _checksum(state)}:
        raise DamagedFileError(path, found=f"{more}", expected=f"checksum {_checksum(state)}", advice=_ADVICE)


def _require_same_run(path: Path, recorded: Mapping[str, Any]) -> None:
    """The checkpoint was written by the run in whose folder it lies; older versions did not record that."""
    found = _recipe_of(path.parent.parent.parent)
    if recorded and found and recorded != found:
        raise DamagedFileError(
            path, found=f"a checkpoint of recipe {recorded['recipe']}", expected=f"its run's, {found['recipe']}",
            advice=_ADVICE,
        )  # fmt: skip


def _recipe_of(run: Path) -> dict[str, str]:
    """Return the SHA-256 of the run's recipe as `recipe`; empty where the folder has none."""
    path = run / _RECIPE
    return {"recipe": sha256_of(path)} if path.is_file() else {}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.detach().cpu().contiguous() for name, each in tensors.items()}


def _moments(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    return _SGD if isinstance(optimizer, torch.optim.SGD) else _ADAM


def _beside(weight: nn.Parameter, moment: Tensor) -> Tensor:
    """Return the moment where its weight is and, as the fused optimizers want it, in the same memory order."""
    if moment.shape != weight.shape:  # the number of steps
        return moment.to(weight.device)
    return torch.empty_like(weight, dtype=moment.dtype).copy_(moment)


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{moment}.{name}": optimizer.state[weight][moment].detach().cpu().contiguous()
        for name, weight in model.named_parameters()
        if weight in optimizer.state
        for moment in _moments(optimizer)
    }


def _remove(folder: Path) -> None:
    """The checkpoint is gone; killed half-way, what is left of it is no checkpoint."""
    leftover = folder.with_name(f".{folder.name}.old.tmp")
    folder.rename(leftover)
    shutil.rmtree(leftover)


def _remove_leftovers(parent: Path) -> None:
    """What a killed run was writing or removing is gone."""
    for path in parent.glob(".step-*.tmp"):
        shutil.rmtree(path)


def _checksum(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
