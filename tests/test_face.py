"""The depth of faces, and their distance to the mean face."""

import numpy as np
import phantom
import pytest

from benchmarks import face_depth
from cpmae_bids.deid.images import masks
from cpmae_bids.deid.qc import face
from cpmae_bids.deid.space import regions

SEEN = np.ones((128, 128, 128), bool)


@pytest.fixture(scope='module')
def mean_head():
    """A head as deep as the mean face at every point."""
    window, front = face._window(128)
    head = np.zeros((128, 128, 128), bool)
    head[window] = front[:, None] <= np.nan_to_num(face.mean_depth(), nan=-999)[:, None]
    return head


def test_the_mean_face_is_one():
    mean = face.mean_depth()
    inside = np.isfinite(mean)
    assert 0.6 < inside.mean() < 0.95
    assert np.abs(mean - mean[::-1])[inside & inside[::-1]].mean() < 2  # left and right
    tip = np.unravel_index(np.nanargmax(mean), mean.shape)
    x, z = (low + 2 * index for (low, _), index in zip(regions.FACE[::2], tip, strict=True))
    assert abs(x) < 8
    assert -75 < z < -40


def test_distance_is_that_to_the_mean(mean_head):
    assert face.distance_to_mean(mean_head, SEEN) < 1  # half a voxel
    assert face.distance_to_mean(np.roll(mean_head, -3, axis=1), SEEN) == pytest.approx(6, abs=0.7)
    assert face.distance_to_mean(np.zeros_like(mean_head), SEEN) > 30


def test_only_what_is_in_view_is_compared(mean_head):
    upper = SEEN.copy()
    upper[:, :, :45] = False  # the lower half of the face
    assert face.distance_to_mean(mean_head & upper, upper) < 1
    brow = SEEN.copy()
    brow[:, :, :65] = False
    assert face.distance_to_mean(mean_head & brow, brow) is None


def test_depth_is_the_foremost_voxel():
    depth = face.depth(masks.head_mask(phantom.cube(0).astype(np.float32), fill=True))
    assert depth.shape == face.mean_depth().shape
    assert 99 < depth.max() < 113  # tip of the nose, 102 to 110 mm
    assert depth.min() >= regions.FACE[1][0]


def test_the_mean_leaves_out_where_heads_differ():
    rng = np.random.default_rng(0)
    depths = 60 + rng.normal(0, 1, (40, 3, 2))
    depths[:, 0] += rng.normal(0, 30, (40, 2))
    depths[:4, 1, 0] = 0  # a tenth of the heads has nothing there
    mean = face_depth.average(depths)
    assert np.isnan(mean[0]).all()
    assert np.isnan(mean[1, 0])
    assert (np.abs(mean[2] - 60) <= 1).all()
