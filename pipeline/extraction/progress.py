"""What a person sees while shards are made, and `run.jsonl`, which keeps it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from pipeline.cluster.crew_size import CrewSize
from pipeline.cluster.notices import Notice
from pipeline.event_log import EventLog
from pipeline.extraction.shard_task import Progress, ShardReport
from stores.manifest import FailedImage
from stores.programs.volume import shows_bar

VERSIONED = ("vinculum", "torch", "torchvision", "transformers", "ray", "pyarrow", "lmdb", "opencv-python-headless")


class RunLog:
    """A bar with images/s and time left on a terminal, a line a shard elsewhere; every event a line of `run.jsonl`."""

    def __init__(
        self, out: Path, *, num_shards: int, num_images: int, num_ignored: int, stream: TextIO | None = None
    ) -> None:
        """`num_shards` and `num_images` are still to do; without a stream, lines go to the standard error."""
        stream = stream or sys.stderr
        self.num_shards = 0
        self.num_images = 0
        self._num_seen = 0
        self._events = EventLog(out, stream)
        self._num_planned_shards = num_shards
        self._num_ignored = num_ignored
        self._told: set[str] = set()
        self._started = time.monotonic()
        self._bar = tqdm(
            total=num_images,
            unit="image",
            file=stream,
            smoothing=0.05,
            disable=not shows_bar(stream),
        )

    def __enter__(self) -> Self:
        self._events.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._events.__exit__(*error)

    @property
    def images_per_second(self) -> float:
        return self.num_images / (time.monotonic() - self._started) if self.num_images else 0.0

    def start(self, size: CrewSize) -> None:
        """Write how the run began, with the versions of what decides its numbers."""
        self._started = time.monotonic()
        self._events.start(
            size,
            VERSIONED,
            num_shards=self._num_planned_shards,
            num_images=self._bar.total,
            num_ignored_files=self._num_ignored,
        )
        workers = f"{size.workers} worker{'s' if size.workers > 1 else ''}"
        self._events.say(f"{self._bar.total} images in {self._num_planned_shards} shards for {workers}")

    def tell(self, event: ShardReport | Progress | Notice) -> None:
        """Show and keep one event of the crew."""
        match event:
            case Notice():
                self._events.write("notice", text=event.text)
                self._events.say(event.text)
            case Progress():
                self._bar.update(event.num_images)
                self._num_seen += event.num_images
                self._tell_failures(event.failures)
                for text in event.notices:
                    self.tell(Notice(text=text))
                if self._bar.disable and self._events.is_silent:
                    self._events.say(self._progress_line())
            case ShardReport(is_new=False):
                self.num_images += event.num_images
                self._tell_failures(event.entry.failures)
                self.tell(Notice(text=f"{event.entry.name}: {event.num_images} images cannot be read yet"))
            case ShardReport():
                self.num_shards += 1
                self.num_images += event.num_images
                self._tell_failures(event.entry.failures)
                self._events.write(
                    "shard",
                    shard=event.entry.name,
                    images=event.num_images,
                    failed=len(event.entry.failures),
                    seconds=round(event.seconds, 3),
                    **{f"{stage}_seconds": round(seconds, 3) for stage, seconds in event.stage_seconds.items()},
                )
                if self._bar.disable:
                    self._events.say(self._shard_line(event))

    def finish(self, summary: Any) -> None:
        """Write how the run ended."""
        self._events.write(
            "end", **(asdict(summary) if is_dataclass(summary) and not isinstance(summary, type) else {})
        )

    def _tell_failures(self, failures: Sequence[FailedImage]) -> None:
        for failure in failures:
            if failure.image_id not in self._told:
                self._told.add(failure.image_id)
                self._events.write("failure", **asdict(failure))
                self._events.say(f"quarantine: {failure.location}: {failure.stage}: {failure.reason}")

    def _progress_line(self) -> str:
        """Return how far the run is, inside a shard too."""
        total, seconds = self._bar.total, time.monotonic() - self._started
        seen = min(self._num_seen, total)  # images of a worker that died are seen twice
        rate = seen / seconds
        left = f", about {_duration((total - seen) / rate)} left" if rate else ""
        return f"{seen} of {total} images, {rate:.2f} images/s{left}"

    def _shard_line(self, report: ShardReport) -> str:
        done, planned = self.num_shards, self._num_planned_shards
        left = (planned - done) / done * (time.monotonic() - self._started)
        return (
            f"{report.entry.name}: {report.entry.rows} images, {len(report.entry.failures)} in quarantine; "
            f"{done} of {planned} shards, {self.images_per_second:.2f} images/s, about {_duration(left)} left"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
