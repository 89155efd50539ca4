"""Boxes that hold the tissue of a volume: most of a volume is air, which needs no work."""

import math
from collections.abc import Iterator
from types import EllipsisType

from torch import Tensor


def blocks_of_tissue(tissue: Tensor, halo: int, voxels: int) -> Iterator[tuple[slice, slice, slice]]:
    """Boxes that cover all tissue (bool, shape (X, Y, Z)), each of few enough voxels.

    `halo` is the number of voxels that are computed around each box, `voxels` the most that a box has with
    its halo, as long as a single layer has fewer.
    """
    pending = [tuple(slice(0, size) for size in tissue.shape)]
    while pending:
        box = _shrunk(tissue, pending.pop())
        if box is None:
            continue
        edges = [s.stop - s.start for s in box]
        longest = max(range(3), key=edges.__getitem__)
        if math.prod(edge + 2 * halo for edge in edges) <= voxels or edges[longest] == 1:
            yield box
            continue
        start, stop = box[longest].start, box[longest].stop
        middle = (start + stop) // 2
        for part in (slice(start, middle), slice(middle, stop)):
            pending.append((*box[:longest], part, *box[longest + 1 :]))


def scaled(block: tuple[slice, ...], factor: int, halo: int = 0) -> tuple[EllipsisType | slice, ...]:
    """Index of a block, and its halo after it, in a volume (..., X, Y, Z) with voxels `factor` times finer.

    With a halo the volume is padded by it: what was voxel 0 lies behind the halo.
    """
    return ..., *(slice(factor * s.start, factor * (s.stop + 2 * halo)) for s in block)


def inner(volume: Tensor, voxels: int) -> Tensor:
    """Volumes (..., X, Y, Z) without so many voxels at each face."""
    part = slice(voxels, -voxels)
    return volume[..., part, part, part]


def _shrunk(tissue: Tensor, box: tuple[slice, ...]) -> tuple[slice, slice, slice] | None:
    """The part of a box that holds its tissue, or None where it holds none."""
    inside = tissue[box]
    if not inside.any():
        return None
    found = []
    for axis, span in enumerate(box):
        others = [other for other in range(3) if other != axis]
        layers = inside.any(others[1]).any(others[0]).nonzero()
        found.append(slice(span.start + int(layers[0]), span.start + int(layers[-1]) + 1))
    return found[0], found[1], found[2]
