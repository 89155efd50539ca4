"""Pictures of progress: believe your eyes before a loss curve. PNG by the standard library alone."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a grey image, uint8 of shape (height, width)."""
    height, width = image.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
        )

    rows = np.hstack([np.zeros((height, 1), np.uint8), image])  # each row is led by its filter: none
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(rows.tobytes(), 6))
        + chunk(b'IEND', b'')
    )


def slices(volume: np.ndarray, white: float = 1.4) -> np.ndarray:
    """Sagittal, coronal and axial slice of a cube side by side; (n, n, n) float to (n, 3 n) uint8.

    Up is superior, and anterior in the axial slice. The coronal slice goes through the face.
    """
    n = volume.shape[0]
    parts = volume[n // 2], volume[:, 3 * n // 4], volume[:, :, 2 * n // 5]
    grey = np.hstack([part.T[::-1] for part in parts])
    return np.round(np.clip(grey / white, 0, 1) * 255).astype(np.uint8)


def write_preview(path: Path, volumes: list[np.ndarray]) -> None:
    """Write cubes of one size, a row of slices each, from top to bottom."""
    write_png(path, np.vstack([slices(np.asarray(volume, np.float32)) for volume in volumes]))
