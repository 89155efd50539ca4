"""Temporary folders of originals are gone after a run, and after the next one if that was killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cpmae_bids.runtime import scratch

KILLED = """
import os, signal, sys
from cpmae_bids.runtime import scratch
folder = scratch.make()
(folder / 'head.npz').write_bytes(b'an original')
if sys.argv[1:]:
    (folder / 'crash' / 'run-1').mkdir(parents=True)
    (folder / 'crash' / 'run-1' / 'crash-1.txt').write_text('why')
print(folder, flush=True)
sys.stdin.read(1)
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    return tmp_path


def start(*arguments):
    process = subprocess.Popen(
        [sys.executable, '-c', KILLED, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_the_folder_of_a_killed_run_is_swept_and_that_of_a_living_one_is_not(temporary):
    process, folder = start()
    assert folder.parent == temporary
    scratch.sweep()
    assert (folder / 'head.npz').exists()
    kill(process)
    scratch.sweep()
    assert not folder.exists()


def test_crash_files_outlive_the_sweep_and_originals_beside_them_do_not(temporary):
    process, folder = start('crash')
    kill(process)
    scratch.sweep()
    assert [path.name for path in folder.iterdir()] == ['crash']
    assert (folder / 'crash/run-1/crash-1.txt').exists()


def test_folders_of_this_process_and_of_others_stay(temporary):
    with scratch.made() as folder:
        scratch.sweep()
        assert folder.is_dir()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    (temporary / 'cpmae-bids-new').mkdir()  # of a run that begins at this moment
    (temporary / 'cpmae-bids-file').touch()
    (temporary / 'elsewhere').mkdir()
    (temporary / 'cpmae-bids-link').symlink_to('elsewhere')
    scratch.sweep()
    assert sorted(path.name for path in temporary.iterdir()) == [
        *('cpmae-bids-file', 'cpmae-bids-link', 'cpmae-bids-new', 'elsewhere'),
    ]


def test_what_an_earlier_version_has_left_goes_after_days(temporary):
    folder = temporary / 'cpmae-bids-old'
    folder.mkdir()
    (folder / 'head.npz').write_bytes(b'an original')
    os.utime(folder, (time.time() - 5 * 86400,) * 2)
    scratch.sweep()
    assert not folder.exists()
