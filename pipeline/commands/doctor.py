"""What `vinculum doctor` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.care.doctor import diagnose
from pipeline.care.health_report import report
from pipeline.commands.result import Result

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class DoctorCommand:
    """Examine aligned sentences for missing images, low coverage, leakage and unknown words.

    Findings are no errors: the exit status is 1 only where a store cannot be read; --json has `is_healthy`.

    vinculum doctor --regions regions --sentences sentences
    """

    regions: Folder
    """Region store that the sentences were aligned with."""
    sentences: Folder
    """Store that vinculum align wrote."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        diagnosis = diagnose(self.regions, self.sentences)
        summary = asdict(diagnosis) | {"is_healthy": diagnosis.is_healthy}
        return Result(summary=summary, lines=tuple(report(diagnosis)))
