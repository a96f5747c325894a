"""How fast a run is, and which share of its time it waits for data."""

from training.logged.figure import LoggedFigure, Steps


def _samples_per_second(steps: Steps) -> float:
    return sum(report.num_pairs for report in steps.reports) * steps.num_ranks / steps.seconds


SAMPLES_PER_SECOND = LoggedFigure(measure=_samples_per_second, told=lambda value: f"{value:.0f} samples/s")
DATA_WAIT_SHARE = LoggedFigure(
    measure=lambda steps: steps.waited / steps.seconds, told=lambda value: f"waiting {value:.1%}"
)
