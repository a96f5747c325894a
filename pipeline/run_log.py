"""What `run.jsonl` tells of the runs that made a store: when each began, how it ended, how fast its shards were."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotations.guards.plain_json import parse_json

STAGES = ("read", "decode", "wait", "detect", "write")
"""In the order of the work; `read` and `decode` run on threads while `detect` runs, `wait` is for them."""

LATEST = 1e11
"""Seconds since 1970, in the year 5138: no run is later, and no number of a log is larger."""


@dataclass(frozen=True, kw_only=True)
class ShardTiming:
    """One shard, or several in a row, as one point of a plot."""

    finished_seconds: float
    """Since the run began."""
    num_images: int
    """Detected or put in quarantine."""
    num_failed: int
    """Images in quarantine among them; they take next to no time, so no rate counts them."""
    stage_seconds: Mapping[str, float]

    @property
    def num_detected(self) -> int:
        return self.num_images - self.num_failed

    @property
    def images_per_second(self) -> float:
        """Return the rate of the one worker that made it, time spent queueing for the model left out."""
        busy = sum(self.stage_seconds[stage] for stage in ("wait", "detect", "write"))
        return self.num_detected / busy if busy > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start of `extract` on a store."""

    started: datetime
    num_workers: int
    host: str
    command: str
    shards: tuple[ShardTiming, ...]
    """In the order in which they were finished."""
    notices: tuple[str, ...]
    finished: bool
    """False: it was killed, or it is still at work."""

    @property
    def num_images(self) -> int:
        return sum(shard.num_images for shard in self.shards)

    @property
    def seconds(self) -> float:
        return self.shards[-1].finished_seconds if self.shards else 0.0

    @property
    def images_per_second(self) -> float:
        return sum(shard.num_detected for shard in self.shards) / self.seconds if self.seconds > 0 else 0.0


def read_runs(path: Path) -> tuple[Run, ...]:
    """Return the runs in the order in which they began; none where there is no log.

    A line that is no event is passed over: a kill can cut the last line of a run short.
    """
    if not path.exists():
        return ()
    runs: list[list[dict[str, Any]]] = []
    for event in _events(path.read_text(encoding="utf-8", errors="replace")):
        if event["event"] == "start":
            runs.append([])
        if runs:  # a run that found nothing to do writes its end without a start
            runs[-1].append(event)
    return tuple(_run(events) for events in runs)


def merge_shards(shards: Sequence[ShardTiming], limit: int) -> list[ShardTiming]:
    """Return at most `limit` timings, each of equally many shards in a row, so that a plot stays readable."""
    width = -(-len(shards) // limit) or 1
    return [_merged(shards[first : first + width]) for first in range(0, len(shards), width)]


def _events(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            event = parse_json(line)
        except ValueError:
            continue
        if (
            isinstance(event, dict)
            and isinstance(event.get("event"), str)
            and isinstance(event.get("time"), int | float)
            and 0 <= event["time"] < LATEST
        ):
            yield event


def _run(events: Sequence[dict[str, Any]]) -> Run:
    start = events[0]
    crew = start.get("crew")
    command = start.get("command")
    return Run(
        started=datetime.fromtimestamp(start["time"], UTC),
        num_workers=int(_number(crew, "workers")) if isinstance(crew, dict) else 0,
        host=str(start.get("host", "")),
        command=" ".join(map(str, command)) if isinstance(command, list) else "",
        shards=tuple(_timing(event, start["time"]) for event in events if event["event"] == "shard"),
        notices=tuple(str(event.get("text", "")) for event in events if event["event"] == "notice"),
        finished=any(event["event"] == "end" for event in events),
    )


def _timing(event: Mapping[str, Any], started: float) -> ShardTiming:
    return ShardTiming(
        finished_seconds=max(event["time"] - started, 0.0),
        num_images=int(_number(event, "images")),
        num_failed=int(_number(event, "failed")),
        stage_seconds={stage: _number(event, f"{stage}_seconds") for stage in STAGES},
    )


def _number(event: Mapping[str, Any], name: str) -> float:
    """Return a field's number; 0 where it has none that a run could have written."""
    value = event.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < LATEST else 0.0


def _merged(shards: Sequence[ShardTiming]) -> ShardTiming:
    return ShardTiming(
        finished_seconds=shards[-1].finished_seconds,
        num_images=sum(shard.num_images for shard in shards),
        num_failed=sum(shard.num_failed for shard in shards),
        stage_seconds={stage: sum(shard.stage_seconds[stage] for shard in shards) for stage in STAGES},
    )
