"""The crew of Ray actors that make shards: hired as resources appear, replaced when they die, fed as they finish.

A shard whose worker died is made again by a worker that has nothing else to do, after the others. If workers keep dying
over it, its parts are tried one by one, those over which workers die are left out, and the shard is made of the rest.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

import ray
from ray import ObjectRef
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from pipeline.cluster.backlog import Backlog, Job, Task, Trial
from pipeline.cluster.crew_size import CrewSize
from pipeline.cluster.notices import CrewError, Notice
from stores.locations import ALLOW_LOCAL

TASKS_PER_WORKER = 2  # one whose model runs, one that decodes ahead
ATTEMPTS = 3  # workers that may die over a shard before its parts are tried, or over a part before it is left out
SYSTEMATIC = 16  # parts in a row that had to be left out, with nothing finished between: that is the machine
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


Made = TypeVar("Made", bound=Task, contravariant=True)
Report = TypeVar("Report", covariant=True)
Progress = TypeVar("Progress", covariant=True)
Settings = TypeVar("Settings")


class Worker(Protocol[Made, Report, Progress]):
    """Makes shards, in a process of its own; up to `TASKS_PER_WORKER` calls of `make_shard` overlap."""

    def ready(self) -> None: ...

    def progress(self) -> Progress:
        """Return what was finished since the last call."""
        ...

    def make_shard(self, task: Made) -> Report: ...

    def try_part(self, part: Made) -> None:
        """Do with one part what making the shard does with it; nothing is written."""
        ...


@dataclass(kw_only=True, eq=False)
class _Member:
    """One actor and the jobs it was given."""

    actor: Any
    """Ray's handle of a worker; Ray knows no type that has the worker's methods."""
    number: int
    jobs: dict[ObjectRef, Job] = field(default_factory=dict)
    """By Ray's reference of each call."""
    asked: ObjectRef | None = None
    """Reference of the progress call under way."""

    def give(self, job: Job) -> None:
        call = self.actor.make_shard if job.part is None else self.actor.try_part
        self.jobs[call.remote(job.task)] = job


class Crew(Generic[Made, Report, Progress]):
    """Runs shard tasks on Ray actors; a context manager that lets every actor go at the end."""

    def __init__(
        self, worker: Callable[[Settings], Worker[Made, Report, Progress]], settings: Settings, size: CrewSize
    ) -> None:
        self._worker = worker
        self._size = size
        self._settings = ray.put(settings)
        self._hired = 0
        self._starting: dict[ObjectRef, _Member] = {}
        self._members: list[_Member] = []
        self._max_workers = size.workers
        """Fewer than asked for once the machines' memory has not held as many."""
        self._lost_starting = 0
        """In a row."""
        self._left_out = 0
        """Parts in a row."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for member in [*self._members, *self._starting.values()]:
            ray.kill(member.actor)

    def run(self, tasks: Iterable[Made]) -> Iterator[Report | Progress | Notice]:
        """Yield the worker's report for every task as it ends, in any order, with its progress and notices between.

        Raises:
            CrewError: a worker cannot load the detector, a shard cannot be written, workers keep dying whatever they
                are given, or Ray itself fails.
        """
        try:
            yield from self._run(tasks)
        except RayError as error:
            raise CrewError(f"Ray failed: {_last_line(error)}; run again to go on") from error

    def _run(self, tasks: Iterable[Made]) -> Iterator[Report | Progress | Notice]:
        waiting = Backlog(tasks)
        idle_since = time.monotonic()
        while waiting.count(1) or any(member.jobs for member in self._members):
            self._hire(waiting.count(self._max_workers))
            self._give_work(waiting)
            calls = [ref for member in self._members for ref in member.jobs]
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
        while len(self._members) + len(self._starting) < self._max_workers and len(self._starting) < num_waiting:
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

    def _give_work(self, waiting: Backlog) -> None:
        """Give every member one task, and a second to decode ahead while there is more than one for each.

        Suspects are alone with a worker, so that it is known over which of them it died.
        """
        for num_given in range(TASKS_PER_WORKER):
            at_least = 1 if num_given == 0 else len(self._members)
            for member in self._members:
                if len(member.jobs) != num_given or waiting.count(at_least) < at_least:
                    continue
                is_alone = any(job.is_suspect for job in member.jobs.values()) or waiting.next_is_suspect()
                if num_given == 0 or not is_alone:
                    member.give(waiting.take())

    def _welcome(self, ref: ObjectRef) -> Iterator[Notice]:
        """Take on an actor whose detector is loaded."""
        member = self._starting.pop(ref)
        try:
            ray.get(ref)
        except RayTaskError as error:
            raise CrewError(f"a worker could not start: {_last_line(error)}") from error
        except RayError as error:
            if isinstance(error, RayActorError) and error.actor_init_failed:
                raise CrewError(f"a worker could not start: {_last_line(error)}") from error
            self._lost_starting += 1
            if self._lost_starting >= ATTEMPTS:
                raise CrewError(f"{ATTEMPTS} workers in a row died while starting: {_why_it_died(error)}") from error
            yield Notice(text=f"worker {member.number} died while starting; another is asked for")
            return
        self._lost_starting = 0
        self._members.append(member)

    def _collect(self, ref: ObjectRef, waiting: Backlog) -> Iterator[Report | Notice]:
        """Take a finished job in, or put the jobs of a dead worker back."""
        member = next((member for member in self._members if ref in member.jobs), None)
        if member is None:
            return  # its worker was found dead by another call of the same moment
        try:
            report = ray.get(ref)
        except RayTaskError as error:
            raise CrewError(f"{member.jobs[ref].task.name}: {_last_line(error)}") from error
        except RayError as error:  # the actor's death, whichever way it is told
            yield from self._bury(member, waiting, error)
            return
        job = member.jobs.pop(ref)
        self._left_out = 0
        if job.part is None:
            yield report
        elif job.trial is not None:
            yield from self._end_of_part(job.trial, waiting)

    def _bury(self, member: _Member, waiting: Backlog, error: RayError) -> Iterator[Notice]:
        """Put what a dead worker had back, behind what nobody died over, and say so."""
        self._members.remove(member)
        ray.kill(member.actor)
        jobs = list(member.jobs.values())
        names = ", ".join(job.task.name if job.part is None else job.task.subject for job in jobs)
        yield Notice(text=f"worker {member.number} died over {names or 'no shard'} ({_why_it_died(error)})")
        lacks_memory = _lacks_memory(error)
        if lacks_memory and self._max_workers > 1 and not any(job.is_suspect for job in jobs):
            self._max_workers -= 1
            yield Notice(text=f"out of memory: {self._max_workers} workers at most from here on")
        for job in jobs:
            job.num_deaths += 1
            job.task = job.task.gently()
            if job.num_deaths < ATTEMPTS:
                waiting.put_last(job) if job.part is None else waiting.put_first([job])
            elif job.part is not None and job.trial is not None:
                yield from self._leave_out(job.part, job.trial, waiting, lacks_memory)
            elif job.trial is None:
                yield self._try_parts(job.task, waiting)
            else:
                raise CrewError(
                    f"{job.task.name}: workers die over it, and over nothing alone that it is made from, which is "
                    f"{job.task.subject}: {_why_it_died(error)}. Expected enough memory for one worker; try --workers 1"
                ) from error

    def _try_parts(self, task: Task, waiting: Backlog) -> Notice:
        parts = task.parts()
        trial = Trial(task=task, num_left=len(parts))
        waiting.put_first(Job(task=part, trial=trial, part=number) for number, part in enumerate(parts))
        return Notice(text=f"{task.name}: {ATTEMPTS} workers died over it; its {len(parts)} parts are tried one by one")

    def _leave_out(self, part: int, trial: Trial, waiting: Backlog, lacks_memory: bool) -> Iterator[Notice]:
        trial.fatal[part] = f"its worker died {ATTEMPTS} times" + (" for want of memory" if lacks_memory else "")
        self._left_out += 1
        if self._left_out >= SYSTEMATIC:
            raise CrewError(
                f"{trial.task.name}: workers died over {SYSTEMATIC} of its parts in a row, each alone, and finished "
                f"nothing between: {trial.fatal[part]}. Expected a machine on which workers live; see its memory, its "
                "driver and its libraries, then run again to go on"
            )
        yield from self._end_of_part(trial, waiting)

    def _end_of_part(self, trial: Trial, waiting: Backlog) -> Iterator[Notice]:
        """Make the shard once its parts are tried, without those over which workers died."""
        trial.num_left -= 1
        if trial.num_left:
            return
        task = trial.task.without(trial.fatal) if trial.fatal else trial.task
        waiting.put_first([Job(task=task, trial=trial)])
        yield Notice(text=f"{task.name}: workers died over {len(trial.fatal)} of its parts; it is made without them")

    def _ask_progress(self) -> Iterator[Progress]:
        """Yield what workers have answered, and ask again; a dead worker's silence is found by its shards."""
        for member in self._members:
            if member.asked is not None:
                answered, _ = ray.wait([member.asked], timeout=0)
                if not answered:
                    continue
                try:
                    yield ray.get(member.asked)
                except RayError:
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


def _lacks_memory(error: RayError) -> bool:
    """Return whether Ray's memory monitor killed the actor, which an error of either kind tells."""
    return isinstance(error, OutOfMemoryError) or "out of memory issue" in str(error)


def _why_it_died(error: RayError) -> str:
    """Return the one line of an actor's death that says why."""
    if _lacks_memory(error):
        return "its machine ran out of memory"
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line.startswith("The actor is dead because")), _last_line(error))[:300]


def _last_line(error: Exception) -> str:
    """Return what a remote traceback ends with: the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
