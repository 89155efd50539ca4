"""Do two workers do twice as much as one, and what does a run take of memory and disk meanwhile?

    python -m benchmarks.scaling T1W [--scans 4] [--workers 1 2] [--mem-gb 4]

Copies of the scan are the subjects of a dataset. Each run is one of `cpmae-bids` with one thread for each
worker and a fresh folder for intermediate files. Meanwhile the sizes of that folder, and the memory that its
processes have to themselves or share (PSS, Linux), are summed up at intervals: to look may take time from
the workers. Where two workers take more CPU time than one for the same scans, cores share what they need,
as memory and clock. Times are compared within this call; use a calm machine. Numbers go to
``results/scaling.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scans import command_line, write_result

INTERVAL = 3.0
"""Seconds between two looks at a run."""


def make_dataset(root: Path, t1w: Path, scans: int) -> int:
    """Write a dataset of copies of a scan; returns its size in bytes."""
    root.mkdir()
    (root / 'dataset_description.json').write_text(json.dumps({'Name': 'copies', 'BIDSVersion': '1.10.0'}))
    suffix = ''.join(t1w.suffixes[-2:]) if t1w.name.endswith('.gz') else t1w.suffix
    for number in range(1, scans + 1):
        folder = root / f'sub-{number:02}' / 'anat'
        folder.mkdir(parents=True)
        shutil.copyfile(t1w, folder / f'sub-{number:02}_T1w{suffix}')
    return size_of(root)


def size_of(folder: Path) -> int:
    """Bytes in the files below a folder, as far as they stay while this looks."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def memory_of(process: int) -> int:
    """Bytes of memory of a process and all its descendants, pages that several share counted once."""
    total = 0
    with contextlib.suppress(OSError):
        rollup = Path(f'/proc/{process}/smaps_rollup').read_text()
        total = 1024 * next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith('Pss:'))
    with contextlib.suppress(OSError):
        for task in Path(f'/proc/{process}/task').iterdir():
            total += sum(map(memory_of, map(int, (task / 'children').read_text().split())))
    return total


def run(dataset: Path, folder: Path, options: Sequence[object]) -> tuple[dict[str, float | int], str]:
    """De-identify a dataset with a seed of 1, and look at it meanwhile.

    Parameters
    ----------
    dataset, folder : Path
        BIDS dataset, and where to put everything.
    options : sequence
        Of the command, beside the seed.

    Returns
    -------
    numbers : dict
        ``seconds``; ``cpu_seconds`` of all processes; ``peak_gib`` of memory; ``peak_files``, bytes of
        intermediate files at most, and ``left_files``, after the run.
    log : str
        What it printed.

    Raises
    ------
    RuntimeError
        If the run fails.
    """
    temporary = folder / 'tmp'
    temporary.mkdir(parents=True)
    command = [sys.executable, '-m', 'cpmae_bids', str(dataset), str(folder / 'out'), 'participant']
    start, before, memory, files = time.monotonic(), _cpu_seconds(), 0, 0
    with (folder / 'log.txt').open('w') as log:
        process = subprocess.Popen(
            [*command, '--seed', '1', *map(str, options)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, 'TMPDIR': str(temporary)},
        )
        while process.poll() is None:
            memory, files = max(memory, memory_of(process.pid)), max(files, size_of(temporary))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(INTERVAL)
    seconds = time.monotonic() - start
    text = (folder / 'log.txt').read_text()
    if process.returncode:
        raise RuntimeError(text)
    numbers = {
        'seconds': round(seconds, 1),
        'cpu_seconds': round(_cpu_seconds() - before, 1),
        'peak_gib': round(memory / 2**30, 2),
        'peak_files': files,
        'left_files': size_of(temporary),
    }
    return numbers, text


def _cpu_seconds() -> float:
    """Of all processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(argv: list[str] | None = None) -> None:
    """Write the numbers."""
    parser = command_line(__doc__)
    parser.add_argument('t1w', type=Path)
    parser.add_argument('--scans', type=int, default=4)
    parser.add_argument('--workers', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--mem-gb', type=float, default=4.0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix='cpmae-scaling-') as name:
        folder = Path(name)
        size = make_dataset(folder / 'raw', args.t1w, args.scans)
        runs = {}
        for n in args.workers:
            options = ['--nprocs', n, '--omp-nthreads', 1, '--mem-gb', args.mem_gb, '--skip-bids-validation']
            runs[n], _ = run(folder / 'raw', folder / str(n), options)
    first = runs[args.workers[0]]
    for n, numbers in runs.items():
        numbers['efficiency'] = round(args.workers[0] * first['seconds'] / (n * numbers['seconds']), 3)
        numbers['files_per_input'] = round(numbers['peak_files'] / size, 2)
    print(json.dumps(runs, indent=1))
    print(write_result('scaling', {'scans': args.scans, 'mem_gb': args.mem_gb, 'workers': runs}))


if __name__ == '__main__':
    main()
