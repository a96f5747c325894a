"""What a cluster's Prometheus can ask of extraction: Ray exports these with its own, from every node."""

from collections.abc import Mapping

from ray.util.metrics import Counter

STAGES = ("read", "decode", "wait", "detect", "write")


class WorkerMetrics:
    """The counters of one worker; Ray adds up those of all.

    `vinculum_images_total` by `outcome` (`stored`, `quarantined`), `vinculum_shards_total`, and
    `vinculum_stage_seconds_total` by `stage`: `read` and `decode` are summed over threads, `wait` is how long the model
    was idle for them, `detect` how long it worked.
    """

    def __init__(self) -> None:
        self._images = Counter("vinculum_images", description="Images finished", tag_keys=("outcome",))
        self._shards = Counter("vinculum_shards", description="Shards finished")
        self._seconds = Counter("vinculum_stage_seconds", description="Seconds spent, by stage", tag_keys=("stage",))

    def count(self, *, stored: int, quarantined: int, stage_seconds: Mapping[str, float]) -> None:
        """One shard more is finished."""
        self._shards.inc()
        for outcome, number in (("stored", stored), ("quarantined", quarantined)):
            if number:
                self._images.inc(number, {"outcome": outcome})
        for stage in STAGES:
            if stage_seconds.get(stage, 0.0) > 0:
                self._seconds.inc(stage_seconds[stage], {"stage": stage})
