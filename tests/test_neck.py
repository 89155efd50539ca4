"""A head goes on below its lowest slice."""

import numpy as np
import pytest

from cpmae_bids.deid.images.intensity import SKIN
from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.synthesis import neck

N = 64
VOXEL = geometry.GRID_EDGE_MM / N
HEIGHT = 40


@pytest.fixture(scope='module')
def head():
    """A round neck, and a chin in front of it that ends 12 mm above the lowest slice; intensity 1."""
    affine = geometry.grid_affine(N)
    x, y = np.meshgrid(*(affine[a, a] * np.arange(N) + affine[a, 3] for a in (0, 1)), indexing='ij')
    volume = np.zeros((N, N, HEIGHT), np.float32)
    volume[np.hypot(x, y + 10) < 50] = 1
    volume[(abs(x) < 25) & (y > 0) & (y < 75), 3:] = 1
    return volume


def front(level: np.ndarray) -> int:
    return int(np.flatnonzero((level > SKIN).any(0)).max())


def test_slices_above_are_those_of_the_head(head):
    longer = neck.go_on(head, 20)
    kept = round(neck.START_MM / VOXEL) + 1
    assert longer.shape == (N, N, HEIGHT + 20)
    assert np.array_equal(longer[:, :, 20 + kept :], head[:, :, kept:])


def test_beneath_a_chin_the_throat_recedes_and_nothing_hangs_in_the_air(head):
    longer = neck.go_on(head, 20)
    fronts = [front(longer[:, :, at]) for at in range(longer.shape[2])]
    assert np.all(np.diff(fronts) >= -1)
    assert fronts[0] < fronts[20 + 10] - 12 / VOXEL
    inside = longer > SKIN
    # an edge of skin is as soft as any: no tissue is half there over a depth
    haze = (longer > 0.05) & (longer < 0.6)
    assert haze.sum(1).max() <= 2 * np.ceil(2 * neck.EDGE_MM / VOXEL) + 1
    assert inside.any((0, 1)).all()


def test_the_nape_goes_straight_down(head):
    longer = neck.go_on(head, 20)
    backs = [int(np.flatnonzero((longer[:, :, at] > SKIN).any(0)).min()) for at in range(20)]
    assert max(backs) - min(backs) <= 4 / VOXEL


def test_as_many_slices_as_a_scan_needs_and_no_more_than_a_neck(head):
    padded = np.concatenate([head, np.zeros((N, N, N + 8 - HEIGHT), np.float32)], axis=2)
    for lowest, below in ((0, 8), (-8, 8), (-12, 12), (-1000, 8 + round(neck.LENGTH_MM / VOXEL))):
        longer, reached = neck.lengthen(padded, lowest)
        assert reached == below
        assert longer.shape == (N, N, N + below)


def test_an_empty_head_stays_empty():
    assert not neck.go_on(np.zeros((N, N, HEIGHT), np.float32), 5).any()
