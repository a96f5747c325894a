"""What a run would do, of which nothing is done."""

from dataclasses import dataclass

from pipeline.extraction.remaining import Remaining
from pipeline.sizes import told_bytes
from stores.manifest import Manifest
from stores.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is planned, and what is left of it."""

    out: str
    num_images: int
    """In the plan."""
    num_shards: int
    """In the plan."""
    num_images_left: int
    num_shards_left: int
    num_bytes_left: int | None
    """About so many to be written; None where no shard is made yet that tells how large one is."""
    remarks: tuple[str, ...] = ()
    """What people should know of the listing and the plan, a clause each."""

    @property
    def line(self) -> str:
        """The outlook for people."""
        planned = f"{self.out}: {self.num_images} images in {self.num_shards} shards are planned"
        left = "nothing to do"
        if self.num_shards_left:
            left = (
                f"{self.num_images_left} images in {self.num_shards_left} shards would be made, "
                f"{told_bytes(self.num_bytes_left)}"
            )
        return "; ".join((planned, left, *self.remarks, "nothing was written"))


def outlook_of(
    out: str,
    plan: Plan,
    manifest: Manifest,
    left: Remaining,
    *,
    bytes_an_image: float | None = None,
    remarks: tuple[str, ...] = (),
) -> Outlook:
    """Return what a run would do; shards that are made tell how large an image is better than `bytes_an_image`."""
    num_rows = sum(entry.rows for entry in manifest.shards)
    if num_rows:
        bytes_an_image = sum(entry.bytes for entry in manifest.shards) / num_rows
    if not left:
        bytes_an_image = 0.0
    return Outlook(
        out=out,
        num_images=int(plan.sizes.sum()),
        num_shards=len(plan),
        num_images_left=left.num_images,
        num_shards_left=len(left),
        num_bytes_left=None if bytes_an_image is None else round(left.num_images * bytes_an_image),
        remarks=remarks,
    )
