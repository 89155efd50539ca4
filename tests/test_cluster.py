"""Runs whose nodes are jobs of a batch system. docker/slurm_test.sh does the same with a real one."""

import gc
import json
import os
import signal
import stat
import subprocess
import sys
from functools import partial
from inspect import getsource
from multiprocessing import get_context
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline import engine as pe
from stand_in import init_wf

from cpmae_bids.bids.scan import Scan
from cpmae_bids.cli import devices, preflight
from cpmae_bids.cli.interrupt import Interruption
from cpmae_bids.cli.run import main
from cpmae_bids.config import RunConfig
from cpmae_bids.exceptions import UsageError
from cpmae_bids.workflows import cluster
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.run import run_workflow

# A queue that runs each job at once, but those that it is told to lose or to keep waiting.
SBATCH = """#!/bin/bash
cd {folder}
echo "$@" >>calls
number=$(wc -l <calls)
script="${{@: -1}}"
case $script in
    *{lost}*) ;;
    *{waiting}*) touch "waiting-$number" ;;
    *) bash "$script" >/dev/null 2>&1 ;;
esac
echo "Submitted batch job $number"
"""
SQUEUE = '#!/bin/bash\ntouch {folder}/polled\n[ ! -e {folder}/waiting-$2 ] || echo $2\n'
SCANCEL = '#!/bin/bash\necho "$@" >>{folder}/cancelled\n'


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Return ``queue(lost, waiting)``: puts sbatch, squeue and scancel on the path; returns their folder."""

    def make(lost='none', waiting='none') -> Path:
        folder = tmp_path / 'queue'
        folder.mkdir()
        for name, text in (('sbatch', SBATCH), ('squeue', SQUEUE), ('scancel', SCANCEL)):
            (folder / name).write_text(text.format(folder=folder, lost=lost, waiting=waiting))
            (folder / name).chmod(0o755)
        monkeypatch.setenv('PATH', f'{folder}:{os.environ["PATH"]}')
        monkeypatch.setattr(cluster, 'EXECUTION', {'poll_sleep_duration': '0.1', 'job_finished_timeout': '1'})
        return folder

    return make


@pytest.fixture
def config(tmp_path):
    (tmp_path / 'slurm.json').write_text(
        json.dumps(
            {
                'plugin': 'SLURM',
                'plugin_args': {'sbatch_args': '-p short --mem=9G', 'gpu_sbatch_args': '-p gpu --gres=gpu:1'},
            }
        )
    )
    return RunConfig(
        tmp_path / 'raw',
        tmp_path / 'out',
        work_dir=tmp_path / 'work',
        device='cpu',
        omp_nthreads=3,
        nipype_plugin_file=tmp_path / 'slurm.json',
    )


def two_scans(config) -> pe.Workflow:
    """A workflow with a job and a local node for each of two scans, named like the real one's."""
    workflow = init_cpmae_bids_wf([], config)
    for subject in ('01', '02'):
        job = pe.Node(Function(['x'], ['y'], _increment), 'job')
        local = pe.Node(Function(['x'], ['y'], _increment), 'local', run_without_submitting=True)
        job.inputs.x = int(subject)
        scan_wf, subject_wf = pe.Workflow(f'sub-{subject}_T1w_wf'), pe.Workflow(f'sub-{subject}_wf')
        scan_wf.connect(job, 'y', local, 'x')
        subject_wf.add_nodes([scan_wf])
        workflow.add_nodes([subject_wf])
    return workflow


def _increment(x):
    return x + 1


def _refuse(x):
    raise ValueError(f'{x} is not wanted')


def test_a_lost_job_fails_its_scan_and_no_other(queue, config):
    folder = queue(lost='sub-01')
    events = []
    failures = run_workflow(two_scans(config), config, _Recorder(events))
    assert [(failure.scan, failure.stage) for failure in failures] == [('sub-01_T1w', 'job')]
    assert failures[0].message.startswith('its job ended without a result')
    assert {('sub-02_T1w_wf.job', 'end'), ('sub-02_T1w_wf.local', 'end')} <= set(events)
    assert len((folder / 'calls').read_text().splitlines()) == 2  # local nodes are no jobs


def test_a_job_that_fails_says_why(queue, config):
    queue(lost='sub-02')
    workflow = two_scans(config)
    workflow.get_node('sub-01_wf.sub-01_T1w_wf.job').interface.inputs.function_str = getsource(_refuse)
    failures = run_workflow(workflow, config, _Recorder([]))
    messages = {failure.scan: failure.message for failure in failures}
    assert messages['sub-01_T1w'] == '1 is not wanted'


class _Recorder(Progress):
    def __init__(self, events):
        super().__init__()
        self.events = events

    def __call__(self, node, status):
        self.events.append(('.'.join(node.fullname.split('.')[2:]), status))


@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_jobs_of_an_interrupted_run_are_cancelled(queue, config):
    """Even if Python drops the exception, as while nipype collects garbage after each call of squeue."""
    folder = queue(waiting='sub-0')

    def interrupt(phase='stop', _=None):
        if phase == 'stop' and (folder / 'polled').exists():  # that is, both are submitted
            gc.callbacks.remove(interrupt)
            os.kill(os.getpid(), signal.SIGINT)

    gc.callbacks.append(interrupt)
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        run_workflow(two_scans(config), config, Progress(check=interruption.check))
    assert sorted((folder / 'cancelled').read_text().split()) == ['1', '2']


def test_jobs_ask_for_what_their_node_takes(queue, config, make_nifti, tmp_path):
    folder = queue(lost='batchscript')
    path = make_nifti(tmp_path / 'raw' / 'sub-01_T1w.nii.gz')
    scan = Scan(path, f'sub-01/anat/{path.name}', '01', None, {'sub': '01'}, {}, 5)
    config = config.replace(device='cuda')
    run_workflow(init_cpmae_bids_wf([scan], config), config, _Recorder([]))
    first = (folder / 'calls').read_text().splitlines()[0]
    assert '-J skullstrip.' in first
    words = first.split()
    assert {'--cpus-per-task=1', '--mem=2560M'} <= set(words)  # on a GPU a node has one process
    # what the plugin file says comes after what the node asks for, and what it says about the GPU comes last
    order = [words.index(word) for word in ('--mem=2560M', '--mem=9G', '--gres=gpu:1')]
    assert order == sorted(order)
    assert first.count('gpu') == 2

    runner = cluster.make_runner('SLURM', {'sbatch_args': '-p short', 'gpu_sbatch_args': '--gres=gpu:1'})
    node = pe.Node(Function(['x'], ['y'], _increment), 'job', n_procs=3, mem_gb=1.5)
    node.base_dir = '/scratch'
    assert runner._sbatch_args_of(node).split() == [
        '--cpus-per-task=3',
        '--mem=1536M',
        '-o',
        '/scratch/job/batch/slurm-%j.out',
        '-e',
        '/scratch/job/batch/slurm-%j.out',
        '-p',
        'short',
    ]


@pytest.mark.parametrize(
    ('plugin', 'changes', 'message'),
    [
        ('SLURM', {}, None),
        ('SLURM', {'work_dir': None}, 'give a --work-dir'),
        ('SLURM', {'work_dir': Path('/a b')}, 'cannot handle blanks'),
        ('SLURMGraph', {}, 'returns before its jobs have ended.*use SLURM or'),
        ('SGE', {}, 'needs qsub, which is not here'),
        ('Slurm', {}, "no plugin 'Slurm'"),
        ('Linear', {'work_dir': None}, None),
    ],
)
def test_plugins_that_cannot_work_are_refused(queue, config, plugin, changes, message):
    queue()
    work_dir = changes.get('work_dir', config.work_dir)
    if message is None:
        cluster.check_batch(plugin, work_dir)
    else:
        with pytest.raises(UsageError, match=message):
            cluster.check_batch(plugin, work_dir)


def test_the_preflight_asks_for_a_work_dir_and_no_gpu_of_its_own(
    queue, config, ready, make_bids, monkeypatch
):
    queue()
    monkeypatch.setattr(devices, 'cuda_is_available', lambda: False)
    make_bids(['sub-01/anat/sub-01_T1w.nii.gz'])
    with pytest.raises(UsageError, match='give a --work-dir'):
        preflight.preflight(config.replace(work_dir=None))
    assert preflight.preflight(config.replace(device='cuda')).device == 'cuda'
    assert preflight.preflight(config.replace(device='auto')).device == 'cpu'


SUBJECTS = [f'{n:02d}' for n in range(1, 5)]


def test_runs_into_the_same_output_at_the_same_time(make_bids, ready, monkeypatch, tmp_path):
    monkeypatch.setattr('cpmae_bids.workflows.base.init_cpmae_bids_wf', partial(init_wf, seconds=1))
    raw = make_bids(
        [f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in SUBJECTS],
        participants='participant_id\tage\n' + ''.join(f'sub-{label}\t30\n' for label in SUBJECTS),
    )
    command = [str(raw), str(tmp_path / 'out'), 'participant', '--device', 'cpu', '--nprocs', '1']
    command += ['--skip-bids-validation', '--participant-label']
    forks = get_context('fork')  # which have the libraries already
    runs = [forks.Process(target=lambda label=label: sys.exit(main([*command, label]))) for label in SUBJECTS]
    for run in runs:
        run.start()
    for run in runs:
        run.join(300)
    assert [run.exitcode for run in runs] == [0] * len(SUBJECTS)

    out = tmp_path / 'out'
    scans = [f'sub-{label}/anat/sub-{label}_T1w.nii.gz' for label in SUBJECTS]
    assert _first_column(out / 'logs' / 'verdicts.tsv') == scans
    assert _first_column(out / 'participants.tsv') == [f'sub-{label}' for label in SUBJECTS]
    assert {path.name for path in out.glob('sub-*.html')} == {f'sub-{label}.html' for label in SUBJECTS}
    assert len(list(out.rglob('*_desc-refaced_T1w.nii.gz'))) == len(SUBJECTS)
    records = [json.loads(path.read_text()) for path in (out / 'logs' / 'verdicts').glob('*.json')]
    assert {record['status'] for record in records} == {'pass'}
    assert json.loads((out / 'dataset_description.json').read_text())['DatasetType'] == 'derivative'
    assert not list(out.rglob('*.tmp'))
    # Without --seed, the first run settles it for all; each subject has its own
    assert len({record['seed'] for record in records}) == len(SUBJECTS)


def _first_column(path):
    return [line.split('\t')[0] for line in path.read_text().splitlines()[1:]]


def test_the_script_is_there_to_run():
    script = Path(__file__).parents[1] / 'docker' / 'slurm_test.sh'
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(['bash', '-n', script], check=True)
