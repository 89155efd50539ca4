"""Tissue of a generated head is as bright as a few numbers of the original say."""

import json

import numpy as np
import phantom
import pytest

from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.synthesis import tissue


@pytest.fixture(scope='module')
def heads():
    found = []
    for person in (0, 1):
        values, brain = phantom.head((128,) * 3, geometry.grid_affine(128), person, noise=False)
        found.append((values / phantom.SCALE, brain))
    return found


def test_all_that_is_told_is_36_rounded_numbers(heads):
    volume, brain = heads[0]
    told = tissue.measure(volume, brain, np.ones_like(brain)).rounded()
    values = json.loads(json.dumps(told.to_dict()))
    numbers = [*np.ravel(values['Quantiles']), *values['Shading']]
    assert len(numbers) == 36
    assert all(abs(n / tissue.STEP - round(n / tissue.STEP)) < 1e-4 for n in numbers)
    again = tissue.TissueStatistics.from_dict(values)
    np.testing.assert_allclose(again.quantiles, told.quantiles, atol=1e-3)


def test_a_head_gets_the_brightness_and_the_shading_of_another(heads):
    (volume, brain), (other, _) = heads
    z = np.linspace(-0.4, 0.4, 128, dtype=np.float32)
    wanted = np.where(brain, other, 1.6 * other * np.exp(z))
    seen = np.ones_like(brain)
    told = tissue.measure(wanted, brain, seen)
    toned = tissue.like(volume, brain, told.rounded())
    got = tissue.measure(toned, brain, seen)
    np.testing.assert_allclose(got.quantiles[:, 4:], told.quantiles[:, 4:], rtol=0.15)
    before = tissue.measure(volume, brain, seen)
    away = [np.abs(s.shading - told.shading).max() for s in (before, got)]
    assert away[1] < 0.5 * away[0]
    assert (toned[volume == 0] == 0).all()


def test_both_resolutions_are_toned_alike(heads):
    volume, brain = heads[0]
    told = tissue.measure(1.3 * heads[1][0], brain, np.ones_like(brain))
    fine = volume.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(
        geometry.pool(tissue.like(fine, brain, told), 2), tissue.like(volume, brain, told), atol=1e-4
    )


def test_a_zone_out_of_view_is_told_as_unknown_and_does_no_harm(heads):
    volume, brain = heads[0]
    told = tissue.measure(volume, brain, brain)
    assert np.isnan(told.quantiles).all()
    np.testing.assert_array_equal(tissue.like(volume, brain, told), volume)


def test_zones_share_every_voxel():
    depth = np.linspace(0, 80, 200)
    np.testing.assert_allclose(tissue.zones(depth).sum(0), 1, atol=1e-6)


def test_a_dark_scalp_and_a_bright_nape_leave_a_face_above_the_noise(heads):
    """Bone and hair are the darkest part of an original, lids and lips that of a generated head."""
    volume, brain = heads[0]
    y = np.linspace(-1.5, 1.5, 128, dtype=np.float32)[:, None]
    dark = np.where(volume < 0.6, 0.3 * volume, volume) * np.exp(-y)
    told = tissue.measure(np.where(brain, volume, dark), brain, np.ones_like(brain))
    toned = tissue.like(volume, brain, told.rounded())
    front = (volume > 0.5) & ~brain & (np.arange(128)[:, None] > 90)
    assert np.median(toned[front]) > 0.4
    assert np.quantile(toned[front], 0.05) > 0.2
