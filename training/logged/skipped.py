"""How many images could not be read, and have others in their place."""

from training.logged.figure import LoggedFigure

SKIPPED_IMAGES = LoggedFigure(
    measure=lambda steps: sum(len(report.skipped_images) for report in steps.reports),
    told=lambda value: f"{value:.0f} images skipped" if value else "",
)
