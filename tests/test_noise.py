"""Noise statistics, and noise made from them."""

import numpy as np
import phantom
import pytest
from scipy import ndimage

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
    assert np.allclose(before.shells[..., :95], after.shells[..., :95], rtol=0.2, atol=1)
    assert np.allclose(before.grain.smooth, after.grain.smooth, atol=0.03)
    assert np.shape(before.grain.levels) == (3, 10)
    assert set(vars(before)) == {'quantiles', 'shells', 'sigma', 'busy_share', 'grain', 'blank'}
    assert before.quantiles.shape == (101,)
    assert before.shells.shape == (27, len(noise.SHELLS_MM), 101)


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


def test_padding_stays_empty(scan):
    values, brain = scan
    padded = np.pad(values, ((0, 0), (2, 1), (0, 3)))
    found = noise.measure(padded, np.pad(brain, ((0, 0), (2, 1), (0, 3))), SIZES, phantom.SCALE)
    assert found.blank == ((0, 0), (2, 1), (0, 3))
    drawn = noise.add_noise(np.full(padded.shape, 100, np.float32), found, np.random.default_rng(0))
    assert (drawn[:, 2:-1, :-3] > 0).mean() > 0.99
    drawn[:, 2:-1, :-3] = 0
    assert not drawn.any()


def test_a_removed_background_does_not_tell_how_far_the_head_reached(scan):
    values, brain = scan
    clean = phantom.head(*phantom.grid(SIZES), noise=False)[0]
    removed = np.where(clean > 0, values, 0)
    assert not removed[..., -1].any()
    assert noise.measure(removed, brain, SIZES, phantom.SCALE).blank == ((0, 0),) * 3
    wide = ndimage.binary_dilation(clean > 0, iterations=12)  # a mask with a margin full of noise
    assert noise.measure(np.where(wide, values, 0), brain, SIZES, phantom.SCALE).blank == ((0, 0),) * 3
    # its tip is within a field of view that the mask fills elsewhere
    dome = np.ones(values.shape, bool)
    dome[:, 5:-5, -2:] = dome[5:-5, :, -2:] = False
    dome[..., -1] = False
    dome[len(dome) // 2 - 3 : len(dome) // 2 + 3, dome.shape[1] // 2, -2] = True
    cut = np.where(dome, np.maximum(values, 1), 0)
    assert noise.measure(cut, brain, SIZES, phantom.SCALE).blank == ((0, 0),) * 3


def test_a_removed_background_may_be_negative():
    air = noise.AirNoise(np.full(101, -150.0, np.float32), np.full((1, 1, 101), -150.0, np.float32), 0.0, 0.0)
    clean = np.zeros((8, 8, 8), np.float32)
    clean[4:] = 100
    noisy = noise.add_noise(clean, air, np.random.default_rng(0))
    assert (noisy[:4] == -150).all()
    assert (noisy[4:] == 100).all()


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
    table = noise.AirNoise(np.linspace(-10, 10, 101, dtype=np.float32), np.zeros((27, 8, 101)), 5.0, 1.0)
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
    around = noise.surroundings(moved, SIZES, 100)
    drawn = noise.add_noise(moved, found, rng, around)
    distance = np.roll(centre, 12, axis=0) - 50
    for low, high, expected in ((3, 7, 4), (12, 22, 4), (45, 70, 2)):
        here = (distance > low) & (distance < high)
        assert drawn[here].mean() == pytest.approx(expected * np.sqrt(2 / np.pi), rel=0.12, abs=0.15)


def test_ghosts_stay_on_their_sides():
    rng = np.random.default_rng(7)
    shape = (100, 100, 100)
    places = np.indices(shape) - 50
    centre = np.linalg.norm(places, axis=0)
    head = np.where(centre < 20, 100, 0).astype(np.float32)
    beside = np.abs(places).argmax(axis=0)  # the axis along which the head lies
    scan = head + np.where(beside == 1, 3, 0.6) * np.abs(rng.standard_normal(shape))
    found = noise.measure(scan, centre < 15, SIZES, 100)
    drawn = noise.add_noise(head, found, rng, noise.surroundings(head, SIZES, 100))
    air = centre > 26
    clear = np.sort(np.abs(places), axis=0)
    clear = air & (clear[2] > 3 * clear[1])
    means = [drawn[clear & (beside == axis)].mean() for axis in range(3)]
    assert means[1] > 2.5 * max(means[0], means[2])
    assert drawn[air].mean() == pytest.approx(scan[air].mean(), rel=0.2)


def test_the_air_before_a_face_is_not_that_above_the_crown():
    rng = np.random.default_rng(8)
    centre = np.linalg.norm(np.indices((100, 100, 100)) - 50, axis=0)
    head = np.where(centre < 20, 100, 0).astype(np.float32)
    sigma = np.ones(head.shape)
    sigma[:, 50:] = 3
    found = noise.measure(head + sigma * np.abs(rng.standard_normal(head.shape)), centre < 15, SIZES, 100)
    drawn = noise.add_noise(head, found, rng, noise.surroundings(head, SIZES, 100))
    beside = [np.s_[40:60, y, 40:60] for y in (slice(0, 25), slice(75, 100))]
    behind, before = (drawn[part].mean() for part in beside)
    assert before > 2.5 * behind


def test_sides_are_told_along_each_axis():
    head = np.zeros((9, 9, 9), np.float32)
    head[3:6, 3:6, 3:6] = 100
    sides = noise.surroundings(head, SIZES, 100).sides
    assert sides[4, 4, [0, 8]].tolist() == [9, 18]
    assert sides[4, [0, 8], 4].tolist() == [3, 6]
    assert sides[[0, 8], 4, 4].tolist() == [1, 2]
    assert sides[0, 0, 0] == 0  # none of the lines through it meets the head


def test_surroundings_cover_the_grid(scan):
    head = np.where(scan[1], 100, 0).astype(np.float32)[:-1, :-2, :-3]
    found = noise.surroundings(head, SIZES, 100)
    assert found.distance.shape == found.sides.shape == head.shape
    assert found.distance[head > 0].max() == 0
    assert found.distance.max() <= len(noise.SHELLS_MM) - 1
    assert set(np.unique(found.sides)) == set(range(27))
    empty = noise.surroundings(np.zeros_like(head), SIZES, 100)
    assert (empty.distance == len(noise.SHELLS_MM) - 1).all()


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
    found = noise.measure(values, brain, (2, 2, 2), phantom.SCALE)
    sigma = phantom.SCALE / snr
    assert found.sigma == pytest.approx(sigma, rel=0.05)
    assert found.quantiles[50] == pytest.approx(1.1774 * sigma, rel=0.03)
    assert found.quantiles[-1] > 3 * sigma
    assert np.abs(found.shells[..., 50] - found.quantiles[50]).max() < 0.3 * sigma


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
