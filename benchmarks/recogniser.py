"""dlib's free face recogniser at work on renderings of the skin of a head.

Detector (HOG), landmarks (5 points) and embedding (ResNet, 128 numbers) at their own settings; the pictures
are those of `cpmae_bids.reports.render`: no texture, no hair, one light from above the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import polar

from benchmarks.pairs import Pair
from cpmae_bids.sharing.faces.recogniser import UPSAMPLE, YAWS, load_models

FRONTAL = YAWS.index(0.0)
BACK = 180.0
"""What is found on the back of the head is a false alarm."""


@dataclass(frozen=True)
class Views:
    """What the recogniser finds in the renderings of one head.

    Attributes
    ----------
    found : ndarray of bool, shape (views,)
        Whether there is a face, in the order of `YAWS`.
    landmarks : ndarray of float, shape (views, 5, 2)
        Column and row (pixels, which are mm) of the outer and inner corner of the eye on the right of the
        picture, the outer and inner corner of the other, and the base of the nose; ``nan`` without a face.
    embeddings : ndarray of float, shape (views, 128)
        ``nan`` without a face.
    back : bool
        Whether a face is found on the back of the head.
    """

    found: np.ndarray
    landmarks: np.ndarray
    embeddings: np.ndarray
    back: bool

    @property
    def template(self) -> np.ndarray:
        """Mean of the embeddings, shape (128,); ``nan`` where no view has a face."""
        return self.embeddings[self.found].mean(axis=0) if self.found.any() else np.full(128, np.nan)


def views(pair: Pair, *, upright: bool = False) -> Views:
    """The views of the output of a pair, as it lay in the scanner or turned upright, computed once."""
    kept = views_path(pair.work, upright=upright)
    if not kept.exists():
        import nibabel as nib

        image = nib.load(pair.output)
        turn = np.eye(4)
        if upright:
            turn[:3, :3] = polar(np.loadtxt(pair.affine)[:3, :3])[0]
        seen = look(np.asanyarray(image.dataobj), turn @ image.affine)
        part = kept.with_suffix('.part.npz')
        np.savez(part, **vars(seen))
        part.replace(kept)
    return read_views(pair.work, upright=upright)


def views_path(work: Path, *, upright: bool = False) -> Path:
    return work / ('views_upright.npz' if upright else 'views.npz')


def read_views(work: Path, *, upright: bool = False) -> Views:
    """What `views` left in the folder of a pair."""
    with np.load(views_path(work, upright=upright)) as arrays:
        return Views(arrays['found'], arrays['landmarks'], arrays['embeddings'], bool(arrays['back']))


def look(volume: np.ndarray, affine: np.ndarray) -> Views:
    """Render a head and look for its face.

    Parameters
    ----------
    volume : ndarray, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)
        Voxel indices to world (RAS, mm).

    Returns
    -------
    Views
        Without any face where the volume shows no head at all.
    """
    from cpmae_bids.reports.render import render_field, skin_field

    detector, landmarker, network = load_models()
    count = len(YAWS)
    found, back = np.zeros(count, bool), False
    landmarks, embeddings = np.full((count, 5, 2), np.nan), np.full((count, 128), np.nan)
    try:
        field = skin_field(volume, affine)
    except ValueError:
        return Views(found, landmarks, embeddings, back)
    for view, yaw in enumerate(YAWS):
        picture = render_field(field, yaw_deg=yaw)
        boxes, scores, _ = detector.run(picture, UPSAMPLE)
        if len(boxes):
            rgb = np.repeat(picture[..., None], 3, axis=2)
            shape = landmarker(rgb, boxes[int(np.argmax(scores))])
            found[view] = True
            landmarks[view] = [(point.x, point.y) for point in shape.parts()]
            embeddings[view] = network.compute_face_descriptor(rgb, shape)
    back = len(detector(render_field(field, yaw_deg=BACK), UPSAMPLE)) > 0
    return Views(found, landmarks, embeddings, back)
