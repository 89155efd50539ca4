"""No number that compares an output with its original leaves the private folders."""

import contextlib
import gzip
import io
import json
import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import phantom
import pytest
import stand_in
from judged import publish_scan

from benchmarks import verdict_limits
from benchmarks.methods import cpmae
from benchmarks.pairs import Pair
from cpmae_bids.bids.completeness import stands
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.verdict_records import public_form, read_record, read_records, write_record
from cpmae_bids.cli import preflight
from cpmae_bids.cli.run import main
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.qc import decision
from cpmae_bids.deid.qc.thresholds import SCAN, SEED, THRESHOLDS, is_public, thresholds_of
from cpmae_bids.sharing.faces import recogniser

PRIVATE = {
    'kept_near_air_ml',
    *('unchanged_tissue_share', 'unchanged_region_share', 'detail_correlation', 'surface_moved_mm'),
    *('surface_same_share', 'code_agreement', 'head_volume_ratio', 'head_contrast_change', 'seam_ratio'),
    *('air_busy_ratio', 'air_p95_change', 't1w_sharpness', 't1w_peak'),
}
NOT_JUDGED = ('code_agreement_0', 'code_chance_0', 'of_tomorrow')
LIMITS = thresholds_of('')
LABELS = ('01', '02', '03', '04', 'fails')
SCANS = [f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in LABELS]


def test_every_measure_is_classed():
    """A new one is private until its row says otherwise."""
    assert {row.metric for row in THRESHOLDS if not row.public} == PRIVATE
    assert not any(is_public(name) for name in NOT_JUDGED)


def test_the_public_form_has_no_private_number():
    measures = {'brain_ml': 1400.5, 'seam_ratio': 1.75, 'air_busy_ratio': None, 'of_tomorrow': 1.5}
    full = {'status': 'fail', 'measures': measures}
    public = public_form(full)
    assert public == {
        'status': 'fail',
        'measures': {'brain_ml': 1400.5},
        'within_limits': {'seam_ratio': False, 'air_busy_ratio': False},
    }
    assert public_form(public) == public
    assert full['measures'] is measures
    assert len(measures) == 4
    assert public_form({'status': 'error'}) == {'status': 'error'}
    assert public_form({'fill': 'air', 'measures': {'seam_ratio': 1.0}})['within_limits'] == {}


def test_a_reason_has_the_value_of_a_public_measure_alone():
    measures = {limit.metric: float(np.clip(1, limit.low, limit.high)) for limit in LIMITS}
    _, reasons = decision.decide(measures | {'brain_ml': 2345.6, 'seam_ratio': 1.618}, LIMITS)
    assert reasons == [
        'implausible brain volume (brain_ml 2346 > 2300): ' + SCAN,
        'visible seam around the preserved region (seam_ratio > 1.5): ' + SEED,
    ]


# -- a run -------------------------------------------------------------------------------------------------
def draw(rng, limit, within):
    """A number with many digits on one side of a limit; 0 for what is counted."""
    if limit.high == 0:
        return 0.0
    low = limit.low if math.isfinite(limit.low) else limit.high - 1
    high = limit.high if math.isfinite(limit.high) else limit.low + 1
    if not within:
        low, high = (high, high + 0.3) if math.isfinite(limit.high) else (low - 0.3, low)
    return round(float(rng.uniform(low, high)), 6)


def judge(scan, seed):
    """A verdict with a number for each measure; `seed` decides those of the private ones."""
    public, private = np.random.default_rng([scan.seed, 0]), np.random.default_rng([scan.seed, seed])
    fails = scan.subject == 'fails'
    measures = {
        limit.metric: draw(public, limit, True)
        if limit.metric not in PRIVATE
        else draw(private, limit, not fails)
        for limit in LIMITS
    }
    measures |= {name: round(float(private.uniform()), 6) for name in NOT_JUDGED}
    status, reasons = decision.decide(measures, LIMITS)
    return {'status': status, 'reasons': reasons, 'measures': measures}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two runs that differ in the private numbers alone: what they publish, by name. And a private folder."""
    folder = tmp_path_factory.mktemp('runs')
    raw, grid = folder / 'raw', phantom.grid((6, 6, 6))
    for name in SCANS:
        (raw / name).parent.mkdir(parents=True)
        phantom.write(raw / name, phantom.head(*grid)[0], grid[1])
    (raw / 'dataset_description.json').write_text('{"Name": "Tiny heads", "BIDSVersion": "1.10.0"}')
    found, private = {}, folder / 'private'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, 'find_model_hash', lambda config: 'none')
        patch.setattr(preflight, 'check_template', lambda config: None)
        patch.setattr(recogniser, 'is_installed', lambda: False)
        for seed in (1, 2):
            init = partial(stand_in.init_wf, seconds=0, judge=partial(judge, seed=seed))
            patch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', init)
            found[seed] = publish(
                raw, folder / 'out', *(['--private-report-dir', str(private)] if seed == 1 else [])
            )
    return found, private


def publish(raw, out, *more):
    """All that a run with the group level publishes, unpacked."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
        flags = ['--seed', '1', '--device', 'cpu', '--nprocs', '1', '--layout', 'bids']
        flags += ['--skip-bids-validation', '--overwrite', *more]
        assert main([str(raw), str(out), 'participant', *flags]) == 1  # since one fails
        main([str(raw), str(out), 'group', '--nprocs', '1'])
    published = {str(path.relative_to(out)): unpacked(path) for path in out.rglob('*') if path.is_file()}
    assert verdict_limits.read_measures(out) == []
    return published | {'printed': printed.getvalue()}


def unpacked(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == '.gz' else content).decode('latin-1')


def is_rounded(text: str, values) -> bool:
    """Whether a number in a text is one of some values, to as many digits as it has."""
    digits = len(text.partition('e')[0].replace('.', '').lstrip('0'))
    return any(float(text) == float(f'{abs(value):.{digits}g}') for value in values)


def test_what_is_published_has_no_private_number(runs):
    found, private = runs
    published = found[1]
    for name in ('logs/verdicts.tsv', 'group_verdicts.tsv', 'sub-01.html', 'printed'):
        assert 'sub-01' in published[name], name
    assert any(name.startswith('bids/code/cpmae-bids/') for name in published)
    public, hidden, private_names = [], [], {*PRIVATE, *NOT_JUDGED}
    for label in LABELS:
        full = json.loads((private / f'sub-{label}_T1w.json').read_text())
        for name, value in full['measures'].items():
            (hidden if name in private_names else public).append(value)
    assert len(hidden) > 10 * len(LABELS)
    for file, text in published.items():
        if file.endswith('.nii.gz'):
            continue
        for found in set(re.findall(r'(?<![\d.])\d+\.\d+(?:e[-+]?\d+)?(?![\d.])', text)):
            if len(found.replace('.', '').lstrip('0')) >= 3 and not is_rounded(found, public):
                assert not is_rounded(found, hidden), (file, found)
    # The benchmark of the limits finds them where they are kept
    assert len(verdict_limits.read_measures(private)) == len(LABELS)


def test_what_is_published_does_not_depend_on_private_numbers(runs):
    """Whatever form they could take: ranks, plots, digits, or the order of scans."""
    first, second = (dict(published) for published in runs[0].values())
    for published in (first, second):
        lines = published.pop('printed').splitlines()  # others tell of time
        published['reasons'] = '\n'.join(line for line in lines if 'FAIL sub-fails' in line)
    assert 'the generated head was rejected' in first['reasons']
    assert first.keys() == second.keys()
    assert [file for file in first if first[file] != second[file]] == []


def test_outputs_of_a_version_that_published_more_are_made_again(make_bids, finished, tmp_path):
    config = RunConfig(make_bids(SCANS[:1]), tmp_path / 'out', seed=1, model_hash='none')
    (scan,) = collect_scans(config)
    publish_scan(scan, config, finished(scan), judge(scan, 1))
    assert stands(scan, config)
    record = read_record(config.output_dir, scan.name)
    record['measures']['seam_ratio'] = 1.2345
    write_record(config.output_dir, scan.name, record)
    assert not stands(scan, config)
    assert 'seam_ratio' not in read_records(config.output_dir)[scan.name]['measures']


def test_the_benchmark_keeps_private_numbers_beside_the_derivatives(make_bids, tmp_path, monkeypatch):
    raw = make_bids(SCANS[:1])
    output = cpmae.output_path(raw, raw / SCANS[0], tmp_path / 'bench' / 'derivatives-128')
    commands = []

    def run(command, check):
        commands.append(command)
        output.parent.mkdir(parents=True)
        output.touch()

    monkeypatch.setattr(cpmae.subprocess, 'run', run)
    nothing = Path()
    cpmae.make(Pair('sub-01_T1w', 'cpmae-128', raw / SCANS[0], output, nothing, nothing, nothing, nothing))
    (command,) = commands
    assert command[command.index('--private-report-dir') + 1] == str(tmp_path / 'bench' / 'private-128')
