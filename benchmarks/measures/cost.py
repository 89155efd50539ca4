"""What does it cost: wall time, CPU time and peak memory, each method in a process of its own on one core."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import methods
from benchmarks.pairs import OWN, PEERS, Pair, run_folder, work_folder

METHODS = (*OWN, *PEERS)


def measure(pair: Pair) -> dict[str, float]:
    """``seconds``, ``cpu_seconds`` and ``peak_mib``, with those of the mask and alignment that are needed."""
    spent = [_read(pair.work / 'make.json')]
    for step in getattr(methods.load(pair.method), 'NEEDS', ()):
        spent.append(_read(work_folder(run_folder(pair), 'original', pair.scan) / f'{step}.json'))
    return {
        'seconds': sum(one['seconds'] for one in spent),
        'cpu_seconds': sum(one['cpu_seconds'] for one in spent),
        'peak_mib': max(one['peak_mib'] for one in spent),
    }


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding='utf-8'))['usage']
