"""Shards to make, in the order in which workers are given them."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

MANY_SUSPECTS = 8  # shards whose workers died wait for the others to be made, unless there are so many


class Task(Protocol):
    """One shard to make."""

    @property
    def name(self) -> str:
        """The shard's, without suffix."""
        ...

    @property
    def subject(self) -> str:
        """What it is made from, for messages."""
        ...

    def gently(self) -> "Task":
        """Return the task of making the same bytes with as little in memory at once as possible."""
        ...

    def parts(self) -> Sequence["Task"]:
        """Return what it is made from, each to be tried alone."""
        ...

    def without(self, reasons: Mapping[int, str]) -> "Task":
        """Return the task of making the shard without these of its `parts`, by number, each put aside for a reason."""
        ...


@dataclass(kw_only=True, eq=False)
class Trial:
    """A shard whose parts are tried one by one."""

    task: Task
    num_left: int
    fatal: dict[int, str] = field(default_factory=dict)
    """Numbers of the parts over which workers died, each with the reason."""


@dataclass(kw_only=True, eq=False)
class Job:
    """A shard to make, or a part of one to try."""

    task: Task
    num_deaths: int = 0
    """Workers that died while they had it."""
    trial: Trial | None = None
    """Which the part belongs to; or that the shard has behind it."""
    part: int | None = None
    """The part's number; None of a shard."""

    @property
    def is_suspect(self) -> bool:
        """Whether a worker that has it is given nothing else."""
        return self.num_deaths > 0 or self.trial is not None


class Backlog:
    """Jobs not yet given. Tasks may come from a generator, which is not asked for more than is needed."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._fresh: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._tasks = iter(tasks)

    def count(self, limit: int) -> int:
        """Return how many there are, counting no further than `limit`."""
        wanted = max(0, limit - len(self._fresh) - len(self._suspects))
        self._fresh.extend(Job(task=task) for task in islice(self._tasks, wanted))
        return min(limit, len(self._fresh) + len(self._suspects))

    def next_is_suspect(self) -> bool:
        """Return whether `take` would return a suspect; there must be a job."""
        if len(self._suspects) >= MANY_SUSPECTS:
            return True
        if not self._fresh:
            self._fresh.extend(Job(task=task) for task in islice(self._tasks, 1))
        return not self._fresh

    def take(self) -> Job:
        """Return the next; there must be one. Suspects come after all others, unless there are many."""
        return self._suspects.popleft() if self.next_is_suspect() else self._fresh.popleft()

    def put_last(self, job: Job) -> None:
        """The suspect comes after all others."""
        self._suspects.append(job)

    def put_first(self, jobs: Iterable[Job]) -> None:
        """The suspects come before all other suspects."""
        self._suspects.extendleft(reversed(list(jobs)))
