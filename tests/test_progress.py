"""Progress lines, with a clock that the tests move."""

import io
from types import SimpleNamespace

import pytest
from nipype.pipeline import engine as pe

from cpmae_bids.workflows.progress import Progress, node_name, scan_and_stage

SCAN_WF = 'cpmae_bids_wf.sub-01_wf.sub-01_ses-2_T1w_wf'


def node(stage, part='reface_wf', run_without_submitting=False):
    return SimpleNamespace(
        fullname=f'{SCAN_WF}.{part}.{stage}', run_without_submitting=run_without_submitting
    )


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_names():
    assert scan_and_stage(f'{SCAN_WF}.reface_wf.blend') == ('sub-01_ses-2_T1w', 'blend')
    assert scan_and_stage('other_wf.summary') == ('', 'summary')


@pytest.mark.parametrize(
    'label', ['a+b', 'a b', 'a;b', 'a.b', 'a-b', 'a-2b-b', 'a-2b+', 'a+2b-', 'a++b', 'é']
)
def test_a_label_is_told_as_it_is(label):
    name = f'sub-1_acq-{label}_T1w'
    pe.Workflow(name=node_name(name))
    assert scan_and_stage(f'cpmae_bids_wf.sub-1_wf.{node_name(name)}_wf.reface_wf.blend') == (name, 'blend')


def test_a_label_writes_one_line_and_no_commands_for_the_terminal(clock):
    log = io.StringIO()
    name = node_name('sub-1_acq-a\n\x1b[2J_T1w')
    odd = SimpleNamespace(fullname=f'w.sub-1_wf.{name}_wf.reface_wf.blend', run_without_submitting=False)
    Progress(log, clock)(odd, 'exception')
    assert log.getvalue() == '[sub-1_acq-a\\n\\x1b[2J_T1w] blend ... FAILED\n'


@pytest.mark.parametrize(
    ('published', 'says'), [(['an.nii.gz'], 'done'), ([], 'NOT PUBLISHED, did not pass')]
)
def test_a_scan_that_did_not_pass_is_told_at_once(clock, published, says):
    log = io.StringIO()
    sink = node('sink', 'outputs_wf', run_without_submitting=True)
    sink.result = SimpleNamespace(outputs=SimpleNamespace(published=published))
    Progress(log, clock)(sink, 'end')
    assert log.getvalue() == f'[sub-01_ses-2_T1w] sink ... {says}\n'


def test_a_log_gets_one_plain_line_for_each_stage(clock):
    log = io.StringIO()
    progress = Progress(log, clock)
    progress(node('remodel'), 'start')
    progress(node('encode_head'), 'start')
    clock.now = 12.34
    progress(node('remodel'), 'end')
    clock.now = 15
    progress(node('encode_head'), 'exception')
    progress.close()
    assert log.getvalue() == (
        '[sub-01_ses-2_T1w] remodel ... 12.3 s\n[sub-01_ses-2_T1w] encode_head ... FAILED after 15.0 s\n'
    )


def test_a_terminal_also_shows_what_is_running(clock):
    terminal = Terminal()
    progress = Progress(terminal, clock)
    progress(node('remodel'), 'start')
    assert terminal.getvalue().endswith('sub-01_ses-2_T1w remodel')
    progress(node('remodel'), 'end')
    assert '[sub-01_ses-2_T1w] remodel ... 0.0 s\n' in terminal.getvalue()
    progress(node('decode_head'), 'start')
    progress.close()
    last_line = terminal.getvalue().rpartition('\n')[2]
    assert last_line.rpartition('\x1b[K')[2] == ''  # cleared at the end


def test_stages_that_were_not_started(clock):
    log = io.StringIO()
    progress = Progress(log, clock)
    progress(node('skullstrip'), 'end')
    progress(node('sink', 'outputs_wf', run_without_submitting=True), 'end')
    assert log.getvalue() == (
        '[sub-01_ses-2_T1w] skullstrip ... found in the work folder\n[sub-01_ses-2_T1w] sink ... done\n'
    )


def test_what_a_failure_skips_is_not_reported(clock):
    log = io.StringIO()
    progress = Progress(log, clock)
    progress(node('skullstrip'), 'start')
    progress(node('skullstrip'), 'exception')
    progress(node('register'), 'end')
    assert 'register' not in log.getvalue()
