"""This tool, by its command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.methods import Refused
from benchmarks.pairs import Pair
from cpmae_bids import __version__
from cpmae_bids.models.weights import resolve_weights

SEED = 1


def version() -> str:
    return f'cpmae-bids {__version__}, weights {resolve_weights().model_hash}'


def output_path(dataset: Path, original: Path, derivatives: Path) -> Path:
    """Where the derivatives have the refaced version of a scan of the dataset."""
    folder = derivatives / original.relative_to(dataset).parent
    return folder / original.name.replace('_T1w.nii', '_desc-refaced_T1w.nii')


def make(pair: Pair) -> None:
    dataset = next(
        folder for folder in pair.original.parents if (folder / 'dataset_description.json').exists()
    )
    derivatives = pair.output.parents[len(pair.original.relative_to(dataset).parents) - 1]
    # all scans of the session: they share the call, and what is complete is skipped
    entities = dict(part.split('-', 1) for part in pair.scan.split('_')[:-1])
    command = [sys.executable, '-m', 'cpmae_bids', str(dataset), str(derivatives), 'participant']
    command += ['--participant-label', entities['sub'], '--seed', str(SEED)]
    command += ['--session-label', entities['ses']] if 'ses' in entities else []
    preset = pair.method.removeprefix('cpmae-')
    command += ['--preset', preset, '--skip-bids-validation']
    # All numbers of the verdicts, for `benchmarks.verdict_limits`
    command += ['--private-report-dir', str(derivatives.parent / f'private-{preset}')]
    command += ['--nprocs', '1', '--omp-nthreads', '1']
    done = subprocess.run(command, check=False)
    if pair.output.exists():
        return
    record = derivatives / 'logs' / 'verdicts' / f'{pair.scan}.json'
    if not record.exists():
        raise RuntimeError(f'{pair.original}: no output and no verdict, exit code {done.returncode}')
    raise Refused('; '.join(json.loads(record.read_text(encoding='utf-8'))['reasons']))
