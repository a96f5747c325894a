"""The Ray cluster a run uses: the one at an address, the job's own, or one started here for the time of the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from pipeline.cluster.crew_size import CrewSize
from stores.programs.ray_connection import joined

DEFAULT_CPUS_PER_WORKER = 4  # a convolution gains little from more threads; many workers gain more


class ClusterError(ValueError):
    """A run asks for what its cluster can never have."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the cluster has in all."""

    cpus: int
    gpus: int
    is_this_machine: bool = False
    """Started here, for this run: it will never have more."""

    def crew_size(self, device: str, workers: int | None, cpus_per_worker: int | None) -> CrewSize:
        """Return one worker a GPU, or one for every few CPUs; the caller's numbers go first.

        Raises:
            ClusterError: this machine can never have what a worker needs. A cluster elsewhere may grow.
        """
        size = self._crew_size(device, workers, cpus_per_worker)
        if self.is_this_machine and size.gpus_per_worker > self.gpus:
            raise ClusterError(
                "--device cuda: Ray finds no GPU on this machine, expected one; "
                "take --device cpu, or --address of a cluster that has GPUs"
            )
        if self.is_this_machine and size.cpus_per_worker > self.cpus:
            raise ClusterError(
                f"--cpus-per-worker {size.cpus_per_worker}: this machine has {self.cpus} CPU, expected no more; "
                f"take --cpus-per-worker {self.cpus}, or --address of a cluster with larger machines"
            )
        return size

    def _crew_size(self, device: str, workers: int | None, cpus_per_worker: int | None) -> CrewSize:
        if device == "cuda":
            per_gpu = max(1, self.cpus // max(1, self.gpus))
            return CrewSize(
                workers=workers or max(1, self.gpus),
                cpus_per_worker=cpus_per_worker or min(per_gpu, DEFAULT_CPUS_PER_WORKER),
                gpus_per_worker=1,
            )
        cpus = cpus_per_worker or min(self.cpus, DEFAULT_CPUS_PER_WORKER)
        return CrewSize(workers=workers or max(1, self.cpus // cpus), cpus_per_worker=cpus)


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Be connected to the cluster at `address`, to that of the running Ray job, or to a local one that ends after.

    Raises ConnectionError where no cluster answers at the address.
    """
    with joined(address) as is_this_machine:
        resources = ray.cluster_resources()
        yield Cluster(
            cpus=int(resources.get("CPU", 1)),
            gpus=int(resources.get("GPU", 0)),
            is_this_machine=is_this_machine,
        )
