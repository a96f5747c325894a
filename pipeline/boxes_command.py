"""What `vinculum boxes` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.align_command import parse_source
from pipeline.commands import Result
from pipeline.gold_boxes import write_gold_boxes


@dataclass(frozen=True, kw_only=True)
class BoxesCommand:
    """Write the gold boxes of annotations, for which `vinculum extract --boxes` takes features instead of detecting.

    vinculum boxes --annotations refcoco=refcoco+ --out boxes.json
    """

    annotations: tuple[str, ...]
    """NAME=PATH, as of vinculum align; data sets whose sentences point at boxes."""
    out: Path
    """JSON file: image id to boxes x1, y1, x2, y2, in pixels of the annotated image."""
    whole_image: bool = False
    """The first box of each image is all of it, as Samaran et al. have it."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        found = write_gold_boxes(self.out, tuple(map(parse_source, self.annotations)), whole_image=self.whole_image)
        lines = [f"{found.boxes} boxes of {found.images} images: {self.out}"]
        lines += [f"left out {count}: {reason}" for reason, count in found.drops.items()]
        return Result(summary=asdict(found) | {"out": str(self.out)}, lines=tuple(lines))
