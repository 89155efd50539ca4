"""The group level tells what the output really holds."""

import pytest

from cpmae_bids.bids.audit import audit_output
from cpmae_bids.bids.derivatives import write_dataset_files
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.publish import output_files, publish_scan
from cpmae_bids.cli.run import main
from cpmae_bids.config import RunConfig

PASS = {'status': 'pass', 'reasons': [], 'measures': {'seam': 1.0}}
FAIL = {'status': 'fail', 'reasons': ['the face is the original'], 'measures': {'seam': 3.0}}


@pytest.fixture
def config(make_bids, tmp_path):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz'])
    return RunConfig(root, tmp_path / 'out', seed=1, model_hash='abc')


@pytest.fixture
def group(config):
    return lambda: main([str(config.bids_dir), str(config.output_dir), 'group'])


def publish(config, finished, *verdicts):
    write_dataset_files(config)
    scans = collect_scans(config)
    for scan, verdict in zip(scans, verdicts, strict=True):
        publish_scan(scan, config, finished(scan), verdict)
    return scans


def rows(config):
    lines = (config.output_dir / 'logs' / 'verdicts.tsv').read_text().splitlines()
    return [line.split('\t')[:3] for line in lines[1:]]


def test_all_passed(config, finished, group, capsys):
    publish(config, finished, PASS, PASS)
    assert group() == 0
    assert [row[1] for row in rows(config)] == ['pass', 'pass']
    assert '2 scans: 2 passed' in capsys.readouterr().err


def test_one_failed(config, finished, group, capsys):
    publish(config, finished, PASS, FAIL)
    assert group() == 1
    assert rows(config)[1] == [
        'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz',
        'fail',
        'the face is the original',
    ]
    assert 'FAIL sub-02/ses-a' in capsys.readouterr().err


def test_nothing_to_do(config, group, capsys):
    assert group() == 70
    config.output_dir.mkdir()
    assert group() == 70
    assert 'participant level first' in capsys.readouterr().err


def test_a_changed_image_is_an_error(config, finished, group):
    scan, _ = publish(config, finished, PASS, PASS)
    image = output_files(scan, config.output_dir)[-1]
    image.write_bytes(image.read_bytes() + b'x')
    assert group() == 1
    assert rows(config)[0][1:] == ['error', 'outputs are missing or have changed since; run this scan again']
    assert [record['status'] for record in audit_output(config.output_dir, thorough=False)] == [
        'pass',
        'pass',
    ]


def test_a_lost_image_is_an_error(config, finished, group):
    scan, _ = publish(config, finished, PASS, PASS)
    output_files(scan, config.output_dir)[-1].unlink()
    assert group() == 1
    assert audit_output(config.output_dir, thorough=False)[0]['status'] == 'error'


def test_an_image_nobody_vouches_for_is_an_error(config, finished, group, make_nifti):
    publish(config, finished, PASS, FAIL)
    for orphan in (
        'sub-02/ses-a/anat/sub-02_ses-a_desc-refaced_T1w.nii.gz',
        'sub-03/anat/sub-03_desc-refaced_T1w.nii.gz',
    ):
        make_nifti(config.output_dir / orphan)
    assert group() == 1
    orphans = [row[0] for row in rows(config) if 'without a passing verdict' in row[2]]
    assert orphans == [
        'sub-02/ses-a/anat/sub-02_ses-a_desc-refaced_T1w.nii.gz',
        'sub-03/anat/sub-03_desc-refaced_T1w.nii.gz',
    ]


def test_group_removes_nothing(config, finished, group, make_nifti):
    publish(config, finished, PASS, FAIL)
    orphan = make_nifti(config.output_dir / 'sub-03/anat/sub-03_desc-refaced_T1w.nii.gz')
    group()
    assert orphan.exists()
