"""Is what was generated anatomy? Outputs over originals, by scan and by scanner.

    python -m benchmarks.structure IN OUT [--work WORK] [--json FILE]

IN is a BIDS dataset and OUT what cpmae-bids made of it. Each scan gets a row: coherence, fine contrast,
bright tissue and power by wavelength, output over original; and how many of the globes and ears of the
original the output has. See `benchmarks.anatomy` and `benchmarks.ears`. The exit code is 1 where a scan
misses a limit. WORK keeps affines, and measures by the content of images: only new outputs are measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks import anatomy, ears, groups
from benchmarks.contact_sheet import pairs
from benchmarks.provenance import Provenance
from benchmarks.scans import command_line
from benchmarks.worker import plain, write_json

COHERENCE = 0.9
"""Least coherence of a scan, output over original."""

WITHIN = (0.85, 1.15)
"""Range of fine contrast and bright tissue, output over original."""

BANDS = tuple(f'power_{high:g}_{low:g}' for high, low in pairwise(anatomy.BANDS_MM))
SHOWN = ('coherence', 'fine', 'bright', *BANDS[1:])


def describe(
    values: np.ndarray,
    brain: np.ndarray,
    kept: np.ndarray,
    affine: np.ndarray,
    world_to_template: np.ndarray,
) -> dict[str, float | int | None]:
    """Structure of one image.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
    brain, kept : ndarray of bool, shape (X, Y, Z)
        The brain mask, and what of the image no method may change.
    affine, world_to_template : ndarray, shape (4, 4)

    Returns
    -------
    numbers : dict
        ``coherence``, ``fine`` and ``bright`` of `anatomy.Structure`, ``power_<a>_<b>`` of
        `anatomy.spectrum`, ``globes`` and ``ears`` that were found, and how many places of both
        the scan covers (``globes_in_fov``, ``ears_in_fov``). None where there is nothing to measure.
    """
    sizes = anatomy.geometry.voxel_sizes(affine)
    try:
        found: dict = anatomy.structure(values, brain, sizes)._asdict()
    except ValueError:  # such as skull-stripped
        found = dict.fromkeys(anatomy.Structure._fields)
    found |= dict(
        zip(BANDS, anatomy.spectrum(values / anatomy.scale(values, brain), kept, sizes), strict=True)
    )
    looked = {'globes': anatomy.globes(values, brain, affine, world_to_template)}
    try:
        looked['ears'] = ears.ears(values, affine, world_to_template)
    except ValueError:  # nothing but air
        looked['ears'] = []
    for name, both in looked.items():
        found[name] = sum(one.found for one in both)
        found[f'{name}_in_fov'] = sum(one.in_fov for one in both)
    return plain(found)


def over(before: dict, after: dict) -> dict[str, float | int | None]:
    """Output over original.

    Returns
    -------
    numbers : dict
        Ratios; ``globes`` and ``ears`` of the output, and ``globes_before`` and ``ears_before``.
    """
    ratios = {
        name: after[name] / before[name] if before[name] and after[name] is not None else None
        for name in ('coherence', 'fine', 'bright', *BANDS)
    }
    counts = {name: min(after[name], before[name]) for name in ('globes', 'ears')}
    return {**ratios, **counts, **{f'{name}_before': before[name] for name in counts}}


def short(numbers: dict) -> list[str]:
    """Which limits a scan misses."""
    low, high = WITHIN
    missed = [] if (numbers['coherence'] or 0) >= COHERENCE else ['coherence']
    missed += [name for name in ('fine', 'bright') if not low <= (numbers[name] or 0) <= high]
    return missed + [name for name in ('globes', 'ears') if numbers[name] < numbers[f'{name}_before']]


def measure(original: Path, refaced: Path, work: Path) -> dict[str, float | int | None]:
    """Measure an output of this tool against its original.

    Parameters
    ----------
    original, refaced : Path
    work : Path
        Folder for affines and the measures of images.
    """
    brain_path = refaced.with_name(refaced.name.replace('_desc-refaced_T1w', '_desc-brain_mask'))
    masks = refaced.name.replace('_desc-refaced_T1w', '_mod-T1w_desc-refaced_defacemask')
    brain = np.asanyarray(nib.load(brain_path).dataobj) > 0
    kept = np.asanyarray(nib.load(refaced.with_name(masks)).dataobj) == 0
    matrix = alignment(original, brain_path, work)
    found = []
    for path in (original, refaced):
        key = _key(path, brain_path)

        def look(path: Path = path) -> dict:
            image = nib.load(path)
            values = np.nan_to_num(image.get_fdata(dtype=np.float32), copy=False, posinf=0, neginf=0)
            return describe(values, brain, kept, image.affine, matrix)

        found.append(cached(work / f'{key}.json', look))
    return over(*found)


def alignment(original: Path, brain: Path, work: Path) -> np.ndarray:
    """Affine map from a scan to the template, from its brain; shape (4, 4)."""
    from cpmae_bids.steps.register import register

    path = work / f'{_key(original, brain)}_affine.txt'
    if not path.exists():
        part = path.with_suffix(f'.{os.getpid()}.part')
        register(original, brain, part)
        part.replace(path)
    return np.loadtxt(path)


def _key(*paths: Path) -> str:
    """Of the content of files and of the code that measures them."""
    digest = hashlib.sha256()
    for path in (*paths, *map(Path, (__file__, anatomy.__file__, ears.__file__, ears.MEAN_EAR))):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def cached(path: Path, make: Callable[[], dict]) -> dict:
    """Numbers in a file, which is made where it is missing."""
    if not path.exists():
        write_json(path, make())
    return json.loads(path.read_text(encoding='utf-8'))


def summary(scans: dict[str, dict], labels: dict[str, str]) -> dict[str, dict]:
    """Medians of the ratios, and shares of the globes and ears, by group.

    Parameters
    ----------
    scans : dict
        By scan, what `over` returns.
    labels : dict of str to str
        Group of each scan.
    """
    found = {}
    for group in sorted(set(labels.values())):
        own = [numbers for scan, numbers in scans.items() if labels[scan] == group]
        found[group] = {'scans': len(own), 'short': sum(bool(short(one)) for one in own)}
        for name in ('coherence', 'fine', 'bright', *BANDS):
            known = [one[name] for one in own if one[name] is not None]
            found[group][name] = float(np.median(known)) if known else None
        for name in ('globes', 'ears'):
            before = sum(one[f'{name}_before'] for one in own)
            found[group][name] = sum(one[name] for one in own) / before if before else None
    return found


def main(argv: list[str] | None = None) -> int:
    """Measure all outputs; 1 if a scan misses a limit or there is none."""
    parser = command_line(__doc__)
    parser.add_argument('heads', type=Path, metavar='IN')
    parser.add_argument('out', type=Path, metavar='OUT')
    parser.add_argument('--work', type=Path, help='private folder for affines and what was measured already')
    parser.add_argument('--json', type=Path, help='write the numbers of the groups to this file')
    args = parser.parse_args(argv)
    work = args.work or Path(tempfile.gettempdir(), f'cpmae-structure-{os.getuid()}')
    work.mkdir(mode=0o700, parents=True, exist_ok=True)

    scans, by_scanner, by_voxel = {}, {}, {}
    for original, refaced in pairs(args.heads, args.out):
        name = original.name.split('.')[0]
        numbers = scans[name] = measure(original, refaced, work)
        group = groups.find(args.heads, original)
        by_scanner[name], by_voxel[name] = group.scanner, group.voxel
        missed = short(numbers)
        print(f'{name:24}', row(numbers), f'short: {", ".join(missed)}' if missed else 'OK', flush=True)
    tables = {'scanner': summary(scans, by_scanner), 'voxel': summary(scans, by_voxel)}
    tables['all'] = summary(scans, dict.fromkeys(scans, 'all'))
    for table in tables.values():
        for group, numbers in table.items():
            print(f'{group:24}', row(numbers), f'{numbers["short"]} of {numbers["scans"]} short')
    if args.json:
        write_json(args.json, {'provenance': [Provenance.today().dump()], **tables})
    if not scans:
        print(f'{args.out}: no refaced T1w whose original is in {args.heads}', file=sys.stderr)
    return int(not scans or any(map(short, scans.values())))


def row(numbers: dict) -> str:
    """The numbers of a scan or a group in one line."""
    cells = [f'{name} {"–" if numbers[name] is None else format(numbers[name], ".2f")}' for name in SHOWN]
    for name in ('globes', 'ears'):
        of = f' of {numbers[f"{name}_before"]}' if f'{name}_before' in numbers else ''
        cells.append(f'{name} {"–" if numbers[name] is None else format(numbers[name], ".3g")}{of}')
    return '  '.join(cells)


if __name__ == '__main__':
    sys.exit(main())
