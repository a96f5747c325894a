"""The crew of Ray actors that make shards: hired as resources appear, replaced when they die, fed as they finish."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from pipeline.worker import Progress, ShardReport, ShardTask, ShardWorker, WorkerSettings

TASKS_PER_WORKER = 2  # one whose model runs, one that decodes ahead
ATTEMPTS = 4  # a shard whose worker has died so often is given up
PATIENCE_SECONDS = 20.0  # without any worker, before the reason is told
POLL_SECONDS = 1.0


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


@dataclass(kw_only=True, eq=False)
class _Member:
    """One actor and the tasks it was given."""

    actor: Any
    number: int
    tasks: dict[Any, ShardTask] = field(default_factory=dict)
    """Ray's reference of each call to its task."""
    asked: Any = None
    """Reference of the progress call under way."""


class Crew:
    """Runs shard tasks on Ray actors; a context manager that lets every actor go at the end."""

    def __init__(self, settings: WorkerSettings, size: CrewSize) -> None:
        self._size = size
        self._settings = ray.put(settings)
        self._hired = 0
        self._starting: dict[Any, _Member] = {}
        self._members: list[_Member] = []
        self._attempts: dict[str, int] = {}
        self._lost_starting = 0

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        for member in [*self._members, *self._starting.values()]:
            ray.kill(member.actor)

    def run(self, tasks: Sequence[ShardTask]) -> Iterator[ShardReport | Progress | Notice]:
        """Yield a report for every task as it ends, in any order, with progress and notices between.

        Raises CrewError when a worker can not load the detector, a shard can not be written, or a shard's workers
        keep dying.
        """
        waiting = deque(tasks)
        idle_since = time.monotonic()
        while waiting or any(member.tasks for member in self._members):
            self._hire(len(waiting))
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
                ray.remote(ShardWorker)
                .options(
                    num_cpus=self._size.cpus_per_worker,
                    num_gpus=self._size.gpus_per_worker,
                    max_concurrency=TASKS_PER_WORKER + 1,
                    max_restarts=0,
                )
                .remote(self._settings)
            )
            member = _Member(actor=actor, number=self._hired)
            self._starting[member.actor.ready.remote()] = member
            self._hired += 1

    def _give_work(self, waiting: deque[ShardTask]) -> None:
        """Give every member one task, and a second to decode ahead while there is more than one for each."""
        for wanted in range(1, TASKS_PER_WORKER + 1):
            for member in self._members:
                if waiting and len(member.tasks) < wanted and (wanted == 1 or len(waiting) >= len(self._members)):
                    task = waiting.popleft()
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

    def _collect(self, ref: Any, waiting: deque[ShardTask]) -> Iterator[ShardReport | Notice]:
        """Take a finished shard in, or put the shards of a dead worker back."""
        member = next((member for member in self._members if ref in member.tasks), None)
        if member is None:
            return  # its worker was found dead by another call of the same moment
        try:
            report = ray.get(ref)
        except RayTaskError as error:
            raise CrewError(f"{member.tasks[ref].shard.name}: {_last_line(error)}") from error
        except RayActorError as error:
            yield Notice(text=self._bury(member, waiting, error))
            return
        del member.tasks[ref]
        yield report

    def _bury(self, member: _Member, waiting: deque[ShardTask], error: RayActorError) -> str:
        """Put a dead worker's shards back to the front, and say so."""
        self._members.remove(member)
        ray.kill(member.actor)
        for task in member.tasks.values():
            name = task.shard.name
            self._attempts[name] = self._attempts.get(name, 0) + 1
            if self._attempts[name] >= ATTEMPTS:
                raise CrewError(
                    f"{name}: {ATTEMPTS} workers died over it; its images are {task.shard.images[0].location} to "
                    f"{task.shard.images[-1].location}: {_last_line(error)}"
                ) from error
        waiting.extendleft(reversed(member.tasks.values()))
        names = ", ".join(task.shard.name for task in member.tasks.values())
        return f"worker {member.number} died; {names or 'no shard'} goes to another ({_last_line(error)})"

    def _ask_progress(self) -> Iterator[Progress]:
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


def _last_line(error: Exception) -> str:
    """Return what a remote traceback ends with: the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
