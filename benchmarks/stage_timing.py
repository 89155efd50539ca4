"""Wall time and peak memory of every stage of one scan.

    python -m benchmarks.stage_timing T1W [--preset 256] [--threads 2] [--device cpu] [--synthstrip]
        [--repeats 5]

Each stage runs as in the workflow, as a process of its own, but one after another. Its peak is the largest
resident set of that process, or of a child of it, as the kernel counts it. ``--synthstrip`` measures
SynthStrip's brain mask in the same run, for comparison (of radveil, extra ``cpmae-bids[benchmarks]``).
``--repeats`` does all of it so often, in turn: machines that are shared are not equally fast at all times.
Numbers are medians then.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.scans import write_result
from cpmae_bids.config import DEFAULT_STEPS
from cpmae_bids.interfaces.base import THREAD_VARIABLES

# A process starts with the peak memory of the one that made it: this one is small, and starts the stage alone
LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
with open(sys.argv[1], 'w') as file:
    print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=file)
sys.exit(code != 0)
"""

SYNTHSTRIP = """
import sys
import nibabel as nib
import radveil
image = nib.load(sys.argv[1])
values = image.get_fdata(dtype='float32')
radveil.Volume.from_array(values, image.affine).deskull(method='synthstrip', strip=False)
"""

STAGES = {
    # stage: its step, and the arguments by which it differs from what FILES and the settings say
    'skullstrip': ('skullstrip', {}),
    'register': ('register', {}),
    'conform': ('conform', {'head': 'original_head.npz'}),
    'encode_brain': ('encode', {'which': 'brain', 'codes': 'brain_codes.npz'}),
    'encode_head': (
        'encode',
        {'which': 'head', 'conformed': 'original_head.npz', 'codes': 'original_codes.npz'},
    ),
    'remodel': ('remodel', {}),
    'decode_head': ('decode', {}),
    'blend': ('blend', {}),
    'verdict': ('verdict', {}),
    'report': ('report', {}),
}
FILES = {
    'brain_mask': 'brain_mask.nii.gz',
    'kept_mask': 'kept_mask.nii.gz',
    'affine': 'affine.txt',
    'brain': 'brain.npz',
    'conformed': 'brain.npz',
    'brain_codes': 'brain_codes.npz',
    'head_codes': 'head_codes.npz',
    'generated_codes': 'head_codes.npz',
    'original_codes': 'original_codes.npz',
    'head': 'head.npz',
    'refaced': 'refaced.nii.gz',
    'deface_mask': 'deface_mask.nii.gz',
    'verdict': 'verdict.json',
    'slices': 'slices.png',
    'face': 'face.png',
}


def stage_command(stage: str, settings: dict[str, str]) -> list[str]:
    """Command line of a stage: the step says which arguments it takes, the tables above what they are.

    Parameters
    ----------
    stage : str
        A key of `STAGES`.
    settings : dict of str to str
        Values by argument, such as ``t1w``, ``preset`` and ``seed``.

    Returns
    -------
    list of str

    Raises
    ------
    KeyError
        If the step needs an argument that nothing here gives.
    """
    step, own = STAGES[stage]
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(f'cpmae_bids.steps.{step}').add_arguments(parser)
    values = {**FILES, **settings, **own}
    command = [sys.executable, '-m', 'cpmae_bids.steps', step]
    for argument in parser._actions:
        option = argument.option_strings[0]
        name = option.removeprefix('--').replace('-', '_')
        if argument.required or name in values:
            command += [option, values[name]]
    return command


def measure(command: list[str], folder: Path, threads: int) -> tuple[float, float]:
    """Run a command to its end.

    Parameters
    ----------
    command : list of str
    folder : Path
        Where it runs.
    threads : int
        For the numerical libraries.

    Returns
    -------
    seconds : float
        Wall time.
    peak : float
        Largest resident set in GiB.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(threads))}
    usage = folder / 'usage.txt'
    launcher = [sys.executable, '-I', '-S', '-c', LAUNCHER, str(usage)]
    subprocess.run([*launcher, *command], cwd=folder, env=environment, check=True)
    seconds, peak = usage.read_text().split()
    return float(seconds), int(peak) / 1024**2  # Linux counts in KiB


def _median(measured: list[tuple[float, float]]) -> dict[str, float]:
    seconds, peak = np.median(measured, axis=0)
    return {'seconds': round(float(seconds), 2), 'peak_gib': round(float(peak), 2)}


def _sums(stages: list[list[tuple[float, float]]]) -> list[float]:
    """Seconds of all stages together, for each time that they were run."""
    return [round(float(seconds), 1) for seconds in np.sum(stages, axis=0)[:, 0]]


def main(argv: list[str] | None = None) -> None:
    """Measure one scan and write ``results/stage_timing_<preset>.json``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('t1w', type=Path)
    parser.add_argument('--preset', choices=('128', '256'), default='256')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--steps', type=int, default=DEFAULT_STEPS)
    parser.add_argument('--synthstrip', action='store_true', help='measure it beside')
    parser.add_argument('--repeats', type=int, default=1, help='times that all is done (default: 1)')
    args = parser.parse_args(argv)

    settings = {
        't1w': str(args.t1w.resolve()),
        'scan': args.t1w.name,
        'preset': args.preset,
        'device': args.device,
        'seed': '1',
        'steps': str(args.steps),
    }
    if args.weights:
        settings['weights'] = str(args.weights.resolve())
    commands = {stage: stage_command(stage, settings) for stage in STAGES}
    if args.synthstrip:
        commands['synthstrip'] = [sys.executable, '-c', SYNTHSTRIP, settings['t1w']]
    measured = {name: [] for name in commands}
    with tempfile.TemporaryDirectory(prefix='cpmae-timing-') as folder:
        for _ in range(args.repeats):
            for name, command in commands.items():
                measured[name].append(measure(command, Path(folder), args.threads))
                print('{:13} {:7.1f} s {:6.2f} GiB'.format(name, *measured[name][-1]), flush=True)
    stages = {name: _median(found) for name, found in measured.items()}
    beside = {'synthstrip': stages.pop('synthstrip')} if args.synthstrip else {}
    zooms = nib.load(args.t1w).header.get_zooms()[:3]
    numbers = {
        'preset': args.preset,
        'threads': args.threads,
        'device': args.device,
        'steps': args.steps,
        'shape': list(nib.load(args.t1w).shape),
        'voxel_mm': [round(float(zoom), 3) for zoom in zooms],
        'repeats': args.repeats,
        'seconds': round(sum(stage['seconds'] for stage in stages.values()), 1),
        'seconds_of_each': _sums([measured[stage] for stage in stages]),
        'peak_gib': max(stage['peak_gib'] for stage in stages.values()),
        'stages': stages,
        **beside,
    }
    if args.synthstrip:
        numbers['synthstrip']['seconds_of_each'] = _sums([measured['synthstrip']])
    print(write_result(f'stage_timing_{args.preset}', numbers))


if __name__ == '__main__':
    main()
