"""The measure of a lattice in generated heads: it sees blocks and grids, and nothing in what has none."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks import lattice
from cpmae_bids.deid import geometry, surface

N = 64
SITES = [mm * N // int(geometry.CUBE_EDGE) for mm in (8, 16, 32)]


@pytest.fixture(scope='module')
def head():
    """Tissue with texture of several sizes, and air around it."""
    rng = np.random.default_rng(0)
    volume = 0.6 + sum(
        size * 0.1 * ndimage.gaussian_filter(rng.standard_normal((N,) * 3), size) for size in (0.7, 2, 5)
    )
    inside = surface.box(((-90, 90), (-110, 90), (-120, 90)), N)
    return np.where(inside, volume, 0)


@pytest.mark.parametrize('period', SITES)
def test_tissue_has_no_lattice(head, period):
    assert lattice.lattice_excess(head, period) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize('period', SITES)
def test_blocks_of_a_brightness_of_their_own_are_seen(head, period):
    offsets = 0.03 * np.random.default_rng(1).standard_normal((N // period,) * 3)
    blocks = np.kron(offsets, np.ones((period,) * 3))
    assert lattice.lattice_excess(np.where(head > 0, head + blocks, 0), period) > lattice.LIMIT


@pytest.mark.parametrize('period', SITES[1:])
def test_a_grid_is_seen(head, period):
    grid = head.copy()
    for axis in range(3):
        np.moveaxis(grid, axis, 0)[::period] *= 1.05
    assert lattice.lattice_excess(grid, period) > lattice.LIMIT


def test_blocks_of_another_edge_are_not(head):
    offsets = 0.03 * np.random.default_rng(1).standard_normal((N // 16,) * 3)
    blocks = np.where(head > 0, head + np.kron(offsets, np.ones((16,) * 3)), 0)
    assert lattice.lattice_excess(np.roll(blocks, 3, axis=(0, 1, 2)), 16) < lattice.LIMIT


def test_air_alone_says_nothing():
    assert np.isnan(lattice.plane_energy(np.zeros((8, 8, 8)), 0)).all()
