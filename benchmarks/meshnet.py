"""The MeshNets of brainchop: convolutions with growing dilation, on a conformed volume.

Masoud et al., Brainchop: in-browser MRI volumetric segmentation and rendering, JOSS 8:5098, 2023 (MIT). As
there, an image is conformed (1 mm, 256 voxels along an edge, left-inferior-anterior, 8 bit by the 99.9th
percentile), scaled to 0..1, and cropped around the brain. Here deepbet finds it, there a further MeshNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from benchmarks import tfjs
from cpmae_bids.deid.space import geometry

EDGE = 256
PADDING = 18
"""Voxels around the brain."""


@dataclass(frozen=True)
class MeshNet:
    """A network of the project.

    Attributes
    ----------
    folder : str
        Of its files.
    classes : int
    quantiles : bool
        Scale by the 5th and 95th percentile instead of least and largest value.
    """

    folder: str
    classes: int
    quantiles: bool = False


NETWORKS = (
    MeshNet('model18cls', 18),
    MeshNet('model30chan50cls', 50, quantiles=True),
    MeshNet('model21_104class', 104),
)


def conform(values: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image as FreeSurfer's conform step makes it.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    affine : ndarray, shape (4, 4)

    Returns
    -------
    conformed : ndarray of uint8, shape (256, 256, 256)
        Axes to the left, down and to the front; voxels of 1 mm around the middle of the image.
    to_voxels : ndarray, shape (4, 4)
        Conformed voxels to those of the image.
    """
    axes = np.array([[-1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # world directions by column
    middle = affine @ [*(np.array(values.shape) / 2), 1]
    grid = np.eye(4)
    grid[:3, :3] = axes
    grid[:3, 3] = middle[:3] - axes @ np.full(3, EDGE / 2)
    to_voxels = np.linalg.inv(affine) @ grid
    low = float(values.min())
    known = values[np.abs(values) >= 1e-15]
    high = float(np.percentile(known, 99.9)) if known.size else low + 1
    scaled = geometry.resample(values - low, to_voxels, (EDGE,) * 3) * (255 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8), to_voxels


def segment(conformed: np.ndarray, brain: np.ndarray, network: MeshNet) -> np.ndarray:
    """Labels of a conformed image.

    Parameters
    ----------
    conformed : ndarray of uint8, shape (256, 256, 256)
    brain : ndarray of bool, shape (256, 256, 256)
        Around which the image is cropped; not empty.
    network : MeshNet

    Returns
    -------
    labels : ndarray of uint8, shape (256, 256, 256)
        0 for the background and outside of the crop.
    """
    import torch
    from torch.nn import functional

    volume = conformed.astype(np.float32)
    low, high = np.percentile(volume, [5, 95]) if network.quantiles else (volume.min(), volume.max())
    window, _ = geometry.crop(brain, np.eye(4), margin=PADDING)
    scaled = (volume[window] - low) / max(float(high - low), 1e-6)
    x = torch.from_numpy(scaled.astype(np.float32))[None, None]  # percentiles are doubles
    with torch.inference_mode():
        *hidden, last = _layers(network.folder)
        for weight, bias, dilation, activation in hidden:
            x = functional.conv3d(x, weight, bias, padding=[dilation] * 3, dilation=dilation)
            x = functional.elu_(x) if activation == 'elu' else functional.relu_(x)
        weight, bias, _, _ = last
        # a slab at a time: a hundred classes of a whole head take gigabytes
        parts = [functional.conv3d(part, weight, bias).argmax(1)[0] for part in x.split(16, dim=2)]
    labels = np.zeros(conformed.shape, np.uint8)
    labels[window] = torch.cat(parts).numpy().astype(np.uint8)
    return labels


@cache
def _layers(folder: str) -> list[tuple]:
    """Kernel, bias, dilation and activation of each convolution, for torch.

    Raises
    ------
    ValueError
        If the network has layers of another kind.
    """
    import torch

    path = tfjs.model_path('brainchop', folder, 'model.json')
    content, weights = tfjs.read_weights(path)
    topology = content['modelTopology']
    layers = topology.get('model_config', topology)['config']['layers']
    found: list[list] = []
    for layer in layers:
        kind, config = layer['class_name'], layer['config']
        if kind == 'Conv3D':
            kernel, bias = (weights[f'{config["name"]}/{part}'] for part in ('kernel', 'bias'))
            torch_kernel = torch.from_numpy(np.ascontiguousarray(kernel.transpose(4, 3, 0, 1, 2)))
            found.append([torch_kernel, torch.from_numpy(bias.copy()), config['dilation_rate'][0], None])
        elif kind == 'Activation' and config['activation'] in ('elu', 'relu'):
            found[-1][3] = config['activation']
        elif kind != 'InputLayer':
            raise ValueError(f'{path}: a layer that is not known: {kind}')
    return [tuple(one) for one in found]


def mean_dice(before: np.ndarray, after: np.ndarray, classes: int) -> float | None:
    """Mean over the classes that one of two label images has, without the background."""
    pairs = np.bincount(
        before.ravel().astype(np.int64) * classes + after.ravel(), minlength=classes * classes
    ).reshape(classes, classes)
    sizes = pairs.sum(axis=1) + pairs.sum(axis=0)
    known = np.flatnonzero(sizes)
    known = known[known > 0]
    return float(np.mean(2 * np.diag(pairs)[known] / sizes[known])) if len(known) else None
