"""Which failures of ranks are tried again: those of lost processes, and no others."""

import mmap
import os
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch.distributed as dist
from ray import cloudpickle
from ray.exceptions import ActorDiedError
from ray.train import WorkerGroupError

from training.execution.errors import LoopError
from training.execution.launch import _causes, is_of_a_lost_process, launch


@pytest.mark.parametrize(
    "error",
    [
        dist.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1970, remote process exited"),
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
        RuntimeError("DataLoader worker (pid 17) is killed by signal: Killed. "),
    ],
)
def test_a_rank_that_misses_another_process_is_tried_again(error):
    assert is_of_a_lost_process(error)


@pytest.mark.parametrize(
    "error",
    [TypeError("cannot pickle 'mmap.mmap' object"), RuntimeError("CUDA error: device-side assert"), KeyError(1)],
)
def test_what_a_rank_says_itself_it_would_say_again(error):
    assert not is_of_a_lost_process(error)


def test_a_rank_that_says_why_goes_before_those_that_were_lost():
    lost, said = ActorDiedError(), LoopError("rank 1: TypeError: cannot pickle 'mmap.mmap' object")
    with pytest.raises(LoopError, match="cannot pickle"):
        _causes(WorkerGroupError("", {0: lost, 1: said}))
    assert _causes(WorkerGroupError("", {0: lost})).startswith("rank 0: ")


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # ranks find no tests: they import what is installed


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A task whose ranks fail in the same way each time, and leave a trace."""

    run: Path
    loader_workers: int = 0


def cannot_pickle(task, place):
    with (task.run / "attempts").open("a") as file:
        file.write("x")
    with Path(__file__).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        pickle.dumps(mapped)


@pytest.mark.slow
def test_a_fault_of_our_own_code_ends_the_run_at_its_first_time(tmp_path):
    (tmp_path / "attempts").touch()
    with pytest.raises(
        LoopError, match=r"rank 0: TypeError: cannot pickle 'mmap.mmap' object, at .*test_launch.py:\d+"
    ):
        launch(cannot_pickle, Failing(run=tmp_path), num_steps=1, num_workers=1, use_gpu=False, address=None)
    assert (tmp_path / "attempts").read_text() == "x"


@pytest.mark.slow
def test_a_worker_that_is_lost_is_tried_again_three_times(tmp_path):
    (tmp_path / "attempts").touch()
    with pytest.raises(LoopError, match="workers were lost 4 times"):
        launch(dies, Failing(run=tmp_path), num_steps=1, num_workers=1, use_gpu=False, address=None)
    assert (tmp_path / "attempts").read_text() == "xxxx"


def dies(task, place):
    with (task.run / "attempts").open("a") as file:
        file.write("x")
    os._exit(1)
