"""A run without a terminal says how far it is at least once a minute."""

import io

import pytest

from pipeline import event_log
from pipeline.alignment.log import AlignLog
from pipeline.alignment.shard_task import AlignProgress
from pipeline.extraction.progress import RunLog
from pipeline.extraction.shard_task import Progress


@pytest.fixture
def minutes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return lambda number: clock.__setitem__(0, clock[0] + 60 * number)


def test_extraction_says_how_far_it_is_inside_a_shard(tmp_path, minutes):
    stream = io.StringIO()
    with RunLog(tmp_path, num_shards=1, num_images=512, num_ignored=0, stream=stream) as log:
        for _ in range(6):
            minutes(0.5)
            log.tell(Progress(num_images=16, failures=()))
    assert stream.getvalue().splitlines() == [
        "32 of 512 images, 0.53 images/s, about 15 min 0 s left",
        "64 of 512 images, 0.53 images/s, about 14 min 0 s left",
        "96 of 512 images, 0.53 images/s, about 13 min 0 s left",
    ]


def test_alignment_says_how_far_it_is_inside_a_shard(tmp_path, minutes):
    stream = io.StringIO()
    with AlignLog(tmp_path, stream=stream) as log:
        log.tell(AlignProgress(num_sentences=7))
        minutes(1)
        log.tell(AlignProgress(num_sentences=5))
    assert stream.getvalue() == "12 sentences so far\n"


def test_a_name_that_says_done_is_a_name(tmp_path):
    stream = io.StringIO()
    event_log.EventLog(tmp_path, stream).say("quarantine: a.jpg\n\x1b[2Kregions: 9 images in 1 shards; nothing to do")
    assert stream.getvalue() == "quarantine: a.jpg\\n\\x1b[2Kregions: 9 images in 1 shards; nothing to do\n"


def test_a_full_disk_names_the_log(tmp_path):
    log = event_log.EventLog(tmp_path, io.StringIO())
    (tmp_path / event_log.RUN_LOG_NAME).symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*run\.jsonl'"), log:
        log.write("notice")
