"""Starts a run's ranks on Ray Train, one here or many on a cluster; what they write is in the run's folder."""

import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.train.torch import TorchTrainer

from annotations.drops import DataError
from stores.errors import StoreError
from training.loop import LoopError
from training.order import OrderError
from training.progress import showing
from training.worker import Place, TrainTask, train_run

RETRIES = 3
"""How often ranks that were lost are started anew, from the last checkpoint."""


def launch(task: TrainTask, *, num_steps: int, num_workers: int, use_gpu: bool, address: str | None) -> None:
    """The run is finished, on so many workers of a running cluster, or on this machine.

    Raises:
        LoopError, StoreError, DataError, OrderError: as on the worker.
        ConnectionError: there is no cluster at the address.
    """
    with _cluster(address):
        cpus = max(int(ray.cluster_resources().get("CPU", 1)) // num_workers, 1)
        trainer = TorchTrainer(
            _train,
            train_loop_config={"task": task},
            scaling_config=ScalingConfig(
                num_workers=num_workers,
                use_gpu=use_gpu,
                resources_per_worker={"CPU": cpus, "GPU": 1} if use_gpu else {"CPU": cpus},
            ),
            run_config=RunConfig(
                name=f"attempt-{time.time_ns()}",
                storage_path=str(task.run / "ray"),
                failure_config=FailureConfig(max_failures=RETRIES),
            ),
        )
        with showing(task.run, num_steps=num_steps):
            try:
                refusal = trainer.fit().return_value  # type: ignore[attr-defined]
            except WorkerGroupError as error:
                causes = "; ".join(f"rank {rank}: {cause}" for rank, cause in error.worker_failures.items())
                raise LoopError(f"workers failed {RETRIES + 1} times: {causes}; run again to go on") from error
    shutil.rmtree(task.run / "ray", ignore_errors=True)  # Ray Train's own notes; the run's are in its folder
    if refusal:
        raise LoopError(refusal)


def _train(config: dict[Any, Any]) -> Any:
    """Train one rank; return what is to be told instead of tried again."""
    context = ray.train.get_context()
    try:
        train_run(
            config["task"],
            Place(
                rank=context.get_world_rank(),
                num_ranks=context.get_world_size(),
                device=str(ray.train.torch.get_device()),
            ),
        )
    except (LoopError, StoreError, DataError, OrderError) as error:
        return str(error)
    return None


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Connect to the running cluster, the running job's, or a local one that ends after."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:  # Ray itself would try for a quarter of an hour
            raise ConnectionError(
                f"--address {address}: no Ray cluster answers ({error}); expected HOST:PORT"
            ) from error
    if address is None and "RAY_ADDRESS" not in os.environ:
        # Ray's own default would join whatever cluster was last started on this machine, and die with it.
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def has_gpu(device: str) -> bool:
    """Return whether ranks run on GPUs: as asked, or if this machine has one."""
    return device == "cuda" or (device == "auto" and torch.cuda.is_available())
