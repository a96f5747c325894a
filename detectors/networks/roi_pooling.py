"""RoI pooling: bins of the feature map under each region; fast on CPUs, torchvision's operators elsewhere.

Axes: B images, C channels, H W cells of the map, R regions, S bins a side.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

Pooling = Literal["pool", "align", "align-half"]


def pool_rois(
    map_BCHW: Tensor, rois_R5: Tensor, *, pooling: Pooling, size: int, scale: float, at_once: int
) -> Iterator[Tensor]:
    """Yield [at_once, C, S, S] for RoIs (image index, x1, y1, x2, y2), in the map's dtype and memory layout.

    `scale` is cells of the map per unit of the boxes. RoIPool takes the largest value of a bin's cells (Girshick,
    Fast R-CNN, ICCV 2015); RoIAlign averages bilinear samples (He et al., Mask R-CNN, ICCV 2017), for `align-half`
    half a cell up and left, where a cell's value is at its centre. What is yielded may be overwritten when the next
    chunk is asked for.
    """
    on_cpu_without_gradient = map_BCHW.device.type == "cpu" and not map_BCHW.requires_grad
    if on_cpu_without_gradient and pooling == "pool":
        yield from _largest_in_bins(map_BCHW, rois_R5, size, scale, at_once)
        return
    operator = roi_pool if pooling == "pool" else partial(roi_align, aligned=pooling == "align-half")
    whole_map = map_BCHW.float()  # the operators know float32 on every device
    layout = torch.channels_last if _is_channels_last(map_BCHW) else torch.contiguous_format
    # torchvision's CPU operators use one core, and release the interpreter while they work.
    num_threads = torch.get_num_threads() if on_cpu_without_gradient else 1
    with ThreadPoolExecutor(num_threads) as threads:
        for chunk in rois_R5.split(at_once):
            parts = [part for part in chunk.tensor_split(num_threads) if len(part)]
            pooled = torch.cat(list(threads.map(lambda part: operator(whole_map, part, size, scale), parts)))
            yield pooled.to(dtype=map_BCHW.dtype, memory_format=layout)


def _largest_in_bins(map_BCHW: Tensor, rois_R5: Tensor, size: int, scale: float, at_once: int) -> Iterator[Tensor]:
    """Yield RoIPool exactly, from tables of the largest value in every rectangle of 2^k x 2^l cells.

    Any bin is the union of four such rectangles, possibly overlapping, so it costs four rows of C neighbouring
    values, where the plain loop walks the cells of each bin once for every channel.
    """
    num_images, channels, height, width = map_BCHW.shape
    first_x, end_x = _bin_edges(rois_R5[:, 1], rois_R5[:, 3], size, scale, width)
    first_y, end_y = _bin_edges(rois_R5[:, 2], rois_R5[:, 4], size, scale, height)
    level_y, level_x = _level(end_y - first_y), _level(end_x - first_x)
    rows_MC, num_levels_x = _tables(map_BCHW, int(level_y.max()), int(level_x.max()))
    has_cells = (end_y > first_y)[:, :, None] & (end_x > first_x)[:, None, :]
    table = (level_y[:, :, None] * num_levels_x + level_x[:, None, :]) * num_images + rois_R5[:, 0].long()[
        :, None, None
    ]
    tops = (first_y.clamp(max=height - 1), (end_y - 2**level_y).clamp(min=0))
    lefts = (first_x.clamp(max=width - 1), (end_x - 2**level_x).clamp(min=0))
    corners = [(table * height + top[:, :, None]) * width + left[:, None, :] for top in tops for left in lefts]
    # Two buffers serve all chunks: fresh memory costs more than the pooling itself.
    buffers = rows_MC.new_empty(2, min(at_once, len(rois_R5)) * size * size, channels)
    for start in range(0, len(rois_R5), at_once):
        chunk = slice(start, start + at_once)
        filled = buffers[:, : has_cells[chunk].numel()]
        pooled = torch.index_select(rows_MC, 0, corners[0][chunk].flatten(), out=filled[0])
        for corner in corners[1:]:
            torch.maximum(pooled, torch.index_select(rows_MC, 0, corner[chunk].flatten(), out=filled[1]), out=pooled)
        pooled[~has_cells[chunk].flatten()] = 0  # a bin beyond the map
        pooled_RCSS = pooled.view(-1, size, size, channels).permute(0, 3, 1, 2)
        yield pooled_RCSS if _is_channels_last(map_BCHW) else pooled_RCSS.contiguous()


def _bin_edges(low_R: Tensor, high_R: Tensor, size: int, scale: float, extent: int) -> tuple[Tensor, Tensor]:
    """Return first and one-past-last cell of each bin, int64 [R, S], rounded as torchvision's operator rounds."""
    start_R, last_R = _round(low_R * scale), _round(high_R * scale)
    cells_R = (last_R - start_R + 1).clamp(min=1).to(torch.float32)
    bin_R1 = (cells_R / size)[:, None]
    steps_S = torch.arange(size, dtype=torch.float32, device=low_R.device)
    first = (steps_S * bin_R1).floor().long() + start_R[:, None]
    end = ((steps_S + 1) * bin_R1).ceil().long() + start_R[:, None]
    return first.clamp(0, extent), end.clamp(0, extent)


def _round(values: Tensor) -> Tensor:
    """Return the nearest integers, halves away from zero as in C."""
    exact = values.double()
    return (exact.abs() + 0.5).floor().copysign(exact).long()


def _level(cells: Tensor) -> Tensor:
    """Return the largest k with 2^k <= cells, 0 for an empty bin."""
    return torch.frexp(cells.clamp(min=1).to(torch.float32)).exponent.long() - 1


def _tables(map_BCHW: Tensor, top_y: int, top_x: int) -> tuple[Tensor, int]:
    """Return all tables as rows [levels_y * levels_x * B * H * W, C], and levels_x."""
    by_height = _doubled(map_BCHW.permute(0, 2, 3, 1).contiguous(), axis=1, levels=top_y)
    tables = [table for tall in by_height for table in _doubled(tall, axis=2, levels=top_x)]
    return torch.stack(tables).flatten(0, 3), top_x + 1


def _doubled(table_BHWC: Tensor, *, axis: int, levels: int) -> list[Tensor]:
    """Return the table and, for k = 1 .. levels, the maxima over 2^k cells from each cell on along the axis."""
    tables = [table_BHWC]
    for level in range(levels):
        below, step = tables[-1], 2**level
        above = below.clone()
        inner = above.narrow(axis, 0, above.shape[axis] - step)
        torch.maximum(inner, below.narrow(axis, step, below.shape[axis] - step), out=inner)
        tables.append(above)
    return tables


def _is_channels_last(map_BCHW: Tensor) -> bool:
    return map_BCHW.is_contiguous(memory_format=torch.channels_last)
