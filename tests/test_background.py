"""Noise in place of air, from black to white, is looked past; everything else is left alone."""

import nibabel as nb
import numpy as np
import phantom
import pytest
from scipy import ndimage

from benchmarks import robustness_cases as cases
from cpmae_bids.deid.images import background, masks, nifti
from cpmae_bids.deid.qc import head_checks, scan_checks
from cpmae_bids.deid.qc.head_metrics import compare_heads
from cpmae_bids.deid.synthesis import air as air_model
from cpmae_bids.deid.synthesis import blending


@pytest.fixture(scope='module')
def head():
    shape, affine = phantom.grid((2, 2, 2))
    values, brain = phantom.head(shape, affine)
    return cases.Head(values, affine, brain, np.eye(4), phantom.SCALE)


@pytest.fixture(scope='module')
def uniform(head):
    return cases.mp2rage(head)[0]


def write(path, values, affine, dtype=np.float32, slope=None, inter=None):
    image = nb.Nifti1Image(np.asarray(values, dtype), affine)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units('mm')
    image.header.set_slope_inter(slope, inter)
    nb.save(image, path)
    return path


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_tissue_is_told_from_noise(head, uniform):
    tissue = background.segment_tissue(uniform, head.sizes)
    truth = head.values > 0.15 * head.scale
    assert dice(tissue, truth) > 0.93
    assert tissue[head.kept & truth].mean() > 0.99


def test_what_is_noise_does_not_depend_on_units(head, uniform):
    tissue = background.segment_tissue(uniform, head.sizes)
    for slope, inter in ((1 / 4095, -0.5), (-3, 100)):
        other = background.segment_tissue(np.float32(slope) * uniform + np.float32(inter), head.sizes)
        assert (tissue != other).mean() < 1e-4


@pytest.mark.parametrize(
    'name', [name for name, case in cases.CASES.items() if not case.fine and name != 'mp2rage']
)
def test_other_scans_are_left_alone(head, name):
    values, _ = cases.CASES[name].make(head)
    assert not background.has_bright_noise(values)


@pytest.mark.parametrize('ratio', [3, 4, 6])
def test_loud_noise_in_dark_air_is_left_alone(head, ratio):
    assert not background.has_bright_noise(cases.rician(head.values, head.scale / ratio))


PADDING = {
    'front and back': ((0, 0), (4, 4), (0, 0)),
    'all sides': ((3, 3), (3, 3), (3, 3)),
    'much of one side': ((0, 0), (0, 0), (40, 0)),
}


@pytest.mark.parametrize('value', [0, 2048])
@pytest.mark.parametrize('planes', PADDING.values(), ids=PADDING)
def test_padding_is_neither_tissue_nor_hides_noise(head, uniform, planes, value):
    padded = np.pad(uniform, planes, constant_values=value)
    assert background.has_bright_noise(padded)
    inside = tuple(slice(first, n - last) for n, (first, last) in zip(padded.shape, planes, strict=True))
    tissue = background.segment_tissue(padded, head.sizes)
    assert dice(tissue[inside], head.values > 0.15 * head.scale) > 0.92
    assert tissue.sum() == tissue[inside].sum()


def frame(values, value):
    """Padding at two sides and in a corner, as a rotation of the grid leaves it."""
    values = np.pad(values, ((4, 0), (0, 3), (0, 0)), constant_values=value)
    corner = np.indices(values.shape).sum(axis=0) < 60
    return np.where(corner, value, values)


OFF_ZERO = {
    'padded by -1024': (lambda head: frame(head.values, -1024), 0),
    'padded by -1': (lambda head: frame(head.values / head.scale, -1), 0),
    'offset': (lambda head: head.values + 1000, 1000),
    'offset, padded by 0': (lambda head: frame(head.values + 1000, 0), 1000),
    'offset, padded by -1024': (lambda head: frame(head.values + 200, -1024), 200),
    'of zero mean': (lambda head: (head.values - head.values.mean()) / head.values.std(), None),
}


@pytest.mark.parametrize(('change', 'level'), OFF_ZERO.values(), ids=OFF_ZERO)
def test_air_off_zero_and_padding_are_brought_to_zero(tmp_path, head, change, level):
    values = change(head)
    scan = scan_checks.load_t1w(write(tmp_path / 'T1w.nii', values, head.affine))
    assert type(scan) is background.OffsetScan
    assert scan.values().min() == 0
    if level is not None:
        assert abs(scan.low - level) < 0.03 * head.scale
        inside = values > level + 0.1 * np.ptp(values[values > level])
        assert np.allclose(scan.values()[inside], values[inside] - scan.low, atol=0.01)


def refaced(scan, head):
    """Stored values of a scan with another head around its brain, and its scale."""
    scale = float(np.median(scan.values()[head.kept]))
    air = air_model.estimate(scan.values(), head.kept, scan.voxel_sizes, scale)
    place = (scale, scan.affine, np.eye(4), scan.shape, air, 1)
    raw = blending.blend(scan, head.kept, phantom.synthesize(phantom.cube(3), *place))
    assert np.array_equal(raw[head.kept], scan.raw[head.kept])
    return raw, scale


def test_an_offset_and_padding_hide_no_face_and_are_not_sown_into_the_air(tmp_path, head):
    for number, values in enumerate((head.values + 1000, frame(head.values, -1024)[4:, :-3])):
        values = values.copy()
        values[:5], values[:, :, -4:] = values.min(), values.min()  # within the grid of the head
        scan = scan_checks.load_t1w(write(tmp_path / f'{number}.nii', np.rint(values), head.affine, np.int16))
        head_checks.check_head(scan, head.kept, np.eye(4))
        raw, scale = refaced(scan, head)
        assert raw.min() > scan.low - 0.1 * scale
        far = ~masks.dilate(head.values > 0.15 * head.scale, 12, head.sizes)
        assert abs(np.median(raw[far]) - scan.low) < 0.1 * scale


def test_real_heads_are_left_alone_and_their_uniform_images_are_not(test_heads):
    of_scanners = {path.name[:6]: path for path in test_heads.glob('sub-*/**/*_T1w.nii.gz')}
    for path in of_scanners.values():  # one of each, for a whole set takes minutes
        scan = scan_checks.load_t1w(path)
        assert type(scan) is nifti.Image
        values = scan.values()
        values = values[tuple(slice(None, None, 1 + size // 200) for size in scan.shape)]
        values = np.maximum(values - np.percentile(values, 40), 0)  # air may have a pedestal
        of_it = cases.Head(values, scan.affine, None, None, float(np.percentile(values, 95)))
        assert background.has_bright_noise(cases.mp2rage(of_it)[0])


def test_a_head_is_found_in_a_uniform_image(tmp_path, head, uniform):
    scan = scan_checks.load_t1w(write(tmp_path / 'T1w.nii', np.rint(uniform), head.affine, np.int16))
    assert isinstance(scan, background.DenoisedScan)
    head_checks.check_head(scan, head.kept, np.eye(4))
    measures = head_checks.measure_head(scan, head.kept, np.eye(4))
    assert measures['bright_air_share'] == 0
    assert measures['nose_share'] > 0.8
    assert measures['face_cut_cm2'] < 5


def test_a_uniform_image_without_its_face_is_refused(tmp_path, head, uniform):
    to_template = head.affine
    y, z = (np.indices(uniform.shape)[axis] * 2 + to_template[axis, 3] for axis in (1, 2))
    values = np.where((y > 50) & (z < 0), 0, uniform)
    scan = scan_checks.load_t1w(write(tmp_path / 'T1w.nii', values, head.affine))
    assert isinstance(scan, background.DenoisedScan)
    with pytest.raises(head_checks.InputError, match='defaced before'):
        head_checks.check_head(scan, head.kept, np.eye(4))


def test_signed_images_have_the_same_values(tmp_path, head, uniform):
    plain = scan_checks.load_t1w(write(tmp_path / 'a.nii', uniform, head.affine))
    signed = scan_checks.load_t1w(write(tmp_path / 'b.nii', uniform / 4095 - 0.5, head.affine))
    stored = scan_checks.load_t1w(
        write(tmp_path / 'c.nii', np.rint(uniform), head.affine, np.int16, 1 / 4095, -0.5)
    )
    for scan in (signed, stored):
        assert scan.values().min() == 0
        differ = np.abs(scan.values() * 4095 - plain.values()) > 2
        assert differ.mean() < 1e-3


def test_a_refaced_scan_is_read_in_the_units_of_its_original(tmp_path, head, uniform):
    path = write(tmp_path / 'T1w.nii', uniform / 4095 - 0.5, head.affine)
    original, written = scan_checks.load_t1w(path), nifti.read(path)
    both = background.in_units_of(original, written)
    inside = original.values() > 0
    inside &= background.segment_tissue(both.values(), head.sizes)
    whole = np.isclose(original.values(), both.values(), atol=1e-6)
    assert whole[head.kept & inside].mean() > 0.95
    plain = nifti.read(write(tmp_path / 'plain.nii', head.values, head.affine))
    assert background.in_units_of(plain, written) is written


def test_the_output_has_the_stored_brain_and_quiet_air(tmp_path, head, uniform):
    stored = np.rint(uniform)
    scan = scan_checks.load_t1w(write(tmp_path / 'T1w.nii', stored, head.affine, np.int16, -1 / 4095, 0.5))
    raw, scale = refaced(scan, head)
    nifti.write(tmp_path / 'out.nii', raw, scan)
    written = background.in_units_of(scan, nifti.read(tmp_path / 'out.nii')).values()
    far = ~masks.dilate(head.values > 0.15 * head.scale, 12, head.sizes)
    assert np.percentile(written[far], 99) < 0.1 * scale
    assert np.percentile(nifti.Image.values(scan)[far], 99) > scale


def test_the_verdict_sees_a_face_that_lies_a_voxel_beside_its_outline():
    face = ndimage.gaussian_filter(phantom.cube(0).astype(np.float32), 1)
    fuller = ndimage.grey_dilation(face, footprint=ndimage.generate_binary_structure(3, 1))
    other = ndimage.gaussian_filter(phantom.cube(3).astype(np.float32), 1)
    brain = phantom.cube(0) * 0 > 1
    everywhere = np.ones(face.shape, bool)

    def compared(after, vague):
        found = compare_heads(fuller, after, brain, brain, everywhere, vague=vague)
        return found['surface_moved_mm'], found['surface_same_share']

    moved, same = compared(face, vague=False)
    assert moved > 0.7
    assert same < 0.4
    moved, same = compared(face, vague=True)
    assert moved < 0.7
    assert same > 0.4
    moved, same = compared(other, vague=True)
    assert moved > 0.7
    assert same < 0.4
