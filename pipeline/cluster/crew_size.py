"""The size of a crew: what a run asks of its cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CrewSize:
    """How many workers, and what each needs."""

    workers: int
    cpus_per_worker: int
    gpus_per_worker: int = 0
