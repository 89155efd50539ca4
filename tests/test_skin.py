"""Skin of generated heads, and the neck below them."""

import numpy as np
import pytest
from scipy import ndimage

from cpmae_bids.deid import geometry, neck, skin, surface

N = 128


def ball(radius, n=N, centre=0.0):
    axes = np.indices((n, n, n)) + 0.5 - n / 2
    axes[1] -= centre
    return np.linalg.norm(axes, axis=0) * (256 / n) - radius


@pytest.fixture(scope='module')
def heads():
    mean = ndimage.gaussian_filter(np.where(ball(70) < 0, 0.6, 0).astype(np.float32), 1)
    rough = mean + 0.12 * ndimage.gaussian_filter(np.random.default_rng(0).normal(size=mean.shape), 1.5) * 8
    rough[60:68, 90:110, 60:68] = 0  # a hole from the skin inwards
    rough[:4, :4, :4] = 0.9  # something in the air
    return rough.clip(0).astype(np.float32), mean


def roughness(volume):
    everywhere = np.ones(volume.shape, bool)
    return surface.roughness(surface.head_mask(volume), everywhere)


def test_skin_is_smooth_and_closed_and_nothing_floats(heads):
    rough, mean = heads
    volume = skin.double(rough)
    covered = skin.cover(volume, skin.find(rough, mean))
    assert covered.shape == volume.shape
    distance = ball(70, 2 * N)
    assert not covered[distance > 8].any()
    shell = (distance < -3) & (distance > -5)
    assert (covered[shell] > 0.3).mean() > 0.99  # the hole, too
    halved = covered.reshape(N, 2, N, 2, N, 2).mean((1, 3, 5))
    assert roughness(halved) < 0.95 * roughness(rough)


def test_the_surface_is_that_of_the_mean_head(heads):
    inside = skin.find(*heads).inside > 0.5
    assert np.cbrt(inside.sum() * 8 / (4 / 3 * np.pi)) == pytest.approx(70, abs=1)


def test_the_vault_of_a_blurred_mean_lies_farther_out_than_its_lower_end():
    """Above, where scalps are thin, their mean is dim."""
    mean = ndimage.gaussian_filter(np.where(ball(90) < 0, 0.6, 0).astype(np.float32), 3)
    share = skin.occupancy(mean)[N // 2, N // 2]
    assert share[N // 2 :].sum() > share[: N // 2].sum() + 0.3


def test_what_is_within_stays(heads):
    rough, mean = heads
    volume = skin.double(rough)
    covered = skin.cover(volume, skin.find(rough, mean))
    deep = ball(70, 2 * N) < -12
    assert np.allclose(covered[deep], volume[deep], atol=1e-6)


def test_texture_does_not_move_the_surface(heads):
    """Neither does a hole that opens at it."""
    rough, mean = heads
    at = np.abs(skin.double(skin.find(rough, mean).inside) - 0.55) < 0.05
    drawn, even = (skin.cover(skin.double(head), skin.find(rough, mean))[at] for head in (rough, mean))
    assert np.abs(drawn - even).max() < 0.02
    assert even.mean() > 0.2


def test_double_puts_voxels_where_they_belong():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], (8, 8, 8))
    doubled = skin.double(ramp)
    assert doubled.shape == (16, 16, 16)
    assert np.allclose(doubled[3:-3, 3, 3], np.arange(10) * 0.5 + 1.25)


def test_doubled_parabolas_bend_evenly():
    """Interpolation that bends at voxels, and not between them, leaves rings on the skin."""
    parabola = np.broadcast_to((np.arange(16, dtype=np.float32) ** 2)[None, :, None], (16, 16, 16))
    bend = np.diff(skin.double(parabola)[3, 5:-5, 3], 2)
    assert np.allclose(bend, 0.5, atol=1e-3)


@pytest.mark.parametrize('n', [64, 128])
def test_a_neck_goes_straight_down_at_the_nape_and_recedes_at_the_chin(n):
    y = geometry.cube_affine(n)[1, 1] * np.arange(n) + geometry.cube_affine(n)[1, 3]
    head = np.zeros((n, n, n), np.float16)
    head[:, (y > -90) & (y < 80), 0] = 1
    longer, below = neck.lengthen(head)
    assert longer.shape == (n, n, n + below)
    assert np.array_equal(longer[:, :, below:], head)
    voxel = 256 / n
    at = below - round(40 / voxel)  # 40 mm down
    found = y[longer[n // 2, :, at] > 0.5]
    assert found.min() == pytest.approx(-90, abs=1.5 * voxel)
    assert found.max() == pytest.approx(80 - 40, abs=2 * voxel)


def test_texture_leaves_no_pits_below_the_cube():
    n = 128
    head = np.zeros((n, n, n), np.float32)
    head[30:98, 20:90] = 0.6
    head[60:64, 50:54, 5:8] = 0  # dark in the slices above
    longer, below = neck.lengthen(head)
    core = longer[40:88, 30:60, :below]
    assert core.min() > 0.9 * neck.LEAST * 0.6
