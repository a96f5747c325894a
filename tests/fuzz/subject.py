"""Reads damaged files, each within bounds; what breaks one is told on the standard output.

    python -m tests.fuzz.subject ROOM EXAMPLES [READER ...]

A process of its own: memory is bounded by the system, and a reader that does not come to its end, or crashes, takes
nobody else with it. The file that is being read stays in the folder that the first line names.
"""

import contextlib
import json
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings

from annotations.guards.shown import shown
from tests.fuzz.corpus import CORPUS
from tests.fuzz.mutations import damaged, usual_damage
from tests.fuzz.readers import READERS, ROOMS

MAX_BYTES = 512 << 20
"""More than there were, for one file."""
MAX_SECONDS = 10
"""Of the CPU, for one file."""
MAX_MESSAGE = 1000
"""Characters."""


class BrokenReaderError(Exception):
    """A reader did what none may do."""


def main(room, num_examples, *names):
    warnings.simplefilter("ignore")
    place = Path(tempfile.mkdtemp(prefix="vinculum-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    print(place, flush=True)
    for name, reader in READERS[room].items():
        if names and name not in names:
            continue
        whole = place / "whole"
        whole.mkdir()
        reader.make(whole)
        files = {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
        shutil.rmtree(whole)
        alike = {(Path(file).parent, Path(file).suffix): file for file in files if reader.damage(file) and files[file]}
        foreign = {file: files[file] for file in alike.values()}
        attempt = Attempt(place, name, reader, files)
        attempt(next(iter(foreign)), None)  # as it was made: that must be read
        for file, content in foreign.items():
            for _, other in usual_damage(content):
                attempt.told(file, other)
        for file, other in CORPUS.get(name, ()):
            attempt.told(file, other)
        attempt.search(foreign, int(num_examples))
    shutil.rmtree(place)


class Attempt:
    def __init__(self, place, name, reader, files):
        self.place, self.name, self.reader, self.files = place, name, reader, files

    def __call__(self, file, content):
        """Read the files, one of which has this content instead; raise BrokenReaderError if that breaks the reader."""
        folder = self.place / self.name.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        for each, whole in self.files.items():
            path = folder / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole if each != file or content is None else content)
        try:
            with bounded() if content is not None else contextlib.nullcontext():  # modules are loaded without bounds
                self.reader.read(folder)
        except BaseException as error:
            if content is None:
                raise
            if type(error).__module__.split(".")[0] not in ROOMS:
                raise BrokenReaderError(f"{type(error).__name__}: {str(error)[:300]}") from error
            if len(str(error)) > MAX_MESSAGE or "\n" in str(error):
                raise BrokenReaderError(f"a message of {len(str(error))} characters: {str(error)[:200]!r}") from error

    def told(self, file, content):
        try:
            self(file, content)
        except BrokenReaderError as broken:
            tell(self.name, file, content, broken)

    def search(self, files, num_examples):
        broken_by = []

        @seed(0)
        @settings(max_examples=num_examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
        @given(damaged(files))
        def search(example):
            try:
                self(*example)
            except BrokenReaderError as broken:
                broken_by[:] = [(*example, broken)]
                raise

        try:
            search()
        except BaseException:
            if not broken_by:
                raise
            tell(self.name, *broken_by[0])


def tell(name, file, content, broken):
    where = broken.__cause__.__traceback__
    frames = []
    while where:
        frames.append(f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}")
        where = where.tb_next
    ours = [frame for frame in frames if any(f"/{room}/" in frame for room in ROOMS) and "/.venv/" not in frame]
    found = {"reader": name, "file": file, "broken": str(broken), "at": ours[-1:], "content": shown(content)}
    print(json.dumps(found), flush=True)


@contextlib.contextmanager
def bounded():
    """What runs inside ends the process where it takes too long, and has a MemoryError where it takes too much."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_BYTES, hard))
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


if __name__ == "__main__":
    main(*sys.argv[1:])
