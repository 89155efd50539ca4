"""Do brainchop's MeshNets give the same regions? Class-averaged Dice of 18, 50 and 104 classes."""

from __future__ import annotations

import numpy as np

from benchmarks import derived, meshnet
from benchmarks.pairs import DOWNSTREAM, Pair

METHODS = DOWNSTREAM

SCANS = 2
"""Of the split: the three networks take minutes of a core for each scan and method."""

NEEDS_MODELS = tuple(('brainchop', network.folder, 'model.json') for network in meshnet.NETWORKS)


def measure(pair: Pair) -> dict[str, float | int | bool | None]:
    """Compare the labels of output and original.

    Returns
    -------
    numbers : dict
        ``dice_<classes>``, mean over the classes; None where no brain is found in the output: ``failed``.
    """
    numbers: dict[str, float | None] = {}
    for network in meshnet.NETWORKS:
        name = f'dice_{network.classes}'
        try:
            after = labels(pair, 'output', network)
        except derived.NoBrainError:
            numbers[name] = None
        else:
            numbers[name] = meshnet.mean_dice(labels(pair, 'original', network), after, network.classes)
    return {**numbers, 'failed': any(value is None for value in numbers.values())}


def labels(pair: Pair, role: derived.Role, network: meshnet.MeshNet) -> np.ndarray:
    """Labels of the conformed image; uint8, shape (256, 256, 256).

    Raises
    ------
    NoBrainError
    """
    inside = derived.some_brain(pair, role)

    def make() -> np.ndarray:
        from cpmae_bids.deid.space import geometry

        conformed, to_voxels = meshnet.conform(*derived.image(pair, role))
        brain = geometry.resample(inside, to_voxels, conformed.shape, order=0) > 0
        return meshnet.segment(conformed, brain, network)

    if pair.method == 'original':
        role = 'original'
    return derived.cached(derived.folder(pair, role) / f'{network.folder}.npz', make)
