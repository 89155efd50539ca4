"""Whether revisions of the tool write the same images, byte for byte.

    python -m benchmarks.compare_revisions main HEAD [...] [--dataset DIR] [--record] [--options="..."]

Each revision runs on the dataset (by default the averaged head of the demo) from a checkout of its own, with
the interpreter and libraries of this one. Exits with 1 if an image differs or one lacks it. With
``--record``, pages no longer tell their numbers apart (``results/same_images.json``).
"""

from __future__ import annotations

import os
import shlex
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
    """Compare revisions; print what differs."""
    parser = command_line(__doc__)
    parser.add_argument('revisions', nargs='+', metavar='REVISION')
    parser.add_argument('--dataset', type=lambda text: Path(text).resolve())
    parser.add_argument('--record', action='store_true', help='write down that all write the same images')
    parser.add_argument('--options', default='', help='of cpmae-bids, such as "--preset 128"')
    args = parser.parse_args(argv)
    found, sources = [], []
    for revision in args.revisions:
        with tempfile.TemporaryDirectory(prefix='cpmae-revision-') as folder:
            found.append(run(revision, args.dataset, Path(folder), shlex.split(args.options)))
            sources.append(source('cpmae_bids', Path(folder, 'code')))
    paths = sorted(set().union(*found))
    same = [len({images.get(path) for images in found}) == 1 for path in paths]
    for path, alike in zip(paths, same, strict=True):
        print('same   ' if alike else 'DIFFERS', path)
    if args.record and paths and all(same):
        record_same(sources)
    return int(not all(same))


if __name__ == '__main__':
    sys.exit(main())
