"""What readers hold in memory does not grow with their files."""

import json
import tracemalloc

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Visual Genome's descriptions are 700 MB; here 2,000 and 20,000 images are read in the same few megabytes."""
    peaks = []
    for num_images in (2000, 20_000):
        folder = tmp_path / str(num_images)
        folder.mkdir()
        with (folder / "region_descriptions.json").open("w") as file:
            regions = [
                {"region_id": n, "x": 1, "y": 2, "width": 3, "height": 4, "phrase": f"phrase {n}"} for n in range(10)
            ]
            file.write(
                "[" + ",".join(json.dumps({"id": number, "regions": regions}) for number in range(num_images)) + "]"
            )
        tracemalloc.start()
        sentences = DATA_SETS["visual-genome"].read_sentences(folder, drops=Drops())
        assert sum(1 for _ in sentences) == 10 * num_images
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What grows is the set of image ids seen, 0.1 kB each.
    assert peaks[1] - peaks[0] < 20_000 * 250
    assert peaks[1] < 10e6
