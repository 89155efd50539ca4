"""No two runs work on one subject in the same work directory."""

import subprocess
import sys

import pytest

from cpmae_bids.cli.claim import claimed
from cpmae_bids.exceptions import UsageError

ELSEWHERE = """
import sys
from pathlib import Path
from cpmae_bids.cli.claim import claimed
with claimed(Path(sys.argv[1]), sys.argv[2:]):
    print('claimed', flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Claim subjects in another process; returns it."""
    started = []

    def start(*subjects):
        process = subprocess.Popen(
            [sys.executable, '-c', ELSEWHERE, str(tmp_path), *subjects],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == 'claimed\n'
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_another_run_on_the_subject_is_refused(tmp_path, elsewhere):
    elsewhere('sub-01', 'sub-02')
    refused = pytest.raises(UsageError, match=r'sub-02 there; give each run a --work-dir')
    with refused, claimed(tmp_path, ['sub-03', 'sub-02']):
        pytest.fail('two runs at once')


def test_runs_on_other_subjects_share_the_folder(tmp_path, elsewhere):
    elsewhere('sub-01')
    elsewhere('sub-02')
    with claimed(tmp_path, ['sub-03', 'sub-03']):
        pass


def test_a_claim_ends_with_its_process(tmp_path, elsewhere):
    process = elsewhere('sub-01')
    process.kill()
    process.wait()
    with claimed(tmp_path, ['sub-01']):
        pass
    elsewhere('sub-01')  # and with its context


def test_a_work_directory_that_vanished_is_made_anew(tmp_path):
    with claimed(tmp_path / 'work', ['sub-01']):
        assert (tmp_path / 'work').is_dir()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with claimed(tmp_path, ['sub-01']):
        assert 'has no locks (No locks available)' in caplog.text
