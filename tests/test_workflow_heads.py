"""The whole workflow on a real head, beside scans that break."""

import io
import json
import shutil

import nibabel as nb
import numpy as np
import pytest

from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.config import RunConfig
from cpmae_bids.models.weights import resolve_weights
from cpmae_bids.reports.subject_page import write_subject_report
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.run import run_workflow

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]
STEPS_BEFORE_THE_SINK = 10


@pytest.fixture(scope='module')
def run(tmp_path_factory, test_heads):
    """Run the workflow once, on a head and on a truncated copy of it as another subject."""
    root = tmp_path_factory.mktemp('heads')
    source = min(test_heads.glob('sub-*/anat/*_T1w.nii.gz'), key=lambda path: path.stat().st_size)
    raw = root / 'raw'
    for label in ('whole', 'cut'):
        scan = raw / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz'
        scan.parent.mkdir(parents=True)
        shutil.copy(source, scan)
    scan.chmod(0o644)
    with scan.open('r+b') as file:
        file.truncate(scan.stat().st_size // 2)
    (raw / 'dataset_description.json').write_text(json.dumps({'Name': 'Heads', 'BIDSVersion': '1.10.0'}))
    config = RunConfig(
        raw,
        root / 'out',
        nprocs=2,
        device='cpu',
        work_dir=root / 'work',
        preset='128',
        seed=1,
        steps=2,
        model_hash=resolve_weights().model_hash,
        private_report_dir=root / 'private',
    )
    log = io.StringIO()
    failures = run_workflow(init_cpmae_bids_wf(collect_scans(config), config), config, Progress(log))
    return config, failures, log.getvalue()


def test_the_broken_scan_fails_alone(run):
    config, failures, log = run
    assert [(failure.scan, failure.stage) for failure in failures] == [('sub-cut_T1w', 'skullstrip')]
    assert 'truncated' in failures[0].message
    assert '[sub-cut_T1w] skullstrip ... FAILED' in log
    assert log.count('[sub-whole_T1w]') == STEPS_BEFORE_THE_SINK + 2  # the sink and the private report
    assert not (config.output_dir / 'sub-cut').exists()


def test_the_other_is_judged_and_recorded(run):
    config, _, _ = run
    record = json.loads((config.output_dir / 'logs/verdicts/sub-whole_T1w.json').read_text())
    assert record['status'] == 'pass', record['reasons']
    assert record['measures']['kept_voxels_changed'] == 0
    assert record['measures']['header_fields_changed'] == 0
    assert 'code_agreement' in record['within_limits']
    assert 'code_agreement' not in record['measures']
    private = json.loads((config.private_report_dir / 'sub-whole_T1w.json').read_text())
    assert 'code_agreement' in private['measures']
    assert (config.output_dir / 'sub-whole').exists()


def test_the_generated_region_was_replaced(run):
    config, _, _ = run
    (folder,) = config.work_dir.rglob('blend')
    refaced = np.asarray(nb.load(folder / 'refaced.nii.gz').dataobj)
    replaced = np.asarray(nb.load(folder / 'deface_mask.nii.gz').dataobj) == 1
    original = np.asarray(nb.load(config.bids_dir / 'sub-whole/anat/sub-whole_T1w.nii.gz').dataobj)
    np.testing.assert_array_equal(refaced[~replaced], original[~replaced])
    tissue = replaced & (original > np.percentile(original, 70))
    assert np.mean(refaced[tissue] != original[tissue]) > 0.8


def test_reports_are_where_they_belong(run):
    config, _, _ = run
    page = write_subject_report(config.output_dir, 'whole')
    assert 'Verdict: pass' in page.read_text()
    assert page.read_text().count('<img') == 2
    private = sorted(path.name for path in config.private_report_dir.glob('sub-*'))
    assert private == ['sub-whole_T1w.html', 'sub-whole_T1w.json']
    assert not any(
        str(config.work_dir.parent) in path.read_text() for path in config.output_dir.rglob('*.json')
    )
