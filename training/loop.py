"""The training loop, which pre-training and fine-tuning share; it knows nothing of Ray.

A step draws its random numbers from the seed, the step and the rank alone, so that a run that goes on from a checkpoint
computes what it would have computed.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.optimizers import Optimization, set_learning_rate
from training.recipes import Precision
from training.records import Batch


class LoopError(RuntimeError):
    """Training can not go on; the message says at which step and on which sentences."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step gave."""

    step: int
    """Counted from 1."""
    terms: dict[str, float]
    """Loss terms, not weighted."""
    loss: float
    """Their weighted sum, which is learnt from."""
    gradient_norm: float
    learning_rate: float
    num_pairs: int
    """Of this rank."""
    seconds: float
    """Of the whole step, waiting for data included."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """One rank's loop over steps."""

    model: nn.Module
    """Maps a batch to named loss terms; DistributedDataParallel where there are several ranks."""
    optimizer: torch.optim.Optimizer
    optimization: Optimization
    weights: Callable[[int], Mapping[str, float]]
    """The weight of every term at a step."""
    num_steps: int
    """Of the whole run, for the schedule."""
    precision: Precision
    device: torch.device
    seed: int
    rank: int = 0
    average: AveragedModel | None = None

    def run(self, parts_of_steps: Iterable[Sequence[Batch]], first: int, on_step: Callable[[StepReport], None]) -> None:
        """Take one step for each of the iterable's entries; the first is step `first`, counted from 0.

        Raises:
            LoopError: a loss or the gradient is not finite; the weights are those of the step before.
        """
        self.model.train()
        started = time.perf_counter()
        for step, parts in enumerate(parts_of_steps, start=first):
            report = self._step(step, parts, started)
            started = time.perf_counter()
            on_step(report)

    def _step(self, step: int, parts: Sequence[Batch], started: float) -> StepReport:
        torch.manual_seed((self.seed * 1_000_003 + step) * 4099 + self.rank)
        learning_rate = set_learning_rate(self.optimizer, self.optimization, step, self.num_steps)
        self.optimizer.zero_grad(set_to_none=True)
        weights, summed = self.weights(step), dict[str, Tensor]()
        for number, part in enumerate(parts, start=1):
            with self._without_sync(last=number == len(parts)), self._autocast():
                terms = self.model(part.to(self.device))
                loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum() / len(parts)
                loss.backward()
            for name, term in terms.items():
                summed[name] = summed.get(name, 0) + term.detach() / len(parts)
        # Without a limit nothing is clipped, but the norm is still known.
        limit = self.optimization.clip or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        told = dict(zip(summed, torch.stack([*summed.values()]).tolist(), strict=True))
        total = sum(weights[name] * value for name, value in told.items())
        if not (torch.isfinite(norm) and all(map(_is_finite, told.values()))):
            raise LoopError(_not_finite(step, told, float(norm), parts))
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(_unwrapped(self.model))
        return StepReport(
            step=step + 1,
            terms=told,
            loss=total,
            gradient_norm=float(norm),
            learning_rate=learning_rate,
            num_pairs=sum(map(len, parts)),
            seconds=time.perf_counter() - started,
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def _without_sync(self, *, last: bool) -> AbstractContextManager[object]:
        """Ranks exchange their gradients once a step, with the last part."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


def make_average(model: nn.Module, optimization: Optimization) -> AveragedModel | None:
    """Return the moving average of the model's weights that the recipe asks for."""
    if not optimization.ema:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(optimization.ema))


def memory_mb(device: torch.device) -> float:
    """Return the largest memory so far: of the GPU if there is one, else what this process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return float(psutil.Process().memory_info().rss) / 1e6


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")


def _not_finite(step: int, terms: Mapping[str, float], norm: float, parts: Sequence[Batch]) -> str:
    ids = [sentence_id for part in parts for sentence_id in part.sentence_ids]
    shown = ", ".join(ids[:20]) + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")
    losses = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    return (
        f"step {step + 1}: losses are {losses}, the gradient's norm is {norm:g}; expected finite numbers. Sentences: "
        f"{shown}. The last checkpoint is good; try a lower learning rate or float32"
    )
