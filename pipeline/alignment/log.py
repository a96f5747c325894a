"""What a person sees while sentences are aligned, and `run.jsonl`, which keeps it."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, TextIO

from tqdm import tqdm

from pipeline.alignment.shard_task import AlignProgress, AlignReport
from pipeline.cluster.crew_size import CrewSize
from pipeline.cluster.notices import Notice
from pipeline.event_log import EventLog
from stores.programs.volume import shows_bar

VERSIONED = ("vinculum", "numpy", "ray", "pyarrow", "lmdb", "ijson")


class AlignLog:
    """A counter with sentences/s on a terminal, a line a shard elsewhere; every event a line of `run.jsonl`."""

    def __init__(self, out: Path, *, stream: TextIO | None = None) -> None:
        """Without a stream it shows what it shows on the standard error."""
        stream = stream or sys.stderr
        self.num_shards = 0
        self.num_sentences = 0
        self._num_seen = 0
        self._events = EventLog(out, stream)
        self._started = self._last = time.monotonic()
        self._bar = tqdm(unit="sentence", unit_scale=True, file=stream, disable=not shows_bar(stream))

    def __enter__(self) -> Self:
        self._events.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._events.__exit__(*error)

    @property
    def sentences_per_second(self) -> float:
        """Return the rate from the crew's start to the last shard."""
        return self.num_sentences / (self._last - self._started) if self.num_sentences else 0.0

    def start(self, size: CrewSize, **inputs: str | list[str]) -> None:
        """Write how the run began: where its inputs lie, and the versions of what decides its numbers."""
        self._started = time.monotonic()
        self._events.start(size, VERSIONED, inputs=inputs)
        self._events.say(f"aligning on {size.workers} worker{'s' if size.workers > 1 else ''}")

    def tell(self, event: AlignReport | AlignProgress | Notice) -> None:
        """Show and keep one event of the crew."""
        match event:
            case Notice():
                self._events.write("notice", text=event.text)
                self._events.say(event.text)
            case AlignProgress():
                self._bar.update(event.num_sentences)
                self._num_seen += event.num_sentences
                if self._bar.disable and self._events.is_silent:
                    self._events.say(f"{self._num_seen} sentences so far")
            case AlignReport():
                self._last = time.monotonic()
                self.num_shards += 1
                self.num_sentences += event.entry.rows
                num_dropped = sum(drop.count for drop in event.entry.drops)
                self._events.write(
                    "shard",
                    shard=event.entry.name,
                    sentences=event.entry.rows,
                    dropped=num_dropped,
                    seconds=round(event.seconds, 3),
                )
                if self._bar.disable:
                    self._events.say(
                        f"{event.entry.name}: {event.entry.rows} sentences, {num_dropped} dropped; "
                        f"{self.num_sentences} sentences, {self.sentences_per_second:.0f} sentences/s"
                    )

    def finish(self, summary: Any) -> None:
        """Write how the run ended."""
        self._events.write("end", **asdict(summary))
