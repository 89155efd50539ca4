"""An image is in the output only with a passing record and its hash; everything else leaves none."""

import json
import os
import pickle

import nibabel as nb
import numpy as np
import pytest
from judged import publish_scan

from cpmae_bids.bids import publish
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.publish import (
    complete_scans,
    hide_paths,
    is_complete,
    output_files,
    record_failure,
    stored_files_are_whole,
    withdraw_scan,
)
from cpmae_bids.bids.records import read_record, read_records, write_table
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError, VerdictError

PASS = {'status': 'pass', 'reasons': [], 'measures': {'brain_ml': 1.05, 'seam_ratio': 1.07, 'unknown': 8.0}}
FAIL = {
    'status': 'fail',
    'reasons': ['the face is the original'],
    'measures': {'brain_ml': 3.0, 'seam_ratio': 3.1},
}


@pytest.fixture
def config(make_bids, tmp_path):
    root = make_bids(
        ['sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz', 'sub-02/anat/sub-02_T1w.nii.gz'],
        {'T1w.json': {'EchoTime': 0.003, 'PatientName': 'Doe^Jane'}},
    )
    return RunConfig(root, tmp_path / 'out', seed=1, model_hash='abc', work_dir=tmp_path / 'work')


@pytest.fixture
def scan(config):
    return collect_scans(config)[0]


def tree(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and path.name != '.lock'
    )


def test_pass_publishes_everything(config, scan, finished):
    files = finished(scan)
    published = publish_scan(scan, config, files, PASS)
    stem = 'sub-01/ses-a/anat/sub-01_ses-a'
    assert tree(config.output_dir) == sorted(
        [
            'logs/verdicts/sub-01_ses-a_T1w.json',
            f'{stem}_desc-brain_mask.json',
            f'{stem}_desc-brain_mask.nii.gz',
            f'{stem}_desc-refaced_T1w.json',
            f'{stem}_desc-refaced_T1w.nii.gz',
            f'{stem}_mod-T1w_desc-refaced_defacemask.json',
            f'{stem}_mod-T1w_desc-refaced_defacemask.nii.gz',
        ]
    )
    assert published[-1] == config.output_dir / f'{stem}_desc-refaced_T1w.nii.gz'
    assert published[-1].read_bytes() == files['refaced'].read_bytes()
    sidecar = json.loads((config.output_dir / f'{stem}_desc-refaced_T1w.json').read_text())
    assert sidecar['EchoTime'] == 0.003
    assert 'Jane' not in json.dumps(sidecar)
    assert read_record(config.output_dir, scan.name)['status'] == 'pass'


def test_fail_leaves_a_record_and_no_image(config, scan, finished):
    assert publish_scan(scan, config, finished(scan), FAIL) == []
    assert tree(config.output_dir) == ['logs/verdicts/sub-01_ses-a_T1w.json']
    assert not (config.output_dir / 'sub-01').exists()
    assert read_record(config.output_dir, scan.name)['reasons'] == FAIL['reasons']


def test_fail_removes_the_image_of_an_earlier_run(config, scan, finished):
    publish_scan(scan, config.replace(seed=5), finished(scan), PASS)
    publish_scan(scan, config, finished(scan), FAIL)
    assert tree(config.output_dir) == ['logs/verdicts/sub-01_ses-a_T1w.json']


def test_other_scans_are_left_alone(config, finished):
    first, second = collect_scans(config)
    publish_scan(first, config, finished(first), PASS)
    publish_scan(second, config, finished(second), FAIL)
    assert complete_scans([first, second], config) == [first]


@pytest.mark.parametrize(
    'verdict',
    [
        {},
        {'status': 'fail', 'reasons': []},
        {'status': 'passed'},
        {**PASS, 'scan': 'sub-02/anat/sub-02_T1w.nii.gz'},
        {**PASS, 'seed': 12345},
        {**PASS, 'preset': '128'},
        {**PASS, 'model_hash': 'def'},
    ],
)
def test_a_verdict_on_something_else_publishes_nothing(config, scan, finished, verdict):
    with pytest.raises(VerdictError, match='sub-01_ses-a_T1w'):
        publish_scan(scan, config, finished(scan), verdict)
    assert tree(config.output_dir) == []


def test_an_image_is_missing(config, scan, finished):
    files = finished(scan)
    del files['brainmask']
    with pytest.raises(VerdictError, match='brainmask'):
        publish_scan(scan, config, files, PASS)
    assert tree(config.output_dir) == []


def test_a_header_that_names_somebody_is_refused(config, scan, finished):
    files = finished(scan)
    image = nb.load(files['refaced'])
    image.header['descrip'] = b'Doe^Jane'
    nb.save(nb.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), files['refaced'])
    with pytest.raises(VerdictError, match='text in descrip'):
        publish_scan(scan, config, files, PASS)
    assert tree(config.output_dir) == []


@pytest.mark.parametrize('failing_call', range(7))
def test_a_full_disk_leaves_nothing(config, scan, finished, monkeypatch, failing_call):
    """Whichever file it is that does not fit, an older image of the scan is gone as well."""
    publish_scan(scan, config, finished(scan), PASS)
    calls = iter(range(100))
    sync = os.fsync

    def full(descriptor):
        if next(calls) == failing_call:
            raise OSError(28, 'No space left on device')
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match=r'sub-01_ses-a_T1w.*No space left'):
        publish_scan(scan, config, finished(scan, seed=2), PASS)
    assert tree(config.output_dir) == []


def test_an_interrupt_leaves_nothing(config, scan, finished, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, 'write_record', interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish_scan(scan, config, finished(scan), PASS)
    assert tree(config.output_dir) == []


def test_a_copy_that_differs_is_refused(config, scan, finished, monkeypatch):
    def truncated(reader, writer):
        writer.write(reader.read()[:-1])

    monkeypatch.setattr(publish.shutil, 'copyfileobj', truncated)
    with pytest.raises(VerdictError, match='differs from what was judged'):
        publish_scan(scan, config, finished(scan), PASS)
    assert tree(config.output_dir) == []


def test_leftovers_of_a_killed_run_are_removed(config, scan, finished):
    image = output_files(scan, config.output_dir)[-1]
    image.parent.mkdir(parents=True)
    leftover = image.with_name(f'.{image.name}.1234abcd.tmp')
    leftover.write_bytes(b'half an image')
    publish_scan(scan, config, finished(scan), PASS)
    assert not leftover.exists()


def test_complete(config, scan, finished):
    assert not is_complete(scan, config)
    publish_scan(scan, config, finished(scan), PASS)
    assert is_complete(scan, config)
    for changed in ({'model_hash': 'def'}, {'preset': '128'}, {'steps': config.steps + 1}):
        assert not is_complete(scan, config.replace(**changed))
    other_seed = collect_scans(config.replace(seed=2))[0]
    assert not is_complete(other_seed, config)


def test_complete_needs_every_file_whole(config, scan, finished):
    for path in publish_scan(scan, config, finished(scan), PASS):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        assert not is_complete(scan, config), path
        path.unlink()
        assert not is_complete(scan, config), path
        path.write_bytes(content)
    assert is_complete(scan, config)


def test_complete_needs_the_same_input(config, scan, finished, make_nifti, phantom):
    publish_scan(scan, config, finished(scan), PASS)
    make_nifti(scan.path, phantom(seed=9)[0])
    assert not is_complete(scan, config)


def test_complete_needs_what_the_sidecar_says_now(config, scan, finished):
    publish_scan(scan, config, finished(scan), PASS)
    (config.bids_dir / 'T1w.json').write_text('{"EchoTime": 0.003, "PatientName": "nobody"}')
    assert is_complete(collect_scans(config)[0], config)  # that is not shared anyway
    (config.bids_dir / 'T1w.json').write_text('{"EchoTime": 0.0029}')
    assert not is_complete(collect_scans(config)[0], config)


def test_a_failed_scan_is_not_complete(config, scan, finished):
    publish_scan(scan, config, finished(scan), FAIL)
    assert not is_complete(scan, config)


def test_record_failure(config, scan, finished):
    publish_scan(scan, config, finished(scan), PASS)
    picture = config.output_dir / 'figures' / f'{scan.name}_face.png'
    picture.parent.mkdir()
    picture.write_bytes(b'a generated head')
    reason = f'cannot read {scan.path} nor {config.work_dir}/x'
    record_failure(scan, config, reason)
    assert tree(config.output_dir) == ['logs/verdicts/sub-01_ses-a_T1w.json']
    record = read_record(config.output_dir, scan.name)
    assert record['status'] == 'error'
    assert record['reasons'] == ['cannot read <input>/sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz nor <work>/x']


def test_paths_are_hidden(config, tmp_path):
    text = f'{config.output_dir}/a {config.work_dir} {config.bids_dir}'
    assert hide_paths(text, config) == '<output>/a <work> <input>'
    assert str(tmp_path) not in hide_paths(text, config)
    other = "no space left: '/scratch/jdoe/tmp/start.mat', 3/4 of https://bids.neuroimaging.io/tools.html"
    assert (
        hide_paths(other, config) == "no space left: '<path>', 3/4 of https://bids.neuroimaging.io/tools.html"
    )


def test_withdraw_keeps_what_is_not_the_scans(config, scan, finished):
    publish_scan(scan, config, finished(scan), PASS)
    other = config.output_dir / 'sub-01/ses-a/anat/sub-01_ses-a_acq-x_desc-refaced_T1w.nii.gz'
    other.write_bytes(b'x')
    withdraw_scan(scan, config.output_dir)
    assert tree(config.output_dir) == [other.relative_to(config.output_dir).as_posix()]


def test_records_hold_no_nan_and_no_fingerprint(config, scan, finished):
    publish_scan(scan, config, finished(scan), {**PASS, 'measures': {'brain_ml': float('nan')}})
    record = read_record(config.output_dir, scan.name)
    assert record['measures'] == {'brain_ml': None}
    assert len(record['source_crc32']) == 8
    assert stored_files_are_whole(record, config.output_dir)


def test_table(config, finished):
    first, second = collect_scans(config)
    publish_scan(second, config, finished(second), FAIL)
    publish_scan(first, config, finished(first), {**PASS, 'template': 'average\n brain'})
    table = write_table(config.output_dir, list(read_records(config.output_dir).values()))
    rows = [line.split('\t') for line in table.read_text().splitlines()]
    assert [row[:3] for row in rows] == [
        ['scan', 'status', 'reasons'],
        ['sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz', 'pass', 'n/a'],
        ['sub-02/anat/sub-02_T1w.nii.gz', 'fail', 'the face is the original'],
    ]
    assert rows[0][-2:] == ['brain_ml', 'seam_ratio']
    assert rows[1][-4:] == ['average brain', first.relative_path, '1.05', 'true']
    assert rows[2][-4:] == ['n/a', second.relative_path, '3', 'false']


def test_unreadable_records_are_left_out(config, scan):
    folder = config.output_dir / 'logs' / 'verdicts'
    folder.mkdir(parents=True)
    (folder / 'a.json').write_text('{')
    (folder / 'b.json').write_text('{"status": "great"}')
    assert read_records(config.output_dir) == {}


def test_scan_and_config_go_through_pickle(config, scan):
    """Nipype sends both to the processes of its workers."""
    assert pickle.loads(pickle.dumps((scan, config))) == (scan, config)
