"""Judge a refaced scan by reading it back, and write the verdict."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from cpmae_bids import __version__
from cpmae_bids.bids.atomic import write_text
from cpmae_bids.bids.verdict_records import identify
from cpmae_bids.deid.images import background, nifti, volumes
from cpmae_bids.deid.qc import decision, metrics, scan_checks
from cpmae_bids.deid.qc.thresholds import thresholds_of
from cpmae_bids.runtime import threads
from cpmae_bids.steps import Output
from cpmae_bids.steps.conform import read_affine
from cpmae_bids.steps.tone import read_statistics
from cpmae_bids.templates import find_template


def verdict(
    t1w: Path,
    refaced: Path,
    deface_mask: Path,
    brain_mask: Path,
    kept_mask: Path,
    affine: Path,
    conformed: Path,
    noise_model: Path,
    verdict: Annotated[Path, Output('verdict.json')],
    *,
    generated_codes: Path | None = None,
    original_codes: Path | None = None,
    statistics: Path | None = None,
    table: Path | None = None,
    scan: str = '',
    preset: str = '',
    seed: int | None = None,
    steps: int | None = None,
    reference: str = '',
    model_hash: str = '',
    by: Path | None = None,
    by_brain: Path | None = None,
    by_kept: Path | None = None,
    by_affine: Path | None = None,
    by_scan: str = '',
    fill: str = '',
) -> dict:
    """Write the verdict on a refaced scan, pass or fail, and return it.

    Parameters
    ----------
    t1w, refaced, deface_mask, brain_mask, kept_mask, affine, conformed : Path
        The original, and what the steps wrote.
    generated_codes, original_codes : Path, optional
        Codes of both heads, to be compared; required for a T1w scan.
    noise_model, statistics, table, scan, preset, seed, steps, reference, model_hash
        For the record: numbers of the original that the output knows, path of the scan in its dataset, and
        what the head was generated with; `reference` is the path of the scan around whose brain it was.
    by, by_brain, by_kept, by_affine : Path, optional
        All of them for another contrast: the T1w scan that locates its brain, with its brain, its preserved
        region and its affine map.
    by_scan : str
        Path of that T1w scan in its dataset, for the record.
    fill : {'', 'head', 'air'}
        What lies around the brain of another contrast.

    Returns
    -------
    verdict : dict
        ``scan``, ``status`` ('pass' or 'fail'), ``reasons``, ``measures``, ``version``, ``model_hash``,
        ``preset``, ``seed``, ``steps``, ``template``, ``reference``, ``head_statistics`` (numbers of the
        original outside of the preserved region), ``source_crc32``, ``judged``; of another contrast also
        ``t1w`` and ``fill``.

    Raises
    ------
    InputError
        If a file cannot be read, so that nothing can be measured.
    TypeError
        If an input that this kind of scan needs is missing.
    """
    if not (limits := thresholds_of(fill)):  # nothing would be checked
        raise ValueError(f'fill is {fill!r}, none of those of which something is known')
    needed = (by, by_brain, by_kept, by_affine) if fill else (generated_codes, original_codes)
    if None in needed:
        raise TypeError('a T1w is judged with the codes of both heads, another contrast with its T1w')
    # Before they are read: what changes from now on is not what was judged
    files = identify(t1w, {'refaced': refaced, 'defacemask': deface_mask, 'brainmask': kept_mask})
    original = scan_checks.load_t1w(t1w)
    written, brain, kept, replaced = threads.together(
        lambda: background.in_units_of(original, nifti.read(refaced)),
        *(partial(nifti.read_mask, path, original) for path in (brain_mask, kept_mask, deface_mask)),
    )
    template = find_template()
    t1w_scan = None
    if by is not None and by_brain is not None and by_kept is not None and by_affine is not None:
        image = scan_checks.load_t1w(by)
        t1w_scan = metrics.T1w(
            image.values(),
            nifti.read_mask(by_brain, image),
            nifti.read_mask(by_kept, image),
            image.affine,
            from_scan=np.linalg.inv(read_affine(by_affine)) @ read_affine(affine),
        )
    scale = float(volumes.read(conformed, 'scale'))
    measures = metrics.measure(
        original,
        written,
        brain,
        kept,
        replaced,
        read_affine(affine),
        scale,
        template,
        t1w_scan,
        volumes.read_codes(original_codes) if original_codes else None,
        volumes.read_codes(generated_codes) if generated_codes else None,
    )
    status, reasons = decision.decide(measures, limits)
    result = {
        'scan': scan,
        'status': status,
        'reasons': reasons,
        'measures': {k: round(v, 6) if math.isfinite(v) else None for k, v in measures.items()},
        'version': __version__,
        'model_hash': model_hash,
        'preset': preset,
        'seed': seed,
        'steps': steps,
        'template': template.name,
        'reference': reference or scan,
        'head_statistics': {
            **({'Tissue': read_statistics(statistics).to_dict()} if statistics else {}),
            **({'Contrast': np.load(table).astype(float).round(2).tolist()} if table else {}),
            **json.loads(noise_model.read_text(encoding='utf-8')),
        },
        **({'t1w': by_scan, 'fill': fill} if fill else {}),
        **files,
    }
    write_text(verdict, json.dumps(result, indent=2, allow_nan=False) + '\n')
    return result
