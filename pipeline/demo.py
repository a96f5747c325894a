"""`vinculum demo`: the commands a user would run, one after another, on the toy world."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LAYOUTS = {
    "coco-captions": "coco",
    "visual-genome": "visual_genome",
    "gqa": "gqa",
    "vqa-v2": "vqa_v2",
    "flickr30k-entities": "flickr30k_entities",
    "refcoco": "refcoco",
}
"""Data sets that the demo aligns, and their folders in the toy world."""


def run_demo(out: Path, num_images: int) -> dict[str, Any]:
    """Make a toy world, extract its regions, align its annotations, verify, write the pages; return where it all is."""
    world, regions, sentences = out / "world", out / "regions", out / "sentences"
    pages = {"regions_page": out / "regions.html", "sentences_page": out / "sentences.html"}
    images, vectors = str(world / "images"), str(world / "vectors/toyworld_vectors.txt")
    sources = [f"{name}={world / folder}" for name, folder in LAYOUTS.items()]
    both = ("--regions", str(regions), "--sentences", str(sentences))
    commands = (
        ("toyworld", "--out", str(world), "--images", str(num_images), "--seed", "0"),
        ("extract", "--images", images, "--weights", "toyworld", "--shard-size", "64", "--out", str(regions)),
        ("verify", str(regions)),
        ("inspect", str(regions), "--out", str(pages["regions_page"])),
        ("align", "--regions", str(regions), "--annotations", *sources, "--vectors", vectors, "--out", str(sentences)),
        ("verify", str(sentences)),
        ("doctor", *both),
        ("inspect", str(sentences), "--out", str(pages["sentences_page"])),
    )
    started = time.monotonic()
    for command in commands:
        print(f"$ vinculum {' '.join(command)}", flush=True)
        status = subprocess.run([sys.executable, "-m", "pipeline.cli", *command], check=False).returncode
        if status:
            raise ValueError(f"vinculum {command[0]} ended with exit status {status}")
    folders = {"world": world, "regions": regions, "sentences": sentences}
    return {
        **{name: str(path) for name, path in (folders | pages).items()},
        "seconds": round(time.monotonic() - started),
    }
