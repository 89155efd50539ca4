"""Write the page before/after of one scan. It shows the original face: it is not for sharing."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from cpmae_bids.deid import nifti
from cpmae_bids.reports.html import private_page
from cpmae_bids.reports.pictures import face_picture, intensity_window, png, slices_picture


def private_report(
    original: Path, refaced: Path, kept_mask: Path, verdict: Path, title: str, page: Path
) -> None:
    """Write a page with the scan before and after, readable for its owner alone.

    A failed scan has a page too: it shows why.

    Parameters
    ----------
    original, refaced, kept_mask : Path
        The scan, its refaced version and what was kept, on one grid.
    verdict : Path
        JSON file of the verdict.
    title : str
        Name of the scan.
    page : Path
        HTML file to write; it must lie outside input and output.
    """
    before, after = nifti.read(original), nifti.read(refaced)
    mask = nifti.read_mask(kept_mask, before)
    window = intensity_window(before.values())  # one for both, or they could not be compared
    pictures = {}
    for label, scan in (('before', before), ('after', after)):
        values = scan.values()
        pictures[f'{label}: slices'] = png(slices_picture(values, scan.affine, mask, window))
        try:
            pictures[f'{label}: skin'] = png(face_picture(values, scan.affine))
        except ValueError:  # a failed scan may show no head at all
            continue
    text = private_page(title, json.loads(verdict.read_text(encoding='utf-8')), pictures)
    page.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    page.unlink(missing_ok=True)
    with open(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'w', encoding='utf-8') as file:
        file.write(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this step to its parser."""
    for name in ('original', 'refaced', 'kept-mask', 'verdict', 'page'):
        parser.add_argument(f'--{name}', type=Path, required=True)
    parser.add_argument('--title', required=True)


def main(args: argparse.Namespace) -> None:
    """Run the step from its command line."""
    private_report(args.original, args.refaced, args.kept_mask, args.verdict, args.title, args.page)
