"""The rendering shows what is there: shape, side, scale, and nothing that floats in the air."""

import nibabel as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cpmae_bids.deid.images.intensity import otsu_threshold, skin_level
from cpmae_bids.reports import render as rendering
from cpmae_bids.reports.render import _average_down, render_field, skin_field


def head_with_nose(
    zooms: float | tuple[float, ...] = 4.0, *, nose: bool = True, right_ear: bool = False, noise: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """Ellipsoid of 80 x 100 x 120 mm half axes, RAS, with a nose in front and perhaps one ear; noisy air."""
    zooms = np.broadcast_to(zooms, 3)
    shape = np.round(np.array([220, 260, 280]) / zooms).astype(int)
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = -zooms * (shape - 1) / 2
    x, y, z = world_grid(shape, affine)
    head = (x / 80) ** 2 + (y / 100) ** 2 + (z / 120) ** 2 < 1
    if nose:
        head |= (x / 14) ** 2 + ((y - 100) / 24) ** 2 + ((z + 10) / 18) ** 2 < 1
    if right_ear:
        head |= ((x - 82) / 16) ** 2 + (y / 14) ** 2 + (z / 22) ** 2 < 1
    air = np.abs(np.random.default_rng(0).normal(0, noise, head.shape)) if noise else 0.0
    return np.where(head, 300.0, air).astype(np.float32), affine


def world_grid(shape, affine) -> list[np.ndarray]:
    """World coordinates of the voxels of a grid whose axes are those of the world."""
    return [
        axis * affine[k, k] + affine[k, 3]
        for k, axis in enumerate(np.indices(tuple(shape), dtype=np.float32))
    ]


def render(volume, affine, size=128, level=None, **view) -> np.ndarray:
    """A picture of 128 pixels of 2 mm by default: small, so that the tests are quick."""
    return render_field(skin_field(volume, affine, level), size=size, **view)


def extent(picture: np.ndarray, axis: int) -> np.ndarray:
    """First and last row (axis 0) or column (axis 1) with something bright in it."""
    return np.flatnonzero((picture > 20).any(axis=1 - axis))[[0, -1]]


def test_profile_shows_the_nose():
    bare = render(*head_with_nose(nose=False), yaw_deg=90)
    nosed = render(*head_with_nose(), yaw_deg=90)
    row = 64 + 5  # the nose is about as far below the middle of the view
    assert np.ptp(extent(bare, 1)) == pytest.approx(100, abs=2)
    assert np.ptp(extent(nosed, 1)) == pytest.approx(112, abs=2)
    # the view is centred on the box: a nose of 24 mm moves the front by half of that to the left
    assert extent(bare, 1)[0] - np.flatnonzero(nosed[row] > 20)[0] == pytest.approx(6, abs=2)
    other_side = render(*head_with_nose(), yaw_deg=-90)
    np.testing.assert_allclose(nosed[row] > 20, other_side[row, ::-1] > 20)


@pytest.mark.parametrize('unit', [1e-20, 1e-7, 1e6])
def test_the_unit_does_not_matter(unit):
    volume, affine = head_with_nose()
    expected, found = (render(scaled, affine).astype(int) for scaled in (volume, volume * np.float32(unit)))
    assert np.abs(expected - found).max() <= 1


def test_scale_is_256_mm_whatever_the_size():
    volume, affine = head_with_nose()
    large, small = render(volume, affine, size=256), render(volume, affine, size=64)
    assert large.shape == (256, 256)
    assert large.dtype == np.uint8
    assert np.ptp(extent(large, 0)) == pytest.approx(240, abs=5)
    assert np.ptp(extent(large, 1)) == pytest.approx(160, abs=5)
    assert np.ptp(extent(small, 1)) == pytest.approx(40, abs=2)


def test_right_of_the_subject_is_on_the_left_of_the_picture():
    eared = render(*head_with_nose(right_ear=True)) > 20
    columns = np.flatnonzero(eared[64])
    above_ear = np.flatnonzero(eared[25])
    middle = above_ear.mean()
    assert middle - columns[0] > columns[-1] - middle + 5


@pytest.mark.parametrize('codes', ['LAS', 'LPS', 'PSR'])
def test_storage_order_does_not_matter(codes):
    volume, affine = head_with_nose(right_ear=True)
    image = nb.Nifti1Image(volume, affine)
    change = nb.orientations.ornt_transform(nb.io_orientation(affine), nb.orientations.axcodes2ornt(codes))
    other = image.as_reoriented(change)
    assert ''.join(nb.aff2axcodes(other.affine)) == codes
    expected = render(volume, affine, yaw_deg=30)
    found = render(np.asanyarray(other.dataobj), other.affine, yaw_deg=30)
    difference = np.abs(found.astype(int) - expected)
    assert difference.mean() < 0.05
    assert np.percentile(difference, 99.9) <= 2


def test_turning_the_head_in_the_scanner_is_turning_the_view():
    volume, affine = head_with_nose(noise=0)
    turn = np.deg2rad(25)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    turned = render(volume, rotation @ affine)  # counterclockwise seen from above: to the subject's left
    viewed = render(volume, affine, yaw_deg=-25)
    columns = [np.flatnonzero((picture > 20).any(axis=0)) for picture in (turned, viewed)]
    viewed = np.roll(
        viewed, columns[0][0] - columns[1][0], axis=1
    )  # the boxes differ, and so do their middles
    assert np.abs(turned.astype(int) - viewed).mean() < 2
    assert np.abs(turned.astype(int) - viewed[:, ::-1]).mean() > 4


@pytest.mark.parametrize('zooms', [(2.0, 4.0, 4.0), (4.0, 4.0, 8.0)])
def test_voxel_size_does_not_matter(zooms):
    expected = render(*head_with_nose()) > 20
    found = render(*head_with_nose(zooms)) > 20
    assert (found & expected).sum() / (found | expected).sum() > 0.95


def test_fine_scans_are_averaged_down_in_place():
    affine = np.array([[0, 0, 0.5, 3], [-0.4, 0, 0, 5], [0, 1.2, 0, -7], [0, 0, 0, 1.0]])

    def slope_in_the_world(shape, matrix):
        world = np.tensordot(matrix[:3, :3], np.indices(shape), axes=1) + matrix[:3, 3, None, None, None]
        return np.tensordot([1.0, -2.0, 3.0], world, axes=1)

    coarse, moved = _average_down(slope_in_the_world((9, 12, 16), affine), affine)
    assert coarse.shape == (4, 12, 8)  # the odd one out is dropped
    np.testing.assert_allclose(coarse, slope_in_the_world(coarse.shape, moved))


def test_what_floats_in_the_air_is_not_drawn():
    volume, affine = head_with_nose(noise=0)
    clean = render(volume, affine)
    speckled = volume.copy()
    speckled[1:3, 1:3, 1:3] = 400.0
    speckled[-4:-2, 30:32, 50:52] = 400.0
    assert np.abs(render(speckled, affine).astype(int) - clean).max() <= 2


def test_bright_spikes_do_not_move_the_skin():
    volume, affine = head_with_nose()
    spiked = volume.copy()
    spiked[25:27, 30:32, 30:32] = 1e5
    assert skin_level(spiked) == pytest.approx(skin_level(volume), rel=0.1)
    silhouette = render(volume, affine) > 20
    assert ((render(spiked, affine) > 20) == silhouette).mean() > 0.99


def test_the_cut_through_the_neck_is_a_surface():
    volume, affine = head_with_nose(noise=0)
    cut = volume[:, :, 20:]
    moved = affine.copy()
    moved[:3, 3] += affine[:3, 2] * 20
    thrown_back = np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    below = render(cut, thrown_back @ moved)
    assert below[64, 64] > 150  # flat, facing the camera, well lit


def test_otsu_threshold_separates_two_classes():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(10, 3, 9000), rng.normal(100, 5, 1000)])
    assert 20 < otsu_threshold(values) < 85
    assert otsu_threshold(np.array([0.0] * 999 + [5.0])) > 0


def test_explicit_level_is_used():
    volume, affine = head_with_nose(noise=0)
    x, y, z = (
        axis * 2.0 + start for axis, start in zip(np.indices(volume.shape), affine[:3, 3], strict=True)
    )
    volume[x**2 + y**2 + z**2 < 40**2] = 900.0
    inner = render(volume, affine, level=600.0)
    assert np.ptp(extent(inner, 1)) == pytest.approx(40, abs=3)


def test_not_a_number_is_air():
    volume, affine = head_with_nose(noise=0)
    holed = volume.copy()
    holed[:3] = np.nan
    np.testing.assert_array_equal(render(holed, affine), render(volume, affine))


def test_input_is_not_written_to():
    volume, affine = head_with_nose()
    before, affine_before = volume.copy(), affine.copy()
    skin_field(volume, affine)
    np.testing.assert_array_equal(volume, before)
    np.testing.assert_array_equal(affine, affine_before)


@pytest.mark.parametrize(
    ('volume', 'level', 'message'),
    [
        (np.ones((8, 8)), None, 'three axes'),
        (np.ones((8, 8, 8, 2)), None, 'three axes'),
        (np.full((8, 8, 8), 7.0), None, 'constant'),
        (np.full((8, 8, 8), np.nan), None, 'constant'),
        (np.arange(512.0).reshape(8, 8, 8), 1e6, 'brighter'),
    ],
)
def test_no_head_is_an_error(volume, level, message):
    with pytest.raises(ValueError, match=message):
        render(volume, np.eye(4), level=level)


def look_at_all_samples(field, matrix, offset, shape):
    """What `_first_crossings` finds, by looking along every ray from end to end."""
    air = float(field.values.min())
    seen = ndimage.affine_transform(
        field.values, matrix, offset, output_shape=tuple(shape), order=1, mode='constant', cval=air
    )
    rows, columns = np.nonzero((seen > 0).any(axis=2))
    along = seen[rows, columns]
    after = (along > 0).argmax(axis=1)
    each = np.arange(len(rows))
    before, behind = along[each, np.maximum(after - 1, 0)], along[each, after]
    return rows, columns, after - behind / np.maximum(behind - before, behind)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(-180, 180),
    st.tuples(*[st.floats(1.0, 9.0)] * 3),
    st.sampled_from([64, 100]),
)
def test_no_crossing_is_missed(seed, yaw, zooms, size):
    rng = np.random.default_rng(seed)
    volume = ndimage.gaussian_filter(rng.normal(size=(20, 24, 22)), rng.uniform(0.8, 3))
    volume = 100 * volume / volume.max()
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]  # oblique, and mirrored half of the time
    affine = np.eye(4)
    affine[:3, :3] = turn * zooms
    field = skin_field(volume, affine, level=rng.uniform(0, 20))
    view = {'yaw_deg': yaw, 'size': size}
    picture = render_field(field, **view)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, '_first_crossings', look_at_all_samples)
        reference = render_field(field, **view)
    np.testing.assert_allclose(picture.astype(int), reference.astype(int), atol=1)
