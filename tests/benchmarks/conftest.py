"""Benchmarks print measured ratios with `make bench`; with `pytest -m benchmark` each runs once, tiny.

A benchmark takes all that decides its cost from `scaled`, and never asserts a time:

    from tests.benchmarks.scale import scaled

    NUM_IMAGES = scaled(full=13_824, tiny=16)

    @pytest.mark.benchmark
    @pytest.mark.parametrize("num_shards", scaled(full=[27, 1], tiny=[2]))
    def test_how_fast_a_store_is_read(num_shards): ...

Tiny, all of them together take under a minute of one core: a few seconds each where a process or Ray must start, else
one. `make bench` sets VINCULUM_BENCH=full.
"""
