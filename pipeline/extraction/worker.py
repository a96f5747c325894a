"""One worker: loads the detector once, then turns planned shards into shard files."""

import platform
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch

from detectors.catalog import DetectorRequest, build_detector, content_of
from detectors.inputs.batch import by_shape
from detectors.inputs.images import MAX_PIXELS
from detectors.records import Features, PreparedImage
from pipeline.extraction.given_boxes import read_given_boxes
from pipeline.extraction.loading import (
    IMAGE_FAULTS,
    LoadedImage,
    PixelBudget,
    load_ahead,
    load_image,
    read_fault,
)
from pipeline.extraction.metrics import WorkerMetrics
from pipeline.extraction.shard_task import Progress, ShardReport, ShardTask, failed
from pipeline.extraction.standing_shards import is_outdated, open_standing, require_no_loss
from pipeline.inputs.loaded import described_inputs, require_same_inputs
from stores.catalog import STORES, StoreName
from stores.errors import DamagedFileError
from stores.images.outages import OutageWatch
from stores.images.sources import ImageSource
from stores.manifest import FailedImage, describe_shard
from stores.places import place_of

WINDOW_BATCHES = 8
"""Images are sorted into batches of one shape among this many batches' worth; a batch of one needs no sorting."""

SYSTEMATIC = 16
"""So many images of one shard that the detector refuses for one and the same reason end the run."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What every worker of a run is given once."""

    detector: DetectorRequest
    inputs: Mapping[str, Any]
    """As the driver read them; a worker that reads others does not begin."""
    configuration: Mapping[str, Any]
    """The manifest's; written into every shard."""
    store: StoreName
    out: str | Path
    """An absolute path, or a URL."""
    batch_size: int
    threads: int
    """Cores for the model, and as many decoding threads."""
    given_boxes: Path | None = None
    max_pixels: int = MAX_PIXELS
    """Pixels of an image at most, and of those that are decoded at once."""


class ShardWorker:
    """Makes shards. Two calls may overlap: one decodes ahead while the other's model runs or its disk syncs."""

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(1)
        self._settings = settings
        try:
            self._detector = build_detector(settings.detector)
        except (ValueError, OSError) as error:  # the driver's node could build it
            raise RuntimeError(f"node {platform.node()}: {error}") from error
        boxes = read_given_boxes(settings.given_boxes) if settings.given_boxes else None
        self._given_boxes = boxes.boxes_of if boxes else None
        read = described_inputs(settings.detector.name, self._detector.describe(), boxes.sha256 if boxes else None)
        require_same_inputs(settings.inputs, read)
        self._model = threading.Lock()
        self._budget = PixelBudget(settings.max_pixels)
        self._outages = OutageWatch()
        self._metrics = WorkerMetrics()
        self._place = place_of(settings.out)
        self._news: queue.SimpleQueue[Features | FailedImage | str] = queue.SimpleQueue()
        self._batch_size = settings.batch_size
        """Smaller than asked for once the device's memory has not held as many."""

    def ready(self) -> None:
        """Return once the detector is loaded."""

    def progress(self) -> Progress:
        """Return what was finished since the last call."""
        news = [self._news.get() for _ in range(self._news.qsize())]
        failures = tuple(each for each in news if isinstance(each, FailedImage))
        notices = tuple(each for each in news if isinstance(each, str))
        return Progress(num_images=len(news) - len(notices), failures=failures, notices=notices)

    def make_shard(self, task: ShardTask) -> ShardReport:
        """Write the shard's file whole, or not at all; what fails of it is in the report's manifest entry."""
        started = time.perf_counter()
        if task.made is not None and (unread := self._still_unread(task)):
            entry = replace(task.made, failures=unread)
            seconds_taken = time.perf_counter() - started
            return ShardReport(
                entry=entry, num_images=task.num_images, seconds=seconds_taken, is_new=False, stage_seconds={}
            )
        settings, seconds = self._settings, defaultdict[str, float](float)
        failures: list[FailedImage] = []
        with ExitStack() as stack:
            folder = stack.enter_context(self._place.workspace())
            path = folder / f"{task.shard.name}{STORES[settings.store].suffix}"
            kept, held = self._kept_rows(path, task, stack)
            put_aside = {each.image_id for each in task.put_aside}
            images = [image for image in task.shard.images if image.image_id not in put_aside]
            tried = [image for image in images if image.image_id not in kept]
            require_no_loss(path, held, task.put_aside)
            if tried or len(kept) < len(held):
                loading = self._load(tried, task, stack)
                records = stack.enter_context(closing(self._records(images, kept, loading, failures, seconds)))
                rows = STORES[settings.store].write_shard(
                    path,
                    self._without_loss(path, held, records, failures),
                    content=content_of(settings.detector),
                    configuration=settings.configuration,
                )
                records.close()
            else:
                rows = self._believe(path, kept)
            for each in task.put_aside if task.made is None else ():
                self._news.put(each)
            entry = describe_shard(path, rows, [*failures, *task.put_aside])
            self._place.publish(path)
        whole = time.perf_counter() - started
        seconds["write"] = whole - seconds["turn"] - seconds["wait"] - seconds["detect"]
        del seconds["turn"]
        self._metrics.count(stored=rows - len(kept), quarantined=len(failures), stage_seconds=seconds)
        return ShardReport(entry=entry, num_images=task.num_images, seconds=whole, stage_seconds=dict(seconds))

    def _still_unread(self, task: ShardTask) -> tuple[FailedImage, ...]:
        """Return the shard's failures where all that are tried again could not be read, and cannot now; else none."""
        unread = {each.image_id for each in task.made.failures if each.stage == "read"} if task.made else set()
        if not task.retry <= unread:
            return ()
        tried = [image for image in task.shard.images if image.image_id in task.retry]
        with ThreadPoolExecutor(self._settings.threads) as threads:
            faults = list(threads.map(read_fault, tried))
        found = tuple(each for each in faults if each is not None)
        if len(found) < len(tried):
            return ()
        for each in found:
            self._news.put(each)
        return tuple(sorted((*found, *task.put_aside), key=lambda each: each.image_id.encode(errors="surrogatepass")))

    def try_part(self, part: ShardTask) -> None:
        """Load an image and run the detector on it; what is wrong with it is told when the shard is made."""
        (source,) = part.shard.images
        loaded = self._load_image(source)
        with self._model:
            if isinstance(loaded.outcome, PreparedImage):
                self._detect([loaded])

    def _load(self, images: Sequence[ImageSource], task: ShardTask, stack: ExitStack) -> Iterator[LoadedImage]:
        """Return the images as they are loaded, on threads ahead of the model."""
        if task.is_gentle:
            return map(self._load_image, images)
        threads = stack.enter_context(ThreadPoolExecutor(self._settings.threads))
        return load_ahead(self._load_image, images, threads, depth=self._window() + self._settings.threads)

    def _load_image(self, source: ImageSource) -> LoadedImage:
        return load_image(source, self._detector, self._given_boxes, self._budget)

    def _records(
        self,
        images: Sequence[ImageSource],
        kept: Mapping[str, Features],
        loading: Iterator[LoadedImage],
        failures: list[FailedImage],
        seconds: defaultdict[str, float],
    ) -> Generator[Features, None, None]:
        """Yield the shard's rows in plan order; failures are appended as they happen."""
        asked = time.perf_counter()
        with self._model:
            seconds["turn"] += time.perf_counter() - asked
            detected = self._detected(loading, seconds)
            for image in images:
                if image.image_id in kept:
                    yield kept[image.image_id]
                    continue
                outcome = next(detected)
                self._news.put(outcome)
                self._watch(image, outcome, images)
                if isinstance(outcome, FailedImage):
                    failures.append(outcome)
                    _refuse_if_the_detector_is_at_fault(failures)
                else:
                    yield outcome

    def _watch(self, image: ImageSource, outcome: Features | FailedImage, images: Sequence[ImageSource]) -> None:
        """End the shard where nothing can be read any more: images are not at fault for an outage."""
        stage = outcome.stage if isinstance(outcome, FailedImage) else "detect"
        if isinstance(outcome, FailedImage) and stage == "read":
            self._outages.not_read(image, outcome.reason, images)
        elif stage != "store":
            self._outages.read(image)

    def _detected(
        self, loading: Iterator[LoadedImage], seconds: defaultdict[str, float]
    ) -> Iterator[Features | FailedImage]:
        """Yield each loaded image's features, or why there are none, in order."""
        while True:
            asked = time.perf_counter()
            loaded = list(islice(loading, self._window()))
            seconds["wait"] += time.perf_counter() - asked
            if not loaded:
                return
            seconds["read"] += sum(image.read_seconds for image in loaded)
            seconds["decode"] += sum(image.decode_seconds for image in loaded)
            outcomes: dict[str, Features | FailedImage] = {}
            asked = time.perf_counter()
            for batch in self._batches(loaded):
                outcomes |= zip((image.source.image_id for image in batch), self._detect(batch), strict=True)
            seconds["detect"] += time.perf_counter() - asked
            yield from (
                image.outcome
                if isinstance(image.outcome, FailedImage)
                else _of_file(image, outcomes[image.source.image_id])
                for image in loaded
            )

    def _batches(self, window: Sequence[LoadedImage]) -> Iterator[list[LoadedImage]]:
        """Yield batches of images whose inputs have one shape, so that none is padded for the sake of another."""
        loaded = {image.source.image_id: image for image in window}
        for alike in by_shape(image.outcome for image in window if isinstance(image.outcome, PreparedImage)):
            while alike:
                batch, alike = alike[: self._batch_size], alike[self._batch_size :]
                yield [loaded[each.image_id] for each in batch]

    def _detect(self, batch: Sequence[LoadedImage]) -> list[Features | FailedImage]:
        """Return the batch's features; where the batch fails, each image is tried alone to find the one at fault."""
        prepared = [image.outcome for image in batch if isinstance(image.outcome, PreparedImage)]
        try:
            return list(self._detector.detect(prepared))
        except torch.OutOfMemoryError:
            if len(batch) == 1:  # the message's figures vary; one reason for all shows that it is the device
                return [failed(batch[0].source, "detect", "out of device memory with this image alone")]
        except IMAGE_FAULTS as error:
            if len(batch) == 1:
                return [failed(batch[0].source, "detect", str(error) or type(error).__name__)]
            return [outcome for image in batch for outcome in self._detect([image])]
        half = len(batch) // 2
        self._shrink_batches(half)
        return self._detect(batch[:half]) + self._detect(batch[half:])

    def _shrink_batches(self, size: int) -> None:
        """From now on no batch has more images than the device's memory holds; people are told."""
        torch.cuda.empty_cache()
        if size < self._batch_size:
            self._news.put(f"out of device memory: batches of {size} instead of {self._batch_size} from here on")
            self._batch_size = size

    def _kept_rows(
        self, path: Path, task: ShardTask, stack: ExitStack
    ) -> tuple[Mapping[str, Features], Collection[str]]:
        """Return the rows that stay of the shard as it is, and the ids of all that it holds.

        It may be there before the manifest has it: its maker was killed, or the manifest's writer was.
        """
        sources = {image.image_id: image for image in task.shard.images}
        failed_before = {each.image_id for each in task.put_aside}
        held = sources.keys() - task.retry - failed_before if task.made is not None else set()
        try:
            if not self._is_there(path):
                return {}, held
            reader = open_standing(
                path,
                store=self._settings.store,
                content=content_of(self._settings.detector),
                configuration=self._settings.configuration,
                planned=sources,
            )
        except DamagedFileError as error:
            self._news.put(f"{path.name}: {error.found}, expected {error.expected}; all of it is made again")
            return {}, held
        stack.enter_context(reader)
        ids = list(reader.row_ids)
        kept = {image_id: reader.read(row) for row, image_id in enumerate(ids) if image_id not in task.retry}
        if task.made is None:  # nobody has compared its images with the files that there are now
            kept = {image_id: record for image_id, record in kept.items() if not is_outdated(record, sources[image_id])}
        return kept, set(ids)

    def _is_there(self, path: Path) -> bool:
        """Return whether the store has the shard; it is then in the workspace."""
        try:
            self._place.fetch(path)
        except OSError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        return path.exists()

    def _without_loss(
        self, path: Path, held: Collection[str], records: Iterator[Features], failures: Sequence[FailedImage]
    ) -> Iterator[Features]:
        """Yield the records; the shard that is there stays if a row of it would be a failure."""
        yield from records
        require_no_loss(path, held, failures)

    def _believe(self, path: Path, kept: Mapping[str, Features]) -> int:
        """Return the number of rows of a shard that is there, of which all is right."""
        for record in kept.values():
            self._news.put(record)
        self._news.put(f"{path.name}: it is there and whole, from a run that was ended; taken as it is")
        return len(kept)

    def _window(self) -> int:
        return 1 if self._settings.batch_size == 1 else WINDOW_BATCHES * self._settings.batch_size


def _of_file(image: LoadedImage, outcome: Features | FailedImage) -> Features | FailedImage:
    """Return the record with the digest of the file that it was made from."""
    return outcome if isinstance(outcome, FailedImage) else replace(outcome, image_sha256=image.image_sha256)


def _refuse_if_the_detector_is_at_fault(failures: Sequence[FailedImage]) -> None:
    """Raise when image after image fails in the detector: that is a setting or a device, not the images."""
    last = failures[-SYSTEMATIC:]
    if len(last) == SYSTEMATIC and {(each.stage, each.reason) for each in last} == {("detect", last[0].reason)}:
        raise RuntimeError(f"the last {SYSTEMATIC} failures are one: {last[0].reason}")
