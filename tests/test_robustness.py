"""The scans of `benchmarks.robustness` are what they are said to be."""

import numpy as np
import phantom
import pytest

from benchmarks import robustness_cases as cases

COARSE = [name for name, case in cases.CASES.items() if not case.fine]


@pytest.fixture(scope='module')
def head():
    shape, affine = phantom.grid((4, 4, 4))
    values, brain = phantom.head(shape, affine)
    return cases.Head(values, affine, brain, np.eye(4), phantom.SCALE)


def world_of(values, affine, where):
    """Centre of voxels in the world, in mm."""
    return affine[:3, :3] @ np.argwhere(where).mean(axis=0) + affine[:3, 3]


@pytest.mark.parametrize('name', COARSE)
def test_a_case_is_another_scan(head, name):
    values, affine = cases.CASES[name].make(head)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() > values.min()
    assert abs(np.linalg.det(affine[:3, :3])) > 1
    if name != 'as_is':
        same = values.shape == head.values.shape and np.array_equal(values, head.values)
        assert not same or not np.allclose(affine, head.affine)


def test_a_turned_head_turns_about_its_brain(head):
    bright = 0.5 * head.scale
    before = world_of(head.values, head.affine, head.kept)
    values, affine = cases.turned(0, 30)(head)
    nose = np.array([0, 95, -56.0])
    turned = before + phantom.rotation_matrix(30, 0, 0) @ (nose - before)
    voxel = np.rint(np.linalg.inv(affine) @ [*turned, 1])[:3].astype(int)
    assert values[tuple(voxel)] > bright
    assert np.linalg.norm(turned - nose) > 40


@pytest.mark.parametrize(
    ('case', 'axis', 'limit'),
    [(cases.cut(1, 84, keep='below'), 1, 84), (cases.cut(2, -92, keep='above'), 2, -92)],
)
def test_a_field_of_view_ends_at_its_plane(head, case, axis, limit):
    values, affine = case(head)
    ends = affine[axis, axis] * np.array([-0.5, values.shape[axis] - 0.5]) + affine[axis, 3]
    assert np.abs(ends - limit).min() <= 4
    first = np.rint(np.linalg.inv(head.affine) @ affine @ [0, 0, 0, 1])[:3].astype(int)
    window = tuple(slice(start, start + size) for start, size in zip(first, values.shape, strict=True))
    assert np.array_equal(values, head.values[window])


def test_other_voxels_show_the_same_head(head):
    values, affine = cases.voxels(4, 4, 12)(head)
    assert values.shape[2] == head.values.shape[2] // 3
    shift = world_of(values, affine, values > 100) - world_of(head.values, head.affine, head.values > 100)
    assert np.abs(shift).max() < 2


def test_noise_in_the_air_of_mp2rage_is_as_bright_as_tissue(head):
    values, _ = cases.mp2rage(head)
    air = head.values < 0.03 * head.scale
    assert values[air].std() > 0.25 * values[head.kept].mean()
    assert values[head.kept].std() < values[air].std()
