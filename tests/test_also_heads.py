"""Another contrast of a real head, made from its T1w: it is found, and given a head of its own."""

import contrasts
import nibabel as nib
import numpy as np
import pytest

from cpmae_bids.deid.images import nifti, volumes
from cpmae_bids.deid.qc.thresholds import threshold
from cpmae_bids.exceptions import InputError
from cpmae_bids.steps import blend, conform, contrast, locate, recolour, register, skullstrip, verdict

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope='module')
def t1w(tmp_path_factory, test_heads):
    """Two heads, each with the files of the T1w steps in a folder of its own."""
    smallest = sorted(test_heads.glob('sub-*/anat/*_T1w.nii.gz'), key=lambda path: path.stat().st_size)
    folders = []
    for number, path in enumerate(smallest[:2]):
        folder = tmp_path_factory.mktemp(f'head{number}')
        (folder / 'T1w.nii.gz').symlink_to(path)
        skullstrip.skullstrip(path, folder / 'brain.nii.gz', folder / 'kept.nii.gz')
        register.register(path, folder / 'brain.nii.gz', folder / 'affine.txt')
        folders.append(folder)
    return folders


def find(scan, folder, out):
    out.mkdir(exist_ok=True)
    t1w = [folder / name for name in ('T1w.nii.gz', 'brain.nii.gz', 'kept.nii.gz', 'affine.txt')]
    locate.locate(scan, *t1w, *(out / name for name in ('brain.nii.gz', 'kept.nii.gz', 'affine.txt')))


def make(folder, path, **how):
    brain = nib.load(folder / 'brain.nii.gz').get_fdata() > 0
    return contrasts.make_t2w(folder / 'T1w.nii.gz', brain, path, **how)


@pytest.mark.parametrize(
    'how',
    [
        {},
        {'angles': (-12, 8, 10), 'shift': (-20, 15, -25), 'voxel': (2.5, 1, 1)},
        {'angles': (1, 0, 0), 'shift': (0, 1, 0), 'voxel': (0.8, 0.8, 3.5), 'noise': 0.08},
    ],
)
def test_the_brain_is_found_within_a_millimetre(t1w, tmp_path, how):
    moved = make(t1w[0], tmp_path / 'T2w.nii.gz', **how)
    find(tmp_path / 'T2w.nii.gz', t1w[0], tmp_path)
    found = np.linalg.inv(np.loadtxt(t1w[0] / 'affine.txt')) @ np.loadtxt(tmp_path / 'affine.txt')
    brain = nib.load(t1w[0] / 'brain.nii.gz')
    voxels = np.argwhere(brain.get_fdata() > 0)[::500]
    points = brain.affine @ np.vstack([voxels.T, np.ones(len(voxels))])
    error = found @ np.linalg.inv(moved) @ points - points
    assert np.linalg.norm(error[:3], axis=0).max() < 1


def test_the_brain_of_another_person_is_refused(t1w, tmp_path):
    make(t1w[1], tmp_path / 'T2w.nii.gz')
    with pytest.raises(InputError, match='does not align to T1w'):
        find(tmp_path / 'T2w.nii.gz', t1w[0], tmp_path)


def test_a_generated_head_passes_and_the_original_does_not(t1w, tmp_path):
    """With the head of the other person in place of a generated one."""
    scan, out = tmp_path / 'T2w.nii.gz', tmp_path / 'out'
    make(t1w[0], scan)
    find(scan, t1w[0], out)
    cubes = {}
    for folder, image in ((t1w[0], t1w[0] / 'T1w.nii.gz'), (t1w[1], t1w[1] / 'T1w.nii.gz'), (out, scan)):
        cubes[folder] = folder / 'brain.npz', folder / 'head.npz', folder / 'statistics.json'
        conform.conform(image, folder / 'brain.nii.gz', folder / 'affine.txt', *cubes[folder])
    with np.load(cubes[t1w[1]][1]) as arrays:
        volumes.write(out / 'generated.npz', head=arrays['head'])
    contrast.contrast(scan, cubes[t1w[0]][1], cubes[out][1], out / 'table.npy')
    told = cubes[t1w[0]][0], cubes[t1w[0]][2]
    recolour.recolour(out / 'generated.npz', *told, out / 'table.npy', out / 'head_T2w.npz', 1)
    statuses = {}
    for fill, head in (('head', out / 'head_T2w.npz'), ('air', None)):
        written = out / f'{fill}.nii.gz', out / f'{fill}_mask.nii.gz', out / 'noise.json'
        places = out / 'kept.nii.gz', out / 'affine.txt'
        blend.blend(scan, *places, cubes[out][0], 1, *written, head)
        for name, refaced in ((fill, written[0]), (f'original as {fill}', scan)):
            statuses[name] = verdict.verdict(
                scan,
                refaced,
                written[1],
                out / 'brain.nii.gz',
                *places,
                cubes[out][0],
                written[2],
                out / 'verdict.json',
                by=t1w[0] / 'T1w.nii.gz',
                by_brain=t1w[0] / 'brain.nii.gz',
                by_kept=t1w[0] / 'kept.nii.gz',
                by_affine=t1w[0] / 'affine.txt',
                fill=fill,
            )
        original, result = nifti.read(scan), nifti.read(written[0])
        kept = nifti.read_mask(out / 'kept.nii.gz', original)
        assert np.array_equal(original.raw[kept], result.raw[kept])
    assert {name: (v['status'], v['reasons']) for name, v in statuses.items() if 'original' not in name} == {
        'head': ('pass', []),
        'air': ('pass', []),
    }
    assert all(v['status'] == 'fail' for name, v in statuses.items() if 'original' in name)
    least = threshold('t1w_sharpness', 'head').low
    assert all(v['measures']['t1w_sharpness'] > least for v in statuses.values())
