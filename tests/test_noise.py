"""Noise statistics, and noise made from them."""

import numpy as np
import phantom
import pytest

from cpmae_bids.deid import noise
from cpmae_bids.exceptions import InputError

SIZES = np.array([2.0, 2.0, 2.0])


@pytest.fixture(scope='module')
def scan():
    shape, affine = phantom.grid(SIZES)
    return phantom.head(shape, affine)


def test_air_of_a_magnitude_image_gives_its_sigma(scan):
    found = noise.measure(*scan, SIZES, phantom.SCALE)
    assert found.sigma == pytest.approx(phantom.SIGMA, rel=0.05)
    rayleigh = phantom.SIGMA * np.sqrt(-2 * np.log(1 - np.array([0.05, 0.5, 0.95])))
    assert np.allclose(found.quantiles[[5, 50, 95]], rayleigh, rtol=0.06)
    assert found.busy_share > 0.99


def test_ghosts_and_padding_do_not_count(scan):
    values, brain = scan
    spoilt = values.copy()
    spoilt[:8] = 0  # zero filling
    spoilt[-14:-9, :40] += 60  # wrapped-around tissue
    found = noise.measure(spoilt, brain, SIZES, phantom.SCALE)
    assert found.sigma == pytest.approx(phantom.SIGMA, rel=0.1)


def test_the_position_of_the_air_is_forgotten(scan):
    values, brain = scan
    before = noise.measure(values, brain, SIZES, phantom.SCALE)
    after = noise.measure(values[::-1], brain[::-1], SIZES, phantom.SCALE)
    assert np.allclose(before.quantiles, after.quantiles, rtol=0.03, atol=0.5)
    assert set(vars(before)) == {'quantiles', 'shells', 'sigma', 'busy_share'}
    assert before.quantiles.shape == (101,)
    assert before.shells.shape == (len(noise.SHELLS_MM), 101)


def test_a_removed_background_stays_empty(scan):
    values, brain = scan
    clean = phantom.head(*phantom.grid(SIZES), noise=False)[0]
    found = noise.measure(np.where(clean > 0, values, 0), brain, SIZES, phantom.SCALE)
    assert found.busy_share == 0
    assert found.sigma == 0
    generated = np.random.default_rng(0).random((30, 30, 30), np.float32) * 100
    generated[:15] = 0
    noisy = noise.add_noise(generated, found, np.random.default_rng(1))
    assert np.array_equal(noisy, generated)


def test_without_air_there_is_nothing_to_model(scan):
    values, brain = scan
    with pytest.raises(InputError, match='air'):
        noise.measure(np.full_like(values, 200), brain, SIZES, phantom.SCALE)


def test_air_is_drawn_from_the_scans_own_distribution(scan):
    found = noise.measure(*scan, SIZES, phantom.SCALE)
    drawn = noise.add_noise(np.zeros((60, 60, 60), np.float32), found, np.random.default_rng(3))
    levels = np.arange(1, 100)
    assert np.allclose(np.percentile(drawn, levels), found.quantiles[1:100], rtol=0.02, atol=0.1)


def test_sparse_noise_of_coarse_integers_stays_sparse():
    rng = np.random.default_rng(5)
    shape, affine = phantom.grid(SIZES)
    values, brain = phantom.head(shape, affine, noise=False)
    values[values == 0] = rng.choice([0, 1, 2, 3], (values == 0).sum(), p=[0.85, 0.08, 0.05, 0.02])
    found = noise.measure(values, brain, SIZES, phantom.SCALE)
    drawn = np.rint(noise.draw_air(found, (80, 80, 80), rng))
    assert abs((drawn == 0).mean() - 0.85) < 0.04
    assert drawn.max() <= 3


def test_tissue_gets_noise_of_the_scans_sigma(scan):
    found = noise.measure(*scan, SIZES, phantom.SCALE)
    tissue = noise.add_noise(np.full((60, 60, 60), 300, np.float32), found, np.random.default_rng(4))
    assert tissue.mean() == pytest.approx(300, abs=1)
    assert tissue.std() == pytest.approx(found.sigma, rel=0.05)


def test_the_seed_decides(scan):
    found = noise.measure(*scan, SIZES, phantom.SCALE)
    clean = np.linspace(0, 300, 27000, dtype=np.float32).reshape(30, 30, 30)
    first, again, other = (noise.add_noise(clean, found, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.99


def test_negative_air_of_filtered_scans_is_kept():
    table = noise.AirNoise(np.linspace(-10, 10, 101, dtype=np.float32), np.zeros((8, 101)), 5.0, 1.0)
    drawn = noise.add_noise(np.zeros((20, 20, 20), np.float32), table, np.random.default_rng(0))
    assert abs(drawn.mean()) < 0.5
    assert drawn.min() < -9


def test_air_fades_as_in_the_scan():
    rng = np.random.default_rng(6)
    shape = (100, 100, 100)
    centre = np.linalg.norm(np.indices(shape) - 50, axis=0) * SIZES[0]
    brain = centre < 40
    head = np.where(centre < 50, 100, 0).astype(np.float32)
    sigma = np.where(centre < 84.5, 4, 2)  # 34.5 mm from the head: between two shells
    scan = head + sigma * np.abs(rng.standard_normal(shape))
    found = noise.measure(scan, brain, SIZES, 100)
    # another head, in another place, gets the same air at the same distance
    moved = np.roll(head, 12, axis=0)
    coordinates = noise.shell_coordinates(moved, SIZES, 100)
    drawn = noise.add_noise(moved, found, rng, coordinates)
    distance = np.roll(centre, 12, axis=0) - 50
    for low, high, expected in ((3, 7, 4), (12, 22, 4), (45, 70, 2)):
        here = (distance > low) & (distance < high)
        assert drawn[here].mean() == pytest.approx(expected * np.sqrt(2 / np.pi), rel=0.12, abs=0.15)


def test_shell_coordinates_cover_the_grid(scan):
    head = np.where(scan[1], 100, 0).astype(np.float32)[:-1, :-2, :-3]
    found = noise.shell_coordinates(head, SIZES, 100)
    assert found.shape == head.shape
    assert found[head > 0].max() == 0
    assert found.max() <= len(noise.SHELLS_MM) - 1
    empty = noise.shell_coordinates(np.zeros_like(head), SIZES, 100)
    assert (empty == len(noise.SHELLS_MM) - 1).all()
