"""Few numbers of the air, and air made from them."""

from dataclasses import fields, replace

import numpy as np
import phantom
import pytest
from scipy import ndimage

from cpmae_bids.deid.images import noise
from cpmae_bids.deid.synthesis import air
from cpmae_bids.deid.synthesis.air import AirStatistics
from cpmae_bids.exceptions import InputError

SIZES = np.array([2.0, 2.0, 2.0])
RAYLEIGH = AirStatistics(0.0, (1.0,) * 2, (-33.0,) * 2, 2.0)


@pytest.fixture(scope='module')
def scan():
    return phantom.head(*phantom.grid(SIZES))


@pytest.fixture(scope='module')
def removed(scan):
    """The same with its background removed."""
    clean = phantom.head(*phantom.grid(SIZES), noise=False)[0]
    return np.where(clean > 0, scan[0], 0), clean


def ball(radius=25, n=100):
    """A head in the middle of a cube of air, what of it is kept, and distances from its centre in voxels."""
    places = np.indices((n,) * 3) - n // 2
    centre = np.linalg.norm(places, axis=0)
    return np.where(centre < radius, 100, 0).astype(np.float32), centre < radius - 5, places, centre


def numbers(value):
    """All numbers of a sidecar's entry."""
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in numbers(part)] if isinstance(value, list) else [value]


def test_nine_numbers_each_with_a_name(scan):
    told = air.estimate(*scan, SIZES, phantom.SCALE).to_dict()
    assert len(told) == len(fields(AirStatistics))
    assert len(numbers(told)) == 9
    assert all(number is None or np.isfinite(number) for number in numbers(told))


def test_numbers_are_rounded(scan):
    """Steps are so large that other noise, and another person's head, give nearly the same numbers."""
    told = air.estimate(*scan, SIZES, phantom.SCALE)
    assert {level % 3 for level in told.level} == {0}
    assert told.patches in (0, 0.4)
    assert told.blur in air.BLURS
    shape, affine = phantom.grid(SIZES)
    again = air.estimate(*phantom.head(shape, affine, person=3), SIZES, phantom.SCALE)
    assert told == again


def test_air_of_a_magnitude_image_is_told_as_that(scan):
    told = air.estimate(*scan, SIZES, phantom.SCALE)
    level = 20 * np.log10(1.1774 * phantom.SIGMA / phantom.SCALE)
    assert told.level[-1] == pytest.approx(level, abs=1.5)
    assert told.shape == 2
    assert set(told.busy) == {1}
    assert told.blur == 0


def test_air_that_is_drawn_is_like_that_of_the_scan(scan):
    values, brain = scan
    told = air.estimate(values, brain, SIZES, phantom.SCALE)
    clean = phantom.head(*phantom.grid(SIZES), person=5, noise=False)[0]
    drawn = air.draw(told, clean, SIZES, phantom.SCALE, np.random.default_rng(0))
    away = ndimage.distance_transform_edt(clean == 0) > 5
    expected = phantom.SIGMA * np.sqrt(-2 * np.log([0.95, 0.5, 0.05]))
    assert np.quantile(drawn[away], [0.05, 0.5, 0.95]) == pytest.approx(expected, rel=0.25)
    again = air.estimate(np.where(clean > 0, clean, drawn), brain, SIZES, phantom.SCALE)
    assert np.abs(np.array(again.level) - told.level).max() <= 2


def test_a_removed_background_stays_empty(scan, removed):
    told = air.estimate(removed[0], scan[1], SIZES, phantom.SCALE)
    assert told.busy == (0, 0)
    assert not air.draw(told, removed[1], SIZES, phantom.SCALE, np.random.default_rng(1)).any()


@pytest.mark.parametrize('share', [0.3, 0.03, 0.003, 0.0003])
def test_little_residue_stays_little_and_is_not_lost(scan, removed, share):
    rng = np.random.default_rng(2)
    values = np.where((removed[1] == 0) & (rng.random(removed[0].shape) < share), 9, removed[0])
    told = air.estimate(values, scan[1], SIZES, phantom.SCALE)
    drawn = air.draw(told, removed[1], SIZES, phantom.SCALE, rng)[removed[1] == 0]
    assert share / 2.3 < (drawn > 0).mean() < 2.3 * share


def test_a_removed_background_may_be_negative(scan, removed):
    values = np.where(removed[1] > 0, removed[0], -150)
    told = air.estimate(values, scan[1], SIZES, phantom.SCALE)
    drawn = air.draw(told, removed[1], SIZES, phantom.SCALE, np.random.default_rng(0))
    assert np.allclose(drawn, -150)


def test_air_on_both_sides_of_zero_is_kept():
    head, kept, _, centre = ball()
    values = np.where(head > 0, head, np.random.default_rng(0).normal(0, 2, head.shape)).astype(np.float32)
    told = air.estimate(values, kept, SIZES, 100)
    drawn = air.draw(told, head, SIZES, 100, np.random.default_rng(1))[centre > 30]
    assert abs(drawn.mean()) < 0.6
    assert drawn.std() == pytest.approx(2, rel=0.25)


def test_what_fills_the_unseen_is_not_sown_into_the_air(scan):
    values, brain = scan
    filled = values.copy()
    filled[:20] = -1024
    plain, told = (air.estimate(of, brain, SIZES, phantom.SCALE) for of in (values, filled))
    assert told.least == 0
    assert np.abs(np.array(told.level) - plain.level).max() <= 2


def test_padding_is_no_air_and_is_not_told(scan):
    values, brain = scan
    around = ((0, 0), (20, 1), (0, 30))
    padded = air.estimate(np.pad(values, around), np.pad(brain, around), SIZES, phantom.SCALE)
    assert padded == air.estimate(*scan, SIZES, phantom.SCALE)


def test_planes_of_a_removed_background_are_air(scan, removed):
    values, brain = scan
    assert not removed[0][..., -1].any()
    assert air.estimate(removed[0], brain, SIZES, phantom.SCALE).busy == (0, 0)
    # a mask whose tip is within a field of view that it fills elsewhere
    dome = np.ones(values.shape, bool)
    dome[:, 5:-5, -2:] = dome[5:-5, :, -2:] = False
    dome[..., -1] = False
    dome[len(dome) // 2 - 3 : len(dome) // 2 + 3, dome.shape[1] // 2, -2] = True
    cut = np.where(dome, np.maximum(values, 1), 0)
    assert air._unpadded(cut) == (slice(None),) * 3


def test_without_air_there_is_nothing_to_model(scan):
    with pytest.raises(InputError, match='air'):
        air.estimate(np.full_like(scan[0], 200), scan[1], SIZES, phantom.SCALE)


def test_air_fades_as_in_the_scan():
    head, kept, _, centre = ball()
    rng = np.random.default_rng(6)
    sigma = np.where(centre < 32, 4, 1)
    values = np.where(head > 0, head, sigma * np.abs(rng.standard_normal(head.shape)))
    told = air.estimate(values, kept, SIZES, 100)
    moved = np.roll(head, 8, axis=0)  # another head gets the same air at the same distance
    drawn, distance = air.draw(told, moved, SIZES, 100, rng), np.roll(centre, 8, axis=0) - 25
    near, far = (drawn[(distance > low) & (distance < high)].mean() for low, high in ((2, 4), (22, 40)))
    assert near == pytest.approx(4 * np.sqrt(2 / np.pi), rel=0.3)
    assert far == pytest.approx(np.sqrt(2 / np.pi), rel=0.3)


def test_ghosts_lie_in_line_but_the_head_has_no_shape():
    head, kept, places, centre = ball()
    rng = np.random.default_rng(7)
    in_line = np.linalg.norm(places[[0, 2]], axis=0) < 25
    sigma = np.where(in_line, 3, 1)
    values = np.where(head > 0, head, sigma * np.abs(rng.standard_normal(head.shape)))
    told = air.estimate(values, kept, SIZES, 100)
    assert told.in_line == 1
    drawn = air.draw(told, head, SIZES, 100, rng)
    air_there = centre > 30
    assert drawn[air_there & in_line].mean() > 1.5 * drawn[air_there & ~in_line].mean()


@pytest.mark.parametrize('ties', [0.0, 0.8])
def test_what_is_alike_stays_alike(ties):
    head, kept, _, _ = ball()
    of = replace(RAYLEIGH, busy=(1 - ties,) * 2, blur=1.0, patches=0.4)
    first = np.where(head > 0, head, air.draw(of, head, SIZES, 100, np.random.default_rng(0)))
    told = air.estimate(first, kept, SIZES, 100)
    assert told.blur == of.blur
    assert told.patches == of.patches


def test_the_seed_decides(scan):
    first, again, other = (
        air.draw(RAYLEIGH, scan[0], SIZES, phantom.SCALE, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.99


@pytest.mark.parametrize('shape', [(30, 31, 1), (7, 90, 64)])
def test_any_grid_and_any_head_give_air_without_holes(shape):
    """Also where nothing or everything is head."""
    wild = replace(RAYLEIGH, busy=(1.0, 0.0), in_line=2, patches=0.4, blur=2.0)
    for level in (0, 1000):
        head = np.full(shape, level, np.float32)
        drawn = air.draw(wild, head, (0.7, 1, 5), 300, np.random.default_rng(0))
        assert drawn.shape == shape
        assert drawn.dtype == np.float32
        assert np.isfinite(drawn).all()


def test_loud_air_is_told():
    shape, affine = phantom.grid(SIZES)
    clean, brain = phantom.head(shape, affine, noise=False)
    channels = phantom.SCALE / 8 * np.random.default_rng(1).standard_normal((2, *shape), np.float32)
    told = air.estimate(np.hypot(clean + channels[0], channels[1]), brain, SIZES, phantom.SCALE)
    assert told.level == pytest.approx((20 * np.log10(1.1774 / 8),) * 2, abs=2)
    assert noise.FLOOR_RANGE[0] < 10 ** (told.level[-1] / 20) < noise.FLOOR_RANGE[1]
