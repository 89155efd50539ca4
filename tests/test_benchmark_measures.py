"""The measures of utility say what is known of phantoms: overlaps, seams, air, and what a network sees."""

from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy import ndimage

from benchmarks import anatomy, derived, slice_network
from benchmarks.measures import (
    bias,
    brain,
    classifier,
    masks,
    mriqc,
    registration,
    seam,
    synthstrip,
    tissue,
)
from benchmarks.pairs import Pair
from tests import phantom as heads

MM = 4.0
SHAPE = (48, 58, 54)
AFFINE = np.diag([MM, MM, MM, 1.0])
AFFINE[:3, 3] = (-94, -130, -130)


def three_tissues() -> tuple[np.ndarray, np.ndarray]:
    """Brain of three shells at 100, 150 and 200 with a little noise, and its labels (1, 2, 3) in 0."""
    radius = np.linalg.norm(np.indices((36, 36, 36)) - 17.5, axis=0)
    labels = np.select([radius < 9, radius < 12, radius < 15], [3, 2, 1], 0).astype(np.uint8)
    values = np.array([0.0, 100.0, 150.0, 200.0])[labels]
    values[labels > 0] += np.random.default_rng(0).normal(0, 4, int((labels > 0).sum()))
    return values.astype(np.float32), labels


@pytest.fixture
def make_pair(tmp_path):
    """Return ``make(before, after, inside, kept=None, affine=AFFINE, dtype='<f4', method='some')``."""

    def make(before, after, inside, kept=None, affine=AFFINE, dtype='<f4', method='some') -> Pair:
        pair = Pair(
            'sub-a_T1w',
            method,
            tmp_path / 'before.nii',
            tmp_path / 'after.nii',
            tmp_path / 'brain.nii',
            tmp_path / 'kept.nii',
            tmp_path / 'affine.txt',
            tmp_path / 'work' / method / 'sub-a_T1w',
        )
        if method == 'original':
            pair = replace(pair, output=pair.original)
        heads.write(pair.output, after, affine, dtype)
        heads.write(pair.original, before, affine, dtype)
        heads.write(pair.brain_mask, inside, affine, '<u1')
        heads.write(pair.kept_mask, inside if kept is None else kept, affine, '<u1')
        np.savetxt(pair.affine, np.eye(4))
        return pair

    return make


def found_already(pair: Pair, after: np.ndarray) -> None:
    """Leave a brain mask of the output where deepbet's would be kept."""
    derived.cached(derived.folder(pair, 'output') / 'found_brain.npz', lambda: after)


# -- what is kept between measures -------------------------------------------------------------------------
def test_arrays_are_made_once(tmp_path):
    path = tmp_path / 'deep' / 'array.npz'
    assert derived.cached(path, lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert derived.cached(path, lambda: 1 / 0).tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ['array.npz']


def test_results_for_the_original_are_shared_by_the_methods(tmp_path, make_pair):
    values, labels = three_tissues()
    one, two = (make_pair(values, values, labels > 0, method=method) for method in ('a', 'b'))
    assert derived.folder(one, 'original') == derived.folder(two, 'original')
    assert derived.folder(one, 'output') != derived.folder(two, 'output')
    original = replace(one, method='original', work=tmp_path / 'work' / 'original' / one.scan)
    assert derived.folder(original, 'output') == derived.folder(one, 'original')


# -- brain -------------------------------------------------------------------------------------------------
def test_changed_voxels_are_counted_inside_the_masks(make_pair):
    values, labels = three_tissues()
    after = np.rint(values)
    after[labels == 0] += 7  # all around
    after[17, 17, 15:18] += 1  # three in the brain
    after[17, 17, 1] += 1
    kept = ndimage.binary_dilation(labels > 0)
    pair = make_pair(np.rint(values), after, labels > 0, kept, dtype='<i2')
    numbers = brain.measure(pair)
    assert numbers['brain_changed'] == 3
    assert numbers['kept_changed'] == 3 + (kept & (labels == 0)).sum()
    assert numbers['brain_voxels'] == (labels > 0).sum()
    assert numbers['header_changed'] == 0


def test_another_type_is_compared_by_value_and_counts_in_the_header(make_pair):
    values, labels = three_tissues()
    pair = make_pair(np.rint(values), np.rint(values), labels > 0, dtype='<i2')
    heads.write(pair.output, np.rint(values), AFFINE, '<f4')
    assert brain.measure(pair)['kept_changed'] == 0
    assert brain.measure(pair)['header_changed'] == 1
    shifted = AFFINE.copy()
    shifted[0, 3] += 1
    heads.write(pair.output, np.rint(values), shifted, '<i2')
    assert brain.measure(pair)['kept_changed'] == (labels > 0).sum()  # nothing is where it was


def test_a_nan_that_was_there_before_is_no_change(tmp_path):
    values = (np.array([[[np.nan, 1.0, np.nan]]]), np.array([[[np.nan, 2.0, 0.0]]]))
    paths = [heads.write(tmp_path / f'{i}.nii', one, np.eye(4), '<f4') for i, one in enumerate(values)]
    assert brain.changed(*map(nb.load, paths)).ravel().tolist() == [False, True, True]


# -- masks -------------------------------------------------------------------------------------------------
def test_overlap_of_masks_and_the_empty_one(make_pair):
    inside = np.zeros(SHAPE, bool)
    inside[10:30, 10:30, 10:30] = True
    larger = np.zeros(SHAPE, bool)
    larger[10:35, 10:30, 10:30] = True
    pair = make_pair(inside, inside, inside)
    found_already(pair, larger)
    assert masks.measure(pair) == {
        'dice': pytest.approx(2 * 20 / 45),
        'volume_change': pytest.approx(25),
        'failed': False,
    }
    assert masks.compare(inside, np.zeros_like(inside)) == {
        'dice': 0.0,
        'volume_change': None,
        'failed': True,
    }


def test_the_original_agrees_with_itself_and_needs_no_tool(make_pair):
    values, labels = three_tissues()
    pair = make_pair(values, values, labels > 0, method='original')
    assert masks.measure(pair) == {'dice': 1.0, 'volume_change': 0.0, 'failed': False}


def test_synthstrip_compares_its_own_masks(make_pair):
    values, labels = three_tissues()
    pair = make_pair(values, values, labels > 0)
    derived.cached(derived.folder(pair, 'original') / 'synthstrip.npz', lambda: labels > 0)
    derived.cached(derived.folder(pair, 'output') / 'synthstrip.npz', lambda: np.zeros(labels.shape, bool))
    assert synthstrip.measure(pair)['failed']
    assert synthstrip.measure(replace(pair, method='original'))['dice'] == 1.0


# -- tissue and bias ---------------------------------------------------------------------------------------
def test_atropos_finds_the_tissues_by_rising_intensity_and_always_the_same():
    values, labels = three_tissues()
    found = derived.segment(values, labels > 0, np.eye(4))
    assert (found == labels).mean() > 0.995
    np.testing.assert_array_equal(found, derived.segment(values, labels > 0, np.eye(4)))


def test_tissue_that_the_mask_lost_is_missing(make_pair):
    values, labels = three_tissues()
    pair = make_pair(values, values, labels > 0)
    smaller = labels > 1  # the outer shell is not in the mask of the output
    found_already(pair, smaller)
    for role, array in (('original', labels), ('output', np.where(smaller, labels, 0))):
        derived.cached(derived.folder(pair, role) / 'tissue.npz', lambda array=array: array)
        size = int(derived.brain(pair, role).sum())
        derived.cached(derived.folder(pair, role) / 'bias_brain.npz', lambda size=size: np.ones(size))
    numbers = tissue.measure(pair)
    assert (numbers['dice_csf'], numbers['dice_gm'], numbers['dice_wm']) == (0, 1, 1)
    assert numbers['volume_change_csf'] == -100
    assert numbers['dice'] == pytest.approx(2 / 3)


def test_without_a_brain_every_tool_fails_and_no_number_is_made_up(make_pair):
    values, labels = three_tissues()
    pair = make_pair(values, np.zeros_like(values), labels > 0)
    found_already(pair, np.zeros(labels.shape, bool))
    derived.cached(derived.folder(pair, 'original') / 'place_head.npz', lambda: np.eye(4))
    derived.cached(derived.folder(pair, 'output') / 'place_head.npz', lambda: np.eye(4))
    for module in (tissue, bias, registration):
        numbers = module.measure(pair)
        assert numbers.pop('failed') is True
        assert set(numbers.values()) <= {None, 0.0}
    assert masks.measure(pair)['failed'] is True


def test_sizes_of_changes_are_pooled_without_their_sign():
    values = {'some': {'a': {'efc_change': 2.0}, 'b': {'efc_change': -4.0}, 'c': {'efc_change': None}}}
    assert mriqc.pool(values, None)['some']['efc_change_abs'] == [3, 2, 4]


def test_a_factor_is_no_difference_of_bias_fields_but_a_slope_is():
    before = np.linspace(0.8, 1.2, 101)
    assert bias.difference(before, 3 * before) == pytest.approx(0, abs=1e-12)
    ramp = np.linspace(-0.1, 0.1, 101)  # its mean absolute value is 0.05
    assert bias.difference(before, before * np.exp(ramp)) == pytest.approx(0.0505, abs=1e-4)


def test_n4_finds_the_field_that_was_multiplied(make_pair):
    values, labels = three_tissues()
    ramp = np.exp(np.linspace(-0.2, 0.2, 36))[:, None, None].astype(np.float32)
    pair = make_pair(values, values * ramp, labels > 0, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    found_already(pair, labels > 0)
    inside = np.broadcast_to(ramp, labels.shape)[labels > 0]
    known = bias.difference(np.ones_like(inside), inside)
    assert bias.measure(pair)['brain'] == pytest.approx(known, rel=0.3)


# -- seam --------------------------------------------------------------------------------------------------
def test_a_step_at_the_border_shows_in_the_ratio():
    before = np.broadcast_to(np.arange(24.0), (12, 12, 24)).copy()  # a slope of 1
    kept = np.zeros(before.shape, bool)
    kept[..., :12] = True
    after = before + 6 * ~kept
    # two layers on each side: the nearer see half of the step in a central difference, the others nothing
    assert seam.gradient_ratio(before, after, kept, ~kept, np.eye(4)) == pytest.approx((1 + 4 + 4 + 1) / 4)
    assert seam.gradient_ratio(before, before, kept, ~kept, np.eye(4)) == 1
    assert seam.gradient_ratio(before, after, np.zeros_like(kept), ~kept, np.eye(4)) is None


def test_a_cut_far_from_the_brain_is_found_where_it_is(make_pair):
    rng = np.random.default_rng(0)
    before = 100 + rng.normal(0, 1, (30, 30, 30))
    after = before.copy()
    after[:, 20:] = rng.integers(0, 2, after[:, 20:].shape)
    inside = np.zeros(before.shape, bool)
    inside[5:25, 3:12, 5:25] = True
    numbers = seam.measure(make_pair(before, after, inside))
    assert numbers['kept'] == 1
    assert numbers['cut'] > 10
    same = seam.measure(make_pair(before, before, inside))
    assert (same['kept'], same['cut']) == (1, 1)


def test_what_is_equal_by_chance_was_not_left():
    rng = np.random.default_rng(0)
    before, after = (rng.integers(90, 93, (20, 20, 20)).astype(float) for _ in range(2))
    kept = np.zeros(before.shape, bool)
    kept[:, :8] = True
    after[kept] = before[kept]
    before[:, 14:] = after[:, 14:] = 0  # air stays air
    left, changed = seam.left_and_changed(before, after, kept)
    assert left[2:-2, 2:7, 2:-2].all()
    assert left[:, 9:].mean() < 0.005
    assert not changed[:, 14:].any()
    assert changed[:, 8:14].any()


# -- registration ------------------------------------------------------------------------------------------
def test_displacement_of_a_shift_and_of_a_stretch():
    mask = np.zeros((11, 11, 11), bool)
    mask[:, 5, 5] = True
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -10  # world coordinates from -10 to 10 mm, middle at 0
    moved = np.eye(4)
    moved[:3, 3] = (0, 3, 4)
    assert registration.displacement(np.eye(4), moved, mask, affine) == pytest.approx(5)
    stretched = np.diag([1.1, 1.0, 1.0, 1.0])
    # a tenth of the distance to the middle, which is 60/11 mm on the average
    assert registration.displacement(np.eye(4), stretched, mask, affine) == pytest.approx(6 / 11)


def test_coarse_grids_keep_the_place_of_things():
    values = np.zeros((24, 20, 18), np.float32)
    values[8:14, 6:10, 4:12] = 1
    affine = np.diag([1.0, 1.0, 0.5, 1.0])
    affine[:3, 3] = (5, -7, 2)
    small, grid = registration.coarse(values, affine)
    assert small.shape == (12, 10, 5)
    centres = [
        matrix[:3, :3] @ ndimage.center_of_mass(array) + matrix[:3, 3]
        for array, matrix in ((values, affine), (small, grid))
    ]
    np.testing.assert_allclose(*centres, atol=0.05)


def test_registration_finds_a_turned_and_shifted_head_and_repeats_itself():
    values, _ = heads.head(SHAPE, AFFINE)
    moved = np.eye(4)
    moved[:3, :3] = heads.rotation_matrix(0, 0, 8)
    moved[:3, 3] = (3, -4, 2)
    found = [registration.register(values, moved @ AFFINE, values, AFFINE) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    inside = values > 0.5 * heads.SCALE
    assert registration.displacement(np.linalg.inv(moved), found[0], inside, moved @ AFFINE) < 0.5


# -- mriqc -------------------------------------------------------------------------------------------------
def test_entropy_of_an_impulse_and_of_a_constant_image():
    impulse = np.zeros((8, 8, 8))
    impulse[4, 4, 4] = 50
    assert mriqc.efc(impulse) == pytest.approx(0, abs=1e-9)
    assert mriqc.efc(np.full((8, 8, 8), 7.0)) == pytest.approx(1)
    half = np.zeros(64)
    half[:16] = 3.0  # 16 equal shares of 1/4: entropy 16/4 ln 4, of at most 8 ln 8
    assert mriqc.efc(half) == pytest.approx(4 * np.log(4) / (8 * np.log(8)))


def test_energy_ratio_and_what_has_no_background():
    assert mriqc.fber(np.array([9.0, 10.0, 11.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(25)
    assert mriqc.fber(np.array([10.0]), np.zeros(4)) == -1
    assert np.isnan(mriqc.fber(np.array([10.0]), np.zeros(0)))


def test_contrast_and_noise_by_their_formulas():
    white = {'median': 1000.0, 'mad': 30.0, 'stdv': 40.0}
    grey = {'median': 700.0, 'mad': 60.0, 'stdv': 20.0}
    air = {'mad': 10.0, 'stdv': 40.0}
    assert mriqc.cjv(white, grey) == pytest.approx(0.3)
    assert mriqc.cnr(white, grey, air) == pytest.approx(5)  # 300 over the root of 1600 + 1600 + 400... = 60
    assert mriqc.snrd(1000.0, air) == pytest.approx(65.51364, abs=1e-4)
    assert mriqc.snrd(1000.0, {'mad': 0.5, 'stdv': 2.0}) == pytest.approx(327.5682, abs=1e-3)
    assert mriqc.snrd(1000.0, {'mad': 0.0, 'stdv': 0.0}) == -1


def test_statistics_of_normal_noise():
    numbers = mriqc.summary(np.random.default_rng(0).normal(50, 4, 200_000))
    assert numbers['mad'] == pytest.approx(4, rel=0.01)
    assert numbers['p95'] - numbers['p05'] == pytest.approx(2 * 1.645 * 4, rel=0.01)


def test_change_in_percent():
    assert mriqc.change(-2.0, -1.0) == 50
    assert mriqc.change(0.0, 0.0) == 0
    assert mriqc.change(0.0, 1.0) is None
    assert mriqc.change(None, 1.0) is None


def test_plane_of_the_air():
    above = mriqc.above_plane((3, 4, 40), AFFINE)
    assert not above[..., :29].any()  # -130 + 4 * 28 = -18
    assert above[..., 29:].all()  # -14


def test_head_frame_and_artefacts_are_told_from_air():
    values, inside = heads.head(SHAPE, AFFINE)
    clean, _ = heads.head(SHAPE, AFFINE, noise=False)
    head = mriqc.head_mask(values, inside, np.full(3, MM))
    assert head[clean > 0].mean() > 0.98
    assert (head & (ndimage.distance_transform_edt(clean == 0) > 4)).mean() < 0.01
    assert not mriqc.rotation_frame(values).any()
    framed = values.copy()
    framed[:4] = 0
    np.testing.assert_array_equal(np.flatnonzero(mriqc.rotation_frame(framed).all(axis=(1, 2))), [0, 1, 2, 3])
    bright = values.copy()
    bright[:3, :3, -3:] = values.max()
    hat = ~head & mriqc.above_plane(SHAPE, AFFINE)
    found = mriqc.artefacts(bright, hat, ndimage.distance_transform_edt(~head))
    assert found[1, 1, -2]
    assert not found[:, :, :-4].any()


def quality_of(values: np.ndarray, inside: np.ndarray) -> dict:
    labels = np.where(inside, 1 + np.digitize(values, np.percentile(values[inside], [33, 66])), 0)
    above = mriqc.above_plane(SHAPE, AFFINE)
    return mriqc.quality(values, np.ones_like(values), labels, inside, above, AFFINE)


def test_noise_of_the_air_is_measured_and_its_absence_is_a_crash():
    values, inside = heads.head(SHAPE, AFFINE)
    before = quality_of(values, inside)
    assert all(value is not None for value in before.values())
    assert before['air_zeros'] == 0
    # Rayleigh: its median is 1.177 sigma, and its mad 0.448 sigma (0.664 after scaling to the normal)
    assert before['bg_mad'] / before['bg_median'] == pytest.approx(0.664 / 1.1774, rel=0.05)
    stripped = quality_of(np.where(inside, values, 0), inside)
    assert stripped['air_zeros'] == 1
    assert stripped['fber'] is None  # nothing is left of the background: all of it is a frame of zeros
    assert stripped['snrd'] == -1


def test_sparse_air_cannot_be_fitted():
    hat = np.zeros(200_000)
    assert mriqc.qi2_fits(hat)  # not tried
    hat[:1500] = 3
    assert not mriqc.qi2_fits(hat)
    hat[:5000] = 3
    assert mriqc.qi2_fits(hat)


def test_a_nan_in_the_image_is_a_crash(tmp_path):
    values = np.ones((4, 4, 4), np.float32)
    path = heads.write(tmp_path / 'image.nii', values, AFFINE, '<f4')
    assert mriqc._finite(path)
    values[0, 0, 0] = np.nan
    assert not mriqc._finite(heads.write(path, values, AFFINE, '<f4'))


# -- classifier --------------------------------------------------------------------------------------------
def test_auc_by_counting():
    assert slice_network.auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
    assert slice_network.auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0
    assert slice_network.auc(np.array([1.0, 3.0]), np.array([2.0, 3.0])) == pytest.approx((0.5 + 1 + 1) / 4)


def test_a_subject_is_in_one_half_only():
    subjects = [f'sub-{number // 2}' for number in range(20)]
    half = slice_network.folds(subjects)
    assert (half[::2] == half[1::2]).all()
    assert half.sum() == 10


@pytest.mark.parametrize('different', [True, False])
def test_the_network_sees_a_difference_where_there_is_one(different):
    rng = np.random.default_rng(0)
    before, after = (ndimage.gaussian_filter(rng.random((12, 6, 24, 24)), (0, 0, 1, 1)) for _ in range(2))
    if different:
        after = ndimage.gaussian_filter(after, (0, 0, 1, 1))  # smoother texture
    subjects = [f'sub-{number}' for number in range(12)]
    numbers = slice_network.tell_apart(before, after, subjects, epochs=8)
    value, low, high = numbers['auc']
    assert low <= value <= high
    if different:
        assert value > 0.95
    else:
        assert 0.2 < value < 0.8
        assert 0.3 < numbers['auc_slice'][0] < 0.7


def test_distance_of_histograms():
    values = np.random.default_rng(0).random(1000)
    assert classifier.histogram_distance(values, values[::-1] + 0.25) == pytest.approx(0.25)
    assert classifier.histogram_distance(values, np.roll(values, 3)) == 0


def test_power_of_a_wave_is_in_its_band():
    z = np.arange(64) * 2.0
    kept = np.zeros((64, 64, 64), bool)
    kept[:16, :16, :16] = True
    rng = np.random.default_rng(0)
    noise = 1 + 0.01 * rng.normal(size=kept.shape)
    wave = noise + 0.3 * np.sin(2 * np.pi * z / 6.4)  # five waves in a tile
    wave[:16, :16, :16] = 0
    before, after = (np.array(anatomy.spectrum(v, kept, (2.0, 2.0, 2.0))) for v in (noise, wave))
    ratio = after / before
    assert ratio[2] > 50  # 8 to 4 mm
    assert ratio[:2].max() < 2
    assert np.isnan(ratio[3])  # shorter than two voxels
    assert np.isnan(anatomy.spectrum(np.zeros_like(noise), kept, (2.0, 2.0, 2.0))).all()


def test_slices_hide_what_was_kept_and_are_pooled(tmp_path, make_pair):
    before, inside = heads.head(SHAPE, AFFINE, person=0)
    after, _ = heads.head(SHAPE, AFFINE, person=1)
    pair = make_pair(before, np.where(inside, before, after), inside)
    numbers = classifier.measure(pair)
    assert numbers['histogram_distance'] > 0
    assert numbers['power_8_4'] is None  # voxels of 4 mm
    cubes = [np.load(derived.folder(pair, role) / 'slices.npz')['array'] for role in ('original', 'output')]
    assert cubes[0].shape == (24, 128, 128)
    middle = cubes[0][4]  # 2 mm off the middle plane
    assert (middle[40:70, 70:80] == 0).all()
    assert not np.array_equal(*cubes)
    assert classifier.pool({'some': {pair.scan: {}}}, tmp_path) == {}  # one subject alone: nothing to test
