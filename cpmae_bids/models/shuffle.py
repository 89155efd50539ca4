"""Channels to space and back, in three dimensions; torch has them in two."""

from torch import Tensor


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """Channels to space in three dimensions; (B, C f^3, X, Y, Z) to (B, C, f X, f Y, f Z)."""
    b, c, sx, sy, sz = x.shape
    f = factor
    x = x.view(b, c // f**3, f, f, f, sx, sy, sz).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c // f**3, sx * f, sy * f, sz * f)


def pixel_unshuffle(x: Tensor, factor: int) -> Tensor:
    """Space to channels in three dimensions, the inverse of `pixel_shuffle`."""
    b, c, sx, sy, sz = x.shape
    f = factor
    x = x.view(b, c, sx // f, f, sy // f, f, sz // f, f).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * f**3, sx // f, sy // f, sz // f)
