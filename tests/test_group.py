"""The group level tells what the output really holds."""

import csv
import fcntl
import json
import shutil
import threading

import numpy as np
import pytest
from judged import publish_scan

from cpmae_bids.bids import completeness
from cpmae_bids.bids.completeness import output_files, verified_records
from cpmae_bids.bids.derivatives import write_dataset_files
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.validation import ValidatorMissingError, validate_bids
from cpmae_bids.bids.verdict_tables import write_run_table
from cpmae_bids.cli import group_level
from cpmae_bids.cli.run import main
from cpmae_bids.config import RunConfig
from cpmae_bids.reports.figures import figure_path
from cpmae_bids.reports.histogram import histogram
from cpmae_bids.reports.pictures import png
from cpmae_bids.sharing.faces import recogniser

PASS = {'status': 'pass', 'reasons': [], 'measures': {'seam_ratio': 1.0, 'brain_ml': 1400.0}}
FAIL = {'status': 'fail', 'reasons': ['visible seam (seam_ratio > 1.5)'], 'measures': {'seam_ratio': 3.0}}


@pytest.fixture(autouse=True)
def without_extra(monkeypatch):
    monkeypatch.setattr(recogniser, 'is_installed', lambda: False)


@pytest.fixture
def config(make_bids, tmp_path):
    root = make_bids(['sub-01/anat/sub-01_T1w.nii.gz', 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz'])
    return RunConfig(root, tmp_path / 'out', seed=1, model_hash='abc')


@pytest.fixture
def group(config):
    return lambda: main([str(config.bids_dir), str(config.output_dir), 'group', '--nprocs', '1'])


@pytest.fixture
def another_head(finished, make_nifti, phantom):
    """Return ``another_head(scan)``: finished files in which the head is a larger one."""

    def make(scan):
        files = finished(scan)
        head, brain = phantom()
        axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.shape), indexing='ij')
        radius = np.sqrt(sum(axis**2 for axis in axes))
        larger = np.select([brain, radius < 0.65, radius < 0.97], [head, 60.0, 300.0], head)
        return {**files, 'refaced': make_nifti(files['refaced'], larger)}

    return make


def publish(config, files_of, *verdicts):
    write_dataset_files(config)
    scans = collect_scans(config)
    for scan, verdict in zip(scans, verdicts, strict=True):
        publish_scan(scan, config, files_of(scan), verdict)
    return scans


def rows(config):
    with (config.output_dir / 'group_verdicts.tsv').open(newline='') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def page(config) -> str:
    return (config.output_dir / 'group.html').read_text()


def test_all_passed(config, another_head, group, capsys):
    publish(config, another_head, PASS, PASS)
    assert group() == 0
    assert [row['status'] for row in rows(config)] == ['pass', 'pass']
    said = capsys.readouterr().err
    assert '2 scans: 2 passed' in said
    assert 'privacy by geometry' in said
    assert 'pip install cpmae-bids[audit]' in said


def test_one_failed(config, another_head, group, capsys):
    publish(config, another_head, PASS, FAIL)
    assert group() == 1
    assert rows(config)[1]['scan'] == 'sub-02/ses-a/anat/sub-02_ses-a_T1w.nii.gz'
    assert rows(config)[1]['reasons'] == FAIL['reasons'][0]
    assert 'FAIL sub-02/ses-a' in capsys.readouterr().err
    assert FAIL['reasons'][0].replace('>', '&gt;') in page(config)


def test_a_run_beside_it_costs_no_scan_its_verdict(config, another_head, group, capsys, monkeypatch):
    first, second = publish(config, another_head, PASS, FAIL)
    files, hashed = another_head(second), completeness.sha256_of
    other_run = threading.Thread(target=publish_scan, args=(second, config, files, PASS))

    def hash_slowly(path):
        if not other_run.ident:
            other_run.start()
            other_run.join(2)
        return hashed(path)

    monkeypatch.setattr(completeness, 'sha256_of', hash_slowly)
    group()
    other_run.join()
    assert [row['scan'] for row in rows(config)] == [first.relative_path, second.relative_path]
    assert 'without a passing verdict' not in capsys.readouterr().err


def test_runs_beside_it_do_not_wait_while_it_reads_all_files(config, another_head, group, monkeypatch):
    """That takes an hour for thousands of scans."""
    publish(config, another_head, PASS, PASS)
    hashed = completeness.sha256_of

    def hash_unlocked(path):
        with (config.output_dir / 'logs/.lock').open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return hashed(path)

    monkeypatch.setattr(completeness, 'sha256_of', hash_unlocked)
    assert group() == 0


def test_it_keeps_what_a_run_beside_it_adds_to_the_table_of_runs(config, another_head, group, monkeypatch):
    _, second = publish(config, another_head, PASS, FAIL)

    def audit(*_):
        publish_scan(second, config, another_head(second), PASS)
        write_run_table(config.output_dir, verified_records(config.output_dir))
        return None, ''

    monkeypatch.setattr(group_level, '_audit', audit)
    group()
    table = (config.output_dir / 'logs' / 'verdicts.tsv').read_text()
    assert f'{second.relative_path}\tpass' in table


def test_nothing_to_do(config, group, capsys):
    assert group() == 70
    config.output_dir.mkdir()
    assert group() == 70
    assert 'participant level first' in capsys.readouterr().err


def test_an_output_with_its_original_face_is_an_alarm(config, finished, group, capsys):
    publish(config, finished, PASS, PASS)
    assert group() == 1
    assert 'ALARM sub-01/anat/sub-01_T1w.nii.gz: the output has the face of its original' in (
        capsys.readouterr().err
    )
    assert 'ALARM: these outputs have the face of their original' in page(config)


def test_the_originals_need_not_be_there(config, another_head, group, capsys):
    publish(config, another_head, PASS, PASS)
    shutil.rmtree(config.bids_dir / 'sub-01')
    shutil.rmtree(config.bids_dir / 'sub-02')
    assert group() == 0
    assert 'No privacy audit' in capsys.readouterr().err
    shutil.rmtree(config.bids_dir)
    assert group() == 0
    assert 'No privacy audit' in page(config)


def test_the_output_of_another_pipeline_is_refused(config, group):
    config.output_dir.mkdir()
    (config.output_dir / 'dataset_description.json').write_text('{"GeneratedBy": [{"Name": "other"}]}')
    assert group() == 64
    shutil.rmtree(config.bids_dir)
    assert group() == 64


def test_a_changed_image_is_an_error(config, another_head, group):
    scan, _ = publish(config, another_head, PASS, PASS)
    image = output_files(scan, config.output_dir)[-1]
    image.write_bytes(image.read_bytes() + b'x')
    assert group() == 1
    assert rows(config)[0]['status'] == 'error'
    assert rows(config)[0]['reasons'] == 'outputs are missing or have changed since; run this scan again'
    unread = verified_records(config.output_dir, thorough=False)
    assert [record['status'] for record in unread] == ['pass', 'pass']


def test_a_lost_image_is_an_error(config, another_head, group):
    scan, _ = publish(config, another_head, PASS, PASS)
    output_files(scan, config.output_dir)[-1].unlink()
    assert group() == 1
    assert verified_records(config.output_dir, thorough=False)[0]['status'] == 'error'


def test_an_image_nobody_vouches_for_is_an_error(config, another_head, group, make_nifti):
    publish(config, another_head, PASS, FAIL)
    orphans = [
        'sub-02/ses-a/anat/sub-02_ses-a_desc-refaced_T1w.nii.gz',
        'sub-03/anat/sub-03_desc-refaced_T1w.nii.gz',
    ]
    for orphan in orphans:
        make_nifti(config.output_dir / orphan)
    assert group() == 1
    assert [row['scan'] for row in rows(config) if 'without a passing' in row['reasons']] == orphans
    assert all((config.output_dir / orphan).exists() for orphan in orphans)  # nothing is removed


def test_the_page_stands_alone_and_gives_nothing_away(config, another_head, group):
    publish(config, another_head, PASS, PASS)
    group()
    text = page(config)
    for outside in ('<script', 'src="http', 'href=', '@import', 'url(', str(config.bids_dir.parent)):
        assert outside not in text
    assert 'data:image/png' not in text  # too few scans for outliers, and thus for pictures
    assert str(config.bids_dir.parent) not in (config.output_dir / 'group_verdicts.tsv').read_text()


def test_the_page_shows_what_is_unusual(config, another_head, group, make_nifti):
    names = [f'sub-{i:02}/anat/sub-{i:02}_T1w.nii.gz' for i in range(3, 8)]
    for name in names:
        make_nifti(config.bids_dir / name)
    verdicts = [{**PASS, 'measures': {'stretch_max': 1 + i / 100, 'seam_ratio': 1 + i / 7}} for i in range(7)]
    verdicts[4]['measures']['stretch_max'] = 1.95
    publish(config, another_head, *verdicts)
    face = figure_path(config.output_dir, 'sub-05_T1w', 'face')
    face.parent.mkdir()
    face.write_bytes(png(np.zeros((4, 4), np.uint8)))
    group()
    unusual = {row['scan']: row for row in rows(config)}['sub-05/anat/sub-05_T1w.nii.gz']
    assert unusual['most_unusual'] == 'stretch_max'
    assert float(unusual['robust_z']) > 3.5
    text = page(config)
    assert text.index('sub-05/anat') < text.index('sub-06/anat')
    assert text.count('data:image/png') == 1
    assert '<h3>stretch_max</h3>' in text
    assert 'must be at least 0.7, at most 1.6' in text
    assert '<h3>seam_ratio</h3>' not in text
    assert '<td>seam_ratio</td><td>at least 0, at most 1.5</td><td>4</td><td>3</td>' in text


def test_the_columns_are_described(config, another_head, group):
    publish(config, another_head, PASS, FAIL)
    group()
    described = json.loads((config.output_dir / 'group_verdicts.json').read_text())
    assert set(described) == set(rows(config)[0])
    assert described['brain_ml'] == {
        'Description': 'Out of range, it means: implausible brain volume',
        'Minimum': 500.0,
        'Maximum': 2300.0,
    }
    within = described['seam_ratio']
    assert within['Description'].startswith('Whether it lay within its limits (0 to 1.5); if not: visible')
    assert {row['seam_ratio'] for row in rows(config)} == set(within['Levels']) == {'true', 'false'}


def test_the_output_is_still_valid(config, another_head, group):
    publish(config, another_head, PASS, PASS)
    group()
    try:
        assert validate_bids(config.output_dir) == []
    except ValidatorMissingError as err:
        pytest.skip(str(err))


def test_histograms_draw_scans_and_limits():
    drawn = histogram([1.0, 1.1, 1.2], 0.0, 2.0, 'a < b')
    assert drawn.count('class="tick"') == 3
    assert drawn.count('class="limit"') == 2
    assert drawn.count('class="beyond"') == 2
    assert 'aria-label="a &lt; b"' in drawn
    assert 'nan' not in histogram([0.0, 0.0], -np.inf, 0, '')
    assert 'class="limit"' not in histogram([3.0], -np.inf, np.inf, '')


def test_what_a_killed_run_has_left_is_removed(config, group, tmp_path, monkeypatch):
    write_dataset_files(config)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    left = tmp_path / 'cpmae-bids-killed'
    left.mkdir()
    (left / '.in-use').touch()
    (left / 'head.npz').write_bytes(b'an original')
    group()
    assert not left.exists()
