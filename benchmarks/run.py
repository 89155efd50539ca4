"""Privacy, utility and realism of this tool and its peers on the same scans, in one command.

    python -m benchmarks.run HEADS OUT [--split test] [--nprocs 2]

HEADS is a BIDS dataset of whole-head T1w scans. Those of the split are the benchmark; the others only fill
the gallery in which the attacks look for a head. OUT holds outputs and private intermediates, and must lie
outside of the repository. A second call goes on where the first one stopped. A run over everything ends with
``benchmarks/results/benchmark.json`` (numbers only) and ``docs/benchmarks.md``; a run that is limited to some
scans, methods or measures leaves both in OUT.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nibabel as nib
from tqdm import tqdm

from benchmarks import goals, groups, table, usage
from benchmarks import measures as measure_package
from benchmarks.contact_sheet import REPOSITORY, refuse_shared
from benchmarks.methods import rescan
from benchmarks.methods.cpmae import output_path
from benchmarks.pairs import DEFAULT, GALLERY, OWN, PERTURBED, RESCAN, Pair, work_folder
from benchmarks.provenance import MixedError, Provenance, admit
from benchmarks.scans import RESULTS, command_line, find_t1w, read_people, read_split
from benchmarks.tfjs import MODELS, model_path
from benchmarks.worker import MEASURES, pooled_path, read_values, value_path, write_json
from cpmae_bids import __version__

DOCS = REPOSITORY / 'docs' / 'benchmarks.md'
MAKE = 'make'
GALLERY_AT_ONCE = 8
"""Heads of the gallery that one process measures."""


class Run:
    """The folder of a run, and what is in it.

    Parameters
    ----------
    heads : Path
        BIDS dataset.
    out : Path
    prepared : Path, optional
        Masks and affines that ``cpmae-bids-train prepare`` left: the gallery takes those instead of new ones.
    processes : int
    """

    def __init__(self, heads: Path, out: Path, prepared: Path | None = None, processes: int = 2):
        self.heads, self.out, self.prepared, self.processes = heads, out, prepared, processes
        self.locks = {method: threading.Lock() for method in OWN}
        self.problems: list[str] = []

    def pair(self, path: Path, method: str) -> Pair:
        """Where everything of a scan and a method is, or will be."""
        scan = _scan(path)
        anatomy = self.out / 'anatomy' / ('perturbed' if method == PERTURBED else 'original')
        output = self.out / 'scans' / method / path.name
        if method in ('original', GALLERY):
            output = path
        elif method in OWN:
            preset = method.removeprefix('cpmae-')
            output = output_path(self.heads, path, self.out / f'derivatives-{preset}')
        return Pair(
            scan=scan,
            method=method,
            original=path,
            output=output,
            brain_mask=anatomy / f'{scan}_brain.nii.gz',
            kept_mask=anatomy / f'{scan}_kept.nii.gz',
            affine=anatomy / f'{scan}_affine.txt',
            work=work_folder(self.out, method, scan),
        )

    # -- outputs -------------------------------------------------------------------------------------------
    def step(self, name: str, pairs: Iterable[Pair]) -> list[Pair]:
        """Run a step, or the method of each pair (`MAKE`), where it has not been; the pairs with a result."""
        pairs = list(pairs)
        todo = [pair for pair in pairs if not _record_path(pair, name).exists()]
        self._map(name, lambda pair: self._step(name, pair), todo)
        return [pair for pair in pairs if _status(pair, name) == 'made']

    def _step(self, name: str, pair: Pair) -> None:
        step = pair.method if name == MAKE else name
        if self._reuse(name, pair):
            return
        for folder in (pair.work, pair.output.parent, pair.brain_mask.parent):
            if not folder.is_relative_to(self.heads):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        command = [sys.executable, '-m', 'benchmarks.worker', 'make', step]
        with self.locks.get(pair.method, threading.Lock()):  # runs into one dataset of derivatives wait
            code, used = usage.run(command, pair.work / f'{name}.log', pair.dump())
        record = pair.work / f'{step}.record.json'
        if code == 0 and record.exists():
            write_json(_record_path(pair, name), {**json.loads(record.read_text()), 'usage': used})
            record.unlink()
        else:
            self.problems.append(f'{pair.method} {pair.scan}: {name} failed, see {pair.work}')

    def _reuse(self, name: str, pair: Pair) -> bool:
        """Take masks and affine of a head of the gallery from the prepared folder, where it has them."""
        if self.prepared is None or pair.method != GALLERY:
            return False
        targets = {'brain_mask': (pair.brain_mask, pair.kept_mask), 'alignment': (pair.affine,)}[name]
        sources = [self.prepared / target.name for target in targets]
        if not all(source.exists() for source in sources):
            return False
        for source, target in zip(sources, targets, strict=True):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        write_json(_record_path(pair, name), {'status': 'made', 'version': 'prepared'})
        return True

    def anatomy(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Masks and affines; the pairs that have them."""
        return self.step('alignment', self.step('brain_mask', pairs))

    # -- measures ------------------------------------------------------------------------------------------
    def measure(self, name: str, pairs: list[Pair]) -> None:
        """Run a measure where it has not been; the methods of a scan share a process."""
        try:
            module = importlib.import_module(f'{MEASURES}.{name}')
        except Exception as error:
            self.problems.append(f'{name}: cannot be imported ({error})')
            return
        wanted = getattr(module, 'METHODS', DEFAULT)
        scans = list(dict.fromkeys(pair.scan for pair in pairs if pair.method == 'original'))
        scans = spread(scans, getattr(module, 'SCANS', len(scans)))
        groups: dict[str, list[Pair]] = {}
        for number, pair in enumerate(pairs):
            if pair.method in wanted and (pair.method in (GALLERY, RESCAN) or pair.scan in scans):
                group = f'gallery {number // GALLERY_AT_ONCE}' if pair.method == GALLERY else pair.scan
                groups.setdefault(group, []).append(pair)
        todo = [missing for group in groups.values() if (missing := self.unmeasured(name, group))]
        self._map(name, lambda group: self._measure(name, group), todo)
        if hasattr(module, 'pool'):
            pooled_path(self.out, name).unlink(missing_ok=True)
            self._worker('pool', name, [])
            if not pooled_path(self.out, name).exists():
                self.problems.append(f'{name}: cannot be pooled, see {pooled_path(self.out, name).parent}')

    def _measure(self, name: str, group: list[Pair]) -> None:
        self._worker('measure', name, group)
        left = self.unmeasured(name, group)
        tried = [pair for pair in left if self._error_path(name, pair).exists()]
        # a process that was killed takes those with it that were still to come: each alone, then
        for pair in left:
            if pair not in tried and len(group) > 1:
                self._worker('measure', name, [pair])
        for pair in self.unmeasured(name, group):
            where = self._error_path(name, pair)
            self.problems.append(f'{name}: missing for {pair.method} {pair.scan}, see {where}')

    def _worker(self, job: str, name: str, pairs: list[Pair]) -> None:
        folder = self.out / 'measures' / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = folder / f'{pairs[0].scan if pairs else job}.log'
        command = [sys.executable, '-m', 'benchmarks.worker', job, name, str(self.out)]
        usage.run(command, log, '\n'.join(pair.dump() for pair in pairs))

    def _error_path(self, name: str, pair: Pair) -> Path:
        return value_path(self.out, name, pair.method, pair.scan).with_suffix('.error')

    def unmeasured(self, name: str, pairs: Iterable[Pair]) -> list[Pair]:
        """Pairs for which a measure has returned nothing yet."""
        return [pair for pair in pairs if not value_path(self.out, name, pair.method, pair.scan).exists()]

    # ------------------------------------------------------------------------------------------------------
    def _map(self, title: str, job: Callable, items: list) -> None:
        if not items:
            return
        with ThreadPoolExecutor(self.processes) as pool:
            futures = [pool.submit(job, item) for item in items]
            try:
                for future in tqdm(as_completed(futures), title, len(futures), mininterval=5, unit='job'):
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                raise


def numbered(values: dict, order: list[str]) -> dict:
    """Values by the number of the scan in the order of all, in place of its name."""
    return {f'scan-{1 + order.index(scan):03d}': values[scan] for scan in order if scan in values}


def spread(scans: list, count: int) -> list:
    """At most so many scans, from the first on and evenly spaced in their order."""
    return scans[:: max(1, -(-len(scans) // count))]


def divide(everything: list[Path], labels: set[str], people: dict[str, str]) -> tuple[list[Path], list[Path]]:
    """Scans to test, and those of the gallery; of nobody there are scans in both.

    Scans of a test participant who is also in the gallery, under another label, are in neither: an attacker
    would find the person there, whatever becomes of the scan.
    """
    trained = {person for label, person in people.items() if label not in labels}
    tests = [path for path in everything if path.name.split('_')[0] in labels]
    others = [path for path in everything if path not in tests]
    return [path for path in tests if people[path.name.split('_')[0]] not in trained], others


def longest_edge(path: Path) -> float:
    """Longest edge of the voxels of a scan (mm)."""
    return float(max(nib.load(path).header.get_zooms()[:3]))


def _scan(path: Path) -> str:
    return path.name.split('.')[0]


def _record_path(pair: Pair, name: str) -> Path:
    return pair.work / f'{name}.json'


def _record(pair: Pair, name: str) -> dict:
    path = _record_path(pair, name)
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def _status(pair: Pair, name: str) -> str | None:
    return _record(pair, name).get('status')


def collect(
    run: Run,
    names: list[str],
    attempts: dict[str, list[Pair]],
    gallery: int,
    provenance: Sequence[Provenance] = (),
) -> dict:
    """All numbers of a run, as they are published.

    Parameters
    ----------
    run : Run
    names : list of str
        Measures.
    attempts : dict of str to list of Pair
        By method, what was to be made.
    gallery : int
        Heads that are no test.
    provenance : sequence of Provenance
        Of all numbers in the folder, that of today at last.

    Returns
    -------
    numbers : dict
        ``methods`` (versions, and how many scans were made, refused and failed), ``groups`` (scanner and age
        by scan), ``measures`` (``scans``: by method and scan; ``pooled``: by method).
    """
    summary = {}
    for method, pairs in attempts.items():
        records = [_record(pair, MAKE) for pair in pairs]
        statuses = [record.get('status') for record in records]
        summary[method] = {
            'version': next((record['version'] for record in records if record), None),
            'scans': len(pairs),
            'made': statuses.count('made'),
            'refused': statuses.count('refused'),
            'failed': statuses.count(None),
        }
    measured = {name: read_values(run.out, name) for name in names}
    for values in measured.values():
        values.pop(GALLERY, None)
    # published numbers name nobody
    order = sorted({scan for values in measured.values() for scans in values.values() for scan in scans})
    found = {}
    for name, values in measured.items():
        pooled = pooled_path(run.out, name)
        values = {method: numbered(scans, order) for method, scans in values.items()}
        found[name] = {
            'scans': values,
            'pooled': json.loads(pooled.read_text(encoding='utf-8')) if pooled.exists() else {},
        }
    paths = {_scan(pair.original): pair.original for pairs in attempts.values() for pair in pairs}
    kinds = {}
    for scan, path in paths.items():
        group = groups.find(run.heads, path)
        kinds[scan] = {'scanner': group.scanner, 'age': group.age, 'voxel': group.voxel}
    return {
        'version': __version__,
        'provenance': [one.dump() for one in provenance],
        'gallery': gallery,
        'methods': summary,
        'groups': numbered(kinds, order),
        'measures': found,
    }


def with_rest(numbers: dict, rest: dict) -> dict:
    """Numbers of a run, and those of an earlier one for the methods that it left out.

    Parameters
    ----------
    numbers, rest : dict
        As `collect` gives them, of the same scans.

    Returns
    -------
    numbers : dict
        Measures that the run left out are those of the earlier one as well.
    """
    again = {*numbers['methods'], 'original', 'brain alone'}
    measures = {}
    for name in sorted({*numbers['measures'], *rest['measures']}):
        new, old = (content['measures'].get(name, {}) for content in (numbers, rest))
        measures[name] = {
            part: {
                **{m: v for m, v in old.get(part, {}).items() if m not in again or not new},
                **new.get(part, {}),
            }
            for part in ('scans', 'pooled')
        }
    earlier = (rest.get('provenance') or [None])[-1]
    left_out = {name: {'provenance': earlier, **summary} for name, summary in rest['methods'].items()}
    methods = {**left_out, **numbers['methods']}
    ordered = {name: methods[name] for name in (*DEFAULT, RESCAN, PERTURBED) if name in methods}
    return {**numbers, 'methods': ordered, 'measures': measures}


def measure_names() -> list[str]:
    """Names of all measures."""
    return sorted(module.name for module in pkgutil.iter_modules(measure_package.__path__))


def lacking(names: list[str]) -> dict[str, str]:
    """Measures that cannot be run for want of networks of others, and what is missing."""
    found = {}
    for name in names:
        try:
            needs = getattr(importlib.import_module(f'{MEASURES}.{name}'), 'NEEDS_MODELS', ())
        except ImportError:
            continue  # told where the measure is run
        try:
            for parts in needs:
                model_path(*parts)
        except FileNotFoundError as error:
            found[name] = str(error)
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 if anything is missing from it."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path)
    parser.add_argument('out', type=Path)
    parser.add_argument('--split', default='test', help='value of the column "split" of participants.tsv')
    parser.add_argument('--scans', nargs='+', help='only these, such as sub-01_T1w')
    parser.add_argument('--methods', nargs='+', choices=(*DEFAULT, RESCAN, PERTURBED))
    parser.add_argument('--measures', nargs='+', choices=measure_names())
    parser.add_argument('--nprocs', type=int, default=2)
    parser.add_argument(
        '--prepared', type=Path, help='work folder of cpmae-bids-train prepare, for the gallery'
    )
    parser.add_argument(
        '--models',
        type=Path,
        help=f'folder with the networks of others, brainchop and human-models (default: {MODELS})',
    )
    parser.add_argument(
        '--rest',
        type=Path,
        help='benchmark.json of an earlier run, for the methods that --methods leaves out',
    )
    parser.add_argument(
        '--mixed',
        action='store_true',
        help='go on in an OUT with numbers of other weights or code; the pages then say so',
    )
    args = parser.parse_args(argv)
    heads, out = args.heads.resolve(), args.out.resolve()
    try:
        refuse_shared(out, REPOSITORY, heads)
        labels = read_split(heads / 'participants.tsv', args.split)
        everything = find_t1w(heads)
        people = read_people(heads / 'participants.tsv')
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        provenance = admit(out, args.mixed)
    except MixedError as error:
        parser.exit(2, f'{error}\n')
    except (OSError, ValueError) as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))

    tests, others = divide(everything, labels, people)
    if args.scans:
        tests = [path for path in tests if _scan(path) in args.scans]
    if not tests:
        parser.error('no scan to test')
    known = (*DEFAULT, RESCAN, PERTURBED)
    chosen = [method for method in known if not args.methods or method in args.methods]
    names = args.measures or measure_names()
    if args.models:
        os.environ[MODELS] = str(args.models.resolve())
    left_out = lacking(names)
    names = [name for name in names if name not in left_out]

    run = Run(heads, out, args.prepared, args.nprocs)
    run.problems += [f'{name}: left out ({reason})' for name, reason in left_out.items()]
    originals = run.anatomy(run.pair(path, 'original') for path in tests)
    gallery = run.anatomy(run.pair(path, GALLERY) for path in others)
    for name, pairs in (('scans', originals), ('gallery', gallery)):  # for what looks at other scans as well
        with (out / f'{name}.jsonl').open('w', encoding='utf-8') as file:
            file.writelines(f'{pair.dump()}\n' for pair in pairs)
    persons = {pair.scan: people[pair.scan.split('_')[0]] for pair in (*originals, *gallery)}
    write_json(out / 'people.json', persons)
    scanners = {pair.scan: groups.find(heads, pair.original).scanner for pair in (*originals, *gallery)}
    write_json(out / 'scanners.json', scanners)
    edges = {pair.scan: longest_edge(pair.original) for pair in (*originals, *gallery)}
    partners = rescan.next_scans(persons, edges)
    write_json(out / 'rescans.json', partners)
    ready = {pair.scan for pair in originals}
    run.problems += [f'{path}: no brain mask or no alignment' for path in tests if _scan(path) not in ready]
    attempts = {
        method: [run.pair(path, method) for path in tests if _scan(path) in ready]
        for method in chosen
        if method not in ('original', RESCAN)
    }
    # scan by scan, so that two processes do not wait for one method
    jobs = [pair for row in zip(*attempts.values(), strict=True) for pair in row]
    if RESCAN in chosen:  # people of the gallery who were scanned twice count here as well
        attempts[RESCAN] = [
            run.pair(pair.original, RESCAN) for pair in (*originals, *gallery) if pair.scan in partners
        ]
        jobs += attempts[RESCAN]
    made = run.step(MAKE, jobs)
    perturbed = run.anatomy(pair for pair in made if pair.method == PERTURBED)
    made = [pair for pair in made if pair.method != PERTURBED]
    for name in names:
        run.measure(name, [*originals, *made, *perturbed, *gallery])

    numbers = collect(run, names, attempts, len(gallery), provenance)
    numbers['left_out'] = sorted(left_out)
    if args.rest:
        numbers = with_rest(numbers, json.loads(args.rest.read_text(encoding='utf-8')))
    write_json(out / 'benchmark.json', numbers)
    (out / 'benchmarks.md').write_text(table.document(numbers), encoding='utf-8')
    if not (args.scans or args.measures or (args.methods and not args.rest)):
        shutil.copyfile(out / 'benchmark.json', RESULTS / 'benchmark.json')
        shutil.copyfile(out / 'benchmarks.md', DOCS)
        goals.main()
    print(out / 'benchmarks.md')
    for problem in run.problems:
        print(problem, file=sys.stderr)
    return 1 if run.problems else 0


if __name__ == '__main__':
    sys.exit(main())
