"""Workers that die: over one thing that a shard is made from, over two at once, over all, or for want of memory."""

import os
import signal
from dataclasses import dataclass, replace

import pytest
import ray

from pipeline.cluster.crew import ATTEMPTS, SYSTEMATIC, Crew
from pipeline.cluster.crew_size import CrewSize
from pipeline.cluster.notices import CrewError, Notice


@pytest.fixture(scope="module")
def _cluster():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """A shard of numbers."""

    name: str
    numbers: tuple[int, ...]
    left_out: tuple[str, ...] = ()
    is_gentle: bool = False

    @property
    def subject(self):
        return f"the numbers {self.numbers}"

    def gently(self):
        return replace(self, is_gentle=True)

    def parts(self):
        return [replace(self, numbers=(number,)) for number in self.numbers]

    def without(self, reasons):
        left = tuple(number for place, number in enumerate(self.numbers) if place not in reasons)
        told = tuple(f"{self.numbers[part]}: {reason}" for part, reason in reasons.items())
        return replace(self, numbers=left, left_out=self.left_out + told)


def worker():
    """Return a class that goes to other processes by value: these tests are nowhere on their path."""

    class Mortal:
        def __init__(self, deadly):
            self.deadly = deadly

        def ready(self):
            pass

        def progress(self):
            return 0

        def make_shard(self, task):
            for number in task.numbers:
                self.try_part(number)
            if not task.is_gentle and self.deadly.get("together", 0) in task.numbers:
                os.kill(os.getpid(), signal.SIGKILL)
            return task.name, task.numbers, task.left_out

        def try_part(self, part):
            number = part if isinstance(part, int) else part.numbers[0]
            if number in self.deadly["alone"]:
                os.kill(os.getpid(), signal.SIGKILL)

    return Mortal


def run(shards, *, workers=2, **deadly):
    tasks = [Numbers(name=f"shard-{number}", numbers=numbers) for number, numbers in enumerate(shards)]
    with Crew(worker(), {"alone": (), **deadly}, CrewSize(workers=workers, cpus_per_worker=1)) as crew:
        events = [event for event in crew.run(tasks) if event != 0]
    return (
        [event for event in events if not isinstance(event, Notice)],
        [event.text for event in events if isinstance(event, Notice)],
    )


@pytest.mark.usefixtures("_cluster")
def test_what_kills_its_workers_is_left_out_and_all_else_is_made():
    made, notices = run([(0, 1), (2, 3, 4), (5,)], alone=(3,))
    assert sorted(made) == [
        ("shard-0", (0, 1), ()),
        ("shard-1", (2, 4), (f"3: its worker died {ATTEMPTS} times",)),
        ("shard-2", (5,), ()),
    ]
    assert made[-1][0] == "shard-1"  # the others do not wait for it
    assert sum(notice.startswith("worker") for notice in notices) == 2 * ATTEMPTS


@pytest.mark.usefixtures("_cluster")
def test_a_shard_that_is_too_much_at_once_is_made_gently():
    made, notices = run([(0, 1), (2, 3)], together=2)
    assert sorted(made) == [("shard-0", (0, 1), ()), ("shard-1", (2, 3), ())]
    assert len(notices) == 1


@pytest.mark.slow  # a minute of workers that start and die
@pytest.mark.usefixtures("_cluster")
def test_workers_that_die_whatever_they_are_given_end_the_run():
    with pytest.raises(CrewError, match=rf"workers died over {SYSTEMATIC} of its parts in a row"):
        run([tuple(range(SYSTEMATIC + 4))], alone=range(100))


def test_a_machine_out_of_memory_is_told_in_a_line():
    ray.shutdown()
    limits = {"memory_usage_threshold": 0.001, "memory_monitor_refresh_ms": 50}
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _system_config=limits)
    try:
        with pytest.raises(CrewError, match="died while starting: its machine ran out of memory"):
            run([(0, 1)], workers=1)
    finally:
        ray.shutdown()
