"""A whole run of the command, with a small workflow in place of the models: what it leaves behind."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import stand_in

from cpmae_bids.bids import publish
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.bids.validation import validate_bids
from cpmae_bids.cli import participant_level, preflight
from cpmae_bids.cli.batches import batch_size, share_processors
from cpmae_bids.cli.process import _reason
from cpmae_bids.cli.run import main
from cpmae_bids.cli.summary import summarise
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import EXIT_INTERRUPTED, InputError
from cpmae_bids.interfaces.step import Step, StepError
from cpmae_bids.workflows import base
from cpmae_bids.workflows.run import Failure

SCANS = [
    'sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz',
    'sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz',
    'sub-02/anat/sub-02_T1w.nii.gz',
]


@pytest.fixture
def behave(ready, monkeypatch):
    """Replace models and workflow; returns a dict in which tests say what becomes of a scan."""
    behaviours, processed = {}, []

    def judge(scan):
        if behaviours.get(scan.name) == 'fail':
            return {'status': 'fail', 'reasons': ['the head is the original']}
        return {'measures': {'seam': 1.0}}

    def behaviour(scan):
        return behaviours.get(scan.name, '')

    def private(scan, page):
        return stand_in.StandIn(behaviour=behaviours.get('private_report', f'touch {page}'))

    def init(scans, config):
        processed.extend(scan.name for scan in scans)
        return stand_in.init_wf(scans, config, 0, judge, behaviour, private, 'stand_in')

    monkeypatch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', init)
    behaviours['processed'] = processed
    return behaviours


@pytest.fixture
def raw(make_bids):
    return make_bids(
        SCANS,
        {'T1w.json': {'EchoTime': 0.003, 'PatientName': 'Doe^Jane'}},
        'participant_id\tage\tname\nsub-01\t30\tJane\nsub-02\t40\tJohn\n',
    )


@pytest.fixture
def command(raw, tmp_path):
    """Return ``command(*flags)``: runs the participant level and returns the exit code."""

    def call(*flags, level='participant', work=True, validate=False):
        folders = ['-w', str(tmp_path / 'work')] if work else []
        arguments = [str(raw), str(tmp_path / 'out'), level, '--device', 'cpu', '--nprocs', '1', *folders]
        return main([*arguments, *([] if validate else ['--skip-bids-validation']), *flags])

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def images(out):
    return sorted(path.name for path in out.rglob('*_T1w.nii.gz'))


def table(out):
    lines = (out / 'logs' / 'verdicts.tsv').read_text().splitlines()
    return {row[0]: row[1:3] for row in (line.split('\t') for line in lines[1:])}


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file() and not path.is_symlink()}


def test_all_pass(behave, command, raw, out, capsys, tmp_path):
    before = snapshot(raw)
    assert command() == 0
    assert images(out) == [
        'sub-01_ses-a_desc-refaced_T1w.nii.gz',
        'sub-01_ses-b_desc-refaced_T1w.nii.gz',
        'sub-02_desc-refaced_T1w.nii.gz',
    ]
    assert table(out) == {scan: ['pass', 'n/a'] for scan in SCANS}
    assert (out / 'participants.tsv').read_text() == 'participant_id\tage\nsub-01\t30\nsub-02\t40\n'
    assert (out / 'sub-01.html').is_file()
    assert (out / 'sub-02.html').is_file()
    assert snapshot(raw) == before
    message = capsys.readouterr().err
    assert '3 scans: 3 passed' in message
    assert validate_bids(out) == []
    for path in out.rglob('*'):
        if path.is_file() and path.suffix != '.gz':
            assert str(tmp_path) not in path.read_text(), path
            assert 'Jane' not in path.read_text(), path


def test_sessions_share_a_seed_and_subjects_do_not(behave, command, out):
    assert command('--seed', '3') == 0
    seeds = [json.loads(path.read_text())['seed'] for path in sorted((out / 'logs/verdicts').glob('*.json'))]
    assert seeds[0] == seeds[1] != seeds[2]


def test_one_fails_one_crashes(behave, command, out, capsys, tmp_path):
    behave |= {'sub-01_ses-b_T1w': 'fail', 'sub-02_T1w': 'crash'}
    assert command() == 1
    assert images(out) == ['sub-01_ses-a_desc-refaced_T1w.nii.gz']
    verdicts = table(out)
    assert verdicts[SCANS[0]] == ['pass', 'n/a']
    assert verdicts[SCANS[1]] == ['fail', 'the head is the original']
    status, reason = verdicts[SCANS[2]]
    assert status == 'error'
    assert reason == f'stand_in: no brain in <input>/{SCANS[2]}'
    assert not (out / 'sub-02').exists()
    assert 'sub-02' not in (out / 'participants.tsv').read_text()

    message = capsys.readouterr().err
    assert '3 scans: 1 passed, 1 failed quality control, 1 ended with an error' in message
    assert f'FAIL {SCANS[1]}: the head is the original' in message
    (crash_line,) = [line for line in message.splitlines() if 'crash file of sub-02_T1w' in line]
    crash_file = Path(crash_line.rpartition(': ')[2])
    assert crash_file.is_file()
    assert crash_file.is_relative_to(tmp_path / 'work')
    assert validate_bids(out) == []


def test_a_private_report_that_fails_is_told_and_made_by_the_next_run(behave, command, out, capsys, tmp_path):
    """The image passed its verdict and stays; but the owner asked for something that is not there."""
    flags = '--participant-label', '02', '--private-report-dir', str(tmp_path / 'private')
    behave['private_report'] = 'crash'
    assert command(*flags) == 1
    assert images(out) == ['sub-02_desc-refaced_T1w.nii.gz']
    assert table(out) == {SCANS[2]: ['pass', 'n/a']}
    message = capsys.readouterr().err
    assert '1 scan: 1 passed, 1 without the private report' in message
    assert 'PRIVATE REPORT of sub-02_T1w was not written: no brain in ' in message

    behave['private_report'] = f'touch {tmp_path}/private/sub-02_T1w.html'
    assert command(*flags, work=False) == 0
    assert 'private report' not in capsys.readouterr().err.lower()
    behave['processed'].clear()
    assert command(*flags, work=False) == 0
    assert behave['processed'] == []

    numbers = tmp_path / 'private/sub-02_T1w.json'
    numbers.touch()
    behave['private_report'] = 'crash'
    assert command(*flags, '--steps', '3') == 1
    assert not numbers.exists()
    behave['private_report'] = f'touch {tmp_path}/private/sub-02_T1w.html'
    behave['processed'].clear()
    assert command(*flags, '--steps', '3', work=False) == 0
    assert behave['processed'] == ['sub-02_T1w']  # the page that was there showed another head


def test_pictures_that_cannot_be_written_are_told():
    """The image passed and stays; the run ends with 1, and the crash file alone would say why."""
    failure = Failure('sub-02_T1w', 'sink', '[Errno 28] No space left on device', Path('crash.txt'))
    passed, failed = {'scan': SCANS[2], 'status': 'pass'}, {'scan': SCANS[2], 'status': 'error'}
    assert 'PICTURES of sub-02_T1w may be missing: [Errno 28] No space' in summarise([passed], [failure])[1]
    assert 'PICTURES' not in ''.join(summarise([failed], [failure]))


@pytest.mark.parametrize('log', ['full', 'broken pipe', 'closed', 'missing'])
def test_a_log_that_cannot_be_written_costs_nothing(behave, command, out, monkeypatch, log):
    assert command() == 0
    first = images(out)
    stream = None
    if log == 'broken pipe':
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, 'w', buffering=1)
    elif log != 'missing':
        stream = os.fdopen(os.open('/dev/full', os.O_WRONLY), 'w', buffering=1)
    if log == 'closed':
        stream.close()
    monkeypatch.setattr(sys, 'stderr', stream)
    behave['processed'].clear()
    assert command('--overwrite') == 0
    assert len(behave['processed']) == len(SCANS)
    assert images(out) == first
    assert {status for status, _ in table(out).values()} == {'pass'}
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


@pytest.mark.parametrize('lacking', ['current folder', 'semaphores'])
def test_a_run_without_what_machines_mostly_have(
    behave, command, out, monkeypatch, tmp_path, capsys, lacking
):
    if lacking == 'current folder':
        (tmp_path / 'gone').mkdir()
        monkeypatch.chdir(tmp_path / 'gone')
        (tmp_path / 'gone').rmdir()
    else:

        def refused(*arguments):
            raise PermissionError(13, 'Permission denied')

        monkeypatch.setattr('multiprocessing.synchronize._multiprocessing.SemLock', refused)
        behave['sub-01_ses-a_T1w'] = 'crash'
    assert command('--nprocs', '2', '--omp-nthreads', '1') == (lacking == 'semaphores')
    assert len(images(out)) == (2 if lacking == 'semaphores' else 3)
    assert ('/dev/shm' in capsys.readouterr().err) == (lacking == 'semaphores')


def test_an_output_that_datalad_saved(behave, command, out):
    """All files, hidden ones too, are links to objects that nobody may write."""
    flags = '--layout', 'bids'
    assert command(*flags) == 0
    objects = out / '.git' / 'annex' / 'objects'
    objects.mkdir(parents=True)
    for number, path in enumerate(p for p in out.rglob('*') if p.is_file() and '.git' not in p.parts):
        path.rename(objects / str(number))
        (objects / str(number)).chmod(0o444)
        path.symlink_to(objects / str(number))
    objects.chmod(0o555)
    before = snapshot(objects)
    behave['processed'].clear()
    assert command(*flags) == 0
    assert behave['processed'] == []
    assert command('--overwrite', *flags) == 0
    assert len(behave['processed']) == len(SCANS)
    assert snapshot(objects) == before
    assert validate_bids(out) == []


def test_many_processes(behave, command, out):
    behave |= {'sub-02_T1w': 'crash'}
    assert command('--nprocs', '2') == 1
    assert len(images(out)) == 2
    assert table(out)[SCANS[2]][0] == 'error'


def test_subjects_are_finished_one_after_another(behave, command, out, monkeypatch, tmp_path):
    """Not all of them at the end: a run that is killed half-way has finished half of them."""
    done = []

    def watch(scans, config, init=base.init_cpmae_bids_wf):
        done.append(len(images(out)))
        left = [path.name for path in config.work_dir.rglob('*') if path.is_file()]
        assert left == ['.in-use']
        return init(scans, config)

    monkeypatch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', watch)
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    assert command(work=False) == 0
    assert done == [0, 2]  # scans of a subject share a workflow, since they share a head


def test_batches_keep_the_processors_busy(tmp_path):
    config = RunConfig(tmp_path, tmp_path)
    assert batch_size(config.replace(nprocs=2, omp_nthreads=2)) == 1
    assert batch_size(config.replace(nprocs=16, omp_nthreads=8)) == 8
    assert batch_size(config.replace(nipype_plugin_file=tmp_path / 'slurm.yml')) is None


@pytest.mark.parametrize(
    ('n_scans', 'settings', 'threads'),
    [
        (1, {'nprocs': 4}, 4),
        (1, {'nprocs': 32}, 8),
        (2, {'nprocs': 4}, 2),
        (1000, {'nprocs': 4}, 1),
        (1000, {'nprocs': 8, 'mem_gb': 5.0}, 4),  # two at a time
        (1000, {'nprocs': 4, 'mem_gb': 1.0}, 4),
        (1000, {'nprocs': 4, 'omp_nthreads': 3}, 3),
        (1000, {'nprocs': 4, 'nipype_plugin_file': Path('slurm.yml')}, 4),
        (0, {'nprocs': 4}, 4),
    ],
)
def test_scans_share_the_processors(tmp_path, n_scans, settings, threads):
    config = RunConfig(tmp_path, tmp_path).replace(**{'mem_gb': 64.0, 'omp_nthreads': 0, **settings})
    assert share_processors(n_scans, config).omp_nthreads == threads


def test_scans_of_many_voxels_share_the_processors_with_fewer(tmp_path):
    config = RunConfig(tmp_path, tmp_path).replace(nprocs=16, mem_gb=32.0, omp_nthreads=0)
    assert [share_processors(10, config, size).omp_nthreads for size in (1, 4, 8)] == [1, 4, 8]


def test_scans_fail_with_the_reference_of_their_subject(ready, command, raw, out, capsys, monkeypatch):
    """The head of the second session is generated around the brain of the first one."""
    (raw / SCANS[2]).unlink()

    def act(self, runtime):
        if self.inputs.get().get('t1w') == str(raw / SCANS[0]):
            raise StepError(f'{self.inputs.t1w}: no brain found')
        for path in self._list_outputs().values():
            Path(path).touch()
        return runtime

    monkeypatch.setattr(Step, '_run_interface', act)
    assert command('--session-label', 'b') == 1
    ((scan, (status, reason)),) = table(out).items()
    assert (scan, status) == (SCANS[1], 'error')
    assert f'around the brain of {SCANS[0]}, which cannot be used (skullstrip: ' in reason
    assert 'no brain found' in reason
    assert '--bids-filter-file' in reason
    assert images(out) == []
    assert f'ERROR {SCANS[1]}: its head' in capsys.readouterr().err


@pytest.mark.parametrize('flags', [['--session-label', 'b'], []])
def test_a_reference_without_an_image_has_not_changed(behave, command, out, capsys, flags):
    """It was not part of the run, or failed: other scans with its head are shared all the same."""
    behave['sub-01_ses-a_T1w'] = 'fail'
    for _ in range(2):
        assert command('--layout', 'bids', *flags, work=False) == (0 if flags else 1)
        assert (out / 'bids' / SCANS[1]).is_file()
        assert 'has changed since' not in capsys.readouterr().err


def test_a_part_that_keeps_an_earlier_head_is_told(behave, command, raw, capsys):
    """A head that differs between scans of a subject would look like a finding."""
    (raw / SCANS[0]).with_name('sub-01_ses-a_T2w.nii.gz').write_bytes((raw / SCANS[0]).read_bytes())
    assert command('--seed', '1', '--also', 'T2w') == 0
    assert command('--seed', '1', '--session-label', 'a') == 0
    assert 'ANOTHER HEAD' not in capsys.readouterr().err
    assert command('--seed', '2', '--session-label', 'a') == 0
    told = re.findall('ANOTHER HEAD (.*): sub-01/ses-a/anat/sub-01_ses-a_T1w', capsys.readouterr().err)
    assert told == ['sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz', SCANS[1]]
    assert command('--seed', '2', '--also', 'T2w') == 0
    assert 'ANOTHER HEAD' not in capsys.readouterr().err


def test_an_image_without_a_verdict_is_told(behave, command, raw, out, capsys):
    """It may be the original; of another subject, the run over that one tells it."""
    assert command() == 0
    shutil.copy(raw / SCANS[2], out / 'sub-02/anat/sub-02_acq-x_desc-refaced_T1w.nii.gz')
    assert command('--participant-label', '01') == 0
    assert 'may show the original' not in capsys.readouterr().err
    assert command() == 1
    told = 'ERROR sub-02/anat/sub-02_acq-x_desc-refaced_T1w.nii.gz: an image without a passing verdict'
    assert told in capsys.readouterr().err


def test_second_call_skips_what_is_complete(behave, command, out, capsys):
    behave |= {'sub-02_T1w': 'crash'}
    assert command() == 1
    first = snapshot(out / 'sub-01')
    behave['processed'].clear()
    behave |= {'sub-02_T1w': 'pass'}
    assert command(work=False) == 0
    assert behave['processed'] == ['sub-02_T1w']
    assert snapshot(out / 'sub-01') == first
    assert '3 scans, 2 of them complete already' in capsys.readouterr().err

    behave['processed'].clear()
    assert command() == 0
    assert behave['processed'] == []
    assert command('--overwrite') == 0
    assert len(behave['processed']) == 3


def test_another_reference_redoes_the_scans_that_had_its_head(behave, command, make_nifti, phantom, raw):
    assert command() == 0
    behave['processed'].clear()
    make_nifti(raw / SCANS[0], phantom(seed=5)[0])  # the same name, another content
    assert command() == 0
    assert behave['processed'] == ['sub-01_ses-a_T1w', 'sub-01_ses-b_T1w']
    behave['processed'].clear()
    (raw / SCANS[0]).unlink()
    assert command() == 0
    assert behave['processed'] == ['sub-01_ses-b_T1w']


@pytest.mark.parametrize('flags', [('--seed', '99'), ('--preset', '128'), ('--steps', '3')])
def test_other_settings_redo_everything(behave, command, flags):
    assert command('--seed', '1') == 0
    behave['processed'].clear()
    assert command('--seed', '1', *flags) == 0
    assert len(behave['processed']) == 3


def test_a_crash_removes_the_image_of_an_earlier_run(behave, command, out):
    assert command() == 0
    behave |= {'sub-01_ses-a_T1w': 'crash', 'sub-01_ses-b_T1w': 'fail'}
    assert command('--seed', '99', '--overwrite') == 1
    assert images(out) == ['sub-02_desc-refaced_T1w.nii.gz']


def test_a_sink_that_breaks_leaves_a_record_of_this_run(behave, command, out, capsys, monkeypatch):
    """Its record of an earlier run went with the image, which is no verdict of this one."""
    assert command() == 0
    find = publish.checked_sources

    def changed(scan, *rest):
        if scan.name == 'sub-02_T1w':
            raise InputError(f'{scan.relative_path}: was changed while it was processed; run again')
        return find(scan, *rest)

    monkeypatch.setattr(publish, 'checked_sources', changed)
    assert command('--overwrite') == 1
    assert len(images(out)) == 2
    status, reason = table(out)[SCANS[2]]
    assert status == 'error'
    assert 'was changed while it was processed' in reason
    assert '3 scans: 2 passed, 1 ended with an error' in capsys.readouterr().err


def test_an_image_that_cannot_be_removed_costs_no_other_scan(behave, command, out, capsys, monkeypatch):
    assert command() == 0
    made = (out / 'sub-02/anat/sub-02_desc-refaced_T1w.nii.gz').stat()
    behave |= {'sub-01_ses-a_T1w': 'crash'}

    def remove(folder, path, remove=OutputFolder.remove):
        if Path(path).name == 'sub-01_ses-a_desc-refaced_T1w.nii.gz':
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove(folder, path)

    monkeypatch.setattr(OutputFolder, 'remove', remove)
    assert command('--overwrite') == 1
    assert (out / 'sub-02/anat/sub-02_desc-refaced_T1w.nii.gz').stat().st_ino != made.st_ino
    image = 'sub-01/ses-a/anat/sub-01_ses-a_desc-refaced_T1w.nii.gz'
    assert table(out)[SCANS[0]][0] == table(out)[image][0] == 'error'
    assert 'it may show the original' in table(out)[image][1]
    assert f'{SCANS[0]}: failed' in (message := capsys.readouterr().err)
    assert 'do not share the output' in message


def test_a_workflow_that_cannot_be_built_leaves_no_image(behave, command, out, monkeypatch):
    assert command() == 0

    def broken(scans, config):
        raise RuntimeError('no graph')

    monkeypatch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', broken)
    assert command('--overwrite') == 1
    assert images(out) == []
    assert {status for status, _ in table(out).values()} == {'error'}


def test_a_workflow_that_breaks_is_tried_again_for_each_subject(behave, command, out, monkeypatch):
    """A scan that nipype cannot cope with costs those of other subjects nothing."""

    def fragile(scans, config, init=base.init_cpmae_bids_wf):
        if any(scan.subject == '01' for scan in scans):
            raise RuntimeError('no graph')
        return init(scans, config)

    monkeypatch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', fragile)
    assert command('--nprocs', '2', '--omp-nthreads', '1') == 1
    assert images(out) == ['sub-02_desc-refaced_T1w.nii.gz']
    assert table(out)[SCANS[0]] == ['error', 'the workflow broke: no graph; -vv tells where']


def test_stop_on_first_crash(behave, command, out):
    """What was not reached is neither redone nor taken away, but the scan that broke is."""
    assert command() == 0
    behave |= {f'{Path(scan).name.partition(".")[0]}': 'crash' for scan in SCANS}
    assert command('--overwrite', '--stop-on-first-crash') == 1
    statuses = [status for status, _ in table(out).values()]
    assert statuses.count('error') == 1
    assert len(images(out)) == 2


def test_stop_on_first_crash_without_earlier_outputs(behave, command, out):
    behave |= {f'{Path(scan).name.partition(".")[0]}': 'crash' for scan in SCANS}
    assert command('--stop-on-first-crash') == 1
    assert len(table(out)) == 3
    assert sum('not processed' in reason for _, reason in table(out).values()) == 2


def test_scan_without_content_fails_alone(behave, command, raw, out):
    image = raw / SCANS[2]
    image.unlink()
    image.symlink_to('../../.git/annex/missing')
    assert command() == 1
    assert len(images(out)) == 2
    assert 'datalad get' in table(out)[SCANS[2]][1]
    assert 'sub-02_T1w' not in behave['processed']


def test_temporary_work_dir_is_removed_unless_it_explains_a_crash(
    behave, command, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    behave |= {'sub-02_T1w': 'fail'}
    assert command(work=False) == 1
    assert not list(tmp_path.glob('cpmae-bids-*'))
    behave |= {'sub-02_T1w': 'crash'}
    assert command(work=False) == 1
    (kept,) = tmp_path.glob('cpmae-bids-*')
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700
    assert f'kept for the crash files in it: {kept}' in capsys.readouterr().err
    (crash_file,) = (path for path in kept.rglob('*') if path.is_file() and path.name != '.in-use')
    assert crash_file.name.startswith('crash-')
    assert stat.S_IMODE(crash_file.stat().st_mode) == 0o600


# The signal may come while Python runs a callback whose exceptions are lost, as those of its garbage
# collector are: the run has to end all the same, at the next stage.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize(('nprocs', 'number'), [('1', 'TERM'), ('2', 'TERM'), ('1', 'HUP')])
def test_termination_cleans_up(behave, command, monkeypatch, tmp_path, out, nprocs, number):
    monkeypatch.setattr(preflight.tempfile, 'tempdir', str(tmp_path))
    at_exit = []
    monkeypatch.setattr(participant_level.atexit, 'register', lambda *call: at_exit.append(call))
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    behave |= {'sub-01_ses-a_T1w': f'terminate {os.getpid()} SIG{number}'}
    assert command('--nprocs', nprocs, work=False) == EXIT_INTERRUPTED
    for function, *arguments in at_exit:
        function(*arguments)
    assert not list(tmp_path.glob('cpmae-bids-*'))
    assert len(images(out)) < 3
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    behave |= {'sub-01_ses-a_T1w': 'pass'}
    assert command(work=False) == 0
    assert len(images(out)) == 3


def test_exit_codes_of_wrong_use_and_nothing_to_do(behave, command, raw, out, capsys):
    assert command('--participant-label', 'sub-01', '07') == 64
    assert 'sub-07' in capsys.readouterr().err
    assert command('--work-dir', str(raw / 'work')) == 64
    assert main([str(raw / 'nowhere'), str(out), 'participant']) == 64
    for scan in SCANS:
        (raw / scan).unlink()
    assert command() == 70
    message = capsys.readouterr().err
    assert message.splitlines()[-1].endswith('no T1w scan matches; check the labels and filters')
    assert 'Traceback' not in message
    assert images(out) == []


def test_invalid_dataset_is_refused_unless_told_otherwise(behave, command, raw, out, capsys):
    (raw / 'dataset_description.json').write_text('{"Name": "x"}')
    assert command(validate=True) == 64
    assert '--skip-bids-validation' in capsys.readouterr().err
    assert images(out) == []
    assert command() == 0


def test_valid_dataset_passes_the_validator(behave, command):
    assert command(validate=True) == 0


def test_participants_of_several_runs_add_up(behave, command, out):
    assert command('--participant-label', '02') == 0
    assert list(table(out)) == [SCANS[2]]
    assert command('--participant-label', '01') == 0
    assert list(table(out)) == SCANS
    assert len((out / 'participants.tsv').read_text().splitlines()) == 3


def test_same_seed_same_bytes(behave, command, out):
    assert command('--seed', '5') == 0
    first = snapshot(out)
    assert command('--seed', '5', '--overwrite', work=False) == 0
    again = snapshot(out)
    for files in (first, again):
        del files[out / 'logs' / 'config.toml']  # says how each run was called
    assert again == first


def test_messages_go_to_standard_error_alone(behave, command, capfd):
    assert command() == 0
    captured = capfd.readouterr()
    assert captured.out == ''
    assert 'nipype' not in captured.err


def test_what_was_not_processed_is_told(behave, command, raw, out, capsys):
    for name in ('sub-01/ses-a/anat/sub-01_ses-a_T2w', 'sub-01/ses-b/anat/sub-01_ses-b_T2w'):
        (raw / f'{name}.nii.gz').write_bytes(b'x')
    (raw / 'sub-02/anat/sub-02_part-phase_T1w.nii.gz').write_bytes(b'x')
    assert command('--participant-label', '01') == 0
    message = capsys.readouterr().err
    assert '2 files or folders may show a face and were not processed' in message
    assert 'NOT PROCESSED sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz and 1 more: T2w image' in message
    listed = (out / 'logs/not_processed.tsv').read_text().splitlines()
    assert [line.split('\t')[0] for line in listed[1:]] == [
        'sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz',
        'sub-01/ses-b/anat/sub-01_ses-b_T2w.nii.gz',
        'sub-02/anat/sub-02_T1w.nii.gz',
        'sub-02/anat/sub-02_part-phase_T1w.nii.gz',
    ]
    assert validate_bids(out) == []


def test_echoes_fail_with_the_brain_of_the_first_and_with_nothing_else_of_it(make_bids, tmp_path):
    root = make_bids([f'sub-01/anat/sub-01_echo-{echo}_T1w.nii.gz' for echo in '12'])
    first, second = collect_scans(RunConfig(root, tmp_path / 'out', seed=1))
    for stage, reason in (
        ('skullstrip', f'its brain and head are those of {first.relative_path}'),
        ('blend', ''),
    ):
        failures = [Failure(first.name, stage, 'no brain found', tmp_path)]
        assert _reason(first, failures) == f'{stage}: no brain found'
        assert _reason(second, failures).startswith(reason)
        assert bool(_reason(second, failures)) == bool(reason)


def test_uniform_images_of_mp2rage(behave, command, raw, out, capsys):
    folder = raw / 'sub-02/anat'
    (folder / 'sub-02_T1w.nii.gz').rename(folder / 'sub-02_UNIT1.nii.gz')
    (folder / 'sub-02_inv-1_MP2RAGE.nii.gz').write_bytes(b'x')
    (folder / 'sub-02_inv-2_MP2RAGE.nii.gz').write_bytes(b'x')
    assert command('--layout', 'bids', '--participant-label', '02') == 0
    message = capsys.readouterr().err
    first = 'sub-02/anat/sub-02_inv-1_MP2RAGE.nii.gz and 1 more: inversion image of MP2RAGE'
    assert f'NOT PROCESSED {first}' in message
    assert sorted(path.name for path in (out / 'sub-02/anat').glob('*.nii.gz')) == [
        'sub-02_desc-brainUNIT1_mask.nii.gz',
        'sub-02_desc-refaced_UNIT1.nii.gz',
        'sub-02_mod-UNIT1_desc-refaced_defacemask.nii.gz',
    ]
    assert [path.name for path in (out / 'bids').rglob('*.nii.gz')] == ['sub-02_UNIT1.nii.gz']
    assert validate_bids(out) == []
    assert validate_bids(out / 'bids') == []
    assert command('--participant-label', '02') == 0
    assert behave['processed'] == ['sub-02_UNIT1']


def test_a_session_that_is_a_date(behave, command, raw, capsys):
    (raw / 'sub-02/ses-20190412').mkdir()
    name = 'sub-02_ses-20190412_T1w.nii.gz'
    (raw / SCANS[2]).parent.rename(raw / 'sub-02/ses-20190412/anat')
    (raw / 'sub-02/ses-20190412/anat/sub-02_T1w.nii.gz').rename(raw / f'sub-02/ses-20190412/anat/{name}')
    assert command('--layout', 'bids', '--scan-dates', 'shift') == 64
    assert behave['processed'] == []
    message = capsys.readouterr().err
    assert 'ses-20190412' in message
    assert '--scan-dates drop' in message
    assert command() == 0
    assert 'ses-20190412 looks like a date' in capsys.readouterr().err


def test_a_table_of_participants_that_cannot_be_read(behave, command, raw, out, capsys):
    (raw / 'participants.tsv').write_bytes(b'PK\3\4\0')
    assert command() == 1
    assert len(images(out)) == len(SCANS)
    assert 'NOT CARRIED OVER' in capsys.readouterr().err
    assert not (out / 'participants.tsv').exists()


def test_layout_bids(behave, command, raw, out, capsys):
    (raw / 'sub-02/anat/sub-02_T2w.nii.gz').write_bytes(b'x')
    before = snapshot(raw)
    behave |= {'sub-01_ses-b_T1w': 'fail'}
    assert command('--layout', 'bids') == 1
    message = capsys.readouterr().err
    assert 'to upload: ' in message
    assert '2 de-identified and 0 copied images' in message
    assert 'LEFT OUT sub-02/anat/sub-02_T2w.nii.gz: T2w image' in message
    assert f'LEFT OUT {SCANS[1]}: fail: the head is the original' in message
    assert images(out / 'bids') == ['sub-01_ses-a_T1w.nii.gz', 'sub-02_T1w.nii.gz']
    assert snapshot(raw) == before
    assert validate_bids(out) == []
    assert validate_bids(out / 'bids') == []

    behave |= {'sub-01_ses-b_T1w': 'pass', 'sub-02_T1w': 'crash'}
    assert command('--overwrite') == 1
    assert 'is of an earlier run and was not updated' in capsys.readouterr().err
    assert images(out / 'bids') == ['sub-01_ses-a_T1w.nii.gz']
    assert command('--layout', 'bids', '--stop-on-first-crash') == 1
    assert images(out / 'bids') == ['sub-01_ses-a_T1w.nii.gz', 'sub-01_ses-b_T1w.nii.gz']


@pytest.mark.parametrize('what', ['write_run_table', 'report_unprocessed', 'conclude_raw_like'])
def test_what_cannot_be_written_at_the_end_hides_no_result(behave, command, out, capsys, monkeypatch, what):
    behave |= {'sub-02_T1w': 'fail'}
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(participant_level, what, Mock(side_effect=full))
    assert command('--layout', 'bids') == 1
    message = capsys.readouterr().err
    assert '3 scans: 2 passed, 1 failed quality control' in message
    assert f'FAIL {SCANS[2]}: the head is the original' in message
    assert 'No space left on device' in message


def test_names_of_files_add_no_line_to_the_log(behave, command, raw, out, capsys):
    forged = raw / 'sub-02/anat/x\ncpmae-bids: 9 scans: 9 passed\x1b[K'
    shutil.copyfile(raw / SCANS[2], forged)
    assert command() == 0
    told = capsys.readouterr().err
    assert 'cpmae-bids: 9 scans: 9 passed' not in told.splitlines()
    assert r'x\ncpmae-bids: 9 scans: 9 passed\x1b[K' in told
    assert command('--dry-run') == 0
    assert all(
        line.startswith(('SKIP', 'NOT PROCESSED', '3 scans')) for line in capsys.readouterr().out.splitlines()
    )


@pytest.mark.parametrize(
    ('link', 'target'),
    [
        ('bids/sub-02/anat', 'raw/sub-02/anat'),
        ('bids/sub-02', 'raw/sub-02'),
        ('bids/sub-02', 'elsewhere'),
        ('sub-02', 'raw/sub-02'),
        ('sub-02/anat', 'elsewhere'),
    ],
)
def test_a_linked_folder_costs_its_scan_alone(behave, command, raw, out, tmp_path, capsys, link, target):
    (tmp_path / 'elsewhere').mkdir()
    for name in ('sub-02_T1w.nii.gz', 'sub-02_desc-refaced_T1w.nii.gz'):
        (tmp_path / 'elsewhere' / name).write_text('of somebody')
    assert command('--layout', 'bids') == 0
    shutil.rmtree(out / link)
    (out / link).symlink_to(tmp_path / target)
    before = snapshot(raw), snapshot(tmp_path / 'elsewhere')
    if link.startswith('sub-02'):
        assert command('--dry-run', '--overwrite') == 1
        told = capsys.readouterr().out
        assert f'ERROR {SCANS[2]}: {out / link}: is a link' in told
        assert f'PROCESS {SCANS[0]}' in told
    assert command('--layout', 'bids', '--overwrite') == 1
    assert (snapshot(raw), snapshot(tmp_path / 'elsewhere')) == before
    assert 'remove the link' in capsys.readouterr().err
    assert (out / 'bids/sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz').is_file()
    assert (out / 'sub-01/ses-a/anat/sub-01_ses-a_desc-refaced_T1w.nii.gz').is_file()
    (out / link).unlink()
    assert command('--layout', 'bids') == 0


@pytest.mark.parametrize(
    'link',
    ['out/logs', 'out/logs/verdicts', 'out/figures', 'out/bids/code', 'work/crash', 'work/cpmae_bids_wf'],
)
def test_a_linked_folder_of_the_run_is_refused_at_once(behave, command, raw, tmp_path, capsys, link):
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to(raw / 'sub-01')
    if link.startswith('out/bids'):
        description = {'Name': 'x', 'DatasetType': 'raw', 'GeneratedBy': [{'Name': 'cpmae-bids'}]}
        (tmp_path / 'out/bids/dataset_description.json').write_text(json.dumps(description))
    before = snapshot(raw)
    if link.startswith('out'):
        assert command('--layout', 'bids', '--dry-run') == 64
    assert command('--layout', 'bids') == 64
    assert 'link into the input' in capsys.readouterr().err
    assert snapshot(raw) == before
    assert behave['processed'] == []


def test_a_raw_like_dir_of_its_own(behave, command, out, tmp_path):
    assert command('--layout', 'bids', '--raw-like-dir', str(tmp_path / 'upload')) == 0
    assert len(images(tmp_path / 'upload')) == 3
    assert not (out / 'bids').exists()
    with pytest.raises(SystemExit) as ended:
        command('--raw-like-dir', str(tmp_path / 'upload'))
    assert ended.value.code == 64
