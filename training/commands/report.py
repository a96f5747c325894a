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
    """Write a page that shows runs side by side: recipes, curves, figures, and the regions that words look at.

    vinculum-train report --runs with=run without=run-no-alignment --regions regions --sentences sentences --out r.html
    """

    runs: tuple[str, ...]
    """NAME=RUN, any number: runs or checkpoints, by the names that they have on the page."""
    out: Path
    """HTML file to write; it needs no other file."""
    regions: Folder = None
    """Store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files, as vinculum extract takes them, for runs that learnt from images."""
    sentences: Folder = None
    """Store that vinculum align wrote, aligned with these regions where there are regions."""
    sentences_shown: int = 12
    """Number of sentences that are shown, the same ones in every report of a store.
    With 0 no store is needed, so runs that learnt on different regions can be compared."""
    split: Literal["train", "val", "test"] = "val"
    """Split whose sentences are shown."""
    sentence_ids: tuple[str, ...] = ()
    """Ids of the sentences to show, instead of a choice."""
    layer: int | None = None
    """Layer that is shown first, counted from 1 among those in which words and regions meet.
    By default it is the last but one; the page can show every layer and head."""
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
