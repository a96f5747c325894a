"""What `vinculum inspect` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.commands.arguments import Store
from pipeline.commands.result import Result
from pipeline.pages.regions import write_page
from pipeline.pages.sentences import write_sentence_page
from stores.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class InspectCommand:
    """Write a page to look at: images with their regions, or sentences whose words light up the regions they mean.

    vinculum inspect regions --out page.html
    """

    store: Store
    """Store that vinculum extract or vinculum align wrote."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("inspect.html")
    """HTML file to write; it needs no other file."""
    images: int | None = None
    """Number of images or sentences shown, spread over the store; by default 24 images or 48 sentences."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Region store of the sentences, if it is no longer where vinculum align found it."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if read_manifest(self.store).content == "sentences":
            num_sentences = 48 if self.images is None else self.images
            shown = write_sentence_page(self.store, self.out, num_sentences=num_sentences, regions=self.regions)
            return Result(summary=asdict(shown), lines=(f"look at {self.out}", *filter(None, [shown.remark])))
        if self.regions is not None:
            raise ValueError(f"--regions goes with a store of sentences; {self.store} is one itself")
        summary = write_page(self.store, self.out, num_images=24 if self.images is None else self.images)
        return Result(summary=asdict(summary), lines=(f"look at {self.out}",))
