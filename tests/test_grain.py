"""Grain of the air: measured and drawn, it is the same."""

import numpy as np
import pytest

from cpmae_bids.deid import grain
from cpmae_bids.deid.grain import Grain

SIZES = np.full(3, 2.0)
SITE = np.ones(3, int)
SHAPE = (128, 128, 112)


def field(of, seed=0, shape=SHAPE, sizes=SIZES):
    return grain.draw(of, shape, sizes, np.random.default_rng(seed))


def measured(values, kind=None, site=SITE, sizes=SIZES):
    if kind is None:
        kind = np.zeros([n // s for n, s in zip(values.shape, site, strict=True)], int)
    return grain.measure(values, kind, site, sizes)


def with_shares(fine=0.0, **smooth):
    """A grain with shares of the smooth fields of these numbers, as in ``f1=0.2``."""
    shares = [0.0] * len(grain.WIDTHS_MM)
    for number, share in smooth.items():
        shares[int(number[1:])] = share
    return Grain(tuple(shares), fine)


GRAINS = [
    Grain(),
    with_shares(0.2, f1=0.5),  # patches
    with_shares(0.3, f0=0.2, f1=0.2),
    with_shares(0.1, f3=0.3, f8=0.2),  # sheets across the first axis and lines along the last
    with_shares(f6=0.3, f0=0.1),
    with_shares(0.7),
]


@pytest.mark.parametrize('ties', [0, 0.8])
@pytest.mark.parametrize('of', GRAINS)
def test_what_is_drawn_is_measured(of, ties):
    """Also where most of the air is 0."""
    found = measured(np.maximum(field(of), ties))
    assert found.smooth == pytest.approx(of.smooth, abs=0.14)
    assert found.fine == pytest.approx(of.fine, abs=0.1)


@pytest.mark.parametrize('ties', [0, 0.5])
def test_levels_along_an_axis_are_measured(ties):
    rising = (*np.linspace(-0.8, 0.8, grain.PARTS), 0.0, -1.0)
    levels = ((0.0,) * len(rising), rising, (0.0,) * len(rising))
    of = Grain(levels=levels, profile=0.22)
    values = field(of)
    found = measured(np.maximum(values, ties))
    assert np.allclose(found.levels, levels, atol=0.2)
    assert found.profile == pytest.approx(of.profile, abs=0.08)
    again = field(found, seed=1)
    for part in (np.s_[:, 0], np.s_[:, 1:30], np.s_[:, -30:-1], np.s_[:, -1]):
        busy = [(drawn[part] > 0.5).mean() for drawn in (values, again)]
        assert busy[1] == pytest.approx(busy[0], abs=0.06)


def test_fields_are_as_wide_on_fine_voxels():
    of = with_shares(0.2, f0=0.3, f7=0.2)
    found = measured(field(of, shape=(160, 160, 160), sizes=SIZES / 2), site=2 * SITE, sizes=SIZES / 2)
    assert found.smooth == pytest.approx(of.smooth, abs=0.1)
    assert found.fine == pytest.approx(0.2, abs=0.08)


@pytest.mark.parametrize('of', [Grain(), with_shares(0.4, f0=0.6), with_shares(0.2, f1=0.1, f3=0.1, f8=0.1)])
def test_drawn_numbers_are_evenly_distributed(of):
    drawn = field(of, shape=(192, 192, 192))
    assert drawn.dtype == np.float32
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert np.allclose(np.quantile(drawn, [0.1, 0.3, 0.5, 0.7, 0.9]), [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.03)


def test_the_seed_decides():
    first, again, other = (field(with_shares(0.2, f1=0.3, f4=0.2), seed, (32, 32, 32)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_kinds_of_air_that_differ_are_no_grain():
    values = field(Grain())
    kind = np.zeros(SHAPE, int)
    kind[64:] = 1
    values[64:] *= 20  # air beside a head, and in front of it
    assert measured(values, kind) == Grain()
    assert measured(values).profile > 0.1


@pytest.mark.parametrize('share', [0.03, 0.003, 0.0003, 0.00003])
def test_little_residue_has_no_grain(share):
    """Of software that removed the background."""
    assert measured(np.maximum(field(Grain()), 1 - share)) == Grain()


@pytest.mark.parametrize('slices', [1, 2, 20])
def test_few_slices_are_no_grain(slices):
    values = np.random.default_rng(0).random((128, 128, slices), np.float32)
    assert measured(values, sizes=np.array([2.0, 2, 6])) == Grain()


def test_air_that_never_varies_has_no_grain():
    assert measured(np.zeros(SHAPE, np.float32)) == Grain()
    assert measured(field(with_shares(f1=0.5)), np.full(SHAPE, -1)) == Grain()  # there is none
