"""What a person is told of an error of the operating system: what it is about, what was found, what to do."""

import os
from errno import EACCES, ENOSPC, EROFS

import pytest

from stores.errors import ADVICE, about, told


@pytest.mark.parametrize("number", [EACCES, ENOSPC, EROFS])
def test_an_error_of_the_system_has_its_subject_and_an_advice(number):
    told_ = told(OSError(number, os.strerror(number), "/data/run.jsonl"))
    assert told_ == f"/data/run.jsonl: {os.strerror(number)}; {ADVICE[number]}"


def test_an_error_without_a_name_is_given_the_file_that_it_is_about(tmp_path):
    with pytest.raises(OSError) as raised, about(tmp_path / "metrics.jsonl"):
        raise OSError(ENOSPC, "No space left on device")
    assert told(raised.value).startswith(f"{tmp_path}/metrics.jsonl: No space left on device; free space")


def test_an_error_of_ours_is_told_as_it_is():
    assert told(ConnectionError("--address HEAD: no Ray cluster answers")) == "--address HEAD: no Ray cluster answers"
    assert told(KeyError()) == "KeyError"
