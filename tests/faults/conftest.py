"""A small head and its results, the command with ready-made steps, and a note of each fault."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import driver
import numpy as np
import phantom as synthetic
import pytest
from invariants import RIM_MM, check, processes, snapshot
from scipy import ndimage

from cpmae_bids.bids.atomic import crc32_of
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.verdict_records import identify
from cpmae_bids.config import RunConfig
from cpmae_bids.deid.images import nifti

VOXEL = 4.0
SUBJECTS = ('01', '02')


@pytest.fixture
def fault(request):
    """Return ``fault(kind, what, result, complaints=())``: notes a fault for the report, then asserts."""

    def note(kind: str, what: str, result: str, complaints=()) -> None:
        entry = {'kind': kind, 'fault': what, 'result': result, 'complaints': list(complaints)}
        request.node.user_properties.append(('fault', entry))
        assert not complaints, f'{what}: {complaints}'

    return note


@pytest.fixture(scope='session')
def small_head(tmp_path_factory):
    """A head at 4 mm, and what the steps would make of it: folder, and the true brain."""
    folder = tmp_path_factory.mktemp('small-head')
    shape, affine = synthetic.grid((VOXEL,) * 3)
    original, brain = synthetic.head(shape, affine, person=0)
    other, _ = synthetic.head(shape, affine, person=1)
    t1w = synthetic.write(folder / 't1w.nii.gz', original, affine)
    scan = nifti.read(t1w)
    kept = ndimage.distance_transform_edt(~brain, sampling=VOXEL) <= RIM_MM / 2
    refaced = np.where(kept, scan.raw, np.rint(other).astype(scan.raw.dtype))
    nifti.write(folder / 'refaced.nii.gz', refaced, scan)
    for name, mask in (('deface_mask', ~kept), ('kept_mask', kept), ('brain_mask', brain)):
        nifti.write_mask(folder / 'mask.nii.gz', mask, scan)  # compressed by its suffix
        (folder / 'mask.nii.gz').replace(folder / name)
    shutil.copy(folder / 'refaced.nii.gz', folder / 'refaced')
    return folder, brain


@pytest.fixture
def dataset(small_head, tmp_path):
    """A BIDS dataset of two subjects, each with a copy of the small head; a private folder of the test."""
    raw = tmp_path / 'raw'
    for label in SUBJECTS:
        scan = raw / f'sub-{label}' / 'anat' / f'sub-{label}_T1w.nii.gz'
        scan.parent.mkdir(parents=True)
        shutil.copy(small_head[0] / 't1w.nii.gz', scan)
        scan.with_name(f'sub-{label}_T1w.json').write_text('{"EchoTime": 0.003, "PatientName": "Doe^Jane"}')
    description = {'Name': 'Small heads', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw'}
    (raw / 'dataset_description.json').write_text(json.dumps(description))
    (raw / 'README').write_text('Synthetic heads that are used to test software, and nothing else.\n')
    (raw / 'participants.tsv').write_text('participant_id\tage\nsub-01\t30\nsub-02\t40\n')
    return raw


@pytest.fixture
def sink(dataset, small_head, tmp_path):
    """What the sink publishes: scan, settings, images, verdict, and a call that checks the output."""
    results, brain = small_head
    config = RunConfig(dataset, tmp_path / 'out', seed=1, model_hash='abc', work_dir=tmp_path / 'work')
    scan = collect_scans(config)[0]
    scan = replace(scan, crc32=crc32_of(scan.path))
    files = {}
    for kind, name in (('refaced', 'refaced'), ('defacemask', 'deface_mask'), ('brainmask', 'kept_mask')):
        files[kind] = tmp_path / f'{kind}.nii.gz'
        shutil.copy(results / name, files[kind])
    verdict = {'status': 'pass', 'reasons': [], **identify(scan.path, files)}
    before = snapshot(dataset)

    def problems(**how):
        return check(
            config.output_dir, [scan.path], before=before, raw=dataset, validate=False, brain=brain, **how
        )

    return scan, config, files, verdict, problems


class Command:
    """The command in a process of its own, on one dataset and one output."""

    def __init__(self, raw: Path, folder: Path, results: Path, brain):
        self.raw, self.folder, self.results, self.brain = raw, folder, results, brain
        self.out, self.work, self.flags = folder / 'out', folder / 'work', folder / 'flags'
        self.before = snapshot(raw)
        self.flags.mkdir(exist_ok=True)

    def start(self, *options: str, steps: str = '', main: str = '', work: bool = True, **environment):
        """Start it; `steps` says what goes wrong in a step, `main` what goes wrong in the main process."""
        arguments = [str(self.raw), str(self.out), 'participant']
        arguments += ['--device', 'cpu', '--nprocs', '1', '--preset', '128', '--seed', '1']
        arguments += ['--skip-bids-validation', *(['-w', str(self.work)] if work else []), *options]
        environment |= {
            'FAULT_RESULTS': str(self.results),
            'FAULT_FLAGS': str(self.flags),
            'FAULT_STEPS': steps,
            'FAULT_MAIN': main,
            'TMPDIR': str(self.folder),
        }
        self.log = self.folder / f'log-{time.monotonic_ns()}.txt'
        return driver.start(arguments, environment, self.log, self.folder)

    def run(self, *options, timeout: float = 300, **how) -> int:
        """Run it to its end; -1000 if it hangs."""
        return self.wait(self.start(*options, **how), timeout)

    def wait(self, process, timeout: float = 300) -> int:
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            for line in processes(str(self.folder)):
                with contextlib.suppress(OSError):
                    os.kill(int(line.partition(':')[0]), signal.SIGKILL)
            process.wait()
            return -1000

    def wait_for(self, flag: str, timeout: float = 200) -> int:
        """Wait until a step has begun; returns the number of its process."""
        end = time.monotonic() + timeout
        path = self.flags / flag
        while not (path.exists() and path.read_text()):
            assert time.monotonic() < end, f'{flag} was never reached: {self.log.read_text()}'
            time.sleep(0.05)
        return int(path.read_text())

    def images(self) -> list[str]:
        return sorted(path.name for path in self.out.rglob('*_desc-refaced_T1w.nii.gz'))

    def problems(
        self, code: int, expected=(0, 1), *, patience: float = 5, validate=False, **how
    ) -> list[str]:
        """All that is wrong after a run, its exit code, its survivors and its manners included."""
        complaints = []
        if code == -1000:
            complaints.append('HANG it had to be killed')
        elif code not in expected:
            complaints.append(f'CODE {code} instead of {expected}: {self.log.read_text()[-800:]}')
        end = time.monotonic() + patience
        while processes(str(self.folder)) and time.monotonic() < end:
            time.sleep(0.1)
        how.setdefault('before', self.before)
        originals = [path for path in [self.results / 't1w.nii.gz'] if path.exists()]
        complaints += check(
            self.out,
            originals,
            raw=self.raw,
            workers_of=self.folder,
            brain=self.brain,
            validate=validate,
            **how,
        )
        if 'Traceback' in self.log.read_text():
            complaints.append(f'TRACEBACK {self.log.read_text()[-800:]}')
        return complaints


@pytest.fixture
def command(dataset, small_head, tmp_path):
    """The command on the small dataset."""
    made = Command(dataset, tmp_path, *small_head)
    yield made
    for line in processes(str(made.folder)):
        with contextlib.suppress(OSError):
            os.kill(int(line.partition(':')[0]), signal.SIGKILL)
