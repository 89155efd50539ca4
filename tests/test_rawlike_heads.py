"""The command on a real head with other images beside it: what to upload is valid and shows no face."""

import json
import shutil

import nibabel as nb
import numpy as np
import pytest

from cpmae_bids.bids.validation import validate_bids
from cpmae_bids.cli.audit import main as audit
from cpmae_bids.cli.run import main

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
T1W = 'sub-01/anat/sub-01_T1w.nii.gz'
T2W = 'sub-01/anat/sub-01_T2w.nii.gz'
FACES = ('anat/sub-01_FLAIR', 'fmap/sub-01_magnitude1', 'func/sub-01_task-face_bold')


@pytest.fixture(scope='module')
def shared(tmp_path_factory, test_heads):
    """A dataset with a head under several names, and a blob as an EPI; after the participant level."""
    root = tmp_path_factory.mktemp('shared')
    raw, out = root / 'raw', root / 'out'
    source = min(test_heads.glob('sub-*/anat/*_T1w.nii.gz'), key=lambda path: path.stat().st_size)
    for name in ('anat/sub-01_T1w', 'anat/sub-01_T2w', *FACES):
        target = raw / 'sub-01' / f'{name}.nii.gz'
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    head = nb.load(source)
    for name in ('face', 'rest'):
        path = raw / 'sub-01' / 'func' / f'sub-01_task-{name}_bold.nii.gz'
        data = np.stack([np.asanyarray(head.dataobj)] * 2, -1)
        if name == 'rest':
            index = np.indices(data.shape[:3])
            centre = np.reshape([n / 2 for n in data.shape[:3]], (3, 1, 1, 1))
            blob = 200 * np.exp(-((((index - centre) / 25) ** 2).sum(0) ** 2))
            noise = np.random.default_rng(0).normal(0, 5, data.shape)
            data = np.abs(blob[..., None] + noise).astype(data.dtype)
        image = nb.Nifti1Image(data, head.affine)
        image.header.set_xyzt_units('mm', 'sec')
        image.header['pixdim'][4] = 2
        nb.save(image, path)
        path.with_name(path.name.replace('.nii.gz', '.json')).write_text(
            json.dumps({'TaskName': name, 'RepetitionTime': 2.0})
        )
    (raw / 'dataset_description.json').write_text('{"Name": "Heads", "BIDSVersion": "1.10.0"}')
    (raw / 'participants.tsv').write_text('participant_id\tage\nsub-01\t95\n')
    flags = [
        '--preset',
        '128',
        '--device',
        'cpu',
        '--seed',
        '2',
        '--also',
        'T2w',
        '--skip-bids-validation',
        '--layout',
        'bids',
    ]
    code = main([str(raw), str(out), 'participant', *flags, '--nprocs', '1'])
    return raw, out, code


def test_the_head_passed_and_both_datasets_are_valid(shared):
    _, out, code = shared
    assert code == 0
    assert validate_bids(out) == []
    assert validate_bids(out / 'bids') == []


def test_images_that_may_show_a_face_are_left_out_and_listed(shared):
    _, out, _ = shared
    images = {path.relative_to(out / 'bids').as_posix() for path in (out / 'bids').rglob('*.nii.gz')}
    assert images == {T1W, T2W, 'sub-01/func/sub-01_task-rest_bold.nii.gz'}
    listed = (out / 'bids/code/cpmae-bids/left_out.tsv').read_text()
    for name in FACES:
        assert f'sub-01/{name}.nii.gz\t1\tyes\t' in listed
    unprocessed = (out / 'logs/not_processed.tsv').read_text()
    assert 'sub-01_FLAIR.nii.gz\t1\tyes' in unprocessed
    assert 'sub-01_T1w.nii.gz' not in unprocessed
    assert 'sub-01_T2w.nii.gz' not in unprocessed


def test_the_audit_finds_no_face_in_it(shared, capsys):
    _, out, _ = shared
    assert audit([str(out / 'bids'), '--nprocs', '1', '-v']) == 0
    assert capsys.readouterr().out.splitlines() == [
        *(f'PASSED {path}: the file that passed its verdict' for path in (T1W, T2W)),
        'CLEAR sub-01/func/sub-01_task-rest_bold.nii.gz',
    ]


def test_the_audit_names_an_original_that_was_slipped_in(shared, tmp_path, capsys):
    raw, out, _ = shared
    dataset = shutil.copytree(out / 'bids', tmp_path / 'bids')
    shutil.copyfile(raw / T1W, dataset / T1W)
    for name in ('T2w', 'FLAIR'):
        shutil.copyfile(raw / T1W, dataset / T1W.replace('T1w', name))
    assert audit([str(dataset), '--nprocs', '1']) == 1
    face, *changed = capsys.readouterr().out.splitlines()
    for path, line in zip((T1W, T2W), changed, strict=True):
        assert line.startswith(f'CHANGED {path}: it is not the file that passed its verdict')
    assert face.startswith(f'FACE {T1W.replace("T1w", "FLAIR")}: ')
