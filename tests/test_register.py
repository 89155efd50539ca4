"""The alignment: conventions, accuracy, repeatability, and refusal of what is no head."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import phantom
import pytest
from nibabel.affines import apply_affine

from cpmae_bids.deid.images import intensity, nifti
from cpmae_bids.deid.qc import head_checks
from cpmae_bids.deid.space import alignment, geometry
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps.__main__ import main
from cpmae_bids.steps.coregister import coregister
from cpmae_bids.steps.register import STARTS, align, register
from cpmae_bids.templates import Template, find_template


def affine_map(degrees, scales, shift):
    """Rotation after scaling about the middle of the brain, and a shift: scan to template."""
    center = np.array([0, -18, 8.0])
    matrix = np.eye(4)
    matrix[:3, :3] = phantom.rotation_matrix(*degrees) @ np.diag(scales)
    matrix[:3, 3] = center - matrix[:3, :3] @ center + shift
    return matrix


MAPS = [
    ((0, 0, 0), (1, 1, 1), (0, 0, 0)),
    ((12, -5, 8), (1.1, 0.95, 1.05), (10, -20, 15)),
    ((-25, 4, -10), (0.9, 0.92, 0.95), (-40, 30, 60)),
]


def brain_grid():
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (-110, -150, -110)
    return (110, 135, 120), affine


@pytest.mark.parametrize(('degrees', 'scales', 'shift'), MAPS[1:])
def test_a_known_map_is_found_within_half_a_millimetre_on_average(degrees, scales, shift):
    template = find_template()
    truth = affine_map(degrees, scales, shift)
    shape, affine = brain_grid()
    affine = np.linalg.inv(truth) @ affine  # the scan's grid follows the brain, rotated and sheared with it
    lattice, _ = np.linalg.qr(affine[:3, :3])
    upright = affine.copy()
    upright[:3, :3] = lattice * np.sign(np.diag(lattice.T @ affine[:3, :3])) * 2.0
    matrix = np.linalg.inv(template.affine) @ truth @ upright
    brain = geometry.resample(template.brain, matrix, shape)

    found = align(brain, upright, template.brain, template.affine)
    points = np.argwhere(brain > 0)[::500] @ upright[:3, :3].T + upright[:3, 3]
    error = (found - truth)[:3, :3] @ points.T + (found - truth)[:3, 3:]
    distance = np.linalg.norm(error, axis=0)
    assert distance.mean() < 0.5
    assert distance.max() < 1


def test_itk_transforms_become_ras_matrices():
    rotation = phantom.rotation_matrix(10, 20, 30)
    center, shift = np.array([5.0, -3, 8]), np.array([1.0, 2, 3])
    matrix = alignment.itk_to_ras(np.concatenate([rotation.ravel(), shift]), center)
    point = np.array([11.0, -7, 4])
    flip = np.array([-1, -1, 1])
    moved = flip * (rotation @ (flip * point - center) + center + shift)
    assert np.allclose(matrix @ [*point, 1], [*moved, 1])


@pytest.mark.parametrize(('degrees', 'scales', 'shift'), MAPS)
def test_rotation_and_scales_are_told_apart(degrees, scales, shift):
    angle, stretches = alignment.rotation_and_scales(affine_map(degrees, scales, shift))
    rotation = phantom.rotation_matrix(*degrees)
    expected = np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    assert angle == pytest.approx(expected, abs=0.01)
    assert np.allclose(sorted(stretches), sorted(scales))


@pytest.mark.parametrize(
    ('matrix', 'overlap', 'correlation', 'says'),
    [
        (np.eye(4), 0.95, 0.8, None),
        (np.eye(4), 0.5, 0.8, 'overlap'),
        (np.eye(4), 0.95, 0.5, 'correlation'),
        (np.eye(4), 0.95, np.nan, 'correlation'),
        (affine_map((0, 0, 90), (1, 1, 1), 0), 0.95, 0.8, 'rotation'),
        (np.diag([-1.0, 1, 1, 1]), 0.95, 0.8, 'rotation'),
        (affine_map((0, 0, 0), (0.5, 1, 1), 0), 0.95, 0.8, 'stretch'),
        (affine_map((0, 0, 0), (1, 1, 1.8), 0), 0.95, 0.8, 'stretch'),
    ],
)
def test_implausible_alignments_have_a_reason(matrix, overlap, correlation, says):
    reason = head_checks.alignment_fault(matrix, overlap, correlation)
    assert reason is None if says is None else says in reason


def test_overlap_of_masks():
    shape, affine = phantom.grid((4, 4, 4), 'LPS', 10)
    template_shape, template_affine = phantom.grid((3, 3, 3))
    brain = phantom.head(shape, affine, noise=False)[1]
    template = Template(*phantom.head(template_shape, template_affine, noise=False), template_affine, '')
    assert alignment.template_overlap(brain, affine, np.eye(4), template) > 0.97
    away = affine_map((0, 0, 0), (1, 1, 1), (60, 0, 0))
    assert alignment.template_overlap(brain, affine, away, template) < 0.7
    assert alignment.dice(np.zeros(3, bool), np.zeros(3, bool)) == 0


@pytest.fixture(scope='module')
def phantom_template():
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-72, -108, -64)
    values, brain = phantom.head((48, 60, 48), affine, noise=False)
    template = Template(np.where(brain, values, 0), brain, affine, 'phantom')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('cpmae_bids.steps.register.find_template', lambda fetch: template)
        yield template


def test_correlation_sees_the_brain_alone_and_its_contrast(phantom_template):
    shape, affine = phantom.grid((4, 4, 4), 'LPS', 10)
    values, brain = phantom.head(shape, affine)

    def correlation(values, matrix=np.eye(4), brain=brain):  # noqa: B008
        return alignment.intensity_correlation(values, brain, affine, matrix, phantom_template)

    assert correlation(values) > 0.9
    assert correlation(3 * values + 100) == pytest.approx(correlation(values), abs=1e-3)
    assert correlation(np.where(brain, values, 1e6)) == pytest.approx(correlation(values), abs=1e-6)
    assert correlation(1000 - values) < -0.9
    assert abs(correlation(values, affine_map((0, 90, 0), (1, 1, 1), 0))) < 0.3
    assert np.isnan(correlation(np.ones(shape)))
    assert np.isnan(correlation(values, affine_map((0, 0, 0), (1, 1, 1), (500, 0, 0))))
    assert np.isnan(correlation(values, brain=np.zeros(shape, bool)))


def write_scan(folder, change=lambda values, brain: values, turn=(0, 0, 0)):
    """Files of a phantom; its header is turned by degrees about x, y and z."""
    shape, affine = phantom.grid((2.5, 2.5, 2.5), 'LPS', 10)
    values, brain = phantom.head(shape, affine)
    turned = affine_map(turn, (1, 1, 1), 0) @ affine
    path = phantom.write(folder / 'T1w.nii', change(values.copy(), brain), turned)
    nifti.write_mask(folder / 'mask.nii', brain, nifti.read(path))
    return path, folder / 'mask.nii', folder / 'affine.txt'


def test_the_step_aligns_a_scan(tmp_path, phantom_template):
    files = write_scan(tmp_path)
    register(*files)
    matrix = np.loadtxt(files[2])
    points = np.array([[50, -18, 8], [-50, -18, 8], [0, 50, 8], [0, -80, 8], [0, -18, 60], [0, -18, -40.0]])
    error = points @ matrix[:3, :3].T + matrix[:3, 3] - points
    assert np.linalg.norm(error, axis=1).max() < 1.5


def test_the_step_aligns_a_scan_by_way_of_another(tmp_path):
    """The rigid map alone is found: scaling and shear come from the reference."""
    reference = tmp_path / 'reference'
    reference.mkdir()
    files = write_scan(tmp_path, turn=(6, -4, 9)), write_scan(reference)
    of_reference = affine_map((3, 0, 0), (1.1, 0.95, 1.0), (5, 0, 0))
    np.savetxt(files[1][2], of_reference)
    coregister(*files[0][:2], *files[1], files[0][2])
    truth = of_reference @ np.linalg.inv(affine_map((6, -4, 9), (1, 1, 1), 0))
    points = np.array([[50, -18, 8], [-50, -18, 8], [0, 50, 8], [0, -80, 8], [0, -18, 60], [0, -18, -40.0]])
    error = np.loadtxt(files[0][2]) - truth
    assert np.linalg.norm(points @ error[:3, :3].T + error[:3, 3], axis=1).max() < 1


def test_a_brain_that_is_not_that_of_the_reference_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('cpmae_bids.steps.register.STARTS', STARTS[:1])
    reference = tmp_path / 'reference'
    reference.mkdir()
    files = write_scan(tmp_path, turn=(0, 90, 0)), write_scan(reference)
    np.savetxt(files[1][2], np.eye(4))
    with pytest.raises(
        InputError, match=r'does not align to that of T1w\.nii \(template_(overlap|correlation)'
    ) as caught:
        coregister(*files[0][:2], *files[1], files[0][2])
    assert str(files[0][0]) in str(caught.value)
    assert not files[0][2].exists()


@pytest.mark.parametrize('turn', [(90, 0, 0), (0, 90, 0), (0, 0, 90)])
def test_a_header_turned_by_a_right_angle_is_refused(tmp_path, phantom_template, monkeypatch, turn):
    """Such a brain can be stretched into the shape of the template: the overlap alone would accept it."""
    monkeypatch.setattr('cpmae_bids.steps.register.STARTS', STARTS[:1])
    files = write_scan(tmp_path, turn=turn)
    with pytest.raises(InputError, match=r'template_correlation -?0\.\d+ < 0\.55.*orientation') as caught:
        register(*files)
    assert str(files[0]) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert not files[2].exists()


def positions():
    """Right, anterior and superior of each voxel, mm."""
    shape, affine = phantom.grid((2.5, 2.5, 2.5), 'LPS', 10)
    return np.moveaxis(apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)), -1, 0)


def hot(values, brain):
    values[tuple(np.argwhere(brain)[len(np.argwhere(brain)) // 3])] = 3e4
    return values


def cold(values, brain):
    values[tuple(np.argwhere(brain)[len(np.argwhere(brain)) // 3])] = -3e4
    return values


def shaded(values, brain):
    """As surface coils without normalisation: the middle of the head has a fifth of the signal of its rim."""
    x, y, z = (np.linspace(-1, 1, size) for size in values.shape)
    radius = x[:, None, None] ** 2 + (y[:, None] - 0.5) ** 2 + z**2
    return values * (0.3 + 2.5 * radius).astype(np.float32)


@pytest.mark.parametrize('change', [hot, cold, shaded])
def test_neither_a_faulty_voxel_nor_the_coil_looks_like_a_turned_head(tmp_path, phantom_template, change):
    files = write_scan(tmp_path, change)
    register(*files)
    error = np.abs(np.loadtxt(files[2]) - np.eye(4))
    assert error[:3, :3].max() < 0.04
    assert error[:3, 3].max() < 2


def test_a_hot_voxel_does_not_scale_the_head():
    values = np.random.default_rng(0).uniform(50, 150, 10_000)
    plain = intensity.brain_scale(values)
    values[7] = 1e9
    assert intensity.brain_scale(values) == pytest.approx(plain, rel=0.01)


def stripped(values, brain):
    return np.where(brain, values, 0)


def face_cut_away(values, brain):
    _, y, z = positions()
    return np.where((y > 40) & (z < -22), 0, values)


def face_as_noise(values, brain):
    _, y, z = positions()
    noise = phantom.SIGMA * np.random.default_rng(0).rayleigh(size=values.shape)
    return np.where((y > 40) & (z < -22), noise, values)


@pytest.mark.parametrize(
    ('change', 'says'),
    [(stripped, 'skull-stripped'), (face_cut_away, 'defaced'), (face_as_noise, 'defaced')],
)
def test_scans_without_head_or_face_are_refused(tmp_path, phantom_template, change, says):
    files = write_scan(tmp_path, change)
    with pytest.raises(InputError, match=says) as caught:
        register(*files)
    assert str(files[0]) in str(caught.value)
    assert not files[2].exists()


def in_the_shade(values):
    """As one coil behind the head: the face has a small part of the signal of the neck."""
    _, y, _ = positions()
    return values * np.exp(-np.log(30) * np.clip((y + 110) / 200, 0, 1)).astype(np.float32)


@pytest.mark.parametrize('change', [None, face_cut_away, face_as_noise])
def test_a_face_in_the_shade_of_the_coil_is_there_unless_it_was_removed(tmp_path, phantom_template, change):
    files = write_scan(
        tmp_path, lambda values, brain: in_the_shade(change(values, brain) if change else values)
    )
    scan = nifti.read(files[0])
    brain = nifti.read_mask(files[1], scan)
    refused = pytest.raises(InputError, match='defaced') if change else nullcontext()
    with refused:
        head_checks.check_head(scan, brain, np.eye(4))


def test_an_empty_mask_is_refused(tmp_path, phantom_template):
    files = write_scan(tmp_path)
    scan = nifti.read(files[0])
    nifti.write_mask(files[1], np.zeros(scan.shape, bool), scan)
    with pytest.raises(InputError, match='no brain'):
        register(*files)


def test_the_face_does_not_steer_the_alignment(tmp_path, phantom_template):
    results = []
    for person in (0, 4):
        folder = tmp_path / str(person)
        folder.mkdir()

        def swap_head(values, brain, person=person):
            shape, affine = phantom.grid((2.5, 2.5, 2.5), 'LPS', 10)
            return np.where(brain, values, phantom.head(shape, affine, person)[0])

        files = write_scan(folder, swap_head)
        register(*files)
        results.append(files[2].read_bytes())
    assert results[0] == results[1]


def test_processes_with_any_threads_give_the_same_bytes(tmp_path, phantom_template):
    brain, affine = tmp_path / 'brain.npz', tmp_path / 'affine.npy'
    np.savez(brain, brain=phantom_template.brain, affine=phantom_template.affine)
    code = (
        'import sys, numpy as np; from cpmae_bids.steps.register import align;'
        'data = np.load(sys.argv[1]); pair = data["brain"], data["affine"];'
        'np.save(sys.argv[2], align(*pair, *pair))'
    )
    environment = {**os.environ, 'OMP_NUM_THREADS': '2', 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': '2'}
    subprocess.run([sys.executable, '-c', code, brain, affine], check=True, env=environment)
    pair = phantom_template.brain, phantom_template.affine
    found = align(*pair, *pair)
    assert found.tobytes() == np.load(affine).tobytes()
    assert np.abs(found - np.eye(4)).max() < 0.5


def test_the_step_says_in_one_line_what_is_missing(tmp_path, capsys):
    files = write_scan(tmp_path)
    inputs = {'t1w': str(files[0]), 'brain_mask': str(tmp_path / 'none.nii'), 'affine': str(files[2])}
    (tmp_path / 'inputs.json').write_text(json.dumps(inputs))
    assert main(['register', str(tmp_path / 'inputs.json')]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith('cpmae-bids: ')
    assert 'none.nii' in line


# The checks of `prior` on synthetic heads; real ones in test_skullstrip


def test_a_whole_phantom_has_a_head_and_a_face(tmp_path):
    shape, affine = phantom.grid((3, 3, 3))
    values, brain = phantom.head(shape, affine)
    scan = nifti.read(phantom.write(tmp_path / 'T1w.nii', values, affine))
    measures = head_checks.measure_head(scan, brain, np.eye(4))
    assert measures['head_share'] > 0.6
    assert measures['nose_share'] > 0.8
    assert measures['face_cut_cm2'] < 5
    assert measures['bright_air_share'] == 0
    head_checks.check_brain(brain, scan)
    head_checks.check_head(scan, brain, np.eye(4))


def test_noise_as_bright_as_tissue_in_the_air_is_refused(tmp_path):
    shape, affine = phantom.grid((3, 3, 3))
    values, brain = phantom.head(shape, affine)
    noise = np.random.default_rng(0).uniform(0, 1.4 * phantom.SCALE, shape)
    values = np.where(values > 0.1 * phantom.SCALE, values, noise)
    scan = nifti.read(phantom.write(tmp_path / 'T1w.nii', values, affine))
    with pytest.raises(InputError, match='MP2RAGE'):
        head_checks.check_head(scan, brain, np.eye(4))


def test_a_face_outside_the_field_of_view_is_not_missed(tmp_path):
    shape, affine = phantom.grid((3, 3, 3))
    values, brain = phantom.head(shape, affine)
    low = 28  # voxels: cut below the brain
    affine[2, 3] += 3 * low
    values, brain = values[:, :, low:], brain[:, :, low:]
    scan = nifti.read(phantom.write(tmp_path / 'T1w.nii', values, affine))
    measures = head_checks.measure_head(scan, brain, np.eye(4))
    assert measures['nose_share'] == 1.0


def test_brains_of_the_wrong_size_or_cut_are_refused(tmp_path):
    shape, affine = phantom.grid((3, 3, 3))
    values, brain = phantom.head(shape, affine)
    scan = nifti.read(phantom.write(tmp_path / 'T1w.nii', values, affine))
    with pytest.raises(InputError, match='no brain'):
        head_checks.check_brain(np.zeros(shape, bool), scan)
    with pytest.raises(InputError, match='mL'):
        head_checks.check_brain(np.ones(shape, bool), scan)
    small = np.zeros(shape, bool)
    small[30:40, 30:40, 30:40] = True
    with pytest.raises(InputError, match='mL'):
        head_checks.check_brain(small, scan)
    cut = brain[:, :, 46:]
    scan = nifti.read(phantom.write(tmp_path / 'cut.nii', values[:, :, 46:], affine))
    with pytest.raises(InputError, match=r'cuts|mL'):
        head_checks.check_brain(cut, scan)
