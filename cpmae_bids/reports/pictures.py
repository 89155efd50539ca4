"""Pictures of a scan: slices, and renderings of the face."""

import io

import nibabel as nb
import numpy as np
from scipy import ndimage

from cpmae_bids.reports.render import render_field, skin_field
from cpmae_bids.runtime import threads

PIXEL_MM = 0.8  # edge of a pixel in the slices
GAP = 8  # black pixels between panels
FACE_YAWS = (-40.0, 0.0, 40.0)
FACE_PIXELS = 256
# Offsets in mm (right, front, up) from the middle of the brain: one row through it, one through the face.
SLICE_ROWS = ((0.0, 0.0, 0.0), (30.0, 65.0, -45.0))


def slices_picture(
    volume: np.ndarray, affine: np.ndarray, brain: np.ndarray, window: tuple[float, float] | None = None
) -> np.ndarray:
    """Draw two rows of sagittal, coronal and axial slices, through the brain and through the face.

    The subject's front is on the left of sagittal slices, the right on the left of the others.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
        Scaled intensities, in any orientation.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS, mm).
    brain : ndarray of bool, shape (X, Y, Z)
        Its centre places the slices.
    window : tuple of float, optional
        Intensities of black and white; found by `intensity_window` by default.

    Returns
    -------
    picture : ndarray of uint8, shape (H, W)
    """
    low, high = window or intensity_window(volume)
    image = nb.as_closest_canonical(nb.Nifti1Image(np.asarray(volume, np.float32), affine))
    mask = nb.as_closest_canonical(nb.Nifti1Image(np.asarray(brain, np.uint8), affine))
    data, zooms = np.asanyarray(image.dataobj), np.array(image.header.get_zooms()[:3], float)
    middle = np.array(ndimage.center_of_mass(np.asanyarray(mask.dataobj)))
    rows = []
    for offset in SLICE_ROWS:
        x, y, z = np.clip(np.rint(middle + offset / zooms).astype(int), 0, np.array(data.shape) - 1)
        panels = (
            _panel(data[x, ::-1, ::-1].T, zooms[[2, 1]]),
            _panel(data[::-1, y, ::-1].T, zooms[[2, 0]]),
            _panel(data[::-1, ::-1, z].T, zooms[[1, 0]]),
        )
        rows.append(_side_by_side(panels))
    picture = np.concatenate([rows[0], np.zeros((GAP, rows[0].shape[1]), np.float32), rows[1]])
    return np.round(255 * np.clip((picture - low) / (high - low), 0, 1)).astype(np.uint8)


def face_picture(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Render the skin of a head (X, Y, Z) from three sides, side by side; uint8, shape (H, W).

    Raises ValueError if the volume shows no head (see `cpmae_bids.reports.render.skin_field`).
    """
    field = skin_field(volume, affine)
    views = threads.each(lambda yaw: render_field(field, yaw_deg=yaw, size=FACE_PIXELS), FACE_YAWS)
    return _side_by_side(views)


def intensity_window(volume: np.ndarray) -> tuple[float, float]:
    """Intensities to draw as black and as white: 0, or the lowest, to near the highest."""
    low = min(0.0, float(volume.min()))
    high = float(np.percentile(volume, 99.5))
    return low, high if high > low else low + 1.0


def png(picture: np.ndarray) -> bytes:
    """Encode a grey picture, (H, W) uint8, as PNG without date or name."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format='PNG', optimize=True)
    return stream.getvalue()


def _panel(plane: np.ndarray, zooms: np.ndarray) -> np.ndarray:
    return ndimage.zoom(plane, zooms / PIXEL_MM, order=1)


def _side_by_side(panels) -> np.ndarray:
    """Join panels left to right, each in the middle of the height of the tallest, on black."""
    height = max(panel.shape[0] for panel in panels)
    padded = []
    for panel in panels:
        above = (height - panel.shape[0]) // 2
        padded.append(np.pad(panel, ((above, height - panel.shape[0] - above), (0, GAP))))
    return np.concatenate(padded, axis=1)[:, :-GAP]
