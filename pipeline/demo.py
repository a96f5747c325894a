"""`vinculum demo`: the commands a user would run, one after another, on the toy world."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def run_demo(out: Path, num_images: int) -> dict[str, Any]:
    """Make a toy world, extract its regions, verify the store, write the page; return where it all is."""
    world, regions, page = out / "world", out / "regions", out / "regions.html"
    images = str(world / "images")
    commands = (
        ("toyworld", "--out", str(world), "--images", str(num_images), "--seed", "0"),
        ("extract", "--images", images, "--weights", "toyworld", "--shard-size", "64", "--out", str(regions)),
        ("verify", str(regions)),
        ("inspect", str(regions), "--out", str(page)),
    )
    started = time.monotonic()
    for command in commands:
        print(f"$ vinculum {' '.join(command)}", flush=True)
        status = subprocess.run([sys.executable, "-m", "pipeline.cli", *command], check=False).returncode
        if status:
            raise ValueError(f"vinculum {command[0]} ended with exit status {status}")
    return {
        "world": str(world),
        "regions": str(regions),
        "page": str(page),
        "seconds": round(time.monotonic() - started),
    }
