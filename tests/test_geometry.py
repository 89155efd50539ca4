"""Grids and resampling, against coordinates worked out by hand."""

import numpy as np
import phantom
import pytest

from cpmae_bids.deid.space import geometry


@pytest.mark.parametrize('n', [128, 256])
def test_cube_covers_256_mm_from_its_corner(n):
    affine = geometry.grid_affine(n)
    size = 256 / n
    corner = np.array(geometry.GRID_CORNER_MM)
    assert np.allclose(affine @ [-0.5, -0.5, -0.5, 1], [*corner, 1])
    assert np.allclose(affine @ [n - 0.5, n - 0.5, n - 0.5, 1], [*(corner + 256), 1])
    assert np.allclose(geometry.voxel_sizes(affine), size)


@pytest.mark.parametrize('axes', ['RAS', 'LAS', 'LPS', 'PIR'])
@pytest.mark.parametrize('oblique', [0.0, 17.0])
def test_a_blob_lands_where_the_affine_says(axes, oblique):
    shape, affine = phantom.grid((2, 2, 3), axes, oblique)
    world_to_template = np.eye(4)
    world_to_template[:3, :3] = 1.1 * phantom.rotation_matrix(5, -3, 8)
    world_to_template[:3, 3] = [4, -6, 9]
    center = np.array([12.0, -25.0, 5.0])  # in the world of the scan
    points = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ points + affine[:3, 3:]
    blob = np.exp(-((world - center[:, None]) ** 2).sum(axis=0) / 200).reshape(shape).astype(np.float32)

    cube = geometry.to_template(blob, affine, world_to_template, 128)
    index = np.indices(cube.shape).reshape(3, -1)
    found = index @ cube.ravel() / cube.sum()
    found = geometry.grid_affine(128)[:3, :3] @ found + geometry.grid_affine(128)[:3, 3]
    expected = world_to_template[:3, :3] @ center + world_to_template[:3, 3]
    assert np.abs(found - expected).max() < 0.05

    back = geometry.from_template(cube, affine, world_to_template, shape)
    assert np.abs(back - blob).max() < 0.08


def test_field_of_view_is_where_voxel_centres_fall_into_the_scan():
    shape, affine = phantom.grid((3, 3, 4), 'LPS', 11)
    fov = geometry.field_of_view(shape, affine, np.eye(4), 32)
    index = np.indices((32, 32, 32)).reshape(3, -1)
    matrix = np.linalg.inv(affine) @ geometry.grid_affine(32)
    native = matrix[:3, :3] @ index + matrix[:3, 3:]
    upper = np.array(shape)[:, None] - 0.5
    inside = ((native >= -0.5) & (native <= upper)).all(axis=0).reshape(32, 32, 32)
    assert 0.2 < inside.mean() < 0.9
    assert (fov != inside).sum() == 0


def test_nothing_outside_the_scan_and_nothing_outside_the_cube():
    shape, affine = phantom.grid((4, 4, 4))
    away = np.eye(4)
    away[:3, 3] = 1000
    ones = np.ones(shape, np.float32)
    assert not geometry.to_template(ones, affine, away, 32).any()
    assert not geometry.field_of_view(shape, affine, away, 32).any()
    assert not geometry.from_template(np.ones((32, 32, 32)), affine, away, shape).any()
    cube = geometry.to_template(ones, affine, np.eye(4), 64)
    assert not cube[~geometry.field_of_view((60, 70, 70), affine, np.eye(4), 64)][0].any()
    assert np.allclose(cube[32, 32, 32], 1)


def test_fine_patterns_are_averaged_not_aliased():
    size = np.array([0.5, 0.5, 0.5, 1])
    shape = (160, 160, 160)
    affine = np.diag(size)
    affine[:3, 3] = -40
    checkers = (np.indices(shape).sum(axis=0) % 2).astype(np.float32)
    center = (slice(52, 76), slice(58, 82), slice(60, 84))  # well within the scan
    smooth = geometry.to_template(checkers, affine, np.eye(4), 128)[center]
    assert np.abs(smooth - 0.5).max() < 0.02
    # Unfiltered, the centres of the cube's voxels hit the dark ones alone
    aliased = geometry.to_template(checkers, affine, np.eye(4), 128, antialias=False)[center]
    assert np.abs(aliased - 0.5).max() > 0.4


@pytest.mark.parametrize('voxels', [(2, 2, 2), (1, 1, 3), (0.5, 0.5, 5)])
def test_a_scan_of_long_voxels_sees_no_pattern_that_is_finer(voxels):
    affine = np.diag([*voxels, 1.0])
    affine[:3, 3] = -19.5  # a centre of a voxel of the cube
    shape = tuple(int(40 / size) for size in voxels)
    planes = np.arange(256)[:, None, None] % 2, np.arange(256)[:, None] % 2, np.arange(256) % 2
    inner = tuple(slice(n // 4, -(n // 4)) for n in shape)
    for size, plane in zip(voxels, planes, strict=True):
        fine = np.broadcast_to(plane, (256,) * 3).astype(np.float32)
        native = geometry.from_template(fine, affine, np.eye(4), shape, order=3)[inner]
        assert (native.std() < 0.03) == (size > 1)
        assert native.mean() == pytest.approx(0.5, abs=0.02)
    wave = np.sin(2 * np.pi * np.arange(256) / 10)[:, None, None] * np.ones((256,) * 3)
    native = geometry.from_template(wave.astype(np.float32), affine, np.eye(4), shape, order=3)[inner]
    assert native.var() == pytest.approx(0.5, abs=0.03)


def test_filter_depends_on_the_axis():
    affine = np.diag([0.5, 1.0, 3.0, 1.0])
    sigma = geometry.antialias_sigma(affine, 2.0)
    fwhm_mm = sigma * [0.5, 1.0, 3.0] * 2.3548
    assert np.allclose(fwhm_mm, [np.sqrt(4 - 0.25), np.sqrt(3), 0], atol=1e-3)


def test_crop_keeps_world_coordinates():
    shape, affine = phantom.grid((2, 2, 2), 'LPS', 9)
    mask = np.zeros(shape, bool)
    mask[20:30, 40:45, 50:80] = True
    window, cropped = geometry.crop(mask, affine, margin=3)
    assert mask[window].sum() == mask.sum()
    assert mask[window].shape == (16, 11, 36)
    assert np.allclose(cropped @ [3, 3, 3, 1], affine @ [20, 40, 50, 1])


def test_other_orders_are_refused():
    with pytest.raises(ValueError, match='order'):
        geometry.resample(np.zeros((4, 4, 4)), np.eye(4), (4, 4, 4), order=2)


@pytest.mark.parametrize(('order', 'least', 'most'), [(1, 0, 0.1), (3, 0.5, 1)])
def test_cubic_interpolation_keeps_texture_that_linear_loses(order, least, most):
    """A wave of three voxels, half a voxel off, both ways."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = [-60, -60, -60]
    moved = np.eye(4)
    moved[:3, 3] = [0, 1, 1]
    shape = (60, 60, 60)
    wave = np.cos(np.arange(60) * 2 * np.pi / 3)
    texture = (1 + wave[:, None, None] * np.ones(shape)).astype(np.float32)
    cube = geometry.to_template(texture, affine, moved, 128, order=order)
    back = geometry.from_template(cube, affine, moved, shape, order=order)[(slice(15, 45),) * 3]
    assert least < back.var() / texture.var() < most
