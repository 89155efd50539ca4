"""How long does a run take to find its scans in a large dataset, and how much memory?

    python -m benchmarks.indexing [--subjects 500]

The dataset is made in a temporary folder: links to one scan that is nobody's, two sessions per subject, a
sidecar each, and files of other datatypes, which are not to be indexed. Measured is a process that lists the
scans and looks for their records in an output that has none.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.scans import write_result
from benchmarks.usage import run

OTHERS = ('anat/{}_T2w', 'func/{}_task-rest_bold', 'dwi/{}_dwi')
CODE = """
import sys
from pathlib import Path
from cpmae_bids.bids.layout import collect_scans
from cpmae_bids.bids.completeness import complete_scans
from cpmae_bids.config import RunConfig

config = RunConfig(Path(sys.argv[1]), Path(sys.argv[2]), seed=1)
scans = collect_scans(config)
assert len(scans) == int(sys.argv[3]), len(scans)
assert not any(scan.problem for scan in scans)
assert complete_scans(scans, config) == []
"""


def make_dataset(root: Path, subjects: int) -> int:
    """Make a dataset of links; returns the number of its T1w scans."""
    source = root / 'scan.nii.gz'
    values = np.random.default_rng(0).integers(0, 1000, (64, 64, 64)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([4.0, 4, 4, 1])), source)
    raw = root / 'raw'
    for subject in range(1, subjects + 1):
        for session in ('a', 'b'):
            name = f'sub-{subject:04}_ses-{session}'
            folder = raw / f'sub-{subject:04}' / f'ses-{session}'
            for file in ('anat/{}_T1w', *OTHERS):
                path = folder / file.format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.with_name(f'{path.name}.nii.gz').symlink_to(source)
                path.with_name(f'{path.name}.json').write_text('{"EchoTime": 0.003}')
    description = {'Name': 'Links', 'BIDSVersion': '1.10.0', 'DatasetType': 'raw'}
    (raw / 'dataset_description.json').write_text(json.dumps(description))
    return 2 * subjects


def main() -> None:
    """Measure, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--subjects', type=int, default=500)
    subjects = parser.parse_args().subjects
    with tempfile.TemporaryDirectory(prefix='cpmae-indexing-') as folder:
        root = Path(folder)
        scans = make_dataset(root, subjects)
        command = [sys.executable, '-c', CODE, str(root / 'raw'), str(root / 'out'), str(scans)]
        code, usage = run(command, root / 'log.txt')
        if code:
            sys.exit((root / 'log.txt').read_text())
    result = {'subjects': subjects, 'scans': scans, **{k: round(v, 1) for k, v in usage.items()}}
    print(result)
    print(write_result('indexing', result))


if __name__ == '__main__':
    main()
