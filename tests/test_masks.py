"""Masks: distances in mm, and a feather that stays outside."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cpmae_bids.deid.images import masks

SIZES = st.sampled_from([(1, 1, 1), (1, 1, 2), (0.5, 0.5, 0.5), (2, 2, 2), (0.8, 1.1, 3.0)])


@st.composite
def random_masks(draw):
    shape = draw(st.tuples(*[st.integers(3, 14)] * 3))
    seed = draw(st.integers(0, 2**20))
    return np.random.default_rng(seed).random(shape) < draw(st.sampled_from([0.005, 0.05, 0.4, 1.0]))


@settings(max_examples=60, deadline=None)
@given(random_masks(), SIZES, st.floats(0.4, 6))
def test_distances_are_those_of_a_distance_transform(mask, sizes, limit):
    found = masks.distance_outside(mask, sizes, limit)
    if not mask.any():
        assert np.isinf(found).all()
        return
    exact = ndimage.distance_transform_edt(~mask, sampling=sizes)
    clear = np.abs(exact - limit) > 2e-3
    assert np.array_equal(np.isfinite(found)[clear], (exact <= limit)[clear])
    inside = np.isfinite(found) & clear
    assert np.allclose(found[inside], exact[inside], atol=1e-4)


def test_dilation_is_in_mm_along_every_axis():
    mask = np.zeros((21, 21, 21), bool)
    mask[10, 10, 10] = True
    grown = masks.dilate(mask, 2.0, (1.0, 0.5, 2.0))
    reach = [np.flatnonzero(grown.any(axis=tuple({0, 1, 2} - {axis}))) - 10 for axis in range(3)]
    assert [list(r[[0, -1]]) for r in reach] == [[-2, 2], [-4, 4], [-1, 1]]
    assert not grown[12, 14, 10]  # 2.8 mm away, off the axes


def test_a_rim_of_exactly_the_voxel_size_counts_in_spite_of_rounding():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    assert masks.dilate(mask, 1.0, (1.0000001, 1.0000001, 0.9999999)).sum() == 7


@settings(max_examples=40, deadline=None)
@given(random_masks(), SIZES)
def test_the_feather_lies_outside_and_falls_with_distance(mask, sizes):
    width = masks.feather_width(sizes)
    weights = masks.feather_weights(masks.distance_outside(mask, sizes, width), width)
    assert (weights[mask] == 1).all()
    assert weights.min() >= 0
    if mask.any():
        exact = ndimage.distance_transform_edt(~mask, sampling=sizes)
        assert not weights[exact > width].any()
        assert (weights[~mask] < 1).all()
        order = np.argsort(exact, axis=None)
        assert (np.diff(weights.ravel()[order]) <= 1e-5).all()


@pytest.mark.parametrize('sizes', [(1, 1, 1), (2, 2, 2), (0.5, 0.5, 0.5), (1, 1, 2)])
def test_there_is_always_a_voxel_to_blend(sizes):
    mask = np.zeros((30, 30, 30), bool)
    mask[10:20, 10:20, 10:20] = True
    width = masks.feather_width(sizes)
    weights = masks.feather_weights(masks.distance_outside(mask, sizes, width), width)
    line = weights[19:, 15, 15]
    assert line[0] == 1
    assert 0 < line[1] < 1
    assert line[-1] == 0


def test_largest_component():
    mask = np.zeros((20, 20, 20), bool)
    mask[2:10, 2:10, 2:10] = True
    mask[4:6, 4:6, 4:6] = False
    mask[15:18, 15:18, 15:18] = True
    largest = masks.largest_component(mask)
    assert largest.sum() == 8**3 - 2**3
    assert not masks.largest_component(np.zeros((5, 5, 5), bool)).any()
