"""`vinculum-train report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from training.report.page import ReportOptions, write_report
from training.runs.folder import named_folders

Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """Write one page on which runs stand side by side: recipes, curves, figures, and the regions that words look at.

    vinculum-train report --runs with=run without=run-no-alignment --regions regions --sentences sentences --out r.html
    """

    runs: tuple[str, ...]
    """NAME=RUN, any number: a run or one of its checkpoints, by the name that it has on the page."""
    out: Path
    """The page: one HTML file that needs no other."""
    regions: Folder = None
    """The store that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Instead, for visual parsers that take pixels: the images themselves."""
    sentences: Folder = None
    """The store that vinculum align wrote; with these regions, where there are regions."""
    sentences_shown: int = 12
    """Chosen from the split, of all sources, always the same; none (0), where the runs learnt on different regions:
    then no store is needed."""
    split: Literal["train", "val", "test"] = "val"
    """Whose sentences are shown."""
    sentence_ids: tuple[str, ...] = ()
    """Sentences to show, instead of a choice."""
    layer: int | None = None
    """Shown first, counted from 1, of those in which words and regions meet; the last but one unless given. The page
    can show every one, and every head."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Write the page, and return what it shows."""
        return write_report(
            self.out,
            named_folders("--runs", self.runs),
            regions=self.regions,
            images=self.images,
            sentences=self.sentences,
            options=ReportOptions(
                num_sentences=self.sentences_shown,
                split=self.split,
                sentence_ids=self.sentence_ids,
                layer=self.layer,
            ),
        )
