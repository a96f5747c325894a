"""What `vinculum toyworld` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass

from annotations.toyworld.world import EntitiesCaptions, write_toy_world
from pipeline.commands.arguments import Out
from pipeline.commands.result import Result


@dataclass(frozen=True, kw_only=True)
class ToyworldCommand:
    """Write the toy world: rendered scenes with their annotations in the official layouts.

    All layouts number the same images: give `--ids own` to vinculum extract.

    vinculum toyworld --out world --images 300 --seed 0
    """

    out: Out
    """Folder for images/ and a folder of every layout: visual_genome/, coco/, gqa/, flickr30k_entities/ and more."""
    images: int = 300
    """Number of images; image 7 of a world is the same in a larger one."""
    seed: int = 0
    """Seed of the world; another seed draws another world."""
    entities: EntitiesCaptions = "scenes"
    """Captions of flickr30k_entities/: whole scenes, or relations of things.
    Relations name the things alone, as Winoground's captions do."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        written = write_toy_world(self.out, num_images=self.images, seed=self.seed, entities=self.entities)
        counts = asdict(written)
        told = ", ".join(f"{count} {name.removeprefix('num_')}" for name, count in counts.items())
        return Result(summary={"out": str(self.out), **counts}, lines=(f"{self.out}: {told}",))
