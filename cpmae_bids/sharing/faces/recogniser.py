"""dlib's free face detector and recogniser at work on renderings of the skin (extra ``cpmae-bids[audit]``).

Detector (HOG), landmarks (5 points) and embedding (ResNet, 128 numbers) at their own settings. Both packages
hold their weights; nothing is downloaded.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from cpmae_bids.reports.render import render_field, skin_field

EXTRA = 'cpmae-bids[audit]'
YAWS = (-20.0, -10.0, 0.0, 10.0, 20.0)
UPSAMPLE = 1  # the detector's smallest face has 80 pixels: one doubling makes room for small heads
FACE_YAWS = (0.0, -20.0, 20.0)
# The detector's score, and in how many views it must be reached, for a head to have a face. At a score of 0,
# the detector's own limit, it takes the holes in a head that was cut open for eyes.
MIN_SCORE, MIN_VIEWS = 1.0, 2


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(name) is not None for name in ('dlib', 'face_recognition_models'))


def describe(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Mean embedding of the faces that are found in renderings of a head, shape (128,); NaN without any.

    `values` (X, Y, Z) are seen from `YAWS`; `affine` leads to world (RAS, mm).
    """
    detector, landmarker, network = load_models()
    embeddings = []
    try:
        field = skin_field(values, affine)
    except ValueError:  # nothing is brighter than the air
        return np.full(128, np.nan)
    for yaw in YAWS:
        picture = render_field(field, yaw_deg=yaw)
        boxes, scores, _ = detector.run(picture, UPSAMPLE)
        if len(boxes):
            rgb = np.repeat(picture[..., None], 3, axis=2)
            shape = landmarker(rgb, boxes[int(np.argmax(scores))])
            embeddings.append(network.compute_face_descriptor(rgb, shape))
    return np.mean(embeddings, axis=0) if embeddings else np.full(128, np.nan)


def sees_face(values: np.ndarray, affine: np.ndarray) -> bool:
    """Whether the detector is sure of a face in two of three views, the front and turned by 20 degrees."""
    detector = load_models()[0]
    try:
        field = skin_field(values, affine)
    except ValueError:
        return False
    sure = (
        len(detector.run(render_field(field, yaw_deg=yaw), UPSAMPLE, MIN_SCORE)[0]) > 0 for yaw in FACE_YAWS
    )
    return sum(sure) >= MIN_VIEWS


@cache
def load_models() -> tuple[Any, Any, Any]:
    """Detector of faces, of five landmarks, and embedding, each as dlib gives it."""
    import dlib

    # the package of the models cannot be imported without pkg_resources; only its files are needed
    found = find_spec('face_recognition_models')
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError('face_recognition_models')
    folder = Path(found.submodule_search_locations[0]) / 'models'
    return (
        dlib.get_frontal_face_detector(),
        dlib.shape_predictor(str(folder / 'shape_predictor_5_face_landmarks.dat')),
        dlib.face_recognition_model_v1(str(folder / 'dlib_face_recognition_resnet_model_v1.dat')),
    )
