"""Options that users know from other BIDS Apps: a dry run, a replay of a run, its drawing."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from stand_in import init_wf

from cpmae_bids.bids.derivatives import write_dataset_files
from cpmae_bids.cli import preflight
from cpmae_bids.cli.parser import parse_config
from cpmae_bids.cli.run import main
from cpmae_bids.config import RunConfig
from cpmae_bids.workflows.base import write_graph

FIRST = 'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz'
LATER = 'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz'
OTHER = 'sub-02/anat/sub-02_T1w.nii.gz'
T2W = 'sub-02/anat/sub-02_T2w.nii.gz'
GONE = 'sub-03/anat/sub-03_T1w.nii.gz'


@pytest.fixture
def raw(make_bids):
    root = make_bids([FIRST, LATER, OTHER, T2W])
    (root / GONE).parent.mkdir(parents=True)
    (root / GONE).symlink_to('../../.git/annex/gone')
    return root


@pytest.fixture
def command(raw, ready, tmp_path, monkeypatch):
    """Return ``command(*flags)``: runs the participant level without models and returns the exit code."""
    monkeypatch.setattr(
        'cpmae_bids.workflows.base.init_cpmae_bids_wf', lambda *args: init_wf(*args, seconds=0)
    )

    def call(*flags, out='out'):
        arguments = [str(raw), str(tmp_path / out), 'participant', '--device', 'cpu', '--nprocs', '1']
        return main([*arguments, '--skip-bids-validation', *flags])

    return call


def everything_in(folder):
    return {path: path.lstat().st_mtime_ns for path in sorted(folder.rglob('*'))}


# A dry run


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(command, tmp_path, capsys):
    before = everything_in(tmp_path)
    assert command('--dry-run') == 1  # as the run itself would: sub-03 has no content
    assert everything_in(tmp_path) == before
    told = capsys.readouterr().out.splitlines()
    assert told[:3] == [
        f'PROCESS {FIRST}: not processed yet',
        f'PROCESS {LATER}: not processed yet; gets the head of {FIRST}',
        f'PROCESS {OTHER}: not processed yet',
    ]
    assert told[3].startswith(f'ERROR {GONE}: a link to content that is not here')
    assert told[4].startswith(f'NOT PROCESSED {T2W}: T2w image')
    assert told[5] == '4 scans: 3 to process, 0 complete, 1 with an error; nothing was written'

    command('--exclude-participant-label', '03', '--session-label', 'a', '--seed', '1')
    before = everything_in(tmp_path)
    capsys.readouterr()
    assert command('--dry-run', '--exclude-participant-label', '03', '--also', 'T2w') == 0
    told = capsys.readouterr().out.splitlines()
    assert f'SKIP {FIRST}: complete' in told
    assert f'PROCESS {T2W}: not processed yet; gets the head of {OTHER}; brain mask from {OTHER}' in told
    assert 'EXCLUDED sub-03: not among the labels' in told
    capsys.readouterr()
    assert command('--dry-run', '--participant-label', '01', '--seed', '2', '--steps', '3') == 0
    assert f'PROCESS {FIRST}: was made with another seed, steps' in capsys.readouterr().out
    assert command('--dry-run', '--participant-label', '01', '--overwrite') == 0
    assert f'PROCESS {FIRST}: --overwrite' in capsys.readouterr().out
    assert everything_in(tmp_path) == before


def test_a_dry_run_reads_headers(command, raw, capsys):
    scan = nib.load(raw / FIRST)
    thick = nib.Nifti1Image(scan.get_fdata(), scan.affine @ np.diag([1, 1, 20, 1]))
    nib.save(thick, raw / FIRST)
    several = nib.Nifti1Image(np.stack(2 * [scan.get_fdata()], axis=-1), scan.affine)
    nib.save(several, raw / OTHER)
    assert command('--dry-run', '--exclude-participant-label', '03', '--also', 'T2w') == 1
    told = dict(line.split(': ', 1) for line in capsys.readouterr().out.splitlines()[:-1])
    assert 'slices are too thick' in told[f'ERROR {FIRST}']
    assert f'the brain of {FIRST}' in told[f'ERROR {LATER}']
    assert 'is not 3D' in told[f'ERROR {OTHER}']
    assert f'those of {OTHER}' in told[f'ERROR {T2W}']
    assert str(raw) not in ''.join(told.values())


def test_a_dry_run_names_what_filters_leave_out(command, tmp_path, capsys):
    (tmp_path / 'filter.json').write_text(json.dumps({'t1w': {'session': 'b'}}))
    assert command('--dry-run', '--bids-filter-file', str(tmp_path / 'filter.json')) == 0
    told = capsys.readouterr().out
    assert f'PROCESS {LATER}: not processed yet\n' in told  # the first one that there is
    assert f'EXCLUDED {FIRST}: not chosen by the filters' in told


# A run that is replayed


def test_a_run_is_replayed_from_its_config_file(command, tmp_path):
    flags = (
        '--participant-label',
        '01',
        '--steps',
        '5',
        '--subject-anatomical-reference',
        'sessionwise',
        '-v',
        '--write-graph',
        f'--work-dir={tmp_path / "work"}',
    )
    assert command(*flags) == 0
    recorded = tmp_path / 'out' / 'logs' / 'config.toml'
    arguments = ['in', 'elsewhere', 'participant', '--config-file', str(recorded)]
    replayed = parse_config(arguments)
    assert replayed.output_dir.name == 'elsewhere'
    assert (replayed.participant_label, replayed.steps, replayed.verbose) == (('01',), 5, 1)
    assert (replayed.subject_anatomical_reference, replayed.nprocs) == ('sessionwise', 1)
    assert replayed.skip_bids_validation
    assert (replayed.work_dir, replayed.temporary_work_dir) == (None, False)  # or it would be removed
    assert isinstance(replayed.seed, int)

    # What the command line says wins, and takes the place of a list
    replayed = parse_config([*arguments, '--participant-label', '02', '--steps', '12', '--seed', '9'])
    assert (replayed.participant_label, replayed.steps, replayed.seed) == (('02',), 12, 9)

    assert command('--config-file', str(recorded), out='again') == 0
    verdict = 'logs/verdicts/sub-01_ses-b_T1w.json'
    assert (tmp_path / 'again' / verdict).read_bytes() == (tmp_path / 'out' / verdict).read_bytes()


def test_paths_of_a_replayed_run_are_asked_for(raw, tmp_path, capsys):
    file = tmp_path / 'filter.json'
    file.write_text('{}')
    config = RunConfig(raw, tmp_path / 'out', seed=1, bids_filter_file=file, weights=tmp_path)
    write_dataset_files(config.replace(work_dir=tmp_path / 'work'))
    recorded = tmp_path / 'out' / 'logs' / 'config.toml'
    assert str(tmp_path) not in recorded.read_text()
    arguments = ['in', 'out', 'participant', '--config-file', str(recorded)]
    with pytest.raises(SystemExit) as ended:
        parse_config([*arguments, '--weights', str(tmp_path)])
    assert ended.value.code == 64
    assert 'that run had --bids-filter-file, ' in capsys.readouterr().err
    given = ['--bids-filter-file', str(file), '--weights', str(tmp_path)]
    assert parse_config([*arguments, *given]).bids_filter_file == file


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('not toml', 'not the config.toml of a run'),
        ('[environment]\n', 'not the config.toml of a run'),
        ('[run]\ncolour = "red"\n', '--colour=red'),
        ('[run]\nsteps = 0\n', '--steps: must be an integer'),
        ('[run]\nparticipant_label = ["../x"]\n', 'not a label'),
        ('run = 1\n', 'not the config.toml of a run'),
    ],
)
def test_a_config_file_that_is_none(tmp_path, capsys, text, message):
    (tmp_path / 'config.toml').write_text(text)
    with pytest.raises(SystemExit) as ended:
        parse_config(['in', 'out', 'participant', '--config-file', str(tmp_path / 'config.toml')])
    assert ended.value.code == 64
    said = capsys.readouterr().err
    assert said.startswith(f'cpmae-bids: {tmp_path}/config.toml: ')
    assert message in said


def test_other_weights_than_those_of_the_replayed_run_are_told(raw, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(preflight, 'find_model_hash', lambda config: 'new')
    config = RunConfig(raw, tmp_path / 'out', dry_run=True, model_hash='old')
    assert preflight.preflight(config).model_hash == 'new'
    assert 'weights: not those of --config-file (new, not old)' in caplog.text


# Drawings


def test_the_workflow_is_drawn_into_the_work_dir(command, tmp_path, capsys):
    assert command('--participant-label', '02', '--write-graph', '-w', str(tmp_path / 'work')) == 0
    graph = (tmp_path / 'work' / 'cpmae_bids_wf' / 'graph.dot').read_text()
    assert 'sub-02_T1w_wf_skullstrip' in graph
    assert 'cpmae_bids_wf/graph.' in capsys.readouterr().err
    assert (tmp_path / 'work' / 'cpmae_bids_wf' / 'graph.svg').is_file() == bool(shutil.which('dot'))


def test_a_run_goes_on_without_a_drawing(raw, tmp_path, caplog):
    (tmp_path / 'work').write_text('no folder')
    write_graph([], RunConfig(raw, tmp_path / 'out', work_dir=tmp_path / 'work'))
    assert 'graph: was not drawn' in caplog.text


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['participant', '--write-graph'], '--write-graph needs --work-dir'),
        (['group', '--dry-run'], '--dry-run is for the participant level'),
        (['participant', '--derivatives', 'nowhere'], 'no such folder: nowhere'),
    ],
)
def test_options_that_need_others(flags, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_config(['in', 'out', *flags])
    assert ended.value.code == 64
    assert message in capsys.readouterr().err
