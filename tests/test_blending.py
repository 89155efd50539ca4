"""The blend: what is kept is kept to the bit, and nothing else of the original survives."""

import nibabel as nib
import numpy as np
import phantom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpmae_bids.deid.images import masks, nifti, noise
from cpmae_bids.deid.qc import file_metrics
from cpmae_bids.deid.space import geometry
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending

KINDS = {
    'uint8': ('|u1', 1.0, 0.0, 0.4),
    'int16 scaled': ('<i2', 0.0625, -12.0, 1.0),
    'int16 negative slope': ('<i2', -0.5, 400.0, 1.0),
    'float32': ('<f4', 1.0, 0.0, 1.0),
    'big-endian': ('>i2', 1.0, 0.0, 1.0),
    'int32': ('<i4', 1.0, 0.0, 1000.0),
    'float64': ('<f8', 2.0, 0.0, 1.0),
}
GRIDS = {
    'RAS': phantom.grid((4, 4, 4)),
    'LAS': phantom.grid((4, 4, 4), 'LAS'),
    'LPS': phantom.grid((4, 4, 4), 'LPS'),
    'oblique': phantom.grid((4, 4, 4), 'PIR', 14),
    '1x1x2': phantom.grid((3, 3, 6), 'RAS'),
}


def even_air(median):
    """Air of that median, near the head as far from it, in a scan of scale 300."""
    level = 20 * np.log10((median or 1) / 300)
    return air_model.AirStatistics(0.0, (float(median > 0),) * 2, (level,) * 2, 2.0)


def reface(path, kind, grid, person=1, seed=5):
    dtype, slope, inter, unit = KINDS[kind]
    shape, affine = GRIDS[grid] if isinstance(grid, str) else grid
    values, brain = phantom.head(shape, affine)
    scan = nifti.read(phantom.write(path / 'T1w.nii', values * unit, affine, dtype, slope, inter))
    kept = masks.dilate(brain, 2.0, scan.voxel_sizes)
    scale = phantom.SCALE * unit
    air = air_model.estimate(scan.values(), kept, scan.voxel_sizes, scale)
    generated = phantom.synthesize(phantom.cube(person), scale, scan.affine, np.eye(4), scan.shape, air, seed)
    nifti.write(path / 'out.nii', blending.blend(scan, kept, generated), scan)
    return scan, nifti.read(path / 'out.nii'), kept


# Pairs of others are drawn below
PAIRS = [*((kind, 'LPS') for kind in KINDS), *(('int16 scaled', grid) for grid in GRIDS if grid != 'LPS')]


@pytest.mark.parametrize(('kind', 'grid'), PAIRS)
def test_the_kept_mask_is_identical_to_the_bit(tmp_path, kind, grid):
    scan, out, kept = reface(tmp_path, kind, grid)
    assert file_metrics.header_fields_changed(scan, out) == 0
    assert file_metrics.header_fields_leaked(out) == 0
    assert out.raw[kept].tobytes() == scan.raw[kept].tobytes()
    assert np.isfinite(out.values()).all()
    assert out.raw.min() >= scan.raw.min()
    assert out.raw.max() <= scan.raw.max()
    scale = phantom.SCALE * KINDS[kind][3]
    before, after = (noise.far_air(of.values(), kept, of.voxel_sizes, scale) for of in (scan, out))
    assert after.busy_share > 0.5 * before.busy_share > 0
    assert after.quantiles[50] == pytest.approx(before.quantiles[50], rel=0.2, abs=0.51)


def test_half_millimetre_voxels(tmp_path):
    shape, affine = phantom.grid((0.5, 2, 2), 'LPS', 6)
    scan, out, kept = reface(tmp_path, 'int16 scaled', (shape, affine))
    assert np.allclose(np.sort(scan.voxel_sizes), [0.5, 2, 2])
    assert out.raw[kept].tobytes() == scan.raw[kept].tobytes()
    assert file_metrics.header_fields_changed(scan, out) == 0


@settings(max_examples=15, deadline=None)
@given(
    dtype=st.sampled_from(['|u1', '|i1', '<i2', '>i2', '<u2', '>i4', '<f4', '>f8']),
    slope=st.sampled_from([1.0, 0.1, 3.0, -2.0]),
    inter=st.sampled_from([0.0, 10.0, -5.0]),
    axes=st.sampled_from(['RAS', 'LAS', 'LPS', 'SRA']),
    seed=st.integers(0, 1000),
)
def test_any_type_scaling_and_orientation(tmp_path_factory, dtype, slope, inter, axes, seed):
    rng = np.random.default_rng(seed)
    shape, affine = phantom.grid((12, 12, 12), axes, float(rng.uniform(0, 20)))
    folder = tmp_path_factory.mktemp('any')
    stored = rng.uniform(0, 100, shape) * slope + inter
    scan = nifti.read(phantom.write(folder / 'in.nii', stored, affine, dtype, slope, inter))
    kept = rng.random(shape) < 0.2
    generated = (rng.normal(0, 300, shape) * slope).astype(np.float32)
    nifti.write(folder / 'out.nii.gz', blending.blend(scan, kept, generated), scan)
    out = nifti.read(folder / 'out.nii.gz')
    assert out.raw[kept].tobytes() == scan.raw[kept].tobytes()
    assert file_metrics.header_fields_changed(scan, out) == 0
    assert out.raw.min() >= scan.raw.min()
    assert out.raw.max() <= scan.raw.max()


@pytest.mark.parametrize('dtype', ['<i8', '<u8'])
def test_the_largest_stored_value_may_be_that_of_the_type(tmp_path, dtype):
    shape, affine = phantom.grid((12, 12, 12), 'RAS', 0)
    largest = np.iinfo(dtype).max
    stored = np.zeros(shape, dtype)
    stored[0, 0, 0] = largest
    image = nib.Nifti1Image(stored, affine, dtype=np.dtype(dtype))
    image.to_filename(tmp_path / 'in.nii')
    scan = nifti.read(tmp_path / 'in.nii')
    raw = blending.to_raw(np.full(shape, 1e30, np.float32), scan)
    assert 0 < raw.min() <= raw.max() <= largest


def test_no_original_voxel_survives_outside_mask_and_feather(tmp_path):
    """Another head around the same brain, equal masks and statistics: equal output beyond the feather."""
    shape, affine = GRIDS['LPS']
    results = []
    for person in (0, 7):
        values, brain = phantom.head(shape, affine, person)
        values[brain] = phantom.head(shape, affine, 0)[0][brain]
        values[0, 0, 0], values[-1, -1, -1] = 0, 4000  # the range is one of the statistics
        scan = nifti.read(phantom.write(tmp_path / f'{person}.nii', values, affine))
        kept = masks.dilate(brain, 2.0, scan.voxel_sizes)
        air = even_air(20)
        generated = phantom.synthesize(phantom.cube(3), 300.0, affine, np.eye(4), shape, air, 1)
        results.append((scan.raw, blending.blend(scan, kept, generated)))
    width = masks.feather_width(scan.voxel_sizes)
    outside = masks.distance_outside(kept, scan.voxel_sizes, width) >= width
    (raw_a, out_a), (raw_b, out_b) = results
    assert (raw_a[outside] != raw_b[outside]).mean() > 0.5  # the originals do differ
    assert np.array_equal(out_a[outside], out_b[outside])


def test_only_the_feather_blends(tmp_path):
    scan, out, kept = reface(tmp_path, 'float32', 'RAS')
    width = masks.feather_width(scan.voxel_sizes)
    distance = masks.distance_outside(kept, scan.voxel_sizes, width)
    feather = (distance > 0) & (distance < width)
    assert width <= 6
    assert feather.any()
    beyond = distance >= width
    assert (out.raw[beyond] == scan.raw[beyond]).mean() < 1e-3


def test_where_the_cube_does_not_reach_there_is_air():
    shape, affine = GRIDS['RAS']
    air = even_air(10)
    away = np.eye(4)
    away[1, 3] = 130.0  # the front of the scan leaves the cube
    values = phantom.synthesize(phantom.cube(0), 300.0, affine, away, shape, air, 0)
    reached = geometry.inside_grid(
        geometry.native_to_template_voxels(128, affine, away), shape, (128, 128, 128)
    )
    assert 0.05 < (~reached).mean() < 0.95
    assert values[~reached].max() <= 40
    assert values[reached].max() > 200


def test_a_blurred_decoder_leaves_no_haze_in_the_air():
    shape, affine = GRIDS['RAS']
    air = even_air(0)
    hazy = np.full((128, 128, 128), 0.01, np.float16)
    assert not phantom.synthesize(hazy, 300.0, affine, np.eye(4), shape, air, 0).any()


@pytest.mark.parametrize(('values', 'whole'), [([3.0, 7.0], True), ([3.5, 7.25], False)])
def test_numbers_are_as_whole_as_in_the_kept_mask(tmp_path, values, whole):
    shape, affine = phantom.grid((12, 12, 12))
    stored = np.resize(values, shape).astype(np.float32)
    scan = nifti.read(phantom.write(tmp_path / 'in.nii', stored, affine, '<f4'))
    kept = np.zeros(shape, bool)
    kept[4:8] = True
    out = blending.blend(scan, kept, np.linspace(3, 7, stored.size, dtype=np.float32).reshape(shape))
    assert np.array_equal(out, np.rint(out)) == whole


@pytest.mark.parametrize('slope', [1.0, -0.5])
def test_of_the_brightest_voxel_a_step_is_told(tmp_path, slope):
    """Two originals that differ in it by less than a tenth of the range of the brain."""
    shape, affine = phantom.grid((12, 12, 12))
    outputs = []
    for brightest in (511, 519):
        values = np.linspace(0, 200, np.prod(shape)).reshape(shape)
        kept = values > 100
        values[0, 0, 0] = brightest
        scan = nifti.read(phantom.write(tmp_path / 'in.nii', values, affine, '<i2', slope, 40.0))
        outputs.append(blending.blend(scan, kept, np.full(shape, 1e4, np.float32)))
        assert 490 <= (outputs[-1][0, 0, 0] * slope + 40.0) <= brightest
    assert np.array_equal(*outputs)
