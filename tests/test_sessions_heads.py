"""Two sessions of a real head get the same generated head, together or one after the other."""

import io
import json
import shutil

import nibabel as nib
import numpy as np
import phantom
import pytest

from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.images import masks, nifti
from cpmae_bids.deid.qc import surface
from cpmae_bids.deid.space import geometry, regions
from cpmae_bids.models.weights import resolve_weights
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.run import run_workflow

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


def move():
    """How the head lies in the second session: turned by 8 degrees, 10 mm away."""
    center, matrix = np.array([0, -18, 8.0]), np.eye(4)
    matrix[:3, :3] = phantom.rotation_matrix(6, -4, 3.5)
    matrix[:3, 3] = center - matrix[:3, :3] @ center + [6, -6, 5.3]
    return matrix


def write_second_session(source, target):
    """Sample a scan moved, on another grid, in other intensities and with noise of its own."""
    scan = nifti.read(source)
    voxels = np.array([2.2, 1.9, 2.1])
    shape = tuple(np.ceil(scan.shape * scan.voxel_sizes / voxels).astype(int) + 4)
    affine = np.diag([-voxels[0], voxels[1], voxels[2], 1])
    center = move() @ scan.affine @ [*(np.array(scan.shape) - 1) / 2, 1]
    affine[:3, 3] = center[:3] - affine[:3, :3] @ (np.array(shape) - 1) / 2
    values = scan.values() * 800 / np.percentile(scan.values(), 99.5)
    values = geometry.resample(values, np.linalg.inv(scan.affine) @ np.linalg.inv(move()) @ affine, shape)
    real, imaginary = np.random.default_rng(0).normal(0, 8, (2, *shape))
    image = nib.Nifti1Image(np.hypot(values + real, imaginary).round().astype(np.int16), affine)
    image.header.set_xyzt_units('mm', 'sec')
    nib.save(image, target)


@pytest.fixture(scope='module')
def runs(tmp_path_factory, test_heads):
    """Work folders of a run on both sessions, and of one on the second session alone."""
    root = tmp_path_factory.mktemp('sessions')
    raw = root / 'raw'
    paths = [raw / f'sub-a/ses-{label}/anat/sub-a_ses-{label}_T1w.nii.gz' for label in '12']
    for path in paths:
        path.parent.mkdir(parents=True)
    heads = test_heads.glob('sub-*/anat/*_T1w.nii.gz')
    shutil.copy(min(heads, key=lambda path: path.stat().st_size), paths[0])
    write_second_session(*paths)
    (raw / 'dataset_description.json').write_text(json.dumps({'Name': 'Heads', 'BIDSVersion': '1.10.0'}))
    folders = []
    for name, sessions in (('together', ()), ('alone', ('2',))):
        config = RunConfig(
            raw,
            root / f'{name}-out',
            session_label=sessions,
            device='cpu',
            work_dir=root / name,
            preset='128',
            seed=1,
            steps=2,
            model_hash=resolve_weights().model_hash,
        )
        workflow = init_cpmae_bids_wf(collect_scans(config), config)
        assert run_workflow(workflow, config, Progress(io.StringIO())) == []
        folders.append(config.work_dir)
    return folders


def result(folder, session, name):
    (path,) = folder.glob(f'**/sub-a_ses-{session}_T1w_wf/*_wf/*/{name}')
    return path


def test_the_surfaces_agree_within_a_millimetre(runs):
    first, second = (nifti.read(result(runs[0], label, 'refaced.nii.gz')) for label in '12')
    to_template = np.loadtxt(result(runs[0], '1', 'affine.txt'))
    maps = to_template, to_template @ np.linalg.inv(move())  # where the brain of the second one really lies
    heads, seen = [], True
    for scan, matrix in zip((first, second), maps, strict=True):
        with np.load(next(scan.path.parents[2].glob('brain_wf/conform/brain.npz'))) as arrays:
            scale = float(arrays['scale'])
        cube = geometry.to_template(scan.values(), scan.affine, matrix, 256)
        heads.append(masks.head_mask(cube / scale, fill=True))
        seen &= geometry.field_of_view(scan.shape, scan.affine, matrix, 256)
    surfaces = [surface.outer_surface(head, seen) for head in heads]
    distance = surface.mean_distance(*surfaces, 1.0)
    face = regions.box(regions.FACE, 256)
    in_face = surface.mean_distance(*(each & face for each in surfaces), 1.0)
    print(f'surface distance {distance:.2f} mm, over the face {in_face:.2f} mm')
    assert distance <= 1
    assert in_face <= 1


def test_both_are_judged(runs):
    for label in '12':
        verdict = json.loads(result(runs[0], label, 'verdict.json').read_text())
        print(label, verdict['status'], verdict['reasons'])
        assert verdict['measures']['kept_voxels_changed'] == 0
        assert verdict['reference'] == 'sub-a/ses-1/anat/sub-a_ses-1_T1w.nii.gz'
        assert verdict['measures']['code_agreement'] < 0.9


def test_the_second_session_alone_gets_the_same_bytes(runs):
    for name in ('refaced.nii.gz', 'affine.txt', 'verdict.json'):
        together, alone = (result(folder, '2', name).read_bytes() for folder in runs)
        assert together == alone
    assert not [*runs[1].glob('**/sub-a_ses-1_T1w_wf/reface_wf')]
    assert not [*(runs[1].parent / 'alone-out').glob('**/*ses-1*')]
