"""Work that the threads of a step share."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import phantom
import pytest
from scipy import ndimage

from cpmae_bids.deid.space import geometry
from cpmae_bids.runtime import threads


def test_results_come_in_the_order_of_the_items(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, '3')
    assert threads.each(lambda item: item**2, range(20)) == [item**2 for item in range(20)]


def test_as_many_jobs_run_at_a_time_as_there_are_threads(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, '2')
    both = threading.Barrier(2, timeout=60)
    assert sorted(threads.each(lambda item: both.wait(), range(4))) == [0, 0, 1, 1]


def test_different_jobs_run_side_by_side_and_keep_their_order(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, '2')
    both = threading.Barrier(2, timeout=60)
    assert threads.together(lambda: both.wait() * 0 + 1, lambda: both.wait() * 0 + 2, lambda: 3) == [1, 2, 3]


@pytest.mark.parametrize('asked', ['', '4,2', '0', None])
def test_without_a_number_there_is_one_thread(monkeypatch, asked):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    if asked is not None:
        monkeypatch.setenv(threads.VARIABLE, asked)
    at_work = threading.Semaphore(1)

    def alone(item):
        assert at_work.acquire(blocking=False)
        threading.Event().wait(0.01)
        at_work.release()
        return item

    assert threads.each(alone, 'abcd') == list('abcd')


def test_a_job_that_fails_fails_the_step(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, '2')
    with pytest.raises(ZeroDivisionError):
        threads.each(lambda item: 1 / item, [1, 0, 1])


@pytest.mark.parametrize('order', [0, 1, 3])
@pytest.mark.parametrize('asked', ['1', '3'])
def test_resampling_in_slabs_is_resampling_at_once(monkeypatch, order, asked):
    monkeypatch.setenv(threads.VARIABLE, asked)
    data = np.random.default_rng(1).random((31, 28, 25), np.float32)
    matrix = np.eye(4)
    matrix[:3, :3] = 0.7 * phantom.rotation_matrix(9, -14, 21)
    matrix[:3, 3] = [3.3, -1.7, 4.1]
    at_once = ndimage.affine_transform(
        data, matrix[:3, :3], matrix[:3, 3], (45, 33, 29), np.float32, order, 'constant'
    )
    in_slabs = geometry.resample(data, matrix, (45, 33, 29), order=order)
    assert np.abs(in_slabs - at_once).max() < 1e-5


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux ends them')
def test_workers_end_with_a_process_that_is_killed():
    """They hold images, and would wait for ever."""
    code = (
        'import sys, time\nfrom cpmae_bids.runtime.pool import workers\n'
        'with workers(2) as each: results = each(time.sleep, [60, 60]); print(flush=True); list(results)'
    )
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        process.kill()
    assert len(children) == 2

    def works(child):
        try:
            return Path(f'/proc/{child}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
        except (FileNotFoundError, ProcessLookupError):
            return False

    end = time.monotonic() + 10
    while any(map(works, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(works, children))


@pytest.mark.skipif(sys.platform != 'linux', reason='the kernel of Linux ends them')
def test_a_worker_of_a_process_that_was_killed_before_it_began_ends():
    """The process is still listed: nobody has asked for its exit code yet."""
    with subprocess.Popen([sys.executable, '-c', ''], stdout=subprocess.PIPE) as ended:
        ended.stdout.read()
        while Path(f'/proc/{ended.pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z':
            time.sleep(0.01)
        for parent, code in ((ended.pid, 1), (os.getpid(), 0)):
            command = f'from cpmae_bids.runtime.lifeline import end_with_parent as end; end({parent})'
            assert subprocess.run([sys.executable, '-c', command]).returncode == code


def test_workers_end_by_an_interrupt_without_a_word():
    """A terminal sends it to all of them, those that wait for work included."""
    code = (
        'import signal, time\nfrom cpmae_bids.runtime.pool import workers\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'
        'with workers(2) as each:\n    results = each(time.sleep, [60])\n    print(flush=True)\n'
        '    try: list(results)\n    except KeyboardInterrupt: print("interrupted")'
    )
    streams = {'stdout': subprocess.PIPE, 'stderr': subprocess.STDOUT}
    with subprocess.Popen([sys.executable, '-c', code], start_new_session=True, **streams) as process:
        process.stdout.readline()
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30)[0].decode() == 'interrupted\n'
