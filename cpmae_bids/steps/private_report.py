"""Write the page before/after of one scan, and all numbers of its verdict. Neither is for sharing.

The page shows the original face; some numbers tell which of some candidate heads the original is.
"""

import json
from pathlib import Path
from typing import Annotated

from cpmae_bids.bids.output_folder import OutputFolder
from cpmae_bids.deid.images import background, nifti
from cpmae_bids.reports.pictures import face_picture, intensity_window, png, slices_picture
from cpmae_bids.reports.subject_page import private_page
from cpmae_bids.steps import Output


def private_report(
    original: Path,
    refaced: Path,
    kept_mask: Path,
    verdict: Path,
    title: str,
    page: Annotated[Path, Output('page.html')],
) -> None:
    """Write a page with the scan before and after, and the verdict beside it, readable for the owner alone.

    A failed scan has a page too: it shows why. The verdict is copied to a JSON file of the same name as the
    page: first, so that where there is a page there are numbers. Both must lie outside input and output.
    """
    judged = verdict.read_text(encoding='utf-8')
    folder = OutputFolder(page.parent)
    folder.make(mode=0o700)
    folder.write(page.with_suffix('.json'), judged, 0o600)
    before = background.suppress_background(nifti.read(original))
    after = background.in_units_of(before, nifti.read(refaced))
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
    folder.write(page, private_page(title, json.loads(judged), pictures), 0o600)
