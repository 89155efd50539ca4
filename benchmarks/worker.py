"""One job of the benchmark, in a process of its own; `benchmarks.run` starts it.

    python -m benchmarks.worker make STEP         pairs on standard input: run a method or a step
    python -m benchmarks.worker measure NAME OUT  the same: run a measure
    python -m benchmarks.worker pool NAME OUT     pool what has been measured

What comes out is JSON, ``work/<method>/<scan>/<step>.json`` and ``measures/<name>/<method>/<scan>.json``. An
error is kept beside it as ``.error``, and the exit code says so.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks import methods
from benchmarks.pairs import Pair
from benchmarks.scans import command_line

MEASURES = 'benchmarks.measures'


def value_path(out: Path, measure: str, method: str, scan: str) -> Path:
    """Where what a measure returned is kept."""
    return out / 'measures' / measure / method / f'{scan}.json'


def pooled_path(out: Path, measure: str) -> Path:
    return out / 'measures' / measure / 'pooled.json'


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that the file appears complete; numpy's numbers become plain, what is not finite null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    part.write_text(json.dumps(plain(content), indent=1) + '\n', encoding='utf-8')
    part.replace(path)


def plain(content: Any) -> Any:
    """Content as JSON can hold it."""
    if isinstance(content, dict):
        return {str(key): plain(value) for key, value in content.items()}
    if hasattr(content, 'tolist'):
        content = content.tolist()
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_values(out: Path, measure: str) -> dict[str, dict[str, dict]]:
    """What a measure has returned so far, by method and scan, both sorted."""
    values: dict[str, dict[str, dict]] = {}
    for path in sorted((out / 'measures' / measure).glob('*/[!.]*.json')):
        values.setdefault(path.parent.name, {})[path.stem] = json.loads(path.read_text(encoding='utf-8'))
    return values


def make(step: str, pair: Pair) -> None:
    """Run a method or a step; the record says whether it refused, and which version it was."""
    module = methods.load(step)
    record = {'version': module.version(), 'status': 'made'}
    try:
        module.make(pair)
    except methods.Refused as refusal:
        record |= {'status': 'refused', 'reason': str(refusal)}
    write_json(pair.work / f'{step}.record.json', record)


def attempt(error_path: Path, job, *args) -> bool:
    """Run a job; what it raises is written down, and the next job goes on."""
    error_path.unlink(missing_ok=True)
    try:
        job(*args)
    except Exception:
        error_path.parent.mkdir(parents=True, exist_ok=True)
        error_path.write_text(traceback.format_exc(), encoding='utf-8')
        return False
    return True


def main(argv: list[str] | None = None) -> int:
    parser = command_line(__doc__)
    parser.add_argument('job', choices=('make', 'measure', 'pool'))
    parser.add_argument('name')
    parser.add_argument('out', type=Path, nargs='?')
    args = parser.parse_args(argv)
    if args.job == 'pool':
        target = pooled_path(args.out, args.name)
        module = importlib.import_module(f'{MEASURES}.{args.name}')
        pooled = attempt(
            target.with_suffix('.error'),
            lambda: write_json(target, module.pool(read_values(args.out, args.name), args.out)),
        )
        return 0 if pooled else 1

    fine = True
    for line in sys.stdin:
        pair = Pair.load(line)
        pair.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        if args.job == 'make':
            fine &= attempt(pair.work / f'{args.name}.error', make, args.name, pair)
        else:
            target = value_path(args.out, args.name, pair.method, pair.scan)
            module = importlib.import_module(f'{MEASURES}.{args.name}')
            fine &= attempt(
                target.with_suffix('.error'),
                lambda target=target, module=module, pair=pair: write_json(target, module.measure(pair)),
            )
    return 0 if fine else 1


if __name__ == '__main__':
    sys.exit(main())
