"""Faults at every single file operation of the sink: nothing of the scan is left, or all of it."""

import contextlib
import errno
import gzip
import os
import shutil
import sys
import threading
from dataclasses import replace

import pytest

from cpmae_bids.bids.completeness import is_complete
from cpmae_bids.bids.publish import publish_scan, record_failure
from cpmae_bids.bids.verdict_records import identify, read_record
from cpmae_bids.exceptions import CpmaeError

OPERATIONS = ('os.rename', 'os.mkdir', 'os.remove', 'os.link')


class Injector:
    """Raises at the n-th operation on a folder that changes something; is asleep outside of its context."""

    def __init__(self):
        self.folder, self.at, self.count, self.error, self.seen = None, 0, 0, None, []
        sys.addaudithook(self._hook)  # for good: hooks cannot be removed

    def _hook(self, event, arguments):
        if self.folder is None or threading.current_thread() is not threading.main_thread():
            return
        if event == 'open':
            mode, flags = arguments[1], arguments[2] or 0
            if not ((mode and set(str(mode)) & set('wax+')) or flags & (os.O_WRONLY | os.O_RDWR)):
                return
        elif event not in OPERATIONS:
            return
        # A name without a folder is that of a file in an opened folder of the output
        path = arguments[0]
        if isinstance(path, int) or (os.path.isabs(path) and self.folder not in str(path)):
            return
        self.count += 1
        self.seen.append(event)
        # A disk that is full takes no new content, but lets go of files
        if self.count >= self.at and (self.error is not OSError or event != 'os.remove'):
            if self.error is OSError:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.count == self.at:
                raise self.error

    @contextlib.contextmanager
    def at_operation(self, folder, number, error):
        self.folder, self.at, self.count, self.error, self.seen = str(folder), number, 0, error, []
        try:
            yield self
        finally:
            self.folder = None


INJECTOR = Injector()


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize('older', [False, True], ids=['fresh', 'over an older output'])
def test_a_fault_at_each_operation(sink, fault, error, older):
    scan, config, files, verdict, problems = sink
    number, name = (
        1,
        {OSError: 'disk full from', KeyboardInterrupt: 'Ctrl-C', MemoryError: 'out of memory'}[error],
    )
    while True:
        shutil.rmtree(config.output_dir, ignore_errors=True)
        if older:
            publish_scan(scan, config, files, verdict)
        with INJECTOR.at_operation(config.output_dir, number, error) as injected:
            try:
                publish_scan(scan, config, files, verdict)
                raised = None
            except (CpmaeError, KeyboardInterrupt, MemoryError) as caught:
                raised = caught
        if raised is None and injected.count < number:
            break
        there = any(config.output_dir.rglob('*_T1w.nii.gz'))
        complaints = problems()
        if there and not is_complete(scan, config):
            complaints.append('RECORD an image is there that is not complete')
        where = 'over an older output' if older else 'fresh'
        what = f'{name} file operation {number} of the sink ({injected.seen[number - 1]}), {where}'
        kind = 'disk full' if error is OSError else 'stopped in the sink'
        fault(kind, what, 'whole' if there else 'nothing', complaints)
        number += 1
    assert number > 15
    publish_scan(scan, config, files, verdict)
    assert is_complete(scan, config)


@pytest.mark.parametrize('kind', ['refaced', 'defacemask', 'brainmask'])
def test_a_file_changed_after_it_was_judged(sink, fault, kind):
    scan, config, files, verdict, problems = sink
    files[kind].write_bytes(gzip.compress(gzip.decompress(scan.path.read_bytes()), mtime=0))
    with pytest.raises(CpmaeError, match='not what was checked'):
        publish_scan(scan, config, files, verdict)
    assert not any(config.output_dir.rglob('*.nii.gz'))
    fault(
        'work folder', f'the original in place of the {kind} between verdict and sink', 'refused', problems()
    )


def test_a_verdict_that_says_nothing_of_files(sink, fault):
    scan, config, files, verdict, problems = sink
    del verdict['judged']
    with pytest.raises(CpmaeError, match='not what was checked'):
        publish_scan(scan, config, files, verdict)
    fault('work folder', 'a verdict that is tied to no file', 'refused', problems())


def test_an_input_that_changes(sink, fault):
    scan, config, files, verdict, problems = sink
    content = scan.path.read_bytes()
    for what, tampered in (('verdict', {'source_crc32': '00000000'}), ('scan', {})):
        changed = scan if what == 'verdict' else replace(scan, crc32='00000000')
        with pytest.raises(CpmaeError, match='changed while it was processed'):
            publish_scan(changed, config, files, {**verdict, **tampered})
        when = 'before the verdict' if what == 'scan' else 'after the verdict'
        fault('input', f'the input is another one {when}', 'refused', problems())
    scan.path.unlink()
    with pytest.raises(CpmaeError, match='cannot be read any more'):
        publish_scan(scan, config, files, verdict)
    scan.path.write_bytes(content)
    fault('input', 'the input is gone before the sink', 'refused', problems())


def test_an_output_folder_that_leads_into_the_input(sink, fault):
    scan, config, files, verdict, problems = sink
    config.output_dir.mkdir()
    (config.output_dir / 'sub-01').symlink_to(config.bids_dir / 'sub-01')
    with pytest.raises(CpmaeError, match='link into the input'):
        publish_scan(scan, config, files, verdict)
    # The checker does not take to the link itself
    complaints = [line for line in problems() if line.startswith('INPUT')]
    fault('output', 'a folder of the output is a link into the input', 'refused', complaints)


def test_links_in_the_output_are_replaced_and_not_followed(sink, fault):
    scan, config, files, verdict, problems = sink
    target = config.output_dir / 'sub-01/anat/sub-01_desc-refaced_T1w.nii.gz'
    target.parent.mkdir(parents=True)
    target.symlink_to(scan.path)
    publish_scan(scan, config, files, verdict)
    assert not target.is_symlink()
    fault('output', 'the name of an output is a link to the input', 'replaced', problems())


def test_two_sinks_of_one_scan_at_a_time(sink, fault):
    """Whoever comes last has written all of it; with other settings, too."""
    scan, config, files, verdict, problems = sink
    other = {
        'defacemask': files['defacemask'],
        'brainmask': files['brainmask'],
        'refaced': files['brainmask'],
    }
    calls = [
        (scan, config, files, verdict),
        (replace(scan, seed=2), config, other, {**verdict, **identify(scan.path, other)}),
        (scan, config, files, {**verdict, 'status': 'fail', 'reasons': ['x']}),
    ]
    errors = []

    def work(call):
        for _ in range(8):
            try:
                publish_scan(*call)
            except Exception as error:
                errors.append(f'RACE {error}')

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    complaints = [*problems(), *errors]
    record = read_record(config.output_dir, scan.name)
    if (record['status'] == 'pass') != bool(list(config.output_dir.rglob('*_T1w.nii.gz'))):
        complaints.append('RECORD image and record contradict each other')
    fault('two runs', 'three sinks publish and withdraw one scan at the same time', 'consistent', complaints)


def test_failures_are_recorded_whatever_is_in_the_way(sink, fault):
    scan, config, files, verdict, problems = sink
    publish_scan(scan, config, files, verdict)
    record_failure(scan, config, 'the step\nbroke in /x \x1b[31m')
    assert not any(config.output_dir.rglob('*.nii.gz'))
    fault('output', 'a failure after a success', 'withdrawn', problems())
    publish_scan(scan, config, files, verdict)
    path = config.output_dir / 'logs/verdicts/sub-01_T1w.json'
    for text in (
        '',
        '{',
        '[' * 100000,
        'null',
        '{"status": "pass", "files": {"../../raw/README": "x"}}',
        '\0',
    ):
        path.write_text(text)
        assert not is_complete(scan, config)
    fault(
        'output',
        'records that are damaged',
        'done again',
        [x for x in problems() if x[:4] in ('LEAK', 'INPU')],
    )
    record_failure(scan, config, 'once more')
    assert problems() == []
