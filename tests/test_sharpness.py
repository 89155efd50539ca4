"""Sharpness: a blurred brain gets a head that is blurred like it, a sharp one is left alone."""

import numpy as np
import pytest
from scipy import ndimage

from cpmae_bids.deid.synthesis import sharpness

X, Y, Z = np.mgrid[-64:64, -64:64, -64:64]
BALL = X**2 + Y**2 + Z**2 < 35**2


def brain(blur_mm):
    """Folds of 8 mm and noise of real brains' strength, blurred."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal(BALL.shape), 2.0)
    fine = ndimage.gaussian_filter(rng.standard_normal(BALL.shape), 0.7)
    values = 0.7 + 0.2 * smooth / smooth.std() + 0.12 * fine / fine.std()
    values = ndimage.gaussian_filter(values, blur_mm / 2)
    return np.where(BALL, values, 0).astype(np.float32)


def test_a_sharp_brain_leaves_the_head_alone():
    assert sharpness.fine_contrast(brain(0)) > sharpness.SHARP
    assert sharpness.blur_mm(brain(0)) == 0
    head = np.random.default_rng(1).random((128, 128, 128)).astype(np.float32)
    assert sharpness.soften(head, 0) is head


def test_the_more_a_brain_is_blurred_the_more_is_its_head():
    found = [sharpness.blur_mm(brain(mm)) for mm in (3, 4, 6)]
    assert found == sorted(found)
    assert 0 < found[0] < found[2] <= sharpness.BLUR_MM[-1]


def test_the_blur_is_in_mm_whatever_the_voxels():
    coarse, fine = np.zeros((64, 64, 64), np.float32), np.zeros((128, 128, 128), np.float32)
    coarse[32], fine[64:66] = 1, 1
    profiles = [sharpness.soften(coarse, 8.0)[:, 9, 9], sharpness.soften(fine, 8.0)[:, 9, 9]]
    assert np.abs(profiles[1].reshape(-1, 2).mean(axis=1) - profiles[0]).max() < 0.01


@pytest.mark.parametrize('cube', [np.zeros((128, 128, 128)), np.where(BALL, 1.0, 0)])
def test_a_brain_that_says_nothing_blurs_nothing(cube):
    assert sharpness.blur_mm(cube) == 0
