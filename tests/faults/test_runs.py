"""Whole runs in which something goes wrong: what they leave, and whether the next one finishes.

Workflow, processes, sink, tables and pages are the real ones; the steps take ready-made results (`driver`).
"""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from invariants import snapshot

pytestmark = pytest.mark.slow
exhaustive = pytest.mark.exhaustive
STEPS = ('skullstrip', 'register', 'conform', 'encode', 'remodel', 'decode', 'blend', 'verdict', 'report')
BOTH = ['sub-01_desc-refaced_T1w.nii.gz', 'sub-02_desc-refaced_T1w.nii.gz']
ONE = '--participant-label', '01'


def finish(command, *options) -> list[str]:
    """Run again without a fault: everything has to be there then."""
    for flag in command.flags.glob('*'):
        flag.unlink()
    code = command.run(*options)
    complaints = command.problems(code, (0,), validate=True)
    wanted = BOTH[:1] if options else BOTH
    if command.images() != wanted:
        complaints.append(f'LOST {command.images()} after resuming')
    return complaints


def test_kill_9_of_the_run_while_a_step_works(command, fault):
    process = command.start(*ONE, steps='decode=sleep')
    command.wait_for('decode')
    process.kill()
    code = command.wait(process)
    complaints = command.problems(code, (-9,), killed=True)
    fault('kill -9 main', 'main process, during decode', 'resumed', complaints + finish(command, *ONE))


@pytest.mark.parametrize(
    ('step', 'number'),
    [
        ('skullstrip', signal.SIGTERM),
        ('skullstrip', signal.SIGINT),
        pytest.param('register', signal.SIGINT, marks=exhaustive),
        pytest.param('blend', signal.SIGTERM, marks=exhaustive),
        pytest.param('report', signal.SIGINT, marks=exhaustive),
    ],
)
def test_a_signal_ends_the_run_within_seconds(command, fault, step, number):
    process = command.start(*ONE, steps=f'{step}=sleep', work=False)
    command.wait_for(step)
    began = time.monotonic()
    if number == signal.SIGINT and step == 'skullstrip':  # a terminal tells all processes of the group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code = command.wait(process, 60)
    took = time.monotonic() - began
    complaints = command.problems(code, (130,))
    complaints += [f'SLOW {took:.0f} s'] if took > 10 else []
    complaints += [f'LEAK {path} was left' for path in command.folder.glob('cpmae-bids-*')]
    fault('signals', f'{number.name} during {step}', f'ended after {took:.1f} s', complaints)


def test_kill_9_of_a_worker_fails_its_scan_and_not_the_run(command, fault):
    """Nipype itself would wait for ever."""
    process = command.start(*ONE, steps='register=sleep')
    step = command.wait_for('register')
    worker = int(Path(f'/proc/{step}/stat').read_text().rpartition(') ')[2].split()[1])
    assert worker != process.pid
    os.kill(worker, signal.SIGKILL)
    code = command.wait(process)
    complaints = command.problems(code, (1,))
    log = command.log.read_text()
    complaints += [] if 'its worker was killed' in log else [f'UNCLEAR {log[-500:]}']
    fault(
        'kill -9 node',
        'worker of the pool, during register',
        'failed, then resumed',
        complaints + finish(command, *ONE),
    )


@pytest.mark.parametrize(
    'step',
    ['skullstrip', *(pytest.param(step, marks=exhaustive) for step in ('conform', 'verdict', 'report'))],
)
def test_a_scan_that_breaks_costs_no_other(command, fault, step):
    """Scans side by side, and intermediate files that are removed as soon as nobody needs them."""
    side_by_side = '--nprocs', '2', '--omp-nthreads', '1'
    code = command.run(*side_by_side, steps=f'{step}@sub-02=full', work=False)
    complaints = command.problems(code, (1,))
    complaints += [] if command.images() == BOTH[:1] else [f'LOST {command.images()}']
    record = (command.out / 'logs/verdicts/sub-02_T1w.json').read_text()
    complaints += [] if f'{step}: ' in record else [f'UNCLEAR {record}']
    fault(
        'steps', f'{step} of one of two scans breaks', 'the other one is done', complaints + finish(command)
    )


def test_another_contrast_that_breaks_costs_no_t1w(command, fault):
    for label in ('01', '02'):
        t1w = command.raw / f'sub-{label}/anat/sub-{label}_T1w.nii.gz'
        shutil.copy(t1w, t1w.with_name(f'sub-{label}_T2w.nii.gz'))
    command.before = snapshot(command.raw)
    options = '--nprocs', '2', '--omp-nthreads', '1', '--also', 'T2w'
    code = command.run(*options, steps='locate@sub-02=full', work=False)
    complaints = command.problems(code, (1,))
    images = sorted(path.name for path in command.out.rglob('*_desc-refaced_T*.nii.gz'))
    wanted = [BOTH[0], 'sub-01_desc-refaced_T2w.nii.gz', BOTH[1]]
    complaints += [] if images == wanted else [f'LOST {images}']
    fault('steps', 'another contrast breaks', 'all others are done', complaints)


@exhaustive
@pytest.mark.parametrize(
    ('step', 'what'),
    [
        *((step, 'half') for step in STEPS),
        *((step, 'memory') for step in ('skullstrip', 'remodel', 'decode')),
        *((step, 'full') for step in ('conform', 'blend')),
        *((step, 'nothing') for step in ('encode', 'verdict')),
        ('register', 'kill'),
    ],
)
def test_a_step_that_breaks(command, fault, step, what):
    kind = {'kill': 'kill -9 node', 'half': 'kill -9 node', 'memory': 'out of memory', 'full': 'disk full'}
    code = command.run(*ONE, steps=f'{step}={what}')
    complaints = command.problems(code, (1,))
    if command.images():
        complaints.append('LEAK an image of a scan whose step broke')
    words = {
        'kill': 'killed, before it writes',
        'half': 'killed, its results half written',
        'memory': 'takes more memory than there is',
        'full': 'finds the disk full',
        'nothing': 'ends well without results',
    }
    complaints += finish(command, *ONE)
    fault(kind.get(what, 'steps'), f'{step} {words[what]}', 'failed, then resumed', complaints)


@exhaustive
@pytest.mark.parametrize('seed', range(5))
def test_kill_9_of_the_run_at_a_random_time(command, fault, seed):
    wait = random.Random(seed).uniform(0.1, 6)
    process = command.start()
    time.sleep(wait)
    process.kill()
    code = command.wait(process)
    complaints = command.problems(code, (-9, 0), killed=True)
    fault('kill -9 main', f'main process, after {wait:.1f} s', 'resumed', complaints + finish(command))


@exhaustive
@pytest.mark.parametrize('step', ['encode', 'blend', 'verdict', 'report'])
def test_kill_9_of_the_run_in_a_step(command, fault, step):
    process = command.start(*ONE, steps=f'{step}=sleep')
    command.wait_for(step)
    os.kill(process.pid, signal.SIGKILL)
    code = command.wait(process)
    complaints = command.problems(code, (-9,), killed=True)
    fault('kill -9 main', f'main process, during {step}', 'resumed', complaints + finish(command, *ONE))


@exhaustive
@pytest.mark.parametrize('main', ['fsize=40000', 'fsize=3000', 'fsize=0'])
def test_a_quota_on_the_size_of_files(command, fault, main):
    code = command.run(*ONE, main=main)
    complaints = command.problems(code, (1, 64))
    complaints += ['LEAK an image that did not fit'] if command.images() else []
    fault(
        'disk full',
        f'quota: no file over {main[6:]} bytes',
        'failed, then resumed',
        complaints + finish(command, *ONE),
    )


@exhaustive
@pytest.mark.parametrize(
    'word',
    [
        'dataset_description', 'config.toml', 'verdicts.tsv', 'logs/verdicts/', '.lock', 'figures/',
        'participants.tsv', '.html', 'out/', 'work/',
    ],
)  # fmt: skip
def test_a_disk_that_is_full_at_one_file(command, fault, word):
    code = command.run(*ONE, main=f'full={word}')
    complaints = command.problems(code, (1, 64))
    fault('disk full', f'at {word}', 'failed, then resumed', complaints + finish(command, *ONE))


@exhaustive
def test_a_small_file_system(command, fault):
    """A real disk that fills: room for the pages, and not for the images."""
    command.out.mkdir()
    if os.system(f'mount -t tmpfs -o size=160k none {command.out} 2>/dev/null'):
        pytest.skip('no file system can be mounted here')
    try:
        code = command.run(*ONE)
        complaints = command.problems(code, (1, 64))
        complaints += ['LEAK an image that did not fit'] if command.images() else []
    finally:
        os.system(f'umount {command.out}')
    fault(
        'disk full',
        'a file system of 160 KiB as output',
        'failed, then resumed',
        complaints + finish(command, *ONE),
    )


@exhaustive
@pytest.mark.parametrize(
    ('step', 'what'),
    [('remodel', 'work'), ('verdict', 'out'), ('remodel', 'input'), ('verdict', 'input'), ('blend', 'node')],
)
def test_folders_and_files_that_vanish(command, fault, step, what):
    scan = command.raw / 'sub-01/anat/sub-01_T1w.nii.gz'
    content = scan.read_bytes()
    path = {'work': command.work, 'out': command.out, 'input': scan, 'node': command.work / 'cpmae_bids_wf'}[
        what
    ]
    code = command.run(steps=f'{step}=remove:{path}')
    scan.write_bytes(content)
    complaints = command.problems(code, (0, 1) if what == 'out' else (1,))
    name = {'work': 'work folder', 'out': 'output folder', 'input': 'scan', 'node': "nodes' folders"}[what]
    fault('vanishing', f'{name} removed during {step}', 'failed, then resumed', complaints + finish(command))


@exhaustive
@pytest.mark.parametrize('step', ['skullstrip', 'verdict', 'report'])
def test_an_input_that_is_written_to_meanwhile(command, fault, step):
    scan = command.raw / 'sub-01/anat/sub-01_T1w.nii.gz'
    content = scan.read_bytes()
    code = command.run(*ONE, steps=f'{step}=swap:{scan}')
    scan.write_bytes(content)
    complaints = command.problems(code, (1,))
    complaints += ['LEAK an image of two inputs'] if command.images() else []
    fault('input', f'scan changed during {step}', 'failed, then resumed', complaints + finish(command, *ONE))


@exhaustive
@pytest.mark.parametrize('temporary', [False, True])
def test_the_work_folder_vanishes_between_scans(command, fault, temporary):
    process = command.start(work=not temporary)
    end = time.monotonic() + 200
    while not command.images() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    for folder in [command.work, *command.folder.glob('cpmae-bids-*')]:
        shutil.rmtree(folder, ignore_errors=True)
    code = command.wait(process)
    complaints = command.problems(code, (0, 1))
    what = f'{"temporary " if temporary else ""}work folder removed between two scans'
    fault('vanishing', what, 'resumed', complaints + finish(command))


@exhaustive
def test_two_runs_on_one_output(command, fault):
    first = command.start()
    second = command.start('-w', str(command.folder / 'second'), work=False)
    codes = [command.wait(first), command.wait(second)]
    complaints = command.problems(max(codes), (0,), validate=True)
    complaints += [] if command.images() == BOTH else [f'LOST {command.images()}']
    fault('two runs', 'the same scans into the same output', 'both finished', complaints)


@exhaustive
def test_two_runs_with_different_seeds(command, fault):
    runs = [command.start('--seed', str(n), '-w', str(command.folder / f'w{n}'), work=False) for n in (1, 2)]
    codes = [command.wait(run) for run in runs]
    complaints = command.problems(max(codes), (0,), validate=True)
    complaints += [] if command.images() == BOTH else [f'LOST {command.images()}']
    fault('two runs', 'different seeds into the same output', 'consistent', complaints)


@exhaustive
def test_two_runs_of_one_subject_each(command, fault):
    """As array jobs of a cluster do."""
    labels = ('01', '02')
    runs = [
        command.start('--participant-label', label, '-w', str(command.folder / label), work=False)
        for label in labels
    ]
    codes = [command.wait(run) for run in runs]
    complaints = command.problems(max(codes), (0,), validate=True)
    table = (command.out / 'logs/verdicts.tsv').read_text()
    complaints += [f'LOST sub-{label} in the tables' for label in labels if f'sub-{label}/' not in table]
    people = (command.out / 'participants.tsv').read_text()
    complaints += [
        f'LOST sub-{label} in participants.tsv' for label in labels if f'sub-{label}' not in people
    ]
    fault('two runs', 'one subject each into the same output', 'both finished', complaints)


@exhaustive
def test_two_runs_in_one_work_folder(command, fault):
    runs = [command.start(), command.start()]
    codes = [command.wait(run) for run in runs]
    complaints = command.problems(min(codes), (0,)) + command.problems(max(codes), (64,))
    fault('two runs', 'the same work folder and output', 'one refused', complaints + finish(command))


@exhaustive
@pytest.mark.parametrize(('seconds', 'codes'), [(86400, (0,)), (15 * 10**8, (0,)), (3 * 10**9, (0, 1))])
def test_a_clock_that_jumps(command, fault, seconds, codes):
    """Before 1970 and after 2105 gzip has no dates, and nipype no files for steps: nothing is published."""
    code = command.run(main=f'clock={seconds}')
    complaints = command.problems(code, codes, validate=True)
    result = 'finished' if codes == (0,) else 'finished or failed'
    fault('clock', f'jumps by {seconds} s, back and forth', result, complaints)


@exhaustive
def test_dates_of_another_century(command, fault):
    complaints = finish(command)
    first = snapshot(command.out / 'sub-01')
    for stamp in (0, 2**32):
        for folder in (command.raw, command.out, command.work):
            for path in folder.rglob('*'):
                os.utime(path, (stamp, stamp), follow_symlinks=False)
        complaints += finish(command)
    complaints += [] if snapshot(command.out / 'sub-01') == first else ['LOST outputs changed']
    fault('clock', 'all files are from 1970, then from 2106', 'nothing done again', complaints)


@exhaustive
@pytest.mark.parametrize(
    'environment',
    [
        {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'},
        {'LC_ALL': 'tr_TR.UTF-8', 'LANG': 'tr_TR.UTF-8'},
        {'LC_ALL': 'de_DE.ISO-8859-1', 'PYTHONIOENCODING': 'ascii'},
        {'LC_ALL': 'nonsense', 'LANGUAGE': 'x', 'TZ': 'Nowhere/Nothing'},
    ],
    ids=lambda environment: environment['LC_ALL'],
)
def test_other_locales(command, fault, environment):
    code = command.run(**environment)
    complaints = command.problems(code, (0,), validate=True)
    fault('locale', ' '.join(f'{k}={v}' for k, v in environment.items()), 'finished', complaints)


@exhaustive
@pytest.mark.parametrize(
    'name',
    [
        'sub-01_acq-a b_T1w.nii.gz', 'sub-01_acq-ünïcødé_T1w.nii.gz', 'sub-01_acq-日本_T1w.nii.gz',
        'sub-01_acq-.._T1w.nii.gz', 'sub-01_acq-$(touch PWNED)_T1w.nii.gz',
        'sub-01_acq-a;touch PWNED;_T1w.nii.gz', "sub-01_acq-'\"`_T1w.nii.gz",
        'sub-01_acq-<script>_T1w.nii.gz', os.fsdecode(b'sub-01_acq-\xff\xfe_T1w.nii.gz'),
    ],
    ids=ascii,
)  # fmt: skip
def test_names(command, fault, name):
    """The other subject is done, or one line says what to rename, before any work."""
    scan = command.raw / 'sub-01/anat/sub-01_T1w.nii.gz'
    scan.rename(scan.with_name(name))
    command.before = snapshot(command.raw)
    code = command.run()
    complaints = command.problems(code, (0, 1), patience=2)
    if BOTH[1] not in command.images() and 'rename the file' not in command.log.read_text():
        complaints.append('LOST the other subject was not done')
    complaints += [f'SHELL {path}' for path in command.folder.rglob('PWNED')]
    fault('names', ascii(name), f'exit code {code}', complaints)


@exhaustive
@pytest.mark.parametrize('folder', ['sub-..', 'sub-$(touch PWNED)'])
def test_names_of_subjects(command, fault, folder):
    (command.raw / 'sub-01').rename(command.raw / folder)
    anat = command.raw / folder / 'anat'
    (anat / 'sub-01_T1w.nii.gz').rename(anat / f'{folder}_T1w.nii.gz')
    command.before = snapshot(command.raw)
    code = command.run()
    complaints = command.problems(code, (0, 1), patience=2)
    complaints += [] if BOTH[1] in command.images() else ['LOST the other subject was not done']
    complaints += [f'SHELL {path}' for path in command.folder.rglob('PWNED')]
    known = {'raw', 'out', 'work', 'flags'}
    outside = {path.name for path in command.folder.iterdir() if not path.name.startswith('log-')} - known
    complaints += [f'OUTSIDE {name}' for name in outside]
    fault('names', f'subject folder {folder!r}', f'exit code {code}', complaints)


@exhaustive
@pytest.mark.parametrize(
    'where', ['/etc/passwd', '../../../outside.nii.gz', 'sub-01_T1w.nii.gz', '/dev/zero', '/dev']
)
def test_links_out_of_the_dataset(command, fault, where):
    scan = command.raw / 'sub-01/anat/sub-01_T1w.nii.gz'
    shutil.copy(scan, command.raw.parent / 'outside.nii.gz')
    scan.unlink()
    scan.symlink_to(where)
    command.before = snapshot(command.raw)
    code = command.run()
    complaints = command.problems(code, (0, 1))
    complaints += [] if BOTH[1] in command.images() else ['LOST the other subject was not done']
    fault('links', f'scan is a link to {where}', f'exit code {code}', complaints)


@exhaustive
def test_a_subject_that_is_a_link_out_of_the_dataset(command, fault):
    (command.raw / 'sub-01').rename(command.folder / 'elsewhere')
    (command.raw / 'sub-01').symlink_to(command.folder / 'elsewhere')
    command.before = snapshot(command.raw)
    before = snapshot(command.folder / 'elsewhere')
    complaints = finish(command)
    complaints += (
        [] if snapshot(command.folder / 'elsewhere') == before else ['INPUT changed behind the link']
    )
    fault('links', 'subject is a link out of the dataset', 'finished', complaints)


@exhaustive
@pytest.mark.parametrize(
    'what', ['truncated', 'one bit', 'missing', 'registry nested', 'registry points elsewhere']
)
def test_weights_that_are_damaged(command, fault, what):
    from cpmae_bids.models.weights import PACKAGED

    weights = command.folder / 'weights'
    shutil.copytree(PACKAGED, weights)
    path, registry = weights / 'brain.safetensors', weights / 'weights.json'
    if what == 'truncated':
        path.write_bytes(path.read_bytes()[:-100])
    elif what == 'one bit':
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif what == 'missing':
        path.unlink()
    elif what == 'registry nested':
        registry.write_text('[' * 100000)
    else:
        registry.write_text(registry.read_text().replace('brain.safetensors', '../../../../etc/passwd'))
    code = command.run('--weights', str(weights))
    complaints = command.problems(code, (64,))
    complaints += ['LEAK something was written'] if command.images() else []
    fault('weights', what, 'refused before any work', complaints + finish(command, *ONE))
