"""How loud a scan is, and noise on what is generated."""

import numpy as np
import phantom
import pytest
from scipy import ndimage

from cpmae_bids.deid.images import noise
from cpmae_bids.deid.synthesis import blending

SIZES = np.array([2.0, 2.0, 2.0])


@pytest.fixture(scope='module')
def scan():
    shape, affine = phantom.grid(SIZES)
    return phantom.head(shape, affine)


def test_air_of_a_magnitude_image_gives_its_sigma(scan):
    found = noise.far_air(*scan, SIZES, phantom.SCALE)
    rayleigh = phantom.SIGMA * np.sqrt(-2 * np.log(1 - np.array([0.05, 0.5, 0.95])))
    assert np.allclose(found.quantiles[[5, 50, 95]], rayleigh, rtol=0.06)
    assert found.busy_share > 0.99


def test_ghosts_do_not_count(scan):
    values, brain = scan
    spoilt = values.copy()
    spoilt[-14:-9, :40] += 60  # wrapped-around tissue
    found, clean = (noise.far_air(one, brain, SIZES, phantom.SCALE).quantiles for one in (spoilt, values))
    assert np.allclose(found[:99], clean[:99], rtol=0.1)


def test_without_noise_nothing_is_added():
    generated = np.random.default_rng(0).random((30, 30, 30), np.float32) * 100
    generated[:15] = 0
    noisy = blending.add_noise(generated, np.full_like(generated, -150), 0.0, np.random.default_rng(1))
    assert np.array_equal(noisy, np.where(generated > 0, generated, -150))


def test_tissue_gets_noise_and_air_stays_as_it_is():
    rng = np.random.default_rng(4)
    clean = np.zeros((60, 60, 60), np.float32)
    clean[30:] = 300
    air = rng.rayleigh(6, clean.shape).astype(np.float32)
    noisy = blending.add_noise(clean, air, 6.0, rng)
    assert np.array_equal(noisy[:30], air[:30])
    assert noisy[30:].mean() == pytest.approx(300, abs=1)
    assert noisy[30:].std() == pytest.approx(6, rel=0.05)


# Loud scans


def loud(snr):
    """The phantom with so much noise, and its brain."""
    shape, affine = phantom.grid((2, 2, 2))
    clean, brain = phantom.head(shape, affine, noise=False)
    rng = np.random.default_rng(1)
    noisy = phantom.SCALE / snr * rng.standard_normal((2, *shape), np.float32)
    return np.hypot(clean + noisy[0], noisy[1]), clean, brain, affine


@pytest.mark.parametrize(('snr', 'counts'), [(50, False), (12, True), (8, True)])
def test_the_floor_is_the_level_of_loud_air(snr, counts):
    values, _, _, _ = loud(snr)
    floor = noise.floor(values, (2, 2, 2), phantom.SCALE)
    assert floor == (pytest.approx(1.2533 * phantom.SCALE / snr, rel=0.25) if counts else 0)


@pytest.mark.parametrize('snr', [12, 8])
def test_loud_air_is_measured(snr):
    values, _, brain, _ = loud(snr)
    found = noise.far_air(values, brain, (2, 2, 2), phantom.SCALE)
    sigma = phantom.SCALE / snr
    assert found.quantiles[50] == pytest.approx(1.1774 * sigma, rel=0.03)
    assert found.quantiles[-1] > 3 * sigma


def test_above_the_floor_there_is_the_head_alone():
    values, clean, _, _ = loud(8)
    above = noise.above_floor(values, noise.floor(values, (2, 2, 2), phantom.SCALE))
    air = ~ndimage.binary_dilation(clean > 0, iterations=3)
    tissue = ndimage.binary_erosion(clean > 0.5 * phantom.SCALE, iterations=2)
    assert (above[air] > 0.12 * phantom.SCALE).mean() < 1e-3
    assert (above[tissue] > 0.15 * phantom.SCALE).mean() > 0.99


def test_a_quiet_volume_is_left_alone():
    values, _, _, _ = loud(50)
    assert noise.above_floor(values, 0.0) is values


# Noise of the brain


@pytest.mark.parametrize('sizes', [(1, 1, 1), (2, 2, 2), (1, 1, 3)])
def test_noise_is_found_in_the_brain(sizes):
    values, brain = phantom.head(*phantom.grid(sizes))
    assert noise.in_brain(values, brain) == pytest.approx(phantom.SIGMA, rel=0.25)


def test_only_the_preserved_region_tells_the_noise(scan):
    values, brain = scan
    around = np.random.default_rng(3).normal(0, 500, values.shape).astype(np.float32)
    assert noise.in_brain(np.where(brain, values, around), brain) == noise.in_brain(values, brain)


def test_a_brain_without_noise_or_even_parts_has_none():
    values = np.full((20, 20, 20), 7, np.float32)
    assert noise.in_brain(values, values > 0) == 0
