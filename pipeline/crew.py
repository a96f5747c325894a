"""The crew of Ray actors that make shards: hired as resources appear, replaced when they die, fed as they finish."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, Self

import ray
from ray.exceptions import RayActorError, RayTaskError

from stores.locations import ALLOW_LOCAL

TASKS_PER_WORKER = 2  # one whose model runs, one that decodes ahead
ATTEMPTS = 4  # a shard whose worker has died so often is given up
PATIENCE_SECONDS = 20.0  # without any worker, before the reason is told
POLL_SECONDS = 1.0

KEEP_FREED_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
}
"""What a worker's glibc is told: memory that a model has freed is its own to use again. By default every map of tens of
megabytes goes back to the system, which hands its pages out anew and clears them one by one: a tenth of a detector's
time on a CPU. Other C libraries know no such names."""


class CrewError(RuntimeError):
    """The run can not go on; the message has the cause."""


@dataclass(frozen=True, kw_only=True)
class CrewSize:
    """How many workers, and what each needs."""

    workers: int
    cpus_per_worker: int
    gpus_per_worker: int = 0


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a person watching should know."""

    text: str


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


class Worker(Protocol):
    """Makes shards, in a process of its own; up to `TASKS_PER_WORKER` calls of `make_shard` overlap."""

    def ready(self) -> None: ...

    def progress(self) -> Any:
        """Return what was finished since the last call."""
        ...

    def make_shard(self, task: Any) -> Any: ...


class _Backlog:
    """Tasks not yet given; they may come from a generator, which is not asked for more than is needed."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._ahead: deque[Task] = deque()
        self._tasks = iter(tasks)

    def count(self, limit: int) -> int:
        """Return how many there are, counting no further than `limit`."""
        self._ahead.extend(islice(self._tasks, max(0, limit - len(self._ahead))))
        return min(limit, len(self._ahead))

    def take(self) -> Task:
        """Return the next; there must be one."""
        return self._ahead.popleft()

    def put_back(self, tasks: Iterable[Task]) -> None:
        """The tasks come before all others."""
        self._ahead.extendleft(reversed(list(tasks)))


@dataclass(kw_only=True, eq=False)
class _Member:
    """One actor and the tasks it was given."""

    actor: Any
    number: int
    tasks: dict[Any, Task] = field(default_factory=dict)
    """Ray's reference of each call to its task."""
    asked: Any = None
    """Reference of the progress call under way."""


class Crew:
    """Runs shard tasks on Ray actors; a context manager that lets every actor go at the end."""

    def __init__(self, worker: Callable[[Any], Worker], settings: Any, size: CrewSize) -> None:
        self._worker = worker
        self._size = size
        self._settings = ray.put(settings)
        self._hired = 0
        self._starting: dict[Any, _Member] = {}
        self._members: list[_Member] = []
        self._attempts: dict[str, int] = {}
        self._lost_starting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for member in [*self._members, *self._starting.values()]:
            ray.kill(member.actor)

    def run(self, tasks: Iterable[Task]) -> Iterator[Any]:
        """Yield the worker's report for every task as it ends, in any order, with its progress and notices between.

        Raises CrewError when a worker can not load the detector, a shard can not be written, or a shard's workers
        keep dying.
        """
        waiting = _Backlog(tasks)
        idle_since = time.monotonic()
        while waiting.count(1) or any(member.tasks for member in self._members):
            self._hire(waiting.count(self._size.workers))
            self._give_work(waiting)
            calls = [ref for member in self._members for ref in member.tasks]
            done, _ = ray.wait([*self._starting, *calls], num_returns=1, timeout=POLL_SECONDS)
            for ref in done:
                yield from self._welcome(ref) if ref in self._starting else self._collect(ref, waiting)
            yield from self._ask_progress()
            if self._members:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > PATIENCE_SECONDS:
                idle_since = time.monotonic()
                yield Notice(text=self._why_nobody_works())

    def _hire(self, num_waiting: int) -> None:
        """Ask Ray for actors while there is work for more; they start when their resources exist."""
        while len(self._members) + len(self._starting) < self._size.workers and len(self._starting) < num_waiting:
            actor = (
                ray.remote(self._worker)
                .options(
                    num_cpus=self._size.cpus_per_worker,
                    num_gpus=self._size.gpus_per_worker,
                    max_concurrency=TASKS_PER_WORKER + 1,
                    max_restarts=0,
                    runtime_env={"env_vars": KEEP_FREED_MEMORY | _asked_for(ALLOW_LOCAL)},
                )
                .remote(self._settings)
            )
            member = _Member(actor=actor, number=self._hired)
            self._starting[member.actor.ready.remote()] = member
            self._hired += 1

    def _give_work(self, waiting: _Backlog) -> None:
        """Give every member one task, and a second to decode ahead while there is more than one for each."""
        for num_given in range(TASKS_PER_WORKER):
            at_least = 1 if num_given == 0 else len(self._members)
            for member in self._members:
                if len(member.tasks) == num_given and waiting.count(at_least) == at_least:
                    task = waiting.take()
                    member.tasks[member.actor.make_shard.remote(task)] = task

    def _welcome(self, ref: Any) -> Iterator[Notice]:
        """Take on an actor whose detector is loaded."""
        member = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayActorError as error:
            if error.actor_init_failed:
                raise CrewError(f"a worker could not start: {_last_line(error)}") from error
            self._lost_starting += 1
            if self._lost_starting >= ATTEMPTS:
                raise CrewError(f"{ATTEMPTS} workers died while starting: {_last_line(error)}") from error
            yield Notice(text=f"worker {member.number} died while starting; another is asked for")
            return
        self._members.append(member)

    def _collect(self, ref: Any, waiting: _Backlog) -> Iterator[Any]:
        """Take a finished shard in, or put the shards of a dead worker back."""
        member = next((member for member in self._members if ref in member.tasks), None)
        if member is None:
            return  # its worker was found dead by another call of the same moment
        try:
            report = ray.get(ref)
        except RayTaskError as error:
            raise CrewError(f"{member.tasks[ref].name}: {_last_line(error)}") from error
        except RayActorError as error:
            yield Notice(text=self._bury(member, waiting, error))
            return
        del member.tasks[ref]
        yield report

    def _bury(self, member: _Member, waiting: _Backlog, error: RayActorError) -> str:
        """Put a dead worker's shards back to the front, and say so."""
        self._members.remove(member)
        ray.kill(member.actor)
        for task in member.tasks.values():
            name = task.name
            self._attempts[name] = self._attempts.get(name, 0) + 1
            if self._attempts[name] >= ATTEMPTS:
                raise CrewError(
                    f"{name}: {ATTEMPTS} workers died over it; it is made from {task.subject}: {_last_line(error)}"
                ) from error
        waiting.put_back(member.tasks.values())
        names = ", ".join(task.name for task in member.tasks.values())
        return f"worker {member.number} died; {names or 'no shard'} goes to another ({_last_line(error)})"

    def _ask_progress(self) -> Iterator[Any]:
        """Yield what workers have answered, and ask again; a dead worker's silence is found by its shards."""
        for member in self._members:
            if member.asked is not None:
                answered, _ = ray.wait([member.asked], timeout=0)
                if not answered:
                    continue
                try:
                    yield ray.get(member.asked)
                except RayActorError:
                    continue
            member.asked = member.actor.progress.remote()

    def _why_nobody_works(self) -> str:
        available = ray.cluster_resources()
        has = ", ".join(f"{available.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
        return (
            f"no worker yet: each needs {self._size.cpus_per_worker} CPU, {self._size.gpus_per_worker} GPU; "
            f"the cluster has {has}, some of it perhaps in use"
        )


def _asked_for(variable: str) -> dict[str, str]:
    """Return an environment variable of the driver for its workers, if it is set."""
    return {variable: os.environ[variable]} if variable in os.environ else {}


def _last_line(error: Exception) -> str:
    """Return what a remote traceback ends with: the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
