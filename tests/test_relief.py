"""The geometric detector tells faces from what is left where a face was removed."""

import numpy as np
import phantom
import pytest

from cpmae_bids.deid.qc import relief

GRID = (4.0, 4.0, 4.0)


@pytest.fixture(scope='module')
def scan():
    """A head at 4 mm with its brain, and world coordinates of its voxels."""
    shape, affine = phantom.grid(GRID)
    values, brain = phantom.head(shape, affine)
    y, z = (affine[k, k] * np.indices(shape)[k] + affine[k, 3] for k in (1, 2))
    return values, brain, affine, y, z


def is_face(values, affine) -> bool:
    return relief.find_face(values, affine).is_face


def test_a_head_has_a_face(scan):
    values, _, affine, *_ = scan
    assert is_face(values, affine)


def test_a_bare_brain_has_none(scan):
    values, brain, affine, *_ = scan
    assert not is_face(np.where(brain, values, 0), affine)


@pytest.mark.parametrize('keep', [lambda y, z: (y < 30) | (z > -10), lambda y, z: y - z < 60])
def test_what_a_mask_or_a_plane_left_has_none(scan, keep):
    values, _, affine, y, z = scan
    assert not is_face(np.where(keep(y, z), values, 0), affine)


def test_bright_and_dark_tissue_may_change_places(scan):
    values, _, affine, *_ = scan
    assert is_face(np.where(values > 60, 500 - values, values), affine)


def test_the_level_of_the_air_does_not_matter(scan):
    values, _, affine, *_ = scan
    assert is_face(values - 1000, affine)


@pytest.mark.parametrize('filling', [-200, -1000, -3024])
@pytest.mark.parametrize('where', ['circle', 'sides'])
def test_a_filling_darker_than_air_hides_no_face(scan, filling, where):
    values, _, affine, *_ = scan
    x, y = ((np.indices(values.shape)[axis] / values.shape[axis] - 0.5) for axis in (0, 1))
    outside = np.hypot(x, y) > 0.5 if where == 'circle' else np.abs(x) > 0.45
    assert is_face(np.where(outside, filling, values), affine)


@pytest.mark.parametrize('unit', [1e-20, 1e-7, 1e6])
def test_the_unit_does_not_matter(scan, unit):
    values, _, affine, *_ = scan
    expected = relief.find_face(values, affine).agreement
    assert relief.find_face(values * unit, affine).agreement == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('axes', ['LPI', 'PSR'])
def test_any_orientation(axes):
    shape, affine = phantom.grid(GRID, axes)
    assert is_face(phantom.head(shape, affine)[0], affine)


@pytest.mark.parametrize('angles', [(12, 0, 0), (-12, 0, 0), (0, 8, 0), (0, 0, 15), (0, 0, -15)])
def test_a_turned_head(scan, angles):
    values, _, affine, *_ = scan
    turn = np.eye(4)
    turn[:3, :3] = phantom.rotation_matrix(*angles)
    assert is_face(values, turn @ affine)


def test_thick_slices(scan):
    values, _, affine, *_ = scan
    pairs = values.reshape(*values.shape[:2], -1, 2).mean(axis=3)
    affine = affine @ np.diag([1, 1, 2, 1.0])
    assert is_face(pairs, affine)


def test_a_chin_outside_of_the_field_of_view(scan):
    values, _, affine, _, z = scan
    first = int(np.argmax(z[0, 0] > -85))
    moved = affine.copy()
    moved[2, 3] += 4 * first
    assert is_face(values[:, :, first:], moved)


def test_noise_as_bright_as_a_head_hides_it(scan):
    values, _, affine, *_ = scan
    rng = np.random.default_rng(0)
    hidden = relief.find_face(np.where(values > 60, values, rng.uniform(0, 600, values.shape)), affine)
    assert hidden.opaque
    assert not hidden.is_face


def test_a_mask_has_two_sides(scan):
    values, brain, affine, *_ = scan
    head = values > 60
    for inside, expected in ((~head, True), (~brain, False)):
        found = relief.find_face(inside.astype(np.float32), affine)
        assert found.is_face == expected
        assert not found.opaque


@pytest.mark.parametrize('shape', [(1, 60, 60), (60, 60, 60), (3, 2, 2)])
def test_constant_or_tiny_volumes(shape):
    assert relief.find_face(np.zeros(shape), np.diag([4, 4, 4, 1.0])).agreement == -1


def test_the_average_is_symmetric_and_has_a_nose():
    average, nose = relief.average_relief()
    assert average == pytest.approx(average[::-1])
    middle = average.shape[0] // 2
    assert abs(int(average[middle].argmax()) - nose) <= 2
    assert average[middle, nose] - average[middle - 8, nose] > 15  # mm, beside the nose
