"""Optimizers and learning-rate schedules of the papers, on torch's fused AdamW and SGD.

Axes: none; weights are updated in place.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

OptimizerName = Literal["bert-adam", "adamw", "sgd"]
ScheduleName = Literal["linear", "cosine", "constant", "steps"]

TRUNK = "encoder.trunk."
"""How the names of a trunk's weights begin."""


@dataclass(frozen=True, kw_only=True)
class Optimization:
    """How weights learn."""

    optimizer: OptimizerName = "bert-adam"
    """bert-adam: AdamW without bias correction, decay on all weights, norms and biases too; as LXMERT was trained. sgd:
    with momentum, which is the first of `betas`."""
    learning_rate: float = 1e-4
    """The schedule's peak."""
    trunk_scale: float = 1.0
    """Times this is the learning rate of a trunk, which makes cells of pixels; 0.1 in visual parsing."""
    schedule: ScheduleName = "linear"
    """linear: up over the warm-up, down to 0 at the end; cosine: down in half a cosine; constant: up, then on; steps:
    times `step_factor` at each of `step_at`."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises from 0."""
    warmup_steps: int | None = None
    """So many steps instead, but half of all at most."""
    step_at: tuple[float, ...] = ()
    """Shares of the steps."""
    step_factor: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-6
    weight_decay: float = 0.01
    """Decoupled, but for sgd."""
    clip: float = 1.0
    """Largest norm of all gradients together; 0 does not clip."""
    ema: float = 0.0
    """Decay of an average of the weights that is kept beside them; 0 keeps none."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warm-up is {self.warmup} of the steps, expected a share from 0 to below 1")
        for name, rate in (("learning rate", self.learning_rate), ("scale of the trunk's", self.trunk_scale)):
            if not 0 <= rate < math.inf:
                raise ValueError(f"{name} is {rate}, expected 0 or more")
        if self.warmup_steps is not None and self.warmup_steps < 0:
            raise ValueError(f"warm-up is {self.warmup_steps} steps, expected 0 or more")
        if not 0 <= self.ema < 1:
            raise ValueError(f"decay of the average is {self.ema}, expected from 0 to below 1")


class BertAdam(torch.optim.AdamW):
    """Adam with decoupled weight decay and without bias correction, as BERT's public code has it.

    Adam's corrections are 1 - beta ** step, and 1 at an infinite step: the state begins there, and torch's fused
    kernel does the rest.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], options: Optimization) -> None:
        super().__init__(
            groups,
            lr=options.learning_rate,
            betas=options.betas,
            eps=options.epsilon,
            weight_decay=options.weight_decay,
            fused=True,
        )
        for group in self.param_groups:
            for weight in group["params"]:
                self.state[weight] = {
                    "step": torch.full((), math.inf, dtype=torch.float32, device=weight.device),
                    "exp_avg": torch.zeros_like(weight),
                    "exp_avg_sq": torch.zeros_like(weight),
                }


def make_optimizer(model: nn.Module, options: Optimization) -> torch.optim.Optimizer:
    """Return the optimizer of all weights that are to be learnt."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    trunk = [weight for name, weight in named if name.startswith(TRUNK)]
    others = [weight for name, weight in named if not name.startswith(TRUNK)]
    groups: list[dict[str, Any]] = [{"params": others, "scale": 1.0}, {"params": trunk, "scale": options.trunk_scale}]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "bert-adam":
        return BertAdam(groups, options)
    groups = [
        {"params": params, "scale": group["scale"], "weight_decay": decay}
        for group in groups
        for params, decay in _decayed_and_not(group["params"], options.weight_decay)
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.betas[0], fused=True)
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=options.betas, eps=options.epsilon, fused=True)


def _decayed_and_not(weights: Iterable[nn.Parameter], decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """Return matrices with their decay; biases and norms have none."""
    weights = list(weights)
    return [([each for each in weights if each.ndim > 1], decay), ([each for each in weights if each.ndim <= 1], 0.0)]


def set_learning_rate(optimizer: torch.optim.Optimizer, options: Optimization, step: int, num_steps: int) -> float:
    """The optimizer's learning rate is that of step `step`, counted from 0, of `num_steps`; returns it.

    A trunk's is as many times that as the options say.
    """
    if options.warmup_steps is not None:
        options = replace(options, warmup=min(options.warmup_steps / num_steps, 0.5))
    rate = options.learning_rate * SCHEDULES[options.schedule](options, step / num_steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
    return rate


def _linear(options: Optimization, progress: float) -> float:
    if progress < options.warmup:
        return progress / options.warmup
    return max((progress - 1) / (options.warmup - 1), 0.0)


def _cosine(options: Optimization, progress: float) -> float:
    if progress < options.warmup:
        return progress / options.warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - options.warmup) / (1 - options.warmup)))


def _constant(options: Optimization, progress: float) -> float:
    return min(progress / options.warmup, 1.0) if options.warmup else 1.0


def _steps(options: Optimization, progress: float) -> float:
    passed = sum(progress >= share for share in options.step_at)
    return _constant(options, progress) * options.step_factor**passed


SCHEDULES: dict[ScheduleName, Callable[[Optimization, float], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
    "steps": _steps,
}
"""The share of the peak at a share of the steps."""
