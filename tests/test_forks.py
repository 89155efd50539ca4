"""Steps in forks of a process that has their libraries do what they do in processes of their own."""

import contextlib
import errno
import io
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cpmae_bids.bids.scan import Scan
from cpmae_bids.config import RunConfig
from cpmae_bids.interfaces import process
from cpmae_bids.interfaces.step import Step, StepError
from cpmae_bids.runtime import lifeline
from cpmae_bids.runtime.threads import VARIABLES
from cpmae_bids.steps.conform import conform
from cpmae_bids.steps.skullstrip import skullstrip
from cpmae_bids.workflows.base import init_cpmae_bids_wf
from cpmae_bids.workflows.progress import Progress
from cpmae_bids.workflows.run import run_workflow

ONE_THREAD = dict.fromkeys(VARIABLES, '1')


@pytest.fixture
def loaded():
    with process.libraries_loaded(ONE_THREAD):
        assert process._loaded
        yield
    assert not process._loaded


@pytest.fixture
def scan(make_bids):
    path = make_bids(['sub-01/anat/sub-01_T1w.nii.gz']) / 'sub-01/anat/sub-01_T1w.nii.gz'
    return Scan(path, f'sub-01/anat/{path.name}', '01', None, {'sub': '01'}, {}, 5)


@pytest.fixture
def sleeping(monkeypatch):
    """Skull stripping that never ends."""
    monkeypatch.setattr('cpmae_bids.steps.__main__.call', lambda step, inputs: time.sleep(10000))


def test_the_environment_is_that_of_before_afterwards(monkeypatch):
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    monkeypatch.setenv('MKL_NUM_THREADS', '7')
    before = dict(os.environ)
    with process.libraries_loaded(dict.fromkeys(VARIABLES, '1')):
        assert os.environ['OMP_NUM_THREADS'] == os.environ['MKL_NUM_THREADS'] == '1'
        assert os.environ['CUDA_VISIBLE_DEVICES'] == ''
    assert os.environ == before


# What numpy has loaded before, told by a fork
THREADS = """
import os, sys
import numpy
from threadpoolctl import threadpool_info
from pathlib import Path
from cpmae_bids.interfaces import process
from cpmae_bids.steps import skullstrip

def tell():
    numpy.ones((1500, 1500)) @ numpy.ones((1500, 1500))
    print([pool['num_threads'] for pool in threadpool_info()], len(os.listdir('/proc/self/task')))

skullstrip.skullstrip = tell
process._load = lambda: None
Path('inputs.json').write_text('{}')
with process.libraries_loaded({'OMP_NUM_THREADS': '1'}):
    print(*process.run(['skullstrip', 'inputs.json'], {'OMP_NUM_THREADS': '1'}, Path.cwd()))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='counts threads in /proc')
def test_threads_of_libraries_that_were_loaded_before_are_limited(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment['OPENBLAS_NUM_THREADS'] = '3'
    run = subprocess.run(
        [sys.executable, '-c', THREADS], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    code, pools = run.stdout.split(' ', 1)
    assert code == '0', run.stderr
    assert set(pools[1 : pools.index(']')].split(', ')) == {'1'}
    assert pools[pools.index(']') + 1 :].strip() == '1'


def test_steps_start_anew_where_libraries_cannot_be_loaded(monkeypatch):
    monkeypatch.setattr(process, 'LIBRARIES', ('a_library_that_is_not_there',))
    with process.libraries_loaded(ONE_THREAD):
        assert not process._loaded


def test_a_fork_writes_what_a_new_process_writes(tmp_path, phantom, make_nifti, loaded):
    head, brain = phantom((40, 48, 44))
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    inputs = {
        't1w': make_nifti(tmp_path / 'scan.nii.gz', head, affine=grid),
        'brain_mask': make_nifti(tmp_path / 'mask.nii.gz', brain, affine=grid, dtype=np.uint8),
        'affine': tmp_path / 'affine.txt',
    }
    np.savetxt(inputs['affine'], np.eye(4))
    inputs = {name: str(path) for name, path in inputs.items()}

    def results(folder):
        folder.mkdir()
        found = Step(conform, **inputs).run(cwd=str(folder)).outputs
        return Path(found.brain).read_bytes(), Path(found.head).read_bytes()

    forked = results(tmp_path / 'forked')
    assert os.stat(tmp_path / 'forked' / 'brain.npz').st_mode & 0o077 == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, '_loaded', False)
        assert results(tmp_path / 'anew') == forked


def test_a_bad_input_fails_with_the_words_of_the_step(tmp_path, loaded, capfd):
    scan = tmp_path / "it's; a scan.nii.gz"
    scan.write_bytes(b'this is no NIfTI file')
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger('cpmae_bids').addHandler(handler)
    try:
        with pytest.raises(StepError, match='not a NIfTI') as caught:
            Step(skullstrip, t1w=str(scan)).run(cwd=str(tmp_path))
    finally:
        logging.getLogger('cpmae_bids').removeHandler(handler)
    assert str(scan) in str(caught.value)
    assert '\n' not in str(caught.value)
    assert capfd.readouterr().err == ''


def test_an_unforeseen_error_is_told_in_one_line(tmp_path, loaded, monkeypatch):
    def broken(step, inputs):
        raise ZeroDivisionError('by nothing')

    monkeypatch.setattr('cpmae_bids.steps.__main__.call', broken)
    (tmp_path / 'scan.nii').touch()
    with pytest.raises(StepError, match='skullstrip ended with exit code 1: ZeroDivisionError'):
        Step(skullstrip, t1w=str(tmp_path / 'scan.nii')).run(cwd=str(tmp_path))


def test_a_step_that_cannot_write_says_where_and_what_helps(tmp_path, loaded, monkeypatch):
    def full(step, inputs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('cpmae_bids.steps.__main__.call', full)
    (tmp_path / 'scan.nii').touch()
    with pytest.raises(StepError) as caught:
        Step(skullstrip, t1w=str(tmp_path / 'scan.nii')).run(cwd=str(tmp_path))
    assert str(caught.value).startswith(f'{tmp_path}: ')
    assert 'No space left on device' in str(caught.value)
    assert 'check space' in str(caught.value)


NO_MEMORY = {
    'torch': (lambda torch: torch.empty(2**46), '--nprocs'),
    'numpy': (lambda torch: np.empty(2**46), '--nprocs'),
    'cuda': (
        lambda torch: _raise(torch.OutOfMemoryError('CUDA out of memory')),
        '--n-gpu-procs, or --device cpu',
    ),
}


def _raise(error):
    raise error


@pytest.mark.parametrize(('job', 'remedy'), NO_MEMORY.values(), ids=NO_MEMORY)
def test_a_step_without_memory_says_what_helps(tmp_path, loaded, monkeypatch, job, remedy):
    import torch

    monkeypatch.setattr('cpmae_bids.steps.__main__.call', lambda step, inputs: job(torch))
    (tmp_path / 'scan.nii').touch()
    with pytest.raises(StepError, match=f'^out of memory: use fewer {remedy}$'):
        Step(skullstrip, t1w=str(tmp_path / 'scan.nii')).run(cwd=str(tmp_path))


def test_a_fork_has_threads_folder_and_environment_of_its_node(tmp_path, loaded, monkeypatch):
    import torch

    def tell(step, inputs):
        told = (os.environ[name] for name in ('MKL_NUM_THREADS', lifeline.VARIABLE))
        print(torch.get_num_threads(), os.getcwd(), *told, end='')
        for name in ('brain_mask', 'kept_mask'):
            Path(inputs[name]).touch()

    monkeypatch.setattr('cpmae_bids.steps.__main__.call', tell)
    monkeypatch.setenv(lifeline.VARIABLE, '7')
    (tmp_path / 'scan.nii').touch()
    monkeypatch.chdir(tmp_path)
    Step(skullstrip, t1w=str(tmp_path / 'scan.nii'), num_threads=2).run(cwd=str(tmp_path))
    assert (tmp_path / 'stdout.nipype').read_text() == f'2 {tmp_path} 2 {os.getpid()}'
    assert os.environ[lifeline.VARIABLE] == '7'


def test_a_killed_fork_fails_its_scan_and_nothing_hangs(tmp_path, scan, loaded, sleeping):
    config = RunConfig(
        tmp_path / 'raw', tmp_path / 'out', work_dir=tmp_path / 'work', device='cpu', model_hash='abc'
    )

    class Killer(Progress):
        def __call__(self, node, status):
            super().__call__(node, status)
            if status == 'start':
                subprocess.Popen([sys.executable, '-c', HUNT, str(os.getpid()), 'skullstrip'])

    failures = run_workflow(init_cpmae_bids_wf([scan], config), config, Killer(io.StringIO()))
    assert [(failure.scan, failure.stage) for failure in failures] == [('sub-01_T1w', 'skullstrip')]
    assert 'killed (SIGKILL)' in failures[0].message


# Kills the first process of a name that another is an ancestor of
HUNT = """
import os, signal, sys, time
from pathlib import Path

def of(process):
    name, fields = Path(f'/proc/{process}/stat').read_text().split('(', 1)[1].rsplit(') ', 1)
    return name, int(fields.split()[1])

def descends(process, ancestor):
    while process > 1:
        if process == ancestor:
            return True
        process = of(process)[1]
    return False

end = time.monotonic() + 60
while time.monotonic() < end:
    for path in Path('/proc').glob('[0-9]*'):
        try:
            process = int(path.name)
            if of(process)[0] == sys.argv[2] and descends(process, int(sys.argv[1])):
                os.kill(process, signal.SIGKILL)
                sys.exit()
        except OSError:
            pass
    time.sleep(0.02)
"""


# A worker whose step sleeps, and leaves its number in a file
WORKER = """
import os, time
from pathlib import Path
from cpmae_bids.interfaces import process
from cpmae_bids.runtime import lifeline
from cpmae_bids.steps import skullstrip

def sleep():
    Path('step').write_text(str(os.getpid()))
    time.sleep(10000)

skullstrip.skullstrip = sleep
process._loaded = True
Path('inputs.json').write_text('{}')
environment = {'OMP_NUM_THREADS': '1', lifeline.VARIABLE: str(os.getpid())}
process.run(['skullstrip', 'inputs.json'], environment, Path.cwd())
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux ends what is orphaned')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_fork_ends_with_its_worker(tmp_path, number):
    worker = subprocess.Popen([sys.executable, '-c', WORKER], cwd=tmp_path)
    end = time.monotonic() + 60
    written = tmp_path / 'step'
    while not (written.exists() and written.read_text()):
        assert time.monotonic() < end
        assert worker.poll() is None
        time.sleep(0.05)
    step = int(written.read_text())
    worker.send_signal(number)
    worker.wait()
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.kill(step, 0)
            if Path(f'/proc/{step}/stat').read_text().rpartition(') ')[2].startswith('Z'):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f'{step} is alive')
