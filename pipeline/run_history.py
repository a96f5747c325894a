"""`run.jsonl` read back: what each run of a store did, for the page."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.progress import RUN_LOG_NAME

STAGES = ("read", "decode", "wait", "detect", "write")


@dataclass(frozen=True, kw_only=True)
class ShardTime:
    """One shard as it was finished."""

    name: str
    num_images: int
    ended: float
    """Unix time, seconds."""
    seconds: float
    stage_seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One start of `vinculum extract`."""

    started: float
    """Unix time, seconds."""
    ended: float | None
    """None: it was stopped before its end."""
    shards: list[ShardTime] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def read_runs(folder: Path) -> list[Run]:
    """Return the store's runs, oldest first; a line that a kill cut short is passed over."""
    path = folder / RUN_LOG_NAME
    if not path.exists():
        return []
    runs: list[Run] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "start":
            runs.append(Run(started=event["time"], ended=None))
        elif runs and event["event"] == "shard":
            stages = {stage: event.get(f"{stage}_seconds", 0.0) for stage in STAGES}
            runs[-1].shards.append(
                ShardTime(
                    name=event["shard"],
                    num_images=event["images"],
                    ended=event["time"],
                    seconds=event["seconds"],
                    stage_seconds=stages,
                )
            )
        elif runs and event["event"] == "notice":
            runs[-1].notices.append(event["text"])
        elif runs and event["event"] == "end":
            runs[-1] = Run(
                started=runs[-1].started, ended=event["time"], shards=runs[-1].shards, notices=runs[-1].notices
            )
    return runs
