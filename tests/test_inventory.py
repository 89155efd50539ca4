"""What a dataset holds, by place and name: everything that is not known to be harmless may show a face."""

import os
from pathlib import Path

import pytest

from cpmae_bids.sharing.inventory import (
    classify,
    list_files,
    summary_lines,
    told_rows,
    unprocessed,
    write_list,
)

FACES = [
    'sub-01/anat/sub-01_T1w.nii.gz',
    'sub-01/anat/sub-01_T2w.nii.gz',
    'sub-01/anat/sub-01_FLAIR.nii',
    'sub-01/anat/sub-01_PDw.nii.gz',
    'sub-01/anat/sub-01_UNIT1.nii.gz',
    'sub-01/anat/sub-01_inv-1_part-mag_MP2RAGE.nii.gz',
    'sub-01/anat/sub-01_inplaceT2.nii.gz',
    'sub-01/anat/sub-01_angio.nii.gz',
    'sub-01/anat/sub-01_echo-1_MEGRE.nii.gz',
    'sub-01/anat/sub-01_part-phase_T1w.nii.gz',
    'sub-01/anat/sub-01_desc-preproc_T1w.nii.gz',
    'sub-01/anat/sub-01_T1map.nii.gz',
    'sub-01/anat/sub-01_bold.nii.gz',
    'sub-01/func/sub-01_task-rest_part-phase_bold.nii.gz',
    'sub-01/func/sub-01_task-rest_T1w.nii.gz',
    'sub-01/pet/sub-01_pet.nii.gz',
    'sub-01/pet/sub-01_ct.nii.gz',
    'sub-01/fmap/sub-01_magnitude1.nii.gz',
    'sub-01/fmap/sub-01_phasediff.nii.gz',
    'sub-01/fmap/sub-01_TB1map.nii.gz',
    'sub-01/perf/sub-01_asllabeling.jpg',
    'sub-01/eeg/sub-01_photo.jpg',
    'sub-01/anat/sub-01_T1w.mgz',
    'sub-01/anat/sub-01_T1w.NII.GZ',
    'sub-01/func/sub-01_task-rest_bold.nii.bz2',
    'sub-01/func/sub-02_task-rest_bold.nii.gz',
    'sub-01/ses-a/func/sub-01_task-rest_bold.nii.gz',
    'sub-01/func/extra/sub-01_task-rest_bold.nii.gz',
    'sub-01/func/sub-01_task-re st_bold.nii.gz',
    'sub-01/func/bold.nii.gz',
    'sub-01/func/IM0001',
    'sub-01/sub-01_T1w.nii.gz',
    'sub-01/T1w.dcm',
]
SHARED = {
    'sub-01/func/sub-01_task-rest_bold.nii.gz': 'image',
    'sub-01/ses-a/func/sub-01_ses-a_task-rest_echo-1_bold.nii': 'image',
    'sub-01/dwi/sub-01_dir-AP_dwi.nii.gz': 'image',
    'sub-01/perf/sub-01_m0scan.nii.gz': 'image',
    'sub-01/fmap/sub-01_dir-AP_epi.nii.gz': 'image',
    'sub-01/func/sub-01_task-rest_events.tsv': 'table',
    'sub-01/func/sub-01_task-rest_physio.tsv.gz': 'table',
    'sub-01/beh/sub-01_task-rest_beh.tsv': 'table',
    'sub-01/dwi/sub-01_dwi.bval': 'gradients',
    'sub-01/anat/sub-01_T2w.json': 'sidecar',
    'sub-01/ses-a/sub-01_ses-a_scans.tsv': 'folder-table',
}


@pytest.mark.parametrize('path', FACES)
def test_what_may_show_a_face(path):
    entry = classify(path)
    assert (entry.role, entry.may_show_face) == ('out', True)
    assert entry.reason


@pytest.mark.parametrize('path', SHARED)
def test_what_may_be_shared(path):
    entry = classify(path)
    assert (entry.role, entry.may_show_face, entry.reason) == (SHARED[path], False, '')


@pytest.mark.parametrize(
    'path', ['sub-01/eeg/sub-01_task-rest_eeg.edf', 'sub-01/meg/sub-01_meg.fif', 'sub-01/anat/sub-01_x.tsv']
)
def test_what_is_no_picture_and_yet_not_shared(path):
    assert (classify(path).role, classify(path).may_show_face) == ('out', False)


def test_folders_beside_subjects_and_odd_names(make_bids):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'derivatives/freesurfer/sub-01/mri/orig.nii.gz'])
    (root / 'sourcedata').mkdir()
    for name in ('sourcedata/Doe_Jane.dcm', 'Doe_Jane.nii.gz', 'sub-01/anat/Doe_Jane.nii.gz'):
        (root / name).write_bytes(b'x')
    (root / 'sub-Doe, Jane').mkdir()
    (root / 'stimuli').mkdir()
    (root / '.git').mkdir()
    entries = [entry for entry in list_files(root) if entry.role == 'out']
    told = {entry.told for entry in entries}
    assert told == {'./', 'derivatives/', 'sourcedata/', 'sub-01/anat/', 'sub-01/anat/sub-01_T1w.nii.gz'}
    assert all(entry.may_show_face for entry in entries)
    assert any('sub-01/anat/Doe_Jane.nii.gz' in line for line in summary_lines(entries))


@pytest.mark.parametrize('name', ['sourcedata', 'phenotype'])
def test_a_folder_that_cannot_be_read_is_out(make_bids, monkeypatch, name):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz'])
    (root / name).mkdir()

    def iterdir(self, real=Path.iterdir):
        if self.name == name:
            raise PermissionError(13, 'Permission denied')
        return real(self)

    monkeypatch.setattr(Path, 'iterdir', iterdir)
    (entry,) = [entry for entry in list_files(root) if entry.path == f'{name}/']
    assert entry.role == 'out'
    assert entry.may_show_face


def test_a_folder_within_a_subject_that_cannot_be_read_is_out(make_bids, monkeypatch):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/func/sub-01_task-x_bold.nii.gz'])

    def scandir(path, real=os.scandir):
        if str(path).endswith('func'):
            raise PermissionError(13, 'Permission denied', str(path))
        return real(path)

    monkeypatch.setattr('os.scandir', scandir)
    entries = {entry.path: entry for entry in list_files(root)}
    assert entries['sub-01/func/'].may_show_face
    assert 'sub-01/anat/sub-01_T1w.nii.gz' in entries


def test_the_list_names_nobody_and_counts(make_bids, tmp_path):
    root = make_bids(['sub-01/anat/sub-01_T2w.nii.gz', 'sub-01/anat/Jane.nii.gz', 'sub-01/anat/Joe.nii.gz'])
    write_list(tmp_path, 'list.tsv', told_rows(entry for entry in list_files(root) if entry.role == 'out'))
    header, first, second = (tmp_path / 'list.tsv').read_text().splitlines()
    assert header == 'path\tfiles\tmay_show_face\treason'
    assert first.startswith('sub-01/anat/\t2\tyes\t')
    assert second.startswith('sub-01/anat/sub-01_T2w.nii.gz\t1\tyes\tT2w image')


def test_what_has_a_verdict_is_not_unprocessed(make_bids):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_T2w.nii.gz'])
    t1w, t2w = 'sub-01/anat/sub-01_T1w.nii.gz', 'sub-01/anat/sub-01_T2w.nii.gz'

    def listed(suffixes, **statuses):
        records = [
            {'scan': f'sub-01/anat/sub-01_{suffix}.nii.gz', 'status': s} for suffix, s in statuses.items()
        ]
        return [entry.path for entry in unprocessed(list_files(root), records, suffixes)]

    assert listed(['T1w'], T1w='fail') == [t2w]  # the summary of the run tells the other
    assert listed(['T1w'], T1w='pass', T2w='fail') == [t2w]
    assert listed(['T1w', 'T2w'], T1w='pass', T2w='fail') == []
    assert listed([], T2w='pass') == [t1w]


def test_subjects_select_and_links_are_followed_once(make_bids):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'other/anat/sub-02_T1w.nii.gz'])
    (root / 'sub-02').symlink_to(root / 'other')
    (root / 'other' / 'up').symlink_to(root / 'other')
    assert [entry.path for entry in list_files(root, ['02'])] == ['sub-02/anat/sub-02_T1w.nii.gz']
