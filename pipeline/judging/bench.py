"""How fast a detector is here: its stages, the whole pipeline, and what the device's arithmetic allows."""

import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from detectors.catalog import DescribedDetector, DetectorRequest, build_detector, settle_precision
from detectors.inputs.batch import by_shape
from detectors.inputs.images import ImageError, decode_image
from detectors.precision import Precision, resolve_precision
from detectors.records import DecodedImage, PreparedImage
from pipeline.event_log import RUN_LOG_NAME
from pipeline.extraction.extract import ExtractionJob, extract
from pipeline.run_log import merge_shards, read_runs
from stores.images.bytes import read_source
from stores.images.listing import IdRule, list_images

NETWORK_STAGES = {
    "feature_map": "trunk",
    "propose": "proposals",
    "region_features": "pooling and fifth stage",
    "classify": "predictions",
    "attributes": "predictions",
    "refine": "predictions",
}
"""Methods of a network of regions, by the stage that people are told."""

REST = "selection and copies"
"""What of `detect` is in no method of the network."""

MATRIX_SIDE = 4096
"""Side of the matrices whose product measures the device's rate; smaller on a CPU."""


@dataclass(frozen=True, kw_only=True)
class BenchJob:
    """What is measured."""

    images: tuple[str, ...]
    detector: DetectorRequest
    num_images: int = 64
    """At most; the first by id."""
    batch_size: int = 1
    repeats: int = 3
    """Passes of the bare model; the median counts."""
    image_id: IdRule = "stem"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was measured, in one run on one machine."""

    device: str
    precision: str
    threads: int
    num_images: int
    batch_size: int
    model_images_per_second: float
    """Rate of the model on prepared images in memory, one process, by the median repeat."""
    model_spread: tuple[float, float]
    """Slowest and fastest repeat, images/s."""
    pipeline_images_per_second: float
    """Rate of `vinculum extract` from files to shards by all workers, once they have started."""
    stage_seconds: Mapping[str, float]
    """For one image, each stage on its own, one after the other in one process."""
    pipeline_stage_seconds: Mapping[str, float]
    """For one image, as workers count them: reading and decoding on threads, waiting for them, detecting, writing."""
    gigaflops: float
    """Arithmetic of one image, the mean over all; multiplications and additions apart, in convolutions and products."""
    device_gigaflops_per_second: float
    """Measured here, of a matrix product in the same precision."""
    roofline_images_per_second: float
    """What that rate would allow, were the model nothing but its arithmetic."""
    peak_memory_mib: float
    """Peak memory of the device; on a CPU, of the process."""

    @property
    def share_of_roofline(self) -> float:
        return self.model_images_per_second / self.roofline_images_per_second


def measure(job: BenchJob) -> Bench:
    """Return the measurements; the pipeline's shards go to a temporary folder and are gone.

    Raises:
        ValueError: a setting is bad, or an image cannot be decoded.
    """
    request = settle_precision(job.detector)
    detector = build_detector(request)
    device = torch.device(request.device)
    seconds: defaultdict[str, float] = defaultdict(float)
    prepared = _prepare(job, detector, seconds)
    batches = list(_batches(prepared, job.batch_size))
    _run(detector, batches[:1], device)  # warm
    gigaflops = _gigaflops(detector, prepared)
    rates = [len(prepared) / _run(detector, batches, device) for _ in range(job.repeats)]
    with _timed_stages(detector, device, seconds):
        whole = _run(detector, batches, device)
    rest = REST if hasattr(detector, "network") else "model"
    seconds[rest] = max(whole - sum(seconds.get(name, 0.0) for name in set(NETWORK_STAGES.values())), 0.0)
    rate = device_rate(device, request.precision)
    peak = _peak_memory(device)
    pipeline_rate, pipeline_seconds = _pipeline(job, request)
    return Bench(
        device=_device_name(device),
        precision=request.precision,
        threads=torch.get_num_threads(),
        num_images=len(prepared),
        batch_size=job.batch_size,
        model_images_per_second=sorted(rates)[len(rates) // 2],
        model_spread=(min(rates), max(rates)),
        pipeline_images_per_second=pipeline_rate,
        stage_seconds={name: each / len(prepared) for name, each in seconds.items()},
        pipeline_stage_seconds=pipeline_seconds,
        gigaflops=gigaflops,
        device_gigaflops_per_second=rate,
        roofline_images_per_second=rate / gigaflops,
        peak_memory_mib=peak,
    )


def lines_of(bench: Bench) -> list[str]:
    """Return the table, for people."""
    slowest, fastest = bench.model_spread
    lines = [
        f"{bench.num_images} images in batches of {bench.batch_size} on {bench.device}, {bench.precision}, "
        f"{bench.threads} threads",
        f"bare model  {bench.model_images_per_second:8.2f} images/s ({slowest:.2f} to {fastest:.2f})",
        f"pipeline    {bench.pipeline_images_per_second:8.2f} images/s",
        f"roofline    {bench.roofline_images_per_second:8.2f} images/s: {bench.gigaflops:.1f} GFLOP an image at "
        f"{bench.device_gigaflops_per_second:.0f} GFLOP/s; the model reaches {bench.share_of_roofline:.0%} of it",
        f"peak memory {bench.peak_memory_mib:8.0f} MiB",
    ]
    for title, stages in (("one after the other", bench.stage_seconds), ("pipeline", bench.pipeline_stage_seconds)):
        whole = sum(stages.values())
        lines += [f"{title}:"]
        lines += [f"  {name:24} {1000 * each:9.2f} ms an image {each / whole:6.1%}" for name, each in stages.items()]
    return lines


def _prepare(job: BenchJob, detector: DescribedDetector, seconds: defaultdict[str, float]) -> list[PreparedImage]:
    """Return the images that can be decoded, and add how long reading, decoding and preparing took, on one thread."""
    prepared = []
    for source in list_images(job.images, job.image_id).images[: job.num_images]:
        started = time.perf_counter()
        data = read_source(source)
        read = time.perf_counter()
        try:
            image: DecodedImage = decode_image(source.image_id, data)
        except ImageError as error:
            raise ValueError(f"image {source.image_id!r}: {error}; expected images that can be decoded") from error
        decoded = time.perf_counter()
        prepared.append(detector.prepare(image))
        seconds["read"] += read - started
        seconds["decode"] += decoded - read
        seconds["resize"] += time.perf_counter() - decoded
    return prepared


def _batches(prepared: Sequence[PreparedImage], size: int) -> Iterator[list[PreparedImage]]:
    for alike in by_shape(prepared):
        yield from (alike[first : first + size] for first in range(0, len(alike), size))


def _run(detector: DescribedDetector, batches: Sequence[Sequence[PreparedImage]], device: torch.device) -> float:
    """Return the seconds that all batches take."""
    started = _now(device)
    for batch in batches:
        detector.detect(batch)
    return _now(device) - started


def _now(device: torch.device) -> float:
    """Return the time when all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def _timed_stages(
    detector: DescribedDetector, device: torch.device, seconds: defaultdict[str, float]
) -> Iterator[None]:
    """While this is open, each stage of a network of regions adds the time it takes; of others all is one stage."""
    network = getattr(detector, "network", None)
    if network is None:
        yield
        return

    def timed(method: Any, stage: str) -> Any:
        def call(*arguments: Any) -> Any:
            started = _now(device)
            result = method(*arguments)
            seconds[stage] += _now(device) - started
            return result

        return call

    for name, stage in NETWORK_STAGES.items():
        setattr(network, name, timed(getattr(network, name), stage))
    try:
        yield
    finally:
        for name in NETWORK_STAGES:
            delattr(network, name)


def _gigaflops(detector: DescribedDetector, prepared: Sequence[PreparedImage]) -> float:
    """Return the mean of all images; those of one shape cost the same."""
    whole = 0.0
    for alike in by_shape(prepared):
        with FlopCounterMode(display=False) as counter:
            detector.detect(alike[:1])
        whole += counter.get_total_flops() * len(alike)
    return whole / len(prepared) / 1e9


def device_rate(device: torch.device, precision: Precision) -> float:
    """Return GFLOP/s of a square matrix product, the best of a few."""
    side = MATRIX_SIDE if device.type == "cuda" else MATRIX_SIDE // 4
    dtype = resolve_precision(precision, device)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = []
    for _ in range(6):
        started = _now(device)
        left @ right
        times.append(_now(device) - started)
    return 2 * side**3 / min(times) / 1e9


def _pipeline(job: BenchJob, request: DetectorRequest) -> tuple[float, dict[str, float]]:
    """Return images/s of the same images from files to shards, and the seconds of each stage for one image."""
    sources = list_images(job.images, job.image_id).images[: job.num_images]
    with tempfile.TemporaryDirectory(prefix="vinculum-bench-") as folder:
        images = Path(folder, "images")
        images.mkdir()
        for number, source in enumerate(sources):  # wherever they lie; reading is measured from this disk
            (images / f"{number:06}.png").write_bytes(read_source(source))
        extract(
            ExtractionJob(
                images=(str(images),),
                out=Path(folder, "regions"),
                detector=request,
                batch_size=job.batch_size,
                shard_size=max(1, len(sources) // 4),
            )
        )
        (run,) = read_runs(Path(folder, "regions", RUN_LOG_NAME))
    (timing,) = merge_shards(run.shards, 1)
    rate = timing.images_per_second * run.num_workers
    return rate, {stage: each / timing.num_images for stage, each in timing.stage_seconds.items()}


def _peak_memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    units = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    return f"a CPU with {', '.join(units) or 'no units for bfloat16'}"
