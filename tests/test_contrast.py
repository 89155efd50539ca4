"""Another contrast for a generated head, from a table of intensities."""

import contrasts
import numpy as np
import phantom
import pytest

from cpmae_bids.deid.images import masks
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.deid.space import alignment, geometry
from cpmae_bids.deid.synthesis import contrast
from cpmae_bids.exceptions import InputError

CUBE = geometry.grid_affine(128)


@pytest.fixture(scope='module')
def heads():
    """A head in the cube as a T1w and in another contrast, and where it is no brain."""
    values, brain = phantom.head((128,) * 3, CUBE)
    t1w = values / phantom.SCALE
    other = np.interp(t1w, *contrasts.AROUND) + np.random.default_rng(1).normal(0, 0.02, t1w.shape)
    return t1w, other, ~brain


def test_the_table_says_how_the_contrast_looks(heads):
    table = contrast.learn(*heads)
    seen = slice(1, 6)  # T1w intensities that the phantom has
    assert np.abs(table[seen, 1] - np.interp(contrast.LEVELS, *contrasts.AROUND)[seen]).max() < 0.1
    assert table.size <= 40
    assert (np.diff(table, axis=1) >= 0).all()
    assert np.isfinite(table).all()


def test_a_slab_on_the_grid_of_the_t1w_has_zeros_where_it_shows_nothing(heads):
    t1w, other, where = heads
    slab = other.copy()
    slab[:, :, :52] = 0
    assert np.abs(contrast.learn(t1w, slab, where) - contrast.learn(t1w, other, where)).max() < 0.11


def test_the_table_knows_no_positions(heads):
    """Whatever lies inside the head may change places: the table stays the same."""
    t1w, other, where = heads
    head = masks.head_mask(np.where(where, t1w, 0.3), fill=True)
    inner = np.flatnonzero(where & contrast.ndimage.binary_erosion(head, iterations=2) & (t1w > 0.3))
    shuffled = np.random.default_rng(0).permutation(inner)
    moved = [volume.copy() for volume in (t1w, other)]
    for volume, source in zip(moved, (t1w, other), strict=True):
        volume.ravel()[inner] = source.ravel()[shuffled]
    assert np.abs(contrast.learn(*moved, where) - contrast.learn(t1w, other, where)).max() < 0.02


def test_a_generated_head_gets_the_contrast_and_keeps_its_shape(heads):
    table = contrast.learn(*heads)
    generated = phantom.cube(3).astype(np.float32)
    recoloured = contrast.apply(generated, table, 1)
    tissue = generated > 0.5
    assert (recoloured[generated == 0] == 0).all()
    assert np.abs(recoloured - np.interp(generated, *contrasts.AROUND))[tissue].mean() < 0.06
    assert np.array_equal(recoloured, contrast.apply(generated, table, 1))
    assert not np.array_equal(recoloured, contrast.apply(generated, table, 2))


@pytest.mark.parametrize('n', [128, 256])
def test_what_a_t1w_leaves_open_varies_smoothly(n):
    field = contrast._texture((n, n, n + n // 8), 3)
    assert field.shape == (n, n, n + n // 8)
    assert 0.8 < field.std() < 1.05
    one_mm = 256 // n == 1
    assert np.abs(np.diff(field, axis=0)).mean() < (0.3 if one_mm else 0.6)


def test_scans_without_a_common_head_are_refused(heads):
    t1w, other, where = heads
    with pytest.raises(InputError, match='too little of the head'):
        contrast.learn(t1w, other, where & False)


# Alignment by shared information


@pytest.fixture(scope='module')
def pair():
    shape, affine = phantom.grid((2, 2, 2))
    t1w, brain = phantom.head(shape, affine)
    other = np.interp(t1w / phantom.SCALE, *contrasts.IN_BRAIN).astype(np.float32)
    return other, t1w, brain, affine


def shared(pair, shift=(0, 0, 0), other=None, other_affine=None):
    values, t1w, brain, affine = pair
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    other_affine = affine if other_affine is None else other_affine
    return alignment.shared_information(
        values if other is None else other, other_affine, matrix, t1w, brain, affine
    )


def test_contrasts_share_most_where_they_are_aligned(pair):
    sharpness, peak = shared(pair)
    assert sharpness > threshold('t1w_sharpness', 'head').low
    assert peak > 1


def test_padding_around_a_slab_counts_for_nothing(pair):
    values, _, brain, affine = pair
    first = int(np.flatnonzero(brain.any(axis=(0, 1)))[0]) + 3
    padded, start = values.copy(), np.eye(4)
    padded[:, :, :first], start[2, 3] = -7, first
    sharpness, peak = shared(pair, other=values[:, :, first:], other_affine=affine @ start)
    assert shared(pair, other=padded) == pytest.approx((sharpness, peak), rel=0.02)


@pytest.mark.parametrize('shift', [(3, 0, 0), (0, -3, 0), (0, 2, 3)])
def test_beside_its_place_there_is_no_peak(pair, shift):
    sharpness, peak = shared(pair, shift)
    assert not (sharpness > threshold('t1w_sharpness', 'head').low and peak > 1)


def test_noise_shares_nothing(pair):
    noise = np.random.default_rng(0).random(pair[0].shape, np.float32)
    sharpness, _ = shared(pair, other=noise)
    assert not sharpness > threshold('t1w_sharpness', 'head').low


def test_a_brain_out_of_view_shares_nothing_that_is_known(pair):
    assert np.isnan(shared(pair, (150, 0, 0))).all()
