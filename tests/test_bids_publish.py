"""An image is in the output only with a passing record and its hash; everything else leaves none."""

import contextlib
import errno
import json
import os
import pickle
import stat
import threading
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from judged import publish_scan

from cpmae_bids.bids import publish, source_checks, verdict_records
from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.completeness import (
    complete_scans,
    is_complete,
    output_files,
    stored_files_are_whole,
    verified_records,
)
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.private_paths import hide_paths
from cpmae_bids.bids.publish import record_failure, withdraw_scan
from cpmae_bids.bids.verdict_records import read_record, read_records, write_record
from cpmae_bids.bids.verdict_tables import write_run_table
from cpmae_bids.cli.process import _begin
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import InputError, VerdictError
from cpmae_bids.reports.subject_page import write_subject_report

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


def assert_only_an_error(config, scan, reason):
    """Of a scan that could not be published there is its record alone."""
    assert tree(config.output_dir) == [f'logs/verdicts/{scan.name}.json']
    record = read_record(config.output_dir, scan.name)
    assert record['status'] == 'error'
    assert reason in record['reasons'][0]


def test_an_echo_stands_as_long_as_the_first_one_is_what_it_was(make_bids, tmp_path, finished):
    names = [f'sub-03/anat/sub-03_echo-{echo}_T1w.nii.gz' for echo in '12']
    root = make_bids(names)
    config = RunConfig(root, tmp_path / 'out', seed=1, model_hash='abc', work_dir=tmp_path / 'work')
    first, second = collect_scans(config)
    for scan in (first, second):
        publish_scan(scan, config, finished(scan), PASS)
    assert complete_scans([first, second], config) == [first, second]
    assert read_record(config.output_dir, second.name)['first_echo'] == names[0]
    sidecar = config.output_dir / 'sub-03/anat/sub-03_echo-2_desc-refaced_T1w.json'
    assert json.loads(sidecar.read_text())['Sources'] == [f'bids:raw:{names[1]}', f'bids:raw:{names[0]}']
    assert not complete_scans([replace(second, first_echo=None)], config)
    (root / names[0]).write_bytes(b'another')
    assert not complete_scans([second], config)


def test_a_first_echo_may_not_change_while_its_brain_is_used(make_bids, tmp_path, finished):
    root = make_bids([f'sub-03/anat/sub-03_{name}_T1w.nii.gz' for name in ('acq-a', 'echo-1', 'echo-2')])
    config = RunConfig(root, tmp_path / 'out', seed=1, model_hash='abc', work_dir=tmp_path / 'work')
    _, first, second = _begin(collect_scans(config), config)
    with first.path.open('ab') as file:
        file.write(b'\0')
    with pytest.raises(InputError, match=r'echo-1.*was changed while it was processed'):
        publish_scan(second, config, finished(second), PASS)


def test_a_source_that_cannot_be_read_costs_no_other_scan(config, finished, monkeypatch):
    scans = collect_scans(config)
    for scan in scans:
        publish_scan(scan, config, finished(scan), PASS)

    def damaged(path):
        if path == scans[0].path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return crc32_of(path)

    monkeypatch.setattr(source_checks, 'crc32_of', damaged)
    assert complete_scans(scans, config) == scans[1:]


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
    assert_only_an_error(config, scan, 'verdict')


def test_an_image_is_missing(config, scan, finished):
    files = finished(scan)
    del files['brainmask']
    with pytest.raises(VerdictError, match='brainmask'):
        publish_scan(scan, config, files, PASS)
    assert_only_an_error(config, scan, 'brainmask')


def test_a_header_that_names_somebody_is_refused(config, scan, finished):
    files = finished(scan)
    image = nb.load(files['refaced'])
    image.header['descrip'] = b'Doe^Jane'
    nb.save(nb.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), files['refaced'])
    with pytest.raises(VerdictError, match='text in descrip'):
        publish_scan(scan, config, files, PASS)
    assert_only_an_error(config, scan, 'text in descrip')


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
    assert_only_an_error(config, scan, 'No space left')


def test_an_interrupt_leaves_nothing(config, scan, finished, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publish, 'write_record', interrupted)
    with pytest.raises(KeyboardInterrupt):
        publish_scan(scan, config, finished(scan), PASS)
    assert tree(config.output_dir) == []


def test_a_copy_that_differs_is_refused(config, scan, finished, monkeypatch):
    def truncated(folder, path, content, mode=0o666, stage=OutputFolder.stage):
        return stage(folder, path, content[:-1], mode)

    monkeypatch.setattr(OutputFolder, 'stage', truncated)
    with pytest.raises(VerdictError, match='not what was checked'):
        publish_scan(scan, config, finished(scan), PASS)
    monkeypatch.undo()
    assert not any(config.output_dir.rglob('*.nii.gz'))


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


@pytest.mark.parametrize('private', ['work_dir', 'private_report_dir', None])
def test_a_changed_input_is_noticed_with_and_without_a_place_for_checksums(
    config, scan, finished, make_nifti, phantom, tmp_path, private
):
    config = config.replace(work_dir=None, private_report_dir=None)
    if private:
        config = config.replace(**{private: tmp_path / 'kept'})
        (tmp_path / 'kept').mkdir(mode=0o700)
    publish_scan(scan, config, finished(scan), PASS)
    if private == 'private_report_dir':
        (tmp_path / 'kept' / f'{scan.name}.html').touch()
    assert is_complete(scan, config)
    kept = list((tmp_path / 'kept').rglob('*.json')) if private else []
    assert len(kept) == bool(private)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    content = scan.path.read_bytes()
    head, brain = phantom(seed=0)
    head[brain] += 1
    make_nifti(scan.path, head)
    assert not is_complete(scan, config)
    scan.path.write_bytes(content)
    assert is_complete(scan, config)
    image = nb.load(scan.path)
    affine = image.affine + np.eye(4, k=3)
    nb.save(nb.Nifti1Image(np.asanyarray(image.dataobj), affine, image.header), scan.path)
    assert not is_complete(scan, config)


REJECTED = {
    'status': 'fail',
    'reasons': ['a part of the face lies where it lay (surface_same_share > 0.4)'],
    'measures': {'brain_ml': 1200.0, 'surface_same_share': 0.7, 'seam_ratio': 1.0},
}


@pytest.fixture
def sessions(make_bids, tmp_path):
    """Settings, three scans of one subject, which share a head, and one of another."""
    scans = [f'sub-01/ses-{s}/anat/sub-01_ses-{s}_T1w.nii.gz' for s in 'abc'] + [
        'sub-02/anat/sub-02_T1w.nii.gz'
    ]
    config = RunConfig(make_bids(scans), tmp_path / 'out', seed=1, model_hash='abc')
    return config, collect_scans(config)


@pytest.mark.parametrize('vetoing', [0, 1, 2])
def test_a_head_that_one_scan_rejects_is_withdrawn_from_all(sessions, finished, vetoing):
    config, scans = sessions
    for scan in scans:
        verdict = REJECTED if scan is scans[vetoing] else PASS
        publish_scan(scan, config, finished(scan), verdict)
    images = [path for path in tree(config.output_dir) if path.endswith('refaced_T1w.nii.gz')]
    assert images == ['sub-02/anat/sub-02_desc-refaced_T1w.nii.gz']
    records = [read_record(config.output_dir, scan.name) for scan in scans]
    told = [{k: v for k, v in record.items() if k not in ('scan', 'template')} for record in records[:3]]
    assert told[0] == told[1] == told[2]
    assert told[0]['status'] == 'fail'
    assert '--seed' in told[0]['reasons'][0]
    assert 'surface_same_share' not in ''.join(
        path.read_text() for path in config.output_dir.rglob('*01*.json')
    )


@pytest.mark.parametrize('for_good', [False, True])
@pytest.mark.parametrize('verdict', [FAIL, REJECTED])
def test_a_full_disk_keeps_no_image_of_an_earlier_run(sessions, finished, monkeypatch, verdict, for_good):
    """Records cannot be written: at all, or before there is room where images were."""
    config, (first, second, *_) = sessions
    for scan in (first, second):
        publish_scan(scan, config, finished(scan), PASS)
    image, sync = output_files(first, config.output_dir)[-1], os.fsync

    def full(descriptor):
        if for_good or image.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(InputError, match='No space') if for_good else contextlib.nullcontext():
        publish_scan(first, config, finished(first), verdict)
    assert not image.exists()
    assert output_files(second, config.output_dir)[-1].exists() == (verdict is FAIL)
    told = [read_record(config.output_dir, scan.name)['status'] for scan in (first, second)]
    assert for_good or told == ['fail', 'fail' if verdict is REJECTED else 'pass']


def test_other_failures_and_other_heads_leave_the_scans_of_a_subject_alone(sessions, finished):
    config, scans = sessions
    publish_scan(scans[0], config, finished(scans[0]), PASS)
    publish_scan(scans[1], config, finished(scans[1]), FAIL)
    unmeasured = {'surface_moved_mm': None, 'surface_same_share': None}
    publish_scan(scans[2], config, finished(scans[2]), {**FAIL, 'measures': unmeasured})
    assert read_record(config.output_dir, scans[0].name)['status'] == 'pass'
    assert read_record(config.output_dir, scans[1].name)['reasons'] == FAIL['reasons']
    other = config.replace(seed=2)
    scan = collect_scans(other)[1]
    publish_scan(scan, other, finished(scan), REJECTED)
    assert read_record(config.output_dir, scans[0].name)['status'] == 'pass'


def test_a_scan_whose_head_another_one_rejected_is_not_complete(sessions, finished):
    """As after a kill between the two records."""
    config, scans = sessions
    for scan in scans[:2]:
        publish_scan(scan, config, finished(scan), PASS)
    assert is_complete(scans[1], config)
    record = read_record(config.output_dir, scans[0].name)
    write_record(config.output_dir, scans[0].name, publish.rejected(record))
    assert not is_complete(scans[1], config)


def test_a_rejection_is_forgotten_when_its_scan_is_judged_again(sessions, finished):
    config, scans = sessions
    publish_scan(scans[0], config, finished(scans[0]), REJECTED)
    publish_scan(scans[1], config, finished(scans[1]), PASS)
    assert publish.is_rejected(read_record(config.output_dir, scans[1].name))
    publish.forget_rejections(scans, config)
    assert read_record(config.output_dir, scans[0].name)['status'] == 'error'
    for scan in scans:
        publish_scan(scan, config, finished(scan), PASS)
    assert {record['status'] for record in read_records(config.output_dir).values()} == {'pass'}


@pytest.mark.parametrize('killed', [False, True])
def test_an_error_or_a_kill_is_no_verdict_on_a_head_that_was_rejected(sessions, finished, killed):
    config, (first, second, *_) = sessions
    publish_scan(first, config, finished(first), REJECTED)
    publish.forget_rejections([first, second], config)
    publish_scan(second, config, finished(second), PASS)  # before the first is judged again
    if not killed:
        record = publish.record_failure(first, config, 'no brain was found')
        assert record['reasons'] == ['no brain was found']
        assert publish.is_rejected(read_record(config.output_dir, second.name))
    publish.forget_rejections([second], config)  # a run over the second alone
    assert publish_scan(second, config, finished(second), PASS) == []
    assert not any(config.output_dir.rglob('*refaced_T1w.nii.gz'))
    publish.forget_rejections([first, second], config)
    for scan in (first, second):
        publish_scan(scan, config, finished(scan), PASS)
    assert not any(publish.is_rejected(record) for record in read_records(config.output_dir).values())


def test_a_sink_that_breaks_is_no_verdict_on_a_head_that_was_rejected(sessions, finished):
    config, (first, second, *_) = sessions
    publish_scan(first, config, finished(first), REJECTED)
    publish.forget_rejections([first, second], config)
    with pytest.raises(VerdictError, match='seed'):
        publish_scan(first, config, finished(first), {**PASS, 'seed': 12345})
    record_failure(first, config, 'sink: it broke')
    assert publish_scan(second, config, finished(second), PASS) == []
    assert not any(config.output_dir.rglob('*refaced_T1w.nii.gz'))


def test_a_scan_that_another_run_publishes_meanwhile_keeps_its_record(sessions, finished, monkeypatch):
    """A run over one session, while the head of the other is judged again."""
    config, (first, second, *_) = sessions
    publish_scan(first, config, finished(first), REJECTED)
    publish.forget_rejections([first], config)
    other_run = threading.Thread(target=publish_scan, args=(first, config, finished(first), PASS))
    read = publish.read_records

    def read_slowly(*args):
        records = read(*args)
        if not other_run.ident:
            other_run.start()
            other_run.join(1)
        return records

    monkeypatch.setattr(publish, 'read_records', read_slowly)
    publish.forget_rejections([second], config)
    other_run.join()
    record, image = read_record(config.output_dir, first.name), output_files(first, config.output_dir)[-1]
    assert (record['status'] == 'pass') == image.exists()


def test_a_rejected_head_does_not_reject_that_of_another_seed(sessions, finished):
    config, (first, second, *_) = sessions
    publish_scan(first, config, finished(first), REJECTED)
    other = config.replace(seed=2)
    first, second, *_ = collect_scans(other)
    publish.forget_rejections([first, second], other)
    assert 'head_rejected' not in publish.record_failure(first, other, 'no brain was found')
    assert publish_scan(second, other, finished(second), PASS)


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


@pytest.mark.parametrize(
    ('text', 'hidden'),
    [
        ('cannot read /data/Jane Doe/scan 1.nii.gz: get it', 'cannot read <path>: get it'),
        ("No such file: '/mnt/Jane Doe/my scans/a'", "No such file: '<path>'"),
        ('/srv/my lab/Doe, 12 bytes missing', '<path>, 12 bytes missing'),
        ('no space on /scratch/big disk/tmp; free it', 'no space on <path>; free it'),
        ('/data/Jane Doe study: not found', '<path>: not found'),
        ("/home/o'brien/a b/z.nii: damaged", '<path>: damaged'),
        ('file:///home/jane%20doe/x.nii is gone', '<path> is gone'),
        ('//server/jane/x.nii is gone', '<path> is gone'),
        ('/mnt/a b/c and <input>/sub-01/x', '<path> and <input>/sub-01/x'),
        ('3/4 of https://bids.neuroimaging.io/tools.html', '3/4 of https://bids.neuroimaging.io/tools.html'),
    ],
)
def test_paths_with_blanks_are_hidden(config, text, hidden):
    assert hide_paths(text, config) == hidden


def test_folders_of_a_run_with_blanks_are_hidden(config, tmp_path):
    config = config.replace(bids_dir=tmp_path / 'Jane Doe' / 'raw data')
    text = f'cannot read {config.bids_dir}/sub-01/x.nii: get it'
    assert hide_paths(text, config) == 'cannot read <input>/sub-01/x.nii: get it'


def test_a_page_goes_with_an_image_whose_pictures_are_gone(config, scan, finished):
    """As after a full disk, which took the image and not its pictures."""
    publish_scan(scan, config, finished(scan), PASS)
    pages = [config.output_dir / name for name in ('group.html', 'sub-01.html')]
    for page in pages:
        page.write_text('a head')
    record_failure(scan, config, 'no brain')
    assert not any(page.exists() for page in pages)


def test_withdraw_keeps_what_is_not_the_scans(config, scan, finished):
    publish_scan(scan, config, finished(scan), PASS)
    other = config.output_dir / 'sub-01/ses-a/anat/sub-01_ses-a_acq-x_desc-refaced_T1w.nii.gz'
    other.write_bytes(b'x')
    withdraw_scan(scan, config.output_dir)
    assert tree(config.output_dir) == [
        'logs/verdicts/sub-01_ses-a_T1w.json',
        other.relative_to(config.output_dir).as_posix(),
    ]


def test_records_hold_no_nan_and_no_fingerprint(config, scan, finished):
    cached = {**PASS, 'measures': {'brain_ml': float('nan')}, 'noise': {'air_p50': 1.5}}  # of a snapshot
    publish_scan(scan, config, finished(scan), cached)
    record = read_record(config.output_dir, scan.name)
    assert 'noise' not in record
    assert record['measures'] == {'brain_ml': None}
    crc32 = crc32_of(scan.path)
    assert not [path for path in config.output_dir.rglob('*.json') if crc32 in path.read_text()]
    assert not any('crc32' in key for key in record)
    assert stored_files_are_whole(record, config.output_dir)


def test_a_failure_and_a_page_read_the_records_of_their_subject_alone(config, finished, monkeypatch):
    """Or the time of a run would grow with the square of the number of subjects."""
    first, second = collect_scans(config)
    for scan in (first, second):
        publish_scan(scan, config, finished(scan), PASS)
    names = []
    read = verdict_records.read_record
    monkeypatch.setattr(
        verdict_records, 'read_record', lambda out, name: names.append(name) or read(out, name)
    )
    record_failure(second, config, 'no brain')
    write_subject_report(config.output_dir, '02')
    assert set(names) == {second.name}


def test_table(config, finished):
    first, second = collect_scans(config)
    publish_scan(second, config, finished(second), FAIL)
    publish_scan(first, config, finished(first), {**PASS, 'template': 'average\n brain'})
    table = write_run_table(config.output_dir, list(read_records(config.output_dir).values()))
    rows = [line.split('\t') for line in table.read_text().splitlines()]
    assert [row[:3] for row in rows] == [
        ['scan', 'status', 'reasons'],
        ['sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz', 'pass', 'n/a'],
        ['sub-02/anat/sub-02_T1w.nii.gz', 'fail', 'the face is the original'],
    ]
    assert rows[0][-2:] == ['brain_ml', 'seam_ratio']
    assert rows[1][-4:] == ['average brain', first.relative_path, '1.05', 'true']
    assert rows[2][-4:] == ['n/a', second.relative_path, '3', 'false']


def test_unreadable_records_are_left_out(config):
    folder = config.output_dir / 'logs' / 'verdicts'
    folder.mkdir(parents=True)
    (folder / 'a.json').write_text('{')
    (folder / 'b.json').write_text('{"status": "great"}')
    assert read_records(config.output_dir) == {}


@pytest.mark.parametrize(
    'changed',
    [
        {'scan': None},
        {'scan': ''},
        {'reasons': 1},
        {'measures': [1]},
        {'measures': {'brain_ml': 'x'}},
        {'within_limits': {'brain_ml': 'x'}},
        {'files': 1},
        {'fill': [1]},
    ],
)
def test_a_record_of_another_form_is_none(config, scan, finished, changed):
    """And its image has no verdict; it would otherwise end all runs into the output."""
    publish_scan(scan, config, finished(scan), PASS)
    write_record(config.output_dir, scan.name, {**read_record(config.output_dir, scan.name), **changed})
    (record,) = verified_records(config.output_dir, thorough=False)
    assert (record['status'], record['reasons'][0][:13]) == ('error', 'an image with')
    write_run_table(config.output_dir, [record])
    assert not complete_scans([scan], config)


def test_scan_and_config_go_through_pickle(config, scan):
    """Nipype sends both to the processes of its workers."""
    assert pickle.loads(pickle.dumps((scan, config))) == (scan, config)
