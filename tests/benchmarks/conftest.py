"""Benchmarks print measured ratios with `make bench`; with `pytest -m benchmark` each runs once, tiny.

A benchmark takes all that decides its cost from `scaled`, and never asserts a time:

    from tests.benchmarks.scale import scaled

    NUM_IMAGES = scaled(full=13_824, tiny=16)

    @pytest.mark.benchmark
    @pytest.mark.parametrize("num_shards", scaled(full=[27, 1], tiny=[2]))
    def test_how_fast_a_store_is_read(num_shards): ...

Tiny, all of them together take under a minute of one core: a few seconds each where a process or Ray must start, else
one. Benchmarks that start Ray are marked slow, but for the one of a run's bookkeeping. `make bench` sets
VINCULUM_BENCH=full.
"""

import pytest
import torch

from tests.benchmarks.scale import IS_FULL


@pytest.fixture(autouse=True)
def _one_thread_when_tiny(monkeypatch):
    """Threads that share a tiny product wait for each other longer than the product takes."""
    if IS_FULL:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)
