"""How large steps are: the gradient's norm and the learning rate."""

from training.logged.figure import LoggedFigure

GRADIENT_NORM = LoggedFigure(
    measure=lambda steps: sum(report.gradient_norm for report in steps.reports) / len(steps.reports)
)
LEARNING_RATE = LoggedFigure(measure=lambda steps: steps.reports[-1].learning_rate)
