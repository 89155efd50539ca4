"""The scale of a scan comes from its brain alone."""

import numpy as np
import pytest

from cpmae_bids.deid.images import intensity
from cpmae_bids.exceptions import InputError


def test_scale_is_the_mean_of_the_brighter_half():
    assert intensity.brain_scale(np.array([1, 2, 3, 10, 20])) == pytest.approx(15)


def test_scale_follows_the_unit_of_the_scan():
    values = np.random.default_rng(0).gamma(9, 30, 5000)
    assert intensity.brain_scale(values * 7) == pytest.approx(7 * intensity.brain_scale(values))


@pytest.mark.parametrize('values', [[], [np.nan, np.inf], [5, 5, 5], [-3, -2, -1, -1]])
def test_brains_without_contrast_are_refused(values):
    with pytest.raises(InputError, match=r'scan|T1'):
        intensity.brain_scale(np.array(values, dtype=float))


def test_intensities_are_clipped_to_the_range_of_the_template_grid():
    result = intensity.normalize(np.array([-50, 0, 100, 1e6]), 200)
    assert result.dtype == np.float32
    assert result.tolist() == [0, 0, 0.5, intensity.CEILING]
