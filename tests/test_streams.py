"""Standard streams that are closed, full or read no more."""

import subprocess
import sys

import pytest

TELL = """
import contextlib, os, sys
from cpmae_bids.cli.streams import forgiving_streams

@forgiving_streams()
def main():
    with open('result', 'w') as file:
        with contextlib.suppress(OSError):
            os.write(2, b'the message of a library')
        for stream in (sys.stdout, sys.stderr):
            print('x' * 100000, '\\udcff', file=stream, flush=True)
            print('not flushed', file=stream)
        file.write('done')

main()
sys.exit(7)
"""


@pytest.mark.parametrize(
    'streams',
    ['>&- 2>&-', '<&- >&- 2>&-', '2>&-', '>/dev/full 2>&1', '2>/dev/full', '</dev/null', '2>&1 | head -c 1'],
)
def test_work_goes_on_and_says_how_it_ended(tmp_path, streams):
    """The exit code is that of the work, and no message gets into one of its files."""
    command = f'({sys.executable} -c "$TELL" {streams.replace(" | head -c 1", "")}; echo $? > code)'
    command += ' | head -c 1' if '|' in streams else ''
    subprocess.run(
        ['sh', '-c', command],
        cwd=tmp_path,
        env={'TELL': TELL, 'PYTHONPATH': ':'.join(sys.path), 'PATH': '/usr/bin:/bin'},
        capture_output=True,
        check=True,
    )
    assert (tmp_path / 'code').read_text() == '7\n'
    assert (tmp_path / 'result').read_text() == 'done'


def test_messages_arrive(tmp_path):
    run = subprocess.run([sys.executable, '-c', TELL], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 7
    for text in (run.stdout, run.stderr):
        assert text.endswith('\\udcff\nnot flushed\n')


def test_help_for_a_reader_that_stops_early():
    command = f'{sys.executable} -m cpmae_bids --help | head -1'
    run = subprocess.run(['sh', '-c', command], capture_output=True, text=True)
    assert run.stdout.startswith('usage')
    assert run.stderr == ''
