"""Every reader of foreign bytes: what makes a small file for it, and how it is read to its end."""

from tests.fuzz.annotation_readers import ANNOTATIONS
from tests.fuzz.detector_readers import DETECTORS
from tests.fuzz.rows import Reader, write_all
from tests.fuzz.store_readers import STORES
from tests.fuzz.training_readers import TRAINING

ROOMS = ("annotations", "detectors", "stores", "pipeline", "training")


def read_boxes(folder):
    from pipeline.extraction.given_boxes import read_given_boxes

    read_given_boxes(folder / "boxes.json")


def read_run_log(folder):
    from pipeline.run_log import merge_shards, read_runs

    for run in read_runs(folder / "run.jsonl"):
        merge_shards(run.shards, 2)


RUN_LOG = b"""{"event": "start", "time": 1.5, "host": "h", "crew": {"workers": 2}, "command": ["vinculum", "extract"]}
{"event": "shard", "time": 2.5, "images": 8, "failed": 1, "wait_seconds": 0.5, "detect_seconds": 1, "write_seconds": 0}
{"event": "notice", "time": 3, "text": "x"}
{"event": "end", "time": 4}
"""

COMMANDS = {
    "given boxes": Reader(make=write_all(boxes__json={"7": [[0, 0, 4, 4.5]], "8": []}), read=read_boxes),
    "run.jsonl": Reader(make=write_all(run__jsonl=RUN_LOG), read=read_run_log),
}

READERS: dict[str, dict[str, Reader]] = {
    "annotations": ANNOTATIONS,
    "detectors": DETECTORS,
    "stores": STORES,
    "commands": COMMANDS,
    "training": TRAINING,
}
