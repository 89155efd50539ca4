"""What a command costs: wall time, CPU time and peak memory of its process and all that it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cpmae_bids.runtime.threads import VARIABLES

# A process starts with the peak memory of the one that made it: this one is small, and starts nothing else
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.call(sys.argv[2:])
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
usage = {'seconds': seconds, 'cpu_seconds': used.ru_utime + used.ru_stime, 'peak_mib': used.ru_maxrss / 1024}
with open(sys.argv[1], 'w') as file:
    json.dump(usage, file)
sys.exit(code if code >= 0 else 128 - code)
"""


def run(command: list[str], log: Path, text: str = '', threads: int = 1) -> tuple[int, dict[str, float]]:
    """Run a command to its end.

    Parameters
    ----------
    command : list of str
    log : Path
        Standard output and error are written to it.
    text : str
        Standard input.
    threads : int
        For the numerical libraries.

    Returns
    -------
    code : int
        Exit code; 128 and the signal where one ended it.
    usage : dict
        ``seconds`` (wall), ``cpu_seconds`` and ``peak_mib``, the largest resident set of one process. Linux.
    """
    environment = {**os.environ, **dict.fromkeys(VARIABLES, str(threads))}
    environment['RAYON_NUM_THREADS'] = str(threads)
    with tempfile.TemporaryDirectory(prefix='cpmae-usage-') as folder, log.open('w') as out:
        usage = Path(folder) / 'usage.json'
        launcher = [sys.executable, '-I', '-S', '-c', LAUNCHER, str(usage)]
        done = subprocess.run(
            [*launcher, *command],
            input=text,
            text=True,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
        )
        found = json.loads(usage.read_text()) if usage.exists() else {}
    return done.returncode, found
