"""The training loop, which pre-training and fine-tuning share; it knows nothing of Ray.

A part of a step draws its random numbers from the seed, the step and its own number among the parts of all ranks alone:
a run that goes on from a checkpoint computes what it would have computed, and two ranks compute what one does in two
parts. A step's loss and gradient are means over parts. Terms that each pair has a share of are the same in however many
parts; those that are means over masked words, or over pairs with an answer, weigh each part alike, whatever it has.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.execution.errors import LoopError
from training.runs.optimizers import Optimization, set_learning_rate
from training.runs.recipes import Precision


class Part(Protocol):
    """What one rank computes at once: a `Batch` of sentences, or a detector's of images."""

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self: ...

    def names(self) -> Sequence[str]:
        """Return what a person knows each row by."""

    def broken(self) -> Sequence[str]:
        """Return the rows whose inputs are not finite, and why."""

    def skipped(self) -> Sequence[str]:
        """Return the images that gave no picture and have others in their place, and why."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step gave."""

    step: int
    """Counted from 1."""
    terms: dict[str, float]
    """Loss terms, not weighted; means over the parts of all ranks."""
    loss: float
    """Their weighted sum, which is learnt from."""
    gradient_norm: float
    learning_rate: float
    num_pairs: int
    """Pairs of this rank."""
    seconds: float
    """Seconds of the whole step, waiting for data included."""
    skipped_images: tuple[str, ...] = ()
    """Images of all ranks that cannot be decoded, with the reason."""
    is_stopped: bool = False
    """Whether some rank was asked to stop after this step; all ranks then do."""


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
    """Steps of the whole run, for the schedule."""
    precision: Precision
    device: torch.device
    seed: int
    rank: int = 0
    num_ranks: int = 1
    average: AveragedModel | None = None
    stop_is_asked: Callable[[], bool] = lambda: False
    """Is asked once a step. Ranks may see a request at different steps; the first that does decides for all."""

    def run(self, parts_of_steps: Iterable[Sequence[Part]], first: int, on_step: Callable[[StepReport], None]) -> None:
        """Take one step for each of the iterable's entries, the first of which is step `first`, counted from 0.

        It ends early after a step at which a stop is asked for.

        Raises:
            LoopError: a loss or the gradient is not finite; the weights are those of the step before.
        """
        self.model.train()
        started = time.perf_counter()
        for step, parts in enumerate(parts_of_steps, start=first):
            report = self._step(step, parts, started)
            started = time.perf_counter()
            on_step(report)
            if report.is_stopped:
                return

    def _step(self, step: int, parts: Sequence[Part], started: float) -> StepReport:
        learning_rate = set_learning_rate(self.optimizer, self.optimization, step, self.num_steps)
        self.optimizer.zero_grad(set_to_none=True)
        weights, summed = self.weights(step), dict[str, Tensor]()
        for number, part in enumerate(parts):
            seed_part(self.seed, step, self.rank + number * self.num_ranks)
            with self._without_sync(last=number == len(parts) - 1):
                with self._autocast():
                    terms = self.model(part.to(self.device))
                    loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum() / len(parts)
                loss.backward()
            for name, term in terms.items():
                summed[name] = summed.get(name, 0) + term.detach() / len(parts)
        # Without a limit nothing is clipped, but the norm is still known.
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.optimization.clip or math.inf)
        skipped = [image for part in parts for image in part.skipped()]
        counts = norm.new_tensor([len(skipped), self.stop_is_asked()])
        *values, norm, num_skipped, num_asked = self._over_ranks(
            torch.cat([torch.stack([*summed.values(), norm]), counts])
        ).tolist()
        told = dict(zip(summed, values, strict=True))
        if not all(map(math.isfinite, (*values, norm))):  # of all ranks together, so that they stop together
            raise LoopError(_not_finite(step, told, norm, self._suspects(parts)))
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(_unwrapped(self.model))
        return StepReport(
            step=step + 1,
            terms=told,
            loss=sum(weights[name] * value for name, value in told.items()),
            gradient_norm=norm,
            learning_rate=learning_rate,
            num_pairs=sum(map(len, parts)),
            seconds=time.perf_counter() - started,
            skipped_images=tuple(self._of_all_ranks(skipped)) if num_skipped else (),
            is_stopped=num_asked > 0,
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

    def _over_ranks(self, values: Tensor) -> Tensor:
        """Return the mean over ranks; not finite if one of them is not."""
        if self.num_ranks > 1:
            dist.all_reduce(values)
        return values / self.num_ranks

    def _suspects(self, parts: Sequence[Part]) -> list[str]:
        """Return what is broken in the parts of all ranks, or all that is in them if nothing is."""
        broken = self._of_all_ranks([row for part in parts for row in part.broken()])
        return broken or self._of_all_ranks([row for part in parts for row in part.names()])

    def _of_all_ranks(self, names: list[str]) -> list[str]:
        """Return the names of all ranks, those of the first rank first; all ranks ask at once."""
        if self.num_ranks == 1:
            return names
        gathered: list[list[str]] = [names] * self.num_ranks
        dist.all_gather_object(gathered, names)
        return [name for each in gathered for name in each]


def seed_part(seed: int, step: int, part: int) -> None:
    """What torch draws from here on depends on these three alone."""
    (state,) = np.random.SeedSequence([seed, step, part]).generate_state(1, np.uint64)
    torch.manual_seed(int(state))


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


def _not_finite(step: int, terms: Mapping[str, float], norm: float, suspects: Sequence[str]) -> str:
    shown = ", ".join(suspects[:20]) + (f" and {len(suspects) - 20} more" if len(suspects) > 20 else "")
    losses = ", ".join(f"{name} {value:g}" for name, value in terms.items())
    return (
        f"step {step + 1}: losses are {losses}, the gradient's norm is {norm:g}; expected finite numbers, on "
        f"{shown}. Checkpoints hold what was before; try a lower learning rate or float32"
    )
