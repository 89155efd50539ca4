"""Whether two revisions of the tool write the same images, byte for byte.

    python -m benchmarks.compare_revisions main HEAD [--dataset DIR] [--record] [-- OPTION ...]

Each revision runs on the dataset (by default the averaged head of the demo) from a checkout of its own, with
the interpreter and libraries of this one. Options after ``--`` go to ``cpmae-bids``. Exits with 1 if an image
differs or only one revision wrote it. After ``--record``, pages do not tell numbers of the two apart any more
(``results/same_images.json``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.provenance import record_same, source
from benchmarks.scans import command_line
from cpmae_bids.models.weights import sha256

REPOSITORY = Path(__file__).resolve().parents[1]


def hashes(output: Path) -> dict[str, str]:
    """SHA-256 of the images in a folder, by their paths in it."""
    return {str(path.relative_to(output)): sha256(path) for path in sorted(output.rglob('*.nii*'))}


def run(revision: str, dataset: Path | None, folder: Path, options: Sequence[str]) -> dict[str, str]:
    """Hashes of what a revision writes; `folder` takes its code and its output.

    Raises
    ------
    subprocess.CalledProcessError
        If there is no such revision, or it fails on a scan.
    """
    code, output = folder / 'code', folder / 'output'
    code.mkdir(parents=True)
    archive = ['git', '-C', str(REPOSITORY), 'archive', revision]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as packed:
        subprocess.run(['tar', '-x', '-C', str(code)], stdin=packed.stdout, check=True)
    if dataset is None:
        dataset = folder / 'demo'
        subprocess.run([sys.executable, str(code / 'demo' / 'make_dataset.py'), str(dataset)], check=True)
    command = [sys.executable, '-m', 'cpmae_bids', str(dataset), str(output), 'participant']
    environment = {**os.environ, 'PYTHONPATH': str(code)}
    subprocess.run([*command, '--seed', '2', *options], cwd=folder, env=environment, check=True)
    return hashes(output)


def main(argv: list[str] | None = None) -> int:
    """Compare two revisions; print what differs."""
    parser = command_line(__doc__)
    parser.add_argument('revisions', nargs=2, metavar='REVISION')
    parser.add_argument('--dataset', type=lambda text: Path(text).resolve())
    parser.add_argument('--record', action='store_true', help='write down that both write the same images')
    parser.add_argument('options', nargs='*', metavar='OPTION', help='of cpmae-bids, after --')
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='cpmae-revisions-') as folder:
        folders = [Path(folder, str(number)) for number in range(2)]
        one, other = (
            run(revision, args.dataset, part, args.options)
            for revision, part in zip(args.revisions, folders, strict=True)
        )
        if args.record and one and one == other:
            record_same(*(source('cpmae_bids', part / 'code') for part in folders))
    for path in sorted(one.keys() | other.keys()):
        print('same   ' if one.get(path) == other.get(path) else 'DIFFERS', path)
    return int(one != other)


if __name__ == '__main__':
    sys.exit(main())
