"""What `vinculum boxes` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.alignment.annotation_sources import parse_source
from pipeline.alignment.gold_boxes import write_detected_boxes, write_gold_boxes
from pipeline.commands.result import Result


@dataclass(frozen=True, kw_only=True)
class BoxesCommand:
    """Write the gold boxes of annotations, or the boxes of a region store, as a file for `vinculum extract --boxes`.

    vinculum boxes --annotations refcoco=refcoco+ --out boxes.json
    """

    annotations: tuple[str, ...] = ()
    """NAME=PATH, any number, as vinculum align takes them: data sets whose sentences point at boxes.
    All annotated objects are written, for refcoco and gqa also those that no sentence is about."""
    regions: Path | None = None
    """Region store instead of annotations; another detector can then describe its boxes."""
    out: Path
    """JSON file to write: image id to boxes x1, y1, x2, y2 in pixels of the annotated image."""
    whole_image: bool = False
    """Write the whole image as the first box of each image, as Samaran et al. do."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        if (self.regions is None) == (not self.annotations) or (self.regions and self.whole_image):
            raise ValueError("expected --annotations, with or without --whole-image, or --regions alone")
        if self.regions is not None:
            found = write_detected_boxes(self.out, self.regions)
        else:
            sources = tuple(map(parse_source, self.annotations))
            found = write_gold_boxes(self.out, sources, whole_image=self.whole_image)
        lines = [f"{found.boxes} boxes of {found.images} images: {self.out}"]
        lines += [f"left out {count}: {reason}" for reason, count in found.drops.items()]
        return Result(summary=asdict(found) | {"out": str(self.out)}, lines=tuple(lines))
